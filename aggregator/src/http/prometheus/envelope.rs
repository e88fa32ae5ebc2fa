//! How Prometheus's API says yes and no: one envelope, six kinds of error, each with its status.
//!
//! Source: prometheus `web/api/v1/api.go` and its HTTP API page.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::fmt::Write;

/// What is said where nothing could be said: what follows must be JSON of a known shape.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// When to come back after a 503: the time that a short outage of the database takes.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Why there is no answer, with the words of Prometheus's `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// The request is not one.
    BadData,
    /// The query makes no sense with the series there are, or needs more than it may.
    Execution,
    /// It took too long.
    Timeout,
    /// Who asked is gone.
    Canceled,
    /// A fault of ours.
    Internal,
    /// Nothing here.
    NotFound,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::http) struct ApiError {
    pub(in crate::http) kind: Kind,
    pub(in crate::http) message: String,
}

/// An answer's data and what is to be said beside it.
#[derive(Debug, Default)]
pub(in crate::http) struct Reply {
    /// JSON, whole.
    pub(in crate::http) data: String,
    pub(in crate::http) warnings: Vec<String>,
    pub(in crate::http) infos: Vec<String>,
}

// === impl Kind ===

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            // nginx's word for a client that closed its request; nobody reads it but our log.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

// === impl ApiError ===

impl ApiError {
    /// A refusal of this kind.
    pub(in crate::http) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// `invalid parameter "name": why`, as Prometheus says it.
    pub(in crate::http) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(Kind::BadData, format!("invalid parameter {name:?}: {why}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = json!({"status": "error", "errorType": self.kind.as_str(), "error": self.message});
        let mut response = (status, [(header::CONTENT_TYPE, JSON)], body.to_string()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

// === impl Reply ===

impl Reply {
    /// Of a value.
    pub(in crate::http) fn of(data: &Value) -> Self {
        Self { data: data.to_string(), ..Self::default() }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let Self { data, warnings, infos } = self;
        let mut body = String::with_capacity(data.len() + 64);
        body.push_str(r#"{"status":"success","data":"#);
        body.push_str(&data);
        for (name, notes) in [("warnings", warnings), ("infos", infos)] {
            if !notes.is_empty() {
                let _ = write!(body, r#","{name}":{}"#, json!(notes));
            }
        }
        body.push('}');
        ([(header::CONTENT_TYPE, JSON)], Body::from(body)).into_response()
    }
}
