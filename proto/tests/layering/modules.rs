//! Who knows whom inside the two programs. The tables are the arrows of the README's picture; `app` alone sees all.
//!
//! A row's name is a module, or one part of a module that stands elsewhere in the line than its parent does
//! (`collect::watch` drives collectors and so knows what comes after them). A module's other children are its own
//! affair and belong to its row.

use crate::source::{Source, is_name};
use crate::{Violation, assert_none, production_files};

/// A module and what it may name of its own crate; `None` is everything.
type Row = (&'static str, Option<&'static [&'static str]>);

const AGENT: &[Row] = &[
    ("meters", Some(&[])),
    ("fail_disk", Some(&[])),
    ("entrance", Some(&[])),
    ("collect", Some(&[])),
    ("config", Some(&["collect"])),
    ("fold", Some(&["collect"])),
    ("collect::own", Some(&["collect", "meters"])),
    ("collect::watch", Some(&["collect", "config", "fold", "meters"])),
    ("batch", Some(&["fold"])),
    ("keep", Some(&["batch", "fold", "meters"])),
    ("receive", Some(&["entrance", "keep", "meters"])),
    ("uplink", Some(&["keep", "meters"])),
    ("status", Some(&["collect::watch", "config", "entrance", "keep", "uplink"])),
    ("app", None),
    ("cli", Some(&["app", "collect", "config", "meters", "uplink"])),
];

const AGGREGATOR: &[Row] = &[
    ("meters", Some(&[])),
    ("descriptors", Some(&[])),
    // The series of who is alive, as far as a scope goes.
    ("query", Some(&["live", "store"])),
    ("store", Some(&[])),
    // Which URLs name a database.
    ("config", Some(&["store"])),
    ("live", Some(&["store"])),
    ("restore", Some(&["live", "store"])),
    ("ingest", Some(&["live", "meters", "store"])),
    ("rules", Some(&["live", "meters", "query", "store"])),
    ("notify", Some(&["meters", "store"])),
    ("upkeep", Some(&["config", "live", "meters", "store"])),
    ("http", Some(&["live", "query", "rules", "store"])),
    ("app", None),
    ("cli", Some(&["app", "config"])),
];

const PROGRAMS: &[(&str, &[Row])] = &[("agent/src/", AGENT), ("aggregator/src/", AGGREGATOR)];

fn violations(source: &Source) -> Vec<Violation> {
    let Some((src, rows)) = PROGRAMS.iter().find(|(src, _)| source.path.starts_with(src)) else { return Vec::new() };
    let module = module_of(&source.path[src.len()..]);
    if module.is_empty() {
        return Vec::new();
    }
    let note = |line, message| Violation { file: source.path.clone(), line, message };
    let Some((own, allowed)) = row_of(rows, &module) else {
        let message =
            format!("module `{}` has no row; say in proto/tests/layering/modules.rs what it may know", module[0]);
        return vec![note(1, message)];
    };
    let Some(allowed) = allowed else { return Vec::new() };
    let mut found = Vec::new();
    for (at, path) in paths(source, &module, rows) {
        let Some((named, _)) = row_of(rows, &path) else { continue };
        if named != own && !allowed.contains(&named) {
            let message = format!("`{own}` names `{named}`: it may know {allowed:?}; only `app` knows more");
            found.push(note(source.line_of(at), message));
        }
    }
    found.dedup();
    found
}

/// `collect/host/cpu.rs` is `["collect", "host", "cpu"]`; `lib.rs` and `main.rs` are the top, which is empty.
fn module_of(path: &str) -> Vec<&str> {
    match path.trim_end_matches(".rs") {
        "lib" | "main" => Vec::new(),
        path => path.split('/').collect(),
    }
}

/// The most particular row for a path.
fn row_of(rows: &'static [Row], path: &[&str]) -> Option<Row> {
    let is_prefix = |(name, _): &&Row| {
        let parts = name.split("::").collect::<Vec<_>>();
        path.starts_with(&parts)
    };
    rows.iter().filter(is_prefix).max_by_key(|(name, _)| name.len()).copied()
}

/// Every path into the own crate: `crate::…`, `super::…` resolved, and children named from their parent.
fn paths<'a>(source: &'a Source, module: &[&'a str], rows: &'static [Row]) -> Vec<(usize, Vec<&'a str>)> {
    let text = source.production.as_str();
    let mut found = Vec::new();
    for at in source.find("crate::") {
        tree(text, at + "crate::".len(), &[], &mut |path| found.push((at, path)));
    }
    for at in source.find("super::").into_iter().filter(|at| !text[..*at].ends_with("super::")) {
        let (mut above, mut next) = (0, at);
        while text[next..].starts_with("super::") {
            above += 1;
            next += "super::".len();
        }
        let base = &module[..module.len().saturating_sub(above)];
        tree(text, next, base, &mut |path| found.push((at, path)));
    }
    for (name, _) in rows {
        let Some((parent, child)) = name.rsplit_once("::") else { continue };
        if module.join("::") == parent {
            let from_here = source.find(&format!("{child}::")).into_iter().filter(|at| !text[..*at].ends_with("::"));
            found.extend(from_here.map(|at| (at, name.split("::").collect())));
        }
    }
    found
}

/// Reads a path, or a tree of paths in braces, that goes on at `at` below `base`; returns where it ends.
fn tree<'a>(text: &'a str, mut at: usize, base: &[&'a str], each: &mut dyn FnMut(Vec<&'a str>)) -> usize {
    let mut path = base.to_vec();
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at = tree(text, at, &path, each);
                at += text[at..].find([',', '}']).unwrap_or(text[at..].len());
                let ends = !text[at..].starts_with(',');
                at = (at + 1).min(text.len());
                if ends {
                    return at;
                }
            }
        }
        let length = text[at..].bytes().take_while(|b| is_name(*b)).count();
        if length == 0 {
            if path.len() > base.len() {
                each(path);
            }
            return at;
        }
        path.push(&text[at..at + length]);
        at += length;
        if !text[at..].starts_with("::") {
            each(path);
            return at;
        }
        at += "::".len();
    }
}

