//! How many series there may be: in all, of an agent, of a clinic, of one metric of one agent.
//!
//! Asked before a new series takes any memory; series that exist go on whatever the limits say. Whoever is refused is
//! counted by reason, exactly, and by metric name, for the worst ones: [`Refusals`].
//!
//! Apart from the index, because one agent's or clinic's series may lie in several shards while the limits hold for all
//! of them together.
//!
//! A metric's limit is one *of an agent*: a thousand agents that each have one series of `up` are no explosion, one agent
//! that has ten thousand series of one name and would leave no room for its other names is.

use crate::refusals::Refusals;
use crate::symbols::SymbolsFull;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use proto::limits::SERIES_PER_AGENT_MAX;
use uuid::Uuid;

/// How many series there may be.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLimits {
    /// In all.
    pub series: usize,
    /// Of one agent. The nil agent, who speaks of all the others, may own any number.
    pub per_owner: usize,
    /// Of one clinic: of one value of [`crate::CLINIC_LABEL`].
    pub per_clinic: usize,
    /// Of one metric name of one agent; the nil agent is free of it too.
    pub per_metric: usize,
}

/// Why a new series was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are enough in all.
    #[error("there are {limit} series in all, which is the limit")]
    Series {
        /// [`SeriesLimits::series`].
        limit: usize,
    },
    /// The agent has enough.
    #[error("the agent has {limit} series, which is the limit for one")]
    Owner {
        /// [`SeriesLimits::per_owner`].
        limit: usize,
    },
    /// The clinic has enough.
    #[error("the clinic has {limit} series, which is the limit for one")]
    Clinic {
        /// [`SeriesLimits::per_clinic`].
        limit: usize,
    },
    /// The metric has enough.
    #[error("the agent has {limit} series of this metric, which is the limit for one")]
    Metric {
        /// [`SeriesLimits::per_metric`].
        limit: usize,
    },
    /// There are enough label names.
    #[error("{limit} different label names are known; no further ones are taken in")]
    Names {
        /// [`crate::IndexLimits::names`].
        limit: usize,
    },
    /// There are enough pairs of label name and value.
    #[error("{limit} different labels are known; no further ones are taken in")]
    Pairs {
        /// [`crate::IndexLimits::pairs`].
        limit: usize,
    },
    /// There are enough texts.
    #[error(transparent)]
    Symbols(#[from] SymbolsFull),
}

/// Whom a series counts against.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The agent that reports it first.
    pub owner: Uuid,
    /// The clinic that it belongs to, if it belongs to one.
    pub clinic: Option<&'a str>,
    /// The metric's name.
    pub metric: &'a str,
}

/// An agent that owns a series; good for as long as it owns one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerId(u32);

/// See the module.
#[derive(Debug)]
pub struct Caps {
    limits: SeriesLimits,
    series: usize,
    owners: Numbered<Uuid>,
    clinics: Numbered<Box<str>>,
    metrics: Numbered<Box<str>>,
    /// By owner's and metric's number.
    of_metric: HashMap<(u32, u32), u32, RandomState>,
    refusals: Refusals,
}

/// Keys with a number for as long as something counts for them.
#[derive(Debug)]
struct Numbered<K> {
    numbers: HashMap<K, u32, RandomState>,
    /// How many count, by number; 0: the number is free.
    counts: Vec<(K, usize)>,
    free: Vec<u32>,
}

// === impl SeriesLimits ===

impl Default for SeriesLimits {
    /// An agent: as the protocol says. A clinic: as many agents as its services have replicas. A metric: a histogram of 12
    /// buckets over 80 routes.
    fn default() -> Self {
        Self { series: 1_000_000, per_owner: SERIES_PER_AGENT_MAX, per_clinic: 50_000, per_metric: 1_000 }
    }
}

// === impl Refused ===

impl Refused {
    /// The word under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Series { .. } => "series_limit",
            Self::Owner { .. } => "agent_series_limit",
            Self::Clinic { .. } => "clinic_series_limit",
            Self::Metric { .. } => "metric_series_limit",
            Self::Names { .. } => "label_name_limit",
            Self::Pairs { .. } => "label_limit",
            Self::Symbols(full) => full.reason(),
        }
    }
}

// === impl Caps ===

impl Caps {
    /// No series yet.
    pub fn new(limits: SeriesLimits) -> Self {
        Self {
            limits,
            series: 0,
            owners: Numbered::default(),
            clinics: Numbered::default(),
            metrics: Numbered::default(),
            of_metric: HashMap::default(),
            refusals: Refusals::default(),
        }
    }

