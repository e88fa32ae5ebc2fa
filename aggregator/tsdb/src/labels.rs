//! The labels of one series: checked at the door, then kept as a row of pair numbers.
//!
//! ```text
//!  SeriesLabels  [("__name__", "up"), ("instance", "m-1"), …]      borrowed texts, sorted, checked
//!  PairId        one (name, value) that at least one series has
//!  Rows          slabs by length:  3 │ p p p │ p p p │ …           4 bytes a label
//!                                 10 │ p p p p p p p p p p │ …
//! ```
//! A pair is one number and not two symbols: half the bytes, and the number leads to the pair's postings as well. Two
//! series have the same labels exactly if they have the same row. Slabs rather than a box for each series: a box costs a
//! pointer, a length and the allocator's rounding, 24 bytes on a row of 40.

use proto::limits::{LABEL_NAME_MAX_BYTES, LABEL_VALUE_MAX_BYTES, LABELS_MAX};

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label of which each value has a limit of its own.
pub const CLINIC_LABEL: &str = "clinic_id";
/// Labels of one series: what a source may set, the name, and the three that the aggregator sets.
pub const SERIES_LABELS_MAX: usize = LABELS_MAX + 4;

/// Labels of one series, the metric's name among them: sorted by name, each name once, no value empty. Names and values may
/// be any text: what agents send is narrower, what comes by remote write is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesLabels<'a>(Vec<(&'a str, &'a str)>);

/// Why labels were refused. Lengths rather than texts: a message must not grow with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// No `__name__`.
    #[error("a series needs a metric name")]
    Nameless,
    /// A label without a name.
    #[error("a label has an empty name")]
    EmptyName,
    /// A name is too long.
    #[error("a label's name has {bytes} bytes; the limit is {LABEL_NAME_MAX_BYTES}")]
    NameTooLong {
        /// Length found.
        bytes: usize,
    },
    /// A value is too long.
    #[error("a label's value has {bytes} bytes; the limit is {LABEL_VALUE_MAX_BYTES}")]
    ValueTooLong {
        /// Length found.
        bytes: usize,
    },
    /// The same name twice.
    #[error("a label is given twice")]
    Duplicate,
    /// Too many labels.
    #[error("more than {SERIES_LABELS_MAX} labels on one series")]
    TooMany,
}

/// A pair (name, value) that at least one series has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PairId(pub(crate) u32);

/// A row on its way in or to be looked for: no allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pairs: [PairId; SERIES_LABELS_MAX],
    len: usize,
}

/// Where a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace {
    /// In its slab.
    index: u32,
    /// Which slab: the number of labels.
    width: u8,
}

/// The rows of all series, by length.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// At `width - 1`.
    slabs: Vec<Slab>,
}

/// Rows of one length.
#[derive(Debug, Default)]
struct Slab {
    /// Each of [`CHUNK_ROWS`] rows: grows without copying what is there.
    chunks: Vec<Box<[PairId]>>,
    /// The free rows are a list through their first cells; `None` is its end.
    free: Option<u32>,
    /// Rows that were ever used; beyond them nothing has been written.
    touched: u32,
    /// Rows in use.
    used: u32,
}

/// Of a common length this is 10 KiB.
const CHUNK_ROWS: usize = 256;
/// In the first cell of the last free row.
const END: PairId = PairId(u32::MAX);

// === impl SeriesLabels ===

impl<'a> SeriesLabels<'a> {
    /// Checks, sorts, and drops empty values.
    pub fn try_new(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelsError> {
        let mut labels: Vec<(&str, &str)> = Vec::with_capacity(12);
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(LabelsError::EmptyName);
            }
            if name.len() > LABEL_NAME_MAX_BYTES {
                return Err(LabelsError::NameTooLong { bytes: name.len() });
            }
            if value.len() > LABEL_VALUE_MAX_BYTES {
                return Err(LabelsError::ValueTooLong { bytes: value.len() });
            }
            if value.is_empty() {
                continue;
            }
            if labels.len() == SERIES_LABELS_MAX {
                return Err(LabelsError::TooMany);
            }
            labels.push((name, value));
        }
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(LabelsError::Duplicate);
        }
        let labels = Self(labels);
        if labels.get(METRIC_NAME).is_none() {
            return Err(LabelsError::Nameless);
        }
        Ok(labels)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let index = self.0.binary_search_by(|(own, _)| (*own).cmp(name)).ok()?;
        Some(self.0[index].1)
    }

    /// The metric's name.
    pub fn metric(&self) -> &'a str {
        self.get(METRIC_NAME).expect("try_new refuses labels without a metric name")
    }

    /// The clinic that the series belongs to, if it belongs to one.
    pub fn clinic(&self) -> Option<&'a str> {
        self.get(CLINIC_LABEL)
    }
}

// === impl Row ===

impl Row {
    pub(crate) fn new() -> Self {
        Self { pairs: [PairId::default(); SERIES_LABELS_MAX], len: 0 }
    }

    pub(crate) fn push(&mut self, pair: PairId) {
        self.pairs[self.len] = pair;
        self.len += 1;
    }

    pub(crate) fn pairs(&self) -> &[PairId] {
        &self.pairs[..self.len]
    }
}

// === impl Rows ===

