//! How long to wait before trying again: exponential with full jitter, so that a thousand agents whose aggregator
//! restarted do not come back together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// First upper bound.
pub const BASE: Duration = Duration::from_secs(1);
/// Last upper bound.
pub const CAP: Duration = Duration::from_secs(60);
/// A connection that stood this long was healthy: the next failure starts from [`BASE`] again.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for; beyond it, it is a mistake or an attack.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

/// The state of one retry loop.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self { base: BASE, cap: CAP, failures: 0 }
    }
}

impl Backoff {
    /// With other bounds. A `base` above `cap` counts as `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base: base.min(cap), cap, failures: 0 }
    }

    /// The wait after one more failure: uniformly between zero and a bound that doubles each time, or what the server
    /// asked for and up to a tenth more, so that those it told the same do not come together either.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        self.delay_with(retry_after, fastrand::f64())
    }

    /// The same with the random number (0 to 1) given.
    pub fn delay_with(&mut self, retry_after: Option<Duration>, random: f64) -> Duration {
        let bound = self.base.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        match retry_after {
            Some(asked) => asked.min(RETRY_AFTER_MAX).mul_f64(1.0 + random.clamp(0.0, 1.0) / 10.0),
            None => bound.mul_f64(random.clamp(0.0, 1.0)),
        }
    }

    /// Tells how long the last connection stood.
    pub fn stood_for(&mut self, healthy: Duration) {
        if healthy >= HEALTHY_AFTER {
            self.failures = 0;
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_doubles_from_base_to_cap() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..8).map(|_| backoff.delay_with(None, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_short_connection_keeps_the_bound_and_a_healthy_one_resets_it() {
        let mut backoff = Backoff::default();
        backoff.delay_with(None, 1.0);
        backoff.delay_with(None, 1.0);
        backoff.stood_for(Duration::from_secs(59));
        assert_eq!(backoff.delay_with(None, 1.0).as_secs(), 4);
        backoff.stood_for(HEALTHY_AFTER);
        assert_eq!(backoff.delay_with(None, 1.0).as_secs(), 1);
    }

    proptest! {
        #[test]
        fn no_wait_is_ever_longer_than_its_bound(
            failures in 0_u32..200,
            random in 0.0..=1.0_f64,
            asked in proptest::option::of(0_u64..100_000),
        ) {
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let asked = asked.map(Duration::from_secs);
            let delay = backoff.delay_with(asked, random);
            match asked {
                None => prop_assert!(delay <= CAP),
                Some(asked) => {
                    prop_assert!(delay >= asked.min(RETRY_AFTER_MAX));
                    prop_assert!(delay <= RETRY_AFTER_MAX.mul_f64(1.1));
                }
            }
        }
    }
}
