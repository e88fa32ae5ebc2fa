//! The ledger's rows: what each agent's stream lacks, and from when to when.
//!
//! Invariants: each sequence number of an epoch up to its position is that of a stored batch or missing once, under the
//! reason that was told first. A window's ends are samples' times, corrected as the samples are: the newest sample before
//! it and the oldest after it, in the order of positions and over epochs. It may be longer than need be ([`Missing::end`]),
//! and is never shorter.
//!
//! What an agent lost before its spool gave it a number is in it once the agent's disk has taken the word of it; an agent
//! that is killed before that never tells.

use super::AgentRow;
use proto::sample::Timestamp;
use uuid::Uuid;

/// The reason of numbers that never came and that no gap tells of.
pub const UNEXPLAINED: &str = "unexplained";

/// Numbers of its own epoch that a batch tells are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldGap {
    /// The first.
    pub first_seq: u64,
    /// The last, inclusive.
    pub last_seq: u64,
    /// Why: a word that is counted.
    pub reason: &'static str,
}

/// Numbers that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first.
    pub first_seq: u64,
    /// The last, inclusive.
    pub last_seq: u64,
    /// Why: a word from a short list.
    pub reason: String,
    /// The newest sample before; `None` where none came before.
    pub from_at: Option<Timestamp>,
    /// The oldest sample after, or a later one ([`Missing::end`]); `None` until one comes.
    pub until_at: Option<Timestamp>,
}

/// What a newly stored batch brings beside its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What is missing before it or, where it tells so, in its own place.
    pub missing: Vec<Missing>,
    /// How many of its events are new; the others were stored before.
    pub events: u64,
    /// A newer epoch of its agent had batches already.
    pub is_past: bool,
}

/// A row of `gaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// Whose.
    pub agent_id: Uuid,
    /// In which epoch.
    pub epoch: u128,
    /// Which numbers, why, and when.
    pub missing: Missing,
    /// When we heard of it, or of its last part.
    pub noted_at: Timestamp,
}

/// An epoch of an agent, as far as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// Which.
    pub epoch: u128,
    /// Its position.
    pub last_seq: u64,
    /// When its first batch came.
    pub first_seen: Timestamp,
    /// When its newest batch came.
    pub last_received_at: Timestamp,
    /// The oldest sample of its first batch that has any.
    pub oldest_at: Option<Timestamp>,
    /// The newest sample of its last batch that has any.
    pub newest_at: Option<Timestamp>,
}

/// What is asked of an agent's ledger. A gap is in it where its window touches the time asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerQuery {
    /// Whose.
    pub agent_id: Uuid,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Gaps, and epochs, at the most: the newest.
    pub limit: u32,
}

/// An agent's ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// The agent.
    pub agent: AgentRow,
    /// Its newest epochs, oldest first.
    pub epochs: Vec<EpochRow>,
    /// The newest gaps, in the order of positions.
    pub gaps: Vec<GapRow>,
    /// Missing records by reason, of all gaps in that time.
    pub totals: Vec<(String, u64)>,
}

// === impl Missing ===

impl Missing {
    pub(super) fn new(
        (first, last): (i64, i64),
        reason: &str,
        from_at: Option<Timestamp>,
        sampled: Option<(Timestamp, Timestamp)>,
    ) -> Self {
        let (first_seq, last_seq) = (first.unsigned_abs(), last.unsigned_abs());
        let mut missing = Self { first_seq, last_seq, reason: reason.into(), from_at, until_at: None };
        if let Some(sampled) = sampled {
            missing.end(sampled);
        }
        missing
    }

    /// The first batch after it that has samples came, unless one came before that; `sampled` are the times of its oldest
    /// and its newest. Where the oldest is not after the newest sample before, since a slow pass began before what was lost,
    /// the window ends with the newest. Where the agent's clock ran back it is the time between the two all the same.
    pub fn end(&mut self, sampled: (Timestamp, Timestamp)) {
        if self.until_at.is_some() {
            return;
        }
        let (oldest_at, newest_at) = sampled;
        self.until_at = Some(match self.from_at {
            Some(from_at) if oldest_at <= from_at => newest_at.max(from_at),
            _ => oldest_at,
        });
        self.from_at = self.from_at.map(|from_at| from_at.min(oldest_at));
    }

    /// How many.
    pub fn records(&self) -> u64 {
        self.last_seq.saturating_sub(self.first_seq).saturating_add(1)
    }
}
