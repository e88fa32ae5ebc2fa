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
    meters.not_quarantined.inc_by(now.not_quarantined - before.not_quarantined);
    meters.not_shelved.inc_by(now.not_shelved - before.not_shelved);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Meters;
    use proto::exposition::{Encoder, Format};
    use proto::telemetry::Telemetry;
    use spool::{Dropped, TurnedAway};

    /// Two of each, so that what is counted twice or for another is seen.
    fn stats(factor: u64) -> Stats {
        Stats {
            appended: 100 * factor,
            recovered: 11 * factor,
            delivered: 12 * factor,
            moved: 13 * factor,
            dropped: Dropped { spool_full: 14 * factor, corrupt: 15 * factor, refused: 16 * factor },
            waiting: 17 * factor,
            turned_away: TurnedAway { too_large: 18 * factor, full: 19 * factor, disk: 20 * factor },
            evicted_bytes: 21 * factor,
            given_up_segments: 22 * factor,
            not_shelved: 23 * factor,
            not_quarantined: 24 * factor,
            skipped: 25 * factor,
            bytes: 26 * factor,
            sync_failures: 27 * factor,
            cursor_failures: 28 * factor,
            reserve: Reserve::Held,
            ..Stats::default()
        }
    }

    #[test]
    fn each_count_of_the_spool_is_a_metric_of_its_own_and_what_was_counted_is_not_counted_again() {
        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry).keep.spool;
        count(&meters, &Stats::default(), &stats(1));
        count(&meters, &stats(1), &stats(1));
        count(&meters, &stats(1), &stats(2));
        let mut encoder = Encoder::new(Format::negotiate(None));
        telemetry.encode(&mut encoder);
        let page = encoder.finish();
        for line in [
            "records_in_total 222",
            "records_out_total 24",
            "records_moved_total 26",
            "records_dropped_total{reason=\"spool_full\"} 28",
            "records_dropped_total{reason=\"corrupt\"} 30",
            "records_dropped_total{reason=\"refused\"} 32",
            "records_waiting 34",
            "records_turned_away_total{reason=\"too_large\"} 36",
            "records_turned_away_total{reason=\"spool_full\"} 38",
            "records_turned_away_total{reason=\"disk\"} 40",
            "evicted_bytes_total 42",
            "segments_given_up_total 44",
            "records_not_shelved_total 46",
            "pieces_not_quarantined_total 48",
            "records_skipped_total 50",
            "bytes 52",
            "sync_failures_total 54",
            "cursor_failures_total 56",
            "reserve_held 1",
        ] {
            let line = format!("\nmonitoring_spool_{line}\n");
            assert!(page.contains(&line), "{line} is not on the page: {page}");
        }
    }

    #[test]
    fn no_two_reasons_for_a_new_epoch_share_a_word() {
        use NewEpoch::{CursorLost, Fresh, PositionTaken, PowerLoss, Rewound, SyncFailed, TailMissing, TornTail};
        let all = [Fresh, CursorLost, TornTail, TailMissing, PowerLoss, SyncFailed, Rewound, PositionTaken];
        let words: std::collections::BTreeSet<_> = all.map(epoch_word).into();
        assert_eq!(words.len(), all.len());
    }
}
