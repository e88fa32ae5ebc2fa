//! The source `process`: the watched service, the agent's neighbour in the pod.
//!
//! [`find`] says how it is found. Once found, its files are kept open: a descriptor below `/proc/PID` belongs to the
//! process and not to the number, so that a process that took over the number is never mistaken for it. When the
//! process ends, its series are stale and it is looked for again, at longer and longer intervals. Where the target is a
//! number, only the process that had it first is meant.
//!
//! Which of its files may be read can change while it runs: a container's runtime opens up when it becomes the service,
//! a group is made anew. So they are opened again ([`RETRY_AFTER`], [`RETRY_MISSING`]) when its name changes, when one
//! cannot be read, and from time to time while something is missing.
//!
//! CPU and memory of the *service* come from its own control group where that can be read, through
//! `/proc/PID/root/sys/fs/cgroup`: it counts all processes of the container. Otherwise they come from `/proc/PID/stat`
//! and count the one process. The label `source` of the three `service_cpu_*` and `service_memory_*` series says which.
//! What belongs to the one process is always reported as `service_process_*`.
//!
//! Of the process are read: `stat`, `io`, `limits`, `fd` (how many, not which), `cgroup`, `mountinfo`, and for finding
//! it `comm` (in `stat`), `exe` and `ns/mnt`. `environ` and `cmdline` are never opened.

mod detail;
mod find;
mod stat;

pub use find::{Target, not_found};

use super::cgroup::{self, Membership, Owner};
use super::file::{KeptFile, Probe};
use super::part::Parts;
use super::{CollectError, Collector, Note, Table};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// First pause between two searches that found nothing; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause: a service that was restarted is seen after it. A search reads a file of every process of the host.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Least age of the opened files at which a change of name or a file that cannot be read has them opened again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Age of the opened files at which they are opened again because something was missing.
const RETRY_MISSING: Duration = Duration::from_secs(60);

/// The source `process`.
pub struct Process {
    proc: PathBuf,
    target: Target,
    /// When the first process of the target's number began: another that gets the number is not meant.
    began_ticks: Option<u64>,
    state: State,
}

/// A process with its files open.
struct Found {
    pid: u32,
    start_ticks: u64,
    parts: Parts,
    /// When its files were opened.
    opened_at: Duration,
    /// Whether it goes by another name since.
    renamed: Arc<AtomicBool>,
    /// Whether the last pass could not read one of its files.
    is_doubtful: bool,
}

enum State {
    Found(Found),
    Lost {
        /// No search before this.
        next_search: Duration,
        pause: Duration,
        /// What the last search said, which holds until the next.
        why: Option<CollectError>,
    },
}

// === impl Process ===

impl Process {
    /// Looks for the process once, so that the first pass can already tell its share of CPU time; `elapsed` is the
    /// monotonic time of [`Collector::collect`]. Never fails: a process not found is said by each pass.
    pub fn new(proc: &Path, target: Target, elapsed: Duration) -> Self {
        let lost = State::Lost { next_search: Duration::ZERO, pause: PAUSE_MIN, why: None };
        let mut process = Self { proc: proc.to_owned(), target, began_ticks: None, state: lost };
        // Not finding it is no error yet: the service may start after its sidecar. The first pass searches again.
        if let Ok(found) = process.search(elapsed) {
            process.state = State::Found(found);
        }
        process
    }

