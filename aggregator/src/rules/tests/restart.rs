//! A restart forgets nothing, tells nothing twice, and takes nobody's silence for good news.

use super::desk::{Desk, JUMPS_MS, SECOND, START, began, ended, hot, rules};
use crate::ingest::tests::fixture::Weather;
use crate::live::{RECONNECT_MAX, UNHEARD_MAX};
use crate::store::{EvaluationRow, InstanceRow, Store};
use runtime::clock::Clock;
use serde_json::json;

#[tokio::test]
async fn a_firing_alert_fires_on_after_a_restart_without_a_second_message() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    desk.restart(&hot(""), 60 * SECOND).await;
    desk.round().await;
    assert_eq!(desk.shown(), ["firing"]);
    desk.hello(1).await;
    desk.see(95.0).await;
    assert_eq!((desk.told().await, desk.statuses().await), (vec![began()], vec!["active".to_string()]));
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()]);
    assert_eq!(desk.alerts().await[0].created_at, START + SECOND);
}

#[tokio::test]
async fn a_pending_alert_goes_on_where_it_stood_and_downtime_counts_for_nothing() {
    let mut desk = Desk::new(&hot("for: 10s")).await;
    for _ in 0..7 {
        desk.see(95.0).await;
    }
    desk.restart(&hot("for: 10s"), 3600 * SECOND).await;
    desk.hello(1).await;
    for _ in 0..3 {
        desk.see(95.0).await;
        assert!(desk.told().await.is_empty());
    }
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()], "six seconds before and four after");
}

#[tokio::test]
async fn an_alert_that_is_kept_firing_is_kept_across_a_restart_for_as_long_as_without_one() {
    let mut desk = Desk::new(&hot("keep_firing_for: 10s")).await;
    desk.see(95.0).await;
    for _ in 0..7 {
        desk.see(10.0).await;
    }
    desk.restart(&hot("keep_firing_for: 10s"), 3600 * SECOND).await;
    desk.hello(1).await;
    for _ in 0..3 {
        desk.see(10.0).await;
        assert_eq!((desk.told().await, desk.shown()), (vec![began()], vec!["firing"]));
    }
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()], "six seconds before and four after");
}

#[tokio::test]
async fn after_a_restart_an_alert_is_not_over_before_its_agent_was_heard_of() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    desk.restart(&hot(""), 600 * SECOND).await;
    for _ in 0..4 {
        desk.clock.advance(15 * SECOND);
        desk.live.sweep();
        desk.round().await;
        assert_eq!(desk.shown(), ["firing"], "the head is empty, which means nothing yet");
    }
    desk.hello(1).await;
    desk.round().await;
    assert_eq!(desk.shown(), ["firing"], "a hello is not a sample");
    desk.see(10.0).await;
    assert_eq!(desk.told().await, [began(), ended()], "it ended while we were away");
}

#[tokio::test]
async fn an_alert_on_an_agent_that_never_comes_back_ends_when_its_silence_is_no_longer_believed() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    desk.restart(&hot(""), 600 * SECOND).await;
    desk.clock.advance(RECONNECT_MAX + SECOND);
    desk.live.sweep();
    desk.round().await;
    assert_eq!(desk.shown(), ["firing"], "silent is not fine");
    desk.clock.advance(UNHEARD_MAX.saturating_sub(RECONNECT_MAX));
    desk.round().await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn an_agent_that_tells_only_of_the_past_is_waited_for_so_long_and_no_longer() {
    let mut desk = Desk::new(&hot("")).await;
    desk.see(95.0).await;
    desk.restart(&hot(""), 600 * SECOND).await;
    desk.hello(1).await;
    for _ in 0..UNHEARD_MAX.as_secs() {
        desk.round().await;
        assert_eq!(desk.shown(), ["firing"]);
        desk.clock.advance(SECOND);
        desk.live.seen(uuid::Uuid::from_u128(1));
    }
    desk.clock.advance(15 * SECOND);
    desk.round().await;
    assert_eq!(desk.told().await, [began(), ended()]);
}

