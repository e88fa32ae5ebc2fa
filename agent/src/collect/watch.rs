//! Runs one collector on a thread of its own: ticks, deadline, health.
//!
//! A pass that fails, panics or takes too long is counted and shown, and the next tick comes all the same. A pass that
//! hangs cannot count itself: whoever begins a pass looks at all collectors ([`Watch::look`]), and so does the page
//! that shows the metrics. Ticks are counted from a start that all collectors share, so that those with the same
//! interval read at the same moment and travel in one batch. The collector is made on its thread, too: that reads its
//! files for the first time, and may hang as any pass may.
//!
//! What a collector says in the log changes with its outcome, and is at most one line in [`LINE_EVERY`]: a file whose
//! garbage is another in each pass would fill the disk otherwise.

use crate::collect::{CollectError, Collector, Table};
use crate::config::Schedule;
use crate::fold::{Fold, Folded};
use crate::meters::CollectMeters;
use runtime::clock::Clock;
use runtime::log::chain;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Least time between two lines of one collector in the log.
const LINE_EVERY: Duration = Duration::from_secs(60);

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
    /// Whether the running pass, or the last one where none runs, has been counted as overrun.
    overrun_counted: bool,
    /// When the log was told of an overrun last, monotonic.
    overrun_said_at: Option<Duration>,
    /// When the log was last written to, and which error that line told; `None` is success.
    said: Option<(Duration, Option<String>)>,
}

/// Why a pass was not fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In one word: the label `reason`.
    pub reason: &'static str,
    /// In a sentence, with all causes.
    pub text: String,
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

/// Everything a collector's thread needs, but for the collector.
pub struct Runner<F> {
    /// Shared with the status page and the other collectors' threads.
    pub watch: Arc<Watch>,
    /// The watches of all collectors: one that hangs is seen by the others.
    pub all: Arc<[Arc<Watch>]>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The monotonic time of tick zero, the same for all collectors.
    pub start: Duration,
    /// Disconnected when the thread shall end.
    pub stop: Receiver<()>,
    /// Takes a pass to the keeper.
    pub deliver: F,
}

// === impl Watch ===

impl Watch {
    /// For the collector called `name`.
    pub fn new(name: &'static str, schedule: Schedule, meters: CollectMeters) -> Self {
        for counter in [&meters.passes, &meters.overruns] {
            counter.with_label_values(&[name]);
        }
        for reason in CollectError::REASONS {
            meters.failures.with_label_values(&[name, reason]);
        }
        Self { name, schedule, health: Mutex::default(), meters }
    }

    /// The health as of the last pass; since when one runs.
    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    /// Counts a running pass that is over its deadline at the monotonic time `now`, once.
    pub fn look(&self, now: Duration) {
        let mut health = self.lock();
        let running = health.running(now);
        if running > self.schedule.deadline {
            self.count_overrun(&mut health, running, now);
        }
    }

    /// Whether the last pass was fine and none hangs.
    pub fn is_healthy(&self, now: Duration) -> bool {
        let health = self.lock();
        health.last_error.is_none() && !health.overrun_counted && health.running(now) <= self.schedule.deadline
    }

    /// The collector is being made; a first pass begins when that is done.
    fn make(&self, now: Duration) {
        self.lock().running_since = Some(now);
    }

    fn begin(&self, now: Duration) {
        let mut health = self.lock();
        health.running_since = Some(now);
        health.overrun_counted = false;
        self.meters.passes.with_label_values(&[self.name]).inc();
    }

    fn end(&self, now: Duration, failure: Option<Failure>) {
        let mut health = self.lock();
        let took = now.saturating_sub(health.running_since.take().unwrap_or(now));
        if took > self.schedule.deadline {
            self.count_overrun(&mut health, took, now);
        }
        match &failure {
            Some(Failure { reason, .. }) => self.meters.failures.with_label_values(&[self.name, reason]).inc(),
            None => health.last_good_at = Some(now),
        }
        health.last_error = failure.map(|failure| failure.text);
        health.last_duration = took;
        if health.may_say(now) {
            if let Some(text) = &health.last_error {
                tracing::warn!(collector = self.name, error = text, "pass failed");
            } else {
                tracing::info!(collector = self.name, "passes succeed again");
            }
        }
        let fine = health.last_error.is_none() && !health.overrun_counted;
        self.meters.healthy.with_label_values(&[self.name]).set(f64::from(u8::from(fine)));
        self.meters.duration_seconds.with_label_values(&[self.name]).set(took.as_secs_f64());
    }

