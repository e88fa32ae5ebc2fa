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

mod gaps;

use super::row::{schema_id_to_bigint, seq_to_bigint};
use super::{BatchRow, Missing, News, StoreError, Stored};
use gaps::missing;
use proto::sample::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

pub(super) use gaps::{ENDS_MAX, GapEnd, NewGap, OpenGap};

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

// === helpers ===

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
