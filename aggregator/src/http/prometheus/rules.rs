//! `/api/v1/rules` and `/api/v1/alerts`: what the rules say now, as Prometheus's API tells it.

use super::envelope::{ApiError, Kind, Reply};
use super::form::Form;
use crate::http::Shared;
use crate::http::agents::rfc3339;
use crate::http::alerts::{labels_json, texts_json};
use crate::http::latest::number;
use crate::rules::board::{RuleView, Shown};
use crate::store::Scope;
use alerting::{Instance, InstanceState};
use axum::extract::State;
use promql::{LabelSet, SeriesSelector};
use proto::sample::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every rule in its group, in the order of the file.
pub(super) async fn rules(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let wanted = Wanted::read(&form)?;
    let rules = service.pages.board.get();
    let groups = groups(&rules);
    let from = match form.text("group_next_token") {
        None => 0,
        Some(token) => groups.iter().position(|group| group.token() == token).ok_or_else(|| {
            ApiError::new(Kind::BadData, "invalid group_next_token: the rules changed since it was given")
        })?,
    };
    let most = form.limit("group_limit")?;
    if most.is_none() && form.text("group_next_token").is_some() {
        let why = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::parameter("group_limit", why));
    }
    let mut listed = Vec::new();
    let mut next = None;
    for group in &groups[from..] {
        let rules: Vec<Value> = group.rules.iter().filter_map(|rule| wanted.told(rule)).collect();
        if rules.is_empty() || !wanted.has_group(group) {
            continue;
        }
        if most.is_some_and(|most| listed.len() == most) {
            next = Some(group.token());
            break;
        }
        listed.push(group.to_json(&rules));
    }
    let mut data = json!({"groups": listed});
    if let Some(token) = next {
        data["groupNextToken"] = token.into();
    }
    Ok(Reply::of(&data))
}

/// Every alert that is pending or fires.
pub(super) async fn alerts(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let scope = form.scope()?;
    let rules = service.pages.board.get();
    let instances = rules.iter().flat_map(|rule| rule.state.instances());
    let active = instances.filter(|instance| instance.state.is_active());
    let within = active.filter(|instance| scope.admits(instance.labels.get("clinic_id")));
    let alerts: Vec<Value> = within.map(alert).collect();
    Ok(Reply::of(&json!({"alerts": alerts})))
}

/// Rules of one group.
struct Group<'a> {
    rules: Vec<&'a RuleView>,
}

impl Group<'_> {
    fn called(&self) -> &str {
        &self.rules[0].group
    }

    fn file(&self) -> &str {
        &self.rules[0].file
    }

    /// Names the group in a request for the ones from it on.
    fn token(&self) -> String {
        format!("{};{}", self.file(), self.called())
    }

    fn to_json(&self, rules: &[Value]) -> Value {
        let took: f64 = self.rules.iter().map(|rule| rule.took.as_secs_f64()).sum();
        let last = self.rules.iter().filter_map(|rule| rule.evaluated_at).max();
        json!({
            "name": self.called(),
            "file": self.file(),
            "rules": rules,
            "interval": self.rules[0].interval.as_secs_f64(),
            "limit": 0,
            "evaluationTime": took,
            "lastEvaluation": evaluated(last),
        })
    }
}

/// Rules that follow each other in one group of one file.
fn groups(rules: &[Arc<RuleView>]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for rule in rules {
        match groups.last_mut().filter(|group| (group.file(), group.called()) == (&rule.file, &rule.group)) {
            Some(group) => group.rules.push(rule),
            None => groups.push(Group { rules: vec![rule] }),
        }
    }
    groups
}

/// Which rules are asked for, and how much of each.
struct Wanted {
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<SeriesSelector>,
    /// Rules that alert.
    alerting: bool,
    /// Rules that record.
    recording: bool,
    with_alerts: bool,
    scope: Scope,
}

