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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: &[&str] = &["from", "limit", "clinic_id", "status"];

    fn given(pairs: &[(&str, &str)]) -> Result<Params, Problem> {
        Given(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()).only(KNOWN)
    }

    fn params(name: &str, value: &str) -> Params {
        given(&[(name, value)]).expect("known, and once")
    }

    fn time(text: &str) -> Result<Option<i64>, Problem> {
        params("from", text).time("from").map(|at| at.map(Timestamp::as_millis))
    }

    #[test]
    fn a_time_is_read_as_people_and_as_prometheus_write_it() {
        for (text, millis) in [
            ("0", 0),
            ("1795478400", 1_795_478_400_000),
            ("1795478400.5", 1_795_478_400_500),
            ("1.7954784e9", 1_795_478_400_000),
            ("-1.5", -1_500),
            ("2026-11-24T00:00:00Z", 1_795_478_400_000),
            ("2026-11-23T21:00:00.250-03:00", 1_795_478_400_250),
        ] {
            assert_eq!(time(text).expect("a time"), Some(millis), "{text}");
        }
        assert!(matches!(given(&[]).map(|params| params.time("from")), Ok(Ok(None))));
    }

    #[test]
    fn what_is_no_time_or_lies_outside_of_the_calendar_is_refused_by_name() {
        for text in ["", "now", "NaN", "inf", "-inf", "1e300", "253402300800", "-377705116801", "2026-11-24", "24:00"] {
            let refused = time(text).expect_err("no time").to_string();
            assert!(refused.starts_with(&format!("parameter \"from\" is {text:?}, but must be a time")), "{refused}");
        }
    }

    #[test]
    fn a_limit_lies_between_one_and_the_most() {
        let limit = |text| params("limit", text).limit(100, 1_000).ok();
        assert_eq!(["1", "1000", "+7"].map(limit), [Some(1), Some(1_000), Some(7)]);
        assert_eq!(["0", "1001", "-1", "1.0", "", " 1", "99999999999"].map(limit), [None; 7]);
        assert_eq!(given(&[]).expect("none").limit(100, 1_000).ok(), Some(100));
    }

    #[test]
    fn a_clinic_sees_its_own_and_nothing_of_no_clinic_or_of_another() {
        let id = "00000000-0000-0000-0000-0000000000c1";
        let scope = params("clinic_id", id).scope().expect("a clinic");
        let seen = [Some(id), Some("00000000-0000-0000-0000-0000000000C1"), Some("c1"), Some(""), None];
        assert_eq!(seen.map(|of| scope.admits(of)), [true, true, false, false, false]);
        let everyone = given(&[]).expect("none").scope().expect("every clinic");
        assert!(seen.into_iter().all(|of| everyone.admits(of)));
        assert!(params("clinic_id", "all").scope().is_err());
    }

    #[test]
    fn a_parameter_is_known_and_given_once_and_its_word_is_one_of_those_that_there_are() {
        assert!(matches!(given(&[("form", "1")]), Err(Problem::UnknownParameter { name, .. }) if name == "form"));
        assert!(matches!(given(&[("from", "1"), ("from", "1")]), Err(Problem::Twice { name: "from" })));
        let words = [("up", 1), ("down", 2)];
        let choice = |text| params("status", text).choice("status", &words);
        assert_eq!(choice("down").expect("one of them"), Some(2));
        let refused = choice("Down").expect_err("words have one case").to_string();
        assert_eq!(refused, r#"parameter "status" is "Down", but must be one of up, down"#);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_time_outside_of_the_calendar_or_an_answer_that_grows_with_it(text in "\\PC{0,300}") {
            match time(&text) {
                Ok(at) => prop_assert!(jiff::Timestamp::from_millisecond(at.expect("it was given")).is_ok()),
                Err(problem) => prop_assert!(problem.to_string().chars().count() < 1_000),
            }
        }

        #[test]
        fn every_moment_of_the_calendar_is_read_as_it_is_written(
            millis in jiff::Timestamp::MIN.as_millisecond()..jiff::Timestamp::MAX.as_millisecond(),
        ) {
            let text = jiff::Timestamp::from_millisecond(millis).expect("within").to_string();
            prop_assert_eq!(time(&text).expect("a time"), Some(millis));
        }
    }
}
