//! Runs one collector on a thread of its own: ticks, deadline, health.
//!
//! A pass that fails, panics or takes too long is counted and shown, and the next tick comes all the same. A pass that
//! hangs is seen from outside: [`Watch::health`] knows since when it runs. Ticks are counted from a start that all
//! collectors share, so that those with the same interval read at the same moment and travel in one batch.

use crate::collect::{Collector, Table};
use crate::config::Schedule;
use crate::fold::{Fold, Folded};
use crate::meters::CollectMeters;
use runtime::clock::Clock;
use runtime::log::chain;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A collector's health as others see it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// When the last pass without an error ended, monotonic.
    pub last_good_at: Option<Duration>,
    /// What was wrong with the last pass.
    pub last_error: Option<String>,
    /// How long the last pass took.
    pub last_duration: Duration,
    /// Since when a pass runs, monotonic.
    pub running_since: Option<Duration>,
    /// Whether the running pass has been counted as overrun.
    overrun_counted: bool,
}

/// What a collector's thread shares with the rest.
pub struct Watch {
    /// The collector's name.
    pub name: &'static str,
    /// When it runs.
    pub schedule: Schedule,
    health: Mutex<Health>,
    meters: CollectMeters,
}

/// Everything a collector's thread needs.
pub struct Runner<F> {
    /// The collector.
    pub collector: Box<dyn Collector>,
    /// Shared with the status page.
    pub watch: Arc<Watch>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The monotonic time of tick zero, the same for all collectors.
    pub start: Duration,
    /// Disconnected when the thread shall end.
    pub stop: Receiver<()>,
    /// Takes a pass to the keeper; false when it has no room.
    pub deliver: F,
}

// === impl Watch ===

impl Watch {
    /// For the collector called `name`.
    pub fn new(name: &'static str, schedule: Schedule, meters: CollectMeters) -> Self {
        for counter in [&meters.passes, &meters.failures, &meters.overruns] {
            counter.with_label_values(&[name]);
        }
        Self { name, schedule, health: Mutex::default(), meters }
    }

    /// The health at the monotonic time `now`; counts a running pass that is over its deadline.
    pub fn health(&self, now: Duration) -> Health {
        let mut health = self.lock();
        let running = health.running_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if running > self.schedule.deadline {
            self.count_overrun(&mut health, running);
        }
        health.clone()
    }

    /// Whether the last pass was fine and none hangs.
    pub fn is_healthy(&self, now: Duration) -> bool {
        let health = self.health(now);
        health.last_error.is_none() && !health.overrun_counted
    }

    fn begin(&self, now: Duration) {
        let mut health = self.lock();
        health.running_since = Some(now);
        health.overrun_counted = false;
        self.meters.passes.with_label_values(&[self.name]).inc();
    }

    fn end(&self, now: Duration, error: Option<String>) {
        let mut health = self.lock();
        let took = now.saturating_sub(health.running_since.take().unwrap_or(now));
        if took > self.schedule.deadline {
            self.count_overrun(&mut health, took);
        }
        if let Some(text) = &error {
            self.meters.failures.with_label_values(&[self.name]).inc();
            if health.last_error.as_ref() != Some(text) {
                tracing::warn!(collector = self.name, error = text, "pass failed");
            }
        } else {
            if health.last_error.is_some() {
                tracing::info!(collector = self.name, "passes succeed again");
            }
            health.last_good_at = Some(now);
        }
        health.last_error = error;
        health.last_duration = took;
        let fine = health.last_error.is_none() && !health.overrun_counted;
        self.meters.healthy.with_label_values(&[self.name]).set(f64::from(u8::from(fine)));
        self.meters.duration_seconds.with_label_values(&[self.name]).set(took.as_secs_f64());
    }

