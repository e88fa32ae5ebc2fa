//! Numbers as Go prints them, because the templates of existing rule files were written against Go.
//!
//! `%v` is [`shortest`], `%.4g` is [`four_digits`]; both write an exponent when it is below -4, or not below 6 and the
//! number of digits respectively. Source: Go `strconv/ftoa.go`, `formatDigits`.

/// The smallest exponent that is written as `0.0001` instead of `1e-04`.
const EXPONENT_MIN: i32 = -4;
/// Exponents from here on are written out by `%v`.
const SHORTEST_EXPONENT_END: i32 = 6;

/// `%v`: as few digits as read back to the same number. `95.5`, `1e+06`, `+Inf`.
pub(crate) fn shortest(value: f64) -> String {
    general(value, &format!("{value:e}"), SHORTEST_EXPONENT_END)
}

/// `%.4g`: four significant digits, without zeros at the end. `1.235`, `1.234e+04`, `NaN`.
pub(crate) fn four_digits(value: f64) -> String {
    digits(value, 4)
}

/// `%.3g` for `count` 3: so many significant digits, without zeros at the end; none is one, as in Go.
pub(crate) fn digits(value: f64, count: usize) -> String {
    let count = count.max(1);
    let after = count - 1;
    general(value, &format!("{value:.after$e}"), i32::try_from(count).unwrap_or(i32::MAX))
}

/// Lays out the digits of `scientific` (Rust's `-1.25e3`) as Go's `%g` does.
fn general(value: f64, scientific: &str, exponent_end: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    if exponent < EXPONENT_MIN || exponent >= exponent_end {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs());
    }
    // Where the point stands: after this many digits, or before the first of them.
    match usize::try_from(exponent + 1) {
        Ok(whole) if whole >= digits.len() => format!("{sign}{digits:0<whole$}"),
        Ok(whole) if whole > 0 => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
        _ => {
            let zeros = "0".repeat((-exponent - 1).unsigned_abs() as usize);
            format!("{sign}0.{zeros}{digits}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_form_is_what_go_prints_for_v() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (95.5, "95.5"),
            (100.0, "100"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456.0, "123456"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (-2.5e-7, "-2.5e-07"),
            (1e100, "1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(shortest(value), text);
        }
    }

    #[test]
    fn four_digits_are_what_go_prints_for_4g() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (1.23456, "1.235"),
            (999.949, "999.9"),
            (999.95, "1000"),
            (1000.0, "1000"),
            (12_345.0, "1.234e+04"),
            (12_355.0, "1.236e+04"),
            (99_995.0, "1e+05"),
            (0.012_345_6, "0.01235"),
            (0.000_012_345, "1.234e-05"),
            (-10.5, "-10.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(four_digits(value), text, "{value}");
        }
    }

    proptest! {
        #[test]
        fn the_shortest_form_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = shortest(value);
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits), "{}", text);
        }

        #[test]
        fn four_digits_are_within_half_of_the_fourth(value in -1e9..1e9f64) {
            let read: f64 = four_digits(value).parse().expect("a number");
            prop_assert!((read - value).abs() <= value.abs() * 5.001e-4);
        }
    }
}
