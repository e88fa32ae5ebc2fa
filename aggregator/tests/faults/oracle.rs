//! The oracle: what was promised, held against what is stored.
//!
//! A producer asks for an id and hands in the event of that id. The event is a pure function of the seed and the id, so
//! that nobody has to remember it. Once the agent has answered that the event is safe, the id is an *obligation*. At the
//! end each obligation must be stored, with its own words and once; what was never issued must not be there; and what was
//! issued and not promised may be.

use proto::event::Event;
use proto::sample::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// What happens at the clinics: types that the agent knows.
const KINDS: [&str; 4] = ["appointment.created", "appointment.no_show", "conversation.started", "conversation.message"];
/// How many clinics there are.
const CLINICS: u128 = 5;
/// When the first event happened: some day, so that no clock is needed. Later ones follow, a second each.
const FIRST_MS: i64 = 1_767_225_600_000;

/// See the module.
pub struct Oracle {
    seed: u64,
    issued: AtomicU64,
    promised: Mutex<BTreeSet<u64>>,
}

/// What the oracle says in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Obligations.
    pub promised: u64,
    /// Obligations that are not stored.
    pub missing: Vec<u64>,
    /// Stored and never issued, or with other words than those of their id.
    pub invented: Vec<Event>,
    /// Stored more than once.
    pub doubled: Vec<u64>,
}

// === impl Oracle ===

impl Oracle {
    /// An oracle whose events are those of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, issued: AtomicU64::new(0), promised: Mutex::default() }
    }

    /// A new id.
    pub fn issue(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed)
    }

    /// The event of an id.
    pub fn event(&self, id: u64) -> Event {
        let mut random = fastrand::Rng::with_seed(self.seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Event {
            kind: random.choice(KINDS).expect("there are some").into(),
            clinic_id: Uuid::from_u128(random.u128(1..=CLINICS)),
            occurred_at: Timestamp::from_millis(FIRST_MS + id.cast_signed() * 1000 + random.i64(0..1000)),
            idempotency_key: format!("{:016x}-{:016x}-{id}", self.seed, random.u64(..)),
        }
    }

    /// The agent has answered that these are safe.
    pub fn promise(&self, ids: &[u64]) {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    /// Holds what is stored against what was promised.
    pub fn judge(&self, stored: impl IntoIterator<Item = Event>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for event in stored {
            match self.id_of(&event) {
                Some(id) => *times.entry(id).or_default() += 1,
                None => verdict.invented.push(event),
            }
        }
        verdict.doubled = times.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id).collect();
        let promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        verdict.promised = promised.len() as u64;
        verdict.missing = promised.iter().filter(|id| !times.contains_key(id)).copied().collect();
        verdict
    }

    /// The id of which this is the event, word for word.
    fn id_of(&self, event: &Event) -> Option<u64> {
        let id = event.idempotency_key.rsplit_once('-')?.1.parse().ok()?;
        (id < self.issued.load(Ordering::Relaxed) && self.event(id) == *event).then_some(id)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether every promise is kept, and nothing is there that should not be.
    pub fn is_kept(&self) -> bool {
        self.missing.is_empty() && self.invented.is_empty() && self.doubled.is_empty()
    }
}

// === tests ===

fn oracle_with(promised: u64) -> Oracle {
    let oracle = Oracle::new(7);
    for _ in 0..promised {
        let id = oracle.issue();
        oracle.promise(&[id]);
    }
    oracle
}

#[test]
fn an_event_is_a_pure_function_of_its_id_and_legal() {
    let (one, other) = (Oracle::new(7), Oracle::new(8));
    for id in 0..200 {
        let event = one.event(id);
        assert_eq!(one.event(id), event);
        assert_ne!(other.event(id), event, "another seed has other events");
        let clinic = event.clinic_id.to_string();
        let checked = Event::try_new(&event.kind, &clinic, event.occurred_at, &event.idempotency_key);
        assert_eq!(checked, Ok(event));
    }
}

#[test]
fn the_oracle_is_content_with_what_was_promised_and_with_what_was_only_issued() {
    let oracle = oracle_with(3);
    let unpromised = oracle.issue();
    let stored = [0, 1, 2, unpromised].map(|id| oracle.event(id));
    let verdict = oracle.judge(stored);
    assert!(verdict.is_kept() && verdict.promised == 3, "{verdict:?}");
}

#[test]
fn the_oracle_finds_what_is_missing_doubled_or_invented() {
    let oracle = oracle_with(4);
    let changed = Event { occurred_at: Timestamp::ZERO, ..oracle.event(2) };
    let never = oracle.event(99);
    let strange = Event { idempotency_key: "x".into(), ..oracle.event(3) };
    let stored = [oracle.event(0), oracle.event(0), changed.clone(), never.clone(), strange.clone()];
    let verdict = oracle.judge(stored);
    assert_eq!(verdict.doubled, [0]);
    assert_eq!(verdict.missing, [1, 2, 3]);
    assert_eq!(verdict.invented, [changed, never, strange]);
}
