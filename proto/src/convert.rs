//! Wire ⇄ domain: the only file that sees generated protobuf types. Every refusal is typed.
//!
//! Three forms of a batch, all the same protobuf message:
//! - *in the spool*: zstd over a batch whose frames all carry their schema, so that each record stands alone;
//! - *on the wire*: a frame carries its schema only until the stream knows it ([`RawBatch::strip`]); packed by zstd;
//! - *in the aggregator's log*: zstd over a batch without schemas, which stand in a table of their own.
//!
//! Sizes and numbers of parts are checked before anything is built by them: `measure` counts the parts where they lie,
//! `pack` bounds what is unpacked. What an agent says is always a message: [`FromAgent::Unreadable`] where it cannot be
//! read, with the position where that can be, so that a damaged batch costs itself and not the stream.

#[allow(missing_docs, dead_code, clippy::pedantic, reason = "generated; report.proto is served later")]
mod v1 {
    include!(concat!(env!("OUT_DIR"), "/atendeai.monitoring.v1.rs"));
}

mod measure;
mod pack;

use crate::limits::{BATCH_MAX_BYTES, IDENTITY_MAX_BYTES, INTERVAL_MAX, REFUSAL_MAX_CHARS};
use crate::message::{
    Batch, ClockReading, FromAgent, Hello, PROTOCOL_VERSION, Position, Refusal, RefusalReason, ToAgent,
};
use crate::name::{SeriesKey, shown};
use crate::refused::Refused;
use crate::sample::{Frame, Gap, Kind, Pass, Schema, SchemaId, SeriesDef, Timestamp};
use bytes::{Buf, BufMut, Bytes};
use measure::undecodable;
use prost::Message;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes that a position adds to a record when it is sent: a tag, a length and 16 bytes; a tag and a varint.
const POSITION_MAX_BYTES: usize = 2 + 16 + 1 + 10;
/// A batch below this size is sent as it is: packing would cost more than it saves.
const PACK_FROM_BYTES: usize = 512;
/// Longest name of a source.
const SOURCE_MAX_BYTES: usize = 64;

/// A `Hello` as it came: not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct RawHello(v1::Hello);

/// A batch as it came: not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct RawBatch(v1::Batch);

/// A schema in its encoded form; equal content has equal bytes and so an equal id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaBytes {
    /// xxh3-64 of `bytes`.
    pub id: SchemaId,
    /// The encoded schema.
    pub bytes: Bytes,
}

// === messages ===

/// Encodes what an agent says.
pub fn encode_from_agent(message: FromAgent, buffer: &mut impl BufMut) {
    use v1::agent_message::Kind as K;
    let kind = match message {
        FromAgent::Hello(RawHello(hello)) => Some(K::Hello(hello)),
        FromAgent::Batch(RawBatch(batch)) => Some(K::Batch(pack(batch))),
        FromAgent::Clock(ClockReading { wall, was_set }) => {
            Some(K::Clock(v1::Clock { wall_ms: wall.as_millis(), was_set }))
        }
        FromAgent::Goodbye { reason } => Some(K::Goodbye(v1::Goodbye { reason })),
        FromAgent::Unknown | FromAgent::Unreadable { .. } => None,
    };
    v1::AgentMessage { kind }.encode(buffer).expect("a growable buffer takes any message");
}

/// Decodes what an agent says; its contents stay raw.
pub fn decode_from_agent(mut buffer: impl Buf) -> FromAgent {
    let bytes = buffer.copy_to_bytes(buffer.remaining());
    let read = read_from_agent(bytes.clone());
    read.unwrap_or_else(|why| FromAgent::Unreadable { position: measure::position(&bytes), why })
}

