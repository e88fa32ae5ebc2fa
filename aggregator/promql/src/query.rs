//! A checked query: what it reads, and its value at a moment or over a range.

use crate::answer::{Answer, EvalError, Limits, Line, Point, Value};
use crate::call::Arg;
use crate::eval::{Evaluator, unwrapped};
use crate::expr::{AggregateOp, BinaryOp, Expr, Kind, Node, Selector, Shift};
use crate::function::Function;
use crate::grid::{Grid, Row, Steps, is_none};
use crate::parse::{ParseError, parse_expr};
use crate::select::Select;
use crate::{LOOKBACK, LabelSet, METRIC_NAME};
use proto::sample::Timestamp;
use std::fmt;
use std::time::Duration;

/// A query that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    expr: Expr,
    text: String,
}

/// Times of a range query: `start`, `start + step`, … up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: Timestamp,
    end: Timestamp,
    step_ms: i64,
}

/// Why there is no such range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It would never get to its end.
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    /// It ends before it starts.
    #[error("end timestamp must not be before start time")]
    Ends,
}

/// Checks `text` and makes it a query.
///
/// Refuses, each with its place: more than [`crate::QUERY_MAX_BYTES`], brackets nested deeper than
/// [`crate::DEPTH_MAX`], more than [`crate::OPERATORS_MAX`] operators or [`crate::REGEXES_MAX`] regexes, and what is not
/// PromQL.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    parse_expr(text).map(|expr| Query { expr, text: text.to_owned() })
}

// === impl Query ===

impl Query {
    /// What it gives.
    pub fn kind(&self) -> Kind {
        self.expr.kind()
    }

    /// The value at `at`.
    pub fn instant(&self, source: &dyn Select, at: Timestamp, limits: &Limits<'_>) -> Result<Answer, EvalError> {
        let mut evaluator = Evaluator::new(source, limits, (at, at), &self.text);
        let value = if self.kind() == Kind::Matrix {
            Value::Matrix(sorted(evaluator.samples(&self.expr, at)?))
        } else {
            match evaluator.eval(&self.expr, &Steps::once(at))? {
                Arg::Scalar(values) => Value::Scalar(at, values[0]),
                Arg::Text(text) => Value::Text(at, text),
                Arg::Vector(grid) => Value::Vector(points(grid, at, has_order(&self.expr))),
            }
        };
        let (notes, samples) = evaluator.finish();
        Ok(Answer { value, notes, samples })
    }

    /// The values at the times of `range`: a matrix. Only a number or a vector has one.
    pub fn range(&self, source: &dyn Select, range: Range, limits: &Limits<'_>) -> Result<Answer, EvalError> {
        let kind = self.kind();
        if matches!(kind, Kind::Text | Kind::Matrix) {
            return Err(EvalError::NoRange(kind));
        }
        let steps = range.steps();
        let mut evaluator = Evaluator::new(source, limits, (range.start, range.end), &self.text);
        let grid = match evaluator.eval(&self.expr, &steps)? {
            Arg::Scalar(values) => vec![Row { labels: LabelSet::empty(), values }],
            Arg::Vector(grid) => grid,
            Arg::Text(_) => unreachable!("refused above"),
        };
        let line = |Row { labels, values }: Row| {
            let points = steps.iter().zip(values).filter(|(_, value)| !is_none(*value)).collect();
            Line { labels, points }
        };
        let value = Value::Matrix(sorted(grid.into_iter().map(line).collect()));
        let (notes, samples) = evaluator.finish();
        Ok(Answer { value, notes, samples })
    }

    /// The exact names that are read, or `None` when they cannot be listed beforehand and only [`Query::reads`] tells.
    pub fn metric_names(&self) -> Option<Vec<&str>> {
        self.expr.selectors().into_iter().map(|selector| selector.name.as_deref()).collect()
    }

    /// Whether samples of the metric `name` can change the value. May say yes once too often, never no.
    pub fn reads(&self, name: &str) -> bool {
        self.expr.selectors().into_iter().any(|selector| {
            selector.name.as_deref().is_none_or(|exact| exact == name) && passes(selector, METRIC_NAME, name)
        })
    }

    /// Whether series whose label `name` is `value` can be among those that are read, whatever their other labels say.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.expr.selectors().into_iter().any(|selector| passes(selector, name, value))
    }

    /// How far back from the evaluation's time it looks at most; `None` where an `@` makes that another time.
    pub fn reads_before(&self) -> Option<Duration> {
        let reach_ms = reach_ms(&self.expr)?;
        Some(Duration::from_millis(u64::try_from(reach_ms).unwrap_or(0)))
    }

    /// Whether what it gives stays true whatever more there is to read: a sum, a count or a greatest value that is above a
    /// number is above it with more in it, too. (A sum of negative numbers is not; nobody asks whether one is above a bound.)
    pub fn only_grows(&self) -> bool {
        let Node::Binary { op, left, right, returns_bool: false, .. } = &unwrapped(&self.expr).node else {
            return false;
        };
        let above = match op {
            BinaryOp::Greater | BinaryOp::GreaterOrEqual => (left, right),
            BinaryOp::Less | BinaryOp::LessOrEqual => (right, left),
            _ => return false,
        };
        grows(above.0) && above.1.kind() == Kind::Scalar && above.1.selectors().is_empty()
    }

    /// The query on several lines where it is long.
    pub fn pretty(&self) -> String {
        crate::print::pretty(&self.expr)
    }
}

