//! Who is not heard of: the agents of which nothing of now is known, though they have not said goodbye.
//!
//! An agent is *unheard* when it went silent, when it was there before our start, when it said hello, when it waits for us
//! so long that the head is stale, when it delivers batches without samples for so long (its events), and when our clock
//! was set; until a sample of now comes. Meanwhile what it reported before tells nothing of now, and what is missing of it
//! means nothing: rules neither begin nor end anything by it. A sample out of its spool is not of now.
//!
//! Limit: [`UNHEARD_MAX`] for each time; then what is missing is gone.

use super::{Agent, OURSELVES, State};
use proto::name::Labels;
use runtime::backoff;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tsdb::Series;
use uuid::Uuid;

/// For so long an agent's silence is not taken for an answer: as long as a query looks back, and so as long as Prometheus
/// itself would go on with the last sample of a series whose end nobody told.
pub const UNHEARD_MAX: Duration = promql::LOOKBACK;

/// After our restart an agent is given the longest wait of its backoff and the time to connect before it is silent; and
/// where there are many, until it is its turn.
pub const RECONNECT_MAX: Duration = backoff::CAP.saturating_add(Duration::from_secs(10));
/// So many agents are admitted in a second when all come at once (`ingest::arrivals`). Each hello is a transaction of about
/// a millisecond: a twentieth of what a database does, the rest is for batches.
pub const ADMITTED_PER_SECOND: u32 = 50;

/// What is awaited of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Any sign of life.
    Return,
    /// A sample of now: what it kept in its spool meanwhile comes first.
    Fresh,
}

/// What is awaited of one agent, and since when, monotonic.
#[derive(Clone, Copy, Debug)]
struct Await {
    awaited: Awaited,
    since: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    agents: HashMap<Uuid, Await>,
    /// Their names, made when they are asked for; `None` when anything changed since.
    names: Option<Arc<Unheard>>,
}

/// The names (service and instance) under which nobody is heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unheard(BTreeMap<String, BTreeSet<String>>);

// === impl Awaiting ===

impl Awaiting {
    /// Any sign of life is awaited of `agents`, from now on.
    pub(super) fn begin(agents: impl Iterator<Item = Uuid>, now: Duration) -> Self {
        let awaited = agents.map(|id| (id, Await { awaited: Awaited::Return, since: now }));
        Self { agents: awaited.collect(), names: None }
    }

    /// The agent went silent.
    pub(super) fn lost(&mut self, agent_id: Uuid, now: Duration) {
        self.names = None;
        self.agents.entry(agent_id).or_insert(Await { awaited: Awaited::Return, since: now });
    }

    /// An agent has another name.
    pub(super) fn renamed(&mut self) {
        self.names = None;
    }

    /// The agent said hello, or gave a sign of life, and was not there before.
    pub(super) fn appeared(&mut self, agent_id: Uuid, now: Duration) {
        self.names = None;
        self.agents.entry(agent_id).or_insert(Await { awaited: Awaited::Fresh, since: now });
    }

    /// The agent is there, but what is known of it is not of now.
    pub(super) fn stale(&mut self, agent_id: Uuid, now: Duration) {
        let awaited = Await { awaited: Awaited::Fresh, since: now };
        if self.agents.insert(agent_id, awaited).is_none() {
            self.names = None;
        }
    }

    /// The wait for everyone begins now.
    pub(super) fn renew(&mut self, now: Duration) {
        self.agents.values_mut().for_each(|agent| agent.since = now);
    }

    /// The agent gave a sign of life.
    pub(super) fn returned(&mut self, agent_id: Uuid, now: Duration) {
        let fresh = Await { awaited: Awaited::Fresh, since: now };
        if let Some(agent) = self.agents.get_mut(&agent_id).filter(|agent| agent.awaited == Awaited::Return) {
            *agent = fresh;
            self.names = None;
        }
    }

    /// The agent said goodbye.
    pub(super) fn left(&mut self, agent_id: Uuid) {
        self.names = None;
        self.agents.remove(&agent_id);
    }

    /// The agent told of now.
    pub(super) fn settled(&mut self, agent_id: Uuid) {
        if self.agents.remove(&agent_id).is_some() {
            self.names = None;
        }
    }

    /// How long the agent has to come back after our restart, where there are so many: nothing once it gave a sign of life.
    pub(super) fn time_to_return(&self, agent_id: Uuid, agents: usize) -> Duration {
        let awaits_return = |agent: &Await| agent.awaited == Awaited::Return;
        if !self.agents.get(&agent_id).is_some_and(awaits_return) {
            return Duration::ZERO;
        }
        RECONNECT_MAX + Duration::from_secs(agents as u64 / u64::from(ADMITTED_PER_SECOND))
    }

    /// The names under which nobody is heard. Two agents may share one (a pod's successor with a new spool): one that is
    /// heard speaks for both.
    pub(super) fn names(&mut self, known: &BTreeMap<Uuid, Agent>, now: Duration) -> Arc<Unheard> {
        let before = self.agents.len();
        self.agents.retain(|_, agent| now.saturating_sub(agent.since) < UNHEARD_MAX);
        if self.agents.len() != before {
            self.names = None;
        }
        let agents = &self.agents;
        let names = self.names.get_or_insert_with(|| Arc::new(Unheard::among(known, agents))).clone();
        // The books, where they are small: what was made before is what would be made now.
        debug_assert!(known.len() > 100 || *names == Unheard::among(known, agents));
        names
    }
}

// === impl Unheard ===

impl Unheard {
    fn among(known: &BTreeMap<Uuid, Agent>, awaited: &HashMap<Uuid, Await>) -> Self {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if awaited.is_empty() {
            return Self(names);
        }
        for agent in known.values().filter(|agent| awaited.contains_key(&agent.row.agent_id)) {
            names.entry(agent.row.service.clone()).or_default().insert(agent.row.instance.clone());
        }
        let heard = |agent: &&Agent| agent.state == State::Up && !awaited.contains_key(&agent.row.agent_id);
        for agent in known.values().filter(heard) {
            if let Some(instances) = names.get_mut(&agent.row.service) {
                instances.remove(&agent.row.instance);
            }
        }
        names.retain(|_, instances| !instances.is_empty());
        Self(names)
    }

    /// Every such name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(service, instances)| {
            instances.iter().map(move |instance| (service.as_str(), instance.as_str()))
        })
    }

    /// Whether the series is of such an agent; what we say of it ourselves is not.
    pub fn reported(&self, series: &Series) -> bool {
        !self.0.is_empty() && series.owner() != OURSELVES && self.contains(&series.key().labels)
    }

    fn contains(&self, labels: &Labels) -> bool {
        let value = |name| labels.get(name).unwrap_or_default();
        self.0.get(value("service")).is_some_and(|instances| instances.contains(value("instance")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_wait_for_their_turn_have_as_much_more_time_to_come_back() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut awaiting = Awaiting::begin([one, other].into_iter(), Duration::ZERO);
        assert_eq!(awaiting.time_to_return(one, 49), RECONNECT_MAX);
        assert_eq!(awaiting.time_to_return(one, 1_000), RECONNECT_MAX + Duration::from_secs(20));
        assert!(awaiting.time_to_return(one, 10_000) < UNHEARD_MAX, "their silence is no answer meanwhile");
        awaiting.returned(one, Duration::ZERO);
        assert_eq!(awaiting.time_to_return(one, 1_000), Duration::ZERO);
    }
}
