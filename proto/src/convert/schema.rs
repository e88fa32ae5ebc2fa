//! The list of series that a source reports: encoded once, known by the hash of its bytes.

use super::measure::{self, undecodable};
use super::{millis, v1};
use crate::limits::INTERVAL_MAX;
use crate::name::{SeriesKey, shown};
use crate::refused::Refused;
use crate::sample::{Kind, Schema, SchemaId, SeriesDef};
use bytes::Bytes;
use prost::Message;
use std::collections::HashSet;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Longest name of a source.
const SOURCE_MAX_BYTES: usize = 64;

/// A schema in its encoded form; equal content has equal bytes and so an equal id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaBytes {
    /// xxh3-64 of `bytes`.
    pub id: SchemaId,
    /// The encoded schema.
    pub bytes: Bytes,
}

// === impl SchemaBytes ===

impl SchemaBytes {
    /// Encodes `series` as what `source` reports once in `interval`; zero where it has no rhythm.
    pub fn encode(source: &str, interval: Duration, series: &[SeriesDef]) -> Self {
        let series = series.iter().map(series_to_wire).collect();
        let schema = v1::Schema { source: source.into(), series, interval_ms: millis(interval) };
        let bytes = Bytes::from(schema.encode_to_vec());
        Self { id: SchemaId(xxh3_64(&bytes)), bytes }
    }

    /// Checks that `bytes` hash to `id` and hold a schema within the limits.
    pub fn decode(&self) -> Result<Schema, Refused> {
        let found = xxh3_64(&self.bytes);
        if found != self.id.0 {
            return Err(Refused::SchemaHash { said: self.id.0, found });
        }
        measure::check_schema(&self.bytes)?;
        let wire = v1::Schema::decode(self.bytes.clone()).map_err(undecodable)?;
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=SOURCE_MAX_BYTES).contains(&wire.source.len()) || !wire.source.bytes().all(named) {
            return Err(Refused::SourceName);
        }
        let interval = Duration::from_millis(wire.interval_ms);
        if interval > INTERVAL_MAX {
            return Err(Refused::SourceInterval { source_name: wire.source, interval_ms: wire.interval_ms });
        }
        let mut series = Vec::with_capacity(wire.series.len());
        let mut seen = HashSet::with_capacity(wire.series.len());
        for one in &wire.series {
            let def = series_from_wire(&wire.source, one)?;
            if !seen.insert(def.key.clone()) {
                return Err(Refused::DuplicateSeries(shown(&def.key.to_string())));
            }
            series.push(def);
        }
        Ok(Schema { source: wire.source, interval, series })
    }
}

fn series_to_wire(def: &SeriesDef) -> v1::Series {
    let kind = match def.kind {
        Kind::Gauge => v1::Kind::Gauge,
        Kind::Counter => v1::Kind::Counter,
        Kind::Histogram => v1::Kind::Histogram,
    };
    let labels = def.key.labels.iter();
    v1::Series {
        name: def.key.name.as_str().into(),
        labels: labels.map(|l| v1::Label { name: l.name().into(), value: l.value().into() }).collect(),
        kind: kind.into(),
    }
}

fn series_from_wire(source: &str, wire: &v1::Series) -> Result<SeriesDef, Refused> {
    let labels = wire.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let key = SeriesKey::try_new(&wire.name, labels)
        .map_err(|problem| Refused::Name { source_name: source.into(), problem })?;
    let kind = match wire.kind() {
        v1::Kind::Gauge => Kind::Gauge,
        v1::Kind::Counter => Kind::Counter,
        v1::Kind::Histogram => Kind::Histogram,
        v1::Kind::Unspecified => return Err(Refused::Kind { series: shown(&key.to_string()), kind: wire.kind }),
    };
    Ok(SeriesDef { key, kind })
}
