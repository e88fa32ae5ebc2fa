//! CRC-32C (Castagnoli), eight bytes at a time. Ours, because the crate `crc32c` brings unsafe intrinsics and a build
//! script for a speed that a disk never asks for, and `crc32fast` computes another polynomial.

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[k][b]` is the checksum of the byte `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

/// The checksum of the parts as if they stood one after another.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    !parts.iter().fold(!0, |crc, part| update(crc, part))
}

fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in blocks {
        let [a, b, c, d] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        let bytes = [h, g, f, e, d, c, b, a];
        crc = bytes.iter().zip(&TABLES).fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    rest.iter().fold(crc, |crc, &byte| (crc >> 8) ^ TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)])
}

#[expect(clippy::cast_possible_truncation, reason = "const code has no try_from, and the index stays below 256")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 8 * 256 {
        let (k, byte) = (i / 256, i % 256);
        let mut crc = if k == 0 { byte as u32 } else { tables[k - 1][byte] };
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        tables[k][byte] = crc;
        i += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_bit_at_a_time(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
        })
    }

    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(crc32c(&[b"123456789"]), 0xE306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8A91_36AA, "RFC 3720 B.4, 32 zero bytes");
        assert_eq!(crc32c(&[]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_two_parts_sum_as_bit_by_bit(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc32c(&[head, tail]), one_bit_at_a_time(&bytes));
        }
    }
}
