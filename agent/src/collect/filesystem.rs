//! The source `filesystem`: space and files of each mounted file system.
//!
//! It is a source of its own because `statvfs` on a file system whose server is gone hangs, and then hangs only this.
//! Network file systems are therefore left alone unless they are asked for, and automounts always: looking would mount
//! them. Left out are file systems of the kernel (`proc`, `cgroup`, …) and those without blocks of their own.
//!
//! A file system is reported once, however often it is mounted: in a container, each volume may be a bind mount of one
//! disk. The mount that shows all of it is preferred, then the one with the shortest path. A mount that no path leads to
//! is none: asking for its path would tell another's figures.
//!
//! Where containers run, each brings an overlay of the host's disk and some small memory disks: they come and go, and
//! say nothing that the disk below does not. They are left out; and where there are more file systems than are
//! reported, those of real devices come first.

use super::file::{KeptFile, Probe};
use super::mounts::{self, Mount};
use super::part::{Cell, Cells, Part, Parts};
use super::{CollectError, Collector, Note, Table};
use proto::catalog::{
    SYSTEM_FILESYSTEM_AVAILABLE_BYTES, SYSTEM_FILESYSTEM_FILES, SYSTEM_FILESYSTEM_FILES_FREE,
    SYSTEM_FILESYSTEM_FREE_BYTES, SYSTEM_FILESYSTEM_READONLY, SYSTEM_FILESYSTEM_SIZE_BYTES,
    SYSTEM_FILESYSTEMS_UNREPORTED,
};
use proto::limits::LABEL_VALUE_MAX_BYTES;
use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File systems that are reported. A host has tens; one that has more is told by the `unreported` series.
pub const FILESYSTEMS_MAX: usize = 64;

/// File systems of the kernel: they have no space that could run out. Automounts are among them on purpose.
const KERNEL_TYPES: [&str; 30] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
    "udf",
];

/// File systems whose server may be gone.
const NETWORK_TYPES: [&str; 19] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse", // whatever a program serves; those of disks are called fuseblk
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "smb3",
];

/// Where container runtimes and the kubelet keep what they mount for their containers.
const RUNTIME_PLACES: [&str; 5] =
    ["/run/containerd", "/run/docker", "/var/lib/containers", "/var/lib/docker", "/var/lib/kubelet"];

/// What they mount there for each container: its root, and its shared memory and secrets.
const RUNTIME_TYPES: [&str; 2] = ["overlay", "tmpfs"];

/// File systems of disks that the kernel gives no device number of one disk, since they may have several.
const POOL_TYPES: [&str; 2] = ["btrfs", "zfs"];

/// At and below these, mounts are the kernel's or the container runtime's (devices, tokens, name resolution), whatever
/// their type.
const KERNEL_PLACES: [&str; 8] =
    ["/proc", "/sys", "/dev", "/run/secrets", "/var/run/secrets", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// The one place below `/dev` that programs fill: PostgreSQL's shared memory, for one.
const SHARED_MEMORY: &str = "/dev/shm";

/// Whether file systems are asked whose server may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkMounts {
    /// They are left out.
    #[default]
    Skip,
    /// They are reported; one that hangs makes this source overrun its deadline.
    Include,
}

/// The source `filesystem`.
pub struct Filesystem {
    mountinfo: PathBuf,
    network: NetworkMounts,
    ask: Ask,
    parts: Parts,
}

/// Asks a file system for its space: `statvfs`, except in tests.
type Ask = fn(&Path) -> rustix::io::Result<StatVfs>;

struct Mounts {
    file: KeptFile,
    network: NetworkMounts,
    ask: Ask,
    /// The file's content when the list below was made of it.
    seen: Vec<u8>,
    list: Vec<Watched>,
    /// How many there are beyond the limit.
    beyond: usize,
    unreported: Option<Unreported>,
}

