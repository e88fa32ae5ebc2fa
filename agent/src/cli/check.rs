//! `check`: what would go wrong, said before it does.

use super::within;
use crate::app::{collector, sources};
use crate::config::Config;
use crate::meters::Meters;
use crate::uplink::{SessionError, probe};
use anyhow::Context;
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, SystemClock};
use runtime::log::chain;
use rustix::fs::{Access, access};
use spool::{Fs, RealDisk};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    if !config.spool.dir.exists() {
        return check_new_spool(&config.spool.dir, out);
    }
    // Both, so that all that is wrong is said at once.
    let (is_usable, is_readable) = (check_use(&config.spool.dir, out)?, check_content(&config.spool.dir, out)?);
    Ok(is_usable && is_readable)
}

/// Whether `run` could take the directory now.
fn check_use(dir: &Path, out: &mut impl Write) -> io::Result<bool> {
    let refused = match usable(dir) {
        Ok(()) => return Ok(true),
        Err(why) => why,
    };
    writeln!(out, "WRONG spool {}: {refused}", dir.display())?;
    Ok(false)
}

fn usable(dir: &Path) -> Result<(), String> {
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| format!("cannot be written: {error}"))?;
    let lock = dir.join("lock");
    // Without the file nobody has it; taking it would make one.
    if !lock.exists() {
        return Ok(());
    }
    match RealDisk.lock(&lock) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("in use by another process: stop that agent, or give this one another directory".into()),
        Err(error) => Err(format!("cannot be locked: {error}")),
    }
}

fn check_content(dir: &Path, out: &mut impl Write) -> io::Result<bool> {
    let verified = spool::verify(&RealDisk, dir);
    let dir = dir.display();
    match verified {
        Ok(report) if report.is_other_version => {
            let do_what = "run that one until it is empty";
            writeln!(out, "WRONG spool {dir}: written by another version of this program; {do_what}")?;
            Ok(false)
        }
        Ok(report) => {
            writeln!(
                out,
                "ok    spool {dir}: {} records in {} bytes, {} segments",
                report.records, report.bytes, report.segments
            )?;
            for foreign in report.foreign {
                writeln!(out, "no    spool {dir}: {} is not ours; it is left alone", foreign.display())?;
            }
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
    match runtime.block_on(probe(&config.aggregator)) {
        Ok(()) => writeln!(out, "ok    aggregator {}: answers", config.aggregator)?,
        Err(error @ SessionError::Connect { .. }) => {
            writeln!(out, "no    aggregator {}: {}", config.aggregator, chain(&error))?;
        }
        Err(error) => writeln!(
            out,
            "no    aggregator {}: something is there, but no aggregator's gRPC port (7400 by default): {}",
            config.aggregator,
            chain(&error)
        )?,
    }
    runtime.shutdown_timeout(Duration::ZERO); // a look-up of a name may still hang
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool::{Mode, Options, Spool};
    use std::sync::Arc;
    use tempfile::TempDir;

    #[test]
    fn a_spool_that_an_agent_has_is_wrong_and_looking_at_a_free_one_takes_nothing_from_it() {
        let home = TempDir::new().expect("a directory");
        let dir = home.path().join("spool");
        let open = || Spool::open(Arc::new(RealDisk), &dir, Options::new(Mode::Durable, 64 << 20, "boot"));
        let mut out = Vec::new();
        assert!(check_new_spool(&dir, &mut out).expect("a vector takes all") && !dir.exists());
        let (spool, _) = open().expect("it opens");
        assert!(!check_use(&dir, &mut out).expect("a vector takes all"));
        assert!(String::from_utf8_lossy(&out).contains("in use by another process"));
        drop(spool);
        assert_eq!(usable(&dir), Ok(()));
        assert!(check_content(&dir, &mut out).expect("a vector takes all"));
        open().expect("nobody has it");
    }
}
