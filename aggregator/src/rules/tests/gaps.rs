//! Over a gap a rule is unknown: neither over nor begun, until a sample comes.

use super::desk::{Desk, SECOND, began, ended, hot, rules};
use crate::restore;
use crate::store::{BatchRow, Missing, Store, ToldGap};
use proto::message::Position;
use proto::sample::Timestamp;
use runtime::clock::Clock;
use uuid::Uuid;

const AGENT: Uuid = Uuid::from_u128(1);

/// Agent 1 tells that it lost what came after its newest sample; nothing else comes with it.
async fn lose(desk: &mut Desk) {
    let from_at = Some(desk.clock.wall());
    desk.clock.advance(SECOND);
    let missing = Missing { first_seq: 2, last_seq: 2, reason: "corrupt".into(), from_at, until_at: None };
    desk.live.note_missing(AGENT, &[missing]);
    desk.live.append(AGENT, &[]);
    desk.clock.advance(15 * SECOND);
    desk.live.seen(AGENT);
    desk.round().await;
}

fn why(desk: &Desk) -> Option<String> {
    desk.engine.board.get()[0].doubt.clone()
}

#[tokio::test]
async fn a_firing_alert_fires_on_over_a_gap_and_the_rule_says_why_it_is_unknown() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    lose(&mut desk).await;
    assert_eq!((desk.told().await, desk.shown(), desk.health()), (vec![began()], vec!["firing"], "unknown"));
    assert_eq!(why(&desk).as_deref(), Some("records of agenda/agenda-1 are missing: corrupt"));
    desk.see(95.0).await;
    assert_eq!((desk.told().await, desk.health(), why(&desk)), (vec![began()], "ok", None));
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn what_was_said_before_a_gap_lets_nothing_fire_over_it() {
    let mut desk = Desk::new(&hot("for: 10s")).await;
    for _ in 0..6 {
        desk.see(95.0).await;
    }
    lose(&mut desk).await;
    assert_eq!((desk.told().await, desk.shown()), (vec![], vec!["pending"]), "nobody saw these 16 seconds");
    for _ in 0..5 {
        desk.see(95.0).await;
        assert_eq!(desk.told().await, []);
    }
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()], "five seconds before the gap, five since");
}

#[tokio::test]
async fn an_alert_that_would_have_been_over_says_nothing_until_a_sample_does() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    lose(&mut desk).await;
    lose(&mut desk).await;
    assert_eq!(desk.told().await, [began()]);
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_gap_is_over_for_each_series_when_that_one_has_a_sample() {
    let mut desk = Desk::new(&rules(&[("Disk", "disk > 90", ""), ("Hot", "cpu > 90", "")])).await;
    desk.report(1, "disk", &[95.0]);
    desk.see(95.0).await;
    lose(&mut desk).await;
    desk.see(10.0).await;
    let health: Vec<_> = desk.engine.board.get().iter().map(|rule| rule.health).collect();
    assert_eq!((health, desk.shown()), (vec!["unknown", "ok"], vec!["firing", "resolved"]));
    desk.report(1, "disk", &[10.0]);
    desk.see(10.0).await;
    assert_eq!((desk.health(), desk.shown()), ("ok", vec!["resolved", "resolved"]));
}

#[tokio::test]
async fn a_window_over_a_gap_is_unknown_until_it_begins_behind_it() {
    let mut desk = Desk::new(&rules(&[("Peak", "max_over_time(cpu[60s]) > 90", "")])).await;
    desk.see(10.0).await;
    lose(&mut desk).await;
    let mut healths = Vec::new();
    for _ in 0..70 {
        desk.see(10.0).await;
        healths.push(desk.health());
    }
    // The samples are back at once, but what was lost may have been the peak of the last minute.
    let known = healths.iter().position(|health| *health == "ok").expect("it lies behind the window in the end");
    assert!((55..62).contains(&known), "{known}");
    assert!(healths[known..].iter().all(|health| *health == "ok"));
    assert_eq!(desk.told().await, []);
}

#[tokio::test]
async fn one_agents_gap_is_nothing_to_a_rule_about_another() {
    let mut desk = Desk::new(&rules(&[("Hot", "cpu{instance=\"agenda-2\"} > 90", "")])).await;
    desk.hello(2).await;
    desk.cpu(2, 95.0);
    desk.see(95.0).await;
    lose(&mut desk).await;
    assert_eq!((desk.health(), desk.told().await), ("ok", vec![began()]));
}

#[tokio::test]
async fn a_gap_is_known_after_a_restart() {
    let rules = hot("");
    let mut desk = Desk::new(&rules).await;
    desk.see(95.0).await;
    let at = desk.clock.wall();
    let row = |seq, sampled, gaps: Vec<ToldGap>| BatchRow {
        agent_id: AGENT,
        position: Position { epoch: 9, seq },
        received_at: at,
        payload: RAW.to_vec(),
        schemas: Vec::new(),
        digest: gaps.is_empty().then_some(1),
        gaps,
        sampled,
        events: Vec::new(),
        service: "agenda".into(),
    };
    let gap = ToldGap { first_seq: 2, last_seq: 2, reason: "corrupt" };
    desk.database.store.commit(&[row(1, Some((at, at)), vec![]), row(2, None, vec![gap])]).await.expect("it is there");
    desk.restart(&rules, SECOND).await;
    restore::head(&*desk.database.store, &desk.live, desk.clock.wall(), Timestamp::ZERO).await.expect("it is there");
    // The agent is back and is believed, but what the head has of it lies before the gap.
    desk.hello(1).await;
    desk.see(95.0).await;
    desk.live.look(|glance| {
        let series = glance.head.select(Some("cpu")).next().expect("it reported");
        let gap = glance.gaps.overlaps(&series.key().labels, at, at + SECOND);
        assert_eq!(gap.map(|gap| gap.reason.as_str()), Some("corrupt"));
        let after = glance.gaps.overlaps(&series.key().labels, desk.clock.wall(), desk.clock.wall() + SECOND);
        assert!(after.is_none(), "a sample came since");
    });
}

/// What no batch is: restoring counts it and goes on.
const RAW: &[u8] = b"unreadable";
