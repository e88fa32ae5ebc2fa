//! `/metrics`, `/agents/{id}/metrics`, `/sd`.

use super::house::{House, INTERVAL, Reported, frame, hello, pages};
use super::reader::{Line, read};
use crate::http::page::write;
use crate::http::shown::everything;
use crate::live::State;
use proto::catalog;
use proto::exposition::Format;
use runtime::clock::Clock;
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
const CLINIC: Uuid = Uuid::from_u128(0xc1);

/// What an agent of these tests reports.
const REPORTED: &[Reported] = &[
    ("system_cpu_usage_percent", &[("scope", "host")], 12.5),
    ("http_requests_total", &[("route", "/v1/\"x\"\\y")], 7.0),
    ("http_request_duration_seconds_count", &[("route", "/")], 3.0),
    ("http_request_duration_seconds_bucket", &[("route", "/"), ("le", "+Inf")], 3.0),
    ("http_request_duration_seconds_bucket", &[("route", "/"), ("le", "0.5")], 2.0),
    ("http_request_duration_seconds_sum", &[("route", "/")], 1.75),
];

/// Two agents that report, and something of our own.
async fn two_agents() -> (House, Uuid, Uuid) {
    let house = House::open().await;
    let first = house.agent("agenda", Some(CLINIC));
    let second = house.agent("mensageria", None);
    for agent in [second, first] {
        house.reports(agent, REPORTED);
    }
    house.pages.live.sweep();
    house.pages.telemetry.counters(&catalog::INGEST_BATCHES_TOTAL).with_label_values(&["stored"]).inc_by(5);
    house.pages.telemetry.gauge(&catalog::HEAD_SERIES).set(12.0);
    (house, first, second)
}

#[tokio::test]
async fn a_page_that_is_read_right_after_our_clock_was_set_shows_what_the_one_before_did() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    house.reports(agent, &[("cpu", &[], 1.5)]);
    for by_ms in [3_600_000, -7_200_000, 3_600_000] {
        house.clock.jump_to(house.clock.wall().moved_by(by_ms));
        let page = house.get("/metrics").await;
        assert!(page.text.contains("\ncpu{"), "{by_ms} ms: {}", page.text);
        assert_eq!(house.get(&format!("/agents/{agent}/metrics")).await.status, 200, "{by_ms} ms");
    }
}

