//! The only place that reads the time.
//!
//! Wall time says *when* something was and may jump; monotonic time says *how long* and never does. Code that decides
//! anything by time takes a [`Clock`] or the times themselves, so a test can hold them.

use proto::sample::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two clocks that belong together.
pub trait Clock: Send + Sync {
    /// Time of day, UTC. May jump in both directions.
    fn wall(&self) -> Timestamp;
    /// Time since an arbitrary start (on Linux: since boot, without suspend). Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The kernel's clocks: CLOCK_REALTIME and CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that stands still until it is moved. Clones share their time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Mutex<Times>>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    wall: Timestamp,
    monotonic: Duration,
}

// === impl SystemClock ===

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        // Through the C library, which rustix goes around: so a test can show a program another time of day.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp::ZERO + since,
            Err(before) => Timestamp::ZERO - before.duration(),
        }
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// Stands at `wall` and, on the monotonic side, at zero.
    pub fn at(wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Times { wall, monotonic: Duration::ZERO })))
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.change(|times| {
            times.wall = times.wall + by;
            times.monotonic += by;
        });
    }

    /// Sets the wall clock as an administrator would; monotonic time does not notice.
    pub fn jump_to(&self, wall: Timestamp) {
        self.change(|times| times.wall = wall);
    }

    fn change(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> Times {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.read().wall
    }

    fn monotonic(&self) -> Duration {
        self.read().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_not_time_that_passed() {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        clock.advance(Duration::from_secs(2));
        clock.jump_to(Timestamp::ZERO);
        assert_eq!(clock.wall(), Timestamp::ZERO);
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
    }

    #[test]
    fn the_kernels_clocks_agree_with_the_standard_library() {
        let std_now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let ours = SystemClock.wall().since(Timestamp::ZERO);
        assert!(ours.abs_diff(std_now) < Duration::from_secs(60));
        let earlier = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= earlier);
    }
}
