//! What a query is answered: a value of one of four types, or a typed error.

use crate::LabelSet;
use crate::expr::Kind;
use crate::notes::Notes;
use crate::select::SelectError;
use proto::sample::Timestamp;

/// A series with one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels, the metric's name included where it was not dropped.
    pub labels: LabelSet,
    /// When: the evaluation's time.
    pub at: Timestamp,
    /// What.
    pub value: f64,
}

/// A series with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its labels, the metric's name included where it was not dropped.
    pub labels: LabelSet,
    /// When and what, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(Timestamp, f64),
    /// A text.
    Text(Timestamp, String),
    /// Series with a value each, in the order that the query asks for (`sort`, `topk`), else by labels.
    Vector(Vec<Point>),
    /// Series with values, ordered by labels.
    Matrix(Vec<Line>),
}

/// What a query is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What is to be said about it.
    pub notes: Notes,
    /// Samples that were looked at, those of each window counted for each step.
    pub samples: u64,
}

/// Why an evaluation was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// It took longer than it may.
    Timeout,
    /// Nobody waits for the answer any more.
    Cancelled,
}

/// What an evaluation may cost.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Samples in memory at a time, and so the answer's. Prometheus calls it `--query.max-samples`, and counts alike.
    pub samples: usize,
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// The step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Asked again and again, at least once a series; the crate knows no clock.
    pub interrupt: &'a dyn Fn() -> Option<Interrupt>,
}

/// Why a query has no value.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// What the query asks for makes no sense with the series there are; the text is Prometheus's.
    #[error("{0}")]
    Execution(String),
    /// Only a number and a vector have a value at each time of a range; the request is wrong, not its evaluation.
    #[error("invalid expression type \"{}\" for range query, must be Scalar or instant Vector", .0.as_str())]
    NoRange(Kind),
    /// It needs more samples in memory than it may.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// It took too long.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Nobody waits any more.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The storage could not answer.
    #[error("the samples of {selector} could not be read")]
    Select {
        /// The selector, as it prints.
        selector: String,
        /// What the storage said.
        #[source]
        source: SelectError,
    },
}

// === impl Limits ===

/// Prometheus's default of `--query.max-samples`.
pub const SAMPLES_MAX: usize = 50_000_000;

impl Default for Limits<'_> {
    fn default() -> Self {
        Self { samples: SAMPLES_MAX, lookback_ms: 5 * 60 * 1000, subquery_step_ms: 60 * 1000, interrupt: &|| None }
    }
}
