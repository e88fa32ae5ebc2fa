//! Where a process's control groups are in the file system.
//!
//! `/proc/PID/cgroup` names the group in each hierarchy, `/proc/PID/mountinfo` where the hierarchies are mounted and
//! which part of them is seen there. Both are told from the point of view of the *reader's* cgroup namespace, so they
//! fit together also for a neighbour: its group is `/../b`, and so is the root of its own mount.
//!
//! ```text
//!   4:memory:/docker/ab12      v1: hierarchy, controllers, group          32 31 0:32 /docker/ab12 /sys/fs/cgroup/memory …
//!   0::/kubepods/pod1/c1       v2: always 0, no controllers, group        directory = mount point + (group − root)
//! ```

use crate::collect::CollectError;
use crate::collect::file::KeptFile;
use crate::collect::mounts::{self, Mount};
use crate::collect::parse::{Flaw, lines};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Groups above a process's own whose limits are looked at. A pod's is six deep at the most: slice, pod, container.
const ABOVE_MAX: usize = 8;

/// Where a process's groups are, for the controllers that we read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Version 1: limit and throttling of the CPU.
    pub v1_cpu: Option<Place>,
    /// Version 1: CPU time.
    pub v1_cpuacct: Option<Place>,
    /// Version 1: memory.
    pub v1_memory: Option<Place>,
    /// Version 2, also where it stands beside version 1 (hybrid) and has no controllers.
    pub unified: Option<Place>,
}

/// Where one group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// The directories of the groups above it that can be seen, the nearest first: their limits hold for it too.
    pub above: Vec<PathBuf>,
}

/// The groups that a process is in, by hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    entries: Vec<(Vec<String>, PathBuf)>,
}

/// Finds the groups of the process whose directory below `/proc` is `process`. Its mount points are seen through
/// `root`: nothing for ourselves, `/proc/PID/root` for another.
pub fn locate_of(process: &Path, root: &Path) -> Result<Groups, CollectError> {
    let membership = Membership::of(process)?;
    locate(process, root, &membership)
}

/// As [`locate_of`], for the hierarchies in `membership` only.
pub fn locate(process: &Path, root: &Path, membership: &Membership) -> Result<Groups, CollectError> {
    let mounts = KeptFile::new(process.join("mountinfo")).parse(mounts::parse)?;
    let dir = |controller: &str| {
        let group = membership.group(controller)?;
        mounts
            .iter()
            .filter(|mount| has_controller(mount, controller))
            .filter_map(|mount| place(mount, group, root))
            .find(|place| place.dir.is_dir())
    };
    Ok(Groups { v1_cpu: dir("cpu"), v1_cpuacct: dir("cpuacct"), v1_memory: dir("memory"), unified: dir("") })
}

// === impl Groups ===

impl Groups {
    /// Whether no group was found.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Place ===

impl Place {
    /// The directory and those above it: where a limit may stand.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.dir.as_path()).chain(self.above.iter().map(PathBuf::as_path))
    }
}

// === impl Membership ===

impl Membership {
    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What `/proc/PID/cgroup` says; any user may read it.
    pub fn of(process: &Path) -> Result<Self, CollectError> {
        KeptFile::new(process.join("cgroup")).parse(Self::parse)
    }

    /// Those groups that are neither shared with `other` nor the root of their hierarchy: what they count is this
    /// process's container and nothing else.
    #[must_use]
    pub fn apart_from(&self, other: &Self) -> Self {
        let is_own = |(controllers, group): &&(Vec<String>, PathBuf)| {
            group != Path::new("/")
                && !other.entries.iter().any(|theirs| theirs.0 == *controllers && theirs.1 == *group)
        };
        Self { entries: self.entries.iter().filter(is_own).cloned().collect() }
    }

    /// The group in the hierarchy of a controller; version 2 is `""`.
    fn group(&self, controller: &str) -> Option<&Path> {
        let has_it = |(controllers, _): &&(Vec<String>, PathBuf)| controllers.iter().any(|name| name == controller);
        self.entries.iter().find(has_it).map(|(_, group)| group.as_path())
    }

    fn parse(text: &[u8]) -> Result<Self, Flaw> {
        let mut entries = Vec::new();
        for line in lines(text) {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(Flaw::new("hierarchy:controllers:group", line));
            };
            if !group.starts_with(b"/") {
                return Err(Flaw::new("a group that begins with a slash", line));
            }
            let controllers = String::from_utf8_lossy(controllers).split(',').map(str::to_owned).collect();
            entries.push((controllers, OsStr::from_bytes(group).into()));
        }
        Ok(Self { entries })
    }
}

// === helpers ===

