//! Tables, and the law: each function gives what a twin gives that looks at each window anew, written from the
//! functions' description without regard to cost.

use super::*;
use proptest::prelude::*;

/// A series of which nothing is assumed.
#[derive(Clone, Debug)]
struct Series {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Series {
    fn every(step_ms: i64, values: &[f64]) -> Self {
        let times = (0..).step_by(usize::try_from(step_ms).unwrap()).take(values.len()).collect();
        Self { times, values: values.to_vec() }
    }

    fn samples(&self) -> Samples<'_> {
        Samples { times: &self.times, values: &self.values }
    }
}

fn once(at_ms: i64, range_ms: i64) -> Windows {
    Windows { steps: Steps::once(Timestamp::from_millis(at_ms)), range_ms, offset_ms: 0, fixed: None }
}

fn run(function: Function, scalars: &[Vec<f64>], windows: &Windows, series: &Series) -> Vec<f64> {
    let mut out = vec![7.0; 3];
    over_windows(&WindowCall { function, scalars, windows }, series.samples(), &mut out);
    out
}

fn one(function: Function, windows: &Windows, series: &Series) -> f64 {
    run(function, &[], windows, series)[0]
}

/// Equal, both NaN, both none, or apart by rounding alone.
fn is_close(a: f64, b: f64) -> bool {
    if is_none(a) || is_none(b) {
        return is_none(a) && is_none(b);
    }
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

// === tables ===

#[test]
fn a_window_is_open_at_its_left_and_closed_at_its_right() {
    let series = Series::every(10_000, &[1.0, 2.0, 3.0, 4.0]);
    for (at, range, want) in
        [(20_000, 10_000, 1.0), (20_000, 20_000, 2.0), (20_000, 20_001, 3.0), (29_999, 10_000, 1.0)]
    {
        assert_eq!(one(Function::CountOverTime, &once(at, range), &series), want, "{at} {range}");
    }
    assert!(is_none(one(Function::CountOverTime, &once(-1, 10_000), &series)));
    assert!(is_none(one(Function::SumOverTime, &once(40_000, 10_000), &series)));
}

#[test]
fn a_rise_is_carried_on_to_near_ends_and_by_half_a_gap_to_far_ones() {
    let series = Series::every(10_000, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    // Samples at 10 … 50: 10 s to the left end, 0 s to the right one.
    assert_eq!(one(Function::Increase, &once(50_000, 50_000), &series), 50.0);
    assert_eq!(one(Function::Rate, &once(50_000, 50_000), &series), 1.0);
    // Samples at 0 … 50: the ends are 30 s away, so half a gap, but a counter that was 0 is not carried below it.
    assert!(is_close(one(Function::Delta, &once(80_000, 110_000), &series), 60.0));
    assert!(is_close(one(Function::Increase, &once(80_000, 110_000), &series), 55.0));
    // A counter of 10 reaches zero a gap earlier; half a gap is closer.
    let late = Series { times: series.times[1..].to_vec(), values: series.values[1..].to_vec() };
    assert!(is_close(one(Function::Increase, &once(80_000, 110_000), &late), 50.0));
    assert!(is_none(one(Function::Rate, &once(50_000, 10_000), &series)), "one sample says nothing");
}

#[test]
fn the_threshold_is_a_tenth_more_than_a_gap() {
    let series = Series::every(10_000, &[100.0, 200.0, 300.0]);
    // 10.999 s to the right end: to the end. 11 s: half a gap.
    assert!(is_close(
        one(Function::Delta, &once(30_999, 30_999), &series),
        100.0 * (30_999.0 - 10_000.0 + 10_000.0) / 10_000.0
    ));
    assert!(is_close(one(Function::Delta, &once(31_000, 31_000), &series), 250.0));
}

#[test]
fn a_counter_that_fell_began_anew() {
    let series = Series::every(10_000, &[5.0, 10.0, 3.0, 4.0, 1.0, 2.0]);
    assert_eq!(one(Function::Resets, &once(50_000, 60_000), &series), 2.0);
    assert_eq!(one(Function::Changes, &once(50_000, 60_000), &series), 5.0);
    // 5 + 3 + 1 + 1 + 1 over 50 s, carried on by 10 s; zero lies further away than the window's start.
    assert!(is_close(one(Function::Increase, &once(50_000, 60_000), &series), 11.0 * 60.0 / 50.0));
    assert_eq!(one(Function::Irate, &once(40_000, 60_000), &series), 0.1, "after a fall the last value is the rise");
    assert_eq!(one(Function::Idelta, &once(40_000, 60_000), &series), -3.0);
    assert_eq!(one(Function::Irate, &once(30_000, 60_000), &series), 0.1);
}

#[test]
fn nan_is_no_extreme_and_no_second_change() {
    let series = Series::every(10_000, &[f64::NAN, f64::NAN, 1.0, f64::NAN, 3.0, f64::NAN]);
    let all = once(50_000, 60_000);
    assert_eq!((one(Function::MinOverTime, &all, &series), one(Function::MaxOverTime, &all, &series)), (1.0, 3.0));
    assert_eq!((one(Function::Changes, &all, &series), one(Function::Resets, &all, &series)), (4.0, 0.0));
    let first_two = once(10_000, 60_000);
    assert!(
        one(Function::MinOverTime, &first_two, &series).is_nan() && one(Function::SumOverTime, &all, &series).is_nan()
    );
    assert!(one(Function::LastOverTime, &all, &series).is_nan());
    assert_eq!(
        (one(Function::PresentOverTime, &all, &series), one(Function::CountOverTime, &all, &series)),
        (1.0, 6.0)
    );
}

#[test]
fn a_line_is_found_and_a_level_one_is_exact() {
    let series = Series::every(10_000, &[0.0, 10.0, 20.0, 30.0]);
    assert!(is_close(one(Function::Deriv, &once(30_000, 60_000), &series), 1.0));
    let ahead = |seconds: f64, windows: &Windows| run(Function::PredictLinear, &[vec![seconds; 2]], windows, &series);
    assert!(is_close(ahead(60.0, &once(30_000, 60_000))[0], 90.0));
    // With an offset the line is of the past, and yet "ahead" counts from the evaluation.
    let past = Windows { offset_ms: 10_000, ..once(30_000, 60_000) };
    assert!(is_close(ahead(60.0, &past)[0], 90.0));
    let fixed = Windows {
        steps: Steps { first: Timestamp::from_millis(30_000), step_ms: 60_000, count: 2 },
        fixed: Some(Timestamp::from_millis(20_000)),
        ..once(0, 60_000)
    };
    let values = ahead(0.0, &fixed);
    assert!(is_close(values[0], 30.0) && is_close(values[1], 90.0), "{values:?}");
    let level = Series::every(10_000, &[0.1; 5]);
    assert_eq!(one(Function::Deriv, &once(40_000, 60_000), &level), 0.0);
    let infinite = Series::every(10_000, &[f64::INFINITY; 5]);
    assert!(one(Function::Deriv, &once(40_000, 60_000), &infinite).is_nan());
    assert!(is_none(one(Function::Deriv, &once(0, 60_000), &series)));
}

#[test]
fn a_small_spread_on_a_large_mean_is_seen() {
    let series = Series::every(10_000, &[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0, 1e9 + 4.0]);
    let all = once(30_000, 60_000);
    assert_eq!(one(Function::StdvarOverTime, &all, &series), 1.25);
    assert_eq!(one(Function::StddevOverTime, &all, &series), 1.25_f64.sqrt());
    let sum = Series::every(10_000, &[1.0, 1e100, 1.0, -1e100]);
    assert_eq!((one(Function::SumOverTime, &all, &sum), one(Function::AvgOverTime, &all, &sum)), (2.0, 0.5));
}

#[test]
fn only_what_asks_for_a_counter_complains() {
    let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"http_requests\"";
    for function in [Function::Rate, Function::Increase] {
        assert_eq!(complaint(function, "http_requests").as_deref(), Some(text));
        assert_eq!(complaint(function, ""), None);
        for good in ["x_total", "x_sum", "x_count", "x_bucket"] {
            assert_eq!(complaint(function, good), None);
        }
    }
    for function in [Function::Irate, Function::Delta, Function::Resets] {
        assert_eq!(complaint(function, "http_requests"), None);
    }
    assert!(
        keeps_name(Function::FirstOverTime) && keeps_name(Function::LastOverTime) && !keeps_name(Function::MaxOverTime)
    );
}

#[test]
fn a_phi_out_of_range_warns_where_there_are_samples() {
    let series = Series::every(10_000, &[1.0, 2.0]);
    let windows = Windows { steps: Steps { first: Timestamp::ZERO, step_ms: 10_000, count: 3 }, ..once(0, 5_000) };
    let scalars = [vec![2.0, 0.5, -1.0]];
    let call = WindowCall { function: Function::QuantileOverTime, scalars: &scalars, windows: &windows };
    let values = run(Function::QuantileOverTime, &scalars, &windows, &series);
    assert_eq!(values[..2], [f64::INFINITY, 2.0]);
    assert!(is_none(values[2]));
    assert_eq!(warnings(&call, &values), ["quantile value should be between 0 and 1, got 2"]);
}

// === the twin ===

/// Whether the function needs to be exact to the last bit against the twin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Judge {
    Exact,
    Close,
}

fn twin(function: Function, windows: &Windows, phi: f64, series: &Series) -> Vec<f64> {
    let steps = windows.steps.iter().map(|at| {
        let end = windows.fixed.unwrap_or(at).as_millis() - windows.offset_ms;
        let start = end - windows.range_ms;
        let inside = series.times.iter().zip(&series.values).filter(|(time, _)| (start + 1..=end).contains(*time));
        let samples: Vec<(i64, f64)> = inside.map(|(time, value)| (*time, *value)).collect();
        if samples.is_empty() { NONE } else { of_window(function, &samples, start, end, at.as_millis(), phi) }
    });
    steps.collect()
}

fn of_window(function: Function, samples: &[(i64, f64)], start: i64, end: i64, now: i64, phi: f64) -> f64 {
    use Function as F;
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    let pairs = || values.windows(2).map(|pair| (pair[0], pair[1]));
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let numbers = || values.iter().copied().filter(|value| !value.is_nan());
    match function {
        F::CountOverTime => count,
        F::PresentOverTime => 1.0,
        F::FirstOverTime => values[0],
        F::LastOverTime => values[values.len() - 1],
        F::SumOverTime => values.iter().sum(),
        F::AvgOverTime => mean,
        F::StdvarOverTime => variance,
        F::StddevOverTime => variance.sqrt(),
        F::MinOverTime => numbers().reduce(f64::min).unwrap_or(f64::NAN),
        F::MaxOverTime => numbers().reduce(f64::max).unwrap_or(f64::NAN),
        F::QuantileOverTime => quantile::of(phi, &mut values.clone()),
        F::Changes => pairs().filter(|(a, b)| !(a == b || (a.is_nan() && b.is_nan()))).count() as f64,
        F::Resets => pairs().filter(|(a, b)| b < a).count() as f64,
        _ if values.len() < 2 => NONE,
        F::Rate | F::Increase | F::Delta => rise(function, samples, start, end),
        F::Irate | F::Idelta => {
            let [(t1, v1), (t2, v2)] = samples[samples.len() - 2..] else { unreachable!() };
            match (function, v2 < v1) {
                (F::Irate, true) => v2 / ((t2 - t1) as f64 / 1000.0),
                (F::Irate, false) => (v2 - v1) / ((t2 - t1) as f64 / 1000.0),
                _ => v2 - v1,
            }
        }
        F::Deriv | F::PredictLinear => {
            let seconds = |time: i64| (time - samples[0].0) as f64 / 1000.0;
            let x_mean = samples.iter().map(|(time, _)| seconds(*time)).sum::<f64>() / count;
            let (mut xy, mut xx) = (0.0, 0.0);
            for (time, value) in samples {
                xy += (seconds(*time) - x_mean) * (value - mean);
                xx += (seconds(*time) - x_mean) * (seconds(*time) - x_mean);
            }
            let slope = xy / xx;
            if function == F::Deriv { slope } else { mean + slope * (seconds(now) + phi - x_mean) }
        }
        other => unreachable!("{other:?}"),
    }
}

/// As the documentation of `rate` and the comments on its extrapolation describe it.
fn rise(function: Function, samples: &[(i64, f64)], start: i64, end: i64) -> f64 {
    let is_counter = function != Function::Delta;
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let mut rise = last.1 - first.1;
    for pair in samples.windows(2) {
        if is_counter && pair[1].1 < pair[0].1 {
            rise += pair[0].1;
        }
    }
    let covered = (last.0 - first.0) as f64 / 1000.0;
    let gap = covered / (samples.len() - 1) as f64;
    let reach = |distance_ms: i64| {
        let distance = distance_ms as f64 / 1000.0;
        if distance < gap * 1.1 { distance } else { gap / 2.0 }
    };
    let mut before = reach(first.0 - start);
    if is_counter && rise > 0.0 && first.1 >= 0.0 {
        before = before.min(covered * (first.1 / rise));
    }
    let mut factor = (covered + before + reach(end - last.0)) / covered;
    if function == Function::Rate {
        factor /= (end - start) as f64 / 1000.0;
    }
    rise * factor
}

const ANY_VALUES: [(Function, Judge); 15] = [
    (Function::CountOverTime, Judge::Exact),
    (Function::PresentOverTime, Judge::Exact),
    (Function::FirstOverTime, Judge::Exact),
    (Function::LastOverTime, Judge::Exact),
    (Function::MinOverTime, Judge::Exact),
    (Function::MaxOverTime, Judge::Exact),
    (Function::QuantileOverTime, Judge::Exact),
    (Function::Changes, Judge::Exact),
    (Function::Resets, Judge::Exact),
    (Function::Increase, Judge::Exact),
    (Function::Delta, Judge::Exact),
    (Function::Irate, Judge::Exact),
    (Function::Idelta, Judge::Exact),
    (Function::SumOverTime, Judge::Close),
    (Function::AvgOverTime, Judge::Close),
];

const NUMBERS: [(Function, Judge); 5] = [
    (Function::Rate, Judge::Close),
    (Function::StdvarOverTime, Judge::Close),
    (Function::StddevOverTime, Judge::Close),
    (Function::Deriv, Judge::Close),
    (Function::PredictLinear, Judge::Close),
];

/// Samples that are `least_ms` apart at least: a line through two that are a millisecond apart says nothing of a time far
/// away, whoever calculates it.
fn series(value: impl Strategy<Value = f64>, least_ms: i64) -> impl Strategy<Value = Series> {
    let gap = prop_oneof![4 => Just(10_000_i64), 1 => least_ms..30_000, 1 => Just(120_000_i64)];
    proptest::collection::vec((gap, value), 0..60).prop_map(|samples| {
        let mut time = 0;
        let times = samples.iter().map(|(gap, _)| {
            time += gap;
            time
        });
        Series { times: times.collect(), values: samples.iter().map(|(_, value)| *value).collect() }
    })
}

fn odd_values() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0_i32..6).prop_map(f64::from),
        1 => Just(f64::NAN), 1 => Just(-f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(-0.0), 1 => Just(0.1),
    ]
}

