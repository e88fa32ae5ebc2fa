//! Admission: a raw batch becomes a checked one and a row to store, or a typed refusal.
//!
//! One [`Admission`] belongs to one stream: it knows the schemas that this stream has defined, so that a batch may
//! refer to them. Pure but for the time that comes in as an argument.

use super::missing::gaps_to_store;
pub use crate::store::SCHEMA_REFRESH;
use crate::store::{BatchRow, SchemaRow};
use bytes::Bytes;
use proto::convert::RawBatch;
use proto::limits::{FUTURE_TOLERANCE, SERIES_PER_AGENT_MAX};
use proto::message::Batch;
use proto::refused::Refused;
use proto::sample::{Frame, Schema, SchemaId, Timestamp, sampled};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Series in all the schemas that a stream may refer to. A source changes its schema when a device or a process comes or
/// goes; beyond this the old ones are forgotten, and an agent that refers to one begins a new stream.
const SERIES_PER_STREAM: usize = 5 * SERIES_PER_AGENT_MAX;

/// What a stream has told of itself.
pub struct Admission {
    agent_id: Uuid,
    service: String,
    known: HashMap<SchemaId, Arc<Schema>>,
    /// What SQL must have of `known`.
    definitions: HashMap<SchemaId, Definition>,
}

/// A schema as it was defined, and whether SQL has it.
struct Definition {
    bytes: Bytes,
    /// When the newest row that carried it and was stored was admitted, monotonic; `None` where none was stored yet.
    stored_at: Option<Duration>,
}

/// The schemas that a row carries, for [`Admission::stored`].
#[derive(Debug)]
pub struct Carried {
    schemas: Vec<SchemaId>,
    at: Duration,
}

/// A batch on its way to the database.
pub struct Admitted {
    /// What the head gets.
    pub batch: Batch,
    /// What the database gets.
    pub row: BatchRow,
    /// What the row carries beside the batch.
    pub carried: Carried,
    /// Passes that were moved to the time of their arrival.
    pub restamped: usize,
}

impl Admission {
    /// For a stream of `agent_id`, which watches `service`.
    pub fn new(agent_id: Uuid, service: &str) -> Self {
        Self { agent_id, service: service.into(), known: HashMap::new(), definitions: HashMap::new() }
    }

    /// Checks a batch that came at `wall`, and moves its times back by `ahead_ms`, by which its agent's clock is ahead.
    pub fn admit(
        &mut self,
        mut raw: RawBatch,
        ahead_ms: i64,
        wall: Timestamp,
        now: Duration,
    ) -> Result<Admitted, Refused> {
        let admitted = self.try_admit(&mut raw, ahead_ms, wall, now);
        self.forget_all_but(admitted.as_ref().map_or(&[], |admitted| &admitted.batch.frames));
        admitted
    }

    /// A row is stored, and is new: what it carried need not be carried again before [`SCHEMA_REFRESH`] is over. Until
    /// then every batch carries what it refers to: one that turns out a replay, or whose place is taken, stores nothing.
    pub fn stored(&mut self, carried: &Carried) {
        for id in &carried.schemas {
            if let Some(definition) = self.definitions.get_mut(id) {
                definition.stored_at = definition.stored_at.max(Some(carried.at));
            }
        }
    }

    fn try_admit(
        &mut self,
        raw: &mut RawBatch,
        ahead_ms: i64,
        wall: Timestamp,
        now: Duration,
    ) -> Result<Admitted, Refused> {
        // Before its times are moved, so that it has the same digest each time that it comes.
        let sent = raw.content();
        if ahead_ms != 0 {
            raw.correct_clock(ahead_ms);
        }
        let restamped = raw.restamp_future(wall + FUTURE_TOLERANCE, wall);
        let resolved = raw.resolve(&mut self.known);
        self.note_definitions(raw);
        let batch = resolved?;
        let series: usize = batch.frames.iter().map(|frame| frame.schema.series.len()).sum();
        if series > SERIES_PER_AGENT_MAX {
            let source_name = batch.frames.first().map_or_else(String::new, |frame| frame.schema.source.clone());
            return Err(Refused::TooManySeries { source_name, series });
        }
        let is_moved = ahead_ms != 0 || restamped > 0;
        let payload = if is_moved { raw.to_log()? } else { sent.to_log()? };
        let carried = self.carried(&batch.frames, now);
        let row = BatchRow {
            agent_id: self.agent_id,
            position: batch.position,
            received_at: wall,
            payload,
            schemas: carried.schemas.iter().filter_map(|id| self.schema_row(*id)).collect(),
            digest: (!batch.is_gap()).then(|| sent.digest()),
            gaps: gaps_to_store(&batch),
            sampled: sampled(&batch.frames),
            events: batch.events.clone(),
            service: self.service.clone(),
        };
        Ok(Admitted { batch, row, carried, restamped })
    }

