//! The keeper's door: what others say to it and see of it. Nobody waits here for the disk: what is handed in goes into a
//! bounded inbox or is counted as turned away, and what is shown was noted by the keeper at its last step.

use super::{INBOX_PASSES, Item, Outcome};
use crate::fold::Folded;
use proto::limits::WINDOW_BATCHES;
use spool::Stats;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What wakes the keeper.
pub(super) enum Event {
    Pass(Folded),
    /// Something changed in the link.
    Look,
}

/// Whether the keeper gets on. Times are monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since when the disk has not taken what was written; `None` while it does.
    pub failing_since: Option<Duration>,
    /// Since when the keeper is at work; one that is for long waits for the disk.
    pub busy_since: Option<Duration>,
    /// When a record was last written.
    pub written_at: Option<Duration>,
    /// When the aggregator last said that it has one.
    pub acked_at: Option<Duration>,
}

/// What the others and the keeper share. Locked for moments only, never across an await or a disk write.
#[derive(Default)]
pub(super) struct Link {
    /// A session that the keeper has not begun to serve.
    pub opened: Option<mpsc::Sender<Item>>,
    /// In the order in which they were heard; consecutive acks are one.
    pub outcomes: VecDeque<Outcome>,
    /// Passes for which the inbox had no room, and which the spool does not know of.
    pub turned_away: u64,
    /// The keeper shall end.
    pub stopping: bool,
    /// Records and passes that are not delivered, as of the keeper's last look.
    pub waiting: u64,
    pub progress: Progress,
    /// The spool's own counts, as of the keeper's last look.
    pub stats: Stats,
}

/// The keeper's door.
#[derive(Clone)]
pub struct Door {
    inbox: SyncSender<Event>,
    link: Arc<Mutex<Link>>,
}

/// The keeper's side of it.
pub(super) struct Inside {
    pub inbox: Receiver<Event>,
    link: Arc<Mutex<Link>>,
}

/// Both sides.
pub(super) fn open() -> (Door, Inside) {
    let (sender, inbox) = sync_channel(INBOX_PASSES);
    let link = Arc::<Mutex<Link>>::default();
    (Door { inbox: sender, link: link.clone() }, Inside { inbox, link })
}

// === impl Inside ===

impl Inside {
    pub(super) fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Door ===

impl Door {
    /// Hands a pass in; false when the inbox is full. The keeper tells the aggregator of those.
    pub fn deliver(&self, folded: Folded) -> bool {
        let taken = self.inbox.try_send(Event::Pass(folded)).is_ok();
        if !taken {
            self.lock().turned_away += 1;
        }
        taken
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

    /// Whether the keeper gets on.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// The spool's counts.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Ends the keeper: it writes what it has, closes the spool and returns. Returns at once.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.look();
    }

    /// A full inbox needs no wake-up: the keeper is about to look anyway.
    fn look(&self) {
        let _ = self.inbox.try_send(Event::Look);
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
