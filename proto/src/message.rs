//! The messages of the agent's stream as the programs see them.
//!
//! An agent's `Hello` and `Batch` arrive *raw*: decoded, but not yet believed. `check` and `resolve` (in `convert`)
//! turn them into domain values or into a typed [`Refused`].

use crate::convert::{RawBatch, RawHello};
use crate::event::Event;
use crate::refused::Refused;
use crate::sample::{Frame, Gap, Timestamp};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// The protocol version that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromAgent {
    /// First message of a stream.
    Hello(RawHello),
    /// Samples and gaps.
    Batch(RawBatch),
    /// What the agent's wall clock shows as it speaks.
    Clock(ClockReading),
    /// The agent goes down on purpose.
    Goodbye {
        /// A word, e.g. `shutdown`.
        reason: String,
    },
    /// A message of a kind that this build does not know; a newer agent speaks. To be ignored.
    Unknown,
    /// A message that cannot be read, or has more parts than it may. Never sent.
    Unreadable {
        /// Where it stands, where it is a batch that says so: the batch is refused and the stream goes on.
        position: Option<Position>,
        /// What is wrong with it.
        why: Refused,
    },
}

/// What the aggregator answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent {
    /// The stream is open.
    Welcome(Welcome),
    /// Everything up to and including this position is durable.
    Ack(Position),
    /// Something will not be taken.
    Refusal(Refusal),
    /// A message of a kind that this build does not know. To be ignored.
    Unknown,
}

/// Where a batch stands: sequence numbers have no gaps within an epoch and begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Random, new when the agent's spool is new.
    pub epoch: u128,
    /// Place within the epoch.
    pub seq: u64,
}

/// An agent introduces itself. Every field is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Kept with the agent's spool.
    pub agent_id: Uuid,
    /// The watched service, 1 to 100 bytes.
    pub service: String,
    /// Which of its copies, 1 to 100 bytes.
    pub instance: String,
    /// The clinic, where the service works for just one.
    pub clinic_id: Option<Uuid>,
    /// How often a batch comes.
    pub interval: Duration,
    /// The agent's wall clock as it spoke.
    pub wall: Timestamp,
    /// The agent's monotonic clock as it spoke.
    pub monotonic: Duration,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Version of the agent program.
    pub agent_version: String,
    /// Random, new at each start of the program: two that take turns under one id are two programs.
    pub run_id: Uuid,
    /// The last place that the spool has given out; the seq is 0 where its epoch has none yet.
    pub last: Position,
}

/// The aggregator's answer to a `Hello`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// The last seq that is stored of the epoch that the hello named; 0 where none is.
    pub stored_seq: u64,
}

/// A reading of an agent's wall clock; no reading is wrong, so nothing is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// What it showed as the agent spoke.
    pub wall: Timestamp,
    /// Whether it was set since the agent spoke of it last, so that what was measured before is void.
    pub was_set: bool,
}

/// A checked batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Where it stands.
    pub position: Position,
    /// Samples.
    pub frames: Vec<Frame>,
    /// What the agent had to drop.
    pub gaps: Vec<Gap>,
    /// What happened at clinics.
    pub events: Vec<Event>,
}

/// Why the aggregator refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The batch can never be taken.
    InvalidBatch,
    /// This agent or protocol version may not speak here.
    UnacceptableAgent,
    /// A schema was referred to before it was defined on this stream; send the batch again with its schemas.
    UnknownSchema,
    /// Not now.
    Unavailable,
    /// Another batch is stored in this place. As an ack, it stands for everything before it.
    PositionTaken,
}

/// The aggregator's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// The batch meant; `None` where the refusal is about the stream.
    pub position: Option<Position>,
    /// For a person: what was wrong and what to do.
    pub message: String,
    /// When to come back, where the aggregator says so.
    pub retry_after: Option<Duration>,
}

impl Batch {
    /// Whether it holds nothing but gaps: then its own place is among what is lost.
    pub fn is_gap(&self) -> bool {
        self.frames.is_empty() && self.events.is_empty()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}", self.epoch, self.seq)
    }
}
