//! Small structures on disk: the identity, the cursor and the header of a segment share one envelope.
//!
//! ```text
//! magic [4] | version u16 | body | crc32c u32 over all before it          little endian
//! ```

use std::io;
use std::path::Path;

use crate::crc::crc32c;
use crate::fs::{Fs, read_small};

/// The version of everything that this crate writes; what a newer one wrote is left alone, never "repaired".
const FORMAT_VERSION: u16 = 1;

/// The largest file that another version may have in the place of one of ours and still be known as that.
const OTHER_MAX_BYTES: usize = 64 << 10;

/// Bytes around a body.
pub(crate) const ENVELOPE_BYTES: usize = 4 + 2 + 4;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsealed {
    /// Too short, another magic or a wrong checksum.
    Damaged,
    /// Intact, and written by a program of another format version.
    OtherVersion,
}

/// Reads little-endian numbers off the front of a body.
pub(crate) struct Fields<'a>(pub &'a [u8]);

/// Puts a body into its envelope.
pub(crate) fn seal(magic: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + ENVELOPE_BYTES);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(body);
    let crc = crc32c(&[&bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Takes a body out of its envelope.
pub(crate) fn unseal(magic: [u8; 4], bytes: &[u8]) -> Result<Fields<'_>, Unsealed> {
    let (sealed, crc) = bytes.split_last_chunk::<4>().ok_or(Unsealed::Damaged)?;
    let body = sealed.strip_prefix(&magic).ok_or(Unsealed::Damaged)?;
    let (version, body) = body.split_first_chunk::<2>().ok_or(Unsealed::Damaged)?;
    if crc32c(&[sealed]) != u32::from_le_bytes(*crc) {
        return Err(Unsealed::Damaged);
    }
    if u16::from_le_bytes(*version) != FORMAT_VERSION {
        return Err(Unsealed::OtherVersion);
    }
    Ok(Fields(body))
}

/// Whether this file is whole and of another format version, however long it is there.
pub(crate) fn is_other_version(fs: &dyn Fs, path: &Path, magic: [u8; 4]) -> io::Result<bool> {
    let bytes = read_small(fs, path, OTHER_MAX_BYTES)?;
    Ok(bytes.is_some_and(|bytes| matches!(unseal(magic, &bytes), Err(Unsealed::OtherVersion))))
}

// === impl Fields ===

impl Fields<'_> {
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Option<u128> {
        self.bytes().map(u128::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_comes_out_and_any_other_byte_is_noticed(body: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = seal(*b"TEST", &body);
            prop_assert_eq!(unseal(*b"TEST", &bytes).map(|fields| fields.0.to_vec()), Ok(body));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(unseal(*b"TEST", &bytes).err(), Some(Unsealed::Damaged));
            prop_assert_eq!(unseal(*b"TEST", &bytes[..at]).err(), Some(Unsealed::Damaged));
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = b"TEST\x02\x00body".to_vec();
        let crc = crc32c(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(unseal(*b"TEST", &bytes).err(), Some(Unsealed::OtherVersion));
    }
}
