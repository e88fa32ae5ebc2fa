//! Turns: how many requests may walk over the series at a time, and how many may wait for that.
//!
//! Each keeps a core busy, and those that wait hold a place among all requests, which scrapes and probes need too.

use super::envelope::{ApiError, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Requests that walk over the series at a time.
pub(in crate::http) const TURNS_MAX: usize = 8;
/// Requests that wait for it; less than half of all that are answered at a time.
const WAITING_MAX: usize = 24;

/// See the module.
#[derive(Debug)]
pub(in crate::http) struct Turns {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Counts one that waits, however its waiting ends.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(TURNS_MAX)), waiting: AtomicUsize::new(0) }
    }
}

impl Turns {
    /// A turn, until it is dropped; waits no longer than `patience`.
    pub(in crate::http) async fn take(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if before >= WAITING_MAX {
            return Err(ApiError::new(Kind::Timeout, format!("{WAITING_MAX} queries wait for their turn already")));
        }
        match timeout(patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(ApiError::new(Kind::Timeout, "query timed out in query queue")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_and_who_finds_too_many_waiting_does_not() {
        let turns = Arc::new(Turns::default());
        let mut held = Vec::new();
        for _ in 0..TURNS_MAX {
            held.push(turns.take(Duration::ZERO).await.expect("there is one"));
        }
        let patience = Duration::from_secs(25);
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.take(patience).await.map(drop) })
            })
            .collect();
        while turns.waiting.load(Ordering::Relaxed) < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        let refused = turns.take(patience).await.expect_err("too many wait");
        assert_eq!(refused.message, "24 queries wait for their turn already");
        held.pop();
        let mut answers = Vec::new();
        for one in waiting {
            answers.push(one.await.expect("no panic"));
        }
        assert!(answers.iter().all(Result::is_ok), "the one place went from hand to hand: {answers:?}");
        let _last = turns.take(Duration::ZERO).await.expect("it is free again");
        let late = turns.take(patience).await.expect_err("nobody gives one back");
        assert_eq!((late.kind, late.message.as_str()), (Kind::Timeout, "query timed out in query queue"));
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
    }
}
