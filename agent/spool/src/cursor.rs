//! How far the receiver has confirmed, and how we ended. Two copies, `cursor.0` and `cursor.1`:
//!
//! ```text
//! "CURS" | version u16 | generation u64 | owner u128 | acked, next, evicted (era u32, seq u64 each)
//!        | done u64 ×2 | appended u64 ×2 | clean u8 | mode u8 | boot id [64] | crc32c u32
//! ```
//! Each write goes to both, one after the other, in place and synced: a crash or a bad sector costs one copy, the other
//! is whole. In place, because on a full disk a new file could not be written, and then nothing could be acked away. A
//! copy that cannot be written in place is made anew, as another file; where that fails too, one copy must do.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::Place;
use crate::fs::{Access, Fs, read_small, replace};
use crate::options::Mode;
use crate::sealed::{ENVELOPE_BYTES, Fields, seal, unseal};

pub(crate) const MAGIC: [u8; 4] = *b"CURS";
pub(crate) const COPIES: [&str; 2] = ["cursor.0", "cursor.1"];

/// Longest boot id kept: Linux's has 36 characters. A longer one is cut.
const BOOT_ID_BYTES: usize = 64;

const CURSOR_BYTES: usize = ENVELOPE_BYTES + 8 + 16 + 3 * 12 + 4 * 8 + 2 + BOOT_ID_BYTES;

/// What the two copies hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The higher one is the newer copy.
    pub generation: u64,
    /// Whose it is, for the case that the identity is lost.
    pub owner: Uuid,
    /// The last place that is confirmed; seq 0 if none of its era is.
    pub acked: Place,
    /// The first place that no reader had seen yet.
    pub next: Place,
    /// The last place up to which ordinary records were dropped for space.
    pub evicted: Place,
    /// Per lane: the ordinal of the first record that is not done.
    pub done: [u64; 2],
    /// Per lane: the ordinal after the last visible record.
    pub appended: [u64; 2],
    /// Whether everything was synced and nothing came after.
    pub clean: bool,
    /// The mode of the process that wrote it.
    pub mode: Mode,
    /// The boot of the machine in which it was written.
    pub boot_id: [u8; BOOT_ID_BYTES],
}

/// A boot id in its field.
pub(crate) fn boot_id_field(boot_id: &str) -> [u8; BOOT_ID_BYTES] {
    let mut field = [0; BOOT_ID_BYTES];
    for (to, from) in field.iter_mut().zip(boot_id.as_bytes()) {
        *to = *from;
    }
    field
}

/// Writes one copy in place, or else anew.
fn store_copy(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let in_place = fs.open(&dir.join(name), Access::Write).and_then(|file| {
        file.write_at(bytes, 0)?;
        file.sync()
    });
    in_place.or_else(|_| replace(fs, dir, name, bytes))
}

// === impl Cursor ===

impl Cursor {
    /// The newer of the copies that are whole, and the number of the other copy.
    pub fn load(fs: &dyn Fs, dir: &Path) -> io::Result<Option<(Self, usize)>> {
        let mut newest: Option<(Self, usize)> = None;
        for (copy, name) in COPIES.iter().enumerate() {
            let bytes = read_small(fs, &dir.join(name), CURSOR_BYTES)?.unwrap_or_default();
            let cursor = unseal(MAGIC, &bytes).ok().and_then(|mut body| Self::decode(&mut body));
            let is_newer = |cursor: &Self| newest.is_none_or(|(known, _)| cursor.generation >= known.generation);
            newest = cursor.filter(is_newer).map(|cursor| (cursor, 1 - copy)).or(newest);
        }
        Ok(newest)
    }

    /// Writes both copies: after this returns, power may fail (opening syncs the names of new ones). `copy` is the one
    /// that is written first, and is left at the one whose writing failed. Fails if neither can be written; returns how
    /// many could not.
    pub fn store(&self, fs: &dyn Fs, dir: &Path, copy: &mut usize) -> io::Result<u64> {
        let bytes = self.encode();
        let mut failures = Vec::new();
        for next in [*copy, 1 - *copy] {
            if let Err(error) = store_copy(fs, dir, COPIES[next], &bytes) {
                *copy = next;
                failures.push(error);
            }
        }
        let failed = failures.len();
        match failures.pop() {
            Some(error) if failed == COPIES.len() => Err(error),
            _ => Ok(failed as u64),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = self.generation.to_le_bytes().to_vec();
        body.extend_from_slice(&self.owner.as_u128().to_le_bytes());
        for place in [self.acked, self.next, self.evicted] {
            body.extend_from_slice(&place.era.to_le_bytes());
            body.extend_from_slice(&place.seq.to_le_bytes());
        }
        for count in self.done.iter().chain(&self.appended) {
            body.extend_from_slice(&count.to_le_bytes());
        }
        body.extend_from_slice(&[u8::from(self.clean), u8::from(self.mode == Mode::Durable)]);
        body.extend_from_slice(&self.boot_id);
        seal(MAGIC, &body)
    }

    fn decode(body: &mut Fields<'_>) -> Option<Self> {
        let generation = body.u64()?;
        let owner = Uuid::from_u128(body.u128()?);
        let mut place = || Some(Place { era: body.u32()?, seq: body.u64()? });
        let (acked, next, evicted) = (place()?, place()?, place()?);
        let done = [body.u64()?, body.u64()?];
        let appended = [body.u64()?, body.u64()?];
        let clean = body.u8()? == 1;
        let mode = if body.u8()? == 1 { Mode::Durable } else { Mode::Fast };
        Some(Self { generation, owner, acked, next, evicted, done, appended, clean, mode, boot_id: body.bytes()? })
    }
}

#[cfg(test)]
mod tests;
