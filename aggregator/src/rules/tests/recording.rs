//! Rules of any expression: those that record, what reads what they recorded, and the series of alerts.

use super::desk::{Desk, INTERVAL, SECOND, began, ended, rules};
use promql::{Limits, Value};
use runtime::clock::Clock;
use std::time::Duration;

use crate::query::LiveSelect;
use crate::store::Scope;

/// A group `g` of these rules as YAML, each on a line.
fn group(lines: &[&str]) -> String {
    let rules: Vec<String> = lines.iter().map(|line| format!("  - {{{line}}}\n")).collect();
    format!("groups:\n- name: g\n  rules:\n{}", rules.concat())
}

/// What a query gives now, as `labels value`.
fn now(desk: &Desk, query: &str) -> Vec<String> {
    let source = LiveSelect { live: &desk.live, scope: Scope::AllClinics };
    let at = desk.live.look(|glance| glance.at);
    let answer = promql::parse(query).expect("a query").instant(&source, at, &Limits::default());
    let Value::Vector(points) = answer.expect("it can be evaluated").value else { panic!("a vector") };
    let label = |(name, value): (&str, &str)| format!("{name}={value}");
    let shown = points.iter().map(|point| {
        let labels: Vec<String> = point.labels.iter().map(label).collect();
        format!("{} {}", labels.join(","), point.value)
    });
    shown.collect()
}

#[tokio::test]
async fn what_a_rule_records_is_a_series_that_others_read_in_the_same_round() {
    let mut desk = Desk::new(&group(&[
        "record: 'service:cpu:max', expr: max by (service) (cpu), labels: {tier: one}",
        "alert: Hot, expr: 'service:cpu:max > 90'",
    ]))
    .await;
    desk.report(1, "cpu", &[50.0, 95.0]);
    desk.round().await;
    assert_eq!(now(&desk, "service:cpu:max"), ["__name__=service:cpu:max,service=agenda,tier=one 95"]);
    assert_eq!(desk.told().await, [began()]);
    assert_eq!(desk.stored().await.len(), 1, "a rule that records has no instances");
    desk.clock.advance(SECOND);
    desk.report(1, "cpu", &[50.0, 60.0]);
    desk.round().await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_recorded_series_ends_when_its_rule_no_longer_has_it() {
    let mut desk = Desk::new(&group(&["record: hot, expr: cpu > 90"])).await;
    desk.see(95.0).await;
    assert_eq!(now(&desk, "hot").len(), 1);
    desk.see(50.0).await;
    assert_eq!(now(&desk, "hot"), Vec::<String>::new());
}

#[tokio::test]
async fn a_sum_over_an_agent_that_is_not_heard_of_is_not_recorded_and_who_reads_it_is_unknown() {
    let text = group(&["record: sum, expr: sum(cpu)", "alert: Low, expr: sum < 100"]);
    let mut desk = Desk::new(&text).await;
    desk.hello(2).await;
    desk.cpu(1, 80.0);
    desk.cpu(2, 70.0);
    desk.round().await;
    assert_eq!(now(&desk, "sum"), ["__name__=sum 150"]);
    // Both agents were there before the restart, one of them comes back.
    desk.restart(&text, SECOND).await;
    desk.hello(1).await;
    desk.see(80.0).await;
    desk.clock.advance(INTERVAL);
    desk.cpu(1, 80.0);
    desk.round().await;
    assert_eq!(now(&desk, "sum"), Vec::<String>::new(), "80 alone is not the sum");
    let views = desk.engine.board.get();
    assert_eq!(views.iter().map(|view| view.health).collect::<Vec<_>>(), ["unknown", "unknown"]);
    assert_eq!(desk.told().await, Vec::new());
}

/// Two agents that were there before a restart, with 80 and 70; one comes back.
async fn half_back(text: &str) -> Desk {
    let mut desk = Desk::new(text).await;
    desk.hello(2).await;
    desk.cpu(1, 80.0);
    desk.cpu(2, 70.0);
    desk.round().await;
    assert_eq!(desk.told().await, Vec::new());
    desk.restart(text, SECOND).await;
    desk.hello(1).await;
    desk.see(80.0).await;
    desk
}

#[tokio::test]
async fn a_sum_that_lacks_an_agent_lets_nothing_begin() {
    let text = rules(&[("Low", "sum(cpu) < 100", ""), ("Few", "count by (service) (cpu) < 2", "")]);
    let mut desk = half_back(&text).await;
    assert_eq!((desk.told().await, desk.shown()), (Vec::new(), Vec::new()));
    assert_eq!(desk.health(), "unknown");
    desk.hello(2).await;
    desk.cpu(2, 10.0);
    desk.see(80.0).await;
    assert_eq!(desk.told().await, [began()], "90 is the sum of both; two are not few");
}

#[tokio::test]
async fn a_sum_that_is_too_great_already_is_told_although_it_lacks_an_agent() {
    let mut desk = half_back(&rules(&[("High", "sum(cpu) > 200", ""), ("Any", "max(cpu) > 90", "")])).await;
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()], "of the greatest");
    desk.see(250.0).await;
    assert_eq!(desk.told().await, [began(), began()]);
}

