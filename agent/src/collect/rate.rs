//! From a growing total of CPU seconds to the share of a core used between two passes.
//!
//! Times are the monotonic `elapsed` of a pass, so a wall clock that jumps changes nothing here. Passes that follow
//! each other closer than [`WINDOW_MIN`] share one window: the kernel counts some totals in ticks of 10 ms, and a
//! shorter window would show 0 % or 200 %.

use std::time::Duration;

/// Shortest time that a share is computed over: one tick of the kernel's usual 100 per second.
pub const WINDOW_MIN: Duration = Duration::from_millis(10);

/// The CPU share of one total.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuShare {
    /// Time and total at the end of the last window.
    last: Option<(Duration, f64)>,
    percent: Option<f64>,
}

// === impl CpuShare ===

impl CpuShare {
    /// Takes a total of CPU seconds read `at`; returns the percent of one core used in the last window, so 250 means
    /// two and a half cores. `None` until there are two points, and after a total or a time that went back.
    pub fn update(&mut self, at: Duration, total_seconds: f64) -> Option<f64> {
        let Some((last_at, last_total)) = self.last else {
            self.last = Some((at, total_seconds));
            return None;
        };
        if at < last_at || total_seconds < last_total {
            *self = Self { last: Some((at, total_seconds)), percent: None };
            return None;
        }
        let window = at.saturating_sub(last_at);
        if window >= WINDOW_MIN {
            self.percent = Some(100.0 * (total_seconds - last_total) / window.as_secs_f64());
            self.last = Some((at, total_seconds));
        }
        self.percent
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
    fn two_cores_busy_for_half_the_time_are_100_percent() {
        let mut share = CpuShare::default();
        assert_eq!(share.update(ms(1000), 5.0), None);
        assert_eq!(share.update(ms(2000), 6.0), Some(100.0));
        assert_eq!(share.update(ms(4000), 11.0), Some(250.0));
    }

    #[test]
    fn a_window_below_the_minimum_repeats_the_last_share_and_loses_no_time() {
        let mut share = CpuShare::default();
        share.update(ms(0), 0.0);
        share.update(ms(1000), 1.0);
        assert_eq!(share.update(ms(1009), 1.5), Some(100.0));
        assert_eq!(share.update(ms(2000), 1.5), Some(50.0));
    }

    #[test]
    fn a_total_or_a_time_that_goes_back_starts_anew() {
        let mut share = CpuShare::default();
        share.update(ms(0), 10.0);
        share.update(ms(1000), 11.0);
        assert_eq!(share.update(ms(2000), 0.0), None);
        assert_eq!(share.update(ms(3000), 0.5), Some(50.0));
        assert_eq!(share.update(ms(500), 0.6), None);
        assert_eq!(share.update(ms(1500), 0.7).map(f64::round), Some(10.0));
    }

    proptest! {
        #[test]
        fn a_share_is_finite_and_not_negative(points in prop::collection::vec((0_u64..100_000, 0.0_f64..1e12), 0..20)) {
            let mut share = CpuShare::default();
            for (at, total) in points {
                if let Some(percent) = share.update(ms(at), total) {
                    prop_assert!(percent.is_finite() && percent >= 0.0);
                }
            }
        }
    }
}
