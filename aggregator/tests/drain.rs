//! SIGTERM with the real programs: each ends by itself with code 0, whoever is silent, and nothing is lost.
//!
//! What was acked is in the database; what was not comes again and is stored once. No time is judged: a drain that hangs
//! is a test that does not end.

#[path = "../examples/swarm/agent.rs"]
mod agent;
#[path = "harness/postgres.rs"]
mod postgres;
#[path = "harness/programs.rs"]
mod programs;

use agent::{Agent, Gone};
use postgres::Postgres;
use programs::{Program, Signal, free_address, get, get_json, wait_for};
use proto::message::ToAgent;
use runtime::backoff::Backoff;
use runtime::clock::{Clock, SystemClock};
use sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What begins every HTTP/2 connection, an empty SETTINGS frame, and HEADERS that open the agents' stream.
const OPENS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x47\x01\x04\0\0\0\x01\x83\x86\
    \x04\x25/atendeai.monitoring.v1.Ingest/Stream\x01\x09localhost\x0f\x10\x10application/grpc";
/// A PING, which must be answered.
const PING: &[u8; 17] = b"\0\0\x08\x06\0\0\0\0\0whoisit?";
/// Batches of one agent follow each other at this pace.
const PACE: Duration = Duration::from_millis(20);

/// An aggregator at a place of its own, so that it can come back there.
struct Place {
    dir: TempDir,
    database: String,
    grpc: String,
}

/// Simulated agents that send for as long as they are let, and come back after a break.
struct Crowd {
    runtime: Runtime,
    acked: Arc<AtomicU64>,
    /// No new batches from now on: what waits is delivered.
    enough: CancellationToken,
    agents: Vec<tokio::task::JoinHandle<Told>>,
}

/// What an agent knows at its end.
struct Told {
    id: Uuid,
    /// Its last seq; all up to it are acked.
    last: u64,
}

// === impl Place ===

impl Place {
    fn on_sqlite() -> Self {
        let dir = TempDir::new().expect("a directory");
        let database = format!("sqlite://{}", dir.path().join("monitoring.db").display());
        Self { dir, database, grpc: free_address().to_string() }
    }

    /// A running aggregator, and where its pages are.
    fn start(&self) -> (Program, String) {
        let flags = ["--database", &self.database, "--listen-grpc", &self.grpc, "--listen-http", "127.0.0.1:0"];
        let mut program = Program::aggregator(&self.dir.path().join("aggregator.log"), &flags);
        let http = program.logged("aggregator serves", "http");
        (program, http)
    }

    fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The seqs that are stored, by agent; each row of the log is one.
    async fn stored(&self) -> BTreeMap<Uuid, Vec<u64>> {
        let query = "SELECT agent_id, seq FROM batches ORDER BY agent_id, seq";
        let rows: Vec<(Uuid, i64)> = if self.database.starts_with("sqlite") {
            let path = self.database.trim_start_matches("sqlite://");
            let mut database = SqliteConnection::connect(path).await.expect("the file is there");
            let rows = database.fetch_all(query).await.expect("it has batches");
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        } else {
            let mut database = PgConnection::connect(&self.database).await.expect("it is there");
            database.execute("SET search_path = monitoring").await.expect("a schema");
            let rows = database.fetch_all(query).await;
            rows.expect("it has batches").iter().map(|row| (row.get(0), row.get(1))).collect()
        };
        let mut stored: BTreeMap<Uuid, Vec<u64>> = BTreeMap::new();
        for (agent, seq) in rows {
            stored.entry(agent).or_default().push(u64::try_from(seq).expect("from 1"));
        }
        stored
    }
}

// === impl Crowd ===

impl Crowd {
    /// So many agents, which come as they would: when they are told.
    fn come(url: &str, agents: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (acked, enough) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let agents = (1..=agents).map(|number| {
            let agent = Agent::new(1, number, 3, Duration::from_secs(1));
            runtime.spawn(live(agent, url.to_string(), acked.clone(), enough.clone()))
        });
        let agents = agents.collect();
        Self { runtime, acked, enough, agents }
    }

    fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Waits until every agent's last batch is acked.
    fn settle(self) -> Vec<Told> {
        self.enough.cancel();
        self.runtime.block_on(async {
            let mut told = Vec::new();
            for agent in self.agents {
                told.push(agent.await.expect("it does not panic"));
            }
            told
        })
    }
}