#[tokio::test]
async fn rules_that_read_each_other_are_evaluated_once_a_round() {
    let mut desk = Desk::new(&group(&["record: a, expr: cpu or b", "record: b, expr: a + 1"])).await;
    desk.see(1.0).await;
    let before = desk.evaluations("g");
    desk.round().await;
    assert_eq!(desk.evaluations("g"), before, "what they recorded wakes nobody");
    desk.see(2.0).await;
    assert_eq!(desk.evaluations("g"), before + 2);
}

#[tokio::test]
async fn a_rule_that_reads_itself_is_sure_again_when_its_agents_are_back() {
    let text = group(&["record: n, expr: 'count({__name__=~\"cpu|n\"})'", "alert: Many, expr: n > 10"]);
    let mut desk = half_back(&text).await;
    let health = |desk: &Desk| desk.engine.board.get().iter().map(|view| view.health).collect::<Vec<_>>();
    assert_eq!(health(&desk), ["unknown", "unknown"]);
    desk.hello(2).await;
    for _ in 0..3 {
        desk.cpu(2, 70.0);
        desk.see(80.0).await;
    }
    assert_eq!(health(&desk), ["ok", "ok"]);
    assert_eq!(now(&desk, "n").len(), 1);
}

#[tokio::test]
async fn an_alert_on_a_record_neither_ends_nor_begins_while_its_agents_are_away_whatever_labels_the_record_sets() {
    let text = group(&["record: s, expr: sum(cpu), labels: {service: fleet}", "alert: Low, expr: s < 100"]);
    let mut desk = Desk::new(&text).await;
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began()]);
    desk.restart(&text, SECOND).await;
    for _ in 0..5 {
        desk.clock.advance(SECOND);
        desk.round().await;
    }
    assert_eq!((desk.told().await, desk.health()), (vec![began()], "unknown"));
    desk.hello(1).await;
    desk.see(150.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn what_is_recorded_many_times_a_second_reaches_back_as_far_as_all_else() {
    let mut desk = Desk::new(&group(&["record: m, expr: cpu"])).await;
    for _ in 0..12_000 {
        desk.clock.advance(Duration::from_millis(50));
        desk.cpu(1, 5.0);
        desk.round().await;
    }
    assert_eq!(now(&desk, "m offset 9m").len(), 1);
    assert_eq!(now(&desk, "m").len(), 1, "and the newest is of now");
}

#[tokio::test]
async fn what_is_no_number_is_recorded_so_and_no_older_value_stands_for_it() {
    let mut desk = Desk::new(&group(&["record: ratio, expr: cpu / cpu", "alert: High, expr: ratio > 0.5"])).await;
    desk.see(1.0).await;
    assert_eq!(desk.told().await, [began()]);
    desk.see(0.0).await;
    assert!(now(&desk, "ratio")[0].ends_with(" NaN"));
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_rule_that_records_too_much_or_fails_says_so() {
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - {record: cores, expr: cpu}\n  - {record: both, expr: cpu + on () cpu}\n";
    let mut desk = Desk::new(text).await;
    desk.report(1, "cpu", &[1.0, 2.0]);
    desk.round().await;
    let views = desk.engine.board.get();
    let errors: Vec<&str> = views.iter().filter_map(|view| view.last_error.as_deref()).collect();
    assert_eq!(errors[0], "exceeded limit of 1 with 2 series");
    assert!(errors[1].contains("found duplicate series for the match group"), "{}", errors[1]);
    assert_eq!(now(&desk, "cores"), Vec::<String>::new());
}

#[tokio::test]
async fn alerts_are_series_while_they_are_active() {
    let mut desk = Desk::new(&rules(&[("Hot", "cpu > 90", "for: 2s")])).await;
    desk.see(95.0).await;
    let labels =
        |state: &str| format!("__name__=ALERTS,alertname=Hot,alertstate={state},instance=agenda-1,service=agenda 1");
    assert_eq!(now(&desk, "ALERTS"), [labels("pending")]);
    let since = desk.clock.wall().as_seconds().floor();
    desk.see(95.0).await;
    desk.see(95.0).await;
    assert_eq!(now(&desk, "ALERTS"), [labels("firing")]);
    assert_eq!(
        now(&desk, "ALERTS_FOR_STATE"),
        [format!("__name__=ALERTS_FOR_STATE,alertname=Hot,instance=agenda-1,service=agenda {since}")]
    );
    desk.see(50.0).await;
    assert_eq!(now(&desk, "{__name__=~\"ALERTS.*\"}"), Vec::<String>::new());
}

#[tokio::test]
async fn an_alert_whose_rule_records_now_ends() {
    let mut desk = Desk::new(&group(&["alert: hot, expr: cpu > 90"])).await;
    desk.see(95.0).await;
    assert_eq!(desk.statuses().await, ["active"]);
    desk.restart(&group(&["record: hot, expr: cpu > 90"]), Duration::from_secs(1)).await;
    let orphans = std::mem::take(&mut desk.orphans);
    assert!(desk.engine.retire(orphans).await.is_empty());
    assert_eq!(desk.statuses().await, ["resolved"]);
}
