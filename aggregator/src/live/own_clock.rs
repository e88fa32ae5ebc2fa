//! Our own wall clock, which may be set while we run and wrong when we start (`docs/adr/0010-clock-jumps.md`).

use super::{Inner, State};
use crate::store::{AgentRow, Pulse};
use proto::limits::CLOCK_TOLERANCE;
use proto::sample::Timestamp;
use std::time::Duration;

/// What was seen later than the last sign of our own life by more than this was stamped by a clock that was set back since:
/// some pulses that the database did not take.
const PULSE_MISSED: Duration = Duration::from_secs(60);

impl Inner {
    /// When our wall clock was set, or we slept, what came before moves with it, and is not of now: agents are unheard
    /// until they tell.
    pub(super) fn look_at_clock(&mut self, wall: Timestamp, now: Duration) {
        let difference_ms = difference_ms(wall, now);
        let moved_ms = difference_ms.saturating_sub(self.clock_difference_ms);
        self.clock_difference_ms = difference_ms;
        if Duration::from_millis(moved_ms.unsigned_abs()) <= CLOCK_TOLERANCE {
            return;
        }
        tracing::warn!(moved_ms, "our wall clock was set, or the machine slept; what we have in memory moves with it");
        self.head.move_by(moved_ms);
        self.gaps.move_by(moved_ms);
        self.newest = self.newest.moved_by(moved_ms);
        for agent in self.agents.values_mut() {
            agent.move_by(moved_ms);
            if agent.state == State::Up {
                self.awaiting.stale(agent.row.agent_id, now);
            }
        }
    }
}

/// When we ended, by the clock of then, told by nothing but what was written down with that clock: whatever `wall` shows
/// now, who was silent then is silent now. A pulse that was itself ahead of what was believed counts only as far as
/// something else says so.
pub(super) fn ended_at(known: &[AgentRow], pulse: Option<Pulse>, wall: Timestamp) -> Timestamp {
    let seen = || known.iter().map(|row| row.last_seen);
    let newest = seen().max().unwrap_or_default();
    let Some(pulse) = pulse else { return newest };
    let is_believed = pulse.alive_at.since(pulse.trusted_at) <= PULSE_MISSED;
    let alive_at = if is_believed { pulse.alive_at } else { pulse.alive_at.min(newest.max(wall)) };
    seen().filter(|at| *at <= alive_at + PULSE_MISSED).fold(alive_at, Timestamp::max)
}

/// Our wall clock minus our monotonic one.
pub(super) fn difference_ms(wall: Timestamp, now: Duration) -> i64 {
    (wall - now).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn seen_at(last_seen: Timestamp) -> AgentRow {
        AgentRow {
            agent_id: Uuid::from_u128(1),
            service: "agenda".into(),
            instance: "agenda-0".into(),
            clinic_id: None,
            interval: SECOND,
            agent_version: "0.1.0".into(),
            first_seen: last_seen,
            last_seen,
            stopped_at: None,
            position: None,
        }
    }

    fn pulse(alive_at: Timestamp, ahead: Duration) -> Pulse {
        Pulse { alive_at, trusted_at: alive_at - ahead }
    }

    #[test]
    fn without_a_pulse_we_ended_when_an_agent_was_seen_last() {
        let known = [seen_at(NOW), seen_at(NOW - SECOND)];
        assert_eq!(ended_at(&known, None, NOW + SECOND * 1_000), NOW);
        assert_eq!(ended_at(&[], None, NOW), Timestamp::ZERO, "nobody is known, and nobody is asked of");
    }

    #[test]
    fn what_was_seen_after_the_last_pulse_tells_of_our_life_unless_no_pulse_would_have_been_missed_for_so_long() {
        let after = |seconds| ended_at(&[seen_at(NOW + SECOND * seconds)], Some(pulse(NOW, Duration::ZERO)), NOW);
        assert_eq!((after(60), after(61)), (NOW + SECOND * 60, NOW));
    }

    #[test]
    fn a_pulse_by_a_clock_that_was_not_believed_counts_as_far_as_something_else_says_so() {
        let year = SECOND * 365 * 24 * 3600;
        let ended = |wall| ended_at(&[seen_at(NOW)], Some(pulse(NOW + year, year)), wall);
        assert_eq!(ended(NOW - SECOND), NOW, "an agent says so");
        assert_eq!(ended(NOW + SECOND), NOW + SECOND, "our clock says so");
        assert_eq!(ended(NOW + year * 2), NOW + year, "a machine that was off for so long");
    }

    proptest! {
        #[test]
        fn of_a_pulse_that_was_believed_no_clock_that_we_start_with_changes_when_we_ended(
            seen in prop::collection::vec(-100_000_i64..100_000, 0..5),
            ahead_ms in 0_u64..60_000,
            walls in [any::<i64>(), any::<i64>()],
        ) {
            let known: Vec<_> = seen.iter().map(|ms| seen_at(NOW.moved_by(*ms))).collect();
            let ended = |wall| ended_at(&known, Some(pulse(NOW, Duration::from_millis(ahead_ms))), Timestamp::from_millis(wall));
            prop_assert_eq!(ended(walls[0]), ended(walls[1]));
            prop_assert!(ended(walls[0]) >= NOW && ended(walls[0]) <= NOW + PULSE_MISSED);
        }

        #[test]
        fn no_clock_overflows(wall in any::<i64>(), alive_at in any::<i64>(), trusted_at in any::<i64>(), seconds in any::<u64>()) {
            let [wall, alive_at, trusted_at] = [wall, alive_at, trusted_at].map(Timestamp::from_millis);
            ended_at(&[seen_at(wall)], Some(Pulse { alive_at, trusted_at }), wall);
            difference_ms(wall, Duration::from_secs(seconds));
        }
    }
}
