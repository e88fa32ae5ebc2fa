use super::*;
use crate::chunk::{encode_times, encode_values, times_id};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::error::Error;

const START_MS: i64 = 1_700_000_000_000;

fn times(count: usize, first_ms: i64) -> Times {
    let all: Vec<i64> = (0..count as i64).map(|at| first_ms.wrapping_add(at * 1000)).collect();
    let id = times_id(&encode_times(&all).expect("few enough"));
    Times { id, count, first_ms, last_ms: first_ms + (count as i64 - 1) * 1000 }
}

fn written(series: &BTreeMap<u64, (Times, Vec<f64>)>) -> Vec<u8> {
    let mut writer = BlockWriter::new(START_MS);
    for (id, (times, values)) in series {
        writer.push(*id, *times, &encode_values(values).expect("few enough")).expect("ascending");
    }
    assert_eq!((writer.len(), writer.is_empty()), (series.len(), series.is_empty()));
    writer.finish()
}

fn three() -> BTreeMap<u64, (Times, Vec<f64>)> {
    let values = |factor: f64| (0..50).map(|at| f64::from(at * at) * factor).collect();
    BTreeMap::from([
        (7, (times(50, START_MS + 3), values(1.0))),
        (9, (times(50, START_MS + 3), values(0.1))),
        (u64::MAX, (times(50, START_MS - 9), vec![f64::NAN; 50])),
    ])
}

/// Writes the checksum that `change` makes right again.
fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    let checksum = checksum(&bytes[HEAD_BYTES..]);
    bytes[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn any_series() -> impl Strategy<Value = BTreeMap<u64, (Times, Vec<f64>)>> {
    let values = prop::collection::vec(prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(1.0)], 1..40);
    let one = (prop_oneof![0_i64..3, -1_000_000_i64..1_000_000], values)
        .prop_map(|(offset, values)| (times(values.len(), START_MS + offset), values));
    prop::collection::btree_map(prop_oneof![0_u64..100, any::<u64>()], one, 0..20)
}

