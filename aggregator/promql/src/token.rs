//! PromQL cut into tokens with their places: the only reader of single characters.
//!
//! What a token may be depends on the innermost open bracket: between braces stand label names, strings and matcher
//! operators; between square brackets `:` is a sign; elsewhere it is part of a metric's name. What can be known to be
//! wrong from this alone (unbalanced brackets, open strings, foreign characters) is found here, and two limits are held,
//! so that the parser behind may use its stack: [`DEPTH_MAX`] and [`OPERATORS_MAX`].

use crate::{DEPTH_MAX, OPERATORS_MAX};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Word,
    /// A label's name between braces, where no word is a keyword.
    Label,
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
    /// Behind the last one; its text is empty.
    End,
}

/// A token and the text it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte at which it begins.
    pub start: usize,
}

/// Something wrong at a byte of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub message: String,
    pub at: usize,
}

/// Signs outside of braces. Longest first, so that `>=` is not `>` and `=`.
const SIGNS: [&str; 15] = ["==", "!=", ">=", "<=", "=", ">", "<", "+", "-", "*", "/", "%", "^", ",", "@"];

/// Signs between braces.
const BRACE_SIGNS: [&str; 5] = ["=~", "!~", "!=", "=", ","];

/// Words that join two expressions.
const WORD_OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];

/// Words that modify an expression; where they may be the names of metrics the grammar decides.
const KEYWORDS: [&str; 10] =
    ["offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"];

/// Cuts `text`, or says where that stops making sense or passes a limit. The last token is [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut cutter = Cutter { text, open: Vec::new(), operators: 0 };
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        if matches!(first, ' ' | '\t' | '\n' | '\r') {
            start += 1;
        } else if first == '#' {
            start += rest.find(['\n', '\r']).unwrap_or(rest.len());
        } else {
            let (kind, length) = cutter.next(first, start)?;
            let token = Token { kind, text: &rest[..length], start };
            cutter.count(token)?;
            found.push(token);
            start += length;
        }
    }
    cutter.ended()?;
    found.push(Token { kind: Kind::End, text: "", start: text.len() });
    Ok(found)
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

// === impl Fault ===

impl Fault {
    /// A fault at a byte.
    pub fn new(message: impl Into<String>, at: usize) -> Self {
        Self { message: message.into(), at }
    }
}

// === impl Token ===

impl Token<'_> {
    /// Byte behind it.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether this is the keyword `word`; keywords have no case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is the bracket or the sign `text`.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Open | Kind::Close | Kind::Sign) && self.text == text
    }

    /// Whether this word is a number: `Inf`, `NaN`.
    pub fn is_number_word(&self) -> bool {
        self.is_word("inf") || self.is_word("nan")
    }

    /// As Prometheus names a token that it did not expect.
    pub fn describe(&self) -> String {
        let text = self.text;
        let among = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Word if self.is_number_word() => format!("number {text:?}"),
            Kind::Word if among(&WORD_OPERATORS) => format!("<op:{text}>"),
            Kind::Word if among(&KEYWORDS) => format!("<{text}>"),
            Kind::Word if crate::expr::AggregateOp::is_name(text) => format!("<aggr:{text}>"),
            Kind::Word if text.contains(':') => format!("metric identifier {text:?}"),
            Kind::Word | Kind::Label => format!("identifier {text:?}"),
            Kind::Number if text.ends_with(|c: char| "smhdwy".contains(c)) => format!("duration {}", shortened(text)),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Text => format!("string {}", shortened(text)),
            Kind::Sign if !matches!(text, "," | ":" | "=") => format!("<op:{text}>"),
            Kind::Open | Kind::Close | Kind::Sign => format!("{text:?}"),
        }
    }
}

// === impl Cutter ===

struct Cutter<'a> {
    text: &'a str,
    /// The brackets that are open, and where.
    open: Vec<(char, usize)>,
    operators: usize,
}