/// How many file systems are not reported, by reason.
struct Unreported {
    /// More than [`FILESYSTEMS_MAX`].
    limit: Cell,
    /// Not ours to ask.
    permission: Cell,
}

struct Watched {
    point: PathBuf,
    size: Cell,
    free: Cell,
    available: Cell,
    files: Cell,
    files_free: Cell,
    readonly: Cell,
}

// === impl Filesystem ===

impl Filesystem {
    /// Reads the mounts of this process from `proc/self/mountinfo`. Never fails; asks no file system yet.
    pub fn new(proc: &Path, network: NetworkMounts) -> Self {
        Self::asking(proc, network, |point| rustix::fs::statvfs(point))
    }

    fn asking(proc: &Path, network: NetworkMounts, ask: Ask) -> Self {
        let mut parts = Parts::default();
        let mut probe = Probe::default();
        let mountinfo = proc.join("self/mountinfo");
        let file = probe.required(&mountinfo);
        parts.add(|_| Mounts { file, network, ask, seen: Vec::new(), list: Vec::new(), beyond: 0, unreported: None });
        parts.add_notes(probe);
        Self { mountinfo, network, ask, parts }
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        self.parts.collect(elapsed, table)
    }

    /// Asks each file system that would be reported.
    fn notes(&self) -> Vec<Note> {
        let ask = |mount: Mount| {
            let problem = (self.ask)(&mount.point).err().map(|errno| io::Error::from(errno).to_string());
            Note { path: mount.point, problem }
        };
        // That the list itself cannot be read stands in the notes of the parts.
        let mounts = KeptFile::new(&self.mountinfo).parse(mounts::parse).unwrap_or_default();
        let asked = select(mounts, self.network).into_iter().map(ask);
        self.parts.notes().iter().cloned().chain(asked).collect()
    }
}

// === impl Mounts ===

impl Mounts {
    /// Makes the list anew where the mounts have changed since it was made.
    fn refresh(&mut self, cells: &mut Cells) -> Result<(), CollectError> {
        let Self { file, seen, unreported, .. } = self;
        let changed = file.parse(|text| {
            if unreported.is_some() && text == seen.as_slice() {
                return Ok(None);
            }
            let mounts = mounts::parse(text)?;
            seen.clear();
            seen.extend_from_slice(text);
            Ok(Some(mounts))
        })?;
        let Some(mounts) = changed else { return Ok(()) };
        let mut mounts = select(mounts, self.network);
        mounts.retain(|mount| !matches!((self.ask)(&mount.point), Ok(space) if space.f_blocks == 0));
        self.beyond = mounts.len().saturating_sub(FILESYSTEMS_MAX);
        mounts.sort_by_key(|mount| !is_of_device(mount));
        mounts.truncate(FILESYSTEMS_MAX);
        mounts.sort_by(|a, b| a.point.cmp(&b.point));
        cells.clear();
        let mut unreported = |reason| cells.push(&SYSTEM_FILESYSTEMS_UNREPORTED, &[("reason", reason)]);
        self.unreported = Some(Unreported { limit: unreported("limit"), permission: unreported("permission") });
        self.list = mounts.into_iter().map(|mount| Watched::new(mount, cells)).collect();
        Ok(())
    }
}

impl Part for Mounts {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        self.refresh(cells)?;
        let mut outcome = Ok(());
        let mut refused = 0.0;
        for watched in &self.list {
            match (self.ask)(&watched.point) {
                Ok(space) => watched.set(&space, cells),
                // Unmounted since the list was read: the series is stale, and that is all.
                Err(Errno::NOENT) => {}
                Err(Errno::ACCESS | Errno::PERM) => refused += 1.0,
                Err(errno) => {
                    let error = CollectError::Read { path: watched.point.clone(), source: errno.into() };
                    outcome = outcome.and(Err(error));
                }
            }
        }
        if let Some(unreported) = &self.unreported {
            cells.set(unreported.limit, self.beyond as f64);
            cells.set(unreported.permission, refused);
        }
        outcome
    }
}

