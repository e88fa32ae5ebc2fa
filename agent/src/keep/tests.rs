//! The keeper with a real spool in a temporary directory and a session held by hand.

mod by_hand;
mod commit;
mod names;

use super::*;
use crate::batch::LINGER;
use crate::fold::Folded;
use crate::meters::Meters;
use proto::convert::{RawBatch, SchemaBytes};
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::{ManualClock, SystemClock};
use spool::memory::{EACCES, EIO, EMFILE, ENOSPC, MemoryDisk, Operation};
use spool::{Fs, Mode, Options, RealDisk};
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
    start_on(Arc::new(RealDisk), dir, Mode::Durable, Arc::new(SystemClock))
}

fn start_on(disk: Arc<dyn Fs>, dir: &Path, mode: Mode, clock: Arc<dyn Clock>) -> Running {
    start_with(disk, dir, Options::new(mode, MAX_BYTES, "boot"), clock)
}

fn start_with(disk: Arc<dyn Fs>, dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Running {
    let (spool, _) = Spool::open(disk, dir, options).expect("a spool opens");
    let meters = Meters::new(&Telemetry::default());
    let (keeper, door) = Keeper::new(spool, MAX_BYTES, clock, meters.keep.clone());
    Running { door, meters, thread: std::thread::spawn(move || keeper.run()) }
}

impl Running {
    fn stop(self) {
        self.door.stop();
        self.thread.join().expect("the keeper does not panic");
    }

    /// Hands in one pass at a time that names it and waits until it is a record of its own.
    fn record(&self, at: i64) {
        let before = self.kept();
        assert!(self.door.deliver(folded(at)));
        wait_for(|| self.has_kept_more_than(before));
    }

    fn kept(&self) -> u64 {
        self.meters.keep.passes.kept.get()
    }

    /// And has shown the step in which it did.
    fn has_kept_more_than(&self, before: u64) -> bool {
        self.kept() > before && self.door.progress().busy_since.is_none()
    }

    fn passes_dropped(&self, reason: &str) -> u64 {
        self.meters.keep.passes.dropped.with_label_values(&[reason]).get()
    }
}

/// A keeper on a disk in memory, with a clock that stands still.
struct Bench {
    disk: MemoryDisk,
    clock: ManualClock,
    agent: Running,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let (disk, clock) = (MemoryDisk::default(), ManualClock::at(Timestamp::ZERO));
        let agent = start_on(Arc::new(disk.clone()), Path::new("/spool"), mode, Arc::new(clock.clone()));
        Self { disk, clock, agent }
    }

    /// Hands in a pass and lets time pass until `reached`.
    fn deliver_until(&self, folded: Folded, reached: impl Fn() -> bool) {
        assert!(self.agent.door.deliver(folded));
        wait_for(|| {
            self.clock.advance(LINGER);
            reached()
        });
    }

    fn record(&self, at: i64) {
        let before = self.agent.kept();
        self.deliver_until(folded(at), || self.agent.has_kept_more_than(before));
    }
}

fn folded(at: i64) -> Folded {
    let key = SeriesKey::try_new("m", []).expect("legal");
    let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
    Folded { schema, pass: Pass { at: Timestamp::from_millis(at), values: vec![1.0] } }
}

/// A pass that is larger than a batch may be.
fn huge() -> Folded {
    let mut huge = folded(0);
    huge.pass.values = vec![1.0; proto::limits::BATCH_MAX_BYTES / 8 + 1];
    huge
}

fn receive_gap(items: &mut mpsc::Receiver<Item>) -> Gap {
    match items.blocking_recv() {
        Some(Item::Gap(gap)) => gap,
        other => panic!("a gap was expected, not {other:?}"),
    }
}

/// Waits for a level; fails only when it is never reached.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..5_000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not reached: {what}");
}

/// Waits for a level that another thread reaches; fails only when it is never reached.
pub(crate) fn wait_for(reached: impl Fn() -> bool) {
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
    let mut items = agent.door.open_session(None);
    for at in 1..=3 {
        agent.record(at);
    }
    let (first, _) = receive(&mut items);
    assert_eq!(receive(&mut items).1, 2);
    agent.door.heard(Outcome::Acked(first), Wake::Now);
    wait_for(|| agent.door.waiting() == 2);
    agent.stop();

    let agent = start(dir.path());
    let mut items = agent.door.open_session(None);
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
    let mut old = agent.door.open_session(None);
    let (first, _) = receive(&mut old);
    receive(&mut old);
    agent.door.heard(Outcome::Acked(first), Wake::Now);
    wait_for(|| agent.door.waiting() == 1);
    let mut new = agent.door.open_session(None);
    assert_eq!(receive(&mut new).1, 2);
    agent.stop();
}

