//! Bits in a growing row of bytes, the lowest first, for the open chunk.
//!
//! What is read here was written here, in this process's memory. Still nothing is trusted to be there: beyond the end a
//! reader finds zeros.

/// Where the next bit goes. The bytes are kept beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    /// Bits of the last byte that are taken; 0 when it is full, or there is none.
    taken: u8,
}

/// Reads from one end to the other.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Tail {
    /// Appends the low `count` bits, at most 56; those above must be zero.
    pub(super) fn put(&mut self, bytes: &mut Vec<u8>, bits: u64, count: u32) {
        debug_assert!(count <= 56 && bits >> count == 0, "{count} bits of {bits:#x}");
        let mut held = bits << self.taken;
        let mut left = u32::from(self.taken) + count;
        if self.taken > 0 {
            held |= u64::from(bytes.pop().unwrap_or_default());
        }
        while left > 8 {
            bytes.push((held & 0xff) as u8);
            held >>= 8;
            left -= 8;
        }
        if left > 0 {
            bytes.push((held & 0xff) as u8);
        }
        self.taken = (left % 8) as u8;
    }

    /// Appends all 64 bits.
    pub(super) fn put_64(&mut self, bytes: &mut Vec<u8>, bits: u64) {
        self.put(bytes, bits & 0xffff_ffff, 32);
        self.put(bytes, bits >> 32, 32);
    }

    /// The next bit begins a byte.
    pub(super) fn align(&mut self) {
        self.taken = 0;
    }
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next 57 bits at least, without taking them.
    fn peek(&self) -> u64 {
        let first = self.at / 8;
        let word = if let Some(bytes) = self.bytes.get(first..first + 8).and_then(|bytes| bytes.first_chunk()) {
            u64::from_le_bytes(*bytes)
        } else {
            let mut last = [0; 8];
            let rest = self.bytes.get(first..).unwrap_or_default();
            let count = rest.len().min(8);
            last[..count].copy_from_slice(&rest[..count]);
            u64::from_le_bytes(last)
        };
        word >> (self.at % 8)
    }

    /// The next `count` bits, at most 56.
    pub(super) fn take(&mut self, count: u32) -> u64 {
        debug_assert!(count <= 56, "{count} bits");
        let bits = self.peek() & ((1 << count) - 1);
        self.at += count as usize;
        bits
    }

    pub(super) fn take_64(&mut self) -> u64 {
        self.take(32) | self.take(32) << 32
    }

    /// Counts ones up to a zero, which is taken too, or up to `max` of them.
    pub(super) fn take_ones(&mut self, max: u32) -> u32 {
        debug_assert!(max <= 56, "{max} ones");
        let ones = self.peek().trailing_ones().min(max);
        self.at += (ones + u32::from(ones < max)) as usize;
        ones
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_come_back_in_their_order(parts in prop::collection::vec((any::<u64>(), 0_u32..=56, 0_u32..10), 0..50)) {
            let (mut tail, mut bytes) = (Tail::default(), Vec::new());
            for &(bits, count, ones) in &parts {
                tail.put(&mut bytes, bits & ((1 << count) - 1), count);
                tail.put(&mut bytes, (1 << ones) - 1, ones + 1);
                tail.put_64(&mut bytes, bits);
            }
            let mut reader = BitReader::new(&bytes);
            for &(bits, count, ones) in &parts {
                prop_assert_eq!(reader.take(count), bits & ((1 << count) - 1));
                prop_assert_eq!(reader.take_ones(12), ones);
                prop_assert_eq!(reader.take_64(), bits);
            }
            prop_assert!(reader.at.div_ceil(8) == bytes.len());
        }
    }

    #[test]
    fn beyond_the_end_there_are_zeros() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!((reader.take(4), reader.take(20), reader.take_64()), (0xf, 0xf, 0));
        assert_eq!(BitReader::new(&[0xff]).take_ones(5), 5);
    }
}
