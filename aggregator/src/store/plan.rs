//! What a group of batches changes, decided from where the streams stand alone: no SQL, no clock.
//!
//! The caller holds the streams' rows locked from reading them until the plan is committed; then the plan is right
//! whatever other aggregators do.
//!
//! ```text
//! last stored        places that stay empty: told by gaps, or unexplained         the batch
//!   ──┴────────────────┴─────────────────────────────────────────────────────────────┴──► seq
//!     └─ from_at: its newest sample                            until_at: its oldest sample, once one comes (`Missing::end`)
//! ```

use super::row::{schema_id_to_bigint, seq_to_bigint};
use super::{BatchRow, Missing, News, StoreError, Stored, UNEXPLAINED};
use proto::sample::{Gap, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// Stored gaps that one commit ends: tens of milliseconds. Runs are one gap, so an agent must take turns between reasons to have
/// as many.
pub(super) const ENDS_MAX: u32 = 10_000;

/// One stream: an agent and an epoch of it.
pub(super) type Stream = (Uuid, Uuid);

/// A group of batches whose numbers fit SQL, and the streams that they belong to.
pub(super) struct Group<'a> {
    batches: Vec<Entry<'a>>,
    /// Each stream of the group, and its first batch's arrival, in the order of first appearance.
    pub(super) streams: Vec<(Stream, Timestamp)>,
}

/// A batch and its numbers as SQL has them.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The batch.
    pub(super) row: &'a BatchRow,
    /// Which stream.
    pub(super) stream: Stream,
    /// `row.position.seq`.
    pub(super) seq: i64,
    /// Where it stands in the group.
    pub(super) place: usize,
}

/// Where a stream stands, as the database has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Its last sequence number; 0 where there is none.
    pub(super) last_seq: i64,
    /// Orders the epochs of an agent.
    pub(super) generation: i64,
    /// The newest sample of its last batch that had any.
    pub(super) newest_at: Option<Timestamp>,
    /// The same of the agent's epochs before it.
    pub(super) before_at: Option<Timestamp>,
    /// Whether a newer epoch of the agent has batches.
    pub(super) is_past: bool,
    /// Whether there are gaps of the agent after which nothing came yet.
    pub(super) has_open_gaps: bool,
    /// The gap that ends at `last_seq` and after which nothing came yet.
    pub(super) open: Option<OpenGap>,
}

/// A stored gap that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenGap {
    /// Its first number.
    pub(super) first_seq: u64,
    /// Why.
    pub(super) reason: String,
    /// The newest sample before it.
    pub(super) from_at: Option<Timestamp>,
}

/// What to write.
pub(super) struct Plan<'a> {
    /// What becomes of each batch, in the group's order.
    pub(super) stored: Vec<Stored>,
    /// The batches to insert, in the group's order.
    pub(super) fresh: Vec<Entry<'a>>,
    /// The batches whose place is behind: replays, if they are what stands there.
    pub(super) behind: Vec<Entry<'a>>,
    /// The streams that move, each once.
    pub(super) moved: Vec<Moved>,
    /// Definitions to insert or refresh, each once, ordered by key so that two aggregators never lock them crosswise.
    pub(super) schemas: Vec<Definition<'a>>,
    /// What is missing, to insert; where a stored gap begins with the same number, it goes on.
    pub(super) gaps: Vec<NewGap>,
    /// Stored gaps that end: after them something came at last. To be written before `gaps`, in this order, those of older
    /// epochs first: a gap ends by the first sample after it.
    pub(super) ends: Vec<GapEnd>,
}

/// A stream's new position.
pub(super) struct Moved {
    /// Which stream.
    pub(super) stream: Stream,
    /// Its last sequence number after the group.
    pub(super) last_seq: i64,
    /// When its newest batch of the group came.
    pub(super) received_at: Timestamp,
    /// The oldest sample of its first batch of the group that has any.
    pub(super) oldest_at: Option<Timestamp>,
    /// The newest sample of its last batch of the group that has any.
    pub(super) newest_at: Option<Timestamp>,
}

/// A schema that a fresh batch defines.
pub(super) struct Definition<'a> {
    /// Whose.
    pub(super) agent_id: Uuid,
    /// Its id's bits.
    pub(super) schema_id: i64,
    /// The encoded schema.
    pub(super) encoded: &'a [u8],
    /// When the newest batch that carries it came.
    pub(super) refreshed_at: Timestamp,
}

/// A gap to insert.
pub(super) struct NewGap {
    /// The batch after it, or in its last place, by where that stands in the group.
    pub(super) place: usize,
    /// Which stream.
    pub(super) stream: Stream,
    /// That of the stream.
    pub(super) generation: i64,
    /// When its batch came.
    pub(super) noted_at: Timestamp,
    /// Which numbers, why, and between which times.
    pub(super) missing: Missing,
}

