//! Expressions as text: in one line as Prometheus prints them, and over several as its formatter does.
//!
//! Both parse to an equal tree. The one line is written with a stack of what is still to be written, since a chain of
//! operators is as deep as a query has operators.

use crate::expr::{At, BinaryOp, Card, Expr, Grouping, Matching, Node, Notation, Selector, Shift, UNITS};
use crate::quote::{go_quoted, is_bare_label};
use crate::{METRIC_NAME, MatchOp};
use std::fmt;

/// A longer expression is broken into lines. Prometheus's.
const LINE_MAX: usize = 100;

/// The expression over as many lines as it needs, two spaces a level.
pub(crate) fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    write_pretty(expr, 0, &mut out);
    out
}

/// `value` with so many digits behind the point, as Go writes it.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { number(value) }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line(self))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", named(self), shifted(self.shift))
    }
}

// === one line ===

/// What is still to be written.
enum Part<'a> {
    Expr(&'a Expr),
    Text(String),
    Fixed(&'static str),
}

fn line(expr: &Expr) -> String {
    let mut out = String::new();
    let mut parts = vec![Part::Expr(expr)];
    while let Some(part) = parts.pop() {
        match part {
            Part::Text(text) => out.push_str(&text),
            Part::Fixed(text) => out.push_str(text),
            Part::Expr(expr) => spread(expr, &mut parts),
        }
    }
    out
}

/// Puts what `expr` consists of on the stack, the first on top.
fn spread<'a>(expr: &'a Expr, parts: &mut Vec<Part<'a>>) {
    match &expr.node {
        Node::Number(value, notation) => parts.push(Part::Text(literal(*value, *notation))),
        Node::Text(text) => parts.push(Part::Text(go_quoted(text))),
        Node::Select(selector) => parts.push(Part::Text(selector.to_string())),
        Node::Window { selector, range_ms } => parts.push(Part::Text(window(selector, *range_ms))),
        Node::Subquery { inner, range_ms, step_ms, shift } => {
            parts.extend([Part::Text(subquery(*range_ms, *step_ms, *shift)), Part::Expr(inner)]);
        }
        Node::Call { function, args } => {
            parts.push(Part::Fixed(")"));
            for (index, arg) in args.iter().enumerate().rev() {
                parts.push(Part::Expr(arg));
                parts.push(Part::Fixed(if index == 0 { "" } else { ", " }));
            }
            parts.extend([Part::Fixed("("), Part::Fixed(function.signature().name)]);
        }
        Node::Aggregate { op, param, inner, grouping } => {
            parts.extend([Part::Fixed(")"), Part::Expr(inner)]);
            if let Some(param) = param {
                parts.extend([Part::Fixed(", "), Part::Expr(param)]);
            }
            parts.extend([Part::Fixed("("), Part::Text(grouped(grouping)), Part::Fixed(op.as_str())]);
        }
        Node::Binary { op, left, right, returns_bool, matching } => {
            let modifiers = modifiers(*returns_bool, matching.as_ref());
            let left = match left.node {
                // Its sign would be that of the whole power.
                Node::Number(f64::INFINITY, _) if *op == BinaryOp::Pow => Part::Fixed("Inf"),
                _ => Part::Expr(left),
            };
            parts.extend([Part::Expr(right), Part::Text(format!(" {}{modifiers} ", op.as_str())), left]);
        }
        Node::Unary { negates, inner } => parts.extend([Part::Expr(inner), Part::Fixed(sign(*negates))]),
        Node::Paren(inner) => parts.extend([Part::Fixed(")"), Part::Expr(inner), Part::Fixed("(")]),
    }
}

fn sign(negates: bool) -> &'static str {
    if negates { "-" } else { "+" }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what was written as a duration has at most 292 years of milliseconds"
)]
fn literal(value: f64, notation: Notation) -> String {
    match notation {
        Notation::Plain => number(value),
        Notation::Duration => signed_duration((value * 1000.0).round() as i64),
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn signed_duration(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    format!("{sign}{}", duration(millis.saturating_abs()))
}

fn duration(millis: i64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut rest = millis;
    let parts = UNITS.map(|(unit, length)| {
        let count = rest / length;
        rest %= length;
        if count > 0 { format!("{count}{unit}") } else { String::new() }
    });
    parts.concat()
}

/// The selector without its place in time.
fn named(selector: &Selector) -> String {
    let mut inside: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
    let name = selector.name.as_deref().unwrap_or_default();
    if selector.is_name_in_braces {
        inside.push(format!("{METRIC_NAME}{}{}", MatchOp::Equal.as_str(), go_quoted(name)));
    }
    inside.sort_unstable();
    let before = if selector.is_name_in_braces { "" } else { name };
    if inside.is_empty() { before.to_owned() } else { format!("{before}{{{}}}", inside.join(",")) }
}

fn window(selector: &Selector, range_ms: i64) -> String {
    format!("{}[{}]{}", named(selector), duration(range_ms), shifted(selector.shift))
}

fn subquery(range_ms: i64, step_ms: Option<i64>, shift: Shift) -> String {
    let step = step_ms.map(duration).unwrap_or_default();
    format!("[{}:{step}]{}", duration(range_ms), shifted(shift))
}

fn shifted(shift: Shift) -> String {
    let at = match shift.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(at)) => format!(" @ {}", fixed(at.as_millis() as f64 / 1000.0, 3)),
    };
    match shift.offset_ms {
        0 => at,
        offset_ms => format!("{at} offset {}", signed_duration(offset_ms)),
    }
}

