//! Subqueries: an expression at steps of its own, so that its values are the samples of a window.
//!
//! ```text
//! outer step t:   (t - offset - range, t - offset]
//! inner steps:    multiples of the inner step, counted from the epoch, so the same ones whenever it is asked
//! ```
//! Over several outer steps the inner ones are those of all windows together, each calculated once.

use super::{Arg, Evaluator};
use crate::answer::EvalError;
use crate::expr::{Expr, Node};
use crate::grid::{Grid, Steps};
use proto::sample::Timestamp;

// === impl Evaluator ===

impl Evaluator<'_, '_> {
    /// The rows of a subquery and the steps at which they have values.
    pub(super) fn subquery(&mut self, expr: &Expr, outer: &Steps) -> Result<(Grid, Steps), EvalError> {
        let Node::Subquery { inner, range_ms, step_ms, shift } = &expr.node else {
            unreachable!("called for subqueries alone")
        };
        let place = self.place(*shift);
        let step_ms = step_ms.unwrap_or(self.limits.subquery_step_ms);
        let ends = place.ends(outer);
        let Some(steps) = subquery_steps(ends, *range_ms, step_ms) else {
            return Ok((Grid::new(), Steps::once(ends.1)));
        };
        self.books.fits(1, steps.count)?;
        let value = self.eval(inner, &steps)?;
        match value {
            Arg::Vector(grid) => Ok((grid, steps)),
            Arg::Scalar(_) | Arg::Text(_) => unreachable!("the parser lets a subquery be of a vector alone"),
        }
    }
}

// === helpers ===

/// The multiples of `step_ms` in the windows that end from `first` to `last`; there may be none.
fn subquery_steps((first, last): (Timestamp, Timestamp), range_ms: i64, step_ms: i64) -> Option<Steps> {
    let after = first.as_millis().saturating_sub(range_ms);
    let start = after.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    let span = last.as_millis().checked_sub(start).filter(|span| *span >= 0)?;
    let count = usize::try_from(span / step_ms).unwrap_or(usize::MAX).saturating_add(1);
    Some(Steps { first: Timestamp::from_millis(start), step_ms, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(first: i64, last: i64, range_ms: i64, step_ms: i64) -> Vec<i64> {
        let ends = (Timestamp::from_millis(first), Timestamp::from_millis(last));
        subquery_steps(ends, range_ms, step_ms)
            .map_or(Vec::new(), |steps| steps.iter().map(Timestamp::as_millis).collect())
    }

    #[test]
    fn steps_are_multiples_and_the_left_end_is_open() {
        assert_eq!(times(100, 100, 30, 10), [80, 90, 100]);
        assert_eq!(times(105, 105, 30, 10), [80, 90, 100]);
        assert_eq!(times(-5, -5, 20, 10), [-20, -10]);
        assert_eq!(times(5, 5, 4, 10), [0; 0]);
        assert_eq!(times(5, 25, 4, 10), [10, 20]);
    }

    proptest! {
        #[test]
        fn steps_are_all_multiples_in_the_windows(
            first in -500i64..500, more in 0i64..300, range in 1i64..200, step in 1i64..60,
        ) {
            let all: Vec<i64> = (first - range + 1..=first + more).filter(|time| time % step == 0).collect();
            prop_assert_eq!(times(first, first + more, range, step), all);
        }
    }
}
