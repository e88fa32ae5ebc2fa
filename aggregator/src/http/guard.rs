//! The limits of every request, and what every answer carries.
//!
//! Beyond a limit the answer is a refusal, at once: who waits in a queue asks a second time. `/status` counts refusals
//! by reason.

use super::Shared;
use super::problem::Problem;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use prometheus::IntCounterVec;
use proto::catalog::HTTP_REFUSED_TOTAL;
use proto::telemetry::Telemetry;
use serde_json::{Value, json};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

/// Requests that are answered at a time, until their answers are written: each holds its page in memory for so long. Four
/// Prometheis and a team of people need ten.
pub const REQUESTS_MAX: usize = 64;
/// How long an answer may take. Prometheus gives up after 10 s by default, people before that.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Bytes of a URL, path and query: a query of the largest size in percent-encoding. What is longer goes into a form.
pub const URL_MAX_BYTES: usize = 3 * promql::QUERY_MAX_BYTES + 1024;

/// What browsers are told: the type is what we say, nothing here is a page to run or to frame, nothing is to be kept.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Places for requests, and the count of what was refused.
#[derive(Debug)]
pub(super) struct Guard {
    places: Arc<Semaphore>,
    refused: IntCounterVec,
}

/// Why a request was refused, as a label.
const URL_TOO_LONG: &str = "url_too_long";
/// See [`URL_TOO_LONG`].
const BUSY: &str = "busy";
/// See [`URL_TOO_LONG`].
const TOO_SLOW: &str = "too_slow";

// === impl Guard ===

impl Guard {
    /// Counts refusals in `telemetry`.
    pub(super) fn new(telemetry: &Telemetry) -> Self {
        Self { places: Arc::new(Semaphore::new(REQUESTS_MAX)), refused: telemetry.counters(&HTTP_REFUSED_TOTAL) }
    }

    /// For `/status`.
    pub(super) fn to_json(&self) -> Value {
        let count = |reason: &str| self.refused.with_label_values(&[reason]).get();
        json!({
            "in_flight": REQUESTS_MAX.saturating_sub(self.places.available_permits()),
            "refused": {
                URL_TOO_LONG: count(URL_TOO_LONG),
                BUSY: count(BUSY),
                TOO_SLOW: count(TOO_SLOW),
            },
        })
    }

    async fn admit(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let bytes = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
        if bytes > URL_MAX_BYTES {
            self.refused.with_label_values(&[URL_TOO_LONG]).inc();
            return Err(Problem::UrlTooLong { bytes });
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.refused.with_label_values(&[BUSY]).inc();
            return Err(Problem::Busy);
        };
        let response = timeout(REQUEST_MAX, next.run(request)).await.map_err(|_| {
            self.refused.with_label_values(&[TOO_SLOW]).inc();
            Problem::TooSlow
        })?;
        Ok(hold(place, response))
    }
}

/// The response, which has its place until its body is written or given up. Who reads too slowly loses the connection
/// (`connection`), and with it the place.
fn hold(place: OwnedSemaphorePermit, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        // A stream does not say its length.
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(bytes.into());
    }
    let held = body.into_data_stream().map(move |chunk| {
        let _held = &place;
        chunk
    });
    Response::from_parts(parts, Body::from_stream(held))
}

/// Puts the limits around `guarded`, and what every answer carries around both.
pub(super) fn wrap(guarded: Router<Shared>, probes: Router<Shared>, service: &Shared) -> Router<Shared> {
    // The fastest level: a page of numbers shrinks tenfold at any, and four times slower for a fifth less is no bargain.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    guarded
        .layer(from_fn_with_state(service.clone(), guard))
        .merge(probes)
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| defect(&*panic)))
        .layer(compression)
        .layer(from_fn(carry_headers))
}

async fn guard(State(service): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    service.guard.admit(request, next).await
}

async fn carry_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    response
}

/// A panic of a handler costs its request. The panic's own text goes to the log only.
fn defect(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("of no text"), "a page panicked");
    Problem::Defect.into_response()
}

#[cfg(test)]
mod tests;
