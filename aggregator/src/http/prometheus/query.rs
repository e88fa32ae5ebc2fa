//! `/api/v1/query`, `query_range`, `format_query`, `query_exemplars`.
//!
//! A query runs on a thread of its own. It stops when its time is up, and when nobody waits any more: the handler's future
//! is dropped with its connection, and [`Patience`] tells the evaluation.

use super::envelope::{ApiError, Kind, Reply};
use super::form::Form;
use super::json::Pieces;
use crate::http::{Shared, aside::aside};
use crate::query::LiveSelect;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use promql::{Answer, EvalError, Interrupt, Limits, Query, Range, Value};
use proto::sample::Timestamp;
use runtime::log::chain;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a query may take, waiting for its turn included: less than an answer may ([`crate::http::guard::REQUEST_MAX`]),
/// so that who asked is told why.
pub(in crate::http) const QUERY_MAX: Duration = Duration::from_secs(25);
/// Steps of a range, so that no answer has more points a series. Prometheus's bound.
const STEPS_MAX: i64 = 11_000;

/// Tells an evaluation when to stop.
struct Patience {
    is_over: Arc<AtomicBool>,
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// What is asked of a query.
enum Asked {
    Instant(Timestamp),
    Range(Range),
}

/// The value at one time.
pub(super) async fn instant(State(service): State<Shared>, form: Form) -> Result<Response, ApiError> {
    let at = form.time("time")?.unwrap_or_else(|| service.pages.clock.wall());
    answer(service, form, Asked::Instant(at)).await
}

/// The value at each step of a range.
pub(super) async fn range(State(service): State<Shared>, form: Form) -> Result<Response, ApiError> {
    let (start, end) = (form.needed_time("start")?, form.needed_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = form
        .duration_ms("step")?
        .ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", why));
    }
    if end.as_millis().saturating_sub(start.as_millis()) / step_ms > STEPS_MAX {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::new(Kind::BadData, why));
    }
    let range = Range::try_new(start, end, step_ms).map_err(|error| ApiError::new(Kind::BadData, error.to_string()))?;
    answer(service, form, Asked::Range(range)).await
}

/// The query as it is best read.
pub(super) async fn format(form: Form) -> Result<Reply, ApiError> {
    Ok(Reply::of(&json!(parsed(&form)?.pretty())))
}

/// Exemplars: we keep none. What is asked is checked all the same.
pub(super) async fn exemplars(form: Form) -> Result<Reply, ApiError> {
    let (start, end) = (form.time("start")?, form.time("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    parsed(&form)?;
    Ok(Reply::of(&json!([])))
}

fn parsed(form: &Form) -> Result<Query, ApiError> {
    let text = form.all("query").next().unwrap_or_default();
    promql::parse(text).map_err(|error| ApiError::parameter("query", error))
}

async fn answer(service: Shared, form: Form, asked: Asked) -> Result<Response, ApiError> {
    let query = parsed(&form)?;
    let limit = form.limit("limit")?;
    let lookback_ms = form.duration_ms("lookback_delta")?.filter(|millis| *millis > 0);
    let patience = match form.duration_ms("timeout")? {
        Some(millis) => Duration::from_millis(u64::try_from(millis).unwrap_or_default()).min(QUERY_MAX),
        None => QUERY_MAX,
    };
    let scope = form.scope()?;
    let deadline = service.pages.clock.monotonic() + patience;
    let place = service.turns.take(patience).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let waiting = Patience { is_over: is_over.clone() };
    let evaluated = aside(move || {
        let interrupt = || {
            if is_over.load(Ordering::Relaxed) {
                return Some(Interrupt::Cancelled);
            }
            (service.pages.clock.monotonic() >= deadline).then_some(Interrupt::Timeout)
        };
        let mut limits = Limits { interrupt: &interrupt, ..Limits::default() };
        limits.lookback_ms = lookback_ms.unwrap_or(limits.lookback_ms);
        let source = LiveSelect { live: &service.pages.live, scope };
        let answer = match asked {
            Asked::Instant(at) => query.instant(&source, at, &limits),
            Asked::Range(range) => query.range(&source, range, &limits),
        };
        (answer, place)
    });
    let evaluated = evaluated
        .await
        .map_err(|_| ApiError::new(Kind::Internal, "the query could not be evaluated, through a fault of ours"))?;
    drop(waiting);
    let (answer, place) = evaluated;
    let mut answer = answer.map_err(|error| refused(&error))?;
    cut(&mut answer, limit);
    // The turn ends with the answer, which is in memory until it is read.
    let pieces = Pieces::of(answer).map(move |piece| {
        let _place = &place;
        Ok::<_, Infallible>(piece)
    });
    let pieces = stream::iter(pieces);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// Keeps the first `limit` series.
fn cut(answer: &mut Answer, limit: Option<usize>) {
    let Some(limit) = limit else { return };
    let had = match &mut answer.value {
        Value::Vector(points) => {
            let had = points.len();
            points.truncate(limit);
            had
        }
        Value::Matrix(lines) => {
            let had = lines.len();
            lines.truncate(limit);
            had
        }
        Value::Scalar(..) | Value::Text(..) => return,
    };
    if had > limit {
        answer.notes.warnings.insert("results truncated due to limit".into());
    }
}

fn refused(error: &EvalError) -> ApiError {
    let kind = match error {
        EvalError::NoRange(_) => Kind::BadData,
        EvalError::Execution(_) | EvalError::TooManySamples => Kind::Execution,
        EvalError::Timeout => Kind::Timeout,
        EvalError::Cancelled => Kind::Canceled,
        EvalError::Select { .. } => {
            tracing::error!(error = chain(error), "query not answered");
            Kind::Internal
        }
    };
    ApiError::new(kind, error.to_string())
}
