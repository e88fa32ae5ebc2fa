//! Other programs fill the disk: critical records have room of their own.

use super::*;
use crate::memory::{EIO, EMFILE, ENOSPC, EOPNOTSUPP, Operation, PowerLoss};
use crate::{Refused, Reserve, WhenFull};

/// A disk on which not a byte is free.
fn fill(disk: &MemoryDisk) {
    disk.limit_bytes(disk.used_bytes());
}

/// Appends critical records until one is refused for space; how many were taken.
fn append_until_refused(spool: &mut Spool) -> u64 {
    let mut taken = 0;
    loop {
        match spool.append(Class::Critical, &payload(taken)) {
            Ok(_) => taken += 1,
            Err(Refused::NoSpace { .. }) => return taken,
            Err(other) => panic!("{other}"),
        }
        spool.sync().expect("a full disk syncs");
    }
}

#[test]
fn on_a_disk_that_others_fill_critical_records_have_their_reserve_and_get_it_back_without_a_restart() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = open_with(&disk, Options { when_full: WhenFull::RefuseNew, ..options(Mode::Durable) });
    spool.append(Class::Ordinary, &payload(0)).unwrap();
    spool.append(Class::Critical, &payload(0)).unwrap();
    spool.sync().unwrap();
    for round in 1..=3u64 {
        assert_eq!(spool.stats().reserve, Reserve::Held);
        fill(&disk);
        assert!(matches!(spool.append(Class::Ordinary, &payload(1)), Err(Refused::NoSpace { .. })));
        let taken = append_until_refused(&mut spool);
        assert_eq!(taken, 5, "of 77 bytes in 512 less the header");
        assert_eq!(spool.stats().reserve, Reserve::Missing);
        let last = Position { epoch: spool.epoch(), seq: spool.last_seq() };
        assert_eq!(drain(&mut spool).len() as u64, taken + if round == 1 { 2 } else { 0 });
        spool.checkpoint().unwrap();
        assert_eq!(spool.stats().reserve, Reserve::Missing, "there is still no room");
        assert_eq!(spool.append(Class::Critical, b"").ok(), None);
        disk.heal();
        spool.ack(last).unwrap();
        spool.checkpoint().unwrap();
        let stats = spool.stats();
        assert_eq!((stats.waiting, stats.turned_away.disk, stats.dropped.total()), (0, 3 * round, 0));
    }
}

#[test]
fn what_waits_is_dropped_only_when_the_reserve_is_used() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 20);
    fill(&disk);
    for number in 0..5 {
        spool.append(Class::Critical, &payload(number)).unwrap();
    }
    assert_eq!(spool.stats().dropped.spool_full, 0);
    spool.append(Class::Critical, &payload(5)).unwrap();
    assert!(spool.stats().dropped.spool_full > 0, "the oldest ordinary ones");
}

#[test]
fn the_reserve_is_there_again_after_a_restart_also_on_a_full_disk() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 4);
    drain(&mut spool);
    drop(spool);
    fill(&disk);
    let (mut spool, _) = open(&disk);
    assert_eq!((spool.stats().reserve, spool.stats().bytes < disk.used_bytes()), (Reserve::Held, true));
    assert!(append_until_refused(&mut spool) >= 5);
    drop(spool);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, spool.stats().reserve), (None, Reserve::Missing));
    assert!(seqs(&drain(&mut spool)).len() >= 5);
}

#[test]
fn a_disk_that_cannot_set_room_aside_is_worked_on_without_and_that_is_told() {
    for (errno, state) in [(EOPNOTSUPP, Reserve::Unsupported), (EIO, Reserve::Missing), (ENOSPC, Reserve::Missing)] {
        let disk = MemoryDisk::default();
        disk.fail(Operation::Allocate, 0, 1, errno);
        let mut spool = filled(&disk, Mode::Durable, 1);
        assert_eq!(spool.stats().reserve, state);
        assert_eq!(disk.read(&dir().join("reserve")), None, "a part of it serves nobody");
        fill(&disk);
        assert!(spool.append(Class::Critical, &payload(1)).is_ok(), "the ordinary one gives way");
        assert!(matches!(spool.append(Class::Critical, &payload(2)), Err(Refused::NoSpace { .. })));
        disk.heal();
        spool.checkpoint().unwrap();
        assert_eq!(spool.stats().reserve == Reserve::Held, state == Reserve::Missing, "it is tried again");
    }
}

#[test]
fn a_reserve_whose_new_name_power_took_back_is_made_anew() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 5);
    fill(&disk);
    spool.append(Class::Critical, b"not promised").unwrap();
    assert_eq!(disk.read(&dir().join("reserve")), None, "it is a segment now");
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    disk.write(&dir().join("reserve"), b"what the kernel wrote back in time");
    let (mut spool, report) = open(&disk);
    assert_eq!((report.records, report.new_epoch, spool.stats().reserve), (5, None, Reserve::Held));
    assert_eq!(disk.read(&dir().join("reserve")).unwrap(), b"", "or it would stand behind what is written later");
    fill(&disk);
    spool.append(Class::Critical, b"promised").unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1, 2, 3, 4, 5, 6]);
}

