//! What the head keeps, ends and refuses.

use super::*;
use proptest::prelude::*;
use proto::sample::{Kind, Pass, STALE, Schema, SeriesDef};
use std::sync::Arc;

const AGENT: Uuid = Uuid::from_u128(1);
const LOOKBACK: Duration = Duration::from_secs(300);

fn origin() -> Origin {
    Origin { agent_id: AGENT, labels: vec![Label::try_new("service", "agenda").expect("legal")] }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A frame of the source `host` with one pass per time; every series has the time as its value.
fn frame(schema: u64, names: &[&str], times: &[i64]) -> Frame {
    let defs = names.iter().map(|name| SeriesDef {
        key: SeriesKey::try_new(name, [("service", "a lie"), ("device", "sda")]).expect("legal"),
        kind: Kind::Gauge,
    });
    let schema_of = Arc::new(Schema { source: "host".into(), interval: Duration::ZERO, series: defs.collect() });
    let passes = times.iter().map(|&time| Pass { at: at(time), values: vec![time as f64; names.len()] }).collect();
    Frame::try_new(SchemaId(schema), schema_of, passes).expect("fits")
}

fn values(head: &Head, name: &str, now: i64) -> Vec<f64> {
    head.select(Some(name)).filter_map(|series| series.value_at(at(now), LOOKBACK)).map(|sample| sample.value).collect()
}

fn shown(head: &Head) -> Vec<String> {
    let mut keys: Vec<String> = head.latest(AGENT).map(|(series, _)| series.key().to_string()).collect();
    keys.sort();
    keys
}

#[test]
fn the_identity_decides_the_labels_not_what_the_agent_says() {
    let mut head = Head::new(Limits::default());
    head.append(&origin(), &frame(1, &["a"], &[10]));
    assert_eq!(shown(&head), [r#"a{device="sda", service="agenda"}"#]);
}

#[test]
fn a_series_that_the_new_schema_lacks_ends_and_the_others_go_on() {
    let mut head = Head::new(Limits::default());
    head.append(&origin(), &frame(1, &["a", "b"], &[10]));
    head.append(&origin(), &frame(2, &["b", "c"], &[20]));
    assert_eq!(values(&head, "a", 20), Vec::<f64>::new());
    assert_eq!(values(&head, "a", 19), [10.0], "it ended at 20, not before");
    assert_eq!(values(&head, "b", 20), [20.0]);
    assert_eq!(shown(&head).len(), 2);
}

#[test]
fn a_value_is_seen_for_the_lookback_and_no_longer() {
    let mut head = Head::new(Limits::default());
    head.append(&origin(), &frame(1, &["a"], &[1000]));
    assert_eq!(values(&head, "a", 999), Vec::<f64>::new());
    assert_eq!(values(&head, "a", 1000 + 299_999), [1000.0]);
    assert_eq!(values(&head, "a", 1000 + 300_000), Vec::<f64>::new(), "the range is open on its left");
}

#[test]
fn the_same_frame_again_changes_nothing() {
    let mut head = Head::new(Limits::default());
    let frame = frame(1, &["a", "b"], &[10, 20, 30]);
    assert_eq!(head.append(&origin(), &frame).kept, 6);
    let again = head.append(&origin(), &frame);
    assert_eq!(again, Appended { duplicate: 6, ..Appended::default() });
    assert_eq!(head.sample_count(), 6);
}

#[test]
fn a_silent_agents_series_end_and_come_back_when_it_speaks_again() {
    let mut head = Head::new(Limits::default());
    head.append(&origin(), &frame(1, &["a"], &[10]));
    head.end_agent(AGENT);
    assert_eq!(shown(&head), Vec::<String>::new());
    assert_eq!(values(&head, "a", 25), Vec::<f64>::new());
    head.append(&origin(), &frame(1, &["a"], &[30]));
    assert_eq!(shown(&head).len(), 1);
    assert_eq!(values(&head, "a", 30), [30.0]);
}

#[test]
fn an_agents_end_does_not_end_what_its_successor_of_the_same_name_reports() {
    let mut head = Head::new(Limits::default());
    let successor = Origin { agent_id: Uuid::from_u128(2), ..origin() };
    head.append(&origin(), &frame(1, &["a", "b"], &[10]));
    head.append(&successor, &frame(2, &["b"], &[20]));
    head.end_agent(AGENT);
    assert_eq!(values(&head, "a", 30), Vec::<f64>::new(), "the successor does not report it");
    assert_eq!(values(&head, "b", 30), [20.0]);
    head.end_agent(successor.agent_id);
    assert_eq!(values(&head, "b", 30), Vec::<f64>::new());
}

#[test]
fn what_came_last_is_shown_also_when_the_agents_clock_was_set_back() {
    let mut head = Head::new(Limits::default());
    let last = |head: &Head| head.latest(AGENT).map(|(_, sample)| sample.value).collect::<Vec<_>>();
    head.append(&origin(), &frame(1, &["a"], &[60_000]));
    head.append(&origin(), &frame(1, &["a"], &[1_000]));
    assert_eq!(last(&head), [1_000.0]);
    assert_eq!(values(&head, "a", 1_500), [1_000.0]);
    head.end_agent(AGENT);
    assert_eq!((last(&head), values(&head, "a", 1_500)), (vec![], vec![]));
    head.append(&origin(), &frame(1, &["a"], &[2_000]));
    assert_eq!((last(&head), values(&head, "a", 2_000)), (vec![2_000.0], vec![2_000.0]));
}

/// A frame of `source`, which takes a pass once a second.
fn frame_of(source: &str, time: i64) -> Frame {
    let key = SeriesKey::try_new(source, []).expect("legal");
    let series = vec![SeriesDef { key, kind: Kind::Gauge }];
    let schema = Arc::new(Schema { source: source.into(), interval: Duration::from_secs(1), series });
    let id = SchemaId(source.len() as u64);
    Frame::try_new(id, schema, vec![Pass { at: at(time), values: vec![time as f64] }]).expect("fits")
}

#[test]
fn a_source_that_falls_behind_the_others_is_not_shown_until_it_comes_back() {
    let mut head = Head::new(Limits::default());
    let mut now = |source: &str, time: i64| {
        head.append(&origin(), &frame_of(source, time));
        let late = head.find_late_sources(AGENT);
        (late, values(&head, "disk", time).len(), shown(&head).len())
    };
    assert_eq!(now("disk", 1_000), (vec![], 1, 1));
    assert_eq!(now("cpu", 6_000), (vec![], 1, 2));
    assert_eq!(now("cpu", 6_001), (vec!["disk".into()], 1, 1), "five seconds are over; queries still look back");
    assert_eq!(now("cpu", 7_000), (vec![], 1, 1), "it is told once");
    assert_eq!(now("disk", 7_500), (vec![], 1, 2));
    assert_eq!(now("cpu", 1_000), (vec![], 1, 2), "a clock that was set back makes nobody late");
}

#[test]
fn a_source_without_a_rhythm_is_never_late() {
    let mut head = Head::new(Limits::default());
    head.append(&origin(), &frame(99, &["a"], &[1_000]));
    head.append(&origin(), &frame_of("cpu", 1_000_000));
    assert_eq!(head.find_late_sources(AGENT), Vec::<String>::new());
    assert_eq!(head.find_late_sources(Uuid::from_u128(9)), Vec::<String>::new(), "nor an agent that nobody knows");
}

#[test]
fn what_is_no_number_is_counted_and_not_kept() {
    let mut head = Head::new(Limits::default());
    let mut bad = frame(1, &["a", "b"], &[10]);
    bad.passes[0].values = vec![f64::NAN, STALE];
    let appended = head.append(&origin(), &bad);
    assert_eq!(appended, Appended { not_a_number: 1, nothing_to_end: 1, ..Appended::default() });
    assert_eq!(head.sample_count(), 0);
}

#[test]
fn beyond_a_limit_existing_series_go_on_and_new_ones_are_counted() {
    let limits = Limits { series_per_agent: 2, ..Limits::default() };
    let mut head = Head::new(limits);
    let appended = head.append(&origin(), &frame(1, &["a", "b", "c"], &[10]));
    assert_eq!((appended.kept, appended.over_limit), (2, 1));
    assert_eq!(head.append(&origin(), &frame(1, &["a", "b", "c"], &[20])).kept, 2);
    let other = Origin { agent_id: Uuid::from_u128(2), labels: vec![] };
    assert_eq!(head.append(&other, &frame(1, &["a"], &[20])).kept, 1, "another agent has room of its own");

    let mut small = Head::new(Limits { series: 1, ..Limits::default() });
    assert_eq!(small.append(&origin(), &frame(1, &["a", "b"], &[10])).over_limit, 1);
}

#[test]
fn an_agent_with_too_many_sources_is_refused_the_next() {
    let mut head = Head::new(Limits::default());
    for index in 0..=SOURCES_PER_AGENT_MAX {
        let mut one = frame(index as u64, &["a"], &[10 + i64::try_from(index).expect("small")]);
        let schema =
            Schema { source: format!("s{index}"), interval: Duration::ZERO, series: one.schema.series.clone() };
        one.schema = Arc::new(schema);
        let appended = head.append(&origin(), &one);
        assert_eq!(appended.over_limit == 1, index == SOURCES_PER_AGENT_MAX);
    }
}

#[test]
fn a_full_series_drops_its_oldest_and_refuses_what_is_older_still() {
    let mut head = Head::new(Limits { samples_per_series: 2, ..Limits::default() });
    head.append(&origin(), &frame(1, &["a"], &[10, 20, 30]));
    assert_eq!(values(&head, "a", 15), Vec::<f64>::new());
    assert_eq!(values(&head, "a", 25), [20.0]);
    assert_eq!(head.append(&origin(), &frame(1, &["a"], &[5])).too_old, 1);
    assert_eq!(head.sample_count(), 2);
}

#[test]
fn truncation_forgets_series_that_nobody_reports_and_makes_room() {
    let mut head = Head::new(Limits { series_per_agent: 1, ..Limits::default() });
    head.append(&origin(), &frame(1, &["a"], &[10]));
    head.truncate(at(1_000_000), Duration::from_secs(1));
    assert_eq!((head.series_count(), head.sample_count()), (1, 0), "it is still reported");
    head.end_agent(AGENT);
    head.truncate(at(2_000_000), Duration::from_secs(1));
    assert_eq!(head.series_count(), 0);
    assert_eq!(head.append(&origin(), &frame(2, &["b"], &[2_000_000])).kept, 1);
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(times in proptest::collection::vec(0_i64..500, 1..40), now in 0_i64..600) {
        let mut sorted_once = times.clone();
        sorted_once.sort_unstable();
        sorted_once.dedup();
        let (mut scrambled, mut ordered) = (Head::new(Limits::default()), Head::new(Limits::default()));
        for time in &times {
            scrambled.append(&origin(), &frame(1, &["a"], &[*time]));
        }
        ordered.append(&origin(), &frame(1, &["a"], &sorted_once));
        prop_assert_eq!(scrambled.sample_count(), sorted_once.len());
        prop_assert_eq!(values(&scrambled, "a", now), values(&ordered, "a", now));
        let newest = sorted_once.iter().rev().find(|time| **time <= now).map(|time| *time as f64);
        prop_assert_eq!(values(&scrambled, "a", now), newest.into_iter().collect::<Vec<_>>());
    }
}
