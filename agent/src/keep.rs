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
//! Limits: [`INBOX_PASSES`], [`WINDOW_BATCHES`]; the spool's own.

use crate::batch::Batch;
use crate::fold::Folded;
use crate::meters::SpoolMeters;
use proto::limits::WINDOW_BATCHES;
use proto::message::Position;
use proto::sample::Gap;
use runtime::clock::Clock;
use runtime::log::chain;
use spool::{Class, Next, Spool, Stats};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Passes that wait for the keeper while the disk is slow: a minute of five sources at one second.
pub const INBOX_PASSES: usize = 300;
/// How often the cursor is written while acks come in: what a restart sends again at the most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How long the keeper sleeps when nothing happens.
const IDLE: Duration = Duration::from_secs(3600);

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

/// The keeper's door.
#[derive(Clone)]
pub struct Door {
    inbox: SyncSender<Event>,
    link: Arc<Mutex<Link>>,
}

/// The keeper.
pub struct Keeper {
    spool: Spool,
    batch: Batch,
    inbox: Receiver<Event>,
    link: Arc<Mutex<Link>>,
    clock: Arc<dyn Clock>,
    meters: SpoolMeters,
    /// The session and what was sent on it, oldest first.
    session: Option<mpsc::Sender<Item>>,
    sent: VecDeque<Position>,
    counted: Stats,
    checkpoint_at: Duration,
}

/// What wakes the keeper.
enum Event {
    Pass(Folded),
    /// Something changed in the link.
    Look,
    Stop,
}

/// What the uplink and the keeper share. Locked for moments only, never across an await or a disk write.
#[derive(Default)]
struct Link {
    /// A session that the keeper has not begun to serve.
    opened: Option<mpsc::Sender<Item>>,
    /// In the order in which they were heard; consecutive acks are one.
    outcomes: VecDeque<Outcome>,
    /// Records and passes that are not delivered, as of the keeper's last look.
    waiting: u64,
    /// Whether the last write to the spool succeeded.
    writable: bool,
    /// The spool's own counts, as of the keeper's last look.
    stats: Stats,
}

// === impl Door ===

impl Door {
    /// Hands a pass in; false when the inbox is full.
    pub fn deliver(&self, folded: Folded) -> bool {
        self.inbox.try_send(Event::Pass(folded)).is_ok()
    }

    /// Opens a session: everything that is not acked comes again, oldest first.
    pub fn open_session(&self) -> mpsc::Receiver<Item> {
        let (sender, receiver) = mpsc::channel(WINDOW_BATCHES);
        {
            let mut link = self.lock();
            link.opened = Some(sender);
            // What an older session heard and the keeper has not seen is said again by the next.
            link.outcomes.clear();
        }
        self.look();
        receiver
    }

    /// Tells what the session heard.
    pub fn heard(&self, outcome: Outcome) {
        {
            let mut link = self.lock();
            if let (Some(Outcome::Acked(last)), Outcome::Acked(new)) = (link.outcomes.back_mut(), &outcome) {
                *last = *new;
            } else {
                link.outcomes.push_back(outcome);
            }
        }
        self.look();
    }

    /// Records and passes that are not delivered.
    pub fn waiting(&self) -> u64 {
        self.lock().waiting
    }

    /// Whether the last write to the spool succeeded.
    pub fn is_writable(&self) -> bool {
        self.lock().writable
    }

    /// The spool's counts.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Ends the keeper: it writes what it has, closes the spool and returns.
    pub fn stop(&self) {
        // Blocks only while the disk does; the drain's deadline covers it.
        let _ = self.inbox.send(Event::Stop);
    }

