//! The collectors against the real machine and against the catalog, through the crate's door.

use monitoring_agent::collect::{Collector, Options, PROC, Table, Target, all};
use proto::catalog::{self, Metric};
use proto::name::Label;
use proto::sample::is_stale;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn sources() -> Vec<Box<dyn Collector>> {
    let options = Options { target: Some(Target::Pid(std::process::id())), ..Options::default() };
    all(Path::new(PROC), &options, Duration::ZERO)
}

fn pass(source: &mut dyn Collector, elapsed: Duration) -> Table {
    let mut table = Table::default();
    table.begin_pass();
    // What can be read differs from machine to machine; what was declared must be right on each.
    let _ = source.collect(elapsed, &mut table);
    table
}

/// Series of `collect` in the catalog.
fn rows() -> impl Iterator<Item = &'static Metric> {
    catalog::all().filter(|metric| ["system_", "cgroup_", "service_"].iter().any(|area| metric.name.starts_with(area)))
}

#[test]
fn every_series_is_in_the_catalog_with_exactly_its_labels_and_stands_once() {
    for mut source in sources() {
        let table = pass(source.as_mut(), Duration::from_secs(1));
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
fn every_row_of_the_catalog_is_reported_by_some_source() {
    let mut code = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/collect"), &mut code);
    for metric in rows() {
        assert!(code.contains(&metric.name.to_uppercase()), "nothing reports {}", metric.name);
    }
}

fn gather(dir: &Path, code: &mut String) {
    for entry in fs::read_dir(dir).expect("the sources of this crate") {
        let path = entry.expect("the sources of this crate").path();
        if path.is_dir() {
            gather(&path, code);
        } else {
            *code += &fs::read_to_string(path).expect("the sources of this crate");
        }
    }
}

#[test]
fn values_are_finite_and_not_negative() {
    for mut source in sources() {
        let table = pass(source.as_mut(), Duration::from_secs(1));
        for (definition, value) in table.definitions().iter().zip(table.values()) {
            assert!(is_stale(*value) || (value.is_finite() && *value >= 0.0), "{} {value}", definition.key);
        }
    }
}

#[test]
fn the_three_names_that_dashboards_rely_on_are_there() {
    let mut host = sources().remove(0);
    let table = pass(host.as_mut(), Duration::from_secs(1));
    let names: BTreeSet<&str> = table.definitions().iter().map(|definition| definition.key.name.as_str()).collect();
    assert!(names.contains("system_cpu_usage_percent") && names.contains("system_memory_usage_bytes"));
}

#[test]
fn passes_open_no_files_and_change_no_series_while_nothing_changes() {
    let mut host = sources().remove(0);
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
