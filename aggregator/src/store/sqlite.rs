//! SQLite, embedded: nothing to install. One writer, a few readers beside it (WAL), one process for a file.
//!
//! Every write goes through a pool of one connection, which is the queue of writers; no statement ever meets another's
//! lock there. Readers see what was committed before they began.

mod commit;
mod evaluation;
mod history;
mod ledger;
mod open;

use super::row::{Moment, RawAgent, RawAlert, RawBatch, RawInstance, RawNotification, RawSchema};
use super::row::{bound, group_rules, to_bigint};
use super::{
    AgentRow, AlertRow, BatchRow, EvaluationRow, GapRow, HistoryBefore, Ledger, LedgerQuery, OutboxRow, PrunedHistory,
    Pulse, RuleRow, SCHEMA_REFRESH, SchemaRow, Scope, Store, StoreError, Stored,
};
use futures::TryStreamExt;
use open::FileLock;
use proto::sample::Timestamp;
use runtime::fail_point;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteTransaction};
use sqlx::{QueryBuilder, Sqlite};
use std::path::Path;
use uuid::Uuid;

/// Batches that `replay` asks for at once.
const REPLAY_PAGE_ROWS: i64 = 500;

/// Batches that `prune` deletes in one transaction; other writers wait for that long, some ten milliseconds.
const PRUNE_CHUNK_ROWS: i64 = 5_000;

/// The store in a file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// After the pools, so that it is let go after them.
    lock: FileLock,
}

type Statement<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the file, or makes it, with mode 0600 and its directories; takes its lock; migrates.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (lock, writer, readers) = open::open(path).await?;
        Ok(Self { writer, readers, lock })
    }

    async fn execute(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        Ok(statement.execute(&self.writer).await?.rows_affected())
    }

    /// Begins as a writer at once, so that the transaction cannot fail later for want of the lock.
    async fn begin(&self) -> Result<SqliteTransaction<'_>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

const SAVE_AGENT: &str = "
    INSERT INTO agents
        (agent_id, service, instance, clinic_id, interval_ms, agent_version, first_seen, last_seen, stopped_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)
    ON CONFLICT (agent_id) DO UPDATE SET
        service = excluded.service, instance = excluded.instance, clinic_id = excluded.clinic_id,
        interval_ms = excluded.interval_ms, agent_version = excluded.agent_version,
        last_seen = excluded.last_seen, stopped_at = NULL,
        renamed_after = iif(
            service IS excluded.service AND instance IS excluded.instance AND clinic_id IS excluded.clinic_id,
            renamed_after, (SELECT ifnull(max(id), 0) FROM batches))";

/// All of them, or one.
const LOAD_AGENTS: &str = "
    SELECT
        a.agent_id, a.service, a.instance, a.clinic_id, a.interval_ms, a.agent_version,
        a.first_seen, a.last_seen, a.stopped_at, newest.epoch, newest.last_seq,
        (SELECT max(e.last_received_at) FROM agent_epochs e
            WHERE e.agent_id = a.agent_id AND e.last_seq > 0) AS last_batch
    FROM agents a
    LEFT JOIN agent_epochs newest ON newest.generation = (
        SELECT max(e.generation) FROM agent_epochs e WHERE e.agent_id = a.agent_id AND e.last_seq > 0)
    WHERE a.agent_id = ifnull($1, a.agent_id)
    ORDER BY a.agent_id";

// Without the hint SQLite goes through the table from its oldest row on.
const REPLAY_BEGIN: &str = "SELECT min(id) FROM batches INDEXED BY batches_received_at WHERE received_at >= $1";

// The plus keeps the index out of it: a page is a walk along the table from where the one before ended.
const REPLAY_PAGE: &str = "
    SELECT b.id, b.agent_id, b.epoch, b.seq, b.received_at, b.payload
    FROM batches b LEFT JOIN agents a ON a.agent_id = b.agent_id
    WHERE b.id >= $1 AND +b.received_at >= $2 AND b.id > ifnull(a.renamed_after, 0)
    ORDER BY b.id LIMIT $3";

