//! The batch: frames, gaps and events with a place. In a spool record, on the wire and in the aggregator's log.

use super::measure::{self, undecodable};
use super::{epoch, epoch_bytes, identity, pack, schema::SchemaBytes, v1};
use crate::event::{Event, EventError};
use crate::limits::BATCH_MAX_BYTES;
use crate::message::{Batch, Position};
use crate::refused::Refused;
use crate::sample::{Frame, Gap, Pass, Schema, SchemaId, Timestamp};
use bytes::Bytes;
use prost::Message;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes that a position adds to a record when it is sent: a tag, a length and 16 bytes; a tag and a varint.
pub(super) const POSITION_MAX_BYTES: usize = 2 + 16 + 1 + 10;
/// A batch below this size is sent as it is: packing would cost more than it saves.
const PACK_FROM_BYTES: usize = 512;

/// A batch as it came: not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct RawBatch(pub(super) v1::Batch);

/// What a batch holds, without its place and its schemas: the same each time that it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(Vec<u8>);

// === packing for the wire ===

/// Packs what a batch holds, where that makes it smaller.
pub(super) fn pack_for_wire(RawBatch(mut batch): RawBatch) -> v1::Batch {
    // A sealed one is packed already.
    if !batch.packed.is_empty() || batch.encoded_len() < PACK_FROM_BYTES {
        return batch;
    }
    let (epoch, seq) = (std::mem::take(&mut batch.epoch), std::mem::take(&mut batch.seq));
    let plain = batch.encode_to_vec();
    match pack::compress(&plain) {
        Ok(smaller) if smaller.len() < plain.len() => {
            v1::Batch { epoch, seq, packed: smaller.into(), ..v1::Batch::default() }
        }
        // Noise: it goes as it is.
        _ => v1::Batch { epoch, seq, ..batch },
    }
}

pub(super) fn unpack_from_wire(batch: v1::Batch) -> Result<RawBatch, Refused> {
    if batch.packed.is_empty() {
        return Ok(RawBatch(batch));
    }
    if !batch.frames.is_empty() || !batch.gaps.is_empty() || !batch.events.is_empty() {
        return Err(Refused::Packing);
    }
    Ok(RawBatch(v1::Batch { epoch: batch.epoch, seq: batch.seq, ..open(&batch.packed)? }))
}

// === records ===

/// Makes one spool record: `frames` with their schemas. The position is given when it is sent.
/// Refused when it would be more than a batch may be, wherever it will stand: what is spooled can be delivered.
pub fn encode_record(frames: &[(&SchemaBytes, &[Pass])]) -> Result<Vec<u8>, Refused> {
    let frames = frames.iter().map(|(schema, passes)| frame_to_wire(schema, passes)).collect();
    to_record(&v1::Batch { frames, ..v1::Batch::default() })
}

/// Makes one spool record of events; refused as [`encode_record`] does.
pub fn encode_events(events: &[Event]) -> Result<Vec<u8>, Refused> {
    to_record(&v1::Batch { events: events.iter().map(event_to_wire).collect(), ..v1::Batch::default() })
}

fn to_record(body: &v1::Batch) -> Result<Vec<u8>, Refused> {
    let plain = body.encode_to_vec();
    measure::check_batch(&plain)?;
    if plain.len() > BATCH_MAX_BYTES - POSITION_MAX_BYTES {
        return Err(Refused::TooLarge(plain.len() + POSITION_MAX_BYTES));
    }
    pack::compress(&plain)
}

/// What lies compressed in a record, a row of the log or a packed batch.
fn open(packed: &[u8]) -> Result<v1::Batch, Refused> {
    let plain = Bytes::from(pack::decompress(packed)?);
    measure::check_batch(&plain)?;
    let body = v1::Batch::decode(plain).map_err(undecodable)?;
    if body.packed.is_empty() { Ok(body) } else { Err(Refused::Packing) }
}

