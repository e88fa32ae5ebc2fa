//! Arrivals: how many agents may begin a stream in a second, and when those that are sent away shall come back.
//!
//! A hello costs a transaction, and what the agent's spool kept follows it. When a thousand agents come at once, since
//! we restarted or the network is back, batches would wait behind hellos. So hellos have a rate; who comes beyond it is
//! given a time of its own, one step of that rate after the time that was given before:
//!
//! ```text
//!  admitted  ■■■■■■■■■■ ■ ■ ■ ■ ■ ■ ■ ■ ■    [`BURST`] at once, then one each step
//!  come back            |   LEAST   | ■ ■ ■ ■ ■    one each step too, from [`LEAST`] on
//! ```
//! The agent adds its own jitter and never comes sooner than it was told. One that nobody sent away may take a place
//! that another was told to come for; the other is then told again. Each step admits somebody, so all come in.
//!
//! Times are monotonic and come in as arguments. Limits: [`RATE`], [`BURST`], [`MOST`].

use super::STREAMS_MAX;
use crate::live::ADMITTED_PER_SECOND;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hellos in a second. All the agents that there may be are back within [`STREAMS_MAX`] / `RATE` = 200 s, while their
/// silence is still taken for no answer; `live` says the rest.
pub const RATE: u32 = ADMITTED_PER_SECOND;
/// Hellos at once, after a while without: a cluster of this size comes back without being sent away.
pub const BURST: u32 = 50;
/// The shortest wait that is asked for: long enough for most starts and for a database that restarts.
pub const LEAST: Duration = Duration::from_secs(2);
/// The longest spread of those who wait: as long as it takes to admit all the agents that there may be. Beyond it the
/// turns begin anew, so that agents that come too often do not send others away for hours.
pub const MOST: Duration = Duration::from_secs(STREAMS_MAX as u64 / RATE as u64);

/// See the module.
#[derive(Debug)]
pub struct Arrivals {
    step: Duration,
    ahead: Duration,
    /// Locked for a few additions.
    turns: Mutex<Turns>,
}

/// The next free places.
#[derive(Debug, Default)]
struct Turns {
    /// When the next hello would be due at a steady rate; it may come as much sooner as a burst is long.
    due: Duration,
    /// What the next one is told that is sent away, without [`LEAST`].
    told: Duration,
}

// === impl Arrivals ===

impl Default for Arrivals {
    fn default() -> Self {
        Self::new(RATE, BURST)
    }
}

impl Arrivals {
    /// So many in a second, and so many at once. Zero of either counts as one.
    pub fn new(rate: u32, burst: u32) -> Self {
        let step = Duration::from_secs(1) / rate.max(1);
        Self { step, ahead: step * (burst.max(1) - 1), turns: Mutex::default() }
    }

    /// Takes a place for a hello at `now`. Returns whether there was one.
    pub fn admit(&self, now: Duration) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let due = turns.due.max(now);
        let has_place = due.saturating_sub(now) <= self.ahead;
        if has_place {
            turns.due = due + self.step;
        }
        has_place
    }

    /// How long an agent that is sent away at `now` shall stay away.
    pub fn come_back(&self, now: Duration) -> Duration {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let spread = turns.told.saturating_sub(now);
        let spread = if spread > MOST { Duration::ZERO } else { spread };
        turns.told = now + spread + self.step;
        LEAST + spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::UNHEARD_MAX;
    use proptest::prelude::*;
    use runtime::backoff::Backoff;
    use std::collections::BTreeMap;

    const AT: Duration = Duration::from_secs(1_000);

    fn milliseconds(wait: Duration) -> u64 {
        u64::try_from(wait.as_millis()).expect("small")
    }

    /// When each of `agents` that come at once is admitted, in milliseconds after that, if each does as it is told and adds
    /// its jitter.
    fn admitted(agents: u32, random: &mut dyn FnMut() -> f64) -> Vec<u64> {
        let arrivals = Arrivals::default();
        let mut coming: BTreeMap<(u64, u32), Backoff> = (0..agents).map(|n| ((0, n), Backoff::default())).collect();
        let mut admitted = Vec::new();
        while let Some(((at, number), mut backoff)) = coming.pop_first() {
            let now = AT + Duration::from_millis(at);
            if arrivals.admit(now) {
                admitted.push(at);
                continue;
            }
            let told = arrivals.come_back(now);
            let wait = backoff.delay_with(Some(told), random());
            assert!(wait >= told, "never sooner than told");
            coming.insert((at + milliseconds(wait) + 1, number), backoff);
        }
        admitted
    }

    /// Most in any second.
    fn most_in_a_second(admitted: &[u64]) -> usize {
        let in_second = |from: u64| admitted.iter().filter(|at| (from..from + 1_000).contains(*at)).count();
        admitted.iter().map(|from| in_second(*from)).max().unwrap_or(0)
    }

    #[test]
    fn a_thousand_agents_that_come_at_once_are_spread_over_the_time_that_the_rate_needs_for_them() {
        let mut random = fastrand::Rng::with_seed(1);
        let admitted = admitted(1_000, &mut || random.f64());
        assert_eq!(admitted.len(), 1_000, "all in at the end");
        let quantile = |share: usize| admitted[admitted.len() * share / 100 - 1];
        assert!(quantile(95) >= 19_000, "spread, not together: {}", quantile(95));
        assert!(quantile(100) <= 25_000, "and no longer than it takes: {}", quantile(100));
        let later: Vec<u64> = admitted.iter().copied().filter(|at| *at >= 1_000).collect();
        let (most, most_later) = (most_in_a_second(&admitted), most_in_a_second(&later));
        assert!(most <= (RATE + BURST) as usize && most_later <= (RATE + BURST) as usize, "{most}, {most_later}");
    }

    #[test]
    fn a_small_cluster_comes_back_at_once() {
        assert_eq!(admitted(BURST, &mut || 0.5), vec![0; BURST as usize]);
    }

    #[test]
    fn those_who_are_sent_away_together_are_told_one_after_the_other() {
        let arrivals = Arrivals::new(10, 1);
        let told: Vec<u64> = (0..4).map(|_| milliseconds(arrivals.come_back(AT))).collect();
        assert_eq!(told, [2_000, 2_100, 2_200, 2_300]);
        assert_eq!(arrivals.come_back(AT + Duration::from_secs(60)), LEAST, "later there is nobody to wait for");
    }

    #[test]
    fn agents_that_come_too_often_send_nobody_away_for_longer_than_all_need() {
        let arrivals = Arrivals::default();
        let longest = (0..3 * STREAMS_MAX).map(|_| arrivals.come_back(AT)).max();
        assert_eq!(longest, Some(LEAST + MOST));
    }

    #[test]
    fn all_agents_are_back_while_their_silence_is_no_answer() {
        assert!(LEAST + MOST + runtime::backoff::CAP < UNHEARD_MAX);
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_burst_and_the_rate_and_everyone_gets_in(
            agents in 1_u32..400,
            seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let admitted = admitted(agents, &mut || random.f64());
            prop_assert_eq!(admitted.len(), agents as usize);
            prop_assert!(most_in_a_second(&admitted) <= (RATE + BURST) as usize);
        }
    }
}
