//! PostgreSQL, for production: a small pool, everything in the schema `monitoring`, several aggregators at once.
//!
//! Every statement runs on a [`Lease`]: a pooled connection that goes back to the pool only after its work was awaited
//! to its end. Where the work is dropped or takes too long the connection is closed instead, and the server rolls back:
//! sqlx alone would return a connection with an open transaction when `BEGIN` itself is dropped before its answer.

mod commit;
mod connect;
mod evaluation;
mod history;
mod ledger;

use super::row::{Moment, RawAgent, RawAlert, RawBatch, RawInstance, RawNotification, RawSchema};
use super::row::{bound, group_rules, to_bigint};
use super::{
    AgentRow, AlertRow, BatchRow, EvaluationRow, GapRow, HistoryBefore, Ledger, LedgerQuery, OutboxRow, PrunedHistory,
    Pulse, RuleRow, SCHEMA_REFRESH, SchemaRow, Scope, Store, StoreError, Stored,
};
use futures::TryStreamExt;
use proto::sample::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{FromRow, Postgres, QueryBuilder};
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use uuid::Uuid;

pub use connect::CONNECT_MAX;

/// Longest that one operation may take before its connection is given up. Longer than the server's own limits (30 s a
/// statement, 10 s a lock), so that it is reached only where the server is gone without a word.
const OPERATION_MAX: Duration = Duration::from_mins(1);

/// Batches that `replay` asks for at once.
const REPLAY_PAGE_ROWS: i64 = 500;

/// Batches that `prune` deletes in one transaction: some hundred milliseconds.
const PRUNE_CHUNK_ROWS: i64 = 5_000;

/// The store on PostgreSQL.
pub struct PostgresStore {
    pool: PgPool,
    /// Whether clinics are looked up before an alert is written.
    clinics: connect::Clinics,
}

/// A pooled connection at work.
struct Lease(Option<PoolConnection<Postgres>>);

// === impl PostgresStore ===

impl PostgresStore {
    /// Connects, migrates, and fills no pool yet: connections are made as they are needed.
    pub async fn open(options: PgConnectOptions) -> Result<Self, StoreError> {
        let (pool, clinics) = connect::open(options).await?;
        Ok(Self { pool, clinics })
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        Ok(Lease(Some(self.pool.acquire().await?)))
    }

