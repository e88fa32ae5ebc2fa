//! The whole way through the public door: a rule file, three evaluations, a restart, the messages that people get.

use alerting::notification::{Envelope, Status, Told, Webhook};
use alerting::{AlertRule, Evaluation, Instance, InstanceState, Point, Reason, Rule, RuleState, Step, rule_file};
use proto::name::{Labels, MetricName};
use proto::sample::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

const RULES: &str = r#"
groups:
  - name: mensageria
    labels: {team: plataforma}
    rules:
      - alert: FilaWhatsAppParada
        expr: queue_consumers{queue="wa"} == 0
        for: 30s
        labels: {severity: critical, tenant: "{{ $labels.clinic_id }}"}
        annotations:
          summary: "{{ $labels.service }}: {{ $value }} consumidores em {{ $labels.__name__ }}"
"#;

const START: i64 = 1_795_442_560;

fn rule() -> AlertRule {
    let mut file = rule_file::parse("rules.yaml", RULES, &|_| Ok(())).expect("a good file");
    let Rule::Alert(rule) = file.groups.remove(0).rules.remove(0) else { panic!("an alert") };
    rule
}

fn point(service: &str) -> Point {
    Point {
        name: MetricName::try_new("queue_consumers").ok(),
        labels: Labels::try_new([("service", service), ("clinic_id", "clinica-17")]).expect("well formed"),
        value: 0.0,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((START + seconds) * 1000)
}

fn step(state: &mut RuleState, rule: &AlertRule, seconds: i64, services: &[&str]) -> Step {
    let outcome = Ok(services.iter().map(|service| point(service)).collect());
    let elapsed = Duration::from_secs(15);
    state.step(rule, Evaluation { at: at(seconds), elapsed, unheard: BTreeSet::new(), outcome })
}

fn message(state: &RuleState, rule: &AlertRule, reason: &str) -> Option<Webhook> {
    let envelope = Envelope { receiver: "plantao", reason, external_url: "https://mon.exemplo", max_alerts: None };
    let news: Vec<Told> = state.instances().map(|instance| Told { instance, expr: &rule.expr }).collect();
    Webhook::messages(&rule.name, &news, &[], envelope).pop()
}

#[test]
fn an_alert_is_pending_fires_survives_a_restart_and_resolves() {
    let rule = rule();
    let mut state = RuleState::new();

    let appeared = step(&mut state, &rule, 0, &["agenda"]);
    assert_eq!(appeared.transitions.len(), 1);
    assert_eq!(message(&state, &rule, "nothing yet"), None, "pending is nobody's business");

    step(&mut state, &rule, 15, &["agenda"]);
    let fired = step(&mut state, &rule, 30, &["agenda"]);
    assert_eq!(fired.transitions[0].reason, Reason::HeldLongEnough);
    let first = message(&state, &rule, "first notification").expect("it fires");
    assert_eq!(first.status, Status::Firing);
    assert_eq!(first.alerts[0].starts_at, "2026-11-23T14:03:10.000Z");
    assert_eq!(first.alerts[0].annotations["summary"], "agenda: 0 consumidores em queue_consumers");
    let labels: Vec<(&str, &str)> = first.alerts[0].labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        labels,
        [
            ("alertname", "FilaWhatsAppParada"),
            ("clinic_id", "clinica-17"),
            ("service", "agenda"),
            ("severity", "critical"),
            ("team", "plataforma"),
            ("tenant", "clinica-17"),
        ]
    );

    let rows: Vec<Instance> = state.instances().cloned().collect();
    let mut state = RuleState::restore(rows, state.last_evaluated_at(), at(630));
    assert_eq!(message(&state, &rule, "first notification"), Some(first), "a restart is not news");

    let resolved = step(&mut state, &rule, 645, &[]);
    assert_eq!(resolved.transitions[0].to, InstanceState::Resolved);
    let last = message(&state, &rule, "all alerts resolved").expect("it has resolved");
    assert_eq!((last.status, last.alerts[0].ends_at.as_str()), (Status::Resolved, "2026-11-23T14:13:25.000Z"));
}

#[test]
fn one_message_speaks_of_all_instances_of_an_alert() {
    let rule = rule();
    let mut state = RuleState::new();
    for seconds in [0, 15, 30] {
        step(&mut state, &rule, seconds, &["agenda", "portal"]);
    }
    step(&mut state, &rule, 45, &["agenda"]);
    let message = message(&state, &rule, "some alerts resolved").expect("one fires, one has resolved");
    let told: Vec<(Status, &str)> = message.alerts.iter().map(|a| (a.status, a.labels["service"].as_str())).collect();
    assert_eq!(told, [(Status::Firing, "agenda"), (Status::Resolved, "portal")]);
    assert_eq!(message.group_key, "{}:{alertname=\"FilaWhatsAppParada\"}");
    assert!(!message.common_labels.contains_key("service"));
}

#[test]
fn the_key_of_an_alert_is_the_same_in_the_state_the_message_and_after_a_restart() {
    let rule = rule();
    let mut state = RuleState::new();
    for seconds in [0, 15, 30] {
        step(&mut state, &rule, seconds, &["agenda"]);
    }
    let instance = state.instances().next().expect("one");
    let shown = message(&state, &rule, "x").expect("it fires").alerts[0].fingerprint.clone();
    assert_eq!(shown, instance.fingerprint.to_string());
    assert_eq!(shown.parse(), Ok(instance.fingerprint));
    assert_eq!(alerting::Fingerprint::of(&instance.labels), instance.fingerprint);
}
