//! Notify: takes what the rules put into the outbox to the channels, in order, until each is accepted or refused.
//!
//! The outbox lies in SQL and is written in the transaction of the evaluation, so a notification that should be sent
//! is sent at least once. An answer that the database could not take is remembered, and nothing else is sent before it is
//! recorded; so it is sent twice only where a receiver took it and we do not know: its answer was an error, or came after
//! the time that a channel has for it, or we ended before the answer was recorded, killed or in order while the database
//! was away. A channel answers [`Delivery`]; retrying is a type.
//! One task sends, and what is about an alert waits behind an earlier message about it that was put off: who hears of
//! its end has heard of its beginning. Silences, grouping and escalation come before this stage; more channels stand
//! beside `webhook`.
//!
//! The same task holds the outbox to [`OUTBOX_MAX`], between two messages: none is given up while it is sent. What the
//! database did is counted once it has answered, and is asked again in the same words until then.

mod webhook;

pub use webhook::Webhook;

use crate::meters::NotifyMeters;
use crate::store::{OutboxRow, Store, StoreError};
use proto::sample::Timestamp;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::log::chain;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Notifications read from the outbox at a time.
const BATCH: u32 = 20;
/// Notifications that may wait. Nobody reads ten thousand messages; the oldest are given up, counted and kept as such.
pub const OUTBOX_MAX: u32 = 10_000;
/// How often the outbox is held to its bound.
const SHED: Duration = Duration::from_secs(60);
/// What becomes of those beyond it: the outcome in the database, and the reason under which they are counted.
const OUTBOX_FULL: &str = "outbox_full";
/// How often the outbox is looked at although nobody said so: another aggregator may have written to it.
const LOOK: Duration = Duration::from_secs(5);
/// How long a notification is tried. An alert that nobody could be told of for a day is history, not news.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// And how often at least: half an hour of trying at the longest waits. A clock that is set forward makes everything old,
/// and after a weekend off the first failure is no reason.
const GIVE_UP_ATTEMPTS: u32 = 100;
/// What becomes of a message then: the outcome in the database, and the reason under which it is counted.
const GIVEN_UP: &str = "given_up";
/// The longest a channel may ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);
/// No wait is longer than this, jitter included. One that is was written before the clock was set back, and is over.
const WAIT_MAX: Duration = Duration::from_secs(6 * 60);
/// Notifications looked at after a start for those that were put off.
const PUT_OFF_MAX: u32 = 1_000;

/// What a channel did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It has it.
    Sent,
    /// Not now; perhaps later, and not before the given time has passed.
    Retry {
        /// The word under which it is counted.
        reason: &'static str,
        /// What the channel asked for.
        after: Option<Duration>,
    },
    /// Never.
    Refused {
        /// The word under which it is counted.
        reason: &'static str,
        /// For a person; never a URL or a body.
        detail: String,
    },
}

/// What becomes of a message after an attempt.
enum Outcome {
    /// It is done with, and this is how.
    Finished(Answer),
    /// It is tried again after so long.
    PutOff(Duration),
}

/// How a message is done with.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// The word in the database: why, where it was refused.
    word: &'static str,
    /// The word under which it is counted.
    outcome: &'static str,
}

/// See the module.
pub struct Notifier {
    /// The channels.
    pub channels: Vec<Webhook>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub meters: NotifyMeters,
    /// Rung when the outbox got something.
    pub bell: Arc<Notify>,
    /// Called after each message and each round: the notifier makes progress.
    pub progress: Box<dyn Fn() + Send + Sync>,
}

/// What waits behind a message that was put off: the alert and channel, and until when, monotonic.
type PutOff = HashMap<(String, String), Duration>;

/// What is known between rounds.
#[derive(Debug, Default)]
struct Memory {
    /// `None` after a start, until it is read.
    put_off: Option<PutOff>,
    /// A message that has its answer, and since when, which the database does not know yet. Nothing is sent meanwhile, so
    /// it is one.
    unrecorded: Option<(Uuid, Answer, Timestamp)>,
    /// When the outbox was told to shed, without an answer so far.
    unshed: Option<Timestamp>,
    /// When it is to be held to its bound again, monotonic; `None` after a start: at once.
    shed_at: Option<Duration>,
}

