//! Whole numbers for size: what all of them are multiples of, then differences, then the smaller of two packings.
//!
//! ```text
//!  head │ first │ divisor?          │ step?             │ base             │ residuals
//!  u8   │ ±var  │ var, if head says │ ±var, if order 2  │ ±var, their least │ packed, to the end
//! ```
//! `head` is the order of the differences (bits 0–1), the packing (bits 2–4) and whether there is a divisor (bit 5). What
//! the order takes as given is not among the residuals, so that one number, or a straight line, has none. All arithmetic
//! wraps: any numbers may stand beside each other. How many there are is not in the bytes: whoever reads them knows.

use super::bytes::{Reader, fold, put_signed, put_varint};
use super::packed::{pack, unpack};
use super::{Damage, SAMPLES_MAX};
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec, PagingSpec};

const ORDER_BITS: u8 = 0b11;
const ORDER_MAX: usize = 2;
const DIVISOR_BIT: u8 = 1 << 5;

/// Orders that are estimated to cost so little more than the best one are tried as well: one part in so many.
const COST_SLACK: u64 = 16;

/// The format that our pco writes. It is not repeated in every chunk: the packing's number in `head` stands for it.
const PCO_HEADER: [u8; 2] = [4, 1];
/// How long pco searches. Beyond this level bytes do not shrink on a chunk's few samples.
const PCO_LEVEL: usize = 8;
/// Fewer numbers are not worth pco's tables.
const PCO_MIN: usize = 24;

/// How residuals lie in the bytes. pco writes its tables in the type's width, so the narrowest that fits is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// A byte with their width, then all in that width. Nothing where all are zero.
    Fixed = 0,
    Pco16 = 1,
    Pco32 = 2,
    Pco64 = 3,
}

/// Room that decoding uses again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    residuals: Vec<u64>,
    narrow: Vec<u16>,
    middle: Vec<u32>,
    pco: DecompressorScratch,
}

/// Appends the bytes of `numbers`.
pub(super) fn encode(numbers: &[i64], out: &mut Vec<u8>) {
    let Some((&first, others)) = numbers.split_first() else { return };
    let divisor = others.iter().fold(0, |divisor, number| gcd(divisor, number.wrapping_sub(first).unsigned_abs()));
    let divisor = if divisor > i64::MAX.unsigned_abs() { 1 } else { divisor.max(1).cast_signed() };
    let multiples: Vec<i64> = numbers.iter().map(|number| number.wrapping_sub(first) / divisor).collect();
    let orders: [Vec<i64>; ORDER_MAX + 1] = std::array::from_fn(|order| differences(&multiples, order));
    let costs = orders.each_ref().map(|numbers| cost_bits(numbers));
    let least = costs.iter().copied().min().unwrap_or_default();
    let mut best: Option<Vec<u8>> = None;
    for (order, differences) in orders.iter().enumerate() {
        if costs[order] > least + least / COST_SLACK {
            continue;
        }
        let mut bytes = vec![0];
        put_signed(&mut bytes, first);
        if divisor > 1 {
            put_varint(&mut bytes, divisor.cast_unsigned());
        }
        let packing = put_residuals(differences, order, &mut bytes);
        bytes[0] = order as u8 | (packing as u8) << 2 | if divisor > 1 { DIVISOR_BIT } else { 0 };
        if best.as_ref().is_none_or(|best| bytes.len() < best.len()) {
            best = Some(bytes);
        }
    }
    out.extend(best.unwrap_or_default());
}

/// Appends `count` numbers to `out`; `bytes` are theirs to the last.
pub(super) fn decode(bytes: &[u8], count: usize, scratch: &mut Scratch, out: &mut Vec<i64>) -> Result<(), Damage> {
    debug_assert!(count <= SAMPLES_MAX, "whoever read the count has held it against the limit");
    let mut reader = Reader::new(bytes);
    if count == 0 {
        return reader.end();
    }
    let head = reader.byte()?;
    let order = usize::from(head & ORDER_BITS);
    let packing = match (head & !(ORDER_BITS | DIVISOR_BIT)) >> 2 {
        0 => Packing::Fixed,
        1 => Packing::Pco16,
        2 => Packing::Pco32,
        3 => Packing::Pco64,
        _ => return Err(Damage::UnknownMode(head)),
    };
    if order > ORDER_MAX {
        return Err(Damage::UnknownMode(head));
    }
    let first = reader.signed()?;
    let divisor = if head & DIVISOR_BIT == 0 { 1 } else { reader.varint()?.cast_signed() };
    let step = if order == 2 && count > 1 { reader.signed()? } else { 0 };
    let given = count.min(order.max(1));
    scratch.residuals.clear();
    let base = if count == given {
        reader.end()?;
        0
    } else {
        let base = reader.signed()?;
        scratch.unpack(reader.rest(), packing, count - given)?;
        base
    };
    let residuals = scratch.residuals.iter().map(|residual| residual.cast_signed().wrapping_add(base));
    let number = |multiple: i64| first.wrapping_add(multiple.wrapping_mul(divisor));
    out.reserve(count);
    out.push(first);
    match order {
        0 => out.extend(residuals.map(number)),
        1 => out.extend(residuals.scan(0_i64, |last, residual| {
            *last = last.wrapping_add(residual);
            Some(number(*last))
        })),
        _ => {
            if count > 1 {
                out.push(number(step));
            }
            out.extend(residuals.scan((step, step), |(last, step), residual| {
                *step = step.wrapping_add(residual);
                *last = last.wrapping_add(*step);
                Some(number(*last))
            }));
        }
    }
    Ok(())
}

