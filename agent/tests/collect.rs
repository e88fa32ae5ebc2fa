//! The collectors against the real machine, a copied one and the catalog, through the crate's door.

mod fixture;

use fixture::{PID, Proc, STAT};
use monitoring_agent::collect::{Collector, Options, PROC, Table, Target, all};
use proto::catalog;
use proto::name::Label;
use proto::sample::is_stale;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn sources(proc: &Path, pid: u32) -> Vec<Box<dyn Collector>> {
    let options = Options { target: Some(Target::Pid(pid)), ..Options::default() };
    all(proc, &options, Duration::ZERO)
}

fn real() -> Vec<Box<dyn Collector>> {
    sources(Path::new(PROC), std::process::id())
}

fn pass(source: &mut dyn Collector, elapsed: Duration) -> Table {
    let mut table = Table::default();
    table.begin_pass();
    // What can be read differs from machine to machine; what was declared must be right on each.
    let _ = source.collect(elapsed, &mut table);
    table
}

/// One pass over the copied machine, a second after its sources were made.
fn copied() -> Vec<Table> {
    let proc = Proc::new();
    let mut sources = sources(&proc.path(), PID);
    proc.write("stat", STAT[1]);
    let mut taken = Vec::new();
    for source in &mut sources {
        let mut table = Table::default();
        table.begin_pass();
        let outcome = source.collect(Duration::from_secs(1), &mut table);
        outcome.unwrap_or_else(|error| panic!("{} finds all that it reads: {error}", source.name()));
        taken.push(table);
    }
    taken
}

/// The names that have a value.
fn told(tables: &[Table]) -> BTreeMap<&str, f64> {
    let all = tables.iter().flat_map(|table| table.definitions().iter().zip(table.values()));
    all.filter(|(_, value)| !is_stale(**value)).map(|(def, value)| (def.key.name.as_str(), *value)).collect()
}

#[test]
fn every_series_is_in_the_catalog_with_exactly_its_labels_and_stands_once() {
    let on_this_machine = real().into_iter().map(|mut source| pass(source.as_mut(), Duration::from_secs(1)));
    for table in on_this_machine.chain(copied()) {
        let mut seen = HashSet::new();
        for definition in table.definitions() {
            let key = &definition.key;
            let metric = catalog::find(key.name.as_str()).unwrap_or_else(|| panic!("{key} is not in the catalog"));
            let labels: BTreeSet<&str> = key.labels.iter().map(Label::name).collect();
            assert_eq!(labels, metric.labels.iter().copied().collect(), "{key}");
            assert_eq!(definition.kind, metric.kind, "{key}");
            assert!(seen.insert(key.clone()), "{key} stands twice");
        }
    }
}

#[test]
fn every_row_of_the_catalog_has_a_value_where_all_files_are_there() {
    let tables = copied();
    let told = told(&tables);
    let areas = ["system_", "cgroup_", "service_"];
    let rows = catalog::all().filter(|metric| areas.iter().any(|area| metric.name.starts_with(area)));
    let missing: Vec<&str> = rows.map(|metric| metric.name).filter(|name| !told.contains_key(name)).collect();
    assert!(missing.is_empty(), "no source reports {missing:?}");
    assert_eq!(told["system_cpu_usage_percent"], 25.0);
}

#[test]
fn values_are_finite_and_not_negative() {
    for mut source in real() {
        let table = pass(source.as_mut(), Duration::from_secs(1));
        for (definition, value) in table.definitions().iter().zip(table.values()) {
            assert!(is_stale(*value) || (value.is_finite() && *value >= 0.0), "{} {value}", definition.key);
        }
    }
}

#[test]
fn the_names_that_dashboards_rely_on_have_sound_values_on_the_real_machine() {
    let mut host = real().remove(0);
    // The kernel counts a tick within some hundredths of a second; a share has a value from then on.
    let values = (1..).find_map(|second| {
        let tables = [pass(host.as_mut(), Duration::from_secs(second))];
        let values = told(&tables);
        let usage = *values.get("system_cpu_usage_percent")?;
        Some((usage, values["system_memory_usage_bytes"], values["system_memory_total_bytes"]))
    });
    let (cpu, memory, total) = values.expect("time goes on");
    assert!((0.0..=100.0).contains(&cpu), "{cpu} %");
    assert!(memory > 0.0 && memory < total, "{memory} of {total} bytes");
}

#[test]
fn passes_open_no_files_and_change_no_series_while_nothing_changes() {
    let mut host = real().remove(0);
    let mut table = Table::default();
    let mut run = |elapsed: u64| {
        table.begin_pass();
        host.collect(Duration::from_secs(elapsed), &mut table).expect("this is Linux");
        table.generation()
    };
    assert_eq!((run(1), run(2)), (1, 1));
    let opened = |of: &str| fs::read_link(of).is_ok_and(|path| path == Path::new("/proc/meminfo"));
    let of_meminfo = || {
        let all = fs::read_dir("/proc/self/fd").expect("our own").flatten();
        all.filter(|entry| opened(&entry.path().display().to_string())).count()
    };
    let before = of_meminfo();
    for elapsed in 3..100 {
        run(elapsed);
    }
    // Other tests of this file open it too, but each only once and only for a while: a leak would be a hundred.
    assert!(of_meminfo() < before + 50);
}
