//! All instances of one rule, and what an evaluation does to them.
//!
//! [`RuleState::step`] is the brain: points of the expression and the time go in, the changed state stays here, and what
//! changed comes out as [`Step`]. The caller writes both in one transaction and only then tells anybody.
//!
//! Invariants: each instance is pending, firing or resolved, under the fingerprint of its labels; at most `limit` are
//! active; a failed evaluation leaves them all as they were; a broken rule harms only itself.

use crate::Fingerprint;
use crate::evaluation::{Evaluation, Health, Reason, Step, Transition, Unheard, found, is_unheard};
use crate::instance::{Found, Instance, InstanceState, Moment, RESOLVED_RETENTION};
use crate::rule::AlertRule;
use proto::sample::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// All instances of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleState {
    instances: BTreeMap<Fingerprint, Instance>,
    health: Health,
    last_error: Option<String>,
    last_evaluated_at: Option<Timestamp>,
    /// Running time that failed evaluations have left to be counted by the next good one.
    uncounted: Duration,
    /// Instances that were not heard of at the last evaluation: what passed since then counts for none of them.
    paused: BTreeSet<Fingerprint>,
}

/// Whether all was known that a rule read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was.
    Known,
    /// Something was missing, so that the result may be wrong.
    Doubtful,
}

// === impl RuleState ===

impl RuleState {
    /// The state of a rule that was never evaluated.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state after a restart at `now`, from the rows of a state that was last evaluated at `last_evaluated_at`.
    ///
    /// Time that we were down counts for nothing: `held` and `absent` are as they were, and the `active_at` of a
    /// pending instance moves by the downtime, so that it shows what `for` sees. Until the agents are back, they are
    /// [`Unheard`] in each evaluation.
    pub fn restore(
        rows: impl IntoIterator<Item = Instance>,
        last_evaluated_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let downtime = last_evaluated_at.map_or(Duration::ZERO, |last| now.since(last));
        let mut instances = BTreeMap::new();
        for mut instance in rows {
            match instance.state {
                InstanceState::Inactive => continue,
                InstanceState::Pending => instance.active_at = instance.active_at + downtime,
                InstanceState::Firing | InstanceState::Resolved => {}
            }
            instances.insert(instance.fingerprint, instance);
        }
        Self { instances, last_evaluated_at, ..Self::default() }
    }

