//! Nothing is told that is not stored, nothing twice, and a database that is away costs nothing but time.

use super::desk::{Desk, INTERVAL, SECOND, START, began, ended, hot, rules};
use crate::http::{Health, Part};
use crate::ingest::tests::fixture::Weather;
use crate::rules::rule::QUIET_SAVE;
use futures::FutureExt;
use proptest::prelude::*;
use runtime::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn an_evaluation_that_the_database_does_not_take_does_not_count_and_comes_again_and_is_told_once() {
    let mut desk = Desk::new(&hot("")).await;
    desk.database.store.turn(Weather::Away);
    desk.see(95.0).await;
    desk.see(95.0).await;
    assert!(desk.shown().is_empty(), "what is not stored is not shown");
    assert!(desk.engine.outbox.notified().now_or_never().is_none(), "nor told");
    assert_eq!(desk.missed(), 0, "its interval asked for none of these");
    desk.database.store.turn(Weather::Fine);
    desk.see(95.0).await;
    desk.see(95.0).await;
    assert_eq!(desk.shown(), ["firing"]);
    assert!(desk.engine.outbox.notified().now_or_never().is_some());
    assert_eq!((desk.told().await, desk.statuses().await), (vec![began()], vec!["active".to_string()]));
    assert_eq!(desk.alerts().await[0].created_at, START + SECOND, "it began when it was seen first");
}

#[tokio::test]
async fn an_alert_that_came_and_went_while_the_database_was_away_is_told() {
    let mut desk = Desk::new(&hot("")).await;
    desk.database.store.turn(Weather::Away);
    desk.see(95.0).await;
    desk.see(10.0).await;
    desk.database.store.turn(Weather::Fine);
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
    assert_eq!(desk.statuses().await, ["resolved"]);
}

#[tokio::test]
async fn an_evaluation_whose_answer_is_lost_is_one_alert_and_one_message() {
    let mut desk = Desk::new(&hot("")).await;
    desk.database.store.turn(Weather::Deaf);
    for _ in 0..3 {
        desk.see(95.0).await;
    }
    assert_eq!((desk.told().await, desk.statuses().await), (vec![began()], vec!["active".to_string()]));
    desk.database.store.turn(Weather::Deaf);
    for _ in 0..3 {
        desk.see(10.0).await;
    }
    assert_eq!((desk.told().await, desk.statuses().await), (vec![began(), ended()], vec!["resolved".to_string()]));
}

#[tokio::test]
async fn an_evaluation_that_the_database_refuses_is_made_anew() {
    let mut desk = Desk::new(&hot("")).await;
    desk.database.store.turn(Weather::Broken);
    desk.see(95.0).await;
    desk.database.store.turn(Weather::Fine);
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()]);
    assert_eq!(desk.alerts().await[0].created_at, START + 2 * SECOND);
}

#[tokio::test]
async fn for_goes_on_while_the_database_is_away() {
    let mut desk = Desk::new(&hot("for: 10s")).await;
    desk.see(95.0).await;
    desk.database.store.turn(Weather::Away);
    for _ in 0..9 {
        desk.see(95.0).await;
    }
    desk.database.store.turn(Weather::Fine);
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()], "ten seconds passed");
}

#[tokio::test]
async fn a_rule_that_could_not_be_stored_is_tried_again_within_a_second_without_data() {
    let mut desk = Desk::new(&hot("")).await;
    desk.database.store.turn(Weather::Away);
    desk.see(95.0).await;
    desk.database.store.turn(Weather::Fine);
    desk.clock.advance(SECOND);
    desk.round().await;
    assert_eq!(desk.told().await, [began()]);
}

#[tokio::test]
async fn one_rule_that_cannot_be_stored_keeps_the_next_waiting_until_the_next_try_and_no_longer() {
    let mut desk = Desk::new(&rules(&[("Hot", "cpu > 90", ""), ("Warm", "cpu > 50", "")])).await;
    desk.database.store.turn(Weather::Deaf);
    desk.see(95.0).await;
    assert_eq!(desk.told().await.len(), 1, "asking for the second would take another timeout");
    // Were the first one asked first each time, the second would never be.
    desk.database.store.turn(Weather::Deaf);
    desk.clock.advance(SECOND);
    desk.round().await;
    assert_eq!(desk.told().await, [began(), began()]);
}

