use super::*;
use crate::Fingerprint;
use proptest::prelude::*;
use proto::name::Labels;
use std::time::Duration;

fn instance(state: InstanceState, service: &str, summary: &str) -> Instance {
    let labels = Labels::try_new([("alertname", "FilaWhatsAppParada"), ("service", service), ("severity", "critical")])
        .expect("well formed");
    let fired_at = Timestamp::from_millis(1_795_442_590_000);
    let resolved = state == InstanceState::Resolved;
    Instance {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: vec![("runbook".to_owned(), "https://r".to_owned()), ("summary".to_owned(), summary.to_owned())],
        state,
        value: 4.0,
        active_at: fired_at - Duration::from_mins(5),
        fired_at: (state != InstanceState::Pending).then_some(fired_at),
        resolved_at: resolved.then_some(fired_at + Duration::from_millis(65_250)),
        keep_firing_since: None,
        held: Duration::from_mins(5),
        absent: Duration::ZERO,
    }
}

fn envelope(max_alerts: Option<usize>) -> Envelope<'static> {
    Envelope { receiver: "plantao", reason: "first notification", external_url: "https://mon.exemplo", max_alerts }
}

fn told(instances: &[Instance]) -> Vec<Told<'_>> {
    instances.iter().map(|instance| Told { instance, expr: "queue_consumers{queue=\"wa\"} == 0" }).collect()
}

fn webhooks(news: &[Instance], standing: &[Instance], max_alerts: Option<usize>) -> Vec<Webhook> {
    Webhook::messages("FilaWhatsAppParada", &told(news), &told(standing), envelope(max_alerts))
}

