//! One stream: hello, welcome, then batches out and outcomes in.

use super::clock_watch::ClockWatch;
use super::{SessionError, Uplink};
use crate::keep::{Item, Outcome};
use proto::convert::{RawBatch, RawHello};
use proto::grpc::IngestClient;
use proto::limits::MESSAGE_MAX_BYTES;
use proto::message::{FromAgent, Hello, Position, RefusalReason, ToAgent};
use proto::sample::{Gap, SchemaId};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the aggregator may take to answer a hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed after these two: a ping this often, an answer within that.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a draining session looks whether everything is delivered.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long a draining session waits for acks; what is left stays in the spool.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Messages between us and the transport; the window bounds them already.
const OUTBOUND: usize = 4;

/// One stream.
pub struct Session<'a> {
    uplink: &'a Uplink,
    /// Schemas that this stream has carried.
    known: HashSet<SchemaId>,
    clock: ClockWatch,
}

/// Connects to `url`.
pub async fn connect(url: &str) -> Result<Channel, SessionError> {
    let failed = |source| SessionError::Connect { url: url.into(), source };
    Endpoint::from_shared(url.to_string())
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(failed)
}

impl<'a> Session<'a> {
    /// A session of `uplink`, not yet connected.
    pub fn new(uplink: &'a Uplink) -> Self {
        let clock = ClockWatch::new(uplink.clock.wall(), uplink.clock.monotonic());
        Self { uplink, known: HashSet::new(), clock }
    }

    /// Runs until the stream fails, or until `stop` and everything is delivered.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        let connecting = connect(&self.uplink.url);
        let channel = tokio::select! {
            channel = connecting => channel?,
            () = stop.cancelled() => return Ok(()),
        };
        let (out, outbound) = mpsc::channel(OUTBOUND);
        let mut inbound = self.open(channel, &out, outbound).await?;
        self.uplink.show(true);
        self.uplink.meters.connects.inc();
        tracing::info!(aggregator = self.uplink.url, "stream to the aggregator stands");

