//! Our pages as Prometheus reads them: `promtool` checks the text, and a real Prometheus scrapes the aggregator and, by
//! service discovery, each agent.
//!
//! Where Prometheus is not installed, the tests say so on stderr and pass.
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

#[path = "harness/programs.rs"]
mod programs;

use programs::{Program, free_address, get, get_json, wait_for};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The two programs, and where the aggregator's pages are.
struct Pair {
    _aggregator: Program,
    _agent: Program,
    http: String,
}

/// A Prometheus of the test's own; killed when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Pair {
    fn start(dir: &Path) -> Self {
        let database = format!("sqlite://{}", dir.join("monitoring.db").display());
        let flags = ["--database", &database, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
        let mut aggregator = Program::aggregator(&dir.join("aggregator.log"), &flags);
        let url = format!("http://{}", aggregator.logged("aggregator serves", "grpc"));
        let http = aggregator.logged("aggregator serves", "http");
        let spool = dir.join("spool").display().to_string();
        let flags = ["--service", "agenda", "--instance", "agenda-1", "--aggregator", &url, "--spool-dir", &spool];
        let agent = Program::agent(&dir.join("agent.log"), &[&flags[..], &["--listen-http", "127.0.0.1:0"]].concat());
        let metrics = format!("http://{http}/metrics");
        wait_for("the agent's figures", || get(&metrics).unwrap_or_default().contains("\nsystem_cpu_usage_percent{"));
        Self { _aggregator: aggregator, _agent: agent, http }
    }
}

impl Prometheus {
    /// Scrapes `http` and what its service discovery names, four times a second.
    fn start(dir: &Path, http: &str) -> Self {
        let address = free_address().to_string();
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
             scrape_configs:\n\
             - {{job_name: aggregator, honor_labels: true, static_configs: [{{targets: ['{http}']}}]}}\n\
             - {{job_name: agents, honor_labels: true, http_sd_configs: [{{url: 'http://{http}/sd', refresh_interval: 1s}}]}}\n"
        );
        std::fs::write(&config, text).expect("our directory");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        Self { child, address }
    }

    /// The value of the one series of an instant query.
    fn value(&self, query: &str) -> Option<String> {
        let encoded = query.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        let answer = get_json(&format!("http://{}/api/v1/query?query={encoded}", self.address))?;
        Some(answer["data"]["result"].get(0)?["value"][1].as_str()?.to_string())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Our own child, by its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed (Debian: apt-get install prometheus)");
    }
    found
}

#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    if !is_installed("promtool") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let pair = Pair::start(dir.path());
    let page = get(&format!("http://{}/metrics", pair.http)).expect("it serves");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is installed");
    promtool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_real_prometheus_scrapes_the_aggregator_and_finds_each_agent() {
    if !is_installed("prometheus") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let pair = Pair::start(dir.path());
    let prometheus = Prometheus::start(dir.path(), &pair.http);
    let (mut aggregator, mut agent) = (None, None);
    wait_for("both targets are scraped", || {
        aggregator = prometheus.value(r#"up{job="aggregator"} == 1"#);
        agent = prometheus.value(r#"up{instance="agenda-1", job="agenda"} == 1"#);
        aggregator.is_some() && agent.is_some()
    });
    for query in [
        r#"system_memory_total_bytes{service="agenda", job="aggregator"}"#,
        r#"system_memory_total_bytes{service="agenda", job="agenda"}"#,
        r#"monitoring_agent_up{instance="agenda-1"}"#,
        "sum(rate(monitoring_ingest_samples_total[1m]))",
    ] {
        wait_for(query, || prometheus.value(query).is_some_and(|value| value.parse::<f64>().is_ok_and(|v| v > 0.0)));
    }
    let targets = get_json(&format!("http://{}/api/v1/targets", prometheus.address)).expect("it serves");
    for target in targets["data"]["activeTargets"].as_array().expect("a list") {
        assert_eq!(target["lastError"], "", "{target}");
    }
}
