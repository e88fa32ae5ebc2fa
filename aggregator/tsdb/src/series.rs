//! One series: its identity and its recent samples, oldest first, each time once.
//!
//! Samples come in the order of their times nearly always; they do not where their agent's clock was set. What a series
//! says *now* is therefore the sample that came last, not the one with the greatest time.

use proto::name::SeriesKey;
use proto::sample::{Kind, STALE, Timestamp, is_stale};
use std::collections::VecDeque;
use std::time::Duration;
use uuid::Uuid;

/// One value at one time. The staleness marker ends the series until the next sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was read.
    pub at: Timestamp,
    /// What was read.
    pub value: f64,
}

/// A series and its recent samples.
#[derive(Debug)]
pub struct Series {
    key: SeriesKey,
    kind: Kind,
    owner: Uuid,
    reporter: Uuid,
    samples: VecDeque<Sample>,
    /// The one that came last.
    last: Option<Sample>,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// It is kept; `evicted` tells whether the oldest made room.
    Kept {
        /// Whether the series was full.
        evicted: bool,
    },
    /// There is a sample at this time already; the first one stays.
    Duplicate,
    /// The series is full of newer ones.
    TooOld,
}

impl Series {
    pub(crate) fn new(key: SeriesKey, kind: Kind, owner: Uuid) -> Self {
        Self { key, kind, owner, reporter: owner, samples: VecDeque::new(), last: None }
    }

    /// Name and labels.
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// What it measures.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The agent that reported it first; it counts against that agent's limit.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    /// The agent that reported it last. Two may share a name, as a pod's successor with a new spool does.
    pub(crate) fn reporter(&self) -> Uuid {
        self.reporter
    }

    pub(crate) fn set_reporter(&mut self, agent_id: Uuid) {
        self.reporter = agent_id;
    }

    /// How many samples it holds.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The sample that came last, the staleness marker included.
    pub fn last(&self) -> Option<Sample> {
        self.last
    }

    /// The value at `at`: the newest sample in `(at - lookback, at]`, unless that is the staleness marker.
    pub fn value_at(&self, at: Timestamp, lookback: Duration) -> Option<Sample> {
        let after = self.samples.partition_point(|sample| sample.at <= at);
        let sample = self.samples.get(after.checked_sub(1)?)?;
        (sample.at > at - lookback && !is_stale(sample.value)).then_some(*sample)
    }

    /// The samples in `(after, until]`, markers included, oldest first.
    pub fn samples(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Sample> {
        let first = self.samples.partition_point(|sample| sample.at <= after);
        let end = self.samples.partition_point(|sample| sample.at <= until).max(first);
        self.samples.range(first..end).copied()
    }

    /// A time right before the newest sample in `(after, from]`; `after` where there is none.
    pub fn newest_before(&self, from: Timestamp, after: Timestamp) -> Timestamp {
        let end = self.samples.partition_point(|sample| sample.at <= from);
        let newest = end.checked_sub(1).and_then(|index| self.samples.get(index));
        newest.map_or(after, |sample| after.max(sample.at.moved_by(-1)))
    }

    /// The times of its oldest and its newest sample.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.samples.front()?.at, self.samples.back()?.at))
    }

    /// Whether it has samples around or in the stretch, both ends included.
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.times().is_some_and(|(first, last)| first <= end && last >= start)
    }

    pub(crate) fn insert(&mut self, sample: Sample, cap: usize) -> Insert {
        let index = match self.samples.back() {
            Some(last) if last.at >= sample.at => {
                let index = self.samples.partition_point(|have| have.at < sample.at);
                if self.samples[index].at == sample.at {
                    return Insert::Duplicate;
                }
                index
            }
            _ => self.samples.len(),
        };
        let evicted = self.samples.len() >= cap;
        if evicted && index == 0 {
            return Insert::TooOld;
        }
        self.samples.insert(index, sample);
        self.last = Some(sample);
        if evicted {
            self.samples.pop_front();
        }
        Insert::Kept { evicted }
    }

    /// Gives up the newest sample where it came less than `every` after the one before it; a marker on either side stays.
    /// Returns whether it did: before a newer one is inserted.
    pub(crate) fn thin(&mut self, every: Duration) -> bool {
        let newest = self.samples.len().checked_sub(1);
        let pair = newest.and_then(|at| Some((self.samples.get(at.checked_sub(1)?)?, self.samples.get(at)?)));
        let is_close = pair.is_some_and(|(before, last)| {
            last.at.since(before.at) < every && !is_stale(last.value) && !is_stale(before.value)
        });
        if is_close {
            self.samples.pop_back();
        }
        is_close
    }

    /// Ends the series at `at`, but after the sample that came last, unless it has ended already. Returns what became of
    /// the marker.
    pub(crate) fn end(&mut self, at: Timestamp, cap: usize) -> Option<Insert> {
        let last = self.last?;
        (!is_stale(last.value)).then(|| self.insert(Sample { at: at.max(last.at + ONE_MS), value: STALE }, cap))
    }

    /// Moves every sample in time.
    pub(crate) fn move_by(&mut self, millis: i64) {
        for sample in self.samples.iter_mut().chain(&mut self.last) {
            sample.at = sample.at.moved_by(millis);
        }
    }

    /// Drops samples before `before`; returns how many.
    pub(crate) fn truncate(&mut self, before: Timestamp) -> usize {
        let dropped = self.samples.partition_point(|sample| sample.at < before);
        self.samples.drain(..dropped);
        if self.samples.is_empty() {
            self.last = None;
        }
        if self.samples.capacity() > 4 * self.samples.len().max(16) {
            self.samples.shrink_to_fit();
        }
        dropped
    }
}

/// The resolution of time here: an end comes at the earliest one after the last sample.
const ONE_MS: Duration = Duration::from_millis(1);
