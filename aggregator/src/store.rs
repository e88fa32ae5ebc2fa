//! The database behind one trait: SQLite embedded, PostgreSQL in production, one contract suite for both.
//!
//! A row type here is plain data; what it means is decided by `ingest` and `rules`. Every method that writes is one
//! transaction, durable when it returns (`synchronous_commit = on`, `synchronous = FULL`); `prune` and `prune_history` alone are several.
//! Dropping a method's future leaves no transaction open: what it began is rolled back, or was committed already.
//!
//! Times are kept to the millisecond, `interval` too. Numbers that SQL cannot hold are refused ([`StoreError::BadRow`]).
//!
//! ```text
//! open ── url ──┬─► sqlite  ── sqlite/{open,commit,ledger,evaluation,history}      row     Rust's types ⇄ SQL's
//!               └─► postgres ─ postgres/{connect,commit,ledger,evaluation,history} plan    what a group of batches changes
//!                                                                                  ledger  what is missing
//!                                                                                  fault   which errors pass
//! ```

mod fault;
mod ledger;
mod plan;
pub mod postgres;
mod row;
pub mod sqlite;
mod url;

pub use ledger::{EpochRow, GapRow, Ledger, LedgerQuery, Missing, News, ToldGap, UNEXPLAINED};

use bytes::Bytes;
use proto::event::Event;
use proto::message::Position;
use proto::sample::{SchemaId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How often a long stream's schemas are stored again, so that pruning tells those in use from those that are not: one
/// that a batch needs was refreshed so long before the batch at the most.
pub const SCHEMA_REFRESH: Duration = Duration::from_secs(3600);

/// What an agent said of itself, and where its stream stands.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRow {
    /// Kept with the agent's spool.
    pub agent_id: Uuid,
    /// The watched service.
    pub service: String,
    /// Which of its copies.
    pub instance: String,
    /// The clinic, where there is just one.
    pub clinic_id: Option<Uuid>,
    /// How often a batch comes; kept to the millisecond.
    pub interval: Duration,
    /// Version of the agent program.
    pub agent_version: String,
    /// When it was first seen. The first that is saved stays.
    pub first_seen: Timestamp,
    /// When its last batch or `Hello` came.
    pub last_seen: Timestamp,
    /// When it said goodbye; `None` while it is up or silent. Read only: `stop_agent` writes it, `save_agent` clears it.
    pub stopped_at: Option<Timestamp>,
    /// The last stored position of its newest epoch; `None` before the first batch. Read only: `commit` writes it.
    pub position: Option<Position>,
}

/// A schema to keep, as the agent encoded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRow {
    /// Whose it is.
    pub agent_id: Uuid,
    /// xxh3-64 of `definition`.
    pub schema_id: SchemaId,
    /// The encoded schema.
    pub definition: Bytes,
}

/// One batch to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Whose it is.
    pub agent_id: Uuid,
    /// Where it stands; (agent, epoch, seq) is unique.
    pub position: Position,
    /// When it came.
    pub received_at: Timestamp,
    /// The batch without schemas, compressed (`RawBatch::to_log`).
    pub payload: Vec<u8>,
    /// Schemas that it defines, stored with it in the same transaction; known ones are refreshed. Empty on `replay`.
    pub schemas: Vec<SchemaRow>,
    /// Of its content as the agent sent it, the same each time; `None` where it holds nothing but gaps, and on `replay`.
    pub digest: Option<u64>,
    /// What it tells is missing, for the ledger. Empty on `replay`.
    pub gaps: Vec<ToldGap>,
    /// Times of its oldest and its newest sample. `None` on `replay`.
    pub sampled: Option<(Timestamp, Timestamp)>,
    /// Events, for their table. Empty on `replay`.
    pub events: Vec<Event>,
    /// The service that its agent watches, for the events. Empty on `replay`.
    pub service: String,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is new, and durable now.
    New(News),
    /// It was durable already; nothing changed.
    Replay,
    /// Its place is another's: another batch is stored there, or it is known as missing; nothing changed.
    Taken,
    /// Its place is behind, and what stood there was pruned: nobody can tell whether that was it. Nothing changed.
    Unproven,
}

