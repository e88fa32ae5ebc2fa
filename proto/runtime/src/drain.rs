//! An orderly end: named phases, ended one after the other, each with a deadline.
//!
//! `app.rs` makes the phases in the order in which they shall end (first what takes in, last what stores) and spawns
//! every task in one of them. A task that ends before the drain begins, or that panics at any time, is a fault of the
//! program: it is logged by name and ends the program in order, since half a program that looks alive is worse than none.
//! Once the drain has begun a task may end before its phase does, because what fed it is gone; a panic is told even then:
//! what should have been stored may not be.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Phases in the order in which they end.
#[derive(Debug, Default)]
pub struct Drain {
    phases: Vec<Phase>,
    asked: CancellationToken,
    begun: CancellationToken,
    fault: CancellationToken,
}

/// Tasks that end together.
#[derive(Clone, Debug)]
pub struct Phase {
    name: &'static str,
    deadline: Duration,
    token: CancellationToken,
    tracker: TaskTracker,
    begun: CancellationToken,
    fault: CancellationToken,
}

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked: SIGINT or SIGTERM.
    Asked,
    /// A task ended on its own.
    Fault,
}

/// The program ended because a part of it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the program ended on its own; the log says which")]
pub struct Fault;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Returned,
    Panicked,
}

/// How the drain went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Phases whose tasks had not ended at their deadline, and how many were left; their work may be lost.
    pub overdue: Vec<(&'static str, usize)>,
}

/// Cancelled by the first SIGINT or SIGTERM from now on.
///
/// The first thing that a program does in its runtime: a signal that comes while the program still starts is then kept
/// for the drain, where one that comes before would end the process on the spot, or do nothing at all to a container's
/// first process.
pub fn asked_by_signal() -> io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = CancellationToken::new();
    let cancel = asked.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    Ok(asked)
}

// === impl Drain ===

impl Drain {
    /// Without phases yet; it ends when `asked` is cancelled, see [`asked_by_signal`].
    pub fn new(asked: CancellationToken) -> Self {
        Self { asked, ..Self::default() }
    }

    /// Adds the next phase to end. `deadline` is how long its tasks may take after they were told to.
    pub fn phase(&mut self, name: &'static str, deadline: Duration) -> Phase {
        let phase = Phase {
            name,
            deadline,
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            begun: self.begun.clone(),
            fault: self.fault.clone(),
        };
        self.phases.push(phase.clone());
        phase
    }

    /// Waits until somebody asks or a task ends on its own.
    pub async fn until_asked(&self) -> Reason {
        tokio::select! {
            () = self.asked.cancelled() => Reason::Asked,
            () = self.fault.cancelled() => Reason::Fault,
        }
    }

    /// A token that is cancelled when a task ended on its own.
    pub fn fault(&self) -> CancellationToken {
        self.fault.clone()
    }

    /// Waits until somebody asks or something breaks, then ends each phase in order.
    pub async fn serve(self) -> Result<(), Fault> {
        let fault = self.fault();
        let reason = self.until_asked().await;
        tracing::info!(?reason, "ending");
        let report = self.run().await;
        tracing::info!(%report, "ended");
        if fault.is_cancelled() { Err(Fault) } else { Ok(()) }
    }

    /// Ends each phase in order: tells its tasks, then waits until they ended or the deadline passed.
    pub async fn run(self) -> Report {
        self.begun.cancel();
        let mut overdue = Vec::new();
        for phase in self.phases {
            tracing::debug!(phase = phase.name, tasks = phase.tracker.len(), "draining");
            phase.token.cancel();
            phase.tracker.close();
            if timeout(phase.deadline, phase.tracker.wait()).await.is_err() {
                let left = phase.tracker.len();
                tracing::warn!(phase = phase.name, left, deadline = ?phase.deadline, "phase did not end in time");
                overdue.push((phase.name, left));
            }
        }
        Report { overdue }
    }
}

// === impl Phase ===

