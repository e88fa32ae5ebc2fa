//! Whether the parts of the program make progress: what `/healthz` answers.
//!
//! A process that lives but stands still is dead for those who rely on it, and only a restart helps. So each part
//! says that it went round its loop, and is stuck when it has not for longer than its allowed age. A database that is
//! away is no reason to restart: a part that failed and tries again makes progress. That is `/readyz`'s business.
//!
//! Without a lock: each field is written by one part and read by the probe.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A part that must make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Evaluates rules. Goes round at least once a second, since the sweep reports that often.
    Rules,
    /// Sends notifications. A round waits for each channel's answer.
    Notify,
    /// Finds silent agents. Goes round once a second; pruning is not waited for.
    Upkeep,
}

/// See the module.
#[derive(Debug)]
pub struct Health {
    started_at: Duration,
    /// When each part went round last, monotonic milliseconds; by [`Part::ALL`].
    progress_ms: [AtomicU64; Part::ALL.len()],
}

// === impl Part ===

impl Part {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Rules, Self::Notify, Self::Upkeep];

    /// The word in `/healthz` and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Notify => "notify",
            Self::Upkeep => "upkeep",
        }
    }

    /// How long a round may take at the most. Generous: a restart in the middle of a slow moment makes it worse, and
    /// what is noticed in minutes by a probe is noticed in seconds by an alert.
    pub fn allowed_age(self) -> Duration {
        Duration::from_secs(match self {
            // Thousands of rules over a full head, and a commit for each on a slow disk.
            Self::Rules => 120,
            // One message at a channel that answers at its timeout, and a database that does.
            Self::Notify => 180,
            // Everybody's lock, and a head of a million series.
            Self::Upkeep => 150,
        })
    }
}

// === impl Health ===

impl Health {
    /// Everything begins at `now`, monotonic: a part that never begins is found as well.
    pub fn new(now: Duration) -> Self {
        let progress_ms = Part::ALL.map(|_| AtomicU64::new(millis(now)));
        Self { started_at: now, progress_ms }
    }

    /// `part` went round its loop, whether or not there was anything to do, or it worked.
    pub fn progressed(&self, part: Part, now: Duration) {
        self.progress_ms[part as usize].store(millis(now), Ordering::Relaxed);
    }

    /// How long ago `part` went round.
    pub fn age(&self, part: Part, now: Duration) -> Duration {
        let at = Duration::from_millis(self.progress_ms[part as usize].load(Ordering::Relaxed));
        now.saturating_sub(at)
    }

    /// The parts that stand still, with how long they have.
    pub fn stuck(&self, now: Duration) -> Vec<(Part, Duration)> {
        let ages = Part::ALL.map(|part| (part, self.age(part, now)));
        ages.into_iter().filter(|(part, age)| *age > part.allowed_age()).collect()
    }

    /// How long the program runs.
    pub fn uptime(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started_at)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_stuck_once_its_last_round_is_older_than_allowed_and_no_longer_after_the_next() {
        let start = Duration::from_secs(1_000);
        let health = Health::new(start);
        for (index, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, index, "a part's place is its number");
        }
        let late = start + Part::Rules.allowed_age();
        assert_eq!(health.stuck(late), []);
        let later = late + Duration::from_millis(1);
        assert_eq!(health.stuck(later), [(Part::Rules, Part::Rules.allowed_age() + Duration::from_millis(1))]);
        health.progressed(Part::Rules, later);
        assert_eq!(health.stuck(later), []);
    }

    #[test]
    fn a_probe_that_reads_an_older_clock_than_the_part_wrote_finds_nothing_stuck() {
        let health = Health::new(Duration::from_secs(10));
        assert_eq!(health.stuck(Duration::ZERO), []);
        assert_eq!(health.uptime(Duration::ZERO), Duration::ZERO);
    }
}
