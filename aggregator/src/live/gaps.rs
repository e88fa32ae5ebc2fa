//! Recent gaps in memory: where what an agent reported has a hole. A rule that reads over one is *unknown*.
//!
//! The question is [`Gaps::overlaps`]: does a gap of the agent that these labels name touch this time? An instant
//! selector asks it for (its newest sample, now], a range selector for its range. The database has all gaps; here are
//! those of the time that the head has, kept by name, since a pod's successor speaks for it.
//!
//! Limits: [`GAPS_PER_NAME_MAX`]; as old as the head's window.

use super::{Inner, Live};
use crate::store::{GapRow, Missing};
use proto::name::Labels;
use proto::sample::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Gaps kept of one name; beyond it the two oldest become one, over both and the time between: rather unknown than wrong.
pub const GAPS_PER_NAME_MAX: usize = 32;
/// The reason of gaps that became one.
const SEVERAL: &str = "several";

/// See the module. By service and instance, in the order in which we heard of them.
#[derive(Debug, Default)]
pub struct Gaps(BTreeMap<String, BTreeMap<String, VecDeque<Noted>>>);

/// A gap, and when we heard of it.
#[derive(Debug)]
struct Noted {
    missing: Missing,
    at: Timestamp,
}

// === impl Gaps ===

impl Gaps {
    /// Notes a gap that we heard of at `at`.
    pub(super) fn note(&mut self, service: &str, instance: &str, missing: Missing, at: Timestamp) {
        let of_name = self.0.entry(service.into()).or_default().entry(instance.into()).or_default();
        of_name.push_back(Noted { missing, at });
        if of_name.len() > GAPS_PER_NAME_MAX
            && let (Some(oldest), Some(next)) = (of_name.pop_front(), of_name.front_mut())
        {
            next.missing = joined(&oldest.missing, &next.missing);
        }
    }

    /// Samples came, of which these are the times of the oldest and the newest: the gaps before them end.
    pub(super) fn end(&mut self, service: &str, instance: &str, sampled: (Timestamp, Timestamp)) {
        if let Some(of_name) = self.0.get_mut(service).and_then(|instances| instances.get_mut(instance)) {
            for noted in of_name {
                noted.missing.end(sampled);
            }
        }
    }

    /// Forgets what ended before `before`, and what has no end although we heard of it before: nothing of that time is
    /// left that could be read.
    pub(super) fn truncate(&mut self, before: Timestamp) {
        for instances in self.0.values_mut() {
            for of_name in instances.values_mut() {
                of_name.retain(|noted| noted.missing.until_at.unwrap_or(noted.at) >= before);
            }
            instances.retain(|_, of_name| !of_name.is_empty());
        }
        self.0.retain(|_, instances| !instances.is_empty());
    }

