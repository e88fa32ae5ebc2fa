//! kill −9 at any time: no acked batch is lost, none is stored twice.
//!
//! The real programs run against each other, the agent ten times as fast as usual; one of them is killed again and
//! again at random moments. At the end the agent delivers what it has, and the database must hold every sequence
//! number from 1 to the last exactly once, in one epoch, and every pass of the host's exactly once.
//!
//! A run whose agent is killed must have seen replays, else it has proven nothing about them. In one run PostgreSQL
//! itself crashes while both go on.
//!
//! A number that was acked is gone from the agent, so one that the aggregator lost would be a hole that nothing fills.
//! `MONITORING_CRASH_ROUNDS` makes a run longer; `MONITORING_CRASH_SEED` repeats one.

#![expect(clippy::print_stdout, reason = "says what a run saw, for whoever repeats it")]

#[path = "harness/postgres.rs"]
mod postgres;
#[path = "harness/programs.rs"]
mod programs;

use programs::{Program, free_address, get, get_json, wait_for};
use proto::convert::{RawBatch, SchemaBytes};
use proto::message::Position;
use proto::sample::SchemaId;
use sqlx::{Connection, PgConnection, Row, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Kills of one run.
const ROUNDS: u64 = 20;
/// In every fourth round the kill comes right after an ack.
const AFTER_ACK: u64 = 4;
/// Crashes of PostgreSQL in its run.
const SERVER_ROUNDS: u64 = 6;

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Aggregator,
}

/// The two programs, and what they need to come back where they were.
struct Pair {
    dir: TempDir,
    database: String,
    grpc: SocketAddr,
    http: SocketAddr,
    config: PathBuf,
}

/// One stored batch.
struct Row1 {
    epoch: u128,
    seq: u64,
    payload: Vec<u8>,
}

#[test]
fn an_agent_that_is_killed_loses_and_doubles_nothing_on_sqlite() {
    let dir = TempDir::new().expect("a directory");
    let database = format!("sqlite://{}", dir.path().join("monitoring.db").display());
    run(Victim::Agent, dir, database);
}

#[test]
fn an_aggregator_that_is_killed_loses_and_doubles_nothing_on_sqlite() {
    let dir = TempDir::new().expect("a directory");
    let database = format!("sqlite://{}", dir.path().join("monitoring.db").display());
    run(Victim::Aggregator, dir, database);
}

#[test]
fn an_agent_that_is_killed_loses_and_doubles_nothing_on_postgresql() {
    with_postgres(Victim::Agent);
}

#[test]
fn an_aggregator_that_is_killed_loses_and_doubles_nothing_on_postgresql() {
    with_postgres(Victim::Aggregator);
}

fn with_postgres(victim: Victim) {
    let Some(server) = postgres::Postgres::private() else { return };
    let database = block_on(server.create_database());
    run(victim, TempDir::new().expect("a directory"), database);
}

