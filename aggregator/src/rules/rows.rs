//! What an evaluation stores: instances as rows and back, alerts, and the messages of `message`. Pure.

use super::{Receivers, message};
use crate::store::{AlertRow, EvaluationRow, InstanceRow};
use alerting::notification::Told;
use alerting::{Fingerprint, Instance, InstanceState, RuleState, Step, Transition};
use proto::exposition::push_float;
use proto::name::{Label, Labels};
use proto::sample::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// What surrounds a step of a rule.
pub(super) struct Scene<'a> {
    /// Names the rule in the database.
    pub(super) key: &'a str,
    /// The alert's name.
    pub(super) name: &'a str,
    /// The rule's expression.
    pub(super) expr: &'a str,
    /// When it was evaluated.
    pub(super) at: Timestamp,
    /// When that took place, which is later where data is waited for: messages are made now.
    pub(super) made_at: Timestamp,
    /// What other rules of that name have firing.
    pub(super) siblings: Vec<Told<'a>>,
    /// Whom to notify.
    pub(super) receivers: &'a Receivers,
}

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
    held_ms: u64,
    absent_ms: u64,
}

/// Everything that a step of a rule changes, which took its state from `before` to `state`.
pub(super) fn evaluation<'s>(
    scene: &Scene<'s>,
    (before, state): (&RuleState, &'s RuleState),
    step: &Step,
) -> EvaluationRow {
    let step = &with_beginnings(step, before);
    EvaluationRow {
        rule_key: scene.key.into(),
        evaluated_at: scene.at,
        instances: state.instances().map(|instance| to_row(scene.key, instance)).collect(),
        alerts: alerts(scene, step),
        outbox: message::outbox(scene, state.instances(), step),
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
pub(super) fn retirement(scene: &Scene, step: &Step) -> EvaluationRow {
    EvaluationRow {
        rule_key: scene.key.into(),
        evaluated_at: scene.at,
        instances: Vec::new(),
        alerts: alerts(scene, step),
        outbox: message::outbox(scene, std::iter::empty(), step),
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
    // A sample may have as many labels as a series may, and the rule's own come on top: together they are no series.
    let mut labels = Labels::EMPTY;
    for (name, value) in &body.labels {
        labels = labels.with(Label::try_new(name, value).map_err(|error| error.to_string())?);
    }
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
        held: Duration::from_millis(body.held_ms),
        absent: Duration::from_millis(body.absent_ms),
    })
}

/// A row of `alerts` for each instance that began or ceased to fire.
fn alerts(scene: &Scene, step: &Step) -> Vec<AlertRow> {
    let told = step.transitions.iter().filter(|t| t.from == InstanceState::Firing || t.to == InstanceState::Firing);
    told.map(|change| alert(scene, change)).collect()
}

fn alert(scene: &Scene, change: &Transition) -> AlertRow {
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
        id: alert_id(scene.key, instance.fingerprint, created_at),
        clinic_id: instance.labels.get("clinic_id").and_then(|text| Uuid::try_parse(text).ok()),
        alert_name: name.into(),
        severity: instance.labels.get("severity").unwrap_or("none").into(),
        status: if fires { "active" } else { "resolved" }.into(),
        message: annotation("summary").or_else(|| annotation("description")).unwrap_or(name).into(),
        metadata: json!({
            "fingerprint": instance.fingerprint.to_string(),
            "labels": labels,
            "annotations": annotations,
            "value": number(instance.value),
            "reason": change.reason.as_str(),
            "rule": scene.key,
        }),
        created_at,
        resolved_at: (!fires).then(|| instance.resolved_at.unwrap_or(scene.at)),
    }
}

/// The id of one firing: the same firing has the same id, however often its evaluation is stored.
fn alert_id(key: &str, fingerprint: Fingerprint, fired_at: Timestamp) -> Uuid {
    derived_id(&format!("alert\u{1f}{key}\u{1f}{fingerprint}\u{1f}{}", fired_at.as_millis()))
}

/// An id that the same text gives again.
pub(super) fn derived_id(text: &str) -> Uuid {
    uuid::Builder::from_custom_bytes(xxh3_128(text.as_bytes()).to_be_bytes()).into_uuid()
}

/// A value as the pages write it.
fn number(value: f64) -> String {
    let mut text = String::new();
    push_float(&mut text, value);
    text
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
            labels in 0_usize..70,
            state in prop_oneof![Just(InstanceState::Pending), Just(InstanceState::Firing), Just(InstanceState::Resolved)],
        ) -> Instance {
            let known = Labels::try_new([("alertname", "A"), ("service", service.as_str())]).expect("legal");
            // A sample's, and the rule's on top of them.
            let labels = (0..labels).fold(known, |labels, n| {
                labels.with(Label::try_new(&format!("l{n}"), "x").expect("legal"))
            });
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

    fn firing() -> Instance {
        let labels = Labels::try_new([("alertname", "A")]).expect("legal");
        Instance {
            fingerprint: Fingerprint::of(&labels),
            labels,
            annotations: Vec::new(),
            state: InstanceState::Firing,
            value: f64::INFINITY,
            active_at: Timestamp::ZERO,
            fired_at: Some(Timestamp::ZERO),
            resolved_at: None,
            keep_firing_since: None,
            held: Duration::ZERO,
            absent: Duration::ZERO,
        }
    }

    #[test]
    fn a_value_reads_the_same_in_the_table_and_on_the_pages() {
        assert_eq!([f64::INFINITY, f64::NAN, 95.5, 1e6].map(number), ["+Inf", "NaN", "95.5", "1000000"]);
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
        let problem = from_row(&row).expect_err("a number is no list of labels");
        assert!(problem.contains("invalid type: integer `5`"), "{problem}");
        let body = to_row("k", &firing()).body;
        let lost = InstanceRow { body: body.clone(), state: "gone".into(), ..row.clone() };
        assert!(from_row(&lost).expect_err("no state").contains("\"gone\" is not an alert state"));
        let mut unnamed = InstanceRow { body, ..row };
        unnamed.body["labels"] = json!([["a-b", "x"]]);
        assert!(from_row(&unnamed).expect_err("no label").contains("label name \"a-b\""));
    }
}
