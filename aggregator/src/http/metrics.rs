//! `/metrics` (all live agents and ourselves) and `/agents/{id}/metrics` (one virtual target for each agent).
//!
//! Never with timestamps, and never a value that is not of now: an agent that is gone answers 503, so that Prometheus
//! sets `up` to 0 and marks its series stale by itself.

use super::aside::aside;
use super::problem::{Problem, agent_id};
use super::shown::{self, Shown};
use super::{Pages, Shared, page};
use crate::live::Agent;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::exposition::Format;
use proto::name::SeriesKey;
use proto::sample::Timestamp;
use proto::telemetry::Telemetry;
use runtime::log::chain;
use tsdb::Sample;

/// Every live agent's series and our own.
pub(super) async fn all(State(service): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let format = wanted(&headers);
    let pages = service.pages.clone();
    aside(move || {
        let mut series = shown::everything(&pages, |_| true);
        own(&pages.telemetry, pages.clock.wall(), &mut series);
        render(format, &series)
    })
    .await
}

/// One agent's series.
pub(super) async fn of_agent(
    State(service): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pages = service.pages.clone();
    let id = agent_id(&id)?;
    let agent = pages.live.agent(id).ok_or_else(|| Problem::NoAgent { id: id.to_string() })?;
    aside(move || {
        let (series, newest) = shown::of_agent(&pages.live, agent.row.agent_id);
        match why_silent(&pages, &agent, newest) {
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
            None => render(wanted(&headers), &series),
        }
    })
    .await
}

/// Why an agent has no page now.
fn why_silent(pages: &Pages, agent: &Agent, newest: Option<Timestamp>) -> Option<String> {
    let (wall, monotonic) = (pages.clock.wall(), pages.clock.monotonic());
    if !shown::is_current(agent, monotonic) {
        let (state, age) = (agent.state.as_str(), agent.gone_for(monotonic).as_secs());
        return Some(format!("the agent is {state}; its last batch came {age} s ago\n"));
    }
    let Some(newest) = newest else {
        return Some("the agent has reported nothing since the aggregator started\n".into());
    };
    let age = wall.since(newest);
    (age > shown::stale_after(agent)).then(|| format!("the agent's newest values are {} s old\n", age.as_secs()))
}

pub(super) fn wanted(headers: &HeaderMap) -> Format {
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    Format::negotiate(Some(&accepted.join(",")))
}

fn render(format: Format, series: &[Shown]) -> Response {
    ([(header::CONTENT_TYPE, format.content_type())], page::write(format, series)).into_response()
}

/// Adds the samples of our own registry.
pub(super) fn own(telemetry: &Telemetry, at: Timestamp, series: &mut Vec<Shown>) {
    telemetry.visit(|row, name, labels, value| match SeriesKey::try_new(name, labels.iter().copied()) {
        Ok(key) => series.push(Shown { key, kind: row.kind, sample: Sample { at, value } }),
        // A label's value that is too long, e.g. a rule group's name: it costs itself.
        Err(error) => tracing::debug!(name, error = chain(&error), "one of our own series not shown"),
    });
}
