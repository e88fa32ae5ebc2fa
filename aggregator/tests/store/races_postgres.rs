//! Two calls at the same time on PostgreSQL: the later one waits for the earlier one's locks, and must then see what that
//! one did. The earlier one is played by a connection of the test's own, which holds its transaction open.

use crate::fixture::{Database, agent, batch, evaluation, id, ms, new, notification, whole};
use monitoring_aggregator::store::{BatchRow, EvaluationRow, Stored, ToldGap};
use sqlx::{Connection, Executor, PgConnection};
use std::time::Duration;

/// More than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Statements of a transaction that stays open.
async fn under_way(database: &Database, statements: &[&'static str]) -> PgConnection {
    let mut first = PgConnection::connect(&database.url).await.expect("up");
    first.execute("BEGIN").await.expect("ours");
    for statement in statements {
        first.execute(*statement).await.expect("ours");
    }
    first
}

/// Waits until somebody waits for a lock.
async fn until_blocked(database: &Database) {
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut watch = PgConnection::connect(&database.url).await.expect("up");
    let look = async {
        while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut watch).await.expect("up") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the later call waits for the earlier one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifications_record_is_known_although_the_same_call_before_was_still_under_way() {
    let Some(database) = Database::postgres().await else { return };
    let made = EvaluationRow { outbox: vec![notification(1, 10)], ..evaluation("a", 1) };
    database.store.save_evaluation(&made).await.expect("saved");
    let first = "
        WITH gone AS (DELETE FROM monitoring.outbox WHERE id = '00000000-0000-0000-0000-000000000001' RETURNING *)
        INSERT INTO monitoring.notifications (id, channel, body, created_at, finished_at, outcome, attempts)
        SELECT id, channel, body, created_at, '1970-01-01 00:00:00.020+00', 'sent', attempts + 1 FROM gone";
    let mut first = under_way(&database, &[first]).await;
    let store = database.store.clone();
    let again = tokio::spawn(async move { store.finish_notification(id(1), "sent", ms(20)).await });
    until_blocked(&database).await;
    first.execute("COMMIT").await.expect("ours");
    assert!(again.await.expect("no panic").expect("up"), "recorded, by the same call before");
    assert!(!database.store.finish_notification(id(1), "sent", ms(21)).await.expect("up"), "that is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shed_is_told_although_the_same_call_before_was_still_under_way() {
    let Some(database) = Database::postgres().await else { return };
    let outbox = (1..=3).map(|n| notification(n, 10)).collect();
    database.store.save_evaluation(&EvaluationRow { outbox, ..evaluation("a", 1) }).await.expect("saved");
    let first = "
        WITH gone AS (DELETE FROM monitoring.outbox WHERE ordinal IN
            (SELECT ordinal FROM monitoring.outbox ORDER BY ordinal DESC OFFSET 1) RETURNING *)
        INSERT INTO monitoring.notifications (id, channel, body, created_at, finished_at, outcome, attempts)
        SELECT id, channel, body, created_at, '1970-01-01 00:00:00.050+00', 'outbox_full', attempts FROM gone";
    let mut first = under_way(&database, &[first]).await;
    let store = database.store.clone();
    let again = tokio::spawn(async move { store.shed_outbox(1, ms(50)).await });
    until_blocked(&database).await;
    first.execute("COMMIT").await.expect("ours");
    assert_eq!(again.await.expect("no panic").expect("up"), [("plantao".to_string(), 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_another_aggregator_commits_meanwhile_ends_by_the_first_sample_after_it() {
    let Some(database) = Database::postgres().await else { return };
    database.store.save_agent(&agent(1)).await.expect("saved");
    database.commit(&[whole(1, 9, 1)]).await;
    // Another aggregator stores 2, which is a gap; the agent sends the same to us, and what comes after it.
    let statements = [
        "SELECT * FROM monitoring.agent_epochs FOR UPDATE",
        "INSERT INTO monitoring.batches (agent_id, epoch, seq, received_at, digest, payload)
            SELECT agent_id, epoch, 2, last_received_at, NULL, '' FROM monitoring.agent_epochs",
        "INSERT INTO monitoring.gaps
            (agent_id, epoch, generation, first_seq, last_seq, reason, from_at, until_at, noted_at)
            SELECT agent_id, epoch, generation, 2, 2, 'corrupt', newest_at, NULL, last_received_at
            FROM monitoring.agent_epochs",
        "UPDATE monitoring.agent_epochs SET last_seq = 2",
    ];
    let mut other = under_way(&database, &statements).await;
    let gaps = vec![ToldGap { first_seq: 2, last_seq: 2, reason: "corrupt" }];
    let gap = BatchRow { gaps, ..batch(1, 9, 2) };
    let store = database.store.clone();
    let ours = tokio::spawn(async move { store.commit(&[gap, whole(1, 9, 3)]).await });
    until_blocked(&database).await;
    other.execute("COMMIT").await.expect("ours");
    assert_eq!(ours.await.expect("no panic").expect("up"), [Stored::Replay, new()]);
    let gaps = database.store.load_gaps(ms(0), 9).await.expect("up");
    assert_eq!(gaps[0].missing.until_at, Some(ms(30)), "{gaps:?}");
}
