//! YAML documents with places: a reader that gathers every mistake instead of stopping at the first.
//!
//! A configuration is read field by field from a [`Table`]; each wrong value becomes a [`Problem`] with line and
//! column, the field keeps its default, and reading goes on. `finish` names the fields that nobody asked for. The
//! caller uses what it read only when there was no problem.
//!
//! Limits: serde-saphyr's budget (depth, nodes, aliases) bounds a document; [`DOCUMENT_MAX_BYTES`] its text.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

/// Largest document: a configuration or rule file written by people is below 100 KiB.
pub const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// Where something stands, counted from 1; 0:0 where it is not known (an empty file, the environment).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column in characters.
    pub column: u64,
}

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Which field and what to do, for a person.
    pub message: String,
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where its first character stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a YAML value is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is nearest in 64 bits.
    Number(f64),
    /// Anything else that is one piece of text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys are unique.
    Map(Vec<(String, Place, Node)>),
}

/// Mistakes gathered while reading.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

/// A mapping being read.
#[derive(Debug)]
pub struct Table<'a> {
    path: String,
    fields: &'a [(String, Place, Node)],
    asked: RefCell<Vec<&'static str>>,
    closed: Cell<bool>,
    problems: &'a Problems,
}

/// Parses a document. An empty one is an empty mapping.
pub fn parse(text: &str) -> Result<Node, Problem> {
    if text.len() > DOCUMENT_MAX_BYTES {
        let message = format!("the file has {} bytes; the limit is {DOCUMENT_MAX_BYTES}", text.len());
        return Err(Problem { place: Place::default(), message });
    }
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    let node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| Problem {
        place: error.location().map(|l| Place { line: l.line(), column: l.column() }).unwrap_or_default(),
        message: error.without_snippet().to_string().lines().next().unwrap_or("not YAML").to_string(),
    })?;
    Ok(match node.value {
        Value::Null => Node { place: node.place, value: Value::Map(Vec::new()) },
        _ => node,
    })
}

/// `250ms`, `1s`, `5m`, `2h`, `3d` and sums of them (`1h30m`).
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mistake = || format!("{text:?} is not a duration; write it like 250ms, 1s, 5m or 1h30m");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(mistake)?;
        let number: u64 = rest[..digits].parse().map_err(|_| mistake())?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit_ms: u64 = match &after[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(mistake()),
        };
        let part = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(mistake)?;
        total = total.checked_add(part).ok_or_else(mistake)?;
        rest = &after[letters..];
    }
    if text.is_empty() { Err(mistake()) } else { Ok(total) }
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

// === impl Problems ===

impl Problems {
    /// Notes a mistake.
    pub fn push(&self, place: Place, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { place, message: message.into() });
    }

    /// All mistakes, in the order of the file.
    pub fn into_vec(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place { line: 0, .. } => f.write_str(&self.message),
            Place { line, column } => write!(f, "{line}:{column}: {}", self.message),
        }
    }
}

// === impl Table ===

impl<'a> Table<'a> {
    /// Reads `node` as a mapping; anything else is a problem and reads as an empty one.
    pub fn open(path: &str, node: &'a Node, problems: &'a Problems) -> Self {
        let fields = match &node.value {
            Value::Map(fields) => fields.as_slice(),
            other => {
                let name = if path.is_empty() { "the document" } else { path };
                problems.push(node.place, format!("{name} must be a mapping, not {}", other.kind()));
                &[]
            }
        };
        let (asked, closed) = (RefCell::default(), Cell::new(false));
        Self { path: path.into(), fields, asked, closed, problems }
    }

