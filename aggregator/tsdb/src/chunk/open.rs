//! The open chunk: a series' latest samples, compressed as they come.
//!
//! ```text
//!  block of 128 samples │ block of 128 samples │ … │ block that grows
//!
//!  block      length u16 │ first time, ± var from the block's before │ scales u8 u8 │ form u8 │ first value │ the others
//!  first      ± var of a whole; where `form` has bit 7 set, 8 bytes
//!  others     time (see `track`), value, time, value …, bit after bit
//!  value      0                         the bits of the one before
//!             1 │ number                a whole under the block's form
//!             1 │ escape 1              the staleness marker
//!             1 │ escape 2 │ 64 bits    a value that the form cannot hold
//!             1 │ escape 3 │ form 8 │ 64 bits of a whole      the form from here on
//! ```
//! A block starts without knowledge of those before it but how large errors were, so reading from a time on skips whole
//! blocks. Blocks are aligned to bytes; the length of the one that grows is its distance to the end.
//!
//! A form says how a value is a whole number: decimals by their exponent, whole multiples of a page or a sector without
//! these factors, anything else by its bits. Decimals become finer when a value asks for it, and bits when nothing helps.
//!
use super::bits::{BitReader, Tail};
use super::bytes::{Reader, put_signed};
use super::decimal::{self, EXPONENT_MAX};
use super::track::{Next, Track};
use super::{Damage, SAMPLES_MAX};
use proto::sample::STALE_BITS;

/// Samples from one start to the next: five minutes at ten seconds are a quarter of it, and its header is a tenth of a byte
/// a sample.
const BLOCK_SAMPLES: u8 = 128;
/// Bytes before a block's own: its length.
const LENGTH_BYTES: usize = 2;
/// Room that is asked for at a time: an eighth of what there is, and no less than this.
const GROWTH_MIN: usize = 16;

const STALE: u8 = 1;
const ODD: u8 = 2;
const FORM: u8 = 3;
/// So many values in a row that the form cannot hold, and it is given up.
const ODD_MAX: u8 = 3;

/// Factors that wholes are free of, by their number in a form: none, sector, KiB, page.
const SHIFTS: [u32; 4] = [0, 9, 10, 12];
/// In the place of an exponent: values by their bits, in their order.
const ORDERED: u8 = 15;

/// How a value is a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Of ten, or [`ORDERED`].
    exponent: u8,
    /// An index of [`SHIFTS`]; zero unless the exponent is.
    shift: u8,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct OpenChunk {
    bytes: Vec<u8>,
    times: Track,
    values: Track,
    last_bits: u64,
    /// The first time of the block that grows.
    block_time: i64,
    count: u32,
    /// Where the block that grows begins.
    block_at: u32,
    /// Samples in it.
    block_count: u8,
    tail: Tail,
    form: Form,
    /// Values in a row that the form could not hold.
    odd: u8,
}

/// Why a sample is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It is not after the last one.
    #[error("a sample at {time_ms} ms, and the last one is at {last_ms} ms")]
    NotAfter {
        /// When it was taken.
        time_ms: i64,
        /// When the last one was.
        last_ms: i64,
    },
    /// There are [`SAMPLES_MAX`].
    #[error("a chunk of {SAMPLES_MAX} samples is full")]
    Full,
}

// === impl Form ===

impl Form {
    const WHOLE: Self = Self { exponent: 0, shift: 0 };
    const BITS: Self = Self { exponent: ORDERED, shift: 0 };
    /// In the byte of a block's header: the first value is not held by the form.
    const ODD_FIRST: u8 = 0x80;

    fn byte(self) -> u8 {
        self.exponent | self.shift << 4
    }

    fn from_byte(byte: u8) -> Self {
        Self { exponent: byte & 0xf, shift: byte >> 4 & 0b11 }
    }

    fn whole(self, value: f64) -> Option<i64> {
        if self.exponent == ORDERED {
            return Some(decimal::to_ordered(value));
        }
        let whole = decimal::to_whole(value, self.exponent)?;
        let shift = SHIFTS[usize::from(self.shift)];
        (whole & ((1 << shift) - 1) == 0).then_some(whole >> shift)
    }

    fn value(self, whole: i64) -> f64 {
        match self.exponent {
            0..=EXPONENT_MAX => decimal::from_whole(whole << SHIFTS[usize::from(self.shift)], self.exponent),
            _ => decimal::from_ordered(whole),
        }
    }

