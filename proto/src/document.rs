//! Configuration documents: a reader that gathers every mistake instead of stopping at the first.
//!
//! A configuration is read field by field from a [`Table`]; each wrong value becomes a [`Problem`] with line and
//! column, the field keeps its default, and reading goes on. `finish` names the fields that nobody asked for. The
//! caller uses what it read only when there was no problem.
//!
//! Limits: those of [`crate::yaml`].

use crate::duration;
use crate::yaml::{self, Node, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line and column, from 1; `None` for what does not stand in the file (a flag, a field that is missing).
    pub place: Option<(usize, usize)>,
    /// Which field and what to do, for a person.
    pub message: String,
}

/// A document to read from; an empty one has no fields.
#[derive(Debug, Default)]
pub struct Document {
    root: Option<Node>,
    problems: Problems,
}

/// Mistakes gathered while reading.
#[derive(Debug, Default)]
struct Problems(RefCell<Vec<Problem>>);

/// A mapping being read.
#[derive(Debug)]
pub struct Table<'a> {
    path: String,
    fields: &'a [(Node, Node)],
    asked: RefCell<Vec<&'static str>>,
    closed: Cell<bool>,
    problems: &'a Problems,
}

/// `250ms`, `5m`, `1h30m`: see [`crate::duration`].
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// `1048576`, `64KiB`, `256MiB`, `2GiB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let mistake = || format!("{text:?} is not a size; write it like 1048576, 64KiB, 256MiB or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| mistake())?;
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(mistake()),
    };
    number.checked_mul(factor).ok_or_else(mistake)
}

// === impl Document ===

impl Document {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let root = yaml::parse(text)
            .map_err(|error| Problem { place: Some((error.line, error.column)), message: error.message })?;
        Ok(Self { root: root.filter(|node| node.value != Value::Null), problems: Problems::default() })
    }

    /// The document's fields.
    pub fn root(&self) -> Table<'_> {
        match &self.root {
            Some(node) => Table::open(String::new(), node, &self.problems),
            None => Table::new(String::new(), &[], &self.problems),
        }
    }

    /// Notes a mistake that has no place in the file.
    pub fn problem(&self, message: impl Into<String>) {
        self.problems.push(None, message);
    }

    /// `value` where there was no mistake, else all mistakes in the order of the file.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems.0.into_inner();
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }
}

impl Problems {
    fn push(&self, place: impl Into<Option<(usize, usize)>>, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { place: place.into(), message: message.into() });
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            None => f.write_str(&self.message),
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
        }
    }
}

// === impl Table ===

impl<'a> Table<'a> {
    fn new(path: String, fields: &'a [(Node, Node)], problems: &'a Problems) -> Self {
        Self { path, fields, asked: RefCell::default(), closed: Cell::new(false), problems }
    }

    /// Reads `node` as a mapping; anything else is a problem and reads as an empty one.
    fn open(path: String, node: &'a Node, problems: &'a Problems) -> Self {
        let Value::Map(fields) = &node.value else {
            let name = if path.is_empty() { "the document" } else { &path };
            problems.push(place(node), format!("{name} must be a mapping, not {}", kind(&node.value)));
            return Self::new(path, &[], problems);
        };
        let table = Self::new(path, fields, problems);
        let mut seen = HashSet::with_capacity(fields.len());
        for (key, _) in fields {
            if scalar(&key.value).is_ok_and(|name| !seen.insert(name)) {
                table.problems.push(place(key), format!("{} is given twice", table.path_of(name_of(key))));
            }
        }
        table
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &'static str) -> bool {
        self.get(field).is_some()
    }