    fn count_overrun(&self, health: &mut Health, running: Duration, now: Duration) {
        if std::mem::replace(&mut health.overrun_counted, true) {
            return;
        }
        self.meters.overruns.with_label_values(&[self.name]).inc();
        self.meters.healthy.with_label_values(&[self.name]).set(0.0);
        if health.overrun_said_at.is_none_or(|at| now.saturating_sub(at) >= LINE_EVERY) {
            health.overrun_said_at = Some(now);
            tracing::warn!(collector = self.name, ?running, deadline = ?self.schedule.deadline, "pass takes too long");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Health ===

impl Health {
    /// For how long the present pass runs; zero where none does.
    fn running(&self, now: Duration) -> Duration {
        self.running_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether the last outcome is news for the log at `now`; takes note that it is said.
    fn may_say(&mut self, now: Duration) -> bool {
        let (is_due, is_news) = match &self.said {
            Some((at, error)) => (now.saturating_sub(*at) >= LINE_EVERY, *error != self.last_error),
            None => (true, self.last_error.is_some()),
        };
        if is_due && is_news {
            self.said = Some((now, self.last_error.clone()));
        }
        is_due && is_news
    }
}

// === impl Failure ===

impl Failure {
    fn of_panic() -> Self {
        let text = "the collector panicked; this is a defect of the agent: please report it".into();
        Self { reason: CollectError::PANIC, text }
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        Self { reason: error.reason(), text: chain(&error) }
    }
}

// === impl Runner ===

impl<F: FnMut(Folded)> Runner<F> {
    /// Makes the collector, as of the monotonic time that `make` is given, and collects until told to stop.
    pub fn run(mut self, mut make: impl FnMut(Duration) -> Option<Box<dyn Collector>>) {
        let mut made: Option<Box<dyn Collector>> = None;
        let mut fold = Fold::new(self.watch.name, self.watch.schedule.interval);
        let mut table = Table::default();
        let mut tick = 0_u32;
        loop {
            made = made.or_else(|| self.make(&mut make));
            if let Some(collector) = &mut made {
                self.pass(collector.as_mut(), &mut table, &mut fold);
            }
            tick = next_tick(tick, self.clock.monotonic().saturating_sub(self.start), self.watch.schedule.interval);
            let due = self.start + self.watch.schedule.interval * tick;
            match self.stop.recv_timeout(due.saturating_sub(self.clock.monotonic())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes the collector. One that panics over it is tried again at the next tick.
    fn make(&self, make: &mut impl FnMut(Duration) -> Option<Box<dyn Collector>>) -> Option<Box<dyn Collector>> {
        let now = self.clock.monotonic();
        self.watch.make(now);
        let made = catch_unwind(AssertUnwindSafe(|| make(now)));
        made.unwrap_or_else(|_| {
            self.watch.end(self.clock.monotonic(), Some(Failure::of_panic()));
            None
        })
    }

    fn pass(&mut self, collector: &mut dyn Collector, table: &mut Table, fold: &mut Fold) {
        let (wall, began) = (self.clock.wall(), self.clock.monotonic());
        self.watch.begin(began);
        self.all.iter().for_each(|watch| watch.look(began));
        table.begin_pass();
        let collected = catch_unwind(AssertUnwindSafe(|| collector.collect(began, table)));
        let failure = match collected {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::from(error)),
            Err(_) => {
                // The table may be half declared: nothing of it is sent, and the source declares it anew.
                table.redefine();
                Some(Failure::of_panic())
            }
        };
        let not_numbers = fold.not_numbers();
        let folded = fold.fold(table, wall);
        let not_numbers = fold.not_numbers() - not_numbers;
        self.watch.meters.values_dropped.with_label_values(&["not_a_number"]).inc_by(not_numbers);
        self.watch.end(self.clock.monotonic(), failure);
        if let Some(folded) = folded {
            (self.deliver)(folded);
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
    use crate::collect::part::{Cell, Cells, Part, Parts};
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

    fn watch(name: &'static str, meters: &Meters) -> Arc<Watch> {
        Arc::new(Watch::new(name, schedule(), meters.collect.clone()))
    }

    /// Takes so many passes of a collector and hands what they deliver to `deliver`.
    fn take(
        passes: usize,
        mut collector: impl Collector,
        watch: &Arc<Watch>,
        all: &[&Arc<Watch>],
        clock: &ManualClock,
        deliver: impl FnMut(Folded),
    ) {
        let (_keep, stop) = sync_channel(0);
        let all = all.iter().map(|watch| Arc::clone(watch)).collect();
        let clock = Arc::new(clock.clone());
        let mut runner = Runner { watch: watch.clone(), all, clock, start: Duration::ZERO, stop, deliver };
        let (mut table, mut fold) = (Table::default(), Fold::new("scripted", Duration::from_secs(1)));
        for _ in 0..passes {
            runner.pass(&mut collector, &mut table, &mut fold);
        }
    }

    fn run(script: &[&'static str]) -> (Arc<Watch>, Meters, usize, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let meters = Meters::new(&Telemetry::default());
        let watch = watch("scripted", &meters);
        let mut delivered = 0;
        let collector = Scripted { clock: clock.clone(), script: script.to_vec() };
        take(script.len(), collector, &watch, &[&watch], &clock, |_| delivered += 1);
        (watch, meters, delivered, clock)
    }

    #[test]
    fn a_pass_that_fails_or_panics_is_counted_and_the_next_one_runs() {
        let (watch, meters, delivered, clock) = run(&["ok", "fail", "panic", "ok"]);
        assert_eq!(meters.collect.passes.with_label_values(&["scripted"]).get(), 4);
        let failures = |reason: &str| meters.collect.failures.with_label_values(&["scripted", reason]).get();
        assert_eq!(CollectError::REASONS.map(failures), [0, 0, 1, 0, 0, 1], "absent once, a panic once");
        assert_eq!(delivered, 3, "a panicking pass delivers nothing, a failing one what it could read");
        assert!(watch.is_healthy(clock.monotonic()));
    }

    #[test]
    fn the_error_of_the_last_pass_is_shown() {
        let (watch, _, _, clock) = run(&["ok", "fail"]);
        let health = watch.health();
        assert_eq!(health.last_error.as_deref(), Some("no such thing"));
        assert!(!watch.is_healthy(clock.monotonic()));
    }

    #[test]
    fn a_slow_pass_is_counted_once_and_a_hanging_one_while_it_hangs_though_nobody_asks_for_its_health() {
        let (watch, meters, _, clock) = run(&["slow"]);
        let overruns = || meters.collect.overruns.with_label_values(&["scripted"]).get();
        let healthy = || meters.collect.healthy.with_label_values(&["scripted"]).get();
        assert_eq!(overruns(), 1);
        watch.begin(clock.monotonic());
        clock.advance(Duration::from_secs(1));
        assert!(!watch.is_healthy(clock.monotonic()), "it hangs now");
        assert_eq!(overruns(), 1, "asking counts nothing");

        let other = self::watch("other", &meters);
        let collector = || Scripted { clock: clock.clone(), script: vec!["ok"] };
        for _ in 0..2 {
            take(1, collector(), &other, &[&watch, &other], &clock, |_| {});
            assert_eq!((overruns(), healthy()), (2, 0.0), "another collector's pass saw it, once");
        }
        watch.end(clock.monotonic(), None);
        assert_eq!(overruns(), 2);
    }

    /// A part that panics in its second pass.
    struct PanicsOnce(Cell, u32);

    impl Part for PanicsOnce {
        fn read(&mut self, _: Duration, cells: &mut Cells) -> Result<(), CollectError> {
            self.1 += 1;
            assert_ne!(self.1, 2, "on purpose");
            cells.set(self.0, f64::from(self.1));
            Ok(())
        }
    }

    struct OfParts(Parts);

    impl Collector for OfParts {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
            self.0.collect(elapsed, table)
        }
    }

    #[test]
    fn after_a_part_panicked_once_its_source_is_whole_again() {
        let (clock, meters) = (ManualClock::default(), Meters::new(&Telemetry::default()));
        let watch = watch("scripted", &meters);
        let mut parts = Parts::default();
        parts.add(|cells| PanicsOnce(cells.push(&SYSTEM_CPU_USAGE_PERCENT, &[]), 0));
        let mut values = Vec::new();
        take(3, OfParts(parts), &watch, &[&watch], &clock, |folded| values.push(folded.pass.values));
        assert_eq!(values, [[1.0], [3.0]]);
        assert!(watch.is_healthy(clock.monotonic()));
    }

    #[test]
    fn the_log_hears_of_a_change_at_once_and_of_changing_garbage_once_a_minute() {
        let mut health = Health::default();
        let mut said = |second: u64, error: Option<&str>| {
            health.last_error = error.map(str::to_owned);
            health.may_say(Duration::from_secs(second))
        };
        assert!(!said(0, None), "that all is well from the beginning is no news");
        assert!(said(1, Some("found \"a\"")));
        assert!(!said(2, Some("found \"b\"")));
        assert!(!said(61, Some("found \"a\"")), "the same again");
        assert!(said(62, Some("found \"c\"")));
        assert!(!said(63, None));
        assert!(said(122, None), "it is well, and stayed so");
        assert!(!said(1000, None));
    }

    #[test]
    fn missed_ticks_are_skipped_not_made_up_for() {
        let second = Duration::from_secs(1);
        assert_eq!(next_tick(0, Duration::from_millis(3), second), 1);
        assert_eq!(next_tick(4, Duration::from_millis(3999), second), 5, "a timer that fired early does not repeat");
        assert_eq!(next_tick(1, Duration::from_millis(7200), second), 8);
    }

    #[test]
    fn a_collector_that_panics_while_it_is_made_is_counted_and_tried_again() {
        let meters = Meters::new(&Telemetry::default());
        let (_keep, stop) = sync_channel(0);
        let (watch, clock) = (watch("scripted", &meters), Arc::new(ManualClock::default()));
        let (all, deliver) = (Arc::from([watch.clone()]), |_: Folded| {});
        let runner = Runner { watch: watch.clone(), all, clock, start: Duration::ZERO, stop, deliver };
        assert!(runner.make(&mut |_| panic!("on purpose")).is_none());
        assert_eq!(meters.collect.failures.with_label_values(&["scripted", CollectError::PANIC]).get(), 1);
        assert!(watch.health().last_error.is_some_and(|error| error.contains("panicked")));
        let clock = ManualClock::default();
        let scripted = Scripted { clock, script: vec![] };
        let mut made = Some(Box::new(scripted) as Box<dyn Collector>);
        assert!(runner.make(&mut |_| made.take()).is_some());
    }

    #[test]
    fn the_thread_ends_when_its_stop_is_dropped() {
        let meters = Meters::new(&Telemetry::default());
        let clock = ManualClock::default();
        let (sender, stop) = sync_channel(0);
        let watch = watch("scripted", &meters);
        let runner = Runner {
            all: Arc::new([watch.clone()]),
            watch,
            clock: Arc::new(clock.clone()),
            start: Duration::ZERO,
            stop,
            deliver: |_| {},
        };
        drop(sender);
        let make = move |_| -> Option<Box<dyn Collector>> {
            Some(Box::new(Scripted { clock: clock.clone(), script: vec!["ok"] }))
        };
        std::thread::spawn(move || runner.run(make)).join().expect("ends without a panic");
    }
}
