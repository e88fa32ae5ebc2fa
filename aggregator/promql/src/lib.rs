//! PromQL: text in, a checked [`Query`] out, and its value at a moment over whatever implements [`Select`].
//!
//! Why a crate: the language is pure. It knows no clock, no storage and no task, so a query is tested with a slice of
//! points, and the storage is tested without a query.
//!
//! What is spoken today is the language of threshold rules: an instant selector, alone or compared with a number.
//! Everything else of PromQL is refused with its place. The walls are those of the whole language already: [`parse`]
//! bounds its input before it parses, [`Select`] is all that the language asks of a storage, [`Point`] may have lost its
//! metric name.
//!
//! Limits: [`QUERY_MAX_BYTES`], [`DEPTH_MAX`], [`OPERATORS_MAX`], [`REGEXES_MAX`].

mod matcher;
mod parse;
mod query;
mod token;
mod walk;

pub use matcher::{MatchOp, Matcher, MatcherError};
pub use parse::{ParseError, parse};
pub use query::{CompareOp, Comparison, EvalError, Point, Query, Select, SelectError, Selector};

use std::time::Duration;

/// Bytes of one query. Generated alternations of pod names reach a few KiB; more is a mistake or an attack.
pub const QUERY_MAX_BYTES: usize = 16 * 1024;

/// How deep brackets may nest. People nest below 10; the syntax tree is walked by recursion.
pub const DEPTH_MAX: usize = 100;

/// Operators of one query. A chain `a or b or c …` nests the syntax tree once per operator without any bracket, and so
/// does a row of signs.
pub const OPERATORS_MAX: usize = 1_000;

/// Regexes of one query. Each may cost a few milliseconds to compile; a query has one or two.
pub const REGEXES_MAX: usize = 50;

/// How far back an instant selector looks for the newest sample of a series. Prometheus's default.
pub const LOOKBACK: Duration = Duration::from_mins(5);

/// The label under which matchers see the metric's name.
pub const METRIC_NAME: &str = "__name__";