/// The first samples of the group that an agent sent in an epoch.
pub(super) struct GapEnd {
    /// Whose.
    pub(super) agent_id: Uuid,
    /// Gaps of a later epoch do not end by it.
    pub(super) generation: i64,
    /// The oldest and the newest of them; see [`Missing::end`].
    pub(super) sampled: (Timestamp, Timestamp),
}

/// What is stored in a place that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A batch with content of this digest.
    Content(u64),
    /// It is missing, or was: a batch that is nothing but gaps, or a number within a gap.
    Gap,
}

/// What is known of the streams while a group is judged.
struct Judge<'a, 'p> {
    standings: &'p HashMap<Stream, Standing>,
    now: HashMap<Stream, Moved>,
    plan: Plan<'a>,
    schemas: BTreeMap<(Uuid, i64), Definition<'a>>,
}

// === impl Group ===

impl<'a> Group<'a> {
    /// Refuses the whole group where one of its numbers does not fit.
    pub(super) fn try_new(rows: &'a [BatchRow]) -> Result<Self, StoreError> {
        let mut batches = Vec::with_capacity(rows.len());
        let mut streams: Vec<(Stream, Timestamp)> = Vec::new();
        let mut seen: HashSet<Stream> = HashSet::new();
        for (place, row) in rows.iter().enumerate() {
            let stream = (row.agent_id, Uuid::from_u128(row.position.epoch));
            if seen.insert(stream) {
                streams.push((stream, row.received_at));
            }
            batches.push(Entry { row, stream, seq: seq_to_bigint(row.position.seq)?, place });
        }
        Ok(Self { batches, streams })
    }

    /// Judges every batch against where its stream stands; a stream that is not in `standings` holds nothing.
    pub(super) fn plan(&self, standings: &HashMap<Stream, Standing>) -> Plan<'a> {
        let mut judge = Judge { standings, now: HashMap::new(), plan: Plan::empty(), schemas: BTreeMap::new() };
        for entry in &self.batches {
            judge.judge(*entry);
        }
        let Judge { mut now, mut plan, schemas, .. } = judge;
        let moved = self.streams.iter().filter_map(|(stream, _)| now.remove(stream));
        let before = |stream: &Stream| standings.get(stream).map_or(0, |standing| standing.last_seq);
        plan.moved = moved.filter(|moved| before(&moved.stream) < moved.last_seq).collect();
        plan.schemas = schemas.into_values().collect();
        plan.ends.sort_by_key(|end| (end.agent_id, end.generation));
        plan
    }
}

// === impl Judge ===

impl<'a> Judge<'a, '_> {
    fn judge(&mut self, entry: Entry<'a>) {
        let none = Standing::default();
        let standing = self.standings.get(&entry.stream).unwrap_or(&none);
        let moved = self.now.entry(entry.stream).or_insert_with(|| Moved {
            stream: entry.stream,
            last_seq: standing.last_seq,
            received_at: entry.row.received_at,
            oldest_at: None,
            newest_at: None,
        });
        if entry.seq <= moved.last_seq {
            self.plan.stored.push(Stored::Replay);
            self.plan.behind.push(entry);
            return;
        }
        let before_at = moved.newest_at.or(standing.newest_at).or(standing.before_at);
        let missing = missing(moved.last_seq, entry, before_at);
        moved.last_seq = entry.seq;
        moved.received_at = moved.received_at.max(entry.row.received_at);
        if let Some((oldest_at, newest_at)) = entry.row.sampled {
            moved.oldest_at = moved.oldest_at.or(Some(oldest_at));
            moved.newest_at = Some(newest_at);
            self.end_gaps(entry.stream.0, standing, (oldest_at, newest_at));
        }
        let noted_at = entry.row.received_at;
        let noted = |missing: &Missing| NewGap {
            place: entry.place,
            stream: entry.stream,
            generation: standing.generation,
            noted_at,
            missing: missing.clone(),
        };
        self.plan.gaps.extend(missing.iter().map(noted));
        let events = entry.row.events.len() as u64;
        self.plan.stored.push(Stored::New(News { missing, events, is_past: standing.is_past }));
        self.plan.fresh.push(entry);
        note_schemas(&mut self.schemas, entry.row);
    }

    /// Something came at last: the agent's gaps before it end, those of the group and those that are stored.
    fn end_gaps(&mut self, agent_id: Uuid, standing: &Standing, sampled: (Timestamp, Timestamp)) {
        let Standing { generation, has_open_gaps, .. } = *standing;
        for gap in self.plan.gaps.iter_mut().filter(|gap| gap.stream.0 == agent_id && gap.generation <= generation) {
            gap.missing.end(sampled);
        }
        let is_same = |end: &GapEnd| end.agent_id == agent_id && end.generation == generation;
        if has_open_gaps && !self.plan.ends.iter().any(is_same) {
            self.plan.ends.push(GapEnd { agent_id, generation, sampled });
        }
    }
}