impl fmt::Display for Query {
    /// PromQL that parses to an equal query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)
    }
}

// === impl Range ===

impl Range {
    /// A range with at least one time.
    pub fn try_new(start: Timestamp, end: Timestamp, step_ms: i64) -> Result<Self, RangeError> {
        if step_ms <= 0 {
            return Err(RangeError::Step);
        }
        if end < start {
            return Err(RangeError::Ends);
        }
        Ok(Self { start, end, step_ms })
    }

    /// How many times there are.
    pub fn count(&self) -> usize {
        self.steps().count
    }

    fn steps(&self) -> Steps {
        let span = self.end.as_millis().saturating_sub(self.start.as_millis());
        let count = usize::try_from(span / self.step_ms).unwrap_or(usize::MAX).saturating_add(1);
        Steps { first: self.start, step_ms: self.step_ms, count }
    }
}

// === helpers ===

fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by(|a, b| a.labels.cmp(&b.labels));
    lines
}

fn points(grid: Grid, at: Timestamp, has_order: bool) -> Vec<Point> {
    let point = |row: Row| Point { labels: row.labels, at, value: row.values[0] };
    let mut points: Vec<Point> = grid.into_iter().map(point).collect();
    if !has_order {
        points.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    points
}

/// Whether the query says in which order its series come. What is done to each value keeps the order.
fn has_order(expr: &Expr) -> bool {
    match &unwrapped(expr).node {
        Node::Call { function, .. } => matches!(function, Function::Sort | Function::SortDesc),
        Node::Aggregate { op, .. } => matches!(op, AggregateOp::Topk | AggregateOp::Bottomk),
        Node::Unary { inner, .. } => has_order(inner),
        Node::Binary { left, right, .. } => match (left.kind(), right.kind()) {
            (Kind::Vector, Kind::Scalar) => has_order(left),
            (Kind::Scalar, Kind::Vector) => has_order(right),
            _ => false,
        },
        _ => false,
    }
}

/// Whether each value can only become greater when more series are read.
fn grows(expr: &Expr) -> bool {
    match &unwrapped(expr).node {
        Node::Aggregate { op: AggregateOp::Sum | AggregateOp::Count | AggregateOp::Max, inner, .. } => {
            grows(inner) || is_of_each(inner)
        }
        _ => false,
    }
}

/// Whether each series of the result comes from one that is read, and from no other.
fn is_of_each(expr: &Expr) -> bool {
    match &unwrapped(expr).node {
        Node::Select(_) => true,
        Node::Call { function, args } => {
            function.is_over_window()
                && *function != Function::AbsentOverTime
                && args.iter().any(|arg| matches!(arg.node, Node::Window { .. }))
        }
        _ => false,
    }
}

fn passes(selector: &Selector, name: &str, value: &str) -> bool {
    selector.matchers.iter().filter(|matcher| matcher.name() == name).all(|matcher| matcher.matches(value))
}

/// How far back the samples are that are looked at; negative where all are ahead.
fn reach_ms(expr: &Expr) -> Option<i64> {
    let shifted = |shift: Shift, own: i64| shift.at.is_none().then(|| own.saturating_add(shift.offset_ms));
    match &expr.node {
        Node::Number(..) | Node::Text(_) => Some(0),
        Node::Select(selector) => {
            shifted(selector.shift, i64::try_from(LOOKBACK.as_millis()).expect("five minutes are few milliseconds"))
        }
        Node::Window { selector, range_ms } => shifted(selector.shift, *range_ms),
        Node::Subquery { inner, range_ms, shift, .. } => shifted(*shift, reach_ms(inner)?.saturating_add(*range_ms)),
        Node::Call { args, .. } => greatest_reach_ms(args),
        Node::Aggregate { param, inner, .. } => greatest_reach_ms(param.as_deref().into_iter().chain([inner.as_ref()])),
        Node::Binary { left, right, .. } => greatest_reach_ms([left.as_ref(), right.as_ref()]),
        Node::Unary { inner, .. } | Node::Paren(inner) => reach_ms(inner),
    }
}

fn greatest_reach_ms<'e>(exprs: impl IntoIterator<Item = &'e Expr>) -> Option<i64> {
    exprs.into_iter().try_fold(0, |reach: i64, expr| reach_ms(expr).map(|own| reach.max(own)))
}

#[cfg(test)]
mod tests;
