//! What is over and kept for a while only: finished notifications, resolved alerts, agents that do not come back and what
//! is missing of theirs, business events; and the outbox, which must not grow without bound while a channel is away.

use super::super::row::{Moment, bound};
use super::super::{HistoryBefore, PrunedHistory, StoreError};
use super::{PRUNE_CHUNK_ROWS, SqliteStore};
use proto::sample::Timestamp;
use sqlx::sqlite::SqliteTransaction;

const PRUNE_NOTIFICATIONS: &str = "
    DELETE FROM notifications WHERE id IN (
        SELECT id FROM notifications WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)";

const PRUNE_ALERTS: &str = "
    DELETE FROM alerts WHERE id IN (
        SELECT id FROM alerts WHERE resolved_at < $1 AND status = 'resolved' ORDER BY resolved_at LIMIT $2)";

const PRUNE_EVENTS: &str = "
    DELETE FROM business_events WHERE (clinic_id, idempotency_key) IN (
        SELECT clinic_id, idempotency_key FROM business_events WHERE received_at < $1 ORDER BY received_at LIMIT $2)";

const PRUNE_GAPS: &str = "
    DELETE FROM gaps WHERE (agent_id, epoch, first_seq) IN (
        SELECT agent_id, epoch, first_seq FROM gaps WHERE noted_at < $1 ORDER BY noted_at LIMIT $2)";

const PRUNE_EPOCHS: &str = "
    DELETE FROM agent_epochs WHERE generation IN (
        SELECT generation FROM agent_epochs WHERE last_received_at < $1 LIMIT $2)";

const PRUNE_AGENTS: &str = "
    DELETE FROM agents WHERE agent_id IN (
        SELECT a.agent_id FROM agents a
        WHERE a.last_seen < $1 AND NOT EXISTS (SELECT 1 FROM agent_epochs e WHERE e.agent_id = a.agent_id)
        LIMIT $2)";

const KEEP_SHED: &str = "
    INSERT INTO notifications (id, channel, body, created_at, finished_at, outcome, attempts)
    SELECT id, channel, body, created_at, $1, 'outbox_full', attempts FROM outbox
    ORDER BY ordinal DESC LIMIT -1 OFFSET $2
    ON CONFLICT (id) DO NOTHING";

const SHED: &str = "
    DELETE FROM outbox WHERE ordinal IN (
        SELECT ordinal FROM outbox ORDER BY ordinal DESC LIMIT -1 OFFSET $1)";

const COUNT_SHED: &str = "
    SELECT channel, count(*) FROM notifications WHERE finished_at = $1 AND outcome = 'outbox_full'
    GROUP BY channel ORDER BY channel";

pub(super) async fn prune(store: &SqliteStore, before: &HistoryBefore) -> Result<PrunedHistory, StoreError> {
    let notifications = in_steps(store, PRUNE_NOTIFICATIONS, before.notifications).await?;
    let alerts = in_steps(store, PRUNE_ALERTS, before.alerts).await?;
    let events = in_steps(store, PRUNE_EVENTS, before.events).await?;
    in_steps(store, PRUNE_GAPS, before.agents).await?;
    in_steps(store, PRUNE_EPOCHS, before.agents).await?;
    let agents = in_steps(store, PRUNE_AGENTS, before.agents).await?;
    Ok(PrunedHistory { notifications, alerts, agents, events })
}

/// Deletes a chunk at a time, so that other writers wait for one chunk only.
pub(super) async fn in_steps(store: &SqliteStore, delete: &'static str, before: Timestamp) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        match store.execute(sqlx::query(delete).bind(bound(before)).bind(PRUNE_CHUNK_ROWS)).await? {
            0 => return Ok(deleted),
            rows => deleted += rows,
        }
    }
}

/// Finishes all but the newest `keep`; the caller commits.
pub(super) async fn shed_outbox(
    tx: &mut SqliteTransaction<'_>,
    keep: u32,
    at: Timestamp,
) -> Result<Vec<(String, u64)>, StoreError> {
    sqlx::query(KEEP_SHED).bind(Moment(at)).bind(i64::from(keep)).execute(&mut **tx).await?;
    sqlx::query(SHED).bind(i64::from(keep)).execute(&mut **tx).await?;
    let shed: Vec<(String, i64)> = sqlx::query_as(COUNT_SHED).bind(Moment(at)).fetch_all(&mut **tx).await?;
    Ok(shed.into_iter().map(|(channel, count)| (channel, count.unsigned_abs())).collect())
}
