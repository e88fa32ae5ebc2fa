//! The keeper: the one thread that owns the spool.
//!
//! Passes come in from the collectors and leave as records; records go out to the uplink's session within a window, and
//! the session's outcomes (acked, refused) come back. Everything that touches the disk happens here, so that nobody
//! else ever waits for it.
//!
//! ```text
//!  collectors ─► inbox ─► Batch ─► Spool ─► session (at most WINDOW_BATCHES unacked) ─► uplink
//!                                    ▲ outcomes (Link) ◄──────────────────────────────────┘
//! ```
//! What does not become a record (too large, no room, a failing disk, a full inbox) is counted by reason and told to the
//! aggregator by a *skip* in the spool, before the next record. Until the disk takes it, it is a number in memory: one
//! for each reason, so that it is bounded.
//!
//! Limits: [`INBOX_PASSES`], [`WINDOW_BATCHES`]; the spool's own.

mod complaint;
mod door;
mod tally;

pub use door::{Door, Progress};

use crate::batch::Batch;
use crate::meters::SpoolMeters;
use complaint::Complaint;
use door::{Event, Inside};
use proto::limits::WINDOW_BATCHES;
use proto::message::Position;
use proto::sample::Gap;
use runtime::clock::Clock;
use runtime::fail_point;
use runtime::log::chain;
use spool::{Class, MAX_SKIP, Mode, Next, Reason, Spool, Stats};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::sync::mpsc;

/// Passes that wait for the keeper while the disk is slow: a minute of five sources at one second.
pub const INBOX_PASSES: usize = 300;
/// How often the cursor is written while acks come in: what a restart sends again at the most. In mode `fast` also how
/// often records are synced: what a loss of power may cost.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How long the keeper sleeps when nothing happens.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a place of the disk that cannot be read is left alone: a disk that is away for a moment must not use up the
/// attempts after which the spool gives the place up.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What the uplink sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A record as it was encoded by `batch`.
    Record {
        /// Where it stands.
        position: Position,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Records that are lost.
    Gap(Gap),
}

/// What the uplink heard of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to and including this position is durable over there.
    Acked(Position),
    /// This batch will never be taken. It is acked when the aggregator knows of the gap in its place.
    Refused(Position, String),
}

/// The keeper.
pub struct Keeper {
    spool: Spool,
    mode: Mode,
    batch: Batch,
    inside: Inside,
    clock: Arc<dyn Clock>,
    meters: SpoolMeters,
    /// The session and what was sent on it, oldest first.
    session: Option<mpsc::Sender<Item>>,
    sent: VecDeque<Position>,
    /// What is lost and not told by a skip yet.
    untold: BTreeMap<Reason, u64>,
    counted: Stats,
    checkpoint_at: Duration,
    /// No read before this, after one that failed.
    read_at: Option<Duration>,
    write_fault: Complaint,
    sync_fault: Complaint,
    read_fault: Complaint,
    cursor_fault: Complaint,
}

// === impl Keeper ===

impl Keeper {
    /// Takes over an open spool.
    pub fn new(spool: Spool, max_bytes: u64, clock: Arc<dyn Clock>, meters: SpoolMeters) -> (Self, Door) {
        meters.max_bytes.set(max_bytes as f64);
        let (door, inside) = door::open();
        let checkpoint_at = clock.monotonic() + CHECKPOINT_EVERY;
        let keeper = Self {
            mode: spool.stats().mode,
            spool,
            batch: Batch::default(),
            inside,
            clock,
            meters,
            session: None,
            sent: VecDeque::with_capacity(WINDOW_BATCHES),
            untold: BTreeMap::new(),
            counted: Stats::default(),
            checkpoint_at,
            read_at: None,
            write_fault: Complaint::default(),
            sync_fault: Complaint::default(),
            read_fault: Complaint::default(),
            cursor_fault: Complaint::default(),
        };
        (keeper, door)
    }