    async fn execute(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<u64, StoreError> {
        let mut lease = self.lease().await?;
        let done = timeout(OPERATION_MAX, statement.execute(lease.connection())).await;
        lease.settle(done).map(|result| result.rows_affected())
    }

    async fn fetch<T>(&self, query: QueryAs<'_, Postgres, T, PgArguments>) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut lease = self.lease().await?;
        let done = timeout(OPERATION_MAX, query.fetch_all(lease.connection())).await;
        lease.settle(done)
    }
}

const SAVE_AGENT: &str = "
    INSERT INTO monitoring.agents AS known
        (agent_id, service, instance, clinic_id, interval_ms, agent_version, first_seen, last_seen, stopped_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)
    ON CONFLICT (agent_id) DO UPDATE SET
        service = excluded.service, instance = excluded.instance, clinic_id = excluded.clinic_id,
        interval_ms = excluded.interval_ms, agent_version = excluded.agent_version,
        last_seen = excluded.last_seen, stopped_at = NULL,
        renamed_after = CASE
            WHEN (known.service, known.instance, known.clinic_id)
                IS NOT DISTINCT FROM (excluded.service, excluded.instance, excluded.clinic_id)
            THEN known.renamed_after ELSE (SELECT coalesce(max(id), 0) FROM monitoring.batches) END";

/// All of them, or one.
const LOAD_AGENTS: &str = "
    SELECT
        a.agent_id, a.service, a.instance, a.clinic_id, a.interval_ms, a.agent_version,
        a.first_seen, a.last_seen, a.stopped_at, newest.epoch, newest.last_seq,
        (SELECT max(e.last_received_at) FROM monitoring.agent_epochs e
            WHERE e.agent_id = a.agent_id AND e.last_seq > 0) AS last_batch
    FROM monitoring.agents a
    LEFT JOIN LATERAL (
        SELECT e.epoch, e.last_seq FROM monitoring.agent_epochs e
        WHERE e.agent_id = a.agent_id AND e.last_seq > 0
        ORDER BY e.generation DESC LIMIT 1
    ) newest ON TRUE
    WHERE a.agent_id = coalesce($1, a.agent_id)
    ORDER BY a.agent_id";

// The sum keeps the planner from answering by a walk along the primary key, past every older row.
const REPLAY_BEGIN: &str = "SELECT min(id + 0) FROM monitoring.batches WHERE received_at >= $1";

// The sum keeps the index on `received_at` out of it: a page is a walk along the primary key from where the one before
// ended, and the planner takes the newest batches for fewer than they are.
const REPLAY_PAGE: &str = "
    SELECT b.id, b.agent_id, b.epoch, b.seq, b.received_at, b.payload
    FROM monitoring.batches b LEFT JOIN monitoring.agents a USING (agent_id)
    WHERE b.id >= $1 AND b.received_at + INTERVAL '0' >= $2
        AND b.id > coalesce(a.renamed_after, 0)
    ORDER BY b.id LIMIT $3";

// SKIP LOCKED: another aggregator prunes as well.
const PRUNE_BATCHES: &str = "
    DELETE FROM monitoring.batches WHERE id IN (
        SELECT id FROM monitoring.batches WHERE received_at < $1
        ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const PRUNE_SCHEMAS: &str = "
    DELETE FROM monitoring.schemas WHERE (agent_id, schema_id) IN (
        SELECT agent_id, schema_id FROM monitoring.schemas WHERE refreshed_at < $1
        FOR UPDATE SKIP LOCKED)";

const SAVE_PULSE: &str = "
    INSERT INTO monitoring.pulse (alive_at, trusted_at) VALUES ($1, $2)
    ON CONFLICT (only_row) DO UPDATE SET alive_at = excluded.alive_at, trusted_at = excluded.trusted_at";

const LOAD_PULSE: &str = "
    SELECT greatest(alive_at, (SELECT max(evaluated_at) FROM monitoring.rules)), trusted_at FROM monitoring.pulse";

const LOAD_RULES: &str = "
    SELECT r.rule_key, r.evaluated_at, i.fingerprint, i.state, i.body
    FROM monitoring.rules r
    LEFT JOIN monitoring.alert_instances i USING (rule_key)
    ORDER BY r.rule_key, i.fingerprint";

const LOAD_ALERTS: &str = "
    SELECT id, clinic_id, alert_name, severity, status, message, metadata, created_at, resolved_at
    FROM monitoring.alerts WHERE TRUE";

const DUE_NOTIFICATIONS: &str = "
    SELECT id, channel, body, created_at, attempts, next_attempt_at FROM monitoring.outbox
    WHERE next_attempt_at <= $1
    ORDER BY ordinal LIMIT $2";

const FINISH_NOTIFICATION: &str = "
    WITH gone AS (
        DELETE FROM monitoring.outbox WHERE id = $1 RETURNING *
    )
    INSERT INTO monitoring.notifications (id, channel, body, created_at, finished_at, outcome, attempts)
    SELECT id, channel, body, created_at, $2, $3, attempts + 1 FROM gone
    ON CONFLICT (id) DO NOTHING";

// A statement of its own: one that waited for the same call before it does not see what that one did.
const IS_FINISHED_SO: &str = "
    SELECT EXISTS (SELECT FROM monitoring.notifications WHERE id = $1 AND finished_at = $2 AND outcome = $3)";

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn ping(&self) -> Result<String, StoreError> {
        let version: Vec<(String,)> = self.fetch(sqlx::query_as("SELECT current_setting('server_version')")).await?;
        Ok(format!("PostgreSQL {}", version.first().map_or("", |row| &row.0)))
    }

    async fn save_agent(&self, agent: &AgentRow) -> Result<(), StoreError> {
        let statement = sqlx::query(SAVE_AGENT)
            .bind(agent.agent_id)
            .bind(&agent.service)
            .bind(&agent.instance)
            .bind(agent.clinic_id)
            .bind(to_bigint("agents", "interval_ms", agent.interval.as_millis())?)
            .bind(&agent.agent_version)
            .bind(Moment(agent.first_seen))
            .bind(Moment(agent.last_seen));
        self.execute(statement).await.map(drop)
    }

    async fn stop_agent(&self, agent_id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE monitoring.agents SET stopped_at = $2 WHERE agent_id = $1");
        self.execute(statement.bind(agent_id).bind(Moment(at))).await.map(drop)
    }

    async fn load_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let query = sqlx::query_as::<_, RawAgent>(LOAD_AGENTS).bind(None::<Uuid>);
        self.fetch(query).await?.into_iter().map(AgentRow::try_from).collect()
    }

