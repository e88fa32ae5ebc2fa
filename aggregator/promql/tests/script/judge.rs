//! Whether a query gives what its script says. An instant query is also asked as a range around its time.

use super::notation::Item;
use super::{Eval, Expected, Note, Text, When};
use crate::store::Store;
use promql::{Answer, LabelSet, Limits, Line, Notes, Range, Value};
use proto::sample::Timestamp;

/// Series with values at times in milliseconds.
type Found = Vec<(LabelSet, Vec<(i64, f64)>)>;

/// Values that differ by less than this part of them are the same, as in Prometheus.
const EPSILON: f64 = 1e-6;

/// What is wrong, if anything.
pub fn judge(eval: &Eval, store: &Store) -> Result<(), String> {
    let answer = match (answer(&eval.expr, eval.when, store), eval.expected.fails) {
        (Err(error), true) => return failure(&eval.expected, &error),
        (Ok(answer), true) => return Err(format!("no failure: {:?}", answer.value)),
        (Err(error), false) => return Err(error),
        (Ok(answer), false) => answer,
    };
    notes(&eval.expected.notes, &answer.notes)?;
    let has_range = matches!(answer.value, Value::Scalar(..) | Value::Vector(_));
    value(&eval.expected, eval.when, answer.value)?;
    match eval.when {
        When::Instant(at) if has_range => around(eval, at, store),
        _ => Ok(()),
    }
}

fn answer(expr: &str, when: When, store: &Store) -> Result<Answer, String> {
    let query = promql::parse(expr).map_err(|error| error.to_string())?;
    let time = Timestamp::from_millis;
    match when {
        When::Instant(at) => query.instant(store, time(at), &Limits::default()),
        When::Range { start, end, step } => {
            let range = Range::try_new(time(start), time(end), step).map_err(|error| error.to_string())?;
            query.range(store, range, &Limits::default())
        }
    }
    .map_err(|error| error.to_string())
}

fn failure(expected: &Expected, error: &str) -> Result<(), String> {
    let is_right = match &expected.failure {
        None => true,
        Some(Text::Message(text)) => error.contains(text.as_str()),
        Some(Text::Regex(regex)) => regex.is_match(error),
    };
    if is_right { Ok(()) } else { Err(format!("fails with {error:?}, not with {:?}", expected.failure)) }
}

fn notes(expected: &[Note], found: &Notes) -> Result<(), String> {
    for (is_warning, found) in [(true, &found.warnings), (false, &found.infos)] {
        let of_kind: Vec<&Note> = expected.iter().filter(|note| note.is_warning == is_warning).collect();
        if of_kind.iter().any(|note| note.is_refused) && !found.is_empty() {
            return Err(format!("unexpected notes: {found:?}"));
        }
        let wanted: Vec<&&Note> = of_kind.iter().filter(|note| !note.is_refused).collect();
        let hits = |note: &Note, text: &str| match &note.text {
            None => true,
            Some(Text::Message(message)) => message == text,
            Some(Text::Regex(regex)) => regex.is_match(text),
        };
        if let Some(missing) = wanted.iter().find(|note| !found.iter().any(|text| hits(note, text))) {
            return Err(format!("{missing:?} is not among the notes {found:?}"));
        }
        if !wanted.is_empty() && !found.iter().all(|text| wanted.iter().any(|note| hits(note, text))) {
            return Err(format!("more notes than expected: {found:?}"));
        }
    }
    Ok(())
}

