//! The walls of the house, held by a test: who may depend on whom, and what may be said where.
//!
//! `crates` reads the manifests and the resolved trees, `modules` the paths inside the two programs, `words` the calls
//! that belong in one file only (the clock, the environment, generated types), `shape` each file's door and length.
//! `source` cuts a Rust file down to what runs in production, so that a comment, a text or a test breaks no rule.
//!
//! Each check is a function from text to [`Violation`]s and is itself tested with texts in which it must find something.

mod crates;
mod modules;
mod shape;
mod source;
mod words;

use source::Source;
use std::fmt;
use std::path::{Path, PathBuf};

/// A rule that is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, from the top of the project.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What was found, which rule it breaks, and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Top of the project.
pub fn root() -> PathBuf {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR"));
    proto.parent().expect("the crate lies in the project").to_path_buf()
}

/// Fails with one line per violation.
pub fn assert_none(mut violations: Vec<Violation>) {
    violations.sort();
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} broken rules:\n{}", lines.len(), lines.join("\n"));
}

/// The files of the whole project that `wanted` picks by their path from the top.
pub fn files(wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let mut found = Vec::new();
    for area in ["proto", "agent", "aggregator"] {
        gather(&root(), Path::new(area), &wanted, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn gather(root: &Path, dir: &Path, wanted: &dyn Fn(&str) -> bool, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(root.join(dir)).expect("a directory of the project can be read");
    for entry in entries {
        let entry = entry.expect("an entry of the project can be read");
        let path = dir.join(entry.file_name());
        let name = path.to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !name.ends_with("/target") && !name.ends_with("/node_modules") {
                gather(root, &path, wanted, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && wanted(&name) {
            let text = std::fs::read_to_string(root.join(&path)).expect("a source file is text");
            found.push(Source::new(name, &text));
        }
    }
}

/// The code of the crates that runs in production: not tests, examples or build scripts.
pub fn production_files() -> Vec<Source> {
    let files = files(|path| path.contains("/src/") && !source::is_test_path(path));
    assert!(files.len() > 50, "the search for source files has lost its way: {} found", files.len());
    files
}
