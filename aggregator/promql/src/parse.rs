//! Text to [`Query`]: bounded, parsed by `promql-parser`, then held to what this crate evaluates.
//!
//! `promql-parser` decides what is PromQL; neither its messages nor its tree have places. Those come from the tokens:
//! see `walk`.

use crate::matcher::{MatchOp, Matcher, is_too_large};
use crate::query::{CompareOp, Comparison, Query, Selector};
use crate::token::{Fault, Kind, Token, line_and_column, tokens};
use crate::walk::departure;
use crate::{QUERY_MAX_BYTES, REGEXES_MAX};
use promql_parser::label::MatchOp as ParsedOp;
use promql_parser::parser::token as op;
use promql_parser::parser::{BinaryExpr, Expr, VectorSelector};

/// What is wrong with a query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// What is wrong, for the person who wrote it.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1. Where a mistake has no exact place, the first token that could be it.
    pub column: usize,
}

/// Part of every refusal of PromQL that is right but not spoken here yet.
const SUPPORTED: &str = "supported now: an instant selector such as name{label=\"value\"}, alone or compared \
                         (== != > >= < <=) with a number";

/// Checks `text` and makes it a query.
///
/// Refuses, each with its place: more than [`QUERY_MAX_BYTES`], brackets nested deeper than [`crate::DEPTH_MAX`], more
/// than [`crate::OPERATORS_MAX`] operators or [`REGEXES_MAX`] regexes, what is not PromQL, and PromQL that is not evaluated yet.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    if text.len() > QUERY_MAX_BYTES {
        let message = format!("the query has {} bytes; the limit is {QUERY_MAX_BYTES}", text.len());
        return Err(ParseError { message, line: 1, column: 1 });
    }
    checked(text).map_err(|fault| {
        let (line, column) = line_and_column(text, fault.at);
        ParseError { message: fault.message, line, column }
    })
}

// === helpers ===

fn checked(text: &str) -> Result<Query, Fault> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(Fault { message: "the query is empty".to_owned(), at: 0 });
    }
    bounded_regexes(&tokens)?;
    let departure = departure(&tokens);
    let expr = promql_parser::parser::parse(text).map_err(|message| {
        let place = culprit(&tokens, &message).or(departure.as_ref().map(|fault| fault.at));
        Fault { message, at: place.unwrap_or(0) }
    })?;
    match (query(&expr), departure) {
        (Ok(query), None) => Ok(query),
        // The walk is the stricter of the two where they differ: what it cannot place it does not let pass.
        (Ok(_) | Err(Refusal::Unsupported), Some(fault)) => Err(unsupported(&fault)),
        (Err(Refusal::Unsupported), None) => Err(unsupported(&Fault { message: "this expression".to_owned(), at: 0 })),
        (Err(Refusal::Matcher { message, value }), _) => {
            let at = tokens.iter().find(|token| inside(token) == Some(&value));
            Err(Fault { message, at: at.map_or(0, |token| token.start) })
        }
    }
}

/// The parser compiles regexes as it meets them, with a generous bound and as many as there are. So ours come first, on
/// the text between the quotes: an escape more or less in it changes the size of no repetition.
fn bounded_regexes(tokens: &[Token<'_>]) -> Result<(), Fault> {
    let is_regex = |token: &Token<'_>| token.kind == Kind::Sign && matches!(token.text, "=~" | "!~");
    let patterns = tokens.windows(2).filter(|pair| is_regex(&pair[0])).map(|pair| pair[1]);
    for (index, token) in patterns.enumerate() {
        if index == REGEXES_MAX {
            let message = format!("more than {REGEXES_MAX} regular expressions in one query");
            return Err(Fault { message, at: token.start });
        }
        if inside(&token).is_some_and(is_too_large) {
            let message = "this regular expression is too large when compiled".to_owned();
            return Err(Fault { message, at: token.start });
        }
    }
    Ok(())
}

fn unsupported(fault: &Fault) -> Fault {
    Fault { message: format!("{} is not supported yet; {SUPPORTED}", fault.message), at: fault.at }
}

/// The token at which the parser's `message` can be known to point: a number or a string that is none even alone, or
/// the regex at the end of the message.
fn culprit(tokens: &[Token<'_>], message: &str) -> Option<usize> {
    let broken = |token: &&Token<'_>| match token.kind {
        Kind::Number => promql_parser::parser::parse(token.text).is_err(),
        Kind::Text => {
            promql_parser::parser::parse(token.text).is_err()
                || inside(token).is_some_and(|text| !text.is_empty() && message.ends_with(text))
        }
        _ => false,
    };
    tokens.iter().find(broken).map(|token| token.start)
}

/// The text between the quotes.
fn inside<'a>(token: &Token<'a>) -> Option<&'a str> {
    (token.kind == Kind::Text).then(|| token.text.get(1..token.text.len() - 1))?
}

