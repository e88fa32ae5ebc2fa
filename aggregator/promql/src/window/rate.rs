//! `rate`, `increase`, `delta`: how much a series rose in a window, carried on to the window's ends; `irate` and
//! `idelta`: what its last two samples say.
//!
//! ```text
//! (——•————•————•————•——]      up to 1.1 mean gaps from an end: carried on to the end
//! (————————————•————•——]      further: carried on by half a gap only, the series begins or ends there
//! ```
//! A counter is not carried on to below zero. Source of the rules: prometheus `promql/functions.go`, `extrapolatedRate`.

use super::events::Events;
use super::{Window, Windows, slide};
use crate::grid::NONE;
use crate::select::Samples;

/// What is asked of the rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rise {
    /// Of a counter, per second.
    Rate,
    /// Of a counter.
    Increase,
    /// Of a gauge.
    Delta,
}

/// How close a sample must be to an end for the series to reach it, in mean gaps.
const THRESHOLD: f64 = 1.1;

pub(super) fn extrapolated(kind: Rise, windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let Samples { times, values } = samples;
    let range_seconds = windows.range_seconds();
    let mut resets = Events::new(values, |before, after| after < before);
    slide(windows, times, out, |window| {
        if window.until - window.from < 2 {
            return NONE;
        }
        let (first, last) = (values[window.from], values[window.until - 1]);
        let mut rise = last - first;
        if kind != Rise::Delta {
            // A counter that fell began anew: what it had reached is added, in the order of time.
            rise = resets.within(window).iter().fold(rise, |rise, index| rise + values[index - 1]);
        }
        let mut factor = stretch(kind, window, times, first, rise);
        if kind == Rise::Rate {
            factor /= range_seconds;
        }
        rise * factor
    });
}

/// By how much longer the stretch is that the rise is carried on to, than that between the first and the last sample.
fn stretch(kind: Rise, window: Window, times: &[i64], first: f64, rise: f64) -> f64 {
    let (first_ms, last_ms) = (times[window.from], times[window.until - 1]);
    let sampled = seconds(last_ms - first_ms);
    let gap = sampled / (window.until - window.from - 1) as f64;
    let threshold = gap * THRESHOLD;
    let mut to_start = seconds(first_ms - window.after_ms);
    let mut to_end = seconds(window.end_ms - last_ms);
    if to_start >= threshold {
        to_start = gap / 2.0;
    }
    if kind != Rise::Delta && rise > 0.0 && first >= 0.0 {
        let to_zero = sampled * (first / rise);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = gap / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// The last difference; of a counter per second, and of one that fell the last value.
pub(super) fn of_last_two(is_rate: bool, window: Window, samples: Samples<'_>) -> f64 {
    if window.until - window.from < 2 {
        return NONE;
    }
    let (before, last) = (window.until - 2, window.until - 1);
    let (old, new) = (samples.values[before], samples.values[last]);
    let rise = if is_rate && new < old { new } else { new - old };
    if is_rate { rise / seconds(samples.times[last] - samples.times[before]) } else { rise }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
