//! Literals: numbers, durations and strings, with the forms that Prometheus takes.
//!
//! Numbers are those of Go: decimal with underscores between digits, hexadecimal, octal where a zero leads and no digit
//! says otherwise, `Inf` and `NaN` in any case. A number too large to be one is refused rather than infinite.

use crate::expr::{Notation, UNITS};
use crate::quote::go_quoted;
use crate::token::{Fault, Token};

/// A number or a duration as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Seconds, of a duration.
    pub value: f64,
    pub notation: Notation,
    /// Milliseconds, of a duration: exact where seconds would round.
    millis: i64,
}

/// Prometheus counts durations in 64 bits of nanoseconds: 292 years.
const DURATION_MAX_MS: u64 = i64::MAX as u64 / 1_000_000;

/// The same in seconds.
const DURATION_MAX_SECONDS: f64 = i64::MAX as f64 / 1e9;

/// Reads the number or duration that a token is.
pub(super) fn number(token: &Token<'_>) -> Result<Number, Fault> {
    let plain = |value| Number { value, notation: Notation::Plain, millis: 0 };
    if token.is_number_word() {
        return Ok(plain(if token.is_word("inf") { f64::INFINITY } else { f64::NAN }));
    }
    if is_duration(token.text) {
        let millis = duration(token.text).map_err(|message| Fault::new(message, token.start))?;
        return Ok(Number { value: seconds(millis), notation: Notation::Duration, millis });
    }
    match go_number(token.text) {
        Some(value) if value.is_finite() => Ok(plain(value)),
        Some(_) => Err(Fault::new(format!("error parsing number: {:?} is out of range", token.text), token.start)),
        None => Err(Fault::new(format!("bad number or duration syntax: {:?}", token.text), token.start)),
    }
}

/// The text that a string token stands for.
pub(super) fn string(token: &Token<'_>) -> Result<String, Fault> {
    let inside = token.text.get(1..token.text.len().saturating_sub(1)).unwrap_or_default();
    if token.text.starts_with('`') {
        return Ok(inside.to_owned());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(index) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..index]);
        let at = token.end() - 1 - (rest.len() - index);
        let quote = token.text.chars().next().unwrap_or('"');
        rest = escape(&rest[index + 1..], quote, &mut bytes).map_err(|message| Fault::new(message, at))?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| Fault::new("the string's escapes give no valid UTF-8", token.start))
}

/// `seconds` as milliseconds, in the way of Prometheus: to the nearest nanosecond, then down to a millisecond.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole and within the bounds of a duration, which are those of i64"
)]
pub(super) fn millis(seconds: f64) -> Option<i64> {
    let is_in_range = seconds.abs() <= DURATION_MAX_SECONDS;
    is_in_range.then(|| (seconds * 1e9).round() as i64 / 1_000_000)
}

// === impl Number ===

impl Number {
    /// As a duration in milliseconds; `None` beyond what a duration may be.
    pub fn as_millis(self) -> Option<i64> {
        match self.notation {
            Notation::Duration => Some(self.millis),
            Notation::Plain => millis(self.value),
        }
    }

    /// With the other sign.
    pub fn negated(self) -> Self {
        Self { value: -self.value, millis: -self.millis, ..self }
    }
}

// === helpers ===

/// Whether it is cut like a duration: digits and a unit, and again.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if digits == 0 || !UNITS.iter().any(|(name, _)| *name == &rest[digits..digits + unit]) {
            return false;
        }
        rest = &rest[digits + unit..];
    }
    !text.is_empty()
}

fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let (mut rest, mut total, mut allowed) = (text, 0_u64, &UNITS[..]);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let count: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        let name = &rest[digits..digits + unit];
        let place = allowed.iter().position(|(own, _)| *own == name).ok_or_else(invalid)?;
        let part = count.checked_mul(allowed[place].1.unsigned_abs()).filter(|part| *part <= DURATION_MAX_MS);
        total = part.and_then(|part| total.checked_add(part)).ok_or("duration out of range")?;
        allowed = &allowed[place + 1..];
        rest = &rest[digits + unit..];
    }
    i64::try_from(total).ok().filter(|_| total <= DURATION_MAX_MS).ok_or_else(|| "duration out of range".to_owned())
}

