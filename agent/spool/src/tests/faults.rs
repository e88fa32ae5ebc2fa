//! A disk that fails: each promise is kept or not made, and nobody panics.

use super::*;
use crate::memory::{EACCES, EIO, EMFILE, ENOMEM, ESTALE, Operation, PowerLoss};
use crate::{NewEpoch, OpenError, READ_ATTEMPTS, Reason};

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
    fail_reads(&disk, &mut spool, EIO);
    let seen = drain(&mut spool);
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::Corrupt));
    let lost = 20 - seqs(&seen).len() as u64;
    assert!((1..=10).contains(&lost), "one segment, not more: {lost}");
    assert_eq!(spool.stats().dropped.corrupt, lost);
}

/// Reads fail as often as a place is tried, the last of which gives it up.
fn fail_reads(disk: &MemoryDisk, spool: &mut Spool, errno: i32) {
    disk.fail(Operation::Read, 0, READ_ATTEMPTS, errno);
    for _ in 1..READ_ATTEMPTS {
        assert!(spool.read_next().is_err());
    }
}

#[test]
fn no_error_of_a_read_stops_what_is_behind_it_for_ever() {
    for errno in [EACCES, EIO, ESTALE] {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, Mode::Durable, 20);
        fail_reads(&disk, &mut spool, errno);
        let seen = drain(&mut spool);
        assert!(seqs(&seen).len() >= 10, "errno {errno}: {seen:?}");
    }
}

#[test]
fn a_segment_that_the_disk_did_not_give_goes_to_quarantine_whole_and_is_counted() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 20);
    let first = disk.files(dir()).into_iter().find(|path| path.to_string_lossy().contains("ordinary")).unwrap();
    let bytes = disk.read(&first).unwrap();
    fail_reads(&disk, &mut spool, EIO);
    drain(&mut spool);
    assert_eq!(spool.stats().given_up_segments, 1);
    spool.ack(Position { epoch: spool.epoch(), seq: 20 }).unwrap();
    assert_eq!(disk.read(&first), None);
    let kept = dir().join("quarantine").join(first.file_name().unwrap());
    assert_eq!(disk.read(&kept), Some(bytes), "what is in it can still be saved");
}

#[test]
fn a_machine_that_is_short_of_something_has_no_damage() {
    for errno in [EMFILE, ENOMEM] {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, Mode::Durable, 20);
        disk.fail(Operation::Read, 0, 50, errno);
        for _ in 0..50 {
            assert!(spool.read_next().is_err());
        }
        assert_eq!(seqs(&drain(&mut spool)).len(), 20);
    }
}

#[test]
fn a_last_segment_that_cannot_be_read_at_opening_is_not_cut_and_is_read_later() {
    let disk = MemoryDisk::default();
    let spool = filled(&disk, Mode::Durable, 4);
    let epoch = spool.epoch();
    drop(spool);
    // The identity and two cursors, for their version and then for what they say, and a header are read before.
    disk.fail(Operation::Read, 7, 1, EIO);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.torn_bytes), (Some(NewEpoch::TornTail), 0));
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
    disk.fail(Operation::Sync, 0, 4, EIO);
    spool.ack(Position { epoch: spool.epoch(), seq: 29 }).unwrap();
    assert_eq!((spool.stats().cursor_failures, spool.stats().segments), (2, segments), "both, in place and anew");
    spool.ack(Position { epoch: spool.epoch(), seq: 30 }).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().segments), (0, 2));
}

#[test]
fn a_copy_of_the_cursor_that_cannot_be_written_in_place_is_made_anew() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 30);
    drain(&mut spool);
    disk.fail(Operation::Write, 0, 1, EIO);
    spool.ack(Position { epoch: spool.epoch(), seq: 30 }).unwrap();
    assert_eq!((spool.stats().cursor_failures, spool.stats().segments), (0, 2));
    let names = ["cursor.0", "cursor.1"].map(|name| disk.read(&dir().join(name)).unwrap());
    assert_eq!(names[0], names[1], "both are whole again");
}

