//! Operators between two vectors: which series find each other, and what the result is called.
//!
//! ```text
//! signature   the labels by which series find each other: those of `on`, or all but the name and those of `ignoring`
//! one side    the right one, of `group_right` the left one: a signature has one series there at each step
//! many side   the other: without `group_…` a signature has one series there too, at each step at which they meet
//! ```
//! Signatures are made once a series. Who meets whom is judged step by step, but only where a signature has several
//! series: two series with gaps may take turns.

use super::Evaluator;
use super::arithmetic::{Kept, Operation};
use super::merge::merged;
use crate::answer::EvalError;
use crate::expr::{BinaryOp, Card, Matching};
use crate::grid::{Grid, NONE, Row, Steps, is_none};
use crate::quote::{go_quoted, is_bare_label};
use crate::{LabelSet, METRIC_NAME};
use std::collections::HashMap;

/// The signatures of both sides as numbers, and whose they are.
struct Signatures {
    labels: Vec<LabelSet>,
    left: Vec<usize>,
    right: Vec<usize>,
}

/// A series of the many side and one of the one side with the same signature.
struct Pair {
    many: usize,
    one: usize,
    labels: LabelSet,
}

/// Two vectors about to be matched; the sides by their roles.
struct Sides<'a> {
    matching: &'a Matching,
    many: &'a Grid,
    one: &'a Grid,
    many_signatures: &'a [usize],
    one_signatures: &'a [usize],
    steps: usize,
}

// === impl Evaluator ===

impl Evaluator<'_, '_> {
    pub(super) fn between_vectors(
        &mut self,
        operation: Operation,
        matching: &Matching,
        left: Grid,
        right: Grid,
        steps: &Steps,
    ) -> Result<Grid, EvalError> {
        let signatures = Signatures::of(matching, &left, &right);
        if operation.op.is_set() {
            return merged(signatures.set(operation.op, left, right, steps.count));
        }
        let is_swapped = matching.card == Card::OneToMany;
        let mut sides = Sides {
            matching,
            many: &left,
            one: &right,
            many_signatures: &signatures.left,
            one_signatures: &signatures.right,
            steps: steps.count,
        };
        if is_swapped {
            std::mem::swap(&mut sides.many, &mut sides.one);
            std::mem::swap(&mut sides.many_signatures, &mut sides.one_signatures);
        }
        sides.check_one_side(&signatures.labels)?;
        let ones = rows_by_signature(sides.one_signatures, signatures.labels.len());
        let count = sides.many_signatures.iter().map(|signature| ones[*signature].len()).sum();
        self.books.fits(count, steps.count)?;
        let pairs = sides.pairs(operation, &ones, count);
        sides.check_many_side(&pairs)?;
        let mut grid = Grid::with_capacity(pairs.len());
        for Pair { many, one, labels } in pairs {
            self.ask()?;
            let mut values = vec![NONE; steps.count];
            let (many, one) = (&sides.many[many].values, &sides.one[one].values);
            let (left, right) = if is_swapped { (one, many) } else { (many, one) };
            operation.zip(Kept::Left, left, right, &mut values);
            grid.push(Row { labels, values });
        }
        grid.retain(Row::has_values);
        merged(grid)
    }
}

// === impl Signatures ===

impl Signatures {
    fn of(matching: &Matching, left: &Grid, right: &Grid) -> Self {
        let mut numbers: HashMap<LabelSet, usize> = HashMap::new();
        let mut labels = Vec::new();
        let mut side = |grid: &Grid| -> Vec<usize> {
            let number = |row: &Row| {
                *numbers.entry(signature(matching, &row.labels)).or_insert_with_key(|key| {
                    labels.push(key.clone());
                    labels.len() - 1
                })
            };
            grid.iter().map(number).collect()
        };
        let (left, right) = (side(left), side(right));
        Self { labels, left, right }
    }

    /// `and`, `or`, `unless`: what is on one side according to whether the signature is on the other at that step.
    fn set(&self, op: BinaryOp, mut left: Grid, mut right: Grid, steps: usize) -> Grid {
        match op {
            BinaryOp::And => keep(&mut left, &self.left, &self.presence(&right, &self.right, &self.left, steps), true),
            BinaryOp::Unless => {
                keep(&mut left, &self.left, &self.presence(&right, &self.right, &self.left, steps), false);
            }
            _ => {
                keep(&mut right, &self.right, &self.presence(&left, &self.left, &self.right, steps), false);
                left.append(&mut right);
            }
        }
        left.retain(Row::has_values);
        left
    }

    /// At which steps each signature is in `grid`; empty for those that nobody on the other side asks for.
    fn presence(&self, grid: &Grid, own: &[usize], others: &[usize], steps: usize) -> Vec<Vec<bool>> {
        let mut presence = vec![Vec::new(); self.labels.len()];
        let mut is_asked = vec![false; self.labels.len()];
        for signature in others {
            is_asked[*signature] = true;
        }
        for (row, signature) in grid.iter().zip(own).filter(|(_, signature)| is_asked[**signature]) {
            let present = &mut presence[*signature];
            present.resize(steps, false);
            for (present, value) in present.iter_mut().zip(&row.values) {
                *present |= !is_none(*value);
            }
        }
        presence
    }
}

// === impl Sides ===

