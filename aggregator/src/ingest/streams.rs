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

#[cfg(test)]
mod tests {
    use super::*;
    use proto::message::Position;
    use proto::sample::Timestamp;
    use std::time::Duration;

    /// The hello of a start of agent 1's program, or of a copy of it.
    fn hello(run: u128) -> Hello {
        Hello {
            agent_id: Uuid::from_u128(1),
            service: "agenda".into(),
            instance: format!("agenda-{run}"),
            clinic_id: None,
            interval: Duration::from_secs(1),
            wall: Timestamp::ZERO,
            monotonic: Duration::ZERO,
            boot_id: "boot".into(),
            agent_version: "0.1.0".into(),
            run_id: Uuid::from_u128(run),
            last: Position { epoch: 1, seq: 0 },
        }
    }

    /// One that must have its place.
    fn claimed(streams: &Streams, run: u128) -> Place {
        streams.claim(&hello(run), &CancellationToken::new()).expect("nobody ended it")
    }

    fn is_let_in(streams: &Streams, run: u128) -> bool {
        streams.claim(&hello(run), &CancellationToken::new()).is_ok()
    }

    #[test]
    fn a_newer_stream_of_an_agent_ends_the_older_and_no_other_agents() {
        let streams = Streams::default();
        let other = Hello { agent_id: Uuid::from_u128(2), ..hello(7) };
        let other = streams.claim(&other, &CancellationToken::new()).expect("it is alone");
        let (older, newer) = (claimed(&streams, 7), claimed(&streams, 7));
        let ended = [&other, &older, &newer].map(|place| place.stop.is_cancelled());
        assert_eq!(ended, [false, true, false]);
        let (mut old_acts, mut new_acts) = (false, false);
        assert!(!streams.while_newest(&older, || old_acts = true) && streams.while_newest(&newer, || new_acts = true));
        assert_eq!((old_acts, new_acts), (false, true));
        streams.forget(&older);
        assert!(streams.while_newest(&newer, || ()), "what is over takes nothing along");
        streams.forget(&newer);
        assert!(!streams.while_newest(&newer, || ()));
    }

    #[test]
    fn a_stream_ends_with_the_phase_that_it_belongs_to() {
        let (streams, phase) = (Streams::default(), CancellationToken::new());
        let place = streams.claim(&hello(7), &phase).expect("it is alone");
        phase.cancel();
        assert!(place.stop.is_cancelled());
    }

    #[test]
    fn who_was_ended_by_the_standing_stream_is_told_whose_it_is_until_that_one_leaves() {
        let streams = Streams::default();
        claimed(&streams, 1);
        let second = claimed(&streams, 2);
        let refused = streams.claim(&hello(1), &CancellationToken::new()).err();
        assert_eq!(refused, Some(second.who.clone()));
        assert!(!second.stop.is_cancelled(), "it stays");
        // A network that flaps is one program, and lets nobody in whom it has ended.
        let again = claimed(&streams, 2);
        assert!(!is_let_in(&streams, 1));
        streams.left(&second);
        assert!(!is_let_in(&streams, 1), "an older stream of it has left, and not the standing one");
        streams.left(&again);
        assert!(is_let_in(&streams, 1));
    }

    #[test]
    fn so_many_copies_are_told_apart_and_the_oldest_are_forgotten() {
        let streams = Streams::default();
        let copies = OUSTED_MAX as u128 + 1;
        (0..=copies).for_each(|run| drop(claimed(&streams, run)));
        assert!((1..copies).all(|run| !is_let_in(&streams, run)));
        assert!(is_let_in(&streams, 0));
    }

    #[test]
    fn there_is_room_for_so_many_streams_and_again_when_one_is_over() {
        let streams = Streams::with_room(2);
        let (one, two) = (streams.room(), streams.room());
        assert!(one.is_some() && two.is_some() && streams.room().is_none());
        drop(one);
        assert!(streams.room().is_some());
    }
}
