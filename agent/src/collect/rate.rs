//! From a growing total of CPU seconds to the ratio of one CPU used between two passes.
//!
//! Times are the monotonic `elapsed` of a pass, so a wall clock that jumps changes nothing here. Passes that follow
//! each other closer than [`WINDOW_MIN`] share one window.

use std::time::Duration;

/// Shortest time that a share is computed over. `/proc` counts in ticks of 10 ms, and over one tick a share is 0 or
/// 100 % and nothing between; over ten it is right to a tenth. Control groups count in microseconds, but add a running
/// task's time up only at the kernel's own ticks, which may be 10 ms apart too.
pub const WINDOW_MIN: Duration = Duration::from_millis(100);

/// The CPU share of one total.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuShare {
    /// Time and total at the end of the last window.
    last: Option<(Duration, f64)>,
    ratio: Option<f64>,
}

// === impl CpuShare ===

impl CpuShare {
    /// Takes a total of CPU seconds read `at`; returns the ratio of one CPU used in the last window, so 2.5 means two
    /// and a half CPUs. `None` until there are two points, and after a total or a time that went back.
    pub fn update(&mut self, at: Duration, total_seconds: f64) -> Option<f64> {
        let Some((last_at, last_total)) = self.last else {
            self.last = Some((at, total_seconds));
            return None;
        };
        if at < last_at || total_seconds < last_total {
            *self = Self { last: Some((at, total_seconds)), ratio: None };
            return None;
        }
        let window = at.saturating_sub(last_at);
        if window >= WINDOW_MIN {
            self.ratio = Some((total_seconds - last_total) / window.as_secs_f64());
            self.last = Some((at, total_seconds));
        }
        self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_cpus_busy_for_half_the_time_are_one() {
        let mut share = CpuShare::default();
        assert_eq!(share.update(ms(1000), 5.0), None);
        assert_eq!(share.update(ms(2000), 6.0), Some(1.0));
        assert_eq!(share.update(ms(4000), 11.0), Some(2.5));
    }

    #[test]
    fn a_window_below_the_minimum_repeats_the_last_share_and_loses_no_time() {
        let mut share = CpuShare::default();
        share.update(ms(0), 0.0);
        share.update(ms(1000), 1.0);
        assert_eq!(share.update(ms(1099), 1.5), Some(1.0));
        assert_eq!(share.update(ms(2000), 1.5), Some(0.5));
    }

    #[test]
    fn the_first_window_has_no_share_until_it_is_long_enough() {
        let mut share = CpuShare::default();
        share.update(ms(0), 0.0);
        assert_eq!(share.update(ms(10), 0.01), None, "one tick in one tick's time says nothing");
        assert_eq!(share.update(ms(99), 0.01), None);
        assert_eq!(share.update(ms(125), 0.0625), Some(0.5));
    }

    #[test]
    fn a_total_or_a_time_that_goes_back_starts_anew() {
        let mut share = CpuShare::default();
        share.update(ms(0), 10.0);
        share.update(ms(1000), 11.0);
        assert_eq!(share.update(ms(2000), 0.0), None);
        assert_eq!(share.update(ms(3000), 0.5), Some(0.5));
        assert_eq!(share.update(ms(500), 0.5), None);
        assert_eq!(share.update(ms(1500), 0.75), Some(0.25));
    }

    proptest! {
        #[test]
        fn a_share_is_finite_and_not_negative(points in prop::collection::vec((0_u64..100_000, 0.0_f64..1e12), 0..20)) {
            let mut share = CpuShare::default();
            for (at, total) in points {
                if let Some(ratio) = share.update(ms(at), total) {
                    prop_assert!(ratio.is_finite() && ratio >= 0.0);
                }
            }
        }
    }
}