#[tokio::test]
async fn a_restart_under_a_wrong_clock_neither_fires_a_pending_alert_nor_delays_it() {
    for jump_ms in JUMPS_MS {
        let mut desk = Desk::new(&hot("for: 10s")).await;
        for _ in 0..7 {
            desk.see(95.0).await;
        }
        desk.set_clock(jump_ms);
        desk.restart(&hot("for: 10s"), SECOND).await;
        desk.hello(1).await;
        for second in 0..3 {
            desk.see(95.0).await;
            assert!(desk.told().await.is_empty(), "{jump_ms} ms, {second}");
            // It is set right in between: that too is a jump.
            if second == 1 {
                desk.set_clock(-jump_ms);
            }
        }
        desk.see(95.0).await;
        let fired_at = desk.clock.wall();
        assert_eq!(desk.told().await, [began()], "{jump_ms} ms: six seconds before and four after");
        let created_at = desk.alerts().await[0].created_at;
        assert!(created_at <= fired_at + 2 * SECOND, "{jump_ms} ms: it did not begin in the future: {created_at}");
    }
}

#[tokio::test]
async fn a_restart_under_a_wrong_clock_ends_no_alert_that_fires_and_begins_none() {
    for jump_ms in JUMPS_MS {
        let mut desk = Desk::new(&hot("")).await;
        desk.see(95.0).await;
        desk.set_clock(jump_ms);
        desk.restart(&hot(""), SECOND).await;
        for _ in 0..4 {
            desk.clock.advance(15 * SECOND);
            desk.live.sweep();
            desk.round().await;
        }
        desk.hello(1).await;
        desk.see(95.0).await;
        desk.set_clock(-jump_ms);
        desk.see(95.0).await;
        assert_eq!((desk.told().await, desk.shown()), (vec![began()], vec!["firing"]), "{jump_ms} ms");
        desk.see(10.0).await;
        assert_eq!(desk.told().await, [began(), ended()], "{jump_ms} ms");
    }
}

/// After six seconds of `for: 10s` the program restarts, and its log gives it back what the agent said last.
async fn restarted_while_pending() -> Desk {
    let mut desk = Desk::new(&hot("for: 10s")).await;
    for _ in 0..7 {
        desk.see(95.0).await;
    }
    let last = desk.clock.wall();
    desk.restart(&hot("for: 10s"), 2 * SECOND).await;
    desk.remember(1, last, 95.0);
    for _ in 0..60 {
        desk.round().await;
        assert_eq!((desk.shown(), desk.health()), (vec!["pending"], "unknown"));
        desk.clock.advance(SECOND);
    }
    assert!(desk.told().await.is_empty(), "nobody knows how it is now");
    desk.hello(1).await;
    desk
}

#[tokio::test]
async fn a_pending_alert_does_not_fire_on_what_was_said_before_the_restart() {
    let mut desk = restarted_while_pending().await;
    desk.see(10.0).await;
    assert!(desk.shown().is_empty() && desk.told().await.is_empty());
}

#[tokio::test]
async fn it_goes_on_when_its_agent_is_heard_again() {
    let mut desk = restarted_while_pending().await;
    for _ in 0..4 {
        desk.see(95.0).await;
        assert!(desk.told().await.is_empty());
    }
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()], "six seconds before, and four between five samples");
}

#[tokio::test]
async fn a_new_rule_does_not_begin_by_what_was_said_before_the_restart() {
    let mut desk = Desk::new(&rules(&[])).await;
    desk.see(95.0).await;
    let last = desk.clock.wall();
    desk.restart(&hot(""), SECOND).await;
    desk.remember(1, last, 95.0);
    desk.round().await;
    assert!(desk.told().await.is_empty());
    desk.hello(1).await;
    desk.see(95.0).await;
    assert_eq!(desk.told().await, [began()]);
}

