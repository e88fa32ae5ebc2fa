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
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use locate::{Groups, Membership, locate, locate_of};

/// The source `cgroup`.
pub struct Cgroup {
    proc: PathBuf,
    parts: Parts,
    /// Whether the last pass could not read something: the agent may have been moved to another group.
    is_doubtful: bool,
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
        let mut cgroup = Self { proc: proc.to_owned(), parts: Parts::default(), is_doubtful: false };
        // A group that is not found is looked for again, and said, by the next pass.
        cgroup.is_doubtful = cgroup.find(elapsed).is_err();
        cgroup
    }

    fn find(&mut self, elapsed: Duration) -> Result<(), CollectError> {
        self.parts = Parts::default();
        let groups = locate_of(&self.proc.join("self"), Path::new(""))?;
        let mut probe = Probe::default();
        add_parts(&mut self.parts, &mut probe, &groups, Owner::Agent, elapsed);
        self.parts.add_notes(probe);
        Ok(())
    }
}

impl Collector for Cgroup {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        if self.is_doubtful {
            self.find(elapsed)?;
        }
        if self.parts.is_empty() {
            self.is_doubtful = true;
            return Err(CollectError::Absent("no cgroup with a readable CPU or memory controller was found".into()));
        }
        let outcome = self.parts.collect(elapsed, table);
        self.is_doubtful = matches!(outcome, Err(CollectError::Read { .. }));
        outcome
    }

    fn notes(&self) -> Vec<Note> {
        self.parts.notes().to_vec()
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
        let Some(dir) = &groups.unified else { break };
        let Some(file) = probe.optional(dir.join(format!("{resource}.pressure"))) else { continue };
        let labels = vec![("owner", owner.as_str().to_owned()), ("resource", resource.to_owned())];
        parts.add(|_| Pressure::new(file, METRICS_OF_PRESSURE, labels));
    }
    readable
}

#[cfg(test)]
mod tests;
