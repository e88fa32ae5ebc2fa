//! `/api/v1/…`: what Grafana and scripts call, answered as Prometheus answers.

use super::house::{Answer, House, START, late};
use crate::rules::board::{RuleView, Shown};
use alerting::{InstanceState, RuleState};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLINIC: Uuid = Uuid::from_u128(0xc1);
const FORM: &str = "application/x-www-form-urlencoded";

/// Two agents that report every 15 s for two minutes; the last pass is of [`END`].
async fn with_samples() -> House {
    let house = House::open().await;
    let agents = [house.agent("agenda", Some(CLINIC)), house.agent("fila", None)];
    for pass in 0..9_u32 {
        if pass > 0 {
            house.clock.advance(Duration::from_secs(15));
        }
        for (agent, rate) in agents.iter().zip([1.0, 2.0]) {
            let total = rate * 15.0 * f64::from(pass);
            house.reports(
                *agent,
                &[("requests_total", &[("route", "/a b")], total), ("temperature", &[], f64::from(pass))],
            );
        }
    }
    house.pages.live.sweep();
    house
}

/// When the last pass was.
fn end() -> i64 {
    START.as_millis() / 1000 + 120
}

async fn get(house: &House, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    house.get(&format!("/api/v1/{path}?{}", query.join("&"))).await
}

async fn post(house: &House, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let body: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let request = house.client.post(house.url(&format!("/api/v1/{path}"))).header("content-type", FORM);
    house.send(request.body(body.join("&"))).await
}

/// Percent-encodes everything that is not a letter or a digit.
fn encoded(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let envelope = answer.json();
    assert_eq!(envelope["status"], "success");
    envelope["data"].clone()
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    let envelope = answer.json();
    assert_eq!((&envelope["status"], &envelope["data"]), (&json!("error"), &Value::Null));
    let text = |name: &str| envelope[name].as_str().expect("a text").to_owned();
    (answer.status, text("errorType"), text("error"))
}

#[tokio::test]
async fn the_data_source_test_of_grafana_passes() {
    let house = House::open().await;
    let wanted = json!({"resultType": "scalar", "result": [4, "2"]});
    assert_eq!(data(&post(&house, "query", &[("query", "1+1"), ("time", "4")]).await), wanted);
    let answer = get(&house, "query", &[("query", "1+1"), ("time", "4")]).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(data(&answer), wanted);
    let built = data(&get(&house, "status/buildinfo", &[]).await);
    assert!(built["version"].as_str().is_some_and(|version| version.starts_with("3.")));
    assert!(built.get("features").is_none(), "with features it would be taken for Mimir");
    assert_eq!(get(&house, "status/flags", &[]).await.status, 404);
}

#[tokio::test]
async fn an_instant_query_gives_a_vector_of_now() {
    let house = with_samples().await;
    let answer = data(&post(&house, "query", &[("query", "temperature{service=\"agenda\"}")]).await);
    let metric = json!({"__name__": "temperature", "service": "agenda", "instance": "agenda-1", "clinic_id": CLINIC});
    let wanted = json!({"resultType": "vector", "result": [{"metric": metric, "value": [end(), "8"]}]});
    assert_eq!(answer, wanted);
    let none = data(&get(&house, "query", &[("query", "nothing")]).await);
    assert_eq!(none, json!({"resultType": "vector", "result": []}));
}

