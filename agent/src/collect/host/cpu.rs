//! `/proc/stat`: CPU time by mode, how many CPUs there are, and the kernel's counts of its own work.
//!
//! The first line is the sum over all CPUs, in ticks: `cpu user nice system idle iowait irq softirq steal guest …`.
//! Guest time is contained in user and nice, so the eight modes before it add up to all time. `iowait`, `idle` and
//! `steal` are known to step back a little (the kernel corrects them); the share of CPU time used takes a step back as
//! no time, and the exported counters stand still until they are overtaken.
//!
//! A key that is not there (a sandbox imitates the file with the least that programs look for) costs its own series.

use crate::collect::CollectError;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, keyed, keyed_all, lines, next_whole, whole};
use crate::collect::part::{Cell, Cells, Part};
use crate::collect::rate::WINDOW_MIN;
use proto::catalog::{
    SYSTEM_BOOT_TIME_SECONDS, SYSTEM_CONTEXT_SWITCHES_TOTAL, SYSTEM_CPU_SECONDS_TOTAL, SYSTEM_CPU_USAGE_PERCENT,
    SYSTEM_CPUS, SYSTEM_PROCESSES_BLOCKED, SYSTEM_PROCESSES_CREATED_TOTAL, SYSTEM_PROCESSES_RUNNING,
};
use std::time::Duration;

/// The modes in the order of the file.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;

/// What else the file tells, a line each.
const KEYS: [&str; 5] = ["ctxt", "btime", "processes", "procs_running", "procs_blocked"];

/// A counter that falls further than this did not step back, it began anew (a restored snapshot of the machine).
const STEP_BACK_MAX_SECONDS: f64 = 10.0;

/// CPU and kernel counters of the host.
#[derive(Debug)]
pub struct Cpu {
    file: KeptFile,
    ticks_per_second: f64,
    /// Time and the modes' ticks at the end of the last window.
    last: Option<(Duration, [u64; 8])>,
    usage_percent: Option<f64>,
    /// What was exported last, by mode.
    exported_seconds: [f64; 8],
    cells: Declared,
}

#[derive(Debug)]
struct Declared {
    usage: Cell,
    modes: [Cell; 8],
    count: Cell,
    /// Of [`KEYS`], in their order.
    keyed: [Cell; 5],
}

/// One reading of the file.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    modes: [u64; 8],
    cpus: u64,
    /// Of [`KEYS`], in their order; a flaw of one of them costs no CPU time.
    keyed: Result<[Option<u64>; 5], Flaw>,
}

// === impl Cpu ===

impl Cpu {
    /// Takes the first reading, where it can be had.
    pub fn new(mut file: KeptFile, elapsed: Duration, cells: &mut Cells) -> Self {
        let last = file.parse(parse).ok().map(|reading| (elapsed, reading.modes));
        let cells = Declared {
            usage: cells.push(&SYSTEM_CPU_USAGE_PERCENT, &[]),
            modes: MODES.map(|mode| cells.push(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", mode)])),
            count: cells.push(&SYSTEM_CPUS, &[]),
            keyed: [
                &SYSTEM_CONTEXT_SWITCHES_TOTAL,
                &SYSTEM_BOOT_TIME_SECONDS,
                &SYSTEM_PROCESSES_CREATED_TOTAL,
                &SYSTEM_PROCESSES_RUNNING,
                &SYSTEM_PROCESSES_BLOCKED,
            ]
            .map(|metric| cells.push(metric, &[])),
        };
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        Self { file, ticks_per_second, last, usage_percent: None, exported_seconds: [0.0; 8], cells }
    }

    /// The share of CPU time used in the last window. Passes closer to each other than [`WINDOW_MIN`] share one.
    fn update_usage(&mut self, at: Duration, modes: [u64; 8]) -> Option<f64> {
        let (last_at, last) = *self.last.get_or_insert((at, modes));
        if at.saturating_sub(last_at) < WINDOW_MIN {
            return self.usage_percent;
        }
        let mut spent = [0.0; 8];
        for index in 0..MODES.len() {
            spent[index] = modes[index].saturating_sub(last[index]) as f64;
        }
        let all: f64 = spent.iter().sum();
        if all > 0.0 {
            self.usage_percent = Some((100.0 * (all - spent[IDLE] - spent[IOWAIT]) / all).clamp(0.0, 100.0));
            self.last = Some((at, modes));
        } else if modes != last {
            self.last = Some((at, modes)); // all went back: the machine was restored from a snapshot
            self.usage_percent = None;
        }
        self.usage_percent
    }

    fn exported(&mut self, mode: usize, ticks: u64) -> f64 {
        let seconds = ticks as f64 / self.ticks_per_second;
        let before = self.exported_seconds[mode];
        if seconds >= before || before - seconds > STEP_BACK_MAX_SECONDS {
            self.exported_seconds[mode] = seconds;
        }
        self.exported_seconds[mode]
    }
}

impl Part for Cpu {
    fn read(&mut self, elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let reading = self.file.parse(parse)?;
        let usage_percent = self.update_usage(elapsed, reading.modes);
        cells.set_some(self.cells.usage, usage_percent);
        for (mode, ticks) in reading.modes.into_iter().enumerate() {
            let seconds = self.exported(mode, ticks);
            cells.set(self.cells.modes[mode], seconds);
        }
        cells.set(self.cells.count, reading.cpus as f64);
        let keyed = reading.keyed.map_err(|flaw| self.file.malformed(&flaw))?;
        for (cell, value) in self.cells.keyed.into_iter().zip(keyed) {
            cells.set_some(cell, value.map(|value| value as f64));
        }
        Ok(())
    }
}

// === helpers ===

/// When the host booted, in seconds since the Unix epoch, from the text of `/proc/stat`.
pub fn boot_time_seconds(text: &[u8]) -> Result<u64, Flaw> {
    keyed_all(text, ["btime"]).map(|[seconds]| seconds)
}

fn parse(text: &[u8]) -> Result<Reading, Flaw> {
    let mut lines = lines(text);
    let first = lines.next().unwrap_or_default();
    let modes = parse_modes(first)?;
    let is_cpu =
        |line: &&[u8]| line.strip_prefix(b"cpu").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit));
    let cpus = lines.take_while(is_cpu).count() as u64;
    Ok(Reading { modes, cpus, keyed: keyed(text, KEYS) })
}

/// `cpu` and at least the four modes of the oldest kernels; those not there are zero.
fn parse_modes(line: &[u8]) -> Result<[u64; 8], Flaw> {
    let mut fields = fields(line);
    if fields.next() != Some(b"cpu") {
        return Err(Flaw::new("a first line cpu", line));
    }
    let mut modes = [0; 8];
    for mode in &mut modes[..=IDLE] {
        *mode = next_whole(&mut fields, "CPU time in whole ticks")?;
    }
    for (mode, field) in modes[IOWAIT..].iter_mut().zip(fields) {
        *mode = whole(field).ok_or_else(|| Flaw::new("CPU time in whole ticks", field))?;
    }
    Ok(modes)
}

#[cfg(test)]
mod tests;