/// One alert instance as the state machine keeps it between evaluations.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceRow {
    /// Rule group and file, and the rule's name: which rule it belongs to.
    pub rule_key: String,
    /// The instance's identity, 16 hex digits; no rule has it twice.
    pub fingerprint: String,
    /// `pending`, `firing` or `resolved`.
    pub state: String,
    /// The whole instance as JSON, as the alerting crate gives it.
    pub body: serde_json::Value,
}

/// A row of `monitoring.alerts`: one firing of one instance, from raise to resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// Made when it began to fire.
    pub id: Uuid,
    /// The clinic, where the alert has the label. Where PostgreSQL has `atendeai.clinics`, a clinic that is not in that
    /// table is stored as none: the alert matters more than the reference. The label stays in `metadata`.
    pub clinic_id: Option<Uuid>,
    /// The rule's name. The column ends at 100 characters: longer is cut, `metadata` has it whole.
    pub alert_name: String,
    /// The `severity` label, or `none`. The column ends at 20 characters: longer is cut, `metadata` has it whole.
    pub severity: String,
    /// `active` or `resolved`.
    pub status: String,
    /// The summary annotation, else the description, else the name.
    pub message: String,
    /// Labels, annotations, value, fingerprint.
    pub metadata: serde_json::Value,
    /// When it began to fire.
    pub created_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
}

/// A notification that waits to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Names this notification everywhere; the receiver's idempotency key.
    pub id: Uuid,
    /// Which receiver of the configuration.
    pub channel: String,
    /// What is sent.
    pub body: serde_json::Value,
    /// When the evaluation made it.
    pub created_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before this.
    pub next_attempt_at: Timestamp,
}

/// Everything that one evaluation of one rule changes, stored in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationRow {
    /// Which rule.
    pub rule_key: String,
    /// When it was evaluated.
    pub evaluated_at: Timestamp,
    /// All instances that the rule has now; those stored before and not in here are deleted.
    pub instances: Vec<InstanceRow>,
    /// Alerts raised or changed (inserted or updated by id).
    pub alerts: Vec<AlertRow>,
    /// Notifications made.
    pub outbox: Vec<OutboxRow>,
}

/// What is kept of a rule between evaluations.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleRow {
    /// Which rule.
    pub rule_key: String,
    /// When it was evaluated last.
    pub evaluated_at: Timestamp,
    /// Its instances.
    pub instances: Vec<InstanceRow>,
}

/// A sign of life of the aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// When it lived, by its wall clock.
    pub alive_at: Timestamp,
    /// How far it believed that clock; what is deleted by age goes by this.
    pub trusted_at: Timestamp,
}

/// What `prune_history` deletes: everything that ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBefore {
    /// Notifications that were finished before.
    pub notifications: Timestamp,
    /// Alerts that were resolved before; active ones stay.
    pub alerts: Timestamp,
    /// Agents of which nothing came since, and epochs of which no batch did; gaps that were noted before. Not later than
    /// what `prune` is given: of an epoch that goes on after its position went, the numbers before are noted as missing
    /// (`unexplained`), stored or not.
    pub agents: Timestamp,
    /// Business events that came before.
    pub events: Timestamp,
}

/// How much `prune_history` deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedHistory {
    /// Finished notifications.
    pub notifications: u64,
    /// Resolved alerts.
    pub alerts: u64,
    /// Agents.
    pub agents: u64,
    /// Business events.
    pub events: u64,
}

/// Which alerts to read. Every read takes a scope: a clinic's alerts, or, said aloud, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One clinic's.
    Clinic(Uuid),
    /// Every clinic's, and those that belong to none.
    AllClinics,
}

