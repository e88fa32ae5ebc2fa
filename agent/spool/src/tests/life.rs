//! The ordinary life of a spool.

use super::*;
use crate::{NewEpoch, NotRead, OpenError, Reason, Refused, verify};
use proptest::prelude::*;

#[test]
fn a_new_spool_is_empty_and_says_that_it_is_new() {
    let (mut spool, report) = open(&MemoryDisk::default());
    assert_eq!((report.new_epoch, report.records, report.segments), (Some(NewEpoch::Fresh), 0, 0));
    assert_eq!(spool.read_next().unwrap(), Next::Empty);
    assert_eq!(spool.sync().unwrap(), Position { epoch: spool.epoch(), seq: 0 });
}

#[test]
fn a_spool_may_be_handed_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&open(&MemoryDisk::default()).0);
}

#[test]
fn records_come_back_in_order_whatever_their_class() {
    let mut spool = filled(&MemoryDisk::default(), Mode::Durable, 20);
    let seen = drain(&mut spool);
    let epoch = spool.epoch();
    for (number, seen) in (1..=20).zip(&seen) {
        let class = if number % 5 == 0 { Class::Critical } else { Class::Ordinary };
        assert_eq!(*seen, Seen::Record(Position { epoch, seq: number }, class, payload(number)));
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn in_mode_durable_nothing_is_readable_before_sync_and_in_mode_fast_at_once() {
    for (mode, visible) in [(Mode::Durable, 0), (Mode::Fast, 1)] {
        let (mut spool, _) = open_with(&MemoryDisk::default(), options(mode));
        spool.append(Class::Ordinary, b"x").unwrap();
        assert_eq!(drain(&mut spool).len(), visible, "{mode:?}");
        spool.sync().unwrap();
        assert_eq!(drain(&mut spool).len(), 1 - visible, "{mode:?}");
    }
}

#[test]
fn a_sync_covers_all_that_was_appended_and_one_lane_costs_one_sync() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, Options::new(Mode::Durable, 1 << 30, "b"));
    spool.append(Class::Ordinary, b"first").unwrap();
    spool.sync().unwrap();
    for _ in 0..100 {
        spool.append(Class::Ordinary, b"x").unwrap();
    }
    let before = disk.operations();
    assert_eq!(spool.sync().unwrap().seq, 101);
    assert_eq!(disk.operations() - before, 1, "one fdatasync for a hundred");
    spool.sync().unwrap();
    assert_eq!(disk.operations() - before, 1, "and none for none");
}

#[test]
fn appended_together_records_cost_one_write_and_each_has_its_seq() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, Options::new(Mode::Durable, 1 << 30, "b"));
    spool.append(Class::Critical, b"first").unwrap();
    let payloads: Vec<_> = (2..=65).map(payload).collect();
    let before = disk.operations();
    let taken = spool.append_all(Class::Critical, &payloads);
    assert_eq!(disk.operations() - before, 1, "one write for 64");
    assert_eq!((taken.first.seq, taken.count, taken.refused.is_none()), (2, 64, true));
    assert_eq!((spool.sync().unwrap().seq, spool.stats().syncs), (65, 1));
    for (number, seen) in (2..).zip(drain(&mut spool).into_iter().skip(1)) {
        let position = Position { seq: number, ..taken.first };
        assert_eq!(seen, Seen::Record(position, Class::Critical, payload(number)));
    }
    assert_eq!(spool.append_all::<&[u8]>(Class::Ordinary, &[]).count, 0);
}

#[test]
fn records_appended_together_fill_segments_as_single_ones_do() {
    let (alone, together) = (MemoryDisk::default(), MemoryDisk::default());
    let payloads: Vec<_> = (1..=40).map(payload).collect();
    let (mut spool, _) = open(&alone);
    for payload in &payloads {
        spool.append(Class::Ordinary, payload).unwrap();
    }
    let (mut other, _) = open(&together);
    assert_eq!(other.append_all(Class::Ordinary, &payloads).count, 40);
    assert_eq!(other.stats(), spool.stats());
    let segments = |disk: &MemoryDisk| {
        let paths = disk.files(dir()).into_iter().filter(|path| path.extension().is_some());
        paths.map(|path| (disk.read(&path).unwrap().len(), path)).collect::<Vec<_>>()
    };
    assert_eq!(segments(&together), segments(&alone));
}

