//! The writer: group commit over all agents.
//!
//! One task takes every batch that waits, stores them in one transaction, and only then answers each. While one group
//! is being committed the next gathers, so the cost of a sync is shared by all agents that sent meanwhile.
//!
//! A database that is away is asked again until it is back; nothing is answered meanwhile, so nothing is acked, and
//! the agents keep what they have. A failure may be due to the size of the group (a statement's time, memory, disk): then
//! the next is half as large, so that what passes alone passes. Limits: [`QUEUE_BATCHES`], [`GROUP_BATCHES`],
//! [`GROUP_BYTES`], [`GROUP_EVENTS`].
//!
//! Invariant: the batches of one [`Lane`] are stored in their order and without a hole; after one that was not stored
//! none is. Otherwise the position would pass it, and when it came again it would be taken for a replay and acked.

use crate::meters::IngestMeters;
use crate::store::{BatchRow, News, Store, StoreError, Stored};
use prometheus::Gauge;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::fail_point;
use runtime::log::chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Batches that wait for the writer. A row is its batch compressed and rarely more than some KiB; the limit of a message
/// (4 MiB) bounds it. What a stream keeps beside its rows is bounded by its window.
pub const QUEUE_BATCHES: usize = 512;
/// Batches of one transaction: enough to share the sync, few enough to hold the lock for milliseconds.
const GROUP_BATCHES: usize = 256;
/// Payload of one transaction: what PostgreSQL gets in one statement, and a small share of the 30 s that it gives it. A
/// batch that is larger goes alone.
const GROUP_BYTES: usize = 16 << 20;
/// Events of one transaction: one statement's as well, some MiB of parameters. A batch has 1,000 at the most.
const GROUP_EVENTS: usize = 10_000;
/// First and last wait for a database that is away. Short: agents wait behind it.
const RETRY_BASE: Duration = Duration::from_millis(100);
/// See [`RETRY_BASE`].
const RETRY_CAP: Duration = Duration::from_secs(5);

/// A batch and whom to tell when it is durable.
struct Waiting {
    row: BatchRow,
    ticket: Ticket,
}

/// Whom to tell. Dropped when the database will not take the batch.
struct Ticket {
    done: oneshot::Sender<Stored>,
    /// Whether a batch of this lane was not stored. Only the writer reads and sets it.
    broken: Arc<AtomicBool>,
    /// What is new with it, if a commit of ours that got no answer has stored it: then it is found as a replay, and is none.
    perhaps: Option<News>,
}

/// What was taken from the queue and is not answered yet, in its order.
struct Taken {
    rows: Vec<BatchRow>,
    /// Of the same index.
    tickets: Vec<Ticket>,
    /// The first so many are stored one by one: one of them may be why their group was refused.
    alone: usize,
}

/// The writer's door.
#[derive(Clone)]
pub struct Door {
    queue: mpsc::Sender<Waiting>,
    depth: Gauge,
}

/// The way of one stream's batches through the door.
pub struct Lane {
    door: Door,
    broken: Arc<AtomicBool>,
}

/// See the module.
pub struct Writer {
    store: Arc<dyn Store>,
    inbox: mpsc::Receiver<Waiting>,
    clock: Arc<dyn Clock>,
    meters: IngestMeters,
    store_up: Gauge,
    /// Batches of the next group at the most: half after a failure, one more after each commit.
    most: usize,
}

impl Door {
    /// A lane for a stream.
    pub fn lane(&self) -> Lane {
        Lane { door: self.clone(), broken: Arc::default() }
    }

    /// Batches that wait for a commit.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl Lane {
    /// Hands a batch in; waits for room. `None` when the writer has ended.
    pub async fn store(&self, row: BatchRow) -> Option<oneshot::Receiver<Stored>> {
        let (done, answer) = oneshot::channel();
        let ticket = Ticket { done, broken: self.broken.clone(), perhaps: None };
        self.door.queue.send(Waiting { row, ticket }).await.ok()?;
        self.door.depth.set(self.door.waiting() as f64);
        Some(answer)
    }
}

impl Ticket {
    fn tell(self, stored: Stored) {
        // The stream may be gone; its agent sends the batch again and gets its ack as a replay.
        let _ = self.done.send(match (stored, self.perhaps) {
            (Stored::Replay, Some(news)) => Stored::New(news),
            (stored, _) => stored,
        });
    }