    /// Keeps the definitions that the batch brought and that were found good, whatever becomes of the batch: the next
    /// ones may refer to them.
    fn note_definitions(&mut self, raw: &RawBatch) {
        for schema in raw.schemas().filter(|schema| self.known.contains_key(&schema.id)) {
            // A copy, so that it does not hold the whole message.
            let bytes = || Definition { bytes: Bytes::copy_from_slice(&schema.bytes), stored_at: None };
            self.definitions.entry(schema.id).or_insert_with(bytes);
        }
    }

    /// What `frames` refer to and SQL has not, or has not lately.
    fn carried(&self, frames: &[Frame], now: Duration) -> Carried {
        let lately = |at: Duration| now.saturating_sub(at) < SCHEMA_REFRESH;
        let is_stored =
            |id: &SchemaId| self.definitions.get(id).is_some_and(|known| known.stored_at.is_some_and(lately));
        let mut schemas: Vec<_> = frames.iter().map(|frame| frame.schema_id).filter(|id| !is_stored(id)).collect();
        schemas.sort_unstable();
        schemas.dedup();
        Carried { schemas, at: now }
    }

    /// When the stream has told too much of itself, only what `frames` use stays.
    fn forget_all_but(&mut self, frames: &[Frame]) {
        // One more for each, so that empty schemas count too.
        let told: usize = self.known.values().map(|schema| schema.series.len() + 1).sum();
        if told > SERIES_PER_STREAM {
            let used: HashSet<SchemaId> = frames.iter().map(|frame| frame.schema_id).collect();
            self.known.retain(|id, _| used.contains(id));
            self.definitions.retain(|id, _| used.contains(id));
        }
    }

