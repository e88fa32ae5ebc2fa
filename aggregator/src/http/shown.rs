//! Which series are shown: what each live agent reports now, and what we say of the agents.
//!
//! A value of long ago is never shown as if it were of now. The sweep ends the series of an agent that is silent for
//! three of its intervals. Beside it stands the limit here ([`stale_after`]), on two ages:
//! - of the last sign of life, monotonic and by the wall clock: for a sweep that is late, and a head restored from an
//!   old log;
//! - of the newest sample: for an agent that is there while its values are not (the database is away and nothing is
//!   committed, or a spool that was filled during an outage is being read, oldest first).

use super::Pages;
use crate::live::{Agent, Live, OURSELVES, SILENT_INTERVALS, State};
use proto::name::SeriesKey;
use proto::sample::{Kind, Timestamp};
use std::time::Duration;
use tsdb::Sample;
use uuid::Uuid;

/// An agent's values are shown for so long after its last batch at least.
const STALE_MIN: Duration = Duration::from_secs(60);

/// One series with its newest sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) key: SeriesKey,
    pub(super) kind: Kind,
    pub(super) sample: Sample,
}

/// How long after its last batch an agent's values count as of now.
pub(super) fn stale_after(agent: &Agent) -> Duration {
    (agent.row.interval * SILENT_INTERVALS).max(STALE_MIN)
}

/// How long ago an agent's last batch came: by the monotonic clock since we run, by the wall clock from before.
pub(super) fn age(agent: &Agent, wall: Timestamp, monotonic: Duration) -> Duration {
    monotonic.saturating_sub(agent.seen_at).max(wall.since(agent.row.last_seen))
}

/// Whether what the agent reports is of now.
pub(super) fn is_current(agent: &Agent, wall: Timestamp, monotonic: Duration) -> bool {
    agent.state == State::Up && age(agent, wall, monotonic) <= stale_after(agent)
}

/// How old an agent's newest sample is. Its clock's offset was measured at its hello and may be corrected since, so the
/// younger of both readings counts: better a value too long than a live agent that has none.
pub(super) fn sample_age(agent: &Agent, newest: Timestamp, wall: Timestamp) -> Duration {
    let ahead = agent.clock_offset_seconds.unwrap_or(0.0);
    let ahead_by = Duration::try_from_secs_f64(ahead.abs()).unwrap_or(Duration::ZERO);
    let corrected = if ahead < 0.0 { newest + ahead_by } else { newest - ahead_by };
    wall.since(newest).min(wall.since(corrected))
}

/// Every shown series that passes `filter`. The lock is taken for one agent at a time, so that ingest never waits for
/// the copying of a whole page.
pub(super) fn everything(pages: &Pages, filter: impl Fn(&SeriesKey) -> bool) -> Vec<Shown> {
    let (wall, monotonic) = (pages.clock.wall(), pages.clock.monotonic());
    let mut series = Vec::new();
    for agent in pages.live.agents().iter().filter(|agent| is_current(agent, wall, monotonic)) {
        let before = series.len();
        let newest = read(&pages.live, agent.row.agent_id, &filter, &mut series);
        if newest.is_some_and(|newest| sample_age(agent, newest, wall) > stale_after(agent)) {
            series.truncate(before);
        }
    }
    read(&pages.live, OURSELVES, &filter, &mut series);
    series
}

/// What one agent reports now, and when the newest of it was read.
pub(super) fn of_agent(live: &Live, agent_id: Uuid) -> (Vec<Shown>, Option<Timestamp>) {
    let mut series = Vec::new();
    let newest = read(live, agent_id, &|_| true, &mut series);
    (series, newest)
}

/// Adds what passes `filter`. Returns the time of the newest sample, passing or not.
fn read(live: &Live, agent_id: Uuid, filter: &impl Fn(&SeriesKey) -> bool, into: &mut Vec<Shown>) -> Option<Timestamp> {
    live.read(|head| {
        let mut newest = None;
        for (series, sample) in head.latest(agent_id) {
            newest = newest.max(Some(sample.at));
            if filter(series.key()) {
                into.push(Shown { key: series.key().clone(), kind: series.kind(), sample });
            }
        }
        newest
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AgentRow;
    use proptest::prelude::*;

    fn agent(ahead: Option<f64>) -> Agent {
        let row = AgentRow {
            agent_id: Uuid::nil(),
            service: "agenda".into(),
            instance: "agenda-1".into(),
            clinic_id: None,
            interval: Duration::from_secs(10),
            agent_version: String::new(),
            first_seen: Timestamp::ZERO,
            last_seen: Timestamp::ZERO,
            stopped_at: None,
            position: None,
        };
        Agent { row, state: State::Up, seen_at: Duration::ZERO, clock_offset_seconds: ahead }
    }

    #[test]
    fn the_age_of_a_sample_is_that_by_our_clock_whichever_way_the_agents_is_wrong() {
        let now = Timestamp::from_millis(10_000_000);
        for (ahead, read_at, age) in [
            (None, now - Duration::from_secs(5), 5),
            (Some(600.0), now + Duration::from_secs(590), 0),
            (Some(-600.0), now - Duration::from_secs(605), 5),
            (Some(-600.0), now - Duration::from_secs(5), 0),
            (Some(600.0), now - Duration::from_secs(5), 5),
        ] {
            assert_eq!(sample_age(&agent(ahead), read_at, now).as_secs(), age, "{ahead:?}");
        }
    }

    proptest! {
        #[test]
        fn no_clock_makes_an_age_that_panics_or_exceeds_the_plain_one(ahead in any::<f64>(), at in any::<i64>(), now in any::<i64>()) {
            let (at, now) = (Timestamp::from_millis(at), Timestamp::from_millis(now));
            prop_assert!(sample_age(&agent(Some(ahead)), at, now) <= now.since(at));
        }
    }
}
