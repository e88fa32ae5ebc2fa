//! Reads a page back, as strict as the formats.

use proto::catalog::family_of;
use std::collections::{BTreeMap, BTreeSet};

/// One sample line, read back.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Line {
    pub(in crate::http) name: String,
    pub(in crate::http) labels: BTreeMap<String, String>,
    pub(in crate::http) value: f64,
}

/// A page, read back: families in order, each with its type (empty: none given) and samples.
#[derive(Debug, Default)]
pub(in crate::http) struct Read {
    pub(in crate::http) families: Vec<(String, String, Vec<Line>)>,
    pub(in crate::http) ended: bool,
}

impl Read {
    pub(in crate::http) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.families.iter().flat_map(|(.., lines)| lines)
    }
}

/// Reads a page as a strict scraper does; panics at what breaks a format's rule.
pub(in crate::http) fn read(page: &str) -> Read {
    assert!(page.is_empty() || page.ends_with('\n'), "the last line is whole");
    let mut read = Read::default();
    let mut helped: Option<String> = None;
    let mut seen = BTreeSet::new();
    for text in page.lines() {
        assert!(!read.ended, "nothing comes after # EOF: {text}");
        if text == "# EOF" {
            read.ended = true;
        } else if let Some(rest) = text.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().map(str::to_owned);
        } else if let Some(rest) = text.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("TYPE says a name and a type");
            if let Some(helped) = helped.take() {
                assert_eq!(helped, name, "HELP and TYPE of a family stand together");
            }
            assert!(seen.insert(name.to_owned()), "family {name} comes twice");
            read.families.push((name.into(), kind.into(), Vec::new()));
        } else {
            add(&mut read, &mut seen, sample(text));
        }
    }
    let mut sets = BTreeSet::new();
    for line in read.lines() {
        assert!(sets.insert((line.name.clone(), line.labels.clone())), "twice on the page: {line:?}");
    }
    read
}

/// Adds a sample to the family begun last, or begins one without a type.
fn add(read: &mut Read, seen: &mut BTreeSet<String>, line: Line) {
    let belongs = read.families.last().is_some_and(|(family, kind, _)| match kind.as_str() {
        "histogram" => line.name == *family || family_of(&line.name) == family,
        "counter" if line.name != *family => line.name.strip_suffix("_total") == Some(family),
        _ => line.name == *family,
    });
    if !belongs {
        assert!(seen.insert(line.name.clone()), "family {} is in two places", line.name);
        read.families.push((line.name.clone(), String::new(), Vec::new()));
    }
    read.families.last_mut().expect("one was pushed").2.push(line);
}

fn sample(text: &str) -> Line {
    let head = text.find(['{', ' ']).expect("a name ends");
    let mut rest = &text[head..];
    let mut labels = BTreeMap::new();
    while let Some(inner) = rest.strip_prefix(['{', ',']) {
        let (name, quoted) = inner.split_once("=\"").expect("a label has a value");
        let (value, after) = unquote(quoted);
        assert!(labels.insert(name.into(), value).is_none(), "label {name} twice: {text}");
        rest = after.strip_prefix('}').unwrap_or(after);
    }
    let value = match rest.trim_start() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().expect("a value and nothing behind it"),
    };
    Line { name: text[..head].into(), labels, value }
}

/// The text up to the closing quote, and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => match chars.next().expect("an escape is whole").1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    panic!("a label's value does not end: {text}")
}
