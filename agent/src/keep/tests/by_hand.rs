//! What the keeper does when nothing wakes it: it is stepped by hand, and asked when it would wake by itself.

use super::*;

/// A keeper without a thread, on a disk in memory, with a clock that stands still.
struct Hand {
    disk: MemoryDisk,
    clock: ManualClock,
    meters: Meters,
    keeper: Keeper,
    door: Door,
}

impl Hand {
    fn new(mode: Mode) -> Self {
        Self::with(Options::new(mode, MAX_BYTES, "boot"))
    }

    fn with(options: Options) -> Self {
        let (disk, clock) = (MemoryDisk::default(), ManualClock::at(Timestamp::ZERO));
        let (spool, _) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
        let meters = Meters::new(&Telemetry::default());
        let (mut keeper, door) = Keeper::new(spool, MAX_BYTES, Arc::new(clock.clone()), meters.keep.clone());
        keeper.show();
        Self { disk, clock, meters, keeper, door }
    }

    /// Sleeps as long as nothing is due, then does what is.
    fn step(&mut self) {
        self.clock.advance(self.keeper.wait());
        self.keeper.step();
    }

    fn write(&mut self, folded: Folded) {
        self.keeper.batch.add(folded, self.clock.monotonic());
        self.step();
    }

    fn is_failing(&self) -> bool {
        self.door.progress().failing_since.is_some()
    }
}

fn open(disk: &MemoryDisk, mode: Mode) -> (Spool, spool::OpenReport) {
    Spool::open(Arc::new(disk.clone()), Path::new("/spool"), Options::new(mode, MAX_BYTES, "boot")).expect("it opens")
}

#[test]
fn in_mode_fast_what_was_written_is_synced_though_nothing_wakes_the_keeper() {
    let mut hand = Hand::new(Mode::Fast);
    hand.write(folded(1));
    let begun = hand.door.stats().syncs;
    assert!(hand.keeper.wait() <= CHECKPOINT_EVERY);
    hand.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    hand.step();
    assert_eq!(hand.door.stats().syncs, begun);
    hand.disk.heal();
    assert!(hand.keeper.wait() <= CHECKPOINT_EVERY, "it is tried again");
    hand.step();
    assert_eq!(hand.door.stats().syncs, begun + 1);
    assert_eq!(hand.keeper.wait(), IDLE, "nothing is left to sync");
}

#[test]
fn the_cursor_is_written_after_the_last_ack_and_not_again_while_nothing_changes() {
    let mut hand = Hand::new(Mode::Durable);
    hand.write(folded(1));
    let mut items = hand.door.open_session(None);
    hand.keeper.step();
    hand.door.heard(Outcome::Acked(receive(&mut items).0), Wake::Now);
    hand.keeper.step();
    hand.step();
    let calls = hand.disk.calls();
    assert_eq!(hand.keeper.wait(), IDLE);
    hand.step();
    assert_eq!(hand.disk.calls(), calls, "the disk is left alone");
    let copy = hand.disk.copy();
    assert_eq!(open(&copy, Mode::Durable).1.records, 0, "the cursor has the ack");
}

#[test]
fn records_whose_sync_failed_are_saved_and_the_failure_is_over_though_nothing_comes_after_them() {
    let mut hand = Hand::new(Mode::Durable);
    hand.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    hand.write(folded(1));
    assert!(hand.is_failing());
    hand.step();
    assert!(hand.is_failing(), "the disk fails still");
    hand.disk.heal();
    assert!(hand.keeper.wait() <= RETRY_PAUSE);
    let mut items = hand.door.open_session(None);
    hand.step();
    assert!(!hand.is_failing());
    assert_eq!(receive(&mut items).1, 1);
}

#[test]
fn what_a_full_disk_did_not_take_is_told_when_there_is_room_though_nothing_comes_after_it() {
    let mut hand = Hand::new(Mode::Durable);
    hand.disk.fail(Operation::Create, 0, u32::MAX, ENOSPC);
    hand.write(folded(1));
    hand.step();
    assert!(hand.is_failing());
    hand.disk.heal();
    let mut items = hand.door.open_session(None);
    hand.step();
    assert!(!hand.is_failing());
    assert_eq!(receive_gap(&mut items).reason, "disk_full");
}

#[test]
fn events_that_a_failing_disk_did_not_take_leave_nothing_behind_but_the_disk_is_asked_all_the_same() {
    let mut hand = Hand::new(Mode::Durable);
    hand.disk.fail(Operation::Create, 0, u32::MAX, EIO);
    let _receipt = hand.door.hand_in(b"event".to_vec(), 1).expect("there is room");
    hand.keeper.step();
    assert!(hand.is_failing());
    hand.disk.heal();
    hand.step();
    assert!(!hand.is_failing());
}