prop_compose! {
    fn windows()(
        first in -60_000_i64..300_000, step_ms in prop_oneof![Just(10_000_i64), 1_i64..100_000], count in 1_usize..40,
        range_ms in prop_oneof![Just(60_000_i64), 1_i64..400_000], offset_ms in -60_000_i64..60_000,
        fixed in proptest::option::weighted(0.2, 0_i64..300_000),
    ) -> Windows {
        let steps = Steps { first: Timestamp::from_millis(first), step_ms, count };
        Windows { steps, range_ms, offset_ms, fixed: fixed.map(Timestamp::from_millis) }
    }
}

fn judge(functions: &[(Function, Judge)], windows: &Windows, phi: f64, series: &Series) -> Result<(), TestCaseError> {
    for (function, judge) in functions {
        let got = run(*function, &[vec![phi; windows.steps.count]], windows, series);
        let want = twin(*function, windows, phi, series);
        prop_assert_eq!(got.len(), want.len());
        for (step, (got, want)) in got.into_iter().zip(want).enumerate() {
            let is_equal = is_none(got) == is_none(want) && (got == want || (got.is_nan() && want.is_nan()));
            let is_good = if *judge == Judge::Exact { is_equal } else { is_close(got, want) };
            prop_assert!(is_good, "{function:?} step {step}: {got} is not {want}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_that_move_give_what_each_gives_alone(windows in windows(), phi in -0.1_f64..1.1, series in series(odd_values(), 1)) {
        judge(&ANY_VALUES, &windows, phi, &series)?;
    }

    #[test]
    fn windows_of_numbers_give_what_each_gives_alone(windows in windows(), phi in 0.0_f64..100.0, series in series(-50.0_f64..1e3, 1_000)) {
        judge(&NUMBERS, &windows, phi, &series)?;
    }

    /// By blocks or one by one: whole numbers have no rounding, so the sum is exact.
    #[test]
    fn sums_of_large_windows_are_exact(
        count in 500_usize..1_500, range in 1_i64..2_000, seed in 1_i64..1_000, large in 0_u32..60, odd in proptest::option::of(0_usize..1_500),
    ) {
        let small = |index: i128| (index * 7_919 * i128::from(seed)) % 1_000 - 500;
        let whole = |index: i128| if index % 97 == 0 { 1 << large } else { small(index) };
        let wholes: Vec<i128> = (0_i128..).map(whole).take(count).collect();
        let mut values: Vec<f64> = wholes.iter().map(|whole| *whole as f64).collect();
        if let Some(odd) = odd {
            values[odd % count] = if odd % 2 == 0 { f64::INFINITY } else { f64::NAN };
        }
        let series = Series::every(1_000, &values);
        let steps = Steps { first: Timestamp::ZERO, step_ms: 250_000, count: 6 };
        let windows = Windows { steps, range_ms: range * 1_000, offset_ms: 0, fixed: None };
        let (sums, means) = (run(Function::SumOverTime, &[], &windows, &series), run(Function::AvgOverTime, &[], &windows, &series));
        for (step, (sum, mean)) in sums.into_iter().zip(means).enumerate() {
            let until = count.min(step * 250 + 1);
            let range = until.min((step * 250 + 1).saturating_sub(usize::try_from(range).unwrap()))..until;
            let inside = &values[range.clone()];
            if inside.is_empty() {
                prop_assert!(is_none(sum) && is_none(mean));
                continue;
            }
            let odd = inside.iter().copied().find(|value| !value.is_finite());
            let truth = odd.unwrap_or_else(|| wholes[range].iter().sum::<i128>() as f64);
            prop_assert!(sum == truth || (sum.is_nan() && truth.is_nan()), "{} is not {}", sum, truth);
            prop_assert!(is_close(mean, truth / inside.len() as f64), "{} is not {} / {}", mean, truth, inside.len());
        }
    }
}