impl Cutter<'_> {
    /// Kind and length of the token that begins with `first` at `at`.
    fn next(&mut self, first: char, at: usize) -> Result<(Kind, usize), Fault> {
        let rest = &self.text[at..];
        let inside = self.open.last().map(|(bracket, _)| *bracket);
        if matches!(first, '"' | '\'' | '`') {
            return Ok((Kind::Text, string_length(rest, first, at)?));
        }
        if inside == Some('{') {
            return self.next_in_braces(first, at);
        }
        match first {
            '(' | '[' | '{' => {
                self.opens(first, at)?;
                Ok((Kind::Open, 1))
            }
            ')' | ']' | '}' => {
                self.closes(first, at)?;
                Ok((Kind::Close, 1))
            }
            ':' if inside == Some('[') => Ok((Kind::Sign, 1)),
            c if c.is_ascii_digit() || (c == '.' && digit_follows(rest)) => Ok((Kind::Number, number_length(rest))),
            c if is_word(c) || c == ':' => {
                let goes_on = |c| is_word(c) || (c == ':' && inside != Some('['));
                Ok((Kind::Word, rest.find(|c| !goes_on(c)).unwrap_or(rest.len())))
            }
            c => Ok((Kind::Sign, sign_length(rest, c, at)?)),
        }
    }

    fn next_in_braces(&mut self, first: char, at: usize) -> Result<(Kind, usize), Fault> {
        let rest = &self.text[at..];
        match first {
            '}' => {
                self.closes(first, at)?;
                Ok((Kind::Close, 1))
            }
            '{' => Err(Fault::new("unexpected left brace '{'", at)),
            c if is_word(c) && !c.is_ascii_digit() => {
                Ok((Kind::Label, rest.find(|c| !is_word(c)).unwrap_or(rest.len())))
            }
            c => match BRACE_SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => Ok((Kind::Sign, sign.len())),
                None => Err(Fault::new(format!("unexpected character inside braces: {c:?}"), at)),
            },
        }
    }

    fn opens(&mut self, bracket: char, at: usize) -> Result<(), Fault> {
        self.open.push((bracket, at));
        if self.open.len() > DEPTH_MAX {
            return Err(Fault::new(format!("brackets nest deeper than {DEPTH_MAX}"), at));
        }
        Ok(())
    }

    fn closes(&mut self, bracket: char, at: usize) -> Result<(), Fault> {
        match (self.open.pop(), bracket) {
            (Some(('(', _)), ')') | (Some(('[', _)), ']') | (Some(('{', _)), '}') => Ok(()),
            (Some((opened, _)), _) => Err(Fault::new(format!("'{bracket}' does not close '{opened}'"), at)),
            (None, ')') => Err(Fault::new("unexpected right parenthesis ')'", at)),
            (None, ']') => Err(Fault::new("unexpected right bracket ']'", at)),
            (None, _) => Err(Fault::new(format!("unexpected character: {bracket:?}"), at)),
        }
    }

    fn count(&mut self, token: Token<'_>) -> Result<(), Fault> {
        self.operators += usize::from(is_operator(token));
        if self.operators > OPERATORS_MAX {
            return Err(Fault::new(format!("more than {OPERATORS_MAX} operators in one query"), token.start));
        }
        Ok(())
    }

    /// A bracket that is still open is to blame itself.
    fn ended(&self) -> Result<(), Fault> {
        match self.open.last() {
            Some(('(', at)) => Err(Fault::new("unclosed left parenthesis", *at)),
            Some(('[', at)) => Err(Fault::new("unclosed left bracket", *at)),
            Some((_, at)) => Err(Fault::new("unexpected end of input inside braces", *at)),
            None => Ok(()),
        }
    }
}

// === helpers ===

/// Length of the string at the head of `rest`, quotes included. Backquotes know no escapes, and newlines stand in them.
fn string_length(rest: &str, quote: char, at: usize) -> Result<usize, Fault> {
    let is_raw = quote == '`';
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            '\n' if !is_raw => break,
            _ if escaped => escaped = false,
            '\\' if !is_raw => escaped = true,
            c if c == quote => return Ok(index + 1),
            _ => {}
        }
    }
    let kind = if is_raw { "raw" } else { "quoted" };
    Err(Fault::new(format!("unterminated {kind} string"), at))
}

