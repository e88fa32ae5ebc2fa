//! `/healthz` (does every part make progress), `/readyz` (does the database answer) and `/status` (everything).
//!
//! Kubernetes restarts what is not healthy and sends no traffic to what is not ready. A database that is away is the
//! second and never the first.

use super::Shared;
use super::connection::CONNECTIONS_MAX;
use super::guard::{REQUEST_MAX, REQUESTS_MAX, URL_MAX_BYTES};
use super::health::Part;
use crate::rules::board::RuleView;
use crate::store::{Store, StoreError};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proto::limits::{SERIES_PER_AGENT_MAX, SERIES_PER_SCHEMA_MAX, SOURCES_PER_AGENT_MAX};
use runtime::log::chain;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long the database may take to answer a probe.
const PING_MAX: Duration = Duration::from_secs(1);
/// How long its answer stands for later probes: probes must not become the database's load.
const PING_KEPT: Duration = Duration::from_secs(1);
/// Rules that are in trouble, or unknown, and shown by name.
const BROKEN_MAX: usize = 10;

/// The last answer of the database. Locked across the ping on purpose: whoever comes meanwhile wants the same answer,
/// and waits [`PING_MAX`] for it at the most.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<Option<Answer>>);

/// What the database said, and when, monotonic.
#[derive(Clone, Debug)]
struct Answer {
    at: Duration,
    version: Option<String>,
}

impl Probe {
    /// The database's kind and version; `None` when it does not answer.
    async fn ask(&self, store: &dyn Store, now: Duration) -> Option<String> {
        let mut last = self.0.lock().await;
        if let Some(answer) = last.as_ref().filter(|answer| now.saturating_sub(answer.at) < PING_KEPT) {
            return answer.version.clone();
        }
        let asked = timeout(PING_MAX, store.ping()).await;
        let was_away = last.as_ref().is_some_and(|answer| answer.version.is_none());
        let version = match asked {
            Ok(Ok(version)) => Some(version),
            Ok(Err(error)) => away(was_away, Some(&error)),
            Err(_) => away(was_away, None),
        };
        *last = Some(Answer { at: now, version: version.clone() });
        version
    }
}

/// Logs that the database does not answer, once until it does again.
fn away(already: bool, error: Option<&StoreError>) -> Option<String> {
    if !already {
        let error = error.map_or_else(|| format!("no answer within {PING_MAX:?}"), |error| chain(error));
        tracing::warn!(error, "not ready; the database does not answer");
    }
    None
}

/// 200 while every part makes progress.
pub(super) async fn healthz(State(service): State<Shared>) -> (StatusCode, String) {
    let stuck = service.pages.health.stuck(service.pages.clock.monotonic());
    if stuck.is_empty() {
        return (StatusCode::OK, "ok\n".into());
    }
    let mut text = String::new();
    for (part, age) in stuck {
        let _ = writeln!(text, "{} has made no progress for {} s", part.as_str(), age.as_secs());
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// 200 while the database answers; before the head is complete, `front` answers.
pub(super) async fn readyz(State(service): State<Shared>) -> (StatusCode, &'static str) {
    let pages = &service.pages;
    match service.probe.ask(&*pages.store, pages.clock.monotonic()).await {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}

/// Everything about this process.
pub(super) async fn show(State(service): State<Shared>) -> Json<Value> {
    let pages = &service.pages;
    let now = pages.clock.monotonic();
    let answer = service.probe.ask(&*pages.store, now).await;
    let (series, samples) = pages.live.read(|head| (head.series_count(), head.sample_count()));
    let agents = pages.live.agents_by_state();
    let agents: Map<String, Value> =
        agents.into_iter().map(|(state, count)| (state.as_str().into(), json!(count))).collect();
    let parts: Map<String, Value> = Part::ALL
        .into_iter()
        .map(|part| {
            (part.as_str().into(), json!({"last_round_seconds_ago": pages.health.age(part, now).as_secs_f64()}))
        })
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": pages.health.uptime(now).as_secs_f64(),
        "ready": answer.is_some(),
        "healthy": pages.health.stuck(now).is_empty(),
        "parts": parts,
        "listen": {"http": pages.listen.to_string(), "grpc": pages.listen_grpc.to_string()},
        "database": {"answers": answer.is_some(), "version": answer.as_ref().unwrap_or(&pages.database)},
        "agents": agents,
        "head": {"series": series, "samples": samples},
        "rules": rules_json(&pages.board.get()),
        "http": service.guard.to_json(),
        "limits": limits_json(),
    }))
}

fn rules_json(rules: &[Arc<RuleView>]) -> Value {
    let in_health = |health: &str| rules.iter().filter(|rule| rule.health == health).count();
    let broken = rules.iter().filter(|rule| rule.last_error.is_some()).take(BROKEN_MAX);
    let broken: Vec<Value> =
        broken.map(|rule| json!({"name": rule.name, "group": rule.group, "error": rule.last_error})).collect();
    let doubtful = rules.iter().filter(|rule| rule.doubt.is_some()).take(BROKEN_MAX);
    let doubtful: Vec<Value> =
        doubtful.map(|rule| json!({"name": rule.name, "group": rule.group, "why": rule.doubt})).collect();
    json!({
        "count": rules.len(),
        "ok": in_health("ok"),
        "err": in_health("err"),
        "unknown": in_health("unknown"),
        "broken": broken,
        "doubtful": doubtful,
    })
}

fn limits_json() -> Value {
    json!({
        "series_per_agent": SERIES_PER_AGENT_MAX,
        "series_per_schema": SERIES_PER_SCHEMA_MAX,
        "sources_per_agent": SOURCES_PER_AGENT_MAX,
        "http_requests": REQUESTS_MAX,
        "http_connections": CONNECTIONS_MAX,
        "http_request_seconds": REQUEST_MAX.as_secs(),
        "http_url_bytes": URL_MAX_BYTES,
    })
}
