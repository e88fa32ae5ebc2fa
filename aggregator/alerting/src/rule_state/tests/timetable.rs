//! Reads `timetables.txt` and plays each case; its head says how a case is written.

use super::*;
use proto::duration;

const TEXT: &str = include_str!("../timetables.txt");
/// Every instance of every case; each is of an agent of its own.
const EVERYBODY: &str = "abc";

#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    rows: BTreeMap<&'a str, Vec<&'a str>>,
}

fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for line in TEXT.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix("case: ") {
            cases.push(Case { name, rows: BTreeMap::new() });
            continue;
        }
        let mut words = line.split_whitespace();
        let row = words.next().expect("the line is not blank");
        cases.last_mut().expect("a case comes first").rows.insert(row, words.collect());
    }
    cases
}

fn seconds(text: &str) -> Duration {
    duration::parse(text).expect("a duration")
}

/// A point of the agent of instance `name`.
fn point_of(name: char) -> Point {
    let name = name.to_string();
    Point { name: None, labels: labels(&[("service", "s"), ("instance", &name)]), value: 1.0 }
}

/// The agents that are not heard of, and the outcome that a value says.
fn read_value(value: &str) -> (BTreeSet<Unheard>, Result<Vec<Point>, String>) {
    let (present, unheard) = match value.split_once('?') {
        Some((present, "")) => (present, EVERYBODY),
        Some((present, names)) => (present, names),
        None => (value, ""),
    };
    let agent = |name: char| Unheard { service: "s".into(), instance: name.to_string() };
    let outcome = match present {
        "!" => Err("it fails".to_owned()),
        "-" | "" => Ok(Vec::new()),
        names => Ok(names.chars().map(point_of).collect()),
    };
    (unheard.chars().map(agent).collect(), outcome)
}

fn letter(instance: Option<&Instance>) -> &'static str {
    match instance.map(|instance| (instance.state, instance.keep_firing_since)) {
        None | Some((InstanceState::Inactive, _)) => ".",
        Some((InstanceState::Pending, _)) => "P",
        Some((InstanceState::Firing, None)) => "F",
        Some((InstanceState::Firing, Some(_))) => "K",
        Some((InstanceState::Resolved, _)) => "R",
    }
}

/// States and health of instance `a` as the case plays.
fn play_case(case: &Case<'_>) -> (Vec<&'static str>, Vec<&'static str>) {
    let setting = |row: &str, default: &'static str| case.rows.get(row).map_or(default, |words| words[0]);
    let limit = setting("limit", "100").parse().expect("a number");
    let mut rule = rule(seconds(setting("for", "0s")), seconds(setting("keep_firing_for", "0s")), limit);
    let mut state = RuleState::new();
    let mut wall = Timestamp::from_millis(1_000_000_000_000);
    let (mut states, mut healths) = (Vec::new(), Vec::new());
    for (index, value) in case.rows["value"].iter().enumerate() {
        wall = wall + INTERVAL;
        let event = case.rows.get("event").map_or("_", |events| events[index]);
        match event.split_once('=') {
            Some(("for", text)) => rule.hold_for = seconds(text),
            Some(("down", text)) => {
                wall = wall + seconds(text);
                let rows: Vec<Instance> = state.instances().cloned().collect();
                state = RuleState::restore(rows, state.last_evaluated_at(), wall);
            }
            Some(_) => panic!("{}: unknown event {event}", case.name),
            None if event == "_" => {}
            None if event.starts_with('+') => wall = wall + seconds(&event[1..]),
            None => wall = wall - seconds(event.strip_prefix('-').expect("a jump")),
        }
        let (unheard, outcome) = read_value(value);
        state.step(&rule, Evaluation { at: wall, elapsed: INTERVAL, unheard, outcome });
        let a = state.instances().find(|instance| instance.labels.get("instance") == Some("a"));
        states.push(letter(a));
        healths.push(&state.health().as_str()[..1]);
    }
    (states, healths)
}

#[test]
fn every_timetable_is_kept() {
    let cases = cases();
    assert!(cases.len() > 20, "the file is read");
    for case in &cases {
        let (states, healths) = play_case(case);
        assert_eq!(states, case.rows["state"], "{}: states", case.name);
        let values = case.rows["value"].iter();
        let expected: Vec<&str> = match case.rows.get("health") {
            Some(health) => health.clone(),
            None if case.rows["value"].iter().any(|value| value.contains('?')) => continue,
            None => values.map(|value| if *value == "!" { "e" } else { "o" }).collect(),
        };
        assert_eq!(healths, expected, "{}: health", case.name);
    }
}
