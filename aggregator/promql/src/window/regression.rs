//! `deriv` and `predict_linear`: the straight line that is closest to a window's samples (least squares).

use super::Window;
use crate::grid::NONE;
use crate::kahan::KahanSum;
use crate::select::Samples;
use proto::sample::Timestamp;

/// A straight line.
struct Line {
    /// Per second.
    slope: f64,
    /// Its height at the time that was given.
    height: f64,
}

pub(super) fn slope(window: Window, samples: Samples<'_>) -> f64 {
    if window.until - window.from < 2 {
        return NONE;
    }
    // Any time near the samples will do; far from them precision is lost.
    line(window, samples, samples.times[window.from]).slope
}

/// The height of the line `ahead_seconds` after the time of evaluation.
pub(super) fn predicted(window: Window, samples: Samples<'_>, now: Timestamp, ahead_seconds: f64) -> f64 {
    if window.until - window.from < 2 {
        return NONE;
    }
    let line = line(window, samples, now.as_millis());
    line.slope * ahead_seconds + line.height
}

fn line(window: Window, samples: Samples<'_>, origin_ms: i64) -> Line {
    let (times, values) = (window.of(samples.times), window.of(samples.values));
    if values.iter().all(|value| *value == values[0]) {
        // Level, without the rounding of what follows.
        let is_infinite = values[0].is_infinite();
        return if is_infinite {
            Line { slope: f64::NAN, height: f64::NAN }
        } else {
            Line { slope: 0.0, height: values[0] }
        };
    }
    let (mut x_sum, mut y_sum) = (KahanSum::default(), KahanSum::default());
    let (mut xy_sum, mut xx_sum) = (KahanSum::default(), KahanSum::default());
    for (time, y) in times.iter().zip(values) {
        let x = time.saturating_sub(origin_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let count = values.len() as f64;
    let (x_sum, y_sum) = (x_sum.value(), y_sum.value());
    let covariance = xy_sum.value() - x_sum * y_sum / count;
    let variance = xx_sum.value() - x_sum * x_sum / count;
    let slope = covariance / variance;
    Line { slope, height: y_sum / count - slope * x_sum / count }
}
