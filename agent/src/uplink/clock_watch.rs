//! When to tell the aggregator what our wall clock shows: now and then, and before the next batch when it was set.
//!
//! Pure. The aggregator corrects our times by how far our clock is ahead of its own, so it must know of a step before it
//! gets a sample that was taken after it.

use proto::message::ClockReading;
use proto::sample::Timestamp;
use std::time::Duration;

/// Between two readings while nothing happens. Some of them are late by their way through the network; the more there
/// are, the sooner one is not.
const EVERY: Duration = Duration::from_secs(10);
/// The wall clock was set when it moved by so much against the monotonic one: ten times what a slewing clock gains in
/// between. A machine that slept looks the same, and the same is to be done.
const STEP_MS: u64 = 500;

/// See the module.
#[derive(Debug)]
pub struct ClockWatch {
    told_at: Duration,
    /// Wall clock minus monotonic clock when it was told last, in milliseconds.
    difference_ms: i64,
}

impl ClockWatch {
    /// The aggregator has just been told what the wall clock shows.
    pub fn new(wall: Timestamp, now: Duration) -> Self {
        Self { told_at: now, difference_ms: difference_ms(wall, now) }
    }

    /// What to tell now, if anything, and by how many milliseconds the clock was set forward.
    pub fn due(&mut self, wall: Timestamp, now: Duration) -> Option<(ClockReading, i64)> {
        let difference_ms = difference_ms(wall, now);
        let moved_ms = difference_ms.saturating_sub(self.difference_ms);
        let was_set = moved_ms.unsigned_abs() >= STEP_MS;
        if !was_set && now.saturating_sub(self.told_at) < EVERY {
            return None;
        }
        *self = Self { told_at: now, difference_ms };
        Some((ClockReading { wall, was_set }, if was_set { moved_ms } else { 0 }))
    }
}

fn difference_ms(wall: Timestamp, now: Duration) -> i64 {
    wall.as_millis().saturating_sub(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_clock_that_runs_well_is_told_of_once_in_ten_seconds() {
        let mut watch = ClockWatch::new(wall(0), SECOND * 100);
        let mut told = |second: u32| watch.due(wall(i64::from(second)), SECOND * (100 + second)).is_some();
        assert_eq!((1..=30).filter(|second| told(*second)).collect::<Vec<_>>(), [10, 20, 30]);
    }

    #[test]
    fn a_clock_that_was_set_is_told_of_at_once_and_once() {
        let mut watch = ClockWatch::new(wall(0), SECOND * 100);
        let set = |watch: &mut ClockWatch, at, seconds| {
            watch.due(wall(at), SECOND * seconds).map(|(reading, moved_ms)| (reading.was_set, moved_ms))
        };
        assert_eq!(set(&mut watch, 3601, 101), Some((true, 3_600_000)));
        assert_eq!(set(&mut watch, 3602, 102), None);
        assert_eq!(set(&mut watch, 3, 103), Some((true, -3_600_000)));
        assert_eq!(set(&mut watch, 13, 113), Some((false, 0)));
    }

    #[test]
    fn a_clock_that_is_slewed_was_not_set() {
        let mut watch = ClockWatch::new(wall(0), SECOND * 100);
        let slewed = wall(1) + Duration::from_millis(STEP_MS - 1);
        assert_eq!(watch.due(slewed, SECOND * 101), None);
    }
}
