//! Fills a spool with what an agent would have written in an outage: host, cgroup and process passes of this machine, a
//! record a second, until the segments hold so many MiB.
//!
//! `cargo run --release --example backlog -p monitoring-agent -- DIR MIB` prints how many records and bytes there are.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::Context;
use monitoring_agent::batch::Batch;
use monitoring_agent::collect::{self, Options, PROC, Table, Target};
use monitoring_agent::fold::Fold;
use proto::sample::Timestamp;
use runtime::clock::{Clock, SystemClock};
use spool::{Class, Mode, RealDisk, Spool};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Different records; they are repeated in turn. Each second's values differ from the last one's as they do in life.
const RECORDS: usize = 500;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (dir, mib) = (args.next().context("DIR MIB")?, args.next().context("DIR MIB")?.parse::<u64>()?);
    let records = records()?;
    // Twice the room, so that nothing is dropped: a part of it is for critical records.
    let options = spool::Options::new(Mode::Fast, (2 * mib + 64) << 20, "bench");
    let (mut spool, _) = Spool::open(Arc::new(RealDisk), Path::new(&dir), options)?;
    while spool.stats().bytes < mib << 20 {
        let appended = spool.append_all(Class::Ordinary, &records);
        appended.refused.map_or(Ok(()), Err)?;
    }
    let stats = spool.stats();
    println!("{} {}", stats.waiting, stats.bytes);
    spool.close()?;
    Ok(())
}

/// What the fast collectors say once a second, a record each.
fn records() -> anyhow::Result<Vec<Vec<u8>>> {
    let clock = SystemClock;
    let options = Options { target: Some(Target::Pid(std::process::id())), ..Options::default() };
    let mut sources = collect::all(Path::new(PROC), &options, clock.monotonic());
    sources.retain(|source| source.name() != "filesystem");
    let mut folds: Vec<Fold> = sources.iter().map(|source| Fold::new(source.name(), Duration::from_secs(1))).collect();
    let mut tables: Vec<Table> = sources.iter().map(|_| Table::default()).collect();
    let (began, mut records) = (clock.wall(), Vec::with_capacity(RECORDS));
    for second in 0..RECORDS {
        let (mut batch, at) = (Batch::default(), later(began, second));
        for ((source, table), fold) in sources.iter_mut().zip(&mut tables).zip(&mut folds) {
            table.begin_pass();
            source.collect(clock.monotonic(), table)?;
            fold.fold(table, at).into_iter().for_each(|folded| batch.add(folded, Duration::ZERO));
        }
        records.push(batch.take()?);
    }
    Ok(records)
}

fn later(began: Timestamp, seconds: usize) -> Timestamp {
    began + Duration::from_secs(seconds as u64)
}
