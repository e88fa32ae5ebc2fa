//! What an evaluation stores: instances as rows and back, alerts, notifications. Pure.

use super::Receivers;
use crate::store::{AlertRow, EvaluationRow, InstanceRow, OutboxRow};
use alerting::notification::{Envelope, Webhook, group_key};
use alerting::{AlertRule, Fingerprint, Instance, InstanceState, Reason, RuleState, Step, Transition};
use proto::name::Labels;
use proto::sample::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// Characters of `alert_name` and `severity` in SQL.
const ALERT_NAME_MAX: usize = 100;
/// See [`ALERT_NAME_MAX`].
const SEVERITY_MAX: usize = 20;

/// An instance as JSON. Times are milliseconds since 1970, durations milliseconds; the value is text, since JSON has
/// no infinity.
#[derive(Serialize, Deserialize)]
struct Body {
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    value: String,
    active_at: i64,
    fired_at: Option<i64>,
    resolved_at: Option<i64>,
    keep_firing_since: Option<i64>,
    last_sent_at: Option<i64>,
    held_ms: u64,
    absent_ms: u64,
}

/// Everything that a step of a rule changes, which took its state from `before` to `state`.
pub(super) fn evaluation(
    key: &str,
    rule: &AlertRule,
    (before, state): (&RuleState, &RuleState),
    step: &Step,
    at: Timestamp,
    receivers: &Receivers,
) -> EvaluationRow {
    let step = &with_beginnings(step, before);
    EvaluationRow {
        rule_key: key.into(),
        evaluated_at: at,
        instances: state.instances().map(|instance| to_row(key, instance)).collect(),
        alerts: alerts(key, step, at),
        outbox: outbox(key, &rule.name, &rule.expr, state.instances(), step, at, receivers),
    }
}

/// The step, where each firing that ended knows when it began: one that became pending again has forgotten it, but the
/// row and the message about its end must be of the firing that they were about when it began.
fn with_beginnings(step: &Step, before: &RuleState) -> Step {
    let mut step = step.clone();
    for change in step.transitions.iter_mut().filter(|change| change.from == InstanceState::Firing) {
        let began = before.get(change.fingerprint).and_then(|instance| instance.fired_at);
        change.instance.fired_at = began.or(change.instance.fired_at);
    }
    step
}

/// Everything that the end of a rule changes.
pub(super) fn retirement(key: &str, step: &Step, at: Timestamp, receivers: &Receivers) -> EvaluationRow {
    let name = step.transitions.first().and_then(|change| change.instance.labels.get("alertname")).unwrap_or_default();
    EvaluationRow {
        rule_key: key.into(),
        evaluated_at: at,
        instances: Vec::new(),
        alerts: alerts(key, step, at),
        outbox: outbox(key, name, "", std::iter::empty(), step, at, receivers),
    }
}

/// An instance as a row.
pub(super) fn to_row(key: &str, instance: &Instance) -> InstanceRow {
    let owned = |name: &str, value: &str| (name.to_string(), value.to_string());
    let body = Body {
        labels: instance.labels.iter().map(|label| owned(label.name(), label.value())).collect(),
        annotations: instance.annotations.clone(),
        value: instance.value.to_string(),
        active_at: instance.active_at.as_millis(),
        fired_at: instance.fired_at.map(Timestamp::as_millis),
        resolved_at: instance.resolved_at.map(Timestamp::as_millis),
        keep_firing_since: instance.keep_firing_since.map(Timestamp::as_millis),
        last_sent_at: instance.last_sent_at.map(Timestamp::as_millis),
        held_ms: millis(instance.held),
        absent_ms: millis(instance.absent),
    };
    InstanceRow {
        rule_key: key.into(),
        fingerprint: instance.fingerprint.to_string(),
        state: instance.state.as_str().into(),
        body: serde_json::to_value(body).unwrap_or(Value::Null),
    }
}

/// The instance of a row, or what is wrong with it.
pub(super) fn from_row(row: &InstanceRow) -> Result<Instance, String> {
    let body: Body = serde_json::from_value(row.body.clone()).map_err(|error| error.to_string())?;
    let pairs = body.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let labels = Labels::try_new(pairs).map_err(|error| error.to_string())?;
    Ok(Instance {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: body.annotations,
        state: InstanceState::parse(&row.state).map_err(|error| error.to_string())?,
        value: body.value.parse().map_err(|_| format!("value {:?} is no number", body.value))?,
        active_at: Timestamp::from_millis(body.active_at),
        fired_at: body.fired_at.map(Timestamp::from_millis),
        resolved_at: body.resolved_at.map(Timestamp::from_millis),
        keep_firing_since: body.keep_firing_since.map(Timestamp::from_millis),
        last_sent_at: body.last_sent_at.map(Timestamp::from_millis),
        held: Duration::from_millis(body.held_ms),
        absent: Duration::from_millis(body.absent_ms),
    })
}

/// A row of `alerts` for each instance that began or ceased to fire.
fn alerts(key: &str, step: &Step, at: Timestamp) -> Vec<AlertRow> {
    let told = step.transitions.iter().filter(|t| t.from == InstanceState::Firing || t.to == InstanceState::Firing);
    told.map(|change| alert(key, change, at)).collect()
}

