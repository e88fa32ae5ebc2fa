//! What either of the two answered, in one form; and whether two answers are the same.

use promql::{EvalError, LabelSet, Limits, Range, Select, Value};
use proto::sample::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// How far two values may be apart, as a part of the larger one.
const TOLERANCE: f64 = 1e-9;

/// What is smaller is taken for 0: where values of the size of 1 cancel out, rounding remains.
const NOTHING: f64 = 1e-13;

/// When a query is asked, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Itself, or that it is asked over a range.
    Query,
    /// It, with the series that there are.
    Execution,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A value: its type as the API names it, and its series in the order in which they came.
    Series(&'static str, Vec<(LabelSet, Vec<(i64, f64)>)>),
    Text(String),
    Refused(Class, String),
}

// === impl Outcome ===

impl Outcome {
    /// What the engine answers.
    pub fn of_engine(query: &str, source: &dyn Select, when: When) -> Self {
        let query = match promql::parse(query) {
            Ok(query) => query,
            Err(error) => return Self::Refused(Class::Query, error.to_string()),
        };
        let (time, limits) = (Timestamp::from_millis, Limits::default());
        let answer = match when {
            When::Instant(at) => query.instant(source, time(at), &limits),
            When::Range { start, end, step } => {
                let range = Range::try_new(time(start), time(end), step).expect("ranges are made with a time at least");
                query.range(source, range, &limits)
            }
        };
        match answer {
            Ok(answer) => Self::of_value(answer.value),
            Err(error @ EvalError::NoRange(_)) => Self::Refused(Class::Query, error.to_string()),
            Err(error @ EvalError::Execution(_)) => Self::Refused(Class::Execution, error.to_string()),
            Err(other) => panic!("{query}: {other}"),
        }
    }

    fn of_value(value: Value) -> Self {
        match value {
            Value::Scalar(at, value) => {
                Self::Series("scalar", vec![(LabelSet::empty(), vec![(at.as_millis(), value)])])
            }
            Value::Text(_, text) => Self::Text(text),
            Value::Vector(points) => {
                let point = |point: promql::Point| (point.labels, vec![(point.at.as_millis(), point.value)]);
                Self::Series("vector", points.into_iter().map(point).collect())
            }
            Value::Matrix(lines) => {
                let points =
                    |line: &promql::Line| line.points.iter().map(|(at, value)| (at.as_millis(), *value)).collect();
                Self::Series("matrix", lines.into_iter().map(|line| (line.labels.clone(), points(&line))).collect())
            }
        }
    }

    /// `data` of the API; `None` where that is no answer.
    pub fn from_json(data: &serde_json::Value) -> Option<Self> {
        let result = &data["result"];
        let series = |kind, values: &str| {
            let one = |series: &serde_json::Value| {
                let labels = series["metric"].as_object()?.iter();
                let labels = labels.map(|(name, value)| Some((name.as_str(), value.as_str()?)));
                let labels = LabelSet::from_pairs(labels.collect::<Option<Vec<_>>>()?);
                let points = if values == "value" { vec![point(&series[values])?] } else { points(&series[values])? };
                Some((labels, points))
            };
            Some(Self::Series(kind, result.as_array()?.iter().map(one).collect::<Option<_>>()?))
        };
        match data["resultType"].as_str()? {
            "scalar" => Some(Self::Series("scalar", vec![(LabelSet::empty(), vec![point(result)?])])),
            "string" => Some(Self::Text(result[1].as_str()?.to_owned())),
            "vector" => series("vector", "value"),
            "matrix" => series("matrix", "values"),
            _ => None,
        }
    }

