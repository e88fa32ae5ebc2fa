//! Numbers as Go prints them: messages and label values must read as Prometheus's do. Texts: `quote`.
//!
//! ```text
//! plain    strconv.FormatFloat(v, 'f', -1, 64)   1000000   0.00001   +Inf
//! general  %g                                    1e+06     1e-05     +Inf
//! ```

/// All digits, no exponent.
pub(crate) fn plain(value: f64) -> String {
    special(value).map_or_else(|| value.to_string(), str::to_owned)
}

/// `%g`: as few digits as tell the value apart, with an exponent where the number is long.
pub(crate) fn general(value: f64) -> String {
    // Go decides on the exponent as if there were six digits when it prints the shortest form.
    special(value).map_or_else(|| layout(&format!("{value:e}"), 6), str::to_owned)
}

/// `%.2g`: two digits.
pub(crate) fn general_of_two_digits(value: f64) -> String {
    special(value).map_or_else(|| layout(&format!("{value:.1e}"), 2), str::to_owned)
}

// === helpers ===

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    value.is_infinite().then_some(if value > 0.0 { "+Inf" } else { "-Inf" })
}

/// `1.25e3` as Go lays it out, where an exponent is written from `precision` places before the point on.
fn layout(scientific: &str, precision: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an e");
    let exponent: i32 = exponent.parse().expect("the format has a number behind its e");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        some => some,
    };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= precision {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let minus = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{minus}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    if count <= exponent + 1 {
        return format!("{sign}{digits}{}", "0".repeat((exponent + 1 - count).unsigned_abs() as usize));
    }
    let (whole, rest) = digits.split_at(exponent.unsigned_abs() as usize + 1);
    format!("{sign}{whole}.{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Go 1.26.
    #[test]
    fn numbers_read_as_in_go() {
        let cases: [(f64, &str, &str, &str); 17] = [
            (1.0, "1", "1", "1"),
            (1.5, "1.5", "1.5", "1.5"),
            (1e6, "1e+06", "1e+06", "1000000"),
            (123_456.0, "123456", "1.2e+05", "123456"),
            (1_234_567.0, "1.234567e+06", "1.2e+06", "1234567"),
            (1e20, "1e+20", "1e+20", "100000000000000000000"),
            (1e-4, "0.0001", "0.0001", "0.0001"),
            (1e-5, "1e-05", "1e-05", "0.00001"),
            (-0.000_123_4, "-0.0001234", "-0.00012", "-0.0001234"),
            (30.0, "30", "30", "30"),
            (100.0, "100", "1e+02", "100"),
            (99.9, "99.9", "1e+02", "99.9"),
            (12.34, "12.34", "12", "12.34"),
            (-0.0, "-0", "-0", "-0"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN", "NaN"),
        ];
        for (value, shortest, short, long) in cases {
            assert_eq!(
                (general(value), general_of_two_digits(value), plain(value)),
                (shortest.into(), short.into(), long.into())
            );
        }
        assert_eq!((general(1e300), general(1e-320)), ("1e+300".into(), "1e-320".into()));
    }
}
