//! The source `cgroup`: CPU and memory of the agent's own control group, which is its container's.
//!
//! Version 2 is one tree with all controllers; in version 1 each controller has a tree of its own; a host in *hybrid*
//! mode has both, and then a controller counts in the tree that it is attached to. [`locate`] finds the directories,
//! [`v1`] and [`v2`] read them into the same [`CpuReading`] and [`MemoryReading`], and [`usage`] reports these.
//!
//! The series carry `owner`: `agent` for this source, `service` for the group of the watched process, which
//! [`super::process`] reads with the same parts.

mod locate;
mod usage;
mod v1;
mod v2;

use super::file::Probe;
use super::part::Parts;
use super::pressure::{self, Pressure};
use super::{CollectError, Collector, Note, Table};
use proto::catalog::{CGROUP_PRESSURE_STALLED_SECONDS_TOTAL, CGROUP_PRESSURE_WAITING_SECONDS_TOTAL};
use runtime::log::chain;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use locate::{Groups, Membership, Place, locate, locate_of};

/// Least time between two searches for the group while a file of it cannot be read.
const SEARCH_EVERY: Duration = Duration::from_secs(10);

/// The source `cgroup`.
pub struct Cgroup {
    proc: PathBuf,
    parts: Parts,
    /// Whether the last pass could not read something: the agent may have been moved to another group.
    is_doubtful: bool,
    /// When the group was looked for last.
    searched_at: Duration,
    /// Why it was not found.
    problem: Option<String>,
}

/// Whose group it is, as the label `owner` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent.
    Agent,
    /// The watched process.
    Service,
}

/// What a group used of the CPU; `None` where its version or its host does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuReading {
    /// All CPU time.
    pub seconds: Option<f64>,
    /// CPU time of programs.
    pub user_seconds: Option<f64>,
    /// CPU time of the kernel on their behalf.
    pub system_seconds: Option<f64>,
    /// Periods in which the limit was enforced.
    pub periods: Option<f64>,
    /// Periods in which the group was stopped for having used its share up.
    pub throttled_periods: Option<f64>,
    /// How long it was stopped.
    pub throttled_seconds: Option<f64>,
    /// How many cores it may use; `None` without a limit.
    pub limit_cores: Option<f64>,
}

/// What a group uses of the memory; `None` where its version or its host does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryReading {
    /// All memory, with the page cache.
    pub usage_bytes: Option<f64>,
    /// How much it may use; `None` without a limit.
    pub limit_bytes: Option<f64>,
    /// Page cache that can be given back at once.
    pub inactive_file_bytes: Option<f64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<f64>,
}

// === impl Cgroup ===

impl Cgroup {
    /// Finds the agent's group from `proc/self`. `elapsed` is the monotonic time of [`Collector::collect`]: the first
    /// reading is taken here, so that the first pass can already tell the share of CPU time. Never fails: a group that
    /// is not found is said by each pass.
    pub fn new(proc: &Path, elapsed: Duration) -> Self {
        let (proc, parts) = (proc.to_owned(), Parts::default());
        let mut cgroup = Self { proc, parts, is_doubtful: false, searched_at: elapsed, problem: None };
        // A group that is not found is looked for again, and said, by the next pass.
        cgroup.problem = cgroup.find(elapsed).err().map(|error| chain(&error));
        cgroup
    }

    fn find(&mut self, elapsed: Duration) -> Result<(), CollectError> {
        self.parts = Parts::default();
        self.searched_at = elapsed;
        let groups = locate_of(&self.proc.join("self"), Path::new(""))?;
        let mut probe = Probe::default();
        add_parts(&mut self.parts, &mut probe, &groups, Owner::Agent, elapsed);
        self.parts.add_notes(probe);
        if !self.parts.is_empty() {
            return Ok(());
        }
        Err(CollectError::Absent(if groups.is_empty() {
            "no cgroup found, because no mount shows the agent's own; mount /sys/fs/cgroup, or switch this collector off"
                .into()
        } else {
            "no cgroup found, because the agent's own tells neither CPU time nor memory; enable its controllers, or \
             switch this collector off"
                .into()
        }))
    }
}

impl Collector for Cgroup {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        let is_due = elapsed.saturating_sub(self.searched_at) >= SEARCH_EVERY;
        if self.parts.is_empty() || (self.is_doubtful && is_due) {
            self.find(elapsed)?;
        }
        let outcome = self.parts.collect(elapsed, table);
        self.is_doubtful = matches!(outcome, Err(CollectError::Read { .. }));
        outcome
    }

    fn notes(&self) -> Vec<Note> {
        let missing = self.problem.iter().filter(|_| self.parts.is_empty());
        let missing =
            missing.map(|problem| Note { path: self.proc.join("self/cgroup"), problem: Some(problem.clone()) });
        self.parts.notes().iter().cloned().chain(missing).collect()
    }
}

// === impl Owner ===

impl Owner {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service => "service",
        }
    }
}

// === helpers ===

const METRICS_OF_PRESSURE: pressure::Metrics = pressure::Metrics {
    waiting: &CGROUP_PRESSURE_WAITING_SECONDS_TOTAL,
    stalled: &CGROUP_PRESSURE_STALLED_SECONDS_TOTAL,
};

/// What of a group can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Its CPU time.
    pub cpu: bool,
    /// Its memory.
    pub memory: bool,
}

/// Adds the parts that read `groups`, with whatever of their files can be read.
pub fn add_parts(parts: &mut Parts, probe: &mut Probe, groups: &Groups, owner: Owner, elapsed: Duration) -> Readable {
    let cpu = usage::CpuSource::open(groups, probe);
    let memory = usage::MemorySource::open(groups, probe);
    let readable = Readable { cpu: cpu.is_some(), memory: memory.is_some() };
    if let Some(source) = cpu {
        parts.add(|cells| usage::Cpu::new(source, owner, elapsed, cells));
    }
    if let Some(source) = memory {
        parts.add(|cells| usage::Memory::new(source, owner, cells));
    }
    for resource in pressure::RESOURCES {
        let Some(place) = &groups.unified else { break };
        let Some(file) = probe.optional(place.dir.join(format!("{resource}.pressure"))) else { continue };
        let labels = vec![("owner", owner.as_str().to_owned()), ("resource", resource.to_owned())];
        parts.add(|_| Pressure::new(file, METRICS_OF_PRESSURE, labels));
    }
    readable
}

#[cfg(test)]
mod tests;
