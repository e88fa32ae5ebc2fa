use super::*;
use proptest::prelude::*;
use proto::sample::STALE;

fn chunk(samples: &[(i64, f64)]) -> OpenChunk {
    let mut chunk = OpenChunk::default();
    for &(time, value) in samples {
        chunk.append(time, value).expect("in order");
    }
    chunk
}

fn decoded(chunk: &OpenChunk, from_ms: i64) -> Vec<(i64, u64)> {
    let (mut times, mut values) = (vec![1], vec![1.0]);
    chunk.decode_from(from_ms, &mut times, &mut values);
    times.into_iter().zip(values.into_iter().map(f64::to_bits)).collect()
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-1000_i64..1000).prop_map(|whole| whole as f64 / 100.0),
        4 => (0_i64..50).prop_map(|pages| pages as f64 * 4096.0),
        2 => any::<u64>().prop_map(f64::from_bits),
        2 => any::<i64>().prop_map(|whole| whole as f64),
        1 => prop::sample::select(vec![STALE, f64::NAN, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, -5e-324]),
    ]
}

/// In order: most a second or so apart, some anywhere.
fn any_samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![40 => 1_u64..2000, 1 => any::<u64>()];
    let values = prop_oneof![
        prop::collection::vec((step.clone(), any_value()), 0..500),
        prop::collection::vec((step, (0_i64..30).prop_map(|whole| whole as f64)), 0..500),
    ];
    (prop_oneof![Just(1_700_000_000_000), Just(i64::MIN), any::<i64>()], values).prop_map(|(start, steps)| {
        let mut at = Some(start);
        steps
            .into_iter()
            .map_while(|(step, value)| {
                let time = at?;
                at = time.checked_add_unsigned(step.max(1));
                Some((time, value))
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_bit_of_every_sample_comes_back(samples in any_samples()) {
        let chunk = chunk(&samples);
        let expected: Vec<_> = samples.iter().map(|(time, value)| (*time, value.to_bits())).collect();
        prop_assert_eq!(chunk.len(), samples.len());
        prop_assert_eq!(chunk.is_empty(), samples.is_empty());
        prop_assert_eq!(chunk.first_time(), samples.first().map(|sample| sample.0));
        prop_assert_eq!(chunk.last_time(), samples.last().map(|sample| sample.0));
        prop_assert_eq!(chunk.last_value().map(f64::to_bits), samples.last().map(|sample| sample.1.to_bits()));
        prop_assert_eq!(decoded(&chunk, i64::MIN), expected);
    }

    #[test]
    fn from_a_time_on_is_the_whole_without_what_is_before(
        samples in any_samples(),
        at in any::<prop::sample::Index>(),
        aside in -1_i64..=1,
    ) {
        prop_assume!(!samples.is_empty());
        let chunk = chunk(&samples);
        let from = samples[at.index(samples.len())].0.saturating_add(aside);
        let mut expected = decoded(&chunk, i64::MIN);
        expected.retain(|(time, _)| *time >= from);
        prop_assert_eq!(decoded(&chunk, from), expected);
    }

    #[test]
    fn a_chunk_reads_the_same_while_it_grows(samples in any_samples()) {
        let mut growing = OpenChunk::default();
        for (at, &(time, value)) in samples.iter().enumerate() {
            growing.append(time, value).expect("in order");
            if at % 61 == 0 || at % 128 < 2 {
                prop_assert_eq!(decoded(&growing, i64::MIN), decoded(&chunk(&samples[..=at]), i64::MIN));
                prop_assert_eq!(decoded(&growing, i64::MIN).len(), at + 1);
            }
        }
    }
}

#[test]
fn a_time_that_is_not_after_the_last_is_refused_and_changes_nothing() {
    let mut chunk = chunk(&[(5, 1.0), (6, 2.0)]);
    for time_ms in [6, 5, i64::MIN] {
        assert_eq!(chunk.append(time_ms, 3.0), Err(AppendError::NotAfter { time_ms, last_ms: 6 }));
    }
    assert_eq!(decoded(&chunk, i64::MIN), [(5, 1.0_f64.to_bits()), (6, 2.0_f64.to_bits())]);
}

#[test]
fn a_full_chunk_takes_no_more() {
    let mut chunk = OpenChunk::default();
    for at in 0..SAMPLES_MAX as i64 {
        chunk.append(at, 1.0).expect("room");
    }
    assert_eq!(chunk.append(i64::MAX, 1.0), Err(AppendError::Full));
    assert_eq!((chunk.len(), decoded(&chunk, i64::MIN).len()), (SAMPLES_MAX, SAMPLES_MAX));
}

#[test]
fn an_empty_chunk_and_one_of_a_sample_are_small() {
    let empty = OpenChunk::default();
    assert_eq!((empty.bytes(), decoded(&empty, 0)), (size_of::<OpenChunk>(), vec![]));
    assert!(empty.bytes() <= 112, "{}", empty.bytes());
    let one = chunk(&[(1_700_000_000_000, 12_345_678.0)]);
    assert!(one.bytes() <= 112 + 32, "{}", one.bytes());
}

#[test]
fn what_hosts_report_takes_few_bytes() {
    let jitter = |at: i64| at * 10_000 + [0, 1, 0, 2, 0, 0, 1, 5][at as usize % 8];
    let size = |value: &dyn Fn(i64) -> f64| {
        let samples: Vec<_> = (0..720).map(|at| (jitter(at), value(at))).collect();
        chunk(&samples).sample_bytes() as f64 / 720.0
    };
    let noise = |at: i64| (at.wrapping_mul(2_654_435_761) >> 13) % 64;
    let constant = size(&|_| 1.0);
    let counter = size(&|at| (at * 5000 + noise(at)) as f64 / 100.0);
    let pages = size(&|at| (100_000 + noise(at)) as f64 * 4096.0);
    assert!(constant < 0.85 && counter < 2.0 && pages < 2.0, "{constant} {counter} {pages}");
}

#[test]
fn a_block_of_the_costliest_samples_has_room_in_its_length() {
    let samples: Vec<_> = (0..300_u64)
        .map(|at| {
            let wild = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (i64::MIN.wrapping_add_unsigned(at * (u64::MAX / 301) + (wild >> 20)), f64::from_bits(wild | 0x7ff8 << 48))
        })
        .collect();
    let chunk = chunk(&samples);
    assert!(chunk.sample_bytes() < 300 * 30, "{}", chunk.sample_bytes());
    assert_eq!(decoded(&chunk, i64::MIN).len(), 300);
}