impl Phase {
    /// Cancelled when the phase shall end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task of this phase. It must run until the phase's token is cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task);
        self.watch(name, async move {
            match handle.await {
                Err(error) if error.is_panic() => Ending::Panicked,
                _ => Ending::Returned,
            }
        });
    }

    /// Starts a thread of this phase, for work that blocks. The same holds for it.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            work();
            // Not reached by a panic, which drops it.
            let _ = done.send(());
        })?;
        self.watch(name, async move {
            match ended.await {
                Ok(()) => Ending::Returned,
                Err(_) => Ending::Panicked,
            }
        });
        Ok(())
    }

    /// Waits for the end of a task, which is a fault unless the program drains and the task returned.
    fn watch(&self, name: &'static str, ended: impl Future<Output = Ending> + Send + 'static) {
        let (begun, fault) = (self.begun.clone(), self.fault.clone());
        self.tracker.spawn(async move {
            let ending = ended.await;
            let draining = begun.is_cancelled();
            if !draining || ending == Ending::Panicked {
                tracing::error!(task = name, ?ending, draining, "task ended on its own; the program ends");
                fault.cancel();
            }
        });
    }

    /// Starts a short-lived task of this phase (a connection, a request): it may end whenever it likes.
    pub fn spawn_transient(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.overdue.is_empty() {
            return f.write_str("everything ended in time");
        }
        for (index, (name, left)) in self.overdue.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {left} left")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test(start_paused = true)]
    async fn phases_end_in_the_order_in_which_they_were_made() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let mut drain = Drain::default();
        for name in ["first", "second", "third"] {
            let phase = drain.phase(name, Duration::from_secs(1));
            let (token, ended) = (phase.token(), ended.clone());
            phase.spawn(name, async move {
                token.cancelled().await;
                ended.lock().expect("not poisoned").push(name);
            });
        }
        let report = drain.run().await;
        assert_eq!(report.overdue, []);
        assert_eq!(*ended.lock().expect("not poisoned"), ["first", "second", "third"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_costs_its_phase_and_is_named_but_the_next_phase_still_ends() {
        let mut drain = Drain::default();
        drain.phase("stuck", Duration::from_secs(5)).spawn("forever", std::future::pending());
        let last = drain.phase("last", Duration::from_secs(5));
        let token = last.token();
        last.spawn("fine", async move { token.cancelled().await });
        assert_eq!(drain.run().await.overdue, [("stuck", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_ends_the_program() {
        let mut drain = Drain::default();
        drain.phase("work", Duration::from_secs(1)).spawn("bad", async { panic!("on purpose") });
        assert_eq!(drain.serve().await, Err(Fault));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_as_it_ends_is_a_fault() {
        let asked = CancellationToken::new();
        let mut drain = Drain::new(asked.clone());
        let phase = drain.phase("work", Duration::from_secs(1));
        let told = phase.token();
        phase.spawn("bad", async move {
            told.cancelled().await;
            panic!("on purpose");
        });
        asked.cancel();
        assert_eq!(drain.serve().await, Err(Fault));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_with_what_feeds_it_in_an_earlier_phase_is_none() {
        let asked = CancellationToken::new();
        let mut drain = Drain::new(asked.clone());
        let (first, last) = (drain.phase("first", Duration::from_secs(1)), drain.phase("last", Duration::from_secs(1)));
        let (told, (feed, mut fed)) = (first.token(), tokio::sync::mpsc::channel::<()>(1));
        first.spawn("feeds", async move {
            told.cancelled().await;
            drop(feed);
        });
        last.spawn("is fed", async move { while fed.recv().await.is_some() {} });
        asked.cancel();
        assert_eq!(drain.serve().await, Ok(()));
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_a_fault_and_one_that_returns_when_told_is_not() {
        let mut drain = Drain::default();
        let started = drain.phase("work", Duration::from_secs(5)).spawn_thread("bad", || panic!("on purpose"));
        started.expect("a thread starts");
        assert_eq!(drain.serve().await, Err(Fault));
        let asked = CancellationToken::new();
        let mut drain = Drain::new(asked.clone());
        let phase = drain.phase("work", Duration::from_secs(5));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let started = phase.spawn_thread("good", move || {
            let _ = wait.recv();
        });
        started.expect("a thread starts");
        let told = phase.token();
        tokio::spawn(async move {
            told.cancelled().await;
            drop(go);
        });
        asked.cancel();
        assert_eq!(drain.serve().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_before_the_program_had_started_is_heard() {
        let asked = CancellationToken::new();
        asked.cancel();
        assert_eq!(Drain::new(asked).serve().await, Ok(()));
    }

    #[tokio::test]
    async fn a_thread_is_waited_for() {
        let mut drain = Drain::default();
        let phase = drain.phase("work", Duration::from_secs(5));
        let token = phase.token();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let started = phase.spawn_thread("blocking", move || {
            let _ = wait.recv();
        });
        started.expect("a thread starts");
        tokio::spawn(async move {
            token.cancelled().await;
            drop(go);
        });
        assert_eq!(drain.run().await.overdue, []);
    }
}
