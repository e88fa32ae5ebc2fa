//! One stream after its hello: what it says is admitted, stored, shown and answered, in the order in which it came.
//!
//! A stream may have a window of batches under way. What is stored is shown, also when its agent is gone meanwhile: the
//! head has what the log has. After a batch that shall come again (its schema is unknown, the database did not take it)
//! the stream takes no other: an ack stands for everything before it.
//!
//! Limits: `WINDOW_BATCHES`, [`SAY_MAX`].

use super::admit::{Admission, Admitted, Carried};
use super::lines::LogLine;
use super::refusal::{Away, refusal};
use super::streams::Place;
use super::underway::{Outcome, Underway};
use super::writer::Lane;
use super::{Conflict, IngestService, missing};
use crate::store::{BatchRow, Missing, News, Stored};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use proto::convert::RawBatch;
use proto::grpc::hear;
use proto::limits::WINDOW_BATCHES;
use proto::message::{Batch, FromAgent, Position, Refusal, RefusalReason, ToAgent, Welcome};
use proto::refused::Refused;
use runtime::fail_point;
use runtime::log::chain;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, mpsc::error::TrySendError, oneshot};
use tonic::{Status, Streaming};

/// How often an agent is noted as present while it waits for us: four times in the shortest silence.
const PRESENT: Duration = Duration::from_millis(250);
/// How long an agent may leave its answers unread before its stream is given up.
const SAY_MAX: Duration = Duration::from_secs(30);

/// What became of a batch, in the order of their arrival.
enum Answer {
    /// The database has its place; the head gets it where it is new, then the agent its ack.
    Committed { batch: Batch, carried: Carried, committed: Stored, underway: Underway },
    /// It will not be taken. If never, the gap in its place is durable.
    Refused { position: Option<Position>, why: Refused, gap: Option<(Batch, Stored)>, underway: Underway },
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
pub(super) enum End {
    /// The agent closed it, or it broke.
    Gone,
    /// The agent said goodbye.
    Goodbye,
    /// It was told what is wrong, and shall begin anew.
    Told,
    /// It is to be told what is wrong.
    Wrong(Refusal),
    /// Nothing is wrong with it: it is to be told when to come back.
    Away(Away),
}

/// See the module.
pub(super) struct Stream<'a> {
    service: &'a IngestService,
    place: &'a Place,
    writer: Lane,
    out: &'a mpsc::Sender<Result<ToAgent, Status>>,
    /// Whether it was told that an older epoch goes on: once a stream.
    told_past: AtomicBool,
    /// Whether it was told that batches cannot be compared: once a stream.
    told_unproven: AtomicBool,
}

impl<'a> Stream<'a> {
    /// One that was let in.
    pub(super) fn new(
        service: &'a IngestService,
        place: &'a Place,
        out: &'a mpsc::Sender<Result<ToAgent, Status>>,
    ) -> Self {
        Self {
            service,
            place,
            writer: service.writer.lane(),
            out,
            told_past: AtomicBool::new(false),
            told_unproven: AtomicBool::new(false),
        }
    }