// === helpers ===

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Differences of differences, `order` deep. What the order takes as given stays in front.
fn differences(numbers: &[i64], order: usize) -> Vec<i64> {
    let mut differences = numbers.to_vec();
    for given in 0..order {
        for at in (given + 1..differences.len()).rev() {
            differences[at] = differences[at].wrapping_sub(differences[at - 1]);
        }
    }
    differences
}

/// About what numbers take: the bits of their distances from the one in the middle.
fn cost_bits(numbers: &[i64]) -> u64 {
    let mut sorted = numbers.to_vec();
    let middle = sorted.len() / 2;
    let middle = *sorted.select_nth_unstable(middle).1;
    numbers.iter().map(|number| u64::from(65 - fold(number.wrapping_sub(middle)).leading_zeros())).sum()
}

/// Appends step, base and residuals; says how they are packed.
fn put_residuals(residuals: &[i64], order: usize, bytes: &mut Vec<u8>) -> Packing {
    if let (2, Some(step)) = (order, residuals.get(1)) {
        put_signed(bytes, *step);
    }
    let Some(residuals) = residuals.get(order.max(1)..).filter(|residuals| !residuals.is_empty()) else {
        return Packing::Fixed;
    };
    let base = residuals.iter().copied().min().unwrap_or_default();
    put_signed(bytes, base);
    let residuals: Vec<u64> = residuals.iter().map(|residual| residual.wrapping_sub(base).cast_unsigned()).collect();
    put_packed(&residuals, bytes)
}

fn put_packed(residuals: &[u64], bytes: &mut Vec<u8>) -> Packing {
    let width = 64 - residuals.iter().fold(0, |all, residual| all | residual).leading_zeros();
    if width == 0 {
        return Packing::Fixed;
    }
    let mut fixed = vec![width as u8];
    pack(residuals, width, &mut fixed);
    if residuals.len() >= PCO_MIN {
        let (packing, compressed) = match width {
            ..=16 => (Packing::Pco16, compress(&residuals.iter().map(|&wide| wide as u16).collect::<Vec<_>>())),
            17..=32 => (Packing::Pco32, compress(&residuals.iter().map(|&wide| wide as u32).collect::<Vec<_>>())),
            _ => (Packing::Pco64, compress(residuals)),
        };
        if let Some(compressed) = compressed.filter(|compressed| compressed.len() < fixed.len()) {
            bytes.extend(compressed);
            return packing;
        }
    }
    bytes.extend(fixed);
    Packing::Fixed
}

/// `None` where pco refuses, writes another format than the one that is named here, or bytes that say something else.
fn compress<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    let file = FileCompressor::default();
    if file.write_header(Vec::new()).ok()? != PCO_HEADER {
        return None;
    }
    let config = ChunkConfig::default()
        .with_compression_level(PCO_LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let mut chunk = file.chunk_compressor(numbers, &config).ok()?;
    let bytes = chunk.write_meta(Vec::new()).ok()?;
    let bytes = chunk.write_page(0, bytes).ok()?;
    // After this the samples themselves are dropped, so the bytes are read once before they are believed.
    let mut back = vec![T::default(); numbers.len()];
    decompress(&bytes, &mut DecompressorScratch::default(), &mut back).ok()?;
    (back == numbers).then_some(bytes)
}

