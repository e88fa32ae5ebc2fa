//! The main job with the real programs: this host's figures on `/metrics`, an alert on a webhook, an orderly end.

#[path = "harness/programs.rs"]
mod programs;
#[path = "harness/receiver.rs"]
mod receiver;

use programs::{Program, free_address, get, get_json, wait_for};
use receiver::Receiver;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Running {
    aggregator: Program,
    agent: Program,
    http: String,
    agent_http: String,
}

/// Starts both programs on SQLite in `dir`; `rules` is a rule file, `more` are further flags of the aggregator.
fn start(dir: &Path, rules: &str, more: &[&str]) -> Running {
    let aggregator = start_aggregator(dir, "127.0.0.1:0", rules, more);
    let (aggregator, grpc, http) = aggregator;
    let mut agent = start_agent(dir, &format!("http://{grpc}"));
    let agent_http = agent.logged("agent runs", "http");
    Running { aggregator, agent, http, agent_http }
}

/// An agent whose spool lies in `dir`; `aggregator` is a URL.
fn start_agent(dir: &Path, aggregator: &str) -> Program {
    let spool = dir.join("spool").display().to_string();
    let flags = ["--service", "agenda", "--instance", "e2e", "--aggregator", aggregator, "--spool-dir", &spool];
    Program::agent(&dir.join("agent.log"), &[&flags[..], &["--listen-http", "127.0.0.1:0"]].concat())
}

fn start_aggregator(dir: &Path, grpc: &str, rules: &str, more: &[&str]) -> (Program, String, String) {
    let path = dir.join("rules.yaml");
    fs::write(&path, rules).expect("our directory");
    let database = format!("sqlite://{}", dir.join("monitoring.db").display());
    let path = path.display().to_string();
    let flags = ["--database", &database, "--rules", &path, "--listen-grpc", grpc, "--listen-http", "127.0.0.1:0"];
    let mut program = Program::aggregator(&dir.join("aggregator.log"), &[&flags[..], more].concat());
    let grpc = program.logged("aggregator serves", "grpc");
    let http = program.logged("aggregator serves", "http");
    (program, grpc, http)
}

/// The samples of a page: series as written, and value.
fn samples(page: &str) -> HashMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(key, value)| Some((key.into(), value.parse().ok()?)))
        .collect()
}

/// The value of the one series of `name` that has `label`.
fn sample(page: &str, name: &str, label: &str) -> Option<f64> {
    let found = samples(page);
    let mut matching = found.iter().filter(|(key, _)| {
        let (found, labels) = key.split_once('{').unwrap_or((key, ""));
        found == name && labels.contains(label)
    });
    matching.next().map(|(_, value)| *value)
}

fn meminfo(field: &str) -> f64 {
    let text = fs::read_to_string("/proc/meminfo").expect("Linux");
    let line = text.lines().find(|line| line.starts_with(field)).expect("a field of meminfo");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib * 1024.0
}

