//! Looks at a message's tags before anything is built of it: how many parts it has, and where a batch stands.
//!
//! A part costs its receiver more than its sender: an empty frame is two bytes on the wire and 64 in memory, and zstd
//! makes a million of them of three hundred bytes. So parts are counted where they lie, without an allocation, and what
//! has too many of them is refused before protobuf's decoder sees it.
//!
//! The numbers of the fields are those of `v1/*.proto`; the tests of `convert` hold the two together.

use crate::limits::{
    BATCH_MAX_BYTES, EVENTS_PER_BATCH_MAX, FRAMES_PER_BATCH_MAX, GAPS_PER_BATCH_MAX, LABELS_MAX, PASSES_PER_FRAME_MAX,
    SERIES_PER_SCHEMA_MAX,
};
use crate::message::Position;
use crate::name::{NameError, shown};
use crate::refused::Refused;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// `AgentMessage.batch`.
const MESSAGE_BATCH: u32 = 2;
/// `Batch.epoch`.
const BATCH_EPOCH: u32 = 1;
/// `Batch.seq`.
const BATCH_SEQ: u32 = 2;
/// `Batch.frames`.
const BATCH_FRAMES: u32 = 3;
/// `Batch.gaps`.
const BATCH_GAPS: u32 = 4;
/// `Batch.events`.
const BATCH_EVENTS: u32 = 6;
/// `Frame.passes`.
const FRAME_PASSES: u32 = 3;
/// `Schema.source`.
const SCHEMA_SOURCE: u32 = 1;
/// `Schema.series`.
const SCHEMA_SERIES: u32 = 2;
/// `Series.labels`.
const SERIES_LABELS: u32 = 2;
/// `ReportEventsRequest.events`.
const REPORT_EVENTS: u32 = 1;

/// The fields of one message, in the order of its bytes. Ends after the first that cannot be read.
struct Fields<'a>(&'a [u8]);

/// What a field holds, as far as it matters here.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Refuses a message of an agent that has more parts than it may.
pub(super) fn check_message(message: &[u8]) -> Result<(), Refused> {
    let mut batches = 0;
    for field in Fields(message) {
        if let (MESSAGE_BATCH, Value::Bytes(batch)) = field.map_err(undecodable)? {
            batches += 1;
            check_batch(batch)?;
        }
    }
    // protobuf would merge them into one, past every limit.
    if batches > 1 { Err(Refused::Undecodable("more than one batch in a message".into())) } else { Ok(()) }
}

/// Refuses an encoded batch that is too large or has more parts than it may.
pub(super) fn check_batch(batch: &[u8]) -> Result<(), Refused> {
    if batch.len() > BATCH_MAX_BYTES {
        return Err(Refused::TooLarge(batch.len()));
    }
    let (mut frames, mut gaps, mut events) = (0, 0, 0);
    for field in Fields(batch) {
        match field.map_err(undecodable)? {
            (BATCH_FRAMES, Value::Bytes(frame)) => {
                frames += 1;
                let passes = count(frame, FRAME_PASSES)?;
                if passes > PASSES_PER_FRAME_MAX {
                    return Err(Refused::TooManyPasses(passes));
                }
            }
            (BATCH_GAPS, _) => gaps += 1,
            (BATCH_EVENTS, _) => events += 1,
            _ => {}
        }
    }
    if frames > FRAMES_PER_BATCH_MAX {
        return Err(Refused::TooManyFrames(frames));
    }
    if events > EVENTS_PER_BATCH_MAX {
        return Err(Refused::TooManyEvents(events));
    }
    if gaps > GAPS_PER_BATCH_MAX { Err(Refused::TooManyGaps(gaps)) } else { Ok(()) }
}

/// Refuses a request of a service that has more events than it may.
pub(super) fn check_report(request: &[u8]) -> Result<(), Refused> {
    let events = count(request, REPORT_EVENTS)?;
    if events > EVENTS_PER_BATCH_MAX { Err(Refused::TooManyEvents(events)) } else { Ok(()) }
}

/// Refuses an encoded schema that has more series, or a series that has more labels, than it may.
pub(super) fn check_schema(schema: &[u8]) -> Result<(), Refused> {
    let (mut source_name, mut series, mut labels) = (String::new(), 0, 0);
    for field in Fields(schema) {
        match field.map_err(undecodable)? {
            (SCHEMA_SOURCE, Value::Bytes(source)) => source_name = shown(&String::from_utf8_lossy(source)),
            (SCHEMA_SERIES, Value::Bytes(one)) => {
                series += 1;
                labels = count(one, SERIES_LABELS)?.max(labels);
            }
            _ => {}
        }
    }
    if series > SERIES_PER_SCHEMA_MAX {
        return Err(Refused::TooManySeries { source_name, series });
    }
    if labels > LABELS_MAX {
        return Err(Refused::Name { source_name, problem: NameError::TooMany(labels) });
    }
    Ok(())
}

/// Where the batch of a message says that it stands, also when nothing else of it can be read.
pub(super) fn position(message: &[u8]) -> Option<Position> {
    let batch = Fields(message).map_while(Result::ok).find_map(|field| match field {
        (MESSAGE_BATCH, Value::Bytes(batch)) => Some(batch),
        _ => None,
    })?;
    let (mut epoch, mut seq) = (None, 0);
    for field in Fields(batch).map_while(Result::ok) {
        match field {
            (BATCH_EPOCH, Value::Bytes(bytes)) => epoch = bytes.try_into().ok().map(u128::from_be_bytes),
            (BATCH_SEQ, Value::Number(number)) => seq = number,
            _ => {}
        }
    }
    let stands = seq > 0 && i64::try_from(seq).is_ok();
    epoch.filter(|_| stands).map(|epoch| Position { epoch, seq })
}

/// How often the field `tag` stands in a message.
fn count(message: &[u8], tag: u32) -> Result<usize, Refused> {
    let mut found = 0;
    for field in Fields(message) {
        found += usize::from(field.map_err(undecodable)?.0 == tag);
    }
    Ok(found)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
pub(super) fn undecodable(error: DecodeError) -> Refused {
    Refused::Undecodable(error.to_string())
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        let (tag, wire_type) = decode_key(&mut self.0)?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut self.0)?),
            WireType::LengthDelimited => {
                let before = self.0;
                skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
                let mut field = &before[..before.len() - self.0.len()];
                decode_varint(&mut field)?;
                Value::Bytes(field)
            }
            _ => {
                skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
                Value::Other
            }
        };
        Ok((tag, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
