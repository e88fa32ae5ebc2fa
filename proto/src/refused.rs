//! Every way in which input on the stream can be wrong. Each says what, where and what to do, and has a word under
//! which it is counted.

use crate::event::EventError;
use crate::limits::{
    BATCH_MAX_BYTES, EVENTS_PER_BATCH_MAX, FRAMES_PER_BATCH_MAX, GAPS_PER_BATCH_MAX, IDENTITY_MAX_BYTES, INTERVAL_MAX,
    PASSES_PER_FRAME_MAX, SERIES_PER_SCHEMA_MAX,
};
use crate::message::{PROTOCOL_VERSION, RefusalReason};
use crate::name::NameError;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are no message of this protocol.
    #[error("the bytes are no valid protobuf message: {0}")]
    Undecodable(String),
    /// The bytes at rest cannot be decompressed.
    #[error("the stored batch is damaged: {0}")]
    Damaged(String),
    /// The peer speaks another version.
    #[error("protocol version {0} is not spoken here (this is version {PROTOCOL_VERSION}); update the older program")]
    Version(u32),
    /// The id of an agent's run is no uuid. It has this many bytes.
    #[error("run_id must be the 16 bytes of a uuid; it has {0} bytes")]
    RunId(usize),
    /// The agent's id is no uuid, or nil. It has this many bytes.
    #[error("agent_id must be the 16 bytes of a uuid that is not nil; it has {0} bytes")]
    AgentId(usize),
    /// An epoch has another length in bytes than it must.
    #[error("an epoch has {0} bytes instead of 16")]
    Epoch(usize),
    /// A name in `Hello` is empty, too long or has control characters.
    #[error(
        "{field} must have 1 to {IDENTITY_MAX_BYTES} bytes and no control characters; set it in the agent's configuration"
    )]
    Identity {
        /// The field.
        field: &'static str,
    },
    /// The clinic's id is no uuid.
    #[error("clinic_id is not a uuid; set --clinic-id to the clinic's id or leave it out")]
    ClinicId,
    /// The agent's interval is zero or longer than [`INTERVAL_MAX`].
    #[error("interval of {0} ms is not between 1 ms and {INTERVAL_MAX:?}; set --interval")]
    Interval(u64),
    /// Sequence numbers begin at 1.
    #[error("sequence number 0; they begin at 1")]
    SeqZero,
    /// No database that we speak has larger whole numbers.
    #[error("sequence number {0} is beyond {max}", max = i64::MAX)]
    SeqTooLarge(u64),
    /// The reason of a gap record is empty, too long or has control characters.
    #[error("a gap record's reason must have 1 to {IDENTITY_MAX_BYTES} bytes and no control characters")]
    GapReason,
    /// A packed batch has parts beside it, or holds one that is packed again.
    #[error("a packed batch must hold all frames, gaps and events itself, and be packed once")]
    Packing,
    /// The transport does not carry so large a message; its words.
    #[error("{0}")]
    MessageTooLarge(String),
    /// The batch is too large.
    #[error("the batch has {0} bytes; the limit is {BATCH_MAX_BYTES}")]
    TooLarge(usize),
    /// Too many frames.
    #[error("{0} frames in one batch; the limit is {FRAMES_PER_BATCH_MAX}")]
    TooManyFrames(usize),
    /// Too many gap records.
    #[error("{0} gap records in one batch; the limit is {GAPS_PER_BATCH_MAX}")]
    TooManyGaps(usize),
    /// Too many events.
    #[error("{0} events in one batch; the limit is {EVENTS_PER_BATCH_MAX}")]
    TooManyEvents(usize),
    /// An event is none.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Another batch is stored in its place.
    #[error("another batch is stored in place {seq} of epoch {epoch:032x}: the agent's spool was set back or copied")]
    PositionTaken {
        /// Of the place.
        epoch: u128,
        /// Of the place.
        seq: u64,
    },
    /// Too many passes.
    #[error("{0} passes in one frame; the limit is {PASSES_PER_FRAME_MAX}")]
    TooManyPasses(usize),
    /// Too many series.
    #[error("source {source_name:?} reports {series} series; the limit is {SERIES_PER_SCHEMA_MAX}")]
    TooManySeries {
        /// The source.
        source_name: String,
        /// How many it has.
        series: usize,
    },
    /// The source's name is not one.
    #[error("the source of a schema must be a name of 1 to 64 bytes in [a-z0-9_]")]
    SourceName,
    /// A source's interval is longer than [`INTERVAL_MAX`].
    #[error("source {source_name:?} takes a pass once in {interval_ms} ms; the limit is {INTERVAL_MAX:?}")]
    SourceInterval {
        /// The source.
        source_name: String,
        /// Its interval.
        interval_ms: u64,
    },
    /// The id is not the hash of the bytes.
    #[error("schema {said:016x} hashes to {found:016x}")]
    SchemaHash {
        /// The id as sent.
        said: u64,
        /// The hash of the bytes.
        found: u64,
    },
    /// The schema was never defined on this stream.
    #[error("schema {0:016x} was not defined on this stream; send it with the batch")]
    UnknownSchema(u64),
    /// The series' kind is unknown.
    #[error("series {series} has the unknown kind {kind}")]
    Kind {
        /// The series' name.
        series: String,
        /// The number sent.
        kind: i32,
    },
    /// A name or label is malformed.
    #[error("source {source_name:?}: {problem}")]
    Name {
        /// The source.
        source_name: String,
        /// What is wrong with it.
        problem: NameError,
    },
    /// The same series twice in one schema.
    #[error("series {0} stands twice in its schema")]
    DuplicateSeries(String),
    /// A pass does not fit its schema.
    #[error("a pass of source {source_name:?} has {values} values for {series} series")]
    PassWidth {
        /// The source.
        source_name: String,
        /// Values in the pass.
        values: usize,
        /// Series in the schema.
        series: usize,
    },
}

