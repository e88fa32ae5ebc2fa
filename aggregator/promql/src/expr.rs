//! The syntax tree of a query that passed every check. Private fields of the crate's own rooms: people see [`crate::Query`].
//!
//! Each node knows the bytes of the text that it covers, so that a message points there. Types are those of Prometheus
//! (`promql/parser/ast.go` and `value.go` name the same things); durations are milliseconds, since that is the
//! resolution of time.

use crate::Matcher;
use crate::function::Function;
use proto::sample::Timestamp;

/// Units of durations with their milliseconds, from the longest to the shortest, in which order they stand, each once. A day has
/// 24 hours, a year 365 days.
pub(crate) const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One number at each time.
    Scalar,
    /// A text.
    Text,
    /// At each time any number of series with a value each.
    Vector,
    /// At each time any number of series with their samples of a window.
    Matrix,
}

/// Bytes of the query's text, `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub start: usize,
    pub end: usize,
}

/// An expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub node: Node,
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// `1.5`, `Inf`, `5m` (300).
    Number(f64, Notation),
    /// `"text"`
    Text(String),
    /// `name{label="value"} offset 5m @ 10`
    Select(Selector),
    /// `name[5m]`; where a modifier stands behind the range it is the selector's.
    Window { selector: Selector, range_ms: i64 },
    /// `inner[1h:1m]`; without a step it is the default one ([`crate::Limits::subquery_step`]).
    Subquery { inner: Box<Expr>, range_ms: i64, step_ms: Option<i64>, shift: Shift },
    /// `rate(x[5m])`
    Call { function: Function, args: Vec<Expr> },
    /// `sum by (a) (x)`, `topk(3, x)`
    Aggregate { op: AggregateOp, param: Option<Box<Expr>>, inner: Box<Expr>, grouping: Grouping },
    /// `a + on (b) c`
    Binary { op: BinaryOp, left: Box<Expr>, right: Box<Expr>, returns_bool: bool, matching: Option<Matching> },
    /// `-x`; a plus before an expression changes nothing and is only printed.
    Unary { negates: bool, inner: Box<Expr> },
    /// `(x)`
    Paren(Box<Expr>),
}

/// How a number was written; only printing asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Notation {
    #[default]
    Plain,
    /// `5m`: its seconds.
    Duration,
}

/// An instant selector with its place in time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    /// The exact name, where one is given, before the braces or in them.
    pub name: Option<String>,
    /// The name was given in the braces, `{"name"}` or `{__name__="name"}`; only printing asks.
    pub is_name_in_braces: bool,
    /// Further conditions; those on [`crate::METRIC_NAME`] are about the name.
    pub matchers: Vec<Matcher>,
    pub shift: Shift,
}

/// When a selector looks, other than at the evaluation's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// So much earlier.
    pub offset_ms: i64,
    /// From here instead of from the evaluation's time.
    pub at: Option<At>,
}

/// `@`: a fixed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// `@ 1609746000`
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// What an aggregation does with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
}

/// `by (…)` or `without (…)`; without either it is `by ()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub is_without: bool,
    pub labels: Vec<String>,
}

/// What stands between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Unless,
}

/// How series of the two sides find each other; always there between two vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matching {
    /// `on (…)` rather than `ignoring (…)`.
    pub is_on: bool,
    pub labels: Vec<String>,
    pub card: Card,
    /// Labels that `group_left (…)` and `group_right (…)` take from the "one" side.
    pub include: Vec<String>,
}

/// How many series of a side may find the same one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Card {
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// `and`, `or`, `unless`
    ManyToMany,
}

// === impl Expr ===