#[test]
fn this_hosts_real_figures_are_on_the_page_and_agree_with_free_and_df() {
    let dir = TempDir::new().expect("a directory");
    let running = start(dir.path(), "groups: []\n", &[]);
    let url = format!("http://{}/metrics", running.http);
    let mut page = String::new();
    // All are there after the first passes; whether the agent is up is told once a second.
    wait_for("the host's figures", || {
        page = get(&url).unwrap_or_default();
        let names = [
            "system_cpu_usage_percent",
            "system_filesystem_size_bytes",
            "system_network_receive_bytes_total",
            "monitoring_agent_up",
        ];
        names.iter().all(|name| page.contains(&format!("\n{name}{{")))
    });
    let host = r#"instance="e2e""#;
    let cpu = sample(&page, "system_cpu_usage_percent", host).expect("a figure");
    assert!((0.0..=100.0).contains(&cpu), "{cpu}");

    let used = sample(&page, "system_memory_usage_bytes", host).expect("a figure");
    let (total, available) = (meminfo("MemTotal:"), meminfo("MemAvailable:"));
    assert!((used - (total - available)).abs() < total / 10.0, "used {used}, free says {}", total - available);
    assert_eq!(sample(&page, "system_memory_total_bytes", host), Some(total));

    let df = Command::new("df").args(["-B1", "--output=size,target", "/"]).output().expect("df");
    let size: f64 = String::from_utf8_lossy(&df.stdout)
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("df's size");
    let ours = sample(&page, "system_filesystem_size_bytes", r#"mountpoint="/""#).expect("the root");
    assert!((ours - size).abs() < size / 100.0, "{ours} against df's {size}");

    assert_eq!(sample(&page, "monitoring_agent_up", host), Some(1.0));
    assert!(page.contains(r#"service="agenda""#));
    let load = sample(&page, "system_load1", host).expect("a figure");
    assert!(load >= 0.0);
}

#[test]
fn a_goodbye_ends_the_series_and_a_silence_says_so() {
    let dir = TempDir::new().expect("a directory");
    let Running { aggregator, agent, http, .. } = start(dir.path(), "groups: []\n", &[]);
    let url = format!("http://{http}/metrics");
    let on_page = |name: &str| sample(&get(&url).unwrap_or_default(), name, r#"instance="e2e""#);
    wait_for("the agent is up", || on_page("monitoring_agent_up") == Some(1.0));
    agent.kill();
    wait_for("the agent is silent", || on_page("monitoring_agent_up") == Some(0.0));
    assert_eq!(on_page("system_memory_usage_bytes"), None, "a dead agent's figures are gone");

    let grpc = get_json(&format!("http://{http}/status")).map(|status| status.to_string()).unwrap_or_default();
    assert!(grpc.contains("silent"), "{grpc}");
    let address = address_of(&grpc);
    let agent = start_agent(dir.path(), &address);
    wait_for("the agent is up again", || on_page("monitoring_agent_up") == Some(1.0));
    assert!(agent.interrupt().success());
    wait_for("the agent is stopped", || on_page("monitoring_agent_up").is_none());
    assert!(aggregator.interrupt().success());
}

/// The gRPC address that `/status` shows.
fn address_of(status: &str) -> String {
    let json: Value = serde_json::from_str(status).expect("JSON");
    let grpc = json["listen"]["grpc"].as_str().or(json["listen_grpc"].as_str()).expect("status shows the address");
    format!("http://{grpc}")
}

#[test]
fn ctrl_c_ends_both_programs_cleanly() {
    let dir = TempDir::new().expect("a directory");
    let running = start(dir.path(), "groups: []\n", &[]);
    wait_for("the agent is healthy", || {
        get(&format!("http://{}/healthz", running.agent_http)).is_some_and(|text| text.starts_with("ok"))
    });
    wait_for("the aggregator is ready", || {
        get(&format!("http://{}/readyz", running.http)).is_some_and(|text| text == "ok\n")
    });
    assert!(running.agent.interrupt().success());
    assert!(running.aggregator.interrupt().success());
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("ours")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert!(!left.iter().any(|name| name.ends_with("-wal") || name.ends_with("-shm")), "SQLite was closed: {left:?}");
}

#[test]
fn an_aggregator_that_is_told_to_end_while_it_starts_does_so() {
    let dir = TempDir::new().expect("a directory");
    let database = format!("sqlite://{}", dir.path().join("monitoring.db").display());
    let flags = ["--database", &database, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    let program = Program::aggregator(&dir.path().join("aggregator.log"), &flags);
    wait_for("the database is open, the parts are not yet started", || program.log().contains("head restored"));
    assert!(program.interrupt().success());
}

#[test]
fn an_alert_reaches_the_webhook_once_also_when_the_aggregator_is_killed_after_it() {
    let receiver = Receiver::start();
    let dir = TempDir::new().expect("a directory");
    let rules = "groups:\n  - name: host\n    rules:\n      - alert: MemoryInUse\n        expr: system_memory_usage_bytes > 1\n\
        \x20       labels: {severity: info}\n        annotations: {summary: 'em uso: {{ $labels.instance }}'}\n";
    let hook = receiver.hook();
    let grpc: SocketAddr = free_address();
    let grpc = grpc.to_string();
    let (aggregator, _, _) = start_aggregator(dir.path(), &grpc, rules, &["--webhook-url", &hook]);
    let _agent = start_agent(dir.path(), &format!("http://{grpc}"));
    wait_for("the webhook is called", || !receiver.calls().is_empty());

    let body: Value = receiver.calls()[0].body_json().expect("JSON");
    assert_eq!(body["version"], "4");
    assert_eq!(body["status"], "firing");
    assert_eq!(body["groupKey"], r#"{}:{alertname="MemoryInUse"}"#);
    assert_eq!(body["alerts"][0]["labels"]["service"], "agenda");
    assert_eq!(body["alerts"][0]["annotations"]["summary"], "em uso: e2e");
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");

    aggregator.kill();
    let (aggregator, _, http) = start_aggregator(dir.path(), &grpc, rules, &["--webhook-url", &hook]);
    let alerts = format!("http://{http}/api/alerts");
    wait_for("the alert is still active", || get(&alerts).is_some_and(|text| text.contains("MemoryInUse")));
    let metrics = format!("http://{http}/metrics");
    wait_for("rules were evaluated again with fresh data", || {
        let page = get(&metrics).unwrap_or_default();
        sample(&page, "monitoring_rule_evaluations_total", "host").is_some_and(|count| count >= 3.0)
            && sample(&page, "system_memory_usage_bytes", "e2e").is_some()
    });
    let ids: HashSet<String> = receiver
        .calls()
        .iter()
        .filter_map(|call| Some(call.headers.get("x-atendeai-delivery")?.to_str().ok()?.to_string()))
        .collect();
    assert_eq!(ids.len(), 1, "one notification, whatever the restart; a repetition has the same id");
    assert!(aggregator.interrupt().success());
}

/// What a receiver is told of an agent's alert, by status: until `leave` has had its effect on the agent, and after a kill
/// and a restart of the aggregator.
fn told_across_a_restart(leave: impl FnOnce(Program), up: Option<f64>, expected: &[&str]) {
    let receiver = Receiver::start();
    let dir = TempDir::new().expect("a directory");
    let rules =
        "groups:\n  - name: host\n    rules:\n      - {alert: MemoryInUse, expr: system_memory_usage_bytes > 1}\n";
    let hook = receiver.hook();
    let more = ["--webhook-url", &hook, "--evaluation-interval", "1s"];
    let Running { aggregator, agent, http, .. } = start(dir.path(), rules, &more);
    // Of one that was under way when we killed, the repetition has the same id.
    let told = || {
        let mut calls = receiver.calls();
        let mut ids = HashSet::new();
        calls.retain(|call| ids.insert(call.headers.get("x-atendeai-delivery").cloned()));
        let bodies = calls.iter().filter_map(|call| call.body_json::<Value>().ok());
        bodies.filter_map(|body| body["status"].as_str().map(String::from)).collect::<Vec<_>>()
    };
    let page = |http: &str| get(&format!("http://{http}/metrics")).unwrap_or_default();
    wait_for("the alert fires", || told() == ["firing"]);
    leave(agent);
    wait_for("the agent is gone, and what follows from it is told", || {
        sample(&page(&http), "monitoring_agent_up", "e2e") == up && told() == expected
    });
    aggregator.kill();
    let (aggregator, _, http) = start_aggregator(dir.path(), "127.0.0.1:0", rules, &more);
    wait_for("rules were evaluated again", || {
        let page = page(&http);
        sample(&page, "monitoring_rule_evaluations_total", "host").is_some_and(|count| count >= 3.0)
            && sample(&page, "monitoring_agent_up", "e2e") == up
    });
    assert_eq!(told(), expected);
    assert!(aggregator.interrupt().success());
}

#[test]
fn an_alert_that_ended_with_its_agents_goodbye_does_not_fire_again_after_a_restart() {
    told_across_a_restart(|agent| assert!(agent.interrupt().success()), None, &["firing", "resolved"]);
}

#[test]
fn an_alert_whose_agent_was_killed_fires_on_also_across_a_restart() {
    told_across_a_restart(Program::kill, Some(0.0), &["firing"]);
}

#[test]
fn mistakes_of_a_start_are_named_with_the_way_out() {
    let dir = TempDir::new().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let database = format!("sqlite://{}", dir.path().join("a.db").display());
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_monitoring-aggregator"))
            .arg("serve")
            .args(arguments)
            .output()
            .expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["--database", &database, "--listen-grpc", &address]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("--listen-grpc"), "{text}");

    let (code, text) = run(&["--database", "mysql://root:S3CR3T@h/d"]);
    assert_eq!(code, Some(2), "a mistake of the configuration: {text}");
    assert!(text.contains("sqlite://PATH") && !text.contains("S3CR3T"), "{text}");

    let rules = dir.path().join("rules.yaml");
    fs::write(&rules, "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: rate(x) > 1\n  - alert: B\n    exp: x\n")
        .expect("ours");
    let rules = rules.display().to_string();
    let (code, text) = run(&["--database", &database, "--rules", &rules]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("rules.yaml:5:") && text.contains("rules.yaml:7:"),
        "both mistakes, with their places: {text}"
    );
}

/// What a level took; printed, never judged.
#[test]
fn the_first_figures_come_soon_after_the_agents_start() {
    let dir = TempDir::new().expect("a directory");
    let (_aggregator, grpc, http) = start_aggregator(dir.path(), "127.0.0.1:0", "groups: []\n", &[]);
    let began = Instant::now();
    let _agent = start_agent(dir.path(), &format!("http://{grpc}"));
    let metrics = format!("http://{http}/metrics");
    wait_for("the first sample", || get(&metrics).unwrap_or_default().contains("system_memory_usage_bytes{"));
    let took: Duration = began.elapsed();
    println!("start to first sample on the page, debug build: {took:?}");
}
