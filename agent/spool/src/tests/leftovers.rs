//! Files that the disk does not unlink: counted until they are gone, asked for again, and nothing is lost for them.

use super::*;
use crate::memory::{EIO, ENOSPC, Operation};
use crate::{MAX_LEFTOVERS, Reason, Refused};

/// How many segments lie on the disk, and their bytes.
fn on_disk(disk: &MemoryDisk) -> (u64, u64) {
    let paths: Vec<_> = disk.files(dir()).into_iter().filter(|path| path.to_string_lossy().ends_with(".seg")).collect();
    (paths.len() as u64, paths.iter().map(|path| disk.read(path).unwrap().len() as u64).sum())
}

fn last(spool: &Spool) -> Position {
    Position { epoch: spool.epoch(), seq: spool.last_seq() }
}

#[test]
fn finished_segments_that_stay_are_counted_until_a_checkpoint_removes_them() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 60);
    let before = spool.stats();
    drain(&mut spool);
    disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    spool.ack(last(&spool)).unwrap();
    let stats = spool.stats();
    assert_eq!((stats.waiting, stats.segments, stats.leftovers), (0, 2, before.segments - 2));
    assert_eq!((stats.bytes, on_disk(&disk).1), (before.bytes, before.bytes), "they take room as before");
    spool.checkpoint().unwrap();
    assert_eq!(spool.stats().leftovers, stats.leftovers, "the disk is as bad as before");
    disk.heal();
    spool.checkpoint().unwrap();
    let stats = spool.stats();
    assert_eq!((stats.leftovers, stats.segments, stats.bytes), (0, on_disk(&disk).0, on_disk(&disk).1));
}

#[test]
fn what_stays_until_a_restart_is_removed_then_and_not_read_again() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 60);
    drain(&mut spool);
    disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    spool.ack(last(&spool)).unwrap();
    spool.close().unwrap();
    let (mut spool, report) = open(&disk); // the disk is still bad
    assert_eq!((report.records, report.new_epoch, report.bytes), (0, None, on_disk(&disk).1));
    assert_eq!(drain(&mut spool), []);
    drop(spool);
    disk.heal();
    let (spool, report) = open(&disk);
    assert_eq!((report.bytes, spool.stats().leftovers), (on_disk(&disk).1, 0));
    assert_eq!(on_disk(&disk).0, 2);
}

#[test]
fn a_full_spool_drops_one_segment_for_room_that_the_disk_does_not_give_and_no_second_one() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, Options { max_bytes: 4000, ..options(Mode::Durable) });
    for number in 1..=60 {
        spool.append(Class::Ordinary, &payload(number)).unwrap();
    }
    spool.sync().unwrap();
    let before = spool.stats();
    disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    for number in 0..20 {
        if let Err(refused) = spool.append(Class::Ordinary, &payload(number)) {
            assert!(matches!(refused, Refused::Full { .. }), "{refused}");
        }
        assert!(spool.stats().bytes <= 4000 && on_disk(&disk).1 <= 4000, "the bound is one of the disk");
    }
    let stats = spool.stats();
    assert_eq!(stats.leftovers, 1);
    assert!(stats.dropped.spool_full - before.dropped.spool_full <= 5, "one segment: {stats:?}");
    disk.heal();
    spool.append(Class::Ordinary, &payload(61)).unwrap();
    spool.sync().unwrap();
    let stats = spool.stats();
    assert_eq!((stats.leftovers, stats.bytes), (0, on_disk(&disk).1));
    let seen = drain(&mut spool);
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::SpoolFull));
    assert_eq!(seqs(&seen).len() as u64, stats.waiting);
}

#[test]
fn a_full_disk_that_unlinks_nothing_costs_one_segment() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 40);
    disk.limit_bytes(disk.used_bytes());
    disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    for number in 0..9 {
        assert!(matches!(spool.append(Class::Ordinary, &payload(number)), Err(Refused::NoSpace { .. })));
    }
    let stats = spool.stats();
    assert_eq!((stats.leftovers, stats.turned_away.disk), (1, 9));
    assert!((1..=5).contains(&stats.dropped.spool_full), "{stats:?}");
}

#[test]
fn of_more_files_than_are_kept_in_mind_the_rest_stays_in_its_lane() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    let segments = MAX_LEFTOVERS as u64 + 10;
    for number in 1..=segments {
        spool.append(Class::Ordinary, &[7; 400]).unwrap();
        assert_eq!(spool.stats().segments, number, "each has its own");
    }
    spool.sync().unwrap();
    drain(&mut spool);
    disk.fail(Operation::Remove, 0, u32::MAX, EIO);
    let end = last(&spool);
    spool.ack(Position { seq: end.seq - 1, ..end }).unwrap();
    let written = spool.generation;
    spool.ack(end).unwrap();
    assert_eq!(spool.generation, written, "no cursor is written for what cannot be finished");
    let stats = spool.stats();
    assert_eq!((stats.leftovers, stats.segments, stats.waiting), (MAX_LEFTOVERS as u64, 10, 0));
    assert_eq!((stats.segments + stats.leftovers, stats.bytes), on_disk(&disk), "none is forgotten");
    disk.heal();
    spool.append(Class::Ordinary, b"x").unwrap();
    spool.sync().unwrap();
    drain(&mut spool);
    spool.ack(last(&spool)).unwrap();
    assert_eq!((spool.stats().leftovers, spool.stats().segments, on_disk(&disk).0), (0, 1, 1));
}

#[test]
fn a_segment_that_never_held_a_record_and_stays_does_not_keep_its_name_from_the_next() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    // Its header cannot be written, and then it cannot be removed.
    disk.fail(Operation::Write, 0, 1, ENOSPC);
    disk.fail(Operation::Remove, 0, 3, EIO);
    assert!(spool.append(Class::Ordinary, &payload(1)).is_err());
    assert_eq!((spool.stats().leftovers, on_disk(&disk).0), (1, 1));
    disk.heal();
    spool.append(Class::Ordinary, &payload(1)).unwrap();
    spool.sync().unwrap();
    spool.checkpoint().unwrap();
    assert_eq!((spool.stats().leftovers, on_disk(&disk).0), (0, 1), "not the one that has its name now");
    assert_eq!(seqs(&drain(&mut spool)), [1]);
    assert!(disk.files(dir()).iter().all(|path| !path.to_string_lossy().ends_with(".foreign")));
}

#[test]
fn a_given_up_segment_that_quarantine_cannot_take_is_counted_until_it_is_gone() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 20);
    disk.fail(Operation::Read, 0, crate::READ_ATTEMPTS, EIO);
    for _ in 1..crate::READ_ATTEMPTS {
        assert!(spool.read_next().is_err());
    }
    drain(&mut spool);
    disk.fail(Operation::Rename, 0, 1, EIO);
    disk.fail(Operation::Remove, 0, 1, EIO);
    spool.ack(last(&spool)).unwrap();
    let stats = spool.stats();
    assert_eq!((stats.given_up_segments, stats.not_quarantined, stats.leftovers), (1, 1, 1));
    assert_eq!(stats.bytes, on_disk(&disk).1);
    spool.checkpoint().unwrap();
    assert_eq!((spool.stats().leftovers, spool.stats().bytes), (0, on_disk(&disk).1));
}
