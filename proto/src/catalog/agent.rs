//! What the agent says of itself. It streams these like any other source (`agent`), and serves them on `/metrics`.

use super::Metric;
use crate::sample::Kind::{Counter, Gauge};

/// Every row of this file.
pub(super) const AGENT_ROWS: &[&Metric] = &[
    &AGENT_INFO,
    &COLLECTOR_PASSES_TOTAL,
    &COLLECTOR_FAILURES_TOTAL,
    &COLLECTOR_OVERRUNS_TOTAL,
    &COLLECTOR_HEALTHY,
    &COLLECTOR_DURATION_SECONDS,
    &AGENT_PASSES_IN_TOTAL,
    &AGENT_PASSES_OUT_TOTAL,
    &AGENT_DROPPED_PASSES_TOTAL,
    &AGENT_PASSES_WAITING,
    &AGENT_DROPPED_VALUES_TOTAL,
    &RECEIVE_EVENTS_IN_TOTAL,
    &RECEIVE_EVENTS_OUT_TOTAL,
    &RECEIVE_EVENTS_REFUSED_TOTAL,
    &RECEIVE_EVENTS_WAITING,
    &RECEIVE_REQUESTS_REFUSED_TOTAL,
    &RECEIVE_ATTRIBUTES_DROPPED_TOTAL,
    &SPOOL_RECORDS_IN_TOTAL,
    &SPOOL_RECORDS_OUT_TOTAL,
    &SPOOL_RECORDS_MOVED_TOTAL,
    &SPOOL_RECORDS_DROPPED_TOTAL,
    &SPOOL_RECORDS_WAITING,
    &SPOOL_BYTES,
    &SPOOL_MAX_BYTES,
    &SPOOL_RESERVE_HELD,
    &SPOOL_SYNC_FAILURES_TOTAL,
    &SPOOL_CURSOR_FAILURES_TOTAL,
    &SPOOL_EVICTED_BYTES_TOTAL,
    &SPOOL_SEGMENTS_GIVEN_UP_TOTAL,
    &SPOOL_PIECES_NOT_QUARANTINED_TOTAL,
    &SPOOL_RECORDS_NOT_SHELVED_TOTAL,
    &SPOOL_RECORDS_SKIPPED_TOTAL,
    &SPOOL_RECORDS_TURNED_AWAY_TOTAL,
    &SPOOL_EPOCHS_BEGUN_TOTAL,
    &UPLINK_CONNECTED,
    &UPLINK_CONNECTS_TOTAL,
    &UPLINK_FAILURES_TOTAL,
    &UPLINK_BATCHES_SENT_TOTAL,
    &UPLINK_BATCHES_ACKED_TOTAL,
    &UPLINK_BATCHES_REFUSED_TOTAL,
    &UPLINK_BATCHES_MOVED_TOTAL,
    &UPLINK_BATCHES_UNANSWERED_TOTAL,
    &UPLINK_BATCHES_IN_FLIGHT,
    &CLOCK_STEPS_TOTAL,
    &AGENT_RESIDENT_BYTES,
    &AGENT_CPU_SECONDS_TOTAL,
];

