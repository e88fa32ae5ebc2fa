//! Every way in which input on the stream can be wrong. Each says what, where and what to do, and has a word under
//! which it is counted.

use crate::limits::{
    BATCH_MAX_BYTES, FRAMES_PER_BATCH_MAX, GAPS_PER_BATCH_MAX, IDENTITY_MAX_BYTES, INTERVAL_MAX, PASSES_PER_FRAME_MAX,
    SERIES_PER_SCHEMA_MAX,
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
    /// A field that has a fixed length in bytes has another.
    #[error("{field} has {found} bytes instead of 16")]
    IdLength {
        /// The field.
        field: &'static str,
        /// Its length.
        found: usize,
    },
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
    /// The batch is too large.
    #[error("the batch has {0} bytes; the limit is {BATCH_MAX_BYTES}")]
    TooLarge(usize),
    /// Too many frames.
    #[error("{0} frames in one batch; the limit is {FRAMES_PER_BATCH_MAX}")]
    TooManyFrames(usize),
    /// Too many gap records.
    #[error("{0} gap records in one batch; the limit is {GAPS_PER_BATCH_MAX}")]
    TooManyGaps(usize),
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
    /// The word under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => "undecodable",
            Self::Damaged(_) => "damaged",
            Self::Version(_) => "protocol_version",
            Self::IdLength { .. } | Self::Identity { .. } | Self::ClinicId | Self::Interval(_) => "identity",
            Self::SeqZero | Self::SeqTooLarge(_) => "sequence",
            Self::TooLarge(_) => "too_large",
            Self::TooManyFrames(_) | Self::TooManyGaps(_) | Self::TooManyPasses(_) => "too_many_parts",
            Self::TooManySeries { .. } => "too_many_series",
            Self::SourceName | Self::Name { .. } | Self::DuplicateSeries(_) => "bad_name",
            Self::SchemaHash { .. } | Self::Kind { .. } | Self::SourceInterval { .. } => "bad_schema",
            Self::UnknownSchema(_) => "unknown_schema",
            Self::PassWidth { .. } => "pass_width",
        }
    }

    /// What the agent is told to do about it.
    pub fn wire_reason(&self) -> RefusalReason {
        match self {
            Self::Version(_) | Self::IdLength { .. } | Self::Identity { .. } | Self::ClinicId | Self::Interval(_) => {
                RefusalReason::UnacceptableAgent
            }
            Self::UnknownSchema(_) => RefusalReason::UnknownSchema,
            _ => RefusalReason::InvalidBatch,
        }
    }
}
