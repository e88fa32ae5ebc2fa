//! Upkeep: finds silent agents, keeps the head and the database within their bounds, notes that we live, and shows sizes
//! as metrics.
//!
//! Two times that a restart needs are written with each pulse: when we lived last, so that an agent that was silent then
//! is not taken for alive, and how far the clock was believed (`trust`), by which alone anything is deleted.
//!
//! Limits: the ages of the configuration's `retention`.

pub mod trust;

use crate::config::Retention;
use crate::live::Live;
use crate::meters::Meters;
use crate::store::{HistoryBefore, PrunedHistory, Pulse, Store, StoreError};
use proto::sample::Timestamp;
use runtime::clock::Clock;
use runtime::fail_point;
use runtime::log::chain;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trust::{Look, Trust};

/// How often silent agents are looked for; a second of the three that make one silent.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the head is truncated.
const TRUNCATE: Duration = Duration::from_secs(60);
/// How often we note that we live; also each time that an agent went silent.
const PULSE: Duration = Duration::from_secs(10);
/// A database that has not noted it after this counts as away.
const PULSE_MAX: Duration = Duration::from_secs(5);
/// How often the database is pruned.
const PRUNE: Duration = Duration::from_secs(600);

/// See the module.
pub struct Upkeep {
    /// Agents and head.
    pub live: Arc<Live>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What is shown.
    pub meters: Meters,
    /// How long things are kept.
    pub retention: Retention,
    /// How far the wall clock is believed. Locked for a look.
    pub trust: Mutex<Trust>,
    /// Rung when an agent went silent.
    pub silenced: Notify,
    /// Called after each round.
    pub progress: Box<dyn Fn() + Send + Sync>,
}

impl Upkeep {
    /// Keeps up until `stop`. A database that is away does not keep silent agents from being found.
    pub async fn run(self, stop: CancellationToken) {
        let ahead = self.trust.lock().unwrap_or_else(PoisonError::into_inner).ahead();
        if ahead > trust::TOLERANCE {
            tracing::info!(?ahead, believed_after = ?trust::CONFIRM, "clock is ahead of when we ran last; until it is believed nothing is deleted on its word");
        }
        tokio::select! {
            () = self.look() => {}
            () = self.keep_pulse() => {}
            () = self.keep_pruning() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look(&self) {
        let mut truncate_at = self.clock.monotonic() + TRUNCATE;
        loop {
            self.sweep();
            let now = self.clock.monotonic();
            if now >= truncate_at {
                truncate_at = now + TRUNCATE;
                self.live.truncate();
            }
            (self.progress)();
            tokio::time::sleep(SWEEP).await;
        }
    }

    async fn keep_pulse(&self) {
        let mut answers = true;
        loop {
            answers = self.pulse(answers).await;
            tokio::select! {
                () = tokio::time::sleep(PULSE) => {}
                () = self.silenced.notified() => {}
            }
        }
    }

    async fn keep_pruning(&self) {
        loop {
            self.prune().await;
            tokio::time::sleep(PRUNE).await;
        }
    }

    fn sweep(&self) {
        let lost = self.live.sweep();
        for agent in &lost {
            tracing::warn!(agent = %agent.row.agent_id, service = agent.row.service, instance = agent.row.instance, "agent went silent");
        }
        if !lost.is_empty() {
            self.silenced.notify_one();
        }
        for (state, count) in self.live.agents_by_state() {
            self.meters.agents.with_label_values(&[state.as_str()]).set(count as f64);
        }
        let (series, samples) = self.live.read(|head| (head.series_count(), head.sample_count()));
        self.meters.head_series.set(series as f64);
        self.meters.head_samples.set(samples as f64);
        let unreported = self.live.take_unreported();
        if unreported > 0 {
            self.meters.ingest.dropped.with_label_values(&["own_series_limit"]).inc_by(unreported);
        }
    }

    /// Notes that we live, and with it whether the database answers. Returns that.
    async fn pulse(&self, answered: bool) -> bool {
        let pulse = Pulse { alive_at: self.clock.wall(), trusted_at: self.trusted() };
        let saved = timeout(PULSE_MAX, self.store.save_pulse(pulse)).await;
        let answers = matches!(saved, Ok(Ok(())));
        self.meters.store_up.set(f64::from(u8::from(answers)));
        match saved {
            Ok(Err(error)) if answered => tracing::warn!(error = chain(&error), "database away; our life is not noted"),
            Err(_) if answered => {
                tracing::warn!(within = ?PULSE_MAX, "database does not answer; our life is not noted");
            }
            Ok(Ok(())) if !answered => tracing::info!("database answers again"),
            _ => {}
        }
        answers
    }

    async fn prune(&self) {
        if let Err(error) = self.try_prune(self.trusted()).await {
            tracing::warn!(error = chain(&error), "database not pruned; trying again later");
        }
    }

    async fn try_prune(&self, now: Timestamp) -> Result<(), StoreError> {
        fail_point::hit("aggregator.prune");
        let batches = self.store.prune(now - self.retention.log).await?;
        fail_point::hit("aggregator.pruned");
        let before = HistoryBefore {
            notifications: now - self.retention.notifications,
            alerts: now - self.retention.alerts,
            agents: now - self.retention.agents,
            events: now - self.retention.events,
        };
        let pruned = self.store.prune_history(&before).await?;
        let PrunedHistory { notifications, alerts, agents, events } = pruned;
        if batches + notifications + alerts + agents + events > 0 {
            tracing::info!(batches, notifications, alerts, agents, events, "database pruned");
        }
        Ok(())
    }

    /// Looks at the clocks: how far the wall clock is believed.
    fn trusted(&self) -> Timestamp {
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let look = trust.look(self.clock.wall(), self.clock.monotonic());
        match look {
            Look::Even => {}
            Look::Forward(by) => {
                self.meters.clock_jumps.with_label_values(&["forward"]).inc();
                tracing::warn!(?by, believed_after = ?trust::CONFIRM, "clock was set forward; until it is believed nothing is deleted on its word");
            }
            Look::Back(by) => {
                self.meters.clock_jumps.with_label_values(&["back"]).inc();
                tracing::warn!(?by, "clock was set back");
            }
            Look::Confirmed(ahead) => tracing::info!(?ahead, "clock ran evenly for an hour and is believed now"),
        }
        trust.trusted()
    }
}

#[cfg(test)]
mod tests;