impl Scope {
    /// Whether something labelled with `clinic_id` (none: it belongs to no clinic) may be read.
    pub fn admits(self, clinic_id: Option<&str>) -> bool {
        match self {
            Self::AllClinics => true,
            Self::Clinic(wanted) => clinic_id.and_then(|text| Uuid::try_parse(text).ok()) == Some(wanted),
        }
    }
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one of a database that we speak.
    #[error("database URL {url:?} is not understood: {problem}; use sqlite://PATH or postgres://USER@HOST/DATABASE")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Another process has the file.
    #[error("{path} is used by another aggregator; stop it, or give this one a database of its own")]
    Locked {
        /// The file.
        path: String,
    },
    /// The file or its directory is not ours to write to.
    #[error("cannot use {path}; let this user write there, or set --database to another place")]
    Unusable {
        /// The file or directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not this program's: damaged, or someone else's.
    #[error("{path} is not a database of this program ({problem}); move it away, or restore it from a backup")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A migration failed: the schema is from a newer program, or someone changed it.
    #[error("cannot bring the database's schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The database is away or busy; the same again later may succeed.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// The database was told to commit a group, and its answer is lost: it is stored whole, or not at all.
    #[error("the database does not say whether it stored the group")]
    Unanswered {
        /// What became of each batch, if it is stored.
        perhaps: Vec<Stored>,
        /// What came instead of the answer.
        source: sqlx::Error,
    },
    /// The database refused a statement: a defect of ours, or a schema that someone changed.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// A row holds what this program never writes, or was to hold what SQL cannot.
    #[error("a row of table {table} cannot be: {problem}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// What the aggregator asks of a database.
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// The database's kind and version, for `/status`; proves that it answers.
    async fn ping(&self) -> Result<String, StoreError>;

    /// Notes a `Hello`: inserts the agent or updates what it says of itself, and takes back an earlier goodbye. Where its
    /// service, instance or clinic changes, `replay` leaves out what came before.
    async fn save_agent(&self, agent: &AgentRow) -> Result<(), StoreError>;

    /// Notes a goodbye. Of an unknown agent nothing is noted.
    async fn stop_agent(&self, agent_id: Uuid, at: Timestamp) -> Result<(), StoreError>;

    /// Every agent that was saved, ordered by id.
    async fn load_agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// The last seq that is stored of an agent's epoch; 0 where none is, or it was pruned.
    async fn stored_seq(&self, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError>;

    /// Stores a group of batches, of any agents, in one transaction. What became of each stands at the same index.
    ///
    /// A batch at or before its agent's stored position in the same epoch, or one whose (agent, epoch, seq) is stored,
    /// is behind, and changes nothing, not even a schema. It is a replay where the same digest is stored in its place, or
    /// where it is nothing but gaps and its place is missing. Where another digest is stored, or one of the two is nothing
    /// but gaps and the other is not, it is [`Stored::Taken`]; where neither a batch nor a gap is left, [`Stored::Unproven`].
    /// With a new batch its events are stored, those that were stored before excepted, and what is missing before it.
    ///
    /// The agent need not have been saved. `Err` means that nothing was stored, [`StoreError::Unanswered`] that it is not
    /// known: sending the same again is safe, and finds replays of what was stored.
    async fn commit(&self, group: &[BatchRow]) -> Result<Vec<Stored>, StoreError>;

    /// All schemas.
    async fn load_schemas(&self) -> Result<Vec<SchemaRow>, StoreError>;

    /// Calls `each` with every batch received at or after `since`, in the order in which they were stored, without
    /// holding them all in memory: a page at a time, no transaction over the whole. Batches of one agent and epoch come
    /// in their sequence; what is stored while it runs may come or not. Left out is what an agent sent under another
    /// service, instance or clinic than it has now: it must not be shown as this one's.
    async fn replay(&self, since: Timestamp, each: &mut (dyn FnMut(BatchRow) + Send)) -> Result<(), StoreError>;

    /// An agent's ledger; `None` of an unknown agent.
    async fn load_ledger(&self, query: &LedgerQuery) -> Result<Option<Ledger>, StoreError>;

    /// Gaps of all agents that end at or after `since`, or that were noted since and have no end; the newest `limit`, in
    /// the order in which they were noted.
    async fn load_gaps(&self, since: Timestamp, limit: u32) -> Result<Vec<GapRow>, StoreError>;

    /// Deletes batches received before `before`, in steps that hold no lock for long, and schemas that none of the others
    /// needs ([`SCHEMA_REFRESH`]). Positions are kept, so a replay of a deleted batch is still known. Returns how many
    /// batches.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Deletes what is over for so long, in steps that hold no lock for long.
    async fn prune_history(&self, before: &HistoryBefore) -> Result<PrunedHistory, StoreError>;

    /// Notes that the aggregator lives; there is one such row.
    async fn save_pulse(&self, pulse: Pulse) -> Result<(), StoreError>;

    /// The last pulse; `None` in a new database. It lived also when it stored the last evaluation.
    async fn load_pulse(&self) -> Result<Option<Pulse>, StoreError>;

    /// Stores what one evaluation changed. Sending the same again is safe: a notification that waits, or was finished, is
    /// not made a second time.
    async fn save_evaluation(&self, evaluation: &EvaluationRow) -> Result<(), StoreError>;

    /// Forgets a rule that is no longer in the file, after its alerts were resolved by `save_evaluation`.
    async fn forget_rule(&self, rule_key: &str) -> Result<(), StoreError>;

    /// Every rule's state.
    async fn load_rules(&self) -> Result<Vec<RuleRow>, StoreError>;

    /// Alerts, newest first by the clock of then: an order for people, by which nothing is decided. `status` filters, at most
    /// `limit` rows.
    async fn load_alerts(&self, scope: Scope, status: Option<&str>, limit: u32) -> Result<Vec<AlertRow>, StoreError>;

    /// Notifications due at `now`, in the order in which they were made, whatever the clock said then; at most `limit`.
    async fn due_notifications(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, StoreError>;

    /// How many notifications wait, and when the next is due.
    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError>;

    /// Records that a notification was accepted, or refused for good (`outcome`: a word), and takes it from the outbox.
    /// One that does not wait (any more) is left as it is. Returns whether it is recorded so, by this call or by the same
    /// one before, whose answer was lost.
    async fn finish_notification(&self, id: Uuid, outcome: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Keeps the newest `keep` notifications that wait; older ones are finished `at` then with the outcome `outbox_full`.
    /// Returns how many those were, by channel: of all calls of the same `at`, of which one may have lost its answer.
    async fn shed_outbox(&self, keep: u32, at: Timestamp) -> Result<Vec<(String, u64)>, StoreError>;

    /// Puts a notification off after a failed attempt.
    async fn defer_notification(&self, id: Uuid, attempts: u32, next: Timestamp) -> Result<(), StoreError>;

    /// Closes every connection and, on SQLite, lets the file go. For the drain; every other method fails afterwards.
    async fn close(&self);
}

// === impl StoreError ===

impl StoreError {
    /// The same of a commit, where it was told to the database already, and what would become of the group then.
    fn after(self, sent: Option<Vec<Stored>>) -> Self {
        match (self, sent) {
            (Self::Unavailable(source), Some(perhaps)) => Self::Unanswered { perhaps, source },
            (error, _) => error,
        }
    }
}

// === impl BatchRow ===

impl BatchRow {
    /// Whether it holds nothing but gaps: then its own place is among what is missing, where they say so.
    pub fn holds_only_gaps(&self) -> bool {
        self.digest.is_none()
    }
}

/// Says what is wrong with a database URL, without its password and without opening it.
pub fn check_url(url: &str) -> Result<(), StoreError> {
    url::parse(url).map(drop)
}

/// Opens the database that `url` names, brings its schema up to date, and returns it ready for work.
///
/// - `sqlite://PATH`: a file, made where it is not, with its directories. One process at a time
///   ([`StoreError::Locked`]). `sqlite:///var/lib/m.db` is absolute, `sqlite://m.db` is not.
/// - `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`: a server; everything is in its schema `monitoring`, which
///   is made where it is not. A Unix socket is given as `?host=/directory`.
///
/// It does not retry: a database that does not answer is [`StoreError::Unavailable`] after
/// [`postgres::CONNECT_MAX`] at the latest, and the caller comes again with its own backoff. Every other error wants a
/// person.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url::parse(url)? {
        url::Target::Sqlite(path) => Arc::new(sqlite::SqliteStore::open(&path).await?),
        url::Target::Postgres(options) => Arc::new(postgres::PostgresStore::open(*options).await?),
    })
}

/// What kind of database a URL means, or what is wrong with it. Asks nobody.
pub fn kind(url: &str) -> Result<&'static str, StoreError> {
    Ok(match url::parse(url)? {
        url::Target::Sqlite(_) => "SQLite",
        url::Target::Postgres(_) => "PostgreSQL",
    })
}
