//! The index of one shard's series: labels → id and back, and which series pass a selector.
//!
//! ```text
//!  labels ──► row of pairs ──hash──► id ──► Record { row, owner }
//!  pair (name, value) ──► ids that have it        `select` joins these and looks at no series where it need not
//! ```
//! Ids are `u32` and as small as they can be: the smallest free one is given next, so that sets of them are dense and
//! tables do not grow with churn. An id is good for as long as its series is: what a selection found is to be used before
//! the next removal, which the shard's lock sees to.
//!
//! Limits: [`Caps`] on series, [`IndexLimits`] on what they bring with them. Both are asked before anything is changed;
//! a series that is known goes on whatever they say.

mod select;
mod stats;

pub use stats::{Counted, IndexStats};

use crate::caps::{Caps, Claim, OwnerId, Refused};
use crate::dictionary::{Dictionary, IndexLimits, NameId};
use crate::labels::{CLINIC_LABEL, METRIC_NAME, PairId, Row, RowPlace, Rows, SeriesLabels};
use crate::table::IdTable;
use foldhash::quality::RandomState;
use roaring::RoaringBitmap;
use std::hash::BuildHasher;
use uuid::Uuid;

/// A series inside its shard; good for as long as the series is.
pub type SeriesId = u32;

/// What became of labels that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The series is new.
    New(SeriesId),
    /// There is one with these labels, whoever owns it.
    Known(SeriesId),
}

/// See the module.
#[derive(Debug)]
pub struct Index {
    dictionary: Dictionary,
    rows: Rows,
    /// By id; `None` where the id is free.
    records: Vec<Option<Record>>,
    by_labels: IdTable,
    live: RoaringBitmap,
    /// Ids below `records.len()` without a series.
    free: RoaringBitmap,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    row: RowPlace,
    owner: OwnerId,
}

// === impl Added ===

impl Added {
    /// The series.
    pub fn id(self) -> SeriesId {
        match self {
            Self::New(id) | Self::Known(id) => id,
        }
    }
}

// === impl Index ===

impl Index {
    /// No series yet.
    pub fn new(limits: IndexLimits) -> Self {
        Self {
            dictionary: Dictionary::new(limits),
            rows: Rows::default(),
            records: Vec::new(),
            by_labels: IdTable::default(),
            live: RoaringBitmap::new(),
            free: RoaringBitmap::new(),
            hasher: RandomState::default(),
        }
    }

    /// The series with exactly these labels.
    pub fn find(&self, labels: &SeriesLabels<'_>) -> Option<SeriesId> {
        let mut row = Row::new();
        for (name, value) in labels.iter() {
            row.push(self.dictionary.find_pair(name, value)?);
        }
        self.find_row(row.pairs())
    }

    /// The series with these labels, made where it is new. Refusals are counted in `caps`.
    pub fn add(&mut self, labels: &SeriesLabels<'_>, owner: Uuid, caps: &mut Caps) -> Result<Added, Refused> {
        if let Some(id) = self.find(labels) {
            return Ok(Added::Known(id));
        }
        let metric = labels.metric();
        if let Err(refused) = self.dictionary.room_for(labels) {
            caps.refuse(metric, refused);
            return Err(refused);
        }
        let owner = caps.claim(Claim { owner, clinic: labels.clinic(), metric })?;
        let id = self.next_id();
        let mut row = Row::new();
        for (name, value) in labels.iter() {
            let pair =
                self.dictionary.acquire(name, value).expect("room_for found room for all, and nothing came since");
            self.dictionary.attach(pair, id);
            row.push(pair);
        }
        let record = Record { row: self.rows.insert(&row), owner };
        if id as usize == self.records.len() {
            self.records.push(Some(record));
        } else {
            self.records[id as usize] = Some(record);
            self.free.remove(id);
        }
        self.live.insert(id);
        self.by_labels.insert(self.hasher.hash_one(row.pairs()), id);
        Ok(Added::New(id))
    }

    /// Forgets a series, and what only it had; says whether there was one.
    pub fn remove(&mut self, id: SeriesId, caps: &mut Caps) -> bool {
        let Some(record) = self.record(id) else { return false };
        caps.release(record.owner, self.clinic(id), self.value(id, METRIC_NAME));
        let hash = self.hasher.hash_one(self.rows.get(record.row));
        self.by_labels.remove(hash, id);
        let Self { dictionary, rows, records, live, free, .. } = self;
        rows.get(record.row).iter().for_each(|&pair| dictionary.detach(pair, id));
        rows.remove(record.row);
        records[id as usize] = None;
        live.remove(id);
        free.insert(id);
        self.forget_last_ids();
        true
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_labels.is_empty()
    }

    /// All series.
    pub fn all(&self) -> &RoaringBitmap {
        &self.live
    }

    /// Names and values of a series, sorted by name; none where there is no such series.
    pub fn labels(&self, id: SeriesId) -> impl Iterator<Item = (&str, &str)> {
        self.row(id).iter().map(|&pair| self.dictionary.texts(pair))
    }

    /// The value of a series's label; empty where it has none.
    pub fn value(&self, id: SeriesId, name: &str) -> &str {
        let name = self.dictionary.find_name(name);
        name.and_then(|name| self.pair_of(id, name)).map_or("", |pair| self.dictionary.value_of(pair))
    }

    /// The agent that reported a series first.
    pub fn owner(&self, id: SeriesId) -> Option<OwnerId> {
        self.record(id).map(|record| record.owner)
    }

    fn clinic(&self, id: SeriesId) -> Option<&str> {
        Some(self.value(id, CLINIC_LABEL)).filter(|clinic| !clinic.is_empty())
    }

    fn record(&self, id: SeriesId) -> Option<Record> {
        self.records.get(id as usize).copied().flatten()
    }

    fn row(&self, id: SeriesId) -> &[PairId] {
        self.record(id).map_or(&[], |record| self.rows.get(record.row))
    }

    fn pair_of(&self, id: SeriesId, name: NameId) -> Option<PairId> {
        self.row(id).iter().copied().find(|&pair| self.dictionary.name_of(pair) == name)
    }

    fn find_row(&self, row: &[PairId]) -> Option<SeriesId> {
        self.by_labels.find(self.hasher.hash_one(row), |id| self.row(id) == row)
    }

    fn next_id(&self) -> SeriesId {
        let next = || u32::try_from(self.records.len()).expect("a place is 12 bytes: 2^32 of them are never reached");
        self.free.min().unwrap_or_else(next)
    }

    /// Ids at the end that are free are none: the table shrinks when the highest go.
    fn forget_last_ids(&mut self) {
        while matches!(self.records.last(), Some(None)) {
            self.records.pop();
            self.free.remove(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        }
        if self.records.capacity() > 4 * self.records.len().max(1024) {
            self.records.shrink_to(2 * self.records.len());
        }
    }

    /// The books, in full: each count is that of what is there. For tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let ids: Vec<SeriesId> = (0u32..).zip(&self.records).filter(|(_, r)| r.is_some()).map(|(id, _)| id).collect();
        assert!(self.live.iter().eq(ids.iter().copied()));
        assert_eq!(self.live.len() + self.free.len(), self.records.len() as u64);
        assert_eq!(self.by_labels.len(), ids.len());
        assert!(ids.iter().all(|&id| self.find_row(self.row(id)) == Some(id)));
        self.dictionary.check(|pair| ids.iter().copied().filter(|&id| self.row(id).contains(&pair)).collect());
    }
}

#[cfg(test)]
mod tests;
