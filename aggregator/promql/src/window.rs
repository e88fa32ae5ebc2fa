//! Functions over a window of a series: `rate`, `avg_over_time`, … for one series through all its windows.
//!
//! ```text
//! samples   •  •  •  •  •  •  •  •  •  •      ascending times
//! window i     (—————————————]                left-open: (end - range, end]
//! window i+1         (—————————————]          both ends only move forward
//! ```
//! So two indexes run over the samples once, whatever the number of steps. What a window adds to that depends on the
//! function: counts of resets and changes, smallest and largest values and quantiles are carried from window to window;
//! sums are added anew for each window, in the order of the samples, since that is what makes the last bit the same as
//! Prometheus's ([`reduce`] says where not).

mod events;
mod order;
mod rate;
mod reduce;
mod regression;
#[cfg(test)]
mod tests;

use crate::function::Function;
use crate::grid::{NONE, Steps, is_none};
use crate::quantile;
use crate::quote::go_quoted;
use crate::select::Samples;
use proto::sample::Timestamp;
use rate::Rise;

/// Where the windows lie: that of step i is `(end(i) - range_ms, end(i)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// The times of evaluation.
    pub steps: Steps,
    /// How long a window is; more than 0.
    pub range_ms: i64,
    /// So much before the step a window ends.
    pub offset_ms: i64,
    /// `@`: the windows end there (less the offset) whatever the step.
    pub fixed: Option<Timestamp>,
}

/// A function over windows, with everything but the samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowCall<'a> {
    pub function: Function,
    /// The arguments beside the window, in order, each with one value per step.
    pub scalars: &'a [Vec<f64>],
    pub windows: &'a Windows,
}

/// Samples `from..until` of a series, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    step: usize,
    from: usize,
    until: usize,
    /// Its left end, which is no part of it.
    after_ms: i64,
    /// Its right end.
    end_ms: i64,
}

/// One series through all its windows: fills `out` with one value per step, [`NONE`] where the window gives none.
/// `samples` hold no staleness markers.
pub(crate) fn over_windows(call: &WindowCall<'_>, samples: Samples<'_>, out: &mut Vec<f64>) {
    out.clear();
    let windows = call.windows;
    let depends_on_step = matches!(call.function, Function::PredictLinear | Function::QuantileOverTime);
    if windows.fixed.is_some() && !depends_on_step {
        let once = Windows { steps: Steps { count: 1, ..windows.steps }, ..*windows };
        fill(&WindowCall { windows: &once, ..*call }, samples, out);
        let value = out[0];
        out.resize(windows.steps.count, value);
        return;
    }
    fill(call, samples, out);
}

fn fill(call: &WindowCall<'_>, samples: Samples<'_>, out: &mut Vec<f64>) {
    use Function as F;
    let (windows, Samples { times, values }) = (call.windows, samples);
    debug_assert_eq!(times.len(), values.len());
    out.reserve(windows.steps.count);
    match call.function {
        F::Rate => rate::extrapolated(Rise::Rate, windows, samples, out),
        F::Increase => rate::extrapolated(Rise::Increase, windows, samples, out),
        F::Delta => rate::extrapolated(Rise::Delta, windows, samples, out),
        F::Irate => slide(windows, times, out, |window| rate::of_last_two(true, window, samples)),
        F::Idelta => slide(windows, times, out, |window| rate::of_last_two(false, window, samples)),
        F::Changes => events::changes(windows, samples, out),
        F::Resets => events::resets(windows, samples, out),
        F::Deriv => slide(windows, times, out, |window| regression::slope(window, samples)),
        F::PredictLinear => slide(windows, times, out, |window| {
            regression::predicted(window, samples, windows.steps.at(window.step), call.scalars[0][window.step])
        }),
        F::MinOverTime => order::smallest(windows, samples, out),
        F::MaxOverTime => order::largest(windows, samples, out),
        F::QuantileOverTime => order::quantiles(&call.scalars[0], windows, samples, out),
        F::SumOverTime => reduce::sums(windows, samples, out),
        F::AvgOverTime => reduce::means(windows, samples, out),
        F::StdvarOverTime => slide(windows, times, out, |window| reduce::variance(window.of(values))),
        F::StddevOverTime => slide(windows, times, out, |window| reduce::variance(window.of(values)).sqrt()),
        F::CountOverTime => slide(windows, times, out, |window| (window.until - window.from) as f64),
        F::FirstOverTime => slide(windows, times, out, |window| values[window.from]),
        F::LastOverTime => slide(windows, times, out, |window| values[window.until - 1]),
        // Presence: the caller turns it around over all series of `absent_over_time`.
        F::PresentOverTime | F::AbsentOverTime => slide(windows, times, out, |_| 1.0),
        other => {
            debug_assert!(false, "{other:?} looks at no window");
            out.resize(windows.steps.count, NONE);
        }
    }
    debug_assert_eq!(out.len(), windows.steps.count);
}

/// Whether a result of the function keeps the metric's name.
pub(crate) fn keeps_name(function: Function) -> bool {
    matches!(function, Function::FirstOverTime | Function::LastOverTime)
}

/// What is to be said, as an info at the window's argument, of a series `metric` of which the function gave a value.
pub(crate) fn complaint(function: Function, metric: &str) -> Option<String> {
    let wants_counter = matches!(function, Function::Rate | Function::Increase);
    let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix));
    if !wants_counter || is_counter || metric.is_empty() {
        return None;
    }
    let metric = go_quoted(metric);
    Some(format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric}"))
}

/// What is to be said, as warnings at the first argument, once a series had the values `out`.
pub(crate) fn warnings(call: &WindowCall<'_>, out: &[f64]) -> Vec<String> {
    if call.function != Function::QuantileOverTime {
        return Vec::new();
    }
    let mut said = Vec::new();
    for (phi, _) in call.scalars[0].iter().zip(out).filter(|(_, value)| !is_none(**value)) {
        said.extend(quantile::complaint(*phi).filter(|message| said.last() != Some(message)));
    }
    said
}

// === impl Windows ===

impl Windows {
    /// Where the window of a step ends.
    fn end_ms(&self, step: usize) -> i64 {
        self.fixed.unwrap_or_else(|| self.steps.at(step)).as_millis().saturating_sub(self.offset_ms)
    }

    /// The range in seconds, rounded as Go rounds a duration.
    fn range_seconds(&self) -> f64 {
        (self.range_ms / 1000) as f64 + (self.range_ms % 1000 * 1_000_000) as f64 / 1e9
    }
}

// === impl Window ===

impl Window {
    /// The part of the series that lies in it.
    fn of<T>(self, series: &[T]) -> &[T] {
        &series[self.from..self.until]
    }
}

// === helpers ===

/// Calls `each` for every window with samples, in order, and pushes a value for every step.
fn slide(windows: &Windows, times: &[i64], out: &mut Vec<f64>, mut each: impl FnMut(Window) -> f64) {
    let (mut from, mut until) = (0, 0);
    for step in 0..windows.steps.count {
        let end_ms = windows.end_ms(step);
        let after_ms = end_ms.saturating_sub(windows.range_ms);
        until += times[until..].iter().take_while(|time| **time <= end_ms).count();
        from += times[from..].iter().take_while(|time| **time <= after_ms).count();
        debug_assert!(from <= until, "a window ends where it begins or later");
        out.push(if from == until { NONE } else { each(Window { step, from, until, after_ms, end_ms }) });
    }
}
