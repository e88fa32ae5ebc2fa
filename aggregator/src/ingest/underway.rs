//! A batch between its arrival and its outcome: each that came has one outcome, or waits.
//!
//! Law: received = stored + replayed + unproven + refused + taken + abandoned + waiting, at every moment.

use crate::meters::IngestMeters;
use prometheus::{Gauge, IntCounterVec};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new, and durable.
    Stored,
    /// It was durable already.
    Replayed,
    /// It was durable already, or its place was: what stood there is pruned.
    Unproven,
    /// It will not be taken as it is.
    Refused,
    /// Another stands in its place.
    Taken,
}

/// A batch that waits for its outcome. Where it ends without one it is abandoned: its agent has it still.
pub(super) struct Underway(Option<(IntCounterVec, Gauge)>);

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replayed => "replayed",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
            Self::Taken => "taken",
        }
    }
}

impl Underway {
    /// One has come.
    pub(super) fn begin(meters: &IngestMeters) -> Self {
        meters.received.inc();
        meters.waiting.inc();
        Self(Some((meters.batches.clone(), meters.waiting.clone())))
    }

    /// It has its outcome.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.count(outcome.as_str());
    }

    fn count(&mut self, outcome: &str) {
        if let Some((outcomes, waiting)) = self.0.take() {
            waiting.dec();
            outcomes.with_label_values(&[outcome]).inc();
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.count("abandoned");
    }
}
