//! Conditions on labels as the index needs them: what is asked, and a way to ask it of a value.
//!
//! The language that the conditions come from, and its regexes, live elsewhere. The pattern is read here all the same
//! (see `pattern`), but only for which values *could* pass: whether one does is always asked.

use std::fmt;

/// What a matcher asks of a label's value; an absent label has the value `""`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`: it is this text.
    Equal,
    /// `!=`: it is not this text.
    NotEqual,
    /// `=~`: the pattern matches all of it.
    Regex,
    /// `!~`: the pattern does not match all of it.
    NotRegex,
}

/// One condition on one label. The label [`crate::METRIC_NAME`] means the metric's name.
pub struct Matcher<'a> {
    /// The label that is looked at.
    pub label: &'a str,
    /// What is asked of it.
    pub op: MatchOp,
    /// The text, or the pattern without anchors: a regex of the crate `regex` whose `.` matches a newline too.
    pub value: &'a str,
    /// Whether a series with this value passes, the negated operators negated. Asked for patterns only.
    pub passes: Passes<'a>,
}

/// See [`Matcher::passes`].
pub type Passes<'a> = Box<dyn Fn(&str) -> bool + Send + Sync + 'a>;

// === impl MatchOp ===

impl MatchOp {
    /// Whether it is the opposite of another.
    pub(crate) fn is_negated(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotRegex)
    }
}

// === impl Matcher ===

impl Matcher<'_> {
    /// Whether a series whose label has this value passes.
    pub fn passes(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex | MatchOp::NotRegex => (self.passes)(value),
        }
    }
}

impl fmt::Debug for Matcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.label, self.op, self.value)
    }
}
