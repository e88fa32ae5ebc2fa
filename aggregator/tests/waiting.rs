//! A database that is away when the program starts: the pages say so, agents are told to come back, Ctrl-C is heard, and
//! once the database is there everything begins.

#[path = "harness/postgres.rs"]
mod postgres;
#[path = "harness/programs.rs"]
mod programs;

use monitoring_aggregator::store;
use postgres::Postgres;
use programs::{Program, get, get_with_status, wait_for};
use sqlx::{Connection, Executor, PgConnection};
use std::path::Path;
use tempfile::TempDir;

/// An aggregator whose server is stopped; `None` where there is no PostgreSQL.
fn start(dir: &Path) -> Option<(Postgres, Program)> {
    let server = Postgres::private()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(server.create_database());
    server.stop();
    let flags = ["--database", &database, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    Some((server, Program::aggregator(&dir.join("aggregator.log"), &flags)))
}

#[test]
fn the_pages_say_what_is_waited_for_and_everything_begins_once_the_database_is_there() {
    let dir = TempDir::new().expect("a directory");
    let Some((server, mut aggregator)) = start(dir.path()) else { return };
    let http = aggregator.logged("aggregator listens", "http");
    let grpc = format!("http://{}", aggregator.logged("aggregator listens", "grpc"));
    let page = |path: &str| get_with_status(&format!("http://{http}{path}"));
    let away = "starting: the database does not answer\n";
    wait_for("it says what it waits for", || page("/readyz") == Some((503, away.into())));
    assert_eq!(page("/healthz"), Some((200, away.into())), "a probe that kills would only begin it all again");
    let (status, alerts) = page("/api/alerts").expect("it answers");
    assert!(status == 503 && alerts.contains("starting: the database does not answer"), "{alerts}");

    let spool = dir.path().join("spool").display().to_string();
    let flags = ["--service", "agenda", "--instance", "one", "--aggregator", &grpc, "--spool-dir", &spool];
    let agent =
        Program::agent(&dir.path().join("agent.log"), &[&flags[..], &["--listen-http", "127.0.0.1:0"]].concat());
    let metrics = format!("http://{http}/metrics");
    wait_for("the agent is told to come back", || {
        get(&metrics).is_some_and(|page| page.contains("monitoring_ingest_refused_total{reason=\"starting\"}"))
    });
    assert!(get(&metrics).is_some_and(|page| page.contains("\nmonitoring_store_up 0\n")));

    server.start();
    wait_for("it is ready", || page("/readyz") == Some((200, "ok\n".into())));
    wait_for("the agent's figures are there", || {
        get(&metrics).is_some_and(|page| {
            page.contains("system_memory_usage_bytes{") && page.contains("\nmonitoring_store_up 1\n")
        })
    });
    assert!(agent.interrupt().success());
    assert!(aggregator.interrupt().success());
}

#[test]
fn a_database_that_fails_after_it_was_opened_is_asked_again() {
    let dir = TempDir::new().expect("a directory");
    let Some(server) = Postgres::private() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(server.create_database());
    runtime.block_on(async { store::open(&database).await.expect("a new database").close().await });
    let mut person = runtime.block_on(PgConnection::connect(&database)).expect("it is there");
    let mut repair = runtime.block_on(person.begin()).expect("it is there");
    runtime.block_on(repair.execute("LOCK TABLE monitoring.agents IN ACCESS EXCLUSIVE MODE")).expect("it is free");

    let url = format!("{database}&options=-c%20lock_timeout%3D100ms");
    let flags = ["--database", &url, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    let mut aggregator = Program::aggregator(&dir.path().join("aggregator.log"), &flags);
    let http = aggregator.logged("aggregator listens", "http");
    let readyz = || get_with_status(&format!("http://{http}/readyz"));
    let away = "starting: the database does not answer\n";
    wait_for("the agents cannot be read", || readyz() == Some((503, away.into())));
    runtime.block_on(repair.rollback()).expect("it is there");
    wait_for("it is ready", || readyz() == Some((200, "ok\n".into())));
    assert!(aggregator.interrupt().success());
}

#[test]
fn ctrl_c_is_heard_while_the_database_is_away() {
    let dir = TempDir::new().expect("a directory");
    let Some((_server, mut aggregator)) = start(dir.path()) else { return };
    aggregator.logged("database away; waiting for it. Is it running, and is --database right?", "error");
    assert!(aggregator.interrupt().success());
}

#[test]
fn a_database_that_no_waiting_heals_ends_the_start_with_the_way_out() {
    let dir = TempDir::new().expect("a directory");
    let in_the_way = dir.path().join("file");
    std::fs::write(&in_the_way, "x").expect("our directory");
    let database = format!("sqlite://{}", in_the_way.join("monitoring.db").display());
    let flags = ["serve", "--database", &database, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_monitoring-aggregator"))
        .args(flags)
        .output()
        .expect("it runs and ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot use") && said.contains("--database"), "{said}");
}