        let mut items = self.uplink.door.open_session();
        loop {
            tokio::select! {
                message = inbound.next() => self.hear(message)?,
                item = items.recv() => match item {
                    Some(item) => self.send(item, &out).await?,
                    // The keeper ended, or gave the session up: nothing more will come.
                    None => return Err(SessionError::Broken("the spool's keeper gave the session up".into())),
                },
                () = stop.cancelled() => break,
            }
        }
        self.drain(&mut items, &mut inbound, &out).await
    }

    /// Says hello and waits for the welcome.
    async fn open(
        &mut self,
        channel: Channel,
        out: &mpsc::Sender<FromAgent>,
        outbound: mpsc::Receiver<FromAgent>,
    ) -> Result<Streaming<ToAgent>, SessionError> {
        let clock = &self.uplink.clock;
        let hello = Hello { wall: clock.wall(), monotonic: clock.monotonic(), ..self.uplink.hello.clone() };
        self.clock = ClockWatch::new(hello.wall, hello.monotonic);
        post(out, FromAgent::Hello(RawHello::new(hello))).await?;
        let mut client = IngestClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES);
        let silent = |_| SessionError::Silent { what: "a hello", limit: WELCOME_TIMEOUT };
        let opening = client.stream(ReceiverStream::new(outbound));
        let response = timeout(WELCOME_TIMEOUT, opening).await.map_err(silent)?.map_err(broken)?;
        let mut inbound = response.into_inner();
        match timeout(WELCOME_TIMEOUT, inbound.next()).await.map_err(silent)? {
            Some(Ok(ToAgent::Welcome)) => Ok(inbound),
            Some(Ok(ToAgent::Refusal(refusal))) => {
                Err(SessionError::Refused { message: refusal.message, retry_after: refusal.retry_after })
            }
            Some(Ok(_)) => Err(SessionError::Broken("the aggregator answered a hello with something else".into())),
            Some(Err(status)) => Err(broken(status)),
            None => Err(SessionError::Closed),
        }
    }

    async fn send(&mut self, item: Item, out: &mpsc::Sender<FromAgent>) -> Result<(), SessionError> {
        let batch = match item {
            Item::Gap(gap) => RawBatch::for_gap(&gap),
            Item::Record { position, bytes } => match RawBatch::from_record(&bytes, position) {
                Ok(mut batch) => {
                    batch.strip(&mut self.known);
                    batch
                }
                Err(error) => {
                    // The spool's checksum held, so a program of another version wrote it.
                    self.refused(position, error.to_string());
                    RawBatch::for_gap(&gap_of_refused(position))
                }
            },
        };
        self.tell_clock(out).await?;
        post(out, FromAgent::Batch(batch)).await?;
        self.uplink.meters.sent.inc();
        Ok(())
    }

    /// Says what our wall clock shows where that is due: before a batch, so that its times are understood.
    async fn tell_clock(&mut self, out: &mpsc::Sender<FromAgent>) -> Result<(), SessionError> {
        let clock = &self.uplink.clock;
        let Some((reading, moved_ms)) = self.clock.due(clock.wall(), clock.monotonic()) else { return Ok(()) };
        if reading.was_set {
            self.uplink.meters.clock_steps.inc();
            tracing::warn!(moved_ms, "the wall clock was set, or the machine slept; the aggregator is told");
        }
        post(out, FromAgent::Clock(reading)).await
    }

    fn hear(&self, message: Option<Result<ToAgent, Status>>) -> Result<(), SessionError> {
        match message {
            Some(Ok(ToAgent::Ack(position))) => {
                self.uplink.meters.acked.inc();
                self.uplink.door.heard(Outcome::Acked(position));
                Ok(())
            }
            Some(Ok(ToAgent::Refusal(refusal))) => match (refusal.reason, refusal.position) {
                (RefusalReason::InvalidBatch, Some(position)) => {
                    self.refused(position, refusal.message);
                    // The aggregator has stored a gap in its place: this stands for everything before it, as an ack.
                    self.uplink.door.heard(Outcome::Acked(position));
                    Ok(())
                }
                (RefusalReason::UnknownSchema, _) => Err(SessionError::Broken(refusal.message)),
                _ => Err(SessionError::Refused { message: refusal.message, retry_after: refusal.retry_after }),
            },
            Some(Ok(ToAgent::Welcome | ToAgent::Unknown)) => Ok(()),
            Some(Err(status)) => Err(broken(status)),
            None => Err(SessionError::Closed),
        }
    }

    fn refused(&self, position: Position, why: String) {
        self.uplink.meters.refused.inc();
        self.uplink.door.heard(Outcome::Refused(position, why));
    }

    /// Delivers what is left within [`DRAIN_MAX`], then says goodbye.
    async fn drain(
        mut self,
        items: &mut mpsc::Receiver<Item>,
        inbound: &mut Streaming<ToAgent>,
        out: &mpsc::Sender<FromAgent>,
    ) -> Result<(), SessionError> {
        let delivered = async {
            while self.uplink.door.waiting() > 0 {
                tokio::select! {
                    message = inbound.next() => self.hear(message)?,
                    item = items.recv() => match item {
                        Some(item) => self.send(item, out).await?,
                        None => return Ok(()),
                    },
                    () = tokio::time::sleep(DRAIN_LOOK) => {}
                }
            }
            Ok(())
        };
        match timeout(DRAIN_MAX, delivered).await {
            Ok(delivered) => delivered?,
            Err(_) => {
                tracing::warn!(
                    waiting = self.uplink.door.waiting(),
                    "not everything was delivered; the spool keeps it"
                );
            }
        }
        post(out, FromAgent::Goodbye { reason: "shutdown".into() }).await?;
        // The aggregator closes its side once it has noted the goodbye.
        let closed = async { while let Some(Ok(_)) = inbound.next().await {} };
        let _ = timeout(DRAIN_MAX, closed).await;
        Ok(())
    }
}

async fn post(out: &mpsc::Sender<FromAgent>, message: FromAgent) -> Result<(), SessionError> {
    out.send(message).await.map_err(|_| SessionError::Broken("the transport is gone".into()))
}

/// What is sent in the place of a batch that we refuse ourselves.
fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: spool::Reason::Refused.as_str().into() }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn broken(status: Status) -> SessionError {
    SessionError::Broken(format!("{:?}: {}", status.code(), status.message()))
}