    async fn stored_seq(&self, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError> {
        ledger::stored_seq(self, agent_id, epoch).await
    }

    async fn commit(&self, group: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
        let mut lease = self.lease().await?;
        let mut sent = None;
        let done = timeout(OPERATION_MAX, commit::commit(lease.connection(), group, &mut sent)).await;
        lease.settle(done).map_err(|error| error.after(sent))
    }

    async fn load_schemas(&self) -> Result<Vec<SchemaRow>, StoreError> {
        let query = sqlx::query_as::<_, RawSchema>(
            "SELECT agent_id, schema_id, definition FROM monitoring.schemas ORDER BY agent_id, schema_id",
        );
        Ok(self.fetch(query).await?.into_iter().map(SchemaRow::from).collect())
    }

    async fn replay(&self, since: Timestamp, each: &mut (dyn FnMut(BatchRow) + Send)) -> Result<(), StoreError> {
        let begin: Vec<(Option<i64>,)> = self.fetch(sqlx::query_as(REPLAY_BEGIN).bind(bound(since))).await?;
        let mut next = begin.first().and_then(|row| row.0);
        while let Some(id) = next {
            let mut lease = self.lease().await?;
            let page = replay_page(lease.connection(), id, since, each);
            let done = timeout(OPERATION_MAX, page).await;
            next = lease.settle(done)?;
        }
        Ok(())
    }

    async fn load_ledger(&self, query: &LedgerQuery) -> Result<Option<Ledger>, StoreError> {
        ledger::load(self, query).await
    }

    async fn load_gaps(&self, since: Timestamp, limit: u32) -> Result<Vec<GapRow>, StoreError> {
        ledger::load_gaps(self, since, limit).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let pruned = history::in_steps(self, PRUNE_BATCHES, before).await?;
        self.execute(sqlx::query(PRUNE_SCHEMAS).bind(bound(before - SCHEMA_REFRESH))).await?;
        Ok(pruned)
    }

    async fn prune_history(&self, before: &HistoryBefore) -> Result<PrunedHistory, StoreError> {
        history::prune(self, before).await
    }

    async fn save_pulse(&self, pulse: Pulse) -> Result<(), StoreError> {
        let statement = sqlx::query(SAVE_PULSE).bind(Moment(pulse.alive_at)).bind(Moment(pulse.trusted_at));
        self.execute(statement).await.map(drop)
    }

    async fn load_pulse(&self) -> Result<Option<Pulse>, StoreError> {
        let rows: Vec<(Moment, Moment)> = self.fetch(sqlx::query_as(LOAD_PULSE)).await?;
        Ok(rows.first().map(|(alive_at, trusted_at)| Pulse { alive_at: alive_at.0, trusted_at: trusted_at.0 }))
    }

    async fn save_evaluation(&self, evaluation: &EvaluationRow) -> Result<(), StoreError> {
        let mut lease = self.lease().await?;
        let saved = evaluation::save(lease.connection(), evaluation, self.clinics);
        let done = timeout(OPERATION_MAX, saved).await;
        lease.settle(done)
    }

    async fn forget_rule(&self, rule_key: &str) -> Result<(), StoreError> {
        // Its instances go with it.
        self.execute(sqlx::query("DELETE FROM monitoring.rules WHERE rule_key = $1").bind(rule_key)).await.map(drop)
    }

    async fn load_rules(&self) -> Result<Vec<RuleRow>, StoreError> {
        group_rules(self.fetch::<RawInstance>(sqlx::query_as(LOAD_RULES)).await?)
    }

    async fn load_alerts(&self, scope: Scope, status: Option<&str>, limit: u32) -> Result<Vec<AlertRow>, StoreError> {
        let mut query = QueryBuilder::<Postgres>::new(LOAD_ALERTS);
        if let Scope::Clinic(clinic_id) = scope {
            query.push(" AND clinic_id = ").push_bind(clinic_id);
        }
        if let Some(status) = status {
            query.push(" AND status = ").push_bind(status);
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
        Ok(self.fetch::<RawAlert>(query.build_query_as()).await?.into_iter().map(AlertRow::from).collect())
    }

    async fn due_notifications(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let query = sqlx::query_as::<_, RawNotification>(DUE_NOTIFICATIONS).bind(bound(now)).bind(i64::from(limit));
        self.fetch(query).await?.into_iter().map(OutboxRow::try_from).collect()
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        let query = sqlx::query_as("SELECT count(*), min(next_attempt_at) FROM monitoring.outbox");
        let rows: Vec<(i64, Option<Moment>)> = self.fetch(query).await?;
        let (depth, next) = rows.first().copied().unwrap_or((0, None));
        Ok((depth.unsigned_abs(), next.map(|at| at.0)))
    }

    async fn finish_notification(&self, id: Uuid, outcome: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.execute(sqlx::query(FINISH_NOTIFICATION).bind(id).bind(Moment(at)).bind(outcome)).await?;
        let query = sqlx::query_as(IS_FINISHED_SO).bind(id).bind(Moment(at)).bind(outcome);
        let rows: Vec<(bool,)> = self.fetch(query).await?;
        Ok(rows.first().is_some_and(|row| row.0))
    }

    async fn shed_outbox(&self, keep: u32, at: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        history::shed_outbox(self, keep, at).await
    }

    async fn defer_notification(&self, id: Uuid, attempts: u32, next: Timestamp) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE monitoring.outbox SET attempts = $2, next_attempt_at = $3 WHERE id = $1");
        self.execute(statement.bind(id).bind(i64::from(attempts)).bind(Moment(next))).await.map(drop)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Calls `each` with one page; where the next begins, or `None` after the last page.
async fn replay_page(
    connection: &mut PgConnection,
    id: i64,
    since: Timestamp,
    each: &mut (dyn FnMut(BatchRow) + Send),
) -> Result<Option<i64>, StoreError> {
    let page = sqlx::query_as::<_, RawBatch>(REPLAY_PAGE).bind(id).bind(bound(since)).bind(REPLAY_PAGE_ROWS);
    let mut rows = page.fetch(connection);
    let mut next = None;
    while let Some(row) = rows.try_next().await? {
        next = row.id.checked_add(1);
        each(row.try_into()?);
    }
    Ok(next)
}

// === impl Lease ===

impl Lease {
    fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("only settle and drop take it, and both end the lease")
    }

    /// The work's end: the connection goes back to the pool, or is closed where the work took too long.
    fn settle<T, E>(mut self, done: Result<Result<T, E>, Elapsed>) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        match done {
            Ok(result) => {
                drop(self.0.take());
                Ok(result?)
            }
            Err(_) => Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Not settled: its transaction may be open and its answer on the way.
            drop(connection.detach());
        }
    }
}
