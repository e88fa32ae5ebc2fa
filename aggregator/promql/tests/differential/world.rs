//! Series by chance: counters that fall, gauges, histograms, flags, times; with gaps, ends, infinities and NaN.
//!
//! No sample lies at a left edge of anything that is asked: their milliseconds are odd, while times, ranges and steps have
//! even ones. There, and only there, Prometheus 3 looks at other samples than Prometheus 2.

use crate::store::Store;
use fastrand::Rng;
use promql::{LabelSet, METRIC_NAME};
use proto::sample::STALE;

/// When the first samples are; a whole number of minutes.
pub const START_MS: i64 = 1_699_999_980_000;

/// How long there are samples.
pub const SPAN_MS: i64 = 150 * 60_000;

/// What is sent at a time.
pub const SLICE_MS: i64 = 10 * 60_000;

/// Where a large counter begins. It falls to a third each time, so that what it rises by in a window, what it has after the
/// fall included, is less than what it has at the window's begin.
const COUNTER_FIRST: f64 = 300_000.0;

/// Series, ordered by when they begin (to a slice), as a Prometheus that is fed with them has them.
pub struct World {
    pub store: Store,
}

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Whole numbers that rise; falls now and then, but stays so far above 0 that `rate` does not reach it.
    Counter,
    /// Whole numbers that rise from 0, and begin anew there now and then.
    SmallCounter,
    /// A number that wanders; no two are equal.
    Gauge,
    /// Whole numbers around 0, some of them no numbers.
    Level,
    /// 0 or 1.
    Flag,
    /// A time in seconds.
    Time,
}

impl World {
    /// The world of a seed.
    pub fn of(rng: &mut Rng) -> Self {
        let mut series = Vec::new();
        for job in ["api", "web", "db.x"] {
            for instance in ["0", "1", "2"] {
                if rng.u8(..8) == 0 {
                    continue;
                }
                let place = [("job", job), ("instance", instance)];
                for code in ["200", "404", "500"] {
                    if rng.u8(..3) > 0 {
                        series.push(one(
                            rng,
                            "requests_total",
                            &[&place[..], &[("code", code)]].concat(),
                            Shape::Counter,
                        ));
                    }
                }
                series.push(one(rng, "errors_total", &place, Shape::SmallCounter));
                series.push(one(rng, "temperature", &place, Shape::Gauge));
                series.push(one(rng, "level", &place, Shape::Level));
                series.push(one(rng, "up", &place, Shape::Flag));
                if rng.bool() {
                    series.extend(histogram(rng, &place));
                }
            }
            series.push(one(rng, "deployed_seconds", &[("job", job)], Shape::Time));
            series.push(one(rng, "limit", &[("job", job), ("owner", "ops")], Shape::Gauge));
        }
        series.retain(|(_, times, _)| !times.is_empty());
        series.sort_by_key(|(_, times, _)| (times[0] - START_MS) / SLICE_MS);
        Self { store: Store(series) }
    }

    /// The times of the first and the last sample, the first down to a slice.
    pub fn ends_ms(&self) -> (i64, i64) {
        let last = self.store.0.iter().filter_map(|(_, times, _)| times.last().copied()).max();
        (START_MS, last.unwrap_or(START_MS))
    }

    pub fn samples(&self) -> usize {
        self.store.0.iter().map(|(_, times, _)| times.len()).sum()
    }
}

// === helpers ===

type Series = (LabelSet, Vec<i64>, Vec<f64>);

fn labels(name: &str, pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied().chain([(METRIC_NAME, name)]))
}

/// Times with an irregular interval and gaps of more than the lookback.
fn times(rng: &mut Rng) -> Vec<i64> {
    let interval = [15_000, 30_000, 60_000, 97_000][rng.usize(..4)];
    let mut at = START_MS + if rng.u8(..4) == 0 { rng.i64(0..SPAN_MS / 2) } else { rng.i64(0..interval) };
    let end = START_MS + if rng.u8(..6) == 0 { SPAN_MS / 2 } else { SPAN_MS };
    let mut times = Vec::new();
    while at < end {
        times.push(at | 1);
        at += match rng.u8(..60) {
            0 => rng.i64(300_000..1_200_000),
            1..=6 => interval * 2,
            _ => interval + rng.i64(-2_000..2_000),
        };
    }
    times
}

fn one(rng: &mut Rng, name: &str, pairs: &[(&str, &str)], shape: Shape) -> Series {
    let times = times(rng);
    let mut state = match shape {
        Shape::Counter => COUNTER_FIRST,
        Shape::SmallCounter => 0.0,
        _ => rng.f64() * 40.0,
    };
    let values = times.iter().map(|at| value(rng, shape, &mut state, *at));
    let values = values.collect();
    (labels(name, pairs), times, values)
}

fn value(rng: &mut Rng, shape: Shape, state: &mut f64, at: i64) -> f64 {
    if rng.u8(..80) == 0 {
        return STALE;
    }
    match shape {
        Shape::Counter | Shape::SmallCounter => {
            *state = match rng.u8(..200) {
                0 if shape == Shape::Counter => (*state / 3.0).floor(),
                0..=3 if shape == Shape::SmallCounter => f64::from(rng.u8(..9)),
                4..=40 => *state,
                _ => *state + f64::from(rng.u8(..60)),
            };
            *state
        }
        Shape::Gauge => {
            *state += rng.f64() * 3.0 - 1.5;
            *state
        }
        Shape::Level => match rng.u8(..60) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            _ => f64::from(rng.i8(-4..9)),
        },
        Shape::Flag => f64::from(u8::from(rng.u8(..10) > 1)),
        Shape::Time => ((at / 1000) - rng.i64(0..40_000_000)) as f64,
    }
}

/// Buckets that are scraped together; their counts ascend but where the histogram begins anew.
fn histogram(rng: &mut Rng, place: &[(&str, &str)]) -> Vec<Series> {
    const BOUNDS: [&str; 5] = ["0.1", "0.5", "1", "2.5", "+Inf"];
    let times = times(rng);
    let mut counts = [COUNTER_FIRST; BOUNDS.len()];
    let mut values: [Vec<f64>; BOUNDS.len()] = Default::default();
    for _ in &times {
        if rng.u8(..200) == 0 {
            counts = counts.map(|count| (count / 3.0).floor());
        }
        let mut more = 0.0;
        for (count, values) in counts.iter_mut().zip(&mut values) {
            more += f64::from(rng.u8(..7));
            *count += more;
            values.push(*count);
        }
    }
    let series = BOUNDS.iter().zip(values);
    series
        .map(|(le, values)| (labels("latency_bucket", &[place, &[("le", le)]].concat()), times.clone(), values))
        .collect()
}
