use super::*;
use proptest::prelude::*;
use proto::sample::STALE;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Encodes, decodes, compares every bit; gives the bytes.
#[track_caller]
fn there_and_back(values: &[f64]) -> Vec<u8> {
    let bytes = encode_values(values).expect("few enough");
    let (mut scratch, mut back) = (Scratch::default(), vec![1.0; 3]);
    decode_values(&bytes, values.len(), &mut scratch, &mut back).expect("what was encoded");
    assert_eq!(bits(&back), bits(values), "{bytes:02x?}");
    bytes
}

/// Values as hosts have them, and everything else: each strategy leads to another form.
fn any_values() -> impl Strategy<Value = Vec<f64>> {
    let special = prop::sample::select(vec![
        STALE,
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff8_dead_beef_0001),
        -0.0,
        0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        9_007_199_254_740_993.0,
    ]);
    let mixed = |usual: BoxedStrategy<f64>| {
        prop::collection::vec(prop_oneof![30 => usual, 1 => special.clone()], 0..300).boxed()
    };
    let runs = prop::collection::vec((any::<u64>(), 1_usize..40), 0..20)
        .prop_map(|runs| runs.iter().flat_map(|&(bits, times)| vec![f64::from_bits(bits); times]).collect());
    prop_oneof![
        mixed(any::<u64>().prop_map(f64::from_bits).boxed()),
        mixed((-100_000_i64..100_000).prop_map(|whole| whole as f64 / 100.0).boxed()),
        mixed((0_i64..1 << 54).prop_map(|whole| whole as f64).boxed()),
        mixed((0_i64..1000, 1_i64..1010).prop_map(|(part, all)| 100.0 * part as f64 / all as f64).boxed()),
        mixed((0_i64..1 << 33, 1_i64..1 << 21).prop_map(|(part, all)| part as f64 / all as f64).boxed()),
        mixed((0_i64..1 << 40, -9_i64..9).prop_map(|(us, off)| decimal::from_near(us, off, 6)).boxed()),
        mixed((0_i64..1000).prop_map(|pages| pages as f64 * 4096.0).boxed()),
        runs.boxed(),
    ]
}

