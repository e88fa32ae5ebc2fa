//! Sums and means of floats that lose little to rounding: Kahan's with Neumaier's improvement, step by step as
//! Prometheus adds (`util/kahansum`, `avg_over_time`, `avg`), so that the last bit is the same too.

/// A running sum, and what rounding has taken from it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct KahanSum {
    pub sum: f64,
    pub lost: f64,
}

/// A running mean: a sum, until that would overflow, and from then on the mean itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    count: f64,
    /// The sum of the values, or their mean.
    total: KahanSum,
    is_incremental: bool,
}

// === impl KahanSum ===

impl KahanSum {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        let next = self.sum + value;
        if next.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - next) + value;
        } else {
            self.lost += (value - next) + self.sum;
        }
        self.sum = next;
    }

    /// The sum.
    pub fn value(self) -> f64 {
        self.sum + self.lost
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: factor * self.sum, lost: factor * self.lost }
    }
}

// === impl Mean ===

impl Mean {
    /// Of nothing yet.
    pub const EMPTY: Self = Self { count: 0.0, total: KahanSum { sum: 0.0, lost: 0.0 }, is_incremental: false };

    /// Whether there is no value yet.
    pub fn is_empty(self) -> bool {
        self.count == 0.0
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            // As it is: 0 + -0 would be 0.
            self.total.sum = value;
            return;
        }
        if !self.is_incremental {
            let mut next = self.total;
            next.add(value);
            if !next.sum.is_infinite() {
                self.total = next;
                return;
            }
            self.is_incremental = true;
            let before = self.count - 1.0;
            self.total = KahanSum { sum: self.total.sum / before, lost: self.total.lost / before };
        }
        self.total = self.total.scaled((self.count - 1.0) / self.count);
        self.total.add(value / self.count);
    }

    /// The mean of at least one value.
    pub fn value(self) -> f64 {
        if self.is_incremental {
            return self.total.value();
        }
        self.total.sum / self.count + self.total.lost / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = KahanSum::default();
        for value in values {
            sum.add(*value);
        }
        sum.value()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::default();
        for value in values {
            mean.add(*value);
        }
        mean.value()
    }

    #[test]
    fn small_parts_beside_large_ones_are_not_lost() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(mean(&[1e100, 3.0, -1e100]), 1.0);
    }

    #[test]
    fn infinities_and_nan_are_what_adding_makes_of_them() {
        let inf = f64::INFINITY;
        assert_eq!((sum(&[inf, 1.0]), sum(&[1.0, -inf]), sum(&[])), (inf, -inf, 0.0));
        assert!(sum(&[inf, -inf]).is_nan() && sum(&[1.0, f64::NAN, 1.0]).is_nan());
        assert_eq!((mean(&[inf, 1.0]), mean(&[1.0, -inf, 3.0])), (inf, -inf));
        assert!(mean(&[inf, -inf]).is_nan() && mean(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn a_mean_survives_where_its_sum_does_not() {
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert!((mean(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX]) / f64::MAX).abs() < 1e-15);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    }

    proptest! {
        /// Whole numbers below 2^53 add up without any rounding, so that the truth is known.
        #[test]
        fn whole_numbers_add_up_exactly(values in proptest::collection::vec(-1_000_000_000_000_i64..1_000_000_000_000, 1..60)) {
            let floats: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            let truth: i64 = values.iter().sum();
            prop_assert_eq!(sum(&floats), truth as f64);
            prop_assert!((mean(&floats) - truth as f64 / values.len() as f64).abs() <= 1e-3);
        }
    }
}
