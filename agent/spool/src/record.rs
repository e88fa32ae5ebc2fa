//! A record on disk, and the walk over a file of them that survives damage.
//!
//! ```text
//! len u32 | crc32c u32 | type u8 | seq u64 | payload [len]               little endian
//!           └ over len, type, seq and payload
//!
//! type 1, 2   a record of class ordinary, critical
//! type 3      a skip, in the critical lane: payload = reason u8 | count u64
//! ```
//! A *skip* stands for records that never came to be. It takes `count` seqs from its own on, and is read as a gap.
//! The walk reads a file in windows through a descriptor that it opens for each window, so that a reader at rest holds
//! none. Where no good record starts, it looks for the next byte at which one does, and says what lies between.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::crc::crc32c;
use crate::fs::{Access, Fs};
use crate::item::Reason;

/// The largest payload. A batch is the unit of sending and of replay, and the receiver takes messages of 4 MiB: 1 MiB
/// leaves room for what wraps it, and bounds the memory of one read.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// What stands before each payload.
pub(crate) const FRAME_BYTES: usize = 4 + 4 + 1 + 8;

/// The most seqs that one skip takes: far less than `PLAUSIBLE_SPAN`, so that those behind it are believed.
pub const MAX_SKIP: u64 = 1 << 20;

/// The type byte of a skip; those of records are their classes.
const SKIP: u8 = 3;

/// The payload of a skip.
const SKIP_BYTES: usize = 1 + 8;

/// How much one read fetches: large enough that a backlog drains at disk speed, small enough for a sidecar's memory.
const WINDOW_BYTES: usize = 256 << 10;

/// What a record is worth when space is short. The spool knows no other difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// May be dropped, oldest first, when the spool is full (metrics).
    Ordinary = 1,
    /// Never dropped for space; has the last tenth of the spool to itself (business events).
    Critical = 2,
}

/// What a frame on disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Record(Class),
    Skip(Skip),
}

/// Records that never came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skip {
    pub reason: Reason,
    /// How many seqs it takes; at least one.
    pub count: u64,
}

/// A record found by the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub kind: Kind,
    /// Its first, if it is a skip.
    pub seq: u64,
    /// Where it starts in its file.
    pub at: u64,
    /// Bytes of payload.
    pub len: usize,
}

/// One step of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Record(Found),
    /// No record from `at` on for so many bytes; a good one follows, or the end.
    Damaged {
        at: u64,
        bytes: u64,
    },
    End,
}

/// Walks a file from an offset.
pub(crate) struct Walker {
    path: PathBuf,
    /// Where the next step looks.
    pub at: u64,
    window: Vec<u8>,
    window_at: u64,
    /// How much of the window holds bytes of the file.
    filled: usize,
    /// Bytes from here on may still change, and are never fetched.
    end: u64,
}

// === impl Class ===

impl Class {
    /// Both, in the order of their lanes.
    pub const ALL: [Self; 2] = [Self::Ordinary, Self::Critical];

    pub(crate) fn index(self) -> usize {
        self as usize - 1
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&class| class as u8 == byte)
    }

    /// As it stands in file names and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Critical => "critical",
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The lane it lies in. Skips lie with the critical ones, where nothing is dropped.
    pub fn class(self) -> Class {
        match self {
            Self::Record(class) => class,
            Self::Skip(_) => Class::Critical,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Record(class) => class as u8,
            Self::Skip(_) => SKIP,
        }
    }
}

// === impl Skip ===

impl Skip {
    pub fn encode(self) -> [u8; SKIP_BYTES] {
        let mut bytes = [self.reason as u8; SKIP_BYTES];
        bytes[1..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let [reason, count @ ..] = *<&[u8; SKIP_BYTES]>::try_from(payload).ok()?;
        let count = u64::from_le_bytes(count);
        (1..=MAX_SKIP).contains(&count).then_some(Self { reason: Reason::from_byte(reason)?, count })
    }
}

/// Appends a record to a buffer. The caller has refused payloads above [`MAX_RECORD_BYTES`].
pub(crate) fn encode(into: &mut Vec<u8>, kind: Kind, seq: u64, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("append refuses payloads above 1 MiB").to_le_bytes();
    let (kind, seq) = ([kind.to_byte()], seq.to_le_bytes());
    let crc = crc32c(&[&len, &kind, &seq, payload]).to_le_bytes();
    for part in [&len[..], &crc, &kind, &seq, payload] {
        into.extend_from_slice(part);
    }
}

// === impl Found ===

impl Found {
    /// Where the next record starts.
    pub fn end(&self) -> u64 {
        self.at + (FRAME_BYTES + self.len) as u64
    }

