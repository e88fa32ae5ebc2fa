//! Gathers the passes of one tick into one batch. Pure: time comes in as an argument.
//!
//! The collectors run on threads of their own and finish a tick within a few milliseconds of each other; a batch waits
//! [`LINGER`] for the stragglers, so that a second costs one record, one sync and one message instead of four.

use crate::fold::Folded;
use proto::convert::{SchemaBytes, encode_record};
use proto::limits::PASSES_PER_FRAME_MAX;
use proto::refused::Refused;
use proto::sample::Pass;
use std::time::Duration;

/// How long a batch waits after its first pass. Ten passes' worth of collection, a hundredth of an interval.
pub const LINGER: Duration = Duration::from_millis(10);
/// A batch with so many values goes at once; bounds memory when collectors run faster than the linger.
const VALUES_MAX: usize = 50_000;

/// The batch being gathered.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Vec<(SchemaBytes, Vec<Pass>)>,
    values: usize,
    due_at: Option<Duration>,
}

impl Batch {
    /// Adds a pass; `now` is monotonic.
    pub fn add(&mut self, folded: Folded, now: Duration) {
        self.due_at.get_or_insert(now + LINGER);
        self.values += folded.pass.values.len();
        let has_room = |(schema, passes): &&mut (SchemaBytes, Vec<Pass>)| {
            schema.id == folded.schema.id && passes.len() < PASSES_PER_FRAME_MAX
        };
        match self.frames.iter_mut().find(has_room) {
            Some((_, passes)) => passes.push(folded.pass),
            None => self.frames.push((folded.schema, vec![folded.pass])),
        }
        if self.values >= VALUES_MAX {
            self.due_at = Some(now);
        }
    }

    /// When the batch wants to go; `None` while it is empty.
    pub fn due_at(&self) -> Option<Duration> {
        self.due_at
    }

    /// How many passes it holds.
    pub fn passes(&self) -> usize {
        self.frames.iter().map(|(_, passes)| passes.len()).sum()
    }

    /// Takes the batch as a spool record, and begins the next.
    pub fn take(&mut self) -> Result<Vec<u8>, Refused> {
        let frames = std::mem::take(self).frames;
        let parts: Vec<(&SchemaBytes, &[Pass])> = frames.iter().map(|(s, p)| (s, p.as_slice())).collect();
        encode_record(&parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::convert::RawBatch;
    use proto::message::Position;
    use proto::name::SeriesKey;
    use proto::sample::{Kind, SeriesDef, Timestamp};
    use std::collections::HashMap;

    fn folded(source: &str, at: i64) -> Folded {
        let key = SeriesKey::try_new("m", [("source", source)]).expect("legal");
        let schema = SchemaBytes::encode(source, Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        Folded { schema, pass: Pass { at: Timestamp::from_millis(at), values: vec![1.0] } }
    }

    #[test]
    fn the_passes_of_one_tick_become_one_record_in_a_frame_per_source() {
        let mut batch = Batch::default();
        assert_eq!(batch.due_at(), None);
        batch.add(folded("host", 1), Duration::from_millis(100));
        batch.add(folded("cgroup", 1), Duration::from_millis(105));
        batch.add(folded("host", 2), Duration::from_millis(106));
        assert_eq!(batch.due_at(), Some(Duration::from_millis(110)), "it waits from the first pass on");
        let record = batch.take().expect("small");
        assert_eq!(batch.due_at(), None);
        let raw = RawBatch::from_record(&record, Position { epoch: 1, seq: 1 }).expect("reads back");
        let read = raw.resolve(&mut HashMap::new()).expect("resolves");
        let shape: Vec<(&str, usize)> =
            read.frames.iter().map(|f| (f.schema.source.as_str(), f.passes.len())).collect();
        assert_eq!(shape, [("host", 2), ("cgroup", 1)]);
    }

    #[test]
    fn a_batch_that_grows_too_large_goes_at_once() {
        let mut batch = Batch::default();
        let mut wide = folded("host", 1);
        wide.pass.values = vec![0.0; VALUES_MAX];
        batch.add(wide, Duration::from_secs(7));
        assert_eq!(batch.due_at(), Some(Duration::from_secs(7)));
    }
}
