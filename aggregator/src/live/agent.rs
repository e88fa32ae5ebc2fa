//! A known agent and what it is doing.

use super::{ClockOffset, LOST_KEPT};
use crate::store::AgentRow;
use proto::name::Label;
use proto::sample::Timestamp;
use std::time::Duration;
use tsdb::Origin;

/// An agent is silent after so many of its intervals without a batch.
pub const SILENT_INTERVALS: u32 = 3;
/// But not before this: an agent that samples ten times a second is not lost because a commit took 300 ms.
pub const SILENT_MIN: Duration = Duration::from_secs(1);
/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Its batches arrive.
    Up,
    /// They ceased.
    Silent,
    /// It said goodbye.
    Stopped,
}

/// A known agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What it says of itself; `last_seen` and `stopped_at` are kept up to date here. They are for people: how long ago
    /// anything was is told by `seen_at` and `gone_before`.
    pub row: AgentRow,
    /// What it is doing.
    pub state: State,
    /// When it gave its last sign of life, monotonic; when this program began, where that was before.
    pub seen_at: Duration,
    /// How long it had not been seen when we ended last; zero once it was seen since. For how long we were down nobody
    /// knows: the clock may have been set meanwhile.
    pub gone_before: Duration,
    /// When samples came last, or it said hello, monotonic.
    pub appended_at: Duration,
    /// Whether its stream stands, as far as we know. It may be silent all the same.
    pub is_connected: bool,
    /// How far its clock is ahead of ours.
    pub clock: ClockOffset,
}

// === impl State ===

impl State {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Up, Self::Silent, Self::Stopped];

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Stopped => "stopped",
        }
    }
}

// === impl Agent ===

impl Agent {
    /// An agent that the database knows, as it was when we ended. We began at the monotonic time `now`.
    pub(super) fn kept(row: AgentRow, ended_at: Timestamp, now: Duration) -> Self {
        let (gone_before, clock) = (ended_at.since(row.last_seen), ClockOffset::default());
        let mut agent =
            Self { row, state: State::Up, seen_at: now, gone_before, appended_at: now, is_connected: false, clock };
        if agent.row.stopped_at.is_some() {
            agent.state = State::Stopped;
        } else if gone_before > agent.silent_after() {
            agent.state = State::Silent;
        }
        agent
    }

    /// How long ago its last sign of life was, in time that we ran. No clock that is set changes it.
    pub fn gone_for(&self, now: Duration) -> Duration {
        self.gone_before.saturating_add(now.saturating_sub(self.seen_at))
    }

    /// Whether it is gone for so long that nobody waits for it: its stream does not stand, and its last sign of life was a
    /// day ago.
    pub fn is_lost(&self, now: Duration) -> bool {
        !self.is_connected && self.gone_for(now) >= LOST_KEPT
    }

    /// Notes a sign of life.
    pub(super) fn seen(&mut self, wall: Timestamp, now: Duration) {
        (self.state, self.row.last_seen) = (State::Up, wall);
        (self.seen_at, self.gone_before) = (now, Duration::ZERO);
    }

    /// Our wall clock was set: the times that we wrote down since we began move with it.
    pub(super) fn move_by(&mut self, millis: i64) {
        if self.gone_before.is_zero() {
            self.row.last_seen = self.row.last_seen.moved_by(millis);
            self.row.stopped_at = self.row.stopped_at.map(|at| at.moved_by(millis));
        }
    }

    /// The labels that this identity puts on everything it reports.
    pub fn origin(&self) -> Origin {
        let clinic = self.row.clinic_id.map(|id| id.to_string()).unwrap_or_default();
        let pairs = [("service", &self.row.service), ("instance", &self.row.instance), ("clinic_id", &clinic)];
        let labels = pairs.iter().filter_map(|(name, value)| Label::try_new(name, value).ok()).collect();
        Origin { agent_id: self.row.agent_id, labels }
    }

    pub(super) fn silent_after(&self) -> Duration {
        (self.row.interval * SILENT_INTERVALS).max(SILENT_MIN)
    }
}