fn alert(key: &str, change: &Transition, at: Timestamp) -> AlertRow {
    let instance = &change.instance;
    let fires = change.to == InstanceState::Firing;
    let name = instance.labels.get("alertname").unwrap_or_default();
    let annotation = |wanted: &str| {
        instance
            .annotations
            .iter()
            .find(|(name, text)| name == wanted && !text.is_empty())
            .map(|(_, text)| text.as_str())
    };
    let labels: Map<String, Value> =
        instance.labels.iter().map(|label| (label.name().into(), label.value().into())).collect();
    let annotations: Map<String, Value> =
        instance.annotations.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    let created_at = instance.fired_at.unwrap_or(instance.active_at);
    AlertRow {
        id: alert_id(key, instance.fingerprint, created_at),
        clinic_id: instance.labels.get("clinic_id").and_then(|text| Uuid::try_parse(text).ok()),
        alert_name: cut(name, ALERT_NAME_MAX),
        severity: cut(instance.labels.get("severity").unwrap_or("none"), SEVERITY_MAX),
        status: if fires { "active" } else { "resolved" }.into(),
        message: annotation("summary").or_else(|| annotation("description")).unwrap_or(name).into(),
        metadata: json!({
            "fingerprint": instance.fingerprint.to_string(),
            "labels": labels,
            "annotations": annotations,
            "value": instance.value.to_string(),
            "reason": change.reason.as_str(),
        }),
        created_at,
        resolved_at: (!fires).then(|| instance.resolved_at.unwrap_or(at)),
    }
}

/// The id of one firing: the same firing has the same id, however often its evaluation is stored.
fn alert_id(key: &str, fingerprint: Fingerprint, fired_at: Timestamp) -> Uuid {
    derived_id(&format!("alert\u{1f}{key}\u{1f}{fingerprint}\u{1f}{}", fired_at.as_millis()))
}

fn derived_id(text: &str) -> Uuid {
    uuid::Builder::from_custom_bytes(xxh3_128(text.as_bytes()).to_be_bytes()).into_uuid()
}

/// The message to each receiver, when an instance began or ceased to fire.
fn outbox<'i>(
    key: &str,
    alert_name: &str,
    expr: &str,
    instances: impl Iterator<Item = &'i Instance>,
    step: &Step,
    at: Timestamp,
    receivers: &Receivers,
) -> Vec<OutboxRow> {
    let began = step.transitions.iter().any(|change| change.to == InstanceState::Firing);
    let ended: Vec<Instance> = step.transitions.iter().filter_map(|change| ended(change, at)).collect();
    if !began && ended.is_empty() {
        return Vec::new();
    }
    let firing: Vec<&Instance> = instances.filter(|instance| instance.state == InstanceState::Firing).collect();
    let news = step.transitions.iter().filter(|change| change.to == InstanceState::Firing).count();
    let reason = match (began, firing.len() > news, firing.is_empty()) {
        (true, false, _) => "first notification",
        (true, true, _) => "new alerts added",
        (false, _, true) => "all alerts resolved",
        (false, _, false) => "some alerts resolved",
    };
    let message = |channel: &String| {
        let envelope = Envelope {
            receiver: channel,
            reason,
            external_url: &receivers.external_url,
            expr,
            max_alerts: Some(receivers.max_alerts),
        };
        let webhook = Webhook::new(alert_name, firing.iter().copied().chain(&ended), envelope)?;
        Some(OutboxRow {
            id: derived_id(&format!(
                "notification\u{1f}{channel}\u{1f}{key}\u{1f}{}\u{1f}{}",
                group_key(alert_name),
                at.as_millis()
            )),
            channel: channel.clone(),
            body: serde_json::to_value(webhook).ok()?,
            created_at: at,
            attempts: 0,
            next_attempt_at: at,
        })
    };
    receivers.channels.iter().filter_map(message).collect()
}

/// The instance as receivers are told that it is over; `None` where it did not fire, or nobody knows whether it is
/// over (the rule had too many).
fn ended(change: &Transition, at: Timestamp) -> Option<Instance> {
    let over = change.from == InstanceState::Firing
        && change.to != InstanceState::Firing
        && change.reason != Reason::LimitExceeded;
    over.then(|| Instance {
        state: InstanceState::Resolved,
        resolved_at: change.instance.resolved_at.or(Some(at)),
        ..change.instance.clone()
    })
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        (0_i64..4_000_000_000_000).prop_map(Timestamp::from_millis)
    }

    prop_compose! {
        fn instance()(
            service in "[a-z]{1,8}",
            text in "\\PC{0,20}",
            value in any::<f64>().prop_filter("a number", |value| !value.is_nan()),
            times in (time(), proptest::option::of(time()), proptest::option::of(time())),
            held in 0_u64..1_000_000,
            state in prop_oneof![Just(InstanceState::Pending), Just(InstanceState::Firing), Just(InstanceState::Resolved)],
        ) -> Instance {
            let labels = Labels::try_new([("alertname", "A"), ("service", service.as_str())]).expect("legal");
            Instance {
                fingerprint: Fingerprint::of(&labels),
                labels,
                annotations: vec![("summary".into(), text)],
                state,
                value,
                active_at: times.0,
                fired_at: times.1,
                resolved_at: times.2,
                keep_firing_since: times.1,
                last_sent_at: times.2,
                held: Duration::from_millis(held),
                absent: Duration::from_millis(held / 2),
            }
        }
    }

    proptest! {
        #[test]
        fn an_instance_comes_back_from_its_row_as_it_was(instance in instance()) {
            prop_assert_eq!(from_row(&to_row("g/A/0", &instance)), Ok(instance));
        }
    }

    #[test]
    fn the_same_firing_has_the_same_id_and_the_next_one_another() {
        let id = |at| alert_id("g/A/0", Fingerprint(7), Timestamp::from_millis(at));
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
    }

    #[test]
    fn a_row_that_this_program_never_wrote_is_named_not_believed() {
        let row = InstanceRow {
            rule_key: "k".into(),
            fingerprint: "0".into(),
            state: "firing".into(),
            body: json!({"labels": 5}),
        };
        assert!(from_row(&row).unwrap_err().contains("labels") || from_row(&row).is_err());
    }
}
