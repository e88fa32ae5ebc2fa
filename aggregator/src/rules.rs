//! Rules: evaluated when the data that they read arrives, and at their interval at the latest.
//!
//! One task owns every rule's state. An evaluation reads the head, steps the state machine of `alerting`, and stores
//! the new state, the alerts and the notifications in one transaction; only then does the step count. When the
//! database does not answer, the same rows are sent again before the rule is evaluated anew, since it may have them:
//! nothing is ever notified that is not stored, nothing twice, and nothing stored is forgotten by a restart at any
//! instruction.
//!
//! A rule whose evaluation fails is counted and shown, and harms no other. What an agent reports that is not heard of is
//! not looked at, and what is missing of it neither ends nor delays anything: `docs/adr/0008-silence-is-no-answer.md`. The
//! same holds of what lies over a gap: `docs/adr/0014-over-a-gap-a-rule-is-unknown.md`.
//!
//! | file | what it holds |
//! |---|---|
//! | `load` | a rule file becomes rules |
//! | `rule` | one rule and when it is due |
//! | `look`, `doubt` | what a rule reads; why it is unknown |
//! | `rows`, `message` | what a step stores, and whom it tells what |
//! | `orphan` | the end of a rule that is gone from the file |
//! | `board` | what the pages see |

pub mod board;
mod doubt;
mod load;
mod look;
mod message;
mod orphan;
mod rows;
mod rule;

pub use load::{RuleSet, load};
pub use orphan::Orphan;
pub use rule::Rule;

use crate::live::Live;
use crate::meters::RuleMeters;
use crate::store::{EvaluationRow, RuleRow, Store, StoreError};
use alerting::notification::Told;
use alerting::{Certainty, Evaluation, Health, InstanceState, RecordingRule, RuleState, Step};
use board::Board;
use doubt::Doubt;
use look::RuleSelect;
use promql::{Interrupt, Limits};
use proto::sample::{Schema, SchemaId, Timestamp};
use rows::Scene;
use rule::{Evaluated, QUIET_SAVE};
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
/// How long a rule may read: the others wait meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How soon a rule whose state could not be stored is evaluated again; no interval is shorter.
const RETRY: Duration = Duration::from_secs(1);
/// Schemas whose readers are remembered; beyond it the memory is begun anew.
const READERS_MAX: usize = 10_000;

/// How often the database was asked to store a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Never before.
    First,
    /// Before, without an answer: it may have it.
    Again,
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saved {
    /// It is stored, or need not be.
    Yes,
    /// The database refused it.
    Refused,
    /// The database does not answer.
    Away,
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
    /// Called after each rule and each round: the rules make progress.
    pub progress: Box<dyn Fn() + Send + Sync>,
    /// Which rule is evaluated first.
    first: usize,
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
    /// Called after each rule and each round.
    pub progress: Box<dyn Fn() + Send + Sync>,
}

impl Engine {
    /// An engine that goes on where the database says it stood, and the rules that are gone from the file.
    pub fn new(parts: Parts) -> (Self, Vec<Orphan>) {
        let Parts { set, kept, live, store, clock, meters, board, outbox, receivers, progress } = parts;
        let (wall, now) = (clock.wall(), clock.monotonic());
        let mut kept: HashMap<String, RuleRow> = kept.into_iter().map(|row| (row.rule_key.clone(), row)).collect();
        let mut rules: Vec<Rule> = set
            .rules
            .into_iter()
            .map(|loaded| {
                // One that alerted once and records now leaves its alerts behind: they end as an orphan's do.
                let row = loaded.rule.as_alert().and_then(|_| kept.remove(&loaded.key));
                Rule::new(loaded, row.as_ref(), wall, now)
            })
            .collect();
        for (rule, reads) in look::recordings_read(&rules).into_iter().enumerate() {
            rules[rule].reads = reads;
        }
        for rule in &rules {
            for counter in [&meters.evaluations, &meters.failures, &meters.missed] {
                counter.with_label_values(&[&rule.loaded.group]);
            }
        }
        board.set(rules.iter().map(Rule::view).collect());
        meters.reload_successful.set(1.0);
        let orphans = kept.values().map(|row| Orphan::new(row, wall)).collect();
        let (readers, first) = (HashMap::new(), 0);
        let engine = Self { rules, live, store, clock, meters, board, outbox, receivers, progress, first, readers };
        (engine, orphans)
    }