#[tokio::test]
async fn the_end_of_a_rule_says_what_other_rules_of_its_name_have_firing() {
    let two = rules(&[("Hot", "cpu > 90", "labels: {severity: high}"), ("Hot", "cpu > 50", "labels: {severity: low}")]);
    let mut desk = Desk::new(&two).await;
    desk.see(95.0).await;
    desk.restart(&rules(&[("Hot", "cpu > 90", "labels: {severity: high}")]), SECOND).await;
    let orphans = std::mem::take(&mut desk.orphans);
    assert!(desk.engine.retire(orphans).await.is_empty());
    assert_eq!(desk.told().await.last(), Some(&("firing".into(), "some alerts resolved".into())));
    let body = desk.outbox().await.pop().expect("the last").body;
    let severities: Vec<_> = (0..2).map(|n| body["alerts"][n]["labels"]["severity"].clone()).collect();
    assert_eq!(severities, ["low", "high"], "what is over, then what fires on");
}

#[tokio::test]
async fn a_rule_that_is_gone_from_the_file_ends_its_alerts_and_is_forgotten() {
    let mut desk = Desk::new(&rules(&[("Hot", "cpu > 90", ""), ("Warm", "cpu > 50", "")])).await;
    desk.see(95.0).await;
    desk.restart(&rules(&[("Warm", "cpu > 50", "")]), SECOND).await;
    let orphans = std::mem::take(&mut desk.orphans);
    assert!(desk.engine.retire(orphans).await.is_empty());
    let reasons: Vec<_> = desk.alerts().await.into_iter().map(|a| (a.alert_name, a.status, a.metadata)).collect();
    let of = |name: &str| reasons.iter().find(|(alert, ..)| alert == name).expect("a row").clone();
    assert_eq!((of("Hot").1.as_str(), of("Warm").1.as_str()), ("resolved", "active"));
    assert_eq!(of("Hot").2["reason"], "rule_deleted");
    assert_eq!(desk.told().await, [began(), began(), ended()]);
    assert_eq!(desk.stored().await, [("g/Warm/0".into(), "firing".into())]);
    desk.restart(&rules(&[("Warm", "cpu > 50", "")]), SECOND).await;
    assert!(desk.orphans.is_empty());
}

#[tokio::test]
async fn the_end_of_a_rule_is_told_once_whatever_the_database_does() {
    for weather in [Weather::Away, Weather::Deaf, Weather::Broken] {
        let mut desk = Desk::new(&hot("")).await;
        desk.see(95.0).await;
        desk.restart("groups: []", SECOND).await;
        desk.database.store.turn(weather);
        let mut orphans = std::mem::take(&mut desk.orphans);
        for _ in 0..3 {
            desk.clock.advance(SECOND);
            orphans = desk.engine.retire(orphans).await;
        }
        desk.database.store.turn(Weather::Fine);
        orphans = desk.engine.retire(orphans).await;
        assert!(orphans.is_empty());
        assert_eq!((desk.told().await, desk.statuses().await), (vec![began(), ended()], vec!["resolved".to_string()]));
        assert!(desk.stored().await.is_empty());
    }
}

#[tokio::test]
async fn a_stored_instance_that_cannot_be_read_costs_itself() {
    let mut desk = Desk::new(&hot("")).await;
    desk.report(1, "cpu", &[95.0, 96.0]);
    desk.round().await;
    let kept = desk.database.store.load_rules().await.expect("it is there").remove(0);
    let broken = InstanceRow { body: json!({"labels": 5}), ..kept.instances[0].clone() };
    let instances = vec![broken, kept.instances[1].clone()];
    let evaluation =
        EvaluationRow { rule_key: kept.rule_key, evaluated_at: START, instances, ..EvaluationRow::default() };
    desk.database.store.save_evaluation(&evaluation).await.expect("it is there");
    desk.restart(&hot(""), SECOND).await;
    desk.hello(1).await;
    desk.report(1, "cpu", &[95.0, 96.0]);
    desk.round().await;
    assert_eq!(desk.shown(), ["firing", "firing"]);
    let reasons: Vec<_> = desk.told().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["first notification", "new alerts added"], "one begins anew, the other fires on");
}
