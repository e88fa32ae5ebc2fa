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
