//! Which crate depends on which, and what the pure ones may not have in their trees.
//!
//! Reads `cargo metadata` and `cargo tree`, both frozen: no network, no change to Cargo.lock.

use crate::{Violation, assert_none, root};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

/// A crate and those of ours that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("monitoring-proto", &[]),
    ("monitoring-runtime", &["monitoring-proto"]),
    ("monitoring-spool", &[]),
    ("monitoring-tsdb", &["monitoring-proto"]),
    ("monitoring-promql", &["monitoring-proto"]),
    ("monitoring-alerting", &["monitoring-proto"]),
    ("monitoring-agent", &["monitoring-proto", "monitoring-runtime", "monitoring-spool"]),
    (
        "monitoring-aggregator",
        &["monitoring-proto", "monitoring-runtime", "monitoring-tsdb", "monitoring-promql", "monitoring-alerting"],
    ),
];

/// The crates that know no task, no database and no network.
const PURE: &[&str] =
    &["monitoring-proto", "monitoring-spool", "monitoring-tsdb", "monitoring-promql", "monitoring-alerting"];

/// What a pure crate may not have anywhere in its tree.
const IMPURE: &[&str] =
    &["tokio", "sqlx", "sqlx-core", "libsqlite3-sys", "tonic", "reqwest", "hyper", "axum", "mio", "jiff"];

/// What a pure crate may have all the same: `alerting` writes RFC 3339, and `words` keeps it from jiff's clock.
const EXCUSED: &[(&str, &str)] = &[("monitoring-alerting", "jiff")];

/// What no crate may have anywhere in its tree: TLS is rustls with ring.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// Of which there is one version: two would not understand each other's types.
const SINGLE: &[&str] = &["tokio", "hyper", "h2", "tonic", "prost", "axum", "rustls", "ring", "serde"];

/// Crates in the agent's tree at the most, itself included: every image of every service carries it. Raise it with a reason.
const AGENT_CRATES_MAX: usize = 140;

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).arg("--frozen").current_dir(root()).output();
    let output = output.expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Names in the output of `cargo tree --prefix none`.
fn names(tree: &str) -> Vec<&str> {
    tree.lines().filter_map(|line| line.split(' ').next()).collect()
}

/// `manifest` gives the text of a manifest, to find the line in.
fn violations(metadata: &Value, manifest: impl Fn(&str) -> String) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in list(metadata, "packages") {
        let (name, path) = (text(package, "name"), text(package, "manifest_path"));
        let manifest = manifest(path);
        let file = path.strip_prefix(&format!("{}/", root().display())).unwrap_or(path);
        let mut note = |what: &str, message: String| {
            let line = manifest.lines().position(|line| line.starts_with(what)).map_or(1, |line| line + 1);
            found.push(Violation { file: file.into(), line, message });
        };
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            note("name", format!("crate `{name}` has no row; say in proto/tests/layering/crates.rs what it may know"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let on = text(dependency, "name");
            let called = dependency["rename"].as_str().unwrap_or(on);
            let ours = dependency["path"].is_string();
            if text(dependency, "kind") == "dev" {
                continue;
            }
            if ours && !allowed.contains(&on) {
                note(called, format!("`{name}` depends on `{on}`: of ours it may know {allowed:?}"));
            }
            let stubs = list(dependency, "features").iter().any(|feature| feature == "grpc");
            if stubs && PURE.contains(&name) {
                note(called, format!("`{name}` is pure and may not switch on `grpc`, which brings tokio"));
            }
            let source = text(dependency, "source");
            if !ours && !source.starts_with("registry+") {
                note(called, format!("`{on}` comes from {source:?}; dependencies come from the registry only"));
            }
        }
    }
    found
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[test]
fn crates_know_their_neighbours_only() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    assert_eq!(list(&metadata, "packages").len(), EDGES.len(), "every crate has a row and every row a crate");
    assert_none(violations(&metadata, |path| std::fs::read_to_string(Path::new(path)).expect("a manifest is text")));
}

#[test]
fn pure_crates_have_no_runtime_database_or_network_in_their_trees() {
    for package in PURE {
        let tree = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none"]);
        let names = names(&tree);
        assert!(names.contains(package), "the tree of {package} holds itself: {tree}");
        for impure in IMPURE.iter().filter(|impure| !EXCUSED.contains(&(package, impure))) {
            let ask = format!("cargo tree -p {package} -e normal -i {impure}");
            assert!(!names.contains(impure), "{package} is pure, but `{impure}` is in its tree; `{ask}` says why");
        }
    }
}

#[test]
fn tls_is_rustls_with_ring_and_nothing_else() {
    let tree = cargo(&["tree", "--workspace", "--edges", "all", "--prefix", "none"]);
    let names = names(&tree);
    assert!(names.contains(&"ring") && names.contains(&"rustls"), "{tree}");
    for banned in BANNED {
        assert!(!names.contains(banned), "`{banned}` is in the tree; `cargo tree -e all -i {banned}` says why");
    }
}

#[test]
fn there_is_one_version_of_each_crate_whose_types_cross_others() {
    let tree = cargo(&["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"]);
    for single in SINGLE {
        let versions: HashSet<&str> =
            tree.lines().filter_map(|line| line.strip_prefix(single)?.strip_prefix(' ')?.split(' ').next()).collect();
        assert_eq!(versions.len(), 1, "{single}: {versions:?}; `cargo tree -e all -i {single}` says why");
    }
}

#[test]
fn the_agents_tree_is_no_larger_than_was_agreed() {
    let tree = cargo(&["tree", "--package", "monitoring-agent", "--edges", "normal", "--prefix", "none"]);
    let crates: HashSet<_> = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>()).collect();
    assert!(crates.len() > 50, "the tree is read: {tree}");
    assert!(crates.len() <= AGENT_CRATES_MAX, "{} crates; `cargo tree -p monitoring-agent -e normal`", crates.len());
}

#[test]
fn a_wrong_edge_the_stubs_and_a_foreign_source_are_found_at_their_lines() {
    let metadata = serde_json::json!({"packages": [
        {"name": "monitoring-tsdb", "manifest_path": "tsdb/Cargo.toml", "dependencies": [
            {"name": "monitoring-runtime", "rename": "runtime", "path": "/x", "features": []},
            {"name": "monitoring-proto", "rename": "proto", "path": "/x", "features": ["grpc"]},
            {"name": "fork", "source": "git+https://example.org/fork", "features": []},
            {"name": "monitoring-agent", "rename": "agent", "path": "/x", "kind": "dev", "features": []},
        ]},
        {"name": "monitoring-oracle", "manifest_path": "oracle/Cargo.toml", "dependencies": []},
    ]});
    let manifest = "name = \"x\"\n[dependencies]\nproto.workspace = true\nruntime.workspace = true\nfork = {}\n";
    let mut found = violations(&metadata, |_| manifest.into());
    found.sort();
    let places: Vec<(&str, usize)> = found.iter().map(|v| (v.file.as_str(), v.line)).collect();
    let expected = [("oracle/Cargo.toml", 1), ("tsdb/Cargo.toml", 3), ("tsdb/Cargo.toml", 4), ("tsdb/Cargo.toml", 5)];
    assert_eq!(places, expected, "{found:?}");
}
