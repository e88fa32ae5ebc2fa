//! Aggregations that must see all values of a group at once: `topk`, `bottomk`, `quantile`; and `count_values`.

use super::books::fits;
use super::fold::key;
use super::{Arg, Evaluator, Sink};
use crate::answer::EvalError;
use crate::expr::{Expr, Grouping, Span};
use crate::grid::{Grid, NONE, Row, Steps, is_none};
use crate::{LabelSet, gotext, quantile};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Which values remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Top,
    Bottom,
}

/// The rows of each group, groups in the order in which they appear.
struct Members {
    keys: Vec<LabelSet>,
    rows: Vec<Vec<usize>>,
}

/// How often each value is there, row by row of the result.
struct Tally<'a> {
    label: &'a str,
    index: HashMap<LabelSet, usize>,
    /// Rows of the values that the series at hand has had so far, by their bits.
    known: HashMap<u64, usize>,
    grid: Grid,
    steps: usize,
    cells_max: usize,
}

/// Smallest and greatest `f64` that an `i64` holds, as Prometheus has them.
const INT_MIN: f64 = i64::MIN as f64;
const INT_MAX: f64 = 9_223_372_036_854_774_784.0;

// === impl Evaluator ===

impl Evaluator<'_, '_> {
    /// `topk`, `bottomk`: the same series with fewer values; at a single step also in the order of their values.
    pub(super) fn outermost(
        &mut self,
        end: End,
        grouping: &Grouping,
        k: &Expr,
        inner: &Expr,
        steps: &Steps,
    ) -> Result<Grid, EvalError> {
        let k = self.scalar(k, steps)?;
        let grid = self.vector(inner, steps)?;
        if !check_k(&k)? {
            return Ok(Grid::new());
        }
        let members = Members::of(&grid, grouping);
        let mut kept: Vec<Option<Vec<f64>>> = vec![None; grid.len()];
        let (mut order, mut places) = (Vec::new(), Vec::new());
        for (index, k) in k.iter().enumerate() {
            self.ask_each(index)?;
            let Some(k) = whole(*k, grid.len()) else { continue };
            for rows in &members.rows {
                places.clear();
                places.extend(rows.iter().copied().filter(|row| !is_none(grid[*row].values[index])));
                end.choose(&mut places, k, |row| grid[row].values[index]);
                for row in &places {
                    kept[*row].get_or_insert_with(|| vec![NONE; steps.count])[index] = grid[*row].values[index];
                }
                if steps.count == 1 {
                    order.extend_from_slice(&places);
                }
            }
        }
        if steps.count > 1 {
            order.extend(0..grid.len());
        }
        let row = |row: usize| Some(Row { labels: grid[row].labels.clone(), values: kept[row].take()? });
        Ok(order.into_iter().filter_map(row).collect())
    }

    pub(super) fn quantile(
        &mut self,
        grouping: &Grouping,
        phi: &Expr,
        inner: &Expr,
        steps: &Steps,
    ) -> Result<Grid, EvalError> {
        let place = phi.span;
        let phi = self.scalar(phi, steps)?;
        let grid = self.vector(inner, steps)?;
        self.warn_of_phi(&phi, place);
        let members = Members::of(&grid, grouping);
        let mut values = Vec::new();
        let mut whole = Grid::with_capacity(members.rows.len());
        for (labels, rows) in members.keys.into_iter().zip(&members.rows) {
            self.ask()?;
            let mut row = Row { labels, values: Vec::with_capacity(steps.count) };
            for (index, phi) in phi.iter().enumerate() {
                values.clear();
                values.extend(rows.iter().map(|row| grid[*row].values[index]).filter(|value| !is_none(*value)));
                row.values.push(if values.is_empty() { NONE } else { quantile::of(*phi, &mut values) });
            }
            whole.push(row);
        }
        Ok(whole)
    }

    /// A series for each value of a group, which has the value as a label.
    pub(super) fn count_values(
        &mut self,
        grouping: &Grouping,
        label: &Expr,
        inner: &Expr,
        steps: &Steps,
    ) -> Result<Grid, EvalError> {
        let Arg::Text(label) = self.eval(label, &Steps::once(steps.first))? else {
            unreachable!("the parser checked that the parameter is a text")
        };
        if label.is_empty() {
            return Err(EvalError::Execution("invalid label name \"\"".to_owned()));
        }
        let mut grouping = grouping.clone();
        if !grouping.is_without {
            grouping.labels.push(label.clone());
        }
        let mut tally = Tally {
            label: &label,
            index: HashMap::new(),
            known: HashMap::new(),
            grid: Grid::new(),
            steps: steps.count,
            cells_max: self.books.cells_max,
        };
        let sink: Sink<'_> = &mut |labels, values| tally.add(&grouping, &labels, values);
        self.stream(inner, steps, sink)?;
        Ok(tally.grid)
    }

