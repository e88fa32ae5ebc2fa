//! What we say of the agents ourselves, into the head like everything else: whether each is up, and its clock's offset.
//!
//! It is looked at once a second and said when it is news, and again every [`SAID_AGAIN`]: said every second, the two
//! series of an agent would take 32 KiB of the head, as much as all else that an idle agent costs.

use super::{Agent, Inner, OURSELVES, State};
use proto::catalog::{AGENT_CLOCK_OFFSET_SECONDS, AGENT_UP, Metric};
use proto::convert::SchemaBytes;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SchemaId, SeriesDef, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tsdb::Origin;

/// What has not changed is said again after this: thirty times within a query's lookback.
const SAID_AGAIN: Duration = Duration::from_secs(10);
/// An offset that moved by less is no news; a twentieth of what a clock may be off.
const NEWS: f64 = 0.1;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of our own samples, those that a limit kept out.
    pub(super) unreported: u64,
    last: Option<(SchemaId, Vec<f64>)>,
    since: Duration,
}

impl Said {
    /// Whether this shall be said now; then it is what was said last.
    fn is_due(&mut self, schema_id: SchemaId, values: &[f64], now: Duration) -> bool {
        let differs = |last: &[f64]| last.iter().zip(values).any(|(last, value)| (last - value).abs() >= NEWS);
        let is_news = self.last.as_ref().is_none_or(|(of, last)| *of != schema_id || differs(last));
        let is_due = is_news || now.saturating_sub(self.since) >= SAID_AGAIN;
        if is_due {
            self.last = Some((schema_id, values.to_vec()));
            self.since = now;
        }
        is_due
    }
}

impl Inner {
    /// Writes `monitoring_agent_up` and the offsets into the head, where they are due.
    pub(super) fn report(&mut self, at: Timestamp, now: Duration) {
        self.look_at_clock(at, now);
        // Two agents may share a name (a pod's successor with a new spool): one that is up speaks for both.
        let mut told: BTreeMap<SeriesKey, f64> = BTreeMap::new();
        let mut tell = |row: &'static Metric, agent: &Agent, value: f64| {
            let labels = [("service", agent.row.service.as_str()), ("instance", agent.row.instance.as_str())];
            if let Ok(key) = SeriesKey::try_new(row.name, labels) {
                told.entry(key).and_modify(|have| *have = have.max(value)).or_insert(value);
            }
        };
        for agent in self.agents.values().filter(|agent| is_reported(agent, now)) {
            tell(&AGENT_UP, agent, f64::from(u8::from(agent.state == State::Up)));
            if let Some(ahead_ms) = agent.clock.ahead_ms(at, now) {
                tell(&AGENT_CLOCK_OFFSET_SECONDS, agent, ahead_ms as f64 / 1000.0);
            }
        }
        let (keys, values): (Vec<SeriesKey>, Vec<f64>) = told.into_iter().unzip();
        let series: Vec<SeriesDef> = keys.into_iter().map(|key| SeriesDef { key, kind: Kind::Gauge }).collect();
        let schema_id = SchemaBytes::encode("agents", Duration::ZERO, &series).id;
        let schema = Arc::new(Schema { source: "agents".into(), interval: Duration::ZERO, series });
        if self.said.is_due(schema_id, &values, now) {
            let origin = Origin { agent_id: OURSELVES, labels: Vec::new() };
            if let Ok(frame) = Frame::try_new(schema_id, schema.clone(), vec![Pass { at, values }]) {
                self.said.unreported += self.head.append(&origin, &frame).over_limit as u64;
            }
        }
        // Rules that read it are evaluated all the same: how long something holds is counted in evaluations.
        self.dirty.insert(schema_id, schema);
    }
}

/// Whether `monitoring_agent_up` speaks of the agent at the monotonic time `now`: it did not say goodbye, and is not lost
/// for more than a day.
pub fn is_reported(agent: &Agent, now: Duration) -> bool {
    agent.state != State::Stopped && !agent.is_lost(now)
}

/// Whether the metric is one that we report of the agents, so that no silence of theirs hides it.
pub fn is_own(name: &str) -> bool {
    name == AGENT_UP.name || name == AGENT_CLOCK_OFFSET_SECONDS.name
}