// === impl Watched ===

impl Watched {
    fn new(mount: Mount, cells: &mut Cells) -> Self {
        let point = mount.point.to_string_lossy();
        let labels = [("device", mount.source.as_str()), ("fstype", &mount.fs_type), ("mountpoint", &point)];
        let mut push = |metric| cells.push(metric, &labels);
        let (size, free) = (push(&SYSTEM_FILESYSTEM_SIZE_BYTES), push(&SYSTEM_FILESYSTEM_FREE_BYTES));
        let available = push(&SYSTEM_FILESYSTEM_AVAILABLE_BYTES);
        let (files, files_free) = (push(&SYSTEM_FILESYSTEM_FILES), push(&SYSTEM_FILESYSTEM_FILES_FREE));
        let readonly = push(&SYSTEM_FILESYSTEM_READONLY);
        Self { size, free, available, files, files_free, readonly, point: mount.point }
    }

    fn set(&self, space: &StatVfs, cells: &mut Cells) {
        let bytes = |blocks: u64| blocks as f64 * space.f_frsize as f64;
        cells.set(self.size, bytes(space.f_blocks));
        cells.set(self.free, bytes(space.f_bfree));
        cells.set(self.available, bytes(space.f_bavail));
        cells.set(self.files, space.f_files as f64);
        cells.set(self.files_free, space.f_ffree as f64);
        cells.set(self.readonly, f64::from(u8::from(space.f_flag.contains(StatVfsMountFlags::RDONLY))));
    }
}

// === helpers ===

/// The mounts to report: each file system once, none of those that the module's heading leaves out, by mount point.
fn select(all: Vec<Mount>, network: NetworkMounts) -> Vec<Mount> {
    let mut by_point: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in mounts::visible(all) {
        by_point.insert(mount.point.to_string_lossy().into_owned(), mount); // of two at one point, the later is seen
    }
    let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in by_point.into_values().filter(|mount| is_wanted(mount, network)) {
        match by_device.entry(mount.device.clone()) {
            Entry::Vacant(place) => {
                place.insert(mount);
            }
            Entry::Occupied(mut place) if rank(&mount) < rank(place.get()) => {
                place.insert(mount);
            }
            Entry::Occupied(_) => {}
        }
    }
    let mut mounts: Vec<Mount> = by_device.into_values().collect();
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    mounts
}

/// Less is better: the whole file system before a part of it, a short path before a long one.
fn rank(mount: &Mount) -> (bool, usize) {
    (mount.root != Path::new("/"), mount.point.as_os_str().len())
}

/// Whether the space is a real device's, and not memory or a view of another file system.
fn is_of_device(mount: &Mount) -> bool {
    !mount.device.starts_with("0:") || POOL_TYPES.contains(&mount.fs_type.as_str())
}

fn is_wanted(mount: &Mount, network: NetworkMounts) -> bool {
    let fs_type = mount.fs_type.as_str();
    let is_place_of_kernel = KERNEL_PLACES.iter().any(|place| mount.point.starts_with(place));
    let is_of_runtime =
        RUNTIME_TYPES.contains(&fs_type) && RUNTIME_PLACES.iter().any(|place| mount.point.starts_with(place));
    let is_network = NETWORK_TYPES.contains(&fs_type) || fs_type.starts_with("fuse.");
    let point = mount.point.to_string_lossy();
    let is_label = |text: &str| text.len() <= LABEL_VALUE_MAX_BYTES && !text.contains('\0');
    !KERNEL_TYPES.contains(&fs_type)
        && !is_of_runtime
        && (!is_place_of_kernel || mount.point == Path::new(SHARED_MEMORY))
        && (network == NetworkMounts::Include || !is_network)
        && [&point, fs_type, &mount.source].into_iter().all(is_label)
}

#[cfg(test)]
mod tests;
