//! Finding the process to watch.
//!
//! - `Pid`: the process of that number.
//! - `Name`: of the processes whose `comm` (15 bytes of the program's or main thread's name) or whose program's file
//!   name (`/proc/PID/exe`, where it may be read) is that name, the oldest.
//! - `Neighbour`: the main process of the other container in a pod with a shared PID namespace: of the processes in
//!   another container than ours, the oldest. It is in another container when `/proc/PID/cgroup` names other groups than
//!   ours, or `/proc/PID/ns/mnt`, where it may be read, another mount namespace. Not counted is the `pause` process
//!   that holds the pod together. Where the oldest is a bare init (`tini` and the like), its oldest child is taken. With
//!   more than two containers, say the name: a mesh's proxy may be older than the service.
//!
//!   Where the PID namespace is the whole host's, which shows by the kernel's own threads or by systemd, there is no
//!   such neighbour, and the oldest process would be the host's init: that is refused.
//!
//! Never counted are ourselves, threads of the kernel, processes that have ended, and what a container's runtime has
//! not turned into its program yet (`runc:[2:INIT]`): its files may still be closed to us. "Oldest" is the lowest start
//! time in ticks, then the lowest pid.

use super::stat::{self, Reading};
use crate::collect::CollectError;
use crate::collect::cgroup::Membership;
use crate::collect::file::KeptFile;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest `comm` of the kernel.
const COMM_MAX_BYTES: usize = 15;

/// What holds a pod's namespaces open.
const PAUSE: &[u8] = b"pause";

/// How a process begins that `runc` has made and that has not become the container's program yet.
const UNBORN: &[u8] = b"runc:[";

/// The init of a host, or of a container that is used like one.
const HOST_INIT: &[u8] = b"systemd";

/// Programs that only start and reap the real one.
const INITS: [&[u8]; 4] = [b"tini", b"dumb-init", b"docker-init", b"catatonit"];

/// Which process to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this number.
    Pid(u32),
    /// The oldest one with this name.
    Name(String),
    /// The main process of the other container.
    Neighbour,
}

struct Candidate {
    pid: u32,
    comm: Vec<u8>,
    reading: Reading,
}

// === impl Target ===

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::Name(name) => write!(f, "a process called {name:?}"),
            Self::Neighbour => f.write_str("a process of another container"),
        }
    }
}

/// The pid of the process to watch.
pub fn find(proc: &Path, target: &Target) -> Result<u32, CollectError> {
    let found = match target {
        Target::Pid(pid) => candidate(proc, *pid).map(|candidate| candidate.pid),
        Target::Name(name) => {
            let named = candidates(proc)?.into_iter().filter(|candidate| is_called(proc, candidate, name.as_bytes()));
            oldest(named).map(|candidate| candidate.pid)
        }
        Target::Neighbour => neighbour(proc)?,
    };
    found.ok_or_else(|| not_found(target))
}

/// That there is no such process, and what to do.
pub fn not_found(target: &Target) -> CollectError {
    CollectError::Absent(match target {
        Target::Pid(_) | Target::Name(_) => {
            format!("{target} was not found; it is looked for again, see that collectors.process.target is right")
        }
        Target::Neighbour => format!("{target} was not found; set shareProcessNamespace in the pod, or say a name"),
    })
}

// === helpers ===

fn neighbour(proc: &Path) -> Result<Option<u32>, CollectError> {
    if is_whole_host(proc) {
        let text = "the processes of a whole host are seen here, so \"neighbour\" is none of them; say a name or a pid in \
                    collectors.process.target";
        return Err(CollectError::Absent(text.into()));
    }
    let ourselves = proc.join("self");
    let groups = Membership::of(&ourselves)?;
    let namespace = mount_namespace(&ourselves);
    let is_elsewhere = |candidate: &Candidate| {
        let dir = proc.join(candidate.pid.to_string());
        let theirs = mount_namespace(&dir);
        let is_other_namespace = theirs.is_some() && namespace.is_some() && theirs != namespace;
        is_other_namespace || Membership::of(&dir).is_ok_and(|theirs| theirs != groups)
    };
    let all = candidates(proc)?;
    let others = all.iter().filter(|candidate| candidate.comm != PAUSE && is_elsewhere(candidate));
    let Some(main) = oldest(others) else { return Ok(None) };
    if !INITS.contains(&main.comm.as_slice()) {
        return Ok(Some(main.pid));
    }
    let child = oldest(all.iter().filter(|candidate| candidate.reading.ppid == main.pid));
    Ok(Some(child.unwrap_or(main).pid))
}

/// Whether `proc` shows a host and not a pod.
fn is_whole_host(proc: &Path) -> bool {
    let stat = |pid: u32| KeptFile::new(proc.join(pid.to_string()).join("stat"));
    let is_init = |text: &[u8]| Ok(stat::split(text)?.0 == HOST_INIT);
    let is_kernels = stat(2).parse(stat::parse).is_ok_and(|reading| reading.is_kernel_thread);
    is_kernels || stat(1).parse(is_init).unwrap_or(false)
}

/// All processes that could be watched.
fn candidates(proc: &Path) -> Result<Vec<Candidate>, CollectError> {
    let read = |source: io::Error| CollectError::Read { path: proc.to_owned(), source };
    let own = own_pid(proc);
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if Some(pid) != own {
            found.extend(candidate(proc, pid).filter(|candidate| !candidate.comm.starts_with(UNBORN)));
        }
    }
    Ok(found)
}

/// A process that runs and is none of the kernel's; one that ends meanwhile, or has a file that we do not understand,
/// is none.
fn candidate(proc: &Path, pid: u32) -> Option<Candidate> {
    let mut file = KeptFile::new(proc.join(pid.to_string()).join("stat"));
    let (comm, reading) = file.parse(|text| Ok((stat::split(text)?.0.to_vec(), stat::parse(text)?))).ok()?;
    let is_candidate = !reading.is_kernel_thread && !reading.has_ended();
    is_candidate.then_some(Candidate { pid, comm, reading })
}

/// Our own number in the PID namespace of `proc`.
fn own_pid(proc: &Path) -> Option<u32> {
    fs::read_link(proc.join("self")).ok()?.to_str()?.parse().ok()
}

fn is_called(proc: &Path, candidate: &Candidate, name: &[u8]) -> bool {
    let comm = &name[..name.len().min(COMM_MAX_BYTES)];
    candidate.comm == comm || program(proc, candidate.pid).is_some_and(|program| program == name)
}

/// The file name of a process's program, also where an update has replaced the file since.
fn program(proc: &Path, pid: u32) -> Option<Vec<u8>> {
    let path = fs::read_link(proc.join(pid.to_string()).join("exe")).ok()?;
    let file = path.file_name()?.as_bytes();
    Some(file.strip_suffix(b" (deleted)").unwrap_or(file).to_vec())
}

fn mount_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/mnt")).ok()
}

fn oldest<C: std::borrow::Borrow<Candidate>>(candidates: impl Iterator<Item = C>) -> Option<C> {
    candidates.min_by_key(|candidate| {
        let candidate: &Candidate = candidate.borrow();
        (candidate.reading.start_ticks, candidate.pid)
    })
}
