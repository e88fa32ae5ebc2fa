//! Operators between numbers, and between a vector and a number; unary minus.
//!
//! A comparison without `bool` filters a vector: what remains is the vector's value and name, on whichever side it
//! stands. Everything else drops the name.

use super::merge::merged;
use super::{Arg, Evaluator, cells, is_constant, width};
use crate::answer::EvalError;
use crate::expr::{BinaryOp, Expr, Matching, Node};
use crate::grid::{Grid, NONE, Steps, is_none};

/// What an operator does with two values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub op: BinaryOp,
    pub returns_bool: bool,
}

/// What of a comparison's sides remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Left,
    Right,
}

// === impl Evaluator ===

impl Evaluator<'_, '_> {
    /// An operator and, before it, those on its left: `a + b + c …` is a chain of as many nodes as a query may have
    /// operators, and is walked without recursion.
    pub(super) fn chain(&mut self, expr: &Expr, steps: &Steps) -> Result<Arg, EvalError> {
        let before = self.books.held;
        let (mut first, mut links) = (expr, Vec::new());
        while let Node::Binary { op, left, right, returns_bool, matching } = &first.node {
            if !std::ptr::eq(first, expr) && steps.count > 1 && is_constant(first) {
                break;
            }
            links.push((Operation { op: *op, returns_bool: *returns_bool }, matching.as_ref(), right));
            first = left;
        }
        let mut value = self.eval(first, steps)?;
        for (operation, matching, right) in links.into_iter().rev() {
            // What is there already leaves less room for what is made beside it.
            let room = self.books.cells_max;
            self.books.cells_max = room.saturating_sub(cells(&value, steps));
            let right = self.eval(right, steps)?;
            self.books.cells_max = self.books.cells_max.saturating_sub(cells(&right, steps));
            let gathered = width(&value) + width(&right);
            value = match self.binary(operation, matching, value, right, steps)? {
                Arg::Vector(grid) => Arg::Vector(self.settled(before, gathered, grid)?),
                Arg::Scalar(values) => {
                    self.books.settle(before, gathered, values.len())?;
                    Arg::Scalar(values)
                }
                Arg::Text(_) => unreachable!("no operator gives a text"),
            };
            self.books.cells_max = room;
        }
        Ok(value)
    }

    fn binary(
        &mut self,
        operation: Operation,
        matching: Option<&Matching>,
        left: Arg,
        right: Arg,
        steps: &Steps,
    ) -> Result<Arg, EvalError> {
        match (left, right) {
            (Arg::Scalar(left), Arg::Scalar(right)) => Ok(Arg::Scalar(between_scalars(operation.op, &left, &right))),
            (Arg::Vector(grid), Arg::Scalar(scalars)) => {
                with_scalars(operation, Kept::Left, grid, &scalars).map(Arg::Vector)
            }
            (Arg::Scalar(scalars), Arg::Vector(grid)) => {
                with_scalars(operation, Kept::Right, grid, &scalars).map(Arg::Vector)
            }
            (Arg::Vector(left), Arg::Vector(right)) => {
                let matching = matching.expect("the parser gives a matching to each operator between two vectors");
                self.between_vectors(operation, matching, left, right, steps).map(Arg::Vector)
            }
            (Arg::Text(_), _) | (_, Arg::Text(_)) => unreachable!("the parser refuses operators on texts"),
        }
    }

    pub(super) fn unary(&mut self, negates: bool, inner: &Expr, steps: &Steps) -> Result<Arg, EvalError> {
        let before = self.books.held;
        match self.eval(inner, steps)? {
            Arg::Scalar(mut values) if negates => {
                for value in &mut values {
                    *value = -*value;
                }
                Ok(Arg::Scalar(values))
            }
            Arg::Vector(mut grid) if negates => {
                for row in &mut grid {
                    row.labels = row.labels.without_name();
                    for value in row.values.iter_mut().filter(|value| !is_none(**value)) {
                        *value = -*value;
                    }
                }
                self.replaced(before, merged(grid)?).map(Arg::Vector)
            }
            unchanged => Ok(unchanged),
        }
    }
}

// === impl Operation ===

impl Operation {
    /// Whether the result is no longer what the metric's name says.
    pub fn drops_name(self) -> bool {
        self.returns_bool || !(self.op.is_comparison() || self.op.is_set())
    }

    /// Writes to `out` the value of each step at which both have one. `kept` is the side that a filter keeps.
    pub fn zip(self, kept: Kept, left: &[f64], right: &[f64], out: &mut [f64]) {
        match self.op {
            BinaryOp::Add => zip(left, right, out, |a, b| a + b),
            BinaryOp::Sub => zip(left, right, out, |a, b| a - b),
            BinaryOp::Mul => zip(left, right, out, |a, b| a * b),
            BinaryOp::Div => zip(left, right, out, |a, b| a / b),
            BinaryOp::Mod => zip(left, right, out, |a, b| a % b),
            BinaryOp::Pow => zip(left, right, out, f64::powf),
            BinaryOp::Atan2 => zip(left, right, out, f64::atan2),
            BinaryOp::Equal => self.compare(kept, left, right, out, |a, b| a == b),
            BinaryOp::NotEqual => self.compare(kept, left, right, out, |a, b| a != b),
            BinaryOp::Greater => self.compare(kept, left, right, out, |a, b| a > b),
            BinaryOp::GreaterOrEqual => self.compare(kept, left, right, out, |a, b| a >= b),
            BinaryOp::Less => self.compare(kept, left, right, out, |a, b| a < b),
            BinaryOp::LessOrEqual => self.compare(kept, left, right, out, |a, b| a <= b),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => unreachable!("set operators look at no values"),
        }
    }

    fn compare(self, kept: Kept, left: &[f64], right: &[f64], out: &mut [f64], holds: impl Fn(f64, f64) -> bool) {
        let number = |holds: bool| f64::from(u8::from(holds));
        match (self.returns_bool, kept) {
            (true, _) => zip(left, right, out, |a, b| number(holds(a, b))),
            (false, Kept::Left) => zip(left, right, out, |a, b| if holds(a, b) { a } else { NONE }),
            (false, Kept::Right) => zip(left, right, out, |a, b| if holds(a, b) { b } else { NONE }),
        }
    }
}

// === helpers ===

fn zip(left: &[f64], right: &[f64], out: &mut [f64], of: impl Fn(f64, f64) -> f64) {
    for ((left, right), out) in left.iter().zip(right).zip(out) {
        *out = if is_none(*left) || is_none(*right) { NONE } else { of(*left, *right) };
    }
}

/// A comparison of two numbers is always 0 or 1.
fn between_scalars(op: BinaryOp, left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut out = vec![NONE; left.len()];
    Operation { op, returns_bool: true }.zip(Kept::Left, left, right, &mut out);
    out
}

/// `vector` says on which side the vector stands.
fn with_scalars(operation: Operation, vector: Kept, mut grid: Grid, scalars: &[f64]) -> Result<Grid, EvalError> {
    let mut out = vec![NONE; scalars.len()];
    for row in &mut grid {
        match vector {
            Kept::Left => operation.zip(vector, &row.values, scalars, &mut out),
            Kept::Right => operation.zip(vector, scalars, &row.values, &mut out),
        }
        std::mem::swap(&mut row.values, &mut out);
        if operation.drops_name() {
            row.labels = row.labels.without_name();
        }
    }
    if operation.drops_name() { merged(grid) } else { Ok(grid) }
}
