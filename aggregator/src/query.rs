//! What is asked of the series in memory: PromQL's samples, and which series there are.
//!
//! The lock of what is alive is held for [`SERIES_AT_ONCE`] series at a time, for which their samples are copied, so that
//! no query keeps agents waiting.

use crate::live::Live;
use crate::store::Scope;
use promql::{LabelSet, METRIC_NAME, Reads, Samples, Select, SelectError, Selection, SeriesSelector};
use proto::name::SeriesKey;
use proto::sample::Timestamp;
use std::iter::once;
use std::ops::ControlFlow;
use tsdb::{HeadSeriesId, Series};

/// Series whose samples are copied while the lock is held: a quarter of a millisecond.
const SERIES_AT_ONCE: usize = 64;

/// The series of everyone who is alive, as far as the scope goes.
pub struct LiveSelect<'a> {
    /// Where they are.
    pub live: &'a Live,
    /// Whose may be read.
    pub scope: Scope,
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
}

/// Samples of several series, one after another.
#[derive(Debug, Default)]
pub struct Copies {
    series: Vec<(LabelSet, usize)>,
    times: Vec<i64>,
    values: Vec<f64>,
}

// === impl LiveSelect ===

impl LiveSelect<'_> {
    /// Calls `each` for every series that one of the selectors finds (all, where there is none) and that has samples in the
    /// stretch. One that several find comes once.
    pub fn series(&self, selectors: &[SeriesSelector], stretch: Stretch, each: &mut dyn FnMut(&Series)) {
        let passes = |series: &Series| {
            let matched = || selectors.iter().any(|selector| selector.admits(&|name| label(series.key(), name)));
            series.overlaps(stretch.start, stretch.end) && (selectors.is_empty() || matched())
        };
        let name = match selectors {
            [one] => one.name(),
            _ => None,
        };
        for ids in self.ids(name).chunks(SERIES_AT_ONCE) {
            self.live.read(|head| {
                let found = ids.iter().filter_map(|id| head.series(*id));
                found.filter(|series| self.admits(series) && passes(series)).for_each(&mut *each);
            });
        }
    }

    fn admits(&self, series: &Series) -> bool {
        self.scope.admits(series.key().labels.get("clinic_id"))
    }

    fn ids(&self, name: Option<&str>) -> Vec<HeadSeriesId> {
        self.live.read(|head| head.ids(name).collect())
    }
}

impl Select for LiveSelect<'_> {
    fn select(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let mut copies = Copies::default();
        for ids in self.ids(selection.name).chunks(SERIES_AT_ONCE) {
            self.live.read(|head| {
                let found = ids.iter().filter_map(|id| head.series(*id));
                found.filter(|series| self.admits(series)).for_each(|series| copies.add(series, selection));
            });
            if copies.drain(each).is_break() {
                break;
            }
        }
        Ok(())
    }
}

// === impl Copies ===

impl Copies {
    /// Copies what the selection asks of a series, if it passes.
    pub fn add(&mut self, series: &Series, selection: &Selection<'_>) {
        self.add_unless(series, selection, &|_| false);
    }

    /// The same, but for a series that is hidden, which is asked of those only that pass.
    pub fn add_unless(&mut self, series: &Series, selection: &Selection<'_>, is_hidden: &dyn Fn(&Series) -> bool) {
        let key = series.key();
        let passes = selection.matchers.iter().all(|matcher| matcher.matches(label(key, matcher.name())));
        if !passes || is_hidden(series) {
            return;
        }
        let before = self.times.len();
        let after = match selection.reads {
            Reads::Newest { from } => series.newest_before(from, selection.after),
            Reads::All => selection.after,
        };
        for sample in series.samples(after, selection.until) {
            self.times.push(sample.at.as_millis());
            self.values.push(sample.value);
        }
        if self.times.len() > before {
            self.series.push((label_set(key), self.times.len()));
        }
    }

    /// Hands over what was copied, and forgets it.
    pub fn drain(&mut self, each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut start = 0;
        let mut flow = ControlFlow::Continue(());
        for (labels, end) in self.series.drain(..) {
            if flow.is_continue() {
                let samples = Samples { times: &self.times[start..end], values: &self.values[start..end] };
                flow = each(&labels, samples);
            }
            start = end;
        }
        self.times.clear();
        self.values.clear();
        flow
    }
}

/// A series' labels as the language has them.
pub fn label_set(key: &SeriesKey) -> LabelSet {
    let labels = || key.labels.iter().map(|label| (label.name(), label.value()));
    // Upper-case letters come before the underscore, small ones after it.
    let (before, after) =
        (labels().filter(|(name, _)| *name < METRIC_NAME), labels().filter(|(name, _)| *name > METRIC_NAME));
    LabelSet::from_sorted(before.chain(once((METRIC_NAME, key.name.as_str()))).chain(after))
}

fn label<'a>(key: &'a SeriesKey, name: &str) -> &'a str {
    if name == METRIC_NAME { key.name.as_str() } else { key.labels.get(name).unwrap_or_default() }
}
