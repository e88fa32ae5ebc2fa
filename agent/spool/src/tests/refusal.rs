//! Refused records: a copy is durable before the last other one goes, or it is told that there is none.

use super::*;
use crate::memory::{EIO, ENOSPC, Operation, PowerLoss};
use crate::{Fs, MAX_SHELF_FILES};

/// Refuses and acks record 1 of a new spool, and whether it was shelved.
fn refuse_first(disk: &MemoryDisk) -> (Spool, bool) {
    let mut spool = filled(disk, Mode::Durable, 60);
    drain(&mut spool);
    let one = Position { epoch: spool.epoch(), seq: 1 };
    let shelved = spool.refuse(one, "unknown tenant").unwrap();
    (spool, shelved)
}

/// The dead records that are whole.
fn dead(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let files = disk.files(&dir().join("dead"));
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "ordinary"))
        .map(|path| disk.read(path).unwrap())
        .collect()
}

#[test]
fn a_refused_record_outlasts_power_loss_after_its_segment_is_gone() {
    let disk = MemoryDisk::default();
    let (mut spool, shelved) = refuse_first(&disk);
    assert!(shelved);
    spool.ack(Position { epoch: spool.epoch(), seq: 60 }).unwrap();
    assert_eq!((spool.stats().segments, spool.stats().not_shelved), (2, 0), "its segment is unlinked");
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    assert_eq!(dead(&disk), [payload(1)]);
    assert_eq!(disk.files(&dir().join("dead")).len(), 2, "and the reason");
}

#[test]
fn a_refused_record_and_the_folder_that_it_lies_in_outlast_power_loss_at_once() {
    let disk = MemoryDisk::default();
    let (spool, shelved) = refuse_first(&disk);
    assert!(shelved);
    drop(spool);
    disk.lose_power(PowerLoss::DropsAll);
    assert_eq!(dead(&disk), [payload(1)]);
}

#[test]
fn whatever_the_disk_fails_in_a_refusal_nothing_is_said_to_be_shelved_that_is_not() {
    use Operation::{Create, Read, Rename, Sync, SyncDir, Write};
    for (operation, errno) in
        [(Create, ENOSPC), (Read, EIO), (Write, ENOSPC), (Sync, EIO), (Rename, EIO), (SyncDir, EIO)]
    {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, Mode::Durable, 60);
        drain(&mut spool);
        let epoch = spool.epoch();
        disk.fail(operation, 0, 1, errno);
        assert!(!spool.refuse(Position { epoch, seq: 1 }, "x").unwrap(), "{operation:?}");
        assert_eq!(
            disk.files(&dir().join("dead")),
            Vec::<std::path::PathBuf>::new(),
            "{operation:?}: no part of it stays"
        );
        assert!(
            spool.refuse(Position { epoch, seq: 2 }, "x").unwrap(),
            "{operation:?}: the next finds a disk that works"
        );
        spool.ack(Position { epoch, seq: 60 }).unwrap();
        assert_eq!((spool.stats().dropped.refused, spool.stats().not_shelved), (2, 1), "{operation:?}");
        drop(spool);
        disk.lose_power(PowerLoss::DropsAll);
        assert_eq!(dead(&disk), [payload(2)], "{operation:?}");
    }
}

#[test]
fn a_refusal_that_comes_again_is_shelved_once_and_then_for_sure() {
    let disk = MemoryDisk::default();
    let (mut spool, _) = refuse_first(&disk);
    let (one, bytes) = (Position { epoch: spool.epoch(), seq: 1 }, spool.stats().dead_bytes);
    spool.rewind();
    drain(&mut spool);
    assert!(spool.refuse(one, "unknown tenant").unwrap());
    assert_eq!(spool.stats().dead_bytes, bytes);
}

#[test]
fn a_full_shelf_takes_no_more_and_each_that_it_does_not_take_is_counted() {
    let disk = MemoryDisk::default();
    for number in 0..MAX_SHELF_FILES - 1 {
        disk.write(&dir().join("dead").join(number.to_string()), b"");
    }
    disk.make_dir(&dir().join("dead")).unwrap();
    let (mut spool, shelved) = refuse_first(&disk);
    assert!(!shelved, "there is room for one file, and a record has two");
    assert_eq!(spool.stats().not_shelved, 0, "it is still in its segment");
    spool.ack(Position { epoch: spool.epoch(), seq: 1 }).unwrap();
    assert_eq!((spool.stats().dropped.refused, spool.stats().not_shelved), (1, 1));
    assert_eq!(dead(&disk), Vec::<Vec<u8>>::new());
}
