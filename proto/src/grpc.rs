//! The gRPC stubs of the agent's stream and of the services' door, in domain types: messages are encoded and decoded by
//! `convert`.

use crate::convert::{self, RawEvents};
use crate::event::Event;
use crate::message::{FromAgent, ToAgent};
use crate::refused::Refused;
use crate::report::{EventsAnswer, Unread};
use bytes::Buf;
use std::marker::PhantomData;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::once;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

mod stubs {
    #![allow(missing_docs, clippy::pedantic, unused_qualifications, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/atendeai.monitoring.v1.Ingest.rs"));
    include!(concat!(env!("OUT_DIR"), "/atendeai.monitoring.v1.Report.rs"));
}

pub use stubs::ingest_client::IngestClient;
pub use stubs::ingest_server::{Ingest, IngestServer};
pub use stubs::report_client::ReportClient;
pub use stubs::report_server::{Report, ReportServer};

impl ReportClient<Channel> {
    /// Hands events in; they are in the agent's spool when it answers. After an error, send them again: the key tells.
    pub async fn report(&mut self, events: &[Event]) -> Result<EventsAnswer, Status> {
        let request = once(RawEvents::new(events));
        Ok(self.report_events(request).await?.into_inner())
    }
}

/// What each direction of a stream keeps in memory for as long as it stands; both grow with a message. An ack is 30 bytes,
/// and thousands of streams are mostly idle: tonic's own 8 KiB would be a quarter of all that one costs.
const BUFFER_BYTES: usize = 1024;
/// Bytes that are gathered before they are handed on, as tonic has it.
const YIELD_BYTES: usize = 32 * 1024;

/// What an agent says next; `None` at the end of the stream. A message above the transport's limit is one that cannot be
/// read, and the last one.
pub async fn hear(inbound: &mut Streaming<FromAgent>) -> Option<Result<FromAgent, Status>> {
    let heard = inbound.message().await.transpose()?;
    Some(match heard {
        // tonic's code for this and nothing else that ends a stream of ours.
        Err(status) if status.code() == Code::OutOfRange => {
            Ok(FromAgent::Unreadable { position: None, why: Refused::MessageTooLarge(status.message().into()) })
        }
        heard => heard,
    })
}

/// The stream's codec: encodes `E`, decodes `D`.
#[derive(Debug)]
pub struct Codec<E, D>(PhantomData<(E, D)>);

/// One direction of [`Codec`].
#[derive(Debug)]
pub struct Direction<T>(PhantomData<T>);

/// A message that can cross the stream.
pub trait WireMessage: Send + Sized + 'static {
    /// Appends the encoded message.
    fn encode(self, buffer: &mut EncodeBuf<'_>);
    /// Reads one message.
    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status>;
}

impl WireMessage for FromAgent {
    fn encode(self, buffer: &mut EncodeBuf<'_>) {
        convert::encode_from_agent(self, buffer);
    }

    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        Ok(convert::decode_from_agent(buffer))
    }
}

impl WireMessage for ToAgent {
    fn encode(self, buffer: &mut EncodeBuf<'_>) {
        convert::encode_to_agent(self, buffer);
    }

    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        convert::decode_to_agent(buffer).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

impl WireMessage for RawEvents {
    fn encode(self, buffer: &mut EncodeBuf<'_>) {
        convert::encode_raw_events(self, buffer);
    }

    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        Ok(convert::decode_raw_events(buffer))
    }
}

impl WireMessage for EventsAnswer {
    fn encode(self, buffer: &mut EncodeBuf<'_>) {
        convert::encode_events_answer(self, buffer);
    }

    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        convert::decode_events_answer(buffer).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

impl WireMessage for Unread {
    fn encode(self, _: &mut EncodeBuf<'_>) {}

    fn decode(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        buffer.advance(buffer.remaining());
        Ok(Self)
    }
}

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: WireMessage, D: WireMessage> tonic::codec::Codec for Codec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Direction<E>;
    type Decoder = Direction<D>;

    fn encoder(&mut self) -> Self::Encoder {
        Direction(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Direction(PhantomData)
    }
}

impl<E: WireMessage> Encoder for Direction<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

impl<D: WireMessage> Decoder for Direction<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(buffer).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}
