//! Every way in which a request is refused, as the JSON that says so: `{"error": "…", "what_to_do": "…"}`.

use super::guard::{REQUEST_MAX, REQUESTS_MAX, URL_MAX_BYTES};
use crate::store::StoreError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runtime::log::chain;
use serde_json::json;
use uuid::Uuid;

/// How much of a refused text an answer shows.
const SHOWN_CHARS: usize = 64;
/// When to come back after a 503: the time that a short outage of the database takes.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// A parameter's value is not what it must be.
    #[error("parameter {name:?} is {value:?}, but must be {wanted}")]
    Parameter { name: &'static str, value: String, wanted: String },
    /// A parameter that this path does not have.
    #[error("parameter {name:?} is not known")]
    UnknownParameter { name: String, known: &'static [&'static str] },
    /// Which of the two is meant?
    #[error("parameter {name:?} is given twice")]
    Twice { name: &'static str },
    /// Not `name=value` pairs.
    #[error("the query string cannot be read")]
    Query,
    /// Nothing here.
    #[error("there is nothing at {path:?}")]
    NoPath { path: String },
    /// Unknown agent.
    #[error("no agent has the id {id:?}")]
    NoAgent { id: String },
    /// Everything here is read.
    #[error("method {method:?} is not allowed here")]
    Method { method: String },
    /// Too long.
    #[error("the URL has {bytes} bytes; the limit is {URL_MAX_BYTES}")]
    UrlTooLong { bytes: usize },
    /// Every place is taken.
    #[error("{REQUESTS_MAX} requests are being answered already")]
    Busy,
    /// The deadline passed.
    #[error("the answer took longer than {} seconds", REQUEST_MAX.as_secs())]
    TooSlow,
    /// The database was not open yet, or the head not restored.
    #[error("the aggregator is starting: {why}")]
    Starting { why: &'static str },
    /// The database is away.
    #[error("the database does not answer")]
    StoreAway,
    /// A defect of ours.
    #[error("the aggregator could not answer, through a fault of its own")]
    Defect,
}

impl Problem {
    /// The database did not do what it was asked; the log says why, the answer only says so.
    pub(super) fn store(error: &StoreError) -> Self {
        if matches!(error, StoreError::Unavailable(_)) {
            tracing::warn!(error = chain(error), "request not answered; the database is away");
            return Self::StoreAway;
        }
        tracing::error!(error = chain(error), "request not answered");
        Self::Defect
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } | Self::UnknownParameter { .. } | Self::Twice { .. } | Self::Query => {
                StatusCode::BAD_REQUEST
            }
            Self::NoPath { .. } | Self::NoAgent { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UrlTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::Busy | Self::TooSlow | Self::Starting { .. } | Self::StoreAway => StatusCode::SERVICE_UNAVAILABLE,
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn what_to_do(&self) -> Option<String> {
        Some(match self {
            Self::UnknownParameter { known, .. } => format!("known here: {}", known.join(", ")),
            Self::Twice { .. } => "give it once".into(),
            Self::Query => "percent-encode it as UTF-8".into(),
            Self::NoPath { .. } => "GET / lists the paths".into(),
            Self::NoAgent { .. } => "GET /api/agents lists the agents".into(),
            Self::Method { .. } => "use GET or HEAD".into(),
            Self::Busy | Self::TooSlow | Self::Starting { .. } | Self::StoreAway => "try again later".into(),
            Self::Defect => "see the aggregator's log".into(),
            Self::Parameter { .. } | Self::UrlTooLong { .. } => return None,
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({"error": self.to_string()});
        if let Some(advice) = self.what_to_do() {
            body["what_to_do"] = advice.into();
        }
        let status = self.status();
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// As much of `text` as an answer may repeat.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// The agent that a path names.
pub(super) fn agent_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::NoAgent { id: shown(text) })
}
