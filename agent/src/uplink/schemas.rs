//! Which schemas a batch need not repeat on this stream. Pure.
//!
//! A schema is left out once a batch that carried it is acked. Not sooner: one that came with a refused batch may be
//! what was refused, and then every batch after it would refer to a schema that nobody knows.

use proto::convert::RawBatch;
use proto::message::Position;
use proto::sample::SchemaId;
use std::collections::{HashSet, VecDeque};

/// See the module.
#[derive(Debug, Default)]
pub struct Schemas {
    known: HashSet<SchemaId>,
    /// What each batch carried that is not answered; the window bounds it.
    sent: VecDeque<(Position, Vec<SchemaId>)>,
}

impl Schemas {
    /// Takes out of a batch what the other side knows; the batch is sent at `position`.
    pub fn strip(&mut self, batch: &mut RawBatch, position: Position) {
        // What stands twice in the batch is said once.
        batch.strip(&mut self.known.clone());
        self.sent.push_back((position, batch.schemas().map(|schema| schema.id).collect()));
    }

    /// Everything up to this position is taken.
    pub fn acked(&mut self, position: Position) {
        if let Some(index) = self.sent.iter().position(|(sent, _)| *sent == position) {
            self.known.extend(self.sent.drain(..=index).flat_map(|(_, schemas)| schemas));
        }
    }

    /// The batch at this position is refused.
    pub fn refused(&mut self, position: Position) {
        self.sent.retain(|(sent, _)| *sent != position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::convert::{SchemaBytes, encode_record};
    use proto::name::SeriesKey;
    use proto::sample::{Kind, Pass, SeriesDef, Timestamp};
    use std::time::Duration;

    fn at(seq: u64) -> Position {
        Position { epoch: 1, seq }
    }

    /// Sends a batch; how many schemas it carries.
    fn send(schemas: &mut Schemas, seq: u64) -> usize {
        let key = SeriesKey::try_new("m", []).expect("legal");
        let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        let pass = Pass { at: Timestamp::ZERO, values: vec![1.0] };
        let passes = [pass];
        let record = encode_record(&[(&schema, &passes), (&schema, &passes)]);
        let mut batch = RawBatch::from_record(&record.expect("small"), at(seq)).expect("reads back");
        schemas.strip(&mut batch, at(seq));
        batch.schemas().count()
    }

    #[test]
    fn a_schema_is_repeated_until_a_batch_with_it_is_acked() {
        let mut schemas = Schemas::default();
        assert_eq!((send(&mut schemas, 1), send(&mut schemas, 2)), (1, 1));
        schemas.acked(at(1));
        assert_eq!(send(&mut schemas, 3), 0);
        assert_eq!(schemas.sent.len(), 2);
        schemas.acked(at(3));
        assert_eq!(schemas.sent.len(), 0, "what is answered is forgotten");
    }

    #[test]
    fn a_refused_batch_makes_nothing_known_also_by_a_later_ack() {
        let mut schemas = Schemas::default();
        send(&mut schemas, 1);
        schemas.refused(at(1));
        schemas.acked(at(2));
        assert_eq!(send(&mut schemas, 3), 1);
    }
}
