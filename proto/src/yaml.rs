//! YAML as a tree in which every node knows its place, so that all mistakes of a file can be named at once.
//!
//! Deserialising into the final types would stop at the first mistake. serde-saphyr reads the text, resolves aliases
//! and merge keys and holds the budget; this tree keeps scalars as they are written (`1e3` is not 1000 here) and maps
//! with their duplicate keys, for the reader to judge.
//!
//! Limits: [`FILE_MAX_BYTES`], and those of the parser's budget: depth, nodes, anchors, what aliases add.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Options, Spanned};
use std::fmt;

/// Bytes of one file: written by people, below 100 KiB.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;

/// Where a node stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// First byte of the node.
    start: usize,
}

/// A node and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where its first character stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar, as text.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; a key may come twice.
    Map(Vec<(Node, Node)>),
}

/// The text is not YAML, or it passes a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// What is wrong, for a person.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// How deep a document nests. A rule file, the deepest: groups, a group, rules, a rule, labels, a label, and as much again.
const DEPTH_MAX: usize = 16;
/// Anchors and aliases of one file. People use a handful, to share labels.
const ALIASES_MAX: usize = 100;
/// Events that aliases may add in all: a hundred label sets of ten, ten times over.
const REPLAYED_EVENTS_MAX: usize = 10_000;
/// Events of a file of [`FILE_MAX_BYTES`]: the densest useful line, `a: 1`, has two in five bytes.
const EVENTS_MAX: usize = FILE_MAX_BYTES / 2;

/// Reads `text`; `None` when it holds no document.
pub fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    if text.len() > FILE_MAX_BYTES {
        let message = format!("the file has {} bytes; the limit is {FILE_MAX_BYTES}", text.len());
        return Err(YamlError { message, line: 1, column: 1 });
    }
    let mut documents: Vec<Raw> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| yaml_error(&error))?;
    if documents.len() > 1 {
        let place = place(&documents[1].0.defined);
        let message = "the file must be one YAML document; a second one begins here".to_owned();
        return Err(YamlError { message, line: place.line, column: place.column });
    }
    Ok(documents.pop().map(|document| document.into_node(text)))
}

impl Node {
    /// The place in the file of byte `at` of this scalar's value.
    ///
    /// A scalar may be quoted, indented or folded, so its bytes are not those of the file. The characters of the value
    /// are looked up one after the other; white space on either side matches any. Where that loses its way (an escape
    /// such as `\u00e9`), the answer is the place of the scalar.
    pub fn place_inside(&self, text: &str, at: usize) -> Place {
        let Value::Scalar(value) = &self.value else { return self.place };
        let Some(source) = text.get(self.place.start..) else { return self.place };
        // A block scalar begins at its first character, a quoted one at its quote.
        let quote = source.chars().next().filter(|c| matches!(c, '"' | '\''));
        let quoted = quote.is_some_and(|quote| !value.starts_with(quote));
        let mut rest = source.char_indices().skip(usize::from(quoted));
        let mut found = 0;
        let upto = value.char_indices().take_while(|(index, _)| *index <= at);
        for (_, wanted) in upto.filter(|(_, c)| !c.is_whitespace()) {
            // A backslash before the wanted character escapes it.
            match rest.find(|(_, c)| !c.is_whitespace() && (*c != '\\' || wanted == '\\')) {
                Some((index, c)) if c == wanted => found = index,
                _ => return self.place,
            }
        }
        // Counted from the scalar on, not from the top of the file: a file may hold thousands of mistakes.
        let before = &source[..found];
        let start = self.place.start + found;
        match before.rfind('\n') {
            None => Place { column: self.place.column + before.chars().count(), start, ..self.place },
            Some(newline) => Place {
                line: self.place.line + before.matches('\n').count(),
                column: before[newline..].chars().count(),
                start,
            },
        }
    }
}

/// Byte of `text` at a line and column, both from 1; the end of the text where it is shorter.
pub fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let in_line = text[line_start..].char_indices().nth(column.saturating_sub(1));
    in_line.map_or(text.len(), |(index, _)| line_start + index)
}

// === serde ===

/// A node as serde gives it: scalars that YAML takes for numbers, booleans or null have lost their text.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Bare,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

struct RawVisitor;

impl Raw {
    fn into_node(self, text: &str) -> Node {
        // Of an alias, the place where its value stands: that is where a mistake in it is mended.
        let Spanned { value, defined, .. } = self.0;
        let value = match value {
            RawValue::Null => Value::Null,
            RawValue::Bare => Value::Scalar(source(text, &defined).trim().to_owned()),
            RawValue::Text(text) => Value::Scalar(text),
            RawValue::List(items) => Value::List(items.into_iter().map(|item| item.into_node(text)).collect()),
            RawValue::Map(entries) => Value::Map(
                entries.into_iter().map(|(key, value)| (key.into_node(text), value.into_node(text))).collect(),
            ),
        };
        Node { place: place(&defined), value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_i128<E>(self, _: i128) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_u128<E>(self, _: u128) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Bare)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
            max_anchors: ALIASES_MAX,
            max_aliases: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_recorded_anchor_events: REPLAYED_EVENTS_MAX,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_EVENTS_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn yaml_error(error: &serde_saphyr::Error) -> YamlError {
    let message = error.without_snippet().to_string();
    let Some(location) = error.location() else {
        return YamlError { message, line: 1, column: 1 };
    };
    let Place { line, column, .. } = place(&location);
    // The message repeats its place, which the problem shows in front already.
    let message = message.replace(&format!(" at line {line}, column {column}"), "");
    YamlError { message, line, column }
}

fn place(location: &Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        start: location.span().byte_offset().map_or(0, number),
    }
}

/// The text of a scalar as written.
fn source<'a>(text: &'a str, location: &Location) -> &'a str {
    let span = location.span();
    let (Some(start), Some(length)) = (span.byte_offset(), span.byte_len()) else { return "" };
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    text.get(number(start)..number(start.saturating_add(length))).unwrap_or("")
}

#[cfg(test)]
mod tests;
