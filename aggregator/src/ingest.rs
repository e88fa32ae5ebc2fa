//! Ingest: the agents' streams. Admit, store, show, ack, in this order and never in another.
//!
//! ```text
//!  stream ─► admit ─► writer (group commit) ─► head ─► Ack
//!               └─► Refusal                    answers leave in the order in which the batches came
//! ```
//! A stream may have a window of batches under way. What is stored is shown, also when its agent is gone meanwhile: the
//! head has what the log has. A newer stream of the same agent ends the older: the agent has given that up, only the
//! network has not noticed. After a batch that shall come again (its schema is unknown, the database did not take it)
//! the stream takes no other: an ack stands for everything before it.
//!
//! Limits: [`STREAMS_MAX`], [`HELLO_TIMEOUT`], `WINDOW_BATCHES`, the transport's message size.

pub mod admit;
pub mod writer;

use crate::live::{Live, State};
use crate::meters::IngestMeters;
use crate::store::{Store, Stored};
use admit::{Admission, Admitted, lost_records};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use proto::convert::RawBatch;
use proto::grpc::Ingest;
use proto::limits::WINDOW_BATCHES;
use proto::message::{Batch, FromAgent, Hello, Position, Refusal, RefusalReason, ToAgent};
use proto::refused::Refused;
use runtime::clock::Clock;
use runtime::drain::Phase;
use runtime::log::chain;
use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;
use writer::Committed;

/// Streams at a time. One needs about 60 KiB.
pub const STREAMS_MAX: usize = 10_000;
/// How long a stream may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What an agent is told to wait when we cannot serve it now; it adds its own jitter.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// What an agent hears when its stream ends and nothing is wrong with it.
const ENDING: &str = "this stream ends; come back";
/// How often an agent is noted as present while it waits for us: four times in the shortest silence.
const PRESENT: Duration = Duration::from_millis(250);
/// Answers between us and the transport.
const OUTBOUND: usize = 64;

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

/// The open streams: room for so many, and the newest of each agent, to be cancelled when a newer one comes.
#[derive(Debug)]
pub struct Streams {
    room: Arc<Semaphore>,
    newest: Mutex<Newest>,
}

/// Which stream is an agent's newest. Locked for a lookup, and while a goodbye is noted.
#[derive(Debug, Default)]
struct Newest {
    by_agent: HashMap<Uuid, (u64, CancellationToken)>,
    next_number: u64,
}

/// A stream's place among those of its agent.
struct Place {
    agent_id: Uuid,
    number: u64,
    /// Ends with the phase, or when a newer stream comes.
    stop: CancellationToken,
}

/// What became of a batch, in the order of their arrival.
enum Answer {
    /// It is durable; the head gets it, then the agent its ack.
    Stored { batch: Batch, committed: Committed, explained: u64 },
    /// It will never be taken.
    Refused { position: Option<Position>, why: Refused },
    /// The writer ended or the database will not take it: the stream ends, the agent keeps the batch.
    Lost,
}

type Owed = Pin<Box<dyn Future<Output = Answer> + Send>>;

type Pending = FuturesOrdered<Owed>;

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
                let _ = out.send(Ok(ToAgent::Refusal(refusal))).await;
                return;
            }
        };
        // Before the hello is noted, so that the goodbye of an older stream cannot come after it.
        let place = self.streams.claim(hello.agent_id, &stop);
        match self.note_hello(&hello).await {
            Ok(()) => self.run(&place, &mut inbound, &out).await,
            Err(refusal) => drop(out.send(Ok(ToAgent::Refusal(refusal))).await),
        }
        self.streams.forget(&place);
    }

    /// Room and a hello; `Err(None)` when there is nobody to tell.
    async fn welcome(
        &self,
        inbound: &mut Streaming<FromAgent>,
        stop: &CancellationToken,
    ) -> Result<(OwnedSemaphorePermit, Hello), Option<Refusal>> {
        let Ok(room) = self.streams.room.clone().try_acquire_owned() else {
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
        let agent_id = place.agent_id;
        self.meters.streams.inc();
        let stream = Stream { service: self, agent_id, writer: self.writer.lane(), out, stop: &place.stop };
        let end = stream.run(inbound).await;
        self.meters.streams.dec();
        match end {
            End::Gone | End::Told => tracing::info!(agent = %agent_id, "stream ended"),
            End::Goodbye => self.note_goodbye(place).await,
            End::Ours(refusal) => drop(out.send(Ok(ToAgent::Refusal(refusal))).await),
        }
    }

    /// The first message, checked; `Err(None)` when there is nobody to tell.
    async fn hear_hello(&self, inbound: &mut Streaming<FromAgent>) -> Result<Hello, Option<Refusal>> {
        let first = timeout(HELLO_TIMEOUT, inbound.next()).await;
        let raw = match first {
            Ok(Some(Ok(FromAgent::Hello(raw)))) => raw,
            Ok(None | Some(Err(_))) => return Err(None),
            Ok(Some(Ok(_))) | Err(_) => {
                self.meters.refused.with_label_values(&["no_hello"]).inc();
                return Err(Some(refusal(RefusalReason::UnacceptableAgent, None, "a stream must begin with a hello")));
            }
        };
        raw.check().map_err(|error| {
            self.meters.refused.with_label_values(&[error.reason()]).inc();
            tracing::warn!(error = chain(&error), "agent refused");
            Some(refusal(error.wire_reason(), None, &error.to_string()))
        })
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

    async fn note_goodbye(&self, place: &Place) {
        let agent_id = place.agent_id;
        if !self.streams.while_newest(place, || self.live.goodbye(agent_id)) {
            tracing::info!(agent = %agent_id, "agent said goodbye, and is back already");
            return;
        }
        tracing::info!(agent = %agent_id, "agent said goodbye");
        if let Err(error) = self.store.stop_agent(agent_id, self.clock.wall()).await {
            tracing::warn!(error = chain(&error), agent = %agent_id, "goodbye not noted; after a restart the agent counts as silent");
        }
        // It may have come back while the database noted that it was gone.
        let back = self.live.agent(agent_id).filter(|agent| agent.state != State::Stopped);
        if let Some(Err(error)) = async { Some(self.store.save_agent(&back?.row).await) }.await {
            tracing::warn!(error = chain(&error), agent = %agent_id, "return not noted; after a restart the agent counts as stopped");
        }
    }
}

/// One stream after its hello.
struct Stream<'a> {
    service: &'a IngestService,
    agent_id: Uuid,
    writer: writer::Lane,
    out: &'a mpsc::Sender<Result<ToAgent, Status>>,
    stop: &'a CancellationToken,
}

