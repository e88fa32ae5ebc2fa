//! The messages of an evaluation: one or more for each channel, when an instance began or ceased to fire.
//!
//! Receivers know alerts by their name, so a message is about all rules of one name (the *group*): it is over only when
//! no rule of that name has anything firing. Two rules may even have one alert with the same labels: to receivers that
//! is one alert, which begins with the first of them and is over when both are.

use super::rows::{Scene, derived_id};
use crate::store::OutboxRow;
use alerting::notification::{Envelope, Told, Webhook, group_key};
use alerting::{Fingerprint, Instance, InstanceState, Reason, Step, Transition};
use std::collections::{BTreeMap, HashSet};

/// Why an alert ended that nobody will tell of again, though it may not be over.
const WITHDRAWN: &str = "alerts withdrawn: their rule exceeded its limit";

/// The messages about `step`, after which the rule itself has `instances`.
pub(super) fn outbox<'i>(
    scene: &Scene<'i>,
    instances: impl Iterator<Item = &'i Instance>,
    step: &Step,
) -> Vec<OutboxRow> {
    let known: HashSet<Fingerprint> = scene.siblings.iter().map(|told| told.instance.fingerprint).collect();
    let own = instances.filter(|instance| instance.state == InstanceState::Firing);
    let own = own.map(|instance| Told { instance, expr: scene.expr });
    let mut standing: BTreeMap<Fingerprint, Told> =
        scene.siblings.iter().copied().chain(own).map(|told| (told.instance.fingerprint, told)).collect();
    let changes = step.transitions.iter().filter(|change| !known.contains(&change.fingerprint));
    let over: Vec<Instance> = changes.clone().filter_map(|change| ended(change, scene)).collect();
    let began = changes.filter(|change| change.to == InstanceState::Firing);
    let mut news: Vec<Told> = began.filter_map(|change| standing.remove(&change.fingerprint)).collect();
    let standing: Vec<Told> = standing.into_values().collect();
    let withdrawn = step.transitions.iter().any(|change| change.reason == Reason::LimitExceeded);
    let reason = match (news.is_empty(), standing.is_empty()) {
        (false, true) => "first notification",
        (false, false) => "new alerts added",
        (true, _) if withdrawn => WITHDRAWN,
        (true, true) => "all alerts resolved",
        (true, false) => "some alerts resolved",
    };
    news.extend(over.iter().map(|instance| Told { instance, expr: scene.expr }));
    let messages = |channel: &String| messages(scene, channel, reason, &news, &standing);
    scene.receivers.channels.iter().flat_map(messages).collect()
}

fn messages(scene: &Scene, channel: &str, reason: &str, news: &[Told], standing: &[Told]) -> Vec<OutboxRow> {
    let envelope = Envelope {
        receiver: channel,
        reason,
        external_url: &scene.receivers.external_url,
        max_alerts: Some(scene.receivers.max_alerts),
    };
    let (key, group, at) = (scene.key, group_key(scene.name), scene.at.as_millis());
    let row = |(part, webhook): (usize, Webhook)| {
        Some(OutboxRow {
            id: derived_id(&format!("notification\u{1f}{channel}\u{1f}{key}\u{1f}{group}\u{1f}{at}\u{1f}{part}")),
            channel: channel.into(),
            body: serde_json::to_value(webhook).ok()?,
            created_at: scene.made_at,
            attempts: 0,
            next_attempt_at: scene.made_at,
        })
    };
    Webhook::messages(scene.name, news, standing, envelope).into_iter().enumerate().filter_map(row).collect()
}

/// The instance as receivers are told that it is over; `None` where it did not fire.
fn ended(change: &Transition, scene: &Scene) -> Option<Instance> {
    let over = change.from == InstanceState::Firing && change.to != InstanceState::Firing;
    over.then(|| Instance {
        state: InstanceState::Resolved,
        resolved_at: change.instance.resolved_at.or(Some(scene.at)),
        ..change.instance.clone()
    })
}
