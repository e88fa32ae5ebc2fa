//! What is alive: the known agents and the head, in memory, behind one short lock.
//!
//! An agent is *up* while its batches arrive, *silent* when none came for [`SILENT_INTERVALS`] of its intervals, and
//! *stopped* when it said goodbye. A silent agent's series end and its `monitoring_agent_up` is 0, which an alert can
//! watch; a stopped one's series and its `monitoring_agent_up` end, since nothing is wrong. After a restart an agent
//! that was up counts as up until it had time to come back ([`RECONNECT_MAX`]). Who is not heard of is another matter,
//! for the rules: see `awaiting`.
//!
//! How long anything was is told by the monotonic clock. Our wall clock may be set: then the head and what we noted of the
//! agents move with it, since their times are those of our clock (`docs/adr/0010-clock-jumps.md`).
//!
//! The aggregator reports `monitoring_agent_up` and the clocks' offsets into the head as an agent of its own
//! ([`OURSELVES`]), so that rules and pages read them like everything else.
//!
//! Locked: `inner`, for one batch or one page, never across an await.

mod agent;
mod awaiting;
mod clock_offset;
mod gaps;
mod own_clock;
mod record;
mod report;

use crate::store::{AgentRow, Pulse};
use awaiting::Awaiting;
use own_clock::{difference_ms, ended_at};
use proto::limits::CLOCK_TOLERANCE;
use proto::message::{ClockReading, Hello, Position};
use proto::name::MetricName;
use proto::sample::{Frame, Schema, SchemaId, Timestamp, sampled};
use runtime::clock::Clock;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tsdb::{Appended, Head, Limits};
use uuid::Uuid;

pub use agent::{Agent, SILENT_INTERVALS, SILENT_MIN, State};
pub use awaiting::{ADMITTED_PER_SECOND, RECONNECT_MAX, UNHEARD_MAX, Unheard};
pub use clock_offset::ClockOffset;
pub use gaps::{GAPS_PER_NAME_MAX, Gaps};
pub use report::{is_own, is_reported};

/// A silent agent whose stream has ended stays in the service discovery for this long, so that `up == 0` can fire.
pub const LOST_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Agents known at a time, those of the last day that are gone included: two rollouts of every stream there may be.
pub const AGENTS_MAX: usize = 20_000;
/// How much the head holds of each series.
pub const HEAD_WINDOW: Duration = Duration::from_secs(15 * 60);
/// The agent id under which the aggregator reports what it knows of the agents.
pub const OURSELVES: Uuid = Uuid::nil();
/// The agent id under which rules record.
pub const RULES: Uuid = Uuid::max();

/// Whether samples are for the rules to look at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    /// They came just now.
    ForTheRules,
    /// They were looked at before a restart.
    Known,
}

/// What rules see at a glance.
pub struct Glance<'a> {
    /// The samples.
    pub head: &'a Head,
    /// Who is not heard of.
    pub unheard: &'a Unheard,
    /// Where what agents reported has holes.
    pub gaps: &'a Gaps,
    /// The time to look at: ours, or that of the newest sample where it is a little ahead, so that an agent's clock that is
    /// a second fast does not make its alerts a second late.
    pub at: Timestamp,
}

/// See the module.
pub struct Live {
    limits: Limits,
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
    changed: Notify,
}

struct Inner {
    head: Head,
    agents: BTreeMap<Uuid, Agent>,
    /// Who is not heard of.
    awaiting: Awaiting,
    /// Where what agents reported has holes.
    gaps: Gaps,
    /// Schemas that got samples since the rules looked last.
    dirty: HashMap<SchemaId, Arc<Schema>>,
    /// The newest sample that came, none more than [`CLOCK_TOLERANCE`] ahead of our clock as it came.
    newest: Timestamp,
    /// What we said of the agents ourselves.
    said: report::Said,
    /// Our wall clock minus our monotonic one when they were looked at last.
    clock_difference_ms: i64,
}

// === impl Live ===

impl Live {
    /// With the agents that the database knows; see [`Live::resume`].
    pub fn new(limits: Limits, clock: Arc<dyn Clock>, known: Vec<AgentRow>) -> Self {
        let live = Self { limits, inner: Mutex::new(Inner::empty(limits, 0)), clock, changed: Notify::new() };
        live.resume(known, None);
        live
    }

