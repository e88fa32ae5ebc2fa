//! The command line: `serve`.
#![expect(clippy::print_stderr, reason = "a command line prints")]

use crate::app::{App, RunError, StartError};
use crate::config::{Config, Overrides};
use anyhow::Context;
use clap::{Parser, Subcommand};
use runtime::clock::SystemClock;
use runtime::drain::asked_by_signal;
use runtime::{config, fail_point, log};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Stores what agents send, answers queries, evaluates alerts and notifies.
#[derive(Parser)]
#[command(name = "monitoring-aggregator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve agents, pages and alerts until told to stop
    Serve(Overrides),
}

/// Exit code of a wrong configuration; clap's own.
const USAGE: u8 = 2;

/// How long what still blocks may take after the drain.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let Command::Serve(overrides) = Cli::parse().command;
    let config = match config::load(overrides.config.as_deref(), |text| Config::read(text, &overrides)) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return ExitCode::from(USAGE);
        }
    };
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monitoring-aggregator: {error:#}");
            let wrong_rules = matches!(error.downcast_ref(), Some(StartError::Rules(_)));
            if wrong_rules { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    log::init(config.log_format, &config.log_level)?;
    config.fail_point.into_iter().for_each(fail_point::arm);
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("TLS is set up already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(async {
        let asked = asked_by_signal()?;
        let app = App::start(config, Arc::new(SystemClock), asked).await?;
        tracing::info!(grpc = %app.grpc(), http = %app.http(), "aggregator listens");
        // A start that failed late reads like one that failed at once.
        app.run().await.map_err(|error| match error {
            RunError::Start(error) => error.into(),
            RunError::Fault(error) => error.into(),
        })
    });
    // A look-up of a name cannot be stopped; without a bound the runtime would wait for it.
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended
}