    /// The field's value; `None` where it is absent or null.
    fn get(&self, field: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&field) {
            asked.push(field);
        }
        let (_, node) = self.fields.iter().find(|(key, _)| name_of(key) == field)?;
        (node.value != Value::Null).then_some(node)
    }

    /// The field read by `read`, which says what is wrong with it; `None` where it is absent or wrong.
    fn read<T>(&self, field: &'static str, read: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<T> {
        let node = self.get(field)?;
        match read(&node.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problems.push(place(node), format!("{} {message}", self.path_of(field)));
                None
            }
        }
    }

    /// A text.
    pub fn text(&self, field: &'static str) -> Option<&'a str> {
        self.read(field, scalar)
    }

    /// A text that `parse` turns into a value.
    pub fn parsed<T>(&self, field: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.read(field, |value| parse(scalar(value)?))
    }

    /// What a flag gives, else the field; both checked, each mistake under its own name.
    pub fn pick<T>(
        &self,
        field: &'static str,
        flag: &str,
        given: Option<&str>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let from_file = self.parsed(field, &check);
        match given.map(check) {
            None => from_file,
            Some(Ok(value)) => Some(value),
            Some(Err(message)) => {
                self.problems.push(None, format!("--{flag}: {message}"));
                None
            }
        }
    }

    /// A duration like `5m`.
    pub fn duration(&self, field: &'static str) -> Option<Duration> {
        self.parsed(field, parse_duration)
    }

    /// `true` or `false`.
    pub fn flag(&self, field: &'static str) -> Option<bool> {
        self.parsed(field, |text| text.parse().map_err(|_| format!("must be true or false, not {text:?}")))
    }

    /// A mapping inside this one; where the field is absent, an empty one, so that flags still win.
    #[must_use]
    pub fn section(&self, field: &'static str) -> Self {
        match self.get(field) {
            Some(node) => Self::open(self.path_of(field), node, self.problems),
            None => Self::new(self.path_of(field), &[], self.problems),
        }
    }

    /// Ends the reading: every field that nobody asked for is a mistake.
    pub fn finish(self) {
        self.closed.set(true);
        let asked = self.asked.borrow();
        for (key, _) in self.fields.iter().filter(|(key, _)| !asked.contains(&name_of(key))) {
            let known = asked.join(", ");
            let message = format!("{} is not a field; known here: {known}", self.path_of(name_of(key)));
            self.problems.push(place(key), message);
        }
    }

    fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() { field.into() } else { format!("{}.{field}", self.path) }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        debug_assert!(self.closed.get() || std::thread::panicking(), "{}: call finish()", self.path);
    }
}

// === helpers ===

fn place(node: &Node) -> (usize, usize) {
    (node.place.line, node.place.column)
}

/// A key's text; a list or mapping as a key is no field of ours.
fn name_of(key: &Node) -> &str {
    scalar(&key.value).unwrap_or("?")
}

/// A scalar as it is written, or what is wrong.
fn scalar(value: &Value) -> Result<&str, String> {
    match value {
        Value::Scalar(text) => Ok(text),
        other => Err(format!("must be a text, not {}", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_mistake_is_reported_at_once_with_its_place() {
        let text = "name: [5]\nevery: 3x\nspool:\n  count: some\n  colour: red\nlist: {}\nok: true\nok: false\n";
        let document = Document::parse(text).expect("is YAML");
        let root = document.root();
        assert_eq!(root.text("name"), None);
        assert_eq!(root.duration("every"), None);
        let spool = root.section("spool");
        assert_eq!(spool.flag("count"), None);
        spool.finish();
        assert_eq!(root.flag("ok"), Some(true));
        assert_eq!(root.text("absent"), None);
        assert_eq!(root.pick("name", "name", Some("9"), |text| text.parse::<u8>().map_err(|e| e.to_string())), Some(9));
        let wrong = root.pick("size", "size", Some("2TB"), parse_bytes);
        assert_eq!(wrong, None);
        root.finish();
        let problems = document.finish(()).unwrap_err();
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        --size: "2TB" is not a size; write it like 1048576, 64KiB, 256MiB or 2GiB
        1:7: name must be a text, not a list
        2:8: every "3x" is not a duration such as 30s, 5m or 1h30m (units y w d h m s ms, in this order)
        4:10: spool.count must be true or false, not "some"
        5:3: spool.colour is not a field; known here: count
        6:1: list is not a field; known here: name, every, spool, ok, absent, size
        8:1: ok is given twice
        "#);
    }

    #[test]
    fn what_is_no_yaml_or_no_mapping_is_refused_with_its_place() {
        assert_eq!(Document::parse("a: [1").unwrap_err().place.map(|(line, _)| line), Some(1));
        let document = Document::parse("- a\n").expect("is YAML");
        document.root().finish();
        assert_eq!(document.finish(()).unwrap_err()[0].to_string(), "1:1: the document must be a mapping, not a list");
        let empty = Document::parse("# nothing\n").expect("is YAML");
        empty.root().finish();
        assert_eq!(empty.finish(7), Ok(7));
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(parse_duration("1w"), Ok(Duration::from_secs(7 * 24 * 3600)), "as in a rule file");
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "1.5s", "-1s", "99999999999999999999d", "1s2", "1s1h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "GiB", "1GB", "-1", "99999999999GiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_field_that_is_given_three_times_is_named_twice_and_a_strange_key_is_no_field() {
        let document = Document::parse("a: 1\na: 2\n[a]: 3\na: 4\n").expect("is YAML");
        let root = document.root();
        assert_eq!(root.text("a"), Some("1"));
        root.finish();
        let problems = document.finish(()).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.place.map(|(line, _)| line)).collect();
        assert_eq!(places, [Some(2), Some(3), Some(4)]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~\n]{0,200}") {
            let _ = Document::parse(&text).map(|document| document.root().finish());
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
        }
    }
}
