//! The command line: `run`, `once`, `check`.
#![expect(clippy::print_stderr, reason = "a command line prints")]

mod check;
mod once;

use crate::app::App;
use crate::config::{Config, Overrides};
use anyhow::Context;
use clap::{Parser, Subcommand};
use runtime::clock::SystemClock;
use runtime::drain::asked_by_signal;
use runtime::{config, fail_point, log};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// Samples this host and a service, and streams it to the aggregator.
#[derive(Parser)]
#[command(name = "monitoring-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collect and stream until told to stop
    Run(Overrides),
    /// Take one pass and print it with each collector's duration
    Once {
        #[command(flatten)]
        overrides: Overrides,
        /// table or json
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Check the configuration, the files to be read, the spool and the way to the aggregator
    Check(Overrides),
}

/// Exit code of a wrong configuration; clap's own.
const USAGE: u8 = 2;

/// How long what still blocks may take after the drain.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let overrides = match &cli.command {
        Command::Run(overrides) | Command::Check(overrides) | Command::Once { overrides, .. } => overrides,
    };
    let config = match load(overrides, matches!(cli.command, Command::Once { .. })) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return ExitCode::from(USAGE);
        }
    };
    let done = match &cli.command {
        Command::Run(_) => run(&config),
        Command::Once { format, .. } => quietly(once::run(&config, format, &mut io::stdout().lock())),
        Command::Check(_) => quietly(check::run(&config, &mut io::stdout().lock())),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("monitoring-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// That a reader has seen enough (`once | head -3`) is no failure.
fn quietly(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What `work` gives, on a thread of its own; `None` where that takes longer than `deadline`, or for ever.
fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = sync_channel(1);
    let work = move || {
        let _ = tell.send(work()); // nobody listens any more where the deadline was over before
    };
    thread::Builder::new().spawn(work).ok()?;
    told.recv_timeout(deadline).ok()
}

fn run(config: &Config) -> anyhow::Result<ExitCode> {
    log::init(config.log_format, &config.log_level)?;
    config.fail_point.into_iter().for_each(fail_point::arm);
    // One thread for all I/O: the agent moves a few messages a second, and a second thread would only cost memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(async {
        let asked = asked_by_signal()?;
        let app = App::start(config, Arc::new(SystemClock), asked).await?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            service = config.service,
            instance = config.instance,
            aggregator = config.aggregator,
            http = %app.http(),
            report = app.report().map(tracing::field::display),
            "agent runs"
        );
        app.run().await.map_err(anyhow::Error::from)
    });
    // A look-up of a name cannot be stopped; without a bound the runtime would wait for it.
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended.map(|()| ExitCode::SUCCESS)
}

/// Reads the file that the overrides name, and the overrides. `once` sends nothing, so it needs no name of a service.
fn load(overrides: &Overrides, nameless: bool) -> Result<Config, Vec<String>> {
    config::load(overrides.config.as_deref(), |text| {
        let mut overrides = overrides.clone();
        if nameless && text.is_empty() && overrides.service.is_none() {
            overrides.service = Some("once".into());
        }
        Config::read(text, &overrides, &host_name())
    })
}

/// The host's name; a pod's is the pod's.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}
