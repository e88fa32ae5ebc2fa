//! Group commit: a handful of round trips for a group of any size.
//!
//! ```text
//! BEGIN · lock where the streams stand, in the order of their keys · insert batches · upsert schemas
//!       · end and insert gaps · insert events · move positions · compare · COMMIT what there is none of costs nothing
//! ```
//! A stream that is new has no row to lock, and inserting it while others are locked could deadlock two aggregators. So
//! such rows are inserted first, in a statement of their own, and the group begins again.

use super::super::plan::{Definition, Entry, Group, Moved, Plan, Standing, Stream};
use super::super::row::{Moment, RawHeld, RawStanding, bound, bound_some};
use super::super::{BatchRow, StoreError, Stored};
use super::ledger;
use proto::event::Event;
use runtime::fail_point;
use sqlx::postgres::{PgConnection, PgTransaction};
use sqlx::{Connection, Row};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Payload that goes into one statement; PostgreSQL's messages end at 1 GiB, memory earlier.
const INSERT_BYTES_MAX: usize = 16 << 20;

/// Events of one statement: some MiB.
const EVENTS_MAX: usize = 10_000;

// The row of a stream is read as it is when it is locked, what surrounds it as it was when the statement began: `is_stale`
// where the two differ, since another aggregator committed in between.
const LOCK_STANDINGS: &str = "
    SELECT
        e.agent_id, e.epoch, e.last_seq, e.generation, e.newest_at,
        (SELECT p.newest_at FROM monitoring.agent_epochs p
            WHERE p.agent_id = e.agent_id AND p.generation < e.generation AND p.newest_at IS NOT NULL
            ORDER BY p.generation DESC LIMIT 1) AS before_at,
        EXISTS (SELECT FROM monitoring.agent_epochs n
            WHERE n.agent_id = e.agent_id AND n.generation > e.generation AND n.last_seq > 0) AS is_past,
        EXISTS (SELECT FROM monitoring.gaps g WHERE g.agent_id = e.agent_id AND g.until_at IS NULL) AS has_open_gaps,
        o.first_seq AS open_first, o.reason AS open_reason, o.from_at AS open_from_at,
        e.last_seq IS DISTINCT FROM (SELECT s.last_seq FROM monitoring.agent_epochs s
            WHERE s.agent_id = e.agent_id AND s.epoch = e.epoch) AS is_stale
    FROM monitoring.agent_epochs e
    JOIN UNNEST($1::uuid[], $2::uuid[]) AS wanted (agent_id, epoch) USING (agent_id, epoch)
    LEFT JOIN monitoring.gaps o ON o.agent_id = e.agent_id AND o.epoch = e.epoch AND o.until_at IS NULL
        AND o.last_seq = e.last_seq
        AND o.first_seq = (SELECT max(g.first_seq) FROM monitoring.gaps g
            WHERE g.agent_id = e.agent_id AND g.epoch = e.epoch)
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
    INSERT INTO monitoring.batches (agent_id, epoch, seq, received_at, digest, payload)
    SELECT agent_id, epoch, seq, received_at, digest, payload
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bytea[])
        WITH ORDINALITY AS fresh (agent_id, epoch, seq, received_at, digest, payload, place)
    ORDER BY place
    ON CONFLICT (agent_id, epoch, seq) DO NOTHING
    RETURNING agent_id, epoch, seq";

// Gaps do not overlap: the last that begins at or before a place is the one that can hold it.
const LOAD_HELD: &str = "
    SELECT
        wanted.agent_id, wanted.epoch, wanted.seq, b.digest,
        b.seq IS NOT NULL OR coalesce((SELECT g.last_seq FROM monitoring.gaps g
            WHERE g.agent_id = wanted.agent_id AND g.epoch = wanted.epoch AND g.first_seq <= wanted.seq
            ORDER BY g.first_seq DESC LIMIT 1) >= wanted.seq, FALSE) AS is_gap
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[]) AS wanted (agent_id, epoch, seq)
    LEFT JOIN monitoring.batches b USING (agent_id, epoch, seq)";

// Keys in a fixed order against deadlocks; of one key's events the first in the group's order is the one.
const INSERT_EVENTS: &str = "
    INSERT INTO monitoring.business_events
        (clinic_id, idempotency_key, type, service, agent_id, epoch, seq, occurred_at, received_at)
    SELECT clinic_id, idempotency_key, type, service, agent_id, epoch, seq, occurred_at, received_at
    FROM UNNEST(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::bigint[], $8::timestamptz[],
        $9::timestamptz[]) WITH ORDINALITY AS told
        (clinic_id, idempotency_key, type, service, agent_id, epoch, seq, occurred_at, received_at, place)
    ORDER BY clinic_id, idempotency_key, place
    ON CONFLICT (clinic_id, idempotency_key) DO NOTHING
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
    SET last_seq = moved.last_seq, last_received_at = greatest(e.last_received_at, moved.received_at),
        oldest_at = coalesce(e.oldest_at, moved.oldest_at), newest_at = coalesce(moved.newest_at, e.newest_at)
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
        AS moved (agent_id, epoch, last_seq, received_at, oldest_at, newest_at)
    WHERE e.agent_id = moved.agent_id AND e.epoch = moved.epoch";

/// A stream's row, locked.
#[derive(sqlx::FromRow)]
struct Locked {
    #[sqlx(flatten)]
    standing: RawStanding,
    /// See [`LOCK_STANDINGS`].
    is_stale: bool,
}