fn read_from_agent(bytes: Bytes) -> Result<FromAgent, Refused> {
    use v1::agent_message::Kind as K;
    measure::check_message(&bytes)?;
    let message = v1::AgentMessage::decode(bytes).map_err(undecodable)?;
    Ok(match message.kind {
        Some(K::Hello(hello)) => FromAgent::Hello(RawHello(hello)),
        Some(K::Batch(batch)) => FromAgent::Batch(RawBatch(unpack(batch)?)),
        Some(K::Clock(clock)) => {
            FromAgent::Clock(ClockReading { wall: Timestamp::from_millis(clock.wall_ms), was_set: clock.was_set })
        }
        Some(K::Goodbye(goodbye)) => FromAgent::Goodbye { reason: goodbye.reason.chars().take(32).collect() },
        None => FromAgent::Unknown,
    })
}

/// Encodes what the aggregator answers.
pub fn encode_to_agent(message: ToAgent, buffer: &mut impl BufMut) {
    use v1::aggregator_message::Kind as K;
    let kind = match message {
        ToAgent::Welcome => Some(K::Welcome(v1::Welcome { protocol_version: PROTOCOL_VERSION })),
        ToAgent::Ack(position) => Some(K::Ack(v1::Ack { epoch: epoch_bytes(position.epoch), seq: position.seq })),
        ToAgent::Refusal(refusal) => Some(K::Refusal(refusal_to_wire(refusal))),
        ToAgent::Unknown => None,
    };
    v1::AggregatorMessage { kind }.encode(buffer).expect("a growable buffer takes any message");
}

/// Decodes what the aggregator answers.
pub fn decode_to_agent(buffer: impl Buf) -> Result<ToAgent, Refused> {
    use v1::aggregator_message::Kind as K;
    let message = v1::AggregatorMessage::decode(buffer).map_err(undecodable)?;
    Ok(match message.kind {
        Some(K::Welcome(welcome)) if welcome.protocol_version != PROTOCOL_VERSION => {
            return Err(Refused::Version(welcome.protocol_version));
        }
        Some(K::Welcome(_)) => ToAgent::Welcome,
        Some(K::Ack(ack)) => ToAgent::Ack(Position { epoch: epoch(&ack.epoch)?, seq: ack.seq }),
        Some(K::Refusal(refusal)) => ToAgent::Refusal(refusal_from_wire(refusal)?),
        None => ToAgent::Unknown,
    })
}

/// Packs a batch's frames and gaps for the wire, where that makes it smaller.
fn pack(batch: v1::Batch) -> v1::Batch {
    if batch.encoded_len() < PACK_FROM_BYTES {
        return batch;
    }
    let v1::Batch { epoch, seq, frames, gaps, packed } = batch;
    let body = v1::Batch { frames, gaps, ..v1::Batch::default() };
    match pack::compress(&body.encode_to_vec()) {
        Ok(smaller) if smaller.len() < body.encoded_len() => {
            v1::Batch { epoch, seq, packed: smaller.into(), ..v1::Batch::default() }
        }
        // Noise: it goes as it is.
        _ => v1::Batch { epoch, seq, frames: body.frames, gaps: body.gaps, packed },
    }
}

fn unpack(batch: v1::Batch) -> Result<v1::Batch, Refused> {
    if batch.packed.is_empty() {
        return Ok(batch);
    }
    if !batch.frames.is_empty() || !batch.gaps.is_empty() {
        return Err(Refused::Packing);
    }
    Ok(v1::Batch { epoch: batch.epoch, seq: batch.seq, ..open(&batch.packed)? })
}

fn refusal_to_wire(refusal: Refusal) -> v1::Refusal {
    use v1::refusal::Reason;
    let reason = match refusal.reason {
        RefusalReason::InvalidBatch => Reason::InvalidBatch,
        RefusalReason::UnacceptableAgent => Reason::UnacceptableAgent,
        RefusalReason::UnknownSchema => Reason::UnknownSchema,
        RefusalReason::Unavailable => Reason::Unavailable,
    };
    v1::Refusal {
        reason: reason.into(),
        epoch: refusal.position.map_or_else(Bytes::new, |position| epoch_bytes(position.epoch)),
        seq: refusal.position.map_or(0, |position| position.seq),
        message: refusal.message,
        retry_after_ms: refusal.retry_after.map_or(0, millis),
    }
}

