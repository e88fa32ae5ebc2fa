//! Who we are, and which epochs this directory has seen. File `identity`, written beside and renamed into place:
//!
//! ```text
//! "IDEN" | version u16 | owner u128 | (era u32, epoch u128, end u64)* | crc32c u32
//! ```
//! An *era* numbers the epochs of a directory 1, 2, 3… so that they have an order; it never leaves the machine. The last
//! one is current. `end` is the first seq that an ended era did not reach, so that loss at its tail has a name.
//! A lost identity is put together again from the headers of the segments.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::Place;
use crate::fs::{Fs, read_small, replace};
use crate::sealed::{ENVELOPE_BYTES, seal, unseal};

pub(crate) const MAGIC: [u8; 4] = *b"IDEN";
pub(crate) const NAME: &str = "identity";

/// Epochs known, in memory as in the file; and beside them those of which a segment lies here, because each segment tells
/// its own. One is forgotten when all of it is acked, so that more than two mean an outage with power losses; of more than
/// this, the oldest is forgotten that no segment tells of: what was lost of it has a count but no name.
pub(crate) const MAX_ERAS: usize = 64;

const ERA_BYTES: usize = 4 + 16 + 8;

/// One epoch of this directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Era {
    pub number: u32,
    pub epoch: u128,
    /// The first seq not in it; `None` while it is current, or if nobody knows.
    pub end: Option<u64>,
}

/// The owner and its eras, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub owner: Uuid,
    pub eras: Vec<Era>,
}

// === impl Identity ===

impl Identity {
    /// Reads the file; `None` if it is missing or damaged.
    pub fn load(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Self>> {
        let bytes = read_small(fs, &dir.join(NAME), ENVELOPE_BYTES + 16 + MAX_ERAS * ERA_BYTES)?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes)))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = unseal(MAGIC, bytes).ok()?;
        let owner = Uuid::from_u128(body.u128()?);
        let mut eras = Vec::new();
        while let Some(number) = body.u32() {
            eras.push(Era { number, epoch: body.u128()?, end: Some(body.u64()?).filter(|&end| end != 0) });
        }
        Some(Self { owner, eras })
    }

    /// Writes the file: after this returns, power may fail.
    pub fn store(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let mut body = self.owner.as_u128().to_le_bytes().to_vec();
        for era in self.eras.iter().skip(self.eras.len().saturating_sub(MAX_ERAS)) {
            body.extend_from_slice(&era.number.to_le_bytes());
            body.extend_from_slice(&era.epoch.to_le_bytes());
            body.extend_from_slice(&era.end.unwrap_or(0).to_le_bytes());
        }
        replace(fs, dir, NAME, &seal(MAGIC, &body))
    }

    /// Adds an epoch that a segment tells of, if it is not known.
    pub fn learn(&mut self, number: u32, epoch: u128) {
        if let Err(at) = self.eras.binary_search_by_key(&number, |era| era.number) {
            self.eras.insert(at, Era { number, epoch, end: None });
        }
    }

    /// Ends the current epoch before `end` and begins another after all that are known.
    pub fn begin_epoch(&mut self, end: Option<u64>, after: u32) {
        let mut number = after;
        if let Some(last) = self.eras.last_mut() {
            last.end = last.end.or(end);
            number = number.max(last.number);
        }
        self.eras.push(Era { number: number.saturating_add(1), epoch: Uuid::new_v4().as_u128(), end: None });
    }

    /// An ended era does not end before this place: a new era may have been written down when we were told that it had
    /// failed, and went on in the old one.
    pub fn reach(&mut self, next: Place) {
        for era in self.eras.iter_mut().filter(|era| era.number == next.era) {
            era.end = era.end.map(|end| end.max(next.seq));
        }
    }

    /// Forgets the eras before `acked`, which have arrived, and of those beyond [`MAX_ERAS`] the ones of which no segment
    /// lies here. What is left is what the next opening would find.
    pub fn forget(&mut self, acked: u32, has_segment: impl Fn(u32) -> bool) {
        let newest = self.eras.len().saturating_sub(MAX_ERAS);
        let newest = self.eras.get(newest).map_or(0, |era| era.number);
        self.eras.retain(|era| era.number >= acked && (era.number >= newest || has_segment(era.number)));
    }

    pub fn current(&self) -> Option<&Era> {
        self.eras.last()
    }

    pub fn era(&self, number: u32) -> Option<&Era> {
        self.eras.iter().find(|era| era.number == number)
    }

    pub fn era_of(&self, epoch: u128) -> Option<u32> {
        self.eras.iter().find(|era| era.epoch == epoch).map(|era| era.number)
    }

    /// The era that follows.
    pub fn after(&self, number: u32) -> Option<u32> {
        self.eras.iter().map(|era| era.number).find(|&later| later > number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryDisk;

    #[test]
    fn what_is_stored_is_loaded_and_of_too_many_eras_the_newest() {
        let (disk, dir) = (MemoryDisk::default(), Path::new("/d"));
        let mut identity = Identity { owner: Uuid::new_v4(), eras: Vec::new() };
        for count in 1..=MAX_ERAS as u64 + 2 {
            identity.begin_epoch(Some(count), 0);
            identity.store(&disk, dir).expect("there is room");
            let kept = identity.eras.iter().rev().take(MAX_ERAS).rev().copied().collect();
            assert_eq!(
                Identity::load(&disk, dir).expect("it reads"),
                Some(Identity { owner: identity.owner, eras: kept })
            );
        }
    }

    #[test]
    fn eras_follow_each_other_and_an_ended_one_knows_its_end() {
        let mut identity = Identity { owner: Uuid::nil(), eras: Vec::new() };
        identity.begin_epoch(None, 4);
        identity.begin_epoch(Some(10), 0);
        identity.learn(2, 77);
        identity.learn(5, 99);
        let numbers: Vec<_> = identity.eras.iter().map(|era| (era.number, era.end)).collect();
        assert_eq!(numbers, [(2, None), (5, Some(10)), (6, None)], "what is known is not learned again");
        assert_eq!((identity.after(2), identity.after(6), identity.era_of(77)), (Some(5), None, Some(2)));
        identity.forget(6, |_| true);
        assert_eq!(identity.eras.len(), 1);
    }

    #[test]
    fn of_too_many_eras_the_oldest_are_forgotten_unless_a_segment_tells_of_them() {
        let mut identity = Identity { owner: Uuid::nil(), eras: Vec::new() };
        for _ in 0..MAX_ERAS + 10 {
            identity.begin_epoch(Some(1), 0);
            identity.forget(0, |number| number == 3);
            assert!(identity.eras.len() <= MAX_ERAS + 1);
        }
        let numbers: Vec<_> = identity.eras.iter().map(|era| era.number).collect();
        assert_eq!(numbers, [3].into_iter().chain((11..).take(MAX_ERAS)).collect::<Vec<_>>());
    }
}
