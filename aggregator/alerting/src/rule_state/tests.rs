use super::*;
use crate::evaluation::Point;
use crate::template::Template;
use proptest::prelude::*;
use proto::name::{Labels, MetricName};
use std::collections::BTreeSet;

mod timetable;
mod twin;

const INTERVAL: Duration = Duration::from_secs(15);

fn rule(hold_for: Duration, keep_firing_for: Duration, limit: usize) -> AlertRule {
    AlertRule {
        name: "A".to_owned(),
        expr: "m > 0".to_owned(),
        hold_for,
        keep_firing_for,
        labels: vec![("severity".to_owned(), Template::parse("critical").expect("plain"))],
        annotations: vec![("summary".to_owned(), Template::parse("{{ $labels.i }}={{ $value }}").expect("right"))],
        limit,
        line: 1,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::try_new(pairs.iter().copied()).expect("well formed")
}

fn point(instance: &str, value: f64) -> Point {
    Point { name: None, labels: labels(&[("i", instance)]), value }
}

fn fingerprint(instance: &str) -> Fingerprint {
    Fingerprint::of(&labels(&[("alertname", "A"), ("i", instance), ("severity", "critical")]))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn evaluation(seconds: i64, outcome: Result<Vec<Point>, String>) -> Evaluation {
    Evaluation { at: at(seconds), elapsed: INTERVAL, unheard: BTreeSet::new(), outcome }
}

/// `from>to reason` of each transition.
fn told(step: &Step) -> Vec<String> {
    step.transitions.iter().map(|t| format!("{}>{} {}", t.from, t.to, t.reason.as_str())).collect()
}

#[test]
fn an_instance_has_the_labels_of_the_sample_under_those_of_the_rule_and_the_name() {
    let mut state = RuleState::new();
    let sample = Point {
        name: MetricName::try_new("m").ok(),
        labels: labels(&[("i", "a"), ("severity", "low"), ("alertname", "other")]),
        value: 95.5,
    };
    let step = state.step(&rule(Duration::ZERO, Duration::ZERO, 10), evaluation(0, Ok(vec![sample])));
    assert_eq!(told(&step), ["inactive>firing condition_true"]);
    let instance = state.get(fingerprint("a")).expect("identity is that of the final labels");
    assert_eq!(instance.labels, labels(&[("alertname", "A"), ("i", "a"), ("severity", "critical")]));
    assert_eq!(instance.annotations, [("summary".to_owned(), "a=95.5".to_owned())]);
    assert_eq!(&step.transitions[0].instance, instance);
}

#[test]
fn value_and_annotations_are_those_of_the_last_evaluation_without_a_transition() {
    let rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    let step = state.step(&rule, evaluation(15, Ok(vec![point("a", 2.0)])));
    assert_eq!(step, Step::default());
    let instance = state.get(fingerprint("a")).expect("still there");
    assert_eq!((instance.value, instance.annotations[0].1.as_str()), (2.0, "a=2"));
}

#[test]
fn a_pending_instance_that_clears_is_removed_and_never_resolved() {
    let rule = rule(INTERVAL * 4, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    let step = state.step(&rule, evaluation(15, Ok(vec![])));
    assert_eq!(told(&step), ["pending>inactive condition_false"]);
    assert_eq!(step.removed, [fingerprint("a")]);
    assert_eq!(state.instances().len(), 0);
}

#[test]
fn two_samples_of_one_identity_fail_the_evaluation_and_change_nothing() {
    let mut rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    let before: Vec<Instance> = state.instances().cloned().collect();
    rule.labels.push(("i".to_owned(), Template::parse("same").expect("plain")));
    let step = state.step(&rule, evaluation(15, Ok(vec![point("a", 1.0), point("b", 1.0)])));
    assert_eq!(step, Step::default());
    assert_eq!(state.health(), Health::Err);
    let error = state.last_error().expect("an error");
    assert!(error.starts_with("vector contains metrics with the same labelset"), "{error}");
    assert_eq!(state.instances().cloned().collect::<Vec<_>>(), before);
}

#[test]
fn a_label_that_expands_to_no_label_value_fails_the_evaluation() {
    let mut rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let twice = "{{ $labels.i }}".repeat(2);
    rule.labels.push(("long".to_owned(), Template::parse(&twice).expect("right")));
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point(&"x".repeat(1024), 1.0)])));
    assert_eq!(state.health(), Health::Err);
    assert!(state.last_error().is_some_and(|error| error.contains("2048 bytes")), "{:?}", state.last_error());
}

