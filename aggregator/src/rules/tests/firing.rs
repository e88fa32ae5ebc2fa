//! What an evaluation makes of the data, and what it tells.

use super::desk::{Desk, SECOND, START, began, ended, hot, rules};
use proto::sample::Timestamp;

#[tokio::test]
async fn without_for_an_alert_fires_at_once_and_everything_is_stored_in_one_evaluation() {
    let mut desk = Desk::new(&hot("labels: {severity: critical}\nannotations: {summary: \"cpu {{ $value }}\"}")).await;
    desk.cpu(1, 95.0);
    desk.round().await;
    assert_eq!(desk.database.store.writes(), 1);
    let alerts = desk.alerts().await;
    let [alert] = alerts.as_slice() else { panic!("one alert, not {alerts:?}") };
    assert_eq!(
        (alert.alert_name.as_str(), alert.severity.as_str(), alert.status.as_str()),
        ("Hot", "critical", "active")
    );
    assert_eq!((alert.message.as_str(), alert.created_at, alert.resolved_at), ("cpu 95", START, None));
    assert_eq!(alert.metadata["labels"]["instance"], "agenda-1");
    assert_eq!(desk.stored().await, [("g/Hot/0".into(), "firing".into())]);
    let outbox = desk.outbox().await;
    let [message] = outbox.as_slice() else { panic!("one message, not {outbox:?}") };
    assert_eq!((message.channel.as_str(), message.created_at), ("webhook", START));
    assert_eq!(message.body["alerts"][0]["labels"]["service"], "agenda");
    assert_eq!(message.body["externalURL"], "https://monitoring.example");
    assert_eq!(desk.told().await, [began()]);
    assert_eq!(desk.shown(), ["firing"]);
}

#[tokio::test]
async fn with_for_an_alert_is_pending_until_it_has_held_and_pending_is_not_told() {
    let mut desk = Desk::new(&hot("for: 3s")).await;
    desk.cpu(1, 95.0);
    desk.round().await;
    for _ in 0..2 {
        desk.see(95.0).await;
        assert_eq!(desk.stored().await, [("g/Hot/0".into(), "pending".into())]);
        assert!(desk.told().await.is_empty() && desk.alerts().await.is_empty());
    }
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()]);
    assert_eq!(desk.alerts().await[0].created_at, START + 3 * SECOND);
    desk.see(10.0).await;
    desk.see(95.0).await;
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()], "what was pending for a second is nobody's news");
}

#[tokio::test]
async fn an_alert_that_ends_is_told_and_its_row_is_the_one_that_it_began_with() {
    let mut desk = Desk::new(&hot("")).await;
    for value in [95.0, 96.0, 10.0, 10.0, 97.0] {
        desk.see(value).await;
    }
    assert_eq!(desk.told().await, [began(), ended(), began()]);
    assert_eq!(desk.statuses().await, ["resolved", "active"]);
    let first = desk.alerts().await.pop().expect("two");
    assert_eq!((first.created_at, first.resolved_at), (START + SECOND, Some(START + 3 * SECOND)));
}

#[tokio::test]
async fn a_series_that_ends_ends_its_alert() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    desk.clock.advance(SECOND);
    desk.no_cpu();
    desk.round().await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn each_message_says_what_is_new_and_lists_all_that_fires() {
    let mut desk = Desk::new(&hot("")).await;
    desk.hello(2).await;
    for values in [[95.0, 10.0], [95.0, 96.0], [10.0, 96.0], [10.0, 10.0]] {
        desk.clock.advance(SECOND);
        desk.cpu(1, values[0]);
        desk.cpu(2, values[1]);
        desk.round().await;
    }
    let reasons: Vec<_> = desk.told().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["first notification", "new alerts added", "some alerts resolved", "all alerts resolved"]);
    let listed: Vec<_> = desk.outbox().await.iter().map(|row| row.body["alerts"].as_array().map(Vec::len)).collect();
    assert_eq!(listed, [Some(1), Some(2), Some(2), Some(1)]);
}

