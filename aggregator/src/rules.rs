//! Rules: evaluated when the data that they read arrives, and at their interval at the latest.
//!
//! One task owns every rule's state. An evaluation reads the head, steps the state machine of `alerting`, and stores
//! the new state, the alerts and the notifications in one transaction; only then does the step count. When the
//! database does not answer, the same rows are sent again before the rule is evaluated anew, since it may have them:
//! nothing is ever notified that is not stored, nothing twice, and nothing stored is forgotten by a restart at any
//! instruction.
//!
//! A rule whose evaluation fails is counted and shown, and harms no other.

pub mod board;
mod load;
mod rows;

pub use load::{RuleSet, load};

use crate::live::Live;
use crate::meters::RuleMeters;
use crate::query::HeadSelect;
use crate::store::{EvaluationRow, RuleRow, Store, StoreError};
use alerting::evaluation::OUTAGE_TOLERANCE;
use alerting::{AlertRule, Evaluation, Freshness, Health, InstanceState, RuleState, Step};
use board::{Board, RuleView};
use promql::Query;
use proto::sample::{Schema, SchemaId, Timestamp};
use runtime::clock::Clock;
use runtime::log::chain;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long data gathers before the rules look: long enough that a second's batches of many agents cost one
/// evaluation, short enough to be a small part of the time to a notification.
pub const COALESCE: Duration = Duration::from_millis(50);
/// After a start, missing series mean nothing until every agent was heard of, for so long at the most.
const SETTLE_MAX: Duration = Duration::from_secs(5 * 60);
/// How often the state of a quiet rule is stored: its restart needs the time of the last evaluation, roughly.
const QUIET_SAVE: Duration = Duration::from_secs(30);
/// How soon a rule whose state could not be stored is evaluated again.
const RETRY: Duration = Duration::from_secs(1);
/// Schemas whose readers are remembered; beyond it the memory is begun anew.
const READERS_MAX: usize = 10_000;

/// One rule and everything known of it.
pub struct Rule {
    /// Names it in the database: group, name, and which of that name.
    pub key: String,
    /// The file it comes from.
    pub file: String,
    /// Its group.
    pub group: String,
    /// How often at least.
    pub interval: Duration,
    /// How far before now.
    pub offset: Duration,
    /// The rule.
    pub rule: AlertRule,
    /// Its expression.
    pub query: Query,
    /// Its instances.
    state: RuleState,
    /// When it stepped last, monotonic.
    stepped_at: Duration,
    /// When it must be evaluated, monotonic.
    due_at: Duration,
    /// When its state was stored last, monotonic.
    saved_at: Option<Duration>,
    /// A step that the database did not answer for.
    unsure: Option<Evaluated>,
}

/// How often the database was asked to store a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Never before.
    First,
    /// Before, without an answer: it may have it.
    Again,
}

/// A step of a rule, which counts once it is stored.
struct Evaluated {
    row: EvaluationRow,
    state: RuleState,
    step: Step,
    /// When it was evaluated, monotonic.
    at: Duration,
}

/// Whom the rules' notifications go to.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Names of the configured channels; each gets every notification.
    pub channels: Vec<String>,
    /// Where our pages are, without a slash at the end.
    pub external_url: String,
    /// Alerts of one message at the most.
    pub max_alerts: usize,
}

/// See the module.
pub struct Engine {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Agents and head.
    pub live: Arc<Live>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub meters: RuleMeters,
    /// What the pages show.
    pub board: Arc<Board>,
    /// Wakes the notifiers.
    pub outbox: Arc<Notify>,
    /// Whom to notify.
    pub receivers: Receivers,
    /// Called after each round: the rules make progress.
    pub progress: Box<dyn Fn() + Send + Sync>,
    started_at: Duration,
    /// Which rules read a schema's metrics.
    readers: HashMap<SchemaId, Vec<usize>>,
}

/// What an engine is made of.
pub struct Parts {
    /// The rules of the file.
    pub set: RuleSet,
    /// What the database kept of rules.
    pub kept: Vec<RuleRow>,
    /// Agents and head.
    pub live: Arc<Live>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub meters: RuleMeters,
    /// What the pages show.
    pub board: Arc<Board>,
    /// Wakes the notifiers.
    pub outbox: Arc<Notify>,
    /// Whom to notify.
    pub receivers: Receivers,
    /// Called after each round.
    pub progress: Box<dyn Fn() + Send + Sync>,
}

/// A rule that was in the file once and that the database still has.
pub struct Orphan {
    /// Its end. Made once, so that what is sent again is the same.
    end: EvaluationRow,
}

