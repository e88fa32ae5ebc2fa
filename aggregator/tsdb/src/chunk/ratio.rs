//! Doubles that are quotients of two small whole numbers: `busy ÷ all` and `100 × busy ÷ all` of ticks.
//!
//! Such a value fills all 52 bits of its fraction, and holds as much as its two numbers: some 20 bits. A continued
//! fraction finds them in lowest terms. The denominators of one series are alike before they are reduced (the ticks that
//! passed in an interval), so each fraction is expanded again to the denominator that most of them have.

/// Denominators beyond are not looked for: a minute of a hundred CPUs' ticks. Below it a double names one fraction only.
const DENOMINATOR_MAX: i64 = 1 << 20;
/// Numerators too: their product with a denominator stays below the 2^52 that a double tells apart.
const NUMERATOR_MAX: f64 = 4_294_967_296.0;
/// Steps of the continued fraction; each at least adds to the denominator as Fibonacci's numbers do.
const STEPS_MAX: usize = 30;

/// A fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub numerator: i64,
    pub denominator: i64,
}

// === impl Ratio ===

impl Ratio {
    /// What it stands for with a factor before it.
    pub(super) fn value(self, factor: u8) -> f64 {
        self.numerator as f64 * f64::from(factor) / self.denominator as f64
    }
}

/// The fraction in lowest terms that is `value` to the bit.
pub(super) fn find(value: f64) -> Option<Ratio> {
    if !(0.0..=NUMERATOR_MAX).contains(&value) || value.to_bits() == (-0.0_f64).to_bits() {
        return None;
    }
    let (mut last, mut this) = ((0_i64, 1_i64), (1_i64, 0_i64));
    let mut rest = value;
    for _ in 0..STEPS_MAX {
        let whole = rest.floor();
        if whole > NUMERATOR_MAX {
            return None;
        }
        let next = (whole as i64 * this.0 + last.0, whole as i64 * this.1 + last.1);
        (last, this) = (this, next);
        let ratio = Ratio { numerator: this.0, denominator: this.1 };
        if ratio.denominator > DENOMINATOR_MAX || ratio.numerator as f64 > NUMERATOR_MAX {
            return None;
        }
        if ratio.value(1).to_bits() == value.to_bits() {
            return Some(ratio);
        }
        rest = 1.0 / (rest - whole);
    }
    None
}

/// Expands fractions to denominators that are as alike as can be, with numerators that are multiples of `factor`, and
/// takes the factor out of them.
pub(super) fn expand(ratios: &mut [Ratio], factor: u8) {
    let factor = i64::from(factor);
    let mut common = ratios.iter().map(|ratio| ratio.denominator).max().unwrap_or(1);
    let expanded = |ratio: Ratio, common: i64| {
        let least = factor / gcd(ratio.numerator, factor);
        let times = least * ((common + ratio.denominator * least / 2) / (ratio.denominator * least)).max(1);
        Ratio { numerator: ratio.numerator * times / factor, denominator: ratio.denominator * times }
    };
    let mut denominators: Vec<i64> = ratios.iter().map(|ratio| expanded(*ratio, common).denominator).collect();
    if !denominators.is_empty() {
        let middle = denominators.len() / 2;
        common = *denominators.select_nth_unstable(middle).1;
    }
    for ratio in ratios {
        *ratio = expanded(*ratio, common);
    }
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percent_of_ticks_is_found_and_gives_its_bits(part in 0_i64..4000, all in 3990_i64..4010) {
            let percent = 100.0 * part as f64 / all as f64;
            let found = find(percent).expect("two small numbers");
            prop_assert_eq!(found.value(1).to_bits(), percent.to_bits());
            let mut ratios = [found, Ratio { numerator: 100, denominator: 3989 }];
            expand(&mut ratios, 100);
            prop_assert_eq!(ratios[0].value(100).to_bits(), percent.to_bits());
        }

        #[test]
        fn what_is_found_has_the_bits_that_were_looked_for(bits: u64) {
            let value = f64::from_bits(bits);
            if let Some(found) = find(value) {
                prop_assert_eq!(found.value(1).to_bits(), bits);
            }
        }
    }

    #[test]
    fn denominators_that_were_reduced_become_alike_again() {
        let mut ratios: Vec<Ratio> =
            (0..400_i64).map(|part| find(100.0 * part as f64 / (998 + part % 5) as f64).expect("small")).collect();
        expand(&mut ratios, 100);
        for (part, ratio) in ratios.iter().enumerate().skip(1) {
            assert!((995..=1005).contains(&ratio.denominator), "{part}: {ratio:?}");
        }
    }

    #[test]
    fn what_is_no_ratio_of_small_numbers_is_refused() {
        for value in [f64::NAN, f64::INFINITY, -0.0, -0.5, std::f64::consts::PI, 1e-9, 5e-324, 1e300] {
            assert_eq!(find(value), None, "{value}");
        }
        assert_eq!(find(0.0), Some(Ratio { numerator: 0, denominator: 1 }));
    }
}