proptest! {
    #[test]
    fn every_bit_of_every_value_comes_back(values in any_values()) {
        there_and_back(&values);
    }

    #[test]
    fn every_time_comes_back(times in prop_oneof![
        prop::collection::vec(any::<i64>(), 0..200),
        prop::collection::vec(-5_i64..5, 0..200).prop_map(|jitter| {
            jitter.iter().enumerate().map(|(at, jitter)| 1_700_000_000_000 + 10_000 * at as i64 + jitter).collect()
        }),
    ]) {
        let bytes = encode_times(&times).expect("few enough");
        let mut back = vec![7];
        decode_times(&bytes, &mut Scratch::default(), &mut back).expect("what was encoded");
        prop_assert_eq!(back, times);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), mode in 0x0f_u8..0x19, count in 0_usize..2000) {
        let (mut scratch, mut times, mut values) = (Scratch::default(), Vec::new(), Vec::new());
        let moded: Vec<u8> = std::iter::once(mode).chain(bytes.iter().copied()).collect();
        for bytes in [&bytes, &moded] {
            if decode_times(bytes, &mut scratch, &mut times).is_ok() {
                prop_assert!(times.len() <= SAMPLES_MAX);
            }
            if decode_values(bytes, count, &mut scratch, &mut values).is_ok() {
                prop_assert_eq!(values.len(), count);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_answered(
        values in any_values(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_values(&values).expect("few enough");
        prop_assume!(!bytes.is_empty());
        let mut times = encode_times(&values.iter().map(|value| value.to_bits() as i64).collect::<Vec<_>>()).expect("few enough");
        let (mut scratch, mut out, mut out_times) = (Scratch::default(), Vec::new(), Vec::new());
        for bytes in [&mut bytes, &mut times] {
            for (at, flip) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if decode_values(bytes, values.len(), &mut scratch, &mut out).is_ok() {
                    prop_assert_eq!(out.len(), values.len());
                }
                let _ = decode_times(bytes, &mut scratch, &mut out_times);
            }
        }
    }
}

#[test]
fn each_form_is_chosen_where_it_is_the_smallest() {
    let numbers = || (0..500_u32).map(|at| f64::from(at.wrapping_mul(2_654_435_761) >> 22));
    assert_eq!(there_and_back(&[1.0; 720]), [CONSTANT, 0x3f, 0xf0]);
    assert_eq!(there_and_back(&[0.0; 720]), [CONSTANT]);
    assert_eq!(there_and_back(&[STALE]).len(), 9);
    let flips: Vec<f64> = (0..720).map(|at| f64::from(u8::from(at > 300 && at < 310))).collect();
    let bytes = there_and_back(&flips);
    assert_eq!((bytes[0], bytes.len() <= 20), (RUNS, true), "{}", bytes.len());
    let ticks: Vec<f64> = numbers().map(|number| number / 100.0).collect();
    assert_eq!(there_and_back(&ticks)[..2], [DECIMAL, 2]);
    let percent: Vec<f64> = numbers().map(|number| 100.0 * number / (3999.0 + number % 3.0)).collect();
    let bytes = there_and_back(&percent);
    assert_eq!((bytes[0], bytes[1], bytes.len() < 2 * percent.len()), (RATIO, 100, true), "{}", bytes.len());
    let mut sum = 1234.5;
    let sums: Vec<f64> = numbers()
        .map(|number| {
            sum += number / 1e6;
            sum
        })
        .collect();
    let bytes = there_and_back(&sums);
    assert_eq!((bytes[0], bytes[1], bytes.len() < 3 * sums.len()), (NEAR, 6, true), "{}", bytes.len());
    let roots: Vec<f64> = numbers().map(f64::sqrt).collect();
    assert_eq!(there_and_back(&roots)[0], ORDERED);
    assert_eq!(encode_values(&[]), Ok(vec![]));
}

#[test]
fn a_straight_line_has_no_residuals() {
    let line: Vec<i64> = (0..720).map(|at| 1_700_000_000_000 + at * 10_000).collect();
    let bytes = encode_times(&line).expect("few enough");
    assert!(bytes.len() < 20, "{}", bytes.len());
}

#[test]
fn a_series_that_ends_pays_for_its_marker_only() {
    let mut values: Vec<f64> = (0..720_u32).map(|at| f64::from(at.wrapping_mul(2_654_435_761) >> 24)).collect();
    let before = there_and_back(&values).len();
    values.push(STALE);
    let after = there_and_back(&values).len();
    assert!(after <= before + 8, "{before} {after}");
}

#[test]
fn more_samples_than_the_limit_are_refused_on_both_sides() {
    let count = SAMPLES_MAX + 1;
    assert_eq!(encode_values(&vec![0.0; count]), Err(TooMany { count }));
    assert_eq!(encode_times(&vec![0; count]), Err(TooMany { count }));
    let (mut scratch, mut values, mut times) = (Scratch::default(), Vec::new(), Vec::new());
    assert_eq!(decode_values(&[CONSTANT], count, &mut scratch, &mut values), Err(Damage::Count(count as u64)));
    let mut bytes = vec![TIMES];
    put_varint(&mut bytes, count as u64);
    assert_eq!(decode_times(&bytes, &mut scratch, &mut times), Err(Damage::Count(count as u64)));
    assert_eq!((values.capacity(), times.capacity()), (0, 0));
}

#[test]
fn what_is_wrong_is_named() {
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let mut decode = |bytes: &[u8], count| decode_values(bytes, count, &mut scratch, &mut out);
    assert_eq!(decode(&[], 1), Err(Damage::Short));
    assert_eq!(decode(&[0], 0), Err(Damage::Trailing(1)));
    assert_eq!(decode(&[0x21], 1), Err(Damage::UnknownMode(0x21)));
    assert_eq!(decode(&[TIMES], 1), Err(Damage::UnknownMode(TIMES)));
    assert_eq!(decode(&[DECIMAL, 13, 0, 0, 0], 1), Err(Damage::Range("exponent")));
    assert_eq!(decode(&[ORDERED, 1, 1, 0, 0, 0], 1), Err(Damage::Range("place")));
    assert_eq!(decode(&[ORDERED, 1, 0, 2, 0, 0], 1), Err(Damage::Range("kind of value")));
    assert_eq!(decode(&[ORDERED, 0, 0, 0, 9], 1), Err(Damage::Trailing(1)));
    assert_eq!(decode(&[CONSTANT, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), Err(Damage::Trailing(1)));
    assert_eq!(decode(&[RUNS, 1, 0, RUNS], 4), Err(Damage::UnknownMode(RUNS)), "runs of runs would nest");
    assert_eq!(decode(&[RUNS, 1, 2, 0, 6, CONSTANT], 4), Err(Damage::Range("runs")));
    assert_eq!(decode(&[RUNS, 1, 2, 0, 10, CONSTANT], 4), Err(Damage::Range("run")));
}

/// A number that looks like any other, by its place.
fn number(at: u32) -> f64 {
    f64::from((at + 1).wrapping_mul(2_654_435_761) >> 23)
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// What rows of SQL may hold: bytes of each form and packing, and the values that they stand for. These bytes never
/// change; a form that should gets a number of its own.
#[test]
fn what_was_stored_is_read() {
    let of = |count: u32, value: fn(u32) -> f64| (0..count).map(value).collect::<Vec<f64>>();
    let stored = [
        ("11bff8", of(5, |_| -1.5)),
        ("12020420421a011300010100000200", of(40, |at| if at < 33 { 1.0 } else { STALE })),
        ("130201030001f8048d060ac3107b1800c302", of(6, |at| if at == 3 { STALE } else { number(at) / 100.0 })),
        (
            "1300000500b501004600000000c0940500522e0000d40200e9e38011a8517b11b9bbea07",
            of(64, |at| f64::from(at % 3) + if at == 9 { number(at) } else { 0.0 }),
        ),
        (
            "13000028020700002600f0010000000420c1450000001d043d4d92649224499224499224499224499200",
            of(64, |at| f64::from(at % 3) * 7.0 + if at == 9 { 1e6 } else { 1.0 }),
        ),
        (
            "1300002c020700002600f00100000000000000044092c0bc5008000000001d043d4d92649224499224499224499224499200",
            of(64, |at| f64::from(at % 3) * 7.0 + if at == 9 { 1e12 } else { 1.0 }),
        ),
        (
            "1464000701ce0f0302cf0300f8049b04094a0e0f03c013",
            of(6, |at| 100.0 * number(at) / (999.0 + f64::from(at % 3))),
        ),
        (
            "15010101000000000000f87f22e0e1edb2adb0e3b180019fa283b8ed99c8010002",
            of(3, |at| if at == 1 { f64::NAN } else { number(at).sqrt() }),
        ),
        (
            "1606000601000302cf030280a8d6b9070204",
            of(6, |at| decimal::from_near(1_000_000_000 + i64::from(at * at), i64::from(at % 3), 6)),
        ),
    ];
    let (mut scratch, mut values, mut times) = (Scratch::default(), Vec::new(), Vec::new());
    for (bytes, expected) in stored {
        assert_eq!(decode_values(&from_hex(bytes), expected.len(), &mut scratch, &mut values), Ok(()), "{bytes}");
        assert_eq!(bits(&values), bits(&expected), "{bytes}");
    }
    let bytes = from_hex("101e0180a0abfef9629c9c0102cff33ccff33ccf03");
    assert_eq!(decode_times(&bytes, &mut scratch, &mut times), Ok(()));
    assert!(times.into_iter().eq((0..30).map(|at| 1_700_000_000_000 + at * 10_000 + at % 3)));
}
