//! What a group of batches changes, decided from the stored positions alone: no SQL, no clock.
//!
//! The caller holds the positions' rows locked from reading them until the plan is committed; then the plan is right
//! whatever other aggregators do.

use super::row::{schema_id_to_bigint, seq_to_bigint};
use super::{BatchRow, StoreError, Stored};
use proto::sample::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

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

/// What to write.
pub(super) struct Plan<'a> {
    /// What becomes of each batch, in the group's order.
    pub(super) stored: Vec<Stored>,
    /// The batches to insert, in the group's order.
    pub(super) fresh: Vec<Entry<'a>>,
    /// The streams that move, each once.
    pub(super) moved: Vec<Moved>,
    /// Definitions to insert or refresh, each once, ordered by key so that two aggregators never lock them crosswise.
    pub(super) schemas: Vec<Definition<'a>>,
}

/// A stream's new position.
pub(super) struct Moved {
    /// Which stream.
    pub(super) stream: Stream,
    /// Its last sequence number after the group.
    pub(super) last_seq: i64,
    /// When its newest batch of the group came.
    pub(super) received_at: Timestamp,
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

    /// Judges every batch against `positions`, the stored `last_seq` of each stream; 0 for a stream that is not in it.
    pub(super) fn plan(&self, positions: &HashMap<Stream, i64>) -> Plan<'a> {
        let mut now: HashMap<Stream, Moved> = HashMap::new();
        let mut schemas: BTreeMap<(Uuid, i64), Definition<'a>> = BTreeMap::new();
        let mut stored = Vec::with_capacity(self.batches.len());
        let mut fresh = Vec::with_capacity(self.batches.len());
        for entry in &self.batches {
            let moved = now.entry(entry.stream).or_insert_with(|| Moved {
                stream: entry.stream,
                last_seq: positions.get(&entry.stream).copied().unwrap_or(0),
                received_at: entry.row.received_at,
            });
            if entry.seq <= moved.last_seq {
                stored.push(Stored::Replay);
                continue;
            }
            stored.push(Stored::New { skipped: (entry.seq - moved.last_seq - 1).unsigned_abs() });
            moved.last_seq = entry.seq;
            moved.received_at = moved.received_at.max(entry.row.received_at);
            fresh.push(*entry);
            note_schemas(&mut schemas, entry.row);
        }
        let moved = self.streams.iter().filter_map(|(stream, _)| now.remove(stream));
        let moved = moved.filter(|moved| positions.get(&moved.stream).is_none_or(|last| *last < moved.last_seq));
        Plan { stored, fresh, moved: moved.collect(), schemas: schemas.into_values().collect() }
    }
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
mod tests {
    use super::*;
    use proto::message::Position;
    use proto::sample::SchemaId;

    fn batch(agent: u128, epoch: u128, seq: u64) -> BatchRow {
        BatchRow {
            agent_id: Uuid::from_u128(agent),
            position: Position { epoch, seq },
            received_at: Timestamp::from_millis(i64::try_from(seq).unwrap_or(i64::MAX)),
            payload: Vec::new(),
            schemas: Vec::new(),
        }
    }

    #[test]
    fn a_group_is_judged_in_its_own_order() {
        let rows = [batch(1, 9, 3), batch(1, 9, 3), batch(1, 9, 7), batch(2, 9, 1), batch(1, 9, 5)];
        let plan = Group::try_new(&rows).expect("fits").plan(&HashMap::new());
        let new = |skipped| Stored::New { skipped };
        assert_eq!(plan.stored, [new(2), Stored::Replay, new(3), new(0), Stored::Replay]);
        assert_eq!(plan.fresh.iter().map(|entry| entry.place).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(plan.moved.iter().map(|moved| moved.last_seq).collect::<Vec<_>>(), [7, 1]);
    }

    #[test]
    fn a_group_of_replays_changes_nothing() {
        let mut row = batch(1, 9, 3);
        let schema_id = SchemaId(u64::MAX);
        row.schemas.push(super::super::SchemaRow { agent_id: row.agent_id, schema_id, definition: vec![1] });
        let rows = [row];
        let group = Group::try_new(&rows).expect("fits");
        let plan = group.plan(&HashMap::from([(group.streams[0].0, 3)]));
        assert_eq!(plan.stored, [Stored::Replay]);
        assert!(plan.fresh.is_empty() && plan.moved.is_empty() && plan.schemas.is_empty());
    }

    #[test]
    fn one_number_that_does_not_fit_refuses_the_group() {
        assert!(Group::try_new(&[batch(1, 9, 1), batch(1, 9, u64::MAX)]).is_err());
    }
}
