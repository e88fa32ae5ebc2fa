//! What a file adds: its lock, its mode, and files that are not ours.

use crate::fixture::{Database, batch, chain, new};
use monitoring_aggregator::store::{self, StoreError};
use sqlx::{Connection, Executor, SqliteConnection};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn failure(url: &str) -> StoreError {
    match store::open(url).await {
        Ok(_) => panic!("{url} opens"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_new_file_is_made_with_its_directories_for_its_user_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a/b/store.db");
    let store = store::open(&url(&path)).await.expect("made");
    assert!(store.ping().await.expect("up").starts_with("SQLite 3."));
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = fs::metadata(path.with_file_name(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(dir.path().join("a")).expect("made").permissions().mode() & 0o777, 0o700);
}

/// What power leaves that fails while a file is made: its first page, and the journal that would take it back.
async fn half_made(path: &Path) {
    let mut connection = SqliteConnection::connect(&format!("{}?mode=rwc", url(path))).await.expect("made");
    connection.execute("PRAGMA user_version = 1").await.expect("a first page");
    connection.close().await.expect("closed");
    fs::write(path.with_extension("db-journal"), hot_journal()).expect("written");
}

/// The head of a rollback journal for a file that was empty: no page to put back, and cut to nothing.
fn hot_journal() -> Vec<u8> {
    let (records, nonce, pages_before, sector_bytes, page_bytes) = (0_u32, 7_u32, 0_u32, 512_u32, 4096_u32);
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for field in [records, nonce, pages_before, sector_bytes, page_bytes] {
        journal.extend(field.to_be_bytes());
    }
    journal.resize(512, 0);
    journal
}

#[tokio::test]
async fn a_file_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store.db");
    half_made(&path).await;
    let store = store::open(&url(&path)).await.expect("nobody need come");
    store.commit(&[batch(1, 9, 1)]).await.expect("stored");
    store.close().await;
}

#[tokio::test]
async fn another_programs_file_whose_transaction_was_cut_short_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store.db");
    let mut connection = SqliteConnection::connect(&format!("{}?mode=rwc", url(&path))).await.expect("made");
    connection.execute("CREATE TABLE theirs (x)").await.expect("theirs");
    connection.close().await.expect("closed");
    fs::write(path.with_extension("db-journal"), hot_journal()).expect("written");
    let before = fs::read(&path).expect("there");
    let error = failure(&url(&path)).await;
    assert!(error.to_string().contains("another program"), "{}", chain(&error));
    assert_eq!(fs::read(&path).expect("there"), before);
    assert!(path.with_extension("db-journal").exists());
}

#[tokio::test]
async fn a_file_that_others_may_read_is_closed_to_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store.db");
    fs::write(&path, []).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    let store = store::open(&url(&path)).await.expect("an empty file is a new one");
    store.close().await;
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_has_one_aggregator_at_a_time_by_whatever_name_it_is_called() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store.db");
    let first = store::open(&url(&path)).await.expect("made");
    let link = dir.path().join("link.db");
    symlink(&path, &link).expect("linked");
    for name in [&path, &link, &dir.path().join("./store.db")] {
        let error = failure(&url(name)).await;
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("store.db is used by another aggregator"), "{error}");
    }
    first.close().await;
    let second = store::open(&url(&link)).await.expect("the first let go");
    drop(second);
    store::open(&url(&path)).await.expect("a store that is dropped lets go as well");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let database = Database::sqlite().await.expect("SQLite is always there");
    database.store.close().await;
    let error = database.store.commit(&[batch(1, 9, 1)]).await.expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notes.txt");
    let text = "appointments of monday\n".repeat(100);
    fs::write(&path, &text).expect("written");
    let error = failure(&url(&path)).await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("notes.txt is not a database of this program"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("there"), text);
}

#[tokio::test]
async fn another_programs_database_is_named_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bookmarks.db");
    let mut theirs = SqliteConnection::connect(&format!("{}?mode=rwc", url(&path))).await.expect("made");
    theirs.execute("CREATE TABLE agents (name TEXT)").await.expect("made");
    theirs.close().await.expect("closed");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
    let before = fs::read(&path).expect("there");
    let error = failure(&url(&path)).await;
    assert!(error.to_string().contains("database of another program"), "{error}");
    assert_eq!(fs::read(&path).expect("there"), before);
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "who else reads it goes on reading it");
    let beside = fs::read_dir(dir.path()).expect("ours").count();
    assert_eq!(beside, 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store.db");
    store::open(&url(&path)).await.expect("made").close().await;
    let mut bytes = fs::read(&path).expect("there");
    bytes[100..4096].fill(0xa5);
    fs::write(&path, bytes).expect("written");
    let error = failure(&url(&path)).await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("store.db"), "{error}");
}

#[tokio::test]
async fn a_schema_from_a_newer_program_is_not_touched() {
    let database = Database::sqlite().await.expect("SQLite is always there");
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'future', CURRENT_TIMESTAMP, TRUE, x'00', 0)";
    database.sql(newer, "").await;
    database.store.close().await;
    let error = failure(&database.url).await;
    assert!(matches!(error, StoreError::Migrate(_)), "{error:?}");
    assert!(chain(&error).contains("9999"), "{}", chain(&error));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("written");
    let error = failure(&url(&file.join("store.db"))).await;
    assert!(matches!(error, StoreError::Unusable { .. }), "waiting does not help: {error:?}");
    assert!(chain(&error).contains("file/store.db"), "{}", chain(&error));
}

#[tokio::test]
async fn a_wrong_url_says_what_to_write_and_shows_no_password() {
    for wrong in ["mysql://ana:s3cret@db/aten", "postgres://ana:s3cret@db", "sqlite::memory:", "ana:s3cret@db", ""] {
        let error = failure(wrong).await;
        assert!(matches!(error, StoreError::Url { .. }), "{error:?}");
        assert!(error.to_string().contains("use sqlite://PATH or postgres://USER@HOST/DATABASE"), "{error}");
        assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_the_state_before_a_commit_or_after_it_and_holds_nobody_up() {
    let database = Database::sqlite().await.expect("SQLite is always there");
    let mut person = SqliteConnection::connect(&database.url).await.expect("there");
    let mut reading = person.begin().await.expect("begun");
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM batches").fetch_one(&mut *reading).await.expect("read");
    assert_eq!(database.commit(&[batch(1, 9, 1)]).await, [new()]);
    let still: i64 = sqlx::query_scalar("SELECT count(*) FROM batches").fetch_one(&mut *reading).await.expect("read");
    assert_eq!((seen, still), (0, 0));
    assert_eq!(database.count("batches").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_a_person_who_is_writing() {
    let database = Database::sqlite().await.expect("SQLite is always there");
    let mut person = SqliteConnection::connect(&database.url).await.expect("there");
    let mut writing = person.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    writing.execute("INSERT INTO rules VALUES ('by hand', 0)").await.expect("written");
    let group = [batch(1, 9, 1)];
    let mut commit = database.store.commit(&group);
    assert!(timeout(Duration::from_millis(50), &mut commit).await.is_err(), "it waits");
    writing.commit().await.expect("done");
    assert_eq!(commit.await.expect("then it is its turn"), [new()]);
}
