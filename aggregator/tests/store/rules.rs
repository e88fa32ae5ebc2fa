//! Rules, alerts and notifications: one evaluation is one transaction, a clinic sees its own.

use crate::fixture::{Database, alert, evaluation, id, instance, ms, notification};
use monitoring_aggregator::store::{AlertRow, EvaluationRow, OutboxRow, RuleRow, Scope, StoreError};

async fn rules(database: &Database) -> Vec<RuleRow> {
    database.store.load_rules().await.expect("up")
}

async fn alerts(database: &Database) -> Vec<AlertRow> {
    database.store.load_alerts(Scope::AllClinics, None, 1_000).await.expect("up")
}

async fn due(database: &Database, now: i64) -> Vec<u128> {
    let due = database.store.due_notifications(ms(now), 1_000).await.expect("up");
    due.iter().map(|row| row.id.as_u128()).collect()
}

pub async fn an_evaluation_comes_back_as_it_was_saved(mut database: Database) {
    let saved = EvaluationRow {
        instances: vec![instance("a", "0f", "pending"), instance("a", "ff", "firing")],
        alerts: vec![alert(1, Some(900), 1_700_000_000_123)],
        outbox: vec![notification(7, 1_700_000_000_001)],
        ..evaluation("a", 1_700_000_000_999)
    };
    database.store.save_evaluation(&saved).await.expect("saved");
    database.store.save_evaluation(&evaluation("b", -1)).await.expect("saved");
    database.reopen().await;

    let a = RuleRow { rule_key: "a".into(), evaluated_at: saved.evaluated_at, instances: saved.instances.clone() };
    let b = RuleRow { rule_key: "b".into(), evaluated_at: ms(-1), instances: vec![] };
    assert_eq!(rules(&database).await, [a, b]);
    assert_eq!(alerts(&database).await, saved.alerts);
    assert_eq!(database.store.due_notifications(ms(i64::MAX), 9).await.expect("up"), saved.outbox);
}

pub async fn an_evaluation_replaces_the_instances_of_its_rule_only(database: Database) {
    let before = EvaluationRow {
        instances: vec![instance("a", "01", "firing"), instance("a", "02", "firing")],
        ..evaluation("a", 1)
    };
    let other = EvaluationRow { instances: vec![instance("b", "01", "firing")], ..evaluation("b", 1) };
    let after = EvaluationRow {
        instances: vec![instance("a", "02", "resolved"), instance("a", "03", "pending")],
        ..evaluation("a", 2)
    };
    for each in [&before, &other, &after] {
        database.store.save_evaluation(each).await.expect("saved");
    }
    let rules = rules(&database).await;
    assert_eq!(rules[0].instances, after.instances);
    assert_eq!(rules[0].evaluated_at, ms(2));
    assert_eq!(rules[1].instances, other.instances);

    database.store.save_evaluation(&evaluation("a", 3)).await.expect("saved");
    assert_eq!(database.count("alert_instances").await, 1);
}

pub async fn an_evaluation_that_fails_midway_stores_nothing(database: Database) {
    let first = EvaluationRow { instances: vec![instance("a", "01", "pending")], ..evaluation("a", 1) };
    database.store.save_evaluation(&first).await.expect("saved");
    database
        .sql(
            "CREATE TRIGGER harm BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'harm was done'); END",
            "CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE 'harm was done'; END $$;
             CREATE TRIGGER harm BEFORE INSERT ON monitoring.outbox FOR EACH ROW EXECUTE FUNCTION harm()",
        )
        .await;
    let second = EvaluationRow {
        instances: vec![instance("a", "01", "firing")],
        alerts: vec![alert(1, None, 2)],
        outbox: vec![notification(7, 2)],
        ..evaluation("a", 2)
    };
    let error = database.store.save_evaluation(&second).await.expect_err("the trigger");
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(rules(&database).await[0].evaluated_at, ms(1));
    assert_eq!(rules(&database).await[0].instances, first.instances);
    assert_eq!(alerts(&database).await, []);
}

