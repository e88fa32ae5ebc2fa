//! Plays the scripts of `cases/`, written in the language of Prometheus's `promqltest`, against a store that is a list.
//!
//! Understood: `clear` · `load 10s` with series in expanding notation (`1`, `_`, `stale`, `0+10x5`, `3x4`) ·
//! `eval instant at 50s EXPR` with the expected points, in any order · `eval_fail instant at 50s EXPR`.

use promql::{LOOKBACK, Matcher, Point, Select, SelectError};
use proto::name::{Labels, MetricName};
use proto::sample::{STALE, Timestamp, is_stale};
use std::time::Duration;

/// Every script with its text; a script that is not listed here does not run.
const SCRIPTS: [(&str, &str); 3] = [
    ("selectors", include_str!("cases/selectors.test")),
    ("staleness", include_str!("cases/staleness.test")),
    ("comparisons", include_str!("cases/comparisons.test")),
];

/// A series with its samples.
type Series = (MetricName, Labels, Vec<(Timestamp, f64)>);

#[derive(Default)]
struct Store(Vec<Series>);

impl Select for Store {
    fn select(
        &self,
        name: Option<&str>,
        matchers: &[Matcher],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<Point>, SelectError> {
        assert_eq!(lookback, LOOKBACK);
        let passes = |own: &MetricName, labels: &Labels| {
            name.is_none_or(|name| name == own.as_str()) && matchers.iter().all(|m| m.matches_series(own, labels))
        };
        let series = self.0.iter().filter(|(name, labels, _)| passes(name, labels));
        Ok(series
            .filter_map(|(name, labels, samples)| {
                let within = samples.iter().filter(|(time, _)| *time > at - lookback && *time <= at);
                let (_, value) = within.max_by_key(|(time, _)| *time)?;
                let point = Point { name: Some(name.clone()), labels: labels.clone(), value: *value };
                (!is_stale(*value)).then_some(point)
            })
            .collect())
    }
}

/// A series as scripts write it: `name{a="1"}`, `{__name__="name", a="1"}` or `name`.
fn series(text: &str) -> (Option<MetricName>, Labels) {
    let (name, inside) = match text.split_once('{') {
        Some((name, rest)) => (name.trim(), rest.trim_end().trim_end_matches('}')),
        None => (text.trim(), ""),
    };
    let mut name = name.to_owned();
    let mut pairs = Vec::new();
    for pair in inside.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once('=').expect("label=\"value\"");
        let value = value.trim_matches('"');
        if label == "__name__" { value.clone_into(&mut name) } else { pairs.push((label, value)) }
    }
    (MetricName::try_new(&name).ok(), Labels::try_new(pairs).expect("well formed labels"))
}

/// A series and what follows it on the line.
fn split_series(line: &str) -> (&str, &str) {
    let end = line.find('}').map_or_else(|| line.find(' ').unwrap_or(line.len()), |brace| brace + 1);
    (&line[..end], line[end..].trim())
}

fn number(text: &str) -> f64 {
    match text {
        "stale" => STALE,
        text => text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number")),
    }
}

/// `1 _ stale 0+10x2 3x1` as values; `None` is no sample.
fn expanded(text: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let Some((what, times)) = word.split_once('x') else {
            values.push((word != "_").then(|| number(word)));
            continue;
        };
        let times: u32 = times.parse().expect("how many");
        let (first, by) = match what[1..].find(['+', '-']) {
            Some(index) => (number(&what[..=index]), number(&what[index + 1..])),
            None => (number(what.trim_start_matches('_')), 0.0),
        };
        values.extend((0..=times).map(|i| Some(first + by * f64::from(i))));
    }
    values
}

fn seconds(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let size = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("{text:?} is not a time"),
    };
    number.parse::<i64>().expect("a number") * size
}

fn shown(name: Option<&MetricName>, labels: &Labels, value: f64) -> String {
    format!("{}{labels} {value}", name.map_or("", MetricName::as_str))
}

/// Plays one script and returns how many evaluations it had.
fn play(script: &str, text: &str) -> usize {
    let mut store = Store::default();
    let mut evaluations = 0;
    let mut lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default()).peekable();
    while let Some(line) = lines.next() {
        let mut block = Vec::new();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        while let Some(indented) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            block.push(indented.trim());
        }
        if line == "clear" {
            store = Store::default();
        } else if let Some(step) = line.strip_prefix("load ") {
            load(&mut store, seconds(step), &block);
        } else if let Some(rest) = line.strip_prefix("eval instant at ") {
            let (time, expr) = rest.split_once(' ').expect("a time and an expression");
            let query = promql::parse(expr).unwrap_or_else(|error| panic!("{script}: {line}: {error}"));
            let at = Timestamp::from_millis(seconds(time) * 1000);
            let points = query.eval(&store, at).expect("a list always answers");
            let mut found: Vec<String> = points.iter().map(|p| shown(p.name.as_ref(), &p.labels, p.value)).collect();
            let mut expected: Vec<String> = block.iter().map(|line| expected_point(line)).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{script}: {line}");
            evaluations += 1;
        } else if let Some(rest) = line.strip_prefix("eval_fail instant at ") {
            let (_, expr) = rest.split_once(' ').expect("a time and an expression");
            assert!(promql::parse(expr).is_err(), "{script}: {line} should fail");
            evaluations += 1;
        } else {
            panic!("{script}: not understood: {line}");
        }
    }
    evaluations
}

fn load(store: &mut Store, step: i64, block: &[&str]) {
    for line in block {
        let (key, values) = split_series(line);
        let (name, labels) = series(key);
        let times = (0i64..).map(|index| Timestamp::from_millis(index * step * 1000));
        let samples = times.zip(expanded(values)).filter_map(|(time, value)| Some((time, value?))).collect();
        store.0.push((name.expect("a metric name"), labels, samples));
    }
}

fn expected_point(line: &str) -> String {
    let (key, value) = split_series(line);
    let (name, labels) = series(key);
    shown(name.as_ref(), &labels, number(value))
}

#[test]
fn every_script_gives_what_it_says() {
    let evaluations: usize = SCRIPTS.iter().map(|(name, text)| play(name, text)).sum();
    assert!(evaluations >= 50, "only {evaluations} evaluations: were the scripts read?");
}

#[test]
fn the_notation_expands_as_in_prometheus() {
    let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    assert_eq!(expanded("1 2"), some(&[1.0, 2.0]));
    assert_eq!(expanded("0+10x2"), some(&[0.0, 10.0, 20.0]));
    assert_eq!(expanded("5-1x1 7x1"), some(&[5.0, 4.0, 7.0, 7.0]));
    assert_eq!(expanded("1 _ 2"), [Some(1.0), None, Some(2.0)]);
    assert!(is_stale(expanded("stale")[0].expect("a marker is a sample")));
}
