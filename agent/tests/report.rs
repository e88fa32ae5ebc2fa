//! The services' door of the real program: what it answers with OK is in the spool, however it ends meanwhile.

use proto::convert::RawBatch;
use proto::event::Event;
use proto::grpc::ReportClient;
use proto::message::Position;
use proto::sample::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use spool::{Mode, Next, Options, RealDisk, Spool};
use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Who hands in at a time.
const PRODUCERS: usize = 64;

fn agent(dir: &Path, mode: &str, report: &str) -> Command {
    let config = dir.join("agent.yaml");
    let spool = dir.join("spool");
    let text = format!(
        "service: agenda\naggregator: http://127.0.0.1:1\nlisten_http: 127.0.0.1:0\nspool: {{dir: {}, mode: {mode}}}\n",
        spool.display()
    );
    std::fs::write(&config, text).expect("it is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    command.args(["run", "--listen-report", report, "--config"]).arg(config).env_clear();
    command.stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A running agent and the URL of its door.
async fn start(dir: &Path, mode: &str) -> (Child, String) {
    let mut child = agent(dir, mode, "127.0.0.1:0").spawn().expect("it was built");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    while let Some(line) = lines.next_line().await.expect("text") {
        if let Some((_, rest)) = line.split_once("report=") {
            let address = rest.split_whitespace().next().unwrap_or_default().to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, format!("http://{address}"));
        }
    }
    panic!("the agent did not say where services hand in");
}

/// Hands in one event after the other until that fails; the keys of those that were answered with OK.
async fn produce(url: String, producer: usize, answered: Arc<AtomicUsize>) -> Vec<String> {
    let mut client = ReportClient::connect(url).await.expect("it listens");
    let mut kept = Vec::new();
    loop {
        let key = format!("{producer}-{}", kept.len());
        let event = Event {
            kind: "conversation.message".into(),
            clinic_id: Uuid::from_u128(42),
            occurred_at: Timestamp::from_millis(1_795_000_000_000),
            idempotency_key: key.clone(),
        };
        match client.report(&[event]).await {
            Ok(answer) if answer.accepted == 1 => kept.push(key),
            _ => return kept,
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The keys of all events in a spool.
fn keys(dir: &Path) -> HashSet<String> {
    let options = Options::new(Mode::Durable, 256 << 20, "boot");
    let (mut spool, _) = Spool::open(Arc::new(RealDisk), &dir.join("spool"), options).expect("nobody has it");
    let mut found = HashSet::new();
    loop {
        let (bytes, position) = match spool.read_next().expect("the disk works") {
            Next::Record(record) => (record.payload.to_vec(), record.position),
            Next::Gap(_) => continue,
            Next::Empty => return found,
            Next::WindowFull => {
                let last = spool::Position { epoch: spool.epoch(), seq: spool.last_seq() };
                panic!("more records than a reader may hold at once: up to {last:?}");
            }
        };
        let position = Position { epoch: position.epoch, seq: position.seq };
        let batch = RawBatch::from_record(&bytes, position).expect("our own").resolve(&mut HashMap::new());
        found.extend(batch.expect("resolves").events.into_iter().map(|event| event.idempotency_key));
    }
}

#[tokio::test]
async fn what_is_answered_with_ok_is_in_the_spool_when_the_agent_is_told_to_end_or_is_killed() {
    for (mode, signal) in [("durable", Signal::TERM), ("durable", Signal::KILL), ("fast", Signal::KILL)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut child, url) = start(dir.path(), mode).await;
        let answered = Arc::<AtomicUsize>::default();
        let producers: Vec<_> =
            (0..PRODUCERS).map(|producer| tokio::spawn(produce(url.clone(), producer, answered.clone()))).collect();
        while answered.load(Ordering::Relaxed) < 5 * PRODUCERS {
            tokio::task::yield_now().await;
        }
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it runs");
        let status = child.wait().await.expect("it ends");
        assert_eq!(status.success(), signal == Signal::TERM, "{status}");
        let mut kept = Vec::new();
        for producer in producers {
            kept.extend(producer.await.expect("no panic"));
        }
        let found = keys(dir.path());
        let missing: Vec<&String> = kept.iter().filter(|key| !found.contains(*key)).collect();
        assert!(missing.is_empty(), "{mode}, {signal:?}: {missing:?} of {} are missing", kept.len());
        assert!(kept.len() >= 5 * PRODUCERS);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = agent(dir.path(), "durable", &address).output().await.expect("it was built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("cannot listen for services on {address}")), "{said}");
    assert!(said.contains("--listen-report"), "{said}");
}