// === the syntax tree ===

/// Why a syntax tree is not a query.
enum Refusal {
    /// PromQL that is not evaluated yet; the tokens tell what and where.
    Unsupported,
    /// A matcher that we read more strictly than the parser.
    Matcher { message: String, value: String },
}

fn query(expr: &Expr) -> Result<Query, Refusal> {
    match expr {
        Expr::Paren(inner) => query(&inner.expr),
        Expr::VectorSelector(parsed) => Ok(Query { selector: selector(parsed)?, filter: None }),
        Expr::Binary(binary) => compared(binary),
        _ => Err(Refusal::Unsupported),
    }
}

fn compared(binary: &BinaryExpr) -> Result<Query, Refusal> {
    // The parser sets a modifier on some plain comparisons too; only what it says counts.
    if binary.return_bool() || binary.modifier.as_ref().is_some_and(|m| m.matching.is_some()) {
        return Err(Refusal::Unsupported);
    }
    let op = compare_op(binary.op.id()).ok_or(Refusal::Unsupported)?;
    let (side, op, number) = match (number(&binary.lhs), number(&binary.rhs)) {
        (None, Some(number)) => (&binary.lhs, op, number),
        (Some(number), None) => (&binary.rhs, op.flipped(), number),
        _ => return Err(Refusal::Unsupported),
    };
    match query(side)? {
        Query { selector, filter: None } => Ok(Query { selector, filter: Some(Comparison { op, number }) }),
        _ => Err(Refusal::Unsupported),
    }
}

fn selector(parsed: &VectorSelector) -> Result<Selector, Refusal> {
    // `{a="1" or b="2"}` is not PromQL, but the parser takes it and leaves half of it out of `matchers`.
    let alternatives = !parsed.matchers.or_matchers.is_empty();
    if parsed.offset.is_some() || parsed.at.is_some() || alternatives {
        return Err(Refusal::Unsupported);
    }
    let mut matchers = Vec::with_capacity(parsed.matchers.matchers.len());
    for matcher in &parsed.matchers.matchers {
        let op = match matcher.op {
            ParsedOp::Equal => MatchOp::Equal,
            ParsedOp::NotEqual => MatchOp::NotEqual,
            ParsedOp::Re(_) => MatchOp::Regex,
            ParsedOp::NotRe(_) => MatchOp::NotRegex,
        };
        let checked = Matcher::try_new(&matcher.name, op, &matcher.value)
            .map_err(|error| Refusal::Matcher { message: error.to_string(), value: matcher.value.clone() })?;
        matchers.push(checked);
    }
    Ok(Selector::new(parsed.name.clone(), matchers))
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::NumberLiteral(literal) => Some(literal.val),
        Expr::Paren(inner) => number(&inner.expr),
        Expr::Unary(inner) => number(&inner.expr).map(|number| -number),
        _ => None,
    }
}

fn compare_op(id: op::TokenId) -> Option<CompareOp> {
    match id {
        op::T_EQLC => Some(CompareOp::Equal),
        op::T_NEQ => Some(CompareOp::NotEqual),
        op::T_GTR => Some(CompareOp::Greater),
        op::T_GTE => Some(CompareOp::GreaterOrEqual),
        op::T_LSS => Some(CompareOp::Less),
        op::T_LTE => Some(CompareOp::LessOrEqual),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
