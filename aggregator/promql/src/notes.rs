//! What an evaluation has to say beside its result: warnings and infos, as Prometheus words them.
//!
//! Source of the texts and of which is which: prometheus `util/annotations/annotations.go`.

use crate::expr::Span;
use std::collections::BTreeSet;

/// Different notes of a kind that are kept; a query over many metrics may have one for each.
pub const NOTES_MAX: usize = 10;

/// Warnings and infos of one evaluation, each once, each with its place at the end: `… (1:5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Something is likely wrong with the result.
    pub warnings: BTreeSet<String>,
    /// Something may be wrong with the query.
    pub infos: BTreeSet<String>,
}

/// Collects notes; knows the query's text to say line and column.
#[derive(Debug)]
pub(crate) struct Noter<'a> {
    text: &'a str,
    notes: Notes,
}

impl<'a> Noter<'a> {
    /// None yet, of a query with this text.
    pub fn new(text: &'a str) -> Self {
        Self { text, notes: Notes::default() }
    }

    /// `PromQL warning: {message} (line:column)`
    pub fn warn(&mut self, message: &str, at: Span) {
        let note = format!("PromQL warning: {message} ({})", self.place(at));
        add(&mut self.notes.warnings, note);
    }

    /// `PromQL info: {message} (line:column)`
    pub fn info(&mut self, message: &str, at: Span) {
        let note = format!("PromQL info: {message} ({})", self.place(at));
        add(&mut self.notes.infos, note);
    }

    /// All of them.
    pub fn finish(self) -> Notes {
        self.notes
    }

    fn place(&self, at: Span) -> String {
        let (line, column) = crate::token::line_and_column(self.text, at.start);
        format!("{line}:{column}")
    }
}

fn add(notes: &mut BTreeSet<String>, note: String) {
    if notes.len() < NOTES_MAX {
        notes.insert(note);
    }
}
