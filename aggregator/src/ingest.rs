//! Ingest: the agents' streams. Admit, store, show, ack, in this order and never in another.
//!
//! ```text
//!  stream ─► admit ─► writer (group commit) ─► head ─► Ack
//!               └─► a gap in its place ─► writer ─► Refusal    answers leave in the order in which the batches came
//! ```
//! A batch that will never be taken leaves a gap, committed before the agent hears of the refusal: a refusal with a
//! position is as good as an ack of it, whenever the stream breaks.
//!
//! A newer stream of the same agent ends the older.
//!
//! An agent is present while its stream stands, also when it waits for us; after that what is still under way of it is
//! stored and shown, and says nothing of how the agent is.
//!
//! `stream` serves one after its hello; this file lets it in and sees it off.
//!
//! Limits: [`STREAMS_MAX`], [`lines::LINES_MAX`], [`accept::CONNECTIONS_MAX`], [`arrivals::RATE`], [`HELLO_TIMEOUT`], the transport's message size.

pub mod accept;
pub mod admit;
pub mod arrivals;
pub mod gate;
pub mod lines;
pub mod missing;
mod refusal;
pub mod server;
mod stream;
mod streams;
mod underway;
pub mod watch;
pub mod writer;

pub use gate::Gate;
pub use refusal::Porter;
pub use streams::{STREAMS_MAX, Streams};

use crate::live::{Live, State};
use crate::meters::IngestMeters;
use crate::store::Store;
use lines::{Lines, LogLine};
use proto::grpc::{Ingest, hear};
use proto::limits::WINDOW_BATCHES;
use proto::message::{FromAgent, Hello, Refusal, RefusalReason, ToAgent, Welcome};
use proto::refused::Refused;
use proto::sample::Timestamp;
use refusal::{Away, cloned, refusal, tell};
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::drain::Phase;
use runtime::log::chain;
use std::sync::Arc;
use std::time::Duration;
use stream::{End, Stream};
use streams::{Place, Who};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

/// How long a stream may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers between us and the transport: a window of them, and a refusal at the end.
const OUTBOUND: usize = 2 * WINDOW_BATCHES;

/// A sign that an agent's spool was set back (a snapshot that was restored) or copied.
#[derive(Clone, Copy)]
enum Conflict<'a> {
    /// It has given out less than is stored.
    Rewound,
    /// Another batch is stored in the place of one of its.
    PositionTaken,
    /// An older epoch goes on after a newer one began.
    EpochBack,
    /// It takes turns with another program.
    Cloned {
        /// The one whose stream stands.
        other: &'a Who,
    },
}