    fn give_up(self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Writer {
    /// A writer to `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, meters: IngestMeters, store_up: Gauge) -> (Self, Door) {
        let (queue, inbox) = mpsc::channel(QUEUE_BATCHES);
        let door = Door { queue, depth: meters.queue.clone() };
        (Self { store, inbox, clock, meters, store_up, most: GROUP_BATCHES }, door)
    }

    /// Commits groups until `stop`, then what is left. A database that is away then is not waited for.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut taken = Vec::with_capacity(GROUP_BATCHES);
        loop {
            tokio::select! {
                biased;
                count = self.inbox.recv_many(&mut taken, GROUP_BATCHES) => if count == 0 { return },
                () = stop.cancelled() => self.inbox.close(),
            }
            self.meters.queue.set(self.inbox.len() as f64);
            self.store(Taken::new(std::mem::take(&mut taken)), &stop).await;
        }
    }

    /// Stores what was taken, however long it takes, and answers each batch. A database that is away is not waited for
    /// once we end.
    async fn store(&mut self, mut taken: Taken, stop: &CancellationToken) {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            taken.skip_broken();
            let len = taken.next_len(self.most);
            if len == 0 {
                return;
            }
            match self.commit(&taken.rows[..len]).await {
                Ok(stored) => {
                    taken.tell(stored);
                    self.most = (self.most + 1).min(GROUP_BATCHES);
                    backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unanswered { .. })) => {
                    if backoff.failures() == 0 {
                        tracing::error!(
                            error = chain(&error),
                            batches = len,
                            "database away; agents keep their batches"
                        );
                    }
                    if let StoreError::Unanswered { perhaps, .. } = error {
                        taken.remember(perhaps);
                    }
                    self.most = (len / 2).max(1);
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_delay(None)) => {}
                        () = stop.cancelled() => return taken.give_up(),
                    }
                }
                Err(error) => taken.refuse(len, &error),
            }
        }
    }

    async fn commit(&self, rows: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
        fail_point::hit("aggregator.commit");
        let began = self.clock.monotonic();
        let result = self.store.commit(rows).await;
        self.meters.commit_seconds.observe(self.clock.monotonic().saturating_sub(began).as_secs_f64());
        self.store_up.set(f64::from(u8::from(result.is_ok())));
        match &result {
            Ok(_) => fail_point::hit("aggregator.committed"),
            Err(_) => self.meters.commit_failures.inc(),
        }
        result
    }
}

// === impl Taken ===

impl Taken {
    fn new(waiting: Vec<Waiting>) -> Self {
        let (rows, tickets) = waiting.into_iter().map(|waiting| (waiting.row, waiting.ticket)).unzip();
        Self { rows, tickets, alone: 0 }
    }

    /// Drops the batches in front whose lane is broken: those after a batch that was not stored.
    fn skip_broken(&mut self) {
        let broken = self.tickets.iter().take_while(|ticket| ticket.is_broken()).count();
        drop(self.take(broken));
    }

    /// How many batches the next transaction takes: at least one where there is any.
    fn next_len(&self, most: usize) -> usize {
        let most = if self.alone > 0 { 1 } else { most };
        let (mut bytes, mut events) = (0, 0);
        let fits = |(row, ticket): &(&BatchRow, &Ticket)| {
            bytes += row.payload.len();
            events += row.events.len();
            bytes <= GROUP_BYTES && events <= GROUP_EVENTS && !ticket.is_broken()
        };
        let fitting = self.rows.iter().zip(&self.tickets).take(most).take_while(fits).count();
        fitting.max(1).min(self.rows.len())
    }

    /// The first `len` of them, out of it.
    fn take(&mut self, len: usize) -> impl Iterator<Item = (BatchRow, Ticket)> {
        self.alone = self.alone.saturating_sub(len);
        self.rows.drain(..len).zip(self.tickets.drain(..len))
    }

    /// The first were stored.
    fn tell(&mut self, stored: Vec<Stored>) {
        for ((_, ticket), stored) in self.take(stored.len()).zip(stored) {
            ticket.tell(stored);
        }
    }

    /// A commit of the first got no answer: it may have stored them. What it found a replay of is one all the same.
    fn remember(&mut self, perhaps: Vec<Stored>) {
        for (ticket, stored) in self.tickets.iter_mut().zip(perhaps) {
            if let Stored::New(news) = stored {
                ticket.perhaps = Some(news);
            }
        }
    }

    /// The database will not take the first `len` as they are: each is tried alone, so that the others are not held up by
    /// the one that is the cause.
    fn refuse(&mut self, len: usize, error: &StoreError) {
        if len > 1 {
            tracing::error!(error = chain(error), batches = len, "group refused; storing its batches one by one");
            self.alone = len;
            return;
        }
        for (row, ticket) in self.take(len) {
            tracing::error!(error = chain(error), agent = %row.agent_id, position = %row.position, "batch not stored; its agent keeps it");
            ticket.give_up();
        }
    }

    /// We end: what is left stays with its agents.
    fn give_up(self) {
        self.tickets.into_iter().for_each(Ticket::give_up);
    }
}
