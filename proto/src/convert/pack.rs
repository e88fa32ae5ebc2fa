//! zstd over batches, with its working memory kept between them. What comes out is bounded, whatever the bytes say.

use crate::limits::BATCH_MAX_BYTES;
use crate::refused::Refused;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// zstd's level for batches at rest: on a host's batch (18 KiB) level 1 costs 60 µs and shrinks it five times; level 3
/// costs twice as much for 8 % fewer bytes.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    /// zstd's working memory. Made once per thread: making it anew costs more than compressing a batch.
    static COMPRESSOR: RefCell<Compressor<'static>> =
        RefCell::new(Compressor::new(ZSTD_LEVEL).expect("a level that zstd has"));
    /// The same for the way back.
    static DECOMPRESSOR: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("fails only without memory"));
}

/// Compresses an encoded batch.
pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, Refused> {
    let packed = COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(plain));
    packed.map_err(|error| Refused::Damaged(error.to_string()))
}

/// At most [`BATCH_MAX_BYTES`], whatever `packed` says of itself.
pub(super) fn decompress(packed: &[u8]) -> Result<Vec<u8>, Refused> {
    let said = Decompressor::<'static>::upper_bound(packed).unwrap_or(BATCH_MAX_BYTES);
    if said > BATCH_MAX_BYTES {
        return Err(Refused::TooLarge(said));
    }
    let plain = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(packed, said));
    plain.map_err(|error| Refused::Damaged(error.to_string()))
}
