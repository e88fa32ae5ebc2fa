//! `histogram_quantile` and `histogram_fraction` on classic histograms: series of one label `le` each, that count what
//! was observed up to its value.
//!
//! ```text
//! le          0.1      0.5      1      +Inf
//! count        2        8       9       10      cumulative
//!          0 ——┴— — — ——┴———————┴— — — ——       the quantile is found on the straight line inside a bucket
//! ```
//! The rules are those of prometheus `promql/quantile.go`, and so are the answers for histograms that are none.

use super::Context;
use super::calendar;
use crate::grid::{Grid, NONE, Row, is_none};
use crate::quote::go_quoted;
use crate::{LabelSet, gotext, quantile};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The label that says up to where a bucket counts.
const LE: &str = "le";

/// Counts that differ by no more than this fraction differ by rounding alone.
const TOLERANCE: f64 = 1e-12;

/// What was observed up to `upper`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// A histogram: its labels without `le` and, ascending, its buckets' series.
struct Histogram<'a> {
    labels: LabelSet,
    rows: Vec<(f64, &'a Row)>,
}

/// Buckets that counted less than the one below them, over all steps and histograms of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Falls {
    histograms: u64,
    lowest: f64,
    highest: f64,
    largest: f64,
    first_ms: i64,
    last_ms: i64,
}

pub(super) fn quantile(phis: &[f64], rows: &Grid, context: &mut Context<'_, '_>) -> Grid {
    let mut last = 0.5;
    for phi in phis {
        if phi.to_bits() != f64::to_bits(last) {
            last = *phi;
            if let Some(message) = quantile::complaint(*phi) {
                context.notes.warn(&message, context.span_of_argument(0));
            }
        }
    }
    let mut falls = Falls::NONE;
    let result = each_histogram(rows, 1, context, |step, buckets, context| {
        let at_ms = context.steps.at(step).as_millis();
        bucket_quantile(phis[step], buckets, |lowest, highest, largest| falls.add(at_ms, lowest, highest, largest))
    });
    if falls.histograms > 0 {
        context.notes.info(&falls.message(), context.span_of_argument(1));
    }
    result
}

pub(super) fn fraction(lower: &[f64], upper: &[f64], rows: &Grid, context: &mut Context<'_, '_>) -> Grid {
    each_histogram(rows, 2, context, |step, buckets, _| bucket_fraction(lower[step], upper[step], buckets))
}

/// `of` each histogram's buckets at each step, sorted, at least one; `argument` is where the rows come from.
fn each_histogram(
    rows: &Grid,
    argument: usize,
    context: &mut Context<'_, '_>,
    mut of: impl FnMut(usize, &mut Vec<Bucket>, &Context<'_, '_>) -> f64,
) -> Grid {
    let mut buckets = Vec::new();
    let mut result = Vec::new();
    for Histogram { labels, rows } in histograms(rows, argument, context) {
        let mut values = Vec::with_capacity(context.steps.count);
        for step in 0..context.steps.count {
            buckets.clear();
            let present = rows.iter().map(|(upper, row)| Bucket { upper: *upper, count: row.values[step] });
            buckets.extend(present.filter(|bucket| !is_none(bucket.count)));
            values.push(if buckets.is_empty() { NONE } else { of(step, &mut buckets, context) });
        }
        result.push(Row { labels: labels.without_name(), values });
    }
    result
}

/// The rows by their labels without `le`, the name included; rows without a usable `le` are told and left out.
fn histograms<'a>(rows: &'a Grid, argument: usize, context: &mut Context<'_, '_>) -> Vec<Histogram<'a>> {
    let mut groups: BTreeMap<LabelSet, Vec<(f64, &Row)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.has_values()) {
        let le = row.labels.get(LE);
        if let Some(upper) = bound(le) {
            groups.entry(row.labels.retain(|name| name != LE)).or_default().push((upper, row));
        } else {
            let le = go_quoted(le);
            let message = format!("bucket label \"le\" is missing or has a malformed value of {le}");
            context.notes.warn(&message, context.span_of_argument(argument));
        }
    }
    let sorted = groups.into_iter().map(|(labels, mut rows)| {
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        Histogram { labels, rows }
    });
    sorted.collect()
}