fn decompress<T: Number>(bytes: &[u8], scratch: &mut DecompressorScratch, numbers: &mut [T]) -> Result<(), Damage> {
    // pco's first byte is its mode and its differences; ours are always the plain ones. Others allocate by what the bytes
    // say, before they are read.
    if bytes.first() != Some(&0) {
        return Err(Damage::Numbers);
    }
    let (file, _) = FileDecompressor::new(&PCO_HEADER[..]).map_err(|_| Damage::Numbers)?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(|_| Damage::Numbers)?;
    let mut page = chunk.page_decompressor_with_scratch(rest, numbers.len(), scratch).map_err(|_| Damage::Numbers)?;
    let progress = page.read(numbers).map_err(|_| Damage::Numbers)?;
    if !progress.finished || progress.n_processed != numbers.len() {
        return Err(Damage::Numbers);
    }
    Reader::new(page.into_src()).end()
}

// === impl Scratch ===

impl Scratch {
    fn unpack(&mut self, bytes: &[u8], packing: Packing, count: usize) -> Result<(), Damage> {
        match packing {
            Packing::Fixed => {
                let Some((width, bytes)) = bytes.split_first() else {
                    self.residuals.resize(count, 0);
                    return Ok(());
                };
                unpack(bytes, count, u32::from(*width), &mut self.residuals)
            }
            Packing::Pco16 => {
                self.narrow.resize(count, 0);
                decompress(bytes, &mut self.pco, &mut self.narrow)?;
                self.residuals.extend(self.narrow.iter().map(|&narrow| u64::from(narrow)));
                Ok(())
            }
            Packing::Pco32 => {
                self.middle.resize(count, 0);
                decompress(bytes, &mut self.pco, &mut self.middle)?;
                self.residuals.extend(self.middle.iter().map(|&narrow| u64::from(narrow)));
                Ok(())
            }
            Packing::Pco64 => {
                self.residuals.resize(count, 0);
                decompress(bytes, &mut self.pco, &mut self.residuals)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(numbers: &[i64]) -> Vec<u8> {
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        encode(numbers, &mut bytes);
        decode(&bytes, numbers.len(), &mut Scratch::default(), &mut back).expect("what was encoded");
        assert_eq!(back, numbers);
        bytes
    }

    fn any_numbers() -> impl Strategy<Value = Vec<i64>> {
        let few = |numbers: BoxedStrategy<i64>| prop::collection::vec(numbers, 0..300);
        prop_oneof![
            few(any::<i64>().boxed()),
            few((-3_i64..3).boxed()),
            few((-1000_i64..1000).prop_map(|number| number * 4096).boxed()),
            few((0_i64..1 << 20).boxed()),
            few(prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)].boxed()),
            few((0_i64..5000).boxed()).prop_map(|steps| {
                steps
                    .iter()
                    .scan(1 << 40, |at, step| {
                        *at += step;
                        Some(*at)
                    })
                    .collect()
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(numbers in any_numbers()) {
            there_and_back(&numbers);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0_usize..1000, head in 0_u8..64) {
            let headed: Vec<u8> = std::iter::once(head).chain(bytes.iter().copied()).collect();
            for bytes in [bytes, headed] {
                let mut out = Vec::new();
                if decode(&bytes, count, &mut Scratch::default(), &mut out).is_ok() {
                    prop_assert_eq!(out.len(), count);
                }
            }
        }
    }

    #[test]
    fn pco_writes_the_format_that_is_named_and_is_used() {
        let noise: Vec<i64> = (0..500_i64).map(|at| (at * at * 2_654_435_761) % 1009 % (1 + at % 90)).collect();
        for (factor, packing) in [(1, Packing::Pco16), (1 << 20, Packing::Pco32), (1 << 45, Packing::Pco64)] {
            // The last one takes the common divisor away.
            let numbers: Vec<i64> = noise.iter().map(|number| number * factor).chain([1]).collect();
            let bytes = there_and_back(&numbers);
            assert_eq!(bytes[0] >> 2 & 7, packing as u8, "{factor}");
        }
    }

    #[test]
    fn what_all_are_multiples_of_and_straight_lines_cost_nothing() {
        let pages: Vec<i64> = (0..100_i64).map(|at| (at * at % 7) * 4096 + 5).collect();
        assert!(there_and_back(&pages).len() < 60);
        let line: Vec<i64> = (0..100).map(|at| at * 10_000 + 3).collect();
        assert!(there_and_back(&line).len() < 10);
        assert!(there_and_back(&[]).is_empty());
        assert_eq!(there_and_back(&[7]).len(), 2);
    }

    #[test]
    fn differences_that_pco_would_make_itself_are_refused() {
        let mut bytes = vec![1 << 2, 0, 0];
        bytes.extend([0x20, 0xff, 0xff, 0xff]); // lookback, whose window is allocated before anything is read
        let decoded = decode(&bytes, 100, &mut Scratch::default(), &mut Vec::new());
        assert_eq!(decoded, Err(Damage::Numbers));
    }
}
