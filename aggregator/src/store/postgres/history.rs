//! What is over and kept for a while only: finished notifications, resolved alerts, agents that do not come back and what
//! is missing of theirs, business events; and the outbox, which must not grow without bound while a channel is away.
//!
//! What prunes does so with `SKIP LOCKED`: another aggregator prunes as well, and what is being used just now is not over.
//! What sheds waits: a call before it whose answer was lost may be at it still, and what that one shed is told, too.

use super::super::row::{Moment, bound};
use super::super::{HistoryBefore, PrunedHistory, StoreError};
use super::{PRUNE_CHUNK_ROWS, PostgresStore};
use proto::sample::Timestamp;

const PRUNE_NOTIFICATIONS: &str = "
    DELETE FROM monitoring.notifications WHERE id IN (
        SELECT id FROM monitoring.notifications WHERE finished_at < $1
        ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_ALERTS: &str = "
    DELETE FROM monitoring.alerts WHERE id IN (
        SELECT id FROM monitoring.alerts WHERE resolved_at < $1 AND status = 'resolved'
        ORDER BY resolved_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_EVENTS: &str = "
    DELETE FROM monitoring.business_events WHERE (clinic_id, idempotency_key) IN (
        SELECT clinic_id, idempotency_key FROM monitoring.business_events WHERE received_at < $1
        ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_GAPS: &str = "
    DELETE FROM monitoring.gaps WHERE (agent_id, epoch, first_seq) IN (
        SELECT agent_id, epoch, first_seq FROM monitoring.gaps WHERE noted_at < $1
        ORDER BY noted_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_EPOCHS: &str = "
    DELETE FROM monitoring.agent_epochs WHERE (agent_id, epoch) IN (
        SELECT agent_id, epoch FROM monitoring.agent_epochs WHERE last_received_at < $1
        LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_AGENTS: &str = "
    DELETE FROM monitoring.agents WHERE agent_id IN (
        SELECT a.agent_id FROM monitoring.agents a
        WHERE a.last_seen < $1
            AND NOT EXISTS (SELECT FROM monitoring.agent_epochs e WHERE e.agent_id = a.agent_id)
        LIMIT $2 FOR UPDATE OF a SKIP LOCKED)";

const SHED_OUTBOX: &str = "
    WITH shed AS (
        DELETE FROM monitoring.outbox WHERE ordinal IN (
            SELECT ordinal FROM monitoring.outbox ORDER BY ordinal DESC OFFSET $1)
        RETURNING id, channel, body, created_at, attempts
    )
    INSERT INTO monitoring.notifications (id, channel, body, created_at, finished_at, outcome, attempts)
    SELECT id, channel, body, created_at, $2, 'outbox_full', attempts FROM shed
    ON CONFLICT (id) DO NOTHING";

// A statement of its own: one that waited for the same call before it does not see what that one did.
const COUNT_SHED: &str = "
    SELECT channel, count(*) FROM monitoring.notifications WHERE finished_at = $1 AND outcome = 'outbox_full'
    GROUP BY channel ORDER BY channel";

pub(super) async fn prune(store: &PostgresStore, before: &HistoryBefore) -> Result<PrunedHistory, StoreError> {
    let notifications = in_steps(store, PRUNE_NOTIFICATIONS, before.notifications).await?;
    let alerts = in_steps(store, PRUNE_ALERTS, before.alerts).await?;
    let events = in_steps(store, PRUNE_EVENTS, before.events).await?;
    in_steps(store, PRUNE_GAPS, before.agents).await?;
    in_steps(store, PRUNE_EPOCHS, before.agents).await?;
    let agents = in_steps(store, PRUNE_AGENTS, before.agents).await?;
    Ok(PrunedHistory { notifications, alerts, agents, events })
}

/// Deletes a chunk at a time, so that locks are short.
pub(super) async fn in_steps(
    store: &PostgresStore,
    delete: &'static str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        match store.execute(sqlx::query(delete).bind(bound(before)).bind(PRUNE_CHUNK_ROWS)).await? {
            0 => return Ok(deleted),
            rows => deleted += rows,
        }
    }
}

pub(super) async fn shed_outbox(
    store: &PostgresStore,
    keep: u32,
    at: Timestamp,
) -> Result<Vec<(String, u64)>, StoreError> {
    store.execute(sqlx::query(SHED_OUTBOX).bind(i64::from(keep)).bind(Moment(at))).await?;
    let shed = store.fetch(sqlx::query_as::<_, (String, i64)>(COUNT_SHED).bind(Moment(at))).await?;
    Ok(shed.into_iter().map(|(channel, count)| (channel, count.unsigned_abs())).collect())
}