fn run(victim: Victim, dir: TempDir, database: String) {
    let seed = number("MONITORING_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("MONITORING_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let mut random = fastrand::Rng::with_seed(seed);
    let pair = Pair::new(dir, database);
    let mut aggregator = pair.start_aggregator();
    let mut agent = pair.start_agent();
    for round in 1..=rounds {
        if round % AFTER_ACK == 0 {
            Pair::await_ack(&mut agent);
        } else {
            // The moment is the input of this test: anything from the first millisecond of a start to a steady stream.
            thread::sleep(Duration::from_millis(random.u64(1..400)));
        }
        match victim {
            Victim::Agent => {
                agent.kill();
                agent = pair.start_agent();
            }
            Victim::Aggregator => {
                aggregator.kill();
                aggregator = pair.start_aggregator();
            }
        }
    }
    let replayed = pair.finish(agent, aggregator, seed, rounds);
    assert!(victim == Victim::Aggregator || replayed > 0, "seed {seed}: no batch came twice");
}

#[test]
fn a_postgresql_that_crashes_under_load_loses_and_doubles_nothing() {
    let Some(server) = postgres::Postgres::private() else { return };
    let seed = number("MONITORING_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let pair = Pair::new(TempDir::new().expect("a directory"), block_on(server.create_database()));
    let aggregator = pair.start_aggregator();
    let mut agent = pair.start_agent();
    for _ in 0..SERVER_ROUNDS {
        Pair::await_ack(&mut agent);
        thread::sleep(Duration::from_millis(random.u64(1..200)));
        server.restart_immediate();
    }
    pair.finish(agent, aggregator, seed, SERVER_ROUNDS);
}

impl Pair {
    fn new(dir: TempDir, database: String) -> Self {
        let (grpc, http) = (free_address(), free_address());
        let config = dir.path().join("agent.yaml");
        let text = format!(
            "service: agenda\ninstance: one\naggregator: http://{grpc}\ninterval: 100ms\nlisten_http: 127.0.0.1:0\n\
             spool: {{dir: {}}}\nbackoff: {{base: 10ms, cap: 100ms}}\ncollectors: {{filesystem: {{interval: 1s}}}}\n",
            dir.path().join("spool").display()
        );
        fs::write(&config, text).expect("our directory");
        Self { dir, database, grpc, http, config }
    }

    fn start_aggregator(&self) -> Program {
        let (grpc, http) = (self.grpc.to_string(), self.http.to_string());
        let log = self.dir.path().join("aggregator.log");
        Program::aggregator(&log, &["--database", &self.database, "--listen-grpc", &grpc, "--listen-http", &http])
    }

    fn start_agent(&self) -> Program {
        let config = self.config.display().to_string();
        Program::agent(&self.dir.path().join("agent.log"), &["--config", &config])
    }

    /// Lets the agent deliver, ends both, and holds what is stored against the law. Returns how many batches the last
    /// aggregator knew already.
    fn finish(&self, mut agent: Program, aggregator: Program, seed: u64, rounds: u64) -> u64 {
        let last = Self::deliver(&mut agent);
        self.check_books();
        let replayed = self.replayed();
        assert!(agent.interrupt().success(), "seed {seed}: the agent ends cleanly");
        assert!(aggregator.interrupt().success(), "seed {seed}: the aggregator ends cleanly");
        let (rows, schemas) = block_on(stored(&self.database));
        let passes = check(&rows, schemas, last).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        println!(
            "seed {seed}: {rounds} crashes, {} batches, {passes} passes: each exactly once; {replayed} came twice",
            rows.len()
        );
        assert!(rows.len() as u64 >= rounds / 2, "seed {seed}: a run with {} batches proves nothing", rows.len());
        replayed
    }

    /// What the last aggregator received has gone somewhere: `docs/conservation.md`.
    fn check_books(&self) {
        let mut page = String::new();
        let sum = |page: &str, name: &str| -> f64 {
            let of = |line: &str| line.split(['{', ' ']).next() == Some(name) && !line.contains("=\"own_");
            let lines = page.lines().filter(|line| of(line));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        wait_for("every batch has its outcome, every sample its place", || {
            page = get(&format!("http://{}/metrics", self.http)).unwrap_or_default();
            let of = |name: &str| sum(&page, &format!("monitoring_ingest_{name}"));
            let (batches, samples) = (of("received_batches_total"), of("received_samples_total"));
            batches > 0.0
                && batches == of("batches_total") + of("waiting_batches")
                && samples == of("samples_total") + of("dropped_samples_total")
                && of("received_events_total") == of("events_total")
        });
    }

    fn replayed(&self) -> u64 {
        let page = get(&format!("http://{}/metrics", self.http)).expect("it answers");
        let of = "monitoring_ingest_batches_total{outcome=\"replayed\"} ";
        let count = page.lines().find_map(|line| line.strip_prefix(of)?.parse().ok());
        count.unwrap_or(0)
    }

    /// Waits until the agent has one more batch confirmed.
    fn await_ack(agent: &mut Program) {
        let status = format!("http://{}/status", agent.logged("agent runs", "http"));
        let mut before = None;
        wait_for("an ack", || {
            let now = get_json(&status).and_then(|status| status["spool"]["oldest_seq"].as_u64());
            let moved = before.is_some() && now > before;
            before = before.or(now);
            moved
        });
    }

    /// Waits until the agent has delivered everything that it had at some moment; the last number it has used.
    fn deliver(agent: &mut Program) -> u64 {
        let status = format!("http://{}/status", agent.logged("agent runs", "http"));
        let mut last = 0;
        wait_for("everything is delivered", || {
            let Some(spool) = get_json(&status).map(|status| status["spool"].clone()) else { return false };
            last = spool["oldest_seq"].as_u64().unwrap_or(0).saturating_sub(1);
            spool["waiting"] == 0 && last > 0
        });
        last
    }
}

/// What must hold; the number of passes of the host's.
fn check(
    rows: &[Row1],
    mut schemas: HashMap<SchemaId, Arc<proto::sample::Schema>>,
    last: u64,
) -> Result<usize, String> {
    let epochs: HashSet<u128> = rows.iter().map(|row| row.epoch).collect();
    if epochs.len() != 1 {
        return Err(format!("{} epochs; a kill is no reason for a new one", epochs.len()));
    }
    for (expected, row) in (1..).zip(rows) {
        if row.seq != expected {
            return Err(format!("batch {expected} is missing, {} stands in its place", row.seq));
        }
    }
    // The agent made a last batch or two after it was asked, and delivered them before it ended.
    if (rows.len() as u64) < last {
        return Err(format!("{} batches are stored, the agent had {last} confirmed", rows.len()));
    }
    let mut seen = HashSet::new();
    for row in rows {
        let raw = RawBatch::from_record(&row.payload, Position { epoch: row.epoch, seq: row.seq });
        let batch = raw.and_then(|raw| raw.resolve(&mut schemas)).map_err(|e| format!("batch {}: {e}", row.seq))?;
        for frame in batch.frames.iter().filter(|frame| frame.schema.source == "host") {
            for pass in &frame.passes {
                if !seen.insert(pass.at) {
                    return Err(format!("the pass at {} stands in two batches, the second is {}", pass.at, row.seq));
                }
            }
        }
    }
    Ok(seen.len())
}

/// Every stored batch in order of its number, and the schemas.
async fn stored(database: &str) -> (Vec<Row1>, HashMap<SchemaId, Arc<proto::sample::Schema>>) {
    let mut schemas = HashMap::new();
    let mut rows = Vec::new();
    let mut keep_schema = |id: i64, definition: Vec<u8>| {
        let schema = SchemaBytes { id: SchemaId(id.cast_unsigned()), bytes: definition.into() };
        schemas.insert(schema.id, Arc::new(schema.decode().expect("a stored schema is whole")));
    };
    let mut keep = |epoch: Vec<u8>, seq: i64, payload: Vec<u8>| {
        let epoch = u128::from_be_bytes(epoch.try_into().expect("16 bytes"));
        rows.push(Row1 { epoch, seq: seq.cast_unsigned(), payload });
    };
    if let Some(path) = database.strip_prefix("sqlite://") {
        let mut connection = SqliteConnection::connect(&format!("sqlite://{path}")).await.expect("nobody has it open");
        for row in
            sqlx::query("SELECT schema_id, definition FROM schemas").fetch_all(&mut connection).await.expect("reads")
        {
            keep_schema(row.get(0), row.get(1));
        }
        let query = sqlx::query("SELECT epoch, seq, payload FROM batches ORDER BY epoch, seq");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            keep(row.get(0), row.get(1), row.get(2));
        }
    } else {
        let mut connection = PgConnection::connect(database).await.expect("the server runs");
        let query = sqlx::query("SELECT schema_id, definition FROM monitoring.schemas");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            keep_schema(row.get(0), row.get(1));
        }
        let query = sqlx::query("SELECT epoch, seq, payload FROM monitoring.batches ORDER BY epoch, seq");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            let epoch: uuid::Uuid = row.get(0);
            keep(epoch.as_bytes().to_vec(), row.get(1), row.get(2));
        }
    }
    (rows, schemas)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