impl Engine {
    /// An engine that goes on where the database says it stood, and the rules that are gone from the file.
    pub fn new(parts: Parts) -> (Self, Vec<Orphan>) {
        let Parts { set, kept, live, store, clock, meters, board, outbox, receivers, progress } = parts;
        let (wall, now) = (clock.wall(), clock.monotonic());
        let mut kept: HashMap<String, RuleRow> = kept.into_iter().map(|row| (row.rule_key.clone(), row)).collect();
        let rules: Vec<Rule> = set
            .rules
            .into_iter()
            .map(|loaded| {
                let state = kept.remove(&loaded.key).map_or_else(RuleState::new, |row| restored(&row, wall));
                let load::Loaded { key, file, group, interval, offset, rule, query } = loaded;
                Rule {
                    key,
                    file,
                    group,
                    interval,
                    offset,
                    rule,
                    query,
                    state,
                    stepped_at: now,
                    due_at: now,
                    saved_at: None,
                    unsure: None,
                }
            })
            .collect();
        for rule in &rules {
            for counter in [&meters.evaluations, &meters.failures, &meters.missed] {
                counter.with_label_values(&[&rule.group]);
            }
        }
        let orphans = kept.into_values().map(|row| {
            let step = restored(&row, wall).delete_rule(wall);
            Orphan { end: rows::retirement(&row.rule_key, &step, wall, &receivers) }
        });
        let orphans = orphans.collect();
        meters.reload_successful.set(1.0);
        let readers = HashMap::new();
        let engine =
            Self { rules, live, store, clock, meters, board, outbox, receivers, progress, started_at: now, readers };
        (engine, orphans)
    }

