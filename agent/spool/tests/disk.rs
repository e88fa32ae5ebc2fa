//! The spool on a real disk, through its public face.
#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed, and says where")]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use spool::{Class, Mode, Next, OpenError, Options, RealDisk, Refused, Reserve, Spool, WhenFull, verify};

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
    assert_eq!(files.len(), 6, "lock, identity, two cursors, reserve, a segment: {files:?}");
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
    // 256 segments, however large they are.
    let options = || Options { segment_bytes: megabytes << 12, ..Options::new(Mode::Fast, megabytes << 21, "boot") };
    let mut spool = open(home.path(), options());
    let payload = vec![7; 64 << 10];
    for _ in 0..megabytes * 16 {
        spool.append(Class::Ordinary, &payload).unwrap();
    }
    drop(spool);
    opens_within_little_memory(home.path());

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

/// Another process opens it and reads a record, with 64 MiB of addresses for all that it is and has.
fn opens_within_little_memory(dir: &Path) {
    let mut child = Command::new("prlimit");
    child.arg("--as=67108864").arg(std::env::current_exe().unwrap());
    child.args(["--exact", "one_record_of_a_backlog_is_read", "--test-threads=1"]).env("SPOOL_BACKLOG_DIR", dir);
    let Ok(output) = child.output() else { return eprintln!("SKIPPED: there is no prlimit") };
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What the other process does; nothing, if nobody says where.
#[test]
fn one_record_of_a_backlog_is_read() {
    let Some(dir) = std::env::var_os("SPOOL_BACKLOG_DIR") else { return };
    let mut spool = open(Path::new(&dir), Options::new(Mode::Fast, 1 << 40, "boot"));
    assert!(matches!(spool.read_next().unwrap(), Next::Record(_)));
    assert!(spool.stats().waiting > 1000);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A disk of 8 MiB of its own, gone at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and said so, where we may not mount.
    fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(home.path()).status();
        if made.is_ok_and(|status| status.success()) {
            return Some(Self(home));
        }
        eprintln!("SKIPPED: a small disk can be mounted by root only");
        None
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.0.path()).status();
        assert!(status.unwrap().success(), "{how}");
    }

    /// Another program takes every free byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("of another program");
        let mut file = std::fs::File::create(&path).unwrap();
        for bytes in [64 << 10, 1] {
            let block = vec![1; bytes];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

#[test]
fn on_a_full_disk_critical_records_have_their_reserve_acks_work_and_all_is_well_when_space_returns() {
    let Some(disk) = SmallDisk::mount() else { return };
    let options = Options {
        segment_bytes: 1 << 20,
        when_full: WhenFull::RefuseNew,
        ..Options::new(Mode::Durable, 64 << 20, "boot")
    };
    let mut spool = open(&disk.0.path().join("spool"), options);
    assert_eq!(spool.stats().reserve, Reserve::Held);
    let payload = [7; 1000];
    for _ in 0..2000 {
        spool.append(Class::Ordinary, &payload).unwrap();
    }
    let theirs = disk.fill();
    let refused = spool.append_all(Class::Ordinary, &vec![payload; 100]);
    assert!(matches!(refused.refused, Some(Refused::NoSpace { .. })), "{refused:?}");
    let mut critical = 0;
    while spool.append(Class::Critical, &payload).is_ok() {
        spool.sync().unwrap();
        critical += 1;
    }
    assert!((1000..1040).contains(&critical), "a segment of 1 MiB, {critical}");
    let away = 100 - refused.count as u64 + 1;
    assert_eq!((spool.stats().reserve, spool.stats().turned_away.disk), (Reserve::Missing, away));

    let mut last = None;
    let mut read = 0;
    while let Next::Record(record) = spool.read_next().unwrap() {
        (read, last) = (read + 1, Some(record.position));
        if read == 500 {
            spool.ack(last.unwrap()).unwrap();
        }
    }
    assert_eq!((spool.stats().delivered, spool.stats().cursor_failures), (500, 0), "acks need no room");
    assert_eq!(read, spool.stats().appended);

    std::fs::remove_file(theirs).unwrap();
    assert_eq!(spool.append_all(Class::Ordinary, &vec![payload; 100]).count, 100, "without a restart");
    spool.sync().unwrap();
    spool.checkpoint().unwrap();
    assert_eq!(spool.stats().reserve, Reserve::Held);
    spool.ack(last.unwrap()).unwrap();
    let stats = spool.stats();
    assert_eq!((stats.delivered, stats.waiting, stats.dropped.total()), (read, 100, 0));
}

#[test]
fn the_cursor_and_the_reserve_have_their_blocks_from_the_start() {
    let home = tempfile::tempdir_in(".").unwrap();
    let spool = open(home.path(), durable());
    let blocks = |name: &str| home.path().join(name).metadata().unwrap().blocks() * 512;
    for name in ["cursor.0", "cursor.1"] {
        assert!(blocks(name) > 0, "{name}");
    }
    if spool.stats().reserve == Reserve::Held {
        assert!(blocks("reserve") >= 4096, "{}", blocks("reserve"));
    } else {
        eprintln!("SKIPPED: this disk cannot set room aside");
    }
}

#[test]
fn a_read_only_directory_is_named_in_the_error() {
    let Some(disk) = SmallDisk::mount() else { return };
    let dir = disk.0.path().join("spool");
    drop(open(&dir, durable()));
    disk.remount("ro");
    let error = Spool::open(Arc::new(RealDisk), &dir, durable()).err().expect("nothing can be written");
    assert!(error.to_string().contains(&format!("{}/lock", dir.display())), "{error}");
    assert!(error.to_string().contains("can be written"), "{error}");
    assert_eq!(verify(&RealDisk, &dir).unwrap().records, 0, "looking needs no writing");
}

#[test]
fn a_symlink_to_the_directory_is_followed_and_one_in_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (dir, link) = (home.path().join("spool"), home.path().join("link"));
    let mut spool = open(&dir, durable());
    spool.append(Class::Ordinary, b"x").unwrap();
    spool.close().unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let first = open(&link, durable());
    assert_eq!(first.stats().waiting, 1);
    let second = Spool::open(Arc::new(RealDisk), &dir, durable());
    assert!(matches!(second, Err(OpenError::Locked { .. })), "it is the same directory");
    drop(first);

    let elsewhere = home.path().join("elsewhere");
    let segment = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).last().unwrap();
    std::fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &segment).unwrap();
    let before = std::fs::read(&elsewhere).unwrap();
    let (mut spool, report) = Spool::open(Arc::new(RealDisk), &dir, durable()).unwrap();
    assert_eq!((report.records, report.lost_records), (0, 1), "a segment that leads elsewhere is none");
    spool.append(Class::Ordinary, b"y").unwrap();
    spool.sync().unwrap();
    assert_eq!(std::fs::read(&elsewhere).unwrap(), before);
}

