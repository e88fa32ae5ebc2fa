//! Tables and laws of the functions that look at no window.

use super::*;
use crate::expr::{Selector, Shift};
use crate::grid::NONE;
use crate::notes::Notes;
use crate::{MatchOp, Matcher};
use proptest::prelude::*;
use proto::sample::Timestamp;

fn expr(node: Node, start: usize) -> Expr {
    Expr { node, span: Span { start, end: start + 1 } }
}

fn steps(count: usize) -> Steps {
    Steps { first: Timestamp::from_millis(60_000), step_ms: 60_000, count }
}

/// Calls a function whose arguments begin at the columns 11, 21, …
fn run_with_notes(function: Function, args: Vec<Arg>, count: usize) -> (Result<Arg, EvalError>, Notes) {
    let text = " ".repeat(60);
    let places = (0..args.len()).map(|index| expr(Node::Text(String::new()), index * 10 + 10)).collect();
    let node = expr(Node::Call { function, args: places }, 0);
    let mut notes = Noter::new(&text);
    let result = call(function, args, &mut Context { steps: steps(count), call: &node, notes: &mut notes });
    (result, notes.finish())
}

fn rows(function: Function, args: Vec<Arg>, count: usize) -> Grid {
    match run_with_notes(function, args, count).0 {
        Ok(Arg::Vector(rows)) => rows,
        other => panic!("{other:?} is no vector"),
    }
}

fn row<const N: usize>(labels: [(&str, &str); N], values: &[f64]) -> Row {
    Row { labels: LabelSet::from_pairs(labels), values: values.to_vec() }
}

fn of_one(function: Function, value: f64, scalars: &[f64]) -> f64 {
    let vector = Arg::Vector(vec![row([("__name__", "m")], &[value])]);
    let args = std::iter::once(vector).chain(scalars.iter().map(|value| Arg::Scalar(vec![*value])));
    rows(function, args.collect(), 1)[0].values[0]
}

fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan() && is_none(a) == is_none(b))
}

// === of each value ===

#[test]
fn each_function_of_a_number_is_that_function() {
    use Function as F;
    let pi = std::f64::consts::PI;
    let cases = [
        (F::Abs, -2.0, 2.0),
        (F::Ceil, 1.2, 2.0),
        (F::Floor, -1.2, -2.0),
        (F::Exp, 0.0, 1.0),
        (F::Sqrt, 9.0, 3.0),
        (F::Ln, 1.0, 0.0),
        (F::Log2, 1024.0, 10.0),
        (F::Log10, 1000.0, 3.0),
        (F::Deg, pi, 180.0),
        (F::Rad, 180.0, pi),
        (F::Sin, 0.0, 0.0),
        (F::Cos, 0.0, 1.0),
        (F::Tan, 0.0, 0.0),
        (F::Asin, 1.0, pi / 2.0),
        (F::Acos, 1.0, 0.0),
        (F::Atan, 0.0, 0.0),
        (F::Sinh, 0.0, 0.0),
        (F::Cosh, 0.0, 1.0),
        (F::Tanh, 0.0, 0.0),
        (F::Asinh, 0.0, 0.0),
        (F::Acosh, 1.0, 0.0),
        (F::Atanh, 0.0, 0.0),
        (F::Sgn, -3.0, -1.0),
        (F::Sgn, 3.0, 1.0),
        (F::Sgn, -0.0, -0.0),
        (F::Sgn, f64::NAN, f64::NAN),
        (F::Ln, -1.0, f64::NAN),
        (F::Ln, 0.0, f64::NEG_INFINITY),
        (F::Sqrt, -1.0, f64::NAN),
        (F::Abs, f64::NEG_INFINITY, f64::INFINITY),
        (F::Abs, -0.0, 0.0),
        (F::Ceil, -0.5, -0.0),
    ];
    for (function, value, want) in cases {
        let got = of_one(function, value, &[]);
        assert!(is_same(got, want), "{function:?} of {value} is {got}, not {want}");
    }
}

