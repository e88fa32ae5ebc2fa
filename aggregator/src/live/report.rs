//! What we say of the agents ourselves, into the head like everything else: whether each is up, and its clock's offset.

use super::{Agent, Inner, LOST_KEPT, OURSELVES, State};
use proto::catalog::{AGENT_CLOCK_OFFSET_SECONDS, AGENT_UP, Metric};
use proto::convert::SchemaBytes;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SeriesDef, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tsdb::Origin;

impl Inner {
    /// Writes `monitoring_agent_up` and the offsets into the head.
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
        let origin = Origin { agent_id: OURSELVES, labels: Vec::new() };
        if let Ok(frame) = Frame::try_new(schema_id, schema.clone(), vec![Pass { at, values }]) {
            let appended = self.head.append(&origin, &frame);
            self.unreported += appended.over_limit as u64;
            self.dirty.insert(schema_id, schema);
        }
    }
}

/// Whether `monitoring_agent_up` speaks of the agent at the monotonic time `now`: it did not say goodbye, and is not lost
/// for more than a day.
pub fn is_reported(agent: &Agent, now: Duration) -> bool {
    agent.state != State::Stopped && agent.gone_for(now) < LOST_KEPT
}

/// Whether the metric is one that we report of the agents, so that no silence of theirs hides it.
pub fn is_own(name: &str) -> bool {
    name == AGENT_UP.name || name == AGENT_CLOCK_OFFSET_SECONDS.name
}
