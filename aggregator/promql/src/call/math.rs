//! Functions of one number. Where Go's result differs from Rust's, it is Go's.

use crate::function::Function;
use crate::grid::NONE;

/// The function, where it is one of a number alone.
pub(super) fn of_each(function: Function) -> Option<fn(f64) -> f64> {
    use Function as F;
    Some(match function {
        F::Abs => absolute,
        F::Acos => f64::acos,
        F::Acosh => f64::acosh,
        F::Asin => f64::asin,
        F::Asinh => f64::asinh,
        F::Atan => f64::atan,
        F::Atanh => f64::atanh,
        F::Ceil => f64::ceil,
        F::Cos => f64::cos,
        F::Cosh => f64::cosh,
        F::Deg => |value| value * 180.0 / std::f64::consts::PI,
        F::Exp => f64::exp,
        F::Floor => f64::floor,
        F::Ln => f64::ln,
        F::Log10 => f64::log10,
        F::Log2 => f64::log2,
        F::Rad => |value| value * std::f64::consts::PI / 180.0,
        F::Sgn => sign,
        F::Sin => f64::sin,
        F::Sinh => f64::sinh,
        F::Sqrt => f64::sqrt,
        F::Tan => f64::tan,
        F::Tanh => f64::tanh,
        _ => return None,
    })
}

/// To the nearest multiple; halves go up.
pub(super) fn rounded(value: f64, nearest: f64) -> f64 {
    // By the inverse, since 1/0.1 is 10 and 0.1 is not quite 0.1.
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// Not below `low` and not above `high`; none where the two are the wrong way round. NaN anywhere gives NaN.
pub(super) fn clamped(value: f64, low: f64, high: f64) -> f64 {
    if high < low { NONE } else { largest(low, smallest(high, value)) }
}

/// NaN stays as it is: a marker of "no value" differs from some NaN by nothing but the sign.
fn absolute(value: f64) -> f64 {
    if value.is_nan() { value } else { value.abs() }
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Go's `math.Max`: infinity wins over NaN, NaN over numbers, 0 over -0.
fn largest(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`.
fn smallest(a: f64, b: f64) -> f64 {
    -largest(-a, -b)
}
