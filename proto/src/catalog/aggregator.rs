//! What the aggregator says of itself.

use super::Metric;
use crate::sample::Kind::{Counter, Gauge, Histogram};

/// Every row of this file.
pub(super) const AGGREGATOR_ROWS: &[&Metric] = &[
    &BUILD_INFO,
    &AGENT_UP,
    &AGENTS,
    &AGENT_CLOCK_OFFSET_SECONDS,
    &INGEST_STREAMS,
    &INGEST_ACCEPT_PAUSES_TOTAL,
    &INGEST_CONNECTIONS_CLOSED_TOTAL,
    &INGEST_RECEIVED_BATCHES_TOTAL,
    &INGEST_BATCHES_TOTAL,
    &INGEST_WAITING_BATCHES,
    &INGEST_IDENTITY_CONFLICTS_TOTAL,
    &INGEST_RECEIVED_SAMPLES_TOTAL,
    &INGEST_SAMPLES_TOTAL,
    &INGEST_REFUSED_BATCHES_TOTAL,
    &INGEST_DROPPED_SAMPLES_TOTAL,
    &INGEST_RESTAMPED_PASSES_TOTAL,
    &INGEST_RECEIVED_EVENTS_TOTAL,
    &INGEST_EVENTS_TOTAL,
    &LEDGER_MISSING_RECORDS_TOTAL,
    &INGEST_QUEUE_BATCHES,
    &INGEST_COMMIT_DURATION_SECONDS,
    &INGEST_COMMIT_FAILURES_TOTAL,
    &INGEST_UNSAID_LINES_TOTAL,
    &HEAD_SERIES,
    &HEAD_SAMPLES,
    &RULE_EVALUATIONS_TOTAL,
    &RULE_EVALUATION_FAILURES_TOTAL,
    &RULE_EVALUATIONS_MISSED_TOTAL,
    &RULE_EVALUATION_DURATION_SECONDS,
    &RULES,
    &ALERTS,
    &CONFIG_RELOAD_SUCCESSFUL,
    &NOTIFICATIONS_MADE_TOTAL,
    &NOTIFICATIONS_FINISHED_TOTAL,
    &NOTIFICATIONS_TOTAL,
    &NOTIFICATIONS_FAILED_TOTAL,
    &NOTIFICATION_QUEUE,
    &NOTIFICATION_LATENCY_SECONDS,
    &STORE_UP,
    &CLOCK_JUMPS_TOTAL,
    &HTTP_REFUSED_TOTAL,
];

/// The aggregator's build.
pub const BUILD_INFO: Metric = Metric {
    name: "monitoring_aggregator_info",
    kind: Gauge,
    unit: "1",
    labels: &["version", "database"],
    help: "Always 1; says which version of the aggregator runs, and on which database.",
};
/// Like Prometheus's `up`.
pub const AGENT_UP: Metric = Metric {
    name: "monitoring_agent_up",
    kind: Gauge,
    unit: "1",
    labels: &["service", "instance"],
    help: "1 while an agent's batches arrive, 0 when it went silent; gone when it said goodbye.",
};
/// Agents by state.
pub const AGENTS: Metric = Metric {
    name: "monitoring_agents",
    kind: Gauge,
    unit: "1",
    labels: &["state"],
    help: "Known agents by state: up, silent, stopped.",
};
/// Offset of the agents' clocks.
pub const AGENT_CLOCK_OFFSET_SECONDS: Metric = Metric {
    name: "monitoring_agent_clock_offset_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &["service", "instance"],
    help: "How far the agent's clock is ahead of the aggregator's; beyond two seconds its samples' times are corrected by it.",
};
/// Open streams.
pub const INGEST_STREAMS: Metric =
    Metric { name: "monitoring_ingest_streams", kind: Gauge, unit: "1", labels: &[], help: "Open streams of agents." };
