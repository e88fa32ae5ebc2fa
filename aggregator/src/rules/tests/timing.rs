//! When rules are evaluated: when their data comes, at their interval at the latest, and whatever the clock is set to.

use super::desk::{Desk, INTERVAL, JUMPS_MS, SECOND, began, hot, rules};
use crate::ingest::tests::fixture::until;
use runtime::clock::{Clock, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Two groups that read different metrics.
const TWO: &str = "groups:
- name: cpu
  rules: [{alert: Hot, expr: cpu > 90}]
- name: memory
  rules: [{alert: Full, expr: memory > 90}]
- name: any
  rules: [{alert: Any, expr: '{__name__=~\"cpu|memory\"} > 90'}]
";

#[tokio::test]
async fn data_makes_only_those_rules_look_that_read_it() {
    let mut desk = Desk::new(TWO).await;
    desk.round().await;
    let counts = |desk: &Desk| ["cpu", "memory", "any"].map(|group| desk.evaluations(group));
    assert_eq!(counts(&desk), [1, 1, 1], "at the start each looks once");
    for (metric, expected) in [("cpu", [2, 1, 2]), ("memory", [2, 2, 3]), ("disk", [2, 2, 3]), ("cpu", [3, 2, 4])] {
        desk.clock.advance(Duration::from_millis(100));
        desk.report(1, metric, &[1.0]);
        desk.round().await;
        assert_eq!(counts(&desk), expected, "{metric}");
    }
    desk.round().await;
    assert_eq!(counts(&desk), [3, 2, 4], "nothing came");
}

#[tokio::test]
async fn a_rule_looks_at_its_interval_at_the_latest() {
    let mut desk = Desk::new(&hot("")).await;
    desk.round().await;
    desk.clock.advance(Duration::from_millis(14_999));
    desk.round().await;
    assert_eq!(desk.evaluations("g"), 1);
    desk.clock.advance(Duration::from_millis(1));
    desk.round().await;
    assert_eq!((desk.evaluations("g"), desk.missed()), (2, 0));
}

#[tokio::test]
async fn evaluations_that_did_not_take_place_are_counted() {
    let mut desk = Desk::new(&hot("")).await;
    desk.round().await;
    desk.clock.advance(INTERVAL * 7 / 2);
    desk.round().await;
    assert_eq!((desk.evaluations("g"), desk.missed()), (2, 2), "three and a half intervals, of which one took place");
    desk.clock.advance(INTERVAL);
    desk.round().await;
    assert_eq!(desk.missed(), 2);
}

/// Lets `jump` happen in the middle of a `for` of ten seconds, during which agent 1's clock goes with ours.
async fn seconds_to_fire(jump_ms: i64) -> u32 {
    let mut desk = Desk::new(&hot("for: 10s")).await;
    desk.cpu(1, 95.0);
    desk.round().await;
    for second in 1..=30 {
        if second == 5 {
            desk.set_clock(jump_ms);
        }
        desk.see(95.0).await;
        if !desk.told().await.is_empty() {
            return second;
        }
    }
    panic!("it never fired")
}

#[tokio::test]
async fn a_clock_that_is_set_neither_fires_an_alert_nor_delays_it() {
    for jump_ms in JUMPS_MS {
        assert_eq!(seconds_to_fire(jump_ms).await, 10, "{jump_ms} ms");
    }
}

#[tokio::test]
async fn a_firing_alert_fires_on_when_the_clock_is_set() {
    for jump_ms in JUMPS_MS {
        let mut desk = Desk::new(&hot("")).await;
        desk.see(95.0).await;
        desk.set_clock(jump_ms);
        for _ in 0..5 {
            desk.see(95.0).await;
        }
        assert_eq!(desk.told().await, [began()]);
        desk.see(10.0).await;
        let alert = desk.alerts().await.remove(0);
        assert!(alert.resolved_at.is_some_and(|at| at >= alert.created_at), "{alert:?}");
    }
}

/// Lets agent 1's clock be ahead by what `ahead_ms` says for each second, of which it tells every ten seconds, and at once
/// where it was set. Returns the second in which a `for` of ninety fires, and what is told until twice that time is over.
async fn fires_by_a_clock(ahead_ms: impl Fn(i64) -> i64) -> (i64, Vec<(String, String)>) {
    let mut desk = Desk::new(&hot("for: 90s")).await;
    let mut fired = None;
    desk.tell_clock(ahead_ms(0), true);
    desk.cpu_by_own_clock(95.0, ahead_ms(0));
    desk.round().await;
    for second in 1..=180 {
        desk.clock.advance(SECOND);
        let was_set = ahead_ms(second).abs_diff(ahead_ms(second - 1)) > 500;
        if was_set || second % 10 == 0 {
            desk.tell_clock(ahead_ms(second), was_set);
        }
        desk.cpu_by_own_clock(95.0, ahead_ms(second));
        desk.round().await;
        if fired.is_none() && !desk.told().await.is_empty() {
            fired = Some(second);
        }
    }
    (fired.unwrap_or_default(), desk.told().await)
}

#[tokio::test]
async fn an_agents_clock_that_is_set_or_wrong_or_drifts_neither_fires_an_alert_nor_delays_or_ends_it() {
    for jump_ms in JUMPS_MS {
        let set = |second| if second >= 45 { jump_ms } else { 0 };
        assert_eq!(fires_by_a_clock(set).await, (90, vec![began()]), "set by {jump_ms} ms");
        assert_eq!(fires_by_a_clock(|_| jump_ms).await, (90, vec![began()]), "off by {jump_ms} ms from the start");
        let set_right = |second| if second >= 120 { 0 } else { jump_ms };
        assert_eq!(
            fires_by_a_clock(set_right).await,
            (90, vec![began()]),
            "{jump_ms} ms, then set right while it fires"
        );
    }
    // Some leave the tolerance of two seconds within these three minutes.
    for ms_per_second in [1, -1, 30, -30] {
        let drifts = |second| second * ms_per_second;
        assert_eq!(fires_by_a_clock(drifts).await, (90, vec![began()]), "{ms_per_second} ms a second");
    }
}

/// The engine of `desk` on its own task, with the machine's clock.
fn run(desk: &mut Desk, progress: &Arc<AtomicUsize>, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let parts = crate::rules::Parts {
        set: crate::rules::load("rules.yml", &hot(""), Duration::from_millis(20)).expect("good rules"),
        kept: Vec::new(),
        live: desk.live.clone(),
        store: desk.database.store(),
        clock: Arc::new(SystemClock),
        meters: desk.engine.meters.clone(),
        board: desk.engine.board.clone(),
        outbox: desk.engine.outbox.clone(),
        receivers: desk.engine.receivers.clone(),
        progress: Box::new({
            let progress = progress.clone();
            move || {
                progress.fetch_add(1, Ordering::Relaxed);
            }
        }),
    };
    let (engine, orphans) = crate::rules::Engine::new(parts);
    tokio::spawn(engine.run(orphans, stop.clone()))
}

#[tokio::test]
async fn without_data_the_engine_looks_again_and_again_until_it_is_told_to_end() {
    let mut desk = Desk::new(&hot("")).await;
    let (progress, stop) = (Arc::default(), CancellationToken::new());
    let ended = run(&mut desk, &progress, &stop);
    until("it looked five times", || desk.evaluations("g") >= 5).await;
    assert!(progress.load(Ordering::Relaxed) >= 5);
    stop.cancel();
    ended.await.expect("it ends");
}

#[tokio::test]
async fn data_is_looked_at_when_it_comes_and_the_notifiers_are_woken() {
    let mut desk = Desk::new(&rules(&[])).await;
    // The agents' clock and the engine's agree.
    desk.clock.jump_to(SystemClock.wall());
    let (progress, stop) = (Arc::default(), CancellationToken::new());
    let ended = run(&mut desk, &progress, &stop);
    desk.cpu(1, 95.0);
    desk.engine.outbox.notified().await;
    assert_eq!(desk.told().await, [began()]);
    stop.cancel();
    ended.await.expect("it ends");
    assert!(SECOND > crate::rules::COALESCE, "from sample to notification well under a second");
}