    /// Keeps until told to stop.
    pub fn run(mut self) {
        self.show();
        loop {
            let event = self.inside.inbox.recv_timeout(self.wait());
            self.inside.lock().progress.busy_since = Some(self.clock.monotonic());
            match event {
                Ok(Event::Pass(folded)) => self.batch.add(folded, self.clock.monotonic()),
                Ok(Event::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.inside.lock().stopping {
                break;
            }
            self.step();
        }
        self.end();
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let read_at = self.read_at.filter(|_| self.session.is_some());
        let due = self.batch.due_at().into_iter().chain(read_at).min();
        due.map_or(IDLE, |due| due.saturating_sub(self.clock.monotonic()))
    }

    /// Does whatever is due.
    fn step(&mut self) {
        self.write_if_due();
        self.settle();
        self.pump();
        let now = self.clock.monotonic();
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            self.checkpoint(now);
        }
        self.show();
    }

    /// Writes what has come in, and closes the spool.
    fn end(mut self) {
        while let Ok(event) = self.inside.inbox.try_recv() {
            if let Event::Pass(folded) = event {
                self.batch.add(folded, self.clock.monotonic());
                self.write_if_due();
            }
        }
        self.write();
        self.settle();
        self.show();
        match self.spool.close() {
            Ok(()) => tracing::debug!("spool closed"),
            Err(error) => tracing::error!(error = chain(&error), "spool not closed cleanly; nothing acked is lost"),
        }
    }

    fn write_if_due(&mut self) {
        if self.batch.due_at().is_some_and(|due| due <= self.clock.monotonic()) {
            self.write();
        }
    }

    /// Makes the batch a record, after a skip for what was lost before it. In mode `durable` both are synced.
    fn write(&mut self) {
        let turned_away = std::mem::take(&mut self.inside.lock().turned_away);
        self.lose(Reason::QueueFull, turned_away);
        let passes = self.batch.passes() as u64;
        if passes == 0 && self.untold.is_empty() {
            return;
        }
        self.tell_losses();
        let is_taken = passes > 0 && self.append(passes);
        // In mode `fast` a record is accepted when it is taken, and nobody was promised a sync.
        let is_safe = self.mode == Mode::Fast || self.sync();
        let now = self.clock.monotonic();
        let progress = &mut self.inside.lock().progress;
        if is_taken && is_safe {
            (progress.written_at, progress.failing_since) = (Some(now), None);
        } else if !is_safe {
            progress.failing_since.get_or_insert(now);
        }
    }

    /// Appends the batch. Whether the spool took it.
    fn append(&mut self, passes: u64) -> bool {
        let now = self.clock.monotonic();
        let (label, reason, error) = match self.batch.take() {
            Err(error) => (error.reason(), Reason::TooLarge, chain(&error)),
            Ok(record) => match self.spool.append(Class::Ordinary, &record) {
                Ok(_) => {
                    if self.write_fault.is_over() {
                        tracing::info!("the spool takes records again");
                    }
                    return true;
                }
                Err(error) => (reason_of(&error).as_str(), reason_of(&error), chain(&error)),
            },
        };
        self.meters.passes_dropped.with_label_values(&[label]).inc_by(passes);
        self.lose(reason, 1);
        if self.write_fault.is_news(reason.as_str(), now) {
            tracing::error!(error, passes, "batch dropped; more of the same is counted, and told once a minute");
        }
        if matches!(reason, Reason::DiskFull | Reason::DiskError) {
            self.inside.lock().progress.failing_since.get_or_insert(now);
        }
        false
    }

    /// Syncs the spool. Whether all of it is durable.
    fn sync(&mut self) -> bool {
        let Err(error) = self.spool.sync() else {
            fail_point::hit("agent.synced");
            if self.sync_fault.is_over() {
                tracing::info!("the spool is durable again");
            }
            return true;
        };
        if self.sync_fault.is_news("sync", self.clock.monotonic()) {
            tracing::error!(error = chain(&error), "spool not durable; it will be written elsewhere");
        }
        false
    }

    fn checkpoint(&mut self, now: Duration) {
        if self.mode == Mode::Fast {
            self.sync();
        }
        match self.spool.checkpoint() {
            Ok(()) => drop(self.cursor_fault.is_over()),
            Err(error) => {
                if self.cursor_fault.is_news("cursor", now) {
                    tracing::warn!(error = chain(&error), "cursor not written; a restart sends more again");
                }
            }
        }
    }

    /// Notes records that will never be.
    fn lose(&mut self, reason: Reason, records: u64) {
        if records > 0 {
            *self.untold.entry(reason).or_default() += records;
        }
    }

    /// Gives what is lost its seqs, so that the aggregator hears of it where it would have been.
    fn tell_losses(&mut self) {
        while let Some(mut entry) = self.untold.first_entry() {
            let told = (*entry.get()).min(MAX_SKIP);
            // What the disk does not take now, it may later.
            if self.spool.skip(*entry.key(), told).is_err() {
                return;
            }
            *entry.get_mut() -= told;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Takes over a new session, and what the session heard.
    fn settle(&mut self) {
        let (opened, outcomes) = {
            let mut link = self.inside.lock();
            (link.opened.take(), std::mem::take(&mut link.outcomes))
        };
        if let Some(session) = opened {
            self.session = Some(session);
            self.sent.clear();
            self.spool.rewind();
        }
        for outcome in outcomes {
            // A position of an earlier session is not known any more, and is said again by this one.
            let known = match outcome {
                Outcome::Acked(position) => self.acked(position),
                Outcome::Refused(position, why) => self.refused(position, &why),
            };
            if let Err(error) = known {
                tracing::debug!(error = chain(&error), "outcome ignored");
            }
        }
    }

    fn acked(&mut self, position: Position) -> Result<(), spool::NotRead> {
        if let Some(index) = self.sent.iter().position(|sent| *sent == position) {
            self.sent.drain(..=index);
        }
        self.spool.ack(to_spool(position))?;
        fail_point::hit("agent.acked");
        self.inside.lock().progress.acked_at = Some(self.clock.monotonic());
        Ok(())
    }

    fn refused(&mut self, position: Position, why: &str) -> Result<(), spool::NotRead> {
        self.spool.refuse(to_spool(position), why)?;
        tracing::error!(seq = position.seq, why, "a batch is refused for good; it lies in the spool's dead folder");
        Ok(())
    }

    /// Sends what the window has room for.
    fn pump(&mut self) {
        let Some(session) = self.session.clone() else { return };
        let now = self.clock.monotonic();
        if self.read_at.is_some_and(|at| now < at) {
            return;
        }
        self.read_at = None;
        while self.sent.len() < WINDOW_BATCHES {
            let (position, item) = match self.spool.read_next() {
                Ok(Next::Record(record)) => {
                    let position = Position { epoch: record.position.epoch, seq: record.position.seq };
                    (position, Item::Record { position, bytes: record.payload.to_vec() })
                }
                Ok(Next::Gap(spool::Gap { epoch, first_seq, last_seq, reason })) => {
                    let reason = reason.as_str().into();
                    (Position { epoch, seq: last_seq }, Item::Gap(Gap { epoch, first_seq, last_seq, reason }))
                }
                Ok(Next::Empty | Next::WindowFull) => break,
                Err(error) => {
                    if self.read_fault.is_news("read", now) {
                        tracing::error!(error = chain(&error), pause = ?READ_PAUSE, "spool not readable; it is tried again");
                    }
                    self.read_at = Some(now + READ_PAUSE);
                    return;
                }
            };
            if session.try_send(item).is_err() {
                // The session is gone; the next one rewinds.
                self.session = None;
                return;
            }
            self.sent.push_back(position);
        }
        if self.read_fault.is_over() {
            tracing::info!("the spool is readable again");
        }
    }

    /// Shows the spool's counts as metrics and to the door.
    fn show(&mut self) {
        let now = self.spool.stats();
        let before = std::mem::replace(&mut self.counted, now);
        tally::count(&self.meters, &before, &now);
        if now.evicted_bytes > before.evicted_bytes {
            // Once in a segment. Which times it held, nobody knows without reading it; the gap is told by its seqs.
            let (records, bytes) =
                (now.dropped.spool_full - before.dropped.spool_full, now.evicted_bytes - before.evicted_bytes);
            let up_to_seq = now.evicted_seq;
            tracing::warn!(records, bytes, up_to_seq, "no room in the spool: the oldest records were dropped");
        }
        let waiting = now.waiting + self.batch.passes() as u64;
        let mut link = self.inside.lock();
        link.waiting = waiting;
        link.stats = now;
        link.progress.busy_since = None;
    }
}

/// What is sent in the place of a batch that is refused on this side already.
pub fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: Reason::Refused.as_str().into() }
}

/// Why the records are lost that the spool did not take.
fn reason_of(refused: &spool::Refused) -> Reason {
    match refused {
        spool::Refused::TooLarge { .. } => Reason::TooLarge,
        spool::Refused::Full { .. } => Reason::SpoolFull,
        spool::Refused::NoSpace { .. } => Reason::DiskFull,
        spool::Refused::Disk { .. } => Reason::DiskError,
    }
}

fn to_spool(position: Position) -> spool::Position {
    spool::Position { epoch: position.epoch, seq: position.seq }
}

#[cfg(test)]
pub(crate) mod tests;
