//! A row of whole numbers, each foretold from those before it; what it is off by takes few bits.
//!
//! The next number is foretold as the last one plus the drift, the running mean of the steps. The error, folded to be
//! positive, is written as Rice's code: its high bits as so many ones and a zero, its low bits as they are. How many are
//! low follows the errors' size. Both fit gauges (steps around zero), counters (steps around their rate) and times (steps
//! of the interval, give or take the jitter).
//!
//! ```text
//!  1…1 0 │ low bits           an error of up to ESCAPE_ONES << low bits
//!  11111111 │ 00 │ width − 1 6 bits │ error         a larger one
//!  11111111 │ 01, 10, 11      for the owner of the row to give a meaning to
//! ```

use super::bits::{BitReader, Tail};
use super::bytes::{fold, unfold};

/// So many ones are no number's high bits.
const ESCAPE_ONES: u32 = 8;
/// Low bits at the most: values by their bits may be off by nearly all of a fraction's 52.
const LOW_BITS_MAX: u8 = 54;
/// The drift is the mean of so many steps, once there were as many. Of more it would follow a changed rate too slowly.
const DRIFT_STEPS: u8 = 16;
/// The drift is kept in sixteenths, or it would stand still whenever it is off by less than a step's sixteenth.
const DRIFT_SCALE: i64 = 16;

/// What the next number is foretold from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Track {
    last: i64,
    drift: i64,
    /// Steps in the drift, up to [`DRIFT_STEPS`].
    steps: u8,
    /// Low bits, in quarters.
    scale: u8,
}

/// What comes next in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Number(i64),
    /// One of the owner's three, 1 to 3.
    Escape(u8),
}

impl Track {
    /// A row that begins with `first`; `scale` is that of a row before it, or zero.
    pub(super) fn new(first: i64, scale: u8) -> Self {
        Self { last: first, drift: 0, steps: 0, scale }
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    pub(super) fn scale(&self) -> u8 {
        self.scale
    }

    /// Appends a number.
    pub(super) fn put(&mut self, number: i64, tail: &mut Tail, bytes: &mut Vec<u8>) {
        let error = fold(number.wrapping_sub(self.foretold()));
        let low_bits = u32::from(self.scale / 4);
        let ones = error >> low_bits;
        if ones < u64::from(ESCAPE_ONES) {
            let ones = ones as u32;
            let low = error & ((1 << low_bits) - 1);
            if low_bits <= 32 {
                tail.put(bytes, ((1 << ones) - 1) | low << (ones + 1), ones + 1 + low_bits);
            } else {
                tail.put(bytes, (1 << ones) - 1, ones + 1);
                tail.put(bytes, low, low_bits);
            }
        } else {
            let width = 64 - error.leading_zeros();
            Self::put_escape(0, tail, bytes);
            tail.put(bytes, u64::from(width - 1), 6);
            tail.put(bytes, error & 0xffff_ffff, width.min(32));
            tail.put(bytes, error >> 32, width.saturating_sub(32));
        }
        self.learn(number, error);
    }

    /// Appends one of the owner's meanings, 1 to 3.
    pub(super) fn put_escape(meaning: u8, tail: &mut Tail, bytes: &mut Vec<u8>) {
        tail.put(bytes, u64::from(meaning) << ESCAPE_ONES | ((1 << ESCAPE_ONES) - 1), ESCAPE_ONES + 2);
    }

    /// Reads what comes next.
    pub(super) fn take(&mut self, reader: &mut BitReader<'_>) -> Next {
        let low_bits = u32::from(self.scale / 4);
        let ones = reader.take_ones(ESCAPE_ONES);
        let error = if ones < ESCAPE_ONES {
            u64::from(ones) << low_bits | reader.take(low_bits)
        } else {
            match reader.take(2) as u8 {
                0 => {
                    let width = reader.take(6) as u32 + 1;
                    reader.take(width.min(32)) | reader.take(width.saturating_sub(32)) << 32
                }
                meaning => return Next::Escape(meaning),
            }
        };
        let number = self.foretold().wrapping_add(unfold(error));
        self.learn(number, error);
        Next::Number(number)
    }

    fn foretold(&self) -> i64 {
        self.last.wrapping_add(self.drift / DRIFT_SCALE)
    }

    fn learn(&mut self, number: i64, error: u64) {
        let step = number.wrapping_sub(self.last).wrapping_mul(DRIFT_SCALE);
        let is_first = self.steps == 0;
        self.steps = DRIFT_STEPS.min(self.steps + 1);
        let away = step.wrapping_sub(self.drift) / i64::from(self.steps);
        self.drift = self.drift.wrapping_add(away);
        self.last = number;
        if is_first {
            return; // nothing foretold this step, so its error says nothing about those to come
        }
        // One more low bit halves the ones. At the balance of these steps a code is about as short as it can be; an error
        // that is out of all proportion moves them at once.
        let low_bits = self.scale / 4;
        self.scale = match error >> low_bits {
            0 if error >> low_bits.saturating_sub(4) == 0 => self.scale.saturating_sub(3),
            0 => self.scale.saturating_sub(1),
            1 => self.scale + 1,
            2 => self.scale + 2,
            3..8 => self.scale + 4,
            _ => (63 - error.leading_zeros() as u8).saturating_mul(4),
        }
        .min(LOW_BITS_MAX * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size_bits(numbers: impl Iterator<Item = i64>) -> f64 {
        let (mut track, mut tail, mut bytes) = (Track::new(0, 0), Tail::default(), Vec::new());
        let mut count = 0;
        for number in numbers {
            track.put(number, &mut tail, &mut bytes);
            count += 1;
        }
        bytes.len() as f64 * 8.0 / f64::from(count)
    }

    proptest! {
        #[test]
        fn any_row_comes_back_with_the_owners_words_between(
            first: i64,
            row in prop::collection::vec(prop_oneof![
                any::<i64>().prop_map(Next::Number),
                (-1000_i64..1000).prop_map(Next::Number),
                (1_u8..=3).prop_map(Next::Escape),
            ], 0..100),
        ) {
            let (mut track, mut tail, mut bytes) = (Track::new(first, 0), Tail::default(), Vec::new());
            for next in &row {
                match *next {
                    Next::Number(number) => track.put(number, &mut tail, &mut bytes),
                    Next::Escape(meaning) => Track::put_escape(meaning, &mut tail, &mut bytes),
                }
            }
            let (mut again, mut reader) = (Track::new(first, 0), BitReader::new(&bytes));
            for next in row {
                prop_assert_eq!(again.take(&mut reader), next);
            }
            prop_assert_eq!(again, track);
        }
    }

    #[test]
    fn what_is_foretold_takes_about_a_bit() {
        assert!(size_bits(std::iter::repeat_n(5, 2000)) < 1.1);
        assert!(size_bits((1..2000).map(|at| at * 10_000)) < 1.1);
        let jitter = [0, 1, 3, 0, 0, 2, 1, 0];
        assert!(size_bits((1..2000).map(|at| at * 10_000 + jitter[at as usize % 8])) < 4.0);
    }
}
