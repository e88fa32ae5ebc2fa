use super::*;
use proptest::prelude::*;

fn rule(hold_for: u64, keep_firing_for: u64) -> AlertRule {
    AlertRule {
        name: "A".to_owned(),
        expr: "up == 0".to_owned(),
        hold_for: Duration::from_secs(hold_for),
        keep_firing_for: Duration::from_secs(keep_firing_for),
        labels: Vec::new(),
        annotations: Vec::new(),
        limit: 10,
        line: 1,
    }
}

fn found(value: f64) -> Found {
    Found { labels: Labels::EMPTY, annotations: vec![("summary".to_owned(), value.to_string())], value }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn moment(seconds: i64, advance: u64) -> Moment {
    Moment { at: at(seconds), advance: Duration::from_secs(advance) }
}

fn new(rule: &AlertRule, seconds: i64) -> Instance {
    Instance::appeared(Fingerprint(1), found(1.0), rule, at(seconds))
}

#[test]
fn every_state_prints_and_parses() {
    use InstanceState::{Firing, Inactive, Pending, Resolved};
    for state in [Inactive, Pending, Firing, Resolved] {
        assert_eq!(InstanceState::parse(state.as_str()), Ok(state));
        assert_eq!(state.to_string(), state.as_str());
    }
    assert_eq!(InstanceState::parse("Firing"), Err(InstanceStateError("Firing".to_owned())));
    assert_eq!([Firing, Pending, Resolved, Inactive].map(InstanceState::is_active), [true, true, false, false]);
}

#[test]
fn without_for_an_instance_fires_when_it_appears() {
    let instance = new(&rule(0, 0), 5);
    assert_eq!(instance.state, InstanceState::Firing);
    assert_eq!((instance.active_at, instance.fired_at), (at(5), Some(at(5))));
}

#[test]
fn with_for_it_fires_when_it_has_held_for_that_long_and_not_before() {
    let rule = rule(30, 0);
    let mut instance = new(&rule, 0);
    assert_eq!(instance.state, InstanceState::Pending);
    assert_eq!(instance.present(found(2.0), &rule, moment(29, 29)), None);
    assert_eq!(instance.present(found(3.0), &rule, moment(30, 1)), Some(Reason::HeldLongEnough));
    assert_eq!((instance.state, instance.fired_at), (InstanceState::Firing, Some(at(30))));
    assert_eq!((instance.value, instance.annotations[0].1.as_str()), (3.0, "3"));
}

#[test]
fn raising_for_above_the_time_held_takes_the_firing_back() {
    let mut instance = new(&rule(0, 0), 0);
    assert_eq!(instance.present(found(1.0), &rule(60, 0), moment(15, 15)), Some(Reason::ForRaised));
    assert_eq!((instance.state, instance.fired_at), (InstanceState::Pending, None));
    assert_eq!(instance.present(found(1.0), &rule(60, 0), moment(60, 45)), Some(Reason::HeldLongEnough));
}

#[test]
fn keep_firing_for_counts_from_the_first_miss_and_starts_over_when_it_returns() {
    let rule = rule(0, 30);
    let mut instance = new(&rule, 0);
    assert_eq!(instance.missed(&rule, moment(15, 15)), None);
    assert_eq!(instance.keep_firing_since, Some(at(15)));
    assert_eq!(instance.missed(&rule, moment(30, 15)), None);
    assert_eq!(instance.present(found(1.0), &rule, moment(45, 15)), None);
    assert_eq!((instance.keep_firing_since, instance.absent), (None, Duration::ZERO));
    assert_eq!(instance.missed(&rule, moment(60, 15)), None);
    assert_eq!(instance.missed(&rule, moment(75, 15)), None);
    assert_eq!(instance.missed(&rule, moment(90, 15)), Some(Reason::KeptLongEnough));
    assert_eq!((instance.state, instance.resolved_at), (InstanceState::Resolved, Some(at(90))));
}

#[test]
fn an_alert_never_ends_before_it_began_whatever_the_clock_says() {
    let rule = rule(0, 0);
    let mut instance = new(&rule, 3_600);
    assert_eq!(instance.missed(&rule, moment(15, 15)), Some(Reason::ConditionFalse));
    assert_eq!(instance.resolved_at, Some(at(3_600)));
}

proptest! {
    #[test]
    fn what_has_held_is_the_sum_of_what_passed(
        hold_for in 0u64..100,
        steps in prop::collection::vec((0u64..40, -4_000i64..4_000), 0..10),
    ) {
        let rule = rule(hold_for, 0);
        let mut instance = new(&rule, 0);
        let mut sum = 0;
        for (advance, wall) in steps {
            sum += advance;
            instance.present(found(1.0), &rule, moment(wall, advance));
            prop_assert_eq!(instance.held.as_secs(), sum);
            prop_assert_eq!(instance.state == InstanceState::Firing, sum >= hold_for);
            prop_assert_eq!(instance.fired_at.is_some(), instance.state == InstanceState::Firing);
            prop_assert!(instance.fired_at.is_none_or(|fired| fired >= instance.active_at));
        }
    }
}
