//! A crash-safe durable queue of opaque bytes, for one writer and one receiver. This page is its specification; the
//! tests in `src/tests/` hold it to each sentence. It has no tasks, no clock and no idea of what the bytes mean.
//!
//! # What it promises
//! 1. **Nothing invented, nothing renamed.** A [`Position`] (epoch, seq) names one record for ever. Seqs begin at 1 and
//!    leave none out within an epoch. A seq that a reader may have seen is never given to other bytes.
//! 2. **Nothing promised is lost** but by damage of the disk, or, for ordinary records, by the policy for a full spool.
//!    What *promised* means is the [`Mode`]:
//!
//!    | mode      | promised when               | survives                | readable when    |
//!    | --------- | --------------------------- | ----------------------- | ---------------- |
//!    | `Durable` | [`Spool::sync`] has returned | power loss (fdatasync) | it is promised   |
//!    | `Fast`    | [`Spool::append`] has returned | our death (page cache) | it is promised |
//!
//! 3. **Nothing is lost silently.** Where a seq will never come, the reader yields a [`Gap`] with the exact range and the
//!    [`Reason`], in its place in the order, and goes on doing so until it is acked, like a record. What never became a
//!    record gets its seqs and its gap by [`Spool::skip`]. A refused record counts as lost when the receiver has acked
//!    that it knows ([`Spool::refuse`]). Loss that no one can know the range of (the tail of an epoch that power took
//!    before any cursor told of it) was never promised.
//! 4. **The books agree**, after each call: appended + recovered = delivered + moved + dropped by reason + waiting.
//!    A record is *moved* when the receiver has another one under its name: it is appended again under a new name
//!    ([`Spool::readmit`]), and is delivered under that one.
//! 5. **Opening terminates and never needs a person**, whatever lies in the directory. A damaged record costs itself. A
//!    spool of another format version is not damage: it is refused, because only that version can deliver it.
//! 6. **Everything is bounded**, by the limits below. A full disk refuses or drops by policy, and stops neither acks nor
//!    the program: the cursor is written in place and needs no room.
//!
//! # Bytes on disk
//! ```text
//! DIR/                0700, all files 0600
//!   lock              flock: one process at a time
//!   identity          owner and epochs                            (identity.rs)  temp, sync, rename, sync of DIR
//!   cursor.0 cursor.1 how far the acks are, and how we ended      (cursor.rs)    in place, one after the other, synced
//!   00000001-00000000000000000001-00000000000000000000.ordinary.seg              (segment.rs)
//!   era      first seq            ordinal in its lane  class
//!   reserve           no content, and blocks set aside for critical records      (reserve.rs)
//!   quarantine/ dead/ damaged bytes; refused records and why      (shelf.rs)
//!
//! segment    "SEGM" version owner epoch era first-seq ordinal class crc32c │ record │ record │ …
//! record     len u32 │ crc32c u32 │ type u8 │ seq u64 │ payload [len]     crc over len, type, seq, payload; little endian
//!            type 1 ordinary, 2 critical, 3 a skip: its payload is reason u8 │ count u64    (record.rs)
//! ```
//! A *skip* takes `count` seqs from its own on, for records that never came to be. It lies in the critical lane, because
//! nothing there is dropped, and is one record in the books.
//!
//! Records of the two classes lie in two *lanes* of segments, so that the oldest ordinary ones can be dropped by an
//! unlink, which needs no room, while critical ones stay. They share one sequence of seqs, and the reader merges them.
//! An *era* numbers the epochs of a directory, so that old ones can be read to their end before new ones.
//!
//! # What a crash leaves
//! | the crash comes                           | what is on disk                       | what opening does |
//! | ----------------------------------------- | ------------------------------------- | ----------------- |
//! | while a new spool is made                 | nothing, or an identity               | makes what is missing; a new epoch |
//! | in `append`, before `sync`                | any part of the record                | `Durable`: keeps it if whole (and syncs it before it is readable), or cuts the tail; it was not promised |
//! | in `sync`                                 | any of the records since the last one | the same; a hole in what was not promised is a gap |
//! | after `sync`                              | all of it                             | reads it |
//! | after a failed write of a group           | some of its records                   | reads them, if their seqs were given to nobody else |
//! | after a failed sync, in a new segment     | records twice                         | a segment ends where the next of its lane begins: read once |
//! | while a segment is begun                  | its name, and nothing or a part of its header | takes an empty file back; a part of a header is a torn tail |
//! | while the reserve becomes a segment       | either name, any part of the content  | a segment as above; a `reserve` with content is made anew |
//! | in `begin_epoch`                          | the old identity, or the new one      | goes on in the epoch that it names; the new one has no record yet |
//! | in `readmit`, before the old places are settled | the records under both names    | reads both: at least once, never none |
//! | while a cursor is written                 | one whole copy                        | takes the whole one, or the newer |
//! | after acks, before the cursor             | the segments, an older cursor         | replays; the receiver knows the names |
//! | after the cursor, before the unlink, or after one that failed | finished segments | unlinks them |
//! | in eviction, before the unlink            | a segment that is counted as dropped  | unlinks it; its gap is `SpoolFull` |
//! | power loss in `Fast` without `close`      | any part of what was not synced       | another boot and no clean mark: a new epoch |
//!
//! A new epoch begins whenever going on could reuse a seq: [`NewEpoch`] lists the cases. Most are seen at opening; of
//! two only the receiver knows, and the caller tells them ([`Spool::begin_epoch`]). Records that are still there
//! keep their names, and are read before those of the new epoch.
//!
//! | damage                       | what it costs |
//! | ---------------------------- | ------------- |
//! | bytes of a record            | that record: the walk looks for the next good one; the bytes go to quarantine |
//! | the header or the name of a segment | nothing: each repeats the other |
//! | the tail of the last segment | what is cut off; a new epoch, because it may have been sent |
//! | a whole segment              | its records; missing before the cursor is normal, after it is counted and a gap |
//! | the identity                 | nothing while a segment lives; else the epoch (the owner is also in the cursor) |
//! | one copy of the cursor, or a file in which it cannot be written | nothing: the copy is made anew |
//! | both copies of the cursor    | replays, and a new epoch |
//! | a failing `fdatasync`        | the segment, which is never synced again: its records go from memory into another |
//! | a failing read               | after [`READ_ATTEMPTS`], the rest of that segment, which goes to quarantine whole; nothing while we are short of memory or descriptors |
//! | a failing unlink             | room: the file is counted in what the spool takes, its unlink is tried again with each checkpoint, and as long as it stays nothing more is dropped for space |
//! | files that are not ours, segments of another format version or owner | nothing: they are left alone and counted |
//! | a name of ours that is a symlink, a FIFO, a directory | as if the file was damaged; if none can be made in its place, an error that names it. The directory itself may be a symlink |
//! | identity or cursor of another format version | nothing: [`OpenError::OtherVersion`] |
//!
//! # Limits
//! | limit                    | is      | when it is hit |
//! | ------------------------ | ------- | -------------- |
//! | [`MAX_RECORD_BYTES`]     | 1 MiB   | `TooLarge`, counted |
//! | [`MAX_SKIP`]             | 2^20    | one skip takes so many seqs, and another the rest |
//! | `Options::max_bytes`     | yours   | the oldest ordinary segment is dropped and counted as `spool_full`, or the record refused; `readmit` may go beyond it by two segments |
//! | [`CRITICAL_SHARE`]       | 1/10 of it | kept for critical records |
//! | the reserve              | that, but at most a segment | beside `max_bytes`, set aside on the disk for critical records when others fill it; used up, the oldest ordinary segment is dropped, or the record refused |
//! | [`MAX_SEGMENT_BYTES`]    | 16 MiB, default 8, at most an eighth of `max_bytes` | a new segment |
//! | [`MAX_HIDDEN_BYTES`]     | 4 MiB   | `append` syncs by itself |
//! | [`MAX_IN_FLIGHT`]        | 16 384  | `Next::WindowFull` until something is acked |
//! | epochs known             | 64, and those of which a segment lies here | the oldest of the others is forgotten: what is lost of it has a count and no name |
//! | [`MAX_LEFTOVERS`]        | 64 for each lane | finished segments stay in their lane until one of those that should be gone is |
//! | [`MAX_SHELF_BYTES`], [`MAX_SHELF_FILES`] | 16 MiB, 1024 each | no more is kept of damaged and refused bytes, counted as `not_quarantined` and `not_shelved` |
//! | file descriptors         | 4       | lock, a writer for each lane, one for the moment |
//!
//! Opening reads names, headers and the last segment of each lane: 2 GiB in 259 segments open in 5 ms with 0.2 MiB
//! (2026-11-24, 2-core VM, ext4, page cache warm; `tests/disk.rs` prints it).