#[test]
fn modules_know_their_neighbours_only() {
    assert_none(production_files().iter().flat_map(violations).collect());
}

#[test]
fn the_tables_have_no_circle() {
    for (src, rows) in PROGRAMS {
        let mut below: Vec<&str> = Vec::new();
        let mut left: Vec<&Row> = rows.iter().filter(|(_, allowed)| allowed.is_some()).collect();
        while !left.is_empty() {
            let is_ready =
                |(_, allowed): &&Row| allowed.iter().flat_map(|a| a.iter()).all(|a| *a == "app" || below.contains(a));
            let (ready, rest): (Vec<&Row>, Vec<&Row>) = left.into_iter().partition(is_ready);
            assert!(!ready.is_empty(), "{src}: a circle among {rest:?}");
            below.extend(ready.iter().map(|(name, _)| *name));
            left = rest;
        }
    }
}

#[test]
fn a_module_that_knows_too_much_is_found_at_its_line() {
    for (path, text, named) in [
        ("agent/src/fold.rs", "use crate::keep::Door;", "keep"),
        ("agent/src/fold.rs", "use crate::{collect::Table, keep::{Door, Keeper}};", "keep"),
        ("agent/src/fold.rs", "use crate::{\n    keep,\n};", "keep"),
        ("agent/src/fold.rs", "fn f() { super::uplink::connect(); }", "uplink"),
        ("agent/src/collect/host/cpu.rs", "use super::super::super::config::Config;", "config"),
        ("agent/src/collect.rs", "pub use watch::Watch;", "collect::watch"),
        ("agent/src/collect/part.rs", "use super::watch::Watch;", "collect::watch"),
        ("aggregator/src/store/row.rs", "use crate::live::Live;", "live"),
    ] {
        let found = violations(&Source::new(path, &format!("//! Door.\n{text}\n")));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert_eq!(found[0].line, 2);
        assert!(found[0].message.contains(&format!("names `{named}`")), "{}", found[0].message);
    }
    let unknown = violations(&Source::new("agent/src/oracle.rs", "//! Door.\n"));
    assert!(unknown[0].message.contains("`oracle` has no row"), "{unknown:?}");
}

#[test]
fn neighbours_own_children_and_tests_are_no_violation() {
    for (path, text) in [
        ("agent/src/keep.rs", "use crate::batch::Batch;\nuse crate::fold::Folded;"),
        ("agent/src/collect/host/cpu.rs", "use crate::collect::{CollectError, parse::fields};\nuse super::disk;"),
        ("agent/src/collect/watch.rs", "use crate::config::Schedule;\nuse super::Collector;"),
        ("agent/src/collect.rs", "pub mod watch;\npub use host::Host; // watch::Watch"),
        ("agent/src/fold.rs", "#[cfg(test)]\nmod tests {\n    use crate::keep::Door;\n}"),
        ("agent/src/app.rs", "use crate::uplink::Uplink;\nuse crate::keep::Door;"),
        ("agent/src/lib.rs", "pub use crate::keep::Door;"),
        ("agent/spool/src/queue.rs", "use crate::anything::At;"),
    ] {
        let found = violations(&Source::new(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}