#[test]
fn no_nan_becomes_the_marker_of_no_value() {
    let negative_marker = f64::from_bits(NONE.to_bits() | 1 << 63);
    assert!(!is_none(of_one(Function::Abs, negative_marker, &[])));
}

#[test]
fn rounding_goes_to_the_nearest_multiple_and_halves_go_up() {
    let cases = [
        (2.5, 1.0, 3.0),
        (-2.5, 1.0, -2.0),
        (0.3, 0.1, 0.3),
        (17.0, 5.0, 15.0),
        (17.5, 5.0, 20.0),
        (1.24, 0.1, 1.2),
        (-0.0, 1.0, 0.0),
        (5.0, f64::INFINITY, f64::NAN),
        (f64::INFINITY, 1.0, f64::INFINITY),
    ];
    for (value, nearest, want) in cases {
        let got = of_one(Function::Round, value, &[nearest]);
        assert!((got - want).abs() < 1e-12 || is_same(got, want), "{value} to {nearest} is {got}, not {want}");
    }
    assert_eq!(of_one(Function::Round, 1.5, &[]), 2.0);
}

#[test]
fn clamping_follows_go_with_nan_and_gives_nothing_the_wrong_way_round() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases = [
        (Function::Clamp, 5.0, vec![0.0, 3.0], 3.0),
        (Function::Clamp, -5.0, vec![0.0, 3.0], 0.0),
        (Function::Clamp, 5.0, vec![4.0, 3.0], NONE),
        (Function::Clamp, nan, vec![0.0, 3.0], nan),
        (Function::Clamp, 5.0, vec![nan, 3.0], nan),
        (Function::Clamp, 5.0, vec![inf, nan], inf),
        (Function::ClampMin, -5.0, vec![0.0], 0.0),
        (Function::ClampMin, nan, vec![0.0], nan),
        (Function::ClampMin, 1.0, vec![nan], nan),
        (Function::ClampMax, 5.0, vec![0.0], 0.0),
        (Function::ClampMax, 5.0, vec![nan], nan),
        (Function::ClampMax, -inf, vec![nan], -inf),
    ];
    for (function, value, scalars, want) in cases {
        let got = of_one(function, value, &scalars);
        assert!(is_same(got, want), "{function:?} of {value} with {scalars:?} is {got}, not {want}");
    }
}

#[test]
fn the_name_is_dropped_and_what_has_no_value_keeps_none() {
    let vector = || Arg::Vector(vec![row([("__name__", "m"), ("a", "1")], &[4.0, NONE])]);
    for function in [Function::Sqrt, Function::Hour, Function::TimestampOf, Function::Round] {
        let got = rows(function, vec![vector()], 2);
        assert_eq!(got[0].labels, LabelSet::from_pairs([("a", "1")]), "{function:?}");
        assert!(!is_none(got[0].values[0]) && is_none(got[0].values[1]), "{function:?}");
    }
    assert_eq!(rows(Function::TimestampOf, vec![vector()], 2)[0].values[0], 60.0);
    for function in [
        Function::HistogramCount,
        Function::HistogramSum,
        Function::HistogramAvg,
        Function::HistogramStddev,
        Function::HistogramStdvar,
    ] {
        assert_eq!(rows(function, vec![vector()], 2), [], "{function:?}");
    }
}

#[test]
fn scalars_come_from_one_series_and_vectors_from_one_scalar() {
    let scalar = |rows: Grid| match run_with_notes(Function::ScalarOf, vec![Arg::Vector(rows)], 3).0 {
        Ok(Arg::Scalar(values)) => values,
        other => panic!("{other:?}"),
    };
    let got = scalar(vec![row([("a", "1")], &[1.0, 2.0, NONE]), row([("a", "2")], &[NONE, 3.0, NONE])]);
    assert_eq!(got[0], 1.0);
    assert!(got[1..].iter().all(|value| value.is_nan() && !is_none(*value)), "two values, and none");
    assert_eq!(scalar(vec![]).len(), 3);
    let vector = rows(Function::VectorOf, vec![Arg::Scalar(vec![1.0, f64::NAN])], 2);
    assert_eq!((vector[0].labels.clone(), vector[0].values[0]), (LabelSet::empty(), 1.0));
    assert_eq!(run_with_notes(Function::Time, vec![], 2).0.unwrap(), Arg::Scalar(vec![60.0, 120.0]));
    assert_eq!(run_with_notes(Function::Pi, vec![], 2).0.unwrap(), Arg::Scalar(vec![std::f64::consts::PI; 2]));
}

