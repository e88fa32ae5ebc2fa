//! What the spool tells of itself. The books: `appended + recovered = delivered + moved + dropped +
//! waiting`, always.

use crate::epoch::NewEpoch;
use crate::options::Mode;
use crate::reserve::Reserve;

/// Counts since opening, and sizes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// What durability the appends of this process have.
    pub mode: Mode,
    /// Records accepted.
    pub appended: u64,
    /// Records that were found at opening, lost ones that the cursor knew of included.
    pub recovered: u64,
    /// Records acked.
    pub delivered: u64,
    /// Records that were appended again under another name, and are delivered under that one.
    pub moved: u64,
    /// Records that will not be delivered, by reason.
    pub dropped: Dropped,
    /// Records accepted or recovered that are neither delivered nor moved nor dropped.
    pub waiting: u64,
    /// The oldest seq that is not acked, in its own epoch; nothing waits at it if `waiting` is 0.
    pub oldest_seq: u64,
    /// Appends that got no seq, by reason.
    pub turned_away: TurnedAway,
    /// Bytes of payload accepted.
    pub appended_bytes: u64,
    /// Bytes of the segments dropped for space.
    pub evicted_bytes: u64,
    /// The last seq, in its own epoch, up to which ordinary records were dropped for space; 0 if none was.
    pub evicted_seq: u64,
    /// Segments that the disk did not give to their end; they lie in quarantine, if there was room.
    pub given_up_segments: u64,
    /// Refused records of which no copy lies in `dead/`: it is full, or the disk failed.
    pub not_shelved: u64,
    /// Damaged pieces and given-up segments that are not in `quarantine/`, for the same reasons.
    pub not_quarantined: u64,
    /// Seqs spent on records that never came to be.
    pub skipped: u64,
    /// Bytes of all segments now, those included that the disk has not unlinked; this is what `max_bytes` bounds.
    pub bytes: u64,
    /// Segments now.
    pub segments: u64,
    /// Files of segments that should be gone, and that the disk has not unlinked: it is asked again.
    pub leftovers: u64,
    /// Group commits done.
    pub syncs: u64,
    /// Syncs that the disk failed; each cost a segment, none cost a record that was promised.
    pub sync_failures: u64,
    /// Cursor writes that failed; each may cost replays, and keeps finished segments until the next.
    pub cursor_failures: u64,
    /// Why the current epoch began; `None` if it is older than this opening.
    pub new_epoch: Option<NewEpoch>,
    /// How the room for critical records stands.
    pub reserve: Reserve,
    /// Bytes in `quarantine/`.
    pub quarantine_bytes: u64,
    /// Bytes in `dead/`.
    pub dead_bytes: u64,
}

/// Records dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The oldest ordinary ones, to make room.
    pub spool_full: u64,
    /// Damaged or missing on disk.
    pub corrupt: u64,
    /// Refused by the receiver for good.
    pub refused: u64,
}

/// Appends refused at the door, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Larger than a record may be.
    pub too_large: u64,
    /// Our share of the disk is full, and the policy drops nothing (more).
    pub full: u64,
    /// The disk itself is full or fails.
    pub disk: u64,
}

// === impl Stats ===

impl Stats {
    /// Whether the books agree.
    pub fn is_conserved(&self) -> bool {
        self.appended + self.recovered == self.delivered + self.moved + self.dropped.total() + self.waiting
    }
}

// === impl Dropped ===

impl Dropped {
    /// For whatever reason.
    pub fn total(&self) -> u64 {
        self.spool_full + self.corrupt + self.refused
    }
}
