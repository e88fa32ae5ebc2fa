//! Names: metrics, labels, and the series key made of them, checked once at the door.
//!
//! After `try_new` a value of these types is known to be well formed, so nothing inside escapes or re-checks names.
//! Labels are sorted by name and unique; an empty value means "no such label", as in Prometheus, and is left out.

use crate::limits::{LABEL_NAME_MAX_BYTES, LABEL_VALUE_MAX_BYTES, LABELS_MAX};
use compact_str::CompactString;
use std::fmt;

/// A metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricName(CompactString);

/// One label. The name is `[a-zA-Z_][a-zA-Z0-9_]*`, the value any UTF-8 without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    name: CompactString,
    value: CompactString,
}

/// Labels sorted by name, each name once, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<Label>);

/// What tells one series from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The metric's name.
    pub name: MetricName,
    /// Its labels, without `__name__`.
    pub labels: Labels,
}

/// Why a name or a label was refused. The offending text is cut to [`SHOWN_CHARS`] so that no message grows with input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a metric name.
    #[error("metric name {0:?} must match [a-zA-Z_:][a-zA-Z0-9_:]* and have at most {LABEL_NAME_MAX_BYTES} bytes")]
    Metric(String),
    /// Not a label name.
    #[error("label name {0:?} must match [a-zA-Z_][a-zA-Z0-9_]* and have at most {LABEL_NAME_MAX_BYTES} bytes")]
    Label(String),
    /// Names that begin with two underscores are Prometheus's own.
    #[error("label name {0:?} is reserved: names may not begin with two underscores")]
    Reserved(String),
    /// The same name twice.
    #[error("label {0:?} is given twice")]
    Duplicate(String),
    /// The value is too long.
    #[error("the value of label {name:?} has {bytes} bytes; the limit is {LABEL_VALUE_MAX_BYTES}")]
    ValueTooLong {
        /// The label.
        name: String,
        /// Length found.
        bytes: usize,
    },
    /// The value holds a NUL, which no exposition format can carry.
    #[error("the value of label {0:?} holds a NUL character")]
    Nul(String),
    /// Too many labels.
    #[error("{0} labels on one series; the limit is {LABELS_MAX}")]
    TooMany(usize),
}

/// How much of a refused text an error shows.
const SHOWN_CHARS: usize = 64;

// === impl MetricName ===

