//! The log lines that may come with every agent or every message of one: of each kind so many are written in a minute.
//!
//! Ten thousand agents that are refused, or one that is refused ten thousand times, would fill the log's disk and hide
//! everything else in it. What is not written is counted by kind, at once; when there is room again a line says how many
//! there were. Everything that a line tells is counted elsewhere, too.
//!
//! Limit: [`LINES_MAX`] in each [`WINDOW`]. Locked: one kind's count, for an addition.

use prometheus::IntCounterVec;
use runtime::clock::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lines of one kind in a window: each agent of a cluster of tens may have one.
pub const LINES_MAX: u32 = 100;
/// As long as a person looks at a log before asking again.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLine {
    /// An agent was let in.
    Connected,
    /// A stream ended, of itself or for a newer one.
    Ended,
    /// An agent said goodbye.
    Goodbye,
    /// As many connections stand as there may be.
    Full,
    /// An agent is turned away for what it said.
    AgentRefused,
    /// The database did not take an agent's hello or goodbye.
    NotNoted,
    /// An agent is not who it seems.
    Conflict,
    /// A batch will not be taken.
    BatchRefused,
    /// A batch is acked that cannot be compared.
    Unproven,
    /// Records are missing.
    Missing,
    /// An agent's passes were of the future.
    Restamped,
}

/// See the module. Clones share the counts.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    windows: [Mutex<Window>; LogLine::ALL.len()],
    unsaid: IntCounterVec,
}

/// What there was of one kind lately.
#[derive(Debug, Default)]
struct Window {
    /// When the first line of this window was written, monotonic.
    since: Duration,
    said: u32,
    /// Since the last line that was written.
    unsaid: u64,
}

// === impl LogLine ===

impl LogLine {
    const ALL: [Self; 11] = [
        Self::Connected,
        Self::Ended,
        Self::Goodbye,
        Self::Full,
        Self::AgentRefused,
        Self::NotNoted,
        Self::Conflict,
        Self::BatchRefused,
        Self::Unproven,
        Self::Missing,
        Self::Restamped,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Ended => "ended",
            Self::Goodbye => "goodbye",
            Self::Full => "full",
            Self::AgentRefused => "agent_refused",
            Self::NotNoted => "not_noted",
            Self::Conflict => "conflict",
            Self::BatchRefused => "batch_refused",
            Self::Unproven => "unproven",
            Self::Missing => "missing",
            Self::Restamped => "restamped",
        }
    }
}

// === impl Lines ===

impl Lines {
    /// Counts in `unsaid` what is not written.
    pub fn new(clock: Arc<dyn Clock>, unsaid: IntCounterVec) -> Self {
        for line in LogLine::ALL {
            unsaid.with_label_values(&[line.as_str()]);
        }
        Self(Arc::new(Shared { clock, windows: std::array::from_fn(|_| Mutex::default()), unsaid }))
    }

    /// Whether a line of this kind may be written now; then it is.
    pub(super) fn has_room(&self, line: LogLine) -> bool {
        let Shared { clock, windows, unsaid } = &*self.0;
        let now = clock.monotonic();
        let room = windows[line as usize].lock().unwrap_or_else(PoisonError::into_inner).room(now);
        match room {
            Some(0) => {}
            Some(lines) => {
                tracing::warn!(kind = line.as_str(), lines, "there were more of these lines than are written");
            }
            None => unsaid.with_label_values(&[line.as_str()]).inc(),
        }
        room.is_some()
    }
}

// === impl Window ===

impl Window {
    /// Where there is room for a line at `now`: how many there were since the one before it.
    fn room(&mut self, now: Duration) -> Option<u64> {
        if self.said == 0 || now.saturating_sub(self.since) >= WINDOW {
            (self.since, self.said) = (now, 0);
        }
        if self.said >= LINES_MAX {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Meters;
    use proto::sample::Timestamp;
    use proto::telemetry::Telemetry;
    use runtime::clock::ManualClock;

    #[test]
    fn of_a_flood_a_minutes_worth_is_said_and_then_how_many_were_not() {
        let mut window = Window::default();
        let (began, moment) = (Duration::from_secs(7), Duration::from_millis(1));
        let said = (0..10 * LINES_MAX).filter(|_| window.room(began + moment).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
        assert_eq!(window.room(began + WINDOW), None);
        assert_eq!(window.room(began + moment + WINDOW), Some(u64::from(9 * LINES_MAX) + 1));
        assert_eq!(window.room(began + moment + WINDOW), Some(0), "it is said once");
    }

    #[test]
    fn few_lines_are_all_said_however_long_it_goes_on() {
        let mut window = Window::default();
        assert!((0..100_000_u32).all(|n| window.room(WINDOW / LINES_MAX * n) == Some(0)));
    }

    #[test]
    fn one_kinds_flood_leaves_room_for_the_others_and_what_is_not_said_is_counted_by_kind() {
        let unsaid = Meters::new(&Telemetry::default(), "sqlite").ingest.unsaid;
        let clock = ManualClock::at(Timestamp::ZERO);
        let lines = Lines::new(Arc::new(clock.clone()), unsaid.clone());
        let count = |line: LogLine| unsaid.with_label_values(&[line.as_str()]).get();
        let said = (0..LINES_MAX + 3).filter(|_| lines.has_room(LogLine::BatchRefused)).count();
        assert_eq!(said, LINES_MAX as usize);
        assert!(!lines.clone().has_room(LogLine::BatchRefused), "clones share the counts");
        let others = || LogLine::ALL.into_iter().filter(|line| *line != LogLine::BatchRefused);
        assert!(others().all(|line| lines.has_room(line)));
        assert_eq!((count(LogLine::BatchRefused), others().map(count).sum::<u64>()), (4, 0));
        clock.advance(WINDOW);
        assert!(lines.has_room(LogLine::BatchRefused));
        assert_eq!(count(LogLine::BatchRefused), 4);
    }
}
