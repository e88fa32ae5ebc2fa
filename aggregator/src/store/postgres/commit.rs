//! Group commit: a handful of round trips for a group of any size.
//!
//! ```text
//! BEGIN · lock the streams' positions, in the order of their keys · insert batches · upsert schemas · move positions · COMMIT
//! ```
//! A stream that is new has no row to lock, and inserting it while others are locked could deadlock two aggregators. So
//! such rows are inserted first, in a statement of their own, and the group begins again.

use super::super::ledger::{Definition, Entry, Group, Moved, Plan, Stream};
use super::super::row::Moment;
use super::super::{BatchRow, StoreError, Stored};
use runtime::fail_point;
use sqlx::postgres::{PgConnection, PgTransaction};
use sqlx::{Connection, Row};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Payload that goes into one statement; PostgreSQL's messages end at 1 GiB, memory earlier.
const INSERT_BYTES_MAX: usize = 16 << 20;

const LOCK_POSITIONS: &str = "
    SELECT e.agent_id, e.epoch, e.last_seq
    FROM monitoring.agent_epochs e
    JOIN UNNEST($1::uuid[], $2::uuid[]) AS wanted (agent_id, epoch) USING (agent_id, epoch)
    ORDER BY e.agent_id, e.epoch
    FOR UPDATE OF e";

// Agents in a fixed order against deadlocks; the epochs of one agent in the group's order, for `generation`.
const OPEN_STREAMS: &str = "
    INSERT INTO monitoring.agent_epochs (agent_id, epoch, last_seq, first_seen, last_received_at)
    SELECT agent_id, epoch, 0, received_at, received_at
    FROM UNNEST($1::uuid[], $2::uuid[], $3::timestamptz[])
        WITH ORDINALITY AS opened (agent_id, epoch, received_at, place)
    ORDER BY agent_id, place
    ON CONFLICT (agent_id, epoch) DO NOTHING";

const INSERT_BATCHES: &str = "
    INSERT INTO monitoring.batches (agent_id, epoch, seq, received_at, payload)
    SELECT agent_id, epoch, seq, received_at, payload
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bytea[])
        WITH ORDINALITY AS fresh (agent_id, epoch, seq, received_at, payload, place)
    ORDER BY place
    ON CONFLICT (agent_id, epoch, seq) DO NOTHING
    RETURNING agent_id, epoch, seq";

const UPSERT_SCHEMAS: &str = "
    INSERT INTO monitoring.schemas AS known (agent_id, schema_id, definition, refreshed_at)
    SELECT agent_id, schema_id, definition, refreshed_at
    FROM UNNEST($1::uuid[], $2::bigint[], $3::bytea[], $4::timestamptz[])
        AS defined (agent_id, schema_id, definition, refreshed_at)
    ORDER BY agent_id, schema_id
    ON CONFLICT (agent_id, schema_id) DO UPDATE SET refreshed_at = excluded.refreshed_at
        WHERE known.refreshed_at < excluded.refreshed_at";

const MOVE_POSITIONS: &str = "
    UPDATE monitoring.agent_epochs e
    SET last_seq = moved.last_seq, last_received_at = greatest(e.last_received_at, moved.received_at)
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
        AS moved (agent_id, epoch, last_seq, received_at)
    WHERE e.agent_id = moved.agent_id AND e.epoch = moved.epoch";

/// Stores a group in one transaction.
pub(super) async fn commit(connection: &mut PgConnection, rows: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let group = Group::try_new(rows)?;
    if let Some(stored) = try_commit(connection, &group).await? {
        return Ok(stored);
    }
    open_streams(connection, &group).await?;
    try_commit(connection, &group).await?.ok_or_else(|| StoreError::BadRow {
        table: "agent_epochs",
        problem: "a row that was just inserted is gone; who deletes there?".to_owned(),
    })
}

