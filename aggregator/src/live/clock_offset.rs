//! How far an agent's clock is ahead of ours, from what it said of its clock lately.
//!
//! A reading is late by its way through the network, so each makes the agent seem further behind than it is: the one
//! that puts it furthest ahead is nearest to the truth. Kept against our monotonic clock, so that setting our own wall
//! clock voids nothing.

use proto::limits::CLOCK_TOLERANCE;
use proto::message::ClockReading;
use proto::sample::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Readings that are kept: a minute's worth, so that a clock that drifts back is followed, too.
const READINGS_MAX: usize = 6;

/// See the module. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct ClockOffset {
    /// The agent's wall clock minus our monotonic one, in milliseconds, oldest first.
    readings: VecDeque<i64>,
}

impl ClockOffset {
    /// From what an agent's wall clock showed as it said hello; it came at the monotonic time `now`.
    pub fn at_hello(wall: Timestamp, now: Duration) -> Self {
        let mut offset = Self::default();
        offset.note(ClockReading { wall, was_set: true }, now);
        offset
    }

    /// Notes a reading that came at the monotonic time `now`.
    pub fn note(&mut self, reading: ClockReading, now: Duration) {
        if reading.was_set {
            self.readings.clear();
        }
        if self.readings.len() >= READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(reading.wall.as_millis().saturating_sub(millis(now)));
    }

    /// Whether there was a reading.
    pub fn is_known(&self) -> bool {
        !self.readings.is_empty()
    }

    /// How many milliseconds the agent's clock is ahead of ours, which show `wall` and `now`; `None` before a reading.
    pub fn ahead_ms(&self, wall: Timestamp, now: Duration) -> Option<i64> {
        let ours = wall.as_millis().saturating_sub(millis(now));
        self.readings.iter().max().map(|theirs| theirs.saturating_sub(ours))
    }

    /// By how many milliseconds to correct the agent's times: nothing within [`CLOCK_TOLERANCE`].
    pub fn correction_ms(&self, wall: Timestamp, now: Duration) -> i64 {
        let ahead_ms = self.ahead_ms(wall, now).unwrap_or(0);
        if ahead_ms.unsigned_abs() < millis(CLOCK_TOLERANCE).unsigned_abs() { 0 } else { ahead_ms }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WALL: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const NOW: Duration = Duration::from_secs(50);

    fn reading(ahead_ms: i64, was_set: bool) -> ClockReading {
        ClockReading { wall: Timestamp::from_millis(WALL.as_millis() + ahead_ms), was_set }
    }

    #[test]
    fn the_reading_that_came_fastest_counts_until_it_is_old_or_the_clock_was_set() {
        let mut offset = ClockOffset::default();
        assert_eq!((offset.ahead_ms(WALL, NOW), offset.correction_ms(WALL, NOW)), (None, 0));
        offset.note(reading(-3_000, true), NOW);
        assert_eq!(offset.correction_ms(WALL, NOW), -3_000, "it came three seconds late, but who knows");
        offset.note(reading(-5, false), NOW);
        assert_eq!((offset.ahead_ms(WALL, NOW), offset.correction_ms(WALL, NOW)), (Some(-5), 0));
        for _ in 0..READINGS_MAX {
            offset.note(reading(-4_000, false), NOW);
        }
        assert_eq!(offset.correction_ms(WALL, NOW), -4_000, "the clock drifted");
        offset.note(reading(-9_000, true), NOW);
        assert_eq!(offset.correction_ms(WALL, NOW), -9_000, "it was set back");
    }

    #[test]
    fn setting_our_own_clock_changes_the_offset_at_once() {
        let offset = ClockOffset::at_hello(WALL, NOW);
        let later = NOW + Duration::from_secs(5);
        let hour_back = Timestamp::from_millis(WALL.as_millis() + 5_000 - 3_600_000);
        assert_eq!(offset.ahead_ms(WALL + Duration::from_secs(5), later), Some(0));
        assert_eq!(offset.correction_ms(hour_back, later), 3_600_000);
    }

    proptest! {
        #[test]
        fn no_clock_overflows(theirs in any::<i64>(), ours in any::<i64>(), seconds in any::<u64>()) {
            let now = Duration::from_secs(seconds);
            let offset = ClockOffset::at_hello(Timestamp::from_millis(theirs), now);
            prop_assert!(offset.ahead_ms(Timestamp::from_millis(ours), now).is_some());
        }
    }
}
