//! `/api/alerts`: alerts that fire or fired, from the database, and those that are about to, from the rules.

use super::Shared;
use super::agents::rfc3339;
use super::latest::number;
use super::params::Given;
use super::problem::Problem;
use crate::rules::board::RuleView;
use crate::store::{AlertRow, Scope};
use alerting::{Instance, InstanceState};
use axum::Json;
use axum::extract::State;
use proto::name::Labels;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// Alerts of one answer, where it does not say.
const LIMIT: u32 = 100;
/// Alerts of one answer at the most.
const LIMIT_MAX: u32 = 1_000;

/// Which alerts are asked for.
#[derive(Clone, Copy)]
enum Wanted {
    /// `active` or `resolved` in the database.
    Stored(&'static str),
    /// Not yet firing: the database does not have them.
    Pending,
}

/// What a status is called; `firing` is what Prometheus says for `active`.
const STATUSES: &[(&str, Wanted)] = &[
    ("active", Wanted::Stored("active")),
    ("firing", Wanted::Stored("active")),
    ("resolved", Wanted::Stored("resolved")),
    ("pending", Wanted::Pending),
];

/// Alerts, newest first; where no status is asked for, all of them and the pending ones.
pub(super) async fn list(State(service): State<Shared>, given: Given) -> Result<Json<Value>, Problem> {
    let params = given.only(&["status", "clinic_id", "limit"])?;
    let (scope, limit) = (params.scope()?, params.limit(LIMIT, LIMIT_MAX)?);
    let wanted = params.choice("status", STATUSES)?;
    let most = limit as usize;
    // Memory before the database: what begins to fire in between is in both, not in neither.
    let mut rules = Vec::new();
    if !matches!(wanted, Some(Wanted::Stored(_))) {
        rules = service.pages.board.get();
    }
    let mut rows = Vec::new();
    if !matches!(wanted, Some(Wanted::Pending)) {
        let status = wanted.and_then(Wanted::stored);
        let read = service.pages.store.load_alerts(scope, status, limit.saturating_add(1)).await;
        rows = read.map_err(|error| Problem::store(&error))?;
    }
    let mut waiting = pending(&rules, scope, &firing(&rows), most.saturating_add(1));
    let truncated = rows.len() > most || waiting.len() > most;
    rows.truncate(most);
    waiting.truncate(most);
    let alerts: Vec<Value> = rows.iter().map(stored_json).collect();
    Ok(Json(json!({"alerts": alerts, "pending": waiting, "truncated": truncated})))
}

impl Wanted {
    fn stored(self) -> Option<&'static str> {
        match self {
            Self::Stored(status) => Some(status),
            Self::Pending => None,
        }
    }
}

fn stored_json(row: &AlertRow) -> Value {
    json!({
        "id": row.id,
        "clinic_id": row.clinic_id,
        "name": row.alert_name,
        "severity": row.severity,
        "status": row.status,
        "message": row.message,
        "created_at": rfc3339(row.created_at),
        "resolved_at": row.resolved_at.map(rfc3339),
        "metadata": row.metadata,
    })
}

/// The rules and fingerprints of the stored alerts that fire.
fn firing(rows: &[AlertRow]) -> HashSet<(&str, &str)> {
    let active = rows.iter().filter(|row| row.status == "active");
    active.filter_map(|row| Some((row.metadata["rule"].as_str()?, row.metadata["fingerprint"].as_str()?))).collect()
}

/// What is about to fire, but for what fires by now.
fn pending(rules: &[Arc<RuleView>], scope: Scope, firing: &HashSet<(&str, &str)>, most: usize) -> Vec<Value> {
    let instances = rules.iter().flat_map(|rule| rule.state.instances().map(move |instance| (rule, instance)));
    let waiting = instances.filter(|(rule, instance)| {
        let fires = || firing.contains(&(rule.key.as_str(), instance.fingerprint.to_string().as_str()));
        instance.state == InstanceState::Pending && !fires()
    });
    let within = waiting.filter(|(_, instance)| scope.admits(instance.labels.get("clinic_id")));
    within.take(most).map(|(rule, instance)| pending_json(rule, instance)).collect()
}

fn pending_json(rule: &RuleView, instance: &Instance) -> Value {
    json!({
        "fingerprint": instance.fingerprint.to_string(),
        "name": rule.name,
        "group": rule.group,
        "labels": labels_json(&instance.labels),
        "annotations": texts_json(&instance.annotations),
        "value": number(instance.value),
        "active_at": rfc3339(instance.active_at),
        "for_seconds": rule.kind.hold().as_secs_f64(),
        "held_seconds": instance.held.as_secs_f64(),
    })
}

pub(super) fn labels_json(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|label| (label.name().into(), label.value().into())).collect()
}

pub(super) fn texts_json(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect()
}