/// ` by (a, b) `; nothing where there is nothing to say.
fn grouped(grouping: &Grouping) -> String {
    match grouping.is_without {
        false if grouping.labels.is_empty() => String::new(),
        false => format!(" by ({}) ", labels(&grouping.labels)),
        true => format!(" without ({}) ", labels(&grouping.labels)),
    }
}

/// ` bool on (a) group_left (b)`
fn modifiers(returns_bool: bool, matching: Option<&Matching>) -> String {
    let returns_bool = if returns_bool { " bool" } else { "" };
    let Some(matching) = matching else { return returns_bool.to_owned() };
    let group = match matching.card {
        Card::OneToOne | Card::ManyToMany => None,
        Card::ManyToOne => Some("group_left"),
        Card::OneToMany => Some("group_right"),
    };
    let word = if matching.is_on { "on" } else { "ignoring" };
    let is_said = matching.is_on || !matching.labels.is_empty() || group.is_some();
    let matched = if is_said { format!(" {word} ({})", labels(&matching.labels)) } else { String::new() };
    let included = group.map(|group| format!(" {group} ({})", labels(&matching.include))).unwrap_or_default();
    format!("{returns_bool}{matched}{included}")
}

fn labels(names: &[String]) -> String {
    let quoted = |name: &String| if is_bare_label(name) { name.clone() } else { go_quoted(name) };
    names.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

// === several lines ===

fn write_pretty(expr: &Expr, level: usize, out: &mut String) {
    let own = line(expr);
    if own.len() <= LINE_MAX {
        // Prometheus forgets the indent of a subquery that fits its line.
        if !matches!(expr.node, Node::Subquery { .. }) {
            indent(level, out);
        }
        out.push_str(&own);
        return;
    }
    drop(own);
    match &expr.node {
        Node::Number(..) | Node::Text(_) | Node::Select(_) | Node::Window { .. } => {
            indent(level, out);
            out.push_str(&line(expr));
        }
        Node::Subquery { inner, range_ms, step_ms, shift } => {
            write_pretty(inner, level, out);
            out.push_str(&subquery(*range_ms, *step_ms, *shift));
        }
        Node::Call { function, args } => {
            indent(level, out);
            out.push_str(function.signature().name);
            write_block(&args.iter().collect::<Vec<_>>(), level, out);
        }
        Node::Aggregate { op, param, inner, grouping } => {
            indent(level, out);
            out.push_str(op.as_str());
            out.push_str(&grouped(grouping));
            write_block(&param.iter().chain([inner]).map(AsRef::as_ref).collect::<Vec<_>>(), level, out);
        }
        Node::Paren(inner) => {
            indent(level, out);
            write_block(&[inner], level, out);
        }
        Node::Unary { negates, inner } => {
            indent(level, out);
            out.push_str(sign(*negates));
            let mut inside = String::new();
            write_pretty(inner, level, &mut inside);
            out.push_str(inside.trim());
        }
        Node::Binary { op, left, right, returns_bool, matching } => {
            write_pretty(left, level + 1, out);
            out.push('\n');
            indent(level, out);
            out.push_str(op.as_str());
            out.push_str(&modifiers(*returns_bool, matching.as_ref()));
            out.push('\n');
            write_pretty(right, level + 1, out);
        }
    }
}

/// Brackets on lines of their own, around expressions on lines of their own.
fn write_block(inside: &[&Expr], level: usize, out: &mut String) {
    out.push_str("(\n");
    for (index, expr) in inside.iter().enumerate() {
        write_pretty(expr, level + 1, out);
        out.push_str(if index + 1 < inside.len() { ",\n" } else { "\n" });
    }
    indent(level, out);
    out.push(')');
}

fn indent(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", level));
}

#[cfg(test)]
mod tests;
