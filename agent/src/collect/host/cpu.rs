//! `/proc/stat`: CPU time by mode, how many CPUs there are, and the kernel's counts of its own work.
//!
//! The first line is the sum over all CPUs, in ticks: `cpu user nice system idle iowait irq softirq steal guest …`.
//! Guest time is contained in user and nice, so the eight modes before it add up to all time. `iowait`, `idle` and
//! `steal` are known to step back a little (the kernel corrects them); the share of CPU time used takes a step back as
//! no time, and the exported counters stand still until they are overtaken.

use crate::collect::CollectError;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, keyed_all, lines, next_whole, whole};
use crate::collect::part::{Cell, Cells, Part};
use proto::catalog::{
    SYSTEM_BOOT_TIME_SECONDS, SYSTEM_CONTEXT_SWITCHES_TOTAL, SYSTEM_CPU_SECONDS_TOTAL, SYSTEM_CPU_USAGE_PERCENT,
    SYSTEM_CPUS, SYSTEM_PROCESSES_BLOCKED, SYSTEM_PROCESSES_CREATED_TOTAL, SYSTEM_PROCESSES_RUNNING,
};
use std::time::Duration;

/// The modes in the order of the file.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;

/// A counter that falls further than this did not step back, it began anew (a restored snapshot of the machine).
const STEP_BACK_MAX_SECONDS: f64 = 10.0;

/// CPU and kernel counters of the host.
#[derive(Debug)]
pub struct Cpu {
    file: KeptFile,
    ticks_per_second: f64,
    /// The modes' ticks at the end of the last window.
    last: Option<[u64; 8]>,
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
    boot_time: Cell,
    context_switches: Cell,
    processes_created: Cell,
    processes_running: Cell,
    processes_blocked: Cell,
}

/// One reading of the file.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    modes: [u64; 8],
    cpus: u64,
    context_switches: u64,
    boot_time_seconds: u64,
    processes_created: u64,
    processes_running: u64,
    processes_blocked: u64,
}

// === impl Cpu ===

impl Cpu {
    /// Takes the first reading, where it can be had.
    pub fn new(mut file: KeptFile, cells: &mut Cells) -> Self {
        let last = file.parse(parse).ok().map(|reading| reading.modes);
        let cells = Declared {
            usage: cells.push(&SYSTEM_CPU_USAGE_PERCENT, &[]),
            modes: MODES.map(|mode| cells.push(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", mode)])),
            count: cells.push(&SYSTEM_CPUS, &[]),
            boot_time: cells.push(&SYSTEM_BOOT_TIME_SECONDS, &[]),
            context_switches: cells.push(&SYSTEM_CONTEXT_SWITCHES_TOTAL, &[]),
            processes_created: cells.push(&SYSTEM_PROCESSES_CREATED_TOTAL, &[]),
            processes_running: cells.push(&SYSTEM_PROCESSES_RUNNING, &[]),
            processes_blocked: cells.push(&SYSTEM_PROCESSES_BLOCKED, &[]),
        };
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        Self { file, ticks_per_second, last, usage_percent: None, exported_seconds: [0.0; 8], cells }
    }

    /// The share of CPU time used since the window before. Passes between which no tick was counted share a window.
    fn update_usage(&mut self, modes: [u64; 8]) -> Option<f64> {
        let last = *self.last.get_or_insert(modes);
        let mut spent = [0.0; 8];
        for index in 0..MODES.len() {
            spent[index] = modes[index].saturating_sub(last[index]) as f64;
        }
        let all: f64 = spent.iter().sum();
        if all > 0.0 {
            self.usage_percent = Some((100.0 * (all - spent[IDLE] - spent[IOWAIT]) / all).clamp(0.0, 100.0));
            self.last = Some(modes);
        } else if modes != last {
            self.last = Some(modes); // all went back: the machine was restored from a snapshot
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
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let reading = self.file.parse(parse)?;
        let usage_percent = self.update_usage(reading.modes);
        cells.set_some(self.cells.usage, usage_percent);
        for (mode, ticks) in reading.modes.into_iter().enumerate() {
            let seconds = self.exported(mode, ticks);
            cells.set(self.cells.modes[mode], seconds);
        }
        cells.set(self.cells.count, reading.cpus as f64);
        cells.set(self.cells.boot_time, reading.boot_time_seconds as f64);
        cells.set(self.cells.context_switches, reading.context_switches as f64);
        cells.set(self.cells.processes_created, reading.processes_created as f64);
        cells.set(self.cells.processes_running, reading.processes_running as f64);
        cells.set(self.cells.processes_blocked, reading.processes_blocked as f64);
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
    let keys = ["ctxt", "btime", "processes", "procs_running", "procs_blocked"];
    let [context_switches, boot_time_seconds, processes_created, processes_running, processes_blocked] =
        keyed_all(text, keys)?;
    Ok(Reading {
        modes,
        cpus,
        context_switches,
        boot_time_seconds,
        processes_created,
        processes_running,
        processes_blocked,
    })
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
