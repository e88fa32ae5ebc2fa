//! How long to wait before trying again: exponential with full jitter, so that a thousand agents whose aggregator
//! restarted do not come back together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
//!
//! What a server asks for comes on top and never instead: one that always asks for nothing would make a busy loop, and
//! one that tells the same to all would have them come back at once.

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

    /// The wait after one more failure: what the server asked for, and on top of it, uniformly, between zero and a bound
    /// that doubles each time. Never longer than [`RETRY_AFTER_MAX`] and the last bound together.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        self.delay_with(retry_after, fastrand::f64())
    }

    /// The same with the random number (0 to 1) given.
    pub fn delay_with(&mut self, retry_after: Option<Duration>, random: f64) -> Duration {
        let bound = self.base.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        asked + bound.mul_f64(random.clamp(0.0, 1.0))
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

    #[test]
    fn a_server_that_asks_for_nothing_is_not_asked_in_a_busy_loop() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.delay_with(Some(Duration::ZERO), 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn those_who_were_told_the_same_spread_over_the_bound() {
        let asked = Some(Duration::from_secs(2));
        let wait = |random| Backoff::default().delay_with(asked, random);
        assert_eq!((wait(0.0), wait(1.0)), (Duration::from_secs(2), Duration::from_secs(3)));
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_what_was_asked_and_the_bound_above_it(
            failures in 0_u32..200,
            random in 0.0..=1.0_f64,
            asked in proptest::option::of(0_u64..100_000),
        ) {
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let asked = asked.map(Duration::from_secs);
            let delay = backoff.delay_with(asked, random);
            let least = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
            prop_assert!(delay >= least);
            prop_assert!(delay <= least + CAP);
        }

        #[test]
        fn one_more_failure_never_makes_the_longest_wait_shorter(
            failures in 0_u32..200,
            asked in proptest::option::of(0_u64..100_000),
        ) {
            let asked = asked.map(Duration::from_secs);
            let longest = |failures| Backoff { failures, ..Backoff::default() }.delay_with(asked, 1.0);
            prop_assert!(longest(failures + 1) >= longest(failures));
        }
    }
}