/// The one message about `news`.
fn webhook(news: &[Instance], standing: &[Instance], max_alerts: Option<usize>) -> Webhook {
    let mut messages = webhooks(news, standing, max_alerts);
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

#[test]
fn the_message_is_that_of_alertmanager() {
    let instances = [
        instance(InstanceState::Resolved, "agenda", "acabou"),
        instance(InstanceState::Firing, "mensageria", "fila sem consumo"),
        instance(InstanceState::Pending, "portal", "ainda não"),
    ];
    let message = webhook(&instances, &[], None);
    insta::assert_snapshot!(serde_json::to_string_pretty(&message).expect("plain data"), @r#"
    {
      "version": "4",
      "groupKey": "{}:{alertname=\"FilaWhatsAppParada\"}",
      "truncatedAlerts": 0,
      "status": "firing",
      "receiver": "plantao",
      "notification_reason": "first notification",
      "groupLabels": {
        "alertname": "FilaWhatsAppParada"
      },
      "commonLabels": {
        "alertname": "FilaWhatsAppParada",
        "severity": "critical"
      },
      "commonAnnotations": {
        "runbook": "https://r"
      },
      "routeLabels": {},
      "externalURL": "https://mon.exemplo",
      "alerts": [
        {
          "status": "firing",
          "labels": {
            "alertname": "FilaWhatsAppParada",
            "service": "mensageria",
            "severity": "critical"
          },
          "annotations": {
            "runbook": "https://r",
            "summary": "fila sem consumo"
          },
          "startsAt": "2026-11-23T14:03:10.000Z",
          "endsAt": "0001-01-01T00:00:00Z",
          "generatorURL": "https://mon.exemplo/graph?g0.expr=queue_consumers%7Bqueue%3D%22wa%22%7D+%3D%3D+0&g0.tab=1",
          "fingerprint": "cae3479d305f6802"
        },
        {
          "status": "resolved",
          "labels": {
            "alertname": "FilaWhatsAppParada",
            "service": "agenda",
            "severity": "critical"
          },
          "annotations": {
            "runbook": "https://r",
            "summary": "acabou"
          },
          "startsAt": "2026-11-23T14:03:10.000Z",
          "endsAt": "2026-11-23T14:04:15.250Z",
          "generatorURL": "https://mon.exemplo/graph?g0.expr=queue_consumers%7Bqueue%3D%22wa%22%7D+%3D%3D+0&g0.tab=1",
          "fingerprint": "72bcf8cd4944d16a"
        }
      ]
    }
    "#);
}

#[test]
fn nothing_to_tell_is_no_message() {
    assert_eq!(webhooks(&[], &[], None), []);
    assert_eq!(webhooks(&[instance(InstanceState::Pending, "a", "x")], &[], None), []);
    assert_eq!(webhooks(&[], &[instance(InstanceState::Firing, "a", "x")], None), [], "it was told before");
}

#[test]
fn cutting_the_list_never_makes_a_burning_group_look_over() {
    let over = [instance(InstanceState::Resolved, "a", "a")];
    let standing = ["b", "c", "z"].map(|service| instance(InstanceState::Firing, service, service));
    let message = webhook(&over, &standing, Some(1));
    assert_eq!((message.status, message.truncated_alerts, message.alerts.len()), (Status::Firing, 3, 1));
    assert_eq!(message.alerts[0].status, Status::Resolved, "what is new comes first");
    assert!(!message.common_annotations.contains_key("summary"), "those left out count");
    assert_eq!(webhook(&over, &standing, Some(0)).alerts.len(), 1, "a message tells something");
}

#[test]
fn an_alert_that_fires_while_a_hundred_others_do_is_told() {
    let many: Vec<Instance> = (0..300).map(|n| instance(InstanceState::Firing, &format!("s{n}"), "same")).collect();
    let newest = [instance(InstanceState::Firing, "newest", "same")];
    let message = webhook(&newest, &many, Some(100));
    assert_eq!(message.alerts[0].labels["service"], "newest");
    assert_eq!((message.alerts.len(), message.truncated_alerts), (100, 201));
}

#[test]
fn each_alert_links_to_the_expression_of_its_own_rule() {
    let (warm, hot) = (instance(InstanceState::Firing, "a", "x"), instance(InstanceState::Firing, "b", "x"));
    let (news, standing) = ([Told { instance: &hot, expr: "t > 9" }], [Told { instance: &warm, expr: "t > 5" }]);
    let message = Webhook::messages("Hot", &news, &standing, envelope(None)).remove(0);
    let links: Vec<bool> = message.alerts.iter().map(|alert| alert.generator_url.contains("t+%3E+9")).collect();
    assert_eq!(links, [true, false]);
}

#[test]
fn a_group_key_is_quoted_as_go_quotes() {
    assert_eq!(group_key("DemoAlert"), r#"{}:{alertname="DemoAlert"}"#);
    assert_eq!(group_key("a\"b\\c\nd\u{1}é'"), r#"{}:{alertname="a\"b\\c\nd\x01é'"}"#);
}

#[test]
fn a_link_carries_the_expression_as_go_escapes_it() {
    assert_eq!(
        generator_url("https://m", "a{b=~\"5..\"} > 0.2-é"),
        "https://m/graph?g0.expr=a%7Bb%3D~%225..%22%7D+%3E+0.2-%C3%A9&g0.tab=1"
    );
}

#[test]
fn times_are_rfc3339_in_milliseconds_and_never_fail() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_709_209_845_007, "2024-02-29T12:30:45.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(rfc3339(Timestamp::from_millis(millis)), text);
    }
    for millis in [i64::MAX, i64::MIN] {
        assert!(rfc3339(Timestamp::from_millis(millis)).ends_with('Z'));
    }
}

proptest! {
    #[test]
    fn nothing_that_changed_is_in_no_message_and_no_message_is_too_long(
        news in prop::collection::vec(0usize..3, 0..12),
        standing in 0usize..12,
        max_alerts in prop::option::of(0usize..8),
    ) {
        let kinds = [InstanceState::Pending, InstanceState::Firing, InstanceState::Resolved];
        let of = |(i, kind): (usize, &usize)| instance(kinds[*kind], &format!("new{i}"), "same");
        let changed: Vec<Instance> = news.iter().enumerate().map(of).collect();
        let on: Vec<Instance> =
            (0..standing).map(|i| instance(InstanceState::Firing, &format!("on{i}"), "same")).collect();
        let messages = webhooks(&changed, &on, max_alerts);
        let wanted: Vec<&Instance> = changed.iter().filter(|i| i.state != InstanceState::Pending).collect();
        let count = |fingerprint: &str| {
            messages.iter().flat_map(|m| &m.alerts).filter(|alert| alert.fingerprint == fingerprint).count()
        };
        for instance in &wanted {
            prop_assert_eq!(count(&instance.fingerprint.to_string()), 1, "each change is told once");
        }
        prop_assert_eq!(messages.is_empty(), wanted.is_empty());
        let fires = !on.is_empty() || news.contains(&1);
        for message in &messages {
            prop_assert!(!message.alerts.is_empty());
            prop_assert!(max_alerts.is_none_or(|max| message.alerts.len() <= max.max(1)));
            prop_assert_eq!(message.alerts.len() + message.truncated_alerts, wanted.len() + on.len());
            prop_assert_eq!(message.status == Status::Firing, fires);
            for alert in &message.alerts {
                prop_assert_eq!(alert.ends_at == ZERO_TIME, alert.status == Status::Firing);
                prop_assert!(message.common_labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value)));
                prop_assert_eq!(message.common_annotations.get("summary").map(String::as_str), Some("same"));
            }
        }
        let order: Vec<(bool, bool)> = messages
            .iter()
            .flat_map(|m| &m.alerts)
            .map(|alert| (alert.labels["service"].starts_with("on"), alert.status == Status::Resolved))
            .collect();
        prop_assert!(order.is_sorted(), "new, over, firing on: {:?}", order);
    }
}
