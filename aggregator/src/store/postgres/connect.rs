//! From a URL's options to a pool over a schema that is up to date.

use super::super::StoreError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// Longest that `open` waits for a connection.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Longest that migrations may take: they are small, and past this the server is gone without a word.
const MIGRATE_MAX: Duration = Duration::from_mins(10);

/// Connections of one aggregator: the writer, the rules, the notifier and a few readers; PostgreSQL allows 100 in all.
const POOL_CONNECTIONS: u32 = 8;

/// Longest wait for a connection of the pool, including making one while the server restarts.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);

/// A connection that rested longer is asked whether it still lives before it is used; a younger one most likely does,
/// and a round trip is saved.
const REST_TRUSTED: Duration = Duration::from_secs(1);

/// Serializes two aggregators that both find no schema: the letters of `mon-schm`.
const SCHEMA_LOCK: i64 = 0x6d6f_6e2d_7363_686d;

/// Settings of every connection, stronger than those of the server, the database, the role and the URL.
const REQUIRED: [(&str, &str); 2] = [
    // What was acknowledged survives a crash.
    ("synchronous_commit", "on"),
    // `commit` reads positions after it has waited for their locks.
    ("default_transaction_isolation", "read committed"),
];

/// Settings that the URL may have otherwise: `?options=-c lock_timeout=2s`.
const DEFAULTS: [(&str, &str); 3] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    // A frozen aggregator must not hold positions locked.
    ("idle_in_transaction_session_timeout", "60s"),
];

/// Whether `monitoring.alerts` refers to the product's clinics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clinics {
    /// By foreign key: an unknown clinic must not be written.
    Referenced,
    /// There is no such table here, or no right to it.
    Free,
}

/// Connects once, prepares the schema on that connection, and returns a pool that connects as it is needed.
pub(super) async fn open(options: PgConnectOptions) -> Result<(PgPool, Clinics), StoreError> {
    let options = with_settings(options);
    let mut connection = bounded(CONNECT_MAX, PgConnection::connect_with(&options)).await?;
    let clinics = bounded(MIGRATE_MAX, prepare(&mut connection)).await?;
    // What had to be said was said; a server that does not hear our goodbye changes nothing.
    let _ = timeout(CONNECT_MAX, connection.close()).await;
    let pool = PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS)
        .acquire_timeout(ACQUIRE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection, rest| {
            Box::pin(async move {
                if rest.idle_for > REST_TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    Ok((pool, clinics))
}

fn with_settings(options: PgConnectOptions) -> PgConnectOptions {
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("monitoring-aggregator") };
    let chosen = options.get_options().unwrap_or_default().to_owned();
    let defaults = DEFAULTS.into_iter().filter(|(name, _)| !chosen.contains(name));
    // Of a setting that is given twice the last one holds.
    options.options(defaults.chain(REQUIRED))
}

async fn prepare(connection: &mut PgConnection) -> Result<Clinics, StoreError> {
    connection.execute("SET statement_timeout = 0").await?;
    create_schema(connection).await?;
    migrator().run_direct(None, connection, false).await?;
    connection.execute(include_str!("clinic_key.sql")).await?;
    let referenced = "
        SELECT EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = 'monitoring.alerts'::regclass AND conname = 'alerts_clinic_id_fkey')";
    let referenced: bool = sqlx::query_scalar(referenced).fetch_one(connection).await?;
    Ok(if referenced { Clinics::Referenced } else { Clinics::Free })
}

/// Not `CREATE SCHEMA IF NOT EXISTS`, which wants the right to create schemas even where it has nothing to do.
async fn create_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *tx).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT to_regnamespace('monitoring') IS NOT NULL").fetch_one(&mut *tx).await?;
    if !exists {
        tx.execute("CREATE SCHEMA monitoring").await?;
    }
    Ok(tx.commit().await?)
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations/postgres");
    migrator.dangerous_set_table_name("monitoring._sqlx_migrations");
    migrator
}

async fn bounded<T, E>(longest: Duration, work: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    match timeout(longest, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))),
    }
}