    /// A full inbox needs no wake-up: the keeper is about to look anyway.
    fn look(&self) {
        let _ = self.inbox.try_send(Event::Look);
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Keeper ===

impl Keeper {
    /// Takes over an open spool.
    pub fn new(spool: Spool, max_bytes: u64, clock: Arc<dyn Clock>, meters: SpoolMeters) -> (Self, Door) {
        let (sender, inbox) = sync_channel(INBOX_PASSES);
        meters.max_bytes.set(max_bytes as f64);
        let link = Arc::new(Mutex::new(Link { writable: true, ..Link::default() }));
        let door = Door { inbox: sender, link: link.clone() };
        let checkpoint_at = clock.monotonic() + CHECKPOINT_EVERY;
        let keeper = Self {
            spool,
            batch: Batch::default(),
            inbox,
            link,
            clock,
            meters,
            session: None,
            sent: VecDeque::with_capacity(WINDOW_BATCHES),
            counted: Stats::default(),
            checkpoint_at,
        };
        (keeper, door)
    }

    /// Keeps until told to stop.
    pub fn run(mut self) {
        self.show();
        loop {
            let now = self.clock.monotonic();
            let wait = self.batch.due_at().map_or(IDLE, |due| due.saturating_sub(now));
            match self.inbox.recv_timeout(wait) {
                Ok(Event::Pass(folded)) => self.batch.add(folded, self.clock.monotonic()),
                Ok(Event::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.step();
        }
        self.write();
        self.settle();
        match self.spool.close() {
            Ok(()) => tracing::debug!("spool closed"),
            Err(error) => tracing::error!(error = chain(&error), "spool not closed cleanly; nothing acked is lost"),
        }
    }

    /// Does whatever is due.
    fn step(&mut self) {
        let now = self.clock.monotonic();
        if self.batch.due_at().is_some_and(|due| due <= now) {
            self.write();
        }
        self.settle();
        self.pump();
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            if let Err(error) = self.spool.checkpoint() {
                tracing::warn!(error = chain(&error), "cursor not written; a restart sends more again");
            }
        }
        self.show();
    }

    /// Makes the batch a durable record.
    fn write(&mut self) {
        let passes = self.batch.passes() as u64;
        if passes == 0 {
            return;
        }
        let dropped = |reason: &str| self.meters.passes_dropped.with_label_values(&[reason]).inc_by(passes);
        let record = match self.batch.take() {
            Ok(record) => record,
            Err(error) => {
                dropped(error.reason());
                tracing::error!(error = chain(&error), passes, "batch dropped");
                return;
            }
        };
        let written = self.spool.append(Class::Ordinary, &record).map_err(|error| (reason_of(&error), chain(&error)));
        if let Err((reason, error)) = &written {
            dropped(reason);
            tracing::error!(error, passes, "batch dropped");
        }
        let synced = self.spool.sync().map_err(|error| chain(&error));
        if let Err(error) = &synced {
            tracing::error!(error, "spool not durable; it will be written elsewhere");
        }
        self.lock().writable = written.is_ok() && synced.is_ok();
    }

    /// Takes over a new session, and what the session heard.
    fn settle(&mut self) {
        let (opened, outcomes) = {
            let mut link = self.lock();
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
        self.spool.ack(to_spool(position))
    }

    fn refused(&mut self, position: Position, why: &str) -> Result<(), spool::NotRead> {
        self.spool.refuse(to_spool(position), why)?;
        tracing::error!(seq = position.seq, why, "a batch is refused for good; it lies in the spool's dead folder");
        Ok(())
    }

    /// Sends what the window has room for.
    fn pump(&mut self) {
        let Some(session) = self.session.clone() else { return };
        while self.sent.len() < WINDOW_BATCHES {
            let (position, item) = match self.spool.read_next() {
                Ok(Next::Record(record)) => {
                    let position = Position { epoch: record.position.epoch, seq: record.position.seq };
                    (position, Item::Record { position, bytes: record.payload.to_vec() })
                }
                Ok(Next::Gap(gap)) => {
                    let position = Position { epoch: gap.epoch, seq: gap.last_seq };
                    let spool::Gap { epoch, first_seq, last_seq, reason } = gap;
                    let reason = reason.as_str().into();
                    (position, Item::Gap(Gap { epoch, first_seq, last_seq, reason }))
                }
                Ok(Next::Empty | Next::WindowFull) => return,
                Err(error) => {
                    tracing::error!(error = chain(&error), "spool not readable; trying again with the next record");
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
    }

    /// Shows the spool's counts as metrics and to the door.
    fn show(&mut self) {
        let now = self.spool.stats();
        let before = std::mem::replace(&mut self.counted, now);
        let m = &self.meters;
        m.records_in.inc_by((now.appended + now.recovered) - (before.appended + before.recovered));
        m.records_out.inc_by(now.delivered - before.delivered);
        for (reason, count, counted) in [
            ("spool_full", now.dropped.spool_full, before.dropped.spool_full),
            ("corrupt", now.dropped.corrupt, before.dropped.corrupt),
            ("refused", now.dropped.refused, before.dropped.refused),
        ] {
            m.dropped.with_label_values(&[reason]).inc_by(count - counted);
        }
        m.waiting.set(now.waiting as f64);
        m.bytes.set(now.bytes as f64);
        m.sync_failures.inc_by(now.sync_failures - before.sync_failures);
        let waiting = now.waiting + self.batch.passes() as u64;
        let mut link = self.lock();
        link.waiting = waiting;
        link.stats = now;
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word under which the passes of a record are counted that the spool did not take.
fn reason_of(refused: &spool::Refused) -> &'static str {
    match refused {
        spool::Refused::TooLarge { .. } => "too_large",
        spool::Refused::Full { .. } => "spool_full",
        spool::Refused::NoSpace { .. } => "disk_full",
        spool::Refused::Disk { .. } => "disk_error",
    }
}

fn to_spool(position: Position) -> spool::Position {
    spool::Position { epoch: position.epoch, seq: position.seq }
}

#[cfg(test)]
mod tests;
