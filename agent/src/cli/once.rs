//! `once`: one pass of every collector, printed.

use crate::app::{OWN, collector, sources};
use crate::collect::Table;
use crate::config::Config;
use crate::meters::Meters;
use proto::sample::is_stale;
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, SystemClock};
use runtime::log::chain;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Shares of CPU time need two readings some time apart; of which the kernel's ticks of 10 ms are a small part.
const BETWEEN: Duration = Duration::from_millis(200);

struct Pass {
    source: &'static str,
    took: Duration,
    error: Option<String>,
    table: Table,
}

/// Prints one pass as `format` (`table` or `json`). Fails when a collector did.
pub fn run(config: &Config, format: &str) -> anyhow::Result<ExitCode> {
    let (telemetry, clock) = (Telemetry::default(), SystemClock);
    let meters = Meters::new(&telemetry);
    let began = clock.monotonic();
    let names = sources(config).into_iter().map(|(name, _)| name).filter(|name| *name != OWN);
    let mut sources: Vec<_> = names.filter_map(|name| collector(name, config, &telemetry, &meters, began)).collect();
    std::thread::sleep(BETWEEN);
    let passes: Vec<Pass> = sources
        .iter_mut()
        .map(|source| {
            let mut table = Table::default();
            table.begin_pass();
            let began = clock.monotonic();
            let error = source.collect(began, &mut table).err().map(|error| chain(&error));
            Pass { source: source.name(), took: clock.monotonic().saturating_sub(began), error, table }
        })
        .collect();
    if format == "json" {
        println!("{}", serde_json::to_string_pretty(&Value::Array(passes.iter().map(to_json).collect()))?);
    } else {
        passes.iter().for_each(print);
    }
    let fine = passes.iter().all(|pass| pass.error.is_none());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn samples(table: &Table) -> impl Iterator<Item = (String, f64)> + '_ {
    let all = table.definitions().iter().zip(table.values());
    all.filter(|(_, value)| !is_stale(**value)).map(|(def, value)| {
        let key = if def.key.labels.is_empty() { def.key.name.to_string() } else { def.key.to_string() };
        (key, *value)
    })
}

fn print(pass: &Pass) {
    println!("# {}: {} series in {:.3} ms", pass.source, pass.table.definitions().len(), pass.took.as_secs_f64() * 1e3);
    if let Some(error) = &pass.error {
        println!("# {}: {error}", pass.source);
    }
    for (series, value) in samples(&pass.table) {
        println!("{series:<72} {value}");
    }
    println!();
}

fn to_json(pass: &Pass) -> Value {
    let series: Vec<Value> =
        samples(&pass.table).map(|(series, value)| json!({"series": series, "value": value})).collect();
    json!({
        "collector": pass.source,
        "duration_seconds": pass.took.as_secs_f64(),
        "error": pass.error,
        "samples": series,
    })
}
