//! `check`: what would go wrong, said before it does.

use crate::app::{collector, sources};
use crate::config::Config;
use crate::meters::Meters;
use crate::uplink::connect;
use anyhow::Context;
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, SystemClock};
use runtime::log::chain;
use rustix::fs::{Access, access};
use spool::RealDisk;
use std::path::Path;
use std::process::ExitCode;

/// Prints one line per thing checked. Fails when something is wrong that would stop the agent or lose samples; a file
/// that cannot be read and an aggregator that is away are shown, not failed: the agent runs without either.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    println!("ok    configuration: service {}, instance {}", config.service, config.instance);
    check_files(config);
    let spool_is_fine = check_spool(config);
    check_aggregator(config)?;
    Ok(if spool_is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_files(config: &Config) {
    let telemetry = Telemetry::default();
    let meters = Meters::new(&telemetry);
    let now = SystemClock.monotonic();
    for collector in sources(config).iter().filter_map(|(name, _)| collector(name, config, &telemetry, &meters, now)) {
        for note in collector.notes() {
            match note.problem {
                None => println!("ok    {}: {}", collector.name(), note.path.display()),
                Some(problem) => println!("no    {}: {}: {problem}", collector.name(), note.path.display()),
            }
        }
    }
}

fn check_spool(config: &Config) -> bool {
    let dir = config.spool.dir.display();
    if !config.spool.dir.exists() {
        return check_new_spool(&config.spool.dir);
    }
    match spool::verify(&RealDisk, &config.spool.dir) {
        Ok(report) => {
            println!(
                "ok    spool {dir}: {} records in {} bytes, {} segments",
                report.records, report.bytes, report.segments
            );
            for damaged in report.damaged {
                println!(
                    "no    spool {dir}: {} has {} damaged stretches; they are stepped over and counted",
                    damaged.path.display(),
                    damaged.stretches
                );
            }
            true
        }
        Err(error) => {
            println!("WRONG spool {dir}: {}", chain(&error));
            false
        }
    }
}

/// A spool that is not there is made by `run`, if the folder above it may be written.
fn check_new_spool(dir: &Path) -> bool {
    let above = dir.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    match access(above, Access::WRITE_OK) {
        Ok(()) => {
            println!("ok    spool {}: not there yet; it can be made", dir.display());
            true
        }
        Err(error) => {
            println!("WRONG spool {}: cannot be made in {}: {error}", dir.display(), above.display());
            false
        }
    }
}

fn check_aggregator(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match runtime.block_on(connect(&config.aggregator)) {
        Ok(_) => println!("ok    aggregator {}: reached", config.aggregator),
        Err(error) => println!("no    aggregator {}: {}", config.aggregator, chain(&error)),
    }
    Ok(())
}
