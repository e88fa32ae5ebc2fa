//! Business events: each once, whoever brings it and however often.

use crate::fixture::{Database, id, ms, whole};
use monitoring_aggregator::store::{BatchRow, HistoryBefore, Stored};
use proto::event::Event;

fn event(clinic: u128, key: &str) -> Event {
    let clinic_id = id(clinic);
    Event { kind: "appointment.created".into(), clinic_id, occurred_at: ms(77), idempotency_key: key.into() }
}

/// A batch with these events.
fn with(agent: u128, seq: u64, events: Vec<Event>) -> BatchRow {
    BatchRow { events, service: "agenda".into(), ..whole(agent, 9, seq) }
}

/// How many events of each batch were new.
fn fresh(stored: &[Stored]) -> Vec<u64> {
    let count = |stored: &Stored| match stored {
        Stored::New(news) => news.events,
        other => panic!("a new batch, not {other:?}"),
    };
    stored.iter().map(count).collect()
}

pub async fn an_event_is_stored_once_however_often_it_comes(mut database: Database) {
    let twice = vec![event(1, "a"), event(1, "b"), event(1, "a")];
    let group = [with(1, 1, twice), with(2, 1, vec![event(1, "b"), event(1, "c")]), with(2, 2, vec![])];
    assert_eq!(fresh(&database.commit(&group).await), [2, 1, 0]);
    database.reopen().await;
    assert_eq!(fresh(&database.commit(&[with(3, 1, vec![event(1, "a"), event(1, "d")])]).await), [1]);
    assert_eq!(database.count("business_events").await, 4);
    let first = "business_events WHERE idempotency_key = 'b' AND type = 'appointment.created' AND service = 'agenda' AND seq = 1";
    assert_eq!(database.count(first).await, 1);
}

pub async fn one_clinics_key_is_not_anothers(database: Database) {
    assert_eq!(fresh(&database.commit(&[with(1, 1, vec![event(1, "a"), event(2, "a")])]).await), [2]);
}

pub async fn a_replay_brings_no_events_and_a_group_that_fails_none(database: Database) {
    database.commit(&[with(1, 1, vec![event(1, "a")])]).await;
    assert_eq!(database.commit(&[with(1, 1, vec![event(1, "b")])]).await, [Stored::Replay]);
    assert_eq!(database.count("business_events").await, 1);
    database
        .sql(
            "CREATE TRIGGER harm BEFORE INSERT ON business_events WHEN new.idempotency_key = 'harm'
                BEGIN SELECT RAISE(ABORT, 'harm was done'); END",
            "ALTER TABLE monitoring.business_events ADD CHECK (idempotency_key <> 'harm')",
        )
        .await;
    let group = [with(1, 2, vec![event(1, "c")]), with(2, 1, vec![event(1, "harm")])];
    assert!(database.store.commit(&group).await.is_err());
    assert_eq!((database.count("business_events").await, database.count("batches").await), (1, 1));
}

pub async fn many_events_are_one_commit(database: Database) {
    let events = |seq: u64| (0..1_000).map(|n| event(n % 7, &format!("{seq}-{n}"))).collect();
    let group: Vec<BatchRow> = (1..=25).map(|seq| with(1, seq, events(seq))).collect();
    assert_eq!(fresh(&database.commit(&group).await), [1_000; 25]);
    assert_eq!(database.count("business_events").await, 25_000);
}

pub async fn events_that_came_long_ago_go(database: Database) {
    database.commit(&[with(1, 99, vec![event(1, "a")]), with(1, 100, vec![event(1, "b"), event(1, "c")])]).await;
    let never = ms(i64::MIN);
    let before = HistoryBefore { events: ms(100), notifications: never, alerts: never, agents: never };
    assert_eq!(database.store.prune_history(&before).await.expect("up").events, 1);
    assert_eq!(database.count("business_events").await, 2);
}