/// Length of the number or duration at the head of `rest`, right or wrong; `1e+5` holds a sign.
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
    let second = rest.chars().nth(1);
    match (first, second) {
        ('=', Some('~')) => return Err(Fault::new("unexpected character after '=': '~'", at)),
        ('!', Some(c)) if c != '=' => return Err(Fault::new(format!("unexpected character after '!': {c:?}"), at)),
        _ => {}
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok(sign.len()),
        None => Err(Fault::new(format!("unexpected character: {first:?}"), at)),
    }
}

/// Quoted, and cut after ten characters: a message is no place for a page of text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((end, _)) if text.len() > 10 => format!("{:?}...", &text[..end]),
        _ => format!("{text:?}"),
    }
}

fn digit_follows(rest: &str) -> bool {
    rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_operator(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Sign => !matches!(token.text, "," | ":" | "@" | "=" | "=~" | "!~"),
        Kind::Word => WORD_OPERATORS.iter().any(|word| token.is_word(word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        let mut tokens = tokens(text).expect("well formed");
        assert_eq!(tokens.pop().map(|token| token.kind), Some(Kind::End));
        tokens.iter().map(|token| token.text).collect()
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
        assert_eq!(cut("x[5m:1m] offset 1h30m"), ["x", "[", "5m", ":", "1m", "]", "offset", "1h30m"]);
        assert_eq!(cut("x[5m:] :y:"), ["x", "[", "5m", ":", "]", ":y:"]);
        assert_eq!(cut("0x1e-5"), ["0x1e", "-", "5"]);
        assert_eq!(cut(".5"), [".5"]);
        assert_eq!(cut("`a\n\\`"), ["`a\n\\`"]);
        assert_eq!(cut(r#"{a=="1"}"#), ["{", "a", "=", "=", r#""1""#, "}"]);
    }

    #[test]
    fn what_cannot_be_cut_is_placed() {
        assert_eq!(fault("a\n  > (1"), ("unclosed left parenthesis".into(), (2, 5)));
        assert_eq!(fault("a[5m"), ("unclosed left bracket".into(), (1, 2)));
        assert_eq!(fault("a{"), ("unexpected end of input inside braces".into(), (1, 2)));
        assert_eq!(fault("a)"), ("unexpected right parenthesis ')'".into(), (1, 2)));
        assert_eq!(fault("a]"), ("unexpected right bracket ']'".into(), (1, 2)));
        assert_eq!(fault("a}"), ("unexpected character: '}'".into(), (1, 2)));
        assert_eq!(fault("a(b]"), ("']' does not close '('".into(), (1, 4)));
        assert_eq!(fault("a{b]"), ("unexpected character inside braces: ']'".into(), (1, 4)));
        assert_eq!(fault("a{b:c=\"1\"}"), ("unexpected character inside braces: ':'".into(), (1, 4)));
        assert_eq!(fault("a{b=\"é"), ("unterminated quoted string".into(), (1, 5)));
        assert_eq!(fault("a{b=\"c\nd\"}"), ("unterminated quoted string".into(), (1, 5)));
        assert_eq!(fault("`a"), ("unterminated raw string".into(), (1, 1)));
        assert_eq!(fault("é"), ("unexpected character: 'é'".into(), (1, 1)));
        assert_eq!(fault("a{b=\"é\"} ~ 1"), ("unexpected character: '~'".into(), (1, 10)));
        assert_eq!(fault("a =~ 1"), ("unexpected character after '=': '~'".into(), (1, 3)));
        assert_eq!(fault("a !~ 1"), ("unexpected character after '!': '~'".into(), (1, 3)));
        assert_eq!(fault("a !"), ("unexpected character: '!'".into(), (1, 3)));
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
        fn tokens_cover_the_text_in_order_without_overlap(text in "[ a-z0-9(){}\\[\\]\"=~!<>,:#\\-\n]{0,40}") {
            if let Ok(tokens) = tokens(&text) {
                let mut end = 0;
                for token in tokens {
                    prop_assert!(token.start >= end);
                    prop_assert_eq!(token.text.is_empty(), token.kind == Kind::End);
                    end = token.end();
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
