//! Agents: what they say of themselves and where their streams stand.

use crate::fixture::{Database, agent, batch, id, ms};
use monitoring_aggregator::store::AgentRow;
use proto::message::Position;

/// The only agent of the database.
async fn only(database: &Database) -> AgentRow {
    let mut agents = database.store.load_agents().await.expect("the database is up");
    assert_eq!(agents.len(), 1, "{agents:?}");
    agents.remove(0)
}

pub async fn an_agent_comes_back_as_it_was_saved(mut database: Database) {
    let saved = agent(1);
    database.store.save_agent(&saved).await.expect("saved");
    assert_eq!(only(&database).await, saved);
    database.reopen().await;
    assert_eq!(only(&database).await, saved);
}

pub async fn a_hello_updates_the_agent_and_takes_back_its_goodbye(database: Database) {
    let first = agent(1);
    database.store.save_agent(&first).await.expect("saved");
    database.store.stop_agent(id(1), ms(1_700_000_000_999)).await.expect("stopped");
    assert_eq!(only(&database).await.stopped_at, Some(ms(1_700_000_000_999)));

    let again = AgentRow {
        service: "conversas".into(),
        clinic_id: None,
        first_seen: ms(1_800_000_000_000),
        last_seen: ms(1_800_000_000_000),
        ..first.clone()
    };
    database.store.save_agent(&again).await.expect("saved");
    assert_eq!(only(&database).await, AgentRow { first_seen: first.first_seen, ..again });
}

pub async fn a_goodbye_of_an_unknown_agent_is_nothing(database: Database) {
    database.store.stop_agent(id(1), ms(1)).await.expect("no error");
    assert!(database.store.load_agents().await.expect("the database is up").is_empty());
}

pub async fn an_agents_position_is_that_of_its_newest_epoch_whatever_the_clock_says(database: Database) {
    database.store.save_agent(&AgentRow { last_seen: ms(5), ..agent(1) }).await.expect("saved");
    assert_eq!(only(&database).await.position, None);

    let mut late = batch(1, u128::MAX, 7);
    late.received_at = ms(9_000);
    database.commit(&[late]).await;
    assert_eq!(only(&database).await.position, Some(Position { epoch: u128::MAX, seq: 7 }));

    // A new epoch begins after the clock was set back; the old one still drains.
    let mut early = batch(1, 3, 1);
    early.received_at = ms(100);
    let mut drained = batch(1, u128::MAX, 8);
    drained.received_at = ms(200);
    database.commit(&[early, drained]).await;
    let agent = only(&database).await;
    assert_eq!(agent.position, Some(Position { epoch: 3, seq: 1 }));
    assert_eq!(agent.last_seen, ms(9_000), "the newest batch of any epoch");
}

pub async fn epochs_that_begin_in_one_group_are_ordered_as_in_the_group(database: Database) {
    database.store.save_agent(&agent(1)).await.expect("saved");
    database.commit(&[batch(1, 9, 1), batch(1, 5, 1), batch(1, 7, 1)]).await;
    assert_eq!(only(&database).await.position, Some(Position { epoch: 7, seq: 1 }));
}

pub async fn an_interval_that_sql_cannot_hold_is_refused(database: Database) {
    let endless = AgentRow { interval: std::time::Duration::MAX, ..agent(1) };
    let error = database.store.save_agent(&endless).await.expect_err("beyond i64");
    assert!(error.to_string().contains("interval_ms"), "{error}");
}