#[tokio::test]
async fn the_page_of_two_agents_and_ourselves_in_text() {
    let (house, ..) = two_agents().await;
    let answer = house.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let page = read(&answer.text);
    let zeros = 3 + 5; // of the pages' refusals and the batches' outcomes
    assert_eq!(page.lines().count(), 2 * REPORTED.len() + 4 + 2 + zeros);
    insta::assert_snapshot!(answer.text, @r##"
    # HELP http_request_duration_seconds Time that the service took to answer an HTTP request, by method, route template and status.
    # TYPE http_request_duration_seconds histogram
    http_request_duration_seconds_bucket{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",le="0.5",route="/",service="agenda"} 2
    http_request_duration_seconds_bucket{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",le="+Inf",route="/",service="agenda"} 3
    http_request_duration_seconds_sum{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/",service="agenda"} 1.75
    http_request_duration_seconds_count{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/",service="agenda"} 3
    http_request_duration_seconds_bucket{instance="mensageria-1",le="0.5",route="/",service="mensageria"} 2
    http_request_duration_seconds_bucket{instance="mensageria-1",le="+Inf",route="/",service="mensageria"} 3
    http_request_duration_seconds_sum{instance="mensageria-1",route="/",service="mensageria"} 1.75
    http_request_duration_seconds_count{instance="mensageria-1",route="/",service="mensageria"} 3
    # TYPE http_requests_total counter
    http_requests_total{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/v1/\"x\"\\y",service="agenda"} 7
    http_requests_total{instance="mensageria-1",route="/v1/\"x\"\\y",service="mensageria"} 7
    # HELP monitoring_agent_clock_offset_seconds How far the agent's clock is ahead of the aggregator's; beyond two seconds its samples' times are corrected by it.
    # TYPE monitoring_agent_clock_offset_seconds gauge
    monitoring_agent_clock_offset_seconds{instance="agenda-1",service="agenda"} 0
    monitoring_agent_clock_offset_seconds{instance="mensageria-1",service="mensageria"} 0
    # HELP monitoring_agent_up 1 while an agent's batches arrive, 0 when it went silent; gone when it said goodbye.
    # TYPE monitoring_agent_up gauge
    monitoring_agent_up{instance="agenda-1",service="agenda"} 1
    monitoring_agent_up{instance="mensageria-1",service="mensageria"} 1
    # HELP monitoring_head_series Series in memory.
    # TYPE monitoring_head_series gauge
    monitoring_head_series 12
    # HELP monitoring_http_refused_total Requests to the pages that a limit refused, by reason: busy, too_slow, url_too_long.
    # TYPE monitoring_http_refused_total counter
    monitoring_http_refused_total{reason="busy"} 0
    monitoring_http_refused_total{reason="too_slow"} 0
    monitoring_http_refused_total{reason="url_too_long"} 0
    # HELP monitoring_ingest_batches_total Batches by outcome: stored, replayed (already stored, acknowledged again), unproven (acknowledged again, but what was stored in the place is pruned), refused, taken (another batch is stored in the place), abandoned (the stream or the database was lost before there was an answer; the agent has them).
    # TYPE monitoring_ingest_batches_total counter
    monitoring_ingest_batches_total{outcome="abandoned"} 0
    monitoring_ingest_batches_total{outcome="refused"} 0
    monitoring_ingest_batches_total{outcome="replayed"} 0
    monitoring_ingest_batches_total{outcome="stored"} 5
    monitoring_ingest_batches_total{outcome="taken"} 0
    monitoring_ingest_batches_total{outcome="unproven"} 0
    # HELP system_cpu_usage_percent Share of the host's CPU time used since the pass before, 0 to 100; idle time and waiting for I/O are not use.
    # TYPE system_cpu_usage_percent gauge
    system_cpu_usage_percent{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",scope="host",service="agenda"} 12.5
    system_cpu_usage_percent{instance="mensageria-1",scope="host",service="mensageria"} 12.5
    "##);
}

#[tokio::test]
async fn the_page_of_two_agents_and_ourselves_in_openmetrics() {
    let (house, ..) = two_agents().await;
    let answer = house.get_as("/metrics", OPENMETRICS).await;
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    assert_eq!(answer.header("content-type"), wanted);
    let page = read(&answer.text);
    assert!(page.ended);
    let text = read(&house.get("/metrics").await.text);
    let (mut open, mut plain): (Vec<_>, Vec<_>) = (page.lines().collect(), text.lines().collect());
    let by_series = |line: &&Line| (line.name.clone(), line.labels.clone());
    open.sort_by_key(by_series);
    plain.sort_by_key(by_series);
    assert_eq!(open, plain, "both formats say the same");
    insta::assert_snapshot!(answer.text, @r##"
    # HELP http_request_duration_seconds Time that the service took to answer an HTTP request, by method, route template and status.
    # TYPE http_request_duration_seconds histogram
    http_request_duration_seconds_bucket{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",le="0.5",route="/",service="agenda"} 2
    http_request_duration_seconds_bucket{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",le="+Inf",route="/",service="agenda"} 3
    http_request_duration_seconds_sum{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/",service="agenda"} 1.75
    http_request_duration_seconds_count{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/",service="agenda"} 3
    http_request_duration_seconds_bucket{instance="mensageria-1",le="0.5",route="/",service="mensageria"} 2
    http_request_duration_seconds_bucket{instance="mensageria-1",le="+Inf",route="/",service="mensageria"} 3
    http_request_duration_seconds_sum{instance="mensageria-1",route="/",service="mensageria"} 1.75
    http_request_duration_seconds_count{instance="mensageria-1",route="/",service="mensageria"} 3
    # TYPE http_requests counter
    http_requests_total{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",route="/v1/\"x\"\\y",service="agenda"} 7
    http_requests_total{instance="mensageria-1",route="/v1/\"x\"\\y",service="mensageria"} 7
    # HELP monitoring_agent_clock_offset_seconds How far the agent's clock is ahead of the aggregator's; beyond two seconds its samples' times are corrected by it.
    # TYPE monitoring_agent_clock_offset_seconds gauge
    monitoring_agent_clock_offset_seconds{instance="agenda-1",service="agenda"} 0
    monitoring_agent_clock_offset_seconds{instance="mensageria-1",service="mensageria"} 0
    # HELP monitoring_agent_up 1 while an agent's batches arrive, 0 when it went silent; gone when it said goodbye.
    # TYPE monitoring_agent_up gauge
    monitoring_agent_up{instance="agenda-1",service="agenda"} 1
    monitoring_agent_up{instance="mensageria-1",service="mensageria"} 1
    # HELP monitoring_head_series Series in memory.
    # TYPE monitoring_head_series gauge
    monitoring_head_series 12
    # HELP monitoring_http_refused Requests to the pages that a limit refused, by reason: busy, too_slow, url_too_long.
    # TYPE monitoring_http_refused counter
    monitoring_http_refused_total{reason="busy"} 0
    monitoring_http_refused_total{reason="too_slow"} 0
    monitoring_http_refused_total{reason="url_too_long"} 0
    # HELP monitoring_ingest_batches Batches by outcome: stored, replayed (already stored, acknowledged again), unproven (acknowledged again, but what was stored in the place is pruned), refused, taken (another batch is stored in the place), abandoned (the stream or the database was lost before there was an answer; the agent has them).
    # TYPE monitoring_ingest_batches counter
    monitoring_ingest_batches_total{outcome="abandoned"} 0
    monitoring_ingest_batches_total{outcome="refused"} 0
    monitoring_ingest_batches_total{outcome="replayed"} 0
    monitoring_ingest_batches_total{outcome="stored"} 5
    monitoring_ingest_batches_total{outcome="taken"} 0
    monitoring_ingest_batches_total{outcome="unproven"} 0
    # HELP system_cpu_usage_percent Share of the host's CPU time used since the pass before, 0 to 100; idle time and waiting for I/O are not use.
    # TYPE system_cpu_usage_percent gauge
    system_cpu_usage_percent{clinic_id="00000000-0000-0000-0000-0000000000c1",instance="agenda-1",scope="host",service="agenda"} 12.5
    system_cpu_usage_percent{instance="mensageria-1",scope="host",service="mensageria"} 12.5
    # EOF
    "##);
}

#[tokio::test]
async fn prometheus_itself_finds_nothing_wrong_with_the_page() {
    let (house, first, _) = two_agents().await;
    house.pages.telemetry.histogram(&catalog::INGEST_COMMIT_DURATION_SECONDS).observe(0.003);
    house.reports(first, &[REPORTED, &[("x", &[], f64::NAN), ("x_y", &[("z", "\n")], f64::INFINITY)]].concat());
    let page = house.get("/metrics").await.text;
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let child = Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("SKIP: promtool is not on PATH (apt package prometheus); the page was not checked by it");
        return;
    };
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    // 1: it could not parse the page. 3: it dislikes a name, such as those without help that services chose.
    assert_ne!(output.status.code(), Some(1), "{said}\n{page}");
    let about_ours = said.lines().filter(|line| line.starts_with("monitoring_"));
    let serious: Vec<&str> = about_ours.filter(|line| !line.contains("should not contain abbreviated units")).collect();
    assert_eq!(serious, Vec::<&str>::new());
}

#[tokio::test]
async fn a_page_is_compressed_when_that_is_asked_for() {
    let (house, ..) = two_agents().await;
    let plain = house.get("/metrics").await;
    assert_eq!(plain.header("content-encoding"), "");
    for path in ["/metrics", "/api/metrics/latest"] {
        let zipped = house.send(house.client.get(house.url(path)).header("accept-encoding", "gzip")).await;
        assert_eq!(zipped.header("content-encoding"), "gzip", "{path}");
        let plain = house.get(path).await;
        assert_eq!(zipped.header("content-type"), plain.header("content-type"), "{path}");
        assert_eq!(gunzip(&zipped.bytes).as_deref().unwrap_or(&plain.text), plain.text, "{path}");
    }
}

/// `None` where there is no gzip to ask.
fn gunzip(bytes: &[u8]) -> Option<String> {
    assert_eq!(&bytes[..2], [0x1f, 0x8b], "gzip's magic");
    let child = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("SKIP: gzip is not on PATH; only the magic was checked");
        return None;
    };
    child.stdin.take().expect("piped").write_all(bytes).expect("gzip reads");
    let output = child.wait_with_output().expect("gzip ends");
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

#[tokio::test]
async fn a_dead_agents_series_are_gone_after_three_intervals_and_its_up_is_zero() {
    let (house, first, _) = two_agents().await;
    house.clock.advance(INTERVAL * 3);
    house.reports(first, REPORTED);
    house.clock.advance(Duration::from_millis(1));
    house.pages.live.sweep();
    let page = read(&house.get("/metrics").await.text);
    let of = |service: &str| -> Vec<(String, f64)> {
        let of = page.lines().filter(|line| line.labels.get("service").is_some_and(|value| value == service));
        of.map(|line| (line.name.clone(), line.value)).collect()
    };
    assert_eq!(of("agenda").len(), REPORTED.len() + 2);
    let left = [("monitoring_agent_clock_offset_seconds".to_owned(), 0.0), ("monitoring_agent_up".to_owned(), 0.0)];
    assert_eq!(of("mensageria"), left);
}

#[tokio::test]
async fn old_values_are_not_shown_even_when_no_sweep_has_ended_them() {
    let (house, first, _) = two_agents().await;
    house.clock.advance(INTERVAL * 3);
    assert_eq!(house.get(&format!("/agents/{first}/metrics")).await.status, 200);
    house.clock.advance(Duration::from_millis(1));
    let page = read(&house.get("/metrics").await.text);
    assert!(page.lines().all(|line| line.name.starts_with("monitoring_")));
    let answer = house.get(&format!("/agents/{first}/metrics")).await;
    assert_eq!((answer.status, answer.text.as_str()), (503, "the agent is up; its last batch came 90 s ago\n"));
}

#[tokio::test]
async fn a_head_restored_from_an_old_log_is_not_shown_as_of_now() {
    let (house, first, _) = two_agents().await;
    let (live, then) = (&house.pages.live, house.clock.wall());
    let row = live.agent(first).expect("it is known").row;
    house.clock.advance(INTERVAL * 100);
    live.resume(vec![row], None);
    live.restore(first, &[frame(then, REPORTED)]);
    live.restored();
    assert!(live.agent(first).is_some_and(|agent| agent.state == State::Up), "it has time to come back");
    assert_eq!(house.get(&format!("/agents/{first}/metrics")).await.status, 503);
    let page = read(&house.get("/metrics").await.text);
    assert!(page.lines().all(|line| line.name.starts_with("monitoring_")));
}

#[tokio::test]
async fn an_agent_that_is_there_while_its_values_are_old_has_no_page_until_they_are_of_now_again() {
    let (house, first, second) = two_agents().await;
    house.clock.advance(INTERVAL * 3 + Duration::from_secs(1));
    for agent in [first, second] {
        // It waits for an ack that a database which is away holds back.
        house.pages.live.seen(agent);
    }
    house.reports(second, REPORTED);
    let answer = house.get(&format!("/agents/{first}/metrics")).await;
    assert_eq!((answer.status, answer.text.as_str()), (503, "the agent's newest values are 91 s old\n"));
    let page = read(&house.get("/metrics").await.text);
    let services: Vec<_> =
        page.lines().filter(|line| line.name == "http_requests_total").map(|line| &line.labels["service"]).collect();
    assert_eq!(services, ["mensageria"]);
    house.reports(first, REPORTED);
    assert_eq!(house.get(&format!("/agents/{first}/metrics")).await.status, 200);
}

#[tokio::test]
async fn two_agents_under_one_name_show_each_series_once() {
    let house = House::open().await;
    for number in [1, 2] {
        let agent = house.agent_called(number, "agenda", "agenda-1", None);
        house.reports(agent, &[("cpu", &[], 4.0)]);
    }
    // `read` refuses a page that has a series twice.
    assert_eq!(read(&house.get("/metrics").await.text).lines().filter(|line| line.name == "cpu").count(), 1);
}

#[tokio::test]
async fn an_agents_own_page_has_its_series_and_no_others() {
    let (house, first, _) = two_agents().await;
    let answer = house.get_as(&format!("/agents/{first}/metrics"), OPENMETRICS).await;
    assert_eq!(answer.status, 200);
    let page = read(&answer.text);
    assert_eq!(page.lines().count(), REPORTED.len());
    for line in page.lines() {
        assert_eq!(line.labels["service"], "agenda");
        assert_eq!(line.labels["clinic_id"], CLINIC.to_string());
    }
}

#[tokio::test]
async fn the_page_of_an_agent_that_is_gone_or_has_said_nothing_is_503_and_of_none_404() {
    let (house, first, second) = two_agents().await;
    house.pages.live.goodbye(first);
    house.clock.advance(INTERVAL * 4);
    house.pages.live.sweep();
    let newcomer = house.agent("novo", None);
    for (agent, why) in [
        (first, "the agent is stopped; its last batch came 120 s ago\n"),
        (second, "the agent is silent; its last batch came 120 s ago\n"),
        (newcomer, "the agent has reported nothing since the aggregator started\n"),
    ] {
        let answer = house.get(&format!("/agents/{agent}/metrics")).await;
        assert_eq!((answer.status, answer.text.as_str()), (503, why));
    }
    for id in ["7f000000-0000-0000-0000-000000000000", "x", "..%2f..", &Uuid::nil().to_string()] {
        let answer = house.get(&format!("/agents/{id}/metrics")).await;
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.json()["what_to_do"], "GET /api/agents lists the agents");
    }
}

#[tokio::test]
async fn discovery_lists_each_agent_as_a_target_of_its_own() {
    let (house, first, _) = two_agents().await;
    let answer = house.get("/sd").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let wanted = json!({
        "targets": [house.address.to_string()],
        "labels": {
            "__metrics_path__": format!("/agents/{first}/metrics"),
            "__meta_atendeai_agent_id": first.to_string(),
            "__meta_atendeai_service": "agenda",
            "__meta_atendeai_instance": "agenda-1",
            "__meta_atendeai_clinic_id": CLINIC.to_string(),
            "instance": "agenda-1",
            "job": "agenda",
        },
    });
    assert_eq!(answer.json()[0], wanted);
    assert_eq!(answer.json()[1]["labels"].get("__meta_atendeai_clinic_id"), None, "no clinic, no label");
    let path = answer.json()[0]["labels"]["__metrics_path__"].as_str().expect("a path").to_owned();
    assert_eq!(house.get(&path).await.status, 200, "the target can be scraped");
}

#[tokio::test]
async fn discovery_names_the_host_that_it_was_asked_by_if_that_is_one() {
    let (house, ..) = two_agents().await;
    for (host, target) in [("mon.interno:9464", "mon.interno:9464"), ("a/b", "127.0.0.1:7480")] {
        let answer = house.send(house.client.get(house.url("/sd")).header("host", host)).await;
        assert_eq!(answer.json()[0]["targets"], json!([target]));
    }
}

#[tokio::test]
async fn discovery_keeps_a_lost_agent_for_a_day_and_forgets_a_stopped_one_at_once() {
    let (house, first, second) = two_agents().await;
    let listed = async || -> Vec<String> {
        let answer = house.get("/sd").await.json();
        let all = answer.as_array().expect("a list").iter();
        all.map(|target| target["labels"]["__meta_atendeai_agent_id"].as_str().expect("an id").to_owned()).collect()
    };
    house.pages.live.goodbye(first);
    assert_eq!(listed().await, [second.to_string()]);
    house.pages.live.disconnected(second);
    house.clock.advance(crate::live::LOST_KEPT.saturating_sub(Duration::from_secs(1)));
    house.pages.live.sweep();
    assert_eq!(listed().await, [second.to_string()], "up == 0 can still fire");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.get("/sd").await.text, "[]");
}

#[tokio::test]
async fn of_a_lost_agent_and_its_successor_under_the_same_name_discovery_lists_the_one_that_is_up() {
    let house = House::open().await;
    let lost = house.agent_called(1, "agenda", "agenda-1", None);
    house.clock.advance(INTERVAL * 4);
    house.pages.live.sweep();
    assert_eq!(house.get("/sd").await.json()[0]["labels"]["__meta_atendeai_agent_id"], lost.to_string());
    let successor = house.agent_called(2, "agenda", "agenda-1", None);
    let answer = house.get("/sd").await.json();
    assert_eq!(answer.as_array().map(Vec::len), Some(1));
    assert_eq!(answer[0]["labels"]["__meta_atendeai_agent_id"], successor.to_string());
}

/// Prints figures and holds no one to them.
#[tokio::test]
async fn what_a_page_costs() {
    let (agents, metrics) = (100, 200);
    let (pages, clock, _directory) = pages().await;
    let labels: &[(&str, &str)] = &[("device", "nvme0n1"), ("mode", "user")];
    let names: Vec<String> = (0..metrics).map(|metric| format!("system_metric_{metric}_bytes")).collect();
    let reported: Vec<Reported> = names.iter().map(|name| (name.as_str(), labels, 123_456.75)).collect();
    for number in 1..=agents {
        pages.live.hello(&hello(number, "mensageria", &format!("mensageria-6d9f-{number}"), None, clock.wall()));
        pages.live.append(Uuid::from_u128(number), &[frame(clock.wall(), &reported)]);
    }
    let began = Instant::now();
    let series = everything(&pages, |_| true);
    let collected = began.elapsed();
    let page = write(Format::OpenMetrics { utf8: true }, &series);
    let written = began.elapsed().saturating_sub(collected);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!(
        "{agents} agents x {metrics} series: collected in {collected:?}, {} KiB written in {written:?} ({build})",
        page.len() / 1024
    );
    assert_eq!(read(&page).lines().count(), series.len());
    assert!(series.len() >= names.len() * 100);
}