/// The agent's build.
pub const AGENT_INFO: Metric = Metric {
    name: "monitoring_agent_info",
    kind: Gauge,
    unit: "1",
    labels: &["version"],
    help: "Always 1; says which version of the agent runs.",
};
/// Passes taken.
pub const COLLECTOR_PASSES_TOTAL: Metric = Metric {
    name: "monitoring_collector_passes_total",
    kind: Counter,
    unit: "1",
    labels: &["collector"],
    help: "Collection passes begun, by collector.",
};
/// Passes that failed.
pub const COLLECTOR_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_collector_failures_total",
    kind: Counter,
    unit: "1",
    labels: &["collector", "reason"],
    help: "Collection passes that failed wholly or in part, by collector and reason of the first failure.",
};
/// Passes that overran.
pub const COLLECTOR_OVERRUNS_TOTAL: Metric = Metric {
    name: "monitoring_collector_overruns_total",
    kind: Counter,
    unit: "1",
    labels: &["collector"],
    help: "Collection passes that took longer than the collector's deadline, by collector.",
};
/// Health.
pub const COLLECTOR_HEALTHY: Metric = Metric {
    name: "monitoring_collector_healthy",
    kind: Gauge,
    unit: "1",
    labels: &["collector"],
    help: "Whether the collector's last pass succeeded within its deadline.",
};
/// Duration of the last pass.
pub const COLLECTOR_DURATION_SECONDS: Metric = Metric {
    name: "monitoring_collector_duration_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &["collector"],
    help: "How long the collector's last pass took.",
};
/// Passes handed over.
pub const AGENT_PASSES_IN_TOTAL: Metric = Metric {
    name: "monitoring_agent_passes_in_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Passes that the collectors handed to the spool's keeper; equal to those out, dropped and waiting together.",
};
/// Passes in the spool.
pub const AGENT_PASSES_OUT_TOTAL: Metric = Metric {
    name: "monitoring_agent_passes_out_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Passes that went into a record of the spool.",
};
/// Passes that did not reach the spool.
pub const AGENT_DROPPED_PASSES_TOTAL: Metric = Metric {
    name: "monitoring_agent_passes_dropped_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Passes that never reached the spool, by reason; the aggregator is told by a gap, except of stopping (the agent ended).",
};
/// Passes before the spool.
pub const AGENT_PASSES_WAITING: Metric = Metric {
    name: "monitoring_agent_passes_waiting",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Passes that wait to go into a record of the spool.",
};
/// Values left out of passes.
pub const AGENT_DROPPED_VALUES_TOTAL: Metric = Metric {
    name: "monitoring_agent_values_dropped_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Values left out of passes that were sent without them, by reason.",
};
/// Events handed in.
pub const RECEIVE_EVENTS_IN_TOTAL: Metric = Metric {
    name: "monitoring_receive_events_in_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Events that services handed in; equal to those out, refused and waiting together.",
};
/// Events in the spool.
pub const RECEIVE_EVENTS_OUT_TOTAL: Metric = Metric {
    name: "monitoring_receive_events_out_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Events that are in the spool as its mode promises; the service was told so.",
};
/// Events not taken.
pub const RECEIVE_EVENTS_REFUSED_TOTAL: Metric = Metric {
    name: "monitoring_receive_events_refused_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Events that were not taken, by reason; the service was told so.",
};
/// Events before the spool.
pub const RECEIVE_EVENTS_WAITING: Metric = Metric {
    name: "monitoring_receive_events_waiting",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Events whose service waits until they are in the spool.",
};
/// Requests answered with an error.
pub const RECEIVE_REQUESTS_REFUSED_TOTAL: Metric = Metric {
    name: "monitoring_receive_requests_refused_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Requests of services that were answered with an error before or instead of being written, by reason.",
};
/// Attributes left out.
pub const RECEIVE_ATTRIBUTES_DROPPED_TOTAL: Metric = Metric {
    name: "monitoring_receive_attributes_dropped_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Attributes of events that were left out; none is on an allow-list yet.",
};
/// Records put into the spool.
pub const SPOOL_RECORDS_IN_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_in_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Records that entered the spool, those found in it at the start included; equal to those out, moved, dropped and waiting together.",
};
/// Records acknowledged.
pub const SPOOL_RECORDS_OUT_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_out_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Records that left the spool because the aggregator has them.",
};
/// Records moved.
pub const SPOOL_RECORDS_MOVED_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_moved_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Records that were written again under another position, because the aggregator has another record under theirs.",
};
/// Records lost.
pub const SPOOL_RECORDS_DROPPED_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_dropped_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Records that left the spool without being delivered, by reason.",
};
/// Records waiting.
pub const SPOOL_RECORDS_WAITING: Metric = Metric {
    name: "monitoring_spool_records_waiting",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Records in the spool that the aggregator has not acknowledged.",
};
/// Bytes on disk.
pub const SPOOL_BYTES: Metric = Metric {
    name: "monitoring_spool_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    help: "Bytes that the spool takes on the disk.",
};
/// Bound of the bytes on disk.
pub const SPOOL_MAX_BYTES: Metric = Metric {
    name: "monitoring_spool_max_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    help: "Bytes that the spool may take on the disk.",
};
/// Whether room for critical records is set aside.
pub const SPOOL_RESERVE_HELD: Metric = Metric {
    name: "monitoring_spool_reserve_held",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Whether room on the disk is set aside for critical records; 0 while it is in use, while there is no room for it, and where the disk cannot set any aside.",
};
/// Failed syncs.
pub const SPOOL_SYNC_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_spool_sync_failures_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Writes to the spool's disk that failed to become durable and were written again elsewhere.",
};
/// Cursor copies that were not written.
pub const SPOOL_CURSOR_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_spool_cursor_failures_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Copies of the spool's cursor that could not be written; a restart then sends more again.",
};
/// Bytes dropped for space.
pub const SPOOL_EVICTED_BYTES_TOTAL: Metric = Metric {
    name: "monitoring_spool_evicted_bytes_total",
    kind: Counter,
    unit: "bytes",
    labels: &[],
    help: "Bytes of the oldest records that were dropped from the spool to make room.",
};
/// Segments not read to their end.
pub const SPOOL_SEGMENTS_GIVEN_UP_TOTAL: Metric = Metric {
    name: "monitoring_spool_segments_given_up_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Segments of the spool that the disk did not give to their end; they lie in its quarantine folder, as far as that has room.",
};
/// Damage of which nothing is kept.
pub const SPOOL_PIECES_NOT_QUARANTINED_TOTAL: Metric = Metric {
    name: "monitoring_spool_pieces_not_quarantined_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Damaged pieces of segments, and segments not given to their end, that are not in the spool's quarantine folder: it is full, or the disk failed.",
};
/// Refused records of which nothing is kept.
pub const SPOOL_RECORDS_NOT_SHELVED_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_not_shelved_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Records dropped as refused of which no copy lies in the spool's dead folder: it is full, or the disk failed.",
};
/// Seqs spent on loss.
pub const SPOOL_RECORDS_SKIPPED_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_skipped_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Records that never came to be and of which the aggregator is told by a gap: too large, no room, a failing disk, or a full queue before the spool, where each pass counts as a record.",
};
/// Appends that the spool did not take.
pub const SPOOL_RECORDS_TURNED_AWAY_TOTAL: Metric = Metric {
    name: "monitoring_spool_records_turned_away_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Records that the spool did not take, by reason.",
};
/// Epochs begun.
pub const SPOOL_EPOCHS_BEGUN_TOTAL: Metric = Metric {
    name: "monitoring_spool_epochs_begun_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Epochs that the spool began, by reason; rewound and position_taken say that it was set back or copied.",
};
/// Whether the stream stands.
pub const UPLINK_CONNECTED: Metric = Metric {
    name: "monitoring_uplink_connected",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Whether the stream to the aggregator stands.",
};
/// Streams opened.
pub const UPLINK_CONNECTS_TOTAL: Metric = Metric {
    name: "monitoring_uplink_connects_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Streams to the aggregator that were opened.",
};
/// Streams that failed.
pub const UPLINK_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_uplink_failures_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Streams to the aggregator that failed or could not be opened, by reason.",
};
/// Batches sent.
pub const UPLINK_BATCHES_SENT_TOTAL: Metric = Metric {
    name: "monitoring_uplink_batches_sent_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches sent, repeated ones included; equal to those acked, refused, moved, unanswered and in flight together.",
};
/// Batches acked.
pub const UPLINK_BATCHES_ACKED_TOTAL: Metric = Metric {
    name: "monitoring_uplink_batches_acked_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches that the aggregator has acknowledged as durable.",
};
/// Batches refused.
pub const UPLINK_BATCHES_REFUSED_TOTAL: Metric = Metric {
    name: "monitoring_uplink_batches_refused_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches that the aggregator refused for good; they lie in the spool's dead folder, as far as that has room. Those before them count as acked.",
};
/// Batches moved.
pub const UPLINK_BATCHES_MOVED_TOTAL: Metric = Metric {
    name: "monitoring_uplink_batches_moved_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches in whose position the aggregator has another one; they are sent again under another position.",
};
/// Batches unanswered.
pub const UPLINK_BATCHES_UNANSWERED_TOTAL: Metric = Metric {
    name: "monitoring_uplink_batches_unanswered_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches whose stream ended before they were answered; they are sent again.",
};
/// Batches in flight.
pub const UPLINK_BATCHES_IN_FLIGHT: Metric = Metric {
    name: "monitoring_uplink_batches_in_flight",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Batches sent on the present stream that are not answered.",
};
/// Times that the wall clock was set.
pub const CLOCK_STEPS_TOTAL: Metric = Metric {
    name: "monitoring_clock_steps_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Times that the agent's wall clock moved by half a second or more against the monotonic one: it was set, or the machine slept.",
};
/// Memory of the agent.
pub const AGENT_RESIDENT_BYTES: Metric = Metric {
    name: "monitoring_agent_resident_memory_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    help: "Resident memory of the agent itself.",
};
/// CPU of the agent.
pub const AGENT_CPU_SECONDS_TOTAL: Metric = Metric {
    name: "monitoring_agent_cpu_seconds_total",
    kind: Counter,
    unit: "seconds",
    labels: &[],
    help: "CPU time that the agent itself has used.",
};
