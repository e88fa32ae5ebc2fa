//! An agent that goes silent says nothing: neither that its alerts are over, nor that they begin.

use super::desk::{Desk, INTERVAL, JUMPS_MS, SECOND, began, ended, hot, rules};
use crate::live::UNHEARD_MAX;
use std::time::Duration;
use uuid::Uuid;

/// Nothing comes of agent 1 for so long, while its silence is looked for each second.
async fn silence(desk: &mut Desk, time: Duration) {
    for _ in 0..time.as_secs() {
        desk.clock.advance(SECOND);
        desk.live.sweep();
        desk.round().await;
    }
}

#[tokio::test]
async fn a_firing_alert_fires_on_while_its_agent_is_silent_and_when_it_is_back() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    silence(&mut desk, 60 * SECOND).await;
    assert_eq!((desk.shown(), desk.health()), (vec!["firing"], "unknown"));
    desk.hello(1).await;
    desk.live.sweep();
    desk.round().await;
    assert_eq!(desk.shown(), ["firing"], "a hello tells nothing of its cpu");
    desk.see(95.0).await;
    assert_eq!((desk.told().await, desk.health()), (vec![began()], "ok"));
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

/// Agent 1 waits for us for so long: the database is away, and nothing of it is stored.
async fn wait(desk: &mut Desk, time: Duration) {
    for _ in 0..time.as_secs() {
        desk.clock.advance(SECOND);
        desk.live.waits(Uuid::from_u128(1));
        desk.round().await;
    }
}

#[tokio::test]
async fn what_an_agent_cannot_hand_in_neither_ends_an_alert_nor_lets_one_fire() {
    let mut firing = Desk::new(&hot("")).await;
    let mut pending = Desk::new(&hot("for: 5m")).await;
    for desk in [&mut firing, &mut pending] {
        desk.see(95.0).await;
        wait(desk, UNHEARD_MAX + 60 * SECOND).await;
        desk.see(95.0).await;
    }
    assert_eq!(firing.told().await, [began()]);
    assert_eq!((pending.told().await, pending.shown()), (vec![], vec!["pending"]), "nobody saw these six minutes");
    firing.see(10.0).await;
    assert_eq!(firing.told().await, [began(), ended()]);
}

#[tokio::test]
async fn an_agent_that_is_heard_late_but_steadily_is_believed() {
    let mut desk = Desk::new(&hot("")).await;
    for _ in 0..10 {
        desk.see(50.0).await;
        desk.live.waits(Uuid::from_u128(1));
    }
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()]);
}

#[tokio::test]
async fn between_a_set_clock_and_the_next_sample_nothing_begins_or_ends() {
    // What is within the tolerance was not set.
    for jump_ms in JUMPS_MS.into_iter().filter(|jump_ms| jump_ms.abs() > 2_000) {
        let mut desk = Desk::new(&hot("")).await;
        desk.see(95.0).await;
        desk.set_clock(jump_ms);
        for _ in 0..3 {
            desk.clock.advance(Duration::from_millis(300));
            desk.live.sweep();
            desk.clock.advance(INTERVAL);
            desk.live.seen(Uuid::from_u128(1));
            desk.round().await;
        }
        assert_eq!((desk.told().await, desk.shown()), (vec![began()], vec!["firing"]), "{jump_ms}");
        desk.see(10.0).await;
        assert_eq!(desk.told().await, [began(), ended()]);
    }
}

#[tokio::test]
async fn an_alert_that_ended_while_its_agent_was_silent_ends_when_the_agent_says_so() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    silence(&mut desk, 60 * SECOND).await;
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_silence_is_believed_for_as_long_as_a_query_looks_back_and_no_longer() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    silence(&mut desk, UNHEARD_MAX).await;
    assert_eq!(desk.told().await, [began()]);
    silence(&mut desk, 4 * SECOND + INTERVAL).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_goodbye_ends_an_alert_at_once_also_after_a_silence() {
    for silent in [0, 60] {
        let mut desk = Desk::new(&hot("")).await;
        desk.see(95.0).await;
        silence(&mut desk, silent * SECOND).await;
        desk.live.goodbye(Uuid::from_u128(1));
        desk.clock.advance(INTERVAL);
        desk.round().await;
        assert_eq!(desk.told().await, [began(), ended()]);
    }
}

#[tokio::test]
async fn a_silence_neither_begins_for_anew_nor_counts_for_it() {
    let mut desk = Desk::new(&hot("for: 30s")).await;
    for _ in 0..21 {
        desk.see(95.0).await;
    }
    silence(&mut desk, 120 * SECOND).await;
    assert_eq!(desk.shown(), ["pending"]);
    let mut seconds = 0;
    while desk.told().await.is_empty() {
        desk.see(95.0).await;
        seconds += 1;
        assert!(seconds < 60, "it never fires");
    }
    assert_eq!(seconds, 11, "twenty of the thirty seconds had passed before, and ten between eleven samples");
}

#[tokio::test]
async fn the_silence_of_one_agent_holds_up_no_alert_of_another() {
    let mut desk = Desk::new(&hot("")).await;
    desk.hello(2).await;
    desk.cpu(2, 95.0);
    desk.see(95.0).await;
    for value in [95.0; 10].into_iter().chain([10.0]) {
        desk.clock.advance(SECOND);
        desk.cpu(2, value);
        desk.live.sweep();
        desk.round().await;
    }
    let reasons: Vec<_> = desk.told().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["first notification", "some alerts resolved"]);
}

#[tokio::test]
async fn a_rule_that_reads_other_services_only_is_as_sure_as_ever() {
    let mut desk = Desk::new(&rules(&[("Hot", "cpu{service=\"fila\"} > 90", ""), ("Any", "cpu > 90", "")])).await;
    desk.see(10.0).await;
    silence(&mut desk, 60 * SECOND).await;
    let health: Vec<_> = desk.engine.board.get().iter().map(|rule| rule.health).collect();
    assert_eq!(health, ["ok", "unknown"]);
    let count = |health: &str| desk.engine.meters.rules.with_label_values(&[health]).get();
    assert_eq!((count("ok"), count("unknown"), count("err")), (1.0, 1.0, 0.0));
}

#[tokio::test]
async fn an_alert_on_the_silence_itself_fires_and_ends_as_the_agent_goes_and_comes() {
    let mut desk = Desk::new(&rules(&[("AgentSilent", "monitoring_agent_up == 0", "for: 5s")])).await;
    desk.see(10.0).await;
    silence(&mut desk, 8 * SECOND).await;
    assert_eq!(desk.told().await, [], "silent for four seconds");
    silence(&mut desk, 2 * SECOND).await;
    assert_eq!((desk.told().await, desk.health()), (vec![began()], "ok"));
    desk.hello(1).await;
    silence(&mut desk, SECOND).await;
    assert_eq!(desk.told().await, [began(), ended()], "its hello is enough");
}
