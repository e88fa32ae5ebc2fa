//! All that the language asks of a storage: the samples of the series that pass, in a stretch of time.

use crate::{LabelSet, Matcher};
use proto::sample::Timestamp;
use std::ops::ControlFlow;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The exact name, where one is given: what an index begins with.
    pub name: Option<&'a str>,
    /// Further conditions, all of which must pass; those on [`crate::METRIC_NAME`] are about the name.
    pub matchers: &'a [Matcher],
    /// Samples after this time, which is excluded.
    pub after: Timestamp,
    /// Samples up to this time, which is included.
    pub until: Timestamp,
    /// Which of them matter.
    pub reads: Reads,
}

/// Which samples of the stretch matter to who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// At each time of evaluation the newest one: those before the newest one of the first time change nothing, and need
    /// not be read.
    Newest {
        /// The first time.
        from: Timestamp,
    },
    /// Each: a function looks at all of a window.
    All,
}

/// Samples of one series: as many times as values, times in milliseconds and strictly ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Samples<'a> {
    /// When.
    pub times: &'a [i64],
    /// What; the staleness marker ([`proto::sample::STALE`]) is among them where the series ended.
    pub values: &'a [f64],
}

/// A storage of series.
pub trait Select {
    /// Calls `each` once for every series that passes and has samples in the stretch, with those. The order of the series
    /// is free. Where `each` says to break, no more are read and it is no error.
    ///
    /// Memory: one series at a time; what `each` does not copy is gone when it returns.
    fn select(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError>;
}

/// The storage could not answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    /// What failed, for a person; without its cause.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

// === impl SelectError ===

impl SelectError {
    /// An error without a cause below it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }
}

// === impl Samples ===

impl Samples<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
