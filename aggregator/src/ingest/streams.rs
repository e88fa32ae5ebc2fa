//! The open streams: room for so many, and which of an agent's is the newest.
//!
//! A newer stream of the same agent ends the older: the agent has given that up, only the network has not noticed.
//! Locked: which stream is the newest, for a lookup, and while a goodbye is noted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Streams at a time. One needs about 60 KiB.
pub const STREAMS_MAX: usize = 10_000;

/// The open streams: room for so many, and the newest of each agent, to be cancelled when a newer one comes.
#[derive(Debug)]
pub struct Streams {
    room: Arc<Semaphore>,
    newest: Mutex<Newest>,
}

/// Which stream is an agent's newest.
#[derive(Debug, Default)]
struct Newest {
    by_agent: HashMap<Uuid, (u64, CancellationToken)>,
    next_number: u64,
}

/// A stream's place among those of its agent.
pub(super) struct Place {
    pub(super) agent_id: Uuid,
    number: u64,
    /// Ends with the phase, or when a newer stream comes.
    pub(super) stop: CancellationToken,
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

    /// A place for one more, where there is one.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Makes a stream the agent's newest and ends the one before.
    pub(super) fn claim(&self, agent_id: Uuid, stop: &CancellationToken) -> Place {
        let mut newest = self.lock();
        let (number, stop) = (newest.next_number, stop.child_token());
        newest.next_number += 1;
        if let Some((_, older)) = newest.by_agent.insert(agent_id, (number, stop.clone())) {
            older.cancel();
        }
        Place { agent_id, number, stop }
    }

    /// Does `act` unless a newer stream has come. Returns whether it did.
    pub(super) fn while_newest(&self, place: &Place, act: impl FnOnce()) -> bool {
        let newest = self.lock();
        let is_newest = newest.has(place);
        if is_newest {
            act();
        }
        is_newest
    }

    pub(super) fn forget(&self, ended: &Place) {
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