#[tokio::test]
async fn each_channel_gets_its_own_message_with_its_own_id() {
    let mut desk = Desk::with_channels(&hot(""), &["webhook", "plantao"]).await;
    desk.see(95.0).await;
    let outbox = desk.outbox().await;
    let mut channels: Vec<_> = outbox.iter().map(|row| row.channel.as_str()).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["plantao", "webhook"]);
    assert_ne!(outbox[0].id, outbox[1].id);
}

#[tokio::test]
async fn a_rule_that_fails_harms_no_other_and_keeps_what_it_had() {
    let text = rules(&[("Merged", "cpu > 90", "labels: {core: any}"), ("Hot", "cpu > 90", "")]);
    let mut desk = Desk::new(&text).await;
    desk.report(1, "cpu", &[95.0, 10.0]);
    desk.round().await;
    assert_eq!(desk.shown(), ["firing", "firing"]);
    // Both cores become one instance of the first rule: that is an error, and says so.
    for _ in 0..2 {
        desk.clock.advance(SECOND);
        desk.report(1, "cpu", &[95.0, 96.0]);
        desk.round().await;
    }
    assert_eq!(desk.shown(), ["firing", "firing", "firing"]);
    let views = desk.engine.board.get();
    assert_eq!((views[0].health, views[1].health), ("err", "ok"));
    assert!(views[0].last_error.as_deref().is_some_and(|error| error.contains("same labelset")));
    assert_eq!(desk.engine.meters.failures.with_label_values(&["g"]).get(), 2);
    assert_eq!(desk.evaluations("g"), 6);
    desk.clock.advance(SECOND);
    desk.report(1, "cpu", &[95.0, 10.0]);
    desk.round().await;
    assert_eq!(desk.engine.board.get()[0].health, "ok");
}

#[tokio::test]
async fn instances_beyond_the_limit_are_withdrawn_from_those_who_were_told_and_the_rule_shows_why() {
    let mut desk = Desk::new(&hot("").replace("- name: g", "- name: g\n  limit: 1")).await;
    desk.report(1, "cpu", &[95.0, 10.0]);
    desk.round().await;
    for _ in 0..2 {
        desk.clock.advance(SECOND);
        desk.report(1, "cpu", &[95.0, 96.0]);
        desk.round().await;
    }
    assert!(desk.shown().is_empty());
    let withdrawn = ("resolved".into(), "alerts withdrawn: their rule exceeded its limit".into());
    assert_eq!(desk.told().await, [began(), withdrawn.clone()], "once");
    assert_eq!(desk.alerts().await[0].metadata["reason"], "limit_exceeded");
    let view = desk.engine.board.get().remove(0);
    assert_eq!((view.health, view.last_error.as_deref()), ("err", Some("exceeded limit of 1 with 2 alerts")));
    assert_eq!(desk.engine.meters.rules.with_label_values(&["err"]).get(), 1.0);
    desk.clock.advance(SECOND);
    desk.report(1, "cpu", &[95.0, 10.0]);
    desk.round().await;
    assert_eq!(desk.told().await, [began(), withdrawn, began()], "it begins anew");
}

#[tokio::test]
async fn rules_of_one_name_are_one_group_which_is_over_when_none_of_them_fires() {
    let (warm, full) = ("labels: {severity: low}", "labels: {severity: high}");
    let mut desk = Desk::new(&rules(&[("Load", "cpu > 90", warm), ("Load", "memory > 90", full)])).await;
    for (cpu, memory) in [(95.0, 10.0), (95.0, 95.0), (10.0, 95.0), (10.0, 10.0)] {
        desk.clock.advance(SECOND);
        desk.report(1, "cpu", &[cpu]);
        desk.report(1, "memory", &[memory]);
        desk.round().await;
    }
    let told: Vec<_> = desk.told().await;
    let told: Vec<_> = told.iter().map(|(status, reason)| (status.as_str(), reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("firing", "first notification"),
            ("firing", "new alerts added"),
            ("firing", "some alerts resolved"),
            ("resolved", "all alerts resolved"),
        ]
    );
    let links = desk.outbox().await[1].body["alerts"].to_string();
    assert!(links.contains("memory+%3E+90") && links.contains("cpu+%3E+90"), "each links to its own rule: {links}");
}

