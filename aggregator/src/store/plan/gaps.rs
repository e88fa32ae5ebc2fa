//! The part of a plan that is the ledger's: which numbers are missing, and under which row each of them stands.

use super::{Entry, Plan, Standing, Stream};
use crate::store::{Missing, ToldGap, UNEXPLAINED};
use proto::sample::Timestamp;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Stored gaps that one commit ends: a fifth of a second. (0.18 s on SQLite and 0.20 s on PostgreSQL, debug build, 2 busy cores
/// of an AMD EPYC, 2026-11-28; the test `more_open_gaps_than_a_commit_ends_end_by_the_next` prints it.) Runs are one gap, so an
/// agent must take turns between reasons to have as many.
pub(in crate::store) const ENDS_MAX: u32 = 10_000;

/// A stored gap that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct OpenGap {
    /// Its first number.
    pub(in crate::store) first_seq: u64,
    /// Why.
    pub(in crate::store) reason: String,
    /// The newest sample before it.
    pub(in crate::store) from_at: Option<Timestamp>,
}

/// A gap to insert.
pub(in crate::store) struct NewGap {
    /// The batch after it, or in its last place, by where that stands in the group.
    pub(in crate::store) place: usize,
    /// Which stream.
    pub(in crate::store) stream: Stream,
    /// That of the stream.
    pub(in crate::store) generation: i64,
    /// When its batch came.
    pub(in crate::store) noted_at: Timestamp,
    /// Which numbers, why, and between which times.
    pub(in crate::store) missing: Missing,
}

/// The first samples of the group that an agent sent in an epoch.
pub(in crate::store) struct GapEnd {
    /// Whose.
    pub(in crate::store) agent_id: Uuid,
    /// Gaps of a later epoch do not end by it.
    pub(in crate::store) generation: i64,
    /// The oldest and the newest of them; see [`Missing::end`].
    pub(in crate::store) sampled: (Timestamp, Timestamp),
}

// === impl Plan ===

impl Plan<'_> {
    /// Makes one row of a run: numbers that adjoin, missing for one reason and in one window. A stored gap that nothing ended
    /// goes on where the first of them adjoins it. Last of all, when it is known which batches are news.
    pub(in crate::store) fn join_gaps(&mut self, standings: &HashMap<Stream, Standing>) {
        let mut last_of: HashMap<Stream, usize> = HashMap::new();
        let mut joined: Vec<NewGap> = Vec::with_capacity(self.gaps.len());
        for mut gap in std::mem::take(&mut self.gaps) {
            if let Some(before) = last_of.get(&gap.stream).map(|index| &mut joined[*index]) {
                if before.goes_on_with(&gap) {
                    before.missing.last_seq = gap.missing.last_seq;
                    before.noted_at = before.noted_at.max(gap.noted_at);
                    continue;
                }
            } else if let Some(standing) = standings.get(&gap.stream)
                && !self.ends.iter().any(|end| end.agent_id == gap.stream.0 && gap.generation <= end.generation)
            {
                gap.go_on_from(standing);
            }
            last_of.insert(gap.stream, joined.len());
            joined.push(gap);
        }
        self.gaps = joined;
    }
}

// === impl NewGap ===

impl NewGap {
    /// Whether `next`, of the same stream, is the same going on.
    fn goes_on_with(&self, next: &Self) -> bool {
        let (own, next) = (&self.missing, &next.missing);
        let same = own.reason == next.reason && own.from_at == next.from_at && own.until_at == next.until_at;
        same && own.last_seq.checked_add(1) == Some(next.first_seq)
    }

    /// Begins where the stored gap begins that it goes on with.
    fn go_on_from(&mut self, standing: &Standing) {
        let Missing { first_seq, reason, from_at, .. } = &self.missing;
        let adjoins = standing.last_seq.unsigned_abs().checked_add(1) == Some(*first_seq);
        if let Some(open) = &standing.open
            && adjoins
            && (&open.reason, &open.from_at) == (reason, from_at)
        {
            self.missing.first_seq = open.first_seq;
        }
    }
}

// === helpers ===

/// The numbers after `last` that `entry` leaves empty: first what its gaps tell, in their order, then the rest. A batch
/// that holds nothing but gaps may count its own place among them.
pub(super) fn missing(last: i64, entry: Entry<'_>, from_at: Option<Timestamp>) -> Vec<Missing> {
    let own = i64::from(!entry.row.holds_only_gaps());
    let mut free = BTreeMap::from([(last + 1, entry.seq - own)]);
    free.retain(|first, last| first <= last);
    let mut found = Vec::new();
    for gap in &entry.row.gaps {
        claim(&mut free, gap, &mut found);
    }
    let rest = free.into_iter().map(|(first, last)| (first, last.min(entry.seq - 1), UNEXPLAINED));
    found.extend(rest.filter(|(first, last, _)| first <= last));
    found.sort_unstable_by_key(|(first, ..)| *first);
    let sampled = entry.row.sampled;
    found.into_iter().map(|(first, last, reason)| Missing::new((first, last), reason, from_at, sampled)).collect()
}

/// Takes what `gap` says is lost from what is `free`.
fn claim(free: &mut BTreeMap<i64, i64>, gap: &ToldGap, found: &mut Vec<(i64, i64, &'static str)>) {
    let (first, last) = (to_place(gap.first_seq), to_place(gap.last_seq));
    let hit = free.iter().map(|(from, to)| (*from, *to)).filter(|(from, to)| first <= *to && *from <= last);
    for (from, to) in hit.collect::<Vec<_>>() {
        if first > last {
            return;
        }
        free.remove(&from);
        if from < first {
            free.insert(from, first - 1);
        }
        if last < to {
            free.insert(last + 1, to);
        }
        found.push((from.max(first), to.min(last), gap.reason));
    }
}

/// A number that a gap names, as SQL has it: there is no place beyond.
fn to_place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
