//! `/api/agents`, `/api/metrics/latest`, `/api/alerts`.

use super::house::{House, START, late};
use crate::rules::board::{RuleView, Shown};
use crate::store::{AlertRow, EvaluationRow};
use alerting::{Instance, InstanceState, RuleState};
use proto::sample::STALE;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLINIC: Uuid = Uuid::from_u128(0xc1);
const OTHER: Uuid = Uuid::from_u128(0xc2);

#[tokio::test]
async fn agents_are_listed_with_their_state_and_clock() {
    let house = House::open().await;
    let first = house.agent("agenda", Some(CLINIC));
    let second = house.agent("mensageria", None);
    house.pages.live.goodbye(second);
    let answer = house.get("/api/agents").await.json();
    let wanted = json!({
        "id": first, "service": "agenda", "instance": "agenda-1", "clinic_id": CLINIC, "state": "up", "version": "0.1.0",
        "interval_seconds": 30.0, "first_seen": "2026-11-24T00:00:00Z", "last_seen": "2026-11-24T00:00:00Z",
        "stopped_at": null, "clock_offset_seconds": 0.0, "position": null,
    });
    assert_eq!(answer["agents"][0], wanted);
    assert_eq!(answer["agents"][1]["state"], "stopped");
    let of_clinic = house.get(&format!("/api/agents?clinic_id={CLINIC}")).await.json();
    assert_eq!(of_clinic["agents"].as_array().map(Vec::len), Some(1));
}

/// The names and values of an answer of `/api/metrics/latest`.
fn values(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let metrics = answer["metrics"].as_array().expect("a list").iter();
    metrics.map(|metric| (text(&metric["metric"]["__name__"]), text(&metric["value"][1]))).collect()
}

#[tokio::test]
async fn the_latest_samples_are_written_as_prometheus_writes_them() {
    let house = House::open().await;
    let agent = house.agent("agenda", Some(CLINIC));
    house.reports(agent, &[("a", &[("x", "é\n")], 1.5), ("b_total", &[], f64::INFINITY), ("gone", &[], STALE)]);
    let answer = house.get("/api/metrics/latest").await.json();
    let wanted = json!({
        "metric": {"__name__": "a", "x": "é\n", "service": "agenda", "instance": "agenda-1", "clinic_id": CLINIC},
        "value": [START.as_seconds(), "1.5"],
        "kind": "gauge",
    });
    assert_eq!(answer["metrics"][0], wanted);
    assert_eq!(values(&answer), [("a".into(), "1.5".into()), ("b_total".into(), "+Inf".into())]);
    assert_eq!(answer["truncated"], false);
}

#[tokio::test]
async fn the_latest_samples_are_filtered_by_name_and_labels_and_cut_at_the_limit() {
    let house = House::open().await;
    for (service, clinic) in [("agenda", CLINIC), ("mensageria", OTHER)] {
        let agent = house.agent(service, Some(clinic));
        house.reports(agent, &[("a", &[], 1.0), ("b", &[], 2.0)]);
    }
    for (query, found) in [
        ("", 4),
        ("?name=a", 2),
        ("?name=c", 0),
        ("?service=agenda", 2),
        ("?service=agenda&name=b", 1),
        ("?instance=mensageria-1", 2),
        (&format!("?clinic_id={OTHER}"), 2),
        (&format!("?clinic_id={OTHER}&service=agenda"), 0),
    ] {
        let answer = house.get(&format!("/api/metrics/latest{query}")).await.json();
        assert_eq!(values(&answer).len(), found, "{query}");
        assert_eq!(answer["truncated"], false, "{query}");
    }
    let cut = house.get("/api/metrics/latest?limit=3").await.json();
    assert_eq!((values(&cut).len(), &cut["truncated"]), (3, &json!(true)));
}

