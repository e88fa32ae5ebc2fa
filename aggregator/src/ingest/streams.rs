//! The open streams: room for so many, which of an agent's is the newest, and whether two programs take turns.
//!
//! A newer stream of the same agent ends the older: the agent has given that up, only the network has not noticed. Two
//! programs with one id (a volume that was copied) would end each other's streams without end. One start of a program
//! has one `run_id`: a network that flaps brings back the same one, a program that was started anew brings a new one
//! and the old never again. So where A's stream was ended by B's, and A comes back while B's stands, they are two, and A
//! is sent away. When B has left, A may come back.
//!
//! Locked: which stream is the newest, for a lookup, and while a goodbye is noted. Limit: [`OUSTED_MAX`].

use proto::message::Hello;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Streams at a time. An idle one needs about 55 KiB without TLS (`bench/swarm`).
pub const STREAMS_MAX: usize = 10_000;
/// Programs remembered whose stream a standing one has ended: copies of one volume, of which two are too many.
const OUSTED_MAX: usize = 8;

/// The open streams: room for so many, and the newest of each agent, to be cancelled when a newer one comes.
#[derive(Debug)]
pub struct Streams {
    room: Arc<Semaphore>,
    newest: Mutex<Newest>,
}

/// Which stream is an agent's newest.
#[derive(Debug, Default)]
struct Newest {
    by_agent: HashMap<Uuid, Standing>,
    next_number: u64,
}

/// An agent's newest stream.
#[derive(Debug)]
struct Standing {
    number: u64,
    stop: CancellationToken,
    who: Who,
    /// The runs whose streams it, and those before it, have ended, oldest first.
    ousted: VecDeque<Uuid>,
}

/// Who speaks on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) run_id: Uuid,
    pub(super) service: String,
    pub(super) instance: String,
}

/// A stream's place among those of its agent.
pub(super) struct Place {
    pub(super) agent_id: Uuid,
    pub(super) who: Who,
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

    /// Makes a stream the agent's newest and ends the one before. Where that one has ended a stream of this same program
    /// already it stays, and is returned.
    pub(super) fn claim(&self, hello: &Hello, stop: &CancellationToken) -> Result<Place, Who> {
        let (agent_id, who) = (hello.agent_id, Who::of(hello));
        let mut newest = self.lock();
        let standing = newest.by_agent.get(&agent_id);
        if let Some(standing) = standing.filter(|standing| standing.ousted.contains(&who.run_id)) {
            return Err(standing.who.clone());
        }
        let ousted = standing.map(|standing| standing.ousted_with(who.run_id)).unwrap_or_default();
        let (number, stop) = (newest.next_number, stop.child_token());
        newest.next_number += 1;
        let standing = Standing { number, stop: stop.clone(), who: who.clone(), ousted };
        if let Some(older) = newest.by_agent.insert(agent_id, standing) {
            older.stop.cancel();
        }
        Ok(Place { agent_id, who, number, stop })
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

    /// The agent has left this stream, of which there is still something to write down: whoever it ended may come back.
    pub(super) fn left(&self, place: &Place) {
        let mut newest = self.lock();
        if let Some(standing) = newest.by_agent.get_mut(&place.agent_id).filter(|one| one.number == place.number) {
            standing.ousted.clear();
        }
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
        self.by_agent.get(&place.agent_id).is_some_and(|standing| standing.number == place.number)
    }
}

impl Standing {
    /// Whom a stream of `run_id` has ended that ends this one.
    fn ousted_with(&self, run_id: Uuid) -> VecDeque<Uuid> {
        let mut ousted = self.ousted.clone();
        if self.who.run_id != run_id {
            if ousted.len() >= OUSTED_MAX {
                ousted.pop_front();
            }
            ousted.push_back(self.who.run_id);
        }
        ousted
    }
}

impl Who {
    pub(super) fn of(hello: &Hello) -> Self {
        Self { run_id: hello.run_id, service: hello.service.clone(), instance: hello.instance.clone() }
    }
}
