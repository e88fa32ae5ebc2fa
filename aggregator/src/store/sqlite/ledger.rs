//! The ledger's statements: gaps noted with a group, and read back.

use super::super::plan::{ENDS_MAX, GapEnd, NewGap};
use super::super::row::{RawAgent, RawEpoch, RawGap, RawLedger, bound, bound_some};
use super::super::{GapRow, Ledger, LedgerQuery, StoreError};
use super::commit::{hex, millis};
use super::{LOAD_AGENTS, SqliteStore};
use proto::sample::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteTransaction;
use uuid::Uuid;

const INSERT_GAPS: &str = "
    INSERT INTO gaps (agent_id, epoch, generation, first_seq, last_seq, reason, from_at, until_at, noted_at)
    SELECT
        unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        value ->> 6, value ->> 7, value ->> 8
    FROM json_each($1) WHERE TRUE
    ON CONFLICT (agent_id, epoch, first_seq) DO UPDATE SET
        last_seq = max(last_seq, excluded.last_seq), noted_at = max(noted_at, excluded.noted_at)";

// As `Missing::end` does it.
const END_GAPS: &str = "
    UPDATE gaps SET
        until_at = CASE WHEN from_at >= $3 THEN max(from_at, $4) ELSE $3 END,
        from_at = CASE WHEN from_at >= $3 THEN $3 ELSE from_at END
    WHERE (agent_id, epoch, first_seq) IN (
        SELECT agent_id, epoch, first_seq FROM gaps INDEXED BY gaps_open
        WHERE agent_id = $1 AND until_at IS NULL AND generation <= $2
        ORDER BY generation, first_seq LIMIT $5)";

const LOAD_EPOCHS: &str = "
    SELECT epoch, last_seq, first_seen, last_received_at, oldest_at, newest_at
    FROM agent_epochs WHERE agent_id = $1 AND last_seq > 0 ORDER BY +generation DESC LIMIT $2";

const LOAD_GAPS_OF_AGENT: &str = "
    SELECT agent_id, epoch, first_seq, last_seq, reason, from_at, until_at, noted_at FROM gaps
    WHERE agent_id = $1 AND ifnull(from_at, $3) <= $3 AND ifnull(until_at, $2) >= $2
    ORDER BY generation DESC, first_seq DESC LIMIT $4";

// Not `sum`, which fails where absurd numbers overflow it.
const LOAD_TOTALS: &str = "
    SELECT reason, CAST(total(records) AS INTEGER) FROM gaps
    WHERE agent_id = $1 AND ifnull(from_at, $3) <= $3 AND ifnull(until_at, $2) >= $2
    GROUP BY reason ORDER BY reason";

const LOAD_GAPS: &str = "
    SELECT agent_id, epoch, first_seq, last_seq, reason, from_at, until_at, noted_at FROM gaps
    INDEXED BY gaps_lately WHERE ifnull(until_at, noted_at) >= $1
    ORDER BY noted_at DESC, generation DESC, first_seq DESC LIMIT $2";

pub(super) async fn insert_gaps(tx: &mut SqliteTransaction<'_>, gaps: &[NewGap]) -> Result<(), StoreError> {
    if gaps.is_empty() {
        return Ok(());
    }
    let rows: Value = gaps.iter().map(gap_to_json).collect();
    sqlx::query(INSERT_GAPS).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

fn gap_to_json(gap: &NewGap) -> Value {
    let missing = &gap.missing;
    let [from_at, until_at] = [missing.from_at, missing.until_at].map(|at| millis(bound_some(at)));
    json!([
        hex(gap.stream.0),
        hex(gap.stream.1),
        gap.generation,
        missing.first_seq,
        missing.last_seq,
        missing.reason,
        from_at,
        until_at,
        gap.noted_at.as_millis(),
    ])
}

/// Ends stored gaps, in the order of `ends`. Those beyond [`ENDS_MAX`] end by a later sample: their window is longer than it
/// need be, never shorter.
pub(super) async fn end_gaps(tx: &mut SqliteTransaction<'_>, ends: &[GapEnd]) -> Result<(), StoreError> {
    let mut most = ENDS_MAX;
    for end in ends {
        let (oldest_at, newest_at) = end.sampled;
        let query = sqlx::query(END_GAPS).bind(end.agent_id).bind(end.generation);
        let query = query.bind(bound(oldest_at)).bind(bound(newest_at));
        let ended = query.bind(i64::from(most)).execute(&mut **tx).await?.rows_affected();
        most = most.saturating_sub(u32::try_from(ended).unwrap_or(most));
        if most == 0 {
            break;
        }
    }
    Ok(())
}

pub(super) async fn load(store: &SqliteStore, query: &LedgerQuery) -> Result<Option<Ledger>, StoreError> {
    let LedgerQuery { agent_id, from, to, limit } = *query;
    // One snapshot for all.
    let mut tx = store.readers.begin().await?;
    let agents: Vec<RawAgent> = sqlx::query_as(LOAD_AGENTS).bind(Some(agent_id)).fetch_all(&mut *tx).await?;
    let Some(agent) = agents.into_iter().next() else { return Ok(None) };
    let epochs = sqlx::query_as::<_, RawEpoch>(LOAD_EPOCHS).bind(agent_id).bind(i64::from(limit));
    let epochs = epochs.fetch_all(&mut *tx).await?;
    let gaps = sqlx::query_as::<_, RawGap>(LOAD_GAPS_OF_AGENT).bind(agent_id).bind(bound(from)).bind(bound(to));
    let gaps = gaps.bind(i64::from(limit)).fetch_all(&mut *tx).await?;
    let totals = sqlx::query_as(LOAD_TOTALS).bind(agent_id).bind(bound(from)).bind(bound(to));
    let totals: Vec<(String, i64)> = totals.fetch_all(&mut *tx).await?;
    RawLedger { agent, epochs, gaps, totals }.try_into().map(Some)
}

pub(super) async fn load_gaps(store: &SqliteStore, since: Timestamp, limit: u32) -> Result<Vec<GapRow>, StoreError> {
    let query = sqlx::query_as::<_, RawGap>(LOAD_GAPS).bind(bound(since)).bind(i64::from(limit));
    query.fetch_all(&store.readers).await?.into_iter().rev().map(GapRow::try_from).collect()
}

pub(super) async fn stored_seq(store: &SqliteStore, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar("SELECT last_seq FROM agent_epochs WHERE agent_id = $1 AND epoch = $2");
    let last: Option<i64> = query.bind(agent_id).bind(Uuid::from_u128(epoch)).fetch_optional(&store.readers).await?;
    Ok(last.unwrap_or(0).unsigned_abs())
}