#[tokio::test]
async fn two_rules_that_raise_the_same_labels_are_one_alert_to_those_who_are_told() {
    let mut desk = Desk::new(&rules(&[("Load", "cpu > 90", ""), ("Load", "memory > 90", "")])).await;
    for (cpu, memory) in [(95.0, 10.0), (95.0, 95.0), (10.0, 95.0), (10.0, 10.0)] {
        desk.clock.advance(SECOND);
        desk.report(1, "cpu", &[cpu]);
        desk.report(1, "memory", &[memory]);
        desk.round().await;
    }
    assert_eq!(desk.told().await, [began(), ended()]);
    assert_eq!(desk.statuses().await, ["resolved", "resolved"], "each rule has its own row");
}

#[tokio::test]
async fn a_thousand_alerts_at_once_are_all_told_in_messages_of_a_hundred() {
    let mut desk = Desk::new(&hot("")).await;
    desk.report(1, "cpu", &[95.0; 1_000]);
    desk.round().await;
    desk.clock.advance(SECOND);
    desk.report(1, "cpu", &[10.0; 1_000]);
    desk.round().await;
    let outbox = desk.outbox().await;
    let told = |status: &str| {
        let messages = outbox.iter().filter(|row| row.body["status"] == status);
        let alerts = messages.flat_map(|row| row.body["alerts"].as_array().expect("a list"));
        let cores: std::collections::BTreeSet<_> = alerts.map(|alert| alert["labels"]["core"].to_string()).collect();
        cores.len()
    };
    assert_eq!((outbox.len(), told("firing"), told("resolved")), (20, 1_000, 1_000));
}

#[tokio::test]
async fn an_alert_withdrawn_because_for_was_raised_closes_the_row_that_it_opened() {
    let mut desk = Desk::new(&hot("for: 2s")).await;
    for _ in 0..3 {
        desk.see(95.0).await;
    }
    assert_eq!(desk.statuses().await, ["active"]);
    let began_at = desk.alerts().await[0].created_at;
    desk.restart(&hot("for: 1h"), SECOND).await;
    desk.hello(1).await;
    desk.see(95.0).await;
    assert_eq!(desk.stored().await, [("g/Hot/0".into(), "pending".into())]);
    assert_eq!(desk.statuses().await, ["resolved"], "no row is left active for ever");
    assert_eq!(desk.alerts().await[0].created_at, began_at);
    let outbox = desk.outbox().await;
    assert_eq!(outbox.len(), 2);
    let starts: Vec<_> = outbox.iter().map(|row| row.body["alerts"][0]["startsAt"].clone()).collect();
    assert_eq!(starts[0], starts[1], "the end is about the alert that began");
}

#[tokio::test]
async fn a_query_offset_looks_at_how_things_were_before() {
    let mut desk = Desk::new(&hot("").replace("- name: g", "- name: g\n  query_offset: 10s")).await;
    desk.cpu(1, 95.0);
    desk.round().await;
    assert!(desk.told().await.is_empty());
    desk.clock.advance(10 * SECOND);
    desk.cpu(1, 10.0);
    desk.round().await;
    assert_eq!(desk.told().await, [began()]);
    assert_eq!(desk.alerts().await[0].created_at, Timestamp::from_millis(START.as_millis()));
    let made_at = desk.outbox().await[0].created_at;
    assert_eq!(made_at, START + 10 * SECOND, "the message is made now, whatever it is about");
}

#[tokio::test]
async fn the_numbers_of_pending_and_firing_instances_are_shown() {
    let mut desk = Desk::new(&rules(&[("Slow", "cpu > 90", "for: 1h"), ("Hot", "cpu > 90", "")])).await;
    desk.report(1, "cpu", &[95.0, 96.0, 97.0]);
    desk.round().await;
    let count = |state: &str| desk.engine.meters.alerts.with_label_values(&[state]).get();
    assert_eq!((count("pending"), count("firing")), (3.0, 3.0));
}