fn alert(number: u128, clinic_id: Option<Uuid>, status: &str) -> AlertRow {
    AlertRow {
        id: Uuid::from_u128(number),
        clinic_id,
        alert_name: format!("Alert{number}"),
        severity: "critical".into(),
        status: status.into(),
        message: "something is wrong".into(),
        metadata: json!({"labels": {"service": "agenda"}}),
        created_at: START + Duration::from_secs(u64::try_from(number).expect("small")),
        resolved_at: (status == "resolved").then_some(START + Duration::from_secs(60)),
    }
}

fn instance(state: InstanceState, clinic_id: Option<Uuid>) -> Instance {
    let clinic = clinic_id.map(|id| id.to_string().to_uppercase()).unwrap_or_default();
    late(&[("clinic_id", &clinic)], state)
}

/// Two active alerts and a resolved one in the database, two pending and a firing one on the board.
async fn with_alerts() -> House {
    let house = House::open().await;
    let alerts = vec![alert(1, Some(CLINIC), "active"), alert(2, None, "active"), alert(3, Some(OTHER), "resolved")];
    let evaluation = EvaluationRow { rule_key: "r".into(), evaluated_at: START, alerts, ..EvaluationRow::default() };
    house.pages.store.save_evaluation(&evaluation).await.expect("saved");
    let (pending, firing) = (InstanceState::Pending, InstanceState::Firing);
    let instances = [instance(pending, Some(CLINIC)), instance(pending, None), instance(firing, Some(OTHER))];
    house.pages.board.set(vec![RuleView {
        key: "g/Late/0".into(),
        file: "rules.yaml".into(),
        group: "g".into(),
        name: "Late".into(),
        query: "x > 1".into(),
        kind: Shown::Alert {
            hold: Duration::from_secs(300),
            keep_firing: Duration::ZERO,
            labels: Vec::new(),
            annotations: Vec::new(),
        },
        health: "ok",
        evaluated_at: Some(START),
        state: Arc::new(RuleState::restore(instances, None, START)),
        ..RuleView::default()
    }]);
    house
}

