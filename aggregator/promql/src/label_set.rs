//! The labels of a series inside the language: `__name__` among them, sorted by name, none empty.
//!
//! Not [`proto::name::Labels`]: that is what an agent may say, checked at the door, while a query may make any label of
//! any text (`label_replace`, remote write). Cloned all the time, changed seldom: so it is one shared block.

use crate::METRIC_NAME;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Labels sorted by name in the order of their bytes, each name once, no value empty: an absent label and an empty one
/// are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LabelSet(Arc<Block>);

/// Names and values one after another, and where each ends: name, value, name, value, …
#[derive(PartialEq, Eq, Hash)]
struct Block {
    text: Box<str>,
    ends: Box<[u32]>,
}

// === impl LabelSet ===

impl LabelSet {
    /// No labels.
    pub fn empty() -> Self {
        Self::from_sorted([])
    }

    /// Sorts and drops empty values; of one name given twice the last counts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let sorted: BTreeMap<&str, &str> = pairs.into_iter().collect();
        Self::from_sorted(sorted)
    }

    /// Of pairs that are sorted by name, each name once; drops empty values.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        let mut last: Option<&str> = None;
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            debug_assert!(last.is_none_or(|last| last < name), "sorted, each name once");
            last = Some(name);
            for part in [name, value] {
                text.push_str(part);
                ends.push(
                    u32::try_from(text.len()).expect("labels are smaller than 4 GiB: queries and series are bounded"),
                );
            }
        }
        Self(Arc::new(Block { text: text.into(), ends: ends.into() }))
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let Block { text, ends } = &*self.0;
        let mut start = 0;
        ends.chunks_exact(2).map(move |pair| {
            let (middle, end) = (pair[0] as usize, pair[1] as usize);
            let label = (&text[start..middle], &text[middle..end]);
            start = end;
            label
        })
    }

    /// The value of `name`; empty where the label is absent.
    pub fn get(&self, name: &str) -> &str {
        self.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    /// The metric's name; empty where there is none.
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// How many labels there are, the name included.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// These without what only holds for the metric as it was stored: its name, and type and unit where they are labels.
    #[must_use]
    pub fn without_name(&self) -> Self {
        let is_of_metric = |name: &str| matches!(name, METRIC_NAME | "__type__" | "__unit__");
        if self.iter().any(|(name, _)| is_of_metric(name)) {
            self.retain(|name| !is_of_metric(name))
        } else {
            self.clone()
        }
    }

    /// Those whose name passes.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self::from_sorted(self.iter().filter(|(name, _)| keep(name)))
    }

    /// These with `name` set; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::from_pairs(self.iter().chain([(name, value)]))
    }
}

impl Ord for LabelSet {
    /// The order in which Prometheus sorts results: label by label, name before value.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_sorted_unique_and_not_empty() {
        let labels = LabelSet::from_pairs([("b", "2"), ("c", ""), ("a", "1"), ("__name__", "up"), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("__name__", "up"), ("a", "1"), ("b", "3")]);
        assert_eq!((labels.name(), labels.get("b"), labels.get("c"), labels.len()), ("up", "3", "", 3));
        assert_eq!(labels.without_name(), LabelSet::from_pairs([("a", "1"), ("b", "3")]));
        let typed = LabelSet::from_pairs([("__type__", "gauge"), ("__unit__", "s"), ("__x__", "1")]);
        assert_eq!(typed.without_name(), LabelSet::from_pairs([("__x__", "1")]));
        assert!(labels.retain(|_| false).is_empty());
        assert_eq!(LabelSet::empty(), LabelSet::from_pairs([("a", "")]));
    }

    #[test]
    fn an_equal_text_cut_elsewhere_is_another_set() {
        let sets = [[("ab", "c")], [("a", "bc")]].map(LabelSet::from_pairs);
        assert_ne!(sets[0], sets[1]);
    }

    proptest! {
        #[test]
        fn with_sets_exactly_one_label(
            pairs in proptest::collection::btree_map("[a-d]{1,2}", "[x-z]{0,2}", 0..5), name in "[a-d]{1,2}", value in "[x-z]{0,2}",
        ) {
            let before = LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let after = before.with(&name, &value);
            prop_assert_eq!(after.get(&name), &value);
            for other in pairs.keys().filter(|other| **other != name) {
                prop_assert_eq!(after.get(other), before.get(other));
            }
            prop_assert!(after.iter().zip(after.iter().skip(1)).all(|(a, b)| a.0 < b.0 && !a.1.is_empty()));
        }
    }
}