/// The number of an `le`. Rust reads decimal numbers as Go does, but for what is too large and for the sign of NaN.
fn bound(le: &str) -> Option<f64> {
    let value: f64 = le.parse().ok()?;
    let is_word = le.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'));
    let is_signed_nan = value.is_nan() && le.starts_with(['+', '-']);
    let is_too_large = value.is_infinite() && !is_word;
    (!is_signed_nan && !is_too_large).then_some(value)
}

/// The φ-quantile of a histogram's buckets; `falls` is told of counts that had to be lifted.
fn bucket_quantile(phi: f64, buckets: &mut Vec<Bucket>, mut falls: impl FnMut(f64, f64, f64)) -> f64 {
    if phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    merge_equal(buckets);
    if let Some((lowest, highest, largest)) = lift(buckets) {
        falls(lowest, highest, largest);
    }
    let top = buckets.len() - 1;
    let observed = buckets[top].count;
    if top == 0 || observed == 0.0 {
        return f64::NAN;
    }
    let rank = phi * observed;
    let hit = buckets[..top].partition_point(|bucket| bucket.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    if hit == top {
        return buckets[top - 1].upper;
    }
    let Bucket { upper, count } = buckets[hit];
    if hit == 0 {
        // Below the first bucket lies 0, unless that bucket does.
        return if upper <= 0.0 { upper } else { upper * (rank / count) };
    }
    let below = buckets[hit - 1];
    below.upper + (upper - below.upper) * ((rank - below.count) / (count - below.count))
}

/// Which part of what was observed lies between `lower` and `upper`.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    merge_equal(buckets);
    let observed = buckets[buckets.len() - 1].count;
    if observed == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / observed
}

/// How much was observed below `value`, on the straight line inside its bucket, and never more than all.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let observed = buckets[buckets.len() - 1].count;
    let mut low = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        if low >= value {
            break;
        }
        if bucket.upper > value {
            // From minus infinity there is no straight line: all of the bucket counts.
            let is_open = low == f64::NEG_INFINITY;
            let part = rank + (bucket.count - rank) * (value - low) / (bucket.upper - low);
            rank = if is_open { bucket.count } else { part };
            break;
        }
        (low, rank) = (bucket.upper, bucket.count);
    }
    if rank > observed { observed } else { rank }
}

/// Makes one of buckets with the same bound; those are neighbours.
fn merge_equal(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, own| {
        let is_same = next.upper == own.upper;
        if is_same {
            own.count += next.count;
        }
        is_same
    });
}

/// Makes the counts ascend: differences that come from rounding are taken out, falls are lifted to the bucket below. Gives
/// the lowest and the highest bound of a fallen bucket and the largest fall, if there was one.
fn lift(buckets: &mut [Bucket]) -> Option<(f64, f64, f64)> {
    let mut falls: Option<(f64, f64, f64)> = None;
    let mut reached = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if is_almost_equal(reached, bucket.count) {
            bucket.count = reached;
        } else if bucket.count < reached {
            let (lowest, _, largest) = falls.unwrap_or((bucket.upper, bucket.upper, 0.0));
            falls = Some((lowest, bucket.upper, f64::max(largest, reached - bucket.count)));
            bucket.count = reached;
        } else {
            reached = bucket.count;
        }
    }
    falls
}

fn is_almost_equal(a: f64, b: f64) -> bool {
    if a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

// === impl Falls ===

impl Falls {
    const NONE: Self = Self {
        histograms: 0,
        lowest: f64::INFINITY,
        highest: f64::NEG_INFINITY,
        largest: 0.0,
        first_ms: i64::MAX,
        last_ms: i64::MIN,
    };

    fn add(&mut self, at_ms: i64, lowest: f64, highest: f64, largest: f64) {
        self.histograms += 1;
        self.lowest = self.lowest.min(lowest);
        self.highest = self.highest.max(highest);
        self.largest = self.largest.max(largest);
        self.first_ms = self.first_ms.min(at_ms);
        self.last_ms = self.last_ms.max(at_ms);
    }

    fn message(&self) -> String {
        format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), \
             from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            gotext::general(self.lowest),
            gotext::general(self.highest),
            gotext::general_of_two_digits(self.largest),
            self.histograms,
            calendar::text(self.first_ms / 1000),
            calendar::text(self.last_ms / 1000),
        )
    }
}
