//! The value of a checked tree over a row of times, node by node, each node over all of the times at once.
//!
//! ```text
//! Query ── Evaluator::eval ──┬── select     selectors and windows: the only place that asks the storage
//!                            ├── subquery   an expression at steps of its own, as samples of a window
//!                            ├── arithmetic numbers, and vectors with numbers
//!                            ├── matching   vectors with vectors
//!                            ├── fold, rank aggregations: row by row as they come, or step by step
//!                            └── crate::call, crate::window   functions
//! ```
//! What does not change from step to step (`@`) is calculated at the first one and repeated.
//!
//! Invariants: each row of a grid has a value at some step, and no two rows of the same labels have one at the same
//! step ([`merge`]); what is held in memory is in the [`books`] before it is.

mod arithmetic;
mod books;
mod fold;
mod matching;
mod merge;
mod rank;
mod select;
mod subquery;

use crate::LabelSet;
use crate::answer::{EvalError, Interrupt, Limits};
use crate::call::{self, Arg, Context};
use crate::expr::{AggregateOp, At, Expr, Node, Shift};
use crate::function::Function;
use crate::grid::{Grid, Steps};
use crate::notes::{Noter, Notes};
use crate::select::Select;
use books::Books;
use merge::merged;
use proto::sample::Timestamp;
use select::Pick;

/// Evaluates one query once.
pub(crate) struct Evaluator<'a, 't> {
    source: &'a dyn Select,
    limits: &'a Limits<'a>,
    /// The query's own first and last time: what `@ start()` and `@ end()` mean at any depth.
    bounds: (Timestamp, Timestamp),
    notes: Noter<'t>,
    books: Books,
}

/// Takes rows as they come; may keep a row's values or leave them to be written over by the next.
type Sink<'s> = &'s mut dyn FnMut(LabelSet, &mut Vec<f64>) -> Result<(), EvalError>;

/// Where in time a selector or a subquery looks, with `@ start()` and `@ end()` known.
#[derive(Clone, Copy, Debug)]
struct Place {
    fixed: Option<Timestamp>,
    offset_ms: i64,
}

// === impl Evaluator ===

impl<'a, 't> Evaluator<'a, 't> {
    /// Nothing is evaluated yet; `text` is the query's, for the places of notes.
    pub fn new(source: &'a dyn Select, limits: &'a Limits<'a>, bounds: (Timestamp, Timestamp), text: &'t str) -> Self {
        let books = Books::new(limits.samples);
        Self { source, limits, bounds, notes: Noter::new(text), books }
    }

    /// What is to be said beside the value, and how many samples were looked at.
    pub fn finish(self) -> (Notes, u64) {
        (self.notes.finish(), self.books.seen)
    }

    /// The value of anything but a window or a bare subquery.
    pub fn eval(&mut self, expr: &Expr, steps: &Steps) -> Result<Arg, EvalError> {
        self.ask()?;
        if steps.count > 1 && is_constant(expr) {
            return self.repeated(expr, steps);
        }
        match &expr.node {
            Node::Number(number, _) => self.number(*number, steps),
            Node::Text(text) => Ok(Arg::Text(text.clone())),
            Node::Paren(inner) => self.eval(inner, steps),
            Node::Binary { .. } => self.chain(expr, steps),
            Node::Unary { negates, inner } => self.unary(*negates, inner, steps),
            Node::Aggregate { .. } => self.aggregate(expr, steps).map(Arg::Vector),
            Node::Call { function, args } => self.call(expr, *function, args, steps),
            Node::Select(_) => self.collect(expr, steps).map(Arg::Vector),
            Node::Window { .. } | Node::Subquery { .. } => {
                unreachable!("the parser gives windows to functions over them alone, and a bare one is `samples`")
            }
        }
    }

    /// A vector at each step.
    fn vector(&mut self, expr: &Expr, steps: &Steps) -> Result<Grid, EvalError> {
        match self.eval(expr, steps)? {
            Arg::Vector(grid) => Ok(grid),
            Arg::Scalar(_) | Arg::Text(_) => unreachable!("the parser checked that this gives a vector"),
        }
    }