    /// The field's value; `None` where it is absent or null.
    pub fn get(&self, field: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&field) {
            asked.push(field);
        }
        let (_, _, node) = self.fields.iter().find(|(name, _, _)| name == field)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The field read by `read`, which says what is wrong with it; `None` where it is absent or wrong.
    pub fn read<T>(&self, field: &'static str, read: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<T> {
        let node = self.get(field)?;
        match read(&node.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(node.place, field, &message);
                None
            }
        }
    }

    /// A text.
    pub fn text(&self, field: &'static str) -> Option<&'a str> {
        self.read(field, Value::as_text)
    }

    /// A text that `parse` turns into a value.
    pub fn parsed<T>(&self, field: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.read(field, |value| parse(value.as_text()?))
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
                self.problems.push(Place::default(), format!("--{flag}: {message}"));
                None
            }
        }
    }

    /// A duration like `5m`.
    pub fn duration(&self, field: &'static str) -> Option<Duration> {
        self.parsed(field, parse_duration)
    }

    /// A size like `256MiB`, or a plain number of bytes.
    pub fn bytes(&self, field: &'static str) -> Option<u64> {
        self.read(field, |value| match value {
            Value::Text(text) => parse_bytes(text),
            other => other.as_whole_number(),
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, field: &'static str) -> Option<bool> {
        self.read(field, |value| match value {
            Value::Bool(flag) => Ok(*flag),
            other => Err(format!("must be true or false, not {}", other.kind())),
        })
    }

    /// A whole number from 0.
    pub fn number(&self, field: &'static str) -> Option<u64> {
        self.read(field, Value::as_whole_number)
    }

    /// A mapping inside this one; where the field is absent, an empty one, so that flags still win.
    pub fn section(&self, field: &'static str) -> Self {
        self.table(field).unwrap_or_else(|| {
            let (asked, closed) = (RefCell::default(), Cell::new(false));
            Self { path: self.path_of(field), fields: &[], asked, closed, problems: self.problems }
        })
    }

    /// A mapping inside this one.
    pub fn table(&self, field: &'static str) -> Option<Self> {
        let node = self.get(field)?;
        Some(Self::open(&self.path_of(field), node, self.problems))
    }

    /// Notes a mistake of a field.
    pub fn problem(&self, place: Place, field: &str, message: &str) {
        self.problems.push(place, format!("{} {message}", self.path_of(field)));
    }

    /// The place of a field that is there.
    pub fn place(&self, field: &str) -> Place {
        self.fields.iter().find(|(name, _, _)| name == field).map(|(_, _, node)| node.place).unwrap_or_default()
    }

    /// Ends the reading: every field that nobody asked for is a mistake.
    pub fn finish(self) {
        self.closed.set(true);
        let asked = self.asked.borrow();
        for (name, place, _) in self.fields.iter().filter(|(name, _, _)| !asked.contains(&name.as_str())) {
            let known = asked.join(", ");
            self.problems.push(*place, format!("{} is not a field; known here: {known}", self.path_of(name)));
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

// === impl Value ===

impl Value {
    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The text, or what is wrong.
    pub fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Bool(_) | Self::Number(_) => Err(format!("must be a text, not {}; put it in quotes", self.kind())),
            other => Err(format!("must be a text, not {}", other.kind())),
        }
    }

    fn as_whole_number(&self) -> Result<u64, String> {
        const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53, up to which every whole number is exact
        match self {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
            Self::Number(n) if n.fract() == 0.0 && (0.0..=EXACT).contains(n) => Ok(*n as u64),
            other => Err(format!("must be a whole number from 0, not {}", other.kind())),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let place = Place { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { place, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v as f64))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v as f64))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Number(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place { line: key.referenced.line(), column: key.referenced.column() };
            fields.push((key.value, place, map.next_value()?));
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_mistake_is_reported_at_once_with_its_place() {
        let text = "name: 5\nevery: 3x\nspool:\n  size: 2TB\n  colour: red\nlist: {}\nok: true\n";
        let node = parse(text).expect("is YAML");
        let problems = Problems::default();
        let root = Table::open("", &node, &problems);
        assert_eq!(root.text("name"), None);
        assert_eq!(root.duration("every"), None);
        let spool = root.table("spool").expect("is there");
        assert_eq!(spool.bytes("size"), None);
        spool.finish();
        assert_eq!(root.flag("ok"), Some(true));
        assert_eq!(root.text("absent"), None);
        root.finish();
        let messages: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        1:7: name must be a text, not a number; put it in quotes
        2:8: every "3x" is not a duration; write it like 250ms, 1s, 5m or 1h30m
        4:9: spool.size "2TB" is not a size; write it like 1048576, 64KiB, 256MiB or 2GiB
        5:3: spool.colour is not a field; known here: size
        6:1: list is not a field; known here: name, every, spool, ok, absent
        "#);
    }

    #[test]
    fn what_is_no_yaml_or_has_a_key_twice_is_refused_with_its_place() {
        assert_eq!(parse("a: [1").unwrap_err().place.line, 1);
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().place.line, 2);
        assert!(matches!(parse("").expect("empty").value, Value::Map(_)));
        assert!(parse(&"a".repeat(DOCUMENT_MAX_BYTES + 1)).unwrap_err().message.contains("limit"));
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let before = i - 1;
            text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{before}"); 8].join(", "));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "1.5s", "-1s", "99999999999999999999d", "1s2"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "GiB", "1GB", "-1", "99999999999GiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~\n]{0,200}") {
            let _ = parse(&text);
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
        }
    }
}
