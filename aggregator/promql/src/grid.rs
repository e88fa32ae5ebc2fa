//! Values over a row of times: what every node of a query gives, series by series over the whole range.
//!
//! ```text
//! Steps   first  first+step  …                 the times at which the query is evaluated
//! Row     {a="1"}   0.5   none   0.7  …        a series: a value at each of them
//! ```
//! "None" is [`proto::sample::STALE`], bit for bit: no value of a query can be it, since markers are taken out where
//! samples are read and arithmetic makes a quiet NaN of it. So before a value is calculated with it is asked
//! [`is_none`].

use crate::LabelSet;
use proto::sample::{STALE, Timestamp, is_stale};

/// No value at this step.
pub(crate) const NONE: f64 = STALE;

/// Whether there is no value at this step.
pub(crate) fn is_none(value: f64) -> bool {
    is_stale(value)
}

/// The times at which a query is evaluated: `count` of them, `step_ms` apart; an instant query has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub first: Timestamp,
    /// At least 1.
    pub step_ms: i64,
    /// At least 1.
    pub count: usize,
}

/// A series of a vector with its value at each step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub labels: LabelSet,
    /// As many as there are steps; [`NONE`] where there is none.
    pub values: Vec<f64>,
}

/// A vector at each step. Invariant: no two rows of the same labels have a value at the same step.
pub(crate) type Grid = Vec<Row>;

// === impl Steps ===

impl Steps {
    /// One time.
    pub fn once(at: Timestamp) -> Self {
        Self { first: at, step_ms: 1, count: 1 }
    }

    /// The time of a step.
    pub fn at(&self, index: usize) -> Timestamp {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.first.moved_by(self.step_ms.saturating_mul(index))
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Timestamp> {
        let steps = *self;
        (0..self.count).map(move |index| steps.at(index))
    }
}

// === impl Row ===

impl Row {
    /// Whether it has a value at any step.
    pub fn has_values(&self) -> bool {
        self.values.iter().any(|value| !is_none(*value))
    }
}