    /// The first form that holds `value`, of those that hold at least what this one does.
    fn finer(self, value: f64) -> Option<Self> {
        let shifts = (0..self.shift).rev().map(|shift| Self { exponent: 0, shift });
        let exponents = (self.exponent + 1..=EXPONENT_MAX).map(|exponent| Self { exponent, shift: 0 });
        shifts.chain(exponents).find(|form| form.whole(value).is_some())
    }

    /// The form of a block that begins with `value`, where the block before has this form.
    fn start(self, value: f64) -> Option<Self> {
        let exponent = if self.exponent == ORDERED { 0 } else { self.exponent };
        if value == 0.0 && exponent == 0 {
            return self.whole(value).map(|_| self); // a multiple of anything says nothing
        }
        let coarsest = Self { exponent, shift: if exponent == 0 { SHIFTS.len() as u8 - 1 } else { 0 } };
        if coarsest.whole(value).is_some() { Some(coarsest) } else { coarsest.finer(value) }
    }
}

// === impl OpenChunk ===

impl Default for OpenChunk {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            times: Track::default(),
            values: Track::default(),
            last_bits: 0,
            block_time: 0,
            count: 0,
            block_at: 0,
            block_count: 0,
            tail: Tail::default(),
            form: Form::WHOLE,
            odd: 0,
        }
    }
}

