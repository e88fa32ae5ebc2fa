//! Messages that our own encoder would not write: protobuf by hand, and a client that sends bytes as they are.

use super::house::{EPOCH, batch, hello};
use proto::convert::{SchemaBytes, encode_from_agent};
use proto::grpc;
use proto::message::{FromAgent, PROTOCOL_VERSION, ToAgent};
use proto::sample::SchemaId;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use xxhash_rust::xxh3::xxh3_64;

/// The path of the stream.
pub(super) const STREAM: &str = "/atendeai.monitoring.v1.Ingest/Stream";

/// Sends bytes as they are, and reads what an agent reads.
#[derive(Clone, Copy, Default)]
pub(super) struct AsItIs;

impl Codec for AsItIs {
    type Encode = Vec<u8>;
    type Decode = ToAgent;
    type Encoder = Self;
    type Decoder = grpc::Direction<ToAgent>;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        grpc::Codec::<FromAgent, ToAgent>::default().decoder()
    }
}

impl Encoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &bytes);
        Ok(())
    }
}

/// A hello of agent `number` in another version of the protocol.
pub(super) fn hello_of_version(number: u128, version: u8) -> Vec<u8> {
    let mut bytes = encoded(FromAgent::Hello(hello(number)));
    let ours = [0x08, u8::try_from(PROTOCOL_VERSION).expect("small")];
    let place = bytes.windows(2).position(|pair| pair == ours).expect("the first field");
    bytes[place + 1] = version;
    bytes
}

/// A batch at `seq` with `more` fields in it.
pub(super) fn batch_with(seq: u64, more: &[u8]) -> Vec<u8> {
    let mut fields = field(1, &EPOCH.to_be_bytes());
    fields.extend(number(2, seq));
    fields.extend(more);
    field(2, &fields)
}

/// What a packed batch holds, as `more` for [`batch_with`].
pub(super) fn packed(packed: &[u8]) -> Vec<u8> {
    field(5, packed)
}

/// So many of one byte, as zstd writes them: a frame of runs.
pub(super) fn zipped(byte: u8, times: usize) -> Vec<u8> {
    const RUN_MAX: usize = 128 * 1024;
    // The magic number, and a descriptor that says: one segment, whose size follows in four bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(times).expect("small").to_le_bytes());
    let mut left = times;
    while left > 0 {
        let run = left.min(RUN_MAX);
        left -= run;
        let header = u32::try_from(run << 3 | 1 << 1 | usize::from(left == 0)).expect("small");
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(byte);
    }
    frame
}

/// The fields of a good batch, as `more` for another one.
pub(super) fn frames(seq: u64, schema: &SchemaBytes, values: &[f64]) -> Vec<u8> {
    let pass = proto::sample::Pass { at: super::house::NOW, values: values.to_vec() };
    let bytes = encoded(FromAgent::Batch(batch(seq, &[(schema.clone(), vec![pass])])));
    // What follows the message's and the batch's heads merges into a batch that has them already.
    let (_, inner) = split_head(&bytes);
    inner.to_vec()
}

/// A frame of the schema `id`, which it does not carry, with `values` values.
pub(super) fn frame(id: SchemaId, values: usize) -> Vec<u8> {
    let mut pass = number(1, 0);
    pass.extend(field(2, &vec![0; 8 * values]));
    let mut frame = vec![0x09];
    frame.extend(id.0.to_le_bytes());
    frame.extend(field(3, &pass));
    field(3, &frame)
}

/// A gap record.
pub(super) fn gap(first_seq: u64, last_seq: u64) -> Vec<u8> {
    let mut gap = field(1, &EPOCH.to_be_bytes());
    gap.extend(number(2, first_seq));
    gap.extend(number(3, last_seq));
    gap.extend(field(4, b"corrupt"));
    field(4, &gap)
}

/// The schema of a gauge called `name` with so many labels.
pub(super) fn schema(name: &str, labels: usize) -> SchemaBytes {
    let mut series = field(1, name.as_bytes());
    for label in 0..labels {
        let mut pair = field(1, format!("label_{label:03}").as_bytes());
        pair.extend(field(2, b"x"));
        series.extend(field(2, &pair));
    }
    series.extend(number(3, 1));
    let mut bytes = field(1, b"host");
    bytes.extend(field(2, &series));
    SchemaBytes { id: SchemaId(xxh3_64(&bytes)), bytes: bytes.into() }
}

/// What an agent sends.
pub(super) fn encoded(message: FromAgent) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_from_agent(message, &mut bytes);
    bytes
}

/// A field of bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

/// A field with a number.
fn number(tag: u8, value: u64) -> Vec<u8> {
    let mut field = vec![tag << 3];
    field.extend(varint(value));
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// A message without its outermost tag and length, which come first.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("a length ends");
    bytes.split_at(end + 1)
}
