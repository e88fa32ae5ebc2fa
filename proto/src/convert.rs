//! Wire ⇄ domain: the only room that sees generated protobuf types. Every refusal is typed. Here are the stream's messages;
//! `convert/batch.rs` has the batch, `convert/schema.rs` the lists of series, `convert/report.rs` what services hand in.
//!
//! Three forms of a batch, all the same protobuf message:
//! - *in the spool*: zstd over a batch whose frames all carry their schema, so that each record stands alone;
//! - *on the wire*: a frame carries its schema only until the stream knows it ([`RawBatch::strip`]); packed by zstd;
//! - *in the aggregator's log*: zstd over a batch without schemas, which stand in a table of their own.
//!
//! Sizes and numbers of parts are checked before anything is built by them: `measure` counts the parts where they lie,
//! `pack` bounds what is unpacked. What an agent says is always a message: [`FromAgent::Unreadable`] where it cannot be
//! read, with the position where that can be, so that a damaged batch costs itself and not the stream.

#[allow(missing_docs, dead_code, clippy::pedantic, reason = "generated; request timings are served later")]
mod v1 {
    include!(concat!(env!("OUT_DIR"), "/atendeai.monitoring.v1.rs"));
}

mod batch;
mod measure;
mod pack;
mod report;
mod schema;

pub use batch::{Content, RawBatch, encode_events, encode_record};
pub use report::{
    RawEvents, ReportedEvents, decode_events_answer, decode_raw_events, encode_events_answer, encode_raw_events,
};
pub use schema::SchemaBytes;

use crate::limits::{IDENTITY_MAX_BYTES, INTERVAL_MAX, REFUSAL_MAX_CHARS};
use crate::message::{
    ClockReading, FromAgent, Hello, PROTOCOL_VERSION, Position, Refusal, RefusalReason, ToAgent, Welcome,
};
use crate::refused::Refused;
use crate::sample::Timestamp;
use batch::{pack_for_wire, unpack_from_wire};
use bytes::{Buf, BufMut, Bytes};
use measure::undecodable;
use prost::Message;
use std::time::Duration;
use uuid::Uuid;

/// A `Hello` as it came: not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct RawHello(v1::Hello);

// === messages ===

/// Encodes what an agent says.
pub fn encode_from_agent(message: FromAgent, buffer: &mut impl BufMut) {
    use v1::agent_message::Kind as K;
    let kind = match message {
        FromAgent::Hello(RawHello(hello)) => Some(K::Hello(hello)),
        FromAgent::Batch(batch) => Some(K::Batch(pack_for_wire(batch))),
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
        Some(K::Batch(batch)) => FromAgent::Batch(unpack_from_wire(batch)?),
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
        ToAgent::Welcome(Welcome { stored_seq }) => {
            Some(K::Welcome(v1::Welcome { protocol_version: PROTOCOL_VERSION, stored_seq }))
        }
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
        Some(K::Welcome(welcome)) => ToAgent::Welcome(Welcome { stored_seq: welcome.stored_seq }),
        Some(K::Ack(ack)) => ToAgent::Ack(Position { epoch: epoch(&ack.epoch)?, seq: ack.seq }),
        Some(K::Refusal(refusal)) => ToAgent::Refusal(refusal_from_wire(refusal)?),
        None => ToAgent::Unknown,
    })
}

fn refusal_to_wire(refusal: Refusal) -> v1::Refusal {
    use v1::refusal::Reason;
    let reason = match refusal.reason {
        RefusalReason::InvalidBatch => Reason::InvalidBatch,
        RefusalReason::UnacceptableAgent => Reason::UnacceptableAgent,
        RefusalReason::UnknownSchema => Reason::UnknownSchema,
        RefusalReason::Unavailable => Reason::Unavailable,
        RefusalReason::PositionTaken => Reason::PositionTaken,
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
        Reason::PositionTaken => RefusalReason::PositionTaken,
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
            run_id: Bytes::copy_from_slice(hello.run_id.as_bytes()),
            epoch: epoch_bytes(hello.last.epoch),
            last_seq: hello.last.seq,
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
            run_id: Uuid::from_slice(&raw.run_id).map_err(|_| Refused::RunId(raw.run_id.len()))?,
            last: Position { epoch: epoch(&raw.epoch)?, seq: raw.last_seq },
        })
    }
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