#[tokio::test]
async fn a_range_query_gives_a_matrix() {
    let house = with_samples().await;
    let (start, end) = ((end() - 60).to_string(), end().to_string());
    let query = "sum by (service) (rate(requests_total[1m]))";
    let asked = [("query", query), ("start", &start), ("end", &end), ("step", "30")];
    let answer = data(&post(&house, "query_range", &asked).await);
    assert_eq!(answer["resultType"], "matrix");
    assert_eq!(answer["result"][0]["metric"], json!({"service": "agenda"}));
    assert_eq!(answer["result"][1]["metric"], json!({"service": "fila"}));
    // Three quarters of the window have samples, and Go's arithmetic as ours does not find its way back to a whole number.
    for (line, rate) in [(0, "0.9999999999999999"), (1, "1.9999999999999998")] {
        let values = answer["result"][line]["values"].as_array().expect("points");
        assert_eq!(values.len(), 3);
        assert!(values.iter().all(|point| point[1] == rate), "{values:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_its_parameter() {
    let house = House::open().await;
    for (path, parameters, wanted) in [
        ("query", vec![("query", "sum(")], "invalid parameter \"query\": "),
        ("query", vec![], "invalid parameter \"query\": "),
        ("query", vec![("query", "1"), ("time", "now")], "invalid parameter \"time\": "),
        ("query", vec![("query", "1"), ("timeout", "soon")], "invalid parameter \"timeout\": "),
        ("query_range", vec![("query", "1"), ("end", "2"), ("step", "1")], "invalid parameter \"start\": "),
        (
            "query_range",
            vec![("query", "1"), ("start", "2"), ("end", "1"), ("step", "1")],
            "invalid parameter \"end\": ",
        ),
        (
            "query_range",
            vec![("query", "1"), ("start", "1"), ("end", "2"), ("step", "0")],
            "zero or negative query resolution",
        ),
        ("query_range", vec![("query", "1"), ("start", "1"), ("end", "2")], "invalid parameter \"step\": "),
        (
            "query_range",
            vec![("query", "1"), ("start", "0"), ("end", "11001"), ("step", "1")],
            "exceeded maximum resolution of 11,000 points",
        ),
        (
            "query_range",
            vec![("query", "a[5m]"), ("start", "0"), ("end", "1"), ("step", "1")],
            "invalid expression type",
        ),
        ("series", vec![], "no match[] parameter provided"),
        ("series", vec![("match[]", "{a=")], "invalid parameter \"match[]\": "),
        ("series", vec![("match[]", "{a=~\".*\"}")], "invalid parameter \"match[]\": "),
        ("labels", vec![("start", "x")], "invalid parameter \"start\": "),
        ("rules", vec![("type", "both")], "invalid parameter \"type\": "),
    ] {
        let (status, kind, message) = refusal(&get(&house, path, &parameters).await);
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path} {parameters:?}");
        assert!(message.contains(wanted), "{path} {parameters:?}: {message}");
    }
    let (status, kind, _) = refusal(&get(&house, "nothing", &[]).await);
    assert_eq!((status, kind.as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_query_that_makes_no_sense_with_its_series_is_an_execution_error() {
    let house = with_samples().await;
    let query = "temperature + on () temperature";
    let (status, kind, message) = refusal(&get(&house, "query", &[("query", query)]).await);
    assert_eq!((status, kind.as_str()), (422, "execution"));
    assert!(message.contains("found duplicate series for the match group"), "{message}");
}

#[tokio::test]
async fn exemplars_are_none_however_they_are_asked_for() {
    let house = House::open().await;
    // Grafana probes with milliseconds where seconds belong.
    for (start, end) in [("1795442590000", "1795446190000"), ("1795442590", "1795446190")] {
        let asked = [("query", "test"), ("start", start), ("end", end)];
        assert_eq!(data(&post(&house, "query_exemplars", &asked).await), json!([]));
    }
}

#[tokio::test]
async fn names_values_and_series_are_listed() {
    let house = with_samples().await;
    let ours = [("match[]", "{__name__=~\"requests_total|temperature\"}")];
    let names = data(&post(&house, "labels", &ours).await);
    assert_eq!(names, json!(["__name__", "clinic_id", "instance", "route", "service"]));
    let everything = get(&house, "label/__name__/values", &[("match[]", "{__name__!=\"\"}"), ("limit", "40000")]).await;
    let named = data(&everything);
    for name in ["requests_total", "temperature", "monitoring_agent_up"] {
        assert!(named.as_array().is_some_and(|names| names.contains(&json!(name))), "{name} in {named}");
    }
    assert_eq!(data(&get(&house, "label/service/values", &ours).await), json!(["agenda", "fila"]));
    assert_eq!(data(&get(&house, "label/U__route/values", &ours).await), json!(["/a b"]));
    assert_eq!(data(&get(&house, "label/nothing/values", &[]).await), json!([]));
    let cut = get(&house, "label/service/values", &[("limit", "1")]).await.json();
    assert_eq!((&cut["data"], &cut["warnings"]), (&json!(["agenda"]), &json!(["results truncated due to limit"])));
    let both = [("match[]", "temperature{service=\"fila\"}"), ("match[]", "requests_total{service=\"fila\"}")];
    let series = data(&post(&house, "series", &both).await);
    let of = |name: &str| json!({"__name__": name, "service": "fila", "instance": "fila-1"});
    let mut requests = of("requests_total");
    requests["route"] = json!("/a b");
    assert_eq!(series, json!([requests, of("temperature")]));
    let long_ago = [ours[0], ("start", "0"), ("end", "10")];
    assert_eq!(data(&get(&house, "series", &long_ago).await), json!([]));
}

#[tokio::test]
async fn a_clinic_sees_its_own_series_only() {
    let house = with_samples().await;
    let clinic = CLINIC.to_string();
    let asked = [("query", "count by (service) (temperature)"), ("clinic_id", clinic.as_str())];
    let answer = data(&get(&house, "query", &asked).await);
    assert_eq!(answer["result"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["result"][0]["metric"], json!({"service": "agenda"}));
    let services = data(&get(&house, "label/service/values", &[("clinic_id", &clinic)]).await);
    assert_eq!(services, json!(["agenda"]));
    assert_eq!(get(&house, "query", &[("query", "1"), ("clinic_id", "x")]).await.status, 400);
}

#[tokio::test]
async fn metadata_tells_kind_unit_and_meaning() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    let cpu = proto::catalog::SYSTEM_CPU_USAGE_PERCENT.name;
    house.reports(agent, &[(cpu, &[], 1.0), ("mine_total", &[], 2.0), ("h_bucket", &[("le", "1")], 1.0)]);
    let told = data(&get(&house, "metadata", &[]).await);
    assert_eq!(told[cpu][0]["type"], "gauge");
    assert!(told[cpu][0]["help"].as_str().is_some_and(|help| !help.is_empty()));
    assert_eq!(told["mine_total"], json!([{"type": "counter", "help": "", "unit": ""}]));
    assert_eq!(told["h"][0]["type"], "histogram");
    let one = data(&get(&house, "metadata", &[("metric", "mine_total")]).await);
    assert_eq!(one.as_object().map(serde_json::Map::len), Some(1));
    let cut = data(&get(&house, "metadata", &[("limit", "2")]).await);
    assert_eq!(cut.as_object().map(serde_json::Map::len), Some(2));
}

#[tokio::test]
async fn the_head_is_counted_by_what_it_holds() {
    let house = with_samples().await;
    let told = data(&get(&house, "status/tsdb", &[("limit", "1")]).await);
    assert_eq!(told["headStats"]["numSeries"], 8, "two of each agent, two of ours about each");
    assert_eq!(told["headStats"]["maxTime"], end() * 1000);
    assert_eq!(told["seriesCountByMetricName"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["seriesCountByLabelValuePair"][0]["value"], 4);
}

/// A rule with a pending and a firing instance, and one that never was evaluated.
async fn with_rules() -> House {
    let house = House::open().await;
    let instance = |instance: &str, state| late(&[("instance", instance)], state);
    let instances = [instance("a", InstanceState::Pending), instance("b", InstanceState::Firing)];
    let late = RuleView {
        key: "g/Late/0".into(),
        file: "rules.yaml".into(),
        group: "g".into(),
        name: "Late".into(),
        query: "x > 1".into(),
        interval: Duration::from_secs(15),
        kind: Shown::Alert {
            hold: Duration::from_secs(300),
            keep_firing: Duration::from_secs(60),
            labels: vec![("severity".into(), "critical".into())],
            annotations: vec![("summary".into(), "{{ $labels.instance }}".into())],
        },
        health: "ok",
        evaluated_at: Some(START),
        took: Duration::from_millis(500),
        state: Arc::new(RuleState::restore(instances, None, START)),
        ..RuleView::default()
    };
    let idle = RuleView {
        key: "h/Idle/0".into(),
        file: "rules.yaml".into(),
        group: "h".into(),
        name: "Idle".into(),
        query: "y".into(),
        health: "unknown",
        ..RuleView::default()
    };
    let sum = RuleView {
        key: "h/job:x:sum/0".into(),
        file: "rules.yaml".into(),
        group: "h".into(),
        name: "job:x:sum".into(),
        query: "sum by (job) (x)".into(),
        kind: Shown::Record { labels: vec![("tier".into(), "one".into())] },
        health: "ok",
        evaluated_at: Some(START),
        ..RuleView::default()
    };
    house.pages.board.set(vec![late, idle, sum]);
    house
}

#[tokio::test]
async fn rules_are_told_as_prometheus_tells_them() {
    let house = with_rules().await;
    let groups = data(&get(&house, "rules", &[]).await)["groups"].clone();
    let alert = |instance: &str, state: &str| {
        json!({
            "labels": {"alertname": "Late", "instance": instance}, "annotations": {"summary": "late"}, "state": state,
            "activeAt": "2026-11-24T00:00:00Z", "value": "9.55e+01",
        })
    };
    let mut rule = groups[0]["rules"][0].clone();
    let mut alerts = rule["alerts"].take().as_array().expect("a list").clone();
    alerts.sort_by_key(|alert| alert["labels"]["instance"].to_string());
    assert_eq!(alerts, [alert("a", "pending"), alert("b", "firing")]);
    assert_eq!(
        rule,
        json!({
            "state": "firing", "name": "Late", "query": "x > 1", "duration": 300.0, "keepFiringFor": 60.0,
            "labels": {"severity": "critical"}, "annotations": {"summary": "{{ $labels.instance }}"}, "alerts": null,
            "health": "ok", "evaluationTime": 0.5, "lastEvaluation": "2026-11-24T00:00:00Z", "type": "alerting",
        })
    );
    let group = |index: usize, name: &str| groups[index][name].clone();
    assert_eq!(
        (group(0, "name"), group(0, "file"), group(0, "interval")),
        (json!("g"), json!("rules.yaml"), json!(15.0))
    );
    assert_eq!(groups[1]["rules"][0]["state"], "unknown");
    assert_eq!(groups[1]["rules"][0]["lastEvaluation"], "0001-01-01T00:00:00Z");
    let wanted = json!({
        "name": "job:x:sum", "query": "sum by (job) (x)", "labels": {"tier": "one"}, "health": "ok", "evaluationTime": 0.0,
        "lastEvaluation": "2026-11-24T00:00:00Z", "type": "recording",
    });
    assert_eq!(groups[1]["rules"][1], wanted);
    let alerts = data(&get(&house, "alerts", &[]).await);
    assert_eq!(alerts["alerts"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn rules_are_chosen_by_name_group_file_kind_and_labels_and_come_in_pages() {
    let house = with_rules().await;
    let names = async |parameters: &[(&str, &str)]| {
        let groups = data(&get(&house, "rules", parameters).await)["groups"].clone();
        let groups = groups.as_array().expect("a list").clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("a list").clone());
        rules.map(|rule| rule["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[("rule_name[]", "Idle")]).await, ["Idle"]);
    assert_eq!(names(&[("rule_group[]", "g")]).await, ["Late"]);
    assert_eq!(names(&[("file[]", "other.yaml")]).await, Vec::<String>::new());
    assert_eq!(names(&[("type", "record")]).await, ["job:x:sum"]);
    assert_eq!(names(&[("type", "alert")]).await, ["Late", "Idle"]);
    assert_eq!(names(&[("match[]", "{severity=\"critical\"}")]).await, ["Late"]);
    let without = data(&get(&house, "rules", &[("exclude_alerts", "true")]).await);
    assert!(without["groups"][0]["rules"][0].get("alerts").is_none());
    let first = data(&get(&house, "rules", &[("group_limit", "1")]).await);
    assert_eq!(first["groups"].as_array().map(Vec::len), Some(1));
    let token = first["groupNextToken"].as_str().expect("there is more").to_owned();
    assert_eq!(names(&[("group_limit", "1"), ("group_next_token", &token)]).await, ["Idle", "job:x:sum"]);
    assert_eq!(get(&house, "rules", &[("group_next_token", &token)]).await.status, 400);
    assert_eq!(get(&house, "rules", &[("group_limit", "1"), ("group_next_token", "x")]).await.status, 400);
}

#[tokio::test]
async fn a_query_is_written_as_it_is_best_read() {
    let house = House::open().await;
    let answer = get(&house, "format_query", &[("query", "sum by(a)(b)+ 1")]).await;
    assert_eq!(data(&answer), json!("sum by (a) (b) + 1"));
}
