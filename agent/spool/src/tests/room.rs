//! What happens when there is no room: ours, or the disk's.

use super::*;
use crate::memory::{ENOSPC, EOPNOTSUPP, Operation};
use crate::{Appended, Reason, Refused, WhenFull};

/// Room for some forty records.
fn small() -> Options {
    Options { max_bytes: 4000, ..options(Mode::Durable) }
}

fn append_synced(spool: &mut Spool, class: Class, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        spool.append(class, &payload(number)).expect("it makes room");
        spool.sync().expect("the disk syncs");
    }
}

#[test]
fn the_oldest_ordinary_records_give_way_and_the_gap_has_a_name() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, small());
    append_synced(&mut spool, Class::Critical, 1..=2);
    append_synced(&mut spool, Class::Ordinary, 3..=100);
    append_synced(&mut spool, Class::Critical, 101..=102);
    let stats = spool.stats();
    assert!(stats.bytes <= 4000 && stats.dropped.spool_full > 50, "{stats:?}");
    for restarted in [false, true] {
        if restarted {
            drop(spool);
            spool = open_with(&disk, small()).0;
        }
        spool.rewind();
        let seen = drain(&mut spool);
        let gaps = gaps(&seen);
        let last_seq = 2 + stats.dropped.spool_full;
        assert_eq!(gaps, [Gap { epoch: spool.epoch(), first_seq: 3, last_seq, reason: Reason::SpoolFull }]);
        let expected: Vec<u64> = (1..=2).chain(last_seq + 1..=102).collect();
        assert_eq!(seqs(&seen), expected, "restarted: {restarted}");
    }
}

#[test]
fn critical_records_have_the_last_tenth_and_are_never_dropped() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), small());
    append_synced(&mut spool, Class::Ordinary, 1..=60);
    let mut critical = 0;
    while spool.append(Class::Critical, &payload(critical)).is_ok() {
        spool.sync().unwrap();
        critical += 1;
    }
    let stats = spool.stats();
    assert!(stats.bytes <= 4000, "{stats:?}");
    assert_eq!(stats.turned_away.full, 1);
    let seen = drain(&mut spool);
    let kept = seen.iter().filter(|seen| matches!(seen, Seen::Record(_, Class::Critical, _))).count() as u64;
    assert_eq!(kept, critical);
    assert!(matches!(spool.append(Class::Ordinary, &payload(0)), Err(Refused::Full { .. })), "there is none to drop");
}

#[test]
fn each_record_that_is_turned_away_is_counted_also_those_behind_the_one_that_was_refused() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options { when_full: WhenFull::RefuseNew, ..small() });
    while spool.append(Class::Critical, &payload(1)).is_ok() {}
    let before = spool.stats().turned_away.full;
    let Appended { count, refused, .. } = spool.append_all(Class::Critical, &[payload(1), payload(2), payload(3)]);
    assert!(count == 0 && matches!(refused, Some(Refused::Full { .. })), "{refused:?}");
    assert_eq!(spool.stats().turned_away.full - before, 3);
}

#[test]
fn a_group_for_the_next_segment_is_no_larger_than_what_may_be_unsynced_in_memory() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options::new(Mode::Durable, 1 << 30, "b"));
    let one = vec![7; 1 << 20];
    while spool.lanes[1].room(spool.options.segment_limit()) > 1 << 20 {
        spool.append(Class::Critical, &one).unwrap();
    }
    let many: Vec<_> = (0..7).map(|_| &one).collect();
    assert_eq!(spool.append_all(Class::Critical, &many).count, 7);
    let hidden = spool.lanes[1].hidden_bytes();
    assert!(hidden <= crate::MAX_HIDDEN_BYTES, "{hidden} bytes are in memory");
}