impl OpenChunk {
    /// Takes a sample that is after all that are here.
    pub fn append(&mut self, time_ms: i64, value: f64) -> Result<(), AppendError> {
        if let Some(last_ms) = self.last_time().filter(|last_ms| time_ms <= *last_ms) {
            return Err(AppendError::NotAfter { time_ms, last_ms });
        }
        if self.len() == SAMPLES_MAX {
            return Err(AppendError::Full);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        if room < GROWTH_MIN {
            // `Vec` would double: with a million of them that is half of the memory for nothing.
            self.bytes.reserve_exact(GROWTH_MIN.max(self.bytes.len() / 8));
        }
        if self.count == 0 || self.block_count == BLOCK_SAMPLES {
            self.start_block(time_ms, value);
        } else {
            self.times.put(time_ms, &mut self.tail, &mut self.bytes);
            self.put_value(value);
        }
        self.last_bits = value.to_bits();
        self.block_count += 1;
        self.count += 1;
        Ok(())
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The time of the first sample.
    pub fn first_time(&self) -> Option<i64> {
        Header::read(&self.bytes, 0).ok().map(|(header, _)| header.time)
    }

    /// The time of the last sample.
    pub fn last_time(&self) -> Option<i64> {
        (self.count > 0).then(|| self.times.last())
    }

    /// The value of the last sample.
    pub fn last_value(&self) -> Option<f64> {
        (self.count > 0).then(|| f64::from_bits(self.last_bits))
    }

    /// Memory that it takes, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Bytes of samples in it.
    pub fn sample_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Replaces `times` and `values` by all samples.
    pub fn decode(&self, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        self.decode_from(i64::MIN, times, values);
    }

    /// Replaces `times` and `values` by the samples at `from_ms` and after. Blocks before are skipped.
    pub fn decode_from(&self, from_ms: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        times.clear();
        values.clear();
        let (mut at, mut time_before) = (0, 0);
        while let Ok((header, first)) = Header::read(self.bytes.get(at..).unwrap_or_default(), time_before) {
            let is_last = at == self.block_at as usize;
            let next_at = if is_last { self.bytes.len() } else { at + LENGTH_BYTES + header.length };
            let next = Header::read(self.bytes.get(next_at..).unwrap_or_default(), header.time);
            if next.is_err() || next.is_ok_and(|(next, _)| next.time > from_ms) {
                let count = if is_last { self.block_count } else { BLOCK_SAMPLES };
                header.decode(first, count, from_ms, times, values);
            }
            (at, time_before) = (next_at, header.time);
        }
    }

    fn start_block(&mut self, time: i64, value: f64) {
        self.end_block();
        self.block_at = u32::try_from(self.bytes.len()).expect("2^17 samples of 40 bytes at most are below 2^32");
        self.bytes.extend([0; LENGTH_BYTES]);
        put_signed(&mut self.bytes, time.wrapping_sub(self.block_time));
        self.bytes.extend([self.times.scale(), self.values.scale()]);
        let form = self.form.start(value);
        let whole = form.and_then(|form| form.whole(value));
        self.form = form.unwrap_or(if self.form == Form::BITS { Form::WHOLE } else { self.form });
        if let Some(whole) = whole {
            self.bytes.push(self.form.byte());
            put_signed(&mut self.bytes, whole);
        } else {
            self.bytes.push(self.form.byte() | Form::ODD_FIRST);
            self.bytes.extend(value.to_bits().to_le_bytes());
        }
        self.times = Track::new(time, self.times.scale());
        self.values = Track::new(whole.unwrap_or_default(), self.values.scale());
        self.block_time = time;
        self.block_count = 0;
        self.odd = 0;
    }

    /// Writes the length of the block that grew.
    fn end_block(&mut self) {
        let at = self.block_at as usize;
        let length = self.bytes.len().saturating_sub(at + LENGTH_BYTES);
        let length = u16::try_from(length).expect("128 samples of 40 bytes at most are below 2^16");
        if let Some(place) = self.bytes.get_mut(at..at + LENGTH_BYTES) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self.tail.align();
    }

    fn put_value(&mut self, value: f64) {
        let bits = value.to_bits();
        let (tail, bytes) = (&mut self.tail, &mut self.bytes);
        if bits == self.last_bits {
            return tail.put(bytes, 0, 1);
        }
        tail.put(bytes, 1, 1);
        if bits == STALE_BITS {
            return Track::put_escape(STALE, tail, bytes);
        }
        if let Some(whole) = self.form.whole(value) {
            self.odd = 0;
            return self.values.put(whole, tail, bytes);
        }
        let mut finer = self.form.finer(value);
        if finer.is_none() && !value.is_nan() {
            self.odd += 1;
            finer = (self.odd > ODD_MAX).then_some(Form::BITS);
        }
        if let Some((form, whole)) = finer.and_then(|form| form.whole(value).map(|whole| (form, whole))) {
            Track::put_escape(FORM, tail, bytes);
            tail.put(bytes, u64::from(form.byte()), 8);
            tail.put_64(bytes, whole.cast_unsigned());
            self.values = Track::new(whole, self.values.scale());
            self.form = form;
            self.odd = 0;
        } else {
            Track::put_escape(ODD, tail, bytes);
            tail.put_64(bytes, bits);
        }
    }
}

/// The beginning of a block.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Bytes after those that say so; zero while the block grows.
    length: usize,
    time: i64,
    times_scale: u8,
    values_scale: u8,
    form: Form,
    /// The first value, and under the form, if that holds it.
    first: (f64, Option<i64>),
}

impl Header {
    /// Reads one at the beginning of `bytes`; gives the bytes after it as well.
    fn read(bytes: &[u8], time_before: i64) -> Result<(Self, &[u8]), Damage> {
        let mut reader = Reader::new(bytes);
        let length = usize::from(u16::from_le_bytes(reader.array()?));
        let time = time_before.wrapping_add(reader.signed()?);
        let [times_scale, values_scale, byte] = reader.array()?;
        let form = Form::from_byte(byte);
        let first = if byte & Form::ODD_FIRST == 0 {
            let whole = reader.signed()?;
            (form.value(whole), Some(whole))
        } else {
            (f64::from_le_bytes(reader.array()?), None)
        };
        Ok((Self { length, time, times_scale, values_scale, form, first }, reader.rest()))
    }

    /// Appends the samples of a block at `from_ms` and after.
    fn decode(self, bits: &[u8], count: u8, from_ms: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let mut reader = BitReader::new(bits);
        let mut time_track = Track::new(self.time, self.times_scale);
        let mut value_track = Track::new(self.first.1.unwrap_or_default(), self.values_scale);
        let (mut form, mut time, mut value) = (self.form, self.time, self.first.0);
        for at in 0..count {
            if at > 0 {
                if let Next::Number(next) = time_track.take(&mut reader) {
                    time = next;
                }
                if reader.take(1) == 1 {
                    value = match value_track.take(&mut reader) {
                        Next::Number(whole) => form.value(whole),
                        Next::Escape(STALE) => f64::from_bits(STALE_BITS),
                        Next::Escape(ODD) => f64::from_bits(reader.take_64()),
                        Next::Escape(_) => {
                            form = Form::from_byte(reader.take(8) as u8);
                            let whole = reader.take_64().cast_signed();
                            value_track = Track::new(whole, value_track.scale());
                            form.value(whole)
                        }
                    };
                }
            }
            if time >= from_ms {
                times.push(time);
                values.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
