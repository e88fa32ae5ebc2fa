//! Functions that look at no window: of each value, of times, of labels, of whole vectors, of classic histograms.
//!
//! A function gets its arguments over all steps at once and gives its result so. It does not say whether two rows of a
//! result may have the same labels: the evaluator merges or refuses them. Wherever the result is not the series itself,
//! the metric's name is gone.

mod absent;
mod calendar;
mod histogram;
mod label;
mod math;
#[cfg(test)]
mod tests;

pub(crate) use absent::absent_labels;

use crate::LabelSet;
use crate::answer::EvalError;
use crate::expr::{Expr, Node, Span};
use crate::function::Function;
use crate::grid::{Grid, Row, Steps, is_none};
use crate::notes::Noter;
use crate::quantile;

/// What an argument has become, and what a function gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg {
    /// A value per step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Grid),
}

/// Where a function is called.
#[derive(Debug)]
pub(crate) struct Context<'a, 't> {
    pub steps: Steps,
    /// The [`Node::Call`], for places and for the selector of `absent`.
    pub call: &'a Expr,
    pub notes: &'a mut Noter<'t>,
}

/// The arguments, taken out one by one.
struct Args(std::vec::IntoIter<Arg>);

/// What the function gives of these arguments. Those left out by the caller are left out here too.
pub(crate) fn call(function: Function, args: Vec<Arg>, context: &mut Context<'_, '_>) -> Result<Arg, EvalError> {
    use Function as F;
    let mut args = Args(args.into_iter());
    let steps = context.steps;
    if let Some(of) = math::of_each(function) {
        return Ok(Arg::Vector(each_value(args.vector(), |_, value| of(value))));
    }
    if let Some(of) = calendar::of_each(function) {
        return Ok(Arg::Vector(calendar::of_vector(args.vector_if_any(), steps, of)));
    }
    let rows = match function {
        F::Pi => return Ok(Arg::Scalar(vec![std::f64::consts::PI; steps.count])),
        F::Time => return Ok(Arg::Scalar(steps.iter().map(|at| at.as_millis() as f64 / 1000.0).collect())),
        F::ScalarOf => return Ok(Arg::Scalar(scalar(&args.vector(), steps))),
        F::VectorOf => vec![Row { labels: LabelSet::empty(), values: args.scalar() }],
        F::TimestampOf => each_value(args.vector(), |step, _| steps.at(step).as_millis() as f64 / 1000.0),
        F::Round => {
            let rows = args.vector();
            let nearest = args.scalar_if_any().unwrap_or_else(|| vec![1.0; steps.count]);
            each_value(rows, |step, value| math::rounded(value, nearest[step]))
        }
        F::Clamp => clamped(args.vector(), &args.scalar(), &args.scalar()),
        F::ClampMin => clamped(args.vector(), &args.scalar(), &vec![f64::INFINITY; steps.count]),
        F::ClampMax => {
            let rows = args.vector();
            clamped(rows, &vec![f64::NEG_INFINITY; steps.count], &args.scalar())
        }
        F::Sort => sorted(args.vector(), false, context),
        F::SortDesc => sorted(args.vector(), true, context),
        F::Absent => absent::absent(&args.vector(), absent_labels(context.argument(0)), steps),
        F::LabelReplace => {
            let rows = args.vector();
            let (to, template, from, pattern) = (args.text(), args.text(), args.text(), args.text());
            label::replace(rows, &to, &template, &from, &pattern)?
        }
        F::LabelJoin => {
            let rows = args.vector();
            let (to, between) = (args.text(), args.text());
            label::join(rows, &to, &between, &args.0.map(Arg::into_text).collect::<Vec<_>>())?
        }
        F::HistogramQuantile => histogram::quantile(&args.scalar(), &args.vector(), context),
        F::HistogramFraction => {
            let (lower, upper) = (args.scalar(), args.scalar());
            histogram::fraction(&lower, &upper, &args.vector(), context)
        }
        // They work on native histograms, and there are none among floats.
        F::HistogramAvg | F::HistogramCount | F::HistogramStddev | F::HistogramStdvar | F::HistogramSum => Vec::new(),
        other => {
            debug_assert!(false, "{other:?} looks at a window");
            Vec::new()
        }
    };
    Ok(Arg::Vector(rows))
}

// === impl Context ===

impl Context<'_, '_> {
    /// The expression of an argument, without brackets around it.
    fn argument(&self, index: usize) -> &Expr {
        let Node::Call { args, .. } = &self.call.node else { return self.call };
        args.get(index).map_or(self.call, without_brackets)
    }

    fn span_of_argument(&self, index: usize) -> Span {
        self.argument(index).span
    }
}

// === impl Arg ===

impl Arg {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Scalar(_) | Self::Vector(_) => unreachable!("the parser has checked that this argument is a text"),
        }
    }
}

// === impl Args ===

impl Args {
    fn vector_if_any(&mut self) -> Option<Grid> {
        self.0.next().map(|arg| match arg {
            Arg::Vector(rows) => rows,
            Arg::Scalar(_) | Arg::Text(_) => unreachable!("the parser has checked that this argument is a vector"),
        })
    }

    fn vector(&mut self) -> Grid {
        self.vector_if_any().expect("the parser has counted the arguments")
    }

    fn scalar_if_any(&mut self) -> Option<Vec<f64>> {
        self.0.next().map(|arg| match arg {
            Arg::Scalar(values) => values,
            Arg::Vector(_) | Arg::Text(_) => unreachable!("the parser has checked that this argument is a scalar"),
        })
    }

    fn scalar(&mut self) -> Vec<f64> {
        self.scalar_if_any().expect("the parser has counted the arguments")
    }

    fn text(&mut self) -> String {
        self.0.next().expect("the parser has counted the arguments").into_text()
    }
}

// === helpers ===

/// The expression inside all brackets around it.
fn without_brackets(mut expr: &Expr) -> &Expr {
    while let Node::Paren(inner) = &expr.node {
        expr = inner;
    }
    expr
}

/// Each value made another one, in place; the name is dropped.
fn each_value(mut rows: Grid, of: impl Fn(usize, f64) -> f64) -> Grid {
    for row in &mut rows {
        row.labels = row.labels.without_name();
        for (step, value) in row.values.iter_mut().enumerate() {
            if !is_none(*value) {
                *value = of(step, *value);
            }
        }
    }
    rows
}

fn clamped(rows: Grid, low: &[f64], high: &[f64]) -> Grid {
    each_value(rows, |step, value| math::clamped(value, low[step], high[step]))
}

/// The value of the only series there is; NaN where there is none or more than one.
fn scalar(rows: &Grid, steps: Steps) -> Vec<f64> {
    let mut found = vec![None; steps.count];
    for row in rows {
        for (found, value) in found.iter_mut().zip(&row.values).filter(|(_, value)| !is_none(**value)) {
            *found = Some(found.map_or(*value, |_| f64::NAN));
        }
    }
    found.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

/// By value, NaN last either way. Over several steps there is no such order.
fn sorted(mut rows: Grid, is_descending: bool, context: &mut Context<'_, '_>) -> Grid {
    if context.steps.count > 1 {
        let message = "sort is ineffective for range queries since results are always ordered by labels";
        context.notes.warn(message, context.call.span);
        return rows;
    }
    rows.retain(Row::has_values);
    rows.sort_by(|a, b| {
        let (a, b) = (a.values[0], b.values[0]);
        // `order` has NaN first, and here it is to be last.
        let order = if is_descending { quantile::order(b, a) } else { quantile::order(a, b) };
        a.is_nan().cmp(&b.is_nan()).then(order)
    });
    rows
}
