//! Selectors and windows: what is read from the storage, one series at a time.
//!
//! ```text
//! instant   (t - lookback, t]   the newest sample; none where that is a staleness marker
//! window    (t - range, t]      all samples but markers
//! ```
//! `t` is the step's time or that of `@`, less the offset. Both are open on the left.

use super::merge::{keeping, merged, same_labels};
use super::{Evaluator, Place, Sink, points, unwrapped};
use crate::answer::{EvalError, Line};
use crate::call::absent_labels;
use crate::expr::{Expr, Node, Selector, Span};
use crate::function::Function;
use crate::grid::{Grid, NONE, Row, Steps, is_none};
use crate::select::{Reads, Selection};
use crate::window::{self, WindowCall, Windows};
use crate::{LabelSet, Samples};
use proto::sample::{Timestamp, is_stale};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// What of a sample is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Value,
    /// Its time in seconds.
    Time,
}

/// Samples that a function looks at between two questions whether to go on: some tens of milliseconds of the slowest.
const WORK_MAX: u64 = 4 * 1024 * 1024;

/// Samples of one series without staleness markers; the same memory for each series.
#[derive(Debug, Default)]
struct Scratch {
    times: Vec<i64>,
    values: Vec<f64>,
}

/// How many samples of a series are in its windows.
#[derive(Debug, Default)]
struct Census {
    /// In each window, all together.
    all: u64,
    widest: usize,
    /// In the last one.
    last: usize,
}

/// A call of a function over windows, and what it has seen.
struct Work<'a> {
    call: WindowCall<'a>,
    argument: &'a Expr,
    /// Where the first argument stands.
    first: Span,
    /// Labels that are taken; not kept where no two can be the same.
    taken: Option<HashSet<LabelSet>>,
    out: Vec<f64>,
}

// === impl Evaluator: selectors ===

impl Evaluator<'_, '_> {
    /// The newest sample of each series at each step.
    pub(super) fn select_rows(
        &mut self,
        expr: &Expr,
        selector: &Selector,
        steps: &Steps,
        pick: Pick,
        sink: Sink<'_>,
    ) -> Result<(), EvalError> {
        self.books.fits(1, steps.count)?;
        let place = self.place(selector.shift);
        let (first, last) = place.ends(steps);
        let lookback_ms = self.limits.lookback_ms;
        let mut values = Vec::new();
        let stretch = (first.moved_by(-lookback_ms), last, Reads::Newest { from: first });
        self.each_series(expr, selector, stretch, &mut |eval, labels, samples| {
            newest(samples, &place, steps, lookback_ms, pick, &mut values);
            let count = points(&values);
            if count == 0 {
                return Ok(());
            }
            eval.books.seen = eval.books.seen.saturating_add(count as u64);
            eval.books.hold(count)?;
            sink(labels.clone(), &mut values)
        })
    }

    /// `timestamp(selector)`: when the samples were taken, not when the steps are.
    pub(super) fn timestamps(&mut self, expr: &Expr, selector: &Selector, steps: &Steps) -> Result<Grid, EvalError> {
        let before = self.books.held;
        let (mut grid, cells_max) = (Grid::new(), self.books.cells_max);
        let mut keep = keeping(&mut grid, steps.count, cells_max);
        self.select_rows(expr, selector, steps, Pick::Time, &mut |labels, values| keep(labels.without_name(), values))?;
        drop(keep);
        // The samples are gone with their step.
        self.books.held = before;
        self.settled(before, grid.len(), merged(grid)?)
    }

