//! The watch over one connection: it may stand as long as it is of use and gives a sign of life.
//!
//! HTTP/2's own ping (`server`) finds a peer that is gone, where both sides speak HTTP/2 and what we write gets away. It
//! does not see a peer that never began to speak it, nor one that takes nothing any more: what says that the connection
//! is over waits behind what was not taken. So each connection is looked at every now and then, beneath HTTP/2, and is
//! closed when at that time
//!
//! | reason | it |
//! |---|---|
//! | `silent` | gave us not one byte since [`Patience::silent_looks`] looks; an agent that lives answers our pings |
//! | `unused` | has no stream, and had none since the look before; an agent opens one at once |
//! | `ending` | is still there [`Patience::ending`] after we began to end; one that never had a stream, at once |
//!
//! It costs one timer for each connection.

use prometheus::IntCounterVec;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Context;
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a connection may be of no use.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub look_every: Duration,
    /// Looks without a byte from the peer.
    pub silent_looks: u32,
    /// How long connections may stay after we began to end: for last acks, and for being told to come back.
    pub ending: Duration,
}

/// The streams of a connection: how many were opened, and how many of these are open.
#[derive(Clone, Debug, Default)]
pub struct Uses(Arc<Streams>);

#[derive(Debug, Default)]
struct Streams {
    opened: AtomicU32,
    open: AtomicU32,
}

/// A stream that uses its connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Use(Uses);

/// See the module.
pub(super) struct Watch {
    patience: Patience,
    uses: Uses,
    /// Streams that had been opened at the last look, where none was open then. At the first look none is a reason.
    unused_at: Option<u32>,
    looks_without_a_byte: u32,
    ending: bool,
    timer: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    closed: IntCounterVec,
}

// === impl Patience ===

impl Default for Patience {
    /// A peer that is gone is noticed within a minute. One that lives is heard every 30 s, when it is pinged, and has 20 s
    /// for its answer.
    fn default() -> Self {
        Self { look_every: Duration::from_secs(10), silent_looks: 6, ending: Duration::from_secs(4) }
    }
}

// === impl Uses ===

impl Uses {
    /// One more stream.
    pub(super) fn begin(&self) -> Use {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Use(self.clone())
    }

    /// Streams so far, where none is open.
    fn unused(&self) -> Option<u32> {
        (self.0.open.load(Ordering::Relaxed) == 0).then(|| self.0.opened.load(Ordering::Relaxed))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Watch ===

impl Watch {
    /// Over a new connection; counts in `closed`.
    pub(super) fn new(patience: Patience, stop: CancellationToken, closed: IntCounterVec) -> Self {
        Self {
            patience,
            uses: Uses::default(),
            unused_at: Some(0),
            looks_without_a_byte: 0,
            ending: false,
            timer: Box::pin(sleep(patience.look_every)),
            stop: Box::pin(stop.cancelled_owned()),
            closed,
        }
    }

    /// The connection's streams.
    pub(super) fn uses(&self) -> Uses {
        self.uses.clone()
    }

    /// A byte came.
    pub(super) fn heard(&mut self) {
        self.looks_without_a_byte = 0;
    }

    /// Whether it may go on. To be asked before each read and each write: hyper waits for either, and is woken by this.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.ending && self.stop.as_mut().poll(cx).is_ready() {
            self.ending = true;
            if self.uses.unused() == Some(0) {
                return Err(self.close("ending"));
            }
            self.timer.set(sleep(self.patience.ending));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.ending {
                return Err(self.close("ending"));
            }
            self.look()?;
            let next = self.timer.deadline() + self.patience.look_every;
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        self.looks_without_a_byte += 1;
        if self.looks_without_a_byte >= self.patience.silent_looks {
            return Err(self.close("silent"));
        }
        let unused = self.uses.unused();
        if unused.is_some() && unused == self.unused_at {
            return Err(self.close("unused"));
        }
        self.unused_at = unused;
        Ok(())
    }

    fn close(&self, reason: &'static str) -> io::Error {
        self.closed.with_label_values(&[reason]).inc();
        tracing::debug!(reason, "connection closed");
        io::Error::new(io::ErrorKind::TimedOut, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Meters;
    use futures::task::noop_waker;
    use proto::telemetry::Telemetry;

    const SECOND: Duration = Duration::from_secs(1);

    struct Watched {
        watch: Watch,
        stop: CancellationToken,
    }

    impl Watched {
        fn new() -> Self {
            let closed = Meters::new(&Telemetry::default(), "sqlite").ingest.closed;
            let stop = CancellationToken::new();
            Self { watch: Watch::new(Patience::default(), stop.clone(), closed), stop }
        }

        /// Lets time pass a second at a time. Returns the second in which it was closed, and why.
        async fn outlast(&mut self, seconds: u64, mut each: impl FnMut(&mut Watch, u64)) -> Option<(u64, String)> {
            let waker = noop_waker();
            for second in 1..=seconds {
                tokio::time::advance(SECOND).await;
                each(&mut self.watch, second);
                if let Err(error) = self.watch.check(&mut Context::from_waker(&waker)) {
                    return Some((second, error.to_string()));
                }
            }
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_agent_that_answers_pings_late_stands_for_ever() {
        let mut watched = Watched::new();
        let _stream = watched.watch.uses().begin();
        let answer = |watch: &mut Watch, second: u64| {
            if second.is_multiple_of(50) {
                watch.heard();
            }
        };
        assert_eq!(watched.outlast(24 * 3600, answer).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_gives_no_sign_of_life_is_gone_within_a_minute() {
        let mut watched = Watched::new();
        let _stream = watched.watch.uses().begin();
        let hello = |watch: &mut Watch, second: u64| {
            if second == 1 {
                watch.heard();
            }
        };
        assert_eq!(watched.outlast(600, hello).await, Some((60, "silent".into())));
        assert_eq!(watched.watch.closed.with_label_values(&["silent"]).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_stream_is_closed_whatever_it_says() {
        let mut watched = Watched::new();
        assert_eq!(watched.outlast(600, |watch, _| watch.heard()).await, Some((10, "unused".into())));
        let mut watched = Watched::new();
        let mut stream = Some(watched.watch.uses().begin());
        let leave = |watch: &mut Watch, second: u64| {
            watch.heard();
            if second == 15 {
                stream = None;
            }
        };
        assert_eq!(watched.outlast(600, leave).await, Some((30, "unused".into())), "at the second look without one");
    }

    #[tokio::test(start_paused = true)]
    async fn when_we_end_who_never_had_a_stream_goes_at_once_and_others_have_some_time() {
        let mut never = Watched::new();
        never.stop.cancel();
        assert_eq!(never.outlast(600, |_, _| {}).await, Some((1, "ending".into())));
        let mut watched = Watched::new();
        let _stream = watched.watch.uses().begin();
        watched.stop.cancel();
        assert_eq!(watched.outlast(600, |watch, _| watch.heard()).await, Some((5, "ending".into())));
        assert_eq!(watched.watch.closed.with_label_values(&["ending"]).get(), 1);
    }
}
