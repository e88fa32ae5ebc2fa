//! The door of the pages, open from the first moment of the program on: while the database is waited for and the head is
//! restored, it says so, so that a probe does not kill a program that waits for another.
//!
//! | path | before [`Front::open`] |
//! |---|---|
//! | `/healthz` | 200: waiting is no reason to restart |
//! | `/readyz` | 503 with the reason |
//! | `/metrics` | our own metrics |
//! | all else | 503 with the reason, as JSON |

use super::problem::Problem;
use super::shown::Shown;
use super::{Pages, metrics, page, router};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::telemetry::Telemetry;
use runtime::clock::Clock;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tower::ServiceExt;

/// See the module.
pub struct Front {
    telemetry: Telemetry,
    clock: Arc<dyn Clock>,
    /// What is waited for. Locked for a read or a write.
    waits_for: Mutex<&'static str>,
    pages: OnceLock<Router>,
}

impl Front {
    /// A closed one, which shows our own metrics.
    pub fn new(telemetry: Telemetry, clock: Arc<dyn Clock>) -> Self {
        Self { telemetry, clock, waits_for: Mutex::new("the database is being opened"), pages: OnceLock::new() }
    }

    /// Says what is waited for from now on.
    pub fn wait_for(&self, what: &'static str) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// From now on `pages` answer. The first stay.
    pub fn open(&self, pages: Arc<Pages>) {
        self.pages.get_or_init(|| router(pages));
    }

    /// Everything, before and after.
    pub(super) fn into_router(self: Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    fn waiting(&self, request: &Request) -> Response {
        let why = *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        let mut response = match request.uri().path() {
            "/healthz" => format!("starting: {why}\n").into_response(),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, format!("starting: {why}\n")).into_response(),
            "/metrics" => self.own(request),
            _ => Problem::Starting { why }.into_response(),
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn own(&self, request: &Request) -> Response {
        let format = metrics::wanted(request.headers());
        let mut series: Vec<Shown> = Vec::new();
        metrics::own(&self.telemetry, self.clock.wall(), &mut series);
        ([(header::CONTENT_TYPE, format.content_type())], page::write(format, &series)).into_response()
    }
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    match front.pages.get() {
        Some(pages) => pages.clone().oneshot(request).await.into_response(),
        None => front.waiting(&request),
    }
}
