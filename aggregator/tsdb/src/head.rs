//! The head: every series that is known, and which of them each agent reports now.
//!
//! ```text
//!  (agent, source) ──► schema id, [series id, …]      the current schema: what /metrics shows
//!  series id ──────► Series { key, kind, samples }    the recent samples: what queries read
//!  name ───────────► [series id, …]                   the index: what selectors begin with
//! ```
//! A frame whose schema is the current one appends by position, without hashing a label. A new schema of a source
//! replaces the old: the series that it no longer has end with a staleness marker. So do those of an agent that is gone.
//! Those of a source that fell behind the others of its agent are not shown; queries find them for their lookback.
//!
//! Limits: [`Limits`]. Beyond them existing series go on and new ones are refused and counted.

use crate::series::{Insert, Sample, Series};
use proto::limits::{SERIES_PER_AGENT_MAX, SOURCES_PER_AGENT_MAX};
use proto::name::{Label, MetricName, SeriesKey};
use proto::sample::{Frame, SchemaId, Timestamp, is_stale};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::AddAssign;
use std::time::Duration;
use uuid::Uuid;

/// Bounds of the head's memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series in all. At 64 bytes of samples a minute and half a KiB of identity, a million are about 2 GiB.
    pub series: usize,
    /// Series that one agent may own. Who speaks of all the others may own any number, and the rules a tenth of all: see
    /// [`is_own`].
    pub series_per_agent: usize,
    /// Samples of one series: the window at the shortest interval that dashboards use.
    pub samples_per_series: usize,
}

/// Who reports, and the labels that this identity puts on everything it reports.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The agent.
    pub agent_id: Uuid,
    /// `service`, `instance` and, where there is one, `clinic_id`; they replace what the agent says.
    pub labels: Vec<Label>,
}

/// What became of the samples of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// New samples.
    pub kept: usize,
    /// There was one at that time already.
    pub duplicate: usize,
    /// Older than everything in a full series.
    pub too_old: usize,
    /// Of series that a limit kept out.
    pub over_limit: usize,
    /// Neither a number nor the staleness marker.
    pub not_a_number: usize,
    /// A staleness marker where nothing is left to end.
    pub nothing_to_end: usize,
    /// Of an agent that is not known. The head knows none; whoever does counts these.
    pub unknown_agent: usize,
}

impl AddAssign for Appended {
    fn add_assign(&mut self, more: Self) {
        self.kept += more.kept;
        self.duplicate += more.duplicate;
        self.too_old += more.too_old;
        self.over_limit += more.over_limit;
        self.not_a_number += more.not_a_number;
        self.nothing_to_end += more.nothing_to_end;
        self.unknown_agent += more.unknown_agent;
    }
}