proptest! {
    #[test]
    fn what_was_written_is_read_alone_and_all_together(series in any_series(), absent: u64) {
        let bytes = written(&series);
        let block = Block::open(&bytes).expect("what was written");
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        prop_assert_eq!(block.start_ms(), START_MS);
        let ids: Vec<u64> = block.entries().iter().map(|entry| entry.series_id).collect();
        prop_assert_eq!(ids, series.keys().copied().collect::<Vec<_>>());
        for (id, (times, values)) in &series {
            let entry = block.find(*id).expect("it is there");
            prop_assert_eq!(entry.times, *times);
            block.values(entry, &mut scratch, &mut out).expect("what was written");
            prop_assert!(out.iter().map(|value| value.to_bits()).eq(values.iter().map(|value| value.to_bits())));
        }
        prop_assert_eq!(block.find(absent).is_some(), series.contains_key(&absent));
    }

    #[test]
    fn any_changed_byte_is_refused(series in any_series(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = written(&series);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let error = Block::open(&bytes).expect_err("a byte is another");
        prop_assert_eq!(matches!(error, BlockError::Version(_)), at == 0, "{:?}", error);
        bytes[at] ^= flip;
        prop_assert!(Block::open(&bytes[..at]).is_err());
    }

    #[test]
    fn a_wrong_writer_is_answered(
        series in any_series(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        junk in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let changed = resealed(written(&series), |bytes| {
            for (at, byte) in &changes {
                let at = at.index(bytes.len() - HEAD_BYTES) + HEAD_BYTES;
                bytes[at] = *byte;
            }
        });
        let junk = resealed(vec![VERSION, 0, 0, 0, 0], |bytes| bytes.extend(junk));
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        for bytes in [changed, junk] {
            if let Ok(block) = Block::open(&bytes) {
                for entry in block.entries() {
                    if block.values(entry, &mut scratch, &mut out).is_ok() {
                        prop_assert_eq!(out.len(), entry.times.count);
                    }
                }
            }
        }
    }
}

#[test]
fn a_directory_is_small() {
    let mut writer = BlockWriter::new(START_MS);
    let values = encode_values(&[1.0; 50]).expect("few enough");
    for id in 0..1000 {
        writer.push(1_000_000 + id * 3, times(50, START_MS + id as i64 % 10), &values).expect("ascending");
    }
    let bytes = writer.finish();
    let directory = bytes.len() - 1000 * values.len();
    assert!(directory < 3300, "{directory}");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut writer = BlockWriter::new(START_MS);
    let good = times(50, START_MS);
    writer.push(5, good, &[1]).expect("the first");
    for series_id in [5, 4] {
        assert_eq!(writer.push(series_id, good, &[]), Err(Unfit::Order { series_id, last: 5 }));
    }
    for bad in [
        Times { count: 0, ..good },
        Times { count: SAMPLES_MAX + 1, ..good },
        Times { last_ms: good.first_ms - 1, ..good },
    ] {
        assert!(matches!(writer.push(6, bad, &[]), Err(Unfit::Times { series_id: 6, .. })), "{bad:?}");
    }
    let other = Times { count: 51, ..good };
    assert_eq!(writer.push(6, other, &[]), Err(Unfit::OtherTimes { series_id: 6, times_id: good.id }));
    let bytes = writer.finish();
    assert_eq!(Block::open(&bytes).expect("what was written").entries().len(), 1);
}

#[test]
fn a_full_block_takes_no_more() {
    let mut writer = BlockWriter::new(START_MS);
    let good = times(1, START_MS);
    for id in 0..BLOCK_SERIES_MAX as u64 {
        writer.push(id, good, &[]).expect("room");
    }
    assert_eq!(writer.push(u64::MAX, good, &[]), Err(Unfit::Full));
    assert_eq!(Block::open(&writer.finish()).expect("what was written").entries().len(), BLOCK_SERIES_MAX);
}

#[test]
fn damage_is_named() {
    let bytes = written(&three());
    assert_eq!(Block::open(&[]).expect_err("nothing"), BlockError::Short(0));
    assert_eq!(Block::open(&[2; 9]).expect_err("version"), BlockError::Version(2));
    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    let error = Block::open(&flipped).expect_err("a bit is another");
    assert!(matches!(error, BlockError::Checksum { .. }) && error.to_string().contains("checksum"), "{error}");
    let longer = resealed(bytes.clone(), |bytes| bytes.push(0));
    let error = Block::open(&longer).expect_err("a byte too many");
    assert_eq!(error, BlockError::Directory { part: Part::Series, at: 3, source: Damage::Trailing(1) });
    assert!(error.source().is_some(), "the cause is not in the text");
    let shorter = resealed(bytes.clone(), |bytes| bytes.truncate(bytes.len() - 1));
    let error = Block::open(&shorter).expect_err("a byte too few");
    assert_eq!(error, BlockError::Directory { part: Part::Series, at: 3, source: Damage::Short });
    let many = resealed(vec![VERSION, 0, 0, 0, 0], |bytes| bytes.extend([0, 0, 0xff, 0xff, 0xff, 0x7f]));
    let error = Block::open(&many).expect_err("more series than can be");
    assert!(matches!(error, BlockError::Directory { part: Part::Counts, source: Damage::Count(_), .. }), "{error:?}");
}

#[test]
fn damaged_values_of_one_series_leave_the_others_readable() {
    let series = three();
    let bytes = written(&series);
    let whole = Block::open(&bytes).expect("what was written");
    let place = whole.find(9).expect("it is there").place.clone();
    let bytes = resealed(bytes.clone(), |bytes| bytes[place.start] = 0x77);
    let block = Block::open(&bytes).expect("the directory is right");
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    for entry in block.entries() {
        let read = block.values(entry, &mut scratch, &mut out);
        let expected = if entry.series_id == 9 {
            Err(BlockError::Values { series_id: 9, source: Damage::UnknownMode(0x77) })
        } else {
            Ok(())
        };
        assert_eq!(read, expected);
    }
}

/// Bytes that rows of SQL may hold never change their meaning.
#[test]
fn what_was_stored_is_read() {
    let text = "01e9b035e780a0abfef96202033ae6bb32cf5ef06d3206e8fe02382b55819daae0f63211e8fe02070007020013f6ffffffffffffffff01\
                0103130000020002041601000b000000010014615202290102000204117ff8";
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits")).collect();
    let block = Block::open(&bytes).expect("what was stored");
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    for (id, (times, values)) in three() {
        let entry = block.find(id).expect("it is there");
        assert_eq!(entry.times, times);
        assert_eq!(block.values(entry, &mut scratch, &mut out), Ok(()));
        assert!(out.iter().map(|value| value.to_bits()).eq(values.iter().map(|value| value.to_bits())));
    }
}
