//! How many records a second the keeper makes durable for tasks that each wait for the answer. `bench/spool` runs it
//! beside its peers; `produce` measures the same through gRPC.
//!
//! `cargo run --release --example hand_in -p monitoring-agent -- DIR WAITERS RECORDS` prints the records per second and
//! how many shared a sync.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::Context;
use monitoring_agent::keep::{Door, Keeper};
use monitoring_agent::meters::Meters;
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, SystemClock};
use spool::{Mode, Options, RealDisk, Spool};
use std::path::Path;
use std::sync::Arc;

/// A business event, encoded.
const RECORD_BYTES: usize = 256;
/// Room for all of them: nothing is delivered here.
const MAX_BYTES: u64 = 8 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let usage = "DIR WAITERS RECORDS";
    let mut args = std::env::args().skip(1);
    let dir = args.next().context(usage)?;
    let (waiters, records): (u64, u64) = (args.next().context(usage)?.parse()?, args.next().context(usage)?.parse()?);
    let options = Options::new(Mode::Durable, MAX_BYTES, "bench");
    let (spool, _) = Spool::open(Arc::new(RealDisk), Path::new(&dir), options)?;
    let meters = Meters::new(&Telemetry::default());
    let (keeper, door) = Keeper::new(spool, MAX_BYTES, Arc::new(SystemClock), meters.keep);
    let keeper = std::thread::spawn(move || keeper.run());

    let began = SystemClock.monotonic();
    let each = records / waiters;
    let all: Vec<_> = (0..waiters).map(|waiter| tokio::spawn(hand_in(door.clone(), waiter, each))).collect();
    for waiter in all {
        waiter.await??;
    }
    let took = SystemClock.monotonic().saturating_sub(began).as_secs_f64();
    door.stop();
    keeper.join().map_err(|_| anyhow::anyhow!("the keeper panicked"))?;
    let (records, syncs) = ((each * waiters) as f64, door.stats().syncs as f64);
    println!("durable: {:.0} records/s, {:.1} records a sync", records / took, records / syncs);
    Ok(())
}

/// One record after the other, each when the one before is durable.
async fn hand_in(door: Door, waiter: u64, records: u64) -> anyhow::Result<()> {
    let record: Vec<u8> = waiter.to_le_bytes().into_iter().cycle().take(RECORD_BYTES).collect();
    for _ in 0..records {
        door.hand_in(record.clone(), 1)?.await??;
    }
    Ok(())
}