fn value(expected: &Expected, when: When, value: Value) -> Result<(), String> {
    match (when, value) {
        (When::Range { start, step, .. }, Value::Matrix(lines)) => matrix(expected, start, step, lines, true),
        (When::Instant(_), Value::Text(_, text)) => match &expected.string {
            Some(wanted) if *wanted == text => Ok(()),
            wanted => Err(format!("the text {text:?}, expected {wanted:?}")),
        },
        (When::Instant(_), Value::Scalar(_, number)) => match expected.scalar {
            Some(wanted) if is_close(wanted, number) => Ok(()),
            wanted => Err(format!("the number {number}, expected {wanted:?}")),
        },
        (When::Instant(_), Value::Matrix(lines)) => match expected.window {
            Some((start, step)) => matrix(expected, start, step, lines, false),
            None if expected.series.is_empty() && lines.is_empty() => Ok(()),
            None => Err(format!("a matrix: {lines:?}")),
        },
        (When::Instant(at), Value::Vector(points)) => {
            if expected.scalar.is_some() || expected.string.is_some() {
                return Err(format!("a vector: {points:?}"));
            }
            if !points.iter().all(|point| point.at.as_millis() == at) {
                return Err(format!("points at other times than {at}: {points:?}"));
            }
            let found: Found = points.into_iter().map(|point| (point.labels, vec![(at, point.value)])).collect();
            if expected.is_ordered {
                let order =
                    |series: &[(LabelSet, Vec<Item>)]| series.iter().map(|(labels, _)| labels.clone()).collect();
                let (wanted, order): (Vec<LabelSet>, Vec<LabelSet>) =
                    (order(&expected.series), found.iter().map(|(labels, _)| labels.clone()).collect());
                if wanted != order {
                    return Err(format!("in the order {order:?}, expected {wanted:?}"));
                }
            }
            compare(expected, at, 1, found)
        }
        (_, value) => Err(format!("{value:?} for {when:?}")),
    }
}

fn matrix(expected: &Expected, start: i64, step: i64, lines: Vec<Line>, is_sorted: bool) -> Result<(), String> {
    if is_sorted && !lines.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err(format!("not sorted by labels, or one set twice: {lines:?}"));
    }
    compare(expected, start, step, found(lines))
}

fn found(lines: Vec<Line>) -> Found {
    let points = |line: Line| line.points.into_iter().map(|(time, value)| (time.as_millis(), value)).collect();
    lines.into_iter().map(|line| (line.labels.clone(), points(line))).collect()
}

/// Every series as expected, and no other.
fn compare(expected: &Expected, start: i64, step: i64, found: Found) -> Result<(), String> {
    let mut rest = found;
    for (labels, items) in &expected.series {
        let index = rest.iter().position(|(own, _)| own == labels);
        let Some(index) = index else { return Err(format!("{labels:?} is missing; left are {rest:?}")) };
        let (_, points) = rest.remove(index);
        let wanted: Vec<(i64, f64)> = (0_i64..)
            .zip(items)
            .filter_map(|(index, item)| match item {
                Item::Gap => None,
                Item::Stale => Some((start + index * step, f64::NAN)),
                Item::Value(value) => Some((start + index * step, *value)),
            })
            .collect();
        let is_same = |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && is_close(a.1, b.1);
        if wanted.len() != points.len() || !wanted.iter().zip(&points).all(is_same) {
            return Err(format!("{labels:?} is {points:?}, expected {wanted:?}"));
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("unexpected: {rest:?}")) }
}

/// The same query from a minute before to a minute after, of which the middle must say the same.
fn around(eval: &Eval, at: i64, store: &Store) -> Result<(), String> {
    if ["start()", "end()"].iter().any(|word| eval.expr.contains(word)) {
        return Ok(());
    }
    let when = When::Range { start: at - 60_000, end: at + 60_000, step: 60_000 };
    let at_once = match answer(&eval.expr, when, store).map_err(|error| format!("as a range: {error}"))?.value {
        Value::Matrix(lines) => found(lines),
        value => return Err(format!("as a range: {value:?}")),
    };
    let only = |(labels, points): (LabelSet, Vec<(i64, f64)>)| {
        let points: Vec<_> = points.into_iter().filter(|(time, _)| *time == at).collect();
        (!points.is_empty()).then_some((labels, points))
    };
    let found: Found = at_once.into_iter().filter_map(only).collect();
    match eval.expected.scalar {
        Some(scalar) if found.len() == 1 && is_close(scalar, found[0].1[0].1) => Ok(()),
        Some(scalar) => Err(format!("as a range: {found:?}, expected {scalar}")),
        None => compare(&eval.expected, at, 1, found).map_err(|error| format!("as a range: {error}")),
    }
}

fn is_close(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    if !(a.is_finite() && b.is_finite()) {
        return false;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}
