//! PromQL cut into tokens with their places, without judging them.
//!
//! The grammar belongs to `promql-parser`, whose messages carry no places and whose recursion has no bound. This reader
//! gives both: it finds what can be known to be wrong before parsing (unbalanced brackets, open strings, foreign
//! characters), holds the limits, and lets a refusal point at a token.

use crate::{DEPTH_MAX, OPERATORS_MAX};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number or a duration.
    Number,
    /// A quoted string.
    Text,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// Everything else: operators, `,`, `:`, `@`.
    Sign,
}

/// A token and the text it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte at which it begins.
    pub start: usize,
}

impl Token<'_> {
    /// Whether this is the keyword `word`; keywords have no case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

/// Something wrong at a byte of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub message: String,
    pub at: usize,
}

/// Longest first, so that `>=` is not `>` and `=`.
const SIGNS: [&str; 19] =
    ["=~", "!~", "!=", "==", ">=", "<=", "=", ">", "<", "+", "-", "*", "/", "%", "^", ",", ":", "@", "!"];

/// Words that join two expressions.
const WORD_OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];

/// Cuts `text`, or says where that stops making sense or passes a limit.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut found = Vec::new();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut operators = 0;
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let (kind, length) = match first {
            c if c.is_ascii_whitespace() => {
                start += 1;
                continue;
            }
            '#' => {
                start += rest.find(['\n', '\r']).unwrap_or(rest.len());
                continue;
            }
            '"' | '\'' | '`' => (Kind::Text, string_length(rest, first, start)?),
            '(' | '[' | '{' => {
                open.push((first, start));
                if open.len() > DEPTH_MAX {
                    let message = format!("brackets nest deeper than {DEPTH_MAX}");
                    return Err(Fault { message, at: start });
                }
                (Kind::Open, 1)
            }
            ')' | ']' | '}' => {
                close(&mut open, first, start)?;
                (Kind::Close, 1)
            }
            c if c.is_ascii_digit() || (c == '.' && digit_follows(rest)) => (Kind::Number, number_length(rest)),
            c if is_word(c) => (Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
            c => (Kind::Sign, sign_length(rest, c, start)?),
        };
        let token = Token { kind, text: &rest[..length], start };
        operators += usize::from(is_operator(token));
        if operators > OPERATORS_MAX {
            let message = format!("more than {OPERATORS_MAX} operators in one query");
            return Err(Fault { message, at: start });
        }
        found.push(token);
        start += length;
    }
    match open.last() {
        Some((bracket, at)) => Err(Fault { message: format!("'{bracket}' is never closed"), at: *at }),
        None => Ok(found),
    }
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

// === helpers ===

fn close(open: &mut Vec<(char, usize)>, bracket: char, at: usize) -> Result<(), Fault> {
    let message = match (open.pop(), bracket) {
        (Some(('(', _)), ')') | (Some(('[', _)), ']') | (Some(('{', _)), '}') => return Ok(()),
        (Some((opened, _)), _) => format!("'{bracket}' does not close '{opened}'"),
        (None, _) => format!("'{bracket}' closes nothing"),
    };
    Err(Fault { message, at })
}

/// Length of the string at the head of `rest`, quotes included. Backquotes know no escapes.
fn string_length(rest: &str, quote: char, at: usize) -> Result<usize, Fault> {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Ok(index + 1),
            _ => {}
        }
    }
    Err(Fault { message: "the string is never closed".to_owned(), at })
}

/// Length of the number or duration at the head of `rest`; `1e+5` holds a sign.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    let mut length = 1;
    while let Some(&byte) = bytes.get(length) {
        let exponent_sign = !hex
            && matches!(byte, b'+' | b'-')
            && matches!(bytes[length - 1], b'e' | b'E')
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent_sign) {
            break;
        }
        length += 1;
    }
    length
}

fn sign_length(rest: &str, first: char, at: usize) -> Result<usize, Fault> {
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok(sign.len()),
        None => Err(Fault { message: format!("unexpected character {first:?}"), at }),
    }
}

fn digit_follows(rest: &str) -> bool {
    rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn is_operator(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Sign => !matches!(token.text, "," | ":" | "@" | "=" | "=~" | "!~"),
        Kind::Word => is_word_operator(token.text),
        _ => false,
    }
}

/// Whether `word` joins two expressions, in any case.
pub(crate) fn is_word_operator(word: &str) -> bool {
    WORD_OPERATORS.iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        tokens(text).expect("well formed").iter().map(|token| token.text).collect()
    }

    fn fault(text: &str) -> (String, (usize, usize)) {
        let fault = tokens(text).expect_err(text);
        (fault.message, line_and_column(text, fault.at))
    }

    #[test]
    fn a_query_is_cut_where_prometheus_cuts_it() {
        assert_eq!(
            cut(r#"a:b{c=~"}\"", d!='('} >=-1.5e+3 # (("#),
            ["a:b", "{", "c", "=~", r#""}\"""#, ",", "d", "!=", "'('", "}", ">=", "-", "1.5e+3"]
        );
        assert_eq!(cut("x[5m] offset 1h30m"), ["x", "[", "5m", "]", "offset", "1h30m"]);
        assert_eq!(cut("0x1e-5"), ["0x1e", "-", "5"]);
        assert_eq!(cut(".5"), [".5"]);
    }

    #[test]
    fn what_cannot_be_cut_is_placed() {
        assert_eq!(fault("a\n  > (1"), ("'(' is never closed".into(), (2, 5)));
        assert_eq!(fault("a)"), ("')' closes nothing".into(), (1, 2)));
        assert_eq!(fault("a{b]"), ("']' does not close '{'".into(), (1, 4)));
        assert_eq!(fault("a{b=\"é"), ("the string is never closed".into(), (1, 5)));
        assert_eq!(fault("é"), ("unexpected character 'é'".into(), (1, 1)));
        assert_eq!(fault("a{b=\"é\"} ~ 1"), ("unexpected character '~'".into(), (1, 10)));
    }

    #[test]
    fn depth_and_operators_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(tokens(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(fault(&nested(DEPTH_MAX + 1)).1, (1, DEPTH_MAX + 1));
        assert!(tokens(&"-".repeat(OPERATORS_MAX)).is_ok());
        assert_eq!(fault(&"-".repeat(OPERATORS_MAX + 1)).1, (1, OPERATORS_MAX + 1));
        assert!(tokens(&"a or ".repeat(OPERATORS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn tokens_cover_the_text_in_order_without_overlap(text in "[ a-z0-9(){}\\[\\]\"=~!<>,#\\-\n]{0,40}") {
            if let Ok(tokens) = tokens(&text) {
                let mut end = 0;
                for token in tokens {
                    prop_assert!(token.start >= end);
                    prop_assert!(!token.text.is_empty());
                    end = token.start + token.text.len();
                    prop_assert_eq!(&text[token.start..end], token.text);
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            if let Err(fault) = tokens(&text) {
                prop_assert!(fault.at < text.len());
            }
        }
    }
}
