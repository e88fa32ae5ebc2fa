//! What the index holds, by its largest: the figures of `/api/v1/status/tsdb`.
//!
//! From the dictionary's own counts: names and pairs are visited, no series is. Memory is `n` entries a list, whatever
//! there is.

use super::Index;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A name and how much there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What is counted.
    pub name: String,
    /// How much.
    pub count: u64,
}

/// The largest of each kind, the largest first; among equals in the order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexStats {
    /// Series in all.
    pub series: u64,
    /// Different label names.
    pub label_names: u64,
    /// Different pairs of label name and value.
    pub label_pairs: u64,
    /// Bytes of the different names and values.
    pub text_bytes: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<Counted>,
    /// Different values by label name.
    pub values_by_label: Vec<Counted>,
    /// Bytes of its values by label name, each value as often as a series has it: as Prometheus counts them.
    pub bytes_by_label: Vec<Counted>,
    /// Series by pair, written `name=value`.
    pub series_by_pair: Vec<Counted>,
}

// === impl Index ===

impl Index {
    /// The `n` largest of each kind.
    pub fn stats(&self, n: usize) -> IndexStats {
        let dictionary = &self.dictionary;
        let series = |pair| dictionary.postings(pair).len();
        let metrics = dictionary.metric_name().into_iter().flat_map(|name| name.values.iter(name.values.all()));
        let by_metric = metrics.map(|pair| (series(pair), dictionary.value_of(pair)));
        let by_values = dictionary.names().map(|name| (name.values.len() as u64, dictionary.name_text(name)));
        let by_bytes = dictionary.names().map(|name| (name.value_bytes, dictionary.name_text(name)));
        let by_pair = dictionary.pairs().map(|pair| (series(pair), dictionary.texts(pair)));
        let counted = |(count, name): (u64, &str)| Counted { name: name.into(), count };
        IndexStats {
            series: self.len() as u64,
            label_names: dictionary.name_count() as u64,
            label_pairs: dictionary.pair_count() as u64,
            text_bytes: dictionary.symbols().text_bytes() as u64,
            series_by_metric: largest(n, by_metric).into_iter().map(counted).collect(),
            values_by_label: largest(n, by_values).into_iter().map(counted).collect(),
            bytes_by_label: largest(n, by_bytes).into_iter().map(counted).collect(),
            series_by_pair: largest(n, by_pair)
                .into_iter()
                .map(|(count, (name, value))| Counted { name: format!("{name}={value}"), count })
                .collect(),
        }
    }
}

/// The `n` largest, the largest first; among equals the smallest names first.
fn largest<N: Ord>(n: usize, all: impl Iterator<Item = (u64, N)>) -> Vec<(u64, N)> {
    let mut kept = BinaryHeap::new();
    for (count, name) in all {
        kept.push((Reverse(count), name));
        if kept.len() > n {
            kept.pop();
        }
    }
    kept.into_sorted_vec().into_iter().map(|(Reverse(count), name)| (count, name)).collect()
}