/// The life of one agent; it ends when it has sent enough and all of it is acked.
async fn live(mut agent: Agent, url: String, acked: Arc<AtomicU64>, enough: CancellationToken) -> Told {
    let mut backoff = Backoff::default();
    loop {
        let gone = match agent.open(&url, SystemClock.wall()).await {
            Ok(stream) => match send(&mut agent, stream, &acked, &enough).await {
                Ok(last) => return Told { id: agent.id, last },
                Err(gone) => gone,
            },
            Err(gone) => gone,
        };
        let told = if let Gone::Refused(refusal) = gone { refusal.retry_after } else { None };
        tokio::time::sleep(backoff.next_delay(told)).await;
        backoff.stood_for(Duration::from_secs(3600));
    }
}

/// One stream, until it breaks or everything is acked.
async fn send(
    agent: &mut Agent,
    mut stream: agent::Stream,
    acked: &AtomicU64,
    enough: &CancellationToken,
) -> Result<u64, Gone> {
    let mut pace = tokio::time::interval(PACE);
    loop {
        agent.flush(&mut stream).await?;
        if enough.is_cancelled() && agent.waiting() == 0 {
            return Ok(agent.last_seq());
        }
        tokio::select! {
            heard = stream.hear() => {
                if let ToAgent::Ack(position) = heard? {
                    agent.acked(position, |_| {
                        acked.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
            _ = pace.tick() => {
                if !enough.is_cancelled() {
                    agent.take_pass(SystemClock.wall());
                }
            }
        }
    }
}

/// Fails unless every seq of every agent is stored exactly once.
fn assert_whole(stored: &BTreeMap<Uuid, Vec<u64>>, told: &[Told]) {
    for agent in told {
        let expected: Vec<u64> = (1..=agent.last).collect();
        let found = stored.get(&agent.id).cloned().unwrap_or_default();
        assert_eq!(found, expected, "each once, none missing: {}", agent.id);
    }
}

#[test]
fn an_aggregator_that_ends_under_two_hundred_streams_loses_nothing_and_stores_nothing_twice() {
    let place = Place::on_sqlite();
    let (aggregator, http) = place.start();
    let crowd = Crowd::come(&place.url(), 200);
    let streams = || get(&format!("http://{http}/metrics")).unwrap_or_default();
    wait_for("every agent is there", || streams().contains("\nmonitoring_ingest_streams 200\n"));
    let before = crowd.acked();
    wait_for("they send", || crowd.acked() > before + 400);
    aggregator.signal(Signal::TERM);
    assert!(aggregator.ended().success());
    let acked = crowd.acked();
    let stored = crowd.runtime.block_on(place.stored()).values().map(Vec::len).sum::<usize>() as u64;
    assert!(stored >= acked, "{acked} are acked, {stored} are stored");

    let (aggregator, _) = place.start();
    wait_for("they go on", || crowd.acked() > acked + 200);
    let runtime = Runtime::new().expect("a runtime");
    let told = crowd.settle();
    assert_whole(&runtime.block_on(place.stored()), &told);
    assert!(told.iter().all(|agent| agent.last > 0), "the run was not empty");
    assert!(aggregator.interrupt().success());
}

#[test]
fn silent_clients_cannot_hold_an_aggregator_that_ends() {
    let place = Place::on_sqlite();
    let (aggregator, http) = place.start();
    let crowd = Crowd::come(&place.url(), 3);
    wait_for("agents send", || crowd.acked() > 10);
    let connect = |to: &str, words: &[u8]| {
        let mut peer = TcpStream::connect(to).expect("it listens");
        peer.write_all(words).expect("it listens");
        peer
    };
    let _no_word = (connect(&place.grpc, b""), connect(&http, b""));
    let _no_hello = connect(&place.grpc, OPENS);
    let _half_a_request = connect(&http, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Never: en");
    // Asks and asks, and takes none of the answers: what it was sent fills every buffer on the way.
    let mut takes_nothing = connect(&place.grpc, OPENS);
    takes_nothing.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
    while takes_nothing.write_all(&PING.repeat(1_000)).is_ok() {}
    let reads_no_page = connect(&http, &b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200));
    aggregator.signal(Signal::TERM);
    let log = aggregator.path();
    assert!(aggregator.ended().success());
    let log = std::fs::read_to_string(log).expect("our file");
    assert!(log.contains("everything ended in time"), "{log}");
    drop((takes_nothing, reads_no_page));
    let (aggregator, _) = place.start();
    let told = crowd.settle();
    let runtime = Runtime::new().expect("a runtime");
    assert_whole(&runtime.block_on(place.stored()), &told);
    assert!(aggregator.interrupt().success());
}

#[test]
fn an_aggregator_whose_database_hangs_ends_all_the_same_and_nothing_is_lost() {
    let Some(server) = Postgres::private() else { return };
    let runtime = Runtime::new().expect("a runtime");
    let database = runtime.block_on(server.create_database());
    let dir = TempDir::new().expect("a directory");
    let place = Place { dir, database, grpc: free_address().to_string() };
    let (aggregator, http) = place.start();
    let crowd = Crowd::come(&place.url(), 20);
    wait_for("agents send", || crowd.acked() > 100);
    server.freeze();
    let page = || get(&format!("http://{http}/metrics")).unwrap_or_default();
    let waiting = |line: &str| line.starts_with("monitoring_ingest_queue_batches ") && !line.ends_with(" 0");
    wait_for("batches wait behind a commit that hangs", || page().lines().any(waiting));
    let acked = crowd.acked();
    aggregator.signal(Signal::TERM);
    let log = aggregator.path();
    assert!(aggregator.ended().success());
    let log = std::fs::read_to_string(log).expect("our file");
    assert!(log.contains("database not closed in time"), "the last commit is not answered: {log}");
    server.thaw();
    let stored = runtime.block_on(place.stored()).values().map(Vec::len).sum::<usize>() as u64;
    assert!(stored >= acked, "{acked} are acked, {stored} are stored");

    let (aggregator, _) = place.start();
    let told = crowd.settle();
    assert_whole(&runtime.block_on(place.stored()), &told);
    assert!(aggregator.interrupt().success());
}

/// An agent whose spool lies in `dir`, ten times as fast as usual.
fn real_agent(dir: &Path, aggregator: &str) -> Program {
    let spool = dir.join("spool").display().to_string();
    let flags = ["--service", "agenda", "--instance", "one", "--aggregator", aggregator, "--spool-dir", &spool];
    Program::agent(&dir.join("agent.log"), &[&flags[..], &["--listen-http", "127.0.0.1:0"]].concat())
}

/// Waits until the agent of `place` has nothing left, and fails unless all of it is stored once.
fn assert_agent_whole(place: &Place, http: &str, agent_http: &str) {
    wait_for("the agent has delivered everything", || {
        get_json(&format!("http://{agent_http}/status")).is_some_and(|status| status["spool"]["waiting"] == 0)
    });
    let runtime = Runtime::new().expect("a runtime");
    let stored = runtime.block_on(place.stored());
    let seqs = stored.values().next().expect("it has sent something");
    assert_eq!(*seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "none missing, none twice");
    let page = get(&format!("http://{http}/metrics")).expect("it answers");
    assert!(
        !page
            .lines()
            .any(|line| line.contains("missing_records_total") && !line.ends_with(" 0") && !line.starts_with('#'))
    );
}

#[test]
fn an_agent_ends_while_nobody_answers_its_connection() {
    let dir = TempDir::new().expect("a directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let taken = thread::spawn(move || silent.accept().map(|(peer, _)| peer));
    let agent = real_agent(dir.path(), &format!("http://{address}"));
    let _peer = taken.join().expect("no panic").expect("it connects");
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
}

#[test]
fn an_agent_ends_with_a_backlog_while_the_aggregator_is_frozen_and_delivers_it_after_the_start() {
    let place = Place::on_sqlite();
    let (aggregator, http) = place.start();
    let mut agent = real_agent(place.dir.path(), &place.url());
    let agent_http = agent.logged("agent runs", "http");
    let status = || get_json(&format!("http://{agent_http}/status"));
    wait_for("it delivers", || {
        status().is_some_and(|status| status["spool"]["waiting"] == 0 && status["aggregator"]["connected"] == true)
    });
    aggregator.signal(Signal::STOP);
    wait_for("a backlog waits", || {
        status().and_then(|status| status["spool"]["waiting"].as_u64()).is_some_and(|records| records >= 3)
    });
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
    aggregator.signal(Signal::CONT);
    let mut agent = real_agent(place.dir.path(), &place.url());
    let agent_http = agent.logged("agent runs", "http");
    assert_agent_whole(&place, &http, &agent_http);
    assert!(agent.interrupt().success());
    assert!(aggregator.interrupt().success());
}

#[test]
fn an_aggregator_without_a_file_descriptor_left_pauses_and_serves_agents_again_when_there_are_some() {
    let place = Place::on_sqlite();
    let (aggregator, _) = place.start();
    // Fewer than it has: what is open stays open, and nothing more can be.
    let had = aggregator.limit_files(5);
    let peer = TcpStream::connect(&place.grpc).expect("the kernel takes it");
    let pauses = || aggregator.log().matches("no connection accepted").count();
    wait_for("it pauses, and tries again", || pauses() >= 2);
    assert!(aggregator.log().contains("ulimit -n"), "it says what to look at");
    aggregator.limit_files(had);
    let crowd = Crowd::come(&place.url(), 3);
    wait_for("agents are served", || crowd.acked() > 3);
    drop(peer);
    let told = crowd.settle();
    let runtime = Runtime::new().expect("a runtime");
    assert_whole(&runtime.block_on(place.stored()), &told);
    assert!(aggregator.interrupt().success());
}