#[test]
fn of_records_appended_together_those_before_the_first_refused_one_are_taken() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options::new(Mode::Durable, 64 << 20, "b"));
    let payloads = [vec![1; 9], vec![2; 9], vec![3; crate::MAX_RECORD_BYTES + 1], vec![4; 9]];
    let taken = spool.append_all(Class::Ordinary, &payloads);
    assert_eq!((taken.first.seq, taken.count), (1, 2));
    assert!(matches!(taken.refused, Some(Refused::TooLarge { .. })));
    assert_eq!((spool.stats().appended, spool.stats().turned_away.too_large), (2, 2), "it and the one behind it");
    assert_eq!(
        spool.append_all(Class::Ordinary, &payloads[3..]).first.seq,
        3,
        "the rest is the caller's to bring again"
    );
}

#[test]
fn unacked_records_are_read_again_after_a_rewind_and_acked_ones_never() {
    let mut spool = filled(&MemoryDisk::default(), Mode::Durable, 12);
    let epoch = spool.epoch();
    assert_eq!(seqs(&drain(&mut spool)), (1..=12).collect::<Vec<_>>());
    spool.ack(Position { epoch, seq: 7 }).unwrap();
    spool.rewind();
    assert_eq!(seqs(&drain(&mut spool)), (8..=12).collect::<Vec<_>>());
    assert_eq!((spool.stats().delivered, spool.stats().waiting, spool.stats().oldest_seq), (7, 5, 8));
}

#[test]
fn acks_of_what_was_not_read_are_refused_and_old_ones_change_nothing() {
    let mut spool = filled(&MemoryDisk::default(), Mode::Durable, 3);
    let at = |seq| Position { epoch: spool.epoch(), seq };
    let (one, two, foreign) = (at(1), at(2), Position { epoch: 7, seq: 1 });
    assert_eq!(spool.ack(one), Err(NotRead { epoch: one.epoch, seq: 1 }));
    drain(&mut spool);
    spool.ack(two).unwrap();
    spool.ack(one).unwrap();
    spool.ack(two).unwrap();
    assert!(spool.ack(foreign).is_err());
    assert_eq!(spool.stats().delivered, 2);
}

#[test]
fn finished_segments_are_unlinked_and_after_a_drain_only_those_being_written_stay() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 60);
    assert!(spool.stats().segments > 8);
    drain(&mut spool);
    spool.ack(Position { epoch: spool.epoch(), seq: 60 }).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().segments), (0, 2));
    spool.close().unwrap();
    let (spool, report) = open(&disk);
    assert_eq!((report.records, report.new_epoch, spool.stats().segments), (0, None, 2));
}

#[test]
fn a_clean_restart_goes_on_in_the_same_epoch_and_replays_nothing() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Fast, 10);
    let (owner, epoch) = (spool.owner(), spool.epoch());
    drain(&mut spool);
    spool.ack(Position { epoch, seq: 4 }).unwrap();
    spool.close().unwrap();
    let (mut spool, report) = open_with(&disk, Options { boot_id: "boot-2".into(), ..options(Mode::Fast) });
    assert_eq!((report.owner, report.epoch, report.new_epoch, report.records), (owner, epoch, None, 6));
    assert_eq!(seqs(&drain(&mut spool)), (5..=10).collect::<Vec<_>>());
    assert_eq!(spool.append(Class::Ordinary, b"x").unwrap(), Position { epoch, seq: 11 });
}

#[test]
fn a_kill_loses_nothing_and_replays_at_most_what_was_acked_since_the_last_checkpoint() {
    for mode in [Mode::Durable, Mode::Fast] {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, mode, 10);
        let epoch = spool.epoch();
        drain(&mut spool);
        spool.ack(Position { epoch, seq: 1 }).unwrap();
        spool.checkpoint().unwrap();
        spool.ack(Position { epoch, seq: 2 }).unwrap();
        drop(spool);
        let (mut spool, report) = open_with(&disk, options(mode));
        assert_eq!((report.new_epoch, report.records), (None, 9));
        assert_eq!(seqs(&drain(&mut spool)), (2..=10).collect::<Vec<_>>());
    }
}

