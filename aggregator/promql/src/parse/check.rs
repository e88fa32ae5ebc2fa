//! What the grammar lets pass and Prometheus refuses: types, counts of arguments, modifiers that fit no operand.
//!
//! Operands are checked before the operator that joins them, from left to right, so that the first mistake is told. A
//! chain of operators that groups to the left is walked, not descended: it is as long as a query may be.

use crate::METRIC_NAME;
use crate::expr::{BinaryOp, Card, Expr, Kind, Matching, Node, Selector};
use crate::function::{Arity, Signature};
use crate::token::Fault;

/// Checks `expr`, of the query `text`.
pub(super) fn check(expr: &Expr, text: &str) -> Result<(), Fault> {
    match &expr.node {
        Node::Number(..) | Node::Text(_) => Ok(()),
        Node::Select(selector) | Node::Window { selector, .. } => select(selector, expr.span.start),
        Node::Paren(inner) => check(inner, text),
        Node::Subquery { inner, .. } => {
            check(inner, text)?;
            subquery(inner.kind(), expr.span.start)
        }
        Node::Unary { inner, .. } => {
            check(inner, text)?;
            unary(inner.kind(), expr.span.start)
        }
        Node::Call { function, args } => {
            let signature = function.signature();
            arity(signature, args.len(), expr.span.start)?;
            for (index, arg) in args.iter().enumerate() {
                check(arg, text)?;
                argument(signature, index, arg)?;
            }
            Ok(())
        }
        Node::Aggregate { op, param, inner, .. } => {
            check(inner, text)?;
            expect(inner, Kind::Vector, "aggregation expression")?;
            if let (Some(param), Some(kind)) = (param, op.param()) {
                check(param, text)?;
                expect(param, kind, "aggregation parameter")?;
            }
            Ok(())
        }
        Node::Binary { .. } => chain(expr, text),
    }
}

// === helpers ===

/// Checks the leftmost operand of a chain, then each operator on the way back with its right side.
fn chain(expr: &Expr, text: &str) -> Result<(), Fault> {
    let (mut joined, mut leftmost) = (Vec::new(), expr);
    while let Node::Binary { left, .. } = &leftmost.node {
        joined.push(leftmost);
        leftmost = left;
    }
    check(leftmost, text)?;
    let mut left_kind = leftmost.kind();
    for expr in joined.into_iter().rev() {
        left_kind = operator(expr, left_kind, text)?;
    }
    Ok(())
}

/// Checks an operator whose left side is checked; gives what it gives.
fn operator(expr: &Expr, left_kind: Kind, text: &str) -> Result<Kind, Fault> {
    let Node::Binary { op, left, right, returns_bool, matching } = &expr.node else { return Ok(left_kind) };
    check(right, text)?;
    let right_kind = right.kind();
    let are_scalars = (left_kind, right_kind) == (Kind::Scalar, Kind::Scalar);
    let place = behind(left, text);
    if *returns_bool && !op.is_comparison() {
        return Err(Fault::new("bool modifier can only be used on comparison operators", place));
    }
    if op.is_comparison() && !*returns_bool && are_scalars {
        return Err(Fault::new("comparisons between scalars must use BOOL modifier", place));
    }
    if let Some(label) = matching.as_ref().and_then(twice) {
        return Err(Fault::new(format!("label {label:?} must not occur in ON and GROUP clause at once"), place));
    }
    for (kind, side) in [(left_kind, left), (right_kind, right)] {
        if !matches!(kind, Kind::Scalar | Kind::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Fault::new(message, side.span.start));
        }
    }
    if (left_kind, right_kind) == (Kind::Vector, Kind::Vector) {
        vectors(*op, matching.as_ref(), expr.span.start)?;
    } else {
        scalars(*op, matching.as_ref(), expr.span.start)?;
    }
    Ok(if are_scalars { Kind::Scalar } else { Kind::Vector })
}

/// A set operator matches many with many, and nothing else.
fn vectors(op: BinaryOp, matching: Option<&Matching>, start: usize) -> Result<(), Fault> {
    let is_grouped = matching.is_some_and(|matching| matches!(matching.card, Card::ManyToOne | Card::OneToMany));
    if op.is_set() && is_grouped {
        return Err(Fault::new(format!("no grouping allowed for {:?} operation", op.as_str()), start));
    }
    Ok(())
}

/// Where a side is a scalar there is nothing to match.
fn scalars(op: BinaryOp, matching: Option<&Matching>, start: usize) -> Result<(), Fault> {
    if matching.is_some() {
        return Err(Fault::new("vector matching only allowed between instant vectors", start));
    }
    if op.is_set() {
        let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
        return Err(Fault::new(message, start));
    }
    Ok(())
}

/// A label that is matched on and taken over.
fn twice(matching: &Matching) -> Option<&str> {
    let label = matching.labels.iter().find(|label| matching.is_on && matching.include.contains(label))?;
    Some(label)
}

/// Where the operator behind `left` stands.
fn behind(left: &Expr, text: &str) -> usize {
    let mut at = left.span.end;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        at += spaces;
        if !rest[spaces..].starts_with('#') {
            return at;
        }
        at += rest[spaces..].find(['\n', '\r']).unwrap_or(rest.len() - spaces);
    }
}

fn select(selector: &Selector, start: usize) -> Result<(), Fault> {
    if let (Some(name), false) = (&selector.name, selector.is_name_in_braces) {
        return match selector.matchers.iter().find(|matcher| matcher.name() == METRIC_NAME) {
            Some(other) => {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value());
                Err(Fault::new(message, start))
            }
            None => Ok(()),
        };
    }
    let is_bounded = selector.name.is_some() || selector.matchers.iter().any(|matcher| !matcher.matches(""));
    if is_bounded {
        return Ok(());
    }
    Err(Fault::new("vector selector must contain at least one non-empty matcher", start))
}

fn subquery(kind: Kind, start: usize) -> Result<(), Fault> {
    if kind == Kind::Vector {
        return Ok(());
    }
    let message = format!("subquery is only allowed on instant vector, got {} instead", kind.as_result_type());
    Err(Fault::new(message, start))
}

fn unary(kind: Kind, start: usize) -> Result<(), Fault> {
    if matches!(kind, Kind::Scalar | Kind::Vector) {
        return Ok(());
    }
    let message = format!(
        "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
        kind.as_str()
    );
    Err(Fault::new(message, start))
}

fn arity(signature: &Signature, got: usize, start: usize) -> Result<(), Fault> {
    let (name, all) = (signature.name, signature.args.len());
    let (bound, count) = match signature.arity {
        Arity::Exact if got != all => ("", all),
        Arity::OptionalLast | Arity::Repeated if got + 1 < all => ("at least ", all - 1),
        Arity::OptionalLast if got > all => ("at most ", all),
        _ => return Ok(()),
    };
    Err(Fault::new(format!("expected {bound}{count} argument(s) in call to {name:?}, got {got}"), start))
}

fn argument(signature: &Signature, index: usize, arg: &Expr) -> Result<(), Fault> {
    let Some(kind) = signature.args.get(index).or(signature.args.last()) else { return Ok(()) };
    expect(arg, *kind, &format!("call to function {:?}", signature.name))
}

fn expect(expr: &Expr, kind: Kind, context: &str) -> Result<(), Fault> {
    let got = expr.kind();
    if got == kind {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", kind.as_str(), got.as_str());
    Err(Fault::new(message, expr.span.start))
}