/// Stores a group in one transaction. What becomes of it is in `sent` from when the server is told to commit: from then on
/// an error, or no answer, does not mean that nothing is stored.
pub(super) async fn commit(
    connection: &mut PgConnection,
    rows: &[BatchRow],
    sent: &mut Option<Vec<Stored>>,
) -> Result<Vec<Stored>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let group = Group::try_new(rows)?;
    if let Some(stored) = try_commit(connection, &group, sent).await? {
        return Ok(stored);
    }
    open_streams(connection, &group).await?;
    try_commit(connection, &group, sent).await?.ok_or_else(|| StoreError::BadRow {
        table: "agent_epochs",
        problem: "a row that was just inserted is gone; who deletes there?".to_owned(),
    })
}

/// Stores the group, or nothing where one of its streams has no row to lock yet.
async fn try_commit(
    connection: &mut PgConnection,
    group: &Group<'_>,
    sent: &mut Option<Vec<Stored>>,
) -> Result<Option<Vec<Stored>>, StoreError> {
    let mut tx = connection.begin().await?;
    let standings = lock_standings(&mut tx, group).await?;
    if standings.len() < group.streams.len() {
        tx.rollback().await?;
        return Ok(None);
    }
    let mut plan = group.plan(&standings);
    insert_batches(&mut tx, &mut plan).await?;
    if plan.moved.is_empty() {
        compare(&mut tx, &mut plan).await?;
        tx.rollback().await?;
        return Ok(Some(plan.stored));
    }
    upsert_schemas(&mut tx, &plan.schemas).await?;
    plan.join_gaps(&standings);
    ledger::end_gaps(&mut tx, &plan.ends).await?;
    ledger::insert_gaps(&mut tx, &plan.gaps).await?;
    insert_events(&mut tx, &mut plan).await?;
    move_positions(&mut tx, &plan.moved).await?;
    compare(&mut tx, &mut plan).await?;
    fail_point::hit("aggregator.inside");
    *sent = Some(plan.stored.clone());
    tx.commit().await?;
    Ok(Some(plan.stored))
}

async fn lock_standings(
    tx: &mut PgTransaction<'_>,
    group: &Group<'_>,
) -> Result<HashMap<Stream, Standing>, StoreError> {
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = group.streams.iter().map(|(stream, _)| *stream).unzip();
    let read = || sqlx::query_as(LOCK_STANDINGS).bind(&agents).bind(&epochs);
    let mut rows: Vec<Locked> = read().fetch_all(&mut **tx).await?;
    // All of them are locked by now, so nothing changes between this statement's beginning and its end. Where one is not there
    // yet the caller begins anew: reading again could find it, and lock it out of order.
    if rows.len() == agents.len() && rows.iter().any(|row| row.is_stale) {
        rows = read().fetch_all(&mut **tx).await?;
    }
    Ok(rows.into_iter().map(|row| row.standing.into()).collect())
}

async fn open_streams(connection: &mut PgConnection, group: &Group<'_>) -> Result<(), StoreError> {
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = group.streams.iter().map(|(stream, _)| *stream).unzip();
    let received_at: Vec<Moment> = group.streams.iter().map(|(_, at)| Moment(*at)).collect();
    sqlx::query(OPEN_STREAMS).bind(agents).bind(epochs).bind(received_at).execute(connection).await?;
    Ok(())
}

/// Inserts the fresh batches. One that is stored although its position does not say so is a replay after all.
async fn insert_batches(tx: &mut PgTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let mut known = Vec::new();
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
            .bind(chunk.iter().map(|entry| entry.row.digest.map(u64::cast_signed)).collect::<Vec<_>>())
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
        let absent = chunk.iter().filter(|entry| !inserted.contains(&(entry.stream, entry.seq)));
        known.extend(absent.map(|entry| entry.place));
    }
    for place in known {
        plan.is_stored_already(place);
    }
    Ok(())
}

/// Tells replays from what is not stored. After the inserts, so that it sees those of the group itself.
async fn compare(tx: &mut PgTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    if plan.behind.is_empty() {
        return Ok(());
    }
    let (agents, epochs): (Vec<Uuid>, Vec<Uuid>) = plan.behind.iter().map(|entry| entry.stream).unzip();
    let seqs: Vec<i64> = plan.behind.iter().map(|entry| entry.seq).collect();
    let query = sqlx::query_as(LOAD_HELD).bind(agents).bind(epochs).bind(seqs);
    let rows: Vec<RawHeld> = query.fetch_all(&mut **tx).await?;
    plan.compare(&rows.into_iter().filter_map(RawHeld::into_held).collect());
    Ok(())
}

async fn insert_events(tx: &mut PgTransaction<'_>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let events: Vec<(&Entry<'_>, &Event)> = plan.events().collect();
    if events.is_empty() {
        return Ok(());
    }
    let mut fresh: HashMap<(Stream, i64), u64> = HashMap::new();
    for chunk in events.chunks(EVENTS_MAX) {
        let rows: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(INSERT_EVENTS)
            .bind(chunk.iter().map(|(_, event)| event.clinic_id).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(_, event)| event.idempotency_key.as_str()).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(_, event)| event.kind.as_str()).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(entry, _)| entry.row.service.as_str()).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(entry, _)| entry.stream.0).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(entry, _)| entry.stream.1).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(entry, _)| entry.seq).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(_, event)| bound(event.occurred_at)).collect::<Vec<_>>())
            .bind(chunk.iter().map(|(entry, _)| Moment(entry.row.received_at)).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?;
        for (agent, epoch, seq) in rows {
            *fresh.entry(((agent, epoch), seq)).or_default() += 1;
        }
    }
    plan.count_events(&fresh);
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
        .bind(moved.iter().map(|moved| bound_some(moved.oldest_at)).collect::<Vec<_>>())
        .bind(moved.iter().map(|moved| bound_some(moved.newest_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
