//! Each file opens with its door paragraph and is short enough to be proofread.

use crate::source::{Source, is_test_path};
use crate::{Violation, assert_none, files};

/// Lines of one file outside its tests. What is longer holds more than one idea.
const LINES_MAX: usize = 500;

fn violations(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut note = |line: usize, message: String| {
        found.push(Violation { file: source.path.clone(), line, message });
    };
    // A `tests.rs` continues its parent, whose door is open.
    if !is_test_path(&source.path) && !source.text.starts_with("//! ") {
        note(1, "the file has no door; open it with `//!`: what it is for, why, its limits".into());
    }
    if !is_test_path(&source.path) && source.production_lines > LINES_MAX {
        let lines = source.production_lines;
        note(LINES_MAX, format!("{lines} lines outside tests; the limit is {LINES_MAX}: cut it by idea"));
    }
    found
}

#[test]
fn every_file_has_a_door_and_can_be_proofread() {
    assert_none(files(|_| true).iter().flat_map(violations).collect());
}

#[test]
fn a_missing_door_and_a_long_file_are_found_and_tests_are_not_counted() {
    let door = "//! Door.\n";
    let cases = [
        ("agent/src/x.rs", "use a::b;\n".into(), 1),
        ("agent/src/x.rs", format!("{door}{}", "fn f() {}\n".repeat(LINES_MAX)), 1),
        ("agent/src/x.rs", format!("{door}{}", "fn f() {}\n".repeat(LINES_MAX - 1)), 0),
        ("agent/src/x.rs", format!("{door}#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(LINES_MAX)), 0),
        ("agent/src/x/tests.rs", "use super::*;\n".repeat(LINES_MAX + 1), 0),
    ];
    for (path, text, expected) in cases {
        let found = violations(&Source::new(path, &text));
        assert_eq!(found.len(), expected, "{path}: {found:?}");
    }
}
