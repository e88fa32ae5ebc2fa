//! Which series are shown: what each live agent reports now, and what we say of the agents.
//!
//! A value of long ago is never shown as if it were of now. The sweep ends the series of an agent that is silent for
//! three of its intervals, and finds the sources that hang while their agent goes on. Beside it stands the limit here
//! ([`stale_after`]), on two ages:
//! - of the last sign of life, in time that we ran: for a sweep that is late;
//! - of the newest sample: for a head restored from an old log, and for an agent that is there while its values are not
//!   (the database is away and nothing is committed, or a spool that was filled during an outage is being read, oldest
//!   first).

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

/// Whether what the agent reports is of now.
pub(super) fn is_current(agent: &Agent, monotonic: Duration) -> bool {
    agent.state == State::Up && agent.gone_for(monotonic) <= stale_after(agent)
}

/// Every shown series that passes `filter`. The lock is taken for one agent at a time, so that ingest never waits for
/// the copying of a whole page.
pub(super) fn everything(pages: &Pages, filter: impl Fn(&SeriesKey) -> bool) -> Vec<Shown> {
    let (wall, monotonic) = (pages.clock.wall(), pages.clock.monotonic());
    let mut series = Vec::new();
    let current = |agent: &Agent| is_current(agent, monotonic).then(|| (agent.row.agent_id, stale_after(agent)));
    for (agent_id, stale_after) in pages.live.pick_agents(current) {
        let before = series.len();
        let newest = read(&pages.live, agent_id, &filter, &mut series);
        if newest.is_some_and(|newest| wall.since(newest) > stale_after) {
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
