//! A real SQLite file behind a store that can be told to fail, and how to wait.

use crate::store::{
    self, AgentRow, AlertRow, BatchRow, EvaluationRow, GapRow, HistoryBefore, Ledger, LedgerQuery, OutboxRow,
    PrunedHistory, Pulse, RuleRow, SchemaRow, Scope, Store, StoreError, Stored,
};
use proto::sample::Timestamp;
use runtime::clock::ManualClock;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// How often a level is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A level that is not reached after this is never reached.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a level, so that nothing is missed however fast or slow the machine is.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let look = async {
        while !reached() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

/// How the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// It answers.
    Fine,
    /// It does not answer, and does nothing.
    Away,
    /// It takes its time: nothing is done until the weather changes.
    Held,
    /// It does what it is asked once more, but the answer is lost; then it is fine.
    Deaf,
    /// It refuses statements.
    Broken,
}

/// A database of a test's own.
pub(crate) struct Database {
    /// The store.
    pub(crate) store: Arc<Faults>,
    url: String,
    _dir: TempDir,
}

/// A real store that can be told to fail, and counts.
pub(crate) struct Faults {
    inner: Arc<dyn Store>,
    weather: watch::Sender<Weather>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    poison: HashSet<(Uuid, u64)>,
    most: Option<usize>,
    lost: Option<usize>,
    groups: Vec<usize>,
    attempts: usize,
    writes: usize,
    stops: usize,
    timeout: Option<(ManualClock, Duration)>,
}

// === impl Database ===

impl Database {
    /// An empty one.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", dir.path().join("store.db").display());
        let store = Faults::open(&url).await;
        Self { store, url, _dir: dir }
    }

    /// The same after a restart of the program.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Faults::open(&self.url).await;
    }

    /// The store as the program has it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

// === impl Faults ===

impl Faults {
    async fn open(url: &str) -> Arc<Self> {
        let inner = store::open(url).await.expect("a file of our own");
        Arc::new(Self { inner, weather: watch::Sender::new(Weather::Fine), seen: Mutex::default() })
    }

    /// From now on the database is like this.
    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Every commit with this batch in it is refused.
    pub(crate) fn poison(&self, agent_id: Uuid, seq: u64) {
        self.seen(|seen| seen.poison.insert((agent_id, seq)));
    }

    /// Every commit of more batches than this takes too long, and nothing comes of it.
    pub(crate) fn time_out_above(&self, batches: usize) {
        self.seen(|seen| seen.most = Some(batches));
    }

    /// The answer to this commit is lost, counted from the first that was begun.
    pub(crate) fn lose_answer_to(&self, attempt: usize) {
        self.seen(|seen| seen.lost = Some(attempt));
    }

    /// While it is away, each question takes so long by this clock.
    pub(crate) fn time_out_after(&self, clock: &ManualClock, time: Duration) {
        self.seen(|seen| seen.timeout = Some((clock.clone(), time)));
    }

    /// Sizes of the groups that were stored.
    pub(crate) fn groups(&self) -> Vec<usize> {
        self.seen(|seen| seen.groups.clone())
    }

    /// Commits that were begun.
    pub(crate) fn attempts(&self) -> usize {
        self.seen(|seen| seen.attempts)
    }

    /// Goodbyes that were asked to be stored.
    pub(crate) fn stops(&self) -> usize {
        self.seen(|seen| seen.stops)
    }

    /// Evaluations that were asked to be stored.
    pub(crate) fn writes(&self) -> usize {
        self.seen(|seen| seen.writes)
    }

    /// Every batch in the log, in its order.
    pub(crate) async fn log(&self) -> Vec<(Uuid, u64)> {
        let mut rows = Vec::new();
        let mut each = |row: BatchRow| rows.push((row.agent_id, row.position.seq));
        self.inner.replay(Timestamp::from_millis(i64::MIN), &mut each).await.expect("the file is there");
        rows
    }

    fn seen<R>(&self, look: impl FnOnce(&mut Seen) -> R) -> R {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn enter(&self) -> Result<(), StoreError> {
        let weather =
            *self.weather.subscribe().wait_for(|now| *now != Weather::Held).await.expect("we hold the sender");
        match weather {
            Weather::Away => {
                if let Some((clock, time)) = self.seen(|seen| seen.timeout.clone()) {
                    clock.advance(time);
                }
                Err(away())
            }
            Weather::Broken => Err(StoreError::Refused(sqlx::Error::RowNotFound)),
            Weather::Fine | Weather::Held | Weather::Deaf => Ok(()),
        }
    }

    fn leave<T>(&self, done: T) -> Result<T, StoreError> {
        let deaf = |now: &mut Weather| {
            let was = *now == Weather::Deaf;
            if was {
                *now = Weather::Fine;
            }
            was
        };
        if self.weather.send_if_modified(deaf) { Err(away()) } else { Ok(done) }
    }
}

fn away() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}