fn refusal_from_wire(refusal: v1::Refusal) -> Result<Refusal, Refused> {
    use v1::refusal::Reason;
    let reason = match refusal.reason() {
        Reason::InvalidBatch => RefusalReason::InvalidBatch,
        Reason::UnacceptableAgent => RefusalReason::UnacceptableAgent,
        Reason::UnknownSchema => RefusalReason::UnknownSchema,
        // A reason from the future: come back later is the one answer that loses nothing.
        Reason::Unavailable | Reason::Unspecified => RefusalReason::Unavailable,
    };
    let position = match refusal.seq {
        0 => None,
        seq => Some(Position { epoch: epoch(&refusal.epoch)?, seq }),
    };
    let retry_after = (refusal.retry_after_ms > 0).then(|| Duration::from_millis(refusal.retry_after_ms));
    let mut message = refusal.message;
    if let Some((end, _)) = message.char_indices().nth(REFUSAL_MAX_CHARS) {
        message.truncate(end);
    }
    Ok(Refusal { reason, position, message, retry_after })
}

// === hello ===

impl RawHello {
    /// What an agent sends.
    pub fn new(hello: Hello) -> Self {
        Self(v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            agent_id: Bytes::copy_from_slice(hello.agent_id.as_bytes()),
            service: hello.service,
            instance: hello.instance,
            clinic_id: hello.clinic_id.map(|id| id.to_string()).unwrap_or_default(),
            interval_ms: millis(hello.interval),
            wall_ms: hello.wall.as_millis(),
            monotonic_ns: u64::try_from(hello.monotonic.as_nanos()).unwrap_or(u64::MAX),
            boot_id: hello.boot_id,
            agent_version: hello.agent_version,
        })
    }

    /// Checks every field.
    pub fn check(self) -> Result<Hello, Refused> {
        let Self(raw) = self;
        if raw.protocol_version != PROTOCOL_VERSION {
            return Err(Refused::Version(raw.protocol_version));
        }
        let interval = Duration::from_millis(raw.interval_ms);
        if interval.is_zero() || interval > INTERVAL_MAX {
            return Err(Refused::Interval(raw.interval_ms));
        }
        let clinic_id = match raw.clinic_id.as_str() {
            "" => None,
            text => Some(Uuid::try_parse(text).map_err(|_| Refused::ClinicId)?),
        };
        Ok(Hello {
            agent_id: agent_id(&raw.agent_id)?,
            service: identity("service", raw.service)?,
            instance: identity("instance", raw.instance)?,
            clinic_id,
            interval,
            wall: Timestamp::from_millis(raw.wall_ms),
            monotonic: Duration::from_nanos(raw.monotonic_ns),
            boot_id: identity("boot_id", raw.boot_id)?,
            agent_version: identity("agent_version", raw.agent_version)?,
        })
    }
}

// === schema ===

impl SchemaBytes {
    /// Encodes `series` as what `source` reports once in `interval`; zero where it has no rhythm.
    pub fn encode(source: &str, interval: Duration, series: &[SeriesDef]) -> Self {
        let series = series.iter().map(series_to_wire).collect();
        let schema = v1::Schema { source: source.into(), series, interval_ms: millis(interval) };
        let bytes = Bytes::from(schema.encode_to_vec());
        Self { id: SchemaId(xxh3_64(&bytes)), bytes }
    }

    /// Checks that `bytes` hash to `id` and hold a schema within the limits.
    pub fn decode(&self) -> Result<Schema, Refused> {
        let found = xxh3_64(&self.bytes);
        if found != self.id.0 {
            return Err(Refused::SchemaHash { said: self.id.0, found });
        }
        measure::check_schema(&self.bytes)?;
        let wire = v1::Schema::decode(self.bytes.clone()).map_err(undecodable)?;
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=SOURCE_MAX_BYTES).contains(&wire.source.len()) || !wire.source.bytes().all(named) {
            return Err(Refused::SourceName);
        }
        let interval = Duration::from_millis(wire.interval_ms);
        if interval > INTERVAL_MAX {
            return Err(Refused::SourceInterval { source_name: wire.source, interval_ms: wire.interval_ms });
        }
        let mut series = Vec::with_capacity(wire.series.len());
        let mut seen = HashSet::with_capacity(wire.series.len());
        for one in &wire.series {
            let def = series_from_wire(&wire.source, one)?;
            if !seen.insert(def.key.clone()) {
                return Err(Refused::DuplicateSeries(shown(&def.key.to_string())));
            }
            series.push(def);
        }
        Ok(Schema { source: wire.source, interval, series })
    }
}