#[test]
fn nothing_gives_way_for_a_skip() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), small());
    append_synced(&mut spool, Class::Ordinary, 1..=60);
    let before = spool.stats().dropped;
    while spool.skip(Reason::TooLarge, 1).is_ok() {
        spool.sync().unwrap();
    }
    let stats = spool.stats();
    assert!(stats.bytes <= 4000 && stats.skipped > 5, "{stats:?}");
    assert_eq!(stats.dropped, before);
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 4);
    disk.fail(Operation::Write, 0, 1, ENOSPC);
    assert!(matches!(spool.skip(Reason::TooLarge, 1), Err(Refused::NoSpace { .. })));
    assert_eq!((spool.stats().dropped.total(), spool.stats().turned_away.disk), (0, 0));
}

#[test]
fn with_the_policy_to_refuse_nothing_is_dropped() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), Options { when_full: WhenFull::RefuseNew, ..small() });
    let mut taken = 0;
    while spool.append(Class::Ordinary, &payload(taken)).is_ok() {
        taken += 1;
    }
    assert!(spool.append(Class::Critical, &payload(taken)).is_ok(), "the reserve is for critical ones");
    spool.sync().unwrap();
    assert_eq!(drain(&mut spool).len() as u64, taken + 1);
    spool.ack(Position { epoch: spool.epoch(), seq: taken }).unwrap();
    assert!(spool.append(Class::Ordinary, &payload(0)).is_ok(), "acks make room");
    assert_eq!((spool.stats().dropped.total(), spool.stats().turned_away.full), (0, 1));
}

#[test]
fn opening_with_a_smaller_bound_drops_by_policy_and_counts() {
    let disk = MemoryDisk::default();
    filled(&disk, Mode::Durable, 100).close().unwrap();
    let (mut spool, report) = open_with(&disk, Options { max_bytes: 5000, ..options(Mode::Durable) });
    assert!(report.evicted_records > 0 && report.bytes <= 4500, "{report:?}");
    assert_eq!(report.evicted_records + report.records, 100);
    let seen = drain(&mut spool);
    let lost: u64 = gaps(&seen).iter().map(|gap| gap.last_seq - gap.first_seq + 1).sum();
    assert_eq!((lost, seqs(&seen).len() as u64), (report.evicted_records, report.records));
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::SpoolFull));
    let critical = seen.iter().filter(|seen| matches!(seen, Seen::Record(_, Class::Critical, _))).count();
    assert_eq!(critical, 20, "each fifth");
}

#[test]
fn what_was_sent_and_dropped_before_its_ack_is_dropped_in_the_books() {
    let (mut spool, _) = open_with(&MemoryDisk::default(), small());
    append_synced(&mut spool, Class::Ordinary, 1..=10);
    drain(&mut spool);
    append_synced(&mut spool, Class::Ordinary, 11..=60);
    let dropped = spool.stats().dropped.spool_full;
    assert!(dropped > 10);
    spool.ack(Position { epoch: spool.epoch(), seq: 10 }).unwrap();
    assert_eq!((spool.stats().delivered, spool.stats().dropped.spool_full), (0, dropped));
    assert_eq!(gaps(&drain(&mut spool))[0].first_seq, 11, "what was acked is in no gap");
}

#[test]
fn of_records_appended_together_as_many_are_taken_as_there_is_room_for() {
    let options = Options { when_full: WhenFull::RefuseNew, ..small() };
    let payloads: Vec<_> = (1..=60).map(payload).collect();
    let (mut alone, _) = open_with(&MemoryDisk::default(), options.clone());
    let count = payloads.iter().take_while(|payload| alone.append(Class::Critical, payload).is_ok()).count();
    let (mut spool, _) = open_with(&MemoryDisk::default(), options);
    let taken = spool.append_all(Class::Critical, &payloads);
    assert!(matches!(taken.refused, Some(Refused::Full { .. })) && taken.count == count && count > 30, "{taken:?}");

    let disk = MemoryDisk::default();
    let options = Options { when_full: WhenFull::RefuseNew, ..Options::new(Mode::Durable, 64 << 20, "b") };
    let (mut spool, _) = open_with(&disk, options);
    append_synced(&mut spool, Class::Ordinary, 1..=1);
    disk.limit_bytes(disk.used_bytes() + 700);
    let taken = spool.append_all(Class::Ordinary, &payloads);
    assert!(matches!(taken.refused, Some(Refused::NoSpace { .. })) && taken.count == 9, "700 of 77 bytes: {taken:?}");
    spool.sync().unwrap();
    assert_eq!(drain(&mut spool).len(), 10);
}

