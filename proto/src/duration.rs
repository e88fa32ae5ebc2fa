//! Prometheus durations: `1h30m`, `5m`, `0s`. The one grammar of configurations and rule files.
//!
//! Units from `y` (365 days) down to `ms`, each at most once and in that order; source: prometheus/common
//! `model/time.go`. Precision is the millisecond.

use std::fmt::Write;
use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration")]
    Empty,
    /// Not of the form `1h30m`.
    #[error("{0:?} is not a duration such as 30s, 5m or 1h30m (units y w d h m s ms, in this order)")]
    Malformed(String),
    /// Longer than 292 years, which is what Prometheus can hold.
    #[error("duration {0:?} is out of range")]
    OutOfRange(String),
}

/// Units with their milliseconds, longest first. The flag tells those that print only when nothing remains, because
/// `90d` reads better than `12w6d`.
const UNITS: [(&str, u64, Printed); 7] = [
    ("y", 365 * 24 * 3_600_000, Printed::Exactly),
    ("w", 7 * 24 * 3_600_000, Printed::Exactly),
    ("d", 24 * 3_600_000, Printed::Always),
    ("h", 3_600_000, Printed::Always),
    ("m", 60_000, Printed::Always),
    ("s", 1_000, Printed::Always),
    ("ms", 1, Printed::Always),
];

/// When a unit is used for printing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printed {
    Exactly,
    Always,
}

/// What an `i64` of nanoseconds holds, in milliseconds: the range of Go's durations.
const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

/// How much of a refused text an error shows, in characters.
const SHOWN_CHARS: usize = 32;

/// The duration that `text` says. A bare `0` is allowed, as in Prometheus; any other number needs a unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let shown = || text.chars().take(SHOWN_CHARS).collect::<String>();
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let mut total: u64 = 0;
    let mut units_left = UNITS.as_slice();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let index = units_left.iter().position(|(name, ..)| *name == unit);
        let Some(index) = index.filter(|_| digits > 0) else {
            return Err(DurationError::Malformed(shown()));
        };
        let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(units_left[index].1));
        total = millis
            .and_then(|millis| total.checked_add(millis))
            .filter(|total| *total <= MAX_MILLIS)
            .ok_or_else(|| DurationError::OutOfRange(shown()))?;
        units_left = &units_left[index + 1..];
        rest = &rest[digits + letters..];
    }
    Ok(Duration::from_millis(total))
}

/// The shortest text that [`parse`] reads as `duration` cut to milliseconds; `0s` for zero.
pub fn print(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size, printed) in UNITS {
        let count = millis / size;
        if count == 0 || (printed == Printed::Exactly && !millis.is_multiple_of(size)) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{count}{unit}");
        millis -= count * size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> f64 {
        parse(text).expect(text).as_secs_f64()
    }

    #[test]
    fn what_prometheus_reads_is_read() {
        assert_eq!(seconds("0"), 0.0);
        assert_eq!(seconds("0s"), 0.0);
        assert_eq!(seconds("5m"), 300.0);
        assert_eq!(seconds("1h30m"), 5_400.0);
        assert_eq!(seconds("90m"), 5_400.0);
        assert_eq!(seconds("1d12h"), 129_600.0);
        assert_eq!(seconds("4d1h1m1s10ms"), 349_261.01);
        assert_eq!(seconds("1y"), 31_536_000.0);
        assert_eq!(seconds("2w"), 1_209_600.0);
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        assert_eq!(parse(""), Err(DurationError::Empty));
        for text in ["5", "1", "5x", "m", "30m1h", "1m1m", "1.5h", "-1h", " 5m", "5m ", "1h30", "5M", "é"] {
            assert_eq!(parse(text), Err(DurationError::Malformed(text.to_owned())), "{text}");
        }
        for text in ["293y", "99999999999999999999s", "18446744073709551615y"] {
            assert_eq!(parse(text), Err(DurationError::OutOfRange(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn it_prints_as_prometheus_does() {
        for text in ["0s", "324ms", "3s", "5m", "1h", "4d", "4d1h", "14d", "3w", "10y", "1h30m"] {
            let printed = print(parse(text).expect(text));
            let expected = if text == "14d" { "2w" } else { text };
            assert_eq!(printed, expected);
        }
        assert_eq!(print(Duration::from_hours(13 * 24)), "13d");
    }

    #[test]
    fn an_error_shows_no_more_than_a_line_of_what_it_refused() {
        let error = parse(&"x".repeat(10_000)).expect_err("no duration");
        assert!(error.to_string().len() < 200);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in 0..MAX_MILLIS) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9ymwdhs. -]{0,12}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&print(duration)), Ok(duration));
            }
        }
    }
}
