//! A store to test, and a look at its database past it.

use crate::harness::Postgres;
use monitoring_aggregator::store::{
    self, AgentRow, AlertRow, BatchRow, EvaluationRow, InstanceRow, Missing, News, OutboxRow, Store, StoreError,
    Stored, UNEXPLAINED,
};
use proto::message::Position;
use proto::sample::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// A database of its own for one test, and a store on it.
pub struct Database {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its URL.
    pub url: String,
    /// Where the file is, on SQLite.
    _dir: Option<TempDir>,
}

impl Database {
    /// In a file.
    pub async fn sqlite() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", dir.path().join("store.db").display());
        let store = store::open(&url).await.expect("a new file");
        Some(Self { store, url, _dir: Some(dir) })
    }

    /// On the shared server; `None` where there is none.
    pub async fn postgres() -> Option<Self> {
        let url = Postgres::shared()?.create_database().await;
        let store = store::open(&url).await.expect("a new database");
        Some(Self { store, url, _dir: None })
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = store::open(&self.url).await.expect("it was open before");
    }

    /// Runs statements past the store. `{TABLE}` in them is a table's name as this database has it.
    pub async fn sql(&self, on_sqlite: &'static str, on_postgres: &'static str) {
        if let Some(path) = self.file() {
            let mut connection = SqliteConnection::connect(path).await.expect("the file is there");
            connection.execute(on_sqlite).await.expect("the test's statement");
        } else {
            let mut connection = PgConnection::connect(&self.url).await.expect("the server is there");
            connection.execute(on_postgres).await.expect("the test's statement");
        }
    }

    /// How many rows a table holds.
    pub async fn count(&self, table: &str) -> i64 {
        if let Some(path) = self.file() {
            let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let mut connection = SqliteConnection::connect(path).await.expect("the file is there");
            sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("the table is there")
        } else {
            let query = AssertSqlSafe(format!("SELECT count(*) FROM monitoring.{table}"));
            let mut connection = PgConnection::connect(&self.url).await.expect("the server is there");
            sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("the table is there")
        }
    }

    /// Commits, and expects it to be done.
    pub async fn commit(&self, group: &[BatchRow]) -> Vec<Stored> {
        self.store.commit(group).await.expect("the database is up")
    }

    /// Every stored batch since `since`.
    pub async fn replayed(&self, since: Timestamp) -> Vec<BatchRow> {
        let mut rows = Vec::new();
        self.store.replay(since, &mut |row| rows.push(row)).await.expect("the database is up");
        rows
    }

    fn file(&self) -> Option<&str> {
        self.url.starts_with("sqlite://").then_some(self.url.as_str())
    }
}

/// An error and all of its sources.
pub fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A time.
pub fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Some id.
pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A batch that came at `seq` milliseconds and holds its own position.
pub fn batch(agent: u128, epoch: u128, seq: u64) -> BatchRow {
    BatchRow {
        agent_id: id(agent),
        position: Position { epoch, seq },
        received_at: ms(i64::try_from(seq).unwrap_or(i64::MAX)),
        payload: format!("{agent}/{epoch}/{seq}").into_bytes(),
        schemas: Vec::new(),
        digest: None,
        gaps: Vec::new(),
        sampled: None,
        events: Vec::new(),
        service: String::new(),
    }
}

/// A new batch after which nothing is missing.
pub fn new() -> Stored {
    Stored::New(News::default())
}

/// A new batch before which these never came, and no samples.
pub fn lacking(first_seq: u64, last_seq: u64) -> Stored {
    let reason = UNEXPLAINED.into();
    let missing = vec![Missing { first_seq, last_seq, reason, from_at: None, until_at: None }];
    Stored::New(News { missing, ..News::default() })
}

/// A batch with a digest of its own, and samples from `10 * seq` to `10 * seq + 5` milliseconds.
pub fn whole(agent: u128, epoch: u128, seq: u64) -> BatchRow {
    let at = 10 * i64::try_from(seq).expect("small");
    let digest = u64::MAX - 1_000 * u64::try_from(epoch).expect("small") - seq;
    BatchRow { digest: Some(digest), sampled: Some((ms(at), ms(at + 5))), ..batch(agent, epoch, seq) }
}

/// An agent that has said hello.
pub fn agent(number: u128) -> AgentRow {
    AgentRow {
        agent_id: id(number),
        service: "agenda".into(),
        instance: "agenda-7f9c".into(),
        clinic_id: Some(id(900)),
        interval: Duration::from_millis(15_001),
        agent_version: "0.1.0".into(),
        first_seen: ms(1_700_000_000_123),
        last_seen: ms(1_700_000_000_123),
        stopped_at: None,
        position: None,
    }
}

/// An alert of a clinic that began at `created_at`.
pub fn alert(number: u128, clinic: Option<u128>, created_at: i64) -> AlertRow {
    AlertRow {
        id: id(number),
        clinic_id: clinic.map(id),
        alert_name: "LotacaoAlta".into(),
        severity: "critical".into(),
        status: "active".into(),
        message: "a recepção não responde".into(),
        metadata: serde_json::json!({"labels": {"a": "ç\"\\"}, "value": 0.1}),
        created_at: ms(created_at),
        resolved_at: None,
    }
}

/// An instance of a rule.
pub fn instance(rule: &str, fingerprint: &str, state: &str) -> InstanceRow {
    InstanceRow {
        rule_key: rule.into(),
        fingerprint: fingerprint.into(),
        state: state.into(),
        body: serde_json::json!({"since": 1_700_000_000_123_i64, "value": 1e16, "z": null, "a": "\u{0}"}),
    }
}

/// A notification made at `created_at`, due at once.
pub fn notification(number: u128, created_at: i64) -> OutboxRow {
    OutboxRow {
        id: id(number),
        channel: "plantao".into(),
        body: serde_json::json!({"text": "olá", "value": 1e300}),
        created_at: ms(created_at),
        attempts: 0,
        next_attempt_at: ms(created_at),
    }
}

/// An evaluation of `rule` that found nothing.
pub fn evaluation(rule: &str, evaluated_at: i64) -> EvaluationRow {
    EvaluationRow { rule_key: rule.into(), evaluated_at: ms(evaluated_at), ..EvaluationRow::default() }
}