#[test]
fn sorting_puts_nan_last_both_ways_and_warns_over_a_range() {
    let values = [2.0, f64::NAN, f64::INFINITY, NONE, -1.0, f64::NEG_INFINITY];
    let vector = || values.iter().map(|value| row([("__name__", "m")], &[*value])).collect::<Grid>();
    let order =
        |function| rows(function, vec![Arg::Vector(vector())], 1).iter().map(|row| row.values[0]).collect::<Vec<_>>();
    let inf = f64::INFINITY;
    let up = order(Function::Sort);
    assert_eq!(up[..4], [-inf, -1.0, 2.0, inf]);
    let down = order(Function::SortDesc);
    assert_eq!(down[..4], [inf, 2.0, -1.0, -inf]);
    assert!(up.len() == 5 && up[4].is_nan() && down.len() == 5 && down[4].is_nan());
    let over_range = vec![row([("__name__", "m")], &[1.0, 2.0])];
    let (got, notes) = run_with_notes(Function::Sort, vec![Arg::Vector(over_range.clone())], 2);
    assert_eq!(got.unwrap(), Arg::Vector(over_range), "the name stays");
    let warning =
        "PromQL warning: sort is ineffective for range queries since results are always ordered by labels (1:1)";
    assert_eq!(notes.warnings.into_iter().collect::<Vec<_>>(), [warning]);
}

// === absent ===

fn selector(matchers: &[(&str, MatchOp, &str)]) -> Selector {
    let matchers = matchers.iter().map(|(name, op, value)| Matcher::try_new(name, *op, value).unwrap());
    Selector { name: Some("m".into()), is_name_in_braces: false, matchers: matchers.collect(), shift: Shift::default() }
}

#[test]
fn what_is_absent_has_the_labels_that_are_certain() {
    type Case<'a> = (&'a [(&'a str, MatchOp, &'a str)], &'a [(&'a str, &'a str)]);
    use MatchOp::{Equal, NotEqual, Regex};
    let cases: [Case<'_>; 7] = [
        (&[("job", Equal, "a"), ("x", Regex, "b.*"), ("y", NotEqual, "c")], &[("job", "a")]),
        (&[("job", Equal, "a"), ("job", Equal, "b"), ("foo", Equal, "bar")], &[("foo", "bar")]),
        (&[("job", Equal, "a"), ("job", Equal, "a")], &[]),
        (&[("job", Equal, "a"), ("job", NotEqual, "b")], &[]),
        (&[("job", NotEqual, "b"), ("job", Equal, "a")], &[("job", "a")]),
        (&[("__name__", Equal, "m"), ("__name__", Regex, "m.*")], &[]),
        (&[("job", Equal, "")], &[]),
    ];
    for (matchers, want) in cases {
        let want = LabelSet::from_pairs(want.iter().copied());
        let selector = selector(matchers);
        let select = expr(Node::Select(selector.clone()), 0);
        assert_eq!(absent_labels(&select), want, "{matchers:?}");
        assert_eq!(absent_labels(&expr(Node::Paren(Box::new(select)), 0)), want, "{matchers:?}");
        assert_eq!(absent_labels(&expr(Node::Window { selector, range_ms: 1 }, 0)), want, "{matchers:?}");
    }
    let select = expr(Node::Select(selector(&[("job", Equal, "a")])), 0);
    let subquery = Node::Subquery { inner: Box::new(select), range_ms: 1, step_ms: None, shift: Shift::default() };
    assert_eq!(absent_labels(&expr(subquery, 0)), LabelSet::empty());
}

