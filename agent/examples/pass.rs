//! Times one collection pass: host + cgroup + one process (this one), as the agent takes it each second.
//!
//! `cargo run --release --example pass -p monitoring-agent -- [PASSES]` prints a line for each source and for all.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use monitoring_agent::collect::{self, Options, PROC, Table, Target};
use runtime::clock::{Clock, SystemClock};
use std::path::Path;
use std::time::Duration;

/// Passes when none are given: a few seconds.
const PASSES: usize = 10_000;
/// Passes before the first that counts.
const WARM_UP: usize = 100;

fn main() {
    let passes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(PASSES);
    let clock = SystemClock;
    let options = Options { target: Some(Target::Pid(std::process::id())), ..Options::default() };
    let mut sources = collect::all(Path::new(PROC), &options, clock.monotonic());
    sources.retain(|source| source.name() != "filesystem");
    let mut tables: Vec<Table> = sources.iter().map(|_| Table::default()).collect();
    let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(passes); sources.len() + 1];
    for pass in 0..passes + WARM_UP {
        let began = clock.monotonic();
        let mut before = began;
        for (index, (source, table)) in sources.iter_mut().zip(&mut tables).enumerate() {
            table.begin_pass();
            if let Err(error) = source.collect(before, table) {
                println!("{}: {error}", source.name());
            }
            let now = clock.monotonic();
            if pass >= WARM_UP {
                times[index].push(now.saturating_sub(before));
            }
            before = now;
        }
        if pass >= WARM_UP {
            times[sources.len()].push(before.saturating_sub(began));
        }
    }
    for (index, times) in times.iter_mut().enumerate() {
        times.sort_unstable();
        let name = sources.get(index).map_or("all", |source| source.name());
        let series = tables.get(index).map_or_else(
            || tables.iter().map(|table| table.definitions().len()).sum(),
            |table| table.definitions().len(),
        );
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
            let index = ((times.len() - 1) as f64 * share) as usize;
            times[index].as_secs_f64() * 1e6
        };
        println!(
            "{name:<10} {series:>4} series  p50 {:>7.1} us  p99 {:>7.1} us  max {:>8.1} us",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