impl MetricName {
    /// Checks `name`.
    pub fn try_new(name: &str) -> Result<Self, NameError> {
        let well_formed = is_name(name, |b| b == b':');
        if !well_formed {
            return Err(NameError::Metric(shown(name)));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Label ===

impl Label {
    /// Checks a pair. An empty value passes; [`Labels`] leaves it out.
    pub fn try_new(name: &str, value: &str) -> Result<Self, NameError> {
        if !is_name(name, |_| false) {
            return Err(NameError::Label(shown(name)));
        }
        if name.starts_with("__") {
            return Err(NameError::Reserved(shown(name)));
        }
        if value.len() > LABEL_VALUE_MAX_BYTES {
            return Err(NameError::ValueTooLong { name: shown(name), bytes: value.len() });
        }
        if value.contains('\0') {
            return Err(NameError::Nul(shown(name)));
        }
        Ok(Self { name: name.into(), value: value.into() })
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label's value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

// === impl Labels ===

impl Labels {
    /// No labels.
    pub const EMPTY: Self = Self(Vec::new());

    /// Checks, sorts and drops empty values.
    pub fn try_new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NameError> {
        let mut labels = Vec::new();
        for (name, value) in pairs {
            let label = Label::try_new(name, value)?;
            if !value.is_empty() {
                labels.push(label);
            }
            if labels.len() > LABELS_MAX {
                return Err(NameError::TooMany(labels.len()));
            }
        }
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(NameError::Duplicate(shown(&pair[0].name)));
        }
        Ok(Self(labels))
    }

    /// The value of `name`; `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|label| label.name.as_str().cmp(name)).ok()?;
        Some(&self.0[index].value)
    }

    /// These labels with `label` set; what stood under its name before is replaced, an empty value removes it.
    #[must_use]
    pub fn with(&self, label: Label) -> Self {
        let mut labels = self.0.clone();
        match labels.binary_search_by(|have| have.name.cmp(&label.name)) {
            Ok(index) if label.value.is_empty() => drop(labels.remove(index)),
            Ok(index) => labels[index] = label,
            Err(_) if label.value.is_empty() => {}
            Err(index) => labels.insert(index, label),
        }
        Self(labels)
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Label> {
        self.0.iter()
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Labels {
    /// `{a="1", b="2"}` with Prometheus's escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, label) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}=\"", label.name)?;
            escape(f, &label.value, Quotes::Escaped)?;
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

// === impl SeriesKey ===

impl SeriesKey {
    /// Checks a name and its labels.
    pub fn try_new<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NameError> {
        Ok(Self { name: MetricName::try_new(name)?, labels: Labels::try_new(labels)? })
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.labels)
    }
}

// === helpers ===

/// Whether `name` is an identifier of at most the allowed length; `also` admits further bytes anywhere in it.
fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_' || also(b);
    (1..=LABEL_NAME_MAX_BYTES).contains(&bytes.len())
        && start(bytes[0])
        && bytes[1..].iter().all(|&b| start(b) || b.is_ascii_digit())
}

/// Whether quotes in a text are escaped: where it stands in quotes, or the format wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    Escaped,
    Bare,
}

/// Prometheus's escapes: backslash, newline, and quotes where they are asked for; everything else is as it is.
pub(crate) fn escape(out: &mut impl fmt::Write, text: &str, quotes: Quotes) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '"' if quotes == Quotes::Escaped => out.write_str("\\\"")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

/// As much of a refused text as an error shows.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_sorted_and_empty_values_left_out() {
        let labels = Labels::try_new([("b", "2"), ("c", ""), ("a", "1")]).expect("well formed");
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn labels_print_with_prometheus_escapes_and_no_others() {
        let labels = Labels::try_new([("a", "C:\\x\n\"\té\u{200b}'")]).expect("well formed");
        assert_eq!(labels.to_string(), "{a=\"C:\\\\x\\n\\\"\té\u{200b}'\"}");
    }

    #[test]
    fn each_mistake_is_named() {
        let refused = |pairs: &[(&str, &str)]| Labels::try_new(pairs.iter().copied()).unwrap_err();
        assert_eq!(refused(&[("9a", "x")]), NameError::Label("9a".into()));
        assert_eq!(refused(&[("__a", "x")]), NameError::Reserved("__a".into()));
        assert_eq!(refused(&[("a", "x"), ("a", "y")]), NameError::Duplicate("a".into()));
        assert_eq!(refused(&[("a", "x\0")]), NameError::Nul("a".into()));
        let long = "v".repeat(LABEL_VALUE_MAX_BYTES + 1);
        assert_eq!(
            refused(&[("a", &long)]),
            NameError::ValueTooLong { name: "a".into(), bytes: LABEL_VALUE_MAX_BYTES + 1 }
        );
        let names: Vec<String> = (0..=LABELS_MAX).map(|i| format!("l{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "x")).collect();
        assert_eq!(refused(&many), NameError::TooMany(LABELS_MAX + 1));
        assert!(MetricName::try_new("a:b").is_ok());
        assert!(MetricName::try_new("a-b").is_err());
        assert!(MetricName::try_new("").is_err());
    }

    proptest! {
        #[test]
        fn with_sets_exactly_one_label(a in "[a-c]", v in "[x-z]{0,2}", w in "[x-z]{0,2}") {
            let before = Labels::try_new([("a", v.as_str()), ("b", "kept")]).expect("well formed");
            let after = before.with(Label::try_new(&a, &w).expect("well formed"));
            prop_assert_eq!(after.get(&a).unwrap_or(""), w.as_str());
            for name in ["a", "b", "c"].iter().filter(|n| **n != a) {
                prop_assert_eq!(after.get(name), before.get(name));
            }
        }

        #[test]
        fn a_refused_text_never_panics_nor_grows(text in "\\PC{0,400}") {
            if let Err(error) = MetricName::try_new(&text) {
                prop_assert!(error.to_string().len() < 1024);
            }
        }
    }
}