#[test]
fn absence_is_judged_at_each_step() {
    let got = rows(
        Function::Absent,
        vec![Arg::Vector(vec![row([("a", "1")], &[1.0, NONE]), row([("a", "2")], &[f64::NAN, NONE])])],
        2,
    );
    assert_eq!((got.len(), got[0].labels.clone(), got[0].values[1]), (1, LabelSet::empty(), 1.0));
    assert!(is_none(got[0].values[0]));
    assert_eq!(rows(Function::Absent, vec![Arg::Vector(vec![])], 2)[0].values, [1.0, 1.0]);
}

// === dates ===

/// Year, month, day, weekday, day of the year, hour, minute, days of the month: said by Go 1.26 on x86.
#[test]
fn dates_are_those_of_go_whatever_the_number() {
    use Function as F;
    let smallest = [292_277_026_596.0, 12.0, 4.0, 0.0, 339.0, 15.0, 30.0, 31.0];
    let cases = [
        (f64::NAN, smallest),
        (f64::INFINITY, smallest),
        (f64::NEG_INFINITY, smallest),
        (1e19, smallest),
        (1e18, [31_688_740_476.0, 10.0, 23.0, 5.0, 297.0, 1.0, 46.0, 31.0]),
        (-1e18, [-31_688_736_537.0, 3.0, 10.0, 2.0, 69.0, 22.0, 13.0, 31.0]),
        (9.2e18, [291_536_396_232.0, 8.0, 31.0, 5.0, 244.0, 11.0, 33.0, 31.0]),
        (-9.2e18, [-291_536_392_293.0, 5.0, 3.0, 2.0, 123.0, 12.0, 26.0, 31.0]),
        (-62_135_596_800.0, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 31.0]),
        (253_402_300_800.0, [10_000.0, 1.0, 1.0, 6.0, 1.0, 0.0, 0.0, 31.0]),
        (-1.5, [1969.0, 12.0, 31.0, 3.0, 365.0, 23.0, 59.0, 31.0]),
        (1.5, [1970.0, 1.0, 1.0, 4.0, 1.0, 0.0, 0.0, 31.0]),
        (951_782_400.0, [2000.0, 2.0, 29.0, 2.0, 60.0, 0.0, 0.0, 29.0]),
    ];
    let functions = [F::Year, F::Month, F::DayOfMonth, F::DayOfWeek, F::DayOfYear, F::Hour, F::Minute, F::DaysInMonth];
    for (value, want) in cases {
        assert_eq!(functions.map(|function| of_one(function, value, &[])), want, "{value}");
    }
    let now = rows(Function::Minute, vec![], 2);
    assert_eq!(now, [row([], &[1.0, 2.0])], "without an argument, of the evaluation's time");
    assert_eq!(calendar::text(951_786_061), "2000-02-29T01:01:01Z");
}

#[test]
fn every_day_of_two_thousand_years_follows_the_day_before() {
    let length = |year: i64, month: u64| match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 400 == 0 || (year % 4 == 0 && year % 100 != 0) => 29,
        2 => 28,
        _ => 31,
    };
    // From 1 January 1400, a Wednesday.
    let first_day = -208_188;
    let (mut year, mut month, mut day, mut weekday, mut day_of_year) = (1400, 1, 1, 3, 1);
    for days in first_day..first_day + 730_485 {
        let at = calendar::Moment::of(days * 86_400 + 3_600);
        assert_eq!((at.year, at.month, at.day, at.weekday, at.second), (year, month, day, weekday, 3_600), "{days}");
        let of = |function| calendar::of_each(function).unwrap()(at);
        assert_eq!((of(Function::DayOfYear), of(Function::DaysInMonth)), (day_of_year, length(year, month)), "{days}");
        weekday = (weekday + 1) % 7;
        (day, day_of_year) = (day + 1, day_of_year + 1);
        if day > length(year, month) {
            (day, month) = (1, month + 1);
        }
        if month > 12 {
            (month, year, day_of_year) = (1, year + 1, 1);
        }
    }
}

