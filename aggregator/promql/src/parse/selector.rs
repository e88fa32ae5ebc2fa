//! Selectors and what stands behind an operand: matchers between braces, ranges, `offset`, `@`.

use super::grammar::{Parser, unexpected};
use super::literal;
use crate::expr::{At, Expr, Node, Selector, Shift};
use crate::matcher::is_too_large;
use crate::token::{Fault, Kind, Token};
use crate::{METRIC_NAME, MatchOp, Matcher, REGEXES_MAX};
use proto::sample::Timestamp;

/// What a duration may begin with where it is to be calculated, which a default Prometheus does not do.
const DURATION_WORDS: [&str; 4] = ["step", "range", "min", "max"];

const EXPERIMENTAL_DURATION: &str = "experimental duration expression is not enabled";

impl<'a> Parser<'a> {
    /// `name{…}`, either of which may be missing; `name` is the token that comes, if it is one.
    pub fn selector(&mut self, name: Option<&'a Token<'a>>) -> Result<Expr, Fault> {
        let start = self.peek().start;
        if name.is_some() {
            self.take();
        }
        let mut matchers = if self.peek().is("{") { self.matchers()? } else { Vec::new() };
        let (name, is_name_in_braces) = if let Some(name) = name {
            (Some(name.text.to_owned()), false)
        } else {
            let inside = exact_name(&mut matchers);
            let is_inside = inside.is_some();
            (inside, is_inside)
        };
        let selector = Selector { name, is_name_in_braces, matchers, shift: Shift::default() };
        Ok(Expr { node: Node::Select(selector), span: self.span_from(start) })
    }

    /// `{a="b", "c.d"=~"e", "metric",}`
    fn matchers(&mut self) -> Result<Vec<Matcher>, Fault> {
        let context = "label matching";
        self.expect("{", context, "")?;
        let mut matchers = Vec::new();
        while !self.takes("}") {
            matchers.push(self.matcher(context)?);
            if !self.peek().is("}") {
                self.expect(",", context, "\",\" or \"}\"")?;
            }
        }
        Ok(matchers)
    }