    fn count_overrun(&self, health: &mut Health, running: Duration) {
        if !std::mem::replace(&mut health.overrun_counted, true) {
            self.meters.overruns.with_label_values(&[self.name]).inc();
            self.meters.healthy.with_label_values(&[self.name]).set(0.0);
            tracing::warn!(collector = self.name, ?running, deadline = ?self.schedule.deadline, "pass takes too long");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Runner ===

impl<F: FnMut(Folded) -> bool> Runner<F> {
    /// Collects until told to stop.
    pub fn run(mut self) {
        let mut fold = Fold::new(self.watch.name, self.watch.schedule.interval);
        let mut table = Table::default();
        let mut tick = 0_u32;
        loop {
            self.pass(&mut table, &mut fold);
            tick = next_tick(tick, self.clock.monotonic().saturating_sub(self.start), self.watch.schedule.interval);
            let due = self.start + self.watch.schedule.interval * tick;
            match self.stop.recv_timeout(due.saturating_sub(self.clock.monotonic())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn pass(&mut self, table: &mut Table, fold: &mut Fold) {
        let (wall, began) = (self.clock.wall(), self.clock.monotonic());
        self.watch.begin(began);
        table.begin_pass();
        let collected = catch_unwind(AssertUnwindSafe(|| self.collector.collect(began, table)));
        let error = match collected {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => {
                // The table may be half declared: nothing of it is sent, and the source begins anew.
                table.redefine();
                Some("the collector panicked; this is a defect of the agent".into())
            }
        };
        let not_numbers = fold.not_numbers();
        let folded = fold.fold(table, wall);
        self.watch.meters.dropped.with_label_values(&["not_a_number"]).inc_by(fold.not_numbers() - not_numbers);
        self.watch.end(self.clock.monotonic(), error);
        if let Some(folded) = folded
            && !(self.deliver)(folded)
        {
            self.watch.meters.dropped.with_label_values(&["queue_full"]).inc();
        }
    }
}

/// The tick to wait for: the one after `done`, or the first that is not over when passes were too slow for that.
fn next_tick(done: u32, since_start: Duration, interval: Duration) -> u32 {
    let passed = since_start.as_nanos() / interval.as_nanos().max(1);
    done.saturating_add(1).max(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::CollectError;
    use crate::meters::Meters;
    use proto::catalog::SYSTEM_CPU_USAGE_PERCENT;
    use proto::sample::Timestamp;
    use proto::telemetry::Telemetry;
    use runtime::clock::ManualClock;
    use std::sync::mpsc::sync_channel;

    /// Does what the script says, one word per pass.
    struct Scripted {
        clock: ManualClock,
        script: Vec<&'static str>,
    }

    impl Collector for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn collect(&mut self, _: Duration, table: &mut Table) -> Result<(), CollectError> {
            if table.definitions().is_empty() {
                table.series(&SYSTEM_CPU_USAGE_PERCENT, &[])?;
            }
            match self.script.remove(0) {
                "fail" => Err(CollectError::Absent("no such thing".into())),
                "panic" => panic!("on purpose"),
                "slow" => {
                    self.clock.advance(Duration::from_secs(2));
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    }

    fn schedule() -> Schedule {
        Schedule { enabled: true, interval: Duration::from_secs(1), deadline: Duration::from_millis(500) }
    }

    fn run(script: &[&'static str]) -> (Arc<Watch>, Meters, usize, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let meters = Meters::new(&Telemetry::default());
        let watch = Arc::new(Watch::new("scripted", schedule(), meters.collect.clone()));
        let (_keep, stop) = sync_channel(0);
        let mut delivered = 0;
        let mut runner = Runner {
            collector: Box::new(Scripted { clock: clock.clone(), script: script.to_vec() }),
            watch: watch.clone(),
            clock: Arc::new(clock.clone()),
            start: Duration::ZERO,
            stop,
            deliver: |_| {
                delivered += 1;
                delivered != 3
            },
        };
        let (mut table, mut fold) = (Table::default(), Fold::new("scripted", Duration::from_secs(1)));
        for _ in script {
            runner.pass(&mut table, &mut fold);
        }
        (watch, meters, delivered, clock)
    }

    #[test]
    fn a_pass_that_fails_or_panics_is_counted_and_the_next_one_runs() {
        let (watch, meters, delivered, clock) = run(&["ok", "fail", "panic", "ok"]);
        assert_eq!(meters.collect.passes.with_label_values(&["scripted"]).get(), 4);
        assert_eq!(meters.collect.failures.with_label_values(&["scripted"]).get(), 2);
        assert_eq!(delivered, 3, "a panicking pass delivers nothing, a failing one what it could read");
        assert_eq!(meters.collect.dropped.with_label_values(&["queue_full"]).get(), 1, "the third found no room");
        assert!(watch.is_healthy(clock.monotonic()));
    }

    #[test]
    fn the_error_of_the_last_pass_is_shown() {
        let (watch, _, _, clock) = run(&["ok", "fail"]);
        let health = watch.health(clock.monotonic());
        assert_eq!(health.last_error.as_deref(), Some("no such thing"));
        assert!(!watch.is_healthy(clock.monotonic()));
    }

    #[test]
    fn a_slow_pass_is_counted_once_and_a_hanging_one_while_it_hangs() {
        let (watch, meters, _, clock) = run(&["slow"]);
        let overruns = || meters.collect.overruns.with_label_values(&["scripted"]).get();
        assert_eq!(overruns(), 1);
        watch.begin(clock.monotonic());
        clock.advance(Duration::from_secs(1));
        assert!(!watch.is_healthy(clock.monotonic()), "it hangs now");
        assert!(!watch.is_healthy(clock.monotonic()));
        assert_eq!(overruns(), 2, "counted once");
        watch.end(clock.monotonic(), None);
        assert_eq!(overruns(), 2);
    }

    #[test]
    fn missed_ticks_are_skipped_not_made_up_for() {
        let second = Duration::from_secs(1);
        assert_eq!(next_tick(0, Duration::from_millis(3), second), 1);
        assert_eq!(next_tick(4, Duration::from_millis(3999), second), 5, "a timer that fired early does not repeat");
        assert_eq!(next_tick(1, Duration::from_millis(7200), second), 8);
    }

    #[test]
    fn the_thread_ends_when_its_stop_is_dropped() {
        let meters = Meters::new(&Telemetry::default());
        let clock = ManualClock::default();
        let (sender, stop) = sync_channel(0);
        let runner = Runner {
            collector: Box::new(Scripted { clock: clock.clone(), script: vec!["ok"] }),
            watch: Arc::new(Watch::new("scripted", schedule(), meters.collect)),
            clock: Arc::new(clock),
            start: Duration::ZERO,
            stop,
            deliver: |_| true,
        };
        drop(sender);
        std::thread::spawn(move || runner.run()).join().expect("ends without a panic");
    }
}