impl Rows {
    /// Keeps a row of at least one pair.
    pub(crate) fn insert(&mut self, row: &Row) -> RowPlace {
        let width = row.len;
        debug_assert!(width > 0, "a series has a name at least");
        if self.slabs.len() < width {
            self.slabs.resize_with(width, Slab::default);
        }
        let index = self.slabs[width - 1].insert(row.pairs());
        let width = u8::try_from(width).expect("a series has at most SERIES_LABELS_MAX labels");
        RowPlace { index, width }
    }

    pub(crate) fn get(&self, place: RowPlace) -> &[PairId] {
        let width = usize::from(place.width);
        self.slabs[width - 1].row(place.index, width)
    }

    pub(crate) fn remove(&mut self, place: RowPlace) {
        let width = usize::from(place.width);
        self.slabs[width - 1].remove(place.index, width);
    }
}

// === impl Slab ===

impl Slab {
    fn insert(&mut self, pairs: &[PairId]) -> u32 {
        let width = pairs.len();
        let index = if let Some(index) = self.free {
            let next = self.row(index, width)[0];
            self.free = (next != END).then_some(next.0);
            index
        } else {
            if self.touched as usize == self.chunks.len() * CHUNK_ROWS {
                self.chunks.push(vec![PairId::default(); CHUNK_ROWS * width].into());
            }
            self.touched += 1;
            self.touched - 1
        };
        self.used += 1;
        self.row_mut(index, width).copy_from_slice(pairs);
        index
    }

    fn remove(&mut self, index: u32, width: usize) {
        self.used -= 1;
        if self.used == 0 {
            *self = Self::default();
            return;
        }
        self.row_mut(index, width)[0] = self.free.map_or(END, PairId);
        self.free = Some(index);
    }

    fn row(&self, index: u32, width: usize) -> &[PairId] {
        let (chunk, row) = (index as usize / CHUNK_ROWS, index as usize % CHUNK_ROWS);
        &self.chunks[chunk][row * width..(row + 1) * width]
    }

    fn row_mut(&mut self, index: u32, width: usize) -> &mut [PairId] {
        let (chunk, row) = (index as usize / CHUNK_ROWS, index as usize % CHUNK_ROWS);
        &mut self.chunks[chunk][row * width..(row + 1) * width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn refused(pairs: &[(&str, &str)]) -> LabelsError {
        SeriesLabels::try_new(pairs.iter().copied()).expect_err("a mistake")
    }

    #[test]
    fn each_mistake_is_named() {
        let name = (METRIC_NAME, "up");
        let long_name = "n".repeat(LABEL_NAME_MAX_BYTES + 1);
        let long_value = "v".repeat(LABEL_VALUE_MAX_BYTES + 1);
        assert_eq!(refused(&[]), LabelsError::Nameless);
        assert_eq!(refused(&[(METRIC_NAME, ""), ("a", "1")]), LabelsError::Nameless);
        assert_eq!(refused(&[name, ("", "1")]), LabelsError::EmptyName);
        assert_eq!(refused(&[name, ("a", "1"), ("a", "2")]), LabelsError::Duplicate);
        assert_eq!(refused(&[name, (&long_name, "1")]), LabelsError::NameTooLong { bytes: LABEL_NAME_MAX_BYTES + 1 });
        assert_eq!(
            refused(&[name, ("a", &long_value)]),
            LabelsError::ValueTooLong { bytes: LABEL_VALUE_MAX_BYTES + 1 }
        );
        let names: Vec<String> = (0..SERIES_LABELS_MAX).map(|i| format!("l{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "1")).chain([name]).collect();
        assert_eq!(refused(&many), LabelsError::TooMany);
    }

    #[test]
    fn labels_are_sorted_any_unicode_is_kept_and_empty_values_are_no_labels() {
        let labels = SeriesLabels::try_new([("naïve label", "héé\0\n\""), ("b", ""), ("A", "1"), (METRIC_NAME, "μ.ν")]);
        let labels = labels.expect("usable");
        let all: Vec<(&str, &str)> = labels.iter().collect();
        assert_eq!(all, [("A", "1"), (METRIC_NAME, "μ.ν"), ("naïve label", "héé\0\n\"")]);
        assert_eq!((labels.metric(), labels.clinic(), labels.get("b")), ("μ.ν", None, None));
    }

    proptest! {
        /// Rows are given back and used again; each keeps what was put into it.
        #[test]
        fn a_row_is_what_was_put_in(ops in proptest::collection::vec((any::<bool>(), 1..5_usize, any::<u32>()), 1..900)) {
            let (mut rows, mut model) = (Rows::default(), HashMap::new());
            let mut order = Vec::new();
            for (is_insert, width, seed) in ops {
                if is_insert || order.is_empty() {
                    let mut row = Row::new();
                    (0..width).for_each(|i| row.push(PairId(seed.wrapping_add(u32::try_from(i).expect("small")) / 2)));
                    let place = rows.insert(&row);
                    prop_assert!(model.insert((place.index, place.width), row.pairs().to_vec()).is_none());
                    order.push(place);
                } else {
                    let place = order.swap_remove(seed as usize % order.len());
                    model.remove(&(place.index, place.width));
                    rows.remove(place);
                }
                for place in order.iter().rev().take(5) {
                    prop_assert_eq!(rows.get(*place), model[&(place.index, place.width)].as_slice());
                }
            }
            for place in &order {
                prop_assert_eq!(rows.get(*place), model[&(place.index, place.width)].as_slice());
            }
        }
    }
}