impl Expr {
    /// What it gives.
    pub fn kind(&self) -> Kind {
        match &self.node {
            Node::Number(..) => Kind::Scalar,
            Node::Text(_) => Kind::Text,
            Node::Select(_) | Node::Aggregate { .. } => Kind::Vector,
            Node::Window { .. } | Node::Subquery { .. } => Kind::Matrix,
            Node::Call { function, .. } => function.signature().returns,
            Node::Binary { left, right, .. } => match (left.kind(), right.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
            Node::Unary { inner, .. } | Node::Paren(inner) => inner.kind(),
        }
    }

    /// The expressions of which it is made, from left to right.
    pub fn children(&self) -> Vec<&Self> {
        match &self.node {
            Node::Number(..) | Node::Text(_) | Node::Select(_) | Node::Window { .. } => Vec::new(),
            Node::Subquery { inner, .. } | Node::Unary { inner, .. } | Node::Paren(inner) => vec![inner],
            Node::Call { args, .. } => args.iter().collect(),
            Node::Aggregate { param, inner, .. } => param.iter().map(AsRef::as_ref).chain([inner.as_ref()]).collect(),
            Node::Binary { left, right, .. } => vec![left, right],
        }
    }

    /// Every selector in it, from left to right: what it reads.
    pub fn selectors(&self) -> Vec<&Selector> {
        let (mut found, mut open) = (Vec::new(), vec![self]);
        while let Some(expr) = open.pop() {
            if let Node::Select(selector) | Node::Window { selector, .. } = &expr.node {
                found.push(selector);
            }
            open.extend(expr.children().into_iter().rev());
        }
        found
    }
}

// === impl Span ===

impl Span {
    /// From the start of this one to the end of `last`.
    pub fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

// === impl Kind ===

impl Kind {
    /// As Prometheus documents it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As Prometheus's API names it.
    pub fn as_result_type(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

// === impl AggregateOp ===

/// Known to Prometheus, but only where it is told to be adventurous.
pub(crate) const EXPERIMENTAL_AGGREGATIONS: [&str; 2] = ["limitk", "limit_ratio"];

const AGGREGATIONS: [(AggregateOp, &str); 12] = [
    (AggregateOp::Sum, "sum"),
    (AggregateOp::Avg, "avg"),
    (AggregateOp::Min, "min"),
    (AggregateOp::Max, "max"),
    (AggregateOp::Count, "count"),
    (AggregateOp::Group, "group"),
    (AggregateOp::Stddev, "stddev"),
    (AggregateOp::Stdvar, "stdvar"),
    (AggregateOp::Topk, "topk"),
    (AggregateOp::Bottomk, "bottomk"),
    (AggregateOp::Quantile, "quantile"),
    (AggregateOp::CountValues, "count_values"),
];

impl AggregateOp {
    /// The aggregation of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        AGGREGATIONS.iter().find(|(_, own)| name.eq_ignore_ascii_case(own)).map(|(op, _)| *op)
    }

    /// Whether Prometheus has an aggregation of this name, an experimental one included.
    pub fn is_name(name: &str) -> bool {
        Self::named(name).is_some() || EXPERIMENTAL_AGGREGATIONS.iter().any(|own| name.eq_ignore_ascii_case(own))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        AGGREGATIONS.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// What its first argument is, where it takes one before the vector.
    pub fn param(self) -> Option<Kind> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile => Some(Kind::Scalar),
            Self::CountValues => Some(Kind::Text),
            _ => None,
        }
    }
}

// === impl BinaryOp ===

const BINARY_OPS: [(BinaryOp, &str); 16] = [
    (BinaryOp::Add, "+"),
    (BinaryOp::Sub, "-"),
    (BinaryOp::Mul, "*"),
    (BinaryOp::Div, "/"),
    (BinaryOp::Mod, "%"),
    (BinaryOp::Pow, "^"),
    (BinaryOp::Atan2, "atan2"),
    (BinaryOp::Equal, "=="),
    (BinaryOp::NotEqual, "!="),
    (BinaryOp::Greater, ">"),
    (BinaryOp::GreaterOrEqual, ">="),
    (BinaryOp::Less, "<"),
    (BinaryOp::LessOrEqual, "<="),
    (BinaryOp::And, "and"),
    (BinaryOp::Or, "or"),
    (BinaryOp::Unless, "unless"),
];

impl BinaryOp {
    /// The operator that is written so, words in any case.
    pub fn written(text: &str) -> Option<Self> {
        BINARY_OPS.iter().find(|(_, own)| text.eq_ignore_ascii_case(own)).map(|(op, _)| *op)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        BINARY_OPS.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | GreaterOrEqual | Less | LessOrEqual)
    }

    /// Whether it is about sets of series: `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found_by_its_name_in_any_case() {
        for (op, name) in AGGREGATIONS {
            assert_eq!((AggregateOp::named(&name.to_uppercase()), op.as_str()), (Some(op), name));
        }
        for (op, name) in BINARY_OPS {
            assert_eq!((BinaryOp::written(&name.to_uppercase()), op.as_str()), (Some(op), name));
        }
        assert!(AggregateOp::is_name("LimitK") && AggregateOp::named("limitk").is_none());
        assert!(!AggregateOp::is_name("rate"));
    }
}