    /// Evaluates until `stop`.
    pub async fn run(mut self, orphans: Vec<Orphan>, stop: CancellationToken) {
        let (mut orphans, mut retire_at) = (orphans, Duration::ZERO);
        loop {
            if !orphans.is_empty() && self.clock.monotonic() >= retire_at {
                orphans = self.retire(orphans).await;
                retire_at = self.clock.monotonic() + RETRY;
            }
            self.round().await;
            let now = self.clock.monotonic();
            let due = self.rules.iter().map(|rule| rule.due_at).min().unwrap_or(now + QUIET_SAVE);
            let next = if orphans.is_empty() { due } else { due.min(retire_at) };
            let live = self.live.clone();
            tokio::select! {
                () = async { live.changed().await; tokio::time::sleep(COALESCE).await } => {}
                () = tokio::time::sleep(next.saturating_sub(now)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Evaluates every rule that is due or whose data arrived. When the database turns out to be away for one, the
    /// others wait with it: asking for each would take as many of its timeouts as there are rules.
    async fn round(&mut self) {
        let dirty = self.live.take_dirty();
        let arrived = self.readers_of(&dirty);
        let now = self.clock.monotonic();
        // Beginning after the one that failed last: a rule that alone makes the database fail keeps no other waiting.
        let order = (self.first..self.rules.len()).chain(0..self.first.min(self.rules.len()));
        let due = order.filter(|index| arrived.binary_search(index).is_ok() || self.rules[*index].due_at <= now);
        let due: Vec<usize> = due.collect();
        let mut left = due.iter();
        for index in left.by_ref() {
            let saved = self.evaluate(*index).await;
            self.board.update(*index, self.rules[*index].view());
            (self.progress)();
            if saved == Saved::Away {
                self.first = index + 1;
                break;
            }
        }
        let now = self.clock.monotonic();
        if left.as_slice().is_empty() {
            self.first = 0;
        }
        for index in left {
            let rule = &mut self.rules[*index];
            rule.due_at = now + RETRY;
            let missed = rule.missed(now);
            self.meters.missed.with_label_values(&[&rule.loaded.group]).inc_by(missed);
        }
        if !due.is_empty() {
            self.count_states();
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
                let reads =
                    |rule: &Rule| schema.series.iter().any(|def| rule.loaded.query.reads(def.key.name.as_str()));
                let through = |rule: &Rule| rule.reads.iter().any(|read| reads(&rules[*read]));
                (0..rules.len()).filter(|index| reads(&rules[*index]) || through(&rules[*index])).collect()
            });
            found.extend_from_slice(readers);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    async fn evaluate(&mut self, index: usize) -> Saved {
        if let Some(unsure) = self.rules[index].unsure.take() {
            let saved = self.save(index, unsure, Sending::Again).await;
            if saved != Saved::Yes {
                return saved;
            }
        }
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let rule = &mut self.rules[index];
        let missed = rule.missed(now);
        self.meters.missed.with_label_values(&[&rule.loaded.group]).inc_by(missed);
        let at = wall - rule.loaded.offset;
        let (outcome, doubt) = self.look(index);
        self.rules[index].doubt = doubt;
        let rule = &self.rules[index];
        let mut state = RuleState::clone(&rule.state);
        let alert = match &rule.loaded.rule {
            alerting::Rule::Alert(alert) => alert,
            alerting::Rule::Record(recording) => {
                self.record(rule, recording, at, outcome, &mut state);
                self.count_evaluation(rule, &state);
                self.rules[index].count(state, now);
                self.timed(index, now);
                return Saved::Yes;
            }
        };
        let elapsed = now.saturating_sub(rule.stepped_at);
        let step = if outcome.is_ok() && rule.doubt.inherited.is_some() {
            // Nothing begins, ends or goes on by what another rule could not record.
            state.recorded(at, Ok(()), Certainty::Doubtful);
            Step::default()
        } else {
            let unheard = rule.doubt.agents.clone();
            // A sum that lacks an agent lets nothing begin, and nothing go on, unless more could only make it truer.
            let is_told =
                |point: &alerting::Point| rule.loaded.query.only_grows() || !alert.may_lack(&unheard, &point.labels);
            let outcome = outcome.map(|points| points.into_iter().filter(is_told).collect());
            state.step(alert, Evaluation { at, elapsed, unheard, outcome })
        };
        self.count_evaluation(rule, &state);
        let saved = if rule.must_save(&state, &step, now) {
            let scene = Scene {
                key: &rule.loaded.key,
                name: rule.loaded.rule.name(),
                expr: rule.loaded.rule.expr(),
                at,
                made_at: wall,
                siblings: self.siblings(index, &step),
                receivers: &self.receivers,
            };
            let row = rows::evaluation(&scene, (&rule.state, &state), &step);
            self.save(index, Evaluated { row, state, step, at: now }, Sending::First).await
        } else {
            self.rules[index].count(state, now);
            Saved::Yes
        };
        if saved == Saved::Yes {
            self.say_alerts(&self.rules[index], at);
        }
        self.timed(index, now);
        saved
    }

    fn timed(&mut self, index: usize, began: Duration) {
        let took = self.clock.monotonic().saturating_sub(began);
        self.rules[index].took = took;
        self.meters.seconds.observe(took.as_secs_f64());
    }

    /// Writes what a recording rule's result is; where something is not known, nothing, so that no sum is too small.
    fn record(
        &self,
        rule: &Rule,
        recording: &RecordingRule,
        at: Timestamp,
        outcome: Result<Vec<alerting::Point>, String>,
        state: &mut RuleState,
    ) {
        let certainty = if rule.doubt.is_none() { Certainty::Known } else { Certainty::Doubtful };
        let series = outcome.and_then(|points| recording.series(points));
        state.recorded(at, series.as_ref().map(drop).map_err(Clone::clone), certainty);
        if let (Ok(series), Certainty::Known) = (series, certainty) {
            self.live.record(&rule.loaded.key, at, series);
        }
    }

    /// Writes the series by which Prometheus shows alerts: `ALERTS`, and since when in `ALERTS_FOR_STATE`.
    fn say_alerts(&self, rule: &Rule, at: Timestamp) {
        let active = rule.state.instances().filter(|instance| instance.is_active());
        self.live.record(&rule.loaded.key, at, active.flat_map(look::alert_series).collect());
    }

    /// What the rule's expression gives now, and what is not known of it.
    fn look(&self, index: usize) -> (Result<Vec<alerting::Point>, String>, Doubt) {
        let rule = &self.rules[index];
        let at = self.live.evaluation_time() - rule.loaded.offset;
        let started = self.clock.monotonic();
        let interrupt = || (self.clock.monotonic().saturating_sub(started) > LOOK_MAX).then_some(Interrupt::Timeout);
        let limits = Limits { interrupt: &interrupt, ..Limits::default() };
        let source = RuleSelect::new(&self.live, rule);
        let answer = rule.loaded.query.instant(&source, at, &limits);
        let outcome = answer.map_err(|error| chain(&error)).and_then(|answer| look::to_alerting(answer.value));
        let mut doubt = source.into_doubt();
        // What another rule recorded, or did not, is as doubtful as what that one read.
        for read in rule.reads.iter().filter(|read| **read != index).map(|read| &self.rules[*read]) {
            doubt.inherit(read.loaded.rule.name(), &read.doubt);
        }
        (outcome, doubt)
    }

    /// What other rules of the same alert have firing, where there is anything to tell.
    fn siblings(&self, index: usize, step: &Step) -> Vec<Told<'_>> {
        if step.transitions.is_empty() {
            return Vec::new();
        }
        let name = self.rules[index].loaded.rule.name();
        let others = self.rules.iter().enumerate().filter(|(at, rule)| *at != index && rule.loaded.rule.name() == name);
        others
            .flat_map(|(_, rule)| rule.firing().map(|instance| Told { instance, expr: rule.loaded.rule.expr() }))
            .collect()
    }

    fn count_evaluation(&self, rule: &Rule, state: &RuleState) {
        self.meters.evaluations.with_label_values(&[&rule.loaded.group]).inc();
        if state.health() != Health::Err {
            return;
        }
        self.meters.failures.with_label_values(&[&rule.loaded.group]).inc();
        if rule.state.last_error() != state.last_error() {
            tracing::warn!(
                rule = rule.loaded.rule.name(),
                group = rule.loaded.group,
                error = state.last_error(),
                "evaluation failed"
            );
        }
    }

    /// Stores a step; with that it counts, and the rule can be evaluated anew.
    async fn save(&mut self, index: usize, evaluated: Evaluated, sending: Sending) -> Saved {
        let saved = match self.store.save_evaluation(&evaluated.row).await {
            // Refused now; but was it stored before?
            Err(error @ StoreError::Refused(_)) if sending == Sending::Again => {
                self.look_for(&evaluated.row, error).await
            }
            saved => saved,
        };
        let (rule, now) = (&mut self.rules[index], self.clock.monotonic());
        if let Err(error) = saved {
            tracing::warn!(
                rule = rule.loaded.rule.name(),
                error = chain(&error),
                "evaluation not stored; it does not count"
            );
            rule.due_at = now + RETRY;
            let missed = rule.missed(now);
            self.meters.missed.with_label_values(&[&rule.loaded.group]).inc_by(missed);
            if matches!(error, StoreError::Unavailable(_)) {
                rule.unsure = Some(evaluated);
                return Saved::Away;
            }
            return Saved::Refused;
        }
        let Evaluated { row, state, step, at } = evaluated;
        rule.saved_at = Some(at);
        rule.count(state, at);
        self.meters.made.inc_by(row.outbox.len() as u64);
        if !row.outbox.is_empty() {
            self.outbox.notify_one();
        }
        rule.tell(&step);
        Saved::Yes
    }

    /// Looks whether a step that was refused with `error` had been stored by an earlier try.
    async fn look_for(&self, row: &EvaluationRow, error: StoreError) -> Result<(), StoreError> {
        let kept = self.store.load_rules().await?;
        let stored = kept.iter().any(|kept| kept.rule_key == row.rule_key && kept.evaluated_at == row.evaluated_at);
        if stored { Ok(()) } else { Err(error) }
    }

    /// Shows how many rules and instances are in which state.
    fn count_states(&self) {
        for health in [Health::Ok, Health::Err, Health::Unknown] {
            let count = self.rules.iter().filter(|rule| rule.state.health() == health).count();
            self.meters.rules.with_label_values(&[health.as_str()]).set(count as f64);
        }
        for state in [InstanceState::Pending, InstanceState::Firing] {
            let instances = self.rules.iter().flat_map(|rule| rule.state.instances());
            let count = instances.filter(|instance| instance.state == state).count();
            self.meters.alerts.with_label_values(&[state.as_str()]).set(count as f64);
        }
    }
}

#[cfg(test)]
mod tests;
