//! Doubles as whole numbers: decimals by their power of ten, sums of decimals nearly so, anything else by its bits' order.
//!
//! What is measured is whole (bytes, pages, counts) or a whole number divided by a power of ten (ticks by 100,
//! microseconds by a million, a load average's two digits). A division rounds to the nearest double, and so does whoever
//! reads a decimal: dividing again gives the very same bits. Each value is held against that before it is believed.

/// More digits after the point come from computing, not from measuring: a nanosecond has nine, and three are spare.
pub(super) const EXPONENT_MAX: u8 = 12;
/// Up to here doubles hold every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A sum of a million durations is off by about a thousand doubles.
const OFF_MAX: u64 = 1 << 13;

/// Powers of ten, each exact as a double.
const POWERS: [f64; EXPONENT_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// The whole number that, divided by the power of ten, is `value` to the bit.
pub(super) fn to_whole(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[usize::from(exponent)];
    let rounded = (value * power).round_ties_even();
    let whole = rounded as i64;
    // NaN fails the comparison, -0.0 the one of bits: no integer is it.
    (rounded.abs() <= WHOLE_MAX && from_whole(whole, exponent).to_bits() == value.to_bits()).then_some(whole)
}

/// The inverse of [`to_whole`].
pub(super) fn from_whole(whole: i64, exponent: u8) -> f64 {
    whole as f64 / POWERS[usize::from(exponent)]
}

/// The smallest exponent under which as many of `values` are whole as under any greater one that one of them asks for;
/// `None` where more than `misses_max` are whole under none.
pub(super) fn exponent(values: &[f64], misses_max: usize) -> Option<u8> {
    let (mut found, mut misses) = (0, 0);
    for &value in values {
        match (found..=EXPONENT_MAX).find(|&exponent| to_whole(value, exponent).is_some()) {
            Some(exponent) => found = exponent,
            None => misses += 1,
        }
        if misses > misses_max {
            return None;
        }
    }
    Some(found)
}

/// Doubles in their order as integers in theirs: of neighbours the numbers are neighbours too.
pub(super) fn to_ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The inverse of [`to_ordered`].
pub(super) fn from_ordered(ordered: i64) -> f64 {
    let bits = if ordered < 0 { ordered ^ i64::MAX } else { ordered };
    f64::from_bits(bits.cast_unsigned())
}

/// The nearest decimal as a whole number, and by how many doubles `value` is off it: what adding decimals up leaves.
pub(super) fn to_near(value: f64, exponent: u8) -> Option<(i64, i64)> {
    let rounded = (value * POWERS[usize::from(exponent)]).round_ties_even();
    let whole = rounded as i64;
    let off = to_ordered(value).wrapping_sub(to_ordered(from_whole(whole, exponent)));
    (rounded.abs() <= WHOLE_MAX && off.unsigned_abs() <= OFF_MAX).then_some((whole, off))
}

/// The inverse of [`to_near`].
pub(super) fn from_near(whole: i64, off: i64, exponent: u8) -> f64 {
    from_ordered(to_ordered(from_whole(whole, exponent)).wrapping_add(off))
}

/// The smallest exponent under which all numbers among `values` are near a whole.
pub(super) fn exponent_near(values: &[f64]) -> Option<u8> {
    (0..=EXPONENT_MAX).find(|&exponent| {
        values.iter().filter(|value| !value.is_nan()).all(|&value| to_near(value, exponent).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quotient_by_a_power_of_ten_is_found_and_gives_its_bits(whole in -(1_i64 << 50)..1 << 50, exponent in 0..=EXPONENT_MAX) {
            let value = from_whole(whole, exponent);
            let back = to_whole(value, exponent);
            prop_assert_eq!(back.map(|back| from_whole(back, exponent).to_bits()), Some(value.to_bits()));
        }

        #[test]
        fn order_keeps_every_bit_and_the_order(a: u64, b: u64) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            prop_assert_eq!(from_ordered(to_ordered(a)).to_bits(), a.to_bits());
            prop_assert_eq!(to_ordered(a).cmp(&to_ordered(b)), a.total_cmp(&b));
        }
    }

    #[test]
    fn what_is_no_decimal_is_not_taken_for_one() {
        for value in [f64::NAN, f64::INFINITY, -0.0, 1e300, f64::MIN_POSITIVE, 1.0 / 3.0, 9.1e15] {
            assert_eq!((0..=EXPONENT_MAX).find_map(|exponent| to_whole(value, exponent)), None, "{value}");
        }
        assert_eq!(exponent(&[1.0, 0.25, 3.5], 0), Some(2));
        assert_eq!(exponent(&[1.0, f64::NAN, 0.5], 1), Some(1));
        assert_eq!(exponent(&[1.0, f64::NAN, 0.5], 0), None);
    }
}
