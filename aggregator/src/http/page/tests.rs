use super::*;
use crate::http::tests::reader::read;
use proptest::prelude::*;
use proto::name::SeriesKey;
use proto::sample::Timestamp;
use std::collections::BTreeMap;
use tsdb::Sample;

const OPEN: Format = Format::OpenMetrics { utf8: true };

fn shown(name: &str, labels: &[(&str, &str)], kind: Kind, value: f64) -> Shown {
    let key = SeriesKey::try_new(name, labels.iter().copied()).expect("a legal series");
    Shown { key, kind, sample: Sample { at: Timestamp::ZERO, value } }
}

/// The components of one well-formed histogram.
fn histogram(name: &str, service: &str, bounds: &[&str], counts: &[u32]) -> Vec<Shown> {
    let mut total = 0;
    let mut series = Vec::new();
    for (bound, count) in bounds.iter().zip(counts) {
        total += count;
        let labels = [("service", service), ("le", bound)];
        series.push(shown(&format!("{name}_bucket"), &labels, Kind::Histogram, f64::from(total)));
    }
    let labels = [("service", service)];
    series.push(shown(&format!("{name}_sum"), &labels, Kind::Histogram, 1.5));
    series.push(shown(&format!("{name}_count"), &labels, Kind::Histogram, f64::from(total)));
    series
}

