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
        let value = |pair| dictionary.value_of(pair);
        let text = |name| dictionary.name_text(name);
        let metrics = dictionary.metric_name().into_iter().flat_map(|name| name.values.iter(name.values.all()));
        let by_metric = largest(n, metrics.map(|pair| (series(pair), pair)), value);
        let by_values = largest(n, dictionary.names().map(|name| (name.values.len() as u64, name)), text);
        let by_bytes = largest(n, dictionary.names().map(|name| (name.value_bytes, name)), text);
        let by_pair = largest(n, dictionary.pairs().map(|pair| (series(pair), pair)), |pair| dictionary.texts(pair));
        let counted = |(count, name): (u64, &str)| Counted { name: name.into(), count };
        let joined = |(count, (name, value)): (u64, (&str, &str))| Counted { name: format!("{name}={value}"), count };
        IndexStats {
            series: self.len() as u64,
            label_names: dictionary.name_count() as u64,
            label_pairs: dictionary.pair_count() as u64,
            text_bytes: dictionary.symbols().text_bytes() as u64,
            series_by_metric: by_metric.into_iter().map(counted).collect(),
            values_by_label: by_values.into_iter().map(counted).collect(),
            bytes_by_label: by_bytes.into_iter().map(counted).collect(),
            series_by_pair: by_pair.into_iter().map(joined).collect(),
        }
    }
}

/// The `n` largest, the largest first; among equals the smallest names first. Names are asked only of what may be kept.
fn largest<T, N: Ord>(n: usize, all: impl Iterator<Item = (u64, T)>, name: impl Fn(T) -> N) -> Vec<(u64, N)> {
    let mut kept: BinaryHeap<(Reverse<u64>, N)> = BinaryHeap::new();
    for (count, what) in all {
        let is_full = kept.len() >= n;
        if is_full && kept.peek().is_none_or(|(Reverse(least), _)| count < *least) {
            continue;
        }
        kept.push((Reverse(count), name(what)));
        if is_full {
            kept.pop();
        }
    }
    kept.into_sorted_vec().into_iter().map(|(Reverse(count), name)| (count, name)).collect()
}
