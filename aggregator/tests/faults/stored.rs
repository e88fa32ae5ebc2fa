//! What the aggregator has stored, and the laws that it must obey whatever was done to both programs: each epoch's numbers
//! from 1 on, none twice and none left out but by a gap that says so; each pass of the host's once; and in the table of
//! events the events of the batches. Whether those are the right ones, each once, is for the oracle to judge.

use crate::oracle::Oracle;
use proto::convert::{RawBatch, SchemaBytes, encode_events};
use proto::event::Event;
use proto::message::Position;
use proto::sample::{Schema, SchemaId, Timestamp};
use sqlx::{Connection, PgConnection, Row, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Every batch in the order of its place, and the schemas.
#[derive(Default)]
pub struct Stored {
    rows: Vec<StoredBatch>,
    schemas: HashMap<SchemaId, Arc<Schema>>,
    events: Vec<Event>,
    /// Records that the ledger says are missing.
    ledger: i64,
    /// How far each epoch is stored, as the aggregator keeps it.
    positions: HashMap<u128, u64>,
}

struct StoredBatch {
    position: Position,
    payload: Vec<u8>,
}

/// What the batches hold.
#[derive(Debug, Default)]
pub struct Contents {
    /// Batches.
    pub batches: usize,
    /// Epochs.
    pub epochs: usize,
    /// Records that the agent says are lost.
    pub lost: u64,
    /// Passes of the host's.
    pub passes: usize,
    /// The table of events, row for row.
    pub events: Vec<Event>,
}

impl Stored {
    /// Reads it from the database at `url`, which no aggregator has open.
    pub async fn read(url: &str) -> Self {
        if url.starts_with("sqlite://") { Self::read_sqlite(url).await } else { Self::read_postgres(url).await }
    }

    async fn read_sqlite(url: &str) -> Self {
        let mut connection = SqliteConnection::connect(url).await.expect("nobody has it open");
        let mut stored = Self::default();
        let query = sqlx::query("SELECT schema_id, definition FROM schemas");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_schema(row.get(0), row.get(1));
        }
        let query = sqlx::query("SELECT epoch, seq, payload FROM batches ORDER BY epoch, seq");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_batch(row.get(0), row.get(1), row.get(2));
        }
        let query = sqlx::query("SELECT type, clinic_id, occurred_at, idempotency_key FROM business_events");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_event(row.get(0), row.get(1), row.get(2), row.get(3));
        }
        let query = sqlx::query("SELECT epoch, last_seq FROM agent_epochs WHERE last_seq > 0");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_position(row.get(0), row.get(1));
        }
        let query = sqlx::query_scalar("SELECT ifnull(sum(records), 0) FROM gaps");
        stored.ledger = query.fetch_one(&mut connection).await.expect("reads");
        stored
    }

    async fn read_postgres(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.expect("the server runs");
        let mut stored = Self::default();
        let query = sqlx::query("SELECT schema_id, definition FROM monitoring.schemas");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_schema(row.get(0), row.get(1));
        }
        let query = sqlx::query("SELECT epoch, seq, payload FROM monitoring.batches ORDER BY epoch, seq");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_batch(row.get(0), row.get(1), row.get(2));
        }
        let query = sqlx::query(
            "SELECT type, clinic_id, (extract(epoch FROM occurred_at) * 1000)::bigint, idempotency_key
            FROM monitoring.business_events",
        );
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_event(row.get(0), row.get(1), row.get(2), row.get(3));
        }
        let query = sqlx::query("SELECT epoch, last_seq FROM monitoring.agent_epochs WHERE last_seq > 0");
        for row in query.fetch_all(&mut connection).await.expect("reads") {
            stored.keep_position(row.get(0), row.get(1));
        }
        let query =
            sqlx::query_scalar("SELECT coalesce(sum(last_seq - first_seq + 1), 0)::bigint FROM monitoring.gaps");
        stored.ledger = query.fetch_one(&mut connection).await.expect("reads");
        stored
    }

    fn keep_schema(&mut self, id: i64, definition: Vec<u8>) {
        let schema = SchemaBytes { id: SchemaId(id.cast_unsigned()), bytes: definition.into() };
        self.schemas.insert(schema.id, Arc::new(schema.decode().expect("a stored schema is whole")));
    }

    fn keep_position(&mut self, epoch: Uuid, last_seq: i64) {
        self.positions.insert(epoch.as_u128(), last_seq.cast_unsigned());
    }

    fn keep_event(&mut self, kind: String, clinic_id: Uuid, occurred_at_ms: i64, idempotency_key: String) {
        let occurred_at = Timestamp::from_millis(occurred_at_ms);
        self.events.push(Event { kind, clinic_id, occurred_at, idempotency_key });
    }

    fn keep_batch(&mut self, epoch: Uuid, seq: i64, payload: Vec<u8>) {
        let position = Position { epoch: epoch.as_u128(), seq: seq.cast_unsigned() };
        self.rows.push(StoredBatch { position, payload });
    }

    /// The table of events, row for row.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Holds it against the laws.
    pub fn check(mut self) -> Result<Contents, String> {
        let mut contents = Contents { batches: self.rows.len(), ..Contents::default() };
        let (mut expected, mut seen) = (Position { epoch: 0, seq: 0 }, HashSet::new());
        let (mut last, mut in_batches) = (HashMap::new(), HashMap::new());
        for StoredBatch { position, payload } in &self.rows {
            let raw = RawBatch::from_record(payload, *position);
            let batch = raw.and_then(|raw| raw.resolve(&mut self.schemas)).map_err(|e| format!("{position}: {e}"))?;
            if position.epoch != expected.epoch {
                contents.epochs += 1;
                expected = Position { seq: 1, ..*position };
            }
            let gaps = || batch.gaps.iter().filter(|gap| gap.epoch == position.epoch && gap.last_seq == position.seq);
            contents.lost += gaps().map(|gap| gap.last_seq - gap.first_seq + 1).sum::<u64>();
            if position.seq != expected.seq && !gaps().any(|gap| gap.first_seq == expected.seq) {
                return Err(format!("{expected} is missing, {position} stands in its place"));
            }
            expected.seq = position.seq + 1;
            last.insert(position.epoch, position.seq);
            for frame in batch.frames.iter().filter(|frame| frame.schema.source == "host") {
                for pass in &frame.passes {
                    if !seen.insert(pass.at) {
                        return Err(format!("the pass at {} stands in two batches; the second is {position}", pass.at));
                    }
                }
            }
            // One that was handed in again, because its answer was lost, may stand in two.
            in_batches.extend(batch.events.into_iter().map(|event| (event.idempotency_key.clone(), event)));
        }
        if last != self.positions {
            return Err(format!("the log ends at {last:?}, the epochs at {:?}", self.positions));
        }
        if contents.lost != self.ledger.cast_unsigned() {
            return Err(format!("the agent says {} records are lost, the ledger {}", contents.lost, self.ledger));
        }
        contents.passes = seen.len();
        check_events(&in_batches, &self.events)?;
        contents.events = self.events;
        Ok(contents)
    }
}