    /// Serves it until it ended and everything of it is answered.
    pub(super) async fn run(&self, welcome: Welcome, inbound: &mut Streaming<FromAgent>) -> End {
        if self.out.send(Ok(ToAgent::Welcome(welcome))).await.is_err() {
            return End::Gone;
        }
        self.service.meters.streams.inc();
        let mut admission = Admission::new(self.place.agent_id, &self.place.who.service);
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
                message = hear(inbound), if reading => match self.heard(message, &mut admission).await {
                    Ok((answer, last)) => {
                        pending.extend(answer);
                        end = last;
                    }
                    Err(why) => end = Some(why),
                },
                // The only sign of its end while nothing is read, since a whole window waits for the database.
                () = self.out.closed(), if line == Line::Stands => end = Some(End::Gone),
                () = self.place.stop.cancelled(), if line == Line::Stands => end = Some(End::Away(Away::StreamEnds)),
            }
            if line == Line::Stands && end.is_some() {
                self.service.meters.streams.dec();
            }
        }
        end.unwrap_or(End::Gone)
    }

    /// What is owed for a message, and why the stream ends where it does.
    async fn heard(
        &self,
        message: Option<Result<FromAgent, Status>>,
        admission: &mut Admission,
    ) -> Result<(Option<Owed>, Option<End>), End> {
        match message {
            Some(Ok(FromAgent::Batch(raw))) => {
                self.admit(admission, raw).await.map(|(answer, last)| (Some(answer), last))
            }
            Some(Ok(FromAgent::Unreadable { position: Some(position), why })) => {
                let underway = Underway::begin(&self.service.meters);
                let answer = self.refuse_for_good(admission, Some(position), why, underway).await?;
                Ok((Some(answer), None))
            }
            Some(Ok(FromAgent::Clock(reading))) => {
                self.service.live.hear_clock(self.place.agent_id, reading);
                Ok((None, None))
            }
            Some(Ok(FromAgent::Unknown)) => Ok((None, None)),
            Some(Ok(FromAgent::Goodbye { .. })) => {
                self.service.note_goodbye(self.place);
                Err(End::Goodbye)
            }
            Some(Ok(FromAgent::Unreadable { position: None, why })) => Err(End::Wrong(self.service.turn_away(&why))),
            Some(Ok(FromAgent::Hello(_))) => {
                self.service.meters.refused.with_label_values(&["second_hello"]).inc();
                Err(End::Wrong(refusal(RefusalReason::UnacceptableAgent, None, "hello was said already")))
            }
            Some(Err(status)) => {
                tracing::debug!(agent = %self.place.agent_id, %status, "stream broke");
                Err(End::Gone)
            }
            None => Err(End::Gone),
        }
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
        let underway = Underway::begin(&self.service.meters);
        let (wall, now) = (self.service.clock.wall(), self.service.clock.monotonic());
        self.service.live.seen(self.place.agent_id);
        let position = raw.position().ok();
        let ahead_ms = self.service.live.correction_ms(self.place.agent_id);
        let admitted = match admission.admit(raw, ahead_ms, wall, now) {
            Ok(admitted) => admitted,
            Err(why) if why.wire_reason() == RefusalReason::UnknownSchema => {
                return Ok((refused(position, why, underway), Some(End::Told)));
            }
            Err(why) => return Ok((self.refuse_for_good(admission, position, why, underway).await?, None)),
        };
        let Admitted { batch, row, carried, restamped } = admitted;
        if restamped > 0 {
            self.service.meters.restamped.inc_by(restamped as u64);
            if self.service.lines.has_room(LogLine::Restamped) {
                tracing::warn!(agent = %self.place.agent_id, passes = restamped, "passes from the future; the agent's clock is ahead");
            }
        }
        let stored = self.store(row).await?;
        let answer = async move {
            match stored.await {
                Ok(committed) => Answer::Committed { batch, carried, committed, underway },
                Err(_) => Answer::Lost,
            }
        };
        Ok((Box::pin(answer), None))
    }

    /// Hands a row to the writer, which tells when it is committed.
    async fn store(&self, row: BatchRow) -> Result<oneshot::Receiver<Stored>, End> {
        let stored = tokio::select! {
            stored = self.attend(self.writer.store(row), Line::Stands) => stored,
            () = self.out.closed() => return Err(End::Gone),
            () = self.place.stop.cancelled() => None,
        };
        stored.ok_or(End::Away(Away::StreamEnds))
    }

    /// Hands a gap to the writer in the place of a batch, if it has one.
    async fn refuse_for_good(
        &self,
        admission: &mut Admission,
        position: Option<Position>,
        why: Refused,
        underway: Underway,
    ) -> Result<Owed, End> {
        let (wall, now) = (self.service.clock.wall(), self.service.clock.monotonic());
        let gap = position.map(|position| RawBatch::for_gap(&missing::gap_of_refused(position)));
        let Some(Ok(Admitted { batch, row, .. })) = gap.map(|gap| admission.admit(gap, 0, wall, now)) else {
            return Ok(refused(position, why, underway));
        };
        let stored = self.store(row).await?;
        Ok(Box::pin(async move {
            match stored.await {
                Ok(committed) => Answer::Refused { position, why, gap: Some((batch, committed)), underway },
                Err(_) => Answer::Lost,
            }
        }))
    }

    /// Shows and counts what became of a batch. Returns what the agent is told, or why the stream ends instead.
    fn take(&self, answer: Answer, admission: &mut Admission, line: Line) -> Result<ToAgent, End> {
        match answer {
            Answer::Committed { batch, carried, committed, underway } => {
                let position = batch.position;
                if matches!(committed, Stored::New(_)) {
                    admission.stored(&carried);
                }
                // What an agent's own gaps tell in a place that is stored is not missing.
                if committed == Stored::Taken && !batch.is_gap() {
                    underway.end(Outcome::Taken);
                    return Ok(self.refuse_place(position));
                }
                underway.end(self.show(&batch, committed, line));
                Ok(ToAgent::Ack(position))
            }
            Answer::Refused { position, why, gap, underway } => {
                // Its gap has no place here: behind may be another batch, or was. It gets one where the batch comes again.
                if let (Some(position), Some((_, Stored::Taken | Stored::Unproven))) = (position, &gap) {
                    underway.end(Outcome::Taken);
                    return Ok(self.refuse_place(position));
                }
                if let Some((gap, committed)) = gap {
                    self.note(&gap, committed);
                }
                underway.end(Outcome::Refused);
                Ok(self.refuse(position, &why))
            }
            Answer::Lost => Err(End::Away(Away::BatchNotTaken)),
        }
    }

    async fn say(&self, answer: Result<ToAgent, End>) -> Result<(), End> {
        let sent = self.out.try_send(Ok(answer?));
        fail_point::hit("aggregator.acked");
        let answer = match sent {
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
        self.service.meters.refused.with_label_values(&[why.reason()]).inc();
        if self.service.lines.has_room(LogLine::BatchRefused) {
            tracing::warn!(agent = %self.place.agent_id, position = ?position.map(|p| p.seq), error = chain(why), "batch refused");
        }
        ToAgent::Refusal(refusal(why.wire_reason(), position, &why.to_string()))
    }

    /// Another batch stands where this one would: the agent gives it a place in a new epoch.
    fn refuse_place(&self, position: Position) -> ToAgent {
        self.service.note_conflict(Conflict::PositionTaken, &self.place.who, self.place.agent_id);
        self.refuse(Some(position), &Refused::PositionTaken { epoch: position.epoch, seq: position.seq })
    }

    /// Gives a durable batch to the head where it is new, and counts it.
    fn show(&self, batch: &Batch, committed: Stored, line: Line) -> Outcome {
        if committed == Stored::Unproven && !batch.is_gap() {
            self.note_unproven(batch.position);
            return Outcome::Unproven;
        }
        let Some(news) = self.note(batch, committed) else { return Outcome::Replayed };
        let (meters, live) = (&self.service.meters, &self.service.live);
        let events = batch.events.len() as u64;
        meters.received_events.inc_by(events);
        meters.events.with_label_values(&["stored"]).inc_by(news.events);
        meters.events.with_label_values(&["duplicate"]).inc_by(events.saturating_sub(news.events));
        let appended = match line {
            Line::Stands => live.append(self.place.agent_id, &batch.frames),
            Line::Ended => live.append_late(self.place.agent_id, &batch.frames),
        };
        let passes = batch.frames.iter().flat_map(|frame| &frame.passes);
        meters.received_samples.inc_by(passes.map(|pass| pass.values.len() as u64).sum());
        meters.samples.inc_by(appended.kept as u64);
        for (reason, count) in appended.dropped() {
            if count > 0 {
                meters.dropped.with_label_values(&[reason]).inc_by(count as u64);
            }
        }
        Outcome::Stored
    }

    /// It is acked on trust: where its spool was set back by longer than the log is kept, it is lost.
    fn note_unproven(&self, position: Position) {
        if !self.told_unproven.swap(true, Ordering::Relaxed) && self.service.lines.has_room(LogLine::Unproven) {
            let Place { agent_id, who, .. } = self.place;
            tracing::warn!(
                agent = %agent_id, service = who.service, instance = who.instance, %position,
                "batches are acked that cannot be compared: what was stored in their places is pruned"
            );
        }
    }

    /// Notes a durable batch that is new, and what is missing with it; `None` where it is not.
    fn note(&self, batch: &Batch, committed: Stored) -> Option<News> {
        let Stored::New(news) = committed else { return None };
        let Place { agent_id, who, .. } = self.place;
        self.service.live.confirm(*agent_id, batch.position);
        self.service.live.note_missing(*agent_id, &news.missing);
        let IngestService { meters, services, lines, .. } = self.service;
        missing::count(meters, services, &who.service, &news.missing);
        for Missing { first_seq, last_seq, reason, .. } in &news.missing {
            if lines.has_room(LogLine::Missing) {
                tracing::warn!(agent = %agent_id, service = who.service, first_seq, last_seq, reason, "records are missing");
            }
        }
        if news.is_past && !self.told_past.swap(true, Ordering::Relaxed) {
            self.service.note_conflict(Conflict::EpochBack, who, *agent_id);
        }
        Some(news)
    }
}

fn refused(position: Option<Position>, why: Refused, underway: Underway) -> Owed {
    Box::pin(std::future::ready(Answer::Refused { position, why, gap: None, underway }))
}
