//! What comes out of a spool: records, and gaps where records should be.

use crate::record::Class;

/// Names a record for ever: no two records ever share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Random; a new one begins whenever continuing the old could reuse a seq.
    pub epoch: u128,
    /// From 1, without holes within an epoch; 0 stands before the first.
    pub seq: u64,
}

/// What `read_next` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record.
    Record(Record<'a>),
    /// Records that will never come. Tell the receiver, and ack it like a record: [`Gap::position`].
    Gap(Gap),
    /// [`MAX_IN_FLIGHT`](crate::MAX_IN_FLIGHT) are unacked; ack some first.
    WindowFull,
    /// Everything visible has been read.
    Empty,
}

/// A record as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its name.
    pub position: Position,
    /// What it was appended as.
    pub class: Class,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A run of records of one epoch that are lost, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Theirs.
    pub epoch: u128,
    /// The first that is lost.
    pub first_seq: u64,
    /// The last that is lost.
    pub last_seq: u64,
    /// Why.
    pub reason: Reason,
}

/// Why records are lost. The numbers stand in skips on disk: none is ever used for another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Dropped to make room, or turned away because nothing may be dropped.
    SpoolFull = 1,
    /// Damaged or missing on disk.
    Corrupt = 2,
    /// The receiver will never take it.
    Refused = 3,
    /// Larger than a record may be.
    TooLarge = 4,
    /// Turned away before the spool, because its owner did not keep up.
    QueueFull = 5,
    /// The disk had no room, and we had nothing to give up for it.
    DiskFull = 6,
    /// The disk failed.
    DiskError = 7,
}

// === impl Gap ===

impl Gap {
    /// What to ack when the receiver knows of it.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.last_seq }
    }
}

// === impl Reason ===

impl Reason {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::SpoolFull,
        Self::Corrupt,
        Self::Refused,
        Self::TooLarge,
        Self::QueueFull,
        Self::DiskFull,
        Self::DiskError,
    ];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&reason| reason as u8 == byte)
    }

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::Corrupt => "corrupt",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
            Self::DiskFull => "disk_full",
            Self::DiskError => "disk_error",
        }
    }
}
