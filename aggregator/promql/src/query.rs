//! A checked query and its value at a moment.
//!
//! Invariants: a [`Selector`] has at least one matcher that refuses the empty value, or a name, so no query reads every
//! series by accident; a comparison filters, it changes neither names, labels nor values.

use crate::matcher::quoted;
use crate::{LOOKBACK, METRIC_NAME, MatchOp, Matcher};
use proto::name::{Labels, MetricName};
use proto::sample::{Timestamp, is_stale};
use std::fmt;
use std::time::Duration;

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric's name; `None` once an operation has dropped it.
    pub name: Option<MetricName>,
    /// The labels, without the name.
    pub labels: Labels,
    /// The value, in the metric's unit.
    pub value: f64,
}

/// All that the language asks of a storage.
pub trait Select {
    /// The newest sample of each series that passes, as it stood at `at`.
    ///
    /// The contract, which is Prometheus 3's:
    /// - a series passes when its name is `name` (any, if `None`) and every matcher passes, where a matcher on
    ///   [`METRIC_NAME`] is about the name (see [`Matcher::matches_series`]);
    /// - its point is the sample with the greatest time in `(at - lookback, at]`: the left end is excluded;
    /// - when that sample is the staleness marker ([`proto::sample::STALE`]) the series has no point, however young the
    ///   sample before it;
    /// - each series yields at most one point, with its name; the order is free.
    fn select(
        &self,
        name: Option<&str>,
        matchers: &[Matcher],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<Point>, SelectError>;
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

/// Why a query has no value.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
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

/// An instant selector: `name{label="value", …}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The exact name, where one is given.
    pub name: Option<String>,
    /// Further conditions; those on [`METRIC_NAME`] are about the name.
    pub matchers: Vec<Matcher>,
}

/// A comparison of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// A filter: only points whose value stands so to the number remain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Point on the left, number on the right.
    pub op: CompareOp,
    /// The number.
    pub number: f64,
}

/// A query that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(crate) selector: Selector,
    pub(crate) filter: Option<Comparison>,
}

// === impl Query ===

impl Query {
    /// What is read.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Which of it remains; `None` is all.
    pub fn filter(&self) -> Option<Comparison> {
        self.filter
    }

    /// The value at `at`, looking back [`LOOKBACK`].
    pub fn eval(&self, source: &dyn Select, at: Timestamp) -> Result<Vec<Point>, EvalError> {
        let Selector { name, matchers } = &self.selector;
        let mut points = source
            .select(name.as_deref(), matchers, at, LOOKBACK)
            .map_err(|source| EvalError::Select { selector: self.selector.to_string(), source })?;
        debug_assert!(!points.iter().any(|point| is_stale(point.value)), "the contract of Select");
        if let Some(filter) = self.filter {
            points.retain(|point| filter.keeps(point.value));
        }
        Ok(points)
    }

    /// The exact names that are read, or `None` when they cannot be listed beforehand and only [`Query::reads`] tells.
    pub fn metric_names(&self) -> Option<Vec<&str>> {
        self.selector.name.as_deref().map(|name| vec![name])
    }

    /// Whether samples of the metric `name` can change the value. May say yes once too often, never no.
    pub fn reads(&self, name: &str) -> bool {
        self.selector.name.as_deref().is_none_or(|exact| exact == name)
            && self
                .selector
                .matchers
                .iter()
                .filter(|matcher| matcher.name() == METRIC_NAME)
                .all(|matcher| matcher.matches(name))
    }

    /// Whether series whose label `name` is `value` can be among those that are read, whatever their other labels say.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.selector.matchers.iter().filter(|matcher| matcher.name() == name).all(|matcher| matcher.matches(value))
    }
}

impl fmt::Display for Query {
    /// PromQL that parses to an equal query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.selector)?;
        match self.filter {
            Some(Comparison { op, number }) => write!(f, " {} {number}", op.as_str()),
            None => Ok(()),
        }
    }
}

// === impl Selector ===

impl Selector {
    /// A selector of `name` and `matchers`. Of several exact names the first becomes the name, the rest stay matchers.
    pub(crate) fn new(name: Option<String>, mut matchers: Vec<Matcher>) -> Self {
        let exact = |m: &Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty();
        let name = name.or_else(|| {
            let index = matchers.iter().position(exact)?;
            Some(matchers.remove(index).value().to_owned())
        });
        Self { name, matchers }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.name.as_deref().filter(|name| MetricName::try_new(name).is_ok());
        let quoted = match (&self.name, bare) {
            (Some(name), None) => Some(format!("{METRIC_NAME}={}", quoted(name))),
            _ => None,
        };
        write!(f, "{}", bare.unwrap_or_default())?;
        let inside: Vec<String> = quoted.into_iter().chain(self.matchers.iter().map(ToString::to_string)).collect();
        if inside.is_empty() {
            return Ok(());
        }
        write!(f, "{{{}}}", inside.join(", "))
    }
}

// === impl CompareOp ===

impl CompareOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// The operator that says the same with its sides exchanged; exact for NaN too.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
        }
    }
}

// === impl Comparison ===

impl Comparison {
    /// Whether a point of this value remains. IEEE 754, as in Prometheus: NaN is unequal to all, and nothing else.
    pub fn keeps(self, value: f64) -> bool {
        match self.op {
            CompareOp::Equal => value == self.number,
            CompareOp::NotEqual => value != self.number,
            CompareOp::Greater => value > self.number,
            CompareOp::GreaterOrEqual => value >= self.number,
            CompareOp::Less => value < self.number,
            CompareOp::LessOrEqual => value <= self.number,
        }
    }
}

// === impl SelectError ===

impl SelectError {
    /// An error without a cause below it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }
}

#[cfg(test)]
mod tests;
