//! What rules say, into the head: the series of recording rules, and `ALERTS` with `ALERTS_FOR_STATE`.
//!
//! Each rule is a source, so that a series which its result no longer has ends at once. Nothing here wakes rules: what
//! a rule reads of another it reads when the samples arrive that both read, or a rule that reads itself would never rest.

use super::{Live, RULES};
use proto::convert::SchemaBytes;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SeriesDef, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tsdb::Origin;

impl Live {
    /// Writes what a rule says at `at`: all that `source` says now.
    pub fn record(&self, source: &str, at: Timestamp, series: BTreeMap<SeriesKey, f64>) {
        // Most alerts are not active most of the time.
        if series.is_empty() && !self.lock().head.has_series(RULES, source) {
            return;
        }
        let (keys, values): (Vec<SeriesKey>, Vec<f64>) = series.into_iter().unzip();
        let series: Vec<SeriesDef> = keys.into_iter().map(|key| SeriesDef { key, kind: Kind::Gauge }).collect();
        let schema_id = SchemaBytes::encode(source, Duration::ZERO, &series).id;
        let schema = Arc::new(Schema { source: source.into(), interval: Duration::ZERO, series });
        let origin = Origin { agent_id: RULES, labels: Vec::new() };
        if let Ok(frame) = Frame::try_new(schema_id, schema, vec![Pass { at, values }]) {
            let mut inner = self.lock();
            let appended = inner.head.append(&origin, &frame);
            inner.said.unreported += appended.over_limit as u64;
        }
    }
}
