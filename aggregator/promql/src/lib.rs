//! PromQL: text in, a checked [`Query`] out, and its value over whatever implements [`Select`].
//!
//! Why a crate: the language is pure. It knows no clock, no storage and no task, so a query is tested with a list of
//! samples, and the storage is tested without a query.
//!
//! It is the language of a default Prometheus 3, to the last bit of its arithmetic and the words of its messages; what
//! Prometheus calls experimental is refused, and there are no native histograms. [`parse`] bounds its input before it
//! parses; [`Select`] is all that the language asks of a storage; an evaluation has [`Limits`].
//!
//! Limits: [`QUERY_MAX_BYTES`], [`DEPTH_MAX`], [`OPERATORS_MAX`], [`REGEXES_MAX`], [`SAMPLES_MAX`].

mod answer;
mod call;
mod eval;
mod expr;
mod function;
mod gotext;
mod grid;
mod kahan;
mod label_set;
mod matcher;
mod notes;
mod parse;
mod print;
mod quantile;
mod query;
mod quote;
mod select;
mod series_selector;
mod token;
mod window;

pub use answer::{Answer, EvalError, Interrupt, Limits, Line, Point, SAMPLES_MAX, Value};
pub use expr::Kind;
pub use label_set::LabelSet;
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use notes::{NOTES_MAX, Notes};
pub use parse::ParseError;
pub use query::{Query, Range, RangeError, parse};
pub use select::{Reads, Samples, Select, SelectError, Selection};
pub use series_selector::{SeriesSelector, parse_selector};

use std::time::Duration;

/// Bytes of one query. Generated alternations of pod names reach a few KiB; more is a mistake or an attack.
pub const QUERY_MAX_BYTES: usize = 16 * 1024;

/// How deep brackets may nest, and how many operators may wait for their right side (`-` in a row, `^`). People nest below
/// 10; the syntax tree is walked by recursion.
pub const DEPTH_MAX: usize = 100;

/// Operators of one query. A chain `a or b or c …` nests the syntax tree to the left once per operator, without any bracket.
pub const OPERATORS_MAX: usize = 1_000;

/// Regexes of one query. Each may cost a few milliseconds to compile; a query has one or two.
pub const REGEXES_MAX: usize = 50;

/// How far back an instant selector looks for the newest sample of a series. Prometheus's default.
pub const LOOKBACK: Duration = Duration::from_mins(5);

/// The label under which matchers see the metric's name.
pub const METRIC_NAME: &str = "__name__";
