//! `/proc/PID/mountinfo`: what is mounted where. Read when something changes, so it may allocate.
//!
//! ```text
//!   36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//!   id up dev  root  point options  optional*  - type source    super options
//! ```
//!
//! *root* is which part of the file system is seen at the mount point: `/` for all of it, another for a bind mount or
//! for a cgroup seen from a container. Spaces, tabs, newlines and backslashes stand as octal escapes.

use super::parse::{Flaw, fields, lines, next_whole};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Mounts upon mounts that are followed; deeper than any real tree.
const DEPTH_MAX: usize = 64;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// The mount that it stands on.
    pub parent: u64,
    /// `major:minor`, equal for all mounts of one file system.
    pub device: String,
    /// Which directory of the file system is mounted.
    pub root: PathBuf,
    /// Where it is seen.
    pub point: PathBuf,
    /// Type of the file system, e.g. `ext4` or `fuse.sshfs`.
    pub fs_type: String,
    /// What is mounted, e.g. `/dev/vda`.
    pub source: String,
    /// The options of the file system, e.g. the controllers of a cgroup v1 hierarchy.
    pub super_options: Vec<String>,
}

/// All mounts, in the order of the file: a later one hides an earlier one at the same point.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, Flaw> {
    lines(text).map(parse_line).collect()
}

/// Those mounts that a path leads to. A mount is out of sight when another stands on top of it, or on a directory above
/// it that belongs to the same mount as its own directory; and when what it stands on is out of sight.
pub fn visible(all: Vec<Mount>) -> Vec<Mount> {
    // The root of a mount namespace names itself as what it stands on; it is on top of nothing.
    let placed = all.iter().filter(|mount| mount.id != mount.parent);
    let places: HashSet<(u64, &Path)> = placed.map(|mount| (mount.parent, mount.point.as_path())).collect();
    let by_id: HashMap<u64, &Mount> = all.iter().map(|mount| (mount.id, mount)).collect();
    let is_topped = |mount: &Mount| places.contains(&(mount.id, mount.point.as_path()));
    let is_buried =
        |mount: &Mount| mount.point.ancestors().skip(1).any(|above| places.contains(&(mount.parent, above)));
    let is_seen = |mount| {
        let mut below = std::iter::successors(Some(mount), |mount: &&Mount| by_id.get(&mount.parent).copied());
        !is_topped(mount) && !below.by_ref().take(DEPTH_MAX).any(is_buried)
    };
    let seen: Vec<bool> = all.iter().map(is_seen).collect();
    all.into_iter().zip(seen).filter_map(|(mount, is_seen)| is_seen.then_some(mount)).collect()
}

fn parse_line(line: &[u8]) -> Result<Mount, Flaw> {
    let mut fields = fields(line);
    let id = next_whole(&mut fields, "the number of a mount")?;
    let parent = next_whole(&mut fields, "the number of the mount below it")?;
    let mut next = || fields.next().ok_or_else(|| Flaw::new("10 fields of a mount", line));
    let device = next()?;
    let (root, point, _options) = (next()?, next()?, next()?);
    while next()? != b"-" {} // the optional fields end with a dash
    let fs_type = next()?;
    let source = next()?;
    // A file system without a name, and only such, may lack its source: the field is then empty, and the next moves up.
    let super_options = next().unwrap_or_default();
    Ok(Mount {
        id,
        parent,
        device: text_of(device),
        root: path_of(root),
        point: path_of(point),
        fs_type: text_of(fs_type),
        source: text_of(&unescaped(source)),
        super_options: super_options.split(|byte| *byte == b',').map(text_of).collect(),
    })
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(unescaped(bytes)).into()
}