#[test]
fn what_is_lost_in_the_last_commit_is_told_after_the_next_start() {
    let mut hand = Hand::new(Mode::Durable);
    hand.keeper.batch.add(huge(), hand.clock.monotonic());
    hand.keeper.end();
    assert_eq!(hand.meters.keep.passes.dropped.with_label_values(&["too_large"]).get(), 1);
    let (mut spool, _) = open(&hand.disk, Mode::Durable);
    assert!(matches!(spool.read_next(), Ok(Next::Gap(gap)) if gap.reason == Reason::TooLarge));
}

#[test]
fn a_finished_segment_that_the_disk_kept_is_removed_by_a_later_checkpoint_though_nothing_else_changes() {
    let options = Options { segment_bytes: 1, ..Options::new(Mode::Durable, MAX_BYTES, "boot") };
    let mut hand = Hand::with(options); // each record has a segment of its own
    (1..=2).for_each(|at| hand.write(folded(at)));
    let mut items = hand.door.open_session(None);
    hand.keeper.step();
    hand.disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    hand.door.heard(Outcome::Acked(receive(&mut items).0), Wake::Now);
    hand.keeper.step();
    let bytes = hand.door.stats().bytes;
    for _ in 0..3 {
        hand.step();
        assert_eq!((hand.door.stats().leftovers, hand.door.stats().bytes), (1, bytes));
        assert!(hand.keeper.wait() <= CHECKPOINT_EVERY, "it is tried again");
    }
    hand.disk.heal();
    hand.step();
    let stats = hand.door.stats();
    assert!(stats.leftovers == 0 && stats.bytes < bytes, "{stats:?}");
    assert_eq!(hand.keeper.wait(), IDLE);
}

#[test]
fn a_record_that_was_dropped_for_room_before_it_could_move_is_told_as_a_gap_whatever_is_acked_behind_it() {
    let options = Options { segment_bytes: 1, ..Options::new(Mode::Durable, 4000, "boot") };
    let mut hand = Hand::with(options); // each record has a segment of its own
    let mut items = hand.door.open_session(None);
    (1..=2).for_each(|at| hand.write(folded(at)));
    let (first, second) = (receive(&mut items).0, receive(&mut items).0);
    while hand.door.stats().dropped.spool_full == 0 {
        hand.write(folded(3));
    }
    hand.door.heard(Outcome::Taken(first), Wake::Later);
    hand.door.heard(Outcome::Acked(second), Wake::Now);
    hand.keeper.step();
    let mut items = hand.door.open_session(None);
    hand.keeper.step();
    let gap = receive_gap(&mut items);
    assert_eq!((gap.first_seq, gap.last_seq, gap.reason.as_str()), (1, 1, "spool_full"));
    assert_eq!(receive(&mut items).0, second, "it comes again");
}

#[test]
fn what_was_answered_waits_for_its_delivery_from_then_on() {
    let mut hand = Hand::new(Mode::Durable);
    let mut receipt = hand.door.hand_in(b"event".to_vec(), 1).expect("there is room");
    assert_eq!(hand.door.waiting(), 1, "and before that for the keeper");
    hand.keeper.commit_if_due();
    assert_eq!(receipt.try_recv(), Ok(Ok(())));
    assert_eq!(hand.door.waiting(), 1);
}

#[test]
fn a_pass_waits_for_its_delivery_from_the_moment_when_it_is_handed_over() {
    let mut hand = Hand::new(Mode::Durable);
    assert!(hand.door.deliver(folded(1)));
    assert_eq!(hand.door.waiting(), 1, "nobody has looked at it");
    let Ok(Event::Pass(pass)) = hand.keeper.inside.inbox.try_recv() else { panic!("it is there") };
    hand.keeper.batch.add(pass, hand.clock.monotonic());
    assert_eq!(hand.door.waiting(), 1, "it is in a batch");
    hand.clock.advance(LINGER);
    hand.keeper.commit_if_due();
    assert_eq!(hand.door.waiting(), 1, "it is in the spool");
}

#[test]
fn what_the_spool_held_when_it_was_opened_waits_before_the_keeper_runs() {
    let mut hand = Hand::new(Mode::Durable);
    hand.write(folded(1));
    hand.keeper.end();
    let (spool, _) = open(&hand.disk, Mode::Durable);
    let meters = Meters::new(&Telemetry::default());
    let (_keeper, door) = Keeper::new(spool, MAX_BYTES, Arc::new(hand.clock.clone()), meters.keep);
    assert_eq!(door.waiting(), 1);
}
