use super::*;
use std::time::Duration;

fn query(text: &str) -> Query {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_is_read_is_known_before_it_is_read() {
    let both = query(r#"sum(rate(a_total{job="x"}[5m])) / on () b{job=~"y|z"}"#);
    assert_eq!(both.metric_names(), Some(vec!["a_total", "b"]));
    assert!(both.reads("a_total") && both.reads("b") && !both.reads("c"));
    assert!(both.admits("job", "x") && both.admits("job", "z") && !both.admits("job", "w"));
    assert!(both.admits("instance", "anything"));

    let nameless = query(r#"{__name__=~"a.*", __name__!="ab"} or b"#);
    assert_eq!(nameless.metric_names(), None);
    assert!(nameless.reads("aa") && !nameless.reads("ab") && nameless.reads("b"));

    let nothing = query("vector(time())");
    assert_eq!(nothing.metric_names(), Some(Vec::new()));
    assert!(!nothing.reads("a") && !nothing.admits("job", "x"));
}

#[test]
fn how_far_it_looks_back_is_known_unless_a_time_is_fixed() {
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    let table = [
        ("1", minutes(0)),
        ("a", minutes(5)),
        ("a offset 10m", minutes(15)),
        ("a offset -10m", minutes(0)),
        ("rate(a[7m] offset 1m)", minutes(8)),
        ("a + on () rate(b[30m])", minutes(30)),
        ("max_over_time(rate(a[5m])[1h:1m] offset 2m)", minutes(67)),
        ("topk(scalar(b offset 1h), -(a))", minutes(65)),
        ("a @ 10", None),
        ("b or max_over_time(a[1h:] @ start())", None),
    ];
    for (text, reach) in table {
        assert_eq!(query(text).reads_before(), reach, "{text}");
    }
}

#[test]
fn a_range_has_at_least_one_time_and_counts_all() {
    let range = |start: i64, end: i64, step| {
        Range::try_new(Timestamp::from_millis(start), Timestamp::from_millis(end), step).map(|range| range.count())
    };
    assert_eq!(range(0, 0, 1), Ok(1));
    assert_eq!(range(0, 29, 10), Ok(3));
    assert_eq!(range(0, 30, 10), Ok(4));
    assert_eq!(range(0, 30, 0), Err(RangeError::Step));
    assert_eq!(range(31, 30, 10), Err(RangeError::Ends));
    assert_eq!(range(i64::MIN, i64::MAX, 1), Ok(usize::try_from(i64::MAX).expect("64 bits") + 1));
}

#[test]
fn it_prints_as_it_parses() {
    let text = r#"sum by (a) (rate(x{b="1"}[5m])) > bool 0.5"#;
    assert_eq!(query(text).to_string(), text);
    assert_eq!(query(text).pretty(), text);
}

#[test]
fn it_is_known_which_results_more_samples_could_only_make_truer() {
    for (text, wanted) in [
        ("sum(a) > 5", true),
        ("5 <= count by (x) (a)", true),
        ("max(sum by (x) (rate(a[5m]))) >= 1", true),
        ("sum(a) < 5", false),
        ("sum(a) > bool 5", false),
        ("avg(a) > 5", false),
        ("sum(a) / sum(b) > 5", false),
        ("a > 5", false),
        ("sum(a) > sum(b)", false),
        ("sum(a) > scalar(sum(b)) * 0.05", false),
        ("sum(a) > 2 * 3", true),
        ("sum(-a) > 5", false),
        ("sum(absent_over_time(a[5m])) > 0", false),
    ] {
        assert_eq!(parse(text).expect("a query").only_grows(), wanted, "{text}");
    }
}
