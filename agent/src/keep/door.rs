//! The keeper's door: what others say to it and see of it. Nobody waits here for the disk: what is handed in goes into a
//! bounded queue or is counted as turned away, and what is shown was noted by the keeper at its last step.
//!
//! Two queues: passes, which nobody waits for, and records that somebody does wait for. Each pass and each event is
//! counted as it comes in, and counted again where it goes; until then it *waits* (`docs/conservation.md`).

use super::{HANDED_MAX, HANDED_MAX_BYTES, INBOX_PASSES, Item, NotKept, Outcome, Rewound, WINDOW_RECORDS};
use crate::fold::Folded;
use crate::meters::{EventMeters, PassMeters};
use proto::message::Position;
use spool::Stats;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What wakes the keeper.
pub(super) enum Event {
    Pass(Folded),
    /// Something changed in the link.
    Look,
}

/// A record that somebody waits for, until the keeper answers.
pub(super) struct Handed {
    pub record: Vec<u8>,
    /// How many events it holds.
    pub events: u64,
    pub answer: oneshot::Sender<Result<(), NotKept>>,
}

/// When the keeper shall look at an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Now.
    Now,
    /// With the next one, which is sure to come.
    Later,
}

/// The keeper's answer to a record that was handed in, when it comes.
pub type Receipt = oneshot::Receiver<Result<(), NotKept>>;

/// Whether the keeper gets on. Times are monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since when the disk has not taken what was written; `None` while it does.
    pub failing_since: Option<Duration>,
    /// Since when the keeper is at work; one that is for long waits for the disk.
    pub busy_since: Option<Duration>,
    /// When a record was last written.
    pub written_at: Option<Duration>,
    /// When all that was written was last made durable.
    pub durable_at: Option<Duration>,
    /// When the aggregator last said that it has one.
    pub acked_at: Option<Duration>,
}

/// What the others and the keeper share. Locked for moments only, never across an await or a disk write.
pub(super) struct Link {
    /// A session that the keeper has not begun to serve.
    pub opened: Option<Opened>,
    /// In the order in which they were heard; consecutive acks are one, and of each batch in flight at most one is another
    /// outcome.
    pub outcomes: Vec<Outcome>,
    /// Records that somebody waits for, and their bytes.
    pub handed: Vec<Handed>,
    pub handed_bytes: usize,
    /// Passes for which the inbox had no room, and which the spool does not know of. Each takes a seq of its own, though
    /// those of one tick would have shared a record: which would have, nobody knows any more.
    pub turned_away: u64,
    /// The keeper has been told to look and has not looked.
    pub look_waits: bool,
    /// The keeper shall end, and takes nothing more that somebody would wait for.
    pub stopping: bool,
    /// Records in the spool that are not delivered, as the keeper last said.
    pub waiting: u64,
    /// The last place that the spool has given out.
    pub last: Position,
    pub progress: Progress,
    /// The spool's own counts, as of the keeper's last look.
    pub stats: Stats,
}

/// A new session.
pub(super) struct Opened {
    pub items: mpsc::Sender<Item>,
    pub rewound: Option<Rewound>,
}

/// The keeper's door.
#[derive(Clone)]
pub struct Door {
    inbox: SyncSender<Event>,
    link: Arc<Mutex<Link>>,
    passes: PassMeters,
    events: EventMeters,
}

/// The keeper's side of it.
pub(super) struct Inside {
    pub inbox: Receiver<Event>,
    link: Arc<Mutex<Link>>,
}

/// Both sides. `last` is the last place that the spool has given out.
pub(super) fn open(last: Position, passes: PassMeters, events: EventMeters) -> (Door, Inside) {
    let (sender, inbox) = sync_channel(INBOX_PASSES);
    let link = Arc::new(Mutex::new(Link {
        opened: None,
        outcomes: Vec::new(),
        handed: Vec::new(),
        handed_bytes: 0,
        turned_away: 0,
        look_waits: false,
        stopping: false,
        waiting: 0,
        last,
        progress: Progress::default(),
        stats: Stats::default(),
    }));
    (Door { inbox: sender, link: link.clone(), passes, events }, Inside { inbox, link })
}

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        &self.record
    }
}