    fn schema_row(&self, schema_id: SchemaId) -> Option<SchemaRow> {
        let definition = self.definitions.get(&schema_id)?.bytes.clone();
        Some(SchemaRow { agent_id: self.agent_id, schema_id, definition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ToldGap;
    use proto::convert::{SchemaBytes, encode_record};
    use proto::message::Position;
    use proto::name::SeriesKey;
    use proto::sample::{Gap, Kind, Pass, SeriesDef};

    fn raw(seq: u64, at: i64, known: &mut HashSet<SchemaId>) -> RawBatch {
        let key = SeriesKey::try_new("m", []).expect("legal");
        let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        let pass = Pass { at: Timestamp::from_millis(at), values: vec![1.0] };
        let record = encode_record(&[(&schema, &[pass])]).expect("small");
        let mut raw = RawBatch::from_record(&record, Position { epoch: 1, seq }).expect("reads back");
        raw.strip(known);
        raw
    }

    fn admission() -> Admission {
        Admission::new(Uuid::from_u128(7), "agenda")
    }

    const WALL: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn a_schema_comes_with_each_batch_that_refers_to_it_until_one_is_stored_and_again_every_hour() {
        let (mut admission, mut sent) = (admission(), HashSet::new());
        let mut schemas = |seq, now, is_stored: bool| {
            let admitted = admission.admit(raw(seq, 1, &mut sent), 0, WALL, now).expect("fine");
            if is_stored {
                admission.stored(&admitted.carried);
            }
            admitted.row.schemas.len()
        };
        let (second, end) = (Duration::from_secs(1), SCHEMA_REFRESH + Duration::from_secs(60));
        assert_eq!(schemas(1, Duration::ZERO, false), 1);
        assert_eq!(schemas(2, Duration::from_secs(60), true), 1);
        assert_eq!(schemas(3, Duration::from_secs(61), true), 0, "it is stored, and this one carried nothing");
        assert_eq!(schemas(4, end.saturating_sub(second), true), 0);
        assert_eq!(schemas(5, end, false), 1);
        assert_eq!(schemas(6, end + second, true), 1, "the one before was not stored");
        assert_eq!(schemas(7, end + 2 * second, true), 0);
    }

    #[test]
    fn an_answer_that_comes_late_counts_from_when_its_row_was_admitted() {
        let (mut admission, mut sent) = (admission(), HashSet::new());
        let mut admit =
            |admission: &mut Admission, seq, now| admission.admit(raw(seq, 1, &mut sent), 0, WALL, now).expect("fine");
        let first = admit(&mut admission, 1, Duration::ZERO);
        let second = admit(&mut admission, 2, Duration::from_secs(1));
        // The database was away for an hour meanwhile; of two answers the newer row's counts, whichever comes last.
        admission.stored(&second.carried);
        admission.stored(&first.carried);
        assert_eq!(admit(&mut admission, 3, SCHEMA_REFRESH).row.schemas.len(), 0);
        assert_eq!(admit(&mut admission, 4, SCHEMA_REFRESH + Duration::from_secs(1)).row.schemas.len(), 1);
    }

    #[test]
    fn the_row_has_what_a_restart_needs() {
        let mut admission = admission();
        let admitted = admission.admit(raw(1, 5, &mut HashSet::new()), 0, WALL, Duration::ZERO).expect("fine");
        let mut known = HashMap::new();
        for row in &admitted.row.schemas {
            let schema = SchemaBytes { id: row.schema_id, bytes: row.definition.clone() };
            known.insert(row.schema_id, Arc::new(schema.decode().expect("decodes")));
        }
        let read = RawBatch::from_record(&admitted.row.payload, admitted.row.position).expect("reads back");
        assert_eq!(read.resolve(&mut known), Ok(admitted.batch));
    }

    #[test]
    fn a_time_in_the_far_future_becomes_the_time_of_arrival_in_the_head_and_in_the_row() {
        let mut admission = admission();
        let far = WALL.as_millis() + 11 * 60 * 1000;
        let admitted = admission.admit(raw(1, far, &mut HashSet::new()), 0, WALL, Duration::ZERO).expect("fine");
        assert_eq!(admitted.restamped, 1);
        assert_eq!(admitted.batch.frames[0].passes[0].at, WALL);
        let near = WALL.as_millis() + 9 * 60 * 1000;
        let admitted = admission.admit(raw(2, near, &mut HashSet::new()), 0, WALL, Duration::ZERO).expect("fine");
        assert_eq!(admitted.restamped, 0);
        assert_eq!(admitted.batch.frames[0].passes[0].at.as_millis(), near);
    }

    #[test]
    fn a_clock_that_is_wrong_is_corrected_in_the_head_and_in_the_row() {
        let mut admission = admission();
        let taken_at = WALL + Duration::from_secs(3600);
        let raw = raw(1, taken_at.as_millis(), &mut HashSet::new());
        let admitted = admission.admit(raw, 3_600_000, WALL, Duration::ZERO).expect("fine");
        assert_eq!((admitted.batch.frames[0].passes[0].at, admitted.restamped), (WALL, 0));
        let stored = RawBatch::from_record(&admitted.row.payload, admitted.row.position).expect("reads back");
        assert_eq!(stored.resolve(&mut admission.known), Ok(admitted.batch));
    }

    #[test]
    fn a_batch_has_one_digest_however_its_times_are_corrected_and_whether_it_carries_its_schemas_or_not() {
        let (mut admission, mut sent) = (admission(), HashSet::new());
        let (first, again) = (raw(1, 5, &mut sent), raw(1, 5, &mut sent));
        let far = raw(1, WALL.as_millis() + 3_600_000, &mut sent);
        let mut row = |raw, ahead_ms| admission.admit(raw, ahead_ms, WALL, Duration::ZERO).expect("fine").row;
        let (first, again) = (row(first, 0), row(again, 3_600_000));
        assert!(first.digest.is_some() && first.digest == again.digest && first.payload != again.payload);
        assert_eq!(row(far.clone(), 0).digest, row(far, 3_600_000).digest);
    }

    #[test]
    fn the_row_tells_the_times_of_its_samples_as_they_are_corrected_and_its_gaps_under_known_reasons() {
        let admitted = admission().admit(raw(1, 3_600_005, &mut HashSet::new()), 3_600_000, WALL, Duration::ZERO);
        let at = Timestamp::from_millis(5);
        assert_eq!(admitted.expect("fine").row.sampled, Some((at, at)));
        let gap = Gap { epoch: 1, first_seq: 5, last_seq: 9, reason: "a word of its own".into() };
        let row = admission().admit(RawBatch::for_gap(&gap), 0, WALL, Duration::ZERO).expect("fine").row;
        assert_eq!((row.digest, row.sampled), (None, None));
        assert_eq!(row.gaps, [ToldGap { first_seq: 5, last_seq: 9, reason: "other" }]);
    }

    /// A frame of as many series as one schema may have.
    fn wide(source: u64) -> (SchemaBytes, Pass) {
        let def = |n| SeriesDef { key: SeriesKey::try_new(&format!("m{n}"), []).expect("legal"), kind: Kind::Gauge };
        let series: Vec<SeriesDef> = (0..2_000).map(def).collect();
        let pass = Pass { at: Timestamp::from_millis(1), values: vec![1.0; series.len()] };
        (SchemaBytes::encode(&format!("s{source}"), Duration::ZERO, &series), pass)
    }

    fn of(seq: u64, frames: &[(SchemaBytes, Pass)]) -> RawBatch {
        let frames: Vec<_> = frames.iter().map(|(schema, pass)| (schema, std::slice::from_ref(pass))).collect();
        let record = encode_record(&frames).expect("small");
        RawBatch::from_record(&record, Position { epoch: 1, seq }).expect("reads back")
    }

    #[test]
    fn an_agent_with_too_many_series_is_refused_by_their_number() {
        let frames: Vec<_> = (0..6).map(wide).collect();
        let refused = admission().admit(of(1, &frames), 0, WALL, Duration::ZERO).err().expect("12,000 series");
        assert!(matches!(&refused, Refused::TooManySeries { series: 12_000, .. }), "{refused}");
        assert!(admission().admit(of(1, &frames[..5]), 0, WALL, Duration::ZERO).is_ok(), "10,000 are allowed");
    }

    #[test]
    fn a_stream_that_defines_too_much_keeps_what_its_last_batch_uses_and_loses_no_batch() {
        let mut admission = admission();
        for source in 0..60 {
            let admitted =
                admission.admit(of(source + 1, &[wide(source)]), 0, WALL, Duration::ZERO).expect("each is fine");
            assert_eq!(admitted.row.schemas.len(), 1);
            assert!(admission.known.len() <= 25, "{}", admission.known.len());
            assert_eq!(admission.known.len(), admission.definitions.len());
        }
        assert!(admission.known.contains_key(&wide(59).0.id));
    }

    #[test]
    fn refused_batches_do_not_make_a_stream_remember_without_bound() {
        let mut admission = admission();
        for source in 0..60 {
            let (schema, mut pass) = wide(source);
            pass.values.pop();
            assert!(admission.admit(of(source + 1, &[(schema, pass)]), 0, WALL, Duration::ZERO).is_err());
            assert!(admission.known.len() <= 25, "{}", admission.known.len());
        }
    }

    #[test]
    fn what_a_refused_batch_defined_is_stored_with_the_next_row_that_refers_to_it() {
        let mut admission = admission();
        let (schema, mut pass) = wide(1);
        pass.values.pop();
        assert!(admission.admit(of(1, &[(schema.clone(), pass)]), 0, WALL, Duration::ZERO).is_err());
        let mut defined = HashSet::from([schema.id]);
        let mut next = of(2, &[wide(1)]);
        next.strip(&mut defined);
        let gap = RawBatch::for_gap(&Gap { epoch: 1, first_seq: 1, last_seq: 1, reason: "refused".into() });
        let gap = admission.admit(gap, 0, WALL, Duration::ZERO).expect("fine");
        assert!(gap.row.schemas.is_empty(), "it refers to none");
        admission.stored(&gap.carried);
        let row = admission.admit(next, 0, WALL, Duration::ZERO).expect("the stream knows it").row;
        assert_eq!(row.schemas.iter().map(|row| row.schema_id).collect::<Vec<_>>(), [schema.id]);
    }
}
