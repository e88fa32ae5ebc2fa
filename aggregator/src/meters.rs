//! The aggregator's own metrics as handles, one struct for each part that counts.

use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec};
use proto::catalog as rows;
use proto::telemetry::Telemetry;

/// What ingest counts.
#[derive(Clone, Debug)]
pub struct IngestMeters {
    /// Open streams.
    pub streams: Gauge,
    /// Times that connections were left waiting, by reason.
    pub accept_pauses: IntCounterVec,
    /// Connections that we closed, by reason.
    pub closed: IntCounterVec,
    /// Batches that came.
    pub received: IntCounter,
    /// Batches by outcome.
    pub batches: IntCounterVec,
    /// Batches without an outcome.
    pub waiting: Gauge,
    /// Agents that are not who they seem, by kind.
    pub conflicts: IntCounterVec,
    /// Samples of stored batches.
    pub received_samples: IntCounter,
    /// Samples kept.
    pub samples: IntCounter,
    /// Refused messages by reason.
    pub refused: IntCounterVec,
    /// Samples of accepted batches that were not kept, by reason.
    pub dropped: IntCounterVec,
    /// Passes moved to the time of their arrival.
    pub restamped: IntCounter,
    /// Events of stored batches.
    pub received_events: IntCounter,
    /// Events by outcome.
    pub events: IntCounterVec,
    /// Records that are missing, by service and reason.
    pub missing: IntCounterVec,
    /// Batches that wait for a commit.
    pub queue: Gauge,
    /// Duration of commits.
    pub commit_seconds: Histogram,
    /// Failed commits.
    pub commit_failures: IntCounter,
    /// Log lines that were not written, by kind.
    pub unsaid: IntCounterVec,
}

/// What the rules count.
#[derive(Clone, Debug)]
pub struct RuleMeters {
    /// Evaluations by group.
    pub evaluations: IntCounterVec,
    /// Failed ones.
    pub failures: IntCounterVec,
    /// Missed ones.
    pub missed: IntCounterVec,
    /// Duration of a rule's evaluation.
    pub seconds: Histogram,
    /// Rules by health.
    pub rules: GaugeVec,
    /// Instances by state.
    pub alerts: GaugeVec,
    /// Notifications made.
    pub made: IntCounter,
    /// Whether the rule file is in force.
    pub reload_successful: Gauge,
}

/// What the notifiers count.
#[derive(Clone, Debug)]
pub struct NotifyMeters {
    /// Done with, by outcome.
    pub finished: IntCounterVec,
    /// Accepted, by channel.
    pub sent: IntCounterVec,
    /// Failed attempts, by channel and reason.
    pub failed: IntCounterVec,
    /// Waiting.
    pub queue: Gauge,
    /// From evaluation to acceptance.
    pub latency_seconds: Histogram,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Ingest's.
    pub ingest: IngestMeters,
    /// The rules'.
    pub rules: RuleMeters,
    /// The notifiers'.
    pub notify: NotifyMeters,
    /// Agents by state.
    pub agents: GaugeVec,
    /// Series in memory.
    pub head_series: Gauge,
    /// Samples in memory.
    pub head_samples: Gauge,
    /// Whether the database answered last time.
    pub store_up: Gauge,
    /// Jumps of the wall clock, by direction.
    pub clock_jumps: IntCounterVec,
}

impl Meters {
    /// Registers everything with `telemetry`. `database` is its kind, e.g. `sqlite`.
    pub fn new(telemetry: &Telemetry, database: &str) -> Self {
        telemetry.gauges(&rows::BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION"), database]).set(1.0);
        Self {
            ingest: IngestMeters {
                streams: telemetry.gauge(&rows::INGEST_STREAMS),
                accept_pauses: telemetry.counters(&rows::INGEST_ACCEPT_PAUSES_TOTAL),
                closed: telemetry.counters(&rows::INGEST_CONNECTIONS_CLOSED_TOTAL),
                received: telemetry.counter(&rows::INGEST_RECEIVED_BATCHES_TOTAL),
                batches: telemetry.counters(&rows::INGEST_BATCHES_TOTAL),
                waiting: telemetry.gauge(&rows::INGEST_WAITING_BATCHES),
                conflicts: telemetry.counters(&rows::INGEST_IDENTITY_CONFLICTS_TOTAL),
                received_samples: telemetry.counter(&rows::INGEST_RECEIVED_SAMPLES_TOTAL),
                samples: telemetry.counter(&rows::INGEST_SAMPLES_TOTAL),
                refused: telemetry.counters(&rows::INGEST_REFUSED_BATCHES_TOTAL),
                dropped: telemetry.counters(&rows::INGEST_DROPPED_SAMPLES_TOTAL),
                restamped: telemetry.counter(&rows::INGEST_RESTAMPED_PASSES_TOTAL),
                received_events: telemetry.counter(&rows::INGEST_RECEIVED_EVENTS_TOTAL),
                events: telemetry.counters(&rows::INGEST_EVENTS_TOTAL),
                missing: telemetry.counters(&rows::LEDGER_MISSING_RECORDS_TOTAL),
                queue: telemetry.gauge(&rows::INGEST_QUEUE_BATCHES),
                commit_seconds: telemetry.histogram(&rows::INGEST_COMMIT_DURATION_SECONDS),
                commit_failures: telemetry.counter(&rows::INGEST_COMMIT_FAILURES_TOTAL),
                unsaid: telemetry.counters(&rows::INGEST_UNSAID_LINES_TOTAL),
            },
            rules: RuleMeters {
                evaluations: telemetry.counters(&rows::RULE_EVALUATIONS_TOTAL),
                failures: telemetry.counters(&rows::RULE_EVALUATION_FAILURES_TOTAL),
                missed: telemetry.counters(&rows::RULE_EVALUATIONS_MISSED_TOTAL),
                seconds: telemetry.histogram(&rows::RULE_EVALUATION_DURATION_SECONDS),
                rules: telemetry.gauges(&rows::RULES),
                alerts: telemetry.gauges(&rows::ALERTS),
                made: telemetry.counter(&rows::NOTIFICATIONS_MADE_TOTAL),
                reload_successful: telemetry.gauge(&rows::CONFIG_RELOAD_SUCCESSFUL),
            },
            notify: NotifyMeters {
                finished: telemetry.counters(&rows::NOTIFICATIONS_FINISHED_TOTAL),
                sent: telemetry.counters(&rows::NOTIFICATIONS_TOTAL),
                failed: telemetry.counters(&rows::NOTIFICATIONS_FAILED_TOTAL),
                queue: telemetry.gauge(&rows::NOTIFICATION_QUEUE),
                latency_seconds: telemetry.histogram(&rows::NOTIFICATION_LATENCY_SECONDS),
            },
            agents: telemetry.gauges(&rows::AGENTS),
            head_series: telemetry.gauge(&rows::HEAD_SERIES),
            head_samples: telemetry.gauge(&rows::HEAD_SAMPLES),
            store_up: telemetry.gauge(&rows::STORE_UP),
            clock_jumps: telemetry.counters(&rows::CLOCK_JUMPS_TOTAL),
        }
    }
}
