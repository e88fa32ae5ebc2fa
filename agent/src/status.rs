//! The agent's own pages: `/metrics`, `/healthz` (progress, not mere life) and `/status`.
//!
//! Health says whether *this agent* makes progress: its fast collectors finish passes and the spool takes them. It does
//! not depend on the aggregator: an outage there must not restart a thousand sidecars. Nor on a collector that may hang
//! with what it watches, as `filesystem` does with a dead mount: a restart would only hang again. `/status` and the
//! metrics show those.

use crate::collect::watch::Watch;
use crate::config::Config;
use crate::entrance::{Connection, Entrance};
use crate::keep::{Door, epoch_word, reserve_word};
use crate::uplink::Standing;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use proto::exposition::{Encoder, Format};
use proto::telemetry::Telemetry;
use runtime::clock::Clock;
use serde_json::{Value, json};
use spool::OpenReport;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The collectors that read what the kernel has in memory: if one of them hangs, something is wrong with us.
const VITAL: [&str; 3] = ["host", "cgroup", "process"];
/// A collector that has not finished a pass for so many of its intervals makes no progress.
const PROGRESS_INTERVALS: u32 = 3;
/// And never judged more strictly than this: a machine under load is late, not dead.
const PROGRESS_MIN: Duration = Duration::from_secs(10);

/// Connections to the pages at a time: a probe, a scraper and a person, ten times over.
const CONNECTIONS_MAX: usize = 32;

/// The keeper may be at one thing for so long, and the disk may refuse what is written: a slow or full disk takes its
/// time, and a restart would not help it; one that hangs is to be seen.
const KEEPER_PATIENCE: Duration = Duration::from_secs(30);

/// What the pages show.
pub struct Status {
    /// The configuration in force.
    pub config: Config,
    /// How the spool opened.
    pub report: OpenReport,
    /// Our metrics.
    pub telemetry: Telemetry,
    /// The collectors.
    pub watches: Vec<Arc<Watch>>,
    /// The keeper's door.
    pub door: Door,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// How the stream to the aggregator stands.
    pub standing: Arc<Standing>,
    /// Where services hand in what they report; `None` where that is switched off.
    pub report_address: Option<SocketAddr>,
}

/// The door of the pages.
struct Visitors(Entrance);

impl Listener for Visitors {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.0.next().await;
        let peer = connection.stream().peer_addr();
        (connection, peer.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))) // gone already; nobody asks for it
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves the pages until `stop`.
pub async fn serve(listener: TcpListener, status: Arc<Status>, stop: CancellationToken) {
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/status", get(show))
        .with_state(status);
    let served = axum::serve(Visitors(Entrance::new(listener, CONNECTIONS_MAX)), pages)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "http server failed");
    }
}

async fn metrics(State(status): State<Arc<Status>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let now = status.clock.monotonic();
    status.watches.iter().for_each(|watch| watch.look(now)); // one that hangs cannot count itself
    let mut encoder = Encoder::new(format);
    status.telemetry.encode(&mut encoder);
    ([(header::CONTENT_TYPE, format.content_type())], encoder.finish()).into_response()
}

