//! The agent's own metrics as handles, one struct for each stage that counts.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec};
use proto::catalog as rows;
use proto::telemetry::Telemetry;

/// What the collectors' threads count.
#[derive(Clone, Debug)]
pub struct CollectMeters {
    /// Passes begun, by collector.
    pub passes: IntCounterVec,
    /// Passes failed, by collector and reason.
    pub failures: IntCounterVec,
    /// Passes that took too long, by collector.
    pub overruns: IntCounterVec,
    /// Whether the last pass was fine, by collector.
    pub healthy: GaugeVec,
    /// Duration of the last pass, by collector.
    pub duration_seconds: GaugeVec,
    /// Values left out of passes, by reason.
    pub values_dropped: IntCounterVec,
}

/// Passes on their way to the spool: taken in = kept + dropped + waiting.
#[derive(Clone, Debug)]
pub struct PassMeters {
    /// Passes that the collectors handed over.
    pub taken_in: IntCounter,
    /// Passes that are in a record of the spool.
    pub kept: IntCounter,
    /// Passes that never reached it, by reason.
    pub dropped: IntCounterVec,
    /// Passes between the two.
    pub waiting: Gauge,
}

/// Events on their way to the spool: taken in = kept + refused + waiting.
#[derive(Clone, Debug)]
pub struct EventMeters {
    /// Events that services handed in.
    pub taken_in: IntCounter,
    /// Events that are in the spool; whoever handed them in was told.
    pub kept: IntCounter,
    /// Events that were not taken, by reason.
    pub refused: IntCounterVec,
    /// Events between the two.
    pub waiting: Gauge,
}

/// What the door for services counts.
#[derive(Clone, Debug)]
pub struct ReceiveMeters {
    /// The events.
    pub events: EventMeters,
    /// Requests that were answered with an error, by reason.
    pub requests_refused: IntCounterVec,
    /// Attributes left out of events.
    pub attributes_dropped: IntCounter,
}

/// What the spool's keeper counts.
#[derive(Clone, Debug)]
pub struct KeepMeters {
    /// The spool's.
    pub spool: SpoolMeters,
    /// The passes that come in.
    pub passes: PassMeters,
    /// The events that come in.
    pub events: EventMeters,
}

/// What the spool says of itself: in = out + moved + dropped + waiting.
#[derive(Clone, Debug)]
pub struct SpoolMeters {
    /// Records in.
    pub records_in: IntCounter,
    /// Records out.
    pub records_out: IntCounter,
    /// Records that got another place.
    pub moved: IntCounter,
    /// Records lost, by reason.
    pub dropped: IntCounterVec,
    /// Records waiting.
    pub waiting: Gauge,
    /// Bytes on disk.
    pub bytes: Gauge,
    /// Bound of them.
    pub max_bytes: Gauge,
    /// Whether room for critical records is set aside.
    pub reserve_held: Gauge,
    /// Failed syncs.
    pub sync_failures: IntCounter,
    /// Cursor copies not written.
    pub cursor_failures: IntCounter,
    /// Bytes dropped for space.
    pub evicted_bytes: IntCounter,
    /// Segments that could not be read to their end.
    pub segments_given_up: IntCounter,
    /// Damage of which nothing is kept.
    pub not_quarantined: IntCounter,
    /// Refused records of which nothing is kept.
    pub not_shelved: IntCounter,
    /// Seqs spent on what never became a record.
    pub skipped: IntCounter,
    /// Appends that the spool did not take, by reason.
    pub turned_away: IntCounterVec,
    /// Epochs begun, by reason.
    pub epochs: IntCounterVec,
}

