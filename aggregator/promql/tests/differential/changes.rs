//! What changed in the language between the Prometheus that is at hand (2.42) and Prometheus 3, and how each is met.
//!
//! Three ways, the first one wherever it goes: queries and samples are made so that the change does not show; the query is
//! put in other words for the older one; or a difference is excused, by a condition on the query and both answers, and
//! counted.
//!
//! Made so that it does not show:
//! - Ranges and the lookback are open on the left (#13904): no sample and no step of a subquery lies at a left end.
//! - `.` of a regex matches a newline (#14505): no label has one.
//! - `holt_winters` is called otherwise and is experimental (#14930); `histogram_fraction` works on classic histograms, too;
//!   names of any UTF-8, numbers as durations, and all functions that are younger: not asked for.
//! - A histogram's counts that fall by rounding alone are lifted (#13153), and histograms of several metrics are kept apart:
//!   `histogram_quantile` is asked of one metric, mostly of whole counts.
//! - Which of equal values `topk` keeps, and the order of series that no function orders, is nobody's promise: values under
//!   `topk` differ, and order is compared where it is asked for.
//!
//! Put in other words ([`Words::Old`]): a group with a value that is not finite has no `stddev` (#14941); `atan2` drops the
//! name (#12595).
//!
//! Excused: [`EXCUSES`]; what only rounding decides; and what Prometheus itself does not say at the single times of a range.

use crate::outcome::{Class, Outcome};
use crate::tree::{Kind, Tree, Words};

/// A difference that is not one.
pub struct Excuse {
    pub name: &'static str,
    pub applies: fn(&Case<'_>) -> bool,
}

/// A query with both answers, which differ.
pub struct Case<'a> {
    pub tree: &'a Tree,
    pub ours: &'a Outcome,
    pub theirs: &'a Outcome,
}

/// In the order in which they are asked.
pub const EXCUSES: &[Excuse] = &[
    Excuse {
        name: "rate and increase reach back by half a gap at most, even where 0 is further (#13725)",
        applies: |case| {
            let is_large = |tree: &Tree| {
                let window = tree.holes().next().filter(|window| window.is_leaf());
                let text = window.map(|window| window.text(Words::New)).unwrap_or_default();
                text.starts_with("requests_total") || text.starts_with("latency_bucket")
            };
            case.both_have_values() && case.tree.any(&|tree| tree.is_call_of(&["rate", "increase"]) && !is_large(tree))
        },
    },
    Excuse {
        name: "a function of a window with @ and a number that changes looks at that window at each step (#13559)",
        applies: |case| {
            let is_fixed = |tree: &Tree| {
                tree.is_call_of(&["predict_linear", "quantile_over_time"]) && tree.text(Words::New).contains(" @ ")
            };
            case.tree.any(&is_fixed)
        },
    },
    Excuse {
        name: "series that a comparison filters out count as matches too (#17668)",
        applies: |case| {
            let is_ambiguous = matches!(
                case.ours,
                Outcome::Refused(Class::Execution, message) if message.starts_with("multiple matches for labels")
            );
            is_ambiguous && !case.theirs.is_refused()
        },
    },
    Excuse {
        name: "topk and bottomk of a k below 1 are empty, even where it is no whole number of 64 bits (#16404)",
        applies: |case| {
            let is_overflow = matches!(
                case.theirs,
                Outcome::Refused(Class::Execution, message) if message.starts_with("Scalar value -")
            );
            is_overflow && !case.ours.is_refused()
        },
    },
    Excuse {
        name: "a sum that is infinite stays so, and is no longer NaN (#14362)",
        applies: |case| {
            let is_sum = |tree: &Tree| {
                tree.is_call_of(&["sum_over_time", "avg_over_time", "stddev_over_time", "stdvar_over_time"])
            };
            case.both_have_values() && case.has_nan_for_infinity() && case.tree.any(&is_sum)
        },
    },
    Excuse {
        name: "Prometheus, 3 too, forgets the offset beside an @ in timestamp(selector); the engine does not",
        applies: |case| {
            let is_shifted = |tree: &Tree| {
                let text = tree.text(Words::New);
                tree.is_call_of(&["timestamp"]) && text.contains(" @ ") && text.contains(" offset ")
            };
            case.tree.any(&is_shifted)
        },
    },
    Excuse {
        name: "2.42 gives a bare subquery of what @ fixes a point after its end, where it has no step in it",
        applies: |case| {
            case.ours.is_empty() && case.tree.kind == Kind::Matrix && case.tree.text(Words::New).contains(" @ ")
        },
    },
];

impl Case<'_> {
    /// Whether there are values that are infinite here and NaN there.
    fn has_nan_for_infinity(&self) -> bool {
        self.ours.pairs(self.theirs).any(|(ours, theirs)| ours.is_infinite() && theirs.is_nan())
    }

    fn both_have_values(&self) -> bool {
        !self.ours.is_refused() && !self.theirs.is_refused()
    }
}
