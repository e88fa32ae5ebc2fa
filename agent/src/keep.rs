//! The keeper: the one thread that owns the spool.
//!
//! Passes come in from the collectors and leave as records; records come in from whoever waits for them to be kept; both
//! go out to the uplink's session within a window, and the session's outcomes (acked, refused, place taken) come back.
//! Everything that touches the disk happens here, so that nobody else ever waits for it unasked.
//!
//! ```text
//!  collectors ─► inbox ─► Batch ─┐
//!                                ├─► Spool ─► session (at most a window unacked) ─► uplink
//!  receive ◄──── handed ◄── answer    ▲ outcomes (Link) ◄────────────────────────────┘
//! ```
//! *Group commit* (`keep/commit.rs`): all that has come in is appended, synced once, and only then answered. While the
//! disk syncs, the next group gathers, so that the more wait, the more share a sync.
//!
//! What does not become a record (too large, no room, a failing disk, a full inbox) is counted by reason and told to the
//! aggregator by a *skip* in the spool, before the next record. Until the disk takes it, it is a number in memory: one
//! for each reason, so that it is bounded; a kill takes it along. Records that somebody waits for are not told so: who
//! waits is told.
//!
//! *Names*: where the aggregator shows that the spool was set back (it has later records of our epoch), a new epoch
//! begins; where it has another record in one's place, that record gets a new place.
//!
//! Limits: [`INBOX_PASSES`], [`HANDED_MAX`], [`HANDED_MAX_BYTES`], [`WINDOW_RECORDS`], [`WINDOW_BYTES`]; the spool's own.

mod checkpoint;
mod commit;
mod complaint;
mod door;
mod tally;

pub use door::{Door, Progress, Receipt, Wake};
pub use tally::{epoch_word, reserve_word};

use crate::batch::Batch;
use crate::meters::KeepMeters;
use checkpoint::CHECKPOINT_EVERY;
use complaint::Complaint;
use door::{Event, Inside, Opened};
use proto::message::Position;
use proto::sample::Gap;
use runtime::clock::Clock;
use runtime::fail_point;
use runtime::log::chain;
use spool::{Mode, NewEpoch, Next, NotMoved, Readmitted, Reason, Reserve, Spool, Stats};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::sync::mpsc;

/// Passes that wait for the keeper while the disk is slow: a minute of five sources at one second.
pub const INBOX_PASSES: usize = 300;
/// Records that somebody waits for while the disk is at the ones before: far more than one service has requests open.
pub const HANDED_MAX: usize = 1024;
/// Bytes of them: half of what the spool holds back for one sync, so that a group is one write and one sync.
pub const HANDED_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Records that are sent ahead of their acks. An aggregator reads as many as it has room for, and the others wait in the
/// transport; with fewer, a backlog would wait for the way there and back more often than it moves.
pub const WINDOW_RECORDS: usize = 1024;
/// Bytes of them, which is what a window costs in memory: of usual records some 500. One is sent however large it is.
pub const WINDOW_BYTES: usize = 1024 * 1024;
/// How long after the disk did not take what was written it is asked again, where nothing new comes that would ask.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
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
    /// Another batch is stored in this place; everything before it is durable over there.
    Taken(Position),
}

/// The aggregator has later records of our epoch than we gave out: the spool is an older copy of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The last place that we had given out when we said hello.
    pub last: Position,
    /// What is stored of that epoch over there.
    pub stored_seq: u64,
}

/// Why a record that was handed in is not kept. Its text is for whoever handed it in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// As many wait already as may.
    #[error("the spool's disk does not keep up: as many requests as may already wait for it; send it again later")]
    QueueFull,
    /// The spool did not take it, or could not make it durable. It may turn up all the same: the key tells.
    #[error("{text}")]
    Spool {
        /// Why.
        reason: Reason,
        /// What the spool said, with the file and what to do.
        text: String,
    },
    /// The agent ends.
    #[error("the agent is ending; send it again when it is back")]
    Stopping,
}

