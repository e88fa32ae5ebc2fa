//! The two copies: each is whole or not there, and the newer one is taken.

use proptest::prelude::*;

use super::*;
use crate::memory::{EIO, EMFILE, MemoryDisk, Operation};

fn dir() -> &'static Path {
    Path::new("/d")
}

fn cursor(generation: u64) -> Cursor {
    Cursor {
        generation,
        owner: Uuid::from_u128(7),
        acked: Place { era: 1, seq: generation },
        next: Place { era: 2, seq: 9 },
        evicted: Place { era: 0, seq: 0 },
        done: [3, 4],
        appended: [5, 6],
        clean: false,
        mode: Mode::Fast,
        boot_id: boot_id_field("boot"),
    }
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u32>(), any::<u64>()).prop_map(|(era, seq)| Place { era, seq })
}

proptest! {
    #[test]
    fn what_is_stored_is_loaded(
        generation: u64, owner: u128, places in (place(), place(), place()), done: [u64; 2], appended: [u64; 2],
        clean: bool, durable: bool, boot in "[a-z0-9-]{0,80}",
    ) {
        let (acked, next, evicted) = places;
        let mode = if durable { Mode::Durable } else { Mode::Fast };
        let owner = Uuid::from_u128(owner);
        let boot_id = boot_id_field(&boot);
        let cursor = Cursor { generation, owner, acked, next, evicted, done, appended, clean, mode, boot_id };
        let disk = MemoryDisk::default();
        prop_assert_eq!(cursor.store(&disk, dir(), &mut 0).expect("the disk works"), 0);
        let loaded = Cursor::load(&disk, dir()).expect("it reads");
        prop_assert_eq!(loaded.map(|(cursor, _)| cursor), Some(cursor));
    }

    #[test]
    fn a_copy_with_any_other_byte_is_none(at in 0..CURSOR_BYTES, flip in 1u8..) {
        let mut bytes = cursor(1).encode();
        prop_assert_eq!(bytes.len(), CURSOR_BYTES);
        bytes[at] ^= flip;
        let disk = MemoryDisk::default();
        disk.write(&dir().join(COPIES[0]), &bytes);
        prop_assert_eq!(Cursor::load(&disk, dir()).expect("it reads"), None);
        disk.write(&dir().join(COPIES[0]), &cursor(1).encode()[..at]);
        prop_assert_eq!(Cursor::load(&disk, dir()).expect("it reads"), None);
    }
}

#[test]
fn the_newer_copy_is_taken_wherever_it_lies_and_the_other_is_written_next() {
    for newer in [0, 1] {
        let disk = MemoryDisk::default();
        disk.write(&dir().join(COPIES[newer]), &cursor(8).encode());
        disk.write(&dir().join(COPIES[1 - newer]), &cursor(7).encode());
        assert_eq!(Cursor::load(&disk, dir()).expect("it reads"), Some((cursor(8), 1 - newer)));
        disk.write(&dir().join(COPIES[newer]), b"damaged");
        assert_eq!(Cursor::load(&disk, dir()).expect("it reads"), Some((cursor(7), newer)), "the older one is whole");
    }
    assert_eq!(Cursor::load(&MemoryDisk::default(), dir()).expect("it reads"), None);
}

#[test]
fn a_copy_that_cannot_be_written_leaves_the_other_whole_and_is_tried_first_the_next_time() {
    let disk = MemoryDisk::default();
    let mut copy = 0;
    cursor(1).store(&disk, dir(), &mut copy).expect("the disk works");
    // The first copy fails in its place, and anew.
    disk.fail(Operation::Write, 0, 2, EIO);
    assert_eq!(cursor(2).store(&disk, dir(), &mut copy).expect("one copy is enough"), 1);
    assert_eq!(copy, 0);
    assert_eq!(Cursor::load(&disk, dir()).expect("it reads"), Some((cursor(2), 0)));
    assert_eq!(cursor(3).store(&disk, dir(), &mut copy).expect("the disk works"), 0);
    let both = COPIES.map(|name| disk.read(&dir().join(name)));
    assert_eq!(both[0], both[1]);
}

#[test]
fn where_neither_copy_can_be_written_that_is_an_error_and_the_old_ones_count() {
    let disk = MemoryDisk::default();
    let mut copy = 0;
    cursor(1).store(&disk, dir(), &mut copy).expect("the disk works");
    disk.fail(Operation::Open, 0, u32::MAX, EIO);
    disk.fail(Operation::Create, 0, u32::MAX, EIO);
    assert!(cursor(2).store(&disk, dir(), &mut copy).is_err());
    disk.heal();
    assert_eq!(Cursor::load(&disk, dir()).expect("it reads").map(|(cursor, _)| cursor), Some(cursor(1)));
}

#[test]
fn a_shortage_of_descriptors_is_an_error_and_no_lost_cursor() {
    let disk = MemoryDisk::default();
    cursor(1).store(&disk, dir(), &mut 0).expect("the disk works");
    disk.fail(Operation::Open, 0, 1, EMFILE);
    assert!(Cursor::load(&disk, dir()).is_err());
    assert!(Cursor::load(&disk, dir()).expect("it reads").is_some());
}

#[test]
fn a_boot_id_is_cut_at_its_field_and_two_that_differ_before_stay_different() {
    let long = "b".repeat(BOOT_ID_BYTES + 9);
    assert_eq!(boot_id_field(&long), [b'b'; BOOT_ID_BYTES]);
    assert_ne!(boot_id_field("boot-1"), boot_id_field("boot-2"));
    assert_eq!(boot_id_field(""), [0; BOOT_ID_BYTES]);
}