    /// Begins anew, with an empty head and the agents that the database knows: those that were not gone for a day when we
    /// ended, and no more than [`AGENTS_MAX`]. Those that were up when we ended count as up until they had time to connect
    /// again. Returns when we ended, by the clock of then.
    pub fn resume(&self, known: Vec<AgentRow>, pulse: Option<Pulse>) -> Timestamp {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let ended_at = ended_at(&known, pulse, wall);
        let mut agents: Vec<Agent> = known.into_iter().map(|row| Agent::kept(row, ended_at, now)).collect();
        agents.retain(|agent| agent.state == State::Up || agent.gone_before < LOST_KEPT);
        agents.sort_by_key(|agent| agent.gone_before);
        agents.truncate(AGENTS_MAX);
        // One that was silent for longer was not believed in then.
        let there = |agent: &&Agent| agent.state != State::Stopped && agent.gone_before < UNHEARD_MAX;
        let awaiting = Awaiting::begin(agents.iter().filter(there).map(|agent| agent.row.agent_id), now);
        let agents = agents.into_iter().map(|agent| (agent.row.agent_id, agent)).collect();
        let empty = Inner::empty(self.limits, difference_ms(wall, now));
        *self.lock() = Inner { agents, awaiting, ..empty };
        ended_at
    }

    /// Whether an agent may be noted: it is known, or there is room for one more, if need be in the place of the one
    /// that said goodbye longest ago.
    pub fn make_room_for(&self, agent_id: Uuid) -> bool {
        let now = self.clock.monotonic();
        let mut inner = self.lock();
        if inner.agents.contains_key(&agent_id) || inner.agents.len() < AGENTS_MAX {
            return true;
        }
        let stopped = inner.agents.values().filter(|agent| agent.state == State::Stopped);
        let oldest = stopped.max_by_key(|agent| agent.gone_for(now)).map(|agent| agent.row.agent_id);
        oldest.is_some_and(|oldest| inner.agents.remove(&oldest).is_some())
    }

    /// Notes a hello and returns the row to store.
    pub fn hello(&self, hello: &Hello) -> AgentRow {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        let known = inner.agents.get(&hello.agent_id);
        let row = AgentRow {
            agent_id: hello.agent_id,
            service: hello.service.clone(),
            instance: hello.instance.clone(),
            clinic_id: hello.clinic_id,
            interval: hello.interval,
            agent_version: hello.agent_version.clone(),
            first_seen: known.map_or(wall, |agent| agent.row.first_seen),
            last_seen: wall,
            stopped_at: None,
            position: known.and_then(|agent| agent.row.position),
        };
        let clock = ClockOffset::at_hello(hello.wall, now);
        let gone_before = Duration::ZERO;
        let agent = Agent {
            row: row.clone(),
            state: State::Up,
            seen_at: now,
            gone_before,
            appended_at: now,
            is_connected: true,
            clock,
        };
        let was_up = known.is_some_and(|known| known.state == State::Up);
        if known.is_some_and(|known| known.origin().labels != agent.origin().labels) {
            // It has another name now: what it reported under the old one has ended.
            inner.head.end_agent(hello.agent_id);
            inner.awaiting.renamed();
        }
        inner.agents.insert(hello.agent_id, agent);
        if !was_up {
            inner.awaiting.appeared(hello.agent_id, now);
        }
        inner.awaiting.returned(hello.agent_id, now);
        row
    }

    /// Notes what an agent says of its clock.
    pub fn hear_clock(&self, agent_id: Uuid, reading: ClockReading) {
        let now = self.clock.monotonic();
        if let Some(agent) = self.lock().agents.get_mut(&agent_id) {
            agent.clock.note(reading, now);
        }
    }

    /// By how many milliseconds an agent's times are to be moved back so that they are those of our clock.
    pub fn correction_ms(&self, agent_id: Uuid) -> i64 {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        self.lock().agents.get(&agent_id).map_or(0, |agent| agent.clock.correction_ms(wall, now))
    }

    /// Adds the frames of a stored batch and wakes the rules. An unknown agent's frames are ignored.
    pub fn append(&self, agent_id: Uuid, frames: &[Frame]) -> Appended {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        inner.seen(agent_id, wall, now);
        let appended = inner.append(agent_id, frames, News::ForTheRules);
        inner.note_news(agent_id, frames, wall, now);
        // Batches without samples, while it had some to report: its events come, and its collectors hang.
        if inner.head.latest(agent_id).next().is_some() {
            inner.look_for_stale(agent_id, now);
        }
        drop(inner);
        self.changed.notify_one();
        appended
    }

    /// Adds the frames of a batch that was stored after its stream had ended: the head has what the log has, but that is
    /// no sign of life. An agent that is silent by now stays so, and what it reported stays ended.
    pub fn append_late(&self, agent_id: Uuid, frames: &[Frame]) -> Appended {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        let appended = inner.append(agent_id, frames, News::ForTheRules);
        if inner.agents.get(&agent_id).is_some_and(|agent| agent.state != State::Up) {
            inner.head.end_agent(agent_id);
        }
        drop(inner);
        self.changed.notify_one();
        appended
    }

