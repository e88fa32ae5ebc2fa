//! Every limit that both sides must agree on, with its reason. A side may be stricter by configuration, never laxer.

use std::time::Duration;

/// Labels on one series. Prometheus has no limit by default; 30 is the most that a dashboard ever groups by, twice over.
pub const LABELS_MAX: usize = 30;
/// Bytes of a metric or label name.
pub const LABEL_NAME_MAX_BYTES: usize = 128;
/// Bytes of a label value: long enough for a pod name or a route template, too short for a message body.
pub const LABEL_VALUE_MAX_BYTES: usize = 1024;
/// Series of one schema. One agent watches one service; a host with many devices stays below 1,000.
pub const SERIES_PER_SCHEMA_MAX: usize = 2_000;
/// Series of one agent over all its sources.
pub const SERIES_PER_AGENT_MAX: usize = 10_000;
/// Sources (collectors and receivers) of one agent.
pub const SOURCES_PER_AGENT_MAX: usize = 32;
/// Frames of one batch: one per source, and room for a schema that changed within the batch.
pub const FRAMES_PER_BATCH_MAX: usize = 64;
/// Passes of one frame.
pub const PASSES_PER_FRAME_MAX: usize = 1_000;
/// Gap records of one batch.
pub const GAPS_PER_BATCH_MAX: usize = 100;
/// Events of one batch: a service that hands in more at once splits them.
pub const EVENTS_PER_BATCH_MAX: usize = 1_000;
/// Bytes of one request of a service: a full one with keys of full length takes half of it, attributes may take the rest.
pub const REPORT_MAX_BYTES: usize = 512 * 1024;
/// Bytes of an event's idempotency key: a uuid three times over.
pub const EVENT_KEY_MAX_BYTES: usize = 128;
/// Bytes of an event's type ("appointment.created").
pub const EVENT_KIND_MAX_BYTES: usize = 64;
/// Bytes of one encoded batch before compression; below tonic's own limit for a message (4 MiB), so that a batch that
/// fits here always fits on the wire.
pub const BATCH_MAX_BYTES: usize = 3 * 1024 * 1024;
/// Bytes of one gRPC message after decompression.
pub const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Characters of a refusal's message that an agent reads, logs and keeps beside the record: a line, whoever wrote it.
pub const REFUSAL_MAX_CHARS: usize = 512;
/// Batches of one stream that an aggregator takes in before they are stored; what an agent sends ahead of that waits in the
/// transport. Enough to fill a group commit, small enough to keep in memory.
pub const WINDOW_BATCHES: usize = 32;
/// Bytes of a name in `Hello` (service, instance, version), as the SQL columns have them.
pub const IDENTITY_MAX_BYTES: usize = 100;
/// Longest time between two passes of a source, or two batches of an agent: two of them fit into PromQL's lookback of
/// five minutes, so that one lost pass hides nothing from a rule.
pub const INTERVAL_MAX: Duration = Duration::from_secs(2 * 60);
/// HTTP/2's own sign of life, on every connection of ours: a ping this often, also while nothing else is said. Without it
/// file descriptors leak.
pub const PING_EVERY: Duration = Duration::from_secs(30);
/// And an answer within this: a peer that is gone without a word is noticed after these two, within a minute.
pub const PONG_WITHIN: Duration = Duration::from_secs(20);
/// An agent's clock counts as right up to here: the way through the network is in the measuring, too.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// How far ahead of the aggregator's clock a sample may be after its agent's clock was corrected. What waited in the spool
/// while the clock was set may be; further ahead, its time is of no use.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(10 * 60);
