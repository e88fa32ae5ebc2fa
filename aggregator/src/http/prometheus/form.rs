//! The parameters of a request: of the URL's query and, in a POST, of the form in its body, which Prometheus reads as one.
//!
//! Grafana sends POST with a form by default, and falls back to GET after a 405 or a 400. A parameter that is not known is
//! ignored, as Prometheus does: clients send some that only Thanos or Mimir read.

use super::envelope::{ApiError, Kind};
use crate::store::Scope;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use promql::SeriesSelector;
use proto::sample::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// Bytes of a form: a query of the largest size, percent-encoded, and a thousand matchers beside it.
pub(in crate::http) const FORM_MAX_BYTES: usize = 1024 * 1024;
/// Selectors of one request; each is a walk over the series.
const SELECTORS_MAX: usize = 50;
/// The times that Prometheus can say, in milliseconds: clients send these for "from the beginning" and "to the end".
const FIRST_MS: i64 = i64::MIN / 1000;
const LAST_MS: i64 = i64::MAX / 1000;
/// How Prometheus writes them; years that no calendar here has.
const FIRST_TEXT: &str = "-292273086-05-16T16:47:06Z";
const LAST_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// The parameters of one request, in their order.
#[derive(Debug, Default)]
pub(in crate::http) struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let mut pairs = decode(request.uri().query().unwrap_or_default().as_bytes())?;
        let is_form =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
                kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded"
            });
        if request.method() == Method::POST && is_form {
            let body = to_bytes(request.into_body(), FORM_MAX_BYTES).await.map_err(|_| {
                ApiError::new(
                    Kind::BadData,
                    format!("error parsing form values: larger than {FORM_MAX_BYTES} bytes, or cut off"),
                )
            })?;
            // Of the body before those of the URL, as Go's Request.Form has them.
            let mut of_body = decode(&body)?;
            of_body.append(&mut pairs);
            pairs = of_body;
        }
        Ok(Self(pairs))
    }
}

impl Form {
    /// The first value of a name; `None` where it is absent or empty, which Prometheus does not tell apart.
    pub(in crate::http) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of a name.
    pub(in crate::http) fn all<'f, 'n>(&'f self, name: &'n str) -> impl Iterator<Item = &'f str> + use<'f, 'n> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A moment: seconds since 1970 with or without a fraction, or RFC 3339.
    pub(in crate::http) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.text(name).map(|text| time(text).ok_or_else(|| no_time(name, text))).transpose()
    }

    /// A moment that must be there.
    pub(in crate::http) fn needed_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.all(name).next().unwrap_or_default();
        time(text).ok_or_else(|| no_time(name, text))
    }

    /// A length of time: seconds with or without a fraction, or as PromQL writes it. In milliseconds, and not below zero
    /// unless it says so.
    pub(in crate::http) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match duration_ms(text) {
            Some(millis) => Ok(Some(millis)),
            None => Err(ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"))),
        }
    }

    /// Every `match[]`.
    pub(in crate::http) fn selectors(&self) -> Result<Vec<SeriesSelector>, ApiError> {
        let mut selectors = Vec::new();
        for text in self.all("match[]") {
            if selectors.len() == SELECTORS_MAX {
                return Err(ApiError::parameter("match[]", format!("more than {SELECTORS_MAX} selectors")));
            }
            selectors.push(promql::parse_selector(text).map_err(|error| ApiError::parameter("match[]", error))?);
        }
        Ok(selectors)
    }

    /// `clinic_id`: one clinic's, or, where it is not given, every clinic's. Not of Prometheus's API.
    pub(in crate::http) fn scope(&self) -> Result<Scope, ApiError> {
        let Some(text) = self.text("clinic_id") else { return Ok(Scope::AllClinics) };
        let id = Uuid::try_parse(text).map_err(|_| ApiError::parameter("clinic_id", "it must be a UUID"))?;
        Ok(Scope::Clinic(id))
    }

    /// A count; zero is "no limit".
    pub(in crate::http) fn limit(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(ApiError::parameter(name, format!("{text:?} must be a number that is not below zero"))),
        }
    }
}

fn no_time(name: &str, text: &str) -> ApiError {
    ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"))
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds).map(Timestamp::from_millis);
    }
    match text {
        FIRST_TEXT => Some(Timestamp::from_millis(FIRST_MS)),
        LAST_TEXT => Some(Timestamp::from_millis(LAST_MS)),
        text => text.parse().ok().map(|at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond())),
    }
}

fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds);
    }
    let parsed: Duration = proto::duration::parse(text).ok()?;
    i64::try_from(parsed.as_millis()).ok()
}

/// Milliseconds of seconds, to the nearest; `None` beyond what can be said in 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "what lies within the bounds fits")]
fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    ((FIRST_MS as f64)..=(LAST_MS as f64)).contains(&millis).then_some(millis as i64)
}

/// `name=value&…`, percent-encoded, with `+` for a space.
fn decode(text: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    serde_urlencoded::from_bytes(text)
        .map_err(|error| ApiError::new(Kind::BadData, format!("error parsing form values: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form(decode(text.as_bytes()).expect("a form"))
    }

    #[test]
    fn times_are_read_as_prometheus_reads_them() {
        for (text, wanted) in [
            ("4", 4_000),
            ("1795442590.123", 1_795_442_590_123),
            ("1.0001", 1_000),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("2026-11-24T00:00:00Z", 1_795_478_400_000),
            ("2026-11-24T00:00:00.5-03:00", 1_795_489_200_500),
            (FIRST_TEXT, FIRST_MS),
            (LAST_TEXT, LAST_MS),
        ] {
            assert_eq!(time(text).map(Timestamp::as_millis), Some(wanted), "{text}");
        }
        for text in ["", "now", "NaN", "inf", "1e300", "2026-11-24"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_promql() {
        for (text, wanted) in
            [("15", 15_000), ("0.5", 500), ("15s", 15_000), ("1h30m", 5_400_000), ("-1", -1_000), ("0", 0)]
        {
            assert_eq!(duration_ms(text), Some(wanted), "{text}");
        }
        for text in ["", "x", "1x", "NaN", "1e40", "5m5h"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_may_come_often_and_an_empty_value_is_none() {
        let form = form("match[]=a&match%5B%5D=b%7Bc%3D%22d+e%22%7D&time=&limit=0");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["a", "b{c=\"d e\"}"]);
        assert_eq!(form.time("time"), Ok(None));
        assert_eq!(form.limit("limit"), Ok(None));
        assert!(form.needed_time("start").is_err());
    }
}