/// Whole seconds and the rest apart, as Go does: the sum rounds once more than a division.
fn seconds(millis: i64) -> f64 {
    let nanos = (millis % 1000 * 1_000_000) as f64;
    (millis / 1000) as f64 + nanos / 1e9
}

fn go_number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let digits = without_underscores(digits.strip_prefix('_').unwrap_or(digits), u8::is_ascii_hexdigit)?;
        return i64::from_str_radix(&digits, 16).ok().map(|value| value as f64);
    }
    let digits = without_underscores(text, u8::is_ascii_digit)?;
    let is_octal =
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if let (true, Ok(value)) = (is_octal, i64::from_str_radix(&digits, 8)) {
        return Some(value as f64);
    }
    let is_decimal = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    digits.chars().all(is_decimal).then(|| digits.parse().ok())?
}

/// `None` where an underscore stands elsewhere than between two digits.
fn without_underscores(text: &str, is_digit: fn(&u8) -> bool) -> Option<String> {
    let bytes = text.as_bytes();
    for (index, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_') {
        let before = index.checked_sub(1).and_then(|before| bytes.get(before));
        if !(before.is_some_and(is_digit) && bytes.get(index + 1).is_some_and(is_digit)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// Reads one escape, of which the backslash is read; gives what is left.
fn escape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let not_terminated = || "escape sequence not terminated".to_owned();
    let kind = rest.chars().next().ok_or_else(not_terminated)?;
    let simple = match kind {
        'a' => Some(0x07),
        'b' => Some(0x08),
        'f' => Some(0x0c),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(0x0b),
        '\\' => Some(b'\\'),
        c if c == quote => u8::try_from(c).ok(),
        _ => None,
    };
    if let Some(byte) = simple {
        bytes.push(byte);
        return Ok(&rest[1..]);
    }
    let (skip, length, base) = match kind {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        c => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    let mut value: u32 = 0;
    let mut digits = rest[skip..].chars();
    for _ in 0..length {
        let c = digits.next().ok_or_else(not_terminated)?;
        let digit =
            c.to_digit(base).ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        value = value.checked_mul(base).and_then(|value| value.checked_add(digit)).unwrap_or(u32::MAX);
    }
    let invalid = || "escape sequence is an invalid Unicode code point".to_owned();
    if length <= 3 {
        bytes.push(u8::try_from(value).map_err(|_| invalid())?);
    } else {
        let c = char::from_u32(value).ok_or_else(invalid)?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(digits.as_str())
}

/// `U+0071 'q'`
fn code_point(c: char) -> String {
    let shown = go_quoted(&c.to_string());
    if shown.len() > 2 && !shown.contains('\\') {
        format!("U+{:04X} '{c}'", c as u32)
    } else {
        format!("U+{:04X}", c as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tokens;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Number, String> {
        let tokens = tokens(text).map_err(|fault| fault.message)?;
        assert_eq!(tokens.len(), 2, "{text} is one token");
        number(&tokens[0]).map_err(|fault| fault.message)
    }

    fn text(written: &str) -> Result<String, (String, usize)> {
        let tokens = tokens(written).expect("cut");
        string(&tokens[0]).map_err(|fault| (fault.message, fault.at))
    }

    #[test]
    fn numbers_are_those_of_go() {
        for (written, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1.e2", 100.0),
            ("1e5", 1e5),
            ("1E-5", 1e-5),
            ("1e+5", 1e5),
            ("1_000", 1000.0),
            ("1_0.2_5e1_0", 10.25e10),
            ("010", 8.0),
            ("0_10", 8.0),
            ("08", 8.0),
            ("019", 19.0),
            ("00.5", 0.5),
            ("0x1F", 31.0),
            ("0X_1f", 31.0),
            ("0xf_f", 255.0),
            ("Inf", f64::INFINITY),
            ("iNF", f64::INFINITY),
            ("9223372036854775807", 9_223_372_036_854_775_807.0),
            ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
            ("1e308", 1e308),
            ("1e-400", 0.0),
        ] {
            assert_eq!(read(written).map(|number| number.value), Ok(value), "{written}");
        }
        assert!(read("NaN").is_ok_and(|number| number.value.is_nan()));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for written in [
            "1__0", "1_", "1_.5", "0x", "0x_", "0xg", "0x1.8", "0o17", "0b1", "1e", "1.2.3", "1e5e5", "5mm", "1.5h",
            "5M", "1x",
        ] {
            assert!(
                read(written).is_err_and(|message| message.starts_with("bad number or duration syntax")),
                "{written}"
            );
        }
        for written in ["1e400", "1e999"] {
            assert!(read(written).is_err_and(|message| message.contains("out of range")), "{written}");
        }
        assert!(read("0xfffffffffffffffff").is_err());
    }

    #[test]
    fn durations_have_their_units_in_order_and_fit() {
        for (written, millis) in [
            ("1ms", 1),
            ("1h30m", 5_400_000),
            ("5m", 300_000),
            ("1y2w3d4h5m6s7ms", 31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_400_000 + 306_007),
            ("0s", 0),
            ("292y", 292 * 31_536_000_000),
        ] {
            let number = read(written).expect(written);
            assert_eq!((number.as_millis(), number.notation), (Some(millis), Notation::Duration), "{written}");
            assert_eq!(number.negated().as_millis(), Some(-millis));
        }
        for written in ["5m1h", "1m1m", "1s1m", "1ms1s", "99999999999999999999s"] {
            assert_eq!(read(written).expect_err(written), format!("not a valid duration string: {written:?}"));
        }
        for written in ["293y", "292y51w", "18446744073709551615y", "9223372036855s"] {
            assert_eq!(read(written).expect_err(written), "duration out of range");
        }
    }

    #[test]
    fn a_number_is_a_duration_in_seconds_where_it_fits() {
        for (seconds, expected) in [
            (1.5, Some(1500)),
            (0.0015, Some(1)),
            (-0.0015, Some(-1)),
            (9_223_372_036.0, Some(9_223_372_036_000)),
            (9_223_372_037.0, None),
            (-1e10, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(millis(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn strings_have_the_escapes_of_prometheus() {
        for (written, expected) in [
            (r#""""#, ""),
            (r#""a\a\b\f\n\r\t\v\\\"b""#, "a\x07\x08\x0c\n\r\t\x0b\\\"b"),
            (r"'it\'s'", "it's"),
            (r#"'"'"#, "\""),
            (r"`\n'`", "\\n'"),
            ("`a\nb`", "a\nb"),
            (r#""\x41\101\u00e9\U0001F600é""#, "AAéé".replacen('é', "é\u{1F600}", 1).as_str()),
            (r#""\xc3\xa9\303\251""#, "éé"),
        ] {
            assert_eq!(text(written), Ok(expected.to_owned()), "{written}");
        }
    }

    #[test]
    fn a_wrong_escape_is_refused_at_its_backslash() {
        for (written, message, at) in [
            (r#""ab\qc""#, "unknown escape sequence U+0071 'q'", 3),
            (r#""\'""#, "unknown escape sequence U+0027 '''", 1),
            (r#""\xg0""#, "illegal character U+0067 'g' in escape sequence", 1),
            (r#""\8""#, "unknown escape sequence U+0038 '8'", 1),
            (r#""\18""#, "illegal character U+0038 '8' in escape sequence", 1),
            (r#""\777""#, "escape sequence is an invalid Unicode code point", 1),
            (r#""\ud800""#, "escape sequence is an invalid Unicode code point", 1),
            (r#""\U00110000""#, "escape sequence is an invalid Unicode code point", 1),
            (r#""\UFFFFFFFF""#, "escape sequence is an invalid Unicode code point", 1),
            (r#""é\u12""#, "escape sequence not terminated", 3),
            (r#""\xff""#, "the string's escapes give no valid UTF-8", 0),
        ] {
            assert_eq!(text(written), Err((message.to_owned(), at)), "{written}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(value in "\\PC{0,8}|[\\x00-\\x7f]{0,8}") {
            prop_assert_eq!(text(&go_quoted(&value)), Ok(value));
        }

        #[test]
        fn a_number_reads_back_as_it_prints(value in prop::num::f64::POSITIVE | prop::num::f64::ZERO) {
            prop_assert_eq!(read(&format!("{value}")).map(|number| number.value), Ok(value));
        }
    }
}
