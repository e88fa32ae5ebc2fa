//! `absent`: 1 where a vector is empty, with the labels that its selector is certain about.

use super::without_brackets;
use crate::expr::{Expr, Node};
use crate::grid::{Grid, NONE, Row, Steps, is_none};
use crate::{LabelSet, METRIC_NAME, MatchOp};
use std::collections::{BTreeMap, BTreeSet};

/// The labels of what is absent, from the argument of `absent` or `absent_over_time`: those of a selector that are asked
/// to be one value and nothing else. Of anything but a selector there are none.
pub(crate) fn absent_labels(argument: &Expr) -> LabelSet {
    let (Node::Select(selector) | Node::Window { selector, .. }) = &without_brackets(argument).node else {
        return LabelSet::empty();
    };
    let (mut labels, mut asked) = (BTreeMap::new(), BTreeSet::new());
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && asked.insert(matcher.name()) {
            labels.insert(matcher.name(), matcher.value());
        } else {
            // A second condition makes it uncertain, even the same one again.
            labels.remove(matcher.name());
        }
    }
    LabelSet::from_sorted(labels)
}

pub(super) fn absent(rows: &Grid, labels: LabelSet, steps: Steps) -> Grid {
    let mut values = vec![1.0; steps.count];
    for row in rows {
        for (absent, _) in values.iter_mut().zip(&row.values).filter(|(_, value)| !is_none(**value)) {
            *absent = NONE;
        }
    }
    vec![Row { labels, values }]
}