#[async_trait::async_trait]
impl Store for Faults {
    async fn ping(&self) -> Result<String, StoreError> {
        self.inner.ping().await
    }

    async fn save_agent(&self, agent: &AgentRow) -> Result<(), StoreError> {
        self.enter().await?;
        self.inner.save_agent(agent).await
    }

    async fn stop_agent(&self, agent_id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.seen(|seen| seen.stops += 1);
        self.enter().await?;
        self.inner.stop_agent(agent_id, at).await
    }

    async fn load_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.inner.load_agents().await
    }

    async fn stored_seq(&self, agent_id: Uuid, epoch: u128) -> Result<u64, StoreError> {
        self.enter().await?;
        self.inner.stored_seq(agent_id, epoch).await
    }

    async fn load_ledger(&self, query: &LedgerQuery) -> Result<Option<Ledger>, StoreError> {
        self.inner.load_ledger(query).await
    }

    async fn load_gaps(&self, since: Timestamp, limit: u32) -> Result<Vec<GapRow>, StoreError> {
        self.inner.load_gaps(since, limit).await
    }

    async fn commit(&self, group: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
        self.seen(|seen| seen.attempts += 1);
        self.enter().await?;
        let poisoned =
            |seen: &mut Seen| group.iter().any(|row| seen.poison.contains(&(row.agent_id, row.position.seq)));
        if self.seen(poisoned) {
            return Err(StoreError::Refused(sqlx::Error::RowNotFound));
        }
        if self.seen(|seen| seen.most).is_some_and(|most| group.len() > most) {
            return Err(away());
        }
        let stored = self.inner.commit(group).await?;
        self.seen(|seen| seen.groups.push(group.len()));
        let is_lost = self.seen(|seen| seen.lost == Some(seen.attempts));
        if is_lost || self.leave(()).is_err() {
            return Err(StoreError::Unanswered { perhaps: stored, source: sqlx::Error::PoolTimedOut });
        }
        Ok(stored)
    }

    async fn load_schemas(&self) -> Result<Vec<SchemaRow>, StoreError> {
        self.inner.load_schemas().await
    }

    async fn replay(&self, since: Timestamp, each: &mut (dyn FnMut(BatchRow) + Send)) -> Result<(), StoreError> {
        self.inner.replay(since, each).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.enter().await?;
        self.inner.prune(before).await
    }

    async fn prune_history(&self, before: &HistoryBefore) -> Result<PrunedHistory, StoreError> {
        self.enter().await?;
        self.inner.prune_history(before).await
    }

    async fn save_pulse(&self, pulse: Pulse) -> Result<(), StoreError> {
        self.enter().await?;
        self.inner.save_pulse(pulse).await
    }

    async fn load_pulse(&self) -> Result<Option<Pulse>, StoreError> {
        self.inner.load_pulse().await
    }

    async fn shed_outbox(&self, keep: u32, at: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        self.enter().await?;
        let shed = self.inner.shed_outbox(keep, at).await?;
        self.leave(shed)
    }

    async fn save_evaluation(&self, evaluation: &EvaluationRow) -> Result<(), StoreError> {
        self.seen(|seen| seen.writes += 1);
        self.enter().await?;
        self.inner.save_evaluation(evaluation).await?;
        self.leave(())
    }

    async fn forget_rule(&self, rule_key: &str) -> Result<(), StoreError> {
        self.enter().await?;
        self.inner.forget_rule(rule_key).await
    }

    async fn load_rules(&self) -> Result<Vec<RuleRow>, StoreError> {
        self.inner.load_rules().await
    }

    async fn load_alerts(&self, scope: Scope, status: Option<&str>, limit: u32) -> Result<Vec<AlertRow>, StoreError> {
        self.inner.load_alerts(scope, status, limit).await
    }

    async fn due_notifications(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.enter().await?;
        self.inner.due_notifications(now, limit).await
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.inner.outbox_depth().await
    }

    async fn finish_notification(&self, id: Uuid, outcome: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.enter().await?;
        let kept = self.inner.finish_notification(id, outcome, at).await?;
        self.leave(kept)
    }

    async fn defer_notification(&self, id: Uuid, attempts: u32, next: Timestamp) -> Result<(), StoreError> {
        self.enter().await?;
        self.inner.defer_notification(id, attempts, next).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
