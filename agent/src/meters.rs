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
    /// Passes that never reached the spool, by reason.
    pub dropped: IntCounterVec,
    /// Values left out of passes, by reason.
    pub values_dropped: IntCounterVec,
}

/// What the spool's keeper shows.
#[derive(Clone, Debug)]
pub struct SpoolMeters {
    /// Records in.
    pub records_in: IntCounter,
    /// Records out.
    pub records_out: IntCounter,
    /// Records lost, by reason.
    pub dropped: IntCounterVec,
    /// Records waiting.
    pub waiting: Gauge,
    /// Bytes on disk.
    pub bytes: Gauge,
    /// Bound of them.
    pub max_bytes: Gauge,
    /// Failed syncs.
    pub sync_failures: IntCounter,
    /// Cursor copies not written.
    pub cursor_failures: IntCounter,
    /// Bytes dropped for space.
    pub evicted_bytes: IntCounter,
    /// Segments that could not be read to their end.
    pub segments_given_up: IntCounter,
    /// Seqs spent on what never became a record.
    pub skipped: IntCounter,
    /// Appends that the spool did not take, by reason.
    pub turned_away: IntCounterVec,
    /// Passes that never reached the spool, by reason; shared with the collectors.
    pub passes_dropped: IntCounterVec,
}

/// What the uplink counts.
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
    /// Times that the wall clock was set.
    pub clock_steps: IntCounter,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Meters {
    /// The collectors'.
    pub collect: CollectMeters,
    /// The keeper's.
    pub spool: SpoolMeters,
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
        let dropped = telemetry.counters(&rows::AGENT_DROPPED_PASSES_TOTAL);
        Self {
            collect: CollectMeters {
                passes: telemetry.counters(&rows::COLLECTOR_PASSES_TOTAL),
                failures: telemetry.counters(&rows::COLLECTOR_FAILURES_TOTAL),
                overruns: telemetry.counters(&rows::COLLECTOR_OVERRUNS_TOTAL),
                healthy: telemetry.gauges(&rows::COLLECTOR_HEALTHY),
                duration_seconds: telemetry.gauges(&rows::COLLECTOR_DURATION_SECONDS),
                dropped: dropped.clone(),
                values_dropped: telemetry.counters(&rows::AGENT_DROPPED_VALUES_TOTAL),
            },
            spool: SpoolMeters {
                records_in: telemetry.counter(&rows::SPOOL_RECORDS_IN_TOTAL),
                records_out: telemetry.counter(&rows::SPOOL_RECORDS_OUT_TOTAL),
                dropped: telemetry.counters(&rows::SPOOL_RECORDS_DROPPED_TOTAL),
                waiting: telemetry.gauge(&rows::SPOOL_RECORDS_WAITING),
                bytes: telemetry.gauge(&rows::SPOOL_BYTES),
                max_bytes: telemetry.gauge(&rows::SPOOL_MAX_BYTES),
                sync_failures: telemetry.counter(&rows::SPOOL_SYNC_FAILURES_TOTAL),
                cursor_failures: telemetry.counter(&rows::SPOOL_CURSOR_FAILURES_TOTAL),
                evicted_bytes: telemetry.counter(&rows::SPOOL_EVICTED_BYTES_TOTAL),
                segments_given_up: telemetry.counter(&rows::SPOOL_SEGMENTS_GIVEN_UP_TOTAL),
                skipped: telemetry.counter(&rows::SPOOL_RECORDS_SKIPPED_TOTAL),
                turned_away: telemetry.counters(&rows::SPOOL_RECORDS_TURNED_AWAY_TOTAL),
                passes_dropped: dropped,
            },
            uplink: UplinkMeters {
                connected: telemetry.gauge(&rows::UPLINK_CONNECTED),
                connects: telemetry.counter(&rows::UPLINK_CONNECTS_TOTAL),
                failures: telemetry.counters(&rows::UPLINK_FAILURES_TOTAL),
                sent: telemetry.counter(&rows::UPLINK_BATCHES_SENT_TOTAL),
                acked: telemetry.counter(&rows::UPLINK_BATCHES_ACKED_TOTAL),
                refused: telemetry.counter(&rows::UPLINK_BATCHES_REFUSED_TOTAL),
                clock_steps: telemetry.counter(&rows::CLOCK_STEPS_TOTAL),
            },
            resident_bytes: telemetry.gauge(&rows::AGENT_RESIDENT_BYTES),
            cpu_seconds: telemetry.float_counter(&rows::AGENT_CPU_SECONDS_TOTAL),
        }
    }
}
