//! New names while the spool is open: epochs that begin, records that move.

use super::*;
use crate::identity::MAX_ERAS;
use crate::memory::{EIO, Operation, PowerLoss};
use crate::{NewEpoch, NotMoved, Readmitted, Reason, WhenFull};

fn positions(seen: &[Seen]) -> Vec<Position> {
    seen.iter().filter_map(|seen| if let Seen::Record(position, ..) = seen { Some(*position) } else { None }).collect()
}

#[test]
fn after_begin_epoch_what_waits_keeps_its_names_and_comes_first_also_after_a_restart() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 4);
    let old = spool.epoch();
    spool.append(Class::Ordinary, b"pending").unwrap();
    assert_eq!((spool.last_seq(), spool.stats().new_epoch), (5, Some(NewEpoch::Fresh)));
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    assert_eq!((spool.last_seq(), spool.stats().new_epoch), (0, Some(NewEpoch::Rewound)));
    assert_ne!(spool.epoch(), old);
    let new = spool.append(Class::Ordinary, b"new").unwrap();
    assert_eq!(new, Position { epoch: spool.epoch(), seq: 1 });
    spool.sync().unwrap();
    let expected: Vec<_> = (1..=5).map(|seq| Position { epoch: old, seq }).chain([new]).collect();
    assert_eq!(positions(&drain(&mut spool)), expected, "what was pending was made durable first");
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.epoch, report.new_epoch, spool.stats().new_epoch), (new.epoch, None, None));
    assert_eq!(positions(&drain(&mut spool)), expected);
    spool.ack(new).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().segments), (0, 1));
}

#[test]
fn an_epoch_without_a_record_ends_as_any_other() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    for _ in 0..100 {
        spool.begin_epoch(NewEpoch::Rewound).unwrap();
    }
    let last = spool.append(Class::Ordinary, b"x").unwrap();
    spool.close().unwrap();
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.epoch), (None, last.epoch));
    let seen = drain(&mut spool);
    assert_eq!((seqs(&seen), gaps(&seen)), (vec![1, 2, 1], vec![]));
}

#[test]
fn an_epoch_that_could_not_begin_is_gone_on_in_and_its_later_records_are_missed_when_they_are_lost() {
    for operation in [Operation::Sync, Operation::Rename, Operation::SyncDir] {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, Mode::Durable, 2);
        let old = spool.epoch();
        disk.fail(operation, 0, 9, EIO);
        assert!(spool.begin_epoch(NewEpoch::Rewound).is_err());
        disk.heal();
        assert_eq!((spool.epoch(), spool.last_seq()), (old, 2));
        assert_eq!(spool.append(Class::Critical, b"later").unwrap(), Position { epoch: old, seq: 3 });
        spool.sync().unwrap();
        spool.checkpoint().unwrap();
        drop(spool);
        let lost = disk.files(dir()).into_iter().find(|path| path.to_string_lossy().contains("critical")).unwrap();
        crate::fs::Fs::remove(&disk, &lost).unwrap();
        let (mut spool, _) = open(&disk);
        let gap = Gap { epoch: old, first_seq: 3, last_seq: 3, reason: Reason::Corrupt };
        assert_eq!(drain(&mut spool).last(), Some(&Seen::Gap(gap)), "{operation:?}");
    }
}

#[test]
fn a_record_whose_name_is_taken_gets_another_in_a_new_epoch_and_what_was_before_it_has_arrived() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 6);
    let at = |seq| Position { epoch: spool.epoch(), seq };
    let (four, five, six) = (at(4), at(5), at(6));
    drain(&mut spool);
    let moved = spool.readmit(five).unwrap();
    assert_eq!(spool.stats().new_epoch, Some(NewEpoch::PositionTaken));
    assert_eq!((moved.epoch, moved.seq), (spool.epoch(), 1));
    let next = spool.readmit(six).unwrap();
    assert_eq!(next, Position { seq: 2, ..moved }, "its own epoch is not the current one any more");
    let stats = spool.stats();
    assert_eq!((stats.appended, stats.delivered, stats.moved, stats.waiting), (8, 4, 2, 2));
    let copies = [
        Seen::Record(moved, Class::Critical, payload(5)), // the fifth is
        Seen::Record(next, Class::Ordinary, payload(6)),
    ];
    assert_eq!(drain(&mut spool), copies);
    assert!(matches!(spool.readmit(four), Err(NotMoved::NotRead(_))), "it is done");
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    assert_eq!(drain(&mut open(&disk).0), copies, "the old names do not come again");
}

#[test]
fn a_record_that_cannot_be_copied_stays_in_flight_under_its_name() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 3);
    let two = Position { epoch: spool.epoch(), seq: 2 };
    let before = drain(&mut spool);
    disk.fail(Operation::Read, 0, 1, EIO);
    assert!(matches!(spool.readmit(two), Err(NotMoved::Read(_))));
    disk.fail(Operation::Sync, 0, 9, EIO);
    assert!(matches!(spool.readmit(two), Err(NotMoved::Sync(_))));
    disk.heal();
    disk.fail(Operation::Create, 1, 1, EIO); // after the identity
    assert!(matches!(spool.readmit(two), Err(NotMoved::Refused(_))));
    assert_eq!((spool.stats().moved, spool.stats().delivered, spool.stats().waiting), (0, 0, 3));
    spool.rewind();
    assert_eq!(drain(&mut spool), before);
    spool.readmit(two).unwrap();
    assert_eq!((spool.stats().moved, spool.stats().delivered, spool.stats().waiting), (1, 1, 2));
}