fn frame_to_wire(schema: &SchemaBytes, passes: &[Pass]) -> v1::Frame {
    let pass = |p: &Pass| v1::Pass { timestamp_ms: p.at.as_millis(), values: p.values.clone() };
    v1::Frame { schema_id: schema.id.0, schema: schema.bytes.clone(), passes: passes.iter().map(pass).collect() }
}

pub(super) fn gap_to_wire(gap: &Gap) -> v1::Gap {
    v1::Gap {
        epoch: epoch_bytes(gap.epoch),
        first_seq: gap.first_seq,
        last_seq: gap.last_seq,
        reason: gap.reason.clone(),
    }
}

impl RawBatch {
    /// What is sent in the place of records that are lost: it stands at the last of them, and is acked like a batch.
    pub fn for_gap(gap: &Gap) -> Self {
        let gaps = vec![gap_to_wire(gap)];
        Self(v1::Batch { epoch: epoch_bytes(gap.epoch), seq: gap.last_seq, gaps, ..v1::Batch::default() })
    }

    /// Opens a spool record or a row of the aggregator's log, and gives it its place.
    pub fn from_record(record: &[u8], position: Position) -> Result<Self, Refused> {
        Ok(Self(v1::Batch { epoch: epoch_bytes(position.epoch), seq: position.seq, ..open(record)? }))
    }

    /// A spool record to be sent as it lies there, with all its schemas. Nothing of it can be looked at before it arrives.
    pub fn sealed(record: Vec<u8>, position: Position) -> Self {
        let (epoch, seq) = (epoch_bytes(position.epoch), position.seq);
        Self(v1::Batch { epoch, seq, packed: record.into(), ..v1::Batch::default() })
    }

    /// Takes away the schemas that `known` holds already and adds the others to it. Call with an empty set on a new
    /// stream.
    pub fn strip(&mut self, known: &mut HashSet<SchemaId>) {
        for frame in &mut self.0.frames {
            if !known.insert(SchemaId(frame.schema_id)) {
                frame.schema = Bytes::new();
            }
        }
    }

    /// Where the batch stands.
    pub fn position(&self) -> Result<Position, Refused> {
        match self.0.seq {
            0 => Err(Refused::SeqZero),
            seq if i64::try_from(seq).is_err() => Err(Refused::SeqTooLarge(seq)),
            seq => Ok(Position { epoch: epoch(&self.0.epoch)?, seq }),
        }
    }

    /// Size on the wire in bytes.
    pub fn encoded_bytes(&self) -> usize {
        self.0.encoded_len()
    }

