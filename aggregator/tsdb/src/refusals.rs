//! Who is refused most, in bounded memory however many names there are.
//!
//! The method of Metwally, Agrawal and El Abbadi ("space saving", 2005): so many counters, and a name without one takes
//! over the smallest, count and all. A name that was refused more often than total ÷ counters therefore always has one,
//! and each count is at most `over` too high.

use std::collections::BTreeMap;

/// A metric and how often series of it were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedMetric {
    /// The metric's name.
    pub metric: Box<str>,
    /// How often, at the most.
    pub count: u64,
    /// By how much `count` may be too high.
    pub over: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    metrics: Vec<RefusedMetric>,
    by_reason: BTreeMap<&'static str, u64>,
}

/// Counters: of the ten worst that are shown, each that makes up a hundredth of all is certainly among them.
pub const REFUSED_METRICS_MAX: usize = 100;

// === impl Refusals ===

impl Refusals {
    pub(crate) fn add(&mut self, metric: &str, reason: &'static str) {
        *self.by_reason.entry(reason).or_default() += 1;
        if let Some(known) = self.metrics.iter_mut().find(|known| &*known.metric == metric) {
            known.count += 1;
            return;
        }
        if self.metrics.len() < REFUSED_METRICS_MAX {
            self.metrics.push(RefusedMetric { metric: metric.into(), count: 1, over: 0 });
        } else if let Some(least) = self.metrics.iter_mut().min_by_key(|known| known.count) {
            *least = RefusedMetric { metric: metric.into(), count: least.count + 1, over: least.count };
        }
    }

    /// By reason, exactly.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.by_reason.iter().map(|(&reason, &count)| (reason, count))
    }

    /// In all, exactly.
    pub fn total(&self) -> u64 {
        self.by_reason.values().sum()
    }

    /// The `n` worst, the worst first.
    pub fn top(&self, n: usize) -> Vec<RefusedMetric> {
        let mut worst = self.metrics.clone();
        worst.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.metric.cmp(&b.metric)));
        worst.truncate(n);
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn counts_are_bounded_from_both_sides_and_the_frequent_are_there(
            names in proptest::collection::vec(0..400_u32, 1..3_000), loud in 0..400_u32,
        ) {
            let (mut refusals, mut exact) = (Refusals::default(), HashMap::<String, u64>::new());
            for (at, name) in names.iter().enumerate() {
                let name = if at % 10 == 0 { loud } else { *name }.to_string();
                refusals.add(&name, if at % 2 == 0 { "even" } else { "odd" });
                *exact.entry(name).or_default() += 1;
            }
            prop_assert_eq!(refusals.total(), names.len() as u64);
            let top = refusals.top(usize::MAX);
            prop_assert!(top.len() <= REFUSED_METRICS_MAX);
            for RefusedMetric { metric, count, over } in &top {
                let truth = exact[&**metric];
                prop_assert!(count - over <= truth && truth <= *count);
            }
            for (name, count) in exact {
                let is_there = top.iter().any(|known| *known.metric == name);
                prop_assert!(is_there || count <= refusals.total() / REFUSED_METRICS_MAX as u64);
            }
        }
    }
}
