//! `check`: what would go wrong, said before it does.

use super::within;
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
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints one line per thing checked. Fails when something is wrong that would stop the agent or lose samples; a file
/// that cannot be read and an aggregator that is away are shown, not failed: the agent runs without either.
pub fn run(config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    writeln!(out, "ok    configuration: service {}, instance {}", config.service, config.instance)?;
    check_files(config, out)?;
    let spool_is_fine = check_spool(config, out)?;
    check_aggregator(config, out)?;
    out.flush()?;
    Ok(if spool_is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_files(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let telemetry = Telemetry::default();
    let meters = Meters::new(&telemetry);
    for (source, schedule) in sources(config) {
        let (config, telemetry, meters) = (config.clone(), telemetry.clone(), meters.clone());
        let look = move || {
            let collector = collector(source, &config, &telemetry, &meters, SystemClock.monotonic());
            collector.map(|collector| collector.notes()).unwrap_or_default()
        };
        let Some(notes) = within(schedule.deadline, look) else {
            writeln!(out, "no    {source}: its files do not answer within its deadline of {:?}", schedule.deadline)?;
            continue;
        };
        for note in notes {
            match note.problem {
                None => writeln!(out, "ok    {source}: {}", note.path.display())?,
                Some(problem) => writeln!(out, "no    {source}: {}: {problem}", note.path.display())?,
            }
        }
    }
    Ok(())
}

fn check_spool(config: &Config, out: &mut impl Write) -> io::Result<bool> {
    let dir = config.spool.dir.display();
    if !config.spool.dir.exists() {
        return check_new_spool(&config.spool.dir, out);
    }
    match spool::verify(&RealDisk, &config.spool.dir) {
        Ok(report) => {
            writeln!(
                out,
                "ok    spool {dir}: {} records in {} bytes, {} segments",
                report.records, report.bytes, report.segments
            )?;
            for damaged in report.damaged {
                writeln!(
                    out,
                    "no    spool {dir}: {} has {} damaged stretches; they are stepped over and counted",
                    damaged.path.display(),
                    damaged.stretches
                )?;
            }
            Ok(true)
        }
        Err(error) => {
            writeln!(out, "WRONG spool {dir}: {}", chain(&error))?;
            Ok(false)
        }
    }
}

/// A spool that is not there is made by `run`, if the folder above it may be written.
fn check_new_spool(dir: &Path, out: &mut impl Write) -> io::Result<bool> {
    let above = dir.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    match access(above, Access::WRITE_OK) {
        Ok(()) => {
            writeln!(out, "ok    spool {}: not there yet; it can be made", dir.display())?;
            Ok(true)
        }
        Err(error) => {
            writeln!(out, "WRONG spool {}: cannot be made in {}: {error}", dir.display(), above.display())?;
            Ok(false)
        }
    }
}

fn check_aggregator(config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match runtime.block_on(connect(&config.aggregator)) {
        Ok(_) => writeln!(out, "ok    aggregator {}: reached", config.aggregator)?,
        Err(error) => writeln!(out, "no    aggregator {}: {}", config.aggregator, chain(&error))?,
    }
    Ok(())
}