    /// Adds frames read from the log at the start: nobody is told, and the agent has not been seen.
    pub fn restore(&self, agent_id: Uuid, frames: &[Frame]) -> Appended {
        self.lock().append(agent_id, frames, News::Known)
    }

    /// Ends what the log does not tell has ended, after the last [`Live::restore`]: the series of agents that said
    /// goodbye, and of those that were silent when we ended. Else an alert on them would fire again. The time that the
    /// others have to come back begins now: until now they were turned away.
    pub fn restored(&self) {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        {
            let mut guard = self.lock();
            let inner = &mut *guard;
            for agent in inner.agents.values_mut() {
                if agent.state == State::Up {
                    (agent.seen_at, agent.appended_at) = (now, now);
                } else {
                    inner.head.end_agent(agent.row.agent_id);
                }
            }
            inner.awaiting.renew(now);
            inner.report(wall, now);
        }
        self.changed.notify_one();
    }

    /// Notes that an agent is there: it sent something, or waits for an answer that we owe it. One that said goodbye
    /// comes back by a hello only; what is still under way of it is not a sign of life.
    pub fn seen(&self, agent_id: Uuid) {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        self.lock().seen(agent_id, wall, now);
    }

    /// Notes that an agent is there and waits for us, as it does while the database is away. What the head has of it
    /// gets old meanwhile, and is no answer then.
    pub fn waits(&self, agent_id: Uuid) {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.seen(agent_id, wall, now);
        inner.look_for_stale(agent_id, now);
    }

    /// Notes that an agent's stream has ended, and none has come in its place.
    pub fn disconnected(&self, agent_id: Uuid) {
        if let Some(agent) = self.lock().agents.get_mut(&agent_id) {
            agent.is_connected = false;
        }
    }

    /// Notes a goodbye: the agent's series end. What we say of it ends with the next sweep: a thousand agents that leave at
    /// once are one look at all agents, not a thousand.
    pub fn goodbye(&self, agent_id: Uuid) {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        if let Some(agent) = inner.agents.get_mut(&agent_id) {
            agent.seen(wall, now);
            agent.state = State::Stopped;
            agent.row.stopped_at = Some(wall);
        }
        inner.awaiting.left(agent_id);
        inner.head.end_agent(agent_id);
        drop(inner);
        self.changed.notify_one();
    }

    /// Forgets agents that are gone for a day (one whose stream stands is not: what it sends then must find it), finds
    /// those that went silent, ends their series, finds sources that fell behind, and reports which agents are up. Returns
    /// those newly silent.
    pub fn sweep(&self) -> Vec<Agent> {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut lost = Vec::new();
        {
            let mut guard = self.lock();
            let inner = &mut *guard;
            inner.look_at_clock(wall, now);
            // A pod has a new agent each time it is rolled out; the database remembers them all.
            inner.agents.retain(|_, agent| agent.state == State::Up || !agent.is_lost(now));
            let agents = inner.agents.len();
            for agent in inner.agents.values_mut().filter(|agent| agent.state == State::Up) {
                let reconnect = inner.awaiting.time_to_return(agent.row.agent_id, agents);
                if now.saturating_sub(agent.seen_at) > agent.silent_after().max(reconnect) {
                    agent.state = State::Silent;
                    inner.awaiting.lost(agent.row.agent_id, now);
                    inner.head.end_agent(agent.row.agent_id);
                    lost.push(agent.clone());
                }
                for source in inner.head.find_late_sources(agent.row.agent_id) {
                    tracing::warn!(agent = %agent.row.agent_id, source, "a source fell behind the others; it is not shown until it comes back");
                }
            }
            inner.report(wall, now);
        }
        self.changed.notify_one();
        lost
    }

    /// Notes how far an agent's batches are durable.
    pub fn confirm(&self, agent_id: Uuid, position: Position) {
        if let Some(agent) = self.lock().agents.get_mut(&agent_id) {
            agent.row.position = Some(position);
        }
    }

    /// Drops what is older than the window.
    pub fn truncate(&self) {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        inner.head.truncate(wall, HEAD_WINDOW);
        inner.gaps.truncate(wall - HEAD_WINDOW);
    }

    /// Every known agent, by id.
    pub fn agents(&self) -> Vec<Agent> {
        self.pick_agents(|agent| Some(agent.clone()))
    }

    /// What `pick` takes of every known agent, by id. It copies no more than that.
    pub fn pick_agents<T>(&self, pick: impl FnMut(&Agent) -> Option<T>) -> Vec<T> {
        self.lock().agents.values().filter_map(pick).collect()
    }

    /// How many known agents are in each state.
    pub fn agents_by_state(&self) -> [(State, usize); 3] {
        let mut counts = State::ALL.map(|state| (state, 0));
        for agent in self.lock().agents.values() {
            counts[agent.state as usize].1 += 1;
        }
        counts
    }

