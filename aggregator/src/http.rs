//! The pages: what Prometheus scrapes, what people and programs ask, and what Kubernetes probes.
//!
//! Everything here reads; nothing here changes anything. Each request passes the same line:
//!
//! ```text
//! connection ─► front ─► headers ─► gzip ─► panic → 500 ─► guard ─► page
//!  places, patience                                        URL length, places for requests, deadline (not for the probes)
//! ```
//!
//! | file | what it serves or holds |
//! |---|---|
//! | `front` | the door: what is answered before there is anything behind it |
//! | `metrics` | `/metrics`, `/agents/{id}/metrics` |
//! | `page`, `shown` | series as exposition families; which series are shown at all |
//! | `federate` | `/federate` |
//! | `discovery` | `/sd` |
//! | `agents`, `ledger`, `latest`, `alerts` | `/api/…` |
//! | `health`, `status` | progress of the parts; `/healthz`, `/readyz`, `/status` |
//! | `prometheus` | `/api/v1/…`: Prometheus's own API, with its envelope and its errors |
//! | `params`, `problem` | query parameters parsed at the door; every refusal |
//! | `aside` | threads for what takes long |
//! | `guard`, `connection` | the limits of requests and of connections |
//!
//! Limits: [`guard::REQUESTS_MAX`], [`guard::REQUEST_MAX`], [`guard::URL_MAX_BYTES`], [`connection::CONNECTIONS_MAX`],
//! [`runtime::patience`], [`DRAIN_MAX`]. There is no authentication here: the address is the wall, loopback by
//! default.

mod agents;
mod alerts;
mod aside;
pub mod connection;
mod discovery;
mod federate;
mod front;
pub mod guard;
pub mod health;
mod latest;
mod ledger;
mod metrics;
mod page;
mod params;
mod problem;
mod prometheus;
mod shown;
mod status;

pub use front::Front;
pub use health::{Health, Part};

use crate::live::Live;
use crate::rules::board::Board;
use crate::store::Store;
use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::get;
use connection::Door;
use guard::Guard;
use problem::Problem;
use proto::telemetry::Telemetry;
use runtime::clock::Clock;
use runtime::log::chain;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests under way may take to end when we end. hyper waits for silent clients for ever; a page takes
/// milliseconds, and who did not get it asks our successor.
pub const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What the pages show.
pub struct Pages {
    /// Agents and head.
    pub live: Arc<Live>,
    /// Our own metrics.
    pub telemetry: Telemetry,
    /// Alerts that were; and whether the database answers.
    pub store: Arc<dyn Store>,
    /// Rules and alerts that are.
    pub board: Arc<Board>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Whether the parts make progress.
    pub health: Arc<Health>,
    /// Where these pages are.
    pub listen: SocketAddr,
    /// Where agents connect.
    pub listen_grpc: SocketAddr,
    /// The database's kind and version as it said at the start; never its URL, which may hold a password.
    pub database: String,
}

/// What the handlers share.
type Shared = Arc<Service>;

/// The pages and what is kept between requests.
struct Service {
    pages: Arc<Pages>,
    probe: status::Probe,
    guard: Guard,
    /// Whose turn it is to walk over the series.
    turns: prometheus::turns::Turns,
}

impl Service {
    fn new(pages: Arc<Pages>) -> Self {
        let guard = Guard::new(&pages.telemetry);
        Self { pages, probe: status::Probe::default(), guard, turns: prometheus::turns::Turns::default() }
    }
}

/// What `/` says.
const INDEX: &str = "\
AtendeAI monitoring aggregator

/metrics               latest samples of all live agents, and our own (Prometheus text 0.0.4, OpenMetrics 1.0)
/agents/{id}/metrics   those of one agent; 503 when it is gone
/federate              newest samples of what match[] selects, for another Prometheus   ?match[]=
/sd                    HTTP service discovery: one target for each agent
/api/agents            known agents                  ?clinic_id=
/api/agents/{id}/ledger  what is complete of one agent, and what is missing   ?from=&to=&clinic_id=
/api/alerts            alerts, and those pending     ?status=active|resolved|pending|firing&clinic_id=&limit=
/api/metrics/latest    latest samples as JSON        ?service=&instance=&clinic_id=&name=&limit=
/api/v1/labels         Prometheus's API, as Grafana's data source calls it: query, query_range, labels, label/{name}/values, series, metadata, rules, alerts
/healthz               whether every part makes progress
/readyz                whether the database answers
/status                everything about this process
";

/// Serves what is behind `front` until `stop`, and [`DRAIN_MAX`] longer for requests under way. When it returns, or is dropped, its
/// connections are closed.
pub async fn serve(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    let abort = CancellationToken::new();
    let door = Door::new(listener, abort.clone());
    let _closed_at_the_end = abort.drop_guard();
    let drained = stop.clone().cancelled_owned();
    let server = axum::serve(door, front.into_router()).with_graceful_shutdown(drained).into_future();
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = server => {
            if let Err(error) = ended {
                tracing::error!(error = chain(&error), "http server failed");
            }
        }
        () = overdue => tracing::info!(deadline = ?DRAIN_MAX, "http connections did not end in time; closed"),
    }
}

/// Every page behind every limit.
fn router(pages: Arc<Pages>) -> Router {
    let service = Arc::new(Service::new(pages));
    let guarded = Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics::all))
        .route("/agents/{id}/metrics", get(metrics::of_agent))
        .route("/federate", get(federate::page))
        .route("/sd", get(discovery::targets))
        .route("/api/agents", get(agents::list))
        .route("/api/agents/{id}/ledger", get(ledger::show))
        .route("/api/alerts", get(alerts::list))
        .route("/api/metrics/latest", get(latest::list))
        .route("/status", get(status::show))
        .nest("/api/v1", prometheus::routes())
        .fallback(async |uri: Uri| Problem::NoPath { path: problem::shown(uri.path()) })
        .method_not_allowed_fallback(async |method: Method| Problem::Method {
            method: problem::shown(method.as_str()),
        });
    // A load that fills every place must not look like a dead process: the probes need none.
    let probes = Router::new().route("/healthz", get(status::healthz)).route("/readyz", get(status::readyz));
    guard::wrap(guarded, probes, &service).with_state(service)
}

#[cfg(test)]
mod tests;