#[test]
fn a_full_disk_drops_the_oldest_and_goes_on() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 40);
    disk.limit_bytes(disk.used_bytes() + 100);
    append_synced(&mut spool, Class::Ordinary, 41..=80);
    let stats = spool.stats();
    assert!(stats.dropped.spool_full > 0 && stats.turned_away.disk == 0, "{stats:?}");
    let seen = drain(&mut spool);
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::SpoolFull), "{:?}", gaps(&seen));
    spool.ack(Position { epoch: spool.epoch(), seq: 80 }).unwrap();
    assert_eq!(spool.stats().waiting, 0, "acks work on a full disk");
}

#[test]
fn a_record_that_was_half_written_on_a_full_disk_leaves_no_trace() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, Options { when_full: WhenFull::RefuseNew, ..options(Mode::Durable) });
    append_synced(&mut spool, Class::Ordinary, 1..=1);
    spool.append(Class::Ordinary, b"hidden").unwrap();
    assert_eq!(drain(&mut spool).len(), 1, "the reader has looked at the file");
    disk.fail(Operation::Write, 0, 1, ENOSPC);
    assert!(spool.append(Class::Ordinary, &payload(3)).is_err());
    spool.append(Class::Ordinary, b"other").unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [2, 3]);
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.torn_bytes, report.records, report.new_epoch), (0, 3, None));
    assert_eq!(drain(&mut spool).len(), 3);
}

#[test]
fn a_spool_from_which_everything_was_dropped_goes_on_where_it_was() {
    let disk = MemoryDisk::default();
    disk.fail(Operation::Allocate, 0, 1, EOPNOTSUPP);
    let mut spool = filled(&disk, Mode::Durable, 4);
    let epoch = spool.epoch();
    disk.limit_bytes(0);
    assert!(matches!(spool.append(Class::Critical, &payload(5)), Err(Refused::NoSpace { .. })));
    assert_eq!((spool.stats().segments, spool.stats().dropped.spool_full), (0, 4));
    disk.heal();
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.lost_records), (None, 0));
    assert_eq!(gaps(&drain(&mut spool)), [Gap { epoch, first_seq: 1, last_seq: 4, reason: Reason::SpoolFull }]);
    assert_eq!(spool.append(Class::Ordinary, b"x").unwrap(), Position { epoch, seq: 5 });
}

#[test]
fn after_each_drain_the_disk_holds_the_same_bytes() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    let mut held = Vec::new();
    for round in 0..6u64 {
        append_synced(&mut spool, Class::Ordinary, 1..=30 + round);
        append_synced(&mut spool, Class::Critical, 1..=10);
        drain(&mut spool);
        let last = Position { epoch: spool.epoch(), seq: spool.last_seq() };
        spool.ack(last).unwrap();
        spool.close().unwrap();
        spool = open(&disk).0;
        let segments = spool.stats().bytes;
        held.push(disk.used_bytes() - segments);
        assert!(segments <= 2 * 512, "those that are being written: {segments}");
    }
    assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "{held:?}");
}

#[test]
fn the_bound_holds_over_restarts() {
    let disk = MemoryDisk::default();
    for _ in 0..10 {
        let (mut spool, report) = open_with(&disk, small());
        assert_eq!(report.bytes, spool.stats().bytes);
        append_synced(&mut spool, Class::Ordinary, 1..=15);
        let paths = disk.files(dir()).into_iter().filter(|path| path.to_string_lossy().ends_with(".seg"));
        let on_disk: usize = paths.map(|path| disk.read(&path).unwrap().len()).sum();
        assert_eq!(on_disk as u64, spool.stats().bytes);
        assert!(on_disk <= 3600, "the share of ordinary records: {on_disk}");
    }
}
