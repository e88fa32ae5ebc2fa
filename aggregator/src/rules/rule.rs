//! One rule of the engine: what it is, where it stands, and when it is due.

use super::board::{RuleView, Shown};
use super::doubt::Doubt;
use super::load::Loaded;
use super::rows;
use crate::live::is_own;
use crate::store::{EvaluationRow, RuleRow};
use alerting::{Health, Instance, InstanceState, RuleState, Step};
use proto::sample::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often the state of a quiet rule is stored: its restart needs the time of the last evaluation, roughly.
pub(super) const QUIET_SAVE: Duration = Duration::from_secs(30);
/// How often the state of a rule with instances is stored while none changes: a kill costs `for` at most so much. Data
/// may arrive many times a second, and each storing is a transaction.
pub(super) const ACTIVE_SAVE: Duration = Duration::from_secs(1);

/// One rule and everything known of it.
pub struct Rule {
    /// What its file says.
    pub loaded: Loaded,
    /// Its instances; shared with what is shown.
    pub(super) state: Arc<RuleState>,
    /// When it stepped last, monotonic.
    pub(super) stepped_at: Duration,
    /// When it must be evaluated, monotonic.
    pub(super) due_at: Duration,
    /// When its interval next asks for an evaluation, monotonic: what is due by it and does not take place is missed.
    expected_at: Duration,
    /// When its state was stored last, monotonic.
    pub(super) saved_at: Option<Duration>,
    /// A step that the database did not answer for.
    pub(super) unsure: Option<Evaluated>,
    /// What its last evaluation did not know.
    pub(super) doubt: Doubt,
    /// The recording rules that it reads, by their places, and those that these read.
    pub(super) reads: Vec<usize>,
    /// How long its last evaluation took, until it was stored.
    pub(super) took: Duration,
}

/// A step of a rule, which counts once it is stored.
pub(super) struct Evaluated {
    pub(super) row: EvaluationRow,
    pub(super) state: RuleState,
    pub(super) step: Step,
    /// When it was evaluated, monotonic.
    pub(super) at: Duration,
}

impl Rule {
    /// A rule that goes on from `kept`, where the database has it.
    pub(super) fn new(loaded: Loaded, kept: Option<&RuleRow>, wall: Timestamp, now: Duration) -> Self {
        Self {
            loaded,
            state: Arc::new(kept.map_or_else(RuleState::new, |row| restored(row, wall))),
            stepped_at: now,
            due_at: now,
            expected_at: now,
            saved_at: None,
            unsure: None,
            doubt: Doubt::default(),
            reads: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// A step at `at` counts.
    pub(super) fn count(&mut self, state: RuleState, at: Duration) {
        self.state = Arc::new(state);
        self.stepped_at = at;
        self.due_at = at + self.loaded.interval;
        self.expected_at = self.expected_at.max(self.due_at);
    }

    /// How many evaluations were due since it was asked last, and did not take place; the one that is due last still can.
    pub(super) fn missed(&mut self, now: Duration) -> u64 {
        let late = now.saturating_sub(self.expected_at);
        let missed = late.as_nanos().checked_div(self.loaded.interval.as_nanos()).unwrap_or_default();
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        self.expected_at = self.expected_at.saturating_add(self.loaded.interval.saturating_mul(missed));
        missed.into()
    }

    /// Whether an evaluation changed what a restart needs.
    pub(super) fn must_save(&self, state: &RuleState, step: &Step, now: Duration) -> bool {
        let patience = if state.instances().any(Instance::is_active) { ACTIVE_SAVE } else { QUIET_SAVE };
        let old = self.saved_at.is_none_or(|saved| now.saturating_sub(saved) >= patience);
        old || !step.transitions.is_empty() || !step.removed.is_empty()
    }

    /// Whether it reads what agents report, and not only what we say of them.
    pub(super) fn reads_agents(&self) -> bool {
        self.loaded.query.metric_names().is_none_or(|names| !names.into_iter().all(is_own))
    }

    /// Whether the agent of this name can be one that it reads.
    pub(super) fn admits(&self, service: &str, instance: &str) -> bool {
        self.loaded.query.admits("service", service) && self.loaded.query.admits("instance", instance)
    }

    /// The instances that fire.
    pub(super) fn firing(&self) -> impl Iterator<Item = &Instance> {
        self.state.instances().filter(|instance| instance.state == InstanceState::Firing)
    }

    /// As the pages show it.
    pub(super) fn view(&self) -> RuleView {
        RuleView {
            key: self.loaded.key.clone(),
            file: self.loaded.file.clone(),
            group: self.loaded.group.clone(),
            name: self.loaded.rule.name().to_owned(),
            query: self.loaded.rule.expr().to_owned(),
            interval: self.loaded.interval,
            kind: Shown::of(&self.loaded.rule),
            health: self.state.health().as_str(),
            last_error: self.state.last_error().map(Into::into),
            doubt: self.doubt.reason().filter(|_| self.state.health() == Health::Unknown).map(Into::into),
            evaluated_at: self.state.last_evaluated_at(),
            took: self.took,
            state: self.state.clone(),
        }
    }

    /// Logs what a step changed.
    pub(super) fn tell(&self, step: &Step) {
        for change in &step.transitions {
            tracing::info!(
                alert = self.loaded.rule.name(),
                fingerprint = %change.fingerprint,
                from = change.from.as_str(),
                to = change.to.as_str(),
                reason = change.reason.as_str(),
                value = change.instance.value,
                "alert changed"
            );
        }
    }
}

/// The state that the database kept. An instance that cannot be read costs itself.
pub(super) fn restored(row: &RuleRow, now: Timestamp) -> RuleState {
    let instances = row.instances.iter().filter_map(|instance| match rows::from_row(instance) {
        Ok(instance) => Some(instance),
        Err(problem) => {
            tracing::error!(
                rule = row.rule_key,
                fingerprint = instance.fingerprint,
                problem,
                "stored alert is not readable; it begins anew"
            );
            None
        }
    });
    RuleState::restore(instances, Some(row.evaluated_at), now)
}