/// Pauses of accepting.
pub const INGEST_ACCEPT_PAUSES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_accept_pauses_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Times that agents' connections were left waiting, by reason: connections (as many as there may be), error (the system gave none, for example for want of open files).",
};
/// Connections that we closed.
pub const INGEST_CONNECTIONS_CLOSED_TOTAL: Metric = Metric {
    name: "monitoring_ingest_connections_closed_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Agents' connections that the aggregator closed, by reason: silent (nothing was heard for a minute), unused (no stream), ending (it did not end in time when the aggregator did).",
};
/// Batches received.
pub const INGEST_RECEIVED_BATCHES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_received_batches_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Batches that were read from streams; each has one outcome, or waits.",
};
/// Batches by outcome.
pub const INGEST_BATCHES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_batches_total",
    kind: Counter,
    unit: "1",
    labels: &["outcome"],
    help: "Batches by outcome: stored, replayed (already stored, acknowledged again), unproven (acknowledged again, but what was stored in the place is pruned), refused, taken (another batch is stored in the place), abandoned (the stream or the database was lost before there was an answer; the agent has them).",
};
/// Batches that wait for an outcome.
pub const INGEST_WAITING_BATCHES: Metric = Metric {
    name: "monitoring_ingest_waiting_batches",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Batches that were received and have no outcome yet.",
};
/// Agents that are not who they seem.
pub const INGEST_IDENTITY_CONFLICTS_TOTAL: Metric = Metric {
    name: "monitoring_ingest_identity_conflicts_total",
    kind: Counter,
    unit: "1",
    labels: &["kind"],
    help: "Signs that an agent's spool was set back or copied, by kind: rewound (less was given out than is stored), position_taken (another batch is stored in the place), epoch_back (an older epoch goes on), cloned (two programs take turns under one id).",
};
/// Samples received.
pub const INGEST_RECEIVED_SAMPLES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_received_samples_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Samples of stored batches; each is kept in memory, or dropped for a reason.",
};
/// Samples stored.
pub const INGEST_SAMPLES_TOTAL: Metric =
    Metric { name: "monitoring_ingest_samples_total", kind: Counter, unit: "1", labels: &[], help: "Samples stored." };
/// Batches refused.
pub const INGEST_REFUSED_BATCHES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_refused_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Messages of agents that were refused, and agents that were sent away for now, by reason.",
};
/// Samples dropped.
pub const INGEST_DROPPED_SAMPLES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_dropped_samples_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Samples of stored batches that memory did not keep, by reason; own_series_limit counts those that the aggregator itself makes about agents.",
};
/// Passes moved to the time of arrival.
pub const INGEST_RESTAMPED_PASSES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_restamped_passes_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Passes whose time lay far in the future; they were moved back together, the newest to its arrival.",
};
/// Events received.
pub const INGEST_RECEIVED_EVENTS_TOTAL: Metric = Metric {
    name: "monitoring_ingest_received_events_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Business events of stored batches.",
};
/// Events by outcome.
pub const INGEST_EVENTS_TOTAL: Metric = Metric {
    name: "monitoring_ingest_events_total",
    kind: Counter,
    unit: "1",
    labels: &["outcome"],
    help: "Business events of stored batches by outcome: stored, or duplicate (one with the same clinic and key is stored).",
};
/// Records that are missing.
pub const LEDGER_MISSING_RECORDS_TOTAL: Metric = Metric {
    name: "monitoring_ledger_missing_records_total",
    kind: Counter,
    unit: "1",
    labels: &["service", "reason"],
    help: "Records missing from agents' streams: those that agents had to drop, by reason, those refused, and sequence numbers that never came (unexplained). Counted since the start; the ledger has them all.",
};
/// Batches waiting for a commit.
pub const INGEST_QUEUE_BATCHES: Metric = Metric {
    name: "monitoring_ingest_queue_batches",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Batches that wait for the next commit.",
};
/// Duration of commits.
pub const INGEST_COMMIT_DURATION_SECONDS: Metric = Metric {
    name: "monitoring_ingest_commit_duration_seconds",
    kind: Histogram,
    unit: "seconds",
    labels: &[],
    help: "Time that a group commit took.",
};
/// Commits that failed.
pub const INGEST_COMMIT_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_commit_failures_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Group commits that failed and were tried again.",
};
/// Log lines that were not written.
pub const INGEST_UNSAID_LINES_TOTAL: Metric = Metric {
    name: "monitoring_ingest_unsaid_lines_total",
    kind: Counter,
    unit: "1",
    labels: &["kind"],
    help: "Log lines about agents that were not written, since there had been a hundred of their kind in a minute: connected, ended, goodbye, full (as many connections as there may be), agent_refused, not_noted (the database did not take a hello or a goodbye), conflict, batch_refused, unproven, missing (records), restamped.",
};
/// Series in memory.
pub const HEAD_SERIES: Metric =
    Metric { name: "monitoring_head_series", kind: Gauge, unit: "1", labels: &[], help: "Series in memory." };
/// Samples in memory.
pub const HEAD_SAMPLES: Metric =
    Metric { name: "monitoring_head_samples", kind: Gauge, unit: "1", labels: &[], help: "Samples in memory." };