    /// Moves all of them with our clock, as the samples around them are.
    pub(super) fn move_by(&mut self, millis: i64) {
        for noted in self.0.values_mut().flat_map(BTreeMap::values_mut).flatten() {
            noted.at = noted.at.moved_by(millis);
            for end in [&mut noted.missing.from_at, &mut noted.missing.until_at] {
                *end = end.map(|at| at.moved_by(millis));
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A gap of the agent that these labels name which touches the time after `from` up to `to`.
    pub fn overlaps(&self, labels: &Labels, from: Timestamp, to: Timestamp) -> Option<&Missing> {
        let value = |name| labels.get(name).unwrap_or_default();
        let of_name = self.0.get(value("service"))?.get(value("instance"))?;
        let touches = |missing: &&Missing| {
            missing.from_at.is_none_or(|at| at < to) && missing.until_at.is_none_or(|at| at > from)
        };
        of_name.iter().map(|noted| &noted.missing).find(touches)
    }
}

// === impl Live ===

impl Live {
    /// Notes what is missing of an agent. Before the samples that came with it are added, which end it.
    pub fn note_missing(&self, agent_id: Uuid, missing: &[Missing]) {
        if missing.is_empty() {
            return;
        }
        let wall = self.clock.wall();
        let mut inner = self.lock();
        for missing in missing {
            inner.note_gap(agent_id, missing.clone(), wall);
        }
    }

    /// Notes gaps read from the ledger at the start, after the samples.
    pub fn restore_gaps(&self, gaps: Vec<GapRow>) {
        let mut inner = self.lock();
        for gap in gaps {
            inner.note_gap(gap.agent_id, gap.missing, gap.noted_at);
        }
    }
}

impl Inner {
    fn note_gap(&mut self, agent_id: Uuid, missing: Missing, at: Timestamp) {
        if let Some(agent) = self.agents.get(&agent_id) {
            self.gaps.note(&agent.row.service, &agent.row.instance, missing, at);
        }
    }
}

/// Both, and the time between them.
fn joined(one: &Missing, other: &Missing) -> Missing {
    Missing {
        first_seq: one.first_seq.min(other.first_seq),
        last_seq: one.last_seq.max(other.last_seq),
        reason: if one.reason == other.reason { one.reason.clone() } else { SEVERAL.into() },
        from_at: one.from_at.zip(other.from_at).map(|(one, other)| one.min(other)),
        until_at: one.until_at.zip(other.until_at).map(|(one, other)| one.max(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn gap(from: Option<i64>, until: Option<i64>) -> Missing {
        let (from_at, until_at) = (from.map(ms), until.map(ms));
        Missing { first_seq: 1, last_seq: 2, reason: "corrupt".into(), from_at, until_at }
    }

    fn labels(instance: &str) -> Labels {
        Labels::try_new([("service", "agenda"), ("instance", instance)]).expect("legal")
    }

    /// Whether a gap of `a` touches the time.
    fn touches(gaps: &Gaps, from: i64, to: i64) -> bool {
        gaps.overlaps(&labels("a"), ms(from), ms(to)).is_some()
    }

    #[test]
    fn a_gap_touches_what_reads_over_it_and_not_what_begins_after_it_or_ends_before_it() {
        let mut gaps = Gaps::default();
        gaps.note("agenda", "a", gap(Some(10), Some(20)), ms(20));
        let seen = [(5, 10), (10, 11), (0, 100), (15, 16), (19, 30), (20, 30)].map(|(a, b)| touches(&gaps, a, b));
        assert_eq!(seen, [false, true, true, true, true, false]);
        assert!(gaps.overlaps(&labels("b"), ms(0), ms(100)).is_none(), "another agent's");
    }

    #[test]
    fn a_gap_without_an_end_goes_on_until_a_sample_comes() {
        let mut gaps = Gaps::default();
        gaps.note("agenda", "a", gap(None, None), ms(20));
        assert!(touches(&gaps, -1_000, -999) && touches(&gaps, 1_000, 2_000));
        gaps.end("agenda", "a", (ms(1_500), ms(1_600)));
        assert!(touches(&gaps, 1_000, 2_000) && !touches(&gaps, 1_500, 2_000));
    }

    #[test]
    fn a_gap_has_the_time_of_what_was_lost_although_the_samples_after_it_begin_before_it() {
        let mut gaps = Gaps::default();
        gaps.note("agenda", "a", gap(Some(1_100), None), ms(1_200));
        gaps.end("agenda", "a", (ms(950), ms(1_300)));
        assert!(touches(&gaps, 1_200, 1_250) && !touches(&gaps, 1_300, 2_000));
    }

    #[test]
    fn what_is_older_than_the_head_is_forgotten() {
        let mut gaps = Gaps::default();
        gaps.note("agenda", "a", gap(Some(10), Some(20)), ms(20));
        gaps.note("agenda", "a", gap(Some(30), None), ms(40));
        gaps.truncate(ms(21));
        assert!(!touches(&gaps, 0, 30) && touches(&gaps, 30, 31));
        gaps.truncate(ms(41));
        assert!(gaps.is_empty());
    }

    #[test]
    fn gaps_move_with_the_samples_around_them_when_our_clock_is_set() {
        let mut gaps = Gaps::default();
        gaps.note("agenda", "a", gap(Some(10), Some(20)), ms(20));
        gaps.move_by(1_000);
        assert!(!touches(&gaps, 0, 1_010) && touches(&gaps, 0, 1_011) && !touches(&gaps, 1_020, 2_000));
    }

    #[test]
    fn beyond_the_limit_the_oldest_become_one_that_touches_all_that_they_touched() {
        let mut gaps = Gaps::default();
        for n in 0..3 * i64::try_from(GAPS_PER_NAME_MAX).expect("small") {
            gaps.note("agenda", "a", gap(Some(10 * n), Some(10 * n + 5)), ms(10 * n));
        }
        assert_eq!(gaps.0["agenda"]["a"].len(), GAPS_PER_NAME_MAX);
        assert!((0..96).all(|n| touches(&gaps, 10 * n, 10 * n + 5)));
        assert!(!touches(&gaps, 955, 960) && touches(&gaps, 5, 10), "the newest are told apart");
    }
}
