//! Values that a counter's label can have, where they are a closed list.
//!
//! A series that appears with its first event has no zero before it, so `increase()` and `rate()` miss that event, and it
//! may be the only one. [`crate::telemetry::Telemetry`] therefore makes these series when it makes the counter. A list
//! that grows where it is counted grows here; where it stands as a constant, the constant is used.

use super::{
    AGENT_DROPPED_PASSES_TOTAL, CLOCK_JUMPS_TOTAL, HTTP_REFUSED_TOTAL, INGEST_ACCEPT_PAUSES_TOTAL,
    INGEST_BATCHES_TOTAL, INGEST_CONNECTIONS_CLOSED_TOTAL, INGEST_DROPPED_SAMPLES_TOTAL, INGEST_EVENTS_TOTAL,
    INGEST_IDENTITY_CONFLICTS_TOTAL, INGEST_REFUSED_BATCHES_TOTAL, Metric, NOTIFICATIONS_FINISHED_TOTAL,
    RECEIVE_EVENTS_REFUSED_TOTAL, RECEIVE_REQUESTS_REFUSED_TOTAL, SPOOL_EPOCHS_BEGUN_TOTAL,
    SPOOL_RECORDS_DROPPED_TOTAL, UPLINK_FAILURES_TOTAL,
};
use crate::refused::Refused;

/// Counters of one label, and values that it can have. A counter may have several rows.
pub(crate) const KNOWN: &[(&Metric, &[&str])] = &[
    (&AGENT_DROPPED_PASSES_TOTAL, &["queue_full", "too_large", "spool_full", "disk_full", "disk_error"]),
    (&AGENT_DROPPED_PASSES_TOTAL, &["stopping"]),
    (&RECEIVE_EVENTS_REFUSED_TOTAL, &["bad_type", "bad_clinic", "bad_key", "unknown_type", "bad_time"]),
    (&RECEIVE_EVENTS_REFUSED_TOTAL, &["queue_full", "spool_full", "disk_full", "disk_error", "too_large", "stopping"]),
    (&RECEIVE_REQUESTS_REFUSED_TOTAL, &["unreadable", "too_large", "too_many_events", "too_slow", "busy", "broken"]),
    (&RECEIVE_REQUESTS_REFUSED_TOTAL, &["not_kept", "stopping", "not_served"]),
    (&SPOOL_EPOCHS_BEGUN_TOTAL, &["fresh", "cursor_lost", "torn_tail", "tail_missing", "power_loss", "sync_failed"]),
    (&SPOOL_EPOCHS_BEGUN_TOTAL, &["rewound", "position_taken"]),
    (&SPOOL_RECORDS_DROPPED_TOTAL, &["spool_full", "corrupt", "refused"]),
    (&UPLINK_FAILURES_TOTAL, &["connect", "broken", "closed", "silent", "refused"]),
    (&INGEST_BATCHES_TOTAL, &["stored", "replayed", "unproven", "refused", "taken", "abandoned"]),
    (&INGEST_REFUSED_BATCHES_TOTAL, Refused::REASONS),
    (&INGEST_REFUSED_BATCHES_TOTAL, &["no_hello", "second_hello"]),
    (&INGEST_REFUSED_BATCHES_TOTAL, &["starting", "too_many_streams", "too_many_agents", "too_many_arrivals"]),
    (&INGEST_REFUSED_BATCHES_TOTAL, &["stream_ends", "no_database", "batch_not_taken"]),
    (&INGEST_DROPPED_SAMPLES_TOTAL, &["duplicate", "too_old", "series_limit", "not_a_number"]),
    (&INGEST_DROPPED_SAMPLES_TOTAL, &["nothing_to_end", "unknown_agent", "own_series_limit"]),
    (&INGEST_EVENTS_TOTAL, &["stored", "duplicate"]),
    (&INGEST_IDENTITY_CONFLICTS_TOTAL, &["rewound", "cloned", "position_taken", "epoch_back"]),
    (&NOTIFICATIONS_FINISHED_TOTAL, &["sent", "refused", "given_up", "no_channel", "outbox_full"]),
    (&INGEST_ACCEPT_PAUSES_TOTAL, &["connections", "error"]),
    (&INGEST_CONNECTIONS_CLOSED_TOTAL, &["silent", "unused", "ending"]),
    (&CLOCK_JUMPS_TOTAL, &["forward", "back"]),
    (&HTTP_REFUSED_TOTAL, &["busy", "too_slow", "url_too_long"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Kind;
    use std::collections::HashSet;

    #[test]
    fn only_counters_of_one_label_have_known_values_each_said_once() {
        let mut seen = HashSet::new();
        for (row, values) in KNOWN {
            assert_eq!((row.kind, row.labels.len()), (Kind::Counter, 1), "{}", row.name);
            for value in *values {
                assert!(seen.insert((row.name, value)), "{}: {value} stands twice", row.name);
            }
        }
    }
}