/// Hands in so many records of so many bytes, each of its own, and waits until they are kept.
fn keep_records(agent: &Running, records: usize, bytes: usize) {
    for _ in 0..records {
        let receipt = agent.door.hand_in(vec![b'x'; bytes], 1).expect("there is room");
        receipt.blocking_recv().expect("an answer").expect("the disk works");
    }
}

fn seq_of(item: Option<Item>) -> u64 {
    match item {
        Some(Item::Record { position, .. }) => position.seq,
        other => panic!("a record was expected, not {other:?}"),
    }
}

#[test]
fn a_session_that_acks_nothing_gets_a_window_of_records_or_of_bytes_and_no_more() {
    for (bytes, window) in [(1, WINDOW_RECORDS), (WINDOW_BYTES / 4, 4), (WINDOW_BYTES - 1000, 2)] {
        let bench = Bench::new(Mode::Durable);
        let agent = &bench.agent;
        keep_records(agent, window + 5, bytes);
        let epoch = agent.door.last().epoch;
        let mut items = agent.door.open_session(None);
        for seq in 1..=window as u64 {
            assert_eq!(seq_of(items.blocking_recv()), seq);
        }
        bench.record(1); // the keeper has looked once more
        assert!(items.try_recv().is_err(), "the window is full");
        let first = Position { epoch, seq: 1 };
        agent.door.heard(Outcome::Acked(first), Wake::Later);
        bench.record(2); // whatever wakes it
        assert_eq!(seq_of(items.blocking_recv()), window as u64 + 1);
        bench.agent.stop();
    }
}