const PRUNE_BATCHES: &str = "
    DELETE FROM batches WHERE id IN (
        SELECT id FROM batches WHERE received_at < $1 ORDER BY received_at LIMIT $2)";

const SAVE_PULSE: &str = "
    INSERT INTO pulse (only_row, alive_at, trusted_at) VALUES (1, $1, $2)
    ON CONFLICT (only_row) DO UPDATE SET alive_at = excluded.alive_at, trusted_at = excluded.trusted_at";

const LOAD_PULSE: &str = "
    SELECT max(alive_at, ifnull((SELECT max(evaluated_at) FROM rules), alive_at)), trusted_at FROM pulse";

const LOAD_RULES: &str = "
    SELECT r.rule_key, r.evaluated_at, i.fingerprint, i.state, i.body
    FROM rules r
    LEFT JOIN alert_instances i USING (rule_key)
    ORDER BY r.rule_key, i.fingerprint";

const LOAD_ALERTS: &str = "
    SELECT id, clinic_id, alert_name, severity, status, message, metadata, created_at, resolved_at
    FROM alerts WHERE TRUE";

const DUE_NOTIFICATIONS: &str = "
    SELECT id, channel, body, created_at, attempts, next_attempt_at FROM outbox
    WHERE next_attempt_at <= $1
    ORDER BY ordinal LIMIT $2";

const KEEP_NOTIFICATION: &str = "
    INSERT INTO notifications (id, channel, body, created_at, finished_at, outcome, attempts)
    SELECT id, channel, body, created_at, $2, $3, attempts + 1 FROM outbox WHERE id = $1
    ON CONFLICT (id) DO NOTHING";

