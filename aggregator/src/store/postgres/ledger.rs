//! The ledger's statements: gaps noted with a group, and read back.

use super::super::plan::{ENDS_MAX, GapEnd, NewGap};
use super::super::row::{Moment, RawAgent, RawEpoch, RawGap, RawLedger, bound, bound_some};
use super::super::{GapRow, Ledger, LedgerQuery, StoreError};
use super::{LOAD_AGENTS, PostgresStore};
use proto::sample::Timestamp;
use sqlx::postgres::PgTransaction;
use uuid::Uuid;

const INSERT_GAPS: &str = "
    INSERT INTO monitoring.gaps AS known
        (agent_id, epoch, generation, first_seq, last_seq, reason, from_at, until_at, noted_at)
    SELECT agent_id, epoch, generation, first_seq, last_seq, reason, from_at, until_at, noted_at
    FROM UNNEST(
        $1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::timestamptz[],
        $8::timestamptz[], $9::timestamptz[])
        AS noted (agent_id, epoch, generation, first_seq, last_seq, reason, from_at, until_at, noted_at)
    ORDER BY agent_id, epoch, first_seq
    ON CONFLICT (agent_id, epoch, first_seq) DO UPDATE SET
        last_seq = greatest(known.last_seq, excluded.last_seq), noted_at = greatest(known.noted_at, excluded.noted_at)";

// As `Missing::end` does it.
const END_GAPS: &str = "
    UPDATE monitoring.gaps SET
        until_at = CASE WHEN from_at >= $3 THEN greatest(from_at, $4) ELSE $3 END,
        from_at = CASE WHEN from_at >= $3 THEN $3 ELSE from_at END
    WHERE (agent_id, epoch, first_seq) IN (
        SELECT agent_id, epoch, first_seq FROM monitoring.gaps
        WHERE agent_id = $1 AND until_at IS NULL AND generation <= $2
        ORDER BY generation, first_seq LIMIT $5)";

const LOAD_EPOCHS: &str = "
    SELECT epoch, last_seq, first_seen, last_received_at, oldest_at, newest_at
    FROM monitoring.agent_epochs WHERE agent_id = $1 AND last_seq > 0 ORDER BY generation DESC LIMIT $2";

const LOAD_GAPS_OF_AGENT: &str = "
    SELECT agent_id, epoch, first_seq, last_seq, reason, from_at, until_at, noted_at FROM monitoring.gaps
    WHERE agent_id = $1 AND coalesce(from_at, $3) <= $3 AND coalesce(until_at, $2) >= $2
    ORDER BY generation DESC, first_seq DESC LIMIT $4";

const LOAD_TOTALS: &str = "
    SELECT reason, least(sum(records), 9223372036854775807)::bigint FROM monitoring.gaps
    WHERE agent_id = $1 AND coalesce(from_at, $3) <= $3 AND coalesce(until_at, $2) >= $2
    GROUP BY reason ORDER BY reason";

const LOAD_GAPS: &str = "
    SELECT agent_id, epoch, first_seq, last_seq, reason, from_at, until_at, noted_at FROM monitoring.gaps
    WHERE coalesce(until_at, noted_at) >= $1
    ORDER BY noted_at DESC, generation DESC, first_seq DESC LIMIT $2";

pub(super) async fn insert_gaps(tx: &mut PgTransaction<'_>, gaps: &[NewGap]) -> Result<(), StoreError> {
    if gaps.is_empty() {
        return Ok(());
    }
    let seq = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    sqlx::query(INSERT_GAPS)
        .bind(gaps.iter().map(|gap| gap.stream.0).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.stream.1).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.generation).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| seq(gap.missing.first_seq)).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| seq(gap.missing.last_seq)).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.missing.reason.as_str()).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| bound_some(gap.missing.from_at)).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| bound_some(gap.missing.until_at)).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| Moment(gap.noted_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Ends stored gaps, in the order of `ends`. Those beyond [`ENDS_MAX`] end by a later sample: their window is longer than it
/// need be, never shorter.
pub(super) async fn end_gaps(tx: &mut PgTransaction<'_>, ends: &[GapEnd]) -> Result<(), StoreError> {
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

pub(super) async fn load(store: &PostgresStore, query: &LedgerQuery) -> Result<Option<Ledger>, StoreError> {
    let LedgerQuery { agent_id, from, to, limit } = *query;
    let agents = store.fetch(sqlx::query_as::<_, RawAgent>(LOAD_AGENTS).bind(Some(agent_id))).await?;
    let Some(agent) = agents.into_iter().next() else { return Ok(None) };
    let epochs = sqlx::query_as::<_, RawEpoch>(LOAD_EPOCHS).bind(agent_id).bind(i64::from(limit));
    let epochs = store.fetch(epochs).await?;
    // After the epochs: of what is stored in between, a gap may be told of, but no sample after it.
    let gaps = sqlx::query_as::<_, RawGap>(LOAD_GAPS_OF_AGENT).bind(agent_id).bind(bound(from)).bind(bound(to));
    let gaps = store.fetch(gaps.bind(i64::from(limit))).await?;
    let totals = sqlx::query_as::<_, (String, i64)>(LOAD_TOTALS).bind(agent_id).bind(bound(from)).bind(bound(to));
    let totals = store.fetch(totals).await?;
    RawLedger { agent, epochs, gaps, totals }.try_into().map(Some)
}

pub(super) async fn load_gaps(store: &PostgresStore, since: Timestamp, limit: u32) -> Result<Vec<GapRow>, StoreError> {
    let query = sqlx::query_as::<_, RawGap>(LOAD_GAPS).bind(bound(since)).bind(i64::from(limit));
    store.fetch(query).await?.into_iter().rev().map(GapRow::try_from).collect()
}

pub(super) async fn stored_seq(store: &PostgresStore, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError> {
    let query = "SELECT last_seq FROM monitoring.agent_epochs WHERE agent_id = $1 AND epoch = $2";
    let query = sqlx::query_as::<_, (i64,)>(query).bind(agent_id).bind(Uuid::from_u128(epoch));
    Ok(store.fetch(query).await?.first().map_or(0, |(last,)| last.unsigned_abs()))
}
