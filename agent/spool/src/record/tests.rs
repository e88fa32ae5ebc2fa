//! The walk over records: it finds what was written, steps over what was damaged, and ends.

use proptest::prelude::*;

use super::*;
use crate::memory::{EIO, MemoryDisk, Operation};

const PATH: &str = "/segment";
const ANY_SEQ: RangeInclusive<u64> = 0..=u64::MAX;

/// What a walk came upon, with payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Met {
    Record(Kind, u64, Vec<u8>),
    Damaged(u64, u64),
}

/// Walks a file of these bytes to `end`.
fn walk(bytes: &[u8], end: u64, plausible: &RangeInclusive<u64>) -> Vec<Met> {
    let disk = MemoryDisk::default();
    disk.write(PATH.as_ref(), bytes);
    let mut walker = Walker::new(PATH.into(), 0);
    let mut met = Vec::new();
    loop {
        match walker.step(&disk, end, plausible).expect("the disk reads") {
            Step::Record(found) => {
                let payload = walker.payload(&disk, &found).expect("it was just read").to_vec();
                met.push(Met::Record(found.kind, found.seq, payload));
            }
            Step::Damaged { at, bytes } => met.push(Met::Damaged(at, bytes)),
            Step::End => return met,
        }
        assert!(walker.at <= end && met.len() <= bytes.len(), "it gets on: {met:?}");
    }
}

fn walk_all(bytes: &[u8]) -> Vec<Met> {
    walk(bytes, bytes.len() as u64, &ANY_SEQ)
}

/// Frames one after another, and what a walk over them shall meet.
fn frames(records: &[(Class, Vec<u8>)]) -> (Vec<u8>, Vec<Met>) {
    let (mut bytes, mut met) = (Vec::new(), Vec::new());
    for (seq, (class, payload)) in (1..).zip(records) {
        encode(&mut bytes, Kind::Record(*class), seq, payload);
        met.push(Met::Record(Kind::Record(*class), seq, payload.clone()));
    }
    (bytes, met)
}

fn records() -> impl Strategy<Value = Vec<(Class, Vec<u8>)>> {
    let class = prop_oneof![Just(Class::Ordinary), Just(Class::Critical)];
    prop::collection::vec((class, prop::collection::vec(any::<u8>(), 0..60)), 1..12)
}

proptest! {
    #[test]
    fn what_is_written_is_met_in_its_order_and_nothing_else(records in records()) {
        let (bytes, met) = frames(&records);
        prop_assert_eq!(walk_all(&bytes), met);
    }

    #[test]
    fn a_flipped_bit_costs_the_record_that_it_is_in(records in records(), at: prop::sample::Index, bit in 0u32..8) {
        let (mut bytes, mut met) = frames(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let ends: Vec<usize> = records
            .iter()
            .scan(0, |end, (_, payload)| {
                *end += FRAME_BYTES + payload.len();
                Some(*end)
            })
            .collect();
        let hit = ends.partition_point(|&end| end <= at);
        let start = if hit == 0 { 0 } else { ends[hit - 1] };
        met[hit] = Met::Damaged(start as u64, (ends[hit] - start) as u64);
        prop_assert_eq!(walk_all(&bytes), met);
    }

    #[test]
    fn a_file_that_is_cut_short_ends_after_its_last_whole_record(records in records(), at: prop::sample::Index) {
        let (bytes, met) = frames(&records);
        let cut = at.index(bytes.len());
        let mut end = 0;
        let whole = records.iter().take_while(|(_, payload)| {
            end += FRAME_BYTES + payload.len();
            end <= cut
        });
        let whole = whole.count();
        let found = walk_all(&bytes[..cut]);
        prop_assert_eq!(&found[..whole], &met[..whole]);
        let rest = &found[whole..];
        prop_assert!(rest.is_empty() || matches!(rest, [Met::Damaged(..)]), "{:?}", rest);
    }

    #[test]
    fn over_any_bytes_the_walk_ends_and_leaves_none_of_them_out(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut at = 0;
        for met in walk_all(&bytes) {
            at += match met {
                Met::Record(_, _, payload) => (FRAME_BYTES + payload.len()) as u64,
                Met::Damaged(from, bytes) => {
                    prop_assert_eq!(from, at);
                    bytes
                }
            };
        }
        prop_assert_eq!(at, bytes.len() as u64);
    }

    #[test]
    fn a_skip_is_met_as_it_was_written(reason in prop::sample::select(Reason::ALL.to_vec()), count in 1..=MAX_SKIP) {
        let skip = Skip { reason, count };
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Skip(skip), 7, &skip.encode());
        prop_assert_eq!(walk_all(&bytes), [Met::Record(Kind::Skip(skip), 7, skip.encode().to_vec())]);
        let found = Found { kind: Kind::Skip(skip), seq: 7, at: 0, len: SKIP_BYTES };
        prop_assert_eq!(found.last_seq(), 6 + count);
    }
}