async fn healthz(State(status): State<Arc<Status>>) -> Response {
    match status.stuck() {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn show(State(status): State<Arc<Status>>) -> Response {
    axum::Json(status.to_json()).into_response()
}

impl Status {
    /// What makes no progress; `None` when everything does.
    pub fn stuck(&self) -> Option<String> {
        let now = self.clock.monotonic();
        let progress = self.door.progress();
        let lasts = |since: Option<Duration>| {
            since.map(|since| now.saturating_sub(since)).filter(|lasts| *lasts > KEEPER_PATIENCE)
        };
        if let Some(lasts) = lasts(progress.busy_since) {
            return Some(format!("the spool's disk has not answered for {lasts:?}"));
        }
        if let Some(lasts) = lasts(progress.failing_since) {
            return Some(format!("the spool's disk has not taken what is written for {lasts:?}"));
        }
        for watch in self.watches.iter().filter(|watch| VITAL.contains(&watch.name)) {
            let patience = (watch.schedule.interval * PROGRESS_INTERVALS).max(PROGRESS_MIN);
            let running = watch.health().running_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            if running > patience {
                return Some(format!("collector {} has been in one pass for {running:?}", watch.name));
            }
        }
        None
    }

    fn to_json(&self) -> Value {
        let now = self.clock.monotonic();
        let collectors: Vec<Value> = self.watches.iter().map(|watch| collector_json(watch, now)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "agent_id": self.report.owner,
            "epoch": format!("{:032x}", self.door.last().epoch),
            "report_address": self.report_address,
            "service": self.config.service,
            "instance": self.config.instance,
            "clinic_id": self.config.clinic_id,
            "aggregator": self.aggregator_json(now),
            "healthy": self.stuck().is_none(),
            "collectors": collectors,
            "spool": self.spool_json(now),
        })
    }

    fn aggregator_json(&self, now: Duration) -> Value {
        let stands = self.standing.now();
        json!({
            "url": self.config.aggregator,
            "connected": stands.connected,
            "for_seconds": seconds_since(stands.since, now),
            "last_error": stands.last_error,
            "last_error_seconds_ago": seconds_since(stands.failed_at, now),
            "last_ack_seconds_ago": seconds_since(self.door.progress().acked_at, now),
        })
    }

    fn spool_json(&self, now: Duration) -> Value {
        let (stats, progress) = (self.door.stats(), self.door.progress());
        json!({
            "dir": self.config.spool.dir,
            "mode": mode_word(self.config.spool.mode),
            "writable": progress.failing_since.is_none(),
            "failing_seconds": seconds_since(progress.failing_since, now),
            "busy_seconds": seconds_since(progress.busy_since, now),
            "last_write_seconds_ago": seconds_since(progress.written_at, now),
            "last_durable_seconds_ago": seconds_since(progress.durable_at, now),
            "last_seq": self.door.last().seq,
            "new_epoch": stats.new_epoch.map(epoch_word),
            "bytes": stats.bytes,
            "max_bytes": self.config.spool.max_bytes,
            "reserve": reserve_word(stats.reserve),
            "waiting": self.door.waiting(),
            "oldest_seq": stats.oldest_seq,
            "in": stats.appended + stats.recovered,
            "out": stats.delivered,
            "moved": stats.moved,
            "dropped": {
                "spool_full": stats.dropped.spool_full,
                "corrupt": stats.dropped.corrupt,
                "refused": stats.dropped.refused,
            },
            "turned_away": {
                "too_large": stats.turned_away.too_large,
                "spool_full": stats.turned_away.full,
                "disk": stats.turned_away.disk,
            },
            "skipped": stats.skipped,
            "evicted_bytes": stats.evicted_bytes,
            "sync_failures": stats.sync_failures,
            "cursor_failures": stats.cursor_failures,
            "segments_given_up": stats.given_up_segments,
            "segments_not_removed": stats.leftovers,
            "quarantine_bytes": stats.quarantine_bytes,
            "not_quarantined": stats.not_quarantined,
            "dead_bytes": stats.dead_bytes,
            "not_shelved": stats.not_shelved,
        })
    }
}

fn seconds_since(then: Option<Duration>, now: Duration) -> Option<f64> {
    then.map(|then| now.saturating_sub(then).as_secs_f64())
}

fn collector_json(watch: &Watch, now: Duration) -> Value {
    let health = watch.health();
    json!({
        "name": watch.name,
        "interval_seconds": watch.schedule.interval.as_secs_f64(),
        "deadline_seconds": watch.schedule.deadline.as_secs_f64(),
        "healthy": watch.is_healthy(now),
        "last_error": health.last_error,
        "last_duration_seconds": health.last_duration.as_secs_f64(),
        "last_good_seconds_ago": health.last_good_at.map(|at| now.saturating_sub(at).as_secs_f64()),
    })
}

/// The mode's word, as in the configuration.
pub fn mode_word(mode: spool::Mode) -> &'static str {
    match mode {
        spool::Mode::Durable => "durable",
        spool::Mode::Fast => "fast",
    }
}

#[cfg(test)]
mod tests;
