//! Sealed chunks: times and values apart, for size.
//!
//! All series of one pass share their times, so these are encoded once, and named by the hash of their bytes.
//!
//! ```text
//!  times   0x10 │ count var │ integers
//!  values  0x11 │ the value, big-endian, without the zero bytes at its end            one value all along
//!          0x12 │ runs var │ bytes var │ lengths: integers │ values of the runs       few changes
//!          0x13 │ exponent u8 │ odd ones │ integers                                   whole ÷ 10^exponent
//!          0x14 │ factor u8 │ odd ones │ bytes var │ integers │ integers              factor × whole ÷ whole
//!          0x15 │ odd ones │ integers                                                 any: bits, in their order
//!          0x16 │ exponent u8 │ odd ones │ bytes var │ integers │ integers            as 0x13, doubles off by so many
//!  odd ones  count var │ each: distance var │ 0, or 1 and the bits, little-endian     0 is the staleness marker
//! ```
//! "integers" are those of `ints`. The high nibble of the first byte is the version of all this. The smallest that decodes
//! to the same bits wins. How many values there are is not in their bytes: it is in those of their times.

use super::bytes::{Reader, put_varint};
use super::ratio::Ratio;
use super::{Damage, SAMPLES_MAX, TooMany, decimal, ints, ratio};
use proto::sample::STALE_BITS;

const TIMES: u8 = 0x10;
const CONSTANT: u8 = 0x11;
const RUNS: u8 = 0x12;
const DECIMAL: u8 = 0x13;
const RATIO: u8 = 0x14;
const ORDERED: u8 = 0x15;
const NEAR: u8 = 0x16;

/// Runs are tried where they are at least this long on average.
const RUN_LENGTH_MIN: usize = 4;
/// One value in so many may be odd before a form is given up: an odd one costs ten bytes.
const ODD_SHARE: usize = 16;
/// Factors of ratios: plain, and percent.
const FACTORS: [u8; 2] = [1, 100];

/// Room that decoding uses again and again; one per thread is enough.
#[derive(Debug, Default)]
pub struct Scratch {
    ints: ints::Scratch,
    first: Vec<i64>,
    second: Vec<i64>,
    values: Vec<f64>,
}

/// A value that its chunk's form cannot hold.
#[derive(Clone, Copy, Debug)]
struct Odd {
    at: usize,
    bits: u64,
}

/// Encodes times in milliseconds.
pub fn encode_times(times: &[i64]) -> Result<Vec<u8>, TooMany> {
    check(times.len())?;
    let mut out = vec![TIMES];
    put_varint(&mut out, times.len() as u64);
    ints::encode(times, &mut out);
    Ok(out)
}

/// Replaces `out` by the times of a chunk.
pub fn decode_times(bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<i64>) -> Result<(), Damage> {
    out.clear();
    let mut reader = Reader::new(bytes);
    let mode = reader.byte()?;
    if mode != TIMES {
        return Err(Damage::UnknownMode(mode));
    }
    let count = reader.count(SAMPLES_MAX)?;
    ints::decode(reader.rest(), count, &mut scratch.ints, out)
}

