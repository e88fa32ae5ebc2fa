use super::*;
use crate::http::tests::house::service;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use tokio::sync::Barrier;
use tower::ServiceExt;

async fn ask(app: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).expect("a legal request");
    app.clone().oneshot(request).await.expect("infallible")
}

fn app(guarded: Router<Shared>, service: &Shared) -> Router {
    wrap(guarded, Router::new().route("/probe", get(async || "ok")), service).with_state(service.clone())
}

async fn json_of(response: Response) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 4096).await.expect("a small body");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn a_url_beyond_the_limit_is_refused_and_one_at_it_is_not() {
    let (service, _directory) = service().await;
    let app = app(Router::new().route("/", get(async || "ok")), &service);
    let url = |bytes: usize| format!("/?{}", "x".repeat(bytes - 2));
    assert_eq!(ask(&app, &url(URL_MAX_BYTES)).await.status(), StatusCode::OK);
    let refused = ask(&app, &url(URL_MAX_BYTES + 1)).await;
    assert_eq!(refused.status(), StatusCode::URI_TOO_LONG);
    assert_eq!(refused.headers()["x-content-type-options"], "nosniff", "refusals carry the headers too");
    assert_eq!(
        json_of(refused).await["error"],
        format!("the URL has {} bytes; the limit is {URL_MAX_BYTES}", URL_MAX_BYTES + 1)
    );
    assert_eq!(service.guard.to_json()["refused"]["url_too_long"], 1);
}

#[tokio::test]
async fn when_every_place_is_taken_the_next_request_is_shed_at_once_but_a_probe_is_answered() {
    let (service, _directory) = service().await;
    let barrier = Arc::new(Barrier::new(REQUESTS_MAX + 1));
    let wait = barrier.clone();
    let held = async move || {
        wait.wait().await;
        wait.wait().await;
    };
    let app = app(Router::new().route("/held", get(held)), &service);
    let requests: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| {
            tokio::spawn({
                let app = app.clone();
                async move { ask(&app, "/held").await.status() }
            })
        })
        .collect();
    barrier.wait().await;
    let shed = ask(&app, "/held").await;
    assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.headers()[header::RETRY_AFTER], "5");
    assert_eq!(ask(&app, "/probe").await.status(), StatusCode::OK);
    assert_eq!(
        service.guard.to_json(),
        json!({"in_flight": 64, "refused": {"url_too_long": 0, "busy": 1, "too_slow": 0}})
    );
    barrier.wait().await;
    for request in requests {
        assert_eq!(request.await.expect("no panic"), StatusCode::OK);
    }
    assert_eq!(service.guard.to_json()["in_flight"], 0);
}

#[tokio::test]
async fn an_answer_has_its_place_until_it_is_read_or_given_up() {
    let (service, _directory) = service().await;
    let app = app(Router::new().route("/page", get(async || "x".repeat(100_000))), &service);
    let mut unread = Vec::new();
    for _ in 0..REQUESTS_MAX {
        unread.push(ask(&app, "/page").await);
    }
    assert_eq!(ask(&app, "/page").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.guard.to_json()["in_flight"], 64);
    let read = unread.pop().expect("there are some");
    assert_eq!(read.headers()[header::CONTENT_LENGTH], "100000", "its length is known, as ever");
    let bytes = axum::body::to_bytes(read.into_body(), 200_000).await.expect("it comes whole");
    assert_eq!(bytes.len(), 100_000);
    assert_eq!(service.guard.to_json()["in_flight"], 63);
    drop(unread);
    assert_eq!(service.guard.to_json()["in_flight"], 0);
    assert_eq!(ask(&app, "/page").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended_and_its_place_given_back() {
    let (service, _directory) = service().await;
    let app = app(Router::new().route("/stuck", get(std::future::pending::<()>)), &service);
    tokio::time::pause();
    let answer = ask(&app, "/stuck").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json_of(answer).await["error"], "the answer took longer than 30 seconds");
    assert_eq!(
        service.guard.to_json(),
        json!({"in_flight": 0, "refused": {"url_too_long": 0, "busy": 0, "too_slow": 1}})
    );
}

#[tokio::test]
async fn a_panic_costs_its_request_and_says_nothing_of_itself() {
    let (service, _directory) = service().await;
    let panics = async || -> &'static str { panic!("a secret of the inside") };
    let app = app(Router::new().route("/broken", get(panics)).route("/", get(async || "ok")), &service);
    let answer = ask(&app, "/broken").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(json_of(answer).await["what_to_do"], "see the aggregator's log");
    assert_eq!(ask(&app, "/").await.status(), StatusCode::OK);
    assert_eq!(service.guard.to_json()["in_flight"], 0);
}
