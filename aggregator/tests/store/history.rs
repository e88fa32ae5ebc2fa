//! What is kept for a while only, and the sign of life that a restart goes by.

use crate::fixture::{Database, agent, alert, batch, evaluation, id, ms, notification};
use monitoring_aggregator::store::{AgentRow, AlertRow, EvaluationRow, HistoryBefore, PrunedHistory, Pulse, Scope};

fn before(at: i64) -> HistoryBefore {
    HistoryBefore { notifications: ms(at), alerts: ms(at), agents: ms(at), events: ms(at) }
}

pub async fn the_last_sign_of_life_is_the_pulse_or_the_last_evaluation(mut database: Database) {
    assert_eq!(database.store.load_pulse().await.expect("up"), None);
    for at in [1_700_000_000_123, 1_700_000_000_456] {
        database.store.save_pulse(Pulse { alive_at: ms(at), trusted_at: ms(at - 9) }).await.expect("saved");
    }
    database.reopen().await;
    let pulse = Pulse { alive_at: ms(1_700_000_000_456), trusted_at: ms(1_700_000_000_447) };
    assert_eq!(database.store.load_pulse().await.expect("up"), Some(pulse));
    assert_eq!(database.count("pulse").await, 1);
    for (rule, at) in [("a", 1_700_000_000_777), ("b", 5)] {
        database.store.save_evaluation(&evaluation(rule, at)).await.expect("saved");
    }
    let pulse = Pulse { alive_at: ms(1_700_000_000_777), ..pulse };
    assert_eq!(database.store.load_pulse().await.expect("up"), Some(pulse));
}

pub async fn notifications_that_are_finished_for_long_go(database: Database) {
    let made = EvaluationRow { outbox: (1..=3).map(|n| notification(n, 10)).collect(), ..evaluation("a", 1) };
    database.store.save_evaluation(&made).await.expect("saved");
    database.store.finish_notification(id(1), "sent", ms(99)).await.expect("finished");
    database.store.finish_notification(id(2), "sent", ms(100)).await.expect("finished");
    let pruned = database.store.prune_history(&before(100)).await.expect("up");
    assert_eq!(pruned, PrunedHistory { notifications: 1, ..PrunedHistory::default() });
    assert_eq!(database.count("notifications").await, 1);
    assert_eq!(database.store.outbox_depth().await.expect("up").0, 1, "what waits is not over");
}

pub async fn alerts_that_are_resolved_for_long_go_and_active_ones_stay(database: Database) {
    let resolved = |n, at| AlertRow { status: "resolved".into(), resolved_at: Some(ms(at)), ..alert(n, None, 1) };
    let alerts = vec![alert(1, None, 1), resolved(2, 99), resolved(3, 100)];
    database.store.save_evaluation(&EvaluationRow { alerts, ..evaluation("a", 1) }).await.expect("saved");
    assert_eq!(database.store.prune_history(&before(100)).await.expect("up").alerts, 1);
    let left = database.store.load_alerts(Scope::AllClinics, None, 9).await.expect("up");
    assert_eq!(left.iter().map(|alert| alert.id.as_u128()).collect::<Vec<_>>(), [3, 1]);
}

pub async fn agents_of_which_nothing_comes_any_more_go_with_their_epochs(database: Database) {
    let seen = |number, at| AgentRow { last_seen: ms(at), ..agent(number) };
    // 1 said hello long ago, 2 too but its batches came since, 3 said hello just now and sends anew.
    for agent in [seen(1, 50), seen(2, 50), seen(3, 150)] {
        database.store.save_agent(&agent).await.expect("saved");
    }
    database.commit(&[batch(1, 9, 60), batch(2, 9, 60), batch(2, 9, 120), batch(3, 9, 60)]).await;
    let pruned = database.store.prune_history(&before(100)).await.expect("up");
    assert_eq!(pruned, PrunedHistory { agents: 1, ..PrunedHistory::default() });
    let left = database.store.load_agents().await.expect("up");
    assert_eq!(left.iter().map(|agent| agent.agent_id).collect::<Vec<_>>(), [id(2), id(3)]);
    assert_eq!(database.count("agent_epochs").await, 1);
}

pub async fn of_too_many_notifications_the_newest_wait_on_and_the_others_are_history(database: Database) {
    let mut made: Vec<_> = (1..=5).map(|number| notification(number, 10)).collect();
    made[0].channel = "outro".into();
    // The clock was set back: newest is what was made last, not what has the latest time.
    made[3].created_at = ms(1);
    made[4].created_at = ms(2);
    database.store.save_evaluation(&EvaluationRow { outbox: made, ..evaluation("a", 1) }).await.expect("saved");
    assert_eq!(database.store.shed_outbox(5, ms(50)).await.expect("up"), []);
    for _the_answer_may_be_lost in 0..2 {
        let shed = database.store.shed_outbox(2, ms(50)).await.expect("up");
        assert_eq!(shed, [("outro".to_string(), 1), ("plantao".to_string(), 2)]);
    }
    assert_eq!(database.store.shed_outbox(2, ms(51)).await.expect("up"), []);
    let left = database.store.due_notifications(ms(1_000), 9).await.expect("up");
    assert_eq!(left.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(database.count("notifications WHERE outcome = 'outbox_full' AND attempts = 0").await, 3);
}
