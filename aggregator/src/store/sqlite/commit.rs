//! Group commit: prepared statements within one transaction. The writer's lock is the lock of every position.
//!
//! Each statement costs a hop to SQLite's thread and back, so positions go in one statement for the whole group, as a
//! JSON array with ids in hexadecimal. Batches go one by one: their payload in hexadecimal would cost more than the hop.

use super::super::ledger::{Definition, Group, Moved, Stream};
use super::super::row::Moment;
use super::super::{BatchRow, StoreError, Stored};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteTransaction;
use std::collections::HashMap;
use uuid::Uuid;

const LOAD_POSITIONS: &str = "
    SELECT e.agent_id, e.epoch, e.last_seq
    FROM json_each($1) wanted
    JOIN agent_epochs e ON e.agent_id = unhex(wanted.value ->> 0) AND e.epoch = unhex(wanted.value ->> 1)";

const INSERT_BATCH: &str = "
    INSERT INTO batches (agent_id, epoch, seq, received_at, payload) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (agent_id, epoch, seq) DO NOTHING";

const UPSERT_SCHEMA: &str = "
    INSERT INTO schemas (agent_id, schema_id, definition, refreshed_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (agent_id, schema_id) DO UPDATE SET refreshed_at = excluded.refreshed_at
        WHERE refreshed_at < excluded.refreshed_at";

const MOVE_POSITIONS: &str = "
    INSERT INTO agent_epochs (agent_id, epoch, last_seq, first_seen, last_received_at)
    SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 3
    FROM json_each($1) WHERE TRUE
    ORDER BY key
    ON CONFLICT (agent_id, epoch) DO UPDATE SET
        last_seq = excluded.last_seq, last_received_at = max(last_received_at, excluded.last_received_at)";

/// Stores a group; the caller commits.
pub(super) async fn commit(tx: &mut SqliteTransaction<'_>, rows: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
    let group = Group::try_new(rows)?;
    let mut plan = group.plan(&load_positions(tx, &group).await?);
    for entry in &plan.fresh {
        let inserted = sqlx::query(INSERT_BATCH)
            .bind(entry.stream.0)
            .bind(entry.stream.1)
            .bind(entry.seq)
            .bind(Moment(entry.row.received_at))
            .bind(entry.row.payload.as_slice())
            .execute(&mut **tx)
            .await?;
        if inserted.rows_affected() == 0 {
            // Stored, although its position does not say so: a replay after all.
            plan.stored[entry.place] = Stored::Replay;
        }
    }
    for schema in &plan.schemas {
        upsert_schema(tx, schema).await?;
    }
    move_positions(tx, &plan.moved).await?;
    Ok(plan.stored)
}

async fn load_positions(tx: &mut SqliteTransaction<'_>, group: &Group<'_>) -> Result<HashMap<Stream, i64>, StoreError> {
    let wanted: Value = group.streams.iter().map(|(stream, _)| json!([hex(stream.0), hex(stream.1)])).collect();
    let rows: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(LOAD_POSITIONS).bind(wanted).fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|(agent, epoch, last_seq)| ((agent, epoch), last_seq)).collect())
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

async fn move_positions(tx: &mut SqliteTransaction<'_>, moved: &[Moved]) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let rows: Value = moved
        .iter()
        .map(|moved| json!([hex(moved.stream.0), hex(moved.stream.1), moved.last_seq, moved.received_at.as_millis()]))
        .collect();
    sqlx::query(MOVE_POSITIONS).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