    /// Calls `each` for every series with samples in the stretch, which is open on the left.
    fn each_series(
        &mut self,
        expr: &Expr,
        selector: &Selector,
        (after, until, reads): (Timestamp, Timestamp, Reads),
        each: &mut dyn FnMut(&mut Self, &LabelSet, Samples<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let source = self.source;
        let selection = Selection { name: selector.name.as_deref(), matchers: &selector.matchers, after, until, reads };
        let mut outcome = Ok(());
        source
            .select(&selection, &mut |labels, samples| {
                outcome = self.ask().and_then(|()| each(self, labels, samples));
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(|source| EvalError::Select { selector: expr.to_string(), source })?;
        outcome
    }
}

// === impl Evaluator: windows ===

impl Evaluator<'_, '_> {
    /// A function over windows, series by series.
    pub(super) fn window_rows(
        &mut self,
        function: Function,
        args: &[Expr],
        steps: &Steps,
        sink: Sink<'_>,
    ) -> Result<(), EvalError> {
        self.books.fits(1, steps.count)?;
        let mut scalars = Vec::new();
        for arg in args.iter().filter(|arg| !is_window(arg)) {
            scalars.push(self.scalar(arg, steps)?);
        }
        let argument = args.iter().find(|arg| is_window(arg)).expect("the parser gives each such function its window");
        let argument = unwrapped(argument);
        let (place, range_ms) = self.window_of(argument);
        let windows = Windows { steps: *steps, range_ms, offset_ms: place.offset_ms, fixed: place.fixed };
        // What `absent_over_time` reads are no results, so two of them may have the same labels.
        let is_read_only = function == Function::AbsentOverTime;
        let keeps_name = window::keeps_name(function);
        let mut work = Work {
            call: WindowCall { function, scalars: &scalars, windows: &windows },
            argument,
            first: args[0].span,
            taken: (!keeps_name && !is_read_only && exact_name(argument).is_none()).then(HashSet::new),
            out: Vec::new(),
        };
        let mut scratch = Scratch::default();
        match &argument.node {
            Node::Window { selector, .. } => {
                let (first, last) = place.ends(steps);
                let stretch = (first.moved_by(range_ms.saturating_neg()), last, Reads::All);
                self.each_series(argument, selector, stretch, &mut |eval, labels, samples| {
                    eval.window_row(&mut work, labels, scratch.without_markers(samples), sink)
                })?;
            }
            Node::Subquery { .. } => {
                let (before, seen) = (self.books.held, self.books.seen);
                let (grid, inner) = self.subquery(argument, steps)?;
                let inside = self.books.held.saturating_sub(before);
                // What is looked at are the samples of the windows, not those of which they were made.
                self.books.seen = seen;
                for row in &grid {
                    self.ask()?;
                    self.window_row(&mut work, &row.labels, scratch.of_row(row, &inner), sink)?;
                }
                self.books.held = self.books.held.saturating_sub(inside);
            }
            _ => unreachable!("found as a window"),
        }
        Ok(())
    }

    fn window_row(
        &mut self,
        work: &mut Work<'_>,
        labels: &LabelSet,
        samples: Samples<'_>,
        sink: Sink<'_>,
    ) -> Result<(), EvalError> {
        let census = Census::of(samples.times, work.call.windows);
        self.books.pass(census.widest)?;
        self.books.seen = self.books.seen.saturating_add(census.all);
        self.over_windows(&work.call, samples, census.all, &mut work.out)?;
        let count = points(&work.out);
        if count == 0 {
            return Ok(());
        }
        self.books.pass(census.last.saturating_add(count))?;
        self.books.hold(count)?;
        for message in window::warnings(&work.call, &work.out) {
            self.notes.warn(&message, work.first);
        }
        let function = work.call.function;
        if let Some(message) = window::complaint(function, labels.name()) {
            self.notes.info(&message, work.argument.span);
        }
        let labels = if window::keeps_name(function) { labels.clone() } else { labels.without_name() };
        if work.taken.as_mut().is_some_and(|taken| !taken.insert(labels.clone())) {
            return Err(same_labels());
        }
        sink(labels, &mut work.out)
    }

    /// A function through all windows of a series, which have `all` samples. Asked in between whether to go on.
    fn over_windows(
        &self,
        call: &WindowCall<'_>,
        samples: Samples<'_>,
        all: u64,
        out: &mut Vec<f64>,
    ) -> Result<(), EvalError> {
        if all <= WORK_MAX || call.windows.fixed.is_some() {
            window::over_windows(call, samples, out);
            return Ok(());
        }
        let steps = call.windows.steps;
        let each = usize::try_from(all / steps.count as u64).unwrap_or(usize::MAX).max(1);
        let length = (usize::try_from(WORK_MAX).unwrap_or(usize::MAX) / each).max(1);
        out.clear();
        let mut part = Vec::new();
        for first in (0..steps.count).step_by(length) {
            self.ask()?;
            let count = length.min(steps.count - first);
            let windows = Windows { steps: Steps { first: steps.at(first), count, ..steps }, ..*call.windows };
            let scalars: Vec<Vec<f64>> = call.scalars.iter().map(|all| all[first..first + count].to_vec()).collect();
            let call = WindowCall { function: call.function, scalars: &scalars, windows: &windows };
            window::over_windows(&call, samples, &mut part);
            out.extend_from_slice(&part);
        }
        Ok(())
    }

    /// One series of value 1 where no series has a sample in its window.
    pub(super) fn absent_over_time(&mut self, args: &[Expr], steps: &Steps) -> Result<Grid, EvalError> {
        let before = self.books.held;
        let mut values = vec![1.0; steps.count];
        self.window_rows(Function::AbsentOverTime, args, steps, &mut |_, present| {
            for (value, present) in values.iter_mut().zip(present) {
                if !is_none(*present) {
                    *value = NONE;
                }
            }
            Ok(())
        })?;
        self.replaced(before, vec![Row { labels: absent_labels(unwrapped(&args[0])), values }])
    }

    /// A bare window or subquery at one time: the samples themselves.
    pub fn samples(&mut self, expr: &Expr, at: Timestamp) -> Result<Vec<Line>, EvalError> {
        let expr = unwrapped(expr);
        let steps = Steps::once(at);
        let mut lines = Vec::new();
        if let Node::Subquery { .. } = &expr.node {
            let (grid, inner) = self.subquery(expr, &steps)?;
            lines.extend(grid.into_iter().map(|row| line(row, &inner)));
            return Ok(lines);
        }
        let Node::Window { selector, .. } = &expr.node else {
            unreachable!("nothing else gives a matrix");
        };
        let (place, range_ms) = self.window_of(expr);
        let until = place.at(&steps, 0);
        let mut scratch = Scratch::default();
        self.each_series(
            expr,
            selector,
            (until.moved_by(range_ms.saturating_neg()), until, Reads::All),
            &mut |eval, labels, samples| {
                let samples = scratch.without_markers(samples);
                eval.books.hold(samples.len())?;
                eval.books.seen = eval.books.seen.saturating_add(samples.len() as u64);
                let times = samples.times.iter().map(|time| Timestamp::from_millis(*time));
                let points: Vec<_> = times.zip(samples.values.iter().copied()).collect();
                if !points.is_empty() {
                    lines.push(Line { labels: labels.clone(), points });
                }
                Ok(())
            },
        )?;
        Ok(lines)
    }

    fn window_of(&self, argument: &Expr) -> (Place, i64) {
        match &argument.node {
            Node::Window { selector, range_ms } => (self.place(selector.shift), *range_ms),
            Node::Subquery { range_ms, shift, .. } => (self.place(*shift), *range_ms),
            _ => unreachable!("found as a window"),
        }
    }
}

// === impl Census ===

impl Census {
    fn of(times: &[i64], windows: &Windows) -> Self {
        let place = Place { fixed: windows.fixed, offset_ms: windows.offset_ms };
        let mut census = Self::default();
        let (mut start, mut end) = (0, 0);
        for index in 0..windows.steps.count {
            let at = place.at(&windows.steps, index).as_millis();
            while times.get(end).is_some_and(|time| *time <= at) {
                end += 1;
            }
            while start < end && times[start] <= at.saturating_sub(windows.range_ms) {
                start += 1;
            }
            census.last = end - start;
            census.widest = census.widest.max(census.last);
            census.all += census.last as u64;
        }
        census
    }
}

// === impl Scratch ===

impl Scratch {
    /// The samples that are none; the storage's own memory where all are.
    fn without_markers<'s>(&'s mut self, samples: Samples<'s>) -> Samples<'s> {
        if !samples.values.iter().any(|value| is_stale(*value)) {
            return samples;
        }
        self.fill(samples.times.iter().copied().zip(samples.values.iter().copied()))
    }

    /// The values of a row as samples at its steps.
    fn of_row(&mut self, row: &Row, steps: &Steps) -> Samples<'_> {
        self.fill(steps.iter().map(Timestamp::as_millis).zip(row.values.iter().copied()))
    }

    fn fill(&mut self, samples: impl Iterator<Item = (i64, f64)>) -> Samples<'_> {
        self.times.clear();
        self.values.clear();
        for (time, value) in samples.filter(|(_, value)| !is_stale(*value)) {
            self.times.push(time);
            self.values.push(value);
        }
        Samples { times: &self.times, values: &self.values }
    }
}

// === helpers ===

fn is_window(arg: &Expr) -> bool {
    matches!(unwrapped(arg).node, Node::Window { .. } | Node::Subquery { .. })
}

/// The name that all series of a window have.
fn exact_name(argument: &Expr) -> Option<&str> {
    match &argument.node {
        Node::Window { selector, .. } => selector.name.as_deref(),
        _ => None,
    }
}

fn line(row: Row, steps: &Steps) -> Line {
    let points = steps.iter().zip(row.values).filter(|(_, value)| !is_none(*value)).collect();
    Line { labels: row.labels, points }
}

/// Fills `out` with the newest sample at each step; both go forward only.
fn newest(samples: Samples<'_>, place: &Place, steps: &Steps, lookback_ms: i64, pick: Pick, out: &mut Vec<f64>) {
    out.clear();
    let mut next = 0;
    for index in 0..steps.count {
        let at = place.at(steps, index).as_millis();
        while samples.times.get(next).is_some_and(|time| *time <= at) {
            next += 1;
        }
        let found = next.checked_sub(1).filter(|last| samples.times[*last] > at.saturating_sub(lookback_ms));
        out.push(match found.map(|last| (samples.times[last], samples.values[last])) {
            None => NONE,
            Some((_, value)) if is_stale(value) => NONE,
            Some((_, value)) if pick == Pick::Value => value,
            Some((time, _)) => Timestamp::from_millis(time).as_seconds(),
        });
    }
}