#[test]
fn power_loss_in_mode_durable_takes_only_what_was_not_synced_and_keeps_the_epoch() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 10);
    let lost = spool.append(Class::Ordinary, b"never synced, never seen").unwrap();
    drop(spool);
    disk.lose_power(crate::memory::PowerLoss::DropsAll);
    let (mut spool, report) = open_with(&disk, Options { boot_id: "boot-2".into(), ..options(Mode::Durable) });
    assert_eq!((report.new_epoch, report.records, report.lost_records), (None, 10, 0));
    assert_eq!(spool.append(Class::Ordinary, b"other").unwrap(), lost, "its seq was never visible: it is free");
}

#[test]
fn power_loss_in_mode_fast_begins_a_new_epoch_and_old_records_keep_their_names() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Fast, 3);
    let old = spool.epoch();
    spool.append(Class::Ordinary, b"sent, and then gone").unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4]);
    drop(spool);
    disk.lose_power(crate::memory::PowerLoss::DropsAll);
    let (mut spool, report) = open_with(&disk, Options { boot_id: "boot-2".into(), ..options(Mode::Fast) });
    assert_eq!(report.new_epoch, Some(NewEpoch::PowerLoss));
    let new = spool.append(Class::Ordinary, b"new").unwrap();
    assert_eq!(new, Position { epoch: report.epoch, seq: 1 });
    let positions: Vec<_> = drain(&mut spool)
        .into_iter()
        .map(|seen| if let Seen::Record(position, ..) = seen { position } else { panic!("{seen:?}") })
        .collect();
    let at = |seq| Position { epoch: old, seq };
    assert_eq!(positions, [at(1), at(2), at(3), new]);
    spool.ack(new).unwrap();
    assert_eq!(spool.stats().waiting, 0);
}

#[test]
fn two_processes_cannot_have_one_spool() {
    let disk = MemoryDisk::default();
    let (first, _) = open(&disk);
    let second = Spool::open(Arc::new(disk.clone()), dir(), options(Mode::Durable));
    let Err(OpenError::Locked { dir }) = second else { panic!("the lock was given twice") };
    assert_eq!(dir, Path::new(DIR));
    drop(first);
    open(&disk);
}

#[test]
fn a_refused_record_is_kept_aside_and_stands_in_the_way_of_nothing() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 4);
    let at = |seq| Position { epoch: spool.epoch(), seq };
    let (one, two, four) = (at(1), at(2), at(4));
    drain(&mut spool);
    spool.refuse(two, "unknown tenant").unwrap();
    spool.refuse(one, "unknown tenant").unwrap();
    assert_eq!(spool.stats().waiting, 4, "the receiver has not said that it knows");
    spool.ack(two).unwrap();
    assert_eq!((spool.stats().dropped.refused, spool.stats().waiting), (2, 2));
    spool.ack(four).unwrap();
    assert_eq!((spool.stats().delivered, spool.stats().waiting), (2, 0));
    let dead = disk.files(&dir().join("dead"));
    assert_eq!(dead.len(), 4, "two records and two reasons");
    assert!(dead.iter().any(|path| disk.read(path).unwrap() == payload(2)));
    assert!(spool.refuse(two, "again").is_err(), "it is done");
}

#[test]
fn a_refusal_of_which_the_receiver_may_not_know_comes_again_and_is_counted_once() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    let one = Position { epoch: spool.epoch(), seq: 1 };
    for _ in 0..2 {
        assert_eq!(seqs(&drain(&mut spool)), [1, 2]);
        spool.refuse(one, "too wide").unwrap();
        spool.rewind();
    }
    drain(&mut spool);
    spool.refuse(one, "too wide").unwrap();
    spool.ack(Position { seq: 2, ..one }).unwrap();
    assert_eq!((spool.stats().dropped.refused, spool.stats().delivered), (1, 1));
    assert_eq!(disk.files(&dir().join("dead")).len(), 2, "a record and a reason, once");
}

#[test]
fn a_skip_is_a_gap_in_its_place_until_it_is_acked_also_after_a_restart() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 3);
    let epoch = spool.epoch();
    let gap = spool.skip(Reason::QueueFull, 5).unwrap();
    assert_eq!(gap, Gap { epoch, first_seq: 4, last_seq: 8, reason: Reason::QueueFull });
    assert_eq!(gaps(&drain(&mut spool)), [], "it is promised when it is synced, as a record is");
    assert_eq!(spool.append(Class::Ordinary, &payload(9)).unwrap().seq, 9);
    spool.sync().unwrap();
    for restarted in [false, true] {
        if restarted {
            drop(spool);
            spool = open(&disk).0;
        }
        spool.rewind();
        let seen = drain(&mut spool);
        assert_eq!((seqs(&seen), gaps(&seen)), (vec![1, 2, 3, 9], vec![gap]), "restarted: {restarted}");
        assert_eq!(seen[3], Seen::Gap(gap), "in its place");
    }
    assert!(spool.refuse(gap.position(), "x").is_err(), "nobody refuses a gap");
    spool.ack(gap.position()).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().oldest_seq), (1, 9));
    spool.close().unwrap();
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.records), (None, 1));
    assert_eq!(seqs(&drain(&mut spool)), [9]);
}