#[test]
fn a_record_that_was_damaged_meanwhile_is_not_given_a_new_checksum() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 3);
    drain(&mut spool);
    let path = disk.files(dir()).into_iter().find(|path| path.to_string_lossy().contains("ordinary")).unwrap();
    let file = crate::fs::Fs::open(&disk, &path, crate::Access::Write).unwrap();
    file.write_at(&[0xA5; 4], crate::segment::HEADER_BYTES as u64 + 30).unwrap();
    let one = Position { epoch: spool.epoch(), seq: 1 };
    assert!(matches!(spool.readmit(one), Err(NotMoved::Read(_))));
    spool.rewind();
    assert_eq!(gaps(&drain(&mut spool)).len(), 1, "a gap takes its place");
}

#[test]
fn in_a_spool_without_room_a_record_still_gets_its_new_name() {
    for when_full in [WhenFull::DropOldest, WhenFull::RefuseNew] {
        let disk = MemoryDisk::default();
        let options = Options { max_bytes: 4000, when_full, ..options(Mode::Durable) };
        let (mut spool, _) = open_with(&disk, options);
        while spool.append(Class::Critical, &payload(1)).is_ok() {}
        spool.sync().unwrap();
        let (bytes, epoch) = (spool.stats().bytes, spool.epoch());
        let last = drain(&mut spool).len() as u64;
        for seq in 1..=last {
            spool.readmit(Position { epoch, seq }).unwrap();
            assert!(spool.stats().bytes <= bytes + 2 * 512, "at most a segment more");
        }
        assert_eq!((spool.stats().moved, spool.stats().waiting), (last, last));
        assert_eq!(seqs(&drain(&mut spool)), (1..=last).collect::<Vec<_>>());
    }
}

/// Moves all records of a spool of so many, in one run or one by one: what it cost in syncs of the records, in changes of
/// the disk, and what is left to read.
fn move_all(count: u64, is_run: bool) -> (u64, u64, Vec<Seen>) {
    let disk = MemoryDisk::default();
    let options = Options::new(Mode::Durable, 64 << 20, "boot");
    let (mut spool, _) = open_with(&disk, options);
    for number in 1..=count {
        spool.append(Class::Critical, &payload(number)).unwrap();
    }
    spool.sync().unwrap();
    let run = positions(&drain(&mut spool));
    let (syncs, changes) = (spool.stats().syncs, disk.operations());
    if is_run {
        let Readmitted { moved, refused } = spool.readmit_all(&run);
        assert!(refused.is_none() && moved.len() == run.len());
    } else {
        for position in run {
            spool.readmit(position).unwrap();
        }
    }
    assert_eq!((spool.stats().moved, spool.stats().delivered, spool.stats().waiting), (count, 0, count));
    let seen = drain(&mut spool);
    (spool.stats().syncs - syncs, disk.operations() - changes, seen)
}

#[test]
fn a_run_of_records_moves_for_one_sync_and_as_they_would_one_by_one() {
    let (syncs, changes, seen) = move_all(100, true);
    let (alone, changes_alone, seen_alone) = move_all(100, false);
    println!(
        "100 records moved: {syncs} syncs and {changes} changes of the disk; one by one {alone} and {changes_alone}"
    );
    assert_eq!((syncs, alone), (2, 101), "one is the new epoch's");
    assert!(changes < changes_alone / 3);
    let told = |seen: Vec<Seen>| {
        let records = seen.into_iter().map(|seen| match seen {
            Seen::Record(position, class, payload) => (position.seq, class, payload),
            Seen::Gap(gap) => panic!("{gap:?}"),
        });
        records.collect::<Vec<_>>()
    };
    assert_eq!(told(seen), told(seen_alone));
}

#[test]
fn of_a_run_those_before_the_first_that_cannot_move_are_moved() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 6);
    let run = positions(&drain(&mut spool));
    disk.fail(Operation::Read, 2, 1, EIO);
    let Readmitted { moved, refused } = spool.readmit_all(&run);
    assert!(matches!(refused, Some(NotMoved::Read(_))), "{refused:?}");
    assert_eq!((moved.len(), spool.stats().moved, spool.stats().waiting), (2, 2, 6));
    spool.rewind();
    let mut expected = run[2..].to_vec();
    expected.extend(&moved);
    assert_eq!(positions(&drain(&mut spool)), expected, "the others keep their names");
}