#[tokio::test]
async fn a_database_that_is_away_costs_a_round_one_timeout_however_many_rules_there_are() {
    let names: Vec<String> = (0..50).map(|n| format!("Hot{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "cpu > 90", "")).collect();
    let mut desk = Desk::new(&rules(&many)).await;
    let clock = desk.clock.clone();
    let health = Arc::new(Health::new(clock.monotonic()));
    desk.engine.progress = Box::new({
        let (health, clock) = (health.clone(), clock.clone());
        move || health.progressed(Part::Rules, clock.monotonic())
    });
    let timeout = 30 * SECOND;
    desk.database.store.time_out_after(&clock, timeout);
    desk.database.store.turn(Weather::Away);
    for round in 1..=10 {
        desk.see(95.0).await;
        assert_eq!(desk.database.store.writes(), round, "one question a round");
        assert_eq!(health.age(Part::Rules, clock.monotonic()), Duration::ZERO);
    }
    // 310 seconds: the first was due at the start, and of each rule twenty were due after it and one more may come.
    assert_eq!(desk.missed(), 50 * 20);
    desk.database.store.turn(Weather::Fine);
    desk.see(95.0).await;
    assert_eq!(desk.told().await.len(), 50, "and all of them are told afterwards");
}

#[tokio::test]
async fn what_is_due_while_the_database_is_away_is_missed_once_for_each_interval_not_for_each_try() {
    let mut desk = Desk::new(&hot("")).await;
    desk.round().await;
    desk.database.store.turn(Weather::Away);
    for _ in 0..2 * INTERVAL.as_secs() {
        desk.see(95.0).await;
    }
    assert_eq!(desk.missed(), 1, "one was due after fifteen seconds; the one that is due now may still take place");
    desk.database.store.turn(Weather::Fine);
    desk.see(95.0).await;
    assert_eq!(desk.missed(), 1);
}

#[tokio::test]
async fn a_rule_with_instances_is_stored_once_a_second_while_none_changes() {
    let mut desk = Desk::new(&hot("for: 1h")).await;
    desk.see(95.0).await;
    assert_eq!(desk.database.store.writes(), 1);
    for tenth in 1..=20_usize {
        desk.clock.advance(SECOND / 10);
        desk.cpu(1, 95.0);
        desk.round().await;
        assert_eq!(desk.database.store.writes(), 1 + tenth / 10);
    }
    assert_eq!(desk.evaluations("g"), 21, "it is evaluated each time");
    desk.clock.advance(SECOND / 10);
    desk.cpu(1, 10.0);
    desk.round().await;
    assert_eq!(desk.database.store.writes(), 4, "a change is stored at once");
}

#[tokio::test]
async fn a_quiet_rule_is_stored_now_and_then_only() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(10.0).await;
    assert_eq!(desk.database.store.writes(), 1);
    let quiet = u32::try_from(QUIET_SAVE.as_secs()).expect("small");
    for _ in 1..quiet {
        desk.see(10.0).await;
    }
    assert_eq!(desk.database.store.writes(), 1);
    desk.see(10.0).await;
    assert_eq!(desk.database.store.writes(), 2);
    assert!(QUIET_SAVE >= INTERVAL);
}

/// Steps of a life: the value that is seen, and what the database does then.
fn lives() -> impl Strategy<Value = Vec<(f64, Weather)>> {
    let weather = prop_oneof![
        4 => Just(Weather::Fine),
        2 => Just(Weather::Away),
        2 => Just(Weather::Deaf),
        1 => Just(Weather::Broken),
    ];
    proptest::collection::vec((prop_oneof![Just(95.0), Just(10.0)], weather), 1..25)
}

/// Lives, with a restart in the middle; then the database is fine and the value as given.
async fn live_through(life: Vec<(f64, Weather)>, restart_at: usize, last: f64) -> Desk {
    let mut desk = Desk::new(&hot("")).await;
    for (step, (value, weather)) in life.into_iter().enumerate() {
        if step == restart_at {
            desk.restart(&hot(""), SECOND).await;
            desk.database.store.turn(Weather::Fine);
            desk.hello(1).await;
        }
        desk.database.store.turn(weather);
        desk.see(value).await;
    }
    desk.database.store.turn(Weather::Fine);
    desk.see(last).await;
    desk.see(last).await;
    desk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_the_database_does_each_firing_is_told_once_and_each_end_once(
        life in lives(), restart_at in 0_usize..30, fires in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let (told, statuses) = runtime.block_on(async {
            let desk = live_through(life, restart_at, if fires { 95.0 } else { 10.0 }).await;
            (desk.told().await, desk.statuses().await)
        });
        let active = statuses.iter().filter(|status| *status == "active").count();
        prop_assert_eq!(active, usize::from(fires), "{:?}", statuses);
        prop_assert_eq!(told.len(), 2 * statuses.len() - active, "a message for each beginning and each end: {:?}", &told);
        for pair in told.chunks(2) {
            prop_assert_eq!(&pair[0], &began());
            prop_assert!(pair.get(1).is_none_or(|second| *second == ended()));
        }
    }
}
