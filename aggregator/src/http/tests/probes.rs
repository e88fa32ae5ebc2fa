//! `/healthz`, `/readyz`, `/status`.

use super::house::{House, pages};
use crate::http::{Front, Part};
use crate::rules::board::RuleView;
use axum::body::Body;
use axum::http::Request;
use proto::catalog::STORE_UP;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test]
async fn a_part_that_stands_still_is_named_and_the_process_is_unhealthy_until_it_goes_on() {
    let house = House::open().await;
    assert_eq!(house.get("/healthz").await.text, "ok\n");
    house.clock.advance(Part::Rules.allowed_age() + Duration::from_secs(1));
    let answer = house.get("/healthz").await;
    assert_eq!((answer.status, answer.text.as_str()), (503, "rules has made no progress for 121 s\n"));
    assert_eq!(house.get("/status").await.json()["healthy"], false);
    house.pages.health.progressed(Part::Rules, house.pages.clock.monotonic());
    assert_eq!(house.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_away_makes_us_unready_once_its_last_answer_is_old() {
    let house = House::open().await;
    assert_eq!(house.get("/readyz").await.status, 200);
    house.pages.store.close().await;
    assert_eq!(house.get("/readyz").await.status, 200, "the answer stands for a second");
    house.clock.advance(Duration::from_secs(1));
    let answer = house.get("/readyz").await;
    assert_eq!((answer.status, answer.text.as_str()), (503, "the database does not answer\n"));
    let status = house.get("/status").await.json();
    assert_eq!(status["database"], json!({"answers": false, "version": "sqlite 3"}));
    assert_eq!(status["ready"], false);
}

#[tokio::test]
async fn status_says_what_runs_where_and_how_it_goes() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    let silent = house.agent("fila", None);
    house.reports(agent, &[("a", &[], 1.0), ("b", &[], 2.0)]);
    house.clock.advance(Duration::from_secs(100));
    house.pages.live.seen(agent);
    house.pages.live.sweep();
    let rule = |health, last_error: Option<&str>| RuleView {
        key: "g/r/0".into(),
        file: "rules.yaml".into(),
        group: "g".into(),
        name: format!("Rule {health}"),
        query: "a > 1".into(),
        health,
        last_error: last_error.map(Into::into),
        doubt: (health == "unknown").then(|| "records are missing".into()),
        ..RuleView::default()
    };
    house.pages.board.set(vec![rule("ok", None), rule("err", Some("too many series")), rule("unknown", None)]);
    let status = house.get("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["uptime_seconds"], 100.0);
    assert_eq!(status["agents"], json!({"up": 1, "silent": 1, "stopped": 0}), "{silent} is silent");
    assert_eq!(status["listen"], json!({"http": "127.0.0.1:7480", "grpc": "127.0.0.1:7400"}));
    let broken = json!([{"name": "Rule err", "group": "g", "error": "too many series"}]);
    let doubtful = json!([{"name": "Rule unknown", "group": "g", "why": "records are missing"}]);
    let rules = json!({"count": 3, "ok": 1, "err": 1, "unknown": 1, "broken": broken, "doubtful": doubtful});
    assert_eq!(status["rules"], rules);
    assert_eq!(status["head"]["series"], 6, "two of the agent, two for each agent of our own");
    assert_eq!(status["database"]["answers"], true);
    assert_eq!(status["http"]["in_flight"], 1, "this one");
    assert_eq!(status["parts"]["rules"]["last_round_seconds_ago"], 100.0);
}

#[tokio::test]
async fn while_the_database_is_waited_for_every_path_says_so_and_our_own_metrics_are_there() {
    let (pages, clock, _directory) = pages().await;
    pages.telemetry.gauge(&STORE_UP);
    let front = Arc::new(Front::new(pages.telemetry.clone(), Arc::new(clock)));
    front.wait_for("the database does not answer");
    let app = front.clone().into_router();
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("legal");
        let answer = app.clone().oneshot(request).await.expect("infallible");
        let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let bytes = axum::body::to_bytes(answer.into_body(), 64 * 1024).await.expect("a small body");
        (status, retry, String::from_utf8(bytes.to_vec()).expect("UTF-8"))
    };
    let starting = "starting: the database does not answer\n".to_string();
    assert_eq!(ask("/healthz").await, (200, false, starting.clone()));
    assert_eq!(ask("/readyz").await, (503, false, starting));
    let (status, _, page) = ask("/metrics").await;
    assert!(status == 200 && page.contains("\nmonitoring_store_up 0\n"), "{page}");
    for path in ["/api/alerts", "/api/agents", "/sd", "/status", "/nothing"] {
        let (status, retry, body) = ask(path).await;
        assert_eq!((status, retry), (503, true), "{path}");
        assert!(body.contains("starting: the database does not answer"), "{path}: {body}");
    }
    front.open(pages);
    assert_eq!(ask("/readyz").await, (200, false, "ok\n".into()));
    assert_eq!(ask("/nothing").await.0, 404);
}
