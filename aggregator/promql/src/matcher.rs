//! Label matchers: `=`, `!=`, `=~`, `!~` with the meaning of Prometheus.
//!
//! A label that is absent has the empty value. Regexes are anchored at both ends and `.` matches a newline too
//! (prometheus `model/labels/regexp.go`: `^(?s:…)$`).

use crate::METRIC_NAME;
use crate::quote::{go_quoted, is_bare_label};
use proto::name::{Labels, MetricName};
use regex::{Regex, RegexBuilder};
use std::fmt;

/// What a matcher asks of a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`: it is this text.
    Equal,
    /// `!=`: it is not this text.
    NotEqual,
    /// `=~`: the regex matches all of it.
    Regex,
    /// `!~`: the regex does not match all of it.
    NotRegex,
}

/// One condition on one label. The label [`METRIC_NAME`] means the metric's name.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Present exactly for the two regex operators.
    regex: Option<Regex>,
}

/// The value of a regex matcher is not a regex, or it is too large when compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a usable regular expression: {reason}")]
pub struct MatcherError {
    /// The pattern as written.
    pub pattern: String,
    /// Why, in one line.
    pub reason: String,
}

/// Bytes of one compiled regex. `(x{1000}){1000}` is 15 bytes of text and would be 10 MB of program.
const REGEX_MAX_BYTES: usize = 1024 * 1024;

// === impl MatchOp ===

impl MatchOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

// === impl Matcher ===

impl Matcher {
    /// A matcher; compiles `value` for the regex operators.
    pub fn try_new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(value)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// The label that is looked at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked of it.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text or the pattern, as written, without anchors.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes; an absent label has the value `""`.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            MatchOp::NotRegex => !self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }

    /// Whether a series passes.
    pub fn matches_series(&self, name: &MetricName, labels: &Labels) -> bool {
        if self.name == METRIC_NAME {
            return self.matches(name.as_str());
        }
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    /// The compiled regex follows from the rest.
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    /// `name="value"` with Prometheus's escapes; a name that is no word is quoted too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, value) = (self.op.as_str(), go_quoted(&self.value));
        if is_bare_label(&self.name) {
            write!(f, "{}{op}{value}", self.name)
        } else {
            write!(f, "{}{op}{value}", go_quoted(&self.name))
        }
    }
}

// === helpers ===

/// Whether `pattern` is too large a regex, whatever else it is.
pub(crate) fn is_too_large(pattern: &str) -> bool {
    matches!(compile(pattern), Err(regex::Error::CompiledTooBig(_)))
}

/// The regex that matches a whole text, `.` a newline too.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, MatcherError> {
    // Alone first: `a)(b` is a regex between `(?:` and `)`, and yet it is none.
    compile(pattern)
        .and_then(|_| compile(&format!("^(?:{pattern})$")))
        .map_err(|error| MatcherError { pattern: pattern.to_owned(), reason: one_line(&error) })
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).dot_matches_new_line(true).size_limit(REGEX_MAX_BYTES).build()
}

/// The last line of a regex error says what is wrong; those before it draw where.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::try_new("code", op, value).expect("a usable value")
    }

    #[test]
    fn a_regex_is_anchored_at_both_ends_and_its_dot_matches_a_newline() {
        let fives = matcher(MatchOp::Regex, "5..|429");
        assert!(fives.matches("503"));
        assert!(fives.matches("429"));
        assert!(!fives.matches("1503"));
        assert!(!fives.matches("4290"));
        assert!(!fives.matches("503\n"));
        assert!(matcher(MatchOp::Regex, "a.b").matches("a\nb"));
    }

    #[test]
    fn an_absent_label_is_the_empty_value() {
        let name = MetricName::try_new("up").expect("well formed");
        let absent = |op, value| matcher(op, value).matches_series(&name, &Labels::EMPTY);
        assert!(absent(MatchOp::Equal, ""));
        assert!(!absent(MatchOp::NotEqual, ""));
        assert!(absent(MatchOp::NotEqual, "503"));
        assert!(absent(MatchOp::Regex, ".*"));
        assert!(!absent(MatchOp::Regex, ".+"));
        assert!(absent(MatchOp::NotRegex, ".+"));
    }

    #[test]
    fn the_name_of_the_metric_is_matched_under_its_own_label() {
        let name = MetricName::try_new("up").expect("well formed");
        let by_name = Matcher::try_new(METRIC_NAME, MatchOp::Regex, "u.").expect("usable");
        assert!(by_name.matches_series(&name, &Labels::EMPTY));
    }

    #[test]
    fn what_is_no_regex_or_too_large_a_one_is_refused_in_one_line() {
        for pattern in ["a)(b", "(", "(x{1000}){1000}", "[z-a]"] {
            let error = Matcher::try_new("a", MatchOp::Regex, pattern).expect_err(pattern);
            assert_eq!(error.pattern, pattern);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn it_prints_as_it_is_written() {
        assert_eq!(matcher(MatchOp::NotRegex, r"5\d\d").to_string(), r#"code!~"5\\d\\d""#);
        let dotted = Matcher::try_new("a.b", MatchOp::Equal, "").expect("usable");
        assert_eq!(dotted.to_string(), r#""a.b"="""#);
    }

    proptest! {
        #[test]
        fn each_negated_operator_is_the_exact_opposite(pattern in "[ab.|*]{0,6}", value in "[ab]{0,4}") {
            let equal = matcher(MatchOp::Equal, &pattern).matches(&value);
            prop_assert_eq!(equal, !matcher(MatchOp::NotEqual, &pattern).matches(&value));
            if let Ok(regex) = Matcher::try_new("code", MatchOp::Regex, &pattern) {
                prop_assert_eq!(regex.matches(&value), !matcher(MatchOp::NotRegex, &pattern).matches(&value));
            }
        }

        #[test]
        fn a_regex_without_specials_is_equality(text in "[a-z]{0,5}", value in "[a-z]{0,5}") {
            let regex = matcher(MatchOp::Regex, &text).matches(&value);
            prop_assert_eq!(regex, matcher(MatchOp::Equal, &text).matches(&value));
        }
    }
}