/// The keeper.
pub struct Keeper {
    spool: Spool,
    mode: Mode,
    batch: Batch,
    inside: Inside,
    clock: Arc<dyn Clock>,
    meters: KeepMeters,
    /// The session and what was sent on it, oldest first, with its bytes.
    session: Option<mpsc::Sender<Item>>,
    sent: VecDeque<(Position, usize)>,
    sent_bytes: usize,
    /// What is lost and not told by a skip yet.
    untold: BTreeMap<Reason, u64>,
    counted: Stats,
    /// The epoch whose beginning has been counted.
    epoch: Option<u128>,
    /// What the log was told of the room for critical records.
    reserve: Option<Reserve>,
    checkpoint_at: Duration,
    /// The spool's counts when the cursor was last written: while they stand still, it has nothing new to say.
    written: Stats,
    /// When the disk is asked again that did not take what was written.
    retry_at: Option<Duration>,
    /// No read before this, after one that failed.
    read_at: Option<Duration>,
    write_fault: Complaint,
    sync_fault: Complaint,
    read_fault: Complaint,
    cursor_fault: Complaint,
}

// === impl NotKept ===

impl NotKept {
    /// The word under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Spool { reason, .. } => reason.as_str(),
            Self::Stopping => "stopping",
        }
    }

    /// Whether there is no room, rather than something that does not work.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::QueueFull | Self::Spool { reason: Reason::SpoolFull | Reason::DiskFull, .. })
    }
}

// === impl Keeper ===

impl Keeper {
    /// Takes over an open spool.
    pub fn new(spool: Spool, max_bytes: u64, clock: Arc<dyn Clock>, meters: KeepMeters) -> (Self, Door) {
        meters.spool.max_bytes.set(max_bytes as f64);
        let (door, inside) = door::open(last_of(&spool), meters.passes.clone(), meters.events.clone());
        let checkpoint_at = clock.monotonic() + CHECKPOINT_EVERY;
        let keeper = Self {
            mode: spool.stats().mode,
            written: spool.stats(),
            spool,
            batch: Batch::default(),
            inside,
            clock,
            meters,
            session: None,
            sent: VecDeque::new(),
            sent_bytes: 0,
            untold: BTreeMap::new(),
            counted: Stats::default(),
            epoch: None,
            reserve: None,
            checkpoint_at,
            retry_at: None,
            read_at: None,
            write_fault: Complaint::default(),
            sync_fault: Complaint::default(),
            read_fault: Complaint::default(),
            cursor_fault: Complaint::default(),
        };
        keeper.note_given_out();
        (keeper, door)
    }

