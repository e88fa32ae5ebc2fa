//! The host: CPU, memory, swap, load, block devices, network interfaces, pressure and uptime, all from `/proc`.
//!
//! In a pod, `/proc` shows the node's CPU, memory, load and disks, and the pod's own network: that is the network
//! namespace of the agent. Space on file systems is a source of its own ([`super::filesystem`]), because asking for it
//! can hang. The offset of the clock stands in no file of the kernel; the aggregator measures it from what it receives,
//! and a wall clock that was set shows here as a jump of `system_boot_time_seconds`.

mod cpu;
mod disk;
mod load;
mod memory;
mod network;

use super::file::Probe;
use super::part::Parts;
use super::pressure::{self, Pressure};
use super::{CollectError, Collector, Note, Table};
use proto::catalog::{SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL, SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL};
use std::path::Path;
use std::time::Duration;

pub use cpu::boot_time_seconds;

/// The source `host`.
pub struct Host {
    parts: Parts,
}

// === impl Host ===

impl Host {
    /// Reads the CPU's counters once, so that an early pass can already tell the share used; `elapsed` is now, as in
    /// [`Collector::collect`]. `proc` is `/proc`, or a copy in tests. Never fails: a file that cannot be read fails its part of each pass, and one that this kernel
    /// does not have is left out; [`Collector::notes`] says which.
    pub fn new(proc: &Path, elapsed: Duration) -> Self {
        let mut parts = Parts::default();
        let mut probe = Probe::default();
        let (stat, meminfo) = (probe.required(proc.join("stat")), probe.required(proc.join("meminfo")));
        let (average, uptime) = (probe.required(proc.join("loadavg")), probe.required(proc.join("uptime")));
        parts.add(|cells| cpu::Cpu::new(stat, elapsed, cells));
        parts.add(|cells| memory::Memory::new(meminfo, cells));
        parts.add(|cells| load::Load::new(average, cells));
        parts.add(|cells| load::Uptime::new(uptime, cells));
        if let Some(file) = probe.optional(proc.join("vmstat")) {
            parts.add(|cells| memory::Paging::new(file, cells));
        }
        if let Some(file) = probe.optional(proc.join("diskstats")) {
            let sysfs = proc.parent().unwrap_or(proc).join("sys/class/block");
            parts.add(|_| disk::Disks::new(file, sysfs));
        }
        if let Some(file) = probe.optional(proc.join("net/dev")) {
            parts.add(|_| network::Interfaces::new(file));
        }
        for resource in pressure::RESOURCES {
            if let Some(file) = probe.optional(proc.join("pressure").join(resource)) {
                parts.add(|_| Pressure::new(file, METRICS_OF_PRESSURE, vec![("resource", resource.to_owned())]));
            }
        }
        parts.add_notes(probe);
        Self { parts }
    }
}

const METRICS_OF_PRESSURE: pressure::Metrics = pressure::Metrics {
    waiting: &SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL,
    stalled: &SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL,
};

impl Collector for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        self.parts.collect(elapsed, table)
    }

    fn notes(&self) -> Vec<Note> {
        self.parts.notes().to_vec()
    }
}

#[cfg(test)]
mod tests;
