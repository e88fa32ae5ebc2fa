//! What can go wrong while a spool is open: one type for each thing that the caller can do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why an append got no position.
#[derive(Debug, Error)]
pub enum Refused {
    /// The record is too large.
    #[error("a record of {bytes} bytes is too large for the spool, which takes {max_bytes}: split the batch")]
    TooLarge {
        /// Of the payload.
        bytes: usize,
        /// What would be taken.
        max_bytes: usize,
    },
    /// No room left for this class, and nothing that may be dropped.
    #[error("spool {} is full ({max_bytes} bytes): the receiver does not keep up, or max_bytes is too small", dir.display())]
    Full {
        /// The spool.
        dir: PathBuf,
        /// Its bound.
        max_bytes: u64,
    },
    /// The disk is full, though our share of it is not.
    #[error("no space left on the disk of spool {}: free some, or give the spool less", dir.display())]
    NoSpace {
        /// The spool.
        dir: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The disk fails.
    #[error("cannot write to spool {}: check the disk; the next append tries a new file", dir.display())]
    Disk {
        /// The spool.
        dir: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// The disk did not make something durable. Nothing that was promised is lost, and the next call tries a new file.
#[derive(Debug, Error)]
#[error("cannot make spool {} durable: check the disk", dir.display())]
pub struct SyncError {
    /// The spool.
    pub dir: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

/// The disk did not give a record. The next call tries again, and after a few gives the place up as damaged.
#[derive(Debug, Error)]
#[error("cannot read spool {}: check the disk", dir.display())]
pub struct ReadError {
    /// The spool.
    pub dir: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

/// The position was not read since the last rewind. Late acks of an earlier connection look so: ignore them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("seq {seq} of epoch {epoch:032x} was not read since the last rewind, so it cannot be acked")]
pub struct NotRead {
    /// Of the position.
    pub epoch: u128,
    /// Of the position.
    pub seq: u64,
}
