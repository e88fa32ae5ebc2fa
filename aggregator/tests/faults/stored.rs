//! What the aggregator has stored, and the laws that it must obey whatever was done to both programs: each epoch's numbers
//! from 1 on, none twice and none left out but by a gap that says so; and each pass of the host's once. Which events are
//! there is for the oracle to judge.

use proto::convert::{RawBatch, SchemaBytes};
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
    /// Events in the batches: one that was handed in again, because its answer was lost, may have come in two.
    pub delivered: usize,
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

    /// Holds it against the laws.
    pub fn check(mut self) -> Result<Contents, String> {
        let mut contents = Contents { batches: self.rows.len(), ..Contents::default() };
        let (mut expected, mut seen) = (Position { epoch: 0, seq: 0 }, HashSet::new());
        let mut last = HashMap::new();
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
            contents.delivered += batch.events.len();
        }
        if last != self.positions {
            return Err(format!("the log ends at {last:?}, the epochs at {:?}", self.positions));
        }
        if contents.lost != self.ledger.cast_unsigned() {
            return Err(format!("the agent says {} records are lost, the ledger {}", contents.lost, self.ledger));
        }
        contents.passes = seen.len();
        self.events.sort_by(|a, b| a.idempotency_key.cmp(&b.idempotency_key));
        self.events.dedup(); // TEMP
        contents.events = self.events;
        Ok(contents)
    }
}
