//! Group commit: prepared statements within one transaction. The writer's lock is the lock of every position.
//!
//! Each statement costs a hop to SQLite's thread and back, so what is many goes in one statement for the whole group, as
//! a JSON array with ids in hexadecimal. Batches go one by one: their payload in hexadecimal would cost more than the hop.

use super::super::plan::{Definition, Entry, Group, Moved, Plan, Standing, Stream};
use super::super::row::{Moment, RawHeld, RawStanding, bound, bound_some};
use super::super::{BatchRow, StoreError, Stored};
use super::ledger;
use proto::event::Event;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteTransaction;
use std::collections::HashMap;
use uuid::Uuid;

/// Events of one statement: some MiB of JSON.
const EVENTS_MAX: usize = 10_000;

// The pluses keep the primary key out of it, which is every agent's, and the hint the walk along all of an agent's gaps.
const LOAD_STANDINGS: &str = "
    SELECT
        e.agent_id, e.epoch, e.last_seq, e.generation, e.newest_at,
        (SELECT p.newest_at FROM agent_epochs p
            WHERE p.agent_id = e.agent_id AND +p.generation < e.generation AND p.newest_at IS NOT NULL
            ORDER BY +p.generation DESC LIMIT 1) AS before_at,
        EXISTS (SELECT 1 FROM agent_epochs n
            WHERE n.agent_id = e.agent_id AND +n.generation > e.generation AND n.last_seq > 0) AS is_past,
        EXISTS (SELECT 1 FROM gaps g INDEXED BY gaps_open
            WHERE g.agent_id = e.agent_id AND g.until_at IS NULL) AS has_open_gaps,
        o.first_seq AS open_first, o.reason AS open_reason, o.from_at AS open_from_at
    FROM json_each($1) wanted
    JOIN agent_epochs e ON e.agent_id = unhex(wanted.value ->> 0) AND e.epoch = unhex(wanted.value ->> 1)
    LEFT JOIN gaps o ON o.agent_id = e.agent_id AND o.epoch = e.epoch AND o.until_at IS NULL AND o.last_seq = e.last_seq
        AND o.first_seq = (SELECT max(g.first_seq) FROM gaps g WHERE g.agent_id = e.agent_id AND g.epoch = e.epoch)";

const OPEN_STREAMS: &str = "
    INSERT INTO agent_epochs (agent_id, epoch, last_seq, first_seen, last_received_at)
    SELECT unhex(value ->> 0), unhex(value ->> 1), 0, value ->> 2, value ->> 2
    FROM json_each($1) WHERE TRUE
    ORDER BY key
    ON CONFLICT (agent_id, epoch) DO NOTHING";

const INSERT_BATCH: &str = "
    INSERT INTO batches (agent_id, epoch, seq, received_at, digest, payload) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (agent_id, epoch, seq) DO NOTHING";

// Gaps do not overlap: the last that begins at or before a place is the one that can hold it.
const LOAD_HELD: &str = "
    SELECT
        unhex(wanted.value ->> 0) AS agent_id, unhex(wanted.value ->> 1) AS epoch, wanted.value ->> 2 AS seq, b.digest,
        b.seq IS NOT NULL OR ifnull((SELECT g.last_seq FROM gaps g
            WHERE g.agent_id = unhex(wanted.value ->> 0) AND g.epoch = unhex(wanted.value ->> 1)
                AND g.first_seq <= wanted.value ->> 2
            ORDER BY g.first_seq DESC LIMIT 1) >= wanted.value ->> 2, FALSE) AS is_gap
    FROM json_each($1) wanted
    LEFT JOIN batches b ON b.agent_id = unhex(wanted.value ->> 0) AND b.epoch = unhex(wanted.value ->> 1)
        AND b.seq = wanted.value ->> 2";

const UPSERT_SCHEMA: &str = "
    INSERT INTO schemas (agent_id, schema_id, definition, refreshed_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (agent_id, schema_id) DO UPDATE SET refreshed_at = excluded.refreshed_at
        WHERE refreshed_at < excluded.refreshed_at";

const INSERT_EVENTS: &str = "
    INSERT INTO business_events
        (clinic_id, idempotency_key, type, service, agent_id, epoch, seq, occurred_at, received_at)
    SELECT
        unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4), unhex(value ->> 5),
        value ->> 6, value ->> 7, value ->> 8
    FROM json_each($1) WHERE TRUE
    ORDER BY key
    ON CONFLICT (clinic_id, idempotency_key) DO NOTHING
    RETURNING agent_id, epoch, seq";

const MOVE_POSITIONS: &str = "
    INSERT INTO agent_epochs (agent_id, epoch, last_seq, first_seen, last_received_at, oldest_at, newest_at)
    SELECT
        unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 3, value ->> 4, value ->> 5
    FROM json_each($1) WHERE TRUE
    ORDER BY key
    ON CONFLICT (agent_id, epoch) DO UPDATE SET
        last_seq = excluded.last_seq, last_received_at = max(last_received_at, excluded.last_received_at),
        oldest_at = ifnull(oldest_at, excluded.oldest_at), newest_at = ifnull(excluded.newest_at, newest_at)";