/// Stores the group, or nothing where one of its streams has no row to lock yet.
async fn try_commit(connection: &mut PgConnection, group: &Group<'_>) -> Result<Option<Vec<Stored>>, StoreError> {
    let mut tx = connection.begin().await?;
    let positions = lock_positions(&mut tx, group).await?;
    if positions.len() < group.streams.len() {
        tx.rollback().await?;
        return Ok(None);
    }
    let mut plan = group.plan(&positions);
    if plan.fresh.is_empty() {
        tx.rollback().await?;
        return Ok(Some(plan.stored));
    }
    insert_batches(&mut tx, &mut plan).await?;
    upsert_schemas(&mut tx, &plan.schemas).await?;
    move_positions(&mut tx, &plan.moved).await?;
    fail_point::hit("aggregator.inside");
    tx.commit().await?;
    Ok(Some(plan.stored))
}

async fn lock_positions(tx: &mut PgTransaction<'_>, group: &Group<'_>) -> Result<HashMap<Stream, i64>, StoreError> {
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = group.streams.iter().map(|(stream, _)| *stream).unzip();
    let rows: Vec<(Uuid, Uuid, i64)> =
        sqlx::query_as(LOCK_POSITIONS).bind(agents).bind(epochs).fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|(agent, epoch, last_seq)| ((agent, epoch), last_seq)).collect())
}

async fn open_streams(connection: &mut PgConnection, group: &Group<'_>) -> Result<(), StoreError> {
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = group.streams.iter().map(|(stream, _)| *stream).unzip();
    let received_at: Vec<Moment> = group.streams.iter().map(|(_, at)| Moment(*at)).collect();
    sqlx::query(OPEN_STREAMS).bind(agents).bind(epochs).bind(received_at).execute(connection).await?;
    Ok(())
}

/// Inserts the fresh batches. One that is stored although its position does not say so is a replay after all.
async fn insert_batches(tx: &mut PgTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let mut rest = plan.fresh.as_slice();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(chunk_len(rest));
        rest = behind;
        let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = chunk.iter().map(|entry| entry.stream).unzip();
        let rows = sqlx::query(INSERT_BATCHES)
            .bind(agents)
            .bind(epochs)
            .bind(chunk.iter().map(|entry| entry.seq).collect::<Vec<_>>())
            .bind(chunk.iter().map(|entry| Moment(entry.row.received_at)).collect::<Vec<_>>())
            .bind(chunk.iter().map(|entry| entry.row.payload.as_slice()).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?;
        if rows.len() == chunk.len() {
            continue;
        }
        let inserted = rows
            .iter()
            .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?)))
            .collect::<Result<HashSet<(Stream, i64)>, sqlx::Error>>()?;
        for entry in chunk.iter().filter(|entry| !inserted.contains(&(entry.stream, entry.seq))) {
            plan.stored[entry.place] = Stored::Replay;
        }
    }
    Ok(())
}

/// How many of `entries` one statement takes: at least one.
fn chunk_len(entries: &[Entry<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry<'_>| {
        bytes += entry.row.payload.len();
        bytes <= INSERT_BYTES_MAX
    };
    entries.iter().take_while(fits).count().max(1)
}

async fn upsert_schemas(tx: &mut PgTransaction<'_>, schemas: &[Definition<'_>]) -> Result<(), StoreError> {
    if schemas.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_SCHEMAS)
        .bind(schemas.iter().map(|schema| schema.agent_id).collect::<Vec<_>>())
        .bind(schemas.iter().map(|schema| schema.schema_id).collect::<Vec<_>>())
        .bind(schemas.iter().map(|schema| schema.encoded).collect::<Vec<_>>())
        .bind(schemas.iter().map(|schema| Moment(schema.refreshed_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn move_positions(tx: &mut PgTransaction<'_>, moved: &[Moved]) -> Result<(), StoreError> {
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = moved.iter().map(|moved| moved.stream).unzip();
    sqlx::query(MOVE_POSITIONS)
        .bind(agents)
        .bind(epochs)
        .bind(moved.iter().map(|moved| moved.last_seq).collect::<Vec<_>>())
        .bind(moved.iter().map(|moved| Moment(moved.received_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
