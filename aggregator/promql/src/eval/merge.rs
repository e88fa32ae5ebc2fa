//! Rows of the same labels: one row if they never meet, an error if they do.
//!
//! Labels become the same where a name is dropped or a label is replaced. Each node that does so passes through here.

use super::books::fits;
use crate::LabelSet;
use crate::answer::EvalError;
use crate::grid::{Grid, Row, is_none};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Prometheus's words.
const SAME: &str = "vector cannot contain metrics with the same labelset";

/// The grid with each set of labels once.
pub(super) fn merged(grid: Grid) -> Result<Grid, EvalError> {
    let mut whole = Grid::with_capacity(grid.len());
    let mut rows: HashMap<LabelSet, usize> = HashMap::with_capacity(grid.len());
    for row in grid {
        match rows.entry(row.labels.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(whole.len());
                whole.push(row);
            }
            Entry::Occupied(earlier) => join(&mut whole[*earlier.get()], &row.values)?,
        }
    }
    Ok(whole)
}

/// Two series of a function's result have the same labels.
pub(super) fn same_labels() -> EvalError {
    EvalError::Execution(SAME.to_owned())
}

/// Keeps each row in `grid`, of at most so many cells.
pub(super) fn keeping(
    grid: &mut Grid,
    steps: usize,
    cells_max: usize,
) -> impl FnMut(LabelSet, &mut Vec<f64>) -> Result<(), EvalError> {
    move |labels, values| {
        fits(grid.len() + 1, steps, cells_max)?;
        grid.push(Row { labels, values: std::mem::take(values) });
        Ok(())
    }
}

fn join(row: &mut Row, values: &[f64]) -> Result<(), EvalError> {
    for (own, other) in row.values.iter_mut().zip(values) {
        if is_none(*other) {
            continue;
        }
        if !is_none(*own) {
            return Err(same_labels());
        }
        *own = *other;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::NONE;

    fn row(value: &str, values: &[f64]) -> Row {
        Row { labels: LabelSet::from_pairs([("a", value)]), values: values.to_vec() }
    }

    #[test]
    fn rows_that_never_meet_become_one() {
        let grid = merged(vec![row("1", &[1.0, NONE]), row("2", &[5.0, 5.0]), row("1", &[NONE, 2.0])]).expect("apart");
        assert_eq!(grid, [row("1", &[1.0, 2.0]), row("2", &[5.0, 5.0])]);
    }

    #[test]
    fn rows_that_meet_are_an_error_even_when_a_value_is_not_a_number() {
        let error = merged(vec![row("1", &[1.0, f64::NAN]), row("1", &[NONE, 2.0])]).expect_err("they meet");
        assert_eq!(error.to_string(), SAME);
    }
}