// === classic histograms ===

fn buckets(counts: &[(&str, f64)]) -> Grid {
    counts.iter().map(|(le, count)| row([("__name__", "h_bucket"), ("a", "1"), ("le", le)], &[*count])).collect()
}

fn quantile_of(phi: f64, rows_of: Grid) -> (f64, Notes) {
    let (result, notes) =
        run_with_notes(Function::HistogramQuantile, vec![Arg::Scalar(vec![phi]), Arg::Vector(rows_of)], 1);
    let Ok(Arg::Vector(result)) = result else { panic!("no vector") };
    assert_eq!((result.len(), result[0].labels.clone()), (1, LabelSet::from_pairs([("a", "1")])));
    (result[0].values[0], notes)
}

#[test]
fn quantiles_of_buckets_follow_the_rules_of_their_edges() {
    let normal = || buckets(&[("0.1", 2.0), ("0.5", 8.0), ("1", 9.0), ("+Inf", 10.0)]);
    let cases = [
        (0.1, normal(), 0.05),
        (0.5, normal(), 0.1 + 0.4 * 0.5),
        (0.95, normal(), 1.0),
        (1.0, normal(), 1.0),
        (0.0, normal(), 0.0),
        (f64::NAN, normal(), f64::NAN),
        (-0.1, normal(), f64::NEG_INFINITY),
        (1.1, normal(), f64::INFINITY),
        // The first bucket's lower edge is 0, but of one below 0 the upper one is the answer.
        (0.1, buckets(&[("-1", 5.0), ("1", 10.0), ("+Inf", 10.0)]), -1.0),
        (0.75, buckets(&[("-1", 5.0), ("1", 10.0), ("+Inf", 10.0)]), 0.0),
        (0.1, buckets(&[("0", 5.0), ("+Inf", 10.0)]), 0.0),
        // No +Inf, +Inf alone, nothing observed.
        (0.5, buckets(&[("0.1", 2.0), ("1", 9.0)]), f64::NAN),
        (0.5, buckets(&[("+Inf", 9.0)]), f64::NAN),
        (0.5, buckets(&[("1", 0.0), ("+Inf", 0.0)]), f64::NAN),
        (0.5, buckets(&[("1", 0.0), ("Inf", 4.0)]), 1.0),
        // The same bound written twice is one bucket.
        (0.5, buckets(&[("1", 1.0), ("1.0", 1.0), ("2", 4.0), ("+Inf", 4.0)]), 1.0),
    ];
    for (phi, rows_of, want) in cases {
        let (got, notes) = quantile_of(phi, rows_of);
        assert!((got - want).abs() < 1e-12 || is_same(got, want), "{phi}: {got} is not {want}");
        assert!(notes.infos.is_empty());
        assert_eq!(notes.warnings.is_empty(), (0.0..=1.0).contains(&phi));
    }
}

#[test]
fn counts_that_fall_are_lifted_and_told() {
    let falling = buckets(&[("0.1", 2.0), ("1", 1.0), ("10", 5.0), ("100", 4.0), ("+Inf", 8.0)]);
    let (got, notes) = quantile_of(0.5, falling);
    assert_eq!(got, 1.0 + 9.0 * (2.0 / 3.0));
    let info = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets 1 to 100, \
                with a max diff of 1, over 1 samples from 1970-01-01T00:01:00Z to 1970-01-01T00:01:00Z (1:21)";
    assert_eq!(notes.infos.into_iter().collect::<Vec<_>>(), [info]);
    // Differences of rounding are not told, whichever way they go.
    for count in [5.0 - 1e-13, 5.0 + 1e-13] {
        let (got, notes) = quantile_of(0.9, buckets(&[("1", 5.0), ("2", count), ("+Inf", 5.0)]));
        assert_eq!((got, notes), (0.9, Notes::default()));
    }
}

