//! The spool on a real disk, through its public face.
#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed, and says where")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use spool::{Class, Mode, Next, OpenError, Options, RealDisk, Spool, verify};

fn open(dir: &Path, options: Options) -> Spool {
    Spool::open(Arc::new(RealDisk), dir, options).expect("it opens").0
}

fn durable() -> Options {
    Options { segment_bytes: 4096, ..Options::new(Mode::Durable, 1 << 20, "boot") }
}

#[test]
fn what_was_synced_is_there_after_a_restart_and_goes_away_when_acked() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("var/spool");
    let mut spool = open(&dir, durable());
    for number in 0..200u32 {
        spool.append(Class::Ordinary, &number.to_le_bytes().repeat(20)).unwrap();
    }
    assert_eq!(spool.sync().unwrap().seq, 200);
    drop(spool);

    let mut spool = open(&dir, durable());
    let mut last = None;
    for number in 0..200u32 {
        let Next::Record(record) = spool.read_next().unwrap() else { panic!("{number} is missing") };
        assert_eq!(record.payload, number.to_le_bytes().repeat(20));
        last = Some(record.position);
    }
    assert_eq!(spool.read_next().unwrap(), Next::Empty);
    spool.ack(last.unwrap()).unwrap();
    assert_eq!((spool.stats().waiting, spool.stats().segments), (0, 1));
    spool.close().unwrap();
    assert_eq!(verify(&RealDisk, &dir).unwrap().segments, 1);
}

#[test]
fn nobody_else_may_read_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("spool");
    let mut spool = open(&dir, durable());
    spool.append(Class::Critical, b"x").unwrap();
    spool.sync().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 5, "lock, identity, two cursors, a segment: {files:?}");
    for path in files {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn the_lock_keeps_a_second_one_out_and_goes_with_its_owner() {
    let home = tempfile::tempdir().unwrap();
    let first = open(home.path(), durable());
    let second = Spool::open(Arc::new(RealDisk), home.path(), durable());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(first);
    open(home.path(), durable());
}

#[test]
fn a_directory_that_cannot_be_made_is_named_in_the_error() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let error = Spool::open(Arc::new(RealDisk), &file.join("spool"), durable()).err().expect("a file is in the way");
    assert!(error.to_string().contains("file/spool"), "{error}");
}

/// `SPOOL_BACKLOG_MIB=2048 cargo test --release -p monitoring-spool --test disk backlog -- --nocapture` prints how long
/// a large one takes and what memory it needs. No test fails on a time; this one fails on what is not constant: the
/// descriptors, and the memory of opening.
#[test]
fn a_backlog_opens_without_being_read() {
    let megabytes: u64 = std::env::var("SPOOL_BACKLOG_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let home = tempfile::tempdir_in(".").unwrap();
    let options = || Options::new(Mode::Fast, megabytes << 21, "boot");
    let mut spool = open(home.path(), options());
    let payload = vec![7; 64 << 10];
    for _ in 0..megabytes * 16 {
        spool.append(Class::Ordinary, &payload).unwrap();
    }
    drop(spool);

    let before = resident_kib();
    let began = Instant::now();
    let mut spool = open(home.path(), options());
    let took = began.elapsed();
    assert_eq!(spool.stats().waiting, megabytes * 16);
    let Next::Record(record) = spool.read_next().unwrap() else { panic!("it holds records") };
    assert_eq!(record.position.seq, 1);
    let grown = resident_kib().saturating_sub(before);
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let held = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let held = held.filter(|path| path.starts_with(home.path().canonicalize().unwrap())).count();
    eprintln!("{megabytes} MiB in {} segments: opened in {took:?}, {grown} KiB more", spool.stats().segments);
    assert!(held <= 3, "the lock and the segment of each lane: {held}");
    assert!(grown < 40 << 10, "{grown} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
