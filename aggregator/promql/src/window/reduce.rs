//! A window's values made into one: sum, mean, variance.
//!
//! A sum adds the values in the order of time, as Prometheus does. Where a window is large and moves by little, that is
//! the same work over and over, so sums of whole blocks are kept:
//!
//! ```text
//! samples   ····|········|········|········|···      blocks of 64, each added up once, with what rounding took from it
//! window      (··|········|········|··]              single samples at the ends, whole blocks between them
//! ```
//! A block's loss is carried on with its sum, so accuracy is that of adding one by one; at most the last bit differs.

use super::{Window, Windows, slide};
use crate::kahan::{KahanSum, Mean};
use crate::select::Samples;

/// Samples of a block: a window of a day of a sample each 10 s is then 135 blocks and at most 126 samples.
const BLOCK: usize = 64;

/// From so many samples on a window is added up by blocks. An hour of a sample each 10 s stays below: there the last bit
/// is Prometheus's.
const LARGE: usize = 512;

/// Sums of a window that moves.
struct Sums<'v> {
    values: &'v [f64],
    /// Of `BLOCK` samples each, from the first one of the series on; none until a large window comes.
    blocks: Vec<KahanSum>,
}

pub(super) fn sums(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut sums = Sums { values: samples.values, blocks: Vec::new() };
    slide(windows, samples.times, out, |window| sums.of(window).value());
}

pub(super) fn means(windows: &Windows, samples: Samples<'_>, out: &mut Vec<f64>) {
    let mut sums = Sums { values: samples.values, blocks: Vec::new() };
    slide(windows, samples.times, out, |window| {
        let (total, count) = (sums.of(window), (window.until - window.from) as f64);
        if total.sum.is_finite() {
            return total.sum / count + total.lost / count;
        }
        let mut mean = Mean::default();
        for value in window.of(samples.values) {
            mean.add(*value);
        }
        mean.value()
    });
}

/// Welford's: mean and squares move together, so that a large mean does not swallow a small variance.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, KahanSum::default(), KahanSum::default());
    for value in values {
        count += 1.0;
        let off = value - mean.value();
        mean.add(off / count);
        squares.add(off * (value - mean.value()));
    }
    squares.value() / count
}

// === impl Sums ===

impl Sums<'_> {
    fn of(&mut self, window: Window) -> KahanSum {
        let values = window.of(self.values);
        if values.len() < LARGE {
            return sum(values);
        }
        let by_blocks = self.by_blocks(window);
        // What is not finite depends on the order: infinities meet, or a sum overflows on its way.
        if by_blocks.sum.is_finite() { by_blocks } else { sum(values) }
    }

    fn by_blocks(&mut self, window: Window) -> KahanSum {
        if self.blocks.is_empty() {
            self.blocks.extend(self.values.chunks_exact(BLOCK).map(sum));
        }
        let (first, last) = (window.from.div_ceil(BLOCK), window.until / BLOCK);
        let mut total = sum(&self.values[window.from..first * BLOCK]);
        for block in &self.blocks[first..last] {
            total.add(block.sum);
            total.lost += block.lost;
        }
        for value in &self.values[last * BLOCK..window.until] {
            total.add(*value);
        }
        total
    }
}

fn sum(values: &[f64]) -> KahanSum {
    let mut sum = KahanSum::default();
    for value in values {
        sum.add(*value);
    }
    sum
}
