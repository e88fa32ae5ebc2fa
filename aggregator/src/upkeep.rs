//! Upkeep: finds silent agents, keeps the head and the log within their windows, and shows sizes as metrics.

use crate::live::{Live, State};
use crate::meters::Meters;
use crate::store::Store;
use runtime::clock::Clock;
use runtime::log::chain;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often silent agents are looked for; a second of the three that make one silent.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the head is truncated.
const TRUNCATE: Duration = Duration::from_secs(60);
/// How often the log is pruned.
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
    /// How long batches stay in the log.
    pub log_retention: Duration,
    /// Called after each round.
    pub progress: Box<dyn Fn() + Send + Sync>,
}

impl Upkeep {
    /// Keeps up until `stop`. A database that is away does not keep silent agents from being found.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.look() => {}
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

    async fn keep_pruning(&self) {
        loop {
            self.prune().await;
            tokio::time::sleep(PRUNE).await;
        }
    }

    fn sweep(&self) {
        for agent in self.live.sweep() {
            tracing::warn!(agent = %agent.row.agent_id, service = agent.row.service, instance = agent.row.instance, "agent went silent");
        }
        let agents = self.live.agents();
        for state in [State::Up, State::Silent, State::Stopped] {
            let count = agents.iter().filter(|agent| agent.state == state).count();
            self.meters.agents.with_label_values(&[state.as_str()]).set(count as f64);
        }
        let (series, samples) = self.live.read(|head| (head.series_count(), head.sample_count()));
        self.meters.head_series.set(series as f64);
        self.meters.head_samples.set(samples as f64);
    }

    async fn prune(&self) {
        match self.store.prune(self.clock.wall() - self.log_retention).await {
            Ok(0) => {}
            Ok(batches) => tracing::info!(batches, "log pruned"),
            Err(error) => tracing::warn!(error = chain(&error), "log not pruned; trying again later"),
        }
    }
}

#[cfg(test)]
mod tests;
