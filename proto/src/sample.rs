//! Samples: a time, a value, and the batch that carries them.
//!
//! A *series* is a metric name and its labels. A *schema* is the full list of series that one source (a collector of
//! an agent) reports; a *pass* is one timestamp and one value for each series of the schema, in the schema's order.
//! Sending the full list each time it changes is what lets a receiver end exactly the series that are gone.
//!
//! Invariant: `pass.values.len() == schema.series.len()`; `Frame::try_new` holds it.

use crate::name::SeriesKey;
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds since the Unix epoch, UTC. The only wall-clock time that crosses our walls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// What a series measures; decides `# TYPE` and which functions make sense on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A total that only grows until its process restarts.
    Counter,
    /// One of the `_bucket`, `_sum` and `_count` series of a classic histogram.
    Histogram,
}

/// One series as a source announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesDef {
    /// Name and labels.
    pub key: SeriesKey,
    /// What it measures.
    pub kind: Kind,
}

/// Identity of a schema: xxh3-64 of its encoded bytes, so equal content has an equal id on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u64);

/// The full list of series that one source reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Which collector or receiver of the agent speaks, e.g. `host`; a newer schema of a source replaces the older.
    pub source: String,
    /// How often it takes a pass; zero where it has no rhythm, at most [`crate::limits::INTERVAL_MAX`].
    pub interval: Duration,
    /// The series, in the order in which passes give their values.
    pub series: Vec<SeriesDef>,
}

/// One timestamp and a value for each series of a schema. [`STALE`] where a series has no value this time.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// When the values were read.
    pub at: Timestamp,
    /// One value per series, in the schema's order.
    pub values: Vec<f64>,
}

/// Passes that share a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Identity of the schema.
    pub schema_id: SchemaId,
    /// What the values mean.
    pub schema: Arc<Schema>,
    /// The passes, oldest first.
    pub passes: Vec<Pass>,
}

/// Records that an agent had to drop, told to the aggregator so that the loss is never silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Epoch of the lost records.
    pub epoch: u128,
    /// First lost sequence number.
    pub first_seq: u64,
    /// Last lost sequence number, inclusive.
    pub last_seq: u64,
    /// Why, e.g. `spool_full`; a word from a short list, never free text.
    pub reason: String,
}

/// Prometheus's staleness marker: the NaN with exactly these bits ends a series. Source: prometheus
/// `model/value/value.go`.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value; compare with [`is_stale`], since NaN equals nothing.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// Whether `value` is the staleness marker, bit for bit.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

// === impl Timestamp ===

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const ZERO: Self = Self(0);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch with the milliseconds as a fraction, as Prometheus prints times.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// By so many milliseconds later, or earlier; stops at the ends of time.
    #[must_use]
    pub const fn moved_by(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_seconds())
    }
}

// === impl Kind ===

impl Kind {
    /// The word after `# TYPE name`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

// === impl Frame ===

impl Frame {
    /// A frame whose passes fit its schema, or the index and length of the first pass that does not.
    pub fn try_new(schema_id: SchemaId, schema: Arc<Schema>, passes: Vec<Pass>) -> Result<Self, (usize, usize)> {
        let expected = schema.series.len();
        match passes.iter().position(|pass| pass.values.len() != expected) {
            Some(index) => Err((index, passes[index].values.len())),
            None => Ok(Self { schema_id, schema, passes }),
        }
    }
}

/// The times of the oldest and the newest sample; `None` where there is none.
pub fn sampled(frames: &[Frame]) -> Option<(Timestamp, Timestamp)> {
    let times = || frames.iter().flat_map(|frame| &frame.passes).map(|pass| pass.at);
    times().min().zip(times().max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staleness_marker_is_a_nan_but_not_every_nan_is_it() {
        assert!(STALE.is_nan());
        assert!(is_stale(STALE));
        assert!(!is_stale(f64::NAN));
    }

    #[test]
    fn time_arithmetic_saturates_instead_of_wrapping() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last + Duration::from_secs(1), last);
        assert_eq!(Timestamp::ZERO.since(last), Duration::ZERO);
        assert_eq!((Timestamp::ZERO + Duration::from_secs(2)).since(Timestamp::ZERO).as_secs(), 2);
    }

    #[test]
    fn a_frame_whose_pass_has_the_wrong_width_is_refused_with_its_place() {
        let schema = Arc::new(Schema { source: "host".into(), interval: Duration::ZERO, series: vec![] });
        let pass = Pass { at: Timestamp::ZERO, values: vec![1.0] };
        assert_eq!(Frame::try_new(SchemaId(1), schema, vec![pass]), Err((0, 1)));
    }
}