#[test]
fn a_skip_at_the_end_keeps_its_seqs_over_a_restart_and_takes_so_many_and_no_more() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    let gap = spool.skip(Reason::DiskError, u64::MAX).unwrap();
    assert_eq!((gap.first_seq, gap.last_seq), (1, crate::MAX_SKIP));
    assert_eq!(spool.skip(Reason::TooLarge, 0).unwrap().position().seq, crate::MAX_SKIP + 1, "at least one");
    spool.sync().unwrap();
    assert_eq!(spool.stats().skipped, crate::MAX_SKIP + 1);
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!(report.new_epoch, None);
    assert_eq!(spool.append(Class::Ordinary, b"x").unwrap().seq, crate::MAX_SKIP + 2);
}

#[test]
fn the_largest_record_fits_and_a_larger_one_is_refused_without_a_seq() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options::new(Mode::Durable, 64 << 20, "b"));
    let largest = vec![7; crate::MAX_RECORD_BYTES];
    let too_large = vec![7; crate::MAX_RECORD_BYTES + 1];
    let refused = spool.append(Class::Critical, &too_large);
    assert!(matches!(refused, Err(Refused::TooLarge { bytes, max_bytes }) if bytes == max_bytes + 1));
    assert_eq!(spool.append(Class::Critical, &largest).unwrap().seq, 1);
    spool.sync().unwrap();
    let Next::Record(record) = spool.read_next().unwrap() else { panic!("it is there") };
    assert!(record.payload == largest);
    assert_eq!(spool.stats().turned_away.too_large, 1);
}

#[test]
fn the_window_of_unacked_records_is_bounded() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options::new(Mode::Fast, 64 << 20, "b"));
    for _ in 0..=crate::MAX_IN_FLIGHT {
        spool.append(Class::Ordinary, b"x").unwrap();
    }
    assert_eq!(drain(&mut spool).len(), crate::MAX_IN_FLIGHT);
    assert_eq!(spool.read_next().unwrap(), Next::WindowFull);
    spool.ack(Position { epoch: spool.epoch(), seq: 1 }).unwrap();
    assert!(matches!(spool.read_next().unwrap(), Next::Record(_)));
}

#[test]
fn unsynced_records_are_bounded_in_memory_by_a_sync() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options::new(Mode::Durable, 64 << 20, "b"));
    let payload = vec![1; 1 << 20];
    for _ in 0..4 {
        spool.append(Class::Ordinary, &payload).unwrap();
    }
    assert_eq!(spool.stats().syncs, 1, "the fourth MiB did not fit beside the others and their frames");
    assert_eq!(drain(&mut spool).len(), 3);
}

#[test]
fn looking_does_not_touch() {
    let disk = MemoryDisk::default();
    let spool = filled(&disk, Mode::Durable, 20);
    let before = disk.operations();
    let report = verify(&disk, dir()).unwrap();
    assert_eq!(disk.operations(), before);
    assert_eq!((report.records, report.segments, report.owner), (20, spool.stats().segments, Some(spool.owner())));
    assert_eq!(report.bytes, spool.stats().bytes);
    assert!(report.is_identity_whole && report.is_cursor_whole && report.damaged.is_empty());
    assert!(verify(&disk, Path::new("/nowhere")).is_err());
}

proptest! {
    #[test]
    fn the_books_hold_whatever_is_acked(count in 1u64..40, acks in prop::collection::vec(1u64..40, 0..10)) {
        let mut spool = filled(&MemoryDisk::default(), Mode::Durable, count);
        drain(&mut spool);
        for seq in acks {
            let epoch = spool.epoch();
            let _ = spool.ack(Position { epoch, seq });
            prop_assert!(spool.stats().is_conserved());
        }
    }
}