#[test]
fn a_symlink_under_the_name_of_a_shelf_gets_nothing_and_it_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (home.path().join("spool"), home.path().join("elsewhere"));
    let mut spool = open(&dir, durable());
    for payload in [b"refused", b"damaged"] {
        spool.append(Class::Ordinary, payload).unwrap();
    }
    spool.close().unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    for shelf in ["dead", "quarantine"] {
        std::os::unix::fs::symlink(&elsewhere, dir.join(shelf)).unwrap();
    }
    let segment = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.to_str().unwrap().ends_with(".ordinary.seg")).last().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let mut spool = open(&dir, durable());
    let Next::Record(record) = spool.read_next().unwrap() else { panic!("the first is whole") };
    let position = record.position;
    assert!(!spool.refuse(position, "x").unwrap());
    spool.ack(position).unwrap();
    assert_eq!(spool.stats().not_shelved, 1);
    assert!(spool.stats().not_quarantined > 0);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "nothing is written through it");
}

/// Each of our names, made into something else that is no file. None of them may hang us, be followed or be written to.
#[test]
fn a_name_of_ours_that_is_no_file_is_stepped_over_or_named_in_the_error() {
    for name in ["lock", "identity", "cursor.0", "cursor.1", "reserve", "quarantine", "dead"] {
        for kind in ["directory", "fifo", "symlink"] {
            let home = tempfile::tempdir().unwrap();
            let (dir, target) = (home.path().join("spool"), home.path().join("target"));
            let mut spool = open(&dir, durable());
            spool.append(Class::Critical, b"x").unwrap();
            spool.close().unwrap();
            std::fs::write(&target, b"not ours").unwrap();
            let path = dir.join(name);
            drop(std::fs::remove_file(&path));
            match kind {
                "directory" => std::fs::create_dir(&path).unwrap(),
                "fifo" => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                _ => std::os::unix::fs::symlink(&target, &path).unwrap(),
            }
            match Spool::open(Arc::new(RealDisk), &dir, durable()) {
                Ok((mut spool, _)) => {
                    let Next::Record(record) = spool.read_next().unwrap() else { panic!("{name} as {kind}") };
                    assert_eq!(record.payload, b"x");
                }
                Err(error) => {
                    assert!(error.to_string().contains(path.to_str().unwrap()), "{name} as {kind}: {error}");
                    assert!(name == "lock" || (name, kind) == ("identity", "directory"), "{name} as {kind}: {error}");
                }
            }
            assert_eq!(std::fs::read(&target).unwrap(), b"not ours", "{name} as {kind}");
        }
    }
}
