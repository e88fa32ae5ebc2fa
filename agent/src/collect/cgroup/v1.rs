//! The files of version 1 groups: a directory for each of the controllers `cpuacct`, `cpu` and `memory`, often the same
//! for the first two.

use super::{CpuReading, Groups, MemoryReading};
use crate::collect::CollectError;
use crate::collect::file::{KeptFile, Probe};
use crate::collect::parse::{Flaw, keyed, single, whole};
use std::path::Path;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// From here on a limit is none: the kernel writes 2⁶³ rounded down to whole pages, and no machine has as much.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// CPU of version 1 groups.
#[derive(Debug)]
pub struct Cpu {
    usage: KeptFile,
    split: Option<KeptFile>,
    throttling: Option<KeptFile>,
    /// Of the group and of those above it.
    limits: Vec<Limit>,
    ticks_per_second: f64,
}

/// Memory of a version 1 group.
#[derive(Debug)]
pub struct Memory {
    usage: KeptFile,
    limit: Option<KeptFile>,
    stat: Option<KeptFile>,
    oom_control: Option<KeptFile>,
}

#[derive(Debug)]
struct Limit {
    quota: KeptFile,
    period: KeptFile,
}

// === impl Cpu ===

impl Cpu {
    /// `None` where no group tells its CPU time.
    pub fn open(groups: &Groups, probe: &mut Probe) -> Option<Self> {
        let accounting = &groups.v1_cpuacct.as_ref()?.dir;
        let usage = probe.optional(accounting.join("cpuacct.usage"))?;
        let split = probe.optional(accounting.join("cpuacct.stat"));
        let (mut throttling, mut limits) = (None, Vec::new());
        if let Some(place) = &groups.v1_cpu {
            throttling = probe.optional(place.dir.join("cpu.stat"));
            limits = place.dirs().filter_map(|dir| Limit::open(dir, probe)).collect();
        }
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        Some(Self { usage, split, throttling, limits, ticks_per_second })
    }

    /// Adds what can be read to `reading`.
    pub fn read(&mut self, reading: &mut CpuReading) -> Result<(), CollectError> {
        reading.seconds = Some(self.usage.parse(single)? as f64 / NANOSECONDS_PER_SECOND);
        if let Some(split) = &mut self.split {
            let times = split.parse(|text| keyed(text, ["user", "system"]))?;
            let [user, system] = times.map(|ticks| ticks.map(|ticks| ticks as f64 / self.ticks_per_second));
            (reading.user_seconds, reading.system_seconds) = (user, system);
        }
        if let Some(throttling) = &mut self.throttling {
            let keys = ["nr_periods", "nr_throttled", "throttled_time"];
            let values = throttling.parse(|text| keyed(text, keys))?;
            let [periods, throttled_periods, nanos] = values.map(|value| value.map(|value| value as f64));
            (reading.periods, reading.throttled_periods) = (periods, throttled_periods);
            reading.throttled_seconds = nanos.map(|nanos| nanos / NANOSECONDS_PER_SECOND);
        }
        for Limit { quota, period } in &mut self.limits {
            let Some(quota) = quota.parse(parse_quota)? else { continue };
            let cores = quota as f64 / period.parse(parse_period)? as f64;
            reading.limit_cores = Some(reading.limit_cores.map_or(cores, |smallest| smallest.min(cores)));
        }
        Ok(())
    }
}

// === impl Limit ===

impl Limit {
    fn open(dir: &Path, probe: &mut Probe) -> Option<Self> {
        let quota = probe.optional(dir.join("cpu.cfs_quota_us"))?;
        Some(Self { quota, period: probe.optional(dir.join("cpu.cfs_period_us"))? })
    }
}

// === impl Memory ===

impl Memory {
    /// `None` where the group does not tell its memory.
    pub fn open(dir: &Path, probe: &mut Probe) -> Option<Self> {
        Some(Self {
            usage: probe.optional(dir.join("memory.usage_in_bytes"))?,
            limit: probe.optional(dir.join("memory.limit_in_bytes")),
            stat: probe.optional(dir.join("memory.stat")),
            oom_control: probe.optional(dir.join("memory.oom_control")),
        })
    }

    /// Adds what can be read to `reading`. The limit is the smallest of the group's own and those above it.
    pub fn read(&mut self, reading: &mut MemoryReading) -> Result<(), CollectError> {
        reading.usage_bytes = Some(self.usage.parse(single)? as f64);
        let mut limit = match &mut self.limit {
            Some(file) => file.parse(single)?,
            None => u64::MAX,
        };
        if let Some(stat) = &mut self.stat {
            let keys = ["hierarchical_memory_limit", "total_inactive_file"];
            let [limit_above, inactive_file] = stat.parse(|text| keyed(text, keys))?;
            limit = limit.min(limit_above.unwrap_or(u64::MAX));
            reading.inactive_file_bytes = inactive_file.map(|bytes| bytes as f64);
        }
        reading.limit_bytes = (limit < NO_LIMIT_BYTES).then_some(limit as f64);
        if let Some(file) = &mut self.oom_control {
            let [kills] = file.parse(|text| keyed(text, ["oom_kill"]))?; // not there before 4.13
            reading.oom_kills = kills.map(|count| count as f64);
        }
        Ok(())
    }
}

// === helpers ===

/// Microseconds of each period, or -1 for no limit.
fn parse_quota(text: &[u8]) -> Result<Option<u64>, Flaw> {
    match text.trim_ascii() {
        b"-1" => Ok(None),
        quota => whole(quota).map(Some).ok_or_else(|| Flaw::new("-1 or a whole number", text)),
    }
}

fn parse_period(text: &[u8]) -> Result<u64, Flaw> {
    single(text).and_then(|period| if period > 0 { Ok(period) } else { Err(Flaw::new("a period of at least 1", text)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quota_is_none_or_a_number_and_a_period_is_not_zero() {
        assert_eq!(parse_quota(b"-1\n"), Ok(None));
        assert_eq!(parse_quota(b"150000\n"), Ok(Some(150_000)));
        assert!(parse_quota(b"-2\n").expect_err("refused").to_string().contains("-1 or a whole number"));
        assert!(parse_quota(b"").is_err());
        assert_eq!(parse_period(b"100000\n"), Ok(100_000));
        assert!(parse_period(b"0\n").expect_err("refused").to_string().contains("at least 1"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_quota(&bytes);
            let _ = parse_period(&bytes);
        }
    }
}
