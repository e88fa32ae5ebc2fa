//! The table of every metric that we promise: name, kind, unit, labels, help.
//!
//! HELP and TYPE of the exposition, `docs/metrics.md` and a test are made from it; nothing else in the project spells
//! a metric's name. To add a metric, add a row to the file of its area, and run `make docs`.
//!
//! Naming follows Prometheus (base units, `_total` for counters). Three names are the clinics' own, whose dashboards rely
//! on them: `system_memory_usage_bytes` and `http_request_duration_seconds`, which follow it too, and
//! `system_cpu_usage_percent`, which does not.

mod agent;
mod aggregator;
mod service;
mod system;
pub(crate) mod value;

pub use agent::*;
pub use aggregator::*;
pub use service::*;
pub use system::*;

use crate::sample::Kind;
use std::fmt::Write;

/// One row of the catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name; of a classic histogram, the name without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// Unit of the values, in words of the documentation: `bytes`, `seconds`, `ratio`, `1`.
    pub unit: &'static str,
    /// Label names that the source sets; `service`, `instance` and `clinic_id` are added by the aggregator.
    pub labels: &'static [&'static str],
    /// One sentence for HELP.
    pub help: &'static str,
}

/// Every area of the catalog with its heading, in the order of the documentation.
pub const AREAS: &[(&str, &[&Metric])] = &[
    ("Host, cgroup and process", SYSTEM_ROWS),
    ("Services (promised, not yet reported)", SERVICE_ROWS),
    ("The agent itself", AGENT_ROWS),
    ("The aggregator itself", AGGREGATOR_ROWS),
];

/// The row called `name`, also where `name` is a component of a histogram (`x_bucket`, `x_sum`, `x_count`).
pub fn find(name: &str) -> Option<&'static Metric> {
    let exact = |wanted: &str| all().find(|metric| metric.name == wanted);
    exact(name).or_else(|| exact(family_of(name)).filter(|metric| metric.kind == Kind::Histogram))
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    AREAS.iter().flat_map(|(_, metrics)| metrics.iter().copied())
}

/// The family that a histogram's component belongs to; `name` itself where it has no such ending.
pub fn family_of(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The documentation page, made from the table.
pub fn to_markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from `proto/src/catalog.rs` by `make docs`; a test holds the two together. \
         The aggregator adds `service`, `instance` and, where the agent watches one clinic's service, `clinic_id`.\n",
    );
    for (heading, metrics) in AREAS {
        let _ = writeln!(page, "\n## {heading}\n\n| name | type | unit | labels | meaning |");
        page.push_str("| --- | --- | --- | --- | --- |\n");
        for metric in *metrics {
            let labels = metric.labels.join(", ");
            let Metric { name, kind, unit, help, .. } = metric;
            let help = help.replace('|', "\\|");
            let _ = writeln!(page, "| `{name}` | {} | {unit} | {labels} | {help} |", kind.as_str());
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Label, MetricName};
    use std::collections::HashSet;

    /// Units of values: Prometheus's base units, and plain numbers.
    const UNITS: &[&str] = &["1", "seconds", "bytes", "ratio"];
    /// The name that dashboards relied on before us, kept although its unit is no base unit.
    const INHERITED: &[&str] = &["system_cpu_usage_percent"];

    #[test]
    fn every_row_is_a_legal_name_said_once_with_help_and_unit() {
        let mut seen = HashSet::new();
        for metric in all() {
            assert!(MetricName::try_new(metric.name).is_ok(), "{}", metric.name);
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
            assert!(metric.help.ends_with('.'), "{}: help is a sentence", metric.name);
            assert!(!metric.unit.is_empty(), "{}", metric.name);
            for label in metric.labels {
                assert!(Label::try_new(label, "x").is_ok(), "{}: {label}", metric.name);
            }
        }
    }

    /// What is wrong with a row's name or unit.
    fn mistake(metric: &Metric) -> Option<String> {
        let Metric { name, kind, unit, .. } = metric;
        let is_counter = *kind == Kind::Counter;
        if name.ends_with("_total") != is_counter {
            return Some(format!("{name}: a counter ends in _total, and nothing else does"));
        }
        if !UNITS.contains(unit) {
            return Some(format!("{name}: {unit} is not one of {UNITS:?}"));
        }
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let said = stem.rsplit('_').next().filter(|last| [&UNITS[1..], &["percent"]].concat().contains(last));
        let expected = (*unit != "1").then_some(*unit);
        (said != expected).then(|| format!("{name}: its values are in {unit}, its name says {said:?}"))
    }

    #[test]
    fn names_follow_the_conventions() {
        let exempt = |metric: &&Metric| !INHERITED.contains(&metric.name);
        let mistakes: Vec<String> = all().filter(exempt).filter_map(mistake).collect();
        assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
        for name in INHERITED {
            let row = find(name).unwrap_or_else(|| panic!("{name} is promised"));
            assert!(mistake(row).is_some(), "{name} needs no exception");
        }
    }

    #[test]
    fn each_mistake_of_a_name_is_found() {
        let row = |name, kind, unit| mistake(&Metric { name, kind, unit, labels: &[], help: "." });
        for (name, kind, unit) in [
            ("a", Kind::Counter, "1"),
            ("a_total", Kind::Gauge, "1"),
            ("a_milliseconds", Kind::Gauge, "milliseconds"),
            ("a_percent", Kind::Gauge, "ratio"),
            ("a_percent", Kind::Gauge, "1"),
            ("a", Kind::Gauge, "bytes"),
            ("a_seconds", Kind::Gauge, "1"),
            ("bytes_read_total", Kind::Counter, "bytes"),
        ] {
            assert!(row(name, kind, unit).is_some(), "{name} in {unit}");
        }
        assert_eq!(row("a_start_time_seconds", Kind::Gauge, "seconds"), None);
        assert_eq!(row("a_bytes_total", Kind::Counter, "bytes"), None);
    }

    /// OpenMetrics calls a counter's family by its name without `_total`, and a histogram has three series of its own.
    #[test]
    fn no_row_takes_a_name_that_another_ones_family_needs() {
        let names: HashSet<&str> = all().map(|metric| metric.name).collect();
        for metric in all() {
            let needed = match metric.kind {
                Kind::Gauge => vec![],
                Kind::Counter => vec![metric.name.trim_end_matches("_total").to_owned()],
                Kind::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)).to_vec(),
            };
            for name in needed {
                assert!(!names.contains(name.as_str()), "{} needs {name}, which is another row", metric.name);
            }
        }
    }

    #[test]
    fn a_component_of_a_histogram_finds_its_family_and_nothing_else_does() {
        assert!(find("monitoring_ingest_commit_duration_seconds_bucket").is_some());
        assert!(find("system_memory_usage_bytes_count").is_none());
    }

    #[test]
    fn the_documentation_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, to_markdown()).expect("docs/ is writable when asked to update it");
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == to_markdown(), "docs/metrics.md is old; run `make docs`");
    }
}