#[test]
fn series_without_a_bound_are_told_and_left_out() {
    let mut rows_of = buckets(&[("1", 5.0), ("+Inf", 5.0)]);
    rows_of.extend(buckets(&[("1e999", 1.0), ("x", 1.0), ("", 1.0), ("gone", NONE)]));
    let (got, notes) = quantile_of(0.5, rows_of);
    assert_eq!(got, 0.5);
    let text = |le: &str| {
        format!("PromQL warning: bucket label \"le\" is missing or has a malformed value of \"{le}\" (1:21)")
    };
    assert_eq!(notes.warnings.into_iter().collect::<Vec<_>>(), [text(""), text("1e999"), text("x")]);
}

#[test]
fn histograms_are_told_apart_by_their_names_and_lose_them() {
    let mut two = buckets(&[("1", 5.0), ("+Inf", 5.0)]);
    two.extend(["1", "+Inf"].map(|le| row([("__name__", "other_bucket"), ("a", "1"), ("le", le)], &[8.0])));
    let got = rows(Function::HistogramQuantile, vec![Arg::Scalar(vec![0.5]), Arg::Vector(two)], 1);
    assert_eq!(got, vec![row([("a", "1")], &[0.5]); 2], "that there are two is for the evaluator to refuse");
}

#[test]
fn steps_are_judged_apart_and_falls_are_told_once() {
    let rows_of = vec![
        row([("le", "1")], &[4.0, 4.0, NONE]),
        row([("le", "2")], &[2.0, NONE, NONE]),
        row([("le", "+Inf")], &[4.0, 3.5, NONE]),
    ];
    let args = vec![Arg::Scalar(vec![0.5, 0.25, 2.0]), Arg::Vector(rows_of)];
    let (result, notes) = run_with_notes(Function::HistogramQuantile, args, 3);
    let Ok(Arg::Vector(result)) = result else { panic!("no vector") };
    assert_eq!(result[0].values[..2], [0.5, 0.25]);
    assert!(is_none(result[0].values[2]));
    assert!(notes.infos.first().is_some_and(|info| info.contains(
        "from buckets 2 to +Inf, with a max diff of 2, over 2 samples from 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z"
    )));
    assert_eq!(
        notes.warnings.into_iter().collect::<Vec<_>>(),
        ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:11)"]
    );
}

fn fraction_of(lower: f64, upper: f64, rows_of: Grid) -> f64 {
    let args = vec![Arg::Scalar(vec![lower]), Arg::Scalar(vec![upper]), Arg::Vector(rows_of)];
    rows(Function::HistogramFraction, args, 1)[0].values[0]
}

#[test]
fn fractions_of_buckets_follow_the_rules_of_their_edges() {
    let normal = || buckets(&[("0.1", 2.0), ("0.5", 8.0), ("1", 9.0), ("+Inf", 10.0)]);
    let below_zero = || buckets(&[("-1", 4.0), ("1", 8.0), ("+Inf", 10.0)]);
    let inf = f64::INFINITY;
    let cases = [
        (0.1, 0.5, normal(), 0.6),
        (0.0, 0.05, normal(), 0.1),
        (0.3, 0.75, normal(), 0.35),
        (-inf, inf, normal(), 1.0),
        (-inf, 0.5, normal(), 0.8),
        (1.0, inf, normal(), 0.1),
        (2.0, inf, normal(), 0.1),
        (0.5, 0.5, normal(), 0.0),
        (0.6, 0.5, normal(), 0.0),
        (f64::NAN, 1.0, normal(), f64::NAN),
        (-3.0, -2.0, below_zero(), 0.0),
        (-inf, -2.0, below_zero(), 0.4),
        (-1.0, 0.0, below_zero(), 0.2),
        (0.0, 1.0, buckets(&[("1", 1.0)]), f64::NAN),
        (0.0, 1.0, buckets(&[("1", 0.0), ("+Inf", 0.0)]), f64::NAN),
        (0.0, 1.0, buckets(&[("+Inf", 5.0)]), 0.0),
    ];
    for (lower, upper, rows_of, want) in cases {
        let got = fraction_of(lower, upper, rows_of);
        assert!((got - want).abs() < 1e-12 || is_same(got, want), "{lower} … {upper}: {got} is not {want}");
    }
}