    /// The process that is watched at present.
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Found(found) => Some(found.pid),
            State::Lost { .. } => None,
        }
    }

    fn search(&mut self, elapsed: Duration) -> Result<Found, CollectError> {
        let pid = find::find(&self.proc, &self.target)?;
        let found = self.open(pid, elapsed)?;
        if matches!(self.target, Target::Pid(_))
            && *self.began_ticks.get_or_insert(found.start_ticks) != found.start_ticks
        {
            let text =
                format!("process {pid} has ended and another has its number; start the agent anew to watch that");
            return Err(CollectError::Absent(text));
        }
        Ok(found)
    }

    /// Opens the files again where that may help. What was open stays in use where it does not.
    fn refresh(&mut self, elapsed: Duration) {
        let State::Found(found) = &self.state else { return };
        if !found.wants_refreshing(elapsed) {
            return;
        }
        let opened = self.open(found.pid, elapsed);
        let State::Found(found) = &mut self.state else { return };
        match opened {
            Ok(opened) if found.is_improved_by(&opened) => *found = opened,
            _ => {
                found.opened_at = elapsed;
                found.renamed.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Opens what can be opened of the process.
    fn open(&self, pid: u32, elapsed: Duration) -> Result<Found, CollectError> {
        let dir = self.proc.join(pid.to_string());
        let mut parts = Parts::default();
        let mut probe = Probe::of_another();
        let file = probe.required(dir.join("stat"));
        let boot_time = KeptFile::new(self.proc.join("stat")).parse(super::host::boot_time_seconds)?;
        let mut group_parts = Parts::default();
        let group = self.add_group(&dir, &mut group_parts, &mut probe, elapsed);
        let stat = stat::Opened::try_new(file, pid, boot_time)?;
        let (start_ticks, renamed) = (stat.start_ticks(), stat.renamed());
        parts.add(|cells| stat::Stat::new(stat, group, elapsed, cells));
        parts.append(group_parts);
        if let Some(file) = probe.optional(dir.join("io")) {
            parts.add(|cells| detail::Io::new(file, cells));
        }
        if let Some(file) = probe.optional(dir.join("limits")) {
            parts.add(|cells| detail::Limits::new(file, cells));
        }
        if let Some(descriptors) = detail::Descriptors::open(dir.join("fd"), &mut probe) {
            parts.add(|cells| descriptors.declare(cells));
        }
        parts.add_notes(probe);
        Ok(Found { pid, start_ticks, parts, opened_at: elapsed, renamed, is_doubtful: false })
    }

    /// The process's own group, where it has one apart from ours and lets us look.
    fn add_group(&self, dir: &Path, parts: &mut Parts, probe: &mut Probe, elapsed: Duration) -> cgroup::Readable {
        let locate = || {
            let own = Membership::of(dir)?.apart_from(&Membership::of(&self.proc.join("self"))?);
            if own.is_empty() {
                return Err(CollectError::Absent("it is in the agent's own, or in the root group".into()));
            }
            cgroup::locate(dir, &dir.join("root"), &own)
        };
        let why = match locate() {
            Ok(groups) => {
                let readable = cgroup::add_parts(parts, probe, &groups, Owner::Service, elapsed);
                if readable.cpu || readable.memory {
                    return readable;
                }
                "its container does not show it, or not to us".to_owned()
            }
            Err(error) => runtime::log::chain(&error),
        };
        let problem = Some(format!("no cgroup found, because {why}; CPU and memory are the main process's"));
        probe.note(Note { path: dir.join("root/sys/fs/cgroup"), problem });
        cgroup::Readable { cpu: false, memory: false }
    }
}

// === impl Found ===

impl Found {
    fn wants_refreshing(&self, elapsed: Duration) -> bool {
        let age = elapsed.saturating_sub(self.opened_at);
        let is_missing = || self.parts.notes().iter().any(|note| note.problem.is_some());
        (age >= RETRY_AFTER && (self.is_doubtful || self.renamed.load(Ordering::Relaxed)))
            || (age >= RETRY_MISSING && is_missing())
    }

    /// Whether `opened` is the same process and more of it can be read, or what could be read no longer can.
    fn is_improved_by(&self, opened: &Self) -> bool {
        opened.start_ticks == self.start_ticks && (self.is_doubtful || opened.parts.notes() != self.parts.notes())
    }
}

impl Collector for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        if let State::Lost { next_search, pause, why } = &self.state {
            if elapsed < *next_search {
                return Err(why.as_ref().map_or_else(|| not_found(&self.target), again));
            }
            let pause = *pause;
            match self.search(elapsed) {
                Ok(found) => self.state = State::Found(found),
                Err(error) => {
                    let next_search = elapsed.saturating_add(pause);
                    let (pause, why) = ((pause * 2).min(PAUSE_MAX), Some(again(&error)));
                    self.state = State::Lost { next_search, pause, why };
                    return Err(error);
                }
            }
        }
        self.refresh(elapsed);
        let State::Found(found) = &mut self.state else { return Ok(()) };
        let outcome = found.parts.collect(elapsed, table);
        found.is_doubtful = matches!(outcome, Err(CollectError::Read { .. }));
        if matches!(outcome, Err(CollectError::Absent(_))) {
            self.state = State::Lost { next_search: Duration::ZERO, pause: PAUSE_MIN, why: None };
        }
        outcome
    }

    fn notes(&self) -> Vec<Note> {
        match &self.state {
            State::Found(found) => found.parts.notes().to_vec(),
            State::Lost { .. } => {
                let error = find::find(&self.proc, &self.target).err();
                let error = error.unwrap_or_else(|| not_found(&self.target));
                vec![Note { path: self.proc.clone(), problem: Some(runtime::log::chain(&error)) }]
            }
        }
    }
}

/// The same once more; what the kernel said cannot be cloned.
fn again(error: &CollectError) -> CollectError {
    match error {
        CollectError::Read { path, source } => {
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
            CollectError::Read { path: path.clone(), source }
        }
        CollectError::Malformed { path, problem } => {
            CollectError::Malformed { path: path.clone(), problem: problem.clone() }
        }
        other => CollectError::Absent(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
