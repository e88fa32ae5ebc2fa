//! What services hand in to the agent beside them, and what they hear: the messages of `v1/report.proto` as the programs
//! see them. A request arrives *raw*, as [`RawEvents`](crate::convert::RawEvents): nothing of it is believed yet.

/// What "accepted" survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of power.
    Durable,
    /// The agent's end, not the loss of power.
    Fast,
}

/// The answer to a request of events, once those that are accepted are in the agent's spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsAnswer {
    /// What they survive now.
    pub durability: Durability,
    /// How many were accepted.
    pub accepted: u32,
    /// The others, each with its reason; to send them again as they are is of no use.
    pub refused: Vec<EventRefusal>,
}

/// An event that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRefusal {
    /// Its index among the request's events.
    pub index: u32,
    /// A word from a short list, e.g. `unknown_type`.
    pub reason: String,
    /// For a person: what must be otherwise. Nothing of the event is repeated.
    pub message: String,
}

/// A message of a call that is not served yet; its content is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread;
