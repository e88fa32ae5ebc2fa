//! A known agent and what it is doing.

use super::ClockOffset;
use crate::store::AgentRow;
use proto::name::Label;
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
    /// What it says of itself; `last_seen` and `stopped_at` are kept up to date here.
    pub row: AgentRow,
    /// What it is doing.
    pub state: State,
    /// When its last `Hello` or batch came, monotonic.
    pub seen_at: Duration,
    /// When samples came last, or it said hello, monotonic.
    pub appended_at: Duration,
    /// How far its clock is ahead of ours.
    pub clock: ClockOffset,
}

// === impl State ===

impl State {
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