    fn matcher(&mut self, context: &str) -> Result<Matcher, Fault> {
        let token = self.take();
        let name = match token.kind {
            Kind::Label => token.text.to_owned(),
            Kind::Text => literal::string(token)?,
            _ => return Err(unexpected(token, context, "identifier or \"}\"")),
        };
        let op = match self.peek().text {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ if token.kind == Kind::Text => return checked(METRIC_NAME, MatchOp::Equal, &name, token),
            _ => return Err(unexpected(self.peek(), context, "label matching operator")),
        };
        self.take();
        let value = self.take();
        if value.kind != Kind::Text {
            return Err(unexpected(value, context, "string"));
        }
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.regexes += 1;
            if self.regexes > REGEXES_MAX {
                let message = format!("more than {REGEXES_MAX} regular expressions in one query");
                return Err(Fault::new(message, value.start));
            }
        }
        checked(&name, op, &literal::string(value)?, value)
    }

    /// `[5m]` or `[1h:5m]` behind `expr`.
    pub fn ranged(&mut self, expr: Expr) -> Result<Expr, Fault> {
        let bracket = self.take();
        let range_ms = self.range("subquery or range selector", "number or duration")?;
        let start = expr.span.start;
        if self.takes("]") {
            let selector = windowed(expr).map_err(|message| Fault::new(message, bracket.start))?;
            return Ok(Expr { node: Node::Window { selector, range_ms }, span: self.span_from(start) });
        }
        self.expect(":", "subquery or range", "\":\" or \"]\"")?;
        let step_ms = if self.takes("]") {
            None
        } else {
            let step_ms = self.range("subquery selector", "number, duration or \"]\"")?;
            self.expect("]", "subquery selector", "\"]\"")?;
            Some(step_ms)
        };
        if matches!(expr.node, Node::Window { .. } | Node::Subquery { .. }) {
            return Err(Fault::new("subquery is only allowed on instant vector, got matrix instead", start));
        }
        let node = Node::Subquery { inner: Box::new(expr), range_ms, step_ms, shift: Shift::default() };
        Ok(Expr { node, span: self.span_from(start) })
    }

    /// A duration between brackets, in milliseconds: at least one.
    fn range(&mut self, context: &str, expected: &str) -> Result<i64, Fault> {
        let start = self.peek().start;
        let number = self.duration(context, expected)?;
        let calculates = ["+", "-", "*", "/", "%", "^"].iter().any(|sign| self.peek().is(sign));
        if calculates {
            return Err(Fault::new(EXPERIMENTAL_DURATION, start));
        }
        match number {
            range_ms if range_ms > 0 => Ok(range_ms),
            _ => Err(Fault::new("duration must be greater than 0", start)),
        }
    }

    /// A duration or a number of seconds, signs before it allowed, in milliseconds.
    fn duration(&mut self, context: &str, expected: &str) -> Result<i64, Fault> {
        let start = self.peek().start;
        let mut negates = false;
        while self.peek().is("+") || self.peek().is("-") {
            negates ^= self.take().text == "-";
        }
        let token = self.peek();
        let is_word = DURATION_WORDS.iter().any(|word| token.is_word(word));
        if token.is("(") || is_word {
            return Err(Fault::new(EXPERIMENTAL_DURATION, start));
        }
        if token.kind != Kind::Number && !token.is_number_word() {
            return Err(unexpected(token, context, expected));
        }
        let number = literal::number(self.take())?;
        let number = if negates { number.negated() } else { number };
        number.as_millis().ok_or_else(|| Fault::new("duration out of range", start))
    }

    /// `offset 5m` behind `expr`.
    pub fn offset(&mut self, expr: &mut Expr) -> Result<(), Fault> {
        self.take();
        let offset_ms = self.duration("offset", "number or duration")?;
        let start = expr.span.start;
        let shift = shift(expr).ok_or_else(|| misplaced("offset", start))?;
        if shift.offset_ms != 0 {
            return Err(Fault::new("offset may not be set multiple times", start));
        }
        shift.offset_ms = offset_ms;
        expr.span = self.span_from(start);
        Ok(())
    }

    /// `@ 1609746000`, `@ start()`, `@ end()` behind `expr`.
    pub fn at(&mut self, expr: &mut Expr) -> Result<(), Fault> {
        self.take();
        let start = expr.span.start;
        let at = self.time(start)?;
        let shift = shift(expr).ok_or_else(|| misplaced("@", start))?;
        if shift.at.is_some() {
            return Err(Fault::new("@ <timestamp> may not be set multiple times", start));
        }
        shift.at = Some(at);
        expr.span = self.span_from(start);
        Ok(())
    }

    fn time(&mut self, start: usize) -> Result<At, Fault> {
        let first = self.take();
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if first.is_word(word) {
                self.expect("(", "@", "\"(\"")?;
                self.expect(")", "@", "\")\"")?;
                return Ok(at);
            }
        }
        let is_signed = first.is("+") || first.is("-");
        let token = if is_signed { self.take() } else { first };
        if token.kind != Kind::Number && !token.is_number_word() {
            return Err(unexpected(token, "@", "timestamp"));
        }
        let number = literal::number(token)?;
        let seconds = if first.is("-") { -number.value } else { number.value };
        let millis = millis_since_epoch(seconds).ok_or_else(|| {
            let shown = crate::print::fixed(seconds, 6);
            Fault::new(format!("timestamp out of bounds for @ modifier: {shown}"), start)
        })?;
        Ok(At::Time(Timestamp::from_millis(millis)))
    }
}

// === helpers ===

/// To the nearest millisecond. The greatest 64-bit number is no float, so the border itself is outside.
#[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds of i64")]
fn millis_since_epoch(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    (millis > i64::MIN as f64 && millis < i64::MAX as f64).then_some(millis as i64)
}

/// The selector of a range; or why `expr` has none.
fn windowed(expr: Expr) -> Result<Selector, &'static str> {
    match expr.node {
        Node::Select(selector) if selector.shift.offset_ms != 0 => Err("no offset modifiers allowed before range"),
        Node::Select(Selector { shift: Shift { at: Some(At::Time(_)), .. }, .. }) => {
            Err("no @ modifiers allowed before range")
        }
        Node::Select(selector) => Ok(selector),
        _ => Err("ranges only allowed for vector selectors"),
    }
}

/// Where a modifier behind `expr` goes.
fn shift(expr: &mut Expr) -> Option<&mut Shift> {
    match &mut expr.node {
        Node::Select(selector) | Node::Window { selector, .. } => Some(&mut selector.shift),
        Node::Subquery { shift, .. } => Some(shift),
        _ => None,
    }
}

fn misplaced(modifier: &str, start: usize) -> Fault {
    let message = format!(
        "{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
    );
    Fault::new(message, start)
}

fn checked(name: &str, op: MatchOp, value: &str, token: &Token<'_>) -> Result<Matcher, Fault> {
    Matcher::try_new(name, op, value).map_err(|error| {
        let is_large = is_too_large(value);
        let large = "this regular expression is too large when compiled".to_owned();
        Fault::new(if is_large { large } else { error.to_string() }, token.start)
    })
}

/// Takes the first exact name out of the matchers.
fn exact_name(matchers: &mut Vec<Matcher>) -> Option<String> {
    let is_exact = |m: &Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty();
    let index = matchers.iter().position(is_exact)?;
    Some(matchers.remove(index).value().to_owned())
}
