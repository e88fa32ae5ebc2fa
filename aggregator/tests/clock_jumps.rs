//! Clocks that are wrong and are set, with the real programs: nothing is lost or doubled, and no alert begins or ends.
//!
//! libfaketime shows one of the programs another time of day: a second, an hour off, 1970, 2100, and right again, while it
//! runs and from its start. Two rules watch the agent: one that fires from the beginning, and must neither end nor begin
//! anew, and one that waits for half an hour, and must never fire, whatever the clock says. In the end the database has
//! every sequence number once, and what a clock of 2100 found too old is still there.

#[path = "harness/fake_clock.rs"]
mod fake_clock;
#[path = "harness/postgres.rs"]
mod postgres;
#[path = "harness/programs.rs"]
mod programs;
#[path = "harness/receiver.rs"]
mod receiver;

use fake_clock::{FakeClock, seconds_ahead};
use programs::{Program, free_address, get, get_json, wait_for};
use receiver::Receiver;
use serde_json::Value;
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use tempfile::TempDir;

const RULES: &str = "groups:
- name: host
  rules:
  - {alert: InUse, expr: system_memory_usage_bytes > 1}
  - {alert: Patient, expr: system_memory_usage_bytes > 1, for: 30m}
";
/// Batches that must be stored after each change: enough for samples of before and after it to have passed each other.
const BATCHES: f64 = 10.0;