/// What the uplink counts: sent = acked + refused + moved + unanswered + in flight.
#[derive(Clone, Debug)]
pub struct UplinkMeters {
    /// Whether the stream stands.
    pub connected: Gauge,
    /// Streams opened.
    pub connects: IntCounter,
    /// Streams failed, by reason.
    pub failures: IntCounterVec,
    /// Batches sent.
    pub sent: IntCounter,
    /// Batches acknowledged.
    pub acked: IntCounter,
    /// Batches refused for good.
    pub refused: IntCounter,
    /// Batches in whose place another one is stored.
    pub moved: IntCounter,
    /// Batches whose stream broke before they were answered.
    pub unanswered: IntCounter,
    /// Batches that wait for their answer.
    pub in_flight: Gauge,
    /// Times that the wall clock was set.
    pub clock_steps: IntCounter,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Meters {
    /// The collectors'.
    pub collect: CollectMeters,
    /// The services' door.
    pub receive: ReceiveMeters,
    /// The keeper's.
    pub keep: KeepMeters,
    /// The uplink's.
    pub uplink: UplinkMeters,
    /// Our own memory.
    pub resident_bytes: Gauge,
    /// Our own CPU time.
    pub cpu_seconds: prometheus::Counter,
}

impl Meters {
    /// Registers everything with `telemetry`.
    pub fn new(telemetry: &Telemetry) -> Self {
        telemetry.gauges(&rows::AGENT_INFO).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let passes = PassMeters {
            taken_in: telemetry.counter(&rows::AGENT_PASSES_IN_TOTAL),
            kept: telemetry.counter(&rows::AGENT_PASSES_OUT_TOTAL),
            dropped: telemetry.counters(&rows::AGENT_DROPPED_PASSES_TOTAL),
            waiting: telemetry.gauge(&rows::AGENT_PASSES_WAITING),
        };
        let events = EventMeters {
            taken_in: telemetry.counter(&rows::RECEIVE_EVENTS_IN_TOTAL),
            kept: telemetry.counter(&rows::RECEIVE_EVENTS_OUT_TOTAL),
            refused: telemetry.counters(&rows::RECEIVE_EVENTS_REFUSED_TOTAL),
            waiting: telemetry.gauge(&rows::RECEIVE_EVENTS_WAITING),
        };
        Self {
            collect: collect(telemetry),
            receive: ReceiveMeters {
                events: events.clone(),
                requests_refused: telemetry.counters(&rows::RECEIVE_REQUESTS_REFUSED_TOTAL),
                attributes_dropped: telemetry.counter(&rows::RECEIVE_ATTRIBUTES_DROPPED_TOTAL),
            },
            keep: KeepMeters { spool: spool(telemetry), passes, events },
            uplink: uplink(telemetry),
            resident_bytes: telemetry.gauge(&rows::AGENT_RESIDENT_BYTES),
            cpu_seconds: telemetry.float_counter(&rows::AGENT_CPU_SECONDS_TOTAL),
        }
    }
}

fn collect(telemetry: &Telemetry) -> CollectMeters {
    CollectMeters {
        passes: telemetry.counters(&rows::COLLECTOR_PASSES_TOTAL),
        failures: telemetry.counters(&rows::COLLECTOR_FAILURES_TOTAL),
        overruns: telemetry.counters(&rows::COLLECTOR_OVERRUNS_TOTAL),
        healthy: telemetry.gauges(&rows::COLLECTOR_HEALTHY),
        duration_seconds: telemetry.gauges(&rows::COLLECTOR_DURATION_SECONDS),
        values_dropped: telemetry.counters(&rows::AGENT_DROPPED_VALUES_TOTAL),
    }
}

fn spool(telemetry: &Telemetry) -> SpoolMeters {
    SpoolMeters {
        records_in: telemetry.counter(&rows::SPOOL_RECORDS_IN_TOTAL),
        records_out: telemetry.counter(&rows::SPOOL_RECORDS_OUT_TOTAL),
        moved: telemetry.counter(&rows::SPOOL_RECORDS_MOVED_TOTAL),
        dropped: telemetry.counters(&rows::SPOOL_RECORDS_DROPPED_TOTAL),
        waiting: telemetry.gauge(&rows::SPOOL_RECORDS_WAITING),
        bytes: telemetry.gauge(&rows::SPOOL_BYTES),
        max_bytes: telemetry.gauge(&rows::SPOOL_MAX_BYTES),
        reserve_held: telemetry.gauge(&rows::SPOOL_RESERVE_HELD),
        sync_failures: telemetry.counter(&rows::SPOOL_SYNC_FAILURES_TOTAL),
        cursor_failures: telemetry.counter(&rows::SPOOL_CURSOR_FAILURES_TOTAL),
        evicted_bytes: telemetry.counter(&rows::SPOOL_EVICTED_BYTES_TOTAL),
        segments_given_up: telemetry.counter(&rows::SPOOL_SEGMENTS_GIVEN_UP_TOTAL),
        not_quarantined: telemetry.counter(&rows::SPOOL_PIECES_NOT_QUARANTINED_TOTAL),
        not_shelved: telemetry.counter(&rows::SPOOL_RECORDS_NOT_SHELVED_TOTAL),
        skipped: telemetry.counter(&rows::SPOOL_RECORDS_SKIPPED_TOTAL),
        turned_away: telemetry.counters(&rows::SPOOL_RECORDS_TURNED_AWAY_TOTAL),
        epochs: telemetry.counters(&rows::SPOOL_EPOCHS_BEGUN_TOTAL),
    }
}

fn uplink(telemetry: &Telemetry) -> UplinkMeters {
    UplinkMeters {
        connected: telemetry.gauge(&rows::UPLINK_CONNECTED),
        connects: telemetry.counter(&rows::UPLINK_CONNECTS_TOTAL),
        failures: telemetry.counters(&rows::UPLINK_FAILURES_TOTAL),
        sent: telemetry.counter(&rows::UPLINK_BATCHES_SENT_TOTAL),
        acked: telemetry.counter(&rows::UPLINK_BATCHES_ACKED_TOTAL),
        refused: telemetry.counter(&rows::UPLINK_BATCHES_REFUSED_TOTAL),
        moved: telemetry.counter(&rows::UPLINK_BATCHES_MOVED_TOTAL),
        unanswered: telemetry.counter(&rows::UPLINK_BATCHES_UNANSWERED_TOTAL),
        in_flight: telemetry.gauge(&rows::UPLINK_BATCHES_IN_FLIGHT),
        clock_steps: telemetry.counter(&rows::CLOCK_STEPS_TOTAL),
    }
}
