//! The keeper with a real spool in a temporary directory and a session held by hand.

use super::*;
use crate::meters::Meters;
use proto::convert::{RawBatch, SchemaBytes};
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::SystemClock;
use spool::{Mode, Options, RealDisk};
use std::path::Path;
use std::thread::JoinHandle;
use tempfile::TempDir;

const MAX_BYTES: u64 = 64 * 1024 * 1024;

struct Running {
    door: Door,
    meters: Meters,
    thread: JoinHandle<()>,
}

fn start(dir: &Path) -> Running {
    let options = Options::new(Mode::Durable, MAX_BYTES, "boot");
    let (spool, _) = Spool::open(Arc::new(RealDisk), dir, options).expect("a fresh spool opens");
    let meters = Meters::new(&Telemetry::default());
    let (keeper, door) = Keeper::new(spool, MAX_BYTES, Arc::new(SystemClock), meters.spool.clone());
    Running { door, meters, thread: std::thread::spawn(move || keeper.run()) }
}

impl Running {
    fn stop(self) {
        self.door.stop();
        self.thread.join().expect("the keeper does not panic");
    }

    /// Hands in one pass at a time that names it and waits until it is a record of its own.
    fn record(&self, at: i64) {
        let before = self.door.stats().appended;
        assert!(self.door.deliver(folded(at)));
        wait_for(|| self.door.stats().appended > before);
    }
}

fn folded(at: i64) -> Folded {
    let key = SeriesKey::try_new("m", []).expect("legal");
    let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
    Folded { schema, pass: Pass { at: Timestamp::from_millis(at), values: vec![1.0] } }
}

/// Waits for a level that another thread reaches; fails only when it is never reached.
fn wait_for(reached: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if reached() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not reached within ten seconds");
}

fn receive(items: &mut mpsc::Receiver<Item>) -> (Position, i64) {
    match items.blocking_recv() {
        Some(Item::Record { position, bytes }) => {
            let raw = RawBatch::from_record(&bytes, position).expect("our own record");
            let batch = raw.resolve(&mut std::collections::HashMap::new()).expect("resolves");
            (position, batch.frames[0].passes[0].at.as_millis())
        }
        other => panic!("a record was expected, not {other:?}"),
    }
}

#[test]
fn what_is_acked_is_not_sent_again_and_the_rest_is_after_a_restart() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    let mut items = agent.door.open_session();
    for at in 1..=3 {
        agent.record(at);
    }
    let (first, _) = receive(&mut items);
    assert_eq!(receive(&mut items).1, 2);
    agent.door.heard(Outcome::Acked(first));
    wait_for(|| agent.door.waiting() == 2);
    agent.stop();

    let agent = start(dir.path());
    let mut items = agent.door.open_session();
    assert_eq!(receive(&mut items).1, 2, "the first is acked");
    assert_eq!(receive(&mut items).1, 3);
    agent.stop();
}

#[test]
fn a_new_session_begins_again_after_the_last_ack() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    agent.record(1);
    agent.record(2);
    let mut old = agent.door.open_session();
    let (first, _) = receive(&mut old);
    receive(&mut old);
    agent.door.heard(Outcome::Acked(first));
    wait_for(|| agent.door.waiting() == 1);
    let mut new = agent.door.open_session();
    assert_eq!(receive(&mut new).1, 2);
    agent.stop();
}

#[test]
fn a_session_that_acks_nothing_gets_a_window_and_no_more() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    let window = i64::try_from(WINDOW_BATCHES).expect("small");
    for at in 1..=window + 5 {
        agent.record(at);
    }
    let mut items = agent.door.open_session();
    let mut last = None;
    for at in 1..=window {
        let (position, found) = receive(&mut items);
        assert_eq!(found, at);
        last = Some(position);
    }
    assert!(items.try_recv().is_err(), "the window is full");
    agent.door.heard(Outcome::Acked(last.expect("some were received")));
    assert_eq!(receive(&mut items).1, window + 1);
    agent.stop();
}

#[test]
fn a_refused_batch_goes_to_the_dead_folder_and_blocks_nobody() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    agent.record(1);
    agent.record(2);
    let mut items = agent.door.open_session();
    let (first, _) = receive(&mut items);
    let (second, _) = receive(&mut items);
    agent.door.heard(Outcome::Refused(first, "too wide".into()));
    agent.door.heard(Outcome::Acked(second));
    wait_for(|| agent.door.waiting() == 0);
    assert_eq!(agent.meters.spool.dropped.with_label_values(&["refused"]).get(), 1);
    assert_eq!(agent.meters.spool.records_out.get(), 1);
    assert!(dir.path().join("dead").read_dir().expect("a folder").count() > 0);
    agent.stop();
}

#[test]
fn passes_of_one_moment_share_a_record_and_the_last_ones_are_written_at_the_end() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    for at in 1..=4 {
        assert!(agent.door.deliver(folded(at)));
    }
    agent.stop();
    let agent = start(dir.path());
    let mut items = agent.door.open_session();
    let mut passes = 0;
    while passes < 4 {
        let Some(Item::Record { position, bytes }) = items.blocking_recv() else { panic!("a record") };
        let raw = RawBatch::from_record(&bytes, position).expect("our own record");
        let batch = raw.resolve(&mut std::collections::HashMap::new()).expect("resolves");
        passes += batch.frames[0].passes.len();
    }
    assert_eq!(passes, 4);
    agent.stop();
}
