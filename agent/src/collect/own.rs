//! The source `agent`: the agent's own metrics, sent like any other.
//!
//! The registry gives its samples in the same order each time; only when one is new (a reason that was never counted),
//! or somebody else emptied the table, is it declared anew.

use crate::collect::file::KeptFile;
use crate::collect::{CollectError, Collector, Slot, Table};
use crate::meters::Meters;
use proto::catalog::Metric;
use proto::telemetry::Telemetry;
use rustix::param::{clock_ticks_per_second, page_size};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// The source's name.
pub const NAME: &str = "agent";

/// Reads the registry, and our own memory and CPU time.
pub struct Own {
    telemetry: Telemetry,
    meters: Meters,
    stat: KeptFile,
    /// Each sample's name and labels, and where its value goes.
    known: Vec<(String, Slot)>,
    /// The table's generation in which they were declared.
    declared: Option<u64>,
}

/// One sample of the registry.
struct Reading {
    row: &'static Metric,
    labels: Vec<(String, String)>,
    identity: String,
    value: f64,
}

impl Own {
    /// Of the registry `telemetry`; `proc` is where procfs is mounted.
    pub fn new(proc: &Path, telemetry: Telemetry, meters: Meters) -> Self {
        Self { telemetry, meters, stat: KeptFile::new(proc.join("self/stat")), known: Vec::new(), declared: None }
    }

    /// Fields 14, 15 (CPU ticks) and 24 (resident pages) of `/proc/self/stat`; see proc(5).
    fn measure(&mut self) -> Result<(), CollectError> {
        let text = String::from_utf8_lossy(self.stat.read()?).into_owned();
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |number: usize| -> Result<f64, CollectError> {
            let found = after_name.split_ascii_whitespace().nth(number - 3).and_then(|field| field.parse().ok());
            found.ok_or_else(|| CollectError::Malformed {
                path: self.stat.path().into(),
                problem: format!("field {number} should be a number"),
            })
        };
        let cpu_seconds = (field(14)? + field(15)?) / clock_ticks_per_second() as f64;
        let grown = cpu_seconds - self.meters.cpu_seconds.get();
        self.meters.cpu_seconds.inc_by(grown.max(0.0));
        self.meters.resident_bytes.set(field(24)? * page_size() as f64);
        Ok(())
    }

    fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.telemetry.visit(|row, name, labels, value| {
            let mut identity = String::from(name);
            for (label, text) in labels {
                let _ = write!(identity, "\u{1f}{label}\u{1f}{text}");
            }
            let labels = labels.iter().map(|(label, text)| ((*label).into(), (*text).into())).collect();
            readings.push(Reading { row, labels, identity, value });
        });
        readings
    }
}

impl Collector for Own {
    fn name(&self) -> &'static str {
        NAME
    }

    fn collect(&mut self, _: Duration, table: &mut Table) -> Result<(), CollectError> {
        let measured = self.measure();
        let readings = self.readings();
        let is_known = readings.iter().map(|reading| &reading.identity).eq(self.known.iter().map(|(name, _)| name));
        if !is_known || self.declared != Some(table.generation()) {
            table.redefine();
            self.known.clear();
            self.declared = Some(table.generation());
            for reading in &readings {
                let labels: Vec<(&str, &str)> = reading.labels.iter().map(|(l, t)| (l.as_str(), t.as_str())).collect();
                self.known.push((reading.identity.clone(), table.series(reading.row, &labels)?));
            }
        }
        for (reading, (_, slot)) in readings.iter().zip(&self.known) {
            table.set(*slot, reading.value);
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_memory_and_cpu_time_are_among_its_samples() {
        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry);
        let mut own = Own::new(Path::new("/proc"), telemetry, meters.clone());
        let mut table = Table::default();
        own.collect(Duration::ZERO, &mut table).expect("our own stat is readable");
        let generation = table.generation();
        let value = |table: &Table, name: &str| {
            let index = table.definitions().iter().position(|def| def.key.name.as_str() == name).expect("is there");
            table.values()[index]
        };
        assert!(value(&table, "monitoring_agent_resident_memory_bytes") > 100_000.0);

        table.begin_pass();
        own.collect(Duration::ZERO, &mut table).expect("readable");
        assert_eq!(table.generation(), generation, "nothing new, so nothing is declared anew");
        meters.collect.passes.with_label_values(&["host"]).inc();
        own.collect(Duration::ZERO, &mut table).expect("readable");
        assert_ne!(table.generation(), generation);
        assert_eq!(value(&table, "monitoring_collector_passes_total"), 1.0);
    }
}