#[test]
fn a_record_that_stands_in_a_run_twice_or_out_of_order_moves_once() {
    let mut spool = filled(&MemoryDisk::default(), Mode::Durable, 4);
    let run = positions(&drain(&mut spool));
    for wrong in [[run[0], run[0]], [run[2], run[1]]] {
        let Readmitted { moved, refused } = spool.readmit_all(&wrong);
        assert!(matches!(refused, Some(NotMoved::NotRead(_))), "{refused:?}");
        assert_eq!(moved.len(), 1);
    }
    assert_eq!((spool.stats().moved, spool.stats().delivered), (2, 1), "the second has arrived, as the third says");
    let nothing = spool.readmit_all(&[]);
    assert!(nothing.moved.is_empty() && nothing.refused.is_none());
}

#[test]
fn a_run_whose_copies_cannot_be_made_durable_stays_in_flight_under_its_names() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 5);
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    let before = drain(&mut spool);
    disk.fail(Operation::Sync, 0, 9, EIO);
    let Readmitted { moved, refused } = spool.readmit_all(&positions(&before));
    assert!(matches!(refused, Some(NotMoved::Sync(_))) && moved.is_empty(), "{refused:?}");
    assert_eq!((spool.stats().moved, spool.stats().delivered), (0, 0));
    disk.heal();
    spool.sync().unwrap();
    spool.rewind();
    let seen = drain(&mut spool);
    assert_eq!(seen[..5], before, "under the old names");
    assert_eq!(seqs(&seen[5..]), [1, 2, 3, 4, 5], "and under the new ones: at least once");
}

#[test]
fn a_record_whose_copy_is_not_durable_yet_is_not_copied_again() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 3);
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    let run = positions(&drain(&mut spool));
    for attempt in 0..3 {
        disk.fail(Operation::Sync, 0, 2, EIO);
        let Readmitted { moved, refused } = spool.readmit_all(&run[..2]);
        assert!(matches!(refused, Some(NotMoved::Sync(_))) && moved.is_empty(), "{attempt}: {refused:?}");
        spool.rewind(); // as for a new session
        drain(&mut spool);
    }
    let Readmitted { moved, refused } = spool.readmit_all(&run);
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!((spool.stats().appended, spool.stats().moved), (6, 3));
    spool.rewind();
    assert_eq!(positions(&drain(&mut spool)), moved, "each is once under its new name");
    assert_eq!(seqs(&drain(&mut open(&disk.copy()).0)), [1, 2, 3], "also after a restart");
    assert!(spool.copies.is_empty());
}

#[test]
fn a_copy_that_was_not_durable_is_forgotten_when_its_record_has_arrived_all_the_same() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    let run = positions(&drain(&mut spool));
    disk.fail(Operation::Sync, 0, 2, EIO);
    assert!(spool.readmit(run[0]).is_err());
    spool.ack(run[1]).unwrap();
    assert!(spool.copies.is_empty());
    assert_eq!((spool.stats().delivered, spool.stats().moved), (2, 0));
}

#[test]
fn in_mode_fast_a_record_moves_over_a_failed_sync_which_is_counted() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Fast, 1);
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    let old = positions(&drain(&mut spool));
    disk.fail(Operation::Sync, 0, 1, EIO);
    let moved = spool.readmit(old[0]).unwrap();
    assert_eq!((spool.stats().moved, spool.stats().sync_failures), (1, 1));
    spool.rewind();
    assert_eq!(positions(&drain(&mut spool)), [moved]);
}

#[test]
fn a_record_that_moved_is_there_under_one_name_or_the_other_however_power_fails_on_the_way() {
    for operations in 0..60 {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, Mode::Durable, 3);
        let run = positions(&drain(&mut spool));
        disk.stop_after(operations);
        let moved = spool.readmit_all(&run).moved;
        drop(spool);
        disk.lose_power(PowerLoss::DropsAll);
        let left = drain(&mut open(&disk).0);
        let payloads: std::collections::BTreeSet<_> = left
            .iter()
            .filter_map(|seen| if let Seen::Record(.., payload) = seen { Some(payload) } else { None })
            .collect();
        assert_eq!(payloads.len(), 3, "{operations}: {moved:?} {left:?}");
    }
}

#[test]
fn more_epochs_than_are_known_cost_nothing_that_a_segment_tells_of_and_no_memory() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    let mut expected = Vec::new();
    for number in 0..300u64 {
        if number % 60 == 0 {
            expected.push(spool.append(Class::Critical, &payload(number)).unwrap());
        }
        spool.begin_epoch(NewEpoch::Rewound).unwrap();
        assert!(spool.identity.eras.len() <= MAX_ERAS + expected.len(), "{}", spool.identity.eras.len());
    }
    let known = |spool: &Spool| spool.identity.eras.iter().map(|era| (era.number, era.epoch)).collect::<Vec<_>>();
    let before = known(&spool);
    assert_eq!(before.len(), MAX_ERAS + 4, "the last of the five is one of the newest");
    assert_eq!(positions(&drain(&mut spool)), expected);
    spool.close().unwrap();
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, known(&spool)), (None, before), "memory and the disk know the same");
    assert_eq!(positions(&drain(&mut spool)), expected);
    spool.ack(expected[4]).unwrap();
    spool.begin_epoch(NewEpoch::Rewound).unwrap();
    assert_eq!(spool.stats().waiting, 0);
    assert!(spool.identity.eras.len() <= MAX_ERAS, "what has arrived is forgotten");
}
