//! Query parameters, parsed at the door: each known, given once, and of its type, or refused by name.

use super::problem::{Problem, shown};
use crate::store::Scope;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use proto::sample::Timestamp;
use uuid::Uuid;

/// The parameters of one request, as they came.
pub(super) struct Given(Vec<(String, String)>);

/// The parameters of one request, each known and given once.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Given {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(pairs)| Self(pairs)).map_err(|_| Problem::Query)
    }
}

impl Given {
    /// Refuses parameters that are not in `known`, and those given twice.
    pub(super) fn only(self, known: &'static [&'static str]) -> Result<Params, Problem> {
        for (name, _) in &self.0 {
            if !known.contains(&name.as_str()) {
                return Err(Problem::UnknownParameter { name: shown(name), known });
            }
        }
        let twice = |name: &&&'static str| self.0.iter().filter(|(given, _)| given == **name).count() > 1;
        match known.iter().find(twice) {
            Some(name) => Err(Problem::Twice { name }),
            None => Ok(Params(self.0)),
        }
    }
}

impl Params {
    /// A text, taken as it is.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// `clinic_id`: one clinic's, or, where it is not given, every clinic's.
    pub(super) fn scope(&self) -> Result<Scope, Problem> {
        let Some(text) = self.text("clinic_id") else { return Ok(Scope::AllClinics) };
        let id = Uuid::try_parse(text).map_err(|_| refused("clinic_id", text, "a UUID"))?;
        Ok(Scope::Clinic(id))
    }

    /// `limit`: 1 to `max`.
    pub(super) fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| refused("limit", text, &format!("a number from 1 to {max}")))
    }

    /// A moment: RFC 3339, or seconds since 1970 with or without a fraction, as Prometheus takes it.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let at = seconds(text).or_else(|| text.parse().ok().map(jiff::Timestamp::as_millisecond));
        let wanted = "a time, as 2026-11-24T12:00:00Z or in seconds since 1970";
        at.map(|at| Some(Timestamp::from_millis(at))).ok_or_else(|| refused(name, text, wanted))
    }

    /// One word of several.
    pub(super) fn choice<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*choice));
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(refused(name, text, &format!("one of {}", words.join(", "))))
    }
}

/// Whether something labelled with `clinic_id` (none: it belongs to no clinic) may be read in `scope`.
pub(super) fn is_within(scope: Scope, clinic_id: Option<&str>) -> bool {
    match scope {
        Scope::AllClinics => true,
        Scope::Clinic(wanted) => clinic_id.and_then(|text| Uuid::try_parse(text).ok()) == Some(wanted),
    }
}

/// Milliseconds of a decimal number of seconds that lies within the calendar.
#[expect(clippy::cast_possible_truncation, reason = "what lies within the calendar fits")]
fn seconds(text: &str) -> Option<i64> {
    let millis = text.parse::<f64>().ok()? * 1000.0;
    let (first, last) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    ((first as f64)..=(last as f64)).contains(&millis).then_some(millis as i64)
}

pub(super) fn refused(name: &'static str, value: &str, wanted: &str) -> Problem {
    Problem::Parameter { name, value: shown(value), wanted: wanted.into() }
}