const IS_NOTIFICATION_KEPT: &str =
    "SELECT EXISTS (SELECT 1 FROM notifications WHERE id = $1 AND finished_at = $2 AND outcome = $3)";

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<String, StoreError> {
        // The subquery is what reads the file.
        let version = "SELECT sqlite_version() FROM (SELECT count(*) FROM sqlite_schema)";
        let version: String = sqlx::query_scalar(version).fetch_one(&self.readers).await?;
        Ok(format!("SQLite {version}"))
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
        let statement = sqlx::query("UPDATE agents SET stopped_at = $2 WHERE agent_id = $1");
        self.execute(statement.bind(agent_id).bind(Moment(at))).await.map(drop)
    }

    async fn load_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let rows: Vec<RawAgent> = sqlx::query_as(LOAD_AGENTS).bind(None::<Uuid>).fetch_all(&self.readers).await?;
        rows.into_iter().map(AgentRow::try_from).collect()
    }

    async fn stored_seq(&self, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError> {
        ledger::stored_seq(self, agent_id, epoch).await
    }

    async fn commit(&self, group: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let stored = commit::commit(&mut tx, group).await?;
        fail_point::hit("aggregator.inside");
        match tx.commit().await {
            Ok(()) => Ok(stored),
            Err(error) => Err(StoreError::from(error).after(Some(stored))),
        }
    }

    async fn load_schemas(&self) -> Result<Vec<SchemaRow>, StoreError> {
        let query = "SELECT agent_id, schema_id, definition FROM schemas ORDER BY agent_id, schema_id";
        let rows: Vec<RawSchema> = sqlx::query_as(query).fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(SchemaRow::from).collect())
    }

    async fn replay(&self, since: Timestamp, each: &mut (dyn FnMut(BatchRow) + Send)) -> Result<(), StoreError> {
        let begin = sqlx::query_scalar(REPLAY_BEGIN).bind(bound(since));
        let mut next: Option<i64> = begin.fetch_one(&self.readers).await?;
        while let Some(id) = next.take() {
            let page = sqlx::query_as::<_, RawBatch>(REPLAY_PAGE).bind(id).bind(bound(since)).bind(REPLAY_PAGE_ROWS);
            let mut rows = page.fetch(&self.readers);
            while let Some(row) = rows.try_next().await? {
                next = row.id.checked_add(1);
                each(row.try_into()?);
            }
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
        let unused = sqlx::query("DELETE FROM schemas WHERE refreshed_at < $1").bind(bound(before - SCHEMA_REFRESH));
        self.execute(unused).await?;
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
        let row: Option<(Moment, Moment)> = sqlx::query_as(LOAD_PULSE).fetch_optional(&self.readers).await?;
        Ok(row.map(|(alive_at, trusted_at)| Pulse { alive_at: alive_at.0, trusted_at: trusted_at.0 }))
    }

    async fn save_evaluation(&self, evaluation: &EvaluationRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        evaluation::save(&mut tx, evaluation).await?;
        Ok(tx.commit().await?)
    }

    async fn forget_rule(&self, rule_key: &str) -> Result<(), StoreError> {
        // Its instances go with it.
        self.execute(sqlx::query("DELETE FROM rules WHERE rule_key = $1").bind(rule_key)).await.map(drop)
    }

    async fn load_rules(&self) -> Result<Vec<RuleRow>, StoreError> {
        group_rules(sqlx::query_as::<_, RawInstance>(LOAD_RULES).fetch_all(&self.readers).await?)
    }

    async fn load_alerts(&self, scope: Scope, status: Option<&str>, limit: u32) -> Result<Vec<AlertRow>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(LOAD_ALERTS);
        if let Scope::Clinic(clinic_id) = scope {
            query.push(" AND clinic_id = ").push_bind(clinic_id);
        }
        if let Some(status) = status {
            query.push(" AND status = ").push_bind(status);
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
        let rows: Vec<RawAlert> = query.build_query_as().fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(AlertRow::from).collect())
    }

    async fn due_notifications(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let query = sqlx::query_as::<_, RawNotification>(DUE_NOTIFICATIONS).bind(bound(now)).bind(i64::from(limit));
        query.fetch_all(&self.readers).await?.into_iter().map(OutboxRow::try_from).collect()
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        let query = sqlx::query_as("SELECT count(*), min(next_attempt_at) FROM outbox");
        let (depth, next): (i64, Option<Moment>) = query.fetch_one(&self.readers).await?;
        Ok((depth.unsigned_abs(), next.map(|at| at.0)))
    }

    async fn finish_notification(&self, id: Uuid, outcome: &str, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(KEEP_NOTIFICATION).bind(id).bind(Moment(at)).bind(outcome).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id).execute(&mut *tx).await?;
        let kept = sqlx::query_scalar(IS_NOTIFICATION_KEPT).bind(id).bind(Moment(at)).bind(outcome);
        let kept = kept.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(kept)
    }

    async fn shed_outbox(&self, keep: u32, at: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let mut tx = self.begin().await?;
        let shed = history::shed_outbox(&mut tx, keep, at).await?;
        tx.commit().await?;
        Ok(shed)
    }

    async fn defer_notification(&self, id: Uuid, attempts: u32, next: Timestamp) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE outbox SET attempts = $2, next_attempt_at = $3 WHERE id = $1");
        self.execute(statement.bind(id).bind(i64::from(attempts)).bind(Moment(next))).await.map(drop)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.lock.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SqliteStore {
        /// How SQLite goes about `query`, of at most three parameters.
        pub(super) async fn plan(&self, query: &str, bound: [i64; 3]) -> String {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let mut asked = sqlx::query_as(explain);
            for value in bound.into_iter().take(query.matches('$').count()) {
                asked = asked.bind(value);
            }
            let rows: Vec<(i64, i64, i64, String)> = asked.fetch_all(&self.readers).await.expect("it explains");
            rows.into_iter().map(|row| row.3 + "\n").collect()
        }
    }

    #[tokio::test]
    async fn a_replay_finds_its_beginning_in_the_index_and_walks_the_table_from_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&dir.path().join("store.db")).await.expect("a new file");
        let begin = store.plan(REPLAY_BEGIN, [7, 0, 0]).await;
        assert!(begin.contains("COVERING INDEX batches_received_at (received_at>?)"), "{begin}");
        let page = store.plan(REPLAY_PAGE, [7, 7, 7]).await;
        assert!(page.contains("SEARCH b USING INTEGER PRIMARY KEY (rowid>?)"), "{page}");
        assert!(!page.contains("TEMP B-TREE"), "{page}");
        store.close().await;
    }
}
