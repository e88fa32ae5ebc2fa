//! What an evaluation may cost: samples, time, depth. Each limit is met, and each has its error.

mod store;

use promql::{
    Answer, EvalError, Interrupt, LabelSet, Limits, OPERATORS_MAX, Range, Samples, Select, SelectError, Selection,
    Value,
};
use proto::sample::Timestamp;
use std::cell::Cell;
use std::ops::ControlFlow;
use store::Store;

/// Three series `x` with a sample every 10 s from 0 to 100 s.
fn store() -> Store {
    let series = |host: &str| {
        let labels = LabelSet::from_pairs([("__name__", "x"), ("host", host)]);
        let times: Vec<i64> = (0..=10).map(|index| index * 10_000).collect();
        let values = times.iter().map(|time| *time as f64).collect();
        (labels, times, values)
    };
    Store(["a", "b", "c"].map(series).into())
}

fn at_once(text: &str, samples: usize) -> Result<Answer, EvalError> {
    let query = promql::parse(text).expect(text);
    query.instant(&store(), Timestamp::from_millis(100_000), &Limits { samples, ..Limits::default() })
}

/// From 0 to 100 s every 10 s.
fn over(text: &str, samples: usize) -> Result<Answer, EvalError> {
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(100_000), 10_000).expect("a range");
    promql::parse(text).expect(text).range(&store(), range, &Limits { samples, ..Limits::default() })
}

/// With `least` samples it is answered, with one less it is not.
fn needs(text: &str, least: usize, ask: impl Fn(&str, usize) -> Result<Answer, EvalError>) {
    ask(text, least).unwrap_or_else(|error| panic!("{text} with {least}: {error}"));
    let error = ask(text, least - 1).expect_err(text);
    assert!(matches!(error, EvalError::TooManySamples), "{text}: {error}");
    assert_eq!(error.to_string(), "query processing would load too many samples into memory in query execution");
}

#[test]
fn samples_in_memory_are_counted_as_prometheus_counts_them() {
    needs("x", 3, at_once);
    // Each step has three.
    needs("x", 33, over);
    // The window of a series, what comes of it, and what came of those before it.
    needs("count_over_time(x[50s])", 8, at_once);
    needs("x[50s]", 15, at_once);
    // Both sides, what a step takes of each, and the result.
    needs("x + x", 15, at_once);
    // What `@` repeats is there at each step.
    needs("x @ 0", 33, over);
    // An aggregate's series are there before it is.
    needs("sum(x)", 3, at_once);
    needs("sum(x)", 33, over);
    // A subquery's samples are there while a function looks at them.
    needs("max_over_time(x[50s:10s])", 23, at_once);
}

#[test]
fn what_an_argument_needed_is_free_again_when_it_is_gone() {
    // One aggregate after another: 3 for the first, then 1 and 3 for the second.
    needs("sum(x) + on () sum(x)", 5, at_once);
}

#[test]
fn cells_that_hold_nothing_have_a_limit_too() {
    // No series at all, but 6 * 10^12 steps.
    let error = at_once("count_over_time(nothing[10000w:1ms])", 50_000_000).expect_err("too many steps");
    assert!(matches!(error, EvalError::TooManySamples), "{error}");
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(i64::MAX), 1).expect("a range");
    for text in ["nothing", "1", "sum(nothing) + time()"] {
        let error = promql::parse(text).expect(text).range(&store(), range, &Limits::default()).expect_err(text);
        assert!(matches!(error, EvalError::TooManySamples), "{text}: {error}");
    }
}

#[test]
fn samples_looked_at_are_those_of_each_window_at_each_step() {
    let seen = |answer: Result<Answer, EvalError>| answer.expect("no limit is met").samples;
    assert_eq!(seen(at_once("x", 1000)), 3);
    assert_eq!(seen(over("x", 1000)), 33);
    assert_eq!(seen(at_once("sum_over_time(x[50s])", 1000)), 15);
    // One at 0 s, two at 10 s, … five from 40 s on.
    assert_eq!(seen(over("sum_over_time(x[50s])", 1000)), 3 * (1 + 2 + 3 + 4 + 7 * 5));
    assert_eq!(seen(over("sum_over_time(x[50s] @ 100)", 1000)), 3 * 5 * 11);
    // Those of the window, not those of which they were made.
    assert_eq!(seen(at_once("sum_over_time(sum(x)[50s:10s])", 1000)), 5);
    assert_eq!(seen(over("1 + 1", 1000)), 0);
}

#[test]
fn an_evaluation_stops_when_it_is_told_to_wherever_it_is() {
    let texts =
        ["x", "sum(x)", "rate(x[1m])", "x + x", "topk(1, x)", "quantile(0.5, x)", "max_over_time(x[1m:10s])", "1"];
    for text in texts {
        let asked = Cell::new(0);
        let never = || {
            asked.set(asked.get() + 1);
            None
        };
        let query = promql::parse(text).expect(text);
        let at = Timestamp::from_millis(100_000);
        query.instant(&store(), at, &Limits { interrupt: &never, ..Limits::default() }).expect(text);
        let all = asked.get();
        let series = if text.contains('x') { 3 } else { 0 };
        assert!(all > series, "{text}: asked {all} times, once a node and once a series");
        for stop_at in 0..all {
            let asked = Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                (asked.get() > stop_at).then_some(Interrupt::Cancelled)
            };
            let error = query.instant(&store(), at, &Limits { interrupt: &stop, ..Limits::default() }).expect_err(text);
            assert!(matches!(error, EvalError::Cancelled), "{text}: {error}");
            assert_eq!(asked.get(), stop_at + 1, "{text}: went on after it was told to stop");
        }
    }
    let late = || Some(Interrupt::Timeout);
    let limits = Limits { interrupt: &late, ..Limits::default() };
    let error = promql::parse("x").expect("a query").instant(&store(), Timestamp::ZERO, &limits).expect_err("late");
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
}