#[test]
fn one_good_copy_of_the_cursor_is_enough_to_open_and_to_go_on() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 30);
    let epoch = spool.epoch();
    drain(&mut spool);
    spool.ack(Position { epoch, seq: 12 }).unwrap();
    spool.close().unwrap();
    disk.fail(Operation::Write, 0, 2, EIO);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, spool.stats().cursor_failures), (None, 1), "in place, and anew");
    assert_eq!(seqs(&drain(&mut spool)), (13..=30).collect::<Vec<_>>());
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, seqs(&drain(&mut spool))[0]), (None, 13));
}

#[test]
fn the_segment_with_the_highest_seq_stays_until_a_cursor_knows_of_it() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(Class::Ordinary, &payload(1)).unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1], "the receiver has it");
    disk.fail(Operation::Write, 1, 99, EIO); // all but the write of the record itself,
    disk.fail(Operation::Write, 0, 1, crate::memory::ENOSPC); // for which there is no room
    assert!(spool.append(Class::Ordinary, &payload(2)).is_err());
    disk.heal();
    drop(spool);
    let (mut spool, report) = open(&disk);
    let next = spool.append(Class::Ordinary, &payload(3)).unwrap();
    assert!(next.seq == 2 || report.new_epoch.is_some(), "a seq that was read is not given to another record");
}

#[test]
fn a_seq_that_was_read_is_not_given_again_where_the_segment_behind_it_has_no_record_and_no_cursor_knows_of_it() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open(&disk);
    spool.checkpoint().unwrap();
    let mut last = 0;
    while spool.lanes[0].room(512) > payload(1).len() as u64 + 30 {
        last = spool.append(Class::Ordinary, &payload(1)).unwrap().seq;
    }
    spool.sync().unwrap();
    assert_eq!(drain(&mut spool).len() as u64, last, "the receiver has them");
    let epoch = spool.epoch();
    spool.append(Class::Ordinary, &payload(2)).unwrap(); // begins the next segment
    disk.fail(Operation::Write, 0, 1, crate::memory::ENOSPC);
    disk.fail(Operation::Sync, 0, u32::MAX, EIO); // no cursor is written
    assert!(spool.append(Class::Ordinary, &payload(3)).is_err());
    drop(spool);
    let mut states = 0;
    for crashed in disk.crash_states() {
        states += 1;
        let (mut spool, _) = open(&crashed);
        let at = spool.append(Class::Ordinary, &payload(9)).unwrap();
        assert!(at.epoch != epoch || at.seq > last, "{at:?} was read as another record (up to {last})");
    }
    assert!(states > 1);
}

#[test]
fn a_fence_that_goes_with_the_write_that_failed_behind_it_is_set_again() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 1);
    disk.fail(Operation::Write, 0, 1, EIO); // of the group: its first record is whole,
    disk.fail(Operation::Truncate, 0, 1, EIO); // and stays
    assert!(spool.append_all(Class::Ordinary, &[payload(100), payload(101)]).refused.is_some());
    disk.fail(Operation::Write, 1, 1, EIO); // the fence's header is written, the record behind it is not
    assert!(spool.append(Class::Ordinary, &payload(102)).is_err());
    let at = spool.append(Class::Critical, &payload(103)).unwrap();
    spool.sync().unwrap();
    assert_eq!(at.seq, 2);
    let before = drain(&mut spool);
    drop(spool);
    let (mut spool, _) = open(&disk);
    assert_eq!(drain(&mut spool), before, "the seq is one record's");
}

#[test]
fn a_new_epoch_on_a_full_disk_makes_room_for_its_name() {
    let disk = MemoryDisk::default();
    drop(filled(&disk, Mode::Durable, 40));
    let last = disk.files(dir()).into_iter().rfind(|path| path.to_string_lossy().contains("ordinary")).unwrap();
    let mut bytes = disk.read(&last).unwrap();
    bytes.extend_from_slice(b"half of a record");
    disk.write(&last, &bytes);
    disk.limit_bytes(disk.used_bytes() - 16);
    let (mut spool, report) = open(&disk);
    assert_eq!(report.new_epoch, Some(NewEpoch::TornTail));
    assert!(report.evicted_records > 0, "{report:?}");
    let seen = drain(&mut spool);
    assert!(gaps(&seen).iter().all(|gap| gap.reason == Reason::SpoolFull), "{:?}", gaps(&seen));
    assert_eq!(seqs(&seen).len() as u64, 40 - report.evicted_records);
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
    assert_eq!(report.new_epoch, Some(NewEpoch::SyncFailed));
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