    /// A number at each step.
    fn scalar(&mut self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps)? {
            Arg::Scalar(values) => Ok(values),
            Arg::Vector(_) | Arg::Text(_) => unreachable!("the parser checked that this gives a number"),
        }
    }

    /// The rows of a vector, one after another; those that come from a storage are not all held at a time.
    fn stream(&mut self, expr: &Expr, steps: &Steps, sink: Sink<'_>) -> Result<(), EvalError> {
        let is_constant = steps.count > 1 && is_constant(expr);
        match &expr.node {
            Node::Paren(inner) => self.stream(inner, steps, sink),
            Node::Select(selector) if !is_constant => self.select_rows(expr, selector, steps, Pick::Value, sink),
            Node::Call { function, args } if !is_constant && is_streamed(*function) => {
                self.ask()?;
                self.window_rows(*function, args, steps, sink)
            }
            _ => {
                for mut row in self.vector(expr, steps)? {
                    self.ask()?;
                    sink(row.labels, &mut row.values)?;
                }
                Ok(())
            }
        }
    }

    /// All rows of what [`Self::stream`] reads from the storage.
    fn collect(&mut self, expr: &Expr, steps: &Steps) -> Result<Grid, EvalError> {
        let mut grid = Grid::new();
        let cells_max = self.books.cells_max;
        self.stream(expr, steps, &mut merge::keeping(&mut grid, steps.count, cells_max))?;
        Ok(grid)
    }

    /// The value at the first step, for all of them.
    fn repeated(&mut self, expr: &Expr, steps: &Steps) -> Result<Arg, EvalError> {
        let before = self.books.seen;
        let once = self.eval(expr, &Steps::once(steps.first))?;
        let more = (self.books.seen - before).saturating_mul(steps.count as u64 - 1);
        self.books.seen = self.books.seen.saturating_add(more);
        let repeat = |values: Vec<f64>| vec![values[0]; steps.count];
        Ok(match once {
            Arg::Scalar(values) => {
                self.books.hold(steps.count - 1)?;
                Arg::Scalar(repeat(values))
            }
            Arg::Text(text) => Arg::Text(text),
            Arg::Vector(mut grid) => {
                self.books.fits(grid.len(), steps.count)?;
                self.books.hold(grid.len().saturating_mul(steps.count - 1))?;
                for row in &mut grid {
                    row.values = repeat(std::mem::take(&mut row.values));
                }
                Arg::Vector(grid)
            }
        })
    }

    fn number(&mut self, number: f64, steps: &Steps) -> Result<Arg, EvalError> {
        self.books.fits(1, steps.count)?;
        self.books.hold(steps.count)?;
        Ok(Arg::Scalar(vec![number; steps.count]))
    }

    fn call(&mut self, expr: &Expr, function: Function, args: &[Expr], steps: &Steps) -> Result<Arg, EvalError> {
        match (function, args.first().map(|arg| &unwrapped(arg).node)) {
            (Function::AbsentOverTime, _) => return self.absent_over_time(args, steps).map(Arg::Vector),
            (Function::TimestampOf, Some(Node::Select(selector))) => {
                return self.timestamps(unwrapped(&args[0]), selector, steps).map(Arg::Vector);
            }
            _ if function.is_over_window() => return self.collect(expr, steps).map(Arg::Vector),
            _ => {}
        }
        let before = self.books.held;
        let mut values = Vec::with_capacity(args.len());
        let room = self.books.cells_max;
        for arg in args {
            let value = self.eval(arg, steps)?;
            self.books.cells_max = self.books.cells_max.saturating_sub(cells(&value, steps));
            values.push(value);
        }
        self.books.cells_max = room;
        let gathered = values.iter().map(width).sum();
        let mut context = Context { steps: *steps, call: expr, notes: &mut self.notes };
        match call::call(function, values, &mut context)? {
            Arg::Vector(grid) => self.settled(before, gathered, merged(grid)?).map(Arg::Vector),
            Arg::Scalar(values) => {
                self.books.settle(before, gathered, values.len())?;
                Ok(Arg::Scalar(values))
            }
            Arg::Text(text) => Ok(Arg::Text(text)),
        }
    }

    fn aggregate(&mut self, expr: &Expr, steps: &Steps) -> Result<Grid, EvalError> {
        let Node::Aggregate { op, param, inner, grouping } = &expr.node else {
            unreachable!("called for aggregations alone")
        };
        let before = self.books.held;
        let grid = match (op, param.as_deref()) {
            (AggregateOp::Sum, _) => self.fold::<fold::Sum>(grouping, inner, steps),
            (AggregateOp::Avg, _) => self.fold::<fold::Mean>(grouping, inner, steps),
            (AggregateOp::Min, _) => self.fold::<fold::Least>(grouping, inner, steps),
            (AggregateOp::Max, _) => self.fold::<fold::Greatest>(grouping, inner, steps),
            (AggregateOp::Count, _) => self.fold::<fold::Count>(grouping, inner, steps),
            (AggregateOp::Group, _) => self.fold::<fold::One>(grouping, inner, steps),
            (AggregateOp::Stdvar, _) => self.fold::<fold::Variance>(grouping, inner, steps),
            (AggregateOp::Stddev, _) => self.fold::<fold::Deviation>(grouping, inner, steps),
            (AggregateOp::CountValues, Some(label)) => self.count_values(grouping, label, inner, steps),
            (AggregateOp::Topk, Some(k)) => self.outermost(rank::End::Top, grouping, k, inner, steps),
            (AggregateOp::Bottomk, Some(k)) => self.outermost(rank::End::Bottom, grouping, k, inner, steps),
            (AggregateOp::Quantile, Some(phi)) => self.quantile(grouping, phi, inner, steps),
            _ => unreachable!("the parser checked that the parameter is there"),
        }?;
        self.replaced(before, grid)
    }

    // --- shared by the rooms below ---

    /// Asks whether to go on.
    fn ask(&self) -> Result<(), EvalError> {
        match (self.limits.interrupt)() {
            None => Ok(()),
            Some(Interrupt::Timeout) => Err(EvalError::Timeout),
            Some(Interrupt::Cancelled) => Err(EvalError::Cancelled),
        }
    }

    /// `grid` without empty rows, in the books in place of what was held since `before`; while it was made, up to
    /// `gathered` samples of its arguments were there a second time.
    fn settled(&mut self, before: usize, gathered: usize, mut grid: Grid) -> Result<Grid, EvalError> {
        grid.retain(crate::grid::Row::has_values);
        let points = grid.iter().map(|row| points(&row.values)).sum();
        self.books.settle(before, gathered, points)?;
        Ok(grid)
    }

    /// `grid` without empty rows, in the books in place of what it was made from, which is gone.
    fn replaced(&mut self, before: usize, mut grid: Grid) -> Result<Grid, EvalError> {
        grid.retain(crate::grid::Row::has_values);
        self.books.held = before;
        self.books.hold(grid.iter().map(|row| points(&row.values)).sum())?;
        Ok(grid)
    }

    fn place(&self, shift: Shift) -> Place {
        let fixed = shift.at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.bounds.0,
            At::End => self.bounds.1,
        });
        Place { fixed, offset_ms: shift.offset_ms }
    }
}