    /// What answers at single times are over the range of them; `None` where one is no number or vector.
    pub fn range_of(instants: Vec<Self>) -> Option<Self> {
        let mut lines: BTreeMap<LabelSet, Vec<(i64, f64)>> = BTreeMap::new();
        for instant in instants {
            let Self::Series("scalar" | "vector", series) = instant else { return None };
            for (labels, points) in series {
                lines.entry(labels).or_default().extend(points);
            }
        }
        Some(Self::Series("matrix", lines.into_iter().collect()))
    }

    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(..))
    }

    /// Whether a series has the name of its metric.
    pub fn has_names(&self) -> bool {
        matches!(self, Self::Series(_, series) if series.iter().any(|(labels, _)| !labels.name().is_empty()))
    }

    /// Whether there is a value with nothing in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Series(_, series) if series.is_empty())
    }

    /// Values of the same series at the same times.
    pub fn pairs(&self, other: &Self) -> impl Iterator<Item = (f64, f64)> {
        let (a, b) = (self.values(), other.values());
        a.into_iter().filter_map(move |(key, value)| Some((value, *b.get(&key)?)))
    }

    fn values(&self) -> BTreeMap<(LabelSet, i64), f64> {
        let Self::Series(_, series) = self else { return BTreeMap::new() };
        let points = |(labels, points): &(LabelSet, Vec<(i64, f64)>)| {
            points.iter().map(|(at, value)| ((labels.clone(), *at), *value)).collect::<Vec<_>>()
        };
        series.iter().flat_map(points).collect()
    }

    /// Whether both say the same, in whatever order.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused(a, _), Self::Refused(b, _)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Series(kind, a), Self::Series(other_kind, b)) => {
                kind == other_kind && a.len() == b.len() && are_like(a, b)
            }
            _ => false,
        }
    }

    /// Whether the values come in the same order. The series of equal values may change places.
    pub fn is_in_order_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Series("vector", a), Self::Series("vector", b)) => {
                let pairs = a.iter().zip(b);
                pairs.into_iter().all(|((_, a), (_, b))| a.iter().zip(b).all(|((_, a), (_, b))| is_near(*a, *b)))
            }
            _ => true,
        }
    }
}

/// Where two answers first differ, for a person.
pub fn first_difference(ours: &Outcome, theirs: &Outcome) -> String {
    let (a, b) = (ours.values(), theirs.values());
    let found = a.keys().chain(b.keys()).find(|key| match (a.get(key), b.get(key)) {
        (Some(a), Some(b)) => !is_near(*a, *b),
        _ => true,
    });
    found.map_or("no value".to_owned(), |key| format!("{key:?}: {:?} / {:?}", a.get(key), b.get(key)))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(class, message) => write!(f, "refused ({class:?}): {message}"),
            Self::Text(text) => write!(f, "text {text:?}"),
            Self::Series(kind, series) => {
                write!(f, "{kind} of {}", series.len())?;
                let mut sorted: Vec<_> = series.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                for (labels, points) in sorted.into_iter().take(8) {
                    write!(f, "\n    {labels:?} ×{}:", points.len())?;
                    for (at, value) in points.iter().take(3) {
                        write!(f, " {value}@{at}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

// === helpers ===

#[expect(clippy::cast_possible_truncation, reason = "a whole number of milliseconds")]
fn point(json: &serde_json::Value) -> Option<(i64, f64)> {
    Some(((json[0].as_f64()? * 1000.0).round() as i64, json[1].as_str()?.parse().ok()?))
}

fn points(json: &serde_json::Value) -> Option<Vec<(i64, f64)>> {
    json.as_array()?.iter().map(point).collect()
}

fn are_like(a: &[(LabelSet, Vec<(i64, f64)>)], b: &[(LabelSet, Vec<(i64, f64)>)]) -> bool {
    let by_labels: BTreeMap<&LabelSet, &Vec<(i64, f64)>> = b.iter().map(|(labels, points)| (labels, points)).collect();
    by_labels.len() == b.len()
        && a.iter().all(|(labels, points)| {
            by_labels.get(labels).is_some_and(|others| {
                let mut pairs = points.iter().zip(others.iter());
                points.len() == others.len() && pairs.all(|(a, b)| a.0 == b.0 && is_near(a.1, b.1))
            })
        })
}

fn is_near(a: f64, b: f64) -> bool {
    let (apart, largest) = ((a - b).abs(), f64::max(a.abs(), b.abs()));
    a == b || a.is_nan() && b.is_nan() || apart.is_finite() && (apart <= TOLERANCE * largest || largest < NOTHING)
}