fn has_controller(mount: &Mount, controller: &str) -> bool {
    match controller {
        "" => mount.fs_type == "cgroup2",
        _ => mount.fs_type == "cgroup" && mount.super_options.iter().any(|option| option == controller),
    }
}

/// Where `group` is seen through `mount`; `None` where the mount shows another part of the hierarchy.
fn place(mount: &Mount, group: &Path, root: &Path) -> Option<Place> {
    let below = group.strip_prefix(&mount.root).ok()?;
    let inside = mount.point.strip_prefix("/").ok()?;
    let is_ourselves = root.as_os_str().is_empty();
    let point = if is_ourselves { mount.point.clone() } else { root.join(inside) };
    // `/../b` below a root `/` is a group outside of what is mounted: its path would lead to another directory.
    let leads_out = below.components().any(|part| part == std::path::Component::ParentDir);
    if leads_out {
        return None;
    }
    let dir = if below.as_os_str().is_empty() { point.clone() } else { point.join(below) };
    let above = dir.ancestors().skip(1).take_while(|dir| dir.starts_with(&point)).take(ABOVE_MAX);
    Some(Place { above: above.map(Path::to_owned).collect(), dir })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mount(root: &str, point: &str) -> Mount {
        let line = format!("1 2 0:3 {root} {point} rw - cgroup2 cgroup2 rw");
        mounts::parse(line.as_bytes()).expect("well formed").remove(0)
    }

    fn seen(root: &str, group: &str) -> Option<String> {
        let place = place(&mount(root, "/sys/fs/cgroup"), Path::new(group), Path::new(""));
        place.map(|place| place.dir.display().to_string())
    }

    #[test]
    fn a_group_is_found_below_the_part_of_the_hierarchy_that_is_mounted() {
        assert_eq!(seen("/", "/a/b").as_deref(), Some("/sys/fs/cgroup/a/b"), "on a host");
        assert_eq!(seen("/", "/").as_deref(), Some("/sys/fs/cgroup"), "in a container with its own namespace");
        assert_eq!(seen("/docker/ab", "/docker/ab").as_deref(), Some("/sys/fs/cgroup"), "without one");
        assert_eq!(seen("/docker/ab", "/docker/ab/inner").as_deref(), Some("/sys/fs/cgroup/inner"));
        assert_eq!(seen("/../b", "/../b").as_deref(), Some("/sys/fs/cgroup"), "a neighbour");
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_not_found() {
        assert_eq!(seen("/docker/ab", "/docker/cd"), None);
        assert_eq!(seen("/", "/../b"), None);
        assert_eq!(seen("/..", "/"), None);
    }

    #[test]
    fn the_groups_of_a_neighbour_are_seen_through_its_root() {
        let place = place(&mount("/../b", "/sys/fs/cgroup"), Path::new("/../b"), Path::new("/proc/9/root"));
        assert_eq!(place, Some(Place { dir: "/proc/9/root/sys/fs/cgroup".into(), above: Vec::new() }));
    }

    #[test]
    fn the_groups_above_are_those_below_the_mount_point_and_not_without_end() {
        let above = |group: &str| {
            let place = place(&mount("/", "/sys/fs/cgroup"), Path::new(group), Path::new("")).expect("it is seen");
            place.above.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>()
        };
        assert!(above("/").is_empty());
        assert_eq!(above("/a/b"), ["/sys/fs/cgroup/a", "/sys/fs/cgroup"]);
        assert_eq!(above(&"/x".repeat(50)).len(), ABOVE_MAX);
    }

    #[test]
    fn only_groups_that_are_neither_shared_nor_the_root_are_a_neighbours_own() {
        let parse = |text: &str| Membership::parse(text.as_bytes()).expect("well formed");
        let ours = parse("4:memory:/pod/a\n2:cpuacct,cpu:/pod\n0::/\n");
        let its = parse("4:memory:/pod/b\n2:cpuacct,cpu:/pod\n0::/\n");
        let own = its.apart_from(&ours);
        assert_eq!(own.group("memory"), Some(Path::new("/pod/b")));
        assert_eq!(own.group("cpu"), None, "shared with us");
        assert_eq!(own.group(""), None, "the root is the whole machine");
    }

    #[test]
    fn each_mistake_is_named() {
        let flaw = |text: &str| Membership::parse(text.as_bytes()).expect_err("refused").to_string();
        assert!(flaw("0:").contains("hierarchy:controllers:group"));
        assert!(flaw("0::relative").contains("begins with a slash"));
        assert_eq!(Membership::parse(b"0::/a:b").expect("a colon is legal").group(""), Some(Path::new("/a:b")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Membership::parse(&bytes);
        }
    }
}