impl Wanted {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let many = |name: &'static str| form.all(name).map(str::to_owned).collect();
        let (alerting, recording) = match form.text("type").map(str::to_ascii_lowercase).as_deref() {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
        };
        let with_alerts = match form.text("exclude_alerts") {
            None | Some("false" | "0") => true,
            Some("true" | "1") => false,
            Some(other) => {
                return Err(ApiError::parameter("exclude_alerts", format!("{other:?} is neither true nor false")));
            }
        };
        Ok(Self {
            names: many("rule_name[]"),
            groups: many("rule_group[]"),
            files: many("file[]"),
            selectors: form.selectors()?,
            alerting,
            recording,
            with_alerts,
            scope: form.scope()?,
        })
    }

    fn has_group(&self, group: &Group<'_>) -> bool {
        let among = |wanted: &[String], name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
        among(&self.groups, group.called()) && among(&self.files, group.file())
    }

    /// A rule as it is told, if it is asked for.
    fn told(&self, rule: &RuleView) -> Option<Value> {
        let named = self.names.is_empty() || self.names.contains(&rule.name);
        let labels =
            LabelSet::from_pairs(rule.kind.labels().iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let selected = self.selectors.is_empty() || self.selectors.iter().any(|selector| selector.matches(&labels));
        let mut told = match &rule.kind {
            Shown::Alert { hold, keep_firing, annotations, .. } if self.alerting => {
                let mut told = self.alerting(rule);
                told["duration"] = hold.as_secs_f64().into();
                told["keepFiringFor"] = keep_firing.as_secs_f64().into();
                told["annotations"] = Value::Object(texts_json(annotations));
                told
            }
            Shown::Record { .. } if self.recording => json!({"type": "recording"}),
            _ => return None,
        };
        told["name"] = rule.name.as_str().into();
        told["query"] = rule.query.as_str().into();
        told["labels"] = Value::Object(texts_json(rule.kind.labels()));
        told["health"] = rule.health.into();
        told["evaluationTime"] = rule.took.as_secs_f64().into();
        told["lastEvaluation"] = evaluated(rule.evaluated_at).into();
        // A doubt names agents, which may be another clinic's.
        let doubt = rule.doubt.as_ref().filter(|_| self.scope == Scope::AllClinics);
        if let Some(error) = rule.last_error.as_ref().or(doubt) {
            told["lastError"] = error.as_str().into();
        }
        (named && selected).then_some(told)
    }

    /// What only a rule that alerts has: its state, and its alerts where they are asked for.
    fn alerting(&self, rule: &RuleView) -> Value {
        let active = || {
            let active = rule.state.instances().filter(|instance| instance.state.is_active());
            active.filter(|instance| self.scope.admits(instance.labels.get("clinic_id")))
        };
        let state = match active().map(|instance| instance.state).max() {
            Some(InstanceState::Firing) => "firing",
            Some(_) => "pending",
            None if rule.evaluated_at.is_none() => "unknown",
            None => "inactive",
        };
        let mut told = json!({"type": "alerting", "state": state});
        if self.with_alerts {
            told["alerts"] = active().map(alert).collect();
        }
        told
    }
}

fn alert(instance: &Instance) -> Value {
    let mut told = json!({
        "labels": labels_json(&instance.labels),
        "annotations": texts_json(&instance.annotations),
        "state": instance.state.as_str(),
        "activeAt": rfc3339(instance.active_at),
        "value": exponent(instance.value),
    });
    if let Some(since) = instance.keep_firing_since {
        told["keepFiringSince"] = rfc3339(since).into();
    }
    told
}

/// As Go writes a number with `%e` and as few digits as are needed: `1e+00`, `9.55e+01`.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return number(value);
    }
    let text = format!("{value:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// When; of what never was, what Prometheus says then.
fn evaluated(at: Option<Timestamp>) -> String {
    at.and_then(rfc3339).unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_alerts_have_an_exponent() {
        for (value, wanted) in [
            (1.0, "1e+00"),
            (95.5, "9.55e+01"),
            (0.0, "0e+00"),
            (-2.5e-7, "-2.5e-07"),
            (1e300, "1e+300"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(exponent(value), wanted);
        }
    }
}