#[test]
fn a_refused_batch_goes_to_the_dead_folder_and_blocks_nobody() {
    let dir = TempDir::new().expect("a directory");
    let agent = start(dir.path());
    agent.record(1);
    agent.record(2);
    let mut items = agent.door.open_session(None);
    let (first, _) = receive(&mut items);
    let (second, _) = receive(&mut items);
    agent.door.heard(Outcome::Refused(first, "too wide".into()), Wake::Now);
    agent.door.heard(Outcome::Acked(second), Wake::Now);
    wait_for(|| agent.door.waiting() == 0);
    assert_eq!(agent.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    assert_eq!(agent.meters.keep.spool.records_out.get(), 1);
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
    let mut items = agent.door.open_session(None);
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

#[test]
fn a_batch_that_is_too_large_is_told_as_a_gap_before_the_next_record() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.deliver_until(huge(), || agent.passes_dropped("too_large") == 1);
    assert_eq!(agent.door.progress().failing_since, None, "nothing is wrong with the disk");
    bench.record(2);
    let mut items = agent.door.open_session(None);
    let gap = receive_gap(&mut items);
    assert_eq!((gap.first_seq, gap.last_seq, gap.reason.as_str()), (1, 1, "too_large"));
    let (position, at) = receive(&mut items);
    assert_eq!((position.seq, at), (2, 2));
    agent.door.heard(Outcome::Acked(position), Wake::Now);
    wait_for(|| agent.door.waiting() == 0);
    assert_eq!(agent.meters.keep.spool.skipped.get(), 1);
    bench.agent.stop();
}

#[test]
fn what_a_failing_disk_did_not_take_is_told_when_it_works_again() {
    for (errno, reason) in [(ENOSPC, "disk_full"), (EIO, "disk_error")] {
        let bench = Bench::new(Mode::Durable);
        let agent = &bench.agent;
        bench.disk.fail(Operation::Create, 0, u32::MAX, errno);
        for lost in 1..=3 {
            bench.deliver_until(folded(1), || agent.passes_dropped(reason) == lost);
        }
        assert!(agent.door.progress().failing_since.is_some());
        bench.disk.heal();
        bench.record(4);
        wait_for(|| agent.door.progress().failing_since.is_none());
        let mut items = agent.door.open_session(None);
        let gap = receive_gap(&mut items);
        assert_eq!((gap.first_seq, gap.last_seq, gap.reason.as_str()), (1, 3, reason), "merged into one");
        assert_eq!(receive(&mut items).1, 4);
        bench.agent.stop();
    }
}

#[test]
fn a_hanging_disk_is_seen_what_the_inbox_turned_away_is_told_and_stopping_does_not_wait() {
    let bench = Bench::new(Mode::Durable);
    let door = bench.agent.door.clone();
    bench.disk.hang();
    assert!(door.deliver(folded(0)));
    wait_for(|| {
        bench.clock.advance(LINGER);
        bench.disk.waiting_syncs() == 1
    });
    assert!(door.progress().busy_since.is_some());
    let mut taken = 0;
    while door.deliver(folded(1)) {
        taken += 1;
        assert!(taken <= INBOX_PASSES, "the inbox is bounded");
    }
    assert!(!door.deliver(folded(1)));
    door.stop(); // returns although the keeper hangs
    bench.disk.heal();
    bench.agent.thread.join().expect("the keeper ends");
    let dropped = |reason: &str| bench.agent.meters.keep.passes.dropped.with_label_values(&[reason]).get();
    assert!(!door.deliver(folded(1)), "nobody is there");
    assert_eq!((dropped("queue_full"), dropped("stopping")), (2, 1));

    let again = start_on(Arc::new(bench.disk.clone()), Path::new("/spool"), Mode::Durable, Arc::new(SystemClock));
    let mut items = again.door.open_session(None);
    let (mut passes, mut lost) = (0, 0);
    while lost == 0 || passes < taken {
        match items.blocking_recv().expect("the session lives") {
            Item::Gap(gap) => {
                assert_eq!(gap.reason, "queue_full");
                lost += gap.last_seq - gap.first_seq + 1;
            }
            Item::Record { position, bytes } => {
                let raw = RawBatch::from_record(&bytes, position).expect("our own record");
                let batch = raw.resolve(&mut std::collections::HashMap::new()).expect("resolves");
                passes += batch.frames.iter().map(|frame| frame.passes.len()).sum::<usize>();
            }
        }
    }
    assert_eq!(lost, 2, "each pass that was turned away");
    again.stop();
}

#[test]
fn a_disk_that_is_away_for_a_moment_costs_no_sample_however_often_the_keeper_is_woken() {
    for errno in [EIO, EACCES] {
        let bench = Bench::new(Mode::Durable);
        let agent = &bench.agent;
        bench.record(1);
        bench.disk.fail(Operation::Read, 0, u32::MAX, errno);
        let mut items = agent.door.open_session(None);
        for _ in 0..50 {
            agent.door.heard(Outcome::Acked(Position { epoch: 0, seq: 0 }), Wake::Now);
        }
        bench.record(2); // all that came before has been looked at
        bench.disk.heal();
        bench.clock.advance(READ_PAUSE);
        agent.door.heard(Outcome::Acked(Position { epoch: 0, seq: 0 }), Wake::Now);
        assert_eq!((receive(&mut items).1, receive(&mut items).1), (1, 2));
        bench.agent.stop();
    }
}

#[test]
fn in_mode_fast_records_are_synced_now_and_then_and_a_failed_sync_is_no_refusal() {
    let bench = Bench::new(Mode::Fast);
    let agent = &bench.agent;
    let begun = agent.door.stats().syncs;
    for at in 1..=3 {
        bench.record(at);
    }
    let mut items = agent.door.open_session(None);
    assert_eq!(receive(&mut items).1, 1, "readable at once");
    assert_eq!(agent.door.stats().syncs, begun);
    bench.disk.fail(Operation::Sync, 0, 1, EIO);
    bench.clock.advance(CHECKPOINT_EVERY);
    bench.record(4);
    wait_for(|| agent.door.stats().sync_failures == 1);
    assert_eq!(agent.door.progress().failing_since, None);
    bench.clock.advance(CHECKPOINT_EVERY);
    bench.record(5);
    wait_for(|| agent.door.stats().syncs > begun);
    bench.agent.stop();
}

#[test]
fn a_refusal_that_the_aggregator_may_not_know_of_is_said_again_by_the_next_session() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.record(1);
    let mut items = agent.door.open_session(None);
    let (first, _) = receive(&mut items);
    agent.door.heard(Outcome::Refused(first, "not readable".into()), Wake::Now);
    bench.record(2); // it has been heard
    let mut items = agent.door.open_session(None);
    assert_eq!(receive(&mut items).0, first);
    agent.door.heard(Outcome::Refused(first, "not readable".into()), Wake::Now);
    agent.door.heard(Outcome::Acked(first), Wake::Now);
    wait_for(|| agent.door.waiting() == 1);
    assert_eq!(agent.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    bench.agent.stop();
}
