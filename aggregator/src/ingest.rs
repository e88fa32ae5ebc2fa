//! Ingest: the agents' streams. Admit, store, show, ack, in this order and never in another.
//!
//! ```text
//!  stream ─► admit ─► writer (group commit) ─► head ─► Ack
//!               └─► a gap in its place ─► writer ─► Refusal    answers leave in the order in which the batches came
//! ```
//! A batch that will never be taken leaves a gap, committed before the agent hears of the refusal: a refusal with a
//! position is as good as an ack of it, whenever the stream breaks.
//!
//! A stream may have a window of batches under way. What is stored is shown, also when its agent is gone meanwhile: the
//! head has what the log has. A newer stream of the same agent ends the older. After a batch that shall come again (its
//! schema is unknown, the database did not take it) the stream takes no other: an ack stands for everything before it.
//!
//! An agent is present while its stream stands, also when it waits for us; after that what is still under way of it is
//! stored and shown, and says nothing of how the agent is.
//!
//! Limits: [`STREAMS_MAX`], [`accept::CONNECTIONS_MAX`], [`HELLO_TIMEOUT`], [`SAY_MAX`], `WINDOW_BATCHES`, the
//! transport's message size.

pub mod accept;
pub mod admit;
pub mod gate;
pub mod missing;
mod refusal;
pub mod server;
mod streams;
pub mod writer;

pub use gate::Gate;
pub use streams::{STREAMS_MAX, Streams};

use crate::live::{Live, State};
use crate::meters::IngestMeters;
use crate::store::{BatchRow, Store, Stored};
use admit::{Admission, Admitted};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use proto::convert::RawBatch;
use proto::grpc::{Ingest, hear};
use proto::limits::WINDOW_BATCHES;
use proto::message::{Batch, FromAgent, Hello, Position, Refusal, RefusalReason, ToAgent, Welcome};
use proto::refused::Refused;
use proto::sample::Timestamp;
use refusal::{refusal, send_away, unavailable};
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::drain::Phase;
use runtime::log::chain;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use streams::Place;
use tokio::sync::{OwnedSemaphorePermit, mpsc, mpsc::error::TrySendError, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use writer::Committed;

/// How long a stream may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What an agent hears when its stream ends and nothing is wrong with it.
const ENDING: &str = "this stream ends; come back";
/// How often an agent is noted as present while it waits for us: four times in the shortest silence.
const PRESENT: Duration = Duration::from_millis(250);
/// Answers between us and the transport: a window of them, and a refusal at the end.
const OUTBOUND: usize = 2 * WINDOW_BATCHES;
/// How long an agent may leave its answers unread before its stream is given up.
const SAY_MAX: Duration = Duration::from_secs(30);

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
}

/// What became of a batch, in the order of their arrival.
enum Answer {
    /// It is durable; the head gets it, then the agent its ack.
    Stored { batch: Batch, committed: Committed, explained: u64 },
    /// It will not be taken. If never, the gap in its place is durable.
    Refused { position: Option<Position>, why: Refused, gap: Option<(Batch, Committed)> },
    /// The writer ended or the database will not take it: the stream ends, the agent keeps the batch.
    Lost,
}

type Owed = Pin<Box<dyn Future<Output = Answer> + Send>>;

type Pending = FuturesOrdered<Owed>;

/// Whether the agent is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It is, as far as we know.
    Stands,
    /// It said goodbye, or is gone, or is told to go.
    Ended,
}

