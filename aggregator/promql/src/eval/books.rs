//! What an evaluation holds in memory, counted as Prometheus counts it: a sample for each value at a step, and those of
//! the window that is looked at.
//!
//! Rows here have a cell for each step, whether there is a value or not, so cells have a bound of their own, over all grids that are there at a time.

use crate::answer::EvalError;

/// Cells for each sample that may be held; of a sample's 16 bytes in Prometheus a cell has 8.
const CELLS_PER_SAMPLE: usize = 1;

/// Cells that are always allowed, 8 MiB: a limit of few samples is about samples, not about empty cells.
const CELLS_MIN: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Books {
    /// Samples in memory.
    pub held: usize,
    /// Samples looked at so far.
    pub seen: u64,
    max: usize,
    /// Cells that may be made beside those that are there.
    pub cells_max: usize,
}

// === impl Books ===

impl Books {
    pub fn new(max: usize) -> Self {
        Self { held: 0, seen: 0, max, cells_max: max.saturating_mul(CELLS_PER_SAMPLE).max(CELLS_MIN) }
    }

    /// So many more samples stay in memory.
    pub fn hold(&mut self, samples: usize) -> Result<(), EvalError> {
        self.held = self.held.saturating_add(samples);
        self.pass(0)
    }

    /// So many more are in memory for a moment.
    pub fn pass(&self, samples: usize) -> Result<(), EvalError> {
        if self.held.saturating_add(samples) > self.max { Err(EvalError::TooManySamples) } else { Ok(()) }
    }

    /// A node's value of `points` samples is there beside its arguments, of which each step has up to `gathered`;
    /// from now on it is alone, beside what was held `before`.
    pub fn settle(&mut self, before: usize, gathered: usize, points: usize) -> Result<(), EvalError> {
        self.pass(points.saturating_add(gathered))?;
        self.held = before.saturating_add(points);
        Ok(())
    }

    /// Whether a grid of so many rows may be made.
    pub fn fits(&self, rows: usize, steps: usize) -> Result<(), EvalError> {
        fits(rows, steps, self.cells_max)
    }
}

/// Whether so many rows have at most `cells_max` cells.
pub(super) fn fits(rows: usize, steps: usize, cells_max: usize) -> Result<(), EvalError> {
    if rows.saturating_mul(steps) > cells_max { Err(EvalError::TooManySamples) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        let mut books = Books::new(10);
        books.hold(4).expect("4 of 10");
        books.pass(6).expect("10 of 10");
        assert!(matches!(books.pass(7), Err(EvalError::TooManySamples)));
        assert!(matches!(books.settle(1, 3, 4), Err(EvalError::TooManySamples)), "beside its arguments");
        books.settle(1, 2, 4).expect("4 + 2 + 4");
        assert_eq!(books.held, 5);
        assert!(matches!(books.hold(6), Err(EvalError::TooManySamples)));
    }

    #[test]
    fn empty_cells_have_a_limit_too_and_nothing_overflows() {
        let books = Books::new(10);
        books.fits(CELLS_MIN / 2, 2).expect("as many as are always allowed");
        assert!(matches!(books.fits(CELLS_MIN / 2 + 1, 2), Err(EvalError::TooManySamples)));
        assert!(matches!(books.fits(usize::MAX, usize::MAX), Err(EvalError::TooManySamples)));
        assert!(Books::new(usize::MAX).pass(usize::MAX).is_ok());
    }
}
