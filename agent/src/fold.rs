//! Folds a source's table into what travels: its schema, encoded once for as long as it holds, and one pass.
//!
//! Pure. A value that is no number, or infinite, is dropped here and counted, so that nothing downstream meets one.

use crate::collect::Table;
use proto::convert::SchemaBytes;
use proto::sample::{Pass, STALE, Timestamp, is_stale};
use std::time::Duration;

/// One pass of one source on its way to the spool.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// What the values mean.
    pub schema: SchemaBytes,
    /// The values.
    pub pass: Pass,
}

/// The memory of one source: its schema as last encoded.
#[derive(Debug)]
pub struct Fold {
    source: &'static str,
    interval: Duration,
    encoded: Option<(u64, SchemaBytes)>,
    not_numbers: u64,
}

impl Fold {
    /// For the source called `source`, which takes a pass once in `interval`.
    pub fn new(source: &'static str, interval: Duration) -> Self {
        Self { source, interval, encoded: None, not_numbers: 0 }
    }

    /// The table's pass, taken at `at`; `None` while the source has no series.
    pub fn fold(&mut self, table: &Table, at: Timestamp) -> Option<Folded> {
        if table.definitions().is_empty() {
            return None;
        }
        let schema = match &self.encoded {
            Some((generation, schema)) if *generation == table.generation() => schema.clone(),
            _ => {
                let schema = SchemaBytes::encode(self.source, self.interval, table.definitions());
                self.encoded = Some((table.generation(), schema.clone()));
                schema
            }
        };
        let mut values = table.values().to_vec();
        for value in values.iter_mut().filter(|value| !value.is_finite() && !is_stale(**value)) {
            *value = STALE;
            self.not_numbers += 1;
        }
        Some(Folded { schema, pass: Pass { at, values } })
    }

    /// Values that were no finite number, since the start.
    pub fn not_numbers(&self) -> u64 {
        self.not_numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::catalog::{SYSTEM_CPU_USAGE_PERCENT, SYSTEM_MEMORY_USAGE_BYTES};

    #[test]
    fn the_schema_changes_only_with_the_table() {
        let (mut table, mut fold) = (Table::default(), Fold::new("host", Duration::from_secs(1)));
        assert_eq!(fold.fold(&table, Timestamp::ZERO), None);
        table.redefine();
        let cpu = table.series(&SYSTEM_CPU_USAGE_PERCENT, &[]).expect("legal");
        table.set(cpu, 12.5);
        let first = fold.fold(&table, Timestamp::from_millis(1)).expect("has a series");
        let again = fold.fold(&table, Timestamp::from_millis(2)).expect("has a series");
        assert_eq!(first.schema, again.schema);
        assert_eq!(first.pass.values, [12.5]);

        table.redefine();
        table.series(&SYSTEM_MEMORY_USAGE_BYTES, &[]).expect("legal");
        let changed = fold.fold(&table, Timestamp::from_millis(3)).expect("has a series");
        assert_ne!(changed.schema.id, first.schema.id);
        assert!(is_stale(changed.pass.values[0]));
    }

    #[test]
    fn what_is_no_number_is_counted_and_sent_as_no_value() {
        let (mut table, mut fold) = (Table::default(), Fold::new("host", Duration::from_secs(1)));
        table.redefine();
        let cpu = table.series(&SYSTEM_CPU_USAGE_PERCENT, &[]).expect("legal");
        for (count, value) in [(1, f64::NAN), (2, f64::INFINITY), (3, f64::NEG_INFINITY)] {
            table.set(cpu, value);
            let folded = fold.fold(&table, Timestamp::ZERO).expect("has a series");
            assert!(is_stale(folded.pass.values[0]));
            assert_eq!(fold.not_numbers(), count);
        }
    }
}
