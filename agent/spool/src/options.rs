//! How a spool is kept, and the bounds of what it may take. (Of a record: `MAX_RECORD_BYTES`; of the reader:
//! `MAX_IN_FLIGHT`; of quarantine and dead records: `MAX_SHELF_BYTES`.)

use crate::record::Class;

/// One part in so many of `max_bytes` is kept for critical records: an outage that outlasts the room for metrics must
/// still find room for what a person waits for.
pub const CRITICAL_SHARE: u64 = 10;

/// Segment size unless told otherwise: 128 MiB pieces are too coarse for a cap of 64–256 MiB, and 1 MiB pieces make
/// thousands of files of a long outage.
pub const DEFAULT_SEGMENT_BYTES: u64 = 8 << 20;

/// Largest segment: what one step of eviction may cost, and one scan at opening.
pub const MAX_SEGMENT_BYTES: u64 = 16 << 20;

/// A spool has at least so many segments, so that one step of eviction drops at most an eighth of it.
const MIN_SEGMENTS: u64 = 8;

/// Records appended and not synced are also kept in memory, for the case that the sync fails; at this size `append`
/// syncs by itself.
pub const MAX_HIDDEN_BYTES: usize = 4 << 20;

/// What an accepted record survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Power loss, once `sync` has returned; only then can it be read.
    #[default]
    Durable,
    /// The death of this process, once `append` has returned; not power loss.
    Fast,
}

/// What to do with an ordinary record when ordinary records have no room left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop the oldest ordinary segment, and count and name what was in it.
    #[default]
    DropOldest,
    /// Refuse the new record.
    RefuseNew,
}

/// How a spool is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What accepted means.
    pub mode: Mode,
    /// Bound on the bytes of all segments. Quarantine and dead records have bounds of their own.
    pub max_bytes: u64,
    /// Size of a segment; at most [`MAX_SEGMENT_BYTES`] and an eighth of `max_bytes` are used.
    pub segment_bytes: u64,
    /// What gives way.
    pub when_full: WhenFull,
    /// Tells one boot of the machine from another (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

// === impl Options ===

impl Options {
    /// The defaults, with a bound and a boot.
    pub fn new(mode: Mode, max_bytes: u64, boot_id: impl Into<String>) -> Self {
        let (segment_bytes, when_full) = (DEFAULT_SEGMENT_BYTES, WhenFull::default());
        Self { mode, max_bytes, segment_bytes, when_full, boot_id: boot_id.into() }
    }

    pub(crate) fn limit(&self, class: Class) -> u64 {
        match class {
            Class::Ordinary => self.max_bytes - self.max_bytes / CRITICAL_SHARE,
            Class::Critical => self.max_bytes,
        }
    }

    /// What is set aside on the disk: the share of the critical records, or a segment of it.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        (self.max_bytes / CRITICAL_SHARE).min(self.segment_limit())
    }

    pub(crate) fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(MAX_SEGMENT_BYTES).min(self.max_bytes / MIN_SEGMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_spool_add_up_at_every_size() {
        for max_bytes in [0, 1, 9, 1000, 4 << 20, 32 << 20, 256 << 20, 1 << 40, u64::MAX] {
            let options = Options::new(Mode::Durable, max_bytes, "boot");
            let (ordinary, critical) = (options.limit(Class::Ordinary), options.limit(Class::Critical));
            assert_eq!(critical, max_bytes);
            assert_eq!(critical - ordinary, max_bytes / CRITICAL_SHARE, "kept for critical records, of {max_bytes}");
            assert!(options.reserve_bytes() <= options.segment_limit(), "the reserve is a segment at most");
            assert!(options.segment_limit() <= MAX_SEGMENT_BYTES && options.segment_limit() <= max_bytes / 8);
        }
    }

    #[test]
    fn a_segment_is_as_large_as_asked_for_within_its_bounds() {
        let limit = |segment_bytes, max_bytes| {
            Options { segment_bytes, ..Options::new(Mode::Fast, max_bytes, "boot") }.segment_limit()
        };
        assert_eq!(limit(DEFAULT_SEGMENT_BYTES, 256 << 20), 8 << 20);
        assert_eq!(limit(1 << 20, 256 << 20), 1 << 20);
        assert_eq!(limit(1 << 30, 1 << 40), MAX_SEGMENT_BYTES);
        assert_eq!(limit(DEFAULT_SEGMENT_BYTES, 32 << 20), 4 << 20, "an eighth of the spool");
    }
}
