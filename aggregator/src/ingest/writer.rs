//! The writer: group commit over all agents.
//!
//! One task takes every batch that waits, stores them in one transaction, and only then answers each. While one group
//! is being committed the next gathers, so the cost of a sync is shared by all agents that sent meanwhile.
//!
//! A database that is away is asked again until it is back; nothing is answered meanwhile, so nothing is acked, and
//! the agents keep what they have. Limits: [`QUEUE_BATCHES`], [`GROUP_BATCHES`].
//!
//! Invariant: the batches of one [`Lane`] are stored in their order and without a hole; after one that was not stored
//! none is. Otherwise the position would pass it, and when it came again it would be taken for a replay and acked.

use crate::meters::IngestMeters;
use crate::store::{BatchRow, Store, StoreError, Stored};
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
/// First and last wait for a database that is away. Short: agents wait behind it.
const RETRY_BASE: Duration = Duration::from_millis(100);
/// See [`RETRY_BASE`].
const RETRY_CAP: Duration = Duration::from_secs(5);

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// What the database says.
    pub stored: Stored,
    /// An earlier commit of the same got no answer: a replay may be our own.
    pub unsure: bool,
}

/// A batch and whom to tell when it is durable.
struct Waiting {
    row: BatchRow,
    ticket: Ticket,
}

/// Whom to tell. Dropped when the database will not take the batch.
struct Ticket {
    done: oneshot::Sender<Committed>,
    /// Whether a batch of this lane was not stored. Only the writer reads and sets it.
    broken: Arc<AtomicBool>,
}

/// Why a group is not stored.
enum Failed {
    /// The database will never take it as it is.
    Refused(StoreError),
    /// We end, and the database is away.
    Ended,
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
    pub async fn store(&self, row: BatchRow) -> Option<oneshot::Receiver<Committed>> {
        let (done, answer) = oneshot::channel();
        let ticket = Ticket { done, broken: self.broken.clone() };
        self.door.queue.send(Waiting { row, ticket }).await.ok()?;
        self.door.depth.set(self.door.waiting() as f64);
        Some(answer)
    }
}

impl Ticket {
    fn tell(self, committed: Committed) {
        // The stream may be gone; its agent sends the batch again and gets its ack as a replay.
        let _ = self.done.send(committed);
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
        (Self { store, inbox, clock, meters, store_up }, door)
    }

    /// Commits groups until `stop`, then what is left. A database that is away then is not waited for.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP_BATCHES);
        loop {
            tokio::select! {
                biased;
                taken = self.inbox.recv_many(&mut group, GROUP_BATCHES) => if taken == 0 { return },
                () = stop.cancelled() => self.inbox.close(),
            }
            self.meters.queue.set(self.inbox.len() as f64);
            if !group.is_empty() {
                self.store(std::mem::take(&mut group), &stop).await;
            }
        }
    }

    /// Stores a group and answers each of its batches.
    async fn store(&self, mut group: Vec<Waiting>, stop: &CancellationToken) {
        group.retain(|waiting| !waiting.ticket.is_broken());
        let (rows, tickets): (Vec<_>, Vec<_>) = group.into_iter().map(|waiting| (waiting.row, waiting.ticket)).unzip();
        match self.commit(&rows, stop).await {
            Ok(committed) => tickets.into_iter().zip(committed).for_each(|(ticket, committed)| ticket.tell(committed)),
            Err(Failed::Ended) => tickets.into_iter().for_each(Ticket::give_up),
            // One of the rows may be the cause: each is tried alone, so that the others are not held up by it.
            Err(Failed::Refused(error)) => {
                tracing::error!(
                    error = chain(&error),
                    batches = rows.len(),
                    "group refused; storing its batches one by one"
                );
                for (row, ticket) in rows.into_iter().zip(tickets) {
                    self.store_one(row, ticket, stop).await;
                }
            }
        }
    }

    async fn store_one(&self, row: BatchRow, ticket: Ticket, stop: &CancellationToken) {
        if ticket.is_broken() {
            return;
        }
        match self.commit(std::slice::from_ref(&row), stop).await.map(|committed| committed.into_iter().next()) {
            Ok(Some(committed)) => ticket.tell(committed),
            Ok(None) | Err(Failed::Ended) => ticket.give_up(),
            Err(Failed::Refused(error)) => {
                tracing::error!(error = chain(&error), agent = %row.agent_id, position = %row.position, "batch not stored; its agent keeps it");
                ticket.give_up();
            }
        }
    }

    /// Commits rows, however long it takes. A database that is away is not waited for once we end.
    async fn commit(&self, rows: &[BatchRow], stop: &CancellationToken) -> Result<Vec<Committed>, Failed> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            let unsure = backoff.failures() > 0;
            match self.try_commit(rows).await {
                Ok(stored) => return Ok(stored.into_iter().map(|stored| Committed { stored, unsure }).collect()),
                Err(StoreError::Unavailable(error)) if !unsure => {
                    tracing::error!(
                        error = chain(&error),
                        batches = rows.len(),
                        "database away; agents keep their batches"
                    );
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => return Err(Failed::Refused(error)),
            }
            let delay = backoff.next_delay(None);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return Err(Failed::Ended),
            }
        }
    }

    async fn try_commit(&self, rows: &[BatchRow]) -> Result<Vec<Stored>, StoreError> {
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
