//! How fast the spool takes records and gives them back: one line for each figure. `bench/spool` runs it beside its peers.
//!
//! ```text
//! cargo run --release --example append -p monitoring-spool -- DIR single      [RECORDS]   one record, one sync
//!                                                                 durable     [RECORDS]   groups of 64, each synced
//!                                                                 fast        [RECORDS]   one writer, groups of 64
//!                                                                 read        [MIB]       a backlog, after a restart
//! ```
//! Who waits for the answer is the agent's keeper's affair: its example `hand_in`.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool::{Class, Mode, Next, Options, RealDisk, Spool};

/// A business event, encoded.
const RECORD_BYTES: usize = 256;
/// Records of a group.
const GROUP: usize = 64;
/// Records read between two acks, as a stream has them in flight.
const WINDOW: u64 = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what, rest @ ..] = &arguments[..] else {
        return Err("append DIR single|durable|fast|read [COUNT]".into());
    };
    let count = rest.first().map(|text| text.parse()).transpose()?;
    let dir = Path::new(dir);
    match what.as_str() {
        "single" => single(dir, count.unwrap_or(2_000)),
        "durable" => durable(dir, count.unwrap_or(500_000)),
        "fast" => fast(dir, count.unwrap_or(8_000_000)),
        "read" => read(dir, count.unwrap_or(2048)),
        _ => Err(format!("{what}: no such figure").into()),
    }
}

fn open(dir: &Path, mode: Mode) -> Result<Spool, Failure> {
    Ok(Spool::open(Arc::new(RealDisk), dir, Options::new(mode, 8 << 30, "bench"))?.0)
}

/// A record that differs from its neighbours.
fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(RECORD_BYTES).collect()
}

fn say(what: &str, records: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    let mib = (records * RECORD_BYTES as u64) as f64 / f64::from(1 << 20);
    println!("{what}: {:.0} records/s, {:.1} MiB/s, {records} records", records as f64 / seconds, mib / seconds);
}

fn single(dir: &Path, records: u64) -> Result<(), Failure> {
    let mut spool = open(dir, Mode::Durable)?;
    let mut times = Vec::new();
    let began = Instant::now();
    for number in 0..records {
        let before = Instant::now();
        spool.append(Class::Critical, &record(number))?;
        spool.sync()?;
        times.push(before.elapsed());
    }
    say("single", records, began.elapsed());
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
    println!("single: p50 {} us, p99 {} us", at(50), at(99));
    Ok(())
}

fn durable(dir: &Path, records: u64) -> Result<(), Failure> {
    let mut spool = open(dir, Mode::Durable)?;
    let groups: Vec<_> = (0..GROUP as u64).map(record).collect();
    let began = Instant::now();
    for _ in 0..records / GROUP as u64 {
        if let Some(why) = spool.append_all(Class::Critical, &groups).refused {
            return Err(why.into());
        }
        spool.sync()?;
    }
    say("durable", records / GROUP as u64 * GROUP as u64, began.elapsed());
    Ok(())
}

fn fast(dir: &Path, records: u64) -> Result<(), Failure> {
    let mut spool = open(dir, Mode::Fast)?;
    let groups: Vec<_> = (0..GROUP as u64).map(record).collect();
    let began = Instant::now();
    for _ in 0..records / GROUP as u64 {
        if let Some(why) = spool.append_all(Class::Ordinary, &groups).refused {
            return Err(why.into());
        }
    }
    say("fast", records / GROUP as u64 * GROUP as u64, began.elapsed());
    Ok(())
}

fn read(dir: &Path, mib: u64) -> Result<(), Failure> {
    let mut spool = open(dir, Mode::Fast)?;
    let groups: Vec<_> = (0..GROUP as u64).map(record).collect();
    let records = (mib << 20) / RECORD_BYTES as u64;
    for _ in 0..records / GROUP as u64 {
        if let Some(why) = spool.append_all(Class::Ordinary, &groups).refused {
            return Err(why.into());
        }
    }
    spool.close()?;
    let began = Instant::now();
    let mut spool = open(dir, Mode::Fast)?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    println!("read: {mib} MiB opened in {took:.1} ms, {:.1} MiB of memory since the start", peak_mib()?);
    let (mut bytes, mut read) = (0, 0);
    loop {
        let position = match spool.read_next()? {
            Next::Record(record) => {
                bytes += record.payload.len();
                record.position
            }
            Next::Empty => break,
            unexpected => return Err(format!("{unexpected:?}").into()),
        };
        read += 1;
        if read % WINDOW == 0 {
            spool.ack(position)?;
        }
    }
    assert_eq!(bytes as u64, read * RECORD_BYTES as u64);
    say("read", read, began.elapsed());
    Ok(())
}

/// The most memory that this process has had.
fn peak_mib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
