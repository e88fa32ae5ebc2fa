//! The source `process`: the watched service, the agent's neighbour in the pod.
//!
//! [`find`] says how it is found. Once found, its files are kept open: a descriptor below `/proc/PID` belongs to the
//! process and not to the number, so that a process that took over the number is never mistaken for it. When the
//! process ends, its series are stale and it is looked for again, at longer and longer intervals.
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

pub use find::Target;

use super::cgroup::{self, Membership, Owner};
use super::file::{KeptFile, Probe};
use super::part::Parts;
use super::{CollectError, Collector, Note, Table};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First pause between two searches that found nothing; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause: a service that was restarted is seen after it. A search reads a file of every process of the host.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The source `process`.
pub struct Process {
    proc: PathBuf,
    target: Target,
    state: State,
}

enum State {
    Found {
        pid: u32,
        parts: Parts,
    },
    Lost {
        /// No search before this.
        next_search: Duration,
        pause: Duration,
    },
}

// === impl Process ===

impl Process {
    /// Looks for the process once, so that the first pass can already tell its share of CPU time; `elapsed` is the
    /// monotonic time of [`Collector::collect`]. Never fails: a process not found is said by each pass.
    pub fn new(proc: &Path, target: Target, elapsed: Duration) -> Self {
        let lost = State::Lost { next_search: Duration::ZERO, pause: PAUSE_MIN };
        let mut process = Self { proc: proc.to_owned(), target, state: lost };
        // Not finding it is no error yet: the service may start after its sidecar. The first pass searches again.
        if let Ok(found) = process.search(elapsed) {
            process.state = found;
        }
        process
    }

    /// The process that is watched at present.
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Found { pid, .. } => Some(pid),
            State::Lost { .. } => None,
        }
    }

    fn search(&self, elapsed: Duration) -> Result<State, CollectError> {
        let pid = find::find(&self.proc, &self.target)?;
        Ok(State::Found { pid, parts: self.open(pid, elapsed)? })
    }

    /// Opens what can be opened of the process.
    fn open(&self, pid: u32, elapsed: Duration) -> Result<Parts, CollectError> {
        let dir = self.proc.join(pid.to_string());
        let mut parts = Parts::default();
        let mut probe = Probe::default();
        let file = probe.required(dir.join("stat"));
        let boot_time = KeptFile::new(self.proc.join("stat")).parse(super::host::boot_time_seconds)?;
        let mut group_parts = Parts::default();
        let group = self.add_group(&dir, &mut group_parts, &mut probe, elapsed);
        let stat = stat::Opened::try_new(file, pid, boot_time)?;
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
        Ok(parts)
    }

    /// The process's own group, where it has one apart from ours and lets us look.
    fn add_group(&self, dir: &Path, parts: &mut Parts, probe: &mut Probe, elapsed: Duration) -> cgroup::Readable {
        let locate = || {
            let own = Membership::of(dir)?.apart_from(&Membership::of(&self.proc.join("self"))?);
            cgroup::locate(dir, &dir.join("root"), &own)
        };
        match locate() {
            Ok(groups) => cgroup::add_parts(parts, probe, &groups, Owner::Service, elapsed),
            Err(error) => {
                let path = dir.join("root/sys/fs/cgroup");
                probe.note(Note { path, problem: Some(runtime::log::chain(&error)) });
                cgroup::Readable { cpu: false, memory: false }
            }
        }
    }
}

impl Collector for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        if let State::Lost { next_search, pause } = self.state {
            if elapsed < next_search {
                return Err(CollectError::Absent(format!("{} was not found", self.target)));
            }
            match self.search(elapsed) {
                Ok(found) => self.state = found,
                Err(error) => {
                    let next_search = elapsed.saturating_add(pause);
                    self.state = State::Lost { next_search, pause: (pause * 2).min(PAUSE_MAX) };
                    return Err(error);
                }
            }
        }
        let State::Found { parts, .. } = &mut self.state else { return Ok(()) };
        let outcome = parts.collect(elapsed, table);
        if matches!(outcome, Err(CollectError::Absent(_))) {
            self.state = State::Lost { next_search: Duration::ZERO, pause: PAUSE_MIN };
        }
        outcome
    }

    fn notes(&self) -> Vec<Note> {
        match &self.state {
            State::Found { parts, .. } => parts.notes().to_vec(),
            State::Lost { .. } => {
                vec![Note { path: self.proc.clone(), problem: Some(format!("{} was not found", self.target)) }]
            }
        }
    }
}

#[cfg(test)]
mod tests;
