//! The source `filesystem`: space and files of each mounted file system.
//!
//! It is a source of its own because `statvfs` on a file system whose server is gone hangs, and then hangs only this.
//! Network file systems are therefore left alone unless they are asked for, and automounts always: looking would mount
//! them. Left out are file systems of the kernel (`proc`, `cgroup`, …) and those without blocks of their own.
//!
//! A file system is reported once, however often it is mounted: in a container, each volume may be a bind mount of one
//! disk. The mount that shows all of it is preferred, then the one with the shortest path.

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
const NETWORK_TYPES: [&str; 14] = [
    "9p",
    "acfs",
    "afs",
    "ceph",
    "cifs",
    "coda",
    "glusterfs",
    "gfs2",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
];

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
    parts: Parts,
}

struct Mounts {
    file: KeptFile,
    network: NetworkMounts,
    /// The file's content when the list below was made of it.
    seen: Vec<u8>,
    list: Vec<Watched>,
    unreported: Option<Cell>,
    unreported_count: usize,
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
        let mut parts = Parts::default();
        let mut probe = Probe::default();
        let file = probe.required(proc.join("self/mountinfo"));
        parts.add(|_| Mounts {
            file,
            network,
            seen: Vec::new(),
            list: Vec::new(),
            unreported: None,
            unreported_count: 0,
        });
        parts.add_notes(probe);
        Self { parts }
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        self.parts.collect(elapsed, table)
    }

    fn notes(&self) -> Vec<Note> {
        self.parts.notes().to_vec()
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
        mounts.retain(|mount| !matches!(rustix::fs::statvfs(&mount.point), Ok(space) if space.f_blocks == 0));
        self.unreported_count = mounts.len().saturating_sub(FILESYSTEMS_MAX);
        mounts.truncate(FILESYSTEMS_MAX);
        cells.clear();
        self.unreported = Some(cells.push(&SYSTEM_FILESYSTEMS_UNREPORTED, &[]));
        self.list = mounts.into_iter().map(|mount| Watched::new(mount, cells)).collect();
        Ok(())
    }
}

impl Part for Mounts {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        self.refresh(cells)?;
        cells.set_some(self.unreported.unwrap_or(Cell::NONE), Some(self.unreported_count as f64));
        let mut outcome = Ok(());
        for watched in &self.list {
            match rustix::fs::statvfs(&watched.point) {
                Ok(space) => watched.set(&space, cells),
                // Unmounted since the list was read, or not ours to see: the series is stale, and that is all.
                Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => {
                    let error = CollectError::Read { path: watched.point.clone(), source: errno.into() };
                    outcome = outcome.and(Err(error));
                }
            }
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
    let mut visible: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in all {
        visible.insert(mount.point.to_string_lossy().into_owned(), mount); // a later mount hides the earlier
    }
    let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in visible.into_values().filter(|mount| is_wanted(mount, network)) {
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

fn is_wanted(mount: &Mount, network: NetworkMounts) -> bool {
    let fs_type = mount.fs_type.as_str();
    let is_place_of_kernel = KERNEL_PLACES.iter().any(|place| mount.point.starts_with(place));
    let is_network = NETWORK_TYPES.contains(&fs_type) || fs_type.starts_with("fuse.");
    let point = mount.point.to_string_lossy();
    let is_label = |text: &str| text.len() <= LABEL_VALUE_MAX_BYTES && !text.contains('\0');
    !KERNEL_TYPES.contains(&fs_type)
        && (!is_place_of_kernel || mount.point == Path::new(SHARED_MEMORY))
        && (network == NetworkMounts::Include || !is_network)
        && [&point, fs_type, &mount.source].into_iter().all(is_label)
}

#[cfg(test)]
mod tests;
