//! The files of a version 2 group: one directory, all controllers.
//!
//! `cpu.stat` is there in every group; what the controllers `cpu` and `memory` add is there where they are enabled and
//! not in the root group. A group's limit is the smallest of its own and of those above it.

use super::{CpuReading, Groups, MemoryReading, Place};
use crate::collect::CollectError;
use crate::collect::file::{KeptFile, Probe};
use crate::collect::parse::{Flaw, fields, keyed, next_whole, single, whole};
const MICROSECONDS_PER_SECOND: f64 = 1e6;

/// CPU of a version 2 group.
#[derive(Debug)]
pub struct Cpu {
    stat: KeptFile,
    /// Of the group and of those above it.
    max: Vec<KeptFile>,
}

/// Memory of a version 2 group.
#[derive(Debug)]
pub struct Memory {
    current: KeptFile,
    /// Of the group and of those above it.
    max: Vec<KeptFile>,
    stat: Option<KeptFile>,
    events: Option<KeptFile>,
}

// === impl Cpu ===

impl Cpu {
    /// `None` where the group does not tell its CPU time.
    pub fn open(groups: &Groups, probe: &mut Probe) -> Option<Self> {
        let place = groups.unified.as_ref()?;
        let stat = probe.optional(place.dir.join("cpu.stat"))?;
        Some(Self { stat, max: limits(place, "cpu.max", probe) })
    }

    /// Adds what can be read to `reading`.
    pub fn read(&mut self, reading: &mut CpuReading) -> Result<(), CollectError> {
        let [usage, user, system, periods, throttled_periods, throttled] = self.stat.parse(parse_cpu_stat)?;
        let seconds = |micros: Option<u64>| micros.map(|micros| micros as f64 / MICROSECONDS_PER_SECOND);
        reading.seconds = seconds(usage);
        reading.user_seconds = seconds(user);
        reading.system_seconds = seconds(system);
        reading.periods = periods.map(|count| count as f64);
        reading.throttled_periods = throttled_periods.map(|count| count as f64);
        reading.throttled_seconds = seconds(throttled);
        reading.limit_cores = smallest(&mut self.max, parse_cpu_max)?;
        Ok(())
    }
}

// === impl Memory ===

impl Memory {
    /// `None` where the group does not tell its memory.
    pub fn open(groups: &Groups, probe: &mut Probe) -> Option<Self> {
        let place = groups.unified.as_ref()?;
        let dir = &place.dir;
        Some(Self {
            current: probe.optional(dir.join("memory.current"))?,
            max: limits(place, "memory.max", probe),
            stat: probe.optional(dir.join("memory.stat")),
            events: probe.optional(dir.join("memory.events")),
        })
    }

    /// Adds what can be read to `reading`.
    pub fn read(&mut self, reading: &mut MemoryReading) -> Result<(), CollectError> {
        reading.usage_bytes = Some(self.current.parse(single)? as f64);
        reading.limit_bytes = smallest(&mut self.max, |text| Ok(parse_max(text)?.map(|bytes| bytes as f64)))?;
        if let Some(stat) = &mut self.stat {
            let [inactive_file] = stat.parse(|text| keyed(text, ["inactive_file"]))?;
            reading.inactive_file_bytes = inactive_file.map(|bytes| bytes as f64);
        }
        if let Some(events) = &mut self.events {
            let [oom_kill] = events.parse(|text| keyed(text, ["oom_kill"]))?;
            reading.oom_kills = oom_kill.map(|count| count as f64);
        }
        Ok(())
    }
}

// === helpers ===

fn limits(place: &Place, file: &str, probe: &mut Probe) -> Vec<KeptFile> {
    place.dirs().filter_map(|dir| probe.optional(dir.join(file))).collect()
}

/// The smallest limit in these files; `None` where none of them sets one.
fn smallest(
    files: &mut [KeptFile],
    parser: impl Fn(&[u8]) -> Result<Option<f64>, Flaw>,
) -> Result<Option<f64>, CollectError> {
    let mut smallest: Option<f64> = None;
    for file in files {
        if let Some(limit) = file.parse(&parser)? {
            smallest = Some(smallest.map_or(limit, |so_far| so_far.min(limit)));
        }
    }
    Ok(smallest)
}

fn parse_cpu_stat(text: &[u8]) -> Result<[Option<u64>; 6], Flaw> {
    let values =
        keyed(text, ["usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec"])?;
    values[0].ok_or_else(|| Flaw::missing("a line usage_usec"))?;
    Ok(values)
}

/// `max 100000` or `150000 100000`: what may be used in each period, in microseconds.
fn parse_cpu_max(text: &[u8]) -> Result<Option<f64>, Flaw> {
    let mut fields = fields(text);
    let quota = fields.next().unwrap_or_default();
    let expected = "max or a quota, and a period of at least 1";
    let period = next_whole(&mut fields, expected)?;
    match (quota, whole(quota)) {
        (b"max", _) => Ok(None),
        (_, Some(quota)) if period > 0 => Ok(Some(quota as f64 / period as f64)),
        _ => Err(Flaw::new(expected, text)),
    }
}

/// `max` or a number of bytes.
fn parse_max(text: &[u8]) -> Result<Option<u64>, Flaw> {
    if text.trim_ascii() == b"max" { Ok(None) } else { single(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_files_of_a_real_kernel_are_understood() {
        let with_controller = b"usage_usec 916290945\nuser_usec 801871080\nsystem_usec 114419865\nnice_usec 1\n\
            core_sched.force_idle_usec 0\nnr_periods 10\nnr_throttled 3\nthrottled_usec 250000\nnr_bursts 0\n";
        let expected = [916_290_945, 801_871_080, 114_419_865, 10, 3, 250_000].map(Some);
        assert_eq!(parse_cpu_stat(with_controller), Ok(expected));
        let without = parse_cpu_stat(b"usage_usec 1\nuser_usec 2\nsystem_usec 3\n");
        assert_eq!(without, Ok([Some(1), Some(2), Some(3), None, None, None]));
        assert_eq!(parse_cpu_max(b"max 100000\n"), Ok(None));
        assert_eq!(parse_cpu_max(b"150000 100000\n"), Ok(Some(1.5)));
        assert_eq!(parse_max(b"max\n"), Ok(None));
        assert_eq!(parse_max(b"268435456\n"), Ok(Some(268_435_456)));
    }

    #[test]
    fn each_mistake_is_named() {
        assert!(parse_cpu_stat(b"user_usec 1\n").expect_err("refused").to_string().contains("a line usage_usec"));
        for wrong in ["", "max", "150000", "150000 0", "-1 100000", "many 100000"] {
            let flaw = parse_cpu_max(wrong.as_bytes()).expect_err("refused").to_string();
            assert!(flaw.contains("max or a quota"), "{wrong}: {flaw}");
        }
        assert!(parse_max(b"maximum").expect_err("refused").to_string().contains("one whole number"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_cpu_stat(&bytes);
            let _ = parse_cpu_max(&bytes);
            let _ = parse_max(&bytes);
        }

        #[test]
        fn a_limit_is_finite(quota: u64, period: u64) {
            if let Ok(Some(cores)) = parse_cpu_max(format!("{quota} {period}").as_bytes()) {
                prop_assert!(cores.is_finite());
            }
        }
    }
}
