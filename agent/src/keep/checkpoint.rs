//! The checkpoint: every so often the spool writes down how far the acks are, sets room aside for events where it has none,
//! and removes what it could not remove before. In mode `fast` everything is synced first.

use super::{Keeper, Mode, Reserve, Stats};
use runtime::log::chain;
use std::time::Duration;

/// How often the cursor is written where it would say something new: what a restart sends again at the most. In mode
/// `fast` also how often records are synced: what a loss of power may cost.
pub(super) const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

impl Keeper {
    pub(super) fn checkpoint_if_due(&mut self) {
        let now = self.clock.monotonic();
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            if self.is_behind(&self.spool.stats()) {
                self.checkpoint(now);
            }
        }
    }

    /// Whether something was appended, acked or dropped since the cursor was last written, or room is to be set aside or
    /// files are to be removed.
    pub(super) fn is_behind(&self, stats: &Stats) -> bool {
        *stats != self.written || stats.reserve == Reserve::Missing || stats.leftovers > 0
    }

    /// Writes the cursor, in mode `fast` after a sync. Whether the disk took it.
    pub(super) fn checkpoint(&mut self, now: Duration) -> bool {
        let is_synced = self.mode == Mode::Durable || self.sync().is_ok();
        if let Err(error) = self.spool.checkpoint() {
            if self.cursor_fault.is_news("cursor", now) {
                tracing::warn!(error = chain(&error), "cursor not written; a restart sends more again");
            }
            return false;
        }
        self.cursor_fault.is_over();
        if is_synced {
            self.written = self.spool.stats();
        }
        is_synced
    }
}