impl Stream<'_> {
    async fn run(&self, inbound: &mut Streaming<FromAgent>) -> End {
        if self.out.send(Ok(ToAgent::Welcome)).await.is_err() {
            return End::Gone;
        }
        let mut admission = Admission::new(self.agent_id, self.service.clock.monotonic());
        let mut pending = Pending::new();
        let mut end = None;
        let mut mute = false;
        while end.is_none() || !pending.is_empty() {
            let reading = end.is_none() && pending.len() < WINDOW_BATCHES;
            tokio::select! {
                Some(answer) = self.present(pending.next()), if !pending.is_empty() => {
                    let answer = self.take(answer, &mut admission);
                    if mute {
                        continue;
                    }
                    if let Err(why) = self.say(answer).await {
                        mute = true;
                        end.get_or_insert(why);
                    }
                }
                message = inbound.next(), if reading => match message {
                    Some(Ok(FromAgent::Batch(raw))) => match self.admit(&mut admission, raw).await {
                        Ok((answer, last)) => {
                            pending.push_back(answer);
                            end = last;
                        }
                        Err(why) => end = Some(why),
                    },
                    Some(Ok(FromAgent::Clock(reading))) => self.service.live.hear_clock(self.agent_id, reading),
                    Some(Ok(FromAgent::Goodbye { .. })) => end = Some(End::Goodbye),
                    Some(Ok(FromAgent::Unknown)) => {}
                    Some(Ok(FromAgent::Hello(_))) => {
                        self.service.meters.refused.with_label_values(&["second_hello"]).inc();
                        end = Some(End::Ours(refusal(RefusalReason::UnacceptableAgent, None, "hello was said already")));
                    }
                    Some(Err(status)) => {
                        tracing::debug!(agent = %self.agent_id, %status, "stream broke");
                        end = Some(End::Gone);
                    }
                    None => end = Some(End::Gone),
                },
                () = self.stop.cancelled(), if end.is_none() => end = Some(End::Ours(unavailable(ENDING))),
            }
        }
        end.unwrap_or(End::Gone)
    }

    /// Waits for what we owe the agent, which is not silent meanwhile: the database may be away.
    async fn present<T>(&self, owed: impl Future<Output = T>) -> T {
        let mut owed = pin!(owed);
        loop {
            tokio::select! {
                done = &mut owed => return done,
                () = tokio::time::sleep(PRESENT) => self.service.live.seen(self.agent_id),
            }
        }
    }

    /// Admits a batch and hands it to the writer. With the answer comes the end of the stream where the batch shall
    /// come again: one after it must not be stored before it.
    async fn admit(&self, admission: &mut Admission, raw: RawBatch) -> Result<(Owed, Option<End>), End> {
        let (wall, now) = (self.service.clock.wall(), self.service.clock.monotonic());
        self.service.live.seen(self.agent_id);
        let position = raw.position().ok();
        let ahead_ms = self.service.live.correction_ms(self.agent_id);
        let admitted = match admission.admit(raw, ahead_ms, wall, now) {
            Ok(admitted) => admitted,
            Err(why) => {
                let last = (why.wire_reason() == RefusalReason::UnknownSchema).then_some(End::Told);
                return Ok((Box::pin(std::future::ready(Answer::Refused { position, why })), last));
            }
        };
        let Admitted { batch, row, restamped, explained } = admitted;
        if restamped > 0 {
            self.service.meters.restamped.inc_by(restamped as u64);
            tracing::warn!(agent = %self.agent_id, passes = restamped, "passes from the future; the agent's clock is ahead");
        }
        let stored = self.present(self.writer.store(row)).await.ok_or_else(|| End::Ours(unavailable(ENDING)))?;
        let answer = async move {
            match stored.await {
                Ok(committed) => Answer::Stored { batch, committed, explained },
                Err(_) => Answer::Lost,
            }
        };
        Ok((Box::pin(answer), None))
    }

    /// Shows and counts what became of a batch. Returns what the agent is told, or why the stream ends instead.
    fn take(&self, answer: Answer, admission: &mut Admission) -> Result<ToAgent, End> {
        match answer {
            Answer::Stored { batch, committed, explained } => {
                if committed.stored == Stored::Replay {
                    admission.repeat_schemas();
                }
                self.show(&batch, committed, explained);
                Ok(ToAgent::Ack(batch.position))
            }
            Answer::Refused { position, why } => Ok(self.refuse(position, &why)),
            Answer::Lost => Err(End::Ours(unavailable("the database did not take a batch; send it again"))),
        }
    }

    async fn say(&self, answer: Result<ToAgent, End>) -> Result<(), End> {
        self.out.send(Ok(answer?)).await.map_err(|_| End::Gone)
    }

    fn refuse(&self, position: Option<Position>, why: &Refused) -> ToAgent {
        let meters = &self.service.meters;
        meters.batches.with_label_values(&["refused"]).inc();
        meters.refused.with_label_values(&[why.reason()]).inc();
        tracing::warn!(agent = %self.agent_id, position = ?position.map(|p| p.seq), error = chain(why), "batch refused");
        ToAgent::Refusal(refusal(why.wire_reason(), position, &why.to_string()))
    }

    /// Gives a durable batch to the head and counts it.
    fn show(&self, batch: &Batch, committed: Committed, explained: u64) {
        let meters = &self.service.meters;
        self.service.live.confirm(self.agent_id, batch.position);
        let skipped = match committed {
            Committed { stored: Stored::New { skipped }, .. } => skipped,
            // Stored by a commit of ours whose answer was lost: the head does not have it.
            Committed { stored: Stored::Replay, unsure: true } => 0,
            Committed { stored: Stored::Replay, unsure: false } => {
                meters.batches.with_label_values(&["replayed"]).inc();
                return;
            }
        };
        meters.batches.with_label_values(&["stored"]).inc();
        for gap in &batch.gaps {
            meters.missing.with_label_values(&[gap_reason(&gap.reason)]).inc_by(lost_records(gap));
            tracing::warn!(agent = %self.agent_id, first = gap.first_seq, last = gap.last_seq, reason = gap.reason, "agent lost records");
        }
        let unexplained = skipped.saturating_sub(explained);
        if unexplained > 0 {
            meters.missing.with_label_values(&["unexplained"]).inc_by(unexplained);
            tracing::warn!(agent = %self.agent_id, before = %batch.position, records = unexplained, "records never came");
        }
        let appended = self.service.live.append(self.agent_id, &batch.frames);
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
}