    /// The instances in order of fingerprints, resolved ones included while they are remembered.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Instance> {
        self.instances.values()
    }

    /// One instance.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<&Instance> {
        self.instances.get(&fingerprint)
    }

    /// The worst state of all instances, as Prometheus's API shows it: firing, pending, or inactive.
    pub fn worst(&self) -> InstanceState {
        let active = self.instances().filter(|instance| instance.is_active());
        active.map(|instance| instance.state).max().unwrap_or(InstanceState::Inactive)
    }

    /// How the last evaluation went.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last evaluation failed, if it did.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// When the rule was last evaluated, successfully or not; to be kept for [`RuleState::restore`].
    pub fn last_evaluated_at(&self) -> Option<Timestamp> {
        self.last_evaluated_at
    }

    /// Evaluates. The same evaluation again changes nothing.
    pub fn step(&mut self, rule: &AlertRule, evaluation: Evaluation) -> Step {
        let Evaluation { at, elapsed, unheard, outcome } = evaluation;
        let advance = self.advance(at, elapsed);
        let found = outcome.and_then(|points| found(rule, points).map_err(|e| e.to_string()));
        let found = match found {
            Ok(found) => found,
            Err(message) => {
                self.uncounted = advance;
                self.fail(message);
                return Step::default();
            }
        };
        let step = self.apply(rule, found, &unheard, Moment { at, advance });
        let active = self.instances().filter(|instance| instance.is_active()).count();
        if active > rule.limit {
            self.fail(format!("exceeded limit of {} with {active} alerts", rule.limit));
            return self.drop_active(step);
        }
        self.health = if unheard.is_empty() { Health::Ok } else { Health::Unknown };
        self.last_error = None;
        step
    }

    /// Notes an evaluation of a rule that records and has no instances: how it went, and whether all was known that it read.
    pub fn recorded(&mut self, at: Timestamp, outcome: Result<(), String>, certainty: Certainty) {
        self.last_evaluated_at = Some(at);
        if let Err(message) = outcome {
            self.fail(message);
            return;
        }
        self.health = if certainty == Certainty::Known { Health::Ok } else { Health::Unknown };
        self.last_error = None;
    }

    /// The rule is gone: what fires resolves, what is pending is forgotten.
    pub fn delete_rule(&mut self, at: Timestamp) -> Step {
        let mut changes = Changes::default();
        for (_, mut instance) in std::mem::take(&mut self.instances) {
            match instance.state {
                InstanceState::Firing => {
                    instance.resolve(at);
                    changes.keep(InstanceState::Firing, instance, Some(Reason::RuleDeleted));
                }
                InstanceState::Pending => {
                    changes.drop(InstanceState::Pending, instance, Reason::RuleDeleted);
                }
                InstanceState::Resolved | InstanceState::Inactive => {
                    changes.keep(instance.state, instance, None);
                }
            }
        }
        self.instances = changes.instances;
        changes.step
    }

    /// Running time to count at `at`, that of failed evaluations included.
    ///
    /// Monotonic time alone, not the smaller of it and the wall clock's: the smaller one is right when the clock jumps
    /// forward, but loses an interval each time it is set back by less than one. Only an evaluation that is repeated at
    /// its own time counts nothing.
    fn advance(&mut self, at: Timestamp, elapsed: Duration) -> Duration {
        let repeated = self.last_evaluated_at.replace(at) == Some(at);
        let elapsed = if repeated { Duration::ZERO } else { elapsed };
        std::mem::take(&mut self.uncounted).saturating_add(elapsed)
    }

    fn fail(&mut self, message: String) {
        self.health = Health::Err;
        self.last_error = Some(message);
    }

    fn apply(
        &mut self,
        rule: &AlertRule,
        mut found: BTreeMap<Fingerprint, Found>,
        unheard: &BTreeSet<Unheard>,
        now: Moment,
    ) -> Step {
        let mut changes = Changes::default();
        let paused = std::mem::take(&mut self.paused);
        for (fingerprint, mut instance) in std::mem::take(&mut self.instances) {
            let before = instance.state;
            let advance = if paused.contains(&fingerprint) { Duration::ZERO } else { now.advance };
            let now = Moment { advance, ..now };
            match (found.remove(&fingerprint), before) {
                (Some(found), InstanceState::Pending | InstanceState::Firing) => {
                    let reason = instance.present(found, rule, now);
                    changes.keep(before, instance, reason);
                }
                (Some(found), InstanceState::Resolved | InstanceState::Inactive) => {
                    let instance = Instance::appeared(fingerprint, found, rule, now.at);
                    changes.keep(before, instance, Some(Reason::ConditionTrue));
                }
                // Not heard of is neither true nor over: it stays, and no time counts.
                (None, InstanceState::Pending | InstanceState::Firing)
                    if is_unheard(unheard, rule, &instance.labels) =>
                {
                    self.paused.insert(fingerprint);
                    changes.keep(before, instance, None);
                }
                (None, InstanceState::Firing) => {
                    let reason = instance.missed(rule, now);
                    changes.keep(before, instance, reason);
                }
                (None, InstanceState::Pending) => changes.drop(before, instance, Reason::ConditionFalse),
                (None, InstanceState::Resolved | InstanceState::Inactive) => {
                    instance.absent = instance.absent.saturating_add(now.advance);
                    if instance.absent > RESOLVED_RETENTION {
                        changes.step.removed.push(fingerprint);
                    } else {
                        changes.keep(before, instance, None);
                    }
                }
            }
        }
        for (fingerprint, found) in found {
            let instance = Instance::appeared(fingerprint, found, rule, now.at);
            changes.keep(InstanceState::Inactive, instance, Some(Reason::ConditionTrue));
        }
        changes.step.transitions.sort_by_key(|transition| transition.fingerprint);
        self.instances = changes.instances;
        changes.step
    }

    /// Drops whatever is active, because there is too much of it. `step` is what brought it here: what it ended has ended,
    /// what it created was never seen by anybody and leaves no trace. Resolved instances stay, their news is still due.
    fn drop_active(&mut self, step: Step) -> Step {
        let (created, ended): (Vec<_>, Vec<_>) =
            step.transitions.into_iter().partition(|transition| transition.to.is_active());
        let before: BTreeMap<_, _> = created.iter().map(|t| (t.fingerprint, t.from)).collect();
        let mut changes = Changes::default();
        for (fingerprint, instance) in std::mem::take(&mut self.instances) {
            let from = before.get(&fingerprint).copied().unwrap_or(instance.state);
            match from {
                _ if !instance.is_active() => changes.keep(from, instance, None),
                InstanceState::Inactive => {}
                InstanceState::Resolved => changes.step.removed.push(fingerprint),
                InstanceState::Pending | InstanceState::Firing => {
                    changes.drop(from, instance, Reason::LimitExceeded);
                }
            }
        }
        changes.step.transitions.extend(ended);
        changes.step.transitions.sort_by_key(|transition| transition.fingerprint);
        changes.step.removed.extend(step.removed);
        self.instances = changes.instances;
        changes.step
    }
}

// === helpers ===

/// The state and the step as they are built, instance by instance.
#[derive(Default)]
struct Changes {
    instances: BTreeMap<Fingerprint, Instance>,
    step: Step,
}

impl Changes {
    fn keep(&mut self, from: InstanceState, instance: Instance, reason: Option<Reason>) {
        if let Some(reason) = reason {
            let (fingerprint, to) = (instance.fingerprint, instance.state);
            let instance = instance.clone();
            self.step.transitions.push(Transition { fingerprint, from, to, reason, instance });
        }
        self.instances.insert(instance.fingerprint, instance);
    }

    fn drop(&mut self, from: InstanceState, instance: Instance, reason: Reason) {
        let fingerprint = instance.fingerprint;
        self.step.removed.push(fingerprint);
        let to = InstanceState::Inactive;
        self.step.transitions.push(Transition { fingerprint, from, to, reason, instance });
    }
}

#[cfg(test)]
mod tests;