#[test]
fn a_label_that_expands_to_nothing_is_no_label() {
    let mut rule = rule(Duration::ZERO, Duration::ZERO, 10);
    rule.labels.push(("zone".to_owned(), Template::parse("{{ $labels.zone }}").expect("right")));
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    assert!(state.get(fingerprint("a")).is_some());
}

#[test]
fn a_failure_is_recorded_and_the_next_success_clears_it() {
    let rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let mut state = RuleState::new();
    assert_eq!((state.health().as_str(), state.last_evaluated_at()), ("unknown", None));
    state.step(&rule, evaluation(0, Err("no storage".to_owned())));
    assert_eq!((state.health().as_str(), state.last_error()), ("err", Some("no storage")));
    assert_eq!(state.last_evaluated_at(), Some(at(0)));
    state.step(&rule, evaluation(15, Ok(vec![])));
    assert_eq!((state.health().as_str(), state.last_error()), ("ok", None));
}

#[test]
fn a_resolved_instance_is_remembered_for_fifteen_minutes() {
    let rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    let step = state.step(&rule, evaluation(15, Ok(vec![])));
    assert_eq!(told(&step), ["firing>resolved condition_false"]);
    assert_eq!(step.removed, []);
    for tick in 2..=61 {
        assert_eq!(state.step(&rule, evaluation(tick * 15, Ok(vec![]))), Step::default(), "tick {tick}");
    }
    let step = state.step(&rule, evaluation(62 * 15, Ok(vec![])));
    assert_eq!((step.transitions.len(), step.removed), (0, vec![fingerprint("a")]));
    assert_eq!(state.instances().len(), 0);
}

#[test]
fn exceeding_the_limit_fails_the_rule_and_drops_what_is_active_but_not_what_has_resolved() {
    let rule = rule(Duration::ZERO, Duration::ZERO, 2);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("over", 1.0)])));
    state.step(&rule, evaluation(15, Ok(vec![point("a", 1.0), point("b", 1.0)])));
    let points = ["b", "c", "d", "e"].map(|i| point(i, 1.0)).to_vec();
    let step = state.step(&rule, evaluation(30, Ok(points)));
    let mut told = told(&step);
    told.sort();
    assert_eq!(told, ["firing>inactive limit_exceeded", "firing>resolved condition_false"]);
    assert_eq!(step.removed, [fingerprint("b")], "c, d and e were never a row");
    assert_eq!(state.last_error(), Some("exceeded limit of 2 with 4 alerts"));
    let left: BTreeSet<Fingerprint> = state.instances().map(|instance| instance.fingerprint).collect();
    assert_eq!(left, BTreeSet::from([fingerprint("over"), fingerprint("a")]));
    assert_eq!(state.worst(), InstanceState::Inactive);
}

#[test]
fn a_resolved_instance_that_returns_in_a_crowd_leaves_its_row() {
    let rule = rule(Duration::ZERO, Duration::ZERO, 1);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    state.step(&rule, evaluation(15, Ok(vec![])));
    let step = state.step(&rule, evaluation(30, Ok(vec![point("a", 1.0), point("b", 1.0)])));
    assert_eq!((step.transitions.len(), step.removed), (0, vec![fingerprint("a")]));
    assert_eq!(state.instances().len(), 0);
}