#[test]
fn a_skip_of_none_of_too_many_or_for_no_known_reason_is_damage_whatever_its_checksum_says() {
    let good = Skip { reason: Reason::TooLarge, count: 1 }.encode();
    let wrong = [
        Skip { reason: Reason::TooLarge, count: 0 }.encode().to_vec(),
        Skip { reason: Reason::TooLarge, count: MAX_SKIP + 1 }.encode().to_vec(),
        [&[0], &good[1..]].concat(),
        [&[8], &good[1..]].concat(),
        good[..8].to_vec(),
        [&good[..], &[0]].concat(),
    ];
    for payload in wrong {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Skip(Skip { reason: Reason::TooLarge, count: 1 }), 1, &payload);
        assert_eq!(walk_all(&bytes), [Met::Damaged(0, bytes.len() as u64)], "{payload:?}");
    }
}

#[test]
fn behind_damage_a_record_with_a_seq_beyond_belief_is_not_believed() {
    let mut bytes = b"damage".to_vec();
    encode(&mut bytes, Kind::Record(Class::Ordinary), 1 << 40, b"what was in a payload");
    encode(&mut bytes, Kind::Record(Class::Ordinary), 3, b"a record");
    let end = bytes.len() as u64;
    let last = Met::Record(Kind::Record(Class::Ordinary), 3, b"a record".to_vec());
    let met = walk(&bytes, end, &(1..=100));
    assert_eq!(met, [Met::Damaged(0, end - 25), last.clone()]);
    assert_eq!(walk(&bytes[6..], end - 6, &(1..=100)).last(), Some(&last), "where none is damaged all is believed");
    assert_eq!(walk(&bytes[6..], end - 6, &(1..=100)).len(), 2);
}

#[test]
fn nothing_beyond_the_end_is_read_though_the_file_has_more() {
    let (bytes, met) = frames(&[(Class::Ordinary, vec![1; 30]), (Class::Critical, vec![2; 30])]);
    let first = (FRAME_BYTES + 30) as u64;
    assert_eq!(walk(&bytes, first, &ANY_SEQ), met[..1]);
    assert_eq!(walk(&bytes, first + 5, &ANY_SEQ), [met[0].clone(), Met::Damaged(first, 5)]);
    assert_eq!(walk(&bytes, 0, &ANY_SEQ), []);
}

#[test]
fn what_is_written_behind_a_walk_that_has_ended_is_met_by_its_next_step() {
    let disk = MemoryDisk::default();
    let (bytes, met) = frames(&[(Class::Ordinary, vec![1; 30]), (Class::Ordinary, vec![2; 30])]);
    let first = FRAME_BYTES + 30;
    disk.write(PATH.as_ref(), &bytes[..first]);
    let mut walker = Walker::new(PATH.into(), 0);
    assert!(matches!(walker.step(&disk, first as u64, &ANY_SEQ), Ok(Step::Record(_))));
    assert!(matches!(walker.step(&disk, first as u64, &ANY_SEQ), Ok(Step::End)));
    disk.write(PATH.as_ref(), &bytes);
    let Ok(Step::Record(found)) = walker.step(&disk, bytes.len() as u64, &ANY_SEQ) else { panic!("it is there") };
    let payload = walker.payload(&disk, &found).expect("it reads").to_vec();
    assert_eq!(Met::Record(found.kind, found.seq, payload), met[1]);
}

#[test]
fn a_record_larger_than_a_window_and_one_across_its_end_are_met_whole() {
    let large = vec![7; MAX_RECORD_BYTES];
    let (bytes, met) = frames(&[
        (Class::Ordinary, vec![1; WINDOW_BYTES - 100]),
        (Class::Ordinary, vec![2; 300]),
        (Class::Critical, large),
        (Class::Ordinary, vec![3; 9]),
    ]);
    assert!(walk_all(&bytes) == met, "four records, whole");
}

#[test]
fn a_length_beyond_the_largest_record_is_damage_and_nothing_is_fetched_for_it() {
    let mut bytes = Vec::new();
    encode(&mut bytes, Kind::Record(Class::Ordinary), 1, b"x");
    bytes[..4].copy_from_slice(&(MAX_RECORD_BYTES + 1).to_le_bytes()[..4]);
    let end = 8 << 20; // so many bytes may be there as far as the walk knows
    let disk = MemoryDisk::default();
    disk.write(PATH.as_ref(), &bytes);
    let mut walker = Walker::new(PATH.into(), 0);
    let view = walker.record_at(&disk, 0, end, None).expect("it reads");
    assert_eq!(view, None);
    assert_eq!(walker.window.len(), WINDOW_BYTES);
}

#[test]
fn after_a_failed_read_the_walk_stands_where_it_was() {
    let disk = MemoryDisk::default();
    let (bytes, _) = frames(&[(Class::Ordinary, vec![1; 30])]);
    disk.write(PATH.as_ref(), &bytes);
    disk.fail(Operation::Read, 0, 1, EIO);
    let mut walker = Walker::new(PATH.into(), 0);
    assert!(walker.step(&disk, bytes.len() as u64, &ANY_SEQ).is_err());
    assert_eq!(walker.at, 0);
    assert!(matches!(walker.step(&disk, bytes.len() as u64, &ANY_SEQ), Ok(Step::Record(_))));
}