// === impl Plan ===

impl Plan<'_> {
    fn empty() -> Self {
        let (stored, fresh, behind, moved) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { stored, fresh, behind, moved, schemas: Vec::new(), gaps: Vec::new(), ends: Vec::new() }
    }

    /// A fresh batch is stored already, although its stream's position does not say so: it is no news after all.
    pub(super) fn is_stored_already(&mut self, place: usize) {
        self.stored[place] = Stored::Replay;
        self.gaps.retain(|gap| gap.place != place);
        if let Some(index) = self.fresh.iter().position(|entry| entry.place == place) {
            self.behind.push(self.fresh.remove(index));
        }
    }

    /// Judges the batches whose place is behind by what is stored there. Content that comes in the place of a gap is not
    /// what was lost there, or was found again: either way it is not stored, and needs a place of its own.
    pub(super) fn compare(&mut self, held: &HashMap<(Stream, i64), Held>) {
        for entry in &self.behind {
            let own = entry.row.digest.map_or(Held::Gap, Held::Content);
            self.stored[entry.place] = match held.get(&(entry.stream, entry.seq)) {
                Some(held) if *held == own => Stored::Replay,
                Some(_) => Stored::Taken,
                None => Stored::Unproven,
            };
        }
    }

    /// Makes one row of a run: numbers that adjoin, missing for one reason and in one window. A stored gap that nothing ended
    /// goes on where the first of them adjoins it. Last of all, when it is known which batches are news.
    pub(super) fn join_gaps(&mut self, standings: &HashMap<Stream, Standing>) {
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

    /// The events of the fresh batches, each with its batch.
    pub(super) fn events(&self) -> impl Iterator<Item = (&Entry<'_>, &proto::event::Event)> {
        self.fresh.iter().flat_map(|entry| entry.row.events.iter().map(move |event| (entry, event)))
    }

    /// So many events of each batch are new; the batches that are not named have none.
    pub(super) fn count_events(&mut self, fresh: &HashMap<(Stream, i64), u64>) {
        for entry in &self.fresh {
            if let Stored::New(news) = &mut self.stored[entry.place] {
                news.events = fresh.get(&(entry.stream, entry.seq)).copied().unwrap_or(0);
            }
        }
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
fn missing(last: i64, entry: Entry<'_>, from_at: Option<Timestamp>) -> Vec<Missing> {
    let own = i64::from(!entry.row.holds_only_gaps());
    let mut free = BTreeMap::from([(last + 1, entry.seq - own)]);
    free.retain(|first, last| first <= last);
    let mut found = Vec::new();
    let gaps = entry.row.gaps.iter().filter(|gap| gap.epoch == entry.row.position.epoch);
    for gap in gaps {
        claim(&mut free, gap, &mut found);
    }
    let rest = free.into_iter().map(|(first, last)| (first, last.min(entry.seq - 1), UNEXPLAINED));
    found.extend(rest.filter(|(first, last, _)| first <= last));
    found.sort_unstable_by_key(|(first, ..)| *first);
    let sampled = entry.row.sampled;
    found.into_iter().map(|(first, last, reason)| Missing::new((first, last), reason, from_at, sampled)).collect()
}

/// Takes what `gap` says is lost from what is `free`.
fn claim<'g>(free: &mut BTreeMap<i64, i64>, gap: &'g Gap, found: &mut Vec<(i64, i64, &'g str)>) {
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
        found.push((from.max(first), to.min(last), &gap.reason));
    }
}

/// A number that a gap names, as SQL has it: there is no place beyond.
fn to_place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn note_schemas<'a>(schemas: &mut BTreeMap<(Uuid, i64), Definition<'a>>, batch: &'a BatchRow) {
    for schema in &batch.schemas {
        let schema_id = schema_id_to_bigint(schema.schema_id);
        let entry = schemas.entry((schema.agent_id, schema_id)).or_insert_with(|| Definition {
            agent_id: schema.agent_id,
            schema_id,
            encoded: &schema.definition,
            refreshed_at: batch.received_at,
        });
        entry.refreshed_at = entry.refreshed_at.max(batch.received_at);
    }
}

#[cfg(test)]
mod tests;
