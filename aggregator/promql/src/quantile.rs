//! The quantile of some values, as `quantile` and `quantile_over_time` mean it, and what is said of a φ that is none.

use crate::gotext;
use std::cmp::Ordering;

/// What is said of a φ outside 0 … 1.
pub(crate) fn complaint(phi: f64) -> Option<String> {
    let is_good = (0.0..=1.0).contains(&phi);
    (!is_good).then(|| format!("quantile value should be between 0 and 1, got {}", gotext::general(phi)))
}

/// The order of values: NaN before all numbers. Total, so that a sort cannot go astray.
pub(crate) fn order(a: f64, b: f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(&b))
}

/// The φ-quantile of values, which are sorted on the way. Of none it is NaN.
pub(crate) fn of(phi: f64, values: &mut [f64]) -> f64 {
    if (0.0..=1.0).contains(&phi) {
        values.sort_unstable_by(|a, b| order(*a, *b));
    }
    of_sorted(phi, values)
}

/// The φ-quantile of values that stand in [`order`]; between two of them it is their weighted mean.
pub(crate) fn of_sorted(phi: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    let rank = phi * (sorted.len() as f64 - 1.0);
    let weight = rank - rank.floor();
    let lower = index(rank.floor()).min(sorted.len() - 1);
    let upper = (lower + 1).min(sorted.len() - 1);
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// A whole number from 0 up to the length of a slice.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, not negative, bounded by a length
fn index(whole: f64) -> usize {
    whole as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_lie_on_the_values_and_between_them() {
        let cases = [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.6, 3.4), (1.0, 5.0)];
        for (phi, want) in cases {
            assert!((of(phi, &mut [5.0, 1.0, 3.0, 2.0, 4.0]) - want).abs() < 1e-12, "{phi}");
        }
        assert_eq!(of(0.3, &mut [7.0]), 7.0);
    }

    #[test]
    fn phi_out_of_its_range_has_its_answers_and_its_warning() {
        assert_eq!((of(-0.1, &mut [1.0]), of(1.1, &mut [1.0])), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(of(f64::NAN, &mut [1.0]).is_nan() && of(0.5, &mut []).is_nan());
        assert_eq!(complaint(-0.5).as_deref(), Some("quantile value should be between 0 and 1, got -0.5"));
        assert_eq!(complaint(f64::NAN).as_deref(), Some("quantile value should be between 0 and 1, got NaN"));
        assert_eq!((complaint(0.0), complaint(1.0)), (None, None));
    }

    #[test]
    fn nan_stands_before_every_number() {
        assert!(of(0.0, &mut [1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(of(1.0, &mut [1.0, f64::NAN, f64::NEG_INFINITY]), 1.0);
        assert_eq!(of(0.5, &mut [1.0, -f64::NAN, f64::NEG_INFINITY]), f64::NEG_INFINITY);
    }

    proptest! {
        #[test]
        fn a_quantile_grows_with_phi(mut values in proptest::collection::vec(-1e6_f64..1e6, 1..20), a in 0.0_f64..=1.0, b in 0.0_f64..=1.0) {
            let (low, high) = (of(a.min(b), &mut values), of(a.max(b), &mut values));
            prop_assert!(low <= high + 1e-6);
            prop_assert!(values[0] - 1e-6 <= low && high <= values[values.len() - 1] + 1e-6);
        }
    }
}