/// `a\040b` becomes `a b`; what is no escape stays.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let ([b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'], after) = rest.split_at(rest.len().min(4)) {
            plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    const LINES: &str = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn the_example_of_the_manual_is_understood() {
        let mounts = parse(LINES.as_bytes()).expect("well formed");
        let expected = Mount {
            id: 36,
            parent: 35,
            device: "98:0".into(),
            root: "/mnt1".into(),
            point: "/mnt 2".into(),
            fs_type: "ext3".into(),
            source: "/dev/root".into(),
            super_options: vec!["rw".into(), "errors=continue".into()],
        };
        assert_eq!(mounts[0], expected);
        assert_eq!(mounts[1].super_options, ["rw", "cpu", "cpuacct"]);
        assert_eq!(mounts.len(), 2);
    }

    /// A pod of containerd: a long overlay, bind mounts of the node's disk, and masked files of the kernel.
    #[test]
    fn the_mounts_of_a_pod_are_understood() {
        let text = "1563 1024 0:266 / / rw,relatime master:412 - overlay overlay rw,lowerdir=/a/1/fs:/a/2/fs,upperdir=/u,workdir=/w\n\
            1564 1563 0:270 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
            1567 1566 0:28 /kubepods.slice/pod1/cri-1.scope /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n\
            1570 1563 259:1 /var/lib/kubelet/pods/1/etc-hosts /etc/hosts rw,noatime - ext4 /dev/nvme0n1p1 rw\n\
            1571 1563 0:200 / /run/secrets/kubernetes.io/serviceaccount ro,relatime - tmpfs tmpfs rw,size=524288k\n\
            1026 1564 0:270 /bus /proc/bus ro,relatime - proc proc rw\n";
        let mounts = parse(text.as_bytes()).expect("well formed");
        let types: Vec<&str> = mounts.iter().map(|mount| mount.fs_type.as_str()).collect();
        assert_eq!(types, ["overlay", "proc", "cgroup2", "ext4", "tmpfs", "proc"]);
        assert_eq!(mounts[0].super_options[2], "upperdir=/u");
        assert_eq!(mounts[2].root, Path::new("/kubepods.slice/pod1/cri-1.scope"));
        assert_eq!((mounts[3].device.as_str(), mounts[3].source.as_str()), ("259:1", "/dev/nvme0n1p1"));
    }

    /// Legal since the kernel does not check it: the name of what is mounted may be empty.
    #[test]
    fn a_mount_without_a_source_or_options_is_understood() {
        let mounts = parse(b"1 2 0:3 / /x rw - tmpfs none\n1 2 0:3 / /y rw -  tmpfs  rw\n").expect("well formed");
        assert_eq!(mounts[0].super_options, [""]);
        assert_eq!(mounts[1].fs_type, "tmpfs");
    }

    #[test]
    fn escapes_are_resolved_and_what_only_looks_like_one_stays() {
        let path = |text: &[u8]| path_of(text);
        assert_eq!(path(br"/a\040b\011c\134d"), Path::new("/a b\tc\\d"));
        assert_eq!(path(br"/a\04"), Path::new(r"/a\04"));
        assert_eq!(path(br"/a\999"), Path::new(r"/a\999"));
        assert_eq!(path(br"/a\777"), Path::new(r"/a\777"), "more than a byte holds");
    }

    #[test]
    fn a_mount_is_seen_unless_another_stands_on_it_or_on_a_directory_above_it() {
        let seen = |lines: &[(u64, u64, &str)]| {
            let lines =
                lines.iter().map(|(id, parent, point)| format!("{id} {parent} 0:{id} / {point} rw - ext4 x rw\n"));
            let mounts = visible(parse(lines.collect::<String>().as_bytes()).expect("well formed"));
            mounts.iter().map(|mount| mount.id).collect::<Vec<_>>()
        };
        assert_eq!(seen(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/ab")]), [1, 2, 3, 4], "a plain tree");
        assert_eq!(seen(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a")]), [1, 3], "on top of another");
        assert_eq!(seen(&[(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")]), [1, 3], "under a later mount on /a");
        let below = [(1, 0, "/"), (2, 1, "/a/b"), (4, 2, "/a/b/c"), (3, 1, "/a"), (5, 3, "/a/b")];
        assert_eq!(seen(&below), [1, 3, 5], "what stands on what is out of sight, and a new one in its place");
        assert_eq!(seen(&[(7, 7, "/"), (8, 7, "/a"), (9, 8, "/a/b")]), [7, 8, 9], "a root that names itself");
    }

    #[test]
    fn a_line_cut_before_its_type_is_malformed() {
        let flaw = parse(b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1").expect_err("refused").to_string();
        assert!(flaw.starts_with("expected 10 fields of a mount"), "{flaw}");
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..LINES.len() {
            let _ = parse(&LINES.as_bytes()[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_nor_grow(bytes: Vec<u8>) {
            if let Ok(mounts) = parse(&bytes) {
                let count = mounts.len();
                prop_assert!(visible(mounts).len() <= count);
            }
            prop_assert!(unescaped(&bytes).len() <= bytes.len());
        }
    }
}