/// Names of the stored alerts, and how many are pending.
async fn alerts(house: &House, query: &str) -> (Vec<String>, usize) {
    let answer = house.get(&format!("/api/alerts{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let answer = answer.json();
    let stored = answer["alerts"].as_array().expect("a list").iter();
    let names = stored.map(|alert| alert["name"].as_str().expect("a name").to_owned()).collect();
    (names, answer["pending"].as_array().expect("a list").len())
}

#[tokio::test]
async fn alerts_are_read_by_status_newest_first() {
    let house = with_alerts().await;
    let names = |numbers: &[u8]| -> Vec<String> { numbers.iter().map(|number| format!("Alert{number}")).collect() };
    assert_eq!(alerts(&house, "").await, (names(&[3, 2, 1]), 2));
    assert_eq!(alerts(&house, "?status=active").await, (names(&[2, 1]), 0));
    assert_eq!(alerts(&house, "?status=firing").await, (names(&[2, 1]), 0));
    assert_eq!(alerts(&house, "?status=resolved").await, (names(&[3]), 0));
    assert_eq!(alerts(&house, "?status=pending").await, (vec![], 2));
    assert_eq!(alerts(&house, "?limit=1").await, (names(&[3]), 1));
    assert_eq!(house.get("/api/alerts?limit=1").await.json()["truncated"], true);
    assert_eq!(house.get("/api/alerts?limit=3").await.json()["truncated"], false);
}

#[tokio::test]
async fn an_alert_that_begins_to_fire_while_we_read_is_shown_once() {
    let house = with_alerts().await;
    assert_eq!(alerts(&house, &format!("?clinic_id={CLINIC}")).await, (vec!["Alert1".into()], 1));
    // The rules have stored it, and not yet shown it.
    let waiting = instance(InstanceState::Pending, Some(CLINIC)).fingerprint.to_string();
    for (rule, pending) in [("g/Other/0", 1), ("g/Late/0", 0)] {
        let metadata = json!({"rule": rule, "fingerprint": waiting});
        let began = AlertRow { alert_name: "Late".into(), metadata, ..alert(4, Some(CLINIC), "active") };
        let evaluation = EvaluationRow {
            rule_key: "r".into(),
            evaluated_at: START,
            alerts: vec![began],
            ..EvaluationRow::default()
        };
        house.pages.store.save_evaluation(&evaluation).await.expect("saved");
        let shown = alerts(&house, &format!("?clinic_id={CLINIC}")).await;
        assert_eq!(shown, (vec!["Late".into(), "Alert1".into()], pending), "{rule}");
    }
}

#[tokio::test]
async fn an_alert_and_a_pending_one_say_everything() {
    let house = with_alerts().await;
    let answer = house.get("/api/alerts").await.json();
    assert_eq!(
        answer["alerts"][0],
        json!({
            "id": Uuid::from_u128(3), "clinic_id": OTHER, "name": "Alert3", "severity": "critical", "status": "resolved",
            "message": "something is wrong", "created_at": "2026-11-24T00:00:03Z", "resolved_at": "2026-11-24T00:01:00Z",
            "metadata": {"labels": {"service": "agenda"}},
        })
    );
    let mut pending = answer["pending"][0].clone();
    assert_eq!(pending["fingerprint"].take().as_str().map(str::len), Some(16));
    assert_eq!(
        pending,
        json!({
            "fingerprint": null, "name": "Late", "group": "g", "labels": {"alertname": "Late"},
            "annotations": {"summary": "late"}, "value": "95.5", "active_at": "2026-11-24T00:00:00Z",
            "for_seconds": 300.0, "held_seconds": 30.0,
        })
    );
}

#[tokio::test]
async fn a_clinic_never_sees_anothers_alerts_nor_those_of_none() {
    let house = with_alerts().await;
    assert_eq!(alerts(&house, &format!("?clinic_id={CLINIC}")).await, (vec!["Alert1".into()], 1));
    assert_eq!(alerts(&house, &format!("?clinic_id={OTHER}")).await, (vec!["Alert3".into()], 0));
    assert_eq!(alerts(&house, &format!("?clinic_id={}", Uuid::nil())).await, (vec![], 0));
}

#[tokio::test]
async fn a_wrong_parameter_is_refused_by_its_name() {
    let house = House::open().await;
    for (path, error) in [
        (
            "/api/alerts?status=bad",
            r#"parameter "status" is "bad", but must be one of active, firing, resolved, pending"#,
        ),
        ("/api/alerts?limit=0", r#"parameter "limit" is "0", but must be a number from 1 to 1000"#),
        ("/api/metrics/latest?limit=10001", r#"parameter "limit" is "10001", but must be a number from 1 to 10000"#),
        ("/api/metrics/latest?limit=ten", r#"parameter "limit" is "ten", but must be a number from 1 to 10000"#),
        ("/api/agents?clinic_id=1", r#"parameter "clinic_id" is "1", but must be a UUID"#),
        ("/api/agents?clinic_id=", r#"parameter "clinic_id" is "", but must be a UUID"#),
        ("/api/metrics/latest?name=a&name=b", r#"parameter "name" is given twice"#),
        ("/api/agents?clinik=x", r#"parameter "clinik" is not known"#),
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["error"], error, "{path}");
    }
    let unknown = house.get("/api/alerts?clinic=x").await.json();
    assert_eq!(unknown["what_to_do"], "known here: status, clinic_id, limit");
    let long = house.get(&format!("/api/alerts?{}=1", "é".repeat(500))).await;
    assert!(long.status == 400 && long.text.len() < 300, "{}", long.text);
}

#[tokio::test]
async fn while_the_database_is_away_alerts_are_503_and_what_is_in_memory_goes_on() {
    let house = with_alerts().await;
    house.pages.store.close().await;
    let answer = house.get("/api/alerts").await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.json(), json!({"error": "the database does not answer", "what_to_do": "try again later"}));
    assert_eq!(alerts(&house, "?status=pending").await, (vec![], 2));
    for path in ["/metrics", "/sd", "/api/agents", "/api/metrics/latest", "/healthz", "/status"] {
        assert_eq!(house.get(path).await.status, 200, "{path}");
    }
}
