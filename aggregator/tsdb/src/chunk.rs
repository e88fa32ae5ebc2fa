//! Chunks: the samples of a series as bytes, in three states of their life.
//!
//! ```text
//!  append ──► open     one series in memory, compressed as it grows            1.0–1.4 bytes a sample
//!               │ two hours
//!               ▼
//!             sealed   times and values apart, each encoded for size            0.4–0.7 bytes a sample
//!               │ all series of one metric in those two hours
//!               ▼
//!             block    what a row of SQL holds: directory, values, checksum
//! ```
//! Every bit of a value survives: the staleness marker and other NaNs, `-0.0`, infinities, subnormals. Times are
//! milliseconds over the whole range of `i64`.
//!
//! Bytes are input: whatever they hold, a decoder answers with samples or with [`Damage`], and allocates for no more than
//! [`SAMPLES_MAX`] samples.
//!
//! `examples/chunk_size`, 2026-11-28, 2-core VM, CPU time: at 10 s sealed 0.70 bytes a sample with times and directories,
//! at 1 s 0.41; seal 90–130 ns, decode 6–10 ns a sample. Open 1.35 and 0.99 bytes, append 45–75 ns, decode 25–37 ns; 104
//! bytes where it is empty, 120 with one sample.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers are cut to a width that the mask, the width or the check beside the cut gives; counts of samples are small"
)]

mod bits;
mod block;
mod bytes;
mod decimal;
mod ints;
mod open;
mod packed;
mod ratio;
mod sealed;
mod track;

pub use block::{BLOCK_SERIES_MAX, Block, BlockError, BlockWriter, Entry, Part, Times, Unfit};
pub use open::{AppendError, OpenChunk};
pub use sealed::{Scratch, decode_times, decode_values, encode_times, encode_values, times_id};

/// Samples in one chunk at the most: two hours at 55 ms. A sealed chunk is decoded whole, so this bounds what hostile bytes
/// can make a decoder allocate: 1 MiB of times or values, and some 4 MiB of room beside them.
pub const SAMPLES_MAX: usize = 1 << 17;

/// More samples than a chunk may have; cut them in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} samples in one chunk; {SAMPLES_MAX} are the limit")]
pub struct TooMany {
    /// How many there were.
    pub count: usize,
}

/// Why bytes are not what an encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They end in the middle of something.
    #[error("bytes end early")]
    Short,
    /// They go on after the last sample.
    #[error("{0} bytes after the last sample")]
    Trailing(usize),
    /// A version or mode that is not known here.
    #[error("unknown mode {0:#04x}")]
    UnknownMode(u8),
    /// More samples than a chunk may have.
    #[error("{0} samples said to be in one chunk")]
    Count(u64),
    /// A number that is outside of what its place allows.
    #[error("{0} out of range")]
    Range(&'static str),
    /// The numeric compression does not understand its part.
    #[error("compressed numbers are damaged")]
    Numbers,
}
