//! Rules that were in the file once and that the database still has: what they had firing ends, and they are forgotten.
//!
//! An end that could not be stored is sent again. It has the same ids each time, so what the database has already stays
//! as it is; the message is made anew, since what else fires under the same name may have changed.

use super::rows::{self, Scene};
use super::rule::restored;
use super::{Engine, Rule};
use crate::store::{RuleRow, StoreError};
use alerting::notification::Told;
use alerting::{Instance, InstanceState, Step};
use proto::sample::Timestamp;
use runtime::log::chain;

/// See the module.
pub struct Orphan {
    key: String,
    /// The alert's name; empty where nothing was firing.
    name: String,
    /// When the program found that it is gone.
    at: Timestamp,
    /// What was firing.
    firing: Vec<Instance>,
    /// Its end.
    step: Step,
}

impl Orphan {
    /// The rule of `row`, which is in the file no longer.
    pub(super) fn new(row: &RuleRow, at: Timestamp) -> Self {
        let mut state = restored(row, at);
        let firing: Vec<Instance> =
            state.instances().filter(|instance| instance.state == InstanceState::Firing).cloned().collect();
        let name = firing.first().and_then(|instance| instance.labels.get("alertname")).unwrap_or_default().into();
        Self { key: row.rule_key.clone(), name, at, firing, step: state.delete_rule(at) }
    }
}

impl Engine {
    /// Ends the `orphans`. Returns those that could not be stored. A database that is away is asked once.
    pub(super) async fn retire(&self, orphans: Vec<Orphan>) -> Vec<Orphan> {
        let (mut waiting, mut left) = (orphans.into_iter(), Vec::new());
        while let Some(orphan) = waiting.next() {
            match self.end(&orphan, left.iter().chain(waiting.as_slice())).await {
                Ok(()) => {
                    tracing::info!(rule = orphan.key, "rule is gone from the file; its alerts are resolved");
                    self.outbox.notify_one();
                }
                Err(error) => {
                    tracing::warn!(rule = orphan.key, error = chain(&error), "rule not retired yet");
                    left.push(orphan);
                    if matches!(error, StoreError::Unavailable(_)) {
                        left.extend(waiting);
                        break;
                    }
                }
            }
            (self.progress)();
        }
        left
    }

    async fn end(&self, orphan: &Orphan, others: impl Iterator<Item = &Orphan>) -> Result<(), StoreError> {
        let of_rules = self.rules.iter().filter(|rule| rule.loaded.rule.name() == orphan.name);
        let of_rules =
            of_rules.flat_map(|rule: &Rule| rule.firing().map(|i| Told { instance: i, expr: rule.loaded.rule.expr() }));
        let others = others.filter(|other| other.name == orphan.name);
        let others = others.flat_map(|other| other.firing.iter().map(|instance| Told { instance, expr: "" }));
        let scene = Scene {
            key: &orphan.key,
            name: &orphan.name,
            expr: "",
            at: orphan.at,
            made_at: orphan.at,
            siblings: of_rules.chain(others).collect(),
            receivers: &self.receivers,
        };
        let row = rows::retirement(&scene, &orphan.step);
        self.store.save_evaluation(&row).await?;
        self.meters.made.inc_by(row.outbox.len() as u64);
        self.store.forget_rule(&orphan.key).await
    }
}