    /// The schemas that the batch defines, in their encoded form.
    pub fn schemas(&self) -> impl Iterator<Item = SchemaBytes> + '_ {
        let defining = self.0.frames.iter().filter(|frame| !frame.schema.is_empty());
        defining.map(|frame| SchemaBytes { id: SchemaId(frame.schema_id), bytes: frame.schema.clone() })
    }

    /// Moves every pass back by `ahead_ms`, by which the agent's clock is ahead; forth where it is behind.
    pub fn correct_clock(&mut self, ahead_ms: i64) {
        for pass in self.0.frames.iter_mut().flat_map(|frame| &mut frame.passes) {
            pass.timestamp_ms = pass.timestamp_ms.saturating_sub(ahead_ms);
        }
    }

    /// Moves the passes that lie after `latest` back, together, so that the newest of them lies at `now`: their clock was
    /// wrong, and a sample at the time of its arrival is of more use than none. Returns how many were moved.
    pub fn restamp_future(&mut self, latest: Timestamp, now: Timestamp) -> usize {
        let passes = self.0.frames.iter_mut().flat_map(|frame| &mut frame.passes);
        let mut future: Vec<_> = passes.filter(|pass| pass.timestamp_ms > latest.as_millis()).collect();
        let newest = future.iter().map(|pass| pass.timestamp_ms).max().unwrap_or(0);
        let excess = newest.saturating_sub(now.as_millis());
        for pass in &mut future {
            pass.timestamp_ms = pass.timestamp_ms.saturating_sub(excess);
        }
        future.len()
    }

    /// What it holds now; times that are moved later change it.
    pub fn content(&self) -> Content {
        let v1::Batch { frames, gaps, events, .. } = &self.0;
        let bare = |frame: &v1::Frame| v1::Frame { schema: Bytes::new(), ..frame.clone() };
        let frames = frames.iter().map(bare).collect();
        let body = v1::Batch { frames, gaps: gaps.clone(), events: events.clone(), ..v1::Batch::default() };
        Content(body.encode_to_vec())
    }

    /// The batch as the aggregator's log keeps it: without its position and schemas, which have columns; compressed.
    pub fn to_log(&self) -> Result<Vec<u8>, Refused> {
        self.content().to_log()
    }

    /// Checks the batch and looks its schemas up. Schemas that it defines are decoded, checked and added to `known`.
    pub fn resolve(&self, known: &mut HashMap<SchemaId, Arc<Schema>>) -> Result<Batch, Refused> {
        let position = self.position()?;
        for schema in self.schemas() {
            if let Entry::Vacant(place) = known.entry(schema.id) {
                place.insert(Arc::new(schema.decode()?));
            }
        }
        let frames = self.0.frames.iter().map(|frame| resolve_frame(frame, known)).collect::<Result<_, _>>()?;
        let gaps = self.0.gaps.iter().map(gap_from_wire).collect::<Result<_, _>>()?;
        let events = self.0.events.iter().map(event_from_wire).collect::<Result<_, EventError>>()?;
        Ok(Batch { position, frames, gaps, events })
    }
}

fn resolve_frame(wire: &v1::Frame, known: &HashMap<SchemaId, Arc<Schema>>) -> Result<Frame, Refused> {
    let id = SchemaId(wire.schema_id);
    let schema = known.get(&id).ok_or(Refused::UnknownSchema(id.0))?;
    let pass = |p: &v1::Pass| Pass { at: Timestamp::from_millis(p.timestamp_ms), values: p.values.clone() };
    let passes = wire.passes.iter().map(pass).collect();
    Frame::try_new(id, schema.clone(), passes).map_err(|(_, values)| Refused::PassWidth {
        source_name: schema.source.clone(),
        values,
        series: schema.series.len(),
    })
}

fn gap_from_wire(wire: &v1::Gap) -> Result<Gap, Refused> {
    Ok(Gap {
        epoch: epoch(&wire.epoch)?,
        first_seq: wire.first_seq,
        last_seq: wire.last_seq,
        reason: identity("reason", wire.reason.clone()).map_err(|_| Refused::GapReason)?,
    })
}

pub(super) fn event_to_wire(event: &Event) -> v1::Event {
    v1::Event {
        r#type: event.kind.clone(),
        clinic_id: event.clinic_id.to_string(),
        occurred_at_ms: event.occurred_at.as_millis(),
        idempotency_key: event.idempotency_key.clone(),
        attributes: BTreeMap::new(),
    }
}

pub(super) fn event_from_wire(wire: &v1::Event) -> Result<Event, EventError> {
    let occurred_at = Timestamp::from_millis(wire.occurred_at_ms);
    Event::try_new(&wire.r#type, &wire.clinic_id, occurred_at, &wire.idempotency_key)
}

// === impl Content ===

impl Content {
    /// Tells one content from another: xxh3-64 of its bytes.
    pub fn digest(&self) -> u64 {
        xxh3_64(&self.0)
    }

    /// As the aggregator's log keeps it; see [`RawBatch::to_log`].
    pub fn to_log(&self) -> Result<Vec<u8>, Refused> {
        // Times that were moved may have grown it; what is stored must be readable after a restart.
        measure::check_batch(&self.0)?;
        pack::compress(&self.0)
    }
}