    /// Evaluates until `stop`.
    pub async fn run(mut self, orphans: Vec<Orphan>, stop: CancellationToken) {
        let mut orphans = orphans;
        loop {
            orphans = self.retire(orphans).await;
            self.round().await;
            let now = self.clock.monotonic();
            let next = self.rules.iter().map(|rule| rule.due_at).min().unwrap_or(now + QUIET_SAVE);
            let live = self.live.clone();
            tokio::select! {
                () = async { live.changed().await; tokio::time::sleep(COALESCE).await } => {}
                () = tokio::time::sleep(next.saturating_sub(now)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Evaluates every rule that is due or whose data arrived.
    async fn round(&mut self) {
        let dirty = self.live.take_dirty();
        let arrived = self.readers_of(&dirty);
        let began = self.clock.monotonic();
        let mut any = false;
        for index in 0..self.rules.len() {
            if arrived.contains(&index) || self.rules[index].due_at <= began {
                self.evaluate(index).await;
                any = true;
            }
        }
        if any {
            self.meters.seconds.observe(self.clock.monotonic().saturating_sub(began).as_secs_f64());
            self.show();
        }
        (self.progress)();
    }

    fn readers_of(&mut self, dirty: &HashMap<SchemaId, Arc<Schema>>) -> Vec<usize> {
        if self.readers.len() > READERS_MAX {
            self.readers.clear();
        }
        let mut found = Vec::new();
        for (id, schema) in dirty {
            let rules = &self.rules;
            let readers = self.readers.entry(*id).or_insert_with(|| {
                let reads = |rule: &Rule| schema.series.iter().any(|def| rule.query.reads(def.key.name.as_str()));
                (0..rules.len()).filter(|index| reads(&rules[*index])).collect()
            });
            found.extend_from_slice(readers);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    async fn evaluate(&mut self, index: usize) {
        if let Some(unsure) = self.rules[index].unsure.take() {
            if !self.save(index, unsure, Sending::Again).await {
                return;
            }
            // What was missed meanwhile is counted already.
            self.rules[index].due_at = self.clock.monotonic();
        }
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let freshness = self.freshness(now);
        let rule = &mut self.rules[index];
        let late = now.saturating_sub(rule.due_at);
        if let Some(missed) = late.as_nanos().checked_div(rule.interval.as_nanos()).filter(|missed| *missed > 0) {
            self.meters.missed.with_label_values(&[&rule.group]).inc_by(u64::try_from(missed).unwrap_or(u64::MAX));
        }
        let (at, looked_at) = (wall - rule.offset, self.live.evaluation_time(wall) - rule.offset);
        let outcome = self.live.read(|head| rule.query.eval(&HeadSelect(head), looked_at));
        let outcome = outcome.map(to_alerting).map_err(|error| chain(&error));
        let elapsed = now.saturating_sub(rule.stepped_at);
        let mut state = rule.state.clone();
        let step = state.step(&rule.rule, Evaluation { at, elapsed, freshness, outcome });
        self.meters.evaluations.with_label_values(&[&rule.group]).inc();
        if state.health() == Health::Err {
            self.meters.failures.with_label_values(&[&rule.group]).inc();
            if rule.state.last_error() != state.last_error() {
                tracing::warn!(
                    rule = rule.rule.name,
                    group = rule.group,
                    error = state.last_error(),
                    "evaluation failed"
                );
            }
        }
        if must_save(rule, &state, &step, now) {
            let row = rows::evaluation(&rule.key, &rule.rule, (&rule.state, &state), &step, at, &self.receivers);
            self.save(index, Evaluated { row, state, step, at: now }, Sending::First).await;
        } else {
            rule.count(state, now);
        }
    }

    /// Stores a step; with that it counts. Returns whether the rule can be evaluated anew.
    async fn save(&mut self, index: usize, evaluated: Evaluated, sending: Sending) -> bool {
        let saved = match self.store.save_evaluation(&evaluated.row).await {
            // Refused now; but was it stored before?
            Err(error) if sending == Sending::Again => self.look_for(&evaluated.row, error).await,
            saved => saved,
        };
        let (rule, now) = (&mut self.rules[index], self.clock.monotonic());
        if let Err(error) = saved {
            tracing::warn!(rule = rule.rule.name, error = chain(&error), "evaluation not stored; it does not count");
            self.meters.missed.with_label_values(&[&rule.group]).inc();
            rule.due_at = now + RETRY.min(rule.interval);
            if matches!(error, StoreError::Unavailable(_)) {
                rule.unsure = Some(evaluated);
            }
            return false;
        }
        let Evaluated { row, state, step, at } = evaluated;
        rule.saved_at = Some(at);
        rule.count(state, at);
        if !row.outbox.is_empty() {
            self.outbox.notify_one();
        }
        tell(rule, &step);
        true
    }

    /// Looks whether a step that was refused with `error` had been stored by an earlier try.
    async fn look_for(&self, row: &EvaluationRow, error: StoreError) -> Result<(), StoreError> {
        let kept = self.store.load_rules().await?;
        let stored = kept.iter().any(|kept| kept.rule_key == row.rule_key && kept.evaluated_at == row.evaluated_at);
        if stored { Ok(()) } else { Err(error) }
    }

    /// Whether a series that is missing is known to be gone.
    fn freshness(&self, now: Duration) -> Freshness {
        let settling = now.saturating_sub(self.started_at) < SETTLE_MAX;
        if settling && !self.live.has_settled() {
            Freshness::Waiting { tolerance: OUTAGE_TOLERANCE }
        } else {
            Freshness::Fresh
        }
    }

    /// Resolves what rules had firing that are gone from the file. Returns those that could not be stored.
    async fn retire(&self, orphans: Vec<Orphan>) -> Vec<Orphan> {
        let mut left = Vec::new();
        for Orphan { end } in orphans {
            let stored = match self.store.save_evaluation(&end).await {
                Ok(()) => self.store.forget_rule(&end.rule_key).await,
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => {
                    tracing::info!(rule = end.rule_key, "rule is gone from the file; its alerts are resolved");
                    self.outbox.notify_one();
                }
                Err(error) => {
                    tracing::warn!(rule = end.rule_key, error = chain(&error), "rule not retired yet");
                    left.push(Orphan { end });
                }
            }
        }
        left
    }

    fn show(&self) {
        let mut counts = [(InstanceState::Pending, 0_u64), (InstanceState::Firing, 0)];
        let views = self.rules.iter().map(|rule| {
            for (state, count) in &mut counts {
                *count += rule.state.instances().filter(|instance| instance.state == *state).count() as u64;
            }
            view(rule)
        });
        self.board.set(views.collect());
        for (state, count) in counts {
            self.meters.alerts.with_label_values(&[state.as_str()]).set(count as f64);
        }
    }
}

impl Rule {
    /// A step at `at` counts.
    fn count(&mut self, state: RuleState, at: Duration) {
        self.state = state;
        self.stepped_at = at;
        self.due_at = at + self.interval;
    }
}

/// Whether an evaluation changed what a restart needs.
fn must_save(rule: &Rule, state: &RuleState, step: &Step, now: Duration) -> bool {
    let active = state.instances().any(alerting::Instance::is_active);
    let old = rule.saved_at.is_none_or(|saved| now.saturating_sub(saved) >= QUIET_SAVE);
    active || old || !step.transitions.is_empty() || !step.removed.is_empty()
}

fn tell(rule: &Rule, step: &Step) {
    for change in &step.transitions {
        tracing::info!(
            alert = rule.rule.name,
            fingerprint = %change.fingerprint,
            from = change.from.as_str(),
            to = change.to.as_str(),
            reason = change.reason.as_str(),
            value = change.instance.value,
            "alert changed"
        );
    }
}

fn restored(row: &RuleRow, now: Timestamp) -> RuleState {
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

fn to_alerting(points: Vec<promql::Point>) -> Vec<alerting::Point> {
    points.into_iter().map(|promql::Point { name, labels, value }| alerting::Point { name, labels, value }).collect()
}

fn view(rule: &Rule) -> RuleView {
    RuleView {
        file: rule.file.clone(),
        group: rule.group.clone(),
        name: rule.rule.name.clone(),
        query: rule.rule.expr.clone(),
        hold: rule.rule.hold_for,
        health: rule.state.health().as_str(),
        last_error: rule.state.last_error().map(Into::into),
        evaluated_at: rule.state.last_evaluated_at(),
        instances: rule.state.instances().cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