impl Appended {
    /// What was not kept, by the word under which it is counted.
    pub fn dropped(&self) -> [(&'static str, usize); 6] {
        [
            ("duplicate", self.duplicate),
            ("too_old", self.too_old),
            ("series_limit", self.over_limit),
            ("not_a_number", self.not_a_number),
            ("nothing_to_end", self.nothing_to_end),
            ("unknown_agent", self.unknown_agent),
        ]
    }
}

/// A source is late when it is so many of its intervals behind the others of its agent.
pub const BEHIND_INTERVALS: u32 = 3;
/// But not before this: a pass may take its deadline of half a second, and a machine under load is late, not dead.
const BEHIND_MIN: Duration = Duration::from_secs(5);

/// The part of all series that rules may record: what a rule makes of its result may be new each time.
const RULES_PART: usize = 10;
/// Rules are evaluated many times a second, as data arrives; of what they record one sample a second stays behind the newest.
const RULES_EVERY: Duration = Duration::from_secs(1);

/// Ends a series right after the sample that came last.
const LAST: Timestamp = Timestamp::from_millis(i64::MIN);

/// Names a series for as long as this head lives; no number is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(u64);

/// What an agent reports now.
#[derive(Debug, Default)]
struct Sources {
    by_name: BTreeMap<String, Source>,
    /// When the pass that came last was taken.
    last_at: Option<Timestamp>,
}

/// What a source reports now.
#[derive(Debug)]
struct Source {
    schema_id: SchemaId,
    /// How often it takes a pass; zero where it has no rhythm.
    interval: Duration,
    /// When its pass that came last was taken.
    last_at: Timestamp,
    /// Whether it fell behind the others of its agent; until its next pass.
    is_late: bool,
    /// By position in the schema; `None` where a limit kept the series out.
    series: Vec<Option<SeriesId>>,
}

/// See the module.
#[derive(Debug)]
pub struct Head {
    limits: Limits,
    series: HashMap<SeriesId, Series>,
    by_key: HashMap<SeriesKey, SeriesId>,
    by_name: BTreeMap<MetricName, Vec<SeriesId>>,
    /// By agent: a page asks for one at a time.
    sources: HashMap<Uuid, Sources>,
    owned: HashMap<Uuid, usize>,
    next_id: u64,
    samples: usize,
}

// === impl Source ===

impl Source {
    fn is_behind(&self, agent_last_at: Timestamp) -> bool {
        let patience = (self.interval * BEHIND_INTERVALS).max(BEHIND_MIN);
        !self.interval.is_zero() && agent_last_at.since(self.last_at) > patience
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { series: 1_000_000, series_per_agent: SERIES_PER_AGENT_MAX, samples_per_series: 2_000 }
    }
}

// === impl Head ===

impl Head {
    /// An empty head.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            series: HashMap::new(),
            by_key: HashMap::new(),
            by_name: BTreeMap::new(),
            sources: HashMap::new(),
            owned: HashMap::new(),
            next_id: 0,
            samples: 0,
        }
    }

    /// Adds the samples of a frame.
    pub fn append(&mut self, origin: &Origin, frame: &Frame) -> Appended {
        let mut appended = Appended::default();
        let current = self.source(origin.agent_id, frame).is_some_and(|known| known.schema_id == frame.schema_id);
        if !current && !self.replace_schema(origin, frame) {
            appended.over_limit = frame.passes.iter().map(|pass| pass.values.len()).sum();
            return appended;
        }
        let Some(sources) = self.sources.get_mut(&origin.agent_id) else { return appended };
        let Some(source) = sources.by_name.get_mut(&frame.schema.source) else { return appended };
        if let Some(pass) = frame.passes.last() {
            source.last_at = pass.at;
            source.is_late = false;
            sources.last_at = Some(pass.at);
        }
        let ids = &source.series;
        let cap = self.limits.samples_per_series;
        for pass in &frame.passes {
            for (id, &value) in ids.iter().zip(&pass.values) {
                let Some(series) = id.and_then(|id| self.series.get_mut(&id)) else {
                    appended.over_limit += 1;
                    continue;
                };
                series.set_reporter(origin.agent_id);
                let of_rules = origin.agent_id.is_max();
                if of_rules && series.thin(RULES_EVERY) {
                    self.samples -= 1;
                }
                self.samples += put(series, Sample { at: pass.at, value }, cap, of_rules, &mut appended);
            }
        }
        self.check();
        appended
    }

    /// Ends everything that an agent reports, right after the last of it: it said goodbye, or was silent for too long.
    /// By its own clock, so that what it sends when it comes back lies after the end. What another agent of the same
    /// name reports now goes on: a pod's successor with a new spool.
    pub fn end_agent(&mut self, agent_id: Uuid) {
        let ended = self.sources.remove(&agent_id).unwrap_or_default();
        let ids = ended.by_name.into_values().flat_map(|source| source.series).flatten();
        self.end_series(agent_id, ids, LAST);
    }

    /// Finds the sources of an agent that fell behind its others by more than [`BEHIND_INTERVALS`] of their own: one
    /// that hangs must not show its last values as those of now. Returns the names of those newly late.
    ///
    /// Their series do not end: that a source hangs does not tell that what it said is over. They are compared with each
    /// other, not with our clock: what an agent kept in its spool comes late, but in order.
    pub fn find_late_sources(&mut self, agent_id: Uuid) -> Vec<String> {
        let Some(sources) = self.sources.get_mut(&agent_id) else { return Vec::new() };
        let Some(last_at) = sources.last_at else { return Vec::new() };
        let mut late = Vec::new();
        for (name, source) in &mut sources.by_name {
            if !source.is_late && source.is_behind(last_at) {
                source.is_late = true;
                late.push(name.clone());
            }
        }
        late
    }

    /// What an agent reports now: the series of its current schemas that did not end, with the sample that came last. A
    /// source that is late reports nothing.
    pub fn latest(&self, agent_id: Uuid) -> impl Iterator<Item = (&Series, Sample)> {
        let sources = self.sources.get(&agent_id).into_iter().flat_map(|sources| sources.by_name.values());
        let sources = sources.filter(|source| !source.is_late);
        let ids = sources.flat_map(|source| source.series.iter().copied().flatten());
        ids.filter_map(|id| self.series.get(&id)).filter_map(|series| {
            let last = series.last().filter(|sample| !is_stale(sample.value))?;
            Some((series, last))
        })
    }

    /// Whether the current schema of an agent's source has any series.
    pub fn has_series(&self, agent_id: Uuid, source: &str) -> bool {
        let source = self.sources.get(&agent_id).and_then(|sources| sources.by_name.get(source));
        source.is_some_and(|source| !source.series.is_empty())
    }

    /// Series of the metric `name`, or all where there is no name to begin with.
    pub fn ids(&self, name: Option<&str>) -> impl Iterator<Item = SeriesId> {
        let named = name.map(|name| MetricName::try_new(name).ok().and_then(|name| self.by_name.get(&name)));
        let (one, all) = match named {
            Some(ids) => (ids, None),
            None => (None, Some(self.series.keys())),
        };
        one.into_iter().flatten().chain(all.into_iter().flatten()).copied()
    }

    /// The same series themselves.
    pub fn select(&self, name: Option<&str>) -> impl Iterator<Item = &Series> {
        self.ids(name).filter_map(|id| self.series.get(&id))
    }

    /// A series; `None` where it is gone by now.
    pub fn series(&self, id: SeriesId) -> Option<&Series> {
        self.series.get(&id)
    }

    /// The oldest and the newest time of any sample.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let ends = self.series.values().filter_map(Series::times);
        ends.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)))
    }

    /// Moves everything in time: the clock that the samples' times are of was set by so much. What came before lies before
    /// what comes now, as far as it did, and neither in the future nor beyond the window. Visits every sample.
    pub fn move_by(&mut self, millis: i64) {
        self.series.values_mut().for_each(|series| series.move_by(millis));
        for sources in self.sources.values_mut() {
            for at in sources.by_name.values_mut().map(|source| &mut source.last_at).chain(&mut sources.last_at) {
                *at = at.moved_by(millis);
            }
        }
    }

    /// Drops samples older than `window` before `now`, and series that have none left and that nobody reports now.
    pub fn truncate(&mut self, now: Timestamp, window: Duration) {
        let current: HashSet<SeriesId> = self
            .sources
            .values()
            .flat_map(|sources| sources.by_name.values())
            .flat_map(|source| source.series.iter().copied().flatten())
            .collect();
        let mut dead = Vec::new();
        for (id, series) in &mut self.series {
            self.samples -= series.truncate(now - window);
            if series.is_empty() && !current.contains(id) {
                dead.push(*id);
            }
        }
        for id in dead {
            self.remove(id);
        }
        self.check();
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// How many samples there are.
    pub fn sample_count(&self) -> usize {
        self.samples
    }

    fn source(&self, agent_id: Uuid, frame: &Frame) -> Option<&Source> {
        self.sources.get(&agent_id)?.by_name.get(&frame.schema.source)
    }

    /// Makes the frame's schema the current one of its source. False when the agent has too many sources.
    fn replace_schema(&mut self, origin: &Origin, frame: &Frame) -> bool {
        let sources = &mut self.sources.entry(origin.agent_id).or_default().by_name;
        let old = sources.remove(&frame.schema.source);
        if old.is_none() && sources.len() >= SOURCES_PER_AGENT_MAX && !is_own(origin.agent_id) {
            return false;
        }
        let ids: Vec<_> = frame
            .schema
            .series
            .iter()
            .map(|def| {
                let labels = origin.labels.iter().fold(def.key.labels.clone(), |labels, own| labels.with(own.clone()));
                self.series_id(SeriesKey { name: def.key.name.clone(), labels }, def.kind, origin.agent_id)
            })
            .collect();
        let first_at = frame.passes.first().map_or(LAST, |pass| pass.at);
        let last_at = frame.passes.last().map(|pass| pass.at).or(old.as_ref().map(|old| old.last_at));
        if let Some(old) = old {
            let kept: HashSet<SeriesId> = ids.iter().copied().flatten().collect();
            let gone = old.series.into_iter().flatten().filter(|id| !kept.contains(id));
            self.end_series(origin.agent_id, gone, first_at);
        }
        let last_at = last_at.unwrap_or_default();
        let source = Source {
            schema_id: frame.schema_id,
            interval: frame.schema.interval,
            last_at,
            is_late: false,
            series: ids,
        };
        self.sources.entry(origin.agent_id).or_default().by_name.insert(frame.schema.source.clone(), source);
        true
    }

    fn series_id(&mut self, key: SeriesKey, kind: proto::sample::Kind, owner: Uuid) -> Option<SeriesId> {
        if let Some(id) = self.by_key.get(&key) {
            return Some(*id);
        }
        let owned = self.owned.entry(owner).or_default();
        let is_full = match owner {
            agents if agents.is_nil() => false,
            rules if rules.is_max() => *owned >= self.limits.series / RULES_PART,
            _ => *owned >= self.limits.series_per_agent,
        };
        if self.series.len() >= self.limits.series || is_full {
            return None;
        }
        *owned += 1;
        let id = SeriesId(self.next_id);
        self.next_id += 1;
        self.by_name.entry(key.name.clone()).or_default().push(id);
        self.by_key.insert(key.clone(), id);
        self.series.insert(id, Series::new(key, kind, owner));
        Some(id)
    }

    /// Ends series that an agent reports no longer; not those that another reported since.
    fn end_series(&mut self, agent_id: Uuid, ids: impl Iterator<Item = SeriesId>, at: Timestamp) {
        for id in ids {
            let series = self.series.get_mut(&id).filter(|series| series.reporter() == agent_id);
            let ended = series.and_then(|series| series.end(at, self.limits.samples_per_series));
            self.samples += usize::from(ended == Some(Insert::Kept { evicted: false }));
        }
    }

    fn remove(&mut self, id: SeriesId) {
        let Some(series) = self.series.remove(&id) else { return };
        self.by_key.remove(series.key());
        if let Some(ids) = self.by_name.get_mut(&series.key().name) {
            ids.retain(|have| *have != id);
            if ids.is_empty() {
                self.by_name.remove(&series.key().name);
            }
        }
        if let Some(owned) = self.owned.get_mut(&series.owner()) {
            *owned -= 1;
            if *owned == 0 {
                self.owned.remove(&series.owner());
            }
        }
    }

    /// The books: what is counted is what is there. Only in debug builds, and only on small heads.
    fn check(&self) {
        if cfg!(debug_assertions) && self.series.len() < 100 {
            debug_assert_eq!(self.samples, self.series.values().map(Series::len).sum::<usize>());
            debug_assert_eq!(self.by_key.len(), self.series.len());
            debug_assert_eq!(self.by_name.values().map(Vec::len).sum::<usize>(), self.series.len());
            debug_assert_eq!(self.owned.values().sum::<usize>(), self.series.len());
        }
    }
}

/// Whether this is no agent but the aggregator itself: the nil id speaks of the agents, the last one for the rules.
pub fn is_own(agent_id: Uuid) -> bool {
    agent_id.is_nil() || agent_id.is_max()
}

/// Puts one sample into its series and counts it; a rule may say that something is not a number. Returns how many more samples
/// the series holds.
fn put(series: &mut Series, sample: Sample, cap: usize, takes_nan: bool, appended: &mut Appended) -> usize {
    if is_stale(sample.value) {
        // A marker ends what is there; a second one, or one before any sample, says nothing.
        if series.last().is_none_or(|last| is_stale(last.value)) {
            appended.nothing_to_end += 1;
            return 0;
        }
    } else if sample.value.is_nan() && !takes_nan {
        appended.not_a_number += 1;
        return 0;
    }
    match series.insert(sample, cap) {
        Insert::Kept { evicted } => {
            appended.kept += 1;
            usize::from(!evicted)
        }
        Insert::Duplicate => {
            appended.duplicate += 1;
            0
        }
        Insert::TooOld => {
            appended.too_old += 1;
            0
        }
    }
}

#[cfg(test)]
mod tests;
