//! A segment: one file of records of one class, in the order of their places.
//!
//! ```text
//! name    00000001-00000000000000000042-00000000000000000007.ordinary.seg
//!         era      first seq            ordinal              class
//! header  "SEGM" | version u16 | owner u128 | epoch u128 | era u32 | first seq u64 | ordinal u64 | class u8 | crc32c u32
//! records one after another to the end
//! ```
//! The *ordinal* says how many records this lane held before the segment, so that two neighbours tell how many lie in
//! the first without reading it. The name repeats the header: either may be lost. Where they differ (somebody renamed
//! files) the header is believed.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::Place;
use crate::fs::{Fs, read_small};
use crate::record::Class;
use crate::sealed::{ENVELOPE_BYTES, Fields, Unsealed, seal, unseal};

const MAGIC: [u8; 4] = *b"SEGM";

/// A name that claims more than this was not given by us (it would take nine years at a million records a second), and
/// sums of a few such claims must not overflow.
const MAX_CLAIM: u64 = 1 << 48;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = ENVELOPE_BYTES + 16 + 16 + 4 + 8 + 8 + 1;

/// What a segment holds; sorts in reading order within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub first: Place,
    pub ordinal: u64,
    pub class: Class,
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub owner: Uuid,
    pub epoch: u128,
    pub key: Key,
}

/// A segment as its lane knows it. `done + sent + lost <= records`, and the rest is still to be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub key: Key,
    pub path: PathBuf,
    /// Bytes on disk that are ours.
    pub bytes: u64,
    /// Bytes that the reader may see.
    pub visible: u64,
    /// Records within `visible`, as far as known without reading them.
    pub records: u64,
    /// Records acked or refused.
    pub done: u64,
    /// Records given to the reader and not yet done.
    pub sent: u64,
    /// Records that the reader has passed without finding them.
    pub lost: u64,
    /// Where the first record that is not done starts, or before it.
    pub resume: u64,
    /// Whether the disk did not give all of it: it goes to quarantine when it is finished, not away.
    pub given_up: bool,
}

// === impl Key ===

impl Key {
    pub fn file_name(&self) -> String {
        let Place { era, seq } = self.first;
        format!("{era:08}-{seq:020}-{:020}.{}.seg", self.ordinal, self.class.as_str())
    }

    /// The key that a name tells; `None` if the file is not ours.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (numbers, class) = name.strip_suffix(".seg")?.split_once('.')?;
        let mut numbers = numbers.split('-');
        let first = Place { era: numbers.next()?.parse().ok()?, seq: numbers.next()?.parse().ok()? };
        let ordinal = numbers.next()?.parse().ok()?;
        let class = Class::ALL.into_iter().find(|known| known.as_str() == class)?;
        let key = Self { first, ordinal, class };
        let is_sane = first.seq < MAX_CLAIM && ordinal < MAX_CLAIM && first.era < u32::MAX / 2;
        (is_sane && key.file_name() == name).then_some(key)
    }
}

// === impl Header ===

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let Key { first, ordinal, class } = self.key;
        let mut body = Vec::with_capacity(HEADER_BYTES);
        body.extend_from_slice(&self.owner.as_u128().to_le_bytes());
        body.extend_from_slice(&self.epoch.to_le_bytes());
        body.extend_from_slice(&first.era.to_le_bytes());
        body.extend_from_slice(&first.seq.to_le_bytes());
        body.extend_from_slice(&ordinal.to_le_bytes());
        body.push(class as u8);
        seal(MAGIC, &body)
    }

    /// The header of the file at `path`.
    pub fn read(fs: &dyn Fs, path: &Path) -> io::Result<Result<Self, Unsealed>> {
        let bytes = read_small(fs, path, HEADER_BYTES)?.unwrap_or_default();
        Ok(unseal(MAGIC, &bytes).and_then(|mut body| Self::decode(&mut body).ok_or(Unsealed::Damaged)))
    }

    fn decode(body: &mut Fields<'_>) -> Option<Self> {
        let owner = Uuid::from_u128(body.u128()?);
        let epoch = body.u128()?;
        let first = Place { era: body.u32()?, seq: body.u64()? };
        let key = Key { first, ordinal: body.u64()?, class: Class::from_byte(body.u8()?)? };
        Some(Self { owner, epoch, key })
    }
}

// === impl Segment ===

impl Segment {
    /// A segment of which nothing is known yet but its name and size.
    pub fn new(key: Key, path: PathBuf, bytes: u64) -> Self {
        let resume = HEADER_BYTES as u64;
        Self { key, path, bytes, visible: bytes, records: 0, done: 0, sent: 0, lost: 0, resume, given_up: false }
    }

    /// Records that somebody may still get.
    pub fn waiting(&self) -> u64 {
        self.records - self.settled()
    }

    /// Records that will not be read again.
    pub fn settled(&self) -> u64 {
        self.done + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_as_the_records_do() {
        let key = |era, seq| Key { first: Place { era, seq }, ordinal: seq / 2, class: Class::Critical };
        let keys = [key(1, 1), key(1, 9), key(1, 10), key(2, 1), key(11, 1)];
        let names = keys.map(|key| key.file_name());
        assert!(names.is_sorted());
        for (key, name) in keys.iter().zip(&names) {
            assert_eq!(Key::from_file_name(name), Some(*key));
        }
    }

    #[test]
    fn names_that_are_not_exactly_ours_are_foreign() {
        let ours = Key { first: Place { era: 1, seq: 2 }, ordinal: 3, class: Class::Ordinary }.file_name();
        let theirs = [
            ours.replace("ordinary", "other"),
            ours.replace(".seg", ".tmp"),
            format!("{ours}.foreign"),
            ours.replace("00000001-", "1-"),
            ours.replace("00000001-", ""),
            ours.replace("00000000000000000003", "18446744073709551615"),
            "identity".into(),
            ".seg".into(),
        ];
        for name in theirs {
            assert_eq!(Key::from_file_name(&name), None, "{name}");
        }
    }
}