    /// Counts a new series, or refuses it and counts that.
    pub fn claim(&mut self, claim: Claim<'_>) -> Result<OwnerId, Refused> {
        if let Err(refused) = self.ask(claim) {
            self.refuse(claim.metric, refused);
            return Err(refused);
        }
        self.series += 1;
        let owner = self.owners.add(&claim.owner, |owner| *owner);
        let metric = self.metrics.add(claim.metric, |metric| metric.into());
        *self.of_metric.entry((owner, metric)).or_default() += 1;
        if let Some(clinic) = claim.clinic {
            self.clinics.add(clinic, |clinic| clinic.into());
        }
        Ok(OwnerId(owner))
    }

    /// Counts a series no longer.
    pub fn release(&mut self, owner: OwnerId, clinic: Option<&str>, metric: &str) {
        debug_assert!(self.series > 0, "a series is released once");
        self.series = self.series.saturating_sub(1);
        if let Some(metric) = self.metrics.remove(metric)
            && let Entry::Occupied(mut count) = self.of_metric.entry((owner.0, metric))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some((agent, _)) = self.owners.counts.get(owner.0 as usize) {
            let agent = *agent;
            self.owners.remove(&agent);
        }
        if let Some(clinic) = clinic {
            self.clinics.remove(clinic);
        }
    }

    /// Counts a refusal that the index gave.
    pub fn refuse(&mut self, metric: &str, refused: Refused) {
        self.refusals.add(metric, refused.reason());
    }

    /// What was refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series
    }

    /// How many series an agent owns.
    pub fn of_owner(&self, owner: Uuid) -> usize {
        self.owners.count(&owner)
    }

    /// How many series belong to a clinic.
    pub fn of_clinic(&self, clinic: &str) -> usize {
        self.clinics.count(clinic)
    }

    /// How many series of a metric an agent owns.
    pub fn of_metric(&self, owner: Uuid, metric: &str) -> usize {
        let numbers = self.owners.numbers.get(&owner).zip(self.metrics.numbers.get(metric));
        let count = numbers.and_then(|(&owner, &metric)| self.of_metric.get(&(owner, metric)));
        count.map_or(0, |&count| count as usize)
    }

    /// Which agent it is.
    pub fn owner(&self, owner: OwnerId) -> Uuid {
        self.owners.counts.get(owner.0 as usize).map(|(agent, _)| *agent).unwrap_or_default()
    }

    fn ask(&self, claim: Claim<'_>) -> Result<(), Refused> {
        let SeriesLimits { series, per_owner, per_clinic, per_metric } = self.limits;
        if self.series >= series {
            return Err(Refused::Series { limit: series });
        }
        if !claim.owner.is_nil() && self.of_owner(claim.owner) >= per_owner {
            return Err(Refused::Owner { limit: per_owner });
        }
        if claim.clinic.is_some_and(|clinic| self.of_clinic(clinic) >= per_clinic) {
            return Err(Refused::Clinic { limit: per_clinic });
        }
        if !claim.owner.is_nil() && self.of_metric(claim.owner, claim.metric) >= per_metric {
            return Err(Refused::Metric { limit: per_metric });
        }
        Ok(())
    }
}

// === impl Numbered ===

impl<K> Default for Numbered<K> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), counts: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + std::hash::Hash + Eq> Numbered<K> {
    fn count<Q>(&self, key: &Q) -> usize
    where
        Q: std::hash::Hash + hashbrown::Equivalent<K> + ?Sized,
    {
        self.numbers.get(key).map_or(0, |&number| self.counts[number as usize].1)
    }

    /// Counts one more for a key; returns its number.
    fn add<Q>(&mut self, key: &Q, own: impl FnOnce(&Q) -> K) -> u32
    where
        Q: std::hash::Hash + hashbrown::Equivalent<K> + ?Sized,
    {
        if let Some(&number) = self.numbers.get(key) {
            self.counts[number as usize].1 += 1;
            return number;
        }
        let own = own(key);
        let number = if let Some(number) = self.free.pop() {
            self.counts[number as usize] = (own.clone(), 1);
            number
        } else {
            self.counts.push((own.clone(), 1));
            u32::try_from(self.counts.len() - 1).expect("each key has a series, and those are numbered by u32")
        };
        self.numbers.insert(own, number);
        number
    }

    /// Counts one less for a key; returns the number that it has, or had if this was the last.
    fn remove<Q>(&mut self, key: &Q) -> Option<u32>
    where
        Q: std::hash::Hash + hashbrown::Equivalent<K> + ?Sized,
    {
        let number = *self.numbers.get(key)?;
        let count = &mut self.counts[number as usize].1;
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(key);
            self.free.push(number);
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests;
