//! Smallest, largest and quantiles of a window that moves forward, without looking at all its values each time.

use super::{Window, Windows, slide};
use crate::quantile;
use crate::select::Samples;

/// The first of the greatest values of a window, where "greater" is `beats`.
///
/// Kept are the samples that may still become it: each is beaten by all before it, so the front is the answer.
struct Extreme<'v, F> {
    values: &'v [f64],
    beats: F,
    /// Indexes, ascending; those before `head` are gone.
    kept: Vec<usize>,
    head: usize,
    /// Samples up to here were looked at.
    seen: usize,
}

/// The values of a window in order.
struct Sorted<'v> {
    values: &'v [f64],
    ordered: Vec<f64>,
    from: usize,
    until: usize,
}

/// When more than one in so many values changes, sorting anew is cheaper than moving them one by one.
const RESORT_FRACTION: usize = 8;

pub(super) fn smallest(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut extreme = Extreme::new(samples.values, |new, old| new < old);
    slide(windows, samples.times, out, |window| extreme.of(window));
}

pub(super) fn largest(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut extreme = Extreme::new(samples.values, |new, old| new > old);
    slide(windows, samples.times, out, |window| extreme.of(window));
}

/// The `phis[step]`-quantile of each window.
pub(super) fn quantiles(phis: &[f64], windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut sorted = Sorted { values: samples.values, ordered: Vec::new(), from: 0, until: 0 };
    slide(windows, samples.times, out, |window| quantile::of_sorted(phis[window.step], sorted.of(window)));
}

// === impl Extreme ===

impl<'v, F: Fn(f64, f64) -> bool> Extreme<'v, F> {
    fn new(values: &'v [f64], beats: F) -> Self {
        Self { values, beats, kept: Vec::new(), head: 0, seen: 0 }
    }

    fn of(&mut self, window: Window) -> f64 {
        for index in self.seen.max(window.from)..window.until {
            let value = self.values[index];
            if value.is_nan() {
                continue;
            }
            while self.kept[self.head..].last().is_some_and(|last| (self.beats)(value, self.values[*last])) {
                self.kept.pop();
            }
            self.kept.push(index);
        }
        self.seen = self.seen.max(window.until);
        self.head += self.kept[self.head..].iter().take_while(|index| **index < window.from).count();
        // NaN counts only where there is nothing else.
        self.values[self.kept.get(self.head).copied().unwrap_or(window.until - 1)]
    }
}

// === impl Sorted ===

impl Sorted<'_> {
    fn of(&mut self, window: Window) -> &[f64] {
        let is_apart = window.from >= self.until;
        let changed = (window.from - self.from) + (window.until - self.until);
        if is_apart || changed * RESORT_FRACTION > window.until - window.from {
            self.ordered.clear();
            self.ordered.extend_from_slice(window.of(self.values));
            self.ordered.sort_unstable_by(|a, b| quantile::order(*a, *b));
        } else {
            for value in &self.values[self.from..window.from] {
                let place = self.ordered.binary_search_by(|own| quantile::order(*own, *value));
                self.ordered.remove(place.expect("what the window leaves was put in when it came"));
            }
            for value in &self.values[self.until..window.until] {
                let (Ok(place) | Err(place)) = self.ordered.binary_search_by(|own| quantile::order(*own, *value));
                self.ordered.insert(place, *value);
            }
        }
        (self.from, self.until) = (window.from, window.until);
        &self.ordered
    }
}