/// The gRPC service, and what every stream shares.
#[derive(Clone)]
pub struct IngestService {
    /// Agents and head.
    pub live: Arc<Live>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The writer's door.
    pub writer: writer::Door,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub meters: IngestMeters,
    /// The phase that streams belong to.
    pub phase: Phase,
    /// The open streams.
    pub streams: Arc<Streams>,
    /// The services whose losses are counted by name.
    pub services: missing::Services,
    /// Admits arrivals and sends agents away.
    pub porter: Porter,
    /// How much of it is logged.
    pub lines: Lines,
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type StreamStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn stream(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::StreamStream>, Status> {
        let (out, outbound) = mpsc::channel(OUTBOUND);
        let in_use = request.extensions().get::<watch::Uses>().map(watch::Uses::begin);
        let (service, inbound) = (self.clone(), request.into_inner());
        let stop = self.phase.token();
        self.phase.spawn_transient(async move {
            service.serve(inbound, out, stop).await;
            drop(in_use);
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

impl IngestService {
    async fn serve(
        self,
        mut inbound: Streaming<FromAgent>,
        out: mpsc::Sender<Result<ToAgent, Status>>,
        stop: CancellationToken,
    ) {
        let (_room, hello) = match self.welcome(&mut inbound, &stop).await {
            Ok(welcomed) => welcomed,
            Err(None) => return,
            Err(Some(refusal)) => {
                tell(&out, refusal);
                return;
            }
        };
        // Before the hello is noted, so that the goodbye of an older stream cannot come after it.
        let place = match self.streams.claim(&hello, &stop) {
            Ok(place) => place,
            Err(other) => {
                self.note_conflict(Conflict::Cloned { other: &other }, &Who::of(&hello), hello.agent_id);
                tell(&out, cloned(&other));
                return;
            }
        };
        match self.note_hello(&hello).await {
            Ok(welcome) => self.run(&place, welcome, &mut inbound, &out).await,
            Err(refusal) => tell(&out, refusal),
        }
        self.streams.while_newest(&place, || self.live.disconnected(place.agent_id));
        self.streams.forget(&place);
    }

    /// Room and a hello; `Err(None)` when there is nobody to tell.
    async fn welcome(
        &self,
        inbound: &mut Streaming<FromAgent>,
        stop: &CancellationToken,
    ) -> Result<(OwnedSemaphorePermit, Hello), Option<Refusal>> {
        let Some(room) = self.streams.room() else {
            return Err(Some(self.porter.send_away(Away::TooManyStreams)));
        };
        let hello = tokio::select! {
            hello = self.hear_hello(inbound) => hello?,
            () = stop.cancelled() => return Err(Some(self.porter.send_away(Away::StreamEnds))),
        };
        self.porter.admit()?;
        Ok((room, hello))
    }

    async fn run(
        &self,
        place: &Place,
        welcome: Welcome,
        inbound: &mut Streaming<FromAgent>,
        out: &mpsc::Sender<Result<ToAgent, Status>>,
    ) {
        let end = Stream::new(self, place, out).run(welcome, inbound).await;
        self.streams.left(place);
        match end {
            End::Gone | End::Told => {
                if self.lines.has_room(LogLine::Ended) {
                    tracing::info!(agent = %place.agent_id, "stream ended");
                }
            }
            End::Goodbye => self.keep_goodbye(place).await,
            End::Wrong(refusal) => tell(out, refusal),
            // Here alone, so that an agent takes one turn however many of its batches were not taken.
            End::Away(why) => tell(out, self.porter.send_away(why)),
        }
    }

    /// The first message, checked; `Err(None)` when there is nobody to tell.
    async fn hear_hello(&self, inbound: &mut Streaming<FromAgent>) -> Result<Hello, Option<Refusal>> {
        let first = timeout(HELLO_TIMEOUT, hear(inbound)).await;
        let raw = match first {
            Ok(Some(Ok(FromAgent::Hello(raw)))) => raw,
            Ok(Some(Ok(FromAgent::Unreadable { why, .. }))) => return Err(Some(self.turn_away(&why))),
            Ok(None | Some(Err(_))) => return Err(None),
            Ok(Some(Ok(_))) | Err(_) => {
                self.meters.refused.with_label_values(&["no_hello"]).inc();
                return Err(Some(refusal(RefusalReason::UnacceptableAgent, None, "a stream must begin with a hello")));
            }
        };
        raw.check().map_err(|why| Some(self.turn_away(&why)))
    }

    /// What an agent is told whose stream ends because of something that it said.
    fn turn_away(&self, why: &Refused) -> Refusal {
        self.meters.refused.with_label_values(&[why.reason()]).inc();
        if self.lines.has_room(LogLine::AgentRefused) {
            tracing::warn!(error = chain(why), "agent refused");
        }
        refusal(RefusalReason::UnacceptableAgent, None, &why.to_string())
    }

    async fn note_hello(&self, hello: &Hello) -> Result<Welcome, Refusal> {
        if !self.live.make_room_for(hello.agent_id) {
            return Err(self.porter.send_away(Away::TooManyAgents));
        }
        let row = self.live.hello(hello);
        let noted = async {
            self.store.save_agent(&row).await?;
            self.store.stored_seq(hello.agent_id, hello.last.epoch).await
        };
        let stored_seq = noted.await.map_err(|error| {
            if self.lines.has_room(LogLine::NotNoted) {
                tracing::warn!(error = chain(&error), agent = %hello.agent_id, "agent not noted; it shall come back");
            }
            self.porter.send_away(Away::NoDatabase)
        })?;
        missing::begin(&self.meters, &self.services, &hello.service);
        if self.lines.has_room(LogLine::Connected) {
            tracing::info!(agent = %hello.agent_id, service = hello.service, instance = hello.instance, "agent connected");
        }
        if stored_seq > hello.last.seq {
            self.note_conflict(Conflict::Rewound, &Who::of(hello), hello.agent_id);
        }
        Ok(Welcome { stored_seq })
    }

    /// Counts and names a sign that an agent is not who it seems.
    fn note_conflict(&self, conflict: Conflict<'_>, who: &Who, agent_id: Uuid) {
        let (service, instance) = (&who.service, &who.instance);
        let (kind, other) = match conflict {
            Conflict::Rewound => ("rewound", None),
            Conflict::PositionTaken => ("position_taken", None),
            Conflict::EpochBack => ("epoch_back", None),
            Conflict::Cloned { other } => ("cloned", Some(other)),
        };
        self.meters.conflicts.with_label_values(&[kind]).inc();
        let (other_service, other_instance) = (other.map(|who| &who.service), other.map(|who| &who.instance));
        if self.lines.has_room(LogLine::Conflict) {
            tracing::warn!(
                agent = %agent_id, service, instance, other_service, other_instance, kind,
                "an agent's spool was set back or copied"
            );
        }
    }

    /// Notes a goodbye at once: the agent will not be missed while its last batches wait for the database.
    fn note_goodbye(&self, place: &Place) {
        let noted = self.streams.while_newest(place, || self.live.goodbye(place.agent_id));
        if self.lines.has_room(LogLine::Goodbye) {
            tracing::info!(agent = %place.agent_id, is_back = !noted, "agent said goodbye");
        }
    }

    /// Writes a goodbye down, however long it takes, unless the agent comes back.
    async fn keep_goodbye(&self, place: &Place) {
        let agent_id = place.agent_id;
        let mut backoff = Backoff::default();
        while let Some(stopped_at) = self.stopped_at(place) {
            let Err(error) = self.store.stop_agent(agent_id, stopped_at).await else { break };
            if self.lines.has_room(LogLine::NotNoted) {
                tracing::warn!(error = chain(&error), agent = %agent_id, "goodbye not stored yet");
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay(None)) => {}
                () = place.stop.cancelled() => {
                    tracing::warn!(agent = %agent_id, "goodbye not stored; after a restart the agent counts as silent");
                    return;
                }
            }
        }
        // It may have come back while the database noted that it was gone.
        let back = self.live.agent(agent_id).filter(|agent| agent.state != State::Stopped);
        if let Some(Err(error)) = async { Some(self.store.save_agent(&back?.row).await) }.await {
            tracing::warn!(error = chain(&error), agent = %agent_id, "return not noted; after a restart the agent counts as stopped");
        }
    }

    /// When the agent of this stream said goodbye; `None` where it is back.
    fn stopped_at(&self, place: &Place) -> Option<Timestamp> {
        let mut stopped_at = None;
        self.streams.while_newest(place, || {
            stopped_at = self.live.agent(place.agent_id).and_then(|agent| agent.row.stopped_at);
        });
        stopped_at
    }
}

#[cfg(test)]
pub(crate) mod tests;
