//! How long a connection may stand without an answer of ours.
//!
//! One rule bounds idle clients, clients that send a header byte by byte, and clients that do not read: a connection on
//! which we wrote nothing for [`AGAIN`] is over; a new one after [`FIRST`]. (hyper's servers have no timeout of their own
//! here: they run without a timer. An HTTP/2 connection that is idle on purpose is written to all the same: its keepalive
//! pings are ours.) Whoever reads and writes the connection asks [`Patience::check`] before each of both, and is woken
//! when the answer changes.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How long a new connection may stand: 5 s to send a header, and 30 s for the answer.
pub const FIRST: Duration = Duration::from_secs(35);
/// How long one may after an answer: longer than the longest usual interval of a scrape (60 s), so that a scraper keeps its
/// connection.
pub const AGAIN: Duration = Duration::from_secs(75);

/// See the module.
#[derive(Debug)]
pub struct Patience(Pin<Box<Sleep>>);

impl Default for Patience {
    /// With a connection that is new.
    fn default() -> Self {
        Self(Box::pin(sleep(FIRST)))
    }
}

impl Patience {
    /// Whether the connection may go on; when it may not, its task is woken.
    pub fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.0.as_mut().poll(cx).is_ready() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Takes note of what was written: where that is anything, the connection has our patience again.
    pub fn note(&mut self, written: &Poll<io::Result<usize>>, cx: &mut Context<'_>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.0.set(sleep(AGAIN));
            // hyper waits for a read that it began before: only this makes the new timer wake it.
            let _ = self.0.as_mut().poll(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One connection, and the task that serves it.
    struct Served {
        patience: Patience,
        woken: Arc<Woken>,
    }

    impl Served {
        fn new() -> Self {
            Self { patience: Patience::default(), woken: Arc::default() }
        }

        fn may_go_on(&mut self) -> bool {
            let waker = Waker::from(self.woken.clone());
            self.patience.check(&mut Context::from_waker(&waker)).is_ok()
        }

        fn writes(&mut self, written: &Poll<io::Result<usize>>) {
            let waker = Waker::from(self.woken.clone());
            self.patience.note(written, &mut Context::from_waker(&waker));
        }

        fn wakes(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    const MOMENT: Duration = Duration::from_millis(2);

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_that_is_given_no_answer_is_over_and_its_task_is_woken() {
        let mut served = Served::new();
        assert!(served.may_go_on());
        sleep(FIRST.saturating_sub(MOMENT)).await;
        assert_eq!((served.may_go_on(), served.wakes()), (true, 0));
        sleep(MOMENT * 2).await;
        assert_eq!((served.wakes(), served.may_go_on()), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_gives_it_time_again_and_its_task_is_woken_by_the_new_time_though_it_only_waits() {
        let mut served = Served::new();
        for _ in 0..3 {
            sleep(FIRST.saturating_sub(MOMENT)).await;
            assert!(served.may_go_on());
            served.writes(&Poll::Ready(Ok(1)));
        }
        sleep(AGAIN.saturating_sub(MOMENT)).await;
        assert_eq!(served.wakes(), 0);
        sleep(MOMENT * 2).await;
        assert_eq!((served.wakes(), served.may_go_on()), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_takes_nothing_is_no_answer() {
        let mut served = Served::new();
        sleep(FIRST.saturating_sub(MOMENT)).await;
        for nothing in [Poll::Pending, Poll::Ready(Ok(0)), Poll::Ready(Err(ErrorKind::BrokenPipe.into()))] {
            served.writes(&nothing);
        }
        sleep(MOMENT * 2).await;
        assert!(!served.may_go_on());
    }
}