#[test]
fn the_longest_chains_and_the_deepest_brackets_are_evaluated() {
    let many = |link: &str| format!("1{}", link.repeat(OPERATORS_MAX - 1));
    let (sum, sets) = (many(" + 1"), format!("x{}", " or x".repeat(OPERATORS_MAX - 1)));
    assert_eq!(at_once(&sum, 100).expect("a long sum").value, Value::Scalar(Timestamp::from_millis(100_000), 1000.0));
    assert!(matches!(at_once(&sets, 100).expect("a long chain").value, Value::Vector(points) if points.len() == 3));
    let brackets = format!("{}x{}", "(".repeat(90), ")".repeat(90));
    assert!(matches!(over(&brackets, 100).expect("deep").value, Value::Matrix(lines) if lines.len() == 3));
    // What nests to the right may be refused by the parser, but must not end the process.
    for deep in [
        many(" ^ 1"),
        format!("{}x", "-".repeat(OPERATORS_MAX - 1)),
        format!("{}x{}", "abs(".repeat(90), ")".repeat(90)),
    ] {
        if let Ok(query) = promql::parse(&deep) {
            query.instant(&store(), Timestamp::from_millis(100_000), &Limits::default()).expect("deep");
        }
    }
}

#[test]
fn only_numbers_and_vectors_have_ranges() {
    for (text, kind) in [("x[5m]", "range vector"), ("\"text\"", "string"), ("x[5m:]", "range vector")] {
        let error = over(text, 1000).expect_err(text);
        assert!(matches!(error, EvalError::NoRange(_)), "{text}: {error}");
        let message = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
        assert_eq!(error.to_string(), message);
    }
}

/// A storage that has gone away.
struct Gone;

impl Select for Gone {
    fn select(
        &self,
        _: &Selection<'_>,
        _: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        Err(SelectError::new("the disk is gone"))
    }
}

#[test]
fn a_storage_that_fails_is_an_error_that_names_the_selector() {
    for text in ["y{a=\"1\"}", "sum(rate(y{a=\"1\"}[5m]))", "y{a=\"1\"}[5m]"] {
        let error = promql::parse(text).expect(text).instant(&Gone, Timestamp::ZERO, &Limits::default());
        match error.expect_err(text) {
            EvalError::Select { selector, source } => {
                assert!(selector.starts_with("y{a=\"1\"}"), "{selector}");
                assert_eq!(source.to_string(), "the disk is gone");
            }
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn a_long_window_is_given_up_between_its_steps() {
    let asked = Cell::new(0);
    let interrupt = || {
        asked.set(asked.get() + 1);
        (asked.get() > 20).then_some(Interrupt::Timeout)
    };
    let limits = Limits { interrupt: &interrupt, ..Limits::default() };
    let query = promql::parse("stddev_over_time(vector(1)[20000s:1s])").expect("a query");
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(10_000_000), 1_000).expect("a range");
    let error = query.range(&store(), range, &limits).expect_err("it looks at 200 million samples");
    assert!(matches!(error, EvalError::Timeout), "{error}");
}

#[test]
fn a_window_that_is_done_in_parts_gives_what_it_gives_whole() {
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(9_000_000), 1_500_000).expect("a range");
    let text = "quantile_over_time(scalar(vector(time() / 1e7)), (vector(time()) % 17)[2000000s:1s])";
    let query = promql::parse(text).expect("a query");
    let whole = query.range(&store(), range, &Limits::default()).expect("it is answered");
    let Value::Matrix(lines) = whole.value else { panic!("a matrix") };
    for (at, value) in &lines[0].points {
        let alone = query.instant(&store(), *at, &Limits::default()).expect("it is answered");
        let Value::Vector(points) = alone.value else { panic!("a vector") };
        assert_eq!(points[0].value, *value, "{at}");
    }
    assert_eq!(lines[0].points.len(), 7);
}

#[test]
fn what_waits_for_its_other_side_leaves_less_room_for_it() {
    // Each side fits alone: three rows of 100,001 steps. Sixty of them do not.
    let nested = |depth: usize| format!("{}x{}", "x or on (nothing) (".repeat(depth), ")".repeat(depth));
    let ask = |depth: usize| {
        let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(100_000), 1).expect("a range");
        promql::parse(&nested(depth)).expect("a query").range(
            &store(),
            range,
            &Limits { samples: 2_000_000, ..Limits::default() },
        )
    };
    ask(1).expect("two sides of three hundred thousand");
    assert!(matches!(ask(60), Err(EvalError::TooManySamples)));
}

#[test]
fn pairs_are_counted_before_they_are_made() {
    let text = "count_values(\"a\", vector(time())) * on() group_left(b) count_values(\"b\", vector(time()))";
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(2_000_000), 1_000).expect("a range");
    let answer = promql::parse(text).expect("a query").range(
        &store(),
        range,
        &Limits { samples: 4_000_000, ..Limits::default() },
    );
    assert!(matches!(answer, Err(EvalError::TooManySamples)), "four million pairs of two thousand steps");
}
