//! A disk that fails: each promise is kept or not made, and nobody panics.

use super::*;
use crate::memory::{EACCES, EIO, EMFILE, Operation, PowerLoss};
use crate::{OpenError, Reason};

#[test]
fn after_a_failed_sync_the_records_go_from_memory_into_a_new_segment() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    let before = spool.stats();
    spool.append(Class::Ordinary, &payload(3)).unwrap();
    disk.fail(Operation::Sync, 0, 1, EIO);
    assert_eq!(spool.sync().unwrap().seq, 3, "the caller sees no error: the promise is kept");
    let stats = spool.stats();
    assert_eq!((stats.sync_failures, stats.segments), (1, before.segments + 1), "never the same file again");
    assert_eq!(stats.bytes, segments(&disk).1, "the suspect one is cut back");
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.records, report.new_epoch), (3, None));
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3]);
}

#[test]
fn what_a_suspect_segment_still_shows_after_a_crash_is_not_read_twice() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    spool.append(Class::Ordinary, &payload(3)).unwrap();
    disk.fail(Operation::Sync, 0, 1, EIO);
    disk.fail(Operation::Truncate, 0, 1, EIO);
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3]);
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!(report.records, 3);
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3]);
    spool.ack(Position { epoch: spool.epoch(), seq: 3 }).unwrap();
    assert_eq!((spool.stats().delivered, spool.stats().waiting), (3, 0));
}

#[test]
fn while_every_sync_fails_nothing_is_promised_or_shown_and_when_it_works_again_all_is_there() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    disk.fail(Operation::Sync, 0, 20, EIO);
    for number in 1..=5 {
        spool.append(Class::Ordinary, &payload(number)).unwrap();
        assert!(spool.sync().is_err());
        assert_eq!(drain(&mut spool), [], "nothing unsynced is shown");
    }
    assert_eq!(spool.stats().waiting, 5);
    disk.heal();
    assert_eq!(spool.sync().unwrap().seq, 5);
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4, 5]);
    assert_eq!(segments(&disk).0, spool.stats().segments, "the suspect ones are gone");
}

#[test]
fn a_failed_write_costs_an_append_and_the_next_one_goes_into_a_new_segment() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 2);
    spool.append(Class::Ordinary, &payload(3)).unwrap();
    disk.fail(Operation::Write, 0, 1, EIO);
    assert!(spool.append(Class::Ordinary, &payload(0)).is_err());
    assert_eq!(spool.append(Class::Ordinary, &payload(4)).unwrap().seq, 4, "the failed one took no seq");
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4], "and what was unsynced beside it is not lost");
}

#[test]
fn in_mode_fast_a_failed_sync_is_told_and_nothing_is_lost_by_it() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Fast, 2);
    spool.append(Class::Ordinary, &payload(3)).unwrap();
    disk.fail(Operation::Sync, 0, 1, EIO);
    assert!(spool.sync().is_err());
    spool.append(Class::Ordinary, &payload(4)).unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4]);
}

#[test]
fn one_failed_read_is_tried_again_and_a_bad_place_does_not_stop_what_is_behind_it() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 20);
    disk.fail(Operation::Read, 0, 1, EIO);
    assert!(spool.read_next().is_err());
    assert_eq!(seqs(&drain(&mut spool)).len(), 20);

    spool.rewind();
    disk.fail(Operation::Read, 0, 3, EIO);
    assert!(spool.read_next().is_err() && spool.read_next().is_err());
    let seen = drain(&mut spool);
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::Corrupt));
    let lost = 20 - seqs(&seen).len() as u64;
    assert!((1..=10).contains(&lost), "one segment, not more: {lost}");
    assert_eq!(spool.stats().dropped.corrupt, lost);
}

#[test]
fn too_many_open_files_are_no_damage() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 20);
    disk.fail(Operation::Read, 0, 50, EMFILE);
    for _ in 0..50 {
        assert!(spool.read_next().is_err());
    }
    assert_eq!(seqs(&drain(&mut spool)).len(), 20);
}

#[test]
fn a_last_segment_that_cannot_be_read_at_opening_is_not_cut_and_is_read_later() {
    let disk = MemoryDisk::default();
    let spool = filled(&disk, Mode::Durable, 4);
    let epoch = spool.epoch();
    drop(spool);
    // Two cursors, the identity and a header are read before the last segment is.
    disk.fail(Operation::Read, 4, 1, EIO);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.torn_bytes), (Some(crate::NewEpoch::TornTail), 0));
    let new = spool.append(Class::Ordinary, b"new").unwrap();
    assert!(new.epoch != epoch);
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4, 1], "old ones first, then the new epoch");
}

#[test]
fn a_cursor_that_cannot_be_written_keeps_the_segments_until_it_can() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 30);
    let segments = spool.stats().segments;
    drain(&mut spool);
    disk.fail(Operation::Sync, 0, 1, EIO);
    spool.ack(Position { epoch: spool.epoch(), seq: 29 }).unwrap();
    assert_eq!((spool.stats().cursor_failures, spool.stats().segments), (1, segments));
    spool.ack(Position { epoch: spool.epoch(), seq: 30 }).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().segments), (0, 2));
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let disk = MemoryDisk::default();
    disk.fail(Operation::Create, 0, 1, EACCES);
    let failed = Spool::open(Arc::new(disk.clone()), dir(), options(Mode::Durable));
    let Err(error @ OpenError::Disk { .. }) = failed else { panic!("it opened") };
    assert!(error.to_string().contains(DIR) && error.to_string().contains("check"), "{error}");
    open(&disk);
}

#[test]
fn an_unsyncable_rest_begins_a_new_epoch_and_is_still_delivered() {
    let disk = MemoryDisk::default();
    drop(filled(&disk, Mode::Durable, 4));
    disk.fail(Operation::Sync, 0, 1, EIO);
    let (mut spool, report) = open(&disk);
    assert_eq!(report.new_epoch, Some(crate::NewEpoch::SyncFailed));
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4]);
}

#[test]
fn a_spool_whose_last_segment_is_acked_and_gone_goes_on_where_it_was() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 4);
    let epoch = spool.epoch();
    disk.fail(Operation::Write, 0, 1, EIO);
    assert!(spool.append(Class::Ordinary, b"x").is_err(), "the segment is left");
    drain(&mut spool);
    spool.ack(Position { epoch, seq: 4 }).unwrap();
    assert_eq!(segments(&disk).0, 0);
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.lost_records), (None, 0));
    assert_eq!(spool.append(Class::Ordinary, b"x").unwrap(), Position { epoch, seq: 5 });
}

/// How many there are, and their bytes.
fn segments(disk: &MemoryDisk) -> (u64, u64) {
    let paths: Vec<_> = disk.files(dir()).into_iter().filter(|path| path.to_string_lossy().ends_with(".seg")).collect();
    (paths.len() as u64, paths.iter().map(|path| disk.read(path).unwrap().len() as u64).sum())
}
