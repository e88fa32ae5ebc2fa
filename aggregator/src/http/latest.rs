//! `/api/metrics/latest`: the newest sample of each series, as Prometheus's API writes samples.

use super::aside::aside;
use super::params::{Given, Params};
use super::problem::Problem;
use super::shown::{self, Shown};
use super::{Pages, Shared};
use crate::store::Scope;
use axum::Json;
use axum::extract::State;
use proto::exposition::push_float;
use proto::name::SeriesKey;
use serde_json::{Map, Value, json};

/// Series of one answer, where it does not say.
const LIMIT: u32 = 1_000;
/// Series of one answer at the most: about 3 MiB of JSON.
const LIMIT_MAX: u32 = 10_000;

/// Series that have the asked name and labels, ordered by both.
pub(super) async fn list(State(service): State<Shared>, given: Given) -> Result<Json<Value>, Problem> {
    let params = given.only(&["service", "instance", "clinic_id", "name", "limit"])?;
    let (scope, limit) = (params.scope()?, params.limit(LIMIT, LIMIT_MAX)? as usize);
    aside(move || page(&service.pages, &params, scope, limit)).await
}

fn page(pages: &Pages, params: &Params, scope: Scope, limit: usize) -> Json<Value> {
    let asked = |key: &SeriesKey| {
        let labels = ["service", "instance"]
            .iter()
            .all(|label| params.text(label).is_none_or(|wanted| key.labels.get(label).unwrap_or_default() == wanted));
        let named = params.text("name").is_none_or(|wanted| key.name.as_str() == wanted);
        labels && named && scope.admits(key.labels.get("clinic_id"))
    };
    let mut series = shown::everything(pages, asked);
    series.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    // Two agents under one name report one series.
    series.dedup_by(|a, b| a.key == b.key);
    let truncated = series.len() > limit;
    series.truncate(limit);
    let listed: Vec<Value> = series.iter().map(to_json).collect();
    Json(json!({"metrics": listed, "truncated": truncated}))
}

fn to_json(shown: &Shown) -> Value {
    let mut metric = Map::new();
    metric.insert("__name__".into(), shown.key.name.as_str().into());
    metric.extend(shown.key.labels.iter().map(|label| (label.name().into(), label.value().into())));
    let value = number(shown.sample.value);
    json!({"metric": metric, "value": [shown.sample.at.as_seconds(), value], "kind": shown.kind.as_str()})
}

/// A value as Prometheus writes it in JSON, which has no NaN and no infinity.
pub(super) fn number(value: f64) -> String {
    let mut text = String::new();
    push_float(&mut text, value);
    text
}
