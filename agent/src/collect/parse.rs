//! Parsers of the kernel's text files: bytes in, numbers out, nothing allocated unless something is wrong.
//!
//! The kernel promises ASCII, whitespace between fields and decimal numbers, and keeps that promise; a sandbox that
//! imitates `/proc` may not. So each parser says what it expected and what it found, and none panics on any bytes.

use std::borrow::Cow;

/// How much of a malformed text an error shows.
const SHOWN_BYTES: usize = 64;

/// What is wrong with a text. Its file is added where it is known, in [`super::file::KeptFile::parse`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct Flaw {
    expected: Cow<'static, str>,
    found: String,
}

// === impl Flaw ===

impl Flaw {
    /// `found` is cut to a length that a log line can bear.
    pub fn new(expected: impl Into<Cow<'static, str>>, found: &[u8]) -> Self {
        let shown = &found[..found.len().min(SHOWN_BYTES)];
        Self { expected: expected.into(), found: String::from_utf8_lossy(shown).into_owned() }
    }

    /// Something that should stand in the text does not.
    pub fn missing(expected: impl Into<Cow<'static, str>>) -> Self {
        Self::new(expected, b"")
    }
}

/// The lines of a text, without their ends and without empty ones.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The fields of a line: what stands between runs of whitespace.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

/// A whole number of digits only; `None` also where it does not fit into 64 bits.
pub fn whole(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// A number such as `0.44`: digits with at most one point among them; no sign, no exponent, no `inf`, and not so many
/// digits that it would be infinite.
pub fn decimal(field: &[u8]) -> Option<f64> {
    let is_plain = field.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let value: f64 = if is_plain { std::str::from_utf8(field).ok()?.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

/// The next field as a whole number, or the flaw that says what it should have been.
pub fn next_whole<'a>(fields: &mut impl Iterator<Item = &'a [u8]>, expected: &'static str) -> Result<u64, Flaw> {
    let field = fields.next().unwrap_or_default();
    whole(field).ok_or_else(|| Flaw::new(expected, field))
}

/// The next field as a decimal number, or the flaw that says what it should have been.
pub fn next_decimal<'a>(fields: &mut impl Iterator<Item = &'a [u8]>, expected: &'static str) -> Result<f64, Flaw> {
    let field = fields.next().unwrap_or_default();
    decimal(field).ok_or_else(|| Flaw::new(expected, field))
}

/// The first number of each line that begins with one of `keys`, in the order of `keys`; `None` where no line does.
///
/// Stops at the line that completes the set, so the long tails of `meminfo` and `vmstat` are not walked.
pub fn keyed<const N: usize>(text: &[u8], keys: [&'static str; N]) -> Result<[Option<u64>; N], Flaw> {
    let mut values = [None; N];
    let mut wanted = N;
    for line in lines(text) {
        let key_end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let Some(index) = keys.iter().position(|key| key.as_bytes() == &line[..key_end]) else { continue };
        if values[index].is_some() {
            continue;
        }
        let field = fields(&line[key_end..]).next().unwrap_or_default();
        let value = whole(field).ok_or_else(|| Flaw::new(format!("a whole number after {}", keys[index]), field))?;
        values[index] = Some(value);
        wanted -= 1;
        if wanted == 0 {
            break;
        }
    }
    Ok(values)
}

/// As [`keyed`], where every key must be there.
pub fn keyed_all<const N: usize>(text: &[u8], keys: [&'static str; N]) -> Result<[u64; N], Flaw> {
    let found = keyed(text, keys)?;
    let mut values = [0; N];
    for index in 0..N {
        values[index] = found[index].ok_or_else(|| Flaw::missing(format!("a line {}", keys[index])))?;
    }
    Ok(values)
}

/// A file that holds one whole number and nothing else.
pub fn single(text: &[u8]) -> Result<u64, Flaw> {
    whole(text.trim_ascii()).ok_or_else(|| Flaw::new("one whole number", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_number_is_digits_that_fit_into_64_bits() {
        assert_eq!(whole(b"0"), Some(0));
        assert_eq!(whole(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "-1", "+1", "1.0", "0x1", "1 ", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(whole(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_decimal_number_is_never_infinite_nor_negative() {
        assert_eq!(decimal(b"0.44"), Some(0.44));
        assert_eq!(decimal(b"12"), Some(12.0));
        for wrong in ["", ".", "-0.1", "1e9", "inf", "NaN", "1.2.3", "1,5"] {
            assert_eq!(decimal(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(decimal(&[b'9'; 400]), None, "more than a number can hold");
        assert!(decimal(&[b'9'; 300]).is_some());
    }

    #[test]
    fn keyed_takes_the_first_line_of_each_key_and_leaves_others_alone() {
        let text = b"a 1\nab 2\nb: 3 kB\na 9\nc not a number\n";
        assert_eq!(keyed(text, ["a", "b:", "x"]), Ok([Some(1), Some(3), None]));
        let flaw = keyed(text, ["c"]).expect_err("refused");
        assert_eq!(flaw.to_string(), r#"expected a whole number after c, found "not""#);
        let flaw = keyed_all(text, ["a", "x"]).expect_err("refused");
        assert_eq!(flaw.to_string(), r#"expected a line x, found """#);
    }

    #[test]
    fn a_flaw_shows_only_the_beginning_of_what_it_found() {
        let flaw = Flaw::new("less", &[b'x'; 10_000]);
        assert!(flaw.to_string().len() < 100);
    }

    proptest! {
        #[test]
        fn whole_agrees_with_the_standard_library(value: u64) {
            prop_assert_eq!(whole(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
            let standard = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<u64>().ok());
            if let Some(value) = whole(&bytes) {
                prop_assert_eq!(Some(value), standard);
            }
            if let Some(value) = decimal(&bytes) {
                prop_assert!(value.is_finite() && value >= 0.0);
            }
            let _ = single(&bytes);
            let _ = keyed(&bytes, ["a", ""]);
            prop_assert!(lines(&bytes).flat_map(fields).all(|field| !field.is_empty()));
        }
    }
}
