//! `once`: one pass of every collector, printed.
//!
//! Each collector runs on a thread of its own, as in service, and as a table is printed when it ends: one that hangs is
//! named after its deadline and holds up no other. As JSON there is one document, when all have ended or are overdue.

use crate::app::{OWN, collector, sources};
use crate::collect::Table;
use crate::config::Config;
use crate::meters::Meters;
use proto::sample::is_stale;
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, SystemClock};
use runtime::log::chain;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Shares of CPU time need two readings some time apart, of which the kernel's ticks of 10 ms are a small part.
const BETWEEN: Duration = Duration::from_millis(200);

/// A collector that has not ended.
struct Waiting {
    source: &'static str,
    deadline: Duration,
    /// When the deadline is over, monotonic.
    due: Duration,
}

struct Pass {
    source: &'static str,
    deadline: Duration,
    took: Duration,
    error: Option<String>,
    table: Table,
}

/// Prints one pass as `format` (`table` or `json`) to `out`. Fails when a collector did.
pub fn run(config: &Config, format: &str, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let is_json = format == "json";
    let (ended, mut waiting) = begin(config)?;
    let mut passes: Vec<Pass> = Vec::new();
    while !waiting.is_empty() {
        for pass in next(&ended, &mut waiting) {
            if !is_json {
                print(&pass, out)?;
            }
            passes.push(pass);
        }
    }
    if is_json {
        let document = Value::Array(passes.iter().map(to_json).collect());
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
    }
    out.flush()?;
    let is_fine = passes.iter().all(|pass| pass.error.is_none());
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a thread for each source; the agent's own figures say nothing of a program that has just begun.
fn begin(config: &Config) -> io::Result<(Receiver<Pass>, Vec<Waiting>)> {
    let sources: Vec<_> = sources(config).into_iter().filter(|(name, _)| *name != OWN).collect();
    let (tell, ended) = sync_channel(sources.len());
    let began = SystemClock.monotonic();
    let mut waiting = Vec::new();
    for (source, schedule) in sources {
        let (config, tell, deadline) = (config.clone(), tell.clone(), schedule.deadline);
        thread::Builder::new().name(source.into()).spawn(move || take(&config, source, deadline, &tell))?;
        // Opening the files may take as long as a pass.
        waiting.push(Waiting { source, deadline, due: began + deadline + BETWEEN + deadline });
    }
    Ok((ended, waiting))
}

fn take(config: &Config, source: &'static str, deadline: Duration, tell: &SyncSender<Pass>) {
    let (telemetry, clock) = (Telemetry::default(), SystemClock);
    let meters = Meters::new(&telemetry);
    let Some(mut collector) = collector(source, config, &telemetry, &meters, clock.monotonic()) else { return };
    thread::sleep(BETWEEN);
    let mut table = Table::default();
    table.begin_pass();
    let began = clock.monotonic();
    let error = collector.collect(began, &mut table).err().map(|error| chain(&error));
    let took = clock.monotonic().saturating_sub(began);
    // Nobody listens any more where the deadline was over before.
    let _ = tell.send(Pass { source, deadline, took, error, table });
}

/// Waits for the next collector that ends, or for those whose deadline is over.
fn next(ended: &Receiver<Pass>, waiting: &mut Vec<Waiting>) -> Vec<Pass> {
    let now = SystemClock.monotonic();
    let due = waiting.iter().map(|waiting| waiting.due).min().unwrap_or(now);
    let overdue = match ended.recv_timeout(due.saturating_sub(now)) {
        Ok(pass) => {
            waiting.retain(|waiting| waiting.source != pass.source);
            return vec![pass];
        }
        Err(RecvTimeoutError::Timeout) => waiting.extract_if(.., |waiting| waiting.due <= due).collect(),
        Err(RecvTimeoutError::Disconnected) => std::mem::take(waiting),
    };
    let failed = |Waiting { source, deadline, due }: Waiting| {
        let hangs = format!("no result within its deadline of {deadline:?}; it hangs, and what it reads may too");
        let panicked = "it panicked; this is a defect of the agent: please report it".to_owned();
        let error = Some(if SystemClock.monotonic() >= due { hangs } else { panicked });
        Pass { source, deadline, took: BETWEEN + deadline, error, table: Table::default() }
    };
    overdue.into_iter().map(failed).collect()
}

fn samples(table: &Table) -> impl Iterator<Item = (String, f64)> + '_ {
    let all = table.definitions().iter().zip(table.values());
    all.filter(|(_, value)| !is_stale(**value)).map(|(def, value)| {
        let key = if def.key.labels.is_empty() { def.key.name.to_string() } else { def.key.to_string() };
        (key, *value)
    })
}

fn print(pass: &Pass, out: &mut impl Write) -> io::Result<()> {
    let Pass { source, deadline, took, .. } = pass;
    let series = pass.table.definitions().len();
    writeln!(out, "# {source}: {series} series in {:.3} ms of {deadline:?}", took.as_secs_f64() * 1e3)?;
    if let Some(error) = &pass.error {
        writeln!(out, "# {source}: {error}")?;
    }
    for (series, value) in samples(&pass.table) {
        writeln!(out, "{series:<72} {value}")?;
    }
    writeln!(out)
}

fn to_json(pass: &Pass) -> Value {
    let series: Vec<Value> =
        samples(&pass.table).map(|(series, value)| json!({"series": series, "value": value})).collect();
    json!({
        "collector": pass.source,
        "duration_seconds": pass.took.as_secs_f64(),
        "deadline_seconds": pass.deadline.as_secs_f64(),
        "error": pass.error,
        "samples": series,
    })
}
