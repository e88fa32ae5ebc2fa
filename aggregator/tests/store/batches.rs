//! Batches: stored once, whole groups or nothing, replayed in order, pruned without being forgotten.

use crate::fixture::{Database, agent, batch, chain, id, lacking, ms, new};
use futures::future::join_all;
use monitoring_aggregator::store::{AgentRow, BatchRow, SCHEMA_REFRESH, SchemaRow, StoreError, Stored};
use proto::message::Position;
use proto::sample::{SchemaId, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

pub async fn a_replay_changes_nothing(mut database: Database) {
    database.store.save_agent(&agent(1)).await.expect("saved");
    let first = batch(1, 9, 1);
    assert_eq!(database.commit(std::slice::from_ref(&first)).await, [new()]);
    let before = database.store.load_agents().await.expect("up");

    let mut replay = BatchRow { payload: b"other".to_vec(), received_at: ms(99), ..first.clone() };
    replay.schemas.push(schema(1, 7, b"s"));
    assert_eq!(database.commit(std::slice::from_ref(&replay)).await, [Stored::Replay]);
    database.reopen().await;
    assert_eq!(database.commit(&[replay]).await, [Stored::Replay]);

    assert_eq!(database.replayed(Timestamp::ZERO).await, [first]);
    assert_eq!(database.store.load_agents().await.expect("up"), before);
    assert_eq!(database.store.load_schemas().await.expect("up"), []);
}

pub async fn the_same_batch_twice_in_a_group_is_stored_once(database: Database) {
    let group = [batch(1, 9, 1), batch(1, 9, 1), batch(2, 9, 1), batch(1, 9, 2), batch(1, 9, 1)];
    let stored = database.commit(&group).await;
    assert_eq!(stored, [new(), Stored::Replay, new(), new(), Stored::Replay]);
    assert_eq!(database.replayed(Timestamp::ZERO).await, [batch(1, 9, 1), batch(2, 9, 1), batch(1, 9, 2)]);
}

pub async fn sequence_numbers_that_never_came_are_counted(database: Database) {
    assert_eq!(database.commit(&[batch(1, 9, 5)]).await, [lacking(1, 4)]);
    assert_eq!(database.commit(&[batch(1, 9, 6), batch(1, 9, 10)]).await, [new(), lacking(7, 9)]);
    assert_eq!(database.commit(&[batch(1, 9, 7)]).await, [Stored::Replay], "it is before the position");
    let last = BatchRow { received_at: ms(11), ..batch(1, 9, i64::MAX.unsigned_abs()) };
    assert_eq!(database.commit(&[last]).await, [lacking(11, i64::MAX.unsigned_abs() - 1)]);
}

pub async fn an_old_epochs_replay_is_known_after_a_new_epoch_began_and_after_a_prune(mut database: Database) {
    database.commit(&[batch(1, 9, 1), batch(1, 9, 2)]).await;
    database.commit(&[batch(1, 3, 1)]).await;
    let stored = database.commit(&[batch(1, 9, 2), batch(1, 9, 3)]).await;
    assert_eq!(timeless(stored), [Stored::Replay, new()]);

    assert_eq!(database.store.prune(ms(1_000)).await.expect("up"), 4);
    assert_eq!(database.count("batches").await, 0);
    database.reopen().await;
    let stored = database.commit(&[batch(1, 9, 3), batch(1, 3, 1)]).await;
    assert_eq!(stored, [Stored::Unproven, Stored::Unproven], "behind, and nobody can tell what stood there");
    assert_eq!(timeless(database.commit(&[batch(1, 9, 4), batch(1, 3, 2)]).await), [new(), new()]);
}

pub async fn a_group_with_a_number_that_sql_cannot_hold_is_refused_whole(database: Database) {
    for seq in [u64::MAX, 0] {
        let error = database.store.commit(&[batch(1, 9, 1), batch(1, 9, seq)]).await.expect_err("no bigint");
        assert!(matches!(error, StoreError::BadRow { table: "batches", .. }), "{error:?}");
    }
    assert_eq!(database.count("batches").await, 0);
    assert_eq!(database.commit(&[batch(1, 9, 1)]).await, [new()]);
}

pub async fn a_group_that_fails_midway_stores_nothing(database: Database) {
    database
        .sql(
            "CREATE TRIGGER harm BEFORE INSERT ON batches WHEN new.payload = CAST('harm' AS BLOB)
                BEGIN SELECT RAISE(ABORT, 'harm was done'); END",
            "CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE 'harm was done'; END $$;
             CREATE TRIGGER harm BEFORE INSERT ON monitoring.batches FOR EACH ROW
                WHEN (new.payload = 'harm'::bytea) EXECUTE FUNCTION harm()",
        )
        .await;
    let mut group = vec![batch(1, 9, 1), batch(1, 9, 2), batch(2, 9, 1)];
    group[0].schemas.push(schema(1, 7, b"s"));
    group[1].payload = b"harm".to_vec();

    let error = database.store.commit(&group).await.expect_err("the trigger");
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(chain(&error).contains("harm was done"), "{}", chain(&error));
    assert_eq!(database.replayed(Timestamp::ZERO).await, []);
    assert_eq!(database.store.load_schemas().await.expect("up"), []);

    group[1].payload = b"good".to_vec();
    assert_eq!(database.commit(&group).await, [new(), new(), new()]);
    assert_eq!(database.replayed(Timestamp::ZERO).await.len(), 3);
}

pub async fn a_batch_that_is_stored_without_a_position_is_a_replay(database: Database) {
    database.commit(&[batch(1, 9, 1), batch(1, 9, 2)]).await;
    database.sql("DELETE FROM agent_epochs", "DELETE FROM monitoring.agent_epochs").await;
    let stored = database.commit(&[batch(1, 9, 1), batch(1, 9, 2), batch(1, 9, 3)]).await;
    assert_eq!(stored, [Stored::Replay, Stored::Replay, new()]);
    assert_eq!(database.count("batches").await, 3);
    assert_eq!(database.commit(&[batch(1, 9, 3), batch(1, 9, 4)]).await, [Stored::Replay, new()]);
}

pub async fn an_empty_group_is_nothing(database: Database) {
    assert_eq!(database.commit(&[]).await, []);
}

pub async fn batches_of_an_agent_that_never_said_hello_are_stored(database: Database) {
    assert_eq!(database.commit(&[batch(1, 9, 1)]).await, [new()]);
    assert_eq!(database.store.load_agents().await.expect("up"), []);
}

pub async fn batches_come_back_whole_and_in_the_order_of_storing(mut database: Database) {
    let odd = |seq, received_at, payload: Vec<u8>| BatchRow {
        agent_id: id(u128::MAX),
        position: Position { epoch: 1 << 127, seq },
        received_at: ms(received_at),
        payload,
        ..batch(1, 9, seq)
    };
    let rows = [
        odd(1, 1_700_000_000_123, vec![]),
        odd(2, -1, vec![0, 255, 0]),
        odd(3, 1, (0..70_000_u32).map(|byte| (byte % 251) as u8).collect()),
        odd(4, 253_402_300_799_999, vec![1]),
    ];
    database.commit(&rows).await;
    database.reopen().await;
    assert_eq!(database.replayed(ms(i64::MIN)).await, rows);
    assert_eq!(database.replayed(ms(1)).await, [rows[0].clone(), rows[2].clone(), rows[3].clone()]);
    assert_eq!(database.replayed(ms(i64::MAX)).await, []);
}

pub async fn a_long_replay_and_a_long_prune_go_in_steps(database: Database) {
    let rows: Vec<BatchRow> = (1..=11_000).map(|seq| batch(1, 9, seq)).collect();
    for group in rows.chunks(1_000) {
        database.commit(group).await;
    }
    assert_eq!(database.replayed(ms(10_000)).await, rows[9_999..]);
    assert_eq!(database.replayed(Timestamp::ZERO).await.len(), 11_000);
    assert_eq!(database.store.prune(ms(10_501)).await.expect("up"), 10_500);
    assert_eq!(database.replayed(Timestamp::ZERO).await, rows[10_500..]);
    assert_eq!(database.store.prune(ms(10_501)).await.expect("up"), 0);
}

pub async fn schemas_are_stored_with_their_batch_and_refreshed_by_later_ones(mut database: Database) {
    let (kept, aged) = (schema(1, u64::MAX, b"kept"), schema(1, 7, b"aged"));
    let mut first = batch(1, 9, 10);
    first.schemas = vec![aged.clone(), kept.clone(), kept.clone()];
    let mut second = batch(1, 9, 20);
    second.schemas = vec![kept.clone()];
    let mut foreign = batch(2, 9, 30);
    foreign.schemas = vec![schema(2, 7, b"another agent's")];
    database.commit(&[first, second]).await;
    database.commit(&[foreign.clone()]).await;
    let mut loaded = database.store.load_schemas().await.expect("up");
    loaded.sort_by_key(|schema| (schema.agent_id, schema.schema_id));
    assert_eq!(loaded, [aged, kept.clone(), foreign.schemas[0].clone()]);

    assert_eq!(database.store.prune(ms(20)).await.expect("up"), 1);
    assert_eq!(database.count("schemas").await, 3, "batches of the next hour rely on them");
    assert_eq!(database.store.prune(ms(20) + SCHEMA_REFRESH).await.expect("up"), 2);
    database.reopen().await;
    let mut loaded = database.store.load_schemas().await.expect("up");
    loaded.sort_by_key(|schema| (schema.agent_id, schema.schema_id));
    assert_eq!(loaded, [kept, foreign.schemas[0].clone()]);
}

pub async fn what_an_agent_sent_under_another_name_is_not_replayed_whatever_the_clock_said(mut database: Database) {
    let hello = |at, clinic| AgentRow { last_seen: ms(at), clinic_id: Some(id(clinic)), ..agent(1) };
    database.store.save_agent(&hello(10, 901)).await.expect("saved");
    let rows = [batch(1, 9, 11), batch(1, 9, 12), batch(1, 9, 20), batch(1, 9, 21)];
    database.commit(&rows[..2]).await;
    database.store.save_agent(&hello(15, 901)).await.expect("saved");
    database.commit(&[batch(2, 9, 16)]).await;
    assert_eq!(database.replayed(Timestamp::ZERO).await.len(), 3, "the same name again changes nothing");
    // The clock is a year ahead as it gets another name, and is set right before its next batch.
    database.store.save_agent(&hello(31_536_000_000, 902)).await.expect("saved");
    database.commit(&rows[2..]).await;
    let replayed = database.replayed(Timestamp::ZERO).await;
    assert_eq!(replayed, [batch(2, 9, 16), rows[2].clone(), rows[3].clone()], "one clinic's must not become another's");
    // It is behind.
    database.store.save_agent(&AgentRow { clinic_id: None, ..hello(5, 902) }).await.expect("saved");
    assert_eq!(database.replayed(Timestamp::ZERO).await, [batch(2, 9, 16)]);
    // When all is pruned, what comes next has the name of now.
    assert_eq!(database.store.prune(ms(1_000)).await.expect("up"), 5);
    database.reopen().await;
    database.commit(&[batch(1, 9, 30)]).await;
    assert_eq!(database.replayed(Timestamp::ZERO).await, [batch(1, 9, 30)]);
}

pub async fn a_replay_after_a_clock_was_set_back_leaves_nothing_out(database: Database) {
    let came = |seq, at| BatchRow { received_at: ms(at), ..batch(1, 9, seq) };
    let rows = [came(1, 500), came(2, 900), came(3, 100), came(4, 600), came(5, 950)];
    database.commit(&rows).await;
    assert_eq!(database.replayed(ms(600)).await, [rows[1].clone(), rows[3].clone(), rows[4].clone()]);
}

/// The law behind the examples: whatever comes, each (agent, epoch) is a register that only grows.
pub async fn random_groups_are_judged_like_a_naive_twin_judges_them(mut database: Database) {
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut twin: HashMap<(u128, u128), u64> = HashMap::new();
    let mut log = Vec::new();
    for round in 0..60 {
        let batches = (0..random.usize(1..40)).map(|_| {
            let (agent, epoch) = (random.u128(1..5), random.u128(1..4));
            let last = twin.get(&(agent, epoch)).copied().unwrap_or(0);
            batch(agent, epoch, random.u64(last.saturating_sub(3).max(1)..last + 4))
        });
        let group: Vec<BatchRow> = batches.collect();
        let expected = group.iter().map(|row| {
            let last = twin.entry((row.agent_id.as_u128(), row.position.epoch)).or_insert(0);
            if row.position.seq <= *last {
                return Stored::Replay;
            }
            let first = *last + 1;
            *last = row.position.seq;
            log.push(row.clone());
            if first < *last { lacking(first, *last - 1) } else { new() }
        });
        let expected: Vec<Stored> = expected.collect();
        assert_eq!(timeless(database.commit(&group).await), expected, "round {round}");
        if round % 20 == 10 {
            database.reopen().await;
        }
    }
    assert_eq!(database.replayed(Timestamp::ZERO).await, log);
}

pub async fn commits_at_the_same_time_store_each_batch_once(database: Database) {
    let groups: Vec<Vec<BatchRow>> = (0..8_u128)
        .map(|turn| (1..=20).map(|seq| batch(seq % 5 + turn % 2, 9, seq.try_into().expect("small"))).collect())
        .collect();
    let outcomes = join_all(groups.iter().map(|group| database.store.commit(group))).await;
    let stored: usize =
        outcomes.into_iter().flat_map(|outcome| outcome.expect("up")).filter(|one| *one != Stored::Replay).count();
    assert_eq!(i64::try_from(stored).expect("small"), database.count("batches").await);
}

pub async fn a_commit_that_is_dropped_leaves_nothing_open(database: Database) {
    let mut seq = 0;
    for micros in (0..4_000).step_by(100) {
        seq += 1;
        let group = [batch(1, 9, seq), batch(2, 9, seq)];
        let dropped = tokio::time::timeout(Duration::from_micros(micros), database.store.commit(&group)).await;
        // The same again: done already, or done now, and seen by everyone.
        let stored = database.commit(&group).await;
        assert!(
            dropped.is_ok() || stored == [new(), new()] || stored == [Stored::Replay, Stored::Replay],
            "{stored:?}"
        );
        // A single statement after it is durable too, and not part of a transaction that someone left behind.
        database.store.save_agent(&agent(seq.into())).await.expect("up");
        assert_eq!(database.count("batches").await, i64::try_from(2 * seq).expect("small"));
        assert_eq!(database.count("agents").await, i64::try_from(seq).expect("small"));
    }
}

/// The same, whatever epochs came since.
fn timeless(mut stored: Vec<Stored>) -> Vec<Stored> {
    for one in &mut stored {
        if let Stored::New(news) = one {
            news.is_past = false;
        }
    }
    stored
}

fn schema(agent: u128, schema_id: u64, definition: &[u8]) -> SchemaRow {
    SchemaRow { agent_id: id(agent), schema_id: SchemaId(schema_id), definition: definition.to_vec().into() }
}