    /// Steps are many and each is short.
    fn ask_each(&self, step: usize) -> Result<(), EvalError> {
        if step.is_multiple_of(64) { self.ask() } else { Ok(()) }
    }

    fn warn_of_phi(&mut self, phi: &[f64], place: Span) {
        let least = phi.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = phi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let nan = phi.iter().copied().find(|phi| phi.is_nan());
        let outside = [nan, (greatest > 1.0).then_some(greatest), (least < 0.0).then_some(least)];
        for phi in outside.into_iter().flatten() {
            if let Some(message) = quantile::complaint(phi) {
                self.notes.warn(&message, place);
            }
        }
    }
}

// === impl Members ===

impl Members {
    fn of(grid: &Grid, grouping: &Grouping) -> Self {
        let mut members = Self { keys: Vec::new(), rows: Vec::new() };
        let mut index: HashMap<LabelSet, usize> = HashMap::new();
        for (row, Row { labels, .. }) in grid.iter().enumerate() {
            let group = *index.entry(key(grouping, labels)).or_insert_with_key(|key| {
                members.keys.push(key.clone());
                members.rows.push(Vec::new());
                members.rows.len() - 1
            });
            members.rows[group].push(row);
        }
        members
    }
}

// === impl End ===

impl End {
    /// Leaves in `places` the first `k` in the order of their values; of equal ones those that came first.
    fn choose(self, places: &mut Vec<usize>, k: usize, value: impl Fn(usize) -> f64) {
        let order = |a: &usize, b: &usize| self.compare(value(*a), value(*b)).then(a.cmp(b));
        if k < places.len() {
            places.select_nth_unstable_by(k, order);
            places.truncate(k);
        }
        places.sort_unstable_by(order);
    }

    /// What is not a number comes last.
    fn compare(self, a: f64, b: f64) -> Ordering {
        match (a.is_nan(), b.is_nan(), self) {
            (false, false, Self::Top) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
            (false, false, Self::Bottom) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (a, b, _) => a.cmp(&b),
        }
    }
}

// === impl Tally ===

impl Tally<'_> {
    fn add(&mut self, grouping: &Grouping, labels: &LabelSet, values: &[f64]) -> Result<(), EvalError> {
        self.known.clear();
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !is_none(**value)) {
            let row = if let Some(row) = self.known.get(&value.to_bits()) {
                *row
            } else {
                let row = self.row(key(grouping, &labels.with(self.label, &gotext::plain(*value))))?;
                self.known.insert(value.to_bits(), row);
                row
            };
            let count = &mut self.grid[row].values[index];
            *count = if is_none(*count) { 1.0 } else { *count + 1.0 };
        }
        Ok(())
    }

    fn row(&mut self, key: LabelSet) -> Result<usize, EvalError> {
        if let Some(row) = self.index.get(&key) {
            return Ok(*row);
        }
        let row = self.grid.len();
        fits(row + 1, self.steps, self.cells_max)?;
        self.index.insert(key.clone(), row);
        self.grid.push(Row { labels: key, values: vec![NONE; self.steps] });
        Ok(row)
    }
}

// === helpers ===

/// Whether any step keeps anything; refuses what is no count of series.
fn check_k(k: &[f64]) -> Result<bool, EvalError> {
    let refuse = |text: String| Err(EvalError::Execution(text));
    if k.iter().any(|k| k.is_nan()) {
        return refuse("Parameter value is NaN".to_owned());
    }
    let least = k.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = k.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if greatest < 1.0 {
        return Ok(false);
    }
    if least <= INT_MIN {
        return refuse(format!("Scalar value {} underflows int64", gotext::general(least)));
    }
    if greatest >= INT_MAX {
        return refuse(format!("Scalar value {} overflows int64", gotext::general(greatest)));
    }
    Ok(true)
}

/// `k` without its fraction, at most `rows`; `None` below 1.
fn whole(k: f64, rows: usize) -> Option<usize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1; beyond usize it saturates"
    )]
    (k >= 1.0).then(|| (k as usize).min(rows))
}