/// Evaluations.
pub const RULE_EVALUATIONS_TOTAL: Metric = Metric {
    name: "monitoring_rule_evaluations_total",
    kind: Counter,
    unit: "1",
    labels: &["group"],
    help: "Evaluations of rules, by group.",
};
/// Failed evaluations.
pub const RULE_EVALUATION_FAILURES_TOTAL: Metric = Metric {
    name: "monitoring_rule_evaluation_failures_total",
    kind: Counter,
    unit: "1",
    labels: &["group"],
    help: "Evaluations of rules that failed, by group.",
};
/// Missed evaluations.
pub const RULE_EVALUATIONS_MISSED_TOTAL: Metric = Metric {
    name: "monitoring_rule_evaluations_missed_total",
    kind: Counter,
    unit: "1",
    labels: &["group"],
    help: "Evaluations of rules that their interval asked for and that did not take place, because the one before still ran or the database was away, by group.",
};
/// Duration of evaluations.
pub const RULE_EVALUATION_DURATION_SECONDS: Metric = Metric {
    name: "monitoring_rule_evaluation_duration_seconds",
    kind: Histogram,
    unit: "seconds",
    labels: &[],
    help: "Time that the evaluation of one rule took, its commit included.",
};
/// Rules by health.
pub const RULES: Metric = Metric {
    name: "monitoring_rules",
    kind: Gauge,
    unit: "1",
    labels: &["health"],
    help: "Rules by health: ok, err (the last evaluation failed, or exceeded the rule's limit), unknown (an agent that the rule may read is not heard of, or the rule reads over a gap in what it sent).",
};
/// Alerts by state.
pub const ALERTS: Metric = Metric {
    name: "monitoring_alerts",
    kind: Gauge,
    unit: "1",
    labels: &["state"],
    help: "Alert instances by state: pending, firing.",
};
/// Whether the configuration in force is the newest.
pub const CONFIG_RELOAD_SUCCESSFUL: Metric = Metric {
    name: "monitoring_config_last_reload_successful",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Whether the rule file that was read last is in force.",
};
/// Notifications made.
pub const NOTIFICATIONS_MADE_TOTAL: Metric = Metric {
    name: "monitoring_notifications_made_total",
    kind: Counter,
    unit: "1",
    labels: &[],
    help: "Notifications that evaluations made, and those that waited when this process began.",
};
/// Notifications that are done with.
pub const NOTIFICATIONS_FINISHED_TOTAL: Metric = Metric {
    name: "monitoring_notifications_finished_total",
    kind: Counter,
    unit: "1",
    labels: &["outcome"],
    help: "Notifications that wait no longer, by outcome: sent, refused (by the channel, for good), given_up (tried for a day), no_channel (no longer configured), outbox_full (too many waited).",
};
/// Notifications sent.
pub const NOTIFICATIONS_TOTAL: Metric = Metric {
    name: "monitoring_notifications_total",
    kind: Counter,
    unit: "1",
    labels: &["channel"],
    help: "Notifications that a channel has accepted.",
};
/// Notifications that failed.
pub const NOTIFICATIONS_FAILED_TOTAL: Metric = Metric {
    name: "monitoring_notifications_failed_total",
    kind: Counter,
    unit: "1",
    labels: &["channel", "reason"],
    help: "Attempts to notify that failed, by channel and reason; given_up counts notifications that are not tried again.",
};
/// Notifications waiting.
pub const NOTIFICATION_QUEUE: Metric = Metric {
    name: "monitoring_notification_queue",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Notifications that wait to be sent.",
};
/// Latency of notifications.
pub const NOTIFICATION_LATENCY_SECONDS: Metric = Metric {
    name: "monitoring_notification_latency_seconds",
    kind: Histogram,
    unit: "seconds",
    labels: &[],
    help: "Time from the evaluation that made a notification until a channel accepted it.",
};
/// Whether the database answers.
pub const STORE_UP: Metric = Metric {
    name: "monitoring_store_up",
    kind: Gauge,
    unit: "1",
    labels: &[],
    help: "Whether the database answered last time.",
};
/// Jumps of the wall clock.
pub const CLOCK_JUMPS_TOTAL: Metric = Metric {
    name: "monitoring_clock_jumps_total",
    kind: Counter,
    unit: "1",
    labels: &["direction"],
    help: "Times that the aggregator's wall clock was set by more than a minute, forward or back.",
};
/// Requests refused.
pub const HTTP_REFUSED_TOTAL: Metric = Metric {
    name: "monitoring_http_refused_total",
    kind: Counter,
    unit: "1",
    labels: &["reason"],
    help: "Requests to the pages that a limit refused, by reason: busy, too_slow, url_too_long.",
};
