//! The harness itself: what does not sync loses under the same loss of power what its twin keeps, and the oracle says so.
//! A loss of power that took nothing would leave every run green.
//!
//! ```text
//! hand in ─► everything acked ─► the power fails ─► judge     first synced: nothing is missing
//!    └──────────────── again, unsynced ◄──────────────┘       then not: until something is
//! ```
//! Not at the first time for certain: a server takes up a setting when it comes to it, and the kernel writes unasked what
//! has waited for long. So it is done again, for a generous number of times.

use crate::house::{Database, House, Plan, Victim};
use crate::oracle::Verdict;
use crate::postgresql_on_disk;
use crate::proxy::{Flow, Weather};
use sqlx::{Connection, Executor, PgConnection};
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Seed of the events; what happens has no chance in it.
const SEED: u64 = 1;
/// Events that are handed in before each loss.
const EVENTS: u64 = 50;
/// Losses of power until something must have been lost. The first or the second takes it, unless the machine is very busy.
const LOSSES_MAX: u32 = 20;

/// A C library by which nothing reaches the device unless the kernel feels like it.
const NO_SYNC: &str = "
    int fsync(int file) { (void)file; return 0; }
    int fdatasync(int file) { (void)file; return 0; }
";

/// Opens the house: something is acked, so that the database is made.
fn open(house: &mut House) {
    house.start(Victim::Aggregator, None);
    house.start(Victim::Agent, None);
    house.await_ack();
}

/// Has events acked, all of them, then takes the power away. What the oracle says when both programs work again.
fn lose_power(house: &mut House, lose: impl Fn(&mut House)) -> Verdict {
    house.hand_in(EVENTS);
    house.await_delivery().expect("it delivers");
    lose(house);
    house.await_ack();
    house.judge()
}

/// The synced database keeps, and the one that `stop_syncing` has made of it loses.
fn proves_itself(house: &mut House, lose: impl Fn(&mut House), stop_syncing: impl FnOnce(&mut House)) {
    open(house);
    let synced = lose_power(house, &lose);
    assert!(synced.is_kept() && synced.promised == EVENTS, "{synced:?}");
    stop_syncing(house);
    for loss in 1..=LOSSES_MAX {
        let verdict = lose_power(house, &lose);
        assert!(verdict.doubled.is_empty() && verdict.invented.is_empty(), "{verdict:?}");
        if !verdict.missing.is_empty() {
            let early = verdict.missing.iter().filter(|id| **id < EVENTS).count();
            assert_eq!(early, 0, "what was synced is there: {verdict:?}");
            println!("unsynced loss {loss}: {} of {} events are missing", verdict.missing.len(), verdict.promised);
            return;
        }
    }
    panic!("{LOSSES_MAX} losses of power, and nothing that was never synced is missing");
}

/// Tells a server that it need not sync any more.
fn turn_fsync_off(house: &mut House) {
    house.block_on(async {
        let mut connection = PgConnection::connect(&house.url).await.expect("the server runs");
        for order in ["ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"] {
            connection.execute(order).await.expect("we are its superuser");
        }
    });
}

/// Builds the library in `dir`.
fn no_sync(dir: &Path) -> PathBuf {
    let library = dir.join("no_sync.so");
    let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-shared", "-fPIC", "-x", "c", "-o"]).arg(&library).arg("-").stdin(Stdio::piped());
    let mut compiling = compiler.spawn().expect("our build needs a C compiler too");
    let written = compiling.stdin.take().expect("it is piped").write_all(NO_SYNC.as_bytes());
    let ended = compiling.wait().expect("our child");
    assert!(written.is_ok() && ended.success(), "{compiler:?}: {ended}");
    library
}

#[test]
fn the_oracle_sees_what_a_postgresql_without_fsync_loses_when_the_power_fails() {
    let Some(database) = postgresql_on_disk() else { return };
    let mut house = House::build(database, Plan::USUAL, SEED).expect("its disk is made");
    proves_itself(&mut house, House::fail_database_power, turn_fsync_off);
}

#[test]
fn the_oracle_sees_what_an_sqlite_that_does_not_sync_loses_when_the_power_fails() {
    let Some(mut house) = House::build(Database::Sqlite, Plan::on_disk(Victim::Aggregator), SEED) else { return };
    let dir = TempDir::new().expect("a directory");
    proves_itself(
        &mut house,
        |house| house.fail_power(Victim::Aggregator),
        |house| {
            house.preload(&no_sync(dir.path()));
            house.restart(Victim::Aggregator);
        },
    );
}

/// Exactly what was in its page cache: a spool in mode `fast` syncs when it feels like it.
#[test]
fn the_oracle_sees_what_a_spool_in_mode_fast_loses_when_the_power_fails() {
    let plan = Plan { mode: "fast", ..Plan::on_disk(Victim::Agent) };
    let Some(mut house) = House::build(Database::Sqlite, plan, SEED) else { return };
    house.start(Victim::Aggregator, None);
    house.start(Victim::Agent, None);
    house.await_ack();
    // Swallowed, not held: what waits in a socket outlives the program that sent it.
    house.proxy.set(Weather { up: Flow::Lost, down: Flow::Lost });
    house.hand_in(50);
    house.fail_power(Victim::Agent);
    let (estate, oracle) = house.close().expect("what is left is delivered");
    let verdict = oracle.judge(estate.contents.events);
    assert_eq!(verdict.missing, (0..50).collect::<Vec<_>>());
    assert_eq!((verdict.promised, verdict.doubled, verdict.invented), (51, vec![], vec![]));
}
