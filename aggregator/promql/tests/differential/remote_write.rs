//! Remote write 1.0 by hand: four messages of protobuf in a block of snappy that only has literals.
//!
//! ```text
//! WriteRequest  1: TimeSeries …
//! TimeSeries    1: Label …   2: Sample …
//! Label         1: name      2: value
//! Sample        1: value (8 bytes)   2: milliseconds (varint)
//!
//! snappy block  length (varint), then per literal: 61 << 2, length - 1 in two bytes, bytes
//! ```

use promql::LabelSet;

/// Bytes of one literal: what two bytes can say.
const LITERAL_MAX: usize = 1 << 16;

/// Adds a series with samples to a write request.
pub fn add_series(request: &mut Vec<u8>, labels: &LabelSet, samples: impl Iterator<Item = (i64, f64)>) {
    let mut series = Vec::new();
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        add_bytes(&mut label, 1, name.as_bytes());
        add_bytes(&mut label, 2, value.as_bytes());
        add_bytes(&mut series, 1, &label);
    }
    for (time, value) in samples {
        let mut sample = vec![1 << 3 | 1];
        sample.extend(value.to_bits().to_le_bytes());
        sample.push(2 << 3);
        add_varint(&mut sample, time.cast_unsigned());
        add_bytes(&mut series, 2, &sample);
    }
    add_bytes(request, 1, &series);
}

/// A snappy block of `bytes`, not made any smaller.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 16);
    add_varint(&mut block, bytes.len() as u64);
    for literal in bytes.chunks(LITERAL_MAX) {
        let less_one = u16::try_from(literal.len() - 1).expect("a chunk has 1 to 65,536 bytes");
        block.push(61 << 2);
        block.extend(less_one.to_le_bytes());
        block.extend(literal);
    }
    block
}

fn add_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    add_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn add_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.push(value.to_le_bytes()[0]);
}
