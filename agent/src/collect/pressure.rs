//! Pressure stall information: how long tasks waited for CPU, memory or I/O. `/proc/pressure` has it for the host, a
//! cgroup v2 directory for its group, both as
//!
//! ```text
//!   some avg10=0.00 avg60=0.07 avg300=0.89 total=23728498     at least one task waited, in microseconds
//!   full avg10=0.00 avg60=0.00 avg300=0.00 total=0            all tasks waited; not there for the CPU before 5.13
//! ```
//!
//! Only the totals are reported: the averages are rates of them over windows that the kernel chose.

use super::CollectError;
use super::file::KeptFile;
use super::parse::{Flaw, fields, lines, whole};
use super::part::{Cell, Cells, Part};
use proto::catalog::Metric;
use std::time::Duration;

/// What the kernel measures pressure on; the files are named so, with `.pressure` behind it in a cgroup.
pub const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

const MICROSECONDS_PER_SECOND: f64 = 1e6;

/// The two metrics of a pressure file.
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// For the line `some`.
    pub waiting: &'static Metric,
    /// For the line `full`.
    pub stalled: &'static Metric,
}

/// One pressure file.
#[derive(Debug)]
pub struct Pressure {
    file: KeptFile,
    metrics: Metrics,
    labels: Vec<(&'static str, String)>,
    declared: Option<(Cell, Option<Cell>)>,
}

// === impl Pressure ===

impl Pressure {
    /// The file, and how its series are called.
    pub fn new(file: KeptFile, metrics: Metrics, labels: Vec<(&'static str, String)>) -> Self {
        Self { file, metrics, labels, declared: None }
    }

    fn declare(&mut self, is_full_there: bool, cells: &mut Cells) -> (Cell, Option<Cell>) {
        let labels: Vec<(&'static str, &str)> =
            self.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let waiting = cells.push(self.metrics.waiting, &labels);
        let stalled = is_full_there.then(|| cells.push(self.metrics.stalled, &labels));
        *self.declared.insert((waiting, stalled))
    }
}

impl Part for Pressure {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let totals = self.file.parse(parse)?;
        let (waiting, stalled) = match self.declared {
            Some(declared) => declared,
            None => self.declare(totals.full.is_some(), cells),
        };
        cells.set(waiting, totals.some as f64 / MICROSECONDS_PER_SECOND);
        if let (Some(cell), Some(full)) = (stalled, totals.full) {
            cells.set(cell, full as f64 / MICROSECONDS_PER_SECOND);
        }
        Ok(())
    }
}

// === helpers ===

/// The totals of a file, in microseconds.
#[derive(Debug, PartialEq, Eq)]
struct Totals {
    some: u64,
    full: Option<u64>,
}

fn parse(text: &[u8]) -> Result<Totals, Flaw> {
    let (mut some, mut full) = (None, None);
    for line in lines(text) {
        let mut fields = fields(line);
        let total = match fields.next() {
            Some(b"some") => &mut some,
            Some(b"full") => &mut full,
            _ => return Err(Flaw::new("a line some or full", line)),
        };
        let value = fields.find_map(|field| field.strip_prefix(b"total=")).and_then(whole);
        *total = Some(value.ok_or_else(|| Flaw::new("total= and a whole number", line))?);
    }
    Ok(Totals { some: some.ok_or_else(|| Flaw::missing("a line some"))?, full })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::tests::{Tree, by_key};
    use proptest::prelude::*;
    use proto::catalog::{SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL, SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL};

    const BOTH: &[u8] = b"some avg10=0.00 avg60=0.07 avg300=0.89 total=23728498\n\
        full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";

    #[test]
    fn the_totals_are_taken_with_and_without_a_full_line() {
        assert_eq!(parse(BOTH), Ok(Totals { some: 23_728_498, full: Some(17) }));
        let some_only = BOTH.split_inclusive(|byte| *byte == b'\n').next().expect("two lines");
        assert_eq!(parse(some_only), Ok(Totals { some: 23_728_498, full: None }));
    }

    #[test]
    fn each_mistake_is_named() {
        let flaw = |text: &str| parse(text.as_bytes()).expect_err("refused").to_string();
        assert_eq!(flaw(""), r#"expected a line some, found """#);
        assert_eq!(flaw("half total=1"), r#"expected a line some or full, found "half total=1""#);
        assert!(flaw("some total=-1").starts_with("expected total= and a whole number"));
        assert!(flaw("some avg10=0.00").starts_with("expected total= and a whole number"));
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..BOTH.len() {
            let _ = parse(&BOTH[..end]);
        }
    }

    const METRICS: Metrics =
        Metrics { waiting: &SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL, stalled: &SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL };

    /// A part that reads a file with `content`, after its first pass.
    fn after_a_pass(content: &[u8]) -> (Tree, Pressure, Cells) {
        let tree = Tree::new(&[]);
        tree.write("cpu", content);
        let file = KeptFile::new(tree.path().join("cpu"));
        let mut part = Pressure::new(file, METRICS, vec![("resource", "cpu".to_owned())]);
        let mut cells = Cells::default();
        part.read(Duration::ZERO, &mut cells).expect("well formed");
        (tree, part, cells)
    }

    #[test]
    fn the_totals_are_reported_in_seconds_under_their_labels() {
        let (_tree, _part, cells) = after_a_pass(BOTH);
        let values = by_key(&cells.to_table());
        assert_eq!(values["system_pressure_waiting_seconds_total{resource=\"cpu\"}"], 23.728_498);
        assert_eq!(values["system_pressure_stalled_seconds_total{resource=\"cpu\"}"], 0.000_017);
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn the_series_are_declared_once() {
        let (tree, mut part, mut cells) = after_a_pass(BOTH);
        assert!(cells.take_changed());
        tree.write("cpu", "some avg10=0.00 total=24000000\n");
        part.read(Duration::ZERO, &mut cells).expect("well formed");
        assert!(!cells.take_changed(), "a line that is gone makes its series stale and not undeclared");
        let waiting = by_key(&cells.to_table())["system_pressure_waiting_seconds_total{resource=\"cpu\"}"];
        assert_eq!(waiting, 24.0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