impl Notifier {
    /// Sends until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut memory = Memory::default();
        loop {
            let wait = match self.round(&mut memory, &stop).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "outbox not readable; trying again");
                    LOOK
                }
            };
            (self.progress)();
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Sends what is due, unless it is told to `stop`. Returns how long nothing will be.
    async fn round(&self, memory: &mut Memory, stop: &CancellationToken) -> Result<Duration, StoreError> {
        self.record(memory).await?;
        match &mut memory.put_off {
            // Those that were given up meanwhile leave nothing behind.
            Some(put_off) => {
                let now = self.clock.monotonic();
                put_off.retain(|_, until| *until > now);
            }
            None => memory.put_off = Some(self.load_put_off().await?),
        }
        let mut horizon = self.clock.wall();
        loop {
            self.shed(memory).await;
            let due = self.store.due_notifications(horizon, BATCH).await?;
            for row in &due {
                // The rest waits in the outbox: nothing is cut off in the middle for want of time.
                if stop.is_cancelled() {
                    return Ok(LOOK);
                }
                self.handle(row, memory).await?;
                (self.progress)();
            }
            let (depth, next) = self.store.outbox_depth().await?;
            self.meters.queue.set(depth as f64);
            let now = self.clock.wall();
            let wait = next.map_or(LOOK, |next| next.since(now));
            if wait > WAIT_MAX {
                horizon = next.unwrap_or(now);
            } else if due.is_empty() {
                return Ok(wait.clamp(Duration::from_millis(10), LOOK));
            } else {
                horizon = now;
            }
        }
    }

    /// What was put off before a restart.
    async fn load_put_off(&self) -> Result<PutOff, StoreError> {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let waiting = self.store.due_notifications(wall + WAIT_MAX, PUT_OFF_MAX).await?;
        let later = waiting.iter().filter(|row| row.next_attempt_at > wall);
        Ok(later.map(|row| (subject(row), now + row.next_attempt_at.since(wall))).collect())
    }

    /// Sends a message, or puts it off behind an earlier one about the same alert.
    async fn handle(&self, row: &OutboxRow, memory: &mut Memory) -> Result<(), StoreError> {
        let (wall, now) = (self.clock.wall(), self.clock.monotonic());
        let subject = subject(row);
        let put_off = memory.put_off.get_or_insert_default();
        if let Some(until) = put_off.get(&subject).filter(|until| **until > now) {
            return self.store.defer_notification(row.id, row.attempts, wall + until.saturating_sub(now)).await;
        }
        match self.send(row).await {
            Outcome::Finished(answer) => {
                put_off.remove(&subject);
                memory.unrecorded = Some((row.id, answer, self.clock.wall()));
                self.record(memory).await
            }
            Outcome::PutOff(delay) => {
                // Before the database is told: it waits so long even where that fails.
                put_off.insert(subject, self.clock.monotonic() + delay);
                self.store.defer_notification(row.id, row.attempts + 1, self.clock.wall() + delay).await
            }
        }
    }

    /// Records the answer that the database does not know yet, where there is one.
    async fn record(&self, memory: &mut Memory) -> Result<(), StoreError> {
        if let Some((id, Answer { word, outcome }, at)) = memory.unrecorded {
            // Until then it waits.
            if self.store.finish_notification(id, word, at).await? {
                self.meters.finished.with_label_values(&[outcome]).inc();
            } else {
                tracing::warn!(%id, outcome, "notification was done with meanwhile; does another aggregator send from this outbox?");
            }
            memory.unrecorded = None;
        }
        Ok(())
    }

    /// Holds the outbox to its bound, where it is time. A database that does not answer is asked again for the same.
    async fn shed(&self, memory: &mut Memory) {
        let now = self.clock.monotonic();
        if memory.unshed.is_none() && memory.shed_at.is_some_and(|at| now < at) {
            return;
        }
        let at = *memory.unshed.get_or_insert_with(|| self.clock.wall());
        match self.store.shed_outbox(OUTBOX_MAX, at).await {
            Ok(shed) => {
                (memory.unshed, memory.shed_at) = (None, Some(now + SHED));
                for (channel, notifications) in shed {
                    self.meters.failed.with_label_values(&[channel.as_str(), OUTBOX_FULL]).inc_by(notifications);
                    self.meters.finished.with_label_values(&[OUTBOX_FULL]).inc_by(notifications);
                    tracing::error!(
                        channel,
                        notifications,
                        most = OUTBOX_MAX,
                        "too many notifications wait; the oldest are given up"
                    );
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "outbox not held to its bound; trying again"),
        }
    }

    /// Sends a message.
    async fn send(&self, row: &OutboxRow) -> Outcome {
        let Some(channel) = self.channels.iter().find(|channel| channel.name() == row.channel) else {
            tracing::warn!(channel = row.channel, id = %row.id, "channel is no longer configured; notification dropped");
            self.meters.failed.with_label_values(&["unknown", "no_channel"]).inc();
            return Outcome::Finished(Answer::new("no_channel"));
        };
        let delivery = channel.send(row).await;
        let age = self.clock.wall().since(row.created_at);
        match delivery {
            Delivery::Sent => {
                self.meters.sent.with_label_values(&[channel.name()]).inc();
                self.meters.latency_seconds.observe(age.as_secs_f64());
                tracing::info!(channel = row.channel, id = %row.id, attempts = row.attempts + 1, "notification accepted");
                Outcome::Finished(Answer::new("sent"))
            }
            Delivery::Refused { reason, detail } => {
                self.meters.failed.with_label_values(&[channel.name(), reason]).inc();
                tracing::error!(channel = row.channel, id = %row.id, reason, detail, "notification refused for good");
                Outcome::Finished(Answer { word: reason, outcome: "refused" })
            }
            Delivery::Retry { reason, after } => {
                self.meters.failed.with_label_values(&[channel.name(), reason]).inc();
                if age > GIVE_UP && row.attempts + 1 >= GIVE_UP_ATTEMPTS {
                    self.meters.failed.with_label_values(&[channel.name(), GIVEN_UP]).inc();
                    tracing::error!(channel = row.channel, id = %row.id, reason, "notification given up");
                    return Outcome::Finished(Answer::new(GIVEN_UP));
                }
                let delay = delay_after(row.attempts, after);
                tracing::warn!(channel = row.channel, id = %row.id, reason, attempts = row.attempts + 1, ?delay, "notification failed; trying again");
                Outcome::PutOff(delay)
            }
        }
    }
}

impl Answer {
    fn new(word: &'static str) -> Self {
        Self { word, outcome: word }
    }
}

/// What a message is about: its channel and the key of its group of alerts.
fn subject(row: &OutboxRow) -> (String, String) {
    let group = row.body.get("groupKey").and_then(|key| key.as_str()).unwrap_or_default();
    (row.channel.clone(), group.into())
}

/// The wait after `attempts` failures and one more.
fn delay_after(attempts: u32, after: Option<Duration>) -> Duration {
    let mut backoff = Backoff::default();
    for _ in 0..attempts.min(32) {
        backoff.delay_with(None, 0.0);
    }
    backoff.next_delay(after.map(|asked| asked.min(RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests;
