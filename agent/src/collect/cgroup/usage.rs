//! CPU and memory of a group as series, whichever version they come from.
//!
//! A group of the watched service also gives its headline, `service_cpu_*` and `service_memory_usage_bytes` with
//! `source="cgroup"`; [`crate::collect::process`] gives it with `source="stat"` where no group can be read.

use super::{CpuReading, Groups, MemoryReading, Owner, v1, v2};
use crate::collect::CollectError;
use crate::collect::file::Probe;
use crate::collect::part::{Cell, Cells, Part};
use crate::collect::rate::CpuShare;
use proto::catalog::{
    CGROUP_CPU_LIMIT_CORES, CGROUP_CPU_PERIODS_TOTAL, CGROUP_CPU_SECONDS_TOTAL, CGROUP_CPU_SYSTEM_SECONDS_TOTAL,
    CGROUP_CPU_THROTTLED_PERIODS_TOTAL, CGROUP_CPU_THROTTLED_SECONDS_TOTAL, CGROUP_CPU_USAGE_RATIO,
    CGROUP_CPU_USER_SECONDS_TOTAL, CGROUP_MEMORY_LIMIT_BYTES, CGROUP_MEMORY_OOM_KILLS_TOTAL, CGROUP_MEMORY_USAGE_BYTES,
    CGROUP_MEMORY_WORKING_SET_BYTES, Metric, SERVICE_CPU_SECONDS_TOTAL, SERVICE_CPU_USAGE_RATIO,
    SERVICE_MEMORY_USAGE_BYTES,
};
use std::time::Duration;

/// Where a group's CPU time is read.
#[derive(Debug)]
pub enum CpuSource {
    /// A hierarchy of version 1.
    V1(v1::Cpu),
    /// The tree of version 2.
    V2(v2::Cpu),
}

/// Where a group's memory is read.
#[derive(Debug)]
pub enum MemorySource {
    /// A hierarchy of version 1.
    V1(v1::Memory),
    /// The tree of version 2.
    V2(v2::Memory),
}

/// CPU time, limit and throttling of a group.
#[derive(Debug)]
pub struct Cpu {
    source: CpuSource,
    share: CpuShare,
    usage_ratio: Cell,
    seconds: Cell,
    user_seconds: Cell,
    system_seconds: Cell,
    limit_cores: Cell,
    periods: Cell,
    throttled_periods: Cell,
    throttled_seconds: Cell,
    headline: [Cell; 2],
}

/// Memory, limit and OOM kills of a group.
#[derive(Debug)]
pub struct Memory {
    source: MemorySource,
    usage: Cell,
    limit: Cell,
    working_set: Cell,
    oom_kills: Cell,
    headline: Cell,
}

// === impl CpuSource ===

impl CpuSource {
    /// Version 1 where the group has it, since in a hybrid host the controllers are there.
    pub fn open(groups: &Groups, probe: &mut Probe) -> Option<Self> {
        let v1 = v1::Cpu::open(groups, probe).map(Self::V1);
        v1.or_else(|| v2::Cpu::open(groups, probe).map(Self::V2))
    }

    fn read(&mut self, reading: &mut CpuReading) -> Result<(), CollectError> {
        match self {
            Self::V1(files) => files.read(reading),
            Self::V2(files) => files.read(reading),
        }
    }
}

// === impl MemorySource ===

impl MemorySource {
    /// Version 1 where the group has it, since in a hybrid host the controllers are there.
    pub fn open(groups: &Groups, probe: &mut Probe) -> Option<Self> {
        let v1 = groups.v1_memory.as_ref().and_then(|place| v1::Memory::open(&place.dir, probe)).map(Self::V1);
        v1.or_else(|| v2::Memory::open(groups, probe).map(Self::V2))
    }

    fn read(&mut self, reading: &mut MemoryReading) -> Result<(), CollectError> {
        match self {
            Self::V1(files) => files.read(reading),
            Self::V2(files) => files.read(reading),
        }
    }
}

// === impl Cpu ===