// === impl Place ===

impl Place {
    /// The time that is looked at in a step.
    fn at(&self, steps: &Steps, index: usize) -> Timestamp {
        self.fixed.unwrap_or_else(|| steps.at(index)).moved_by(self.offset_ms.saturating_neg())
    }

    /// The first and the last time that are looked at.
    fn ends(&self, steps: &Steps) -> (Timestamp, Timestamp) {
        (self.at(steps, 0), self.at(steps, steps.count - 1))
    }
}

// === helpers ===

/// Values at steps that have one.
fn points(values: &[f64]) -> usize {
    values.iter().filter(|value| !crate::grid::is_none(**value)).count()
}

/// Samples of one step at most.
fn width(arg: &Arg) -> usize {
    match arg {
        Arg::Vector(grid) => grid.len(),
        Arg::Scalar(_) => 1,
        Arg::Text(_) => 0,
    }
}

/// Cells that a value has in memory.
fn cells(arg: &Arg, steps: &Steps) -> usize {
    width(arg).saturating_mul(steps.count)
}

/// What is inside of any round brackets.
pub(crate) fn unwrapped(mut expr: &Expr) -> &Expr {
    while let Node::Paren(inner) = &expr.node {
        expr = inner;
    }
    expr
}

/// Rows of these come one by one out of the storage.
fn is_streamed(function: Function) -> bool {
    function.is_over_window() && function != Function::AbsentOverTime
}

/// Whether the value is the same at each step, whatever the step: all that is selected has an `@`.
fn is_constant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number(..) | Node::Text(_) => true,
        Node::Select(selector) | Node::Window { selector, .. } => selector.shift.at.is_some(),
        Node::Subquery { shift, .. } => shift.at.is_some(),
        Node::Paren(inner) | Node::Unary { inner, .. } => is_constant(inner),
        Node::Aggregate { param, inner, .. } => is_constant(inner) && param.as_deref().is_none_or(is_constant),
        Node::Binary { left, right, .. } => is_constant(left) && is_constant(right),
        Node::Call { function, args } => !looks_at_clock(*function) && args.iter().all(is_constant),
    }
}

/// Functions whose value depends on the time of the step even when their arguments' does not.
fn looks_at_clock(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::DaysInMonth
            | F::DayOfMonth
            | F::DayOfWeek
            | F::DayOfYear
            | F::Hour
            | F::Minute
            | F::Month
            | F::Year
            | F::PredictLinear
            | F::Time
            | F::TimestampOf
    )
}