/// Each event of the batches is in the table, and the reverse. How often is not asked here.
fn check_events(in_batches: &HashMap<String, Event>, table: &[Event]) -> Result<(), String> {
    let stored: HashMap<&String, &Event> = table.iter().map(|event| (&event.idempotency_key, event)).collect();
    if let Some(event) = in_batches.values().find(|event| stored.get(&event.idempotency_key) != Some(event)) {
        return Err(format!("a batch has {event:?}, the table has not"));
    }
    if let Some(event) = table.iter().find(|event| in_batches.get(&event.idempotency_key) != Some(event)) {
        return Err(format!("the table has {event:?}, and no batch has it"));
    }
    Ok(())
}

// === tests ===

/// An aggregator that has stored a batch with each of `batches`, and these `rows` of events.
fn stored(batches: &[&Event], rows: &[&Event]) -> Stored {
    let mut stored = Stored::default();
    let epoch = Uuid::from_u128(1);
    for (seq, event) in (1..).zip(batches) {
        stored.keep_batch(epoch, seq, encode_events(&[(*event).clone()]).expect("small"));
        stored.keep_position(epoch, seq);
    }
    for row in rows.iter().copied().cloned() {
        stored.keep_event(row.kind, row.clinic_id, row.occurred_at.as_millis(), row.idempotency_key);
    }
    stored
}

#[test]
fn a_row_that_stands_twice_comes_to_the_oracle_twice() {
    let oracle = Oracle::new(7);
    let id = oracle.issue();
    let event = oracle.event(id);
    let contents = stored(&[&event, &event], &[&event, &event]).check().expect("how often is for the oracle");
    assert_eq!(oracle.judge(contents.events).doubled, [id]);
}

#[test]
fn a_batch_that_stands_twice_is_no_log() {
    let event = Oracle::new(7).event(0);
    let mut doubled = stored(&[&event, &event], &[&event]);
    let payload = doubled.rows[0].payload.clone();
    doubled.rows.insert(1, StoredBatch { payload, ..doubled.rows[0] });
    let why = doubled.check().expect_err("a number stands twice");
    assert!(why.contains("stands in its place"), "{why}");
}

#[test]
fn the_table_of_events_has_what_the_batches_have_and_nothing_else() {
    let oracle = Oracle::new(7);
    let (one, other) = (oracle.event(0), oracle.event(1));
    assert!(stored(&[&one, &other], &[&one, &other]).check().is_ok());
    let absent = stored(&[&one, &other], &[&one]).check().expect_err("a row is missing");
    assert!(absent.contains("the table has not"), "{absent}");
    let invented = stored(&[&one], &[&one, &other]).check().expect_err("a row has no batch");
    assert!(invented.contains("no batch has it"), "{invented}");
}