impl Cpu {
    /// Declares the series and takes the first reading, `elapsed` being now.
    pub fn new(mut source: CpuSource, owner: Owner, elapsed: Duration, cells: &mut Cells) -> Self {
        let mut reading = CpuReading::default();
        let mut share = CpuShare::default();
        // An error here is met again, and said, by the first pass.
        if source.read(&mut reading).is_ok()
            && let Some(seconds) = reading.seconds
        {
            share.update(elapsed, seconds);
        }
        let mut push = |metric: &'static Metric| cells.push(metric, &[("owner", owner.as_str())]);
        Self {
            source,
            share,
            usage_ratio: push(&CGROUP_CPU_USAGE_RATIO),
            seconds: push(&CGROUP_CPU_SECONDS_TOTAL),
            user_seconds: push(&CGROUP_CPU_USER_SECONDS_TOTAL),
            system_seconds: push(&CGROUP_CPU_SYSTEM_SECONDS_TOTAL),
            limit_cores: push(&CGROUP_CPU_LIMIT_CORES),
            periods: push(&CGROUP_CPU_PERIODS_TOTAL),
            throttled_periods: push(&CGROUP_CPU_THROTTLED_PERIODS_TOTAL),
            throttled_seconds: push(&CGROUP_CPU_THROTTLED_SECONDS_TOTAL),
            headline: [&SERVICE_CPU_USAGE_RATIO, &SERVICE_CPU_SECONDS_TOTAL]
                .map(|metric| headline(metric, owner, cells)),
        }
    }
}

impl Part for Cpu {
    fn read(&mut self, elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let mut reading = CpuReading::default();
        let outcome = self.source.read(&mut reading);
        let usage_ratio = reading.seconds.and_then(|seconds| self.share.update(elapsed, seconds));
        cells.set_some(self.usage_ratio, usage_ratio);
        cells.set_some(self.seconds, reading.seconds);
        cells.set_some(self.user_seconds, reading.user_seconds);
        cells.set_some(self.system_seconds, reading.system_seconds);
        cells.set_some(self.limit_cores, reading.limit_cores);
        cells.set_some(self.periods, reading.periods);
        cells.set_some(self.throttled_periods, reading.throttled_periods);
        cells.set_some(self.throttled_seconds, reading.throttled_seconds);
        cells.set_some(self.headline[0], usage_ratio);
        cells.set_some(self.headline[1], reading.seconds);
        outcome
    }
}

// === impl Memory ===

impl Memory {
    /// Declares the series.
    pub fn new(source: MemorySource, owner: Owner, cells: &mut Cells) -> Self {
        let mut push = |metric: &'static Metric| cells.push(metric, &[("owner", owner.as_str())]);
        Self {
            source,
            usage: push(&CGROUP_MEMORY_USAGE_BYTES),
            limit: push(&CGROUP_MEMORY_LIMIT_BYTES),
            working_set: push(&CGROUP_MEMORY_WORKING_SET_BYTES),
            oom_kills: push(&CGROUP_MEMORY_OOM_KILLS_TOTAL),
            headline: headline(&SERVICE_MEMORY_USAGE_BYTES, owner, cells),
        }
    }
}

impl Part for Memory {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let mut reading = MemoryReading::default();
        let outcome = self.source.read(&mut reading);
        // What can be given back at once is no use of memory: the kubelet's working set.
        let working_set =
            reading.usage_bytes.zip(reading.inactive_file_bytes).map(|(usage, cache)| (usage - cache).max(0.0));
        cells.set_some(self.usage, reading.usage_bytes);
        cells.set_some(self.limit, reading.limit_bytes);
        cells.set_some(self.working_set, working_set);
        cells.set_some(self.oom_kills, reading.oom_kills);
        cells.set_some(self.headline, working_set.or(reading.usage_bytes));
        outcome
    }
}

// === helpers ===

/// The service's own series beside those of its group; none for another owner.
fn headline(metric: &'static Metric, owner: Owner, cells: &mut Cells) -> Cell {
    match owner {
        Owner::Agent => Cell::NONE,
        Owner::Service => cells.push(metric, &[("source", "cgroup")]),
    }
}
