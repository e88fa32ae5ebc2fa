//! From a path to two pools over a file that is ours: made with its directories, checked, locked, migrated.
//!
//! Nothing is done to a file, nor beside it, before it is known to be ours: another program's database stays as it is.

use super::super::StoreError;
use super::super::fault::is_damage;
use runtime::fail_point;
use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Only the aggregator's user reads what clinics are doing.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Written into the file's header: `Mon1`. Tells our file from another program's.
const APPLICATION_ID: i32 = 0x4d6f_6e31;

/// Reads at once: queries of pages and of the start, beside the writer.
const READERS: u32 = 3;

/// Longest wait in the queue of writers, and for a reader.
const ACQUIRE_MAX: Duration = Duration::from_secs(10);

/// Longest wait for a lock that someone else holds on the file: a person with the `sqlite3` tool, a backup.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// The log file is cut back to this after it has grown beyond: it grows while a reader holds an old state.
const JOURNAL_BYTES_MAX: &str = "67108864";

/// An advisory lock on `PATH.lock`, held for as long as the store is open; the kernel lets it go when the process ends.
pub(super) struct FileLock(File);

/// Opens the database at `path`.
pub(super) async fn open(path: &Path) -> Result<(FileLock, SqlitePool, SqlitePool), StoreError> {
    let path = create(path).map_err(|error| not_ours_or_away(path, error))?;
    recognize(&path).await.map_err(|error| damaged_or(&path, error))?;
    let lock = FileLock::acquire(&path)?;
    close_to_others(&path).map_err(|error| not_ours_or_away(&path, error))?;
    let (writer, readers) = connect(&path).await.map_err(|error| damaged_or(&path, error))?;
    Ok((lock, writer, readers))
}

/// Makes the file and its directories where they are not. The path without links, so that one file has one lock.
fn create(path: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    path.canonicalize()
}

/// For a file that was there before, and is ours. SQLite gives its side files the same mode.
fn close_to_others(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & 0o777 != FILE_MODE {
        fs::set_permissions(path, Permissions::from_mode(FILE_MODE))?;
    }
    Ok(())
}

/// Refuses a file that holds something, but not ours. Reads only.
async fn recognize(path: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let (application_id, objects) = match look(&options).await {
        // Its first transaction was cut short, by a kill or by power, and a reader may not take it back. Of ours that is
        // the one that made the file: what is there under the journal is looked at, and opening it to write takes it back.
        Err(error) if is_cut_short(&error) => look(&options.immutable(true)).await?,
        looked => looked?,
    };
    if application_id == APPLICATION_ID || (application_id == 0 && objects == 0) {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.display().to_string(),
        problem: format!("it is an SQLite database of another program, with {objects} tables and indexes"),
    })
}

/// The application id, and how many tables and indexes there are.
async fn look(options: &SqliteConnectOptions) -> Result<(i32, i64), sqlx::Error> {
    let mut connection = options.connect().await?;
    let application_id = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection).await?;
    let objects = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok((application_id, objects))
}

/// Whether a journal lies beside the file that must be played back first: `SQLITE_READONLY_ROLLBACK`.
fn is_cut_short(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "776")
}

async fn connect(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_MAX).foreign_keys(true);
    let writing = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX);
    let mut connection = writing.connect().await?;
    prepare(&mut connection).await?;
    connection.close().await?;
    let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_MAX).idle_timeout(None).max_lifetime(None);
    let writer = pool.clone().max_connections(1).connect_with(writing).await?;
    let readers = pool.max_connections(READERS).connect_with(options.read_only(true)).await?;
    Ok((writer, readers))
}

async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // Before anything else is written, so that a file is known as ours even where we end right here.
    connection.execute(sqlx::AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"))).await?;
    fail_point::hit("sqlite.marked");
    Ok(sqlx::migrate!("../migrations/sqlite").run_direct(None, connection, false).await?)
}

fn damaged_or(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(inner) | StoreError::Unavailable(inner) if is_damage(&inner) => StoreError::Damaged {
            path: path.display().to_string(),
            problem: format!("SQLite says: {}", inner.as_database_error().map_or("", |error| error.message())),
        },
        other => other,
    }
}

/// An I/O error, with the path that it is about. What no waiting heals ends the start: a person has to come.
fn not_ours_or_away(path: &Path, error: io::Error) -> StoreError {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let shown = path.display().to_string();
    // That it exists is said of a file that stands where a directory is to be made.
    if matches!(error.kind(), AlreadyExists | IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem) {
        return StoreError::Unusable { path: shown, source: error };
    }
    StoreError::Unavailable(sqlx::Error::Io(io::Error::new(error.kind(), format!("{shown}: {error}"))))
}

// === impl FileLock ===

impl FileLock {
    fn acquire(database: &Path) -> Result<Self, StoreError> {
        let mut path = OsString::from(database);
        path.push(".lock");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(&path);
        let file = opened.map_err(|error| not_ours_or_away(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: database.display().to_string() }),
            Err(errno) => Err(not_ours_or_away(&path, errno.into())),
        }
    }

    /// Lets the file go. Said aloud rather than left to closing it: a child process that was forked just now holds a copy
    /// of the descriptor until it executes its program.
    pub(super) fn release(&self) {
        if let Err(errno) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(error = %errno, "could not unlock the database's lock file");
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.release();
    }
}
