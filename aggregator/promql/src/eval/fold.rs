//! Aggregations that take a group's values one after another: each row goes into its group as it comes and is gone.
//!
//! The arithmetic is Prometheus's, to the last bit: sums with the compensation of Kahan and Neumaier, a mean that
//! becomes incremental where the sum would overflow, deviations by Welford.

use super::books::fits;
use super::{Evaluator, Sink};
use crate::LabelSet;
use crate::answer::EvalError;
use crate::expr::{Expr, Grouping};
use crate::grid::{Grid, NONE, Row, Steps, is_none};
use crate::kahan::KahanSum;
use std::collections::HashMap;

pub(super) use crate::kahan::Mean;

/// What is known of a group at a step.
pub(super) trait Fold: Clone {
    /// No value yet.
    const EMPTY: Self;

    /// One more value.
    fn add(&mut self, value: f64);

    /// The aggregate; [`NONE`] without any value.
    fn finish(&self) -> f64;
}

/// Groups in the order in which they appear, each with its state at each step.
pub(super) struct Groups<F> {
    index: HashMap<LabelSet, usize>,
    states: Vec<(LabelSet, Vec<F>)>,
    steps: usize,
    cells_max: usize,
}

#[derive(Clone)]
pub(super) struct Sum(KahanSum);

#[derive(Clone)]
pub(super) struct Least(f64);

#[derive(Clone)]
pub(super) struct Greatest(f64);

#[derive(Clone)]
pub(super) struct Count(f64);

#[derive(Clone)]
pub(super) struct One(f64);

#[derive(Clone)]
pub(super) struct Variance {
    count: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

#[derive(Clone)]
pub(super) struct Deviation(Variance);

// === impl Evaluator ===

impl Evaluator<'_, '_> {
    pub(super) fn fold<F: Fold>(
        &mut self,
        grouping: &Grouping,
        inner: &Expr,
        steps: &Steps,
    ) -> Result<Grid, EvalError> {
        let mut groups = Groups::<F>::new(steps.count, self.books.cells_max);
        let sink: Sink<'_> = &mut |labels, values| groups.add(key(grouping, &labels), values);
        self.stream(inner, steps, sink)?;
        Ok(groups.finish())
    }
}

// === impl Groups ===

impl<F: Fold> Groups<F> {
    fn new(steps: usize, cells_max: usize) -> Self {
        Self { index: HashMap::new(), states: Vec::new(), steps, cells_max }
    }

    fn add(&mut self, key: LabelSet, values: &[f64]) -> Result<(), EvalError> {
        let group = if let Some(group) = self.index.get(&key) {
            *group
        } else {
            let group = self.states.len();
            fits(group + 1, self.steps, self.cells_max)?;
            self.index.insert(key.clone(), group);
            self.states.push((key, vec![F::EMPTY; self.steps]));
            group
        };
        for (state, value) in self.states[group].1.iter_mut().zip(values) {
            if !is_none(*value) {
                state.add(*value);
            }
        }
        Ok(())
    }

    fn finish(self) -> Grid {
        let row = |(labels, states): (LabelSet, Vec<F>)| Row { labels, values: states.iter().map(F::finish).collect() };
        self.states.into_iter().map(row).collect()
    }
}

// === impl Fold ===

impl Fold for Sum {
    const EMPTY: Self = Self(KahanSum { sum: NONE, lost: 0.0 });

    fn add(&mut self, value: f64) {
        if is_none(self.0.sum) {
            self.0.sum = value;
        } else {
            self.0.add(value);
        }
    }

    fn finish(&self) -> f64 {
        if is_none(self.0.sum) { NONE } else { self.0.value() }
    }
}

impl Fold for Mean {
    const EMPTY: Self = Self::EMPTY;

    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn finish(&self) -> f64 {
        if self.is_empty() { NONE } else { self.value() }
    }
}

impl Fold for Least {
    const EMPTY: Self = Self(NONE);

    // A NaN, and so the empty state too, gives way to whatever comes.
    fn add(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn finish(&self) -> f64 {
        self.0
    }
}

impl Fold for Greatest {
    const EMPTY: Self = Self(NONE);

    fn add(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn finish(&self) -> f64 {
        self.0
    }
}

impl Fold for Count {
    const EMPTY: Self = Self(0.0);

    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn finish(&self) -> f64 {
        if self.0 == 0.0 { NONE } else { self.0 }
    }
}

impl Fold for One {
    const EMPTY: Self = Self(NONE);

    fn add(&mut self, _: f64) {
        self.0 = 1.0;
    }

    fn finish(&self) -> f64 {
        self.0
    }
}

impl Fold for Variance {
    const EMPTY: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let distance = value - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (value - self.mean);
    }

    fn finish(&self) -> f64 {
        if self.count == 0.0 { NONE } else { self.squares / self.count }
    }
}

impl Fold for Deviation {
    const EMPTY: Self = Self(Variance::EMPTY);

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn finish(&self) -> f64 {
        let variance = self.0.finish();
        if is_none(variance) { NONE } else { variance.sqrt() }
    }
}

// === helpers ===

/// The labels of the group of a series.
pub(super) fn key(grouping: &Grouping, labels: &LabelSet) -> LabelSet {
    let named = |name: &str| grouping.labels.iter().any(|label| label == name);
    match grouping {
        Grouping { is_without: true, .. } => labels.retain(|name| name != crate::METRIC_NAME && !named(name)),
        Grouping { labels: by, .. } if by.is_empty() => LabelSet::empty(),
        _ => labels.retain(named),
    }
}