#[test]
fn a_deleted_rule_resolves_what_fires_and_forgets_what_is_pending() {
    let rule = rule(INTERVAL, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    state.step(&rule, evaluation(15, Ok(vec![point("a", 1.0), point("b", 1.0)])));
    let step = state.delete_rule(at(20));
    let mut told = told(&step);
    told.sort();
    assert_eq!(told, ["firing>resolved rule_deleted", "pending>inactive rule_deleted"]);
    assert_eq!(step.removed, [fingerprint("b")]);
    let resolved = state.get(fingerprint("a")).expect("still to be told");
    assert_eq!((resolved.state, resolved.resolved_at), (InstanceState::Resolved, Some(at(20))));
    assert_eq!(state.delete_rule(at(21)), Step::default(), "only once");
}

#[test]
fn a_restart_moves_the_start_of_what_is_pending_by_the_time_we_were_down() {
    let rule = rule(INTERVAL * 4, Duration::ZERO, 10);
    let mut state = RuleState::new();
    state.step(&rule, evaluation(0, Ok(vec![point("a", 1.0)])));
    state.step(&rule, evaluation(15, Ok(vec![point("a", 1.0)])));
    let rows: Vec<Instance> = state.instances().cloned().collect();
    let restored = RuleState::restore(rows, state.last_evaluated_at(), at(615));
    let instance = restored.get(fingerprint("a")).expect("restored");
    assert_eq!((instance.active_at, instance.held), (at(600), INTERVAL));
    assert_eq!(restored.health(), Health::Unknown);
}

#[test]
fn an_instance_may_be_an_agents_unless_a_label_of_it_speaks_against_that() {
    let agent = |service: &str, instance: &str| Unheard { service: service.into(), instance: instance.into() };
    let unheard = BTreeSet::from([agent("agenda", "agenda-1")]);
    let mut rule = rule(Duration::ZERO, Duration::ZERO, 10);
    let may_be = |rule: &AlertRule, pairs: &[(&str, &str)]| is_unheard(&unheard, rule, &labels(pairs));
    assert!(may_be(&rule, &[("service", "agenda"), ("instance", "agenda-1"), ("core", "0")]));
    assert!(!may_be(&rule, &[("service", "agenda"), ("instance", "agenda-2")]));
    assert!(!may_be(&rule, &[("service", "fila"), ("instance", "agenda-1")]));
    assert!(may_be(&rule, &[("service", "agenda")]), "the expression has dropped the instance");
    assert!(!may_be(&rule, &[("service", "fila")]));
    assert!(may_be(&rule, &[("severity", "critical")]));
    rule.labels.push(("service".to_owned(), Template::parse("plantao").expect("plain")));
    assert!(may_be(&rule, &[("service", "plantao"), ("instance", "agenda-1")]), "that label is the rule's own");
    assert!(!may_be(&rule, &[("service", "plantao"), ("instance", "agenda-2")]));
    assert!(!is_unheard(&BTreeSet::new(), &rule, &Labels::EMPTY), "everybody is heard");
}

// --- laws ---

/// One evaluation of a random story: which of three instances are true (`None`: it fails), and how far the wall clock
/// moves beyond what passed, in seconds.
type Tick = (Option<[bool; 3]>, i64);

fn story() -> impl Strategy<Value = Vec<Tick>> {
    let truth = prop::option::weighted(0.9, prop::array::uniform3(prop::bool::weighted(0.6)));
    let jump = prop_oneof![6 => Just(0i64), 1 => -3_600i64..3_600, 1 => -14i64..14];
    prop::collection::vec((truth, jump), 1..30)
}

fn rules() -> impl Strategy<Value = AlertRule> {
    let limit = prop_oneof![4 => Just(10usize), 1 => Just(2)];
    (0u32..5, 0u32..4, limit).prop_map(|(hold, keep, limit)| rule(INTERVAL * hold, INTERVAL * keep, limit))
}

fn outcome(truth: Option<[bool; 3]>) -> Result<Vec<Point>, String> {
    let truth = truth.ok_or_else(|| "failed".to_owned())?;
    let names = ["a", "b", "c"].into_iter().zip(truth);
    Ok(names.filter(|(_, is)| *is).map(|(name, _)| point(name, 1.0)).collect())
}

/// What a story looks like from outside: state and `held` of each instance after each tick, and the transitions.
type Seen = Vec<(Vec<(Fingerprint, InstanceState, Duration)>, Vec<String>)>;

fn play(rule: &AlertRule, story: &[Tick], restart_before: Option<usize>) -> Seen {
    let mut state = RuleState::new();
    let (mut wall, mut seen) = (1_000_000, Vec::new());
    for (index, (truth, jump)) in story.iter().enumerate() {
        wall += 15 + jump;
        if restart_before == Some(index) {
            let rows: Vec<Instance> = state.instances().cloned().collect();
            wall += 7_200;
            state = RuleState::restore(rows, state.last_evaluated_at(), at(wall));
        }
        let step = state.step(rule, evaluation(wall, outcome(*truth)));
        let instances = state.instances().map(|i| (i.fingerprint, i.state, i.held)).collect();
        seen.push((instances, told(&step)));
    }
    seen
}

proptest! {
    #[test]
    fn transitions_tell_the_whole_story(rule in rules(), story in story()) {
        let mut state = RuleState::new();
        let mut shadow: BTreeMap<Fingerprint, InstanceState> = BTreeMap::new();
        let mut wall = 0;
        for (truth, jump) in story {
            wall += 15 + jump;
            let step = state.step(&rule, evaluation(wall, outcome(truth)));
            for transition in &step.transitions {
                let from = shadow.get(&transition.fingerprint).copied().unwrap_or(InstanceState::Inactive);
                prop_assert_eq!(from, transition.from);
                prop_assert_ne!(transition.from, transition.to);
                let from_pending = transition.from == InstanceState::Pending;
                prop_assert!(!(from_pending && transition.to == InstanceState::Resolved), "nobody was told it began");
                let resolves = transition.to == InstanceState::Resolved;
                prop_assert!(!resolves || transition.from == InstanceState::Firing);
                if transition.to == InstanceState::Firing {
                    prop_assert!(transition.instance.held >= rule.hold_for);
                    prop_assert!(transition.instance.fired_at.is_some());
                }
                shadow.insert(transition.fingerprint, transition.to);
            }
            for fingerprint in &step.removed {
                shadow.remove(fingerprint);
                prop_assert!(state.get(*fingerprint).is_none());
            }
            shadow.retain(|_, state| *state != InstanceState::Inactive);
            let now: BTreeMap<_, _> = state.instances().map(|i| (i.fingerprint, i.state)).collect();
            prop_assert_eq!(&now, &shadow);
            prop_assert!(state.instances().filter(|instance| instance.is_active()).count() <= rule.limit);
        }
    }

    #[test]
    fn the_same_evaluation_again_changes_nothing(rule in rules(), story in story()) {
        let mut state = RuleState::new();
        let mut wall = 0;
        for (truth, jump) in story {
            wall += 15 + jump.max(-14);
            state.step(&rule, evaluation(wall, outcome(truth)));
            if truth.is_some() && state.health() == Health::Err {
                continue; // over the limit: what was dropped no longer counts, as in Prometheus
            }
            let once = state.clone();
            let step = state.step(&rule, evaluation(wall, outcome(truth)));
            prop_assert_eq!(step, Step::default());
            prop_assert_eq!(&state, &once);
        }
    }

    #[test]
    fn what_the_wall_clock_does_changes_nothing_but_times_for_display(rule in rules(), story in story()) {
        let steady: Vec<Tick> = story.iter().map(|(truth, _)| (*truth, 0)).collect();
        // A clock set back by exactly one interval looks like the same evaluation again; that one case is left out.
        prop_assume!(story.iter().all(|(_, jump)| *jump != -15));
        prop_assert_eq!(play(&rule, &story, None), play(&rule, &steady, None));
    }

    #[test]
    fn a_restart_between_two_evaluations_changes_nothing(rule in rules(), story in story(), before in 0usize..30) {
        let story: Vec<Tick> = story.into_iter().map(|(truth, _)| (truth.or(Some([true; 3])), 0)).collect();
        prop_assert_eq!(play(&rule, &story, Some(before)), play(&rule, &story, None));
    }

    #[test]
    fn rows_read_back_at_once_are_the_state(rule in rules(), story in story()) {
        let mut state = RuleState::new();
        let mut wall = 0;
        for (truth, jump) in story {
            wall += 15 + jump;
            state.step(&rule, evaluation(wall, outcome(truth)));
            let rows: Vec<Instance> = state.instances().cloned().collect();
            let restored = RuleState::restore(rows, state.last_evaluated_at(), at(wall));
            prop_assert!(restored.instances().eq(state.instances()));
            prop_assert_eq!(restored.last_evaluated_at(), state.last_evaluated_at());
        }
    }

    #[test]
    fn a_failed_evaluation_leaves_every_instance_as_it_was(rule in rules(), story in story()) {
        let mut state = RuleState::new();
        for (tick, (truth, _)) in (0i64..).zip(story) {
            state.step(&rule, evaluation(tick * 30, outcome(truth)));
            let before: Vec<Instance> = state.instances().cloned().collect();
            prop_assert_eq!(state.step(&rule, evaluation(tick * 30 + 15, Err("gone".to_owned()))), Step::default());
            prop_assert!(state.instances().eq(before.iter()));
            prop_assert_eq!(state.health(), Health::Err);
        }
    }
}
