//! The spool's own counts as metrics.

use crate::meters::SpoolMeters;
use spool::{NewEpoch, Reserve, Stats};

/// Why an epoch began, in a word.
pub fn epoch_word(why: NewEpoch) -> &'static str {
    match why {
        NewEpoch::Fresh => "fresh",
        NewEpoch::CursorLost => "cursor_lost",
        NewEpoch::TornTail => "torn_tail",
        NewEpoch::TailMissing => "tail_missing",
        NewEpoch::PowerLoss => "power_loss",
        NewEpoch::SyncFailed => "sync_failed",
        NewEpoch::Rewound => "rewound",
        NewEpoch::PositionTaken => "position_taken",
    }
}

/// How the room for critical records stands, in a word.
pub fn reserve_word(reserve: Reserve) -> &'static str {
    match reserve {
        Reserve::Held => "held",
        Reserve::Missing => "missing",
        Reserve::Unsupported => "unsupported",
    }
}

/// Tells the log how the room for critical records stands, when that has changed.
pub(super) fn log_reserve(reserve: Reserve) {
    match reserve {
        Reserve::Held => tracing::info!("room on the disk is set aside for events"),
        Reserve::Missing => {
            tracing::warn!(
                "no room on the disk is set aside for events: it is in use, or the disk is full; tried again"
            );
        }
        Reserve::Unsupported => {
            tracing::warn!("this disk cannot set room aside: when others fill it, events may be refused");
        }
    }
}

/// Counts what happened between two looks. What did not change is not touched: this is done with every look.
pub(super) fn count(meters: &SpoolMeters, before: &Stats, now: &Stats) {
    meters.records_in.inc_by((now.appended + now.recovered) - (before.appended + before.recovered));
    meters.records_out.inc_by(now.delivered - before.delivered);
    meters.moved.inc_by(now.moved - before.moved);
    meters.waiting.set(now.waiting as f64);
    meters.bytes.set(now.bytes as f64);
    meters.reserve_held.set(f64::from(u8::from(now.reserve == Reserve::Held)));
    meters.sync_failures.inc_by(now.sync_failures - before.sync_failures);
    meters.cursor_failures.inc_by(now.cursor_failures - before.cursor_failures);
    meters.evicted_bytes.inc_by(now.evicted_bytes - before.evicted_bytes);
    meters.segments_given_up.inc_by(now.given_up_segments - before.given_up_segments);
    meters.skipped.inc_by(now.skipped - before.skipped);
    if now.dropped != before.dropped {
        for (reason, count, counted) in [
            ("spool_full", now.dropped.spool_full, before.dropped.spool_full),
            ("corrupt", now.dropped.corrupt, before.dropped.corrupt),
            ("refused", now.dropped.refused, before.dropped.refused),
        ] {
            meters.dropped.with_label_values(&[reason]).inc_by(count - counted);
        }
    }
    if now.turned_away != before.turned_away {
        for (reason, count, counted) in [
            ("too_large", now.turned_away.too_large, before.turned_away.too_large),
            ("spool_full", now.turned_away.full, before.turned_away.full),
            ("disk", now.turned_away.disk, before.turned_away.disk),
        ] {
            meters.turned_away.with_label_values(&[reason]).inc_by(count - counted);
        }
    }
}