impl Refused {
    /// Every word that [`Self::reason`] gives.
    pub const REASONS: &[&str] = &[
        "undecodable",
        "damaged",
        "protocol_version",
        "identity",
        "sequence",
        "too_large",
        "too_many_parts",
        "too_many_series",
        "bad_name",
        "bad_schema",
        "bad_gap",
        "unknown_schema",
        "pass_width",
        "bad_event",
        "position_taken",
    ];

    /// The word under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(_) | Self::Packing => "undecodable",
            Self::Damaged(_) => "damaged",
            Self::Version(_) => "protocol_version",
            Self::AgentId(_) | Self::RunId(_) | Self::Identity { .. } | Self::ClinicId | Self::Interval(_) => {
                "identity"
            }
            Self::Epoch(_) | Self::SeqZero | Self::SeqTooLarge(_) => "sequence",
            Self::TooLarge(_) | Self::MessageTooLarge(_) => "too_large",
            Self::TooManyFrames(_) | Self::TooManyGaps(_) | Self::TooManyEvents(_) | Self::TooManyPasses(_) => {
                "too_many_parts"
            }
            Self::TooManySeries { .. } => "too_many_series",
            Self::SourceName | Self::Name { .. } | Self::DuplicateSeries(_) => "bad_name",
            Self::SchemaHash { .. } | Self::Kind { .. } | Self::SourceInterval { .. } => "bad_schema",
            Self::GapReason => "bad_gap",
            Self::UnknownSchema(_) => "unknown_schema",
            Self::PassWidth { .. } => "pass_width",
            Self::Event(_) => "bad_event",
            Self::PositionTaken { .. } => "position_taken",
        }
    }

    /// What the agent is told to do about it. An agent that is not acceptable comes back with the same batch, so no
    /// mistake that a batch can have may make it so.
    pub fn wire_reason(&self) -> RefusalReason {
        match self {
            Self::Version(_)
            | Self::AgentId(_)
            | Self::RunId(_)
            | Self::Identity { .. }
            | Self::ClinicId
            | Self::Interval(_)
            | Self::MessageTooLarge(_) => RefusalReason::UnacceptableAgent,
            Self::UnknownSchema(_) => RefusalReason::UnknownSchema,
            Self::PositionTaken { .. } => RefusalReason::PositionTaken,
            Self::Undecodable(_)
            | Self::Damaged(_)
            | Self::Epoch(_)
            | Self::SeqZero
            | Self::SeqTooLarge(_)
            | Self::GapReason
            | Self::Packing
            | Self::TooLarge(_)
            | Self::TooManyFrames(_)
            | Self::TooManyGaps(_)
            | Self::TooManyEvents(_)
            | Self::Event(_)
            | Self::TooManyPasses(_)
            | Self::TooManySeries { .. }
            | Self::SourceName
            | Self::SourceInterval { .. }
            | Self::SchemaHash { .. }
            | Self::Kind { .. }
            | Self::Name { .. }
            | Self::DuplicateSeries(_)
            | Self::PassWidth { .. } => RefusalReason::InvalidBatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each.
    fn all() -> Vec<Refused> {
        let (text, source_name) = (String::new, String::new);
        vec![
            Refused::Undecodable(text()),
            Refused::Damaged(text()),
            Refused::Version(2),
            Refused::AgentId(0),
            Refused::RunId(0),
            Refused::Epoch(0),
            Refused::Identity { field: "service" },
            Refused::ClinicId,
            Refused::Interval(0),
            Refused::SeqZero,
            Refused::SeqTooLarge(1 << 63),
            Refused::GapReason,
            Refused::Packing,
            Refused::MessageTooLarge(text()),
            Refused::TooLarge(1),
            Refused::TooManyFrames(1),
            Refused::TooManyGaps(1),
            Refused::TooManyEvents(1),
            Refused::Event(EventError::Key),
            Refused::PositionTaken { epoch: 1, seq: 2 },
            Refused::TooManyPasses(1),
            Refused::TooManySeries { source_name: source_name(), series: 1 },
            Refused::SourceName,
            Refused::SourceInterval { source_name: source_name(), interval_ms: 1 },
            Refused::SchemaHash { said: 1, found: 2 },
            Refused::UnknownSchema(1),
            Refused::Kind { series: text(), kind: 9 },
            Refused::Name { source_name: source_name(), problem: NameError::TooMany(31) },
            Refused::DuplicateSeries(text()),
            Refused::PassWidth { source_name: source_name(), values: 1, series: 2 },
        ]
    }

    #[test]
    fn only_who_speaks_is_unacceptable_and_never_what_a_batch_says() {
        let unacceptable: Vec<Refused> =
            all().into_iter().filter(|why| why.wire_reason() == RefusalReason::UnacceptableAgent).collect();
        let of_a_hello_or_the_transport = [
            Refused::Version(2),
            Refused::AgentId(0),
            Refused::RunId(0),
            Refused::Identity { field: "service" },
            Refused::ClinicId,
            Refused::Interval(0),
            Refused::MessageTooLarge(String::new()),
        ];
        assert_eq!(unacceptable, of_a_hello_or_the_transport);
        let elsewhere = all().into_iter().filter(|why| why.wire_reason() == RefusalReason::PositionTaken);
        assert_eq!(elsewhere.collect::<Vec<_>>(), [Refused::PositionTaken { epoch: 1, seq: 2 }]);
        let again = all().into_iter().filter(|why| why.wire_reason() == RefusalReason::UnknownSchema);
        assert_eq!(again.collect::<Vec<_>>(), [Refused::UnknownSchema(1)]);
    }

    #[test]
    fn each_word_for_counting_is_in_the_list_and_none_is_in_it_for_nothing() {
        let mut said: Vec<&str> = all().iter().map(Refused::reason).collect();
        let mut listed = Refused::REASONS.to_vec();
        said.sort_unstable();
        said.dedup();
        listed.sort_unstable();
        assert_eq!(said, listed);
    }
}