    /// The last seq that it takes.
    pub fn last_seq(&self) -> u64 {
        match self.kind {
            Kind::Record(_) => self.seq,
            Kind::Skip(skip) => self.seq.saturating_add(skip.count - 1),
        }
    }
}

// === impl Walker ===

impl Walker {
    pub fn new(path: PathBuf, at: u64) -> Self {
        Self { path, at, window: Vec::new(), window_at: 0, filled: 0, end: u64::MAX }
    }

    /// Goes one record on, not beyond `end`. After damage, only a record with a seq within `plausible` is believed.
    pub fn step(&mut self, fs: &dyn Fs, end: u64, plausible: &RangeInclusive<u64>) -> io::Result<Step> {
        self.end = end;
        if self.at >= end {
            return Ok(Step::End);
        }
        let from = self.at;
        let mut probe = from;
        let found = loop {
            match self.record_at(fs, probe, end, (probe > from).then_some(plausible))? {
                Some(found) => break Some(found),
                None if probe + FRAME_BYTES as u64 >= end => break None,
                None => probe += 1,
            }
        };
        self.at = found.map_or(end, |found| if found.at == from { found.end() } else { found.at });
        Ok(match found {
            Some(found) if found.at == from => Step::Record(found),
            _ => Step::Damaged { at: from, bytes: self.at - from },
        })
    }

    /// The payload of a record found in this file.
    pub fn payload(&mut self, fs: &dyn Fs, found: &Found) -> io::Result<&[u8]> {
        let frame = self.view(fs, found.at, found.end())?;
        frame.get(FRAME_BYTES..).filter(|payload| payload.len() == found.len).ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    /// Any bytes of the file, or fewer where it ends.
    pub fn view(&mut self, fs: &dyn Fs, from: u64, to: u64) -> io::Result<&[u8]> {
        if from < self.window_at || to > self.window_at + self.filled as u64 {
            self.fill(fs, from, to)?;
        }
        let start = index(from - self.window_at).min(self.filled);
        let end = index(to - self.window_at).min(self.filled);
        Ok(&self.window[start..end])
    }

    fn fill(&mut self, fs: &dyn Fs, from: u64, to: u64) -> io::Result<()> {
        let wanted = index(to - from).max(WINDOW_BYTES);
        if self.window.len() < wanted {
            self.window = vec![0; wanted];
        }
        self.window_at = from;
        self.filled = 0;
        let settled = index(self.end.saturating_sub(from)).min(self.window.len());
        self.filled = fs.open(&self.path, Access::Read)?.read_at(&mut self.window[..settled], from)?;
        Ok(())
    }

    fn record_at(
        &mut self,
        fs: &dyn Fs,
        at: u64,
        end: u64,
        plausible: Option<&RangeInclusive<u64>>,
    ) -> io::Result<Option<Found>> {
        let head_end = at + FRAME_BYTES as u64;
        if head_end > end {
            return Ok(None);
        }
        let Ok(&head) = <&[u8; FRAME_BYTES]>::try_from(self.view(fs, at, head_end)?) else { return Ok(None) };
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind, seq @ ..] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let seq = u64::from_le_bytes(seq);
        let class = Class::from_byte(kind);
        let frame_end = head_end + len as u64;
        let is_ours = class.is_some() || kind == SKIP;
        let is_plausible = plausible.is_none_or(|range| range.contains(&seq));
        if !is_ours || len > MAX_RECORD_BYTES || frame_end > end || !is_plausible {
            return Ok(None);
        }
        let frame = self.view(fs, at, frame_end)?;
        let intact = frame.len() == FRAME_BYTES + len
            && crc32c(&[&frame[..4], &frame[8..]]) == u32::from_le_bytes([c0, c1, c2, c3]);
        let kind = match class {
            Some(class) => Some(Kind::Record(class)),
            None => frame.get(FRAME_BYTES..).and_then(Skip::decode).map(Kind::Skip),
        };
        Ok(kind.filter(|_| intact).map(|kind| Found { kind, seq, at, len }))
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
