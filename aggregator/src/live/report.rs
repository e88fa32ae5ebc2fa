//! What we say of the agents ourselves, into the head like everything else: whether each is up, and its clock's offset.
//!
//! It is looked at once a second and said when it is news, and again every [`SAID_AGAIN`]: said every second, the two
//! series of an agent would take 32 KiB of the head, as much as all else that an idle agent costs. Which series there are
//! ([`Roll`]) is made anew only when the agents are others: that costs many times what looking at them does.

use super::{Agent, Inner, OURSELVES, State};
use proto::catalog::{AGENT_CLOCK_OFFSET_SECONDS, AGENT_UP, Metric};
use proto::convert::SchemaBytes;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SchemaId, SeriesDef, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tsdb::Origin;
use uuid::Uuid;

/// What has not changed is said again after this: thirty times within a query's lookback.
const SAID_AGAIN: Duration = Duration::from_secs(10);
/// An offset that moved by less is no news; a twentieth of what a clock may be off.
const NEWS: f64 = 0.1;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of our own samples, those that a limit kept out.
    pub(super) unreported: u64,
    roll: Option<Roll>,
    last: Option<(SchemaId, Vec<f64>)>,
    since: Duration,
}

/// The series of the agents that are reported. It is theirs while they are the same, under the same names, and while the
/// same clocks are known.
#[derive(Debug)]
struct Roll {
    schema_id: SchemaId,
    schema: Arc<Schema>,
    /// In the order of their ids.
    entries: Vec<Entry>,
}

/// One agent on the roll, and where its series are in the schema. Two agents may share a name (a pod's successor with a
/// new spool), and then its series.
#[derive(Debug)]
struct Entry {
    agent_id: Uuid,
    service: String,
    instance: String,
    up: Option<usize>,
    offset: Option<usize>,
    has_clock: bool,
}

// === impl Said ===

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

// === impl Roll ===

impl Roll {
    fn of<'a>(reported: impl Iterator<Item = &'a Agent>) -> Self {
        let mut keys: BTreeMap<SeriesKey, Vec<usize>> = BTreeMap::new();
        let mut entries: Vec<Entry> = Vec::new();
        for agent in reported {
            let entry = Entry::of(agent);
            let offset = entry.has_clock.then_some(&AGENT_CLOCK_OFFSET_SECONDS);
            for key in [Some(&AGENT_UP), offset].into_iter().flatten().filter_map(|row| entry.key(row)) {
                keys.entry(key).or_default().push(entries.len());
            }
            entries.push(entry);
        }
        let mut series = Vec::with_capacity(keys.len());
        for (key, of) in keys {
            let is_up = key.name.as_str() == AGENT_UP.name;
            for entry in of {
                let place = if is_up { &mut entries[entry].up } else { &mut entries[entry].offset };
                *place = Some(series.len());
            }
            series.push(SeriesDef { key, kind: Kind::Gauge });
        }
        let schema_id = SchemaBytes::encode("agents", Duration::ZERO, &series).id;
        Self {
            schema_id,
            schema: Arc::new(Schema { source: "agents".into(), interval: Duration::ZERO, series }),
            entries,
        }
    }

    /// Whether these are its agents.
    fn is_of<'a>(&self, reported: impl Iterator<Item = &'a Agent>) -> bool {
        let mut entries = self.entries.iter();
        let mut reported = reported;
        reported.all(|agent| entries.next().is_some_and(|entry| entry.is_of(agent))) && entries.next().is_none()
    }

    /// What is to be said of its agents at `at`. Of several under one name one that is up speaks for all, and the clock
    /// that is furthest ahead.
    fn values<'a>(&self, reported: impl Iterator<Item = &'a Agent>, at: Timestamp, now: Duration) -> Vec<f64> {
        let mut values = vec![f64::NEG_INFINITY; self.schema.series.len()];
        let mut tell = |place: Option<usize>, value: f64| {
            if let Some(told) = place.and_then(|place| values.get_mut(place)) {
                *told = told.max(value);
            }
        };
        for (entry, agent) in self.entries.iter().zip(reported) {
            tell(entry.up, f64::from(u8::from(agent.state == State::Up)));
            if let Some(ahead_ms) = agent.clock.ahead_ms(at, now) {
                tell(entry.offset, ahead_ms as f64 / 1000.0);
            }
        }
        values
    }
}

// === impl Entry ===

impl Entry {
    fn of(agent: &Agent) -> Self {
        let (service, instance) = (agent.row.service.clone(), agent.row.instance.clone());
        let has_clock = agent.clock.is_known();
        Self { agent_id: agent.row.agent_id, service, instance, up: None, offset: None, has_clock }
    }

    fn is_of(&self, agent: &Agent) -> bool {
        let row = &agent.row;
        self.agent_id == row.agent_id
            && self.has_clock == agent.clock.is_known()
            && self.service == row.service
            && self.instance == row.instance
    }

    fn key(&self, row: &Metric) -> Option<SeriesKey> {
        SeriesKey::try_new(row.name, [("service", self.service.as_str()), ("instance", self.instance.as_str())]).ok()
    }
}

// === impl Inner ===

impl Inner {
    /// Writes `monitoring_agent_up` and the offsets into the head, where they are due.
    pub(super) fn report(&mut self, at: Timestamp, now: Duration) {
        self.look_at_clock(at, now);
        let reported = || self.agents.values().filter(|agent| is_reported(agent, now));
        let roll = self.said.roll.take().filter(|roll| roll.is_of(reported())).unwrap_or_else(|| Roll::of(reported()));
        let values = roll.values(reported(), at, now);
        if self.said.is_due(roll.schema_id, &values, now) {
            let origin = Origin { agent_id: OURSELVES, labels: Vec::new() };
            if let Ok(frame) = Frame::try_new(roll.schema_id, roll.schema.clone(), vec![Pass { at, values }]) {
                self.said.unreported += self.head.append(&origin, &frame).over_limit as u64;
            }
        }
        // Rules that read it are evaluated all the same: how long something holds is counted in evaluations.
        self.dirty.insert(roll.schema_id, roll.schema.clone());
        self.said.roll = Some(roll);
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