mod crc;
mod cursor;
mod disk;
mod epoch;
mod error;
mod fs;
mod identity;
mod item;
mod lane;
mod leftovers;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod open;
mod options;
mod queue;
mod read;
mod record;
mod reserve;
mod sealed;
mod segment;
mod shelf;
mod stats;
mod survey;
#[cfg(test)]
mod tests;
mod verify;

pub use crate::disk::RealDisk;
pub use crate::epoch::{NewEpoch, NotMoved, Readmitted};
pub use crate::error::{NotRead, ReadError, Refused, SyncError};
pub use crate::fs::{Access, Entry, File, Fs, Lock};
pub use crate::item::{Gap, Next, Position, Reason, Record};
pub use crate::lane::READ_ATTEMPTS;
pub use crate::leftovers::MAX_LEFTOVERS;
pub use crate::open::{OpenError, OpenReport};
pub use crate::options::{
    CRITICAL_SHARE, DEFAULT_SEGMENT_BYTES, MAX_HIDDEN_BYTES, MAX_SEGMENT_BYTES, Mode, Options, WhenFull,
};
pub use crate::queue::{Appended, Spool};
pub use crate::read::MAX_IN_FLIGHT;
pub use crate::record::{Class, MAX_RECORD_BYTES, MAX_SKIP};
pub use crate::reserve::Reserve;
pub use crate::shelf::{MAX_SHELF_BYTES, MAX_SHELF_FILES};
pub use crate::stats::{Dropped, Stats, TurnedAway};
pub use crate::verify::{DamagedSegment, VerifyError, VerifyReport, verify};

/// Orders the records of a directory over all its epochs. An era numbers the epochs; it never leaves the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub era: u32,
    pub seq: u64,
}