/// Both programs, each with a clock of its own.
struct Scene {
    dir: TempDir,
    database: String,
    receiver: Receiver,
    agents_clock: FakeClock,
    aggregators_clock: FakeClock,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Scene {
    /// On SQLite where no other database is named.
    fn new(database: Option<String>) -> Option<Self> {
        let dir = TempDir::new().expect("a directory");
        let database = database.unwrap_or_else(|| format!("sqlite://{}", dir.path().join("monitoring.db").display()));
        let (agents_clock, aggregators_clock) =
            (FakeClock::new(dir.path(), "agent")?, FakeClock::new(dir.path(), "aggregator")?);
        let (grpc, http) = (free_address(), free_address());
        let config = format!(
            "service: agenda\ninstance: one\naggregator: http://{grpc}\ninterval: 100ms\nlisten_http: 127.0.0.1:0\n\
             spool: {{dir: {}}}\nbackoff: {{base: 10ms, cap: 100ms}}\n",
            dir.path().join("spool").display()
        );
        fs::write(dir.path().join("agent.yaml"), config).expect("our directory");
        fs::write(dir.path().join("rules.yaml"), RULES).expect("our directory");
        Some(Self { dir, database, receiver: Receiver::start(), agents_clock, aggregators_clock, grpc, http })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn start_agent(&self) -> Program {
        let config = self.path("agent.yaml");
        Program::agent_in(
            &self.dir.path().join("agent.log"),
            &["--config", &config],
            &borrowed(&self.agents_clock.env()),
        )
    }

    fn start_aggregator(&self) -> Program {
        let (grpc, http) = (self.grpc.to_string(), self.http.to_string());
        let (rules, hook) = (self.path("rules.yaml"), self.receiver.hook());
        let flags = ["--database", &self.database, "--listen-grpc", &grpc, "--listen-http", &http, "--rules", &rules];
        let more = ["--webhook-url", &hook, "--evaluation-interval", "1s"];
        let (log, env) = (self.dir.path().join("aggregator.log"), self.aggregators_clock.env());
        Program::aggregator_in(&log, &[&flags[..], &more].concat(), &borrowed(&env))
    }

    /// A figure of the aggregator's page: the sum over the series that begin so.
    fn figure(&self, series: &str) -> Option<f64> {
        let page = get(&format!("http://{}/metrics", self.http))?;
        let values = page.lines().filter(|line| line.starts_with(series));
        values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
    }

    /// Waits until more batches are stored and both rules were evaluated with them, and the offset that the aggregator
    /// measures is `ahead_s`; then holds what people were told against what they must be told.
    fn settle(&self, what: &str, ahead_s: i64) {
        let figures = || {
            let stored = self.figure("monitoring_ingest_batches_total{outcome=\"stored\"}");
            Some((stored?, self.figure("monitoring_rule_evaluations_total{")?))
        };
        let mut before = None;
        wait_for(&format!("{what}: batches are stored and looked at"), || {
            let Some(now) = figures() else { return false };
            let (stored, evaluated) = *before.get_or_insert(now);
            let offset = self.figure("monitoring_agent_clock_offset_seconds{").unwrap_or(f64::MAX);
            // A reading is late by its way; half a second of it is allowed, and two seconds are told apart.
            let is_measured = (offset - ahead_s as f64).abs() < 0.6;
            now.0 >= stored + BATCHES && now.1 >= evaluated + BATCHES && is_measured && !self.told().is_empty()
        });
        assert_eq!(self.told(), [("firing".to_string(), "InUse".to_string())], "{what}");
    }

    /// What people were told: status and alert, each message once.
    fn told(&self) -> Vec<(String, String)> {
        let mut ids = HashSet::new();
        let calls = self.receiver.calls().into_iter();
        let fresh = calls.filter(|call| ids.insert(call.headers.get("x-atendeai-delivery").cloned()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let bodies = fresh.filter_map(|call| call.body_json::<Value>().ok());
        bodies.map(|body| (text(&body["status"]), text(&body["alerts"][0]["labels"]["alertname"]))).collect()
    }

    /// Ends both, and counts what is stored.
    fn finish(self, agent: Program, aggregator: Program) {
        let alerts = get_json(&format!("http://{}/api/alerts", self.http)).expect("it answers");
        assert_eq!(alerts["alerts"].as_array().map(Vec::len), Some(1), "one firing, one row: {alerts}");
        assert_eq!(
            (&alerts["alerts"][0]["status"], &alerts["pending"][0]["name"]),
            (&"active".into(), &"Patient".into())
        );
        assert!(agent.interrupt().success());
        assert!(aggregator.interrupt().success());
        let (batches, last, epochs) = block_on(stored(&self.database));
        assert_eq!((batches, epochs), (last, 1), "every number from 1 to {last} once, in one epoch");
    }
}

/// How many batches are stored, the greatest sequence number, and how many epochs.
async fn stored(database: &str) -> (i64, i64, i64) {
    if database.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(database).await.expect("nobody has it open");
        let query = sqlx::query_as("SELECT count(*), max(seq), count(DISTINCT epoch) FROM batches");
        return query.fetch_one(&mut connection).await.expect("it reads");
    }
    let mut connection = PgConnection::connect(database).await.expect("the server runs");
    let query = sqlx::query_as("SELECT count(*), max(seq), count(DISTINCT epoch) FROM monitoring.batches");
    query.fetch_one(&mut connection).await.expect("it reads")
}

/// What a clock is set to, and by how much it is ahead then; in the end it is right.
fn settings() -> [(&'static str, i64); 7] {
    let (past, future) = (seconds_ahead(600), seconds_ahead(4_102_444_800));
    [
        ("an hour ahead", 3600),
        ("an hour behind", -3600),
        ("a second ahead", 1),
        ("a second behind", -1),
        ("1970", past),
        ("2100", future),
        ("right", 0),
    ]
}

#[test]
fn an_agents_clock_that_jumps_or_is_wrong_from_the_start_loses_nothing_and_changes_no_alert() {
    let Some(scene) = Scene::new(None) else { return };
    let aggregator = scene.start_aggregator();
    let mut agent = scene.start_agent();
    scene.settle("at the beginning", 0);
    for (what, ahead_s) in settings() {
        scene.agents_clock.set(ahead_s);
        scene.settle(&format!("set while it runs: {what}"), ahead_s);
        agent.kill();
        agent = scene.start_agent();
        scene.settle(&format!("from the start: {what}"), ahead_s);
    }
    scene.finish(agent, aggregator);
}

#[test]
fn an_aggregators_clock_that_jumps_or_is_wrong_from_the_start_loses_nothing_and_changes_no_alert() {
    if let Some(scene) = Scene::new(None) {
        jump_the_aggregators_clock(scene);
    }
}

#[test]
fn nor_does_it_on_postgresql() {
    let Some(server) = postgres::Postgres::private() else { return };
    if let Some(scene) = Scene::new(Some(block_on(server.create_database()))) {
        jump_the_aggregators_clock(scene);
    }
}

fn jump_the_aggregators_clock(scene: Scene) {
    let mut aggregator = scene.start_aggregator();
    let agent = scene.start_agent();
    scene.settle("at the beginning", 0);
    for (what, ahead_s) in settings() {
        scene.aggregators_clock.set(ahead_s);
        scene.settle(&format!("set while it runs: {what}"), -ahead_s);
        aggregator.kill();
        aggregator = scene.start_aggregator();
        scene.settle(&format!("from the start: {what}"), -ahead_s);
    }
    scene.finish(agent, aggregator);
}

fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