// === impl Inside ===

impl Inside {
    pub(super) fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes every record that somebody waits for.
    pub(super) fn take_handed(&self) -> Vec<Handed> {
        let mut link = self.lock();
        link.handed_bytes = 0;
        std::mem::take(&mut link.handed)
    }
}

// === impl Door ===

impl Door {
    /// Hands a pass in. False when the inbox is full, of which the keeper tells the aggregator, or the keeper has ended.
    pub fn deliver(&self, folded: Folded) -> bool {
        self.passes.taken_in.inc();
        self.passes.waiting.inc();
        let reason = match self.inbox.try_send(Event::Pass(folded)) {
            Ok(()) => return true,
            Err(TrySendError::Full(_)) => {
                self.lock().turned_away += 1;
                "queue_full"
            }
            Err(TrySendError::Disconnected(_)) => "stopping",
        };
        self.passes.waiting.dec();
        self.passes.dropped.with_label_values(&[reason]).inc();
        false
    }

    /// Hands in a record of so many events, for the class of those that are never dropped. It is kept when the receipt
    /// says so, and not before.
    pub fn hand_in(&self, record: Vec<u8>, events: u64) -> Result<Receipt, NotKept> {
        let (answer, receipt) = oneshot::channel();
        let queued = {
            let mut link = self.lock();
            let bytes = link.handed_bytes + record.len();
            if link.stopping {
                Err(NotKept::Stopping)
            } else if link.handed.len() >= HANDED_MAX || bytes > HANDED_MAX_BYTES {
                Err(NotKept::QueueFull)
            } else {
                self.events.waiting.add(events as f64);
                link.handed_bytes = bytes;
                link.handed.push(Handed { record, events, answer });
                Ok(())
            }
        };
        if let Err(why) = queued {
            self.events.refused.with_label_values(&[why.reason()]).inc_by(events);
            return Err(why);
        }
        self.look();
        Ok(receipt)
    }

    /// Opens a session: everything that is not acked comes again, oldest first. If the aggregator has shown that the
    /// spool was set back, records from now on get places in a new epoch.
    pub fn open_session(&self, rewound: Option<Rewound>) -> mpsc::Receiver<Item> {
        let (items, receiver) = mpsc::channel(WINDOW_RECORDS);
        {
            let mut link = self.lock();
            link.opened = Some(Opened { items, rewound });
            // What an older session heard and the keeper has not seen is said again by the next.
            link.outcomes.clear();
        }
        self.look();
        receiver
    }

    /// Tells what the session heard.
    pub fn heard(&self, outcome: Outcome, wake: Wake) {
        {
            let mut link = self.lock();
            if let (Some(Outcome::Acked(last)), Outcome::Acked(new)) = (link.outcomes.last_mut(), &outcome) {
                *last = *new;
            } else {
                link.outcomes.push(outcome);
            }
        }
        if wake == Wake::Now {
            self.look();
        }
    }

    /// What is not delivered: records in the spool, and the passes and events on their way to it. What comes there in this
    /// moment may be counted as both.
    pub fn waiting(&self) -> u64 {
        let coming = self.passes.waiting.get() + self.events.waiting.get(); // first, so that nothing slips between the two
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let coming = coming as u64;
        coming + self.lock().waiting
    }

    /// Outcomes that the keeper has not taken.
    #[cfg(test)]
    pub(crate) fn unheard(&self) -> usize {
        self.lock().outcomes.len()
    }

    /// The last place that the spool has given out; its seq is 0 where the epoch has given out none.
    pub fn last(&self) -> Position {
        self.lock().last
    }

    /// Whether the keeper gets on.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// The spool's counts.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Ends the keeper: it writes what it has, answers who waits, closes the spool and returns. Returns at once.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.look();
    }

    /// Wakes the keeper, once until it has looked: the inbox is for passes. A full one needs no wake-up, since the
    /// keeper is about to look anyway.
    fn look(&self) {
        let waits = std::mem::replace(&mut self.lock().look_waits, true);
        if !waits {
            let _ = self.inbox.try_send(Event::Look);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
