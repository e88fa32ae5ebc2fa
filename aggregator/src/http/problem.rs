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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::Value;

    /// Status, what is said, and whether it says when to come back.
    async fn answer(problem: Problem) -> (u16, Value, bool) {
        let response = problem.into_response();
        let (status, comes_back) = (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER));
        let body = to_bytes(response.into_body(), 10_000).await.expect("small");
        (status, serde_json::from_slice(&body).expect("JSON"), comes_back)
    }

    #[tokio::test]
    async fn each_refusal_has_its_status_says_what_is_wrong_and_only_those_that_pass_say_when_to_come_back() {
        let text = || "x".to_string();
        let problems = [
            (400, Problem::Parameter { name: "limit", value: text(), wanted: text() }),
            (400, Problem::UnknownParameter { name: text(), known: &["limit"] }),
            (400, Problem::Twice { name: "limit" }),
            (400, Problem::Query),
            (404, Problem::NoPath { path: text() }),
            (404, Problem::NoAgent { id: text() }),
            (405, Problem::Method { method: text() }),
            (414, Problem::UrlTooLong { bytes: 9_000 }),
            (503, Problem::Busy),
            (503, Problem::TooSlow),
            (503, Problem::Starting { why: "the head is restored" }),
            (503, Problem::StoreAway),
            (500, Problem::Defect),
        ];
        for (expected, problem) in problems {
            let said = problem.to_string();
            let (status, body, comes_back) = answer(problem).await;
            assert_eq!((status, &body["error"], comes_back), (expected, &Value::from(said.as_str()), expected == 503));
            let advice =
                body.get("what_to_do").is_none_or(|advice| advice.as_str().is_some_and(|text| !text.is_empty()));
            assert!(advice, "{said}: {body}");
        }
    }

    #[tokio::test]
    async fn what_the_database_says_of_itself_is_for_the_log_alone() {
        let bad = StoreError::BadRow { table: "alerts", problem: "S3CR3T".into() };
        let (status, body, _) = answer(Problem::store(&bad)).await;
        assert!(status == 500 && !body.to_string().contains("S3CR3T"), "{body}");
    }

    #[test]
    fn a_text_is_repeated_as_far_as_it_is_short_and_never_cut_within_a_letter() {
        assert_eq!((shown("é"), shown(&"é".repeat(1_000))), ("é".into(), "é".repeat(SHOWN_CHARS)));
        let Err(Problem::NoAgent { id }) = agent_id(&"0".repeat(1_000)) else { panic!("no agent is called so") };
        assert_eq!(id.len(), SHOWN_CHARS);
    }
}