#[test]
fn a_histograms_parts_come_as_one_family_by_label_set_with_buckets_in_order_of_their_bounds() {
    let mut series = histogram("x_seconds", "b", &["10", "+Inf", "0.5", "2"], &[0, 0, 0, 0]);
    series.extend(histogram("x_seconds", "a", &["+Inf"], &[3]));
    series.reverse();
    insta::assert_snapshot!(write(OPEN, &series), @r#"
    # TYPE x_seconds histogram
    x_seconds_bucket{le="+Inf",service="a"} 3
    x_seconds_sum{service="a"} 1.5
    x_seconds_count{service="a"} 3
    x_seconds_bucket{le="0.5",service="b"} 0
    x_seconds_bucket{le="2",service="b"} 0
    x_seconds_bucket{le="10",service="b"} 0
    x_seconds_bucket{le="+Inf",service="b"} 0
    x_seconds_sum{service="b"} 1.5
    x_seconds_count{service="b"} 0
    # EOF
    "#);
}

#[test]
fn agents_that_disagree_about_a_name_get_one_family_and_every_sample() {
    let mut series = vec![
        shown("jobs_total", &[("service", "a")], Kind::Gauge, 1.0),
        shown("jobs_total", &[("service", "b")], Kind::Counter, 2.0),
        shown("x_count", &[("service", "b")], Kind::Gauge, 3.0),
        shown("x", &[("service", "b")], Kind::Counter, 4.0),
        shown("lonely", &[], Kind::Histogram, 5.0),
    ];
    series.extend(histogram("x", "a", &["+Inf"], &[7]));
    insta::assert_snapshot!(write(Format::Text, &series), @r#"
    # TYPE jobs_total gauge
    jobs_total{service="a"} 1
    jobs_total{service="b"} 2
    # TYPE lonely gauge
    lonely 5
    # TYPE x histogram
    x_bucket{le="+Inf",service="a"} 7
    x_sum{service="a"} 1.5
    x_count{service="a"} 7
    x_count{service="b"} 3
    x{service="b"} 4
    "#);
}

#[test]
fn the_catalogs_type_wins_over_what_an_agent_says() {
    let series = [shown("system_cpu_usage_percent", &[("service", "a")], Kind::Counter, 1.0)];
    assert_eq!(read(&write(OPEN, &series)).families[0].1, "gauge");
}

#[test]
fn a_counter_whose_openmetrics_name_is_taken_gets_no_type_there() {
    let series = [
        shown("jobs", &[], Kind::Gauge, 1.0),
        shown("jobs_a", &[], Kind::Gauge, 2.0),
        shown("jobs_total", &[], Kind::Counter, 3.0),
    ];
    let kinds = |format| -> Vec<String> { read(&write(format, &series)).families.into_iter().map(|f| f.1).collect() };
    assert_eq!(kinds(Format::Text), ["gauge", "gauge", "counter"]);
    assert_eq!(kinds(OPEN), ["gauge", "gauge", ""]);
}

#[test]
fn an_empty_page_is_legal() {
    assert_eq!(write(Format::Text, &[]), "");
    assert_eq!(write(OPEN, &[]), "# EOF\n");
}

fn any_series() -> impl Strategy<Value = Shown> {
    const NAMES: &[&str] =
        &["x", "x_bucket", "x_sum", "x_count", "x_total", "y_total", "y", "z_count", "system_cpu_usage_percent"];
    const KINDS: &[Kind] = &[Kind::Gauge, Kind::Counter, Kind::Histogram];
    const BOUNDS: &[&str] = &["", "0.5", "1", "1.0", "10", "+Inf", "no number"];
    let labels = (proptest::sample::select(BOUNDS), "[ab]|\\PC{0,6}|[\\\\\n\"{},=]{1,4}");
    let named = (proptest::sample::select(NAMES), proptest::sample::select(KINDS));
    (named, labels, any::<f64>())
        .prop_map(|((name, kind), (le, service), value)| shown(name, &[("le", le), ("service", &service)], kind, value))
}

fn set(series: &[Shown]) -> BTreeMap<(String, BTreeMap<String, String>), Vec<u64>> {
    let mut set = BTreeMap::<_, Vec<u64>>::new();
    for shown in series {
        let labels = shown.key.labels.iter().map(|l| (l.name().to_owned(), l.value().to_owned())).collect();
        set.entry((shown.key.name.as_str().to_owned(), labels)).or_default().push(bits(shown.sample.value));
    }
    set
}

/// Which value it is; all NaNs are one, as on the page.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

proptest! {
    #[test]
    fn whatever_agents_report_the_page_is_legal_and_reads_back_as_it_was(series in prop::collection::vec(any_series(), 0..40)) {
        for format in [Format::Text, OPEN] {
            // `read` holds the formats' rules: every family once, in one place, each series once.
            let page = read(&write(format, &series));
            prop_assert_eq!(page.ended, format == OPEN);
            let mut wanted = set(&series);
            for line in page.lines() {
                let values = wanted.remove(&(line.name.clone(), line.labels.clone()));
                prop_assert!(values.is_some_and(|values| values.contains(&bits(line.value))), "{:?} was not reported", line);
            }
            prop_assert!(wanted.is_empty(), "not on the page: {:?}", wanted);
        }
    }

    #[test]
    fn every_histogram_has_ascending_buckets_that_end_with_its_count(
        counts in prop::collection::vec(prop::collection::vec(0_u32..9, 5), 1..4),
        turn in any::<prop::sample::Index>(),
    ) {
        let bounds = ["0.005", "0.25", "1", "10", "+Inf"];
        let mut series: Vec<Shown> =
            counts.iter().enumerate().flat_map(|(i, counts)| histogram("x", &format!("s{i}"), &bounds, counts)).collect();
        let middle = turn.index(series.len());
        series.rotate_left(middle);
        let page = read(&write(OPEN, &series));
        prop_assert_eq!(page.families.len(), 1);
        for set in page.families[0].2.chunks(bounds.len() + 2) {
            let order: Vec<Option<&str>> = set.iter().map(|line| line.labels.get("le").map(String::as_str)).collect();
            prop_assert_eq!(&order[..5], bounds.map(Some));
            prop_assert!(set[..5].windows(2).all(|pair| pair[0].value <= pair[1].value));
            prop_assert_eq!((set[5].name.as_str(), set[6].name.as_str()), ("x_sum", "x_count"));
            prop_assert_eq!(set[4].value, set[6].value);
        }
    }
}