/// Stores a group; the caller commits.
pub(super) async fn commit(tx: &mut SqliteTransaction<'_>, rows: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
    let group = Group::try_new(rows)?;
    let mut standings = load_standings(tx, &group).await?;
    if standings.len() < group.streams.len() {
        open_streams(tx, &group).await?;
        standings = load_standings(tx, &group).await?;
    }
    let mut plan = group.plan(&standings);
    insert_batches(tx, &mut plan).await?;
    for schema in &plan.schemas {
        upsert_schema(tx, schema).await?;
    }
    plan.join_gaps(&standings);
    ledger::end_gaps(tx, &plan.ends).await?;
    ledger::insert_gaps(tx, &plan.gaps).await?;
    insert_events(tx, &mut plan).await?;
    move_positions(tx, &plan.moved).await?;
    compare(tx, &mut plan).await?;
    Ok(plan.stored)
}

async fn load_standings(
    tx: &mut SqliteTransaction<'_>,
    group: &Group<'_>,
) -> Result<HashMap<Stream, Standing>, StoreError> {
    let wanted: Value = group.streams.iter().map(|(stream, _)| json!([hex(stream.0), hex(stream.1)])).collect();
    let rows: Vec<RawStanding> = sqlx::query_as(LOAD_STANDINGS).bind(wanted).fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Makes a row for each stream that has none, so that its epoch has a place among those of its agent.
async fn open_streams(tx: &mut SqliteTransaction<'_>, group: &Group<'_>) -> Result<(), StoreError> {
    let open = |(stream, at): &(Stream, _)| json!([hex(stream.0), hex(stream.1), bound(*at).0.as_millis()]);
    let streams: Value = group.streams.iter().map(open).collect();
    sqlx::query(OPEN_STREAMS).bind(streams).execute(&mut **tx).await?;
    Ok(())
}

async fn insert_batches(tx: &mut SqliteTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let mut known = Vec::new();
    for entry in &plan.fresh {
        let inserted = sqlx::query(INSERT_BATCH)
            .bind(entry.stream.0)
            .bind(entry.stream.1)
            .bind(entry.seq)
            .bind(Moment(entry.row.received_at))
            .bind(entry.row.digest.map(u64::cast_signed))
            .bind(entry.row.payload.as_slice())
            .execute(&mut **tx)
            .await?;
        if inserted.rows_affected() == 0 {
            known.push(entry.place);
        }
    }
    for place in known {
        plan.is_stored_already(place);
    }
    Ok(())
}

/// Tells replays from what is not stored. After the inserts, so that it sees those of the group itself.
async fn compare(tx: &mut SqliteTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let place = |Entry { stream, seq, .. }: &Entry<'_>| json!([hex(stream.0), hex(stream.1), seq]);
    let wanted: Vec<Value> = plan.behind.iter().map(place).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let rows: Vec<RawHeld> = sqlx::query_as(LOAD_HELD).bind(Value::Array(wanted)).fetch_all(&mut **tx).await?;
    plan.compare(&rows.into_iter().filter_map(RawHeld::into_held).collect());
    Ok(())
}

async fn upsert_schema(tx: &mut SqliteTransaction<'_>, schema: &Definition<'_>) -> Result<(), StoreError> {
    sqlx::query(UPSERT_SCHEMA)
        .bind(schema.agent_id)
        .bind(schema.schema_id)
        .bind(schema.encoded)
        .bind(Moment(schema.refreshed_at))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn insert_events(tx: &mut SqliteTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let events: Vec<(&Entry<'_>, &Event)> = plan.events().collect();
    if events.is_empty() {
        return Ok(());
    }
    let mut fresh: HashMap<(Stream, i64), u64> = HashMap::new();
    for chunk in events.chunks(EVENTS_MAX) {
        let chunk: Value = chunk.iter().copied().map(event_to_json).collect();
        let query = sqlx::query_as(INSERT_EVENTS).bind(chunk);
        let rows: Vec<(Uuid, Uuid, i64)> = query.fetch_all(&mut **tx).await?;
        for (agent, epoch, seq) in rows {
            *fresh.entry(((agent, epoch), seq)).or_default() += 1;
        }
    }
    plan.count_events(&fresh);
    Ok(())
}

fn event_to_json((entry, event): (&Entry<'_>, &Event)) -> Value {
    json!([
        hex(event.clinic_id),
        event.idempotency_key,
        event.kind,
        entry.row.service,
        hex(entry.stream.0),
        hex(entry.stream.1),
        entry.seq,
        bound(event.occurred_at).0.as_millis(),
        entry.row.received_at.as_millis(),
    ])
}

async fn move_positions(tx: &mut SqliteTransaction<'_>, moved: &[Moved]) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let rows: Value = moved
        .iter()
        .map(|moved| {
            let [oldest_at, newest_at] = [moved.oldest_at, moved.newest_at].map(|at| millis(bound_some(at)));
            let stream = moved.stream;
            json!([hex(stream.0), hex(stream.1), moved.last_seq, moved.received_at.as_millis(), oldest_at, newest_at])
        })
        .collect();
    sqlx::query(MOVE_POSITIONS).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

pub(super) fn millis(at: Option<Moment>) -> Option<i64> {
    at.map(|at| at.0.as_millis())
}

pub(super) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::LOAD_STANDINGS;
    use crate::store::Store;

    #[tokio::test]
    async fn where_streams_stand_is_found_in_indexes_however_many_agents_there_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&dir.path().join("store.db")).await.expect("a new file");
        let plan = store.plan(LOAD_STANDINGS, [0, 0, 0]).await;
        for search in
            ["SEARCH e USING INDEX", "SEARCH p USING INDEX", "SEARCH n USING INDEX", "INDEX gaps_open (agent_id=?)"]
        {
            assert!(plan.contains(search), "{search}: {plan}");
        }
        assert!(!plan.replace("SCAN wanted", "").contains("SCAN"), "{plan}");
        store.close().await;
    }
}