// === impl Streams ===

impl Default for Streams {
    fn default() -> Self {
        Self::with_room(STREAMS_MAX)
    }
}

impl Streams {
    /// For so many streams at a time.
    pub fn with_room(streams: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(streams)), newest: Mutex::default() }
    }

    /// Makes a stream the agent's newest and ends the one before.
    fn claim(&self, agent_id: Uuid, stop: &CancellationToken) -> Place {
        let mut newest = self.lock();
        let (number, stop) = (newest.next_number, stop.child_token());
        newest.next_number += 1;
        if let Some((_, older)) = newest.by_agent.insert(agent_id, (number, stop.clone())) {
            older.cancel();
        }
        Place { agent_id, number, stop }
    }

    /// Does `act` unless a newer stream has come. Returns whether it did.
    fn while_newest(&self, place: &Place, act: impl FnOnce()) -> bool {
        let newest = self.lock();
        let is_newest = newest.has(place);
        if is_newest {
            act();
        }
        is_newest
    }

    fn forget(&self, ended: &Place) {
        let mut newest = self.lock();
        if newest.has(ended) {
            newest.by_agent.remove(&ended.agent_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    fn has(&self, place: &Place) -> bool {
        self.by_agent.get(&place.agent_id).is_some_and(|(number, _)| *number == place.number)
    }
}

fn refusal(reason: RefusalReason, position: Option<Position>, message: &str) -> Refusal {
    Refusal { reason, position, message: message.into(), retry_after: None }
}

fn unavailable(message: &str) -> Refusal {
    Refusal { retry_after: Some(RETRY_AFTER), ..refusal(RefusalReason::Unavailable, None, message) }
}

/// The reason as a label: one of those that our agents give, so that an agent cannot make up labels.
fn gap_reason(reason: &str) -> &'static str {
    match reason {
        "spool_full" => "spool_full",
        "corrupt" => "corrupt",
        "refused" => "refused",
        _ => "other",
    }
}

#[cfg(test)]
pub(crate) mod tests;
