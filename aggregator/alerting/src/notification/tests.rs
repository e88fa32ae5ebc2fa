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
        last_sent_at: None,
        held: Duration::from_mins(5),
        absent: Duration::ZERO,
    }
}

fn envelope(max_alerts: Option<usize>) -> Envelope<'static> {
    Envelope {
        receiver: "plantao",
        reason: "first notification",
        external_url: "https://mon.exemplo",
        expr: "queue_consumers{queue=\"wa\"} == 0",
        max_alerts,
    }
}

fn webhook(instances: &[Instance], max_alerts: Option<usize>) -> Option<Webhook> {
    Webhook::new("FilaWhatsAppParada", instances, envelope(max_alerts))
}

#[test]
fn the_message_is_that_of_alertmanager() {
    let instances = [
        instance(InstanceState::Resolved, "agenda", "acabou"),
        instance(InstanceState::Firing, "mensageria", "fila sem consumo"),
        instance(InstanceState::Pending, "portal", "ainda não"),
    ];
    let message = webhook(&instances, None).expect("two alerts");
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
    assert_eq!(webhook(&[], None), None);
    assert_eq!(webhook(&[instance(InstanceState::Pending, "a", "x")], None), None);
}

#[test]
fn cutting_the_list_never_makes_a_burning_group_look_over() {
    let mut instances: Vec<Instance> =
        ["a", "b", "c"].map(|service| instance(InstanceState::Resolved, service, service)).to_vec();
    instances.push(instance(InstanceState::Firing, "z", "z"));
    let message = webhook(&instances, Some(1)).expect("alerts");
    assert_eq!((message.status, message.truncated_alerts, message.alerts.len()), (Status::Firing, 3, 1));
    assert_eq!(message.alerts[0].status, Status::Firing);
    assert!(!message.common_annotations.contains_key("summary"), "those left out count");
    let nothing_shown = webhook(&instances, Some(0)).expect("alerts");
    assert_eq!((nothing_shown.status, nothing_shown.truncated_alerts), (Status::Firing, 4));
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
    fn the_message_counts_and_orders_its_alerts(
        states in prop::collection::vec(0usize..3, 0..8),
        max_alerts in prop::option::of(0usize..8),
    ) {
        let kinds = [InstanceState::Pending, InstanceState::Firing, InstanceState::Resolved];
        let instances: Vec<Instance> =
            states.iter().enumerate().map(|(i, kind)| instance(kinds[*kind], &format!("s{i}"), "same")).collect();
        let firing = states.iter().filter(|kind| **kind == 1).count();
        let told = states.iter().filter(|kind| **kind > 0).count();
        let Some(message) = webhook(&instances, max_alerts) else {
            prop_assert_eq!(told, 0);
            return Ok(());
        };
        prop_assert_eq!(message.alerts.len() + message.truncated_alerts, told);
        prop_assert!(max_alerts.is_none_or(|max| message.alerts.len() <= max));
        prop_assert_eq!(message.status == Status::Firing, firing > 0);
        let order = |alert: &Alert| (alert.status == Status::Resolved, alert.fingerprint.clone());
        prop_assert!(message.alerts.is_sorted_by_key(order));
        for alert in &message.alerts {
            prop_assert_eq!(alert.ends_at == ZERO_TIME, alert.status == Status::Firing);
            prop_assert!(message.common_labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value)));
            prop_assert_eq!(message.common_annotations.get("summary").map(String::as_str), Some("same"));
        }
    }
}
