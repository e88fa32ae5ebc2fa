//! Whole numbers of one width, bit after bit, the lowest first.

use super::Damage;

/// Bytes that `count` numbers of `width` bits take.
pub(super) fn size(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends the low `width` bits of each number.
pub(super) fn pack(numbers: &[u64], width: u32, out: &mut Vec<u8>) {
    out.reserve(size(numbers.len(), width) + 16);
    let (mut held, mut bits) = (0_u128, 0);
    for &number in numbers {
        held |= u128::from(number) << bits;
        bits += width;
        while bits >= 8 {
            out.push((held & 0xff) as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push((held & 0xff) as u8);
    }
}

/// Appends `count` numbers; `bytes` are theirs to the bit.
pub(super) fn unpack(bytes: &[u8], count: usize, width: u32, out: &mut Vec<u64>) -> Result<(), Damage> {
    if width > 64 {
        return Err(Damage::Range("width"));
    }
    let expected = size(count, width);
    if bytes.len() < expected {
        return Err(Damage::Short);
    }
    if bytes.len() > expected {
        return Err(Damage::Trailing(bytes.len() - expected));
    }
    let mask = if width == 64 { u128::from(u64::MAX) } else { (1_u128 << width) - 1 };
    let (mut held, mut bits) = (0_u128, 0);
    let mut bytes = bytes.iter();
    out.reserve(count);
    for _ in 0..count {
        while bits < width {
            let byte = bytes.next().copied().ok_or(Damage::Short)?;
            held |= u128::from(byte) << bits;
            bits += 8;
        }
        out.push((held & mask) as u64);
        held >>= width;
        bits -= width;
    }
    if held == 0 { Ok(()) } else { Err(Damage::Range("padding")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_of_any_width_come_back(numbers in prop::collection::vec(any::<u64>(), 0..70), width in 0_u32..=64) {
            let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            let numbers: Vec<u64> = numbers.iter().map(|number| number & mask).collect();
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            pack(&numbers, width, &mut bytes);
            prop_assert_eq!(bytes.len(), size(numbers.len(), width));
            prop_assert_eq!(unpack(&bytes, numbers.len(), width, &mut back), Ok(()));
            prop_assert_eq!(&back, &numbers);
        }
    }

    #[test]
    fn a_byte_too_few_or_too_many_or_set_padding_is_refused() {
        let mut out = Vec::new();
        assert_eq!(unpack(&[0xff], 3, 3, &mut out), Err(Damage::Short));
        assert_eq!(unpack(&[0xff, 0, 0], 3, 3, &mut out), Err(Damage::Trailing(1)));
        assert_eq!(unpack(&[0xff, 0x02], 3, 3, &mut out), Err(Damage::Range("padding")));
        assert_eq!(unpack(&[0xff], 1, 65, &mut out), Err(Damage::Range("width")));
    }
}