    /// One agent.
    pub fn agent(&self, agent_id: Uuid) -> Option<Agent> {
        self.lock().agents.get(&agent_id).cloned()
    }

    /// Reads the head.
    pub fn read<R>(&self, read: impl FnOnce(&Head) -> R) -> R {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        read(&inner.head)
    }

    /// Reads the head as rules do.
    pub fn look<R>(&self, look: impl FnOnce(Glance<'_>) -> R) -> R {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.look_at_clock(wall, now);
        let unheard = inner.awaiting.names(&inner.agents, now);
        let at = inner.evaluation_time(wall);
        look(Glance { head: &inner.head, unheard: &unheard, gaps: &inner.gaps, at })
    }

    /// The time at which rules look: see [`Glance::at`].
    pub fn evaluation_time(&self) -> Timestamp {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let mut inner = self.lock();
        inner.look_at_clock(wall, now);
        inner.evaluation_time(wall)
    }

    /// Waits until samples came in that [`Live::take_dirty`] has not returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The schemas that got samples since this was called last.
    pub fn take_dirty(&self) -> HashMap<SchemaId, Arc<Schema>> {
        std::mem::take(&mut self.lock().dirty)
    }

    /// How many samples about agents a limit of the head kept out since this was called last.
    pub fn take_unreported(&self) -> u64 {
        std::mem::take(&mut self.lock().said.unreported)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn empty(limits: Limits, clock_difference_ms: i64) -> Self {
        Self {
            head: Head::new(limits),
            agents: BTreeMap::new(),
            awaiting: Awaiting::default(),
            gaps: Gaps::default(),
            dirty: HashMap::new(),
            newest: Timestamp::ZERO,
            said: report::Said::default(),
            clock_difference_ms,
        }
    }

    fn evaluation_time(&self, wall: Timestamp) -> Timestamp {
        wall.max(self.newest.min(wall + CLOCK_TOLERANCE))
    }

    fn append(&mut self, agent_id: Uuid, frames: &[Frame], news: News) -> Appended {
        let mut total = Appended::default();
        let Some(agent) = self.agents.get(&agent_id) else {
            let passes = frames.iter().flat_map(|frame| &frame.passes);
            return Appended { unknown_agent: passes.map(|pass| pass.values.len()).sum(), ..total };
        };
        let origin = agent.origin();
        if let Some(sampled) = sampled(frames) {
            self.gaps.end(&agent.row.service, &agent.row.instance, sampled);
        }
        for frame in frames {
            total += self.head.append(&origin, frame);
            if news == News::ForTheRules {
                self.dirty.insert(frame.schema_id, frame.schema.clone());
            }
        }
        total
    }

    /// See [`Live::seen`].
    fn seen(&mut self, agent_id: Uuid, wall: Timestamp, now: Duration) {
        if let Some(agent) = self.agents.get_mut(&agent_id).filter(|agent| agent.state != State::Stopped) {
            if agent.state == State::Silent {
                self.awaiting.appeared(agent_id, now);
            }
            agent.seen(wall, now);
            self.awaiting.returned(agent_id, now);
        }
    }

    /// Whether what the head has of an agent that is there is too old to tell of now.
    fn look_for_stale(&mut self, agent_id: Uuid, now: Duration) {
        let Some(agent) = self.agents.get(&agent_id).filter(|agent| agent.state == State::Up) else { return };
        if now.saturating_sub(agent.appended_at) > agent.silent_after() {
            self.awaiting.stale(agent_id, now);
        }
    }

    /// What frames that came just now mean beside their samples.
    fn note_news(&mut self, agent_id: Uuid, frames: &[Frame], wall: Timestamp, now: Duration) {
        let Some(agent) = self.agents.get_mut(&agent_id) else { return };
        if agent.state == State::Stopped {
            // They were under way when it said goodbye.
            self.head.end_agent(agent_id);
        }
        let times = || frames.iter().flat_map(|frame| &frame.passes).map(|pass| pass.at);
        if times().next().is_some() {
            agent.appended_at = now;
        }
        if times().max().is_some_and(|newest| wall.since(newest) <= agent.silent_after() + CLOCK_TOLERANCE) {
            self.awaiting.settled(agent_id);
        }
        let latest = wall + CLOCK_TOLERANCE;
        self.newest = times().filter(|at| *at <= latest).fold(self.newest, Timestamp::max);
    }
}

/// Whether a schema has a metric of this name.
pub fn has_metric(schema: &Schema, name: &MetricName) -> bool {
    schema.series.iter().any(|def| def.key.name == *name)
}

#[cfg(test)]
mod tests;
