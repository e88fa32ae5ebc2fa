//! A selector alone: which series, without a time. What `match[]` says, and a filter of rules.

use crate::expr::{Node, Selector, Shift};
use crate::parse::{ParseError, parse_expr};
use crate::{LabelSet, METRIC_NAME, Matcher};

/// Conditions on a series: its name where one is given, and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSelector {
    name: Option<String>,
    matchers: Vec<Matcher>,
}

/// Checks `text` and makes it a selector: `name{label="value"}` without a range and without a modifier.
pub fn parse_selector(text: &str) -> Result<SeriesSelector, ParseError> {
    let expr = parse_expr(text)?;
    match expr.node {
        Node::Select(Selector { name, matchers, shift, .. }) if shift == Shift::default() => {
            Ok(SeriesSelector { name, matchers })
        }
        _ => Err(ParseError {
            message: "only a selector such as name{label=\"value\"} is taken here".into(),
            line: 1,
            column: 1,
        }),
    }
}

// === impl SeriesSelector ===

impl SeriesSelector {
    /// The exact name, where one is given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Further conditions; those on [`METRIC_NAME`] are about the name.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether a series of these labels passes.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.admits(&|name| labels.get(name))
    }

    /// Whether a series passes whose labels these are; of one that it has not, the empty text.
    pub fn admits<'a>(&self, label: &dyn Fn(&str) -> &'a str) -> bool {
        self.name.as_deref().is_none_or(|name| name == label(METRIC_NAME))
            && self.matchers.iter().all(|matcher| matcher.matches(label(matcher.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_finds_series_by_name_and_labels() {
        let selector = parse_selector("up{job=~\"a.*\", zone=\"\"}").expect("a selector");
        assert_eq!((selector.name(), selector.matchers().len()), (Some("up"), 2));
        let matches = |pairs: &[(&str, &str)]| selector.matches(&LabelSet::from_pairs(pairs.iter().copied()));
        assert!(matches(&[("__name__", "up"), ("job", "agenda")]));
        assert!(!matches(&[("__name__", "down"), ("job", "agenda")]));
        assert!(!matches(&[("__name__", "up"), ("job", "agenda"), ("zone", "x")]));
        assert!(!matches(&[("__name__", "up")]));
    }

    #[test]
    fn what_is_more_or_less_than_a_selector_is_refused() {
        for text in ["up[5m]", "up offset 5m", "up @ 5", "sum(up)", "1", "{a=~\".*\"}", "up{", ""] {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }
}
