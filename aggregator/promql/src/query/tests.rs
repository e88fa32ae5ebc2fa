use super::*;
use crate::parse;
use proptest::prelude::*;
use proto::sample::STALE;

/// The contract of [`Select`] read aloud: every sample of every series is looked at.
struct Naive(Vec<(Point, Vec<(i64, f64)>)>);

impl Select for Naive {
    fn select(
        &self,
        name: Option<&str>,
        matchers: &[Matcher],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<Point>, SelectError> {
        let mut found = Vec::new();
        for (series, samples) in &self.0 {
            let own_name = series.name.as_ref().expect("a series has a name");
            let named = name.is_none_or(|name| name == own_name.as_str());
            if !named || !matchers.iter().all(|m| m.matches_series(own_name, &series.labels)) {
                continue;
            }
            let seen = samples.iter().map(|(s, value)| (Timestamp::from_millis(s * 1000), *value));
            let newest = seen.filter(|(t, _)| *t > at - lookback && *t <= at).max_by_key(|(t, _)| *t);
            if let Some((_, value)) = newest.filter(|(_, value)| !is_stale(*value)) {
                found.push(Point { value, ..series.clone() });
            }
        }
        Ok(found)
    }
}

struct Broken;

impl Select for Broken {
    fn select(&self, _: Option<&str>, _: &[Matcher], _: Timestamp, _: Duration) -> Result<Vec<Point>, SelectError> {
        Err(SelectError::new("the disk is gone"))
    }
}

fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> (Point, Vec<(i64, f64)>) {
    let point = Point {
        name: Some(MetricName::try_new(name).expect("well formed")),
        labels: Labels::try_new(labels.iter().copied()).expect("well formed"),
        value: 0.0,
    };
    (point, samples.to_vec())
}

/// `name{labels} value` of each point, sorted.
fn eval(source: &Naive, text: &str, at_seconds: i64) -> Vec<String> {
    let query = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let points = query.eval(source, Timestamp::from_millis(at_seconds * 1000)).expect("the naive store answers");
    let mut shown: Vec<String> = points
        .iter()
        .map(|p| format!("{}{} {}", p.name.as_ref().map_or("", MetricName::as_str), p.labels, p.value))
        .collect();
    shown.sort();
    shown
}

fn hosts() -> Naive {
    Naive(vec![
        series("cpu", &[("host", "a")], &[(0, 10.0), (60, 96.0)]),
        series("cpu", &[("host", "b"), ("zone", "1")], &[(0, 95.0), (60, f64::NAN)]),
        series("memory", &[("host", "a")], &[(0, 1.0)]),
    ])
}

#[test]
fn a_comparison_filters_and_keeps_name_labels_and_value() {
    assert_eq!(eval(&hosts(), "cpu > 95", 60), [r#"cpu{host="a"} 96"#]);
    assert_eq!(eval(&hosts(), "95 < cpu", 60), [r#"cpu{host="a"} 96"#]);
    assert_eq!(eval(&hosts(), "cpu >= 95", 0), [r#"cpu{host="b", zone="1"} 95"#]);
    assert_eq!(eval(&hosts(), "cpu == 97", 60), [""; 0]);
}

#[test]
fn not_a_number_is_unequal_to_everything_and_nothing_else() {
    assert_eq!(eval(&hosts(), r#"cpu{host="b"} != 5"#, 60), [r#"cpu{host="b", zone="1"} NaN"#]);
    for text in ["cpu == NaN", "cpu > NaN", "cpu <= NaN"] {
        assert_eq!(eval(&hosts(), text, 60), [""; 0], "{text}");
    }
}

#[test]
fn matchers_choose_series_and_an_absent_label_is_empty() {
    assert_eq!(eval(&hosts(), r#"cpu{zone=""}"#, 0), [r#"cpu{host="a"} 10"#]);
    assert_eq!(eval(&hosts(), r#"cpu{zone!=""}"#, 0), [r#"cpu{host="b", zone="1"} 95"#]);
    assert_eq!(eval(&hosts(), r#"{__name__=~"mem.*|cpu", host="a"}"#, 0).len(), 2);
    assert_eq!(eval(&hosts(), r#"cpu{host=~"a|c"}"#, 0), [r#"cpu{host="a"} 10"#]);
}

#[test]
fn the_lookback_is_five_minutes_and_open_on_the_left() {
    let source = Naive(vec![series("up", &[], &[(0, 1.0)])]);
    assert_eq!(eval(&source, "up", 0).len(), 1);
    assert_eq!(eval(&source, "up", 299).len(), 1);
    assert_eq!(eval(&source, "up", 300).len(), 0, "the left end is excluded, as in Prometheus 3");
    assert_eq!(eval(&source, "up", -1).len(), 0, "the future is not seen");
}

#[test]
fn a_series_that_ended_has_no_point_even_within_the_lookback() {
    let source = Naive(vec![series("up", &[], &[(0, 1.0), (15, STALE), (60, 2.0)])]);
    assert_eq!(eval(&source, "up", 14), ["up{} 1"]);
    assert_eq!(eval(&source, "up", 15), [""; 0]);
    assert_eq!(eval(&source, "up", 60), ["up{} 2"]);
}

#[test]
fn a_storage_that_fails_fails_the_query_and_names_what_was_read() {
    let query = parse(r#"up{job="api"} == 0"#).expect("right");
    let error = query.eval(&Broken, Timestamp::ZERO).expect_err("broken");
    assert_eq!(error.to_string(), r#"the samples of up{job="api"} could not be read"#);
    let source = std::error::Error::source(&error).expect("the storage's own words");
    assert_eq!(source.to_string(), "the disk is gone");
}

#[test]
fn a_query_says_which_metrics_it_reads() {
    let named = parse("cpu > 1").expect("right");
    assert_eq!(named.metric_names(), Some(vec!["cpu"]));
    assert!(named.reads("cpu"));
    assert!(!named.reads("cpus"));
    let by_regex = parse(r#"{__name__=~"cpu_.*", __name__!="cpu_b"}"#).expect("right");
    assert_eq!(by_regex.metric_names(), None);
    assert!(by_regex.reads("cpu_a"));
    assert!(!by_regex.reads("cpu_b"));
    assert!(!by_regex.reads("memory"));
    assert!(parse(r#"{host="a"}"#).expect("right").reads("anything"));
}

#[test]
fn a_query_says_whose_series_it_may_read() {
    let query = parse("cpu{service=\"agenda\", instance=~\"agenda-[12]\", core!=\"0\"} > 90").expect("right");
    assert!(query.admits("service", "agenda") && !query.admits("service", "fila"));
    assert!(query.admits("instance", "agenda-1") && !query.admits("instance", "agenda-3"));
    assert!(query.admits("zone", "anywhere"), "it says nothing of zones");
}

#[test]
fn two_exact_names_read_nothing_unless_they_agree() {
    let contradiction = parse(r#"{__name__="a", __name__="b"}"#).expect("right");
    assert!(!contradiction.reads("a") && !contradiction.reads("b"));
}

proptest! {
    #[test]
    fn a_comparison_and_its_opposite_split_the_points(values in prop::collection::vec(-3..3i32, 0..8), limit in -3..3i32) {
        let source = Naive(
            values.iter().enumerate().map(|(i, v)| series("m", &[("i", &i.to_string())], &[(0, f64::from(*v))])).collect(),
        );
        for (op, opposite) in [(">", "<="), (">=", "<"), ("==", "!=")] {
            let some = eval(&source, &format!("m {op} {limit}"), 0);
            let others = eval(&source, &format!("m {opposite} {limit}"), 0);
            let mut all: Vec<String> = some.into_iter().chain(others).collect();
            all.sort();
            prop_assert_eq!(all, eval(&source, "m", 0));
        }
    }

    #[test]
    fn flipping_sides_never_changes_what_is_kept(a in any::<f64>(), b in any::<f64>()) {
        use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        for op in [Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual] {
            let kept = Comparison { op, number: b }.keeps(a);
            prop_assert_eq!(kept, Comparison { op: op.flipped(), number: a }.keeps(b));
            prop_assert_eq!(op.flipped().flipped(), op);
        }
    }

    #[test]
    fn what_has_a_point_is_what_the_query_said_it_reads(name in "[abc]", matcher in "[abc|]{1,3}") {
        let source = Naive(["a", "b", "c"].map(|n| series(n, &[], &[(0, 1.0)])).to_vec());
        for text in [name.clone(), format!("{{__name__=~\"{matcher}\"}}")] {
            let Ok(query) = parse(&text) else { continue };
            for point in query.eval(&source, Timestamp::ZERO).expect("naive") {
                prop_assert!(query.reads(point.name.as_ref().expect("named").as_str()));
            }
        }
    }
}
