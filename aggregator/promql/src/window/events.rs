//! What happens between neighbouring samples: resets of counters, changes. Each is found once, when the window reaches
//! it, and forgotten when the window leaves it behind.

use super::{Window, Windows, slide};
use crate::select::Samples;

/// The events inside a window that moves forward.
pub(super) struct Events<'v, F> {
    values: &'v [f64],
    is_event: F,
    /// Indexes of the later one of the two samples, ascending; those before `head` are gone.
    found: Vec<usize>,
    head: usize,
    /// Samples up to here were looked at.
    seen: usize,
}

pub(super) fn resets(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut resets = Events::new(samples.values, |before, after| after < before);
    slide(windows, samples.times, out, |window| resets.within(window).len() as f64);
}

pub(super) fn changes(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let differs = |before: f64, after: f64| before != after && !(before.is_nan() && after.is_nan());
    let mut changes = Events::new(samples.values, differs);
    slide(windows, samples.times, out, |window| changes.within(window).len() as f64);
}

// === impl Events ===

impl<'v, F: Fn(f64, f64) -> bool> Events<'v, F> {
    /// Events of `values`: where `is_event` is true of a sample and the next one.
    pub fn new(values: &'v [f64], is_event: F) -> Self {
        Self { values, is_event, found: Vec::new(), head: 0, seen: 0 }
    }

    /// Those whose both samples lie in the window.
    pub fn within(&mut self, window: Window) -> &[usize] {
        for index in self.seen.max(window.from + 1)..window.until {
            if (self.is_event)(self.values[index - 1], self.values[index]) {
                self.found.push(index);
            }
        }
        self.seen = self.seen.max(window.until);
        self.head += self.found[self.head..].iter().take_while(|index| **index <= window.from).count();
        &self.found[self.head..]
    }
}