prop_compose! {
    /// Buckets of whole counts: bounds in no order, counts in any.
    fn any_buckets()(bounds in proptest::collection::btree_set(-20_i32..20, 1..8), counts in proptest::collection::vec(0_u32..50, 9)) -> Vec<(f64, f64)> {
        let bounds = bounds.into_iter().map(|bound| f64::from(bound) / 4.0).chain([f64::INFINITY]);
        bounds.zip(counts.into_iter().map(f64::from)).collect()
    }
}

fn as_rows(buckets: &[(f64, f64)]) -> Grid {
    let rows = buckets.iter().rev().map(|(le, count)| row([("a", "1"), ("le", &crate::gotext::plain(*le))], &[*count]));
    rows.collect()
}

/// As the documentation says it: lift the counts, find the bucket by going up, go on along a straight line in it.
fn twin_quantile(phi: f64, buckets: &[(f64, f64)]) -> f64 {
    let mut counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).collect();
    for index in 1..counts.len() {
        counts[index] = counts[index].max(counts[index - 1]);
    }
    let all = counts[counts.len() - 1];
    if all == 0.0 {
        return f64::NAN;
    }
    let rank = phi * all;
    let hit = (0..counts.len() - 1).find(|index| counts[*index] >= rank);
    match hit {
        None => buckets[buckets.len() - 2].0,
        Some(0) if buckets[0].0 <= 0.0 => buckets[0].0,
        Some(0) => buckets[0].0 * rank / counts[0],
        Some(hit) => {
            let (low, high) = (buckets[hit - 1].0, buckets[hit].0);
            low + (high - low) * (rank - counts[hit - 1]) / (counts[hit] - counts[hit - 1])
        }
    }
}

proptest! {
    #[test]
    fn quantiles_of_buckets_are_those_of_a_plain_search(phi in 0.0_f64..=1.0, buckets in any_buckets()) {
        let (got, notes) = quantile_of(phi, as_rows(&buckets));
        let want = twin_quantile(phi, &buckets);
        prop_assert!((got - want).abs() <= 1e-9 || is_same(got, want), "{} is not {}", got, want);
        let falls = buckets.windows(2).any(|pair| pair[1].1 < pair[0].1);
        prop_assert_eq!(!notes.infos.is_empty(), falls);
    }

    /// Below the quantile lies the part that it is the quantile of, wherever the line in the bucket is not upright.
    #[test]
    fn a_fraction_turns_a_quantile_around(phi in 0.01_f64..0.99, growth in proptest::collection::vec(1_u32..9, 3..7)) {
        let mut count = 0;
        let bounds = (1..growth.len()).map(|bound| bound as f64).chain([f64::INFINITY]);
        let buckets: Vec<(f64, f64)> = bounds.zip(growth.iter().map(|more| { count += more; f64::from(count) })).collect();
        let (at, _) = quantile_of(phi, as_rows(&buckets));
        let is_inside = at < buckets[buckets.len() - 2].0;
        let fraction = fraction_of(f64::NEG_INFINITY, at, as_rows(&buckets));
        prop_assert!(!is_inside || (fraction - phi).abs() < 1e-9, "{} is not {}", fraction, phi);
    }

    #[test]
    fn parts_of_a_histogram_add_up(buckets in any_buckets(), a in -6.0_f64..6.0, b in -6.0_f64..6.0) {
        let (a, b) = (a.min(b), a.max(b));
        let inf = f64::INFINITY;
        let [below, between, above] = [(-inf, a), (a, b), (b, inf)].map(|(low, high)| fraction_of(low, high, as_rows(&buckets)));
        let is_ascending = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let all = buckets[buckets.len() - 1].1;
        prop_assert!(!is_ascending || all == 0.0 || (below + between + above - 1.0).abs() < 1e-9);
    }
}