fn series_to_wire(def: &SeriesDef) -> v1::Series {
    let kind = match def.kind {
        Kind::Gauge => v1::Kind::Gauge,
        Kind::Counter => v1::Kind::Counter,
        Kind::Histogram => v1::Kind::Histogram,
    };
    let labels = def.key.labels.iter();
    v1::Series {
        name: def.key.name.as_str().into(),
        labels: labels.map(|l| v1::Label { name: l.name().into(), value: l.value().into() }).collect(),
        kind: kind.into(),
    }
}

fn series_from_wire(source: &str, wire: &v1::Series) -> Result<SeriesDef, Refused> {
    let labels = wire.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let key = SeriesKey::try_new(&wire.name, labels)
        .map_err(|problem| Refused::Name { source_name: source.into(), problem })?;
    let kind = match wire.kind() {
        v1::Kind::Gauge => Kind::Gauge,
        v1::Kind::Counter => Kind::Counter,
        v1::Kind::Histogram => Kind::Histogram,
        v1::Kind::Unspecified => return Err(Refused::Kind { series: shown(&key.to_string()), kind: wire.kind }),
    };
    Ok(SeriesDef { key, kind })
}

// === batch ===

/// Makes one spool record: `frames` with their schemas. The position is given when it is sent.
/// Refused when it would be more than a batch may be, wherever it will stand: what is spooled can be delivered.
pub fn encode_record(frames: &[(&SchemaBytes, &[Pass])]) -> Result<Vec<u8>, Refused> {
    let frames = frames.iter().map(|(schema, passes)| frame_to_wire(schema, passes)).collect();
    let plain = v1::Batch { frames, ..v1::Batch::default() }.encode_to_vec();
    measure::check_batch(&plain)?;
    if plain.len() > BATCH_MAX_BYTES - POSITION_MAX_BYTES {
        return Err(Refused::TooLarge(plain.len() + POSITION_MAX_BYTES));
    }
    pack::compress(&plain)
}

/// The frames and gaps that lie compressed in a record, a row of the log or a packed batch.
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

fn gap_to_wire(gap: &Gap) -> v1::Gap {
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

    /// The batch as the aggregator's log keeps it: without its position and schemas, which have columns; compressed.
    pub fn to_log(&self) -> Result<Vec<u8>, Refused> {
        let v1::Batch { frames, gaps, .. } = &self.0;
        let bare = |frame: &v1::Frame| v1::Frame { schema: Bytes::new(), ..frame.clone() };
        let body = v1::Batch { frames: frames.iter().map(bare).collect(), gaps: gaps.clone(), ..v1::Batch::default() };
        let plain = body.encode_to_vec();
        // Times that were moved may have grown it; what is stored must be readable after a restart.
        measure::check_batch(&plain)?;
        pack::compress(&plain)
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
        Ok(Batch { position, frames, gaps })
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

// === helpers ===

/// The id of an agent. Nil is the aggregator's own, among its agents.
fn agent_id(bytes: &[u8]) -> Result<Uuid, Refused> {
    Uuid::from_slice(bytes).ok().filter(|id| !id.is_nil()).ok_or(Refused::AgentId(bytes.len()))
}

fn epoch(bytes: &[u8]) -> Result<u128, Refused> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| Refused::Epoch(bytes.len()))
}

fn epoch_bytes(epoch: u128) -> Bytes {
    Bytes::copy_from_slice(&epoch.to_be_bytes())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn identity(field: &'static str, text: String) -> Result<String, Refused> {
    let fits = (1..=IDENTITY_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(Refused::Identity { field }) }
}

#[cfg(test)]
mod tests;
