//! Plays the scripts of `cases/`, and those of Prometheus where they lie beside the workspace, against a store that is a
//! list.

#![expect(clippy::print_stdout, reason = "what is skipped is to be seen")]

mod script;
mod store;

use script::judge::judge;
use script::notation::{Item, values};
use script::{Command, Eval, commands};
use std::path::{Path, PathBuf};
use store::Store;

/// Prometheus's own scripts, seen from the crate; not every checkout has them.
const BESIDE: &str = "../../../shared/promql/cases";

/// Experimental functions of Prometheus that are too young to be known by name here.
const UNKNOWN: [&str; 3] = ["max_of(", "min_of(", "start_timestamp("];

#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

/// Scripts of a directory with their names, sorted.
fn scripts(directory: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a readable script"))
    };
    paths.into_iter().map(read).collect()
}

/// Why a query is not for us.
fn skip(eval: &Eval, native: &[String]) -> Option<&'static str> {
    let mentions = |name: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        eval.expr
            .match_indices(name)
            .any(|(at, _)| !eval.expr[..at].ends_with(is_word) && !eval.expr[at + name.len()..].starts_with(is_word))
    };
    if eval.expected.is_native || native.iter().any(|name| mentions(name)) {
        return Some("native histograms");
    }
    if !native.is_empty() && (eval.expr.starts_with('{') || eval.expr.contains("({") || eval.expr.contains("__name__"))
    {
        return Some("native histograms");
    }
    let is_experimental = match promql::parse(&eval.expr) {
        Err(error) => error.message.contains("experimental") || UNKNOWN.iter().any(|word| eval.expr.contains(word)),
        Ok(_) => false,
    };
    (is_experimental && !eval.expected.fails).then_some("experimental")
}

fn play(name: &str, text: &str, tally: &mut Tally) {
    let (mut store, mut native) = (Store::default(), Vec::new());
    for command in commands(text) {
        match command {
            Command::Clear => {
                store = Store::default();
                native.clear();
            }
            Command::Load(load) => {
                native.extend(load.native.iter().cloned());
                load.into_store(&mut store);
            }
            Command::Eval(eval) => {
                if let Some(reason) = skip(&eval, &native) {
                    println!("skipped {name}:{} {} ({reason})", eval.line, eval.expr);
                    tally.skipped += 1;
                } else if let Err(error) = judge(&eval, &store) {
                    tally.failed.push(format!("{name}:{} {}\n    {error}", eval.line, eval.expr));
                } else {
                    tally.passed += 1;
                }
            }
        }
    }
}

fn play_all(directory: &Path) -> Tally {
    let mut tally = Tally::default();
    for (name, text) in scripts(directory) {
        play(&name, &text, &mut tally);
    }
    println!(
        "{}: {} passed, {} skipped, {} failed",
        directory.display(),
        tally.passed,
        tally.skipped,
        tally.failed.len()
    );
    tally
}

#[test]
fn every_script_gives_what_it_says() {
    let tally = play_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert_eq!(tally.skipped, 0, "our own scripts ask for nothing that is not there");
    assert!(tally.passed >= 50, "only {} evaluations: were the scripts read?", tally.passed);
}

#[test]
fn every_script_of_prometheus_that_is_here_gives_what_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE);
    if !directory.is_dir() {
        println!("skipped: no scripts in {}", directory.display());
        return;
    }
    let tally = play_all(&directory);
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert!(tally.passed >= 300, "only {} evaluations: were the scripts read?", tally.passed);
}

#[test]
fn a_script_that_says_something_wrong_fails() {
    let script = "load 1m\n  x 1 2 3\n\neval instant at 1m x\n  x 3\n\neval instant at 1m x\n  expect fail\n\n\
                  eval instant at 1m x\n  expect warn\n  x 2\n\neval range from 0 to 2m step 1m x\n  x 1 _ 3\n\n\
                  eval instant at 1m x\n\neval instant at 1m x\n  x 2\n  y 2\n";
    let mut tally = Tally::default();
    play("wrong", script, &mut tally);
    assert_eq!((tally.passed, tally.failed.len()), (0, 6), "{:?}", tally.failed);
}

#[test]
fn the_notation_expands_as_in_prometheus() {
    let some = |values: &[f64]| Some(values.iter().copied().map(Item::Value).collect::<Vec<_>>());
    assert_eq!(values("1 2"), some(&[1.0, 2.0]));
    assert_eq!(values("0+10x2"), some(&[0.0, 10.0, 20.0]));
    assert_eq!(values("5-1x1 7x1"), some(&[5.0, 4.0, 7.0, 7.0]));
    assert_eq!(values("-1e-1+1e1x1"), some(&[-0.1, 9.9]));
    assert_eq!(values("0x2 Inf"), some(&[0.0, 0.0, 0.0, f64::INFINITY]));
    assert_eq!(values("1 _x2 stale"), Some(vec![Item::Value(1.0), Item::Gap, Item::Gap, Item::Stale]));
    assert_eq!(values("{{schema:0}}"), None);
}