impl Sides<'_> {
    /// On the one side a signature has at most one series at each step; steps at which the many side is empty are not
    /// looked at.
    fn check_one_side(&self, labels: &[LabelSet]) -> Result<(), EvalError> {
        let rows = rows_by_signature(self.one_signatures, labels.len());
        let mut is_many_there = None;
        for (signature, rows) in rows.iter().enumerate().filter(|(_, rows)| rows.len() > 1) {
            let is_many_there = is_many_there.get_or_insert_with(|| self.steps_of_many_side());
            let mut first: Vec<Option<usize>> = vec![None; self.steps];
            for row in rows {
                for (index, value) in self.one[*row].values.iter().enumerate() {
                    if is_none(*value) || !is_many_there[index] {
                        continue;
                    }
                    if let Some(earlier) = first[index].replace(*row) {
                        return Err(self.duplicate(&labels[signature], *row, earlier));
                    }
                }
            }
        }
        Ok(())
    }

    fn steps_of_many_side(&self) -> Vec<bool> {
        let mut is_there = vec![false; self.steps];
        for row in self.many {
            for (is_there, value) in is_there.iter_mut().zip(&row.values) {
                *is_there |= !is_none(*value);
            }
        }
        is_there
    }

    fn duplicate(&self, group: &LabelSet, later: usize, earlier: usize) -> EvalError {
        let side = if self.matching.card == Card::OneToMany { "left" } else { "right" };
        let [later, earlier] = [later, earlier].map(|row| shown(&self.one[row].labels));
        EvalError::Execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{later}, \
             {earlier}];many-to-many matching not allowed: matching labels must be unique on one side",
            shown(group)
        ))
    }

    fn pairs(&self, operation: Operation, ones: &[Vec<usize>], count: usize) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(count);
        for (many, signature) in self.many_signatures.iter().enumerate() {
            for one in &ones[*signature] {
                let labels = result(operation, self.matching, &self.many[many].labels, &self.one[*one].labels);
                pairs.push(Pair { many, one: *one, labels });
            }
        }
        pairs
    }

    /// At each step at which they meet the one side, series of the many side differ: without `group_…` by signature,
    /// with it by signature and the result's labels. What a comparison then filters out counts too.
    fn check_many_side(&self, pairs: &[Pair]) -> Result<(), EvalError> {
        let is_one_to_one = self.matching.card == Card::OneToOne;
        let mut groups: HashMap<(usize, Option<&LabelSet>), Vec<&Pair>> = HashMap::with_capacity(pairs.len());
        for pair in pairs {
            let labels = (!is_one_to_one).then_some(&pair.labels);
            groups.entry((self.many_signatures[pair.many], labels)).or_default().push(pair);
        }
        let mut is_taken = vec![false; self.steps];
        for group in groups.values().filter(|group| group.len() > 1) {
            is_taken.fill(false);
            for pair in group {
                let values = self.many[pair.many].values.iter().zip(&self.one[pair.one].values);
                for (is_taken, (many, one)) in is_taken.iter_mut().zip(values) {
                    if is_none(*many) || is_none(*one) {
                        continue;
                    }
                    if std::mem::replace(is_taken, true) {
                        return Err(ambiguous(is_one_to_one));
                    }
                }
            }
        }
        Ok(())
    }
}

// === helpers ===

fn ambiguous(is_one_to_one: bool) -> EvalError {
    EvalError::Execution(
        if is_one_to_one {
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
        } else {
            "multiple matches for labels: grouping labels must ensure unique matches"
        }
        .to_owned(),
    )
}

fn signature(matching: &Matching, labels: &LabelSet) -> LabelSet {
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    match matching {
        Matching { is_on: true, labels: on, .. } if on.is_empty() => LabelSet::empty(),
        Matching { is_on: true, .. } => labels.retain(named),
        _ => labels.retain(|name| name != METRIC_NAME && !named(name)),
    }
}

/// The labels of a result.
fn result(operation: Operation, matching: &Matching, many: &LabelSet, one: &LabelSet) -> LabelSet {
    let changes_meaning = Operation { returns_bool: false, ..operation }.drops_name();
    let mut labels = if changes_meaning { many.without_name() } else { many.clone() };
    if matching.card == Card::OneToOne {
        let named = |name: &str| matching.labels.iter().any(|label| label == name);
        labels = labels.retain(|name| named(name) == matching.is_on);
    }
    for name in &matching.include {
        labels = labels.with(name, one.get(name));
    }
    if operation.returns_bool { labels.without_name() } else { labels }
}

fn rows_by_signature(own: &[usize], signatures: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); signatures];
    for (row, signature) in own.iter().enumerate() {
        rows[*signature].push(row);
    }
    rows
}

/// Takes out values at steps at which the row's signature is (`wanted`: is not) where `presence` says.
fn keep(grid: &mut Grid, own: &[usize], presence: &[Vec<bool>], wanted: bool) {
    for (row, signature) in grid.iter_mut().zip(own) {
        let present = &presence[*signature];
        if present.is_empty() {
            if wanted {
                row.values.fill(NONE);
            }
            continue;
        }
        for (value, present) in row.values.iter_mut().zip(present) {
            if *present != wanted {
                *value = NONE;
            }
        }
    }
}

/// Labels as Prometheus prints them in its messages: the name is one of them.
fn shown(labels: &LabelSet) -> String {
    let label = |(name, value): (&str, &str)| {
        let name = if is_bare_label(name) { name.to_owned() } else { go_quoted(name) };
        format!("{name}={}", go_quoted(value))
    };
    format!("{{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(", "))
}