/// A full disk, and a spool whose next critical record goes into the reserve.
fn pressed(disk: &MemoryDisk) -> Spool {
    let (mut spool, _) = open_with(disk, Options { when_full: WhenFull::RefuseNew, ..options(Mode::Durable) });
    spool.append(Class::Critical, &payload(0)).unwrap();
    spool.sync().unwrap();
    fill(disk);
    spool
}

#[test]
fn a_segment_that_could_not_be_begun_in_the_reserve_leaves_it_whole() {
    use Operation::{Open, Rename, Write};
    // The first write is the one for which there is no room; the next is the header's. The first rename, of a file that
    // another has put there, may fail.
    for (operation, skip, errno) in [(Open, 0, EMFILE), (Write, 1, EIO), (Rename, 1, EIO)] {
        let disk = MemoryDisk::default();
        let mut spool = pressed(&disk);
        let (used, names) = (disk.used_bytes(), disk.files(dir()));
        disk.fail(operation, skip, 5, errno);
        for _ in 0..3 {
            let refused = spool.append(Class::Critical, &payload(1));
            assert!(matches!(refused, Err(Refused::Disk { .. })), "{operation:?}: {refused:?}");
            assert_eq!(spool.stats().reserve, Reserve::Held, "{operation:?}");
            assert_eq!((disk.used_bytes(), disk.files(dir())), (used, names.clone()), "{operation:?}: nothing moved");
        }
        disk.heal();
        fill(&disk);
        assert_eq!(append_until_refused(&mut spool), 5, "{operation:?}: the reserve's room is there");
        assert_eq!(drain(&mut spool).len(), 6, "{operation:?}");
        drop(spool);
        let (mut spool, report) = open(&disk);
        assert_eq!((report.new_epoch, report.records, report.foreign), (None, 6, Vec::new()), "{operation:?}");
        assert_eq!(seqs(&drain(&mut spool)), (1..=6).collect::<Vec<_>>(), "{operation:?}");
    }
}

#[test]
fn a_reserve_in_which_records_cannot_be_written_is_given_up_and_another_is_set_aside_at_once() {
    let disk = MemoryDisk::default();
    let mut spool = pressed(&disk);
    let used = disk.used_bytes();
    disk.fail(Operation::Write, 2, 1, EIO); // no room, the header, the record
    assert!(matches!(spool.append(Class::Critical, &payload(1)), Err(Refused::Disk { .. })));
    assert_eq!((spool.stats().reserve, disk.used_bytes()), (Reserve::Held, used));
    assert_eq!(disk.read(&dir().join("reserve")).as_deref(), Some(&b""[..]), "nothing of the record lies in it");
    assert_eq!(append_until_refused(&mut spool), 5);
    assert_eq!(seqs(&drain(&mut spool)), (1..=6).collect::<Vec<_>>());
}

#[test]
fn of_a_group_too_large_for_the_reserve_as_many_are_taken_as_it_holds() {
    let disk = MemoryDisk::default();
    // A segment of 512 bytes, and a tenth of 4200 set aside: less than a segment.
    let options = Options { max_bytes: 4200, when_full: WhenFull::RefuseNew, ..options(Mode::Durable) };
    let (mut spool, _) = open_with(&disk, options);
    spool.append(Class::Ordinary, &payload(0)).unwrap();
    spool.sync().unwrap();
    fill(&disk);
    let payloads: Vec<_> = (1..=5).map(payload).collect();
    let taken = spool.append_all(Class::Critical, &payloads);
    assert!(matches!(taken.refused, Some(Refused::NoSpace { .. })), "{taken:?}");
    assert_eq!(taken.count, 4, "of 77 bytes in 420 less the header");
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), (1..=5).collect::<Vec<_>>());
}

#[test]
fn an_empty_file_that_a_kill_left_under_the_name_of_a_segment_is_taken_back_with_its_room() {
    for class in [Class::Ordinary, Class::Critical] {
        let disk = MemoryDisk::default();
        let (mut spool, _) = open(&disk);
        let used = disk.used_bytes();
        disk.stop_after(1); // the file is made, and has no header
        assert!(spool.append(class, &payload(1)).is_err());
        drop(spool);
        disk.heal();
        let stray = disk.files(dir()).into_iter().find(|path| path.to_string_lossy().ends_with(".seg")).unwrap();
        let file = crate::Fs::open(&disk, &stray, crate::Access::Write).unwrap();
        file.truncate(0).unwrap(); // the disk in memory stops in the middle of the header
        file.allocate(512).unwrap(); // as if it had been the reserve
        let (mut spool, report) = open(&disk);
        assert_eq!((report.foreign, report.segments, report.new_epoch), (Vec::new(), 0, None));
        assert_eq!((disk.used_bytes(), spool.stats().reserve), (used, Reserve::Held), "its blocks are free again");
        assert_eq!(spool.append(class, &payload(1)).unwrap().seq, 1);
        spool.sync().unwrap();
        assert_eq!(seqs(&drain(&mut spool)), [1]);
        assert!(disk.files(dir()).contains(&stray), "under the same name");
    }
}