    /// Keeps until told to stop.
    pub fn run(mut self) {
        self.show();
        loop {
            let event = self.inside.inbox.recv_timeout(self.wait());
            {
                let mut link = self.inside.lock();
                link.progress.busy_since = Some(self.clock.monotonic());
                link.look_waits = false; // before we look, so that what comes now wakes us again
            }
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
        let checkpoint_at = Some(self.checkpoint_at).filter(|_| self.is_behind(&self.counted));
        let due = [self.batch.due_at(), self.retry_at, read_at, checkpoint_at].into_iter().flatten().min();
        due.map_or(IDLE, |due| due.saturating_sub(self.clock.monotonic()))
    }

    /// Does whatever is due.
    fn step(&mut self) {
        self.commit_if_due();
        self.retry_if_due();
        self.settle();
        self.pump();
        self.checkpoint_if_due();
        self.show();
    }

    /// Writes what has come in, answers who waits, and closes the spool.
    fn end(mut self) {
        while let Ok(event) = self.inside.inbox.try_recv() {
            if let Event::Pass(folded) = event {
                self.batch.add(folded, self.clock.monotonic());
                self.commit_if_due();
            }
        }
        self.commit_rest();
        for (reason, records) in &self.untold {
            let reason = reason.as_str();
            tracing::error!(
                reason,
                records,
                "the spool took no word of records that are lost; nobody will hear of them"
            );
        }
        self.settle();
        self.show();
        match self.spool.close() {
            Ok(()) => tracing::debug!("spool closed"),
            Err(error) => tracing::error!(error = chain(&error), "spool not closed cleanly; nothing acked is lost"),
        }
    }

    /// Takes over a new session, and what the session heard.
    fn settle(&mut self) {
        let (opened, outcomes) = {
            let mut link = self.inside.lock();
            (link.opened.take(), std::mem::take(&mut link.outcomes))
        };
        if let Some(Opened { items, rewound }) = opened {
            self.begin_at_the_last_ack();
            self.session = Some(items);
            if let Some(rewound) = rewound {
                self.begin_again(rewound);
            }
        }
        let mut outcomes = outcomes.into_iter().peekable();
        while let Some(outcome) = outcomes.next() {
            // A position of an earlier session is not known any more, and is said again by this one.
            let known = match outcome {
                Outcome::Acked(position) => self.acked(position),
                Outcome::Refused(position, why) => self.refused(position, &why),
                Outcome::Taken(position) => {
                    let mut run = vec![position];
                    while let Some(Outcome::Taken(next)) = outcomes.next_if(|next| matches!(next, Outcome::Taken(_))) {
                        run.push(next);
                    }
                    self.taken(&run);
                    Ok(())
                }
            };
            if let Err(error) = known {
                tracing::debug!(error = chain(&error), "outcome ignored");
            }
        }
    }

    /// Nothing is in flight any more, for no ack to settle; a session begins behind the last one.
    fn begin_at_the_last_ack(&mut self) {
        self.session = None;
        self.sent.clear();
        self.sent_bytes = 0;
        self.spool.rewind();
    }

    /// The spool was set back: another record may have been sent under each name that it would give next.
    fn begin_again(&mut self, Rewound { last, stored_seq }: Rewound) {
        if self.spool.epoch() != last.epoch {
            return; // it has another one since
        }
        tracing::warn!(
            stored_seq,
            last_seq = last.seq,
            epoch = format!("{:032x}", last.epoch),
            "the aggregator has more of this spool than the spool itself: it was set back or copied; a new epoch begins"
        );
        if let Err(error) = self.spool.begin_epoch(NewEpoch::Rewound) {
            tracing::error!(error = chain(&error), "no new epoch; nothing is sent until there is one");
            self.session = None;
        }
        self.note_given_out();
    }

    fn acked(&mut self, position: Position) -> Result<(), spool::NotRead> {
        self.spool.ack(to_spool(position))?;
        fail_point::hit("agent.acked");
        self.arrived(position);
        Ok(())
    }

    /// Everything up to this position is settled.
    fn arrived(&mut self, position: Position) {
        if let Some(index) = self.sent.iter().position(|(sent, _)| *sent == position) {
            self.sent_bytes -= self.sent.drain(..=index).map(|(_, bytes)| bytes).sum::<usize>();
        }
        self.inside.lock().progress.acked_at = Some(self.clock.monotonic());
    }

    fn refused(&mut self, position: Position, why: &str) -> Result<(), spool::NotRead> {
        if self.spool.refuse(to_spool(position), why)? {
            tracing::error!(seq = position.seq, why, "a batch is refused for good; it lies in the spool's dead folder");
        } else {
            tracing::error!(
                seq = position.seq,
                why,
                "a batch is refused for good; the spool's dead folder cannot take it"
            );
        }
        Ok(())
    }

    /// Gives records other places, since their own are others' over there. Where a spool was set back they come in runs,
    /// and a run costs one sync.
    fn taken(&mut self, run: &[Position]) {
        let places: Vec<_> = run.iter().copied().map(to_spool).collect();
        let mut from = 0;
        while from < run.len() {
            let Readmitted { moved, refused } = self.spool.readmit_all(&places[from..]);
            self.note_given_out();
            for (position, new) in run[from..].iter().zip(&moved) {
                self.arrived(*position);
                let (seq, new_seq) = (position.seq, new.seq);
                tracing::warn!(seq, new_seq, "another record is stored in this place; it moved");
            }
            from += moved.len();
            match refused {
                None => {}
                Some(NotMoved::NotRead(error)) => tracing::debug!(error = chain(&error), "outcome ignored"),
                Some(error) => {
                    // It stays where it is, whatever is acked behind it; the next session hears of it again.
                    let seq = run.get(from).map(|position| position.seq);
                    tracing::error!(seq, error = chain(&error), "a record could not be given another place");
                    self.begin_at_the_last_ack();
                    return;
                }
            }
            from += 1; // the ignored one; or we are at the end
        }
    }

    /// Sends what the window has room for.
    fn pump(&mut self) {
        let Some(session) = self.session.clone() else { return };
        let now = self.clock.monotonic();
        if self.read_at.is_some_and(|at| now < at) {
            return;
        }
        self.read_at = None;
        while self.sent.len() < WINDOW_RECORDS && self.sent_bytes < WINDOW_BYTES {
            let (position, bytes, item) = match self.spool.read_next() {
                Ok(Next::Record(record)) => {
                    let position = Position { epoch: record.position.epoch, seq: record.position.seq };
                    let bytes = record.payload.to_vec();
                    (position, bytes.len(), Item::Record { position, bytes })
                }
                Ok(Next::Gap(spool::Gap { epoch, first_seq, last_seq, reason })) => {
                    let reason = reason.as_str().into();
                    (Position { epoch, seq: last_seq }, 0, Item::Gap(Gap { epoch, first_seq, last_seq, reason }))
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
            self.sent.push_back((position, bytes));
            self.sent_bytes += bytes;
        }
        if self.read_fault.is_over() {
            tracing::info!("the spool is readable again");
        }
    }

    /// Shows the last place that the spool has given out, and how much waits in it: before anything of it is sent or
    /// answered, so that neither a hello nor the end of a drain knows less.
    fn note_given_out(&self) {
        let waiting = self.spool.stats().waiting;
        let mut link = self.inside.lock();
        (link.last, link.waiting) = (last_of(&self.spool), waiting);
    }

    /// Counts a new epoch, once.
    fn count_epoch(&mut self, stats: &Stats) {
        let epoch = Some(self.spool.epoch());
        if self.epoch != epoch
            && let Some(why) = stats.new_epoch
        {
            self.meters.spool.epochs.with_label_values(&[epoch_word(why)]).inc();
        }
        self.epoch = epoch;
    }

    /// Shows the spool's counts as metrics and to the door.
    fn show(&mut self) {
        let now = self.spool.stats();
        let before = std::mem::replace(&mut self.counted, now);
        tally::count(&self.meters.spool, &before, &now);
        self.count_epoch(&now);
        if self.reserve.replace(now.reserve) != Some(now.reserve) {
            tally::log_reserve(now.reserve);
        }
        if now.evicted_bytes > before.evicted_bytes {
            // Once in a segment. Which times it held, nobody knows without reading it; the gap is told by its seqs.
            let (records, bytes) =
                (now.dropped.spool_full - before.dropped.spool_full, now.evicted_bytes - before.evicted_bytes);
            let up_to_seq = now.evicted_seq;
            tracing::warn!(records, bytes, up_to_seq, "no room in the spool: the oldest records were dropped");
        }
        let mut link = self.inside.lock();
        link.waiting = now.waiting;
        link.stats = now;
        link.progress.busy_since = None;
    }
}

/// What is sent in the place of a batch that is refused on this side already.
pub fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: Reason::Refused.as_str().into() }
}

fn last_of(spool: &Spool) -> Position {
    Position { epoch: spool.epoch(), seq: spool.last_seq() }
}

fn to_spool(position: Position) -> spool::Position {
    spool::Position { epoch: position.epoch, seq: position.seq }
}

#[cfg(test)]
pub(crate) mod tests;