/// Names times by their bytes.
pub fn times_id(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Encodes values.
pub fn encode_values(values: &[f64]) -> Result<Vec<u8>, TooMany> {
    check(values.len())?;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let mut best = encode_plain(values);
    let starts: Vec<usize> =
        (0..values.len()).filter(|&at| at == 0 || values[at].to_bits() != values[at - 1].to_bits()).collect();
    if starts.len() > 1 && starts.len() <= values.len() / RUN_LENGTH_MIN {
        let runs = encode_runs(values, &starts);
        if runs.len() < best.len() {
            best = runs;
        }
    }
    Ok(best)
}

/// Replaces `out` by the `count` values of a chunk.
pub fn decode_values(bytes: &[u8], count: usize, scratch: &mut Scratch, out: &mut Vec<f64>) -> Result<(), Damage> {
    out.clear();
    if count > SAMPLES_MAX {
        return Err(Damage::Count(count as u64));
    }
    let mut reader = Reader::new(bytes);
    if count == 0 {
        return reader.end();
    }
    if bytes[..bytes.len().min(1)] != [RUNS] {
        return decode_plain(reader, count, scratch, out);
    }
    reader.byte()?;
    let runs = reader.count(count)?;
    let lengths = reader.count(bytes.len())?;
    let lengths = reader.take(lengths)?;
    let mut values = std::mem::take(&mut scratch.values);
    values.clear();
    let decoded = decode_plain(reader, runs, scratch, &mut values)
        .and_then(|()| decode_runs(lengths, &values, count, scratch, out));
    scratch.values = values;
    decoded
}

// === encoding ===

fn check(count: usize) -> Result<(), TooMany> {
    if count > SAMPLES_MAX { Err(TooMany { count }) } else { Ok(()) }
}

fn encode_runs(values: &[f64], starts: &[usize]) -> Vec<u8> {
    let ends = starts.iter().skip(1).copied().chain([values.len()]);
    let lengths: Vec<i64> = starts.iter().zip(ends).map(|(start, end)| (end - start) as i64).collect();
    let firsts: Vec<f64> = starts.iter().map(|&start| values[start]).collect();
    let mut packed = Vec::new();
    ints::encode(&lengths, &mut packed);
    let mut out = vec![RUNS];
    put_varint(&mut out, lengths.len() as u64);
    put_varint(&mut out, packed.len() as u64);
    out.extend(packed);
    out.extend(encode_plain(&firsts));
    out
}

/// The smallest form without runs.
fn encode_plain(values: &[f64]) -> Vec<u8> {
    let first = values[0].to_bits();
    if values.iter().all(|value| value.to_bits() == first) {
        let bytes = first.to_be_bytes();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut out = vec![CONSTANT];
        out.extend(&bytes[..end]);
        return out;
    }
    let odd_max = 1 + values.len() / ODD_SHARE;
    let nan_count = values.iter().filter(|value| value.is_nan()).count();
    let mut best = None;
    if let Some(exponent) = decimal::exponent(values, odd_max + nan_count) {
        let (wholes, odd) = split(values, 0, |value| decimal::to_whole(value, exponent));
        keep_smaller(&mut best, DECIMAL, Some(exponent), &odd, |out| ints::encode(&wholes, out));
    } else if let Some((ratios, odd)) = ratios(values, odd_max + nan_count) {
        for factor in FACTORS {
            let mut expanded = ratios.clone();
            ratio::expand(&mut expanded, factor);
            // Numbers that grew beyond what a double holds say something else now.
            let same = |(old, new): (&Ratio, &Ratio)| old.value(1).to_bits() == new.value(factor).to_bits();
            if ratios.iter().zip(&expanded).all(same) {
                keep_smaller(&mut best, RATIO, Some(factor), &odd, |out| {
                    let denominators = expanded.iter().map(|ratio| ratio.denominator);
                    put_two(denominators, expanded.iter().map(|ratio| ratio.numerator), out);
                });
            }
        }
    }
    if best.is_none()
        && let Some(exponent) = decimal::exponent_near(values)
    {
        let (nears, odd) = split(values, (0, 0), |value| decimal::to_near(value, exponent));
        keep_smaller(&mut best, NEAR, Some(exponent), &odd, |out| {
            put_two(nears.iter().map(|near| near.1), nears.iter().map(|near| near.0), out);
        });
    }
    if best.as_ref().is_none_or(|best| best.len() > values.len()) {
        let (ordered, odd) = split(values, 0, |value| (!value.is_nan()).then(|| decimal::to_ordered(value)));
        keep_smaller(&mut best, ORDERED, None, &odd, |out| ints::encode(&ordered, out));
    }
    best.unwrap_or_default()
}

fn keep_smaller(
    best: &mut Option<Vec<u8>>,
    mode: u8,
    parameter: Option<u8>,
    odd: &[Odd],
    put: impl FnOnce(&mut Vec<u8>),
) {
    let mut out = vec![mode];
    out.extend(parameter);
    put_odd(odd, &mut out);
    put(&mut out);
    if best.as_ref().is_none_or(|best| out.len() < best.len()) {
        *best = Some(out);
    }
}

/// Puts each value into its form. Where that cannot be, the value before it stands in, which costs least.
fn split<T: Copy>(values: &[f64], none_yet: T, form: impl Fn(f64) -> Option<T>) -> (Vec<T>, Vec<Odd>) {
    let mut last = values.iter().find_map(|&value| form(value)).unwrap_or(none_yet);
    let mut odd = Vec::new();
    let forms = values.iter().enumerate().map(|(at, &value)| {
        match form(value) {
            Some(form) => last = form,
            None => odd.push(Odd { at, bits: value.to_bits() }),
        }
        last
    });
    (forms.collect(), odd)
}

/// `None` where too many values are no ratios; most series are refused within their first values.
fn ratios(values: &[f64], odd_max: usize) -> Option<(Vec<Ratio>, Vec<Odd>)> {
    let mut misses = 0;
    for &value in values {
        misses += usize::from(ratio::find(value).is_none());
        if misses > odd_max {
            return None;
        }
    }
    Some(split(values, Ratio { numerator: 0, denominator: 1 }, ratio::find))
}

fn put_two(first: impl Iterator<Item = i64>, second: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    let mut packed = Vec::new();
    ints::encode(&first.collect::<Vec<_>>(), &mut packed);
    put_varint(out, packed.len() as u64);
    out.extend(packed);
    ints::encode(&second.collect::<Vec<_>>(), out);
}

fn put_odd(odd: &[Odd], out: &mut Vec<u8>) {
    put_varint(out, odd.len() as u64);
    let mut next = 0;
    for odd in odd {
        put_varint(out, (odd.at - next) as u64);
        next = odd.at + 1;
        if odd.bits == STALE_BITS {
            out.push(0);
        } else {
            out.push(1);
            out.extend(odd.bits.to_le_bytes());
        }
    }
}

// === decoding ===

fn decode_runs(
    lengths: &[u8],
    values: &[f64],
    count: usize,
    scratch: &mut Scratch,
    out: &mut Vec<f64>,
) -> Result<(), Damage> {
    scratch.first.clear();
    ints::decode(lengths, values.len(), &mut scratch.ints, &mut scratch.first)?;
    out.reserve(count);
    for (&value, &length) in values.iter().zip(&scratch.first) {
        let room = count - out.len();
        let length = usize::try_from(length).ok().filter(|length| *length <= room).ok_or(Damage::Range("run"))?;
        out.resize(out.len() + length, value);
    }
    if out.len() == count { Ok(()) } else { Err(Damage::Range("runs")) }
}

fn decode_plain(mut reader: Reader<'_>, count: usize, scratch: &mut Scratch, out: &mut Vec<f64>) -> Result<(), Damage> {
    let mode = reader.byte()?;
    if mode == CONSTANT {
        let (mut bits, bytes) = ([0; 8], reader.rest());
        bits.get_mut(..bytes.len()).ok_or(Damage::Trailing(bytes.len().saturating_sub(8)))?.copy_from_slice(bytes);
        out.resize(count, f64::from_be_bytes(bits));
        return Ok(());
    }
    if !(DECIMAL..=NEAR).contains(&mode) {
        return Err(Damage::UnknownMode(mode));
    }
    let parameter = if mode == ORDERED { 0 } else { reader.byte()? };
    let mut odd = reader;
    skip_odd(&mut reader, count)?;
    scratch.first.clear();
    scratch.second.clear();
    if mode == RATIO || mode == NEAR {
        let length = reader.count(reader.rest().len())?;
        ints::decode(reader.take(length)?, count, &mut scratch.ints, &mut scratch.second)?;
    }
    ints::decode(reader.rest(), count, &mut scratch.ints, &mut scratch.first)?;
    let wholes = scratch.first.iter();
    match mode {
        DECIMAL | NEAR if parameter > decimal::EXPONENT_MAX => return Err(Damage::Range("exponent")),
        DECIMAL => out.extend(wholes.map(|&whole| decimal::from_whole(whole, parameter))),
        RATIO => out.extend(
            wholes
                .zip(&scratch.second)
                .map(|(&numerator, &denominator)| Ratio { numerator, denominator }.value(parameter)),
        ),
        NEAR => out.extend(wholes.zip(&scratch.second).map(|(&whole, &off)| decimal::from_near(whole, off, parameter))),
        _ => out.extend(wholes.map(|&whole| decimal::from_ordered(whole))),
    }
    each_odd(&mut odd, count, |odd| out[odd.at] = f64::from_bits(odd.bits))
}

fn skip_odd(reader: &mut Reader<'_>, count: usize) -> Result<(), Damage> {
    each_odd(reader, count, |_| ())
}

/// Their places ascend and lie below `count`.
fn each_odd(reader: &mut Reader<'_>, count: usize, mut take: impl FnMut(Odd)) -> Result<(), Damage> {
    let mut next = 0;
    for _ in 0..reader.count(count)? {
        let at = next + reader.count(count)?;
        if at >= count {
            return Err(Damage::Range("place"));
        }
        let bits = match reader.byte()? {
            0 => STALE_BITS,
            1 => u64::from_le_bytes(reader.array()?),
            _ => return Err(Damage::Range("kind of value")),
        };
        take(Odd { at, bits });
        next = at + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