/// Why a stream ended.
enum End {
    /// The agent closed it, or it broke.
    Gone,
    /// The agent said goodbye.
    Goodbye,
    /// It was told what is wrong, and shall begin anew.
    Told,
    /// We end: the agent shall come back.
    Ours(Refusal),
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type StreamStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn stream(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::StreamStream>, Status> {
        let (out, outbound) = mpsc::channel(OUTBOUND);
        let (service, inbound) = (self.clone(), request.into_inner());
        let stop = self.phase.token();
        self.phase.spawn_transient(async move { service.serve(inbound, out, stop).await });
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
                send_away(&out, refusal);
                return;
            }
        };
        // Before the hello is noted, so that the goodbye of an older stream cannot come after it.
        let place = self.streams.claim(hello.agent_id, &stop);
        match self.note_hello(&hello).await {
            Ok(()) => self.run(&place, &mut inbound, &out).await,
            Err(refusal) => send_away(&out, refusal),
        }
        self.streams.forget(&place);
    }

    /// Room and a hello; `Err(None)` when there is nobody to tell.
    async fn welcome(
        &self,
        inbound: &mut Streaming<FromAgent>,
        stop: &CancellationToken,
    ) -> Result<(OwnedSemaphorePermit, Hello), Option<Refusal>> {
        let Some(room) = self.streams.room() else {
            self.meters.refused.with_label_values(&["too_many_streams"]).inc();
            return Err(Some(unavailable("this aggregator serves as many agents as it may")));
        };
        tokio::select! {
            hello = self.hear_hello(inbound) => Ok((room, hello?)),
            () = stop.cancelled() => Err(Some(unavailable(ENDING))),
        }
    }

    async fn run(
        &self,
        place: &Place,
        inbound: &mut Streaming<FromAgent>,
        out: &mpsc::Sender<Result<ToAgent, Status>>,
    ) {
        let stream = Stream { service: self, place, writer: self.writer.lane(), out };
        match stream.run(inbound).await {
            End::Gone | End::Told => tracing::info!(agent = %place.agent_id, "stream ended"),
            End::Goodbye => self.keep_goodbye(place).await,
            End::Ours(refusal) => send_away(out, refusal),
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
        tracing::warn!(error = chain(why), "agent refused");
        refusal(RefusalReason::UnacceptableAgent, None, &why.to_string())
    }

    async fn note_hello(&self, hello: &Hello) -> Result<(), Refusal> {
        if !self.live.make_room_for(hello.agent_id) {
            self.meters.refused.with_label_values(&["too_many_agents"]).inc();
            return Err(unavailable("this aggregator knows as many agents as it may"));
        }
        let row = self.live.hello(hello);
        if let Err(error) = self.store.save_agent(&row).await {
            tracing::warn!(error = chain(&error), agent = %hello.agent_id, "agent not noted; it shall come back");
            return Err(unavailable("the database does not answer"));
        }
        tracing::info!(agent = %hello.agent_id, service = hello.service, instance = hello.instance, "agent connected");
        Ok(())
    }

    /// Notes a goodbye at once: the agent will not be missed while its last batches wait for the database.
    fn note_goodbye(&self, place: &Place) {
        let noted = self.streams.while_newest(place, || self.live.goodbye(place.agent_id));
        tracing::info!(agent = %place.agent_id, is_back = !noted, "agent said goodbye");
    }

    /// Writes a goodbye down, however long it takes, unless the agent comes back.
    async fn keep_goodbye(&self, place: &Place) {
        let agent_id = place.agent_id;
        let mut backoff = Backoff::default();
        while let Some(stopped_at) = self.stopped_at(place) {
            let Err(error) = self.store.stop_agent(agent_id, stopped_at).await else { break };
            tracing::warn!(error = chain(&error), agent = %agent_id, "goodbye not stored yet");
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

/// One stream after its hello.
struct Stream<'a> {
    service: &'a IngestService,
    place: &'a Place,
    writer: writer::Lane,
    out: &'a mpsc::Sender<Result<ToAgent, Status>>,
}

impl Stream<'_> {
    async fn run(&self, inbound: &mut Streaming<FromAgent>) -> End {
        if self.out.send(Ok(ToAgent::Welcome(Welcome::default()))).await.is_err() {
            return End::Gone;
        }
        self.service.meters.streams.inc();
        let mut admission = Admission::new(self.place.agent_id, self.service.clock.monotonic());
        let mut pending = Pending::new();
        let mut end = None;
        let mut mute = false;
        while end.is_none() || !pending.is_empty() {
            let line = if end.is_none() { Line::Stands } else { Line::Ended };
            let reading = line == Line::Stands && pending.len() < WINDOW_BATCHES;
            tokio::select! {
                Some(answer) = self.attend(pending.next(), line), if !pending.is_empty() => {
                    let answer = self.take(answer, &mut admission, line);
                    if !mute && let Err(why) = self.say(answer).await {
                        mute = true;
                        end.get_or_insert(why);
                    }
                }
                message = hear(inbound), if reading => match message {
                    Some(Ok(FromAgent::Batch(raw))) => match self.admit(&mut admission, raw).await {
                        Ok((answer, last)) => {
                            pending.push_back(answer);
                            end = last;
                        }
                        Err(why) => end = Some(why),
                    },
                    Some(Ok(FromAgent::Clock(reading))) => {
                        self.service.live.hear_clock(self.place.agent_id, reading);
                    }
                    Some(Ok(FromAgent::Goodbye { .. })) => {
                        self.service.note_goodbye(self.place);
                        end = Some(End::Goodbye);
                    }
                    Some(Ok(FromAgent::Unknown)) => {}
                    Some(Ok(FromAgent::Unreadable { position: Some(position), why })) => {
                        match self.refuse_for_good(&mut admission, Some(position), why).await {
                            Ok(answer) => pending.push_back(answer),
                            Err(why) => end = Some(why),
                        }
                    }
                    Some(Ok(FromAgent::Unreadable { position: None, why })) => {
                        end = Some(End::Ours(self.service.turn_away(&why)));
                    }
                    Some(Ok(FromAgent::Hello(_))) => {
                        self.service.meters.refused.with_label_values(&["second_hello"]).inc();
                        end = Some(End::Ours(refusal(RefusalReason::UnacceptableAgent, None, "hello was said already")));
                    }
                    Some(Err(status)) => {
                        tracing::debug!(agent = %self.place.agent_id, %status, "stream broke");
                        end = Some(End::Gone);
                    }
                    None => end = Some(End::Gone),
                },
                // The only sign of its end while nothing is read, since a whole window waits for the database.
                () = self.out.closed(), if line == Line::Stands => end = Some(End::Gone),
                () = self.place.stop.cancelled(), if line == Line::Stands => end = Some(End::Ours(unavailable(ENDING))),
            }
            if line == Line::Stands && end.is_some() {
                self.service.meters.streams.dec();
            }
        }
        end.unwrap_or(End::Gone)
    }

    /// Waits for what we owe the agent, which is not silent while its stream stands: the database may be away.
    async fn attend<T>(&self, owed: impl Future<Output = T>, line: Line) -> T {
        let mut owed = pin!(owed);
        loop {
            tokio::select! {
                done = &mut owed => return done,
                () = tokio::time::sleep(PRESENT), if line == Line::Stands => {
                    self.service.live.waits(self.place.agent_id);
                }
            }
        }
    }

    /// Admits a batch and hands it to the writer. With the answer comes the end of the stream where the batch shall
    /// come again: one after it must not be stored before it.
    async fn admit(&self, admission: &mut Admission, raw: RawBatch) -> Result<(Owed, Option<End>), End> {
        let (wall, now) = (self.service.clock.wall(), self.service.clock.monotonic());
        self.service.live.seen(self.place.agent_id);
        let position = raw.position().ok();
        let ahead_ms = self.service.live.correction_ms(self.place.agent_id);
        let admitted = match admission.admit(raw, ahead_ms, wall, now) {
            Ok(admitted) => admitted,
            Err(why) if why.wire_reason() == RefusalReason::UnknownSchema => {
                return Ok((refused(position, why), Some(End::Told)));
            }
            Err(why) => return Ok((self.refuse_for_good(admission, position, why).await?, None)),
        };
        let Admitted { batch, row, restamped, explained } = admitted;
        if restamped > 0 {
            self.service.meters.restamped.inc_by(restamped as u64);
            tracing::warn!(agent = %self.place.agent_id, passes = restamped, "passes from the future; the agent's clock is ahead");
        }
        let stored = self.store(row).await?;
        let answer = async move {
            match stored.await {
                Ok(committed) => Answer::Stored { batch, committed, explained },
                Err(_) => Answer::Lost,
            }
        };
        Ok((Box::pin(answer), None))
    }

    /// Hands a row to the writer, which tells when it is committed.
    async fn store(&self, row: BatchRow) -> Result<oneshot::Receiver<Committed>, End> {
        let stored = tokio::select! {
            stored = self.attend(self.writer.store(row), Line::Stands) => stored,
            () = self.out.closed() => return Err(End::Gone),
            () = self.place.stop.cancelled() => None,
        };
        stored.ok_or_else(|| End::Ours(unavailable(ENDING)))
    }

    /// Hands a gap to the writer in the place of a batch, if it has one.
    async fn refuse_for_good(
        &self,
        admission: &mut Admission,
        position: Option<Position>,
        why: Refused,
    ) -> Result<Owed, End> {
        let (wall, now) = (self.service.clock.wall(), self.service.clock.monotonic());
        let gap = position.map(|position| RawBatch::for_gap(&missing::gap_of_refused(position)));
        let Some(Ok(Admitted { batch, row, .. })) = gap.map(|gap| admission.admit(gap, 0, wall, now)) else {
            return Ok(refused(position, why));
        };
        let stored = self.store(row).await?;
        Ok(Box::pin(async move {
            match stored.await {
                Ok(committed) => Answer::Refused { position, why, gap: Some((batch, committed)) },
                Err(_) => Answer::Lost,
            }
        }))
    }

    /// Shows and counts what became of a batch. Returns what the agent is told, or why the stream ends instead.
    fn take(&self, answer: Answer, admission: &mut Admission, line: Line) -> Result<ToAgent, End> {
        match answer {
            Answer::Stored { batch, committed, explained } => {
                if committed.stored == Stored::Replay {
                    admission.repeat_schemas();
                }
                self.show(&batch, committed, explained, line);
                Ok(ToAgent::Ack(batch.position))
            }
            Answer::Refused { position, why, gap } => {
                if let Some((gap, committed)) = gap {
                    self.note_missing(&gap, committed, 0);
                }
                Ok(self.refuse(position, &why))
            }
            Answer::Lost => Err(End::Ours(unavailable("the database did not take a batch; send it again"))),
        }
    }

    async fn say(&self, answer: Result<ToAgent, End>) -> Result<(), End> {
        let answer = match self.out.try_send(Ok(answer?)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(answer)) => answer,
            Err(TrySendError::Closed(_)) => return Err(End::Gone),
        };
        tokio::select! {
            sent = self.out.send(answer) => sent.map_err(|_| End::Gone),
            () = tokio::time::sleep(SAY_MAX) => Err(End::Gone),
            () = self.place.stop.cancelled() => Err(End::Gone),
        }
    }

    fn refuse(&self, position: Option<Position>, why: &Refused) -> ToAgent {
        let meters = &self.service.meters;
        meters.batches.with_label_values(&["refused"]).inc();
        meters.refused.with_label_values(&[why.reason()]).inc();
        tracing::warn!(agent = %self.place.agent_id, position = ?position.map(|p| p.seq), error = chain(why), "batch refused");
        ToAgent::Refusal(refusal(why.wire_reason(), position, &why.to_string()))
    }

    /// Gives a durable batch to the head and counts it.
    fn show(&self, batch: &Batch, committed: Committed, explained: u64, line: Line) {
        let (meters, live) = (&self.service.meters, &self.service.live);
        if !self.note_missing(batch, committed, explained) {
            meters.batches.with_label_values(&["replayed"]).inc();
            return;
        }
        meters.batches.with_label_values(&["stored"]).inc();
        let appended = match line {
            Line::Stands => live.append(self.place.agent_id, &batch.frames),
            Line::Ended => live.append_late(self.place.agent_id, &batch.frames),
        };
        meters.samples.inc_by(appended.kept as u64);
        for (reason, count) in [
            ("duplicate", appended.duplicate),
            ("too_old", appended.too_old),
            ("series_limit", appended.over_limit),
            ("not_a_number", appended.not_a_number),
        ] {
            if count > 0 {
                meters.dropped.with_label_values(&[reason]).inc_by(count as u64);
            }
        }
    }

    /// Notes a durable batch, and counts what it tells of what never came. Returns whether the batch is new.
    fn note_missing(&self, batch: &Batch, committed: Committed, explained: u64) -> bool {
        let skipped = match committed {
            Committed { stored: Stored::New { skipped }, .. } => Some(skipped),
            // Stored by a commit of ours whose answer was lost: the head does not have it.
            Committed { stored: Stored::Replay, unsure: true } => None,
            Committed { stored: Stored::Replay, unsure: false } => return false,
        };
        self.service.live.confirm(self.place.agent_id, batch.position);
        missing::count(&self.service.meters, self.place.agent_id, batch, skipped, explained);
        true
    }
}

fn refused(position: Option<Position>, why: Refused) -> Owed {
    Box::pin(std::future::ready(Answer::Refused { position, why, gap: None }))
}

#[cfg(test)]
pub(crate) mod tests;
