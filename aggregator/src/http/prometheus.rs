//! Prometheus's HTTP API, `/api/v1/…`: what Grafana's Prometheus data source, promtool and every script call.
//!
//! | file | what it serves or holds |
//! |---|---|
//! | `query` | `query`, `query_range`, `format_query`, `query_exemplars` |
//! | `series` | `labels`, `label/{name}/values`, `series`, `metadata`, `status/tsdb` |
//! | `rules` | `rules`, `alerts` |
//! | `turns` | how many of these walk over the series at a time |
//! | `form`, `envelope`, `json` | parameters; how yes and no are said; answers written piece by piece |
//!
//! What is not here is answered 404, and that is meant: Grafana takes `status/flags` for Thanos, and features in
//! `status/buildinfo` for Mimir.
//!
//! Limits: [`turns::TURNS_MAX`], [`query::QUERY_MAX`], [`form::FORM_MAX_BYTES`], and those of the language.

pub(super) mod envelope;
pub(super) mod form;
mod json;
pub(super) mod query;
mod rules;
mod series;
pub(super) mod turns;

use super::Shared;
use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::get;
use envelope::{ApiError, Kind, Reply};
use form::Form;
use serde_json::json;

/// The version of Prometheus whose API and language this is: Grafana asks which calls it may make.
const SPEAKS: &str = "3.5.0";

/// Every path, below `/api/v1`.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/format_query", get(query::format).post(query::format))
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/labels", get(series::labels).post(series::labels))
        .route("/label/{name}/values", get(series::label_values))
        .route("/series", get(series::series).post(series::series))
        .route("/metadata", get(series::metadata))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/status/buildinfo", get(buildinfo))
        .route("/status/tsdb", get(series::status))
        .fallback(async |uri: Uri| {
            let path = super::problem::shown(uri.path());
            ApiError::new(Kind::NotFound, format!("there is nothing at {path:?}"))
        })
        .method_not_allowed_fallback(async |method: Method| {
            let method = super::problem::shown(method.as_str());
            (
                axum::http::StatusCode::METHOD_NOT_ALLOWED,
                ApiError::new(Kind::BadData, format!("method {method:?} is not allowed here")).to_string(),
            )
        })
}

/// Who answers. Without `features`, with which Grafana would take us for Mimir.
async fn buildinfo(_: Form) -> Reply {
    Reply::of(&json!({
        "version": SPEAKS,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "atendeai-monitoring",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
