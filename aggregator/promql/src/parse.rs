//! Text to a checked tree: bounded, cut into tokens, parsed, checked. Every refusal has its place.
//!
//! ```text
//! text ── token ──> tokens ── grammar, selector, literal ──> tree ── check ──> Expr
//! ```
//! The language is that of a default Prometheus 3; what it calls experimental is refused and said to be. Where we take more:
//! `without` and the numbers `inf` and `nan` may be labels of a grouping without quotes, and comments may stand anywhere
//! between brackets. Where we take less: a duration is at least a millisecond, and text must be UTF-8 behind its escapes.

mod check;
mod grammar;
mod literal;
mod selector;

use crate::QUERY_MAX_BYTES;
use crate::expr::Expr;
use crate::token::{Fault, line_and_column, tokens};

/// What is wrong with a query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// What is wrong, for the person who wrote it.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Checks `text` and makes it a tree.
///
/// Refuses, each with its place: what is not PromQL, what is experimental in it, more than [`QUERY_MAX_BYTES`], brackets or
/// waiting operators nested deeper than [`crate::DEPTH_MAX`], more than [`crate::OPERATORS_MAX`] operators or
/// [`crate::REGEXES_MAX`] regexes.
pub(crate) fn parse_expr(text: &str) -> Result<Expr, ParseError> {
    if text.len() > QUERY_MAX_BYTES {
        let message = format!("the query has {} bytes; the limit is {QUERY_MAX_BYTES}", text.len());
        return Err(ParseError { message, line: 1, column: 1 });
    }
    checked(text).map_err(|fault| placed(text, fault))
}

// === helpers ===

fn checked(text: &str) -> Result<Expr, Fault> {
    let tokens = tokens(text)?;
    let expr = grammar::tree(&tokens)?;
    check::check(&expr, text)?;
    Ok(expr)
}

fn placed(text: &str, fault: Fault) -> ParseError {
    let (line, column) = line_and_column(text, fault.at);
    ParseError { message: fault.message, line, column }
}

#[cfg(test)]
mod tests;