pub async fn a_forgotten_rule_is_gone_and_its_alerts_stay(database: Database) {
    let saved = EvaluationRow {
        instances: vec![instance("a", "01", "firing")],
        alerts: vec![alert(1, None, 1)],
        ..evaluation("a", 1)
    };
    database.store.save_evaluation(&saved).await.expect("saved");
    database.store.save_evaluation(&evaluation("b", 1)).await.expect("saved");
    database.store.forget_rule("a").await.expect("forgotten");
    database.store.forget_rule("never there").await.expect("nothing to forget");
    assert_eq!(rules(&database).await.iter().map(|rule| rule.rule_key.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(database.count("alert_instances").await, 0);
    assert_eq!(alerts(&database).await, saved.alerts);
}

pub async fn an_alert_is_updated_by_its_id(database: Database) {
    let raised = EvaluationRow { alerts: vec![alert(1, Some(900), 5), alert(2, None, 4)], ..evaluation("a", 5) };
    database.store.save_evaluation(&raised).await.expect("saved");
    let resolved =
        AlertRow { status: "resolved".into(), resolved_at: Some(ms(1_700_000_000_777)), ..alert(1, Some(900), 5) };
    let ended = EvaluationRow { alerts: vec![resolved.clone()], ..evaluation("a", 6) };
    database.store.save_evaluation(&ended).await.expect("saved");
    assert_eq!(alerts(&database).await, [resolved, alert(2, None, 4)]);
}

pub async fn a_clinic_never_sees_anothers_alerts(database: Database) {
    let raised = [alert(1, Some(901), 1), alert(2, Some(902), 2), alert(3, None, 3), alert(4, Some(901), 4)];
    let saved = EvaluationRow { alerts: raised.to_vec(), ..evaluation("a", 5) };
    database.store.save_evaluation(&saved).await.expect("saved");
    let seen = async |scope| {
        let rows = database.store.load_alerts(scope, None, 100).await.expect("up");
        rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(seen(Scope::Clinic(id(901))).await, [4, 1]);
    assert_eq!(seen(Scope::Clinic(id(902))).await, [2]);
    assert_eq!(seen(Scope::Clinic(id(903))).await, [0_u128; 0]);
    assert_eq!(seen(Scope::AllClinics).await, [4, 3, 2, 1]);
}

pub async fn alerts_are_filtered_by_status_and_limited_newest_first(database: Database) {
    let mut raised: Vec<AlertRow> = (1..=6).map(|number| alert(number, Some(900), 10)).collect();
    raised[0].created_at = ms(99);
    raised[5].status = "resolved".into();
    let saved = EvaluationRow { alerts: raised, ..evaluation("a", 5) };
    database.store.save_evaluation(&saved).await.expect("saved");
    let seen = async |status, limit| {
        let rows = database.store.load_alerts(Scope::Clinic(id(900)), status, limit).await.expect("up");
        rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(seen(Some("active"), 3).await, [1, 5, 4]);
    assert_eq!(seen(Some("resolved"), 3).await, [6]);
    assert_eq!(seen(Some("' OR TRUE --"), 3).await, [0_u128; 0]);
    assert_eq!(seen(None, u32::MAX).await, [1, 6, 5, 4, 3, 2]);
    assert_eq!(seen(None, 0).await, [0_u128; 0]);
}

pub async fn a_name_beyond_its_column_is_cut_rather_than_refused(database: Database) {
    let long =
        AlertRow { alert_name: "é".repeat(101), severity: "muito-grave-mesmo-ai-ai".into(), ..alert(1, None, 1) };
    let saved = EvaluationRow { alerts: vec![long], ..evaluation("a", 1) };
    database.store.save_evaluation(&saved).await.expect("saved");
    let stored = alerts(&database).await.remove(0);
    assert_eq!(stored.alert_name, "é".repeat(100));
    assert_eq!(stored.severity, "muito-grave-mesmo-ai");
}

pub async fn ten_thousand_instances_are_one_evaluation(database: Database) {
    let many: Vec<u128> = (1..=10_000).collect();
    let saved = EvaluationRow {
        instances: many.iter().map(|number| instance("a", &format!("{number:016x}"), "firing")).collect(),
        alerts: many.iter().map(|number| alert(*number, None, 1)).collect(),
        ..evaluation("a", 1)
    };
    database.store.save_evaluation(&saved).await.expect("saved");
    assert_eq!(database.count("alerts").await, 10_000);
    assert_eq!(rules(&database).await[0].instances, saved.instances);
    database.store.save_evaluation(&evaluation("a", 2)).await.expect("saved");
    assert_eq!(database.count("alert_instances").await, 0);
}

pub async fn due_notifications_come_as_they_were_made_whatever_the_clock_said_then(database: Database) {
    let mut late = notification(1, 30);
    late.next_attempt_at = ms(1_000);
    let made = vec![late, notification(9, 20), notification(3, 20), notification(5, 10)];
    database.store.save_evaluation(&EvaluationRow { outbox: made, ..evaluation("a", 1) }).await.expect("saved");
    assert_eq!(due(&database, 9).await, [0_u128; 0]);
    assert_eq!(due(&database, 20).await, [9, 3, 5]);
    assert_eq!(due(&database, 1_000).await, [1, 9, 3, 5]);
    let two = database.store.due_notifications(ms(1_000), 2).await.expect("up");
    assert_eq!(two.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(), [1, 9]);
    assert_eq!(database.store.outbox_depth().await.expect("up"), (4, Some(ms(10))));
}

pub async fn a_deferred_notification_waits_and_a_finished_one_is_history(mut database: Database) {
    assert_eq!(database.store.outbox_depth().await.expect("up"), (0, None));
    let made = EvaluationRow { outbox: vec![notification(1, 10), notification(2, 11)], ..evaluation("a", 1) };
    database.store.save_evaluation(&made).await.expect("saved");
    database.store.defer_notification(id(1), 3, ms(500)).await.expect("deferred");
    assert_eq!(due(&database, 499).await, [2]);
    database.reopen().await;
    let deferred = OutboxRow { attempts: 3, next_attempt_at: ms(500), ..notification(1, 10) };
    assert_eq!(database.store.due_notifications(ms(500), 9).await.expect("up")[0], deferred);

    assert!(database.store.finish_notification(id(1), "accepted", ms(501)).await.expect("finished"));
    assert!(database.store.finish_notification(id(2), "refused", ms(502)).await.expect("finished"));
    assert_eq!(database.store.outbox_depth().await.expect("up"), (0, None));
    // The same word again is true; late words about what is finished, or never was, change nothing.
    assert!(database.store.finish_notification(id(1), "accepted", ms(501)).await.expect("nothing"));
    assert!(!database.store.finish_notification(id(1), "refused", ms(600)).await.expect("nothing"));
    database.store.defer_notification(id(1), 9, ms(600)).await.expect("nothing");
    assert!(!database.store.finish_notification(id(3), "accepted", ms(600)).await.expect("nothing"));
    assert_eq!(database.count("notifications WHERE outcome = 'accepted' AND attempts = 4").await, 1);
    assert_eq!(database.count("notifications WHERE outcome = 'refused' AND attempts = 1").await, 1);
    assert_eq!(database.count("notifications").await, 2);
}

pub async fn an_evaluation_sent_again_makes_no_second_notification(database: Database) {
    let made = EvaluationRow {
        instances: vec![instance("a", "01", "firing")],
        alerts: vec![alert(1, None, 1)],
        outbox: vec![notification(1, 10), notification(2, 10)],
        ..evaluation("a", 1)
    };
    database.store.save_evaluation(&made).await.expect("saved");
    database.store.finish_notification(id(1), "accepted", ms(20)).await.expect("finished");
    database.store.defer_notification(id(2), 1, ms(30)).await.expect("deferred");
    database.store.save_evaluation(&made).await.expect("saved again");
    assert_eq!(due(&database, 29).await, [0_u128; 0]);
    assert_eq!(due(&database, 30).await, [2]);
    assert_eq!(alerts(&database).await.len(), 1);
}
