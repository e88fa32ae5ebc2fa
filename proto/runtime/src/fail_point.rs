//! Fail points: named places at which a test lets a program die, as by kill −9, and at exactly that place.
//!
//! A test starts the program with `MONITORING_FAIL_POINT=agent.synced:3`: `config` reads it, [`arm`] takes it, and at the
//! third [`hit`] of that name the process is gone. No destructor runs, nothing is flushed, nobody is told.
//!
//! A build without debug assertions has no fail points: a hit is nothing there, and an order is refused, so that no run
//! proves something that it did not do.
//!
//! [`POINTS`] lists all of them. `docs/faults.md` shows the list, and the fault tests let each of them kill.

use rustix::process::{Signal, getpid, kill_process};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The program that a point belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `monitoring-agent`.
    Agent,
    /// `monitoring-aggregator`.
    Aggregator,
}

/// A place at which a program can be told to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub program: Program,
    /// What has happened there, and what has not.
    pub at: &'static str,
}

const fn agent(name: &'static str, at: &'static str) -> Point {
    Point { name, program: Program::Agent, at }
}

const fn aggregator(name: &'static str, at: &'static str) -> Point {
    Point { name, program: Program::Aggregator, at }
}

/// All points. Those of the spool's disk are hit before the disk does it; `tear` is a write without its last byte.
pub const POINTS: &[Point] = &[
    agent("agent.synced", "records are durable; nobody was answered, nothing was sent"),
    agent("agent.sent", "a batch was handed to the transport"),
    agent("agent.acked", "an ack was taken; the cursor does not say so"),
    agent("spool.open.segment", "before a segment is made, or opened to go on in it"),
    agent("spool.write.segment", "before a record, or a segment's header, is written"),
    agent("spool.tear.segment", "a record, or a segment's header, is written but for its last byte"),
    agent("spool.sync.segment", "records are written, not synced"),
    agent("spool.truncate.segment", "before a torn tail is cut off"),
    agent("spool.allocate.reserve", "before the disk sets room aside for critical records"),
    agent("spool.remove.segment", "the cursor is past a segment, which is still there"),
    agent("spool.write.cursor", "before one of the cursor's copies is written"),
    agent("spool.tear.cursor", "one of the cursor's copies is written but for its last byte"),
    agent("spool.sync.cursor", "one of the cursor's copies is written, not synced"),
    agent("spool.write.identity", "before a new identity is written beside the old"),
    agent("spool.sync.identity", "a new identity is written beside the old, not synced"),
    agent("spool.rename.identity", "a new identity is synced, under another name"),
    agent("spool.sync.dir", "a file has its name, which is not synced"),
    aggregator("sqlite.marked", "a new file is known as ours and holds nothing (SQLite only)"),
    aggregator("aggregator.opened", "the database is open and migrated"),
    aggregator("aggregator.restored", "the head is restored; no agent was let in"),
    aggregator("aggregator.commit", "batches are admitted; no transaction was begun"),
    aggregator("aggregator.inside", "batches are written; the transaction is not committed"),
    aggregator("aggregator.committed", "batches are committed; nobody was told"),
    aggregator("aggregator.acked", "an ack was handed to the transport"),
    aggregator("aggregator.prune", "before old batches are deleted"),
    aggregator("aggregator.pruned", "old batches are deleted; old history is not"),
];

/// An order to die: at which point, and at which hit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailPoint {
    point: &'static Point,
    hits: u64,
}

/// Why an order is not understood. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Release builds have none.
    #[error("this build has no fail points; they come with debug assertions")]
    NotInThisBuild,
    /// Not `NAME:N`.
    #[error("{0:?} is no fail point; write it like agent.synced:3, which is the third time")]
    Form(String),
    /// A name that is not in the list.
    #[error("{0:?} is not a fail point; the list is in docs/faults.md")]
    Unknown(String),
}

/// The order that this process has, and how often its point was hit.
struct Armed {
    order: FailPoint,
    hit: AtomicU64,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

impl FromStr for FailPoint {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        if !cfg!(debug_assertions) {
            return Err(OrderError::NotInThisBuild);
        }
        let form = || OrderError::Form(text.into());
        let (name, hits) = text.split_once(':').ok_or_else(form)?;
        let hits = hits.parse().ok().filter(|hits| *hits > 0).ok_or_else(form)?;
        let point = POINTS.iter().find(|point| point.name == name);
        Ok(Self { point: point.ok_or_else(|| OrderError::Unknown(name.into()))?, hits })
    }
}

/// Takes an order; a process has one in its life.
pub fn arm(order: FailPoint) {
    // A second one would be a second configuration of one process; the first stands.
    let _ = ARMED.set(Armed { order, hit: AtomicU64::new(0) });
}

/// The program is at this place; it dies here if that was its order.
#[inline]
pub fn hit(name: &str) {
    if due(name) {
        die();
    }
}

/// Whether this hit is the one at which to [`die`]; for places that do something first.
#[inline]
pub fn due(name: &str) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    let Some(armed) = ARMED.get() else { return false };
    armed.order.is_due(name, &armed.hit)
}

/// Ends the process as kill −9 does.
pub fn die() -> ! {
    // That this fails is not possible for our own process; if it did, we would still do nothing more.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        thread::park();
    }
}

impl FailPoint {
    /// Whether a hit of `name` is the ordered one; counts it.
    fn is_due(&self, name: &str, hit: &AtomicU64) -> bool {
        self.point.name == name && hit.fetch_add(1, Ordering::Relaxed) + 1 == self.hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_order_is_due_at_its_hit_of_its_name_and_at_no_other() {
        let order: FailPoint = "agent.synced:3".parse().expect("debug builds have them");
        let hit = AtomicU64::new(0);
        let due = |name| order.is_due(name, &hit);
        assert!(!due("agent.synced") && !due("agent.sent") && !due("agent.synced"));
        assert!(due("agent.synced"));
        assert!(!due("agent.synced"));
    }

    #[test]
    fn what_is_no_order_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<FailPoint>().expect_err("refused").to_string();
        for text in ["", "agent.synced", "agent.synced:0", "agent.synced:x", "agent.synced:-1"] {
            assert!(error(text).contains("write it like agent.synced:3"), "{text}");
        }
        assert!(error("agent.sinked:1").contains("\"agent.sinked\" is not a fail point"));
    }

    #[test]
    fn a_process_without_an_order_goes_on() {
        for point in POINTS {
            hit(point.name);
        }
    }

    #[test]
    fn each_name_stands_once() {
        let names: HashSet<&str> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
    }
}
