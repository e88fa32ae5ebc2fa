//! What was sent on this stream and is not answered, and with it which schemas a batch need not repeat. Pure.
//!
//! A schema is left out once a batch that carried it is acked. Not sooner: one that came with a refused batch may be
//! what was refused, and then every batch after it would refer to a schema that nobody knows. What is sent as it lies in
//! the spool makes nothing known: nobody looked what it carries.

use proto::convert::RawBatch;
use proto::message::Position;
use proto::sample::SchemaId;
use std::collections::{HashSet, VecDeque};

/// See the module.
#[derive(Debug, Default)]
pub struct Flight {
    known: HashSet<SchemaId>,
    /// What each batch carried that is not answered; the window bounds it.
    sent: VecDeque<(Position, Vec<SchemaId>)>,
}

impl Flight {
    /// Takes out of a batch what the other side knows; the batch is sent at `position`.
    pub fn strip(&mut self, batch: &mut RawBatch, position: Position) {
        // What stands twice in the batch is said once.
        batch.strip(&mut self.known.clone());
        self.sent.push_back((position, batch.schemas().map(|schema| schema.id).collect()));
    }

    /// Something is sent at `position` as it is.
    pub fn sent(&mut self, position: Position) {
        self.sent.push_back((position, Vec::new()));
    }

    /// Everything up to and including this position is taken: so many batches.
    pub fn acked(&mut self, position: Position) -> u64 {
        let through = self.index_of(position).map_or(0, |index| index + 1);
        self.take(through)
    }

    /// The batch at this position is not taken, and everything before it is: so many batches. `None` where it is not in
    /// flight.
    pub fn refused(&mut self, position: Position) -> Option<u64> {
        let before = self.index_of(position)?;
        let taken = self.take(before);
        self.sent.pop_front();
        Some(taken)
    }

    /// Batches that are not answered.
    pub fn len(&self) -> u64 {
        self.sent.len() as u64
    }

    fn index_of(&self, position: Position) -> Option<usize> {
        self.sent.iter().position(|(sent, _)| *sent == position)
    }

    fn take(&mut self, first: usize) -> u64 {
        self.known.extend(self.sent.drain(..first).flat_map(|(_, schemas)| schemas));
        first as u64
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
    fn send(flight: &mut Flight, seq: u64) -> usize {
        let key = SeriesKey::try_new("m", []).expect("legal");
        let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        let pass = Pass { at: Timestamp::ZERO, values: vec![1.0] };
        let passes = [pass];
        let record = encode_record(&[(&schema, &passes), (&schema, &passes)]);
        let mut batch = RawBatch::from_record(&record.expect("small"), at(seq)).expect("reads back");
        flight.strip(&mut batch, at(seq));
        batch.schemas().count()
    }

    #[test]
    fn a_schema_is_repeated_until_a_batch_with_it_is_acked() {
        let mut flight = Flight::default();
        assert_eq!((send(&mut flight, 1), send(&mut flight, 2)), (1, 1));
        assert_eq!(flight.acked(at(1)), 1);
        assert_eq!(send(&mut flight, 3), 0);
        assert_eq!(flight.len(), 2);
        assert_eq!(flight.acked(at(3)), 2);
        assert_eq!((flight.len(), flight.acked(at(3))), (0, 0), "what is answered is forgotten");
    }

    #[test]
    fn a_refused_batch_makes_nothing_known_also_by_a_later_ack() {
        let mut flight = Flight::default();
        send(&mut flight, 1);
        assert_eq!(flight.refused(at(1)), Some(0));
        flight.acked(at(2));
        assert_eq!(send(&mut flight, 3), 1);
    }

    #[test]
    fn a_refusal_stands_for_everything_before_it_and_what_is_not_in_flight_changes_nothing() {
        let mut flight = Flight::default();
        send(&mut flight, 1);
        flight.sent(at(2));
        send(&mut flight, 3);
        assert_eq!(flight.refused(at(9)), None);
        assert_eq!(flight.refused(at(2)), Some(1));
        assert_eq!((flight.len(), send(&mut flight, 4)), (1, 0), "the first made its schema known");
    }
}
