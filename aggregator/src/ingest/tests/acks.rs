//! An ack means durable: it comes after the commit, once, and for what is in the log and in the head.

use super::fixture::{Weather, until};
use super::house::{EPOCH, House, NOW, schema};
use super::wire;
use crate::live::State;
use proto::convert::RawBatch;
use proto::message::FromAgent;
use proto::sample::Gap;
use std::time::Duration;

#[tokio::test]
async fn a_batch_is_acked_when_it_is_committed_and_not_before() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    agent.send(1, 42.0).await;
    until("the commit has begun", || house.database.store.attempts() == 1).await;
    assert!(agent.heard_nothing());
    assert_eq!(house.latest(&agent), [], "what is not durable is not shown");
    house.database.store.turn(Weather::Fine);
    agent.hear_ack(1).await;
    assert_eq!(house.latest(&agent), [("cpu".into(), 42.0)]);
    assert_eq!(house.database.store.log().await, [(agent.id, 1)]);
    assert_eq!((house.batches("stored"), house.meters.ingest.samples.get()), (1, 1));
}

#[tokio::test]
async fn a_replay_is_acked_again_and_changes_nothing() {
    let house = House::new().await;
    let mut first = house.agent(1).await;
    for seq in 1..=3 {
        first.send(seq, 10.0 * seq as f64).await;
        first.hear_ack(seq).await;
    }
    let (latest, samples) = (house.latest(&first), house.samples());
    let mut second = house.agent(1).await;
    for seq in 1..=3 {
        second.send(seq, 10.0 * seq as f64).await;
        second.hear_ack(seq).await;
    }
    assert_eq!((house.latest(&second), house.samples()), (latest, samples));
    assert_eq!((house.batches("stored"), house.batches("replayed")), (3, 3));
    assert_eq!(house.database.store.log().await.len(), 3);
}

#[tokio::test]
async fn a_schema_that_came_with_a_replay_is_stored_with_the_next_batch() {
    let house = House::new().await;
    let mut first = house.agent(1).await;
    first.send(1, 1.0).await;
    first.hear_ack(1).await;
    house.forget_schemas().await;
    let mut second = house.agent(1).await;
    second.send(1, 1.0).await;
    second.hear_ack(1).await;
    second.send(2, 2.0).await;
    second.hear_ack(2).await;
    assert_eq!(house.schemas().await, [schema("host", &["cpu"]).id]);
}

#[tokio::test]
async fn a_schema_that_came_with_a_replay_is_stored_also_where_the_next_batch_was_sent_at_once() {
    let house = House::new().await;
    let mut first = house.agent(1).await;
    first.send(1, 1.0).await;
    first.hear_ack(1).await;
    house.forget_schemas().await;
    let mut second = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    second.send(1, 1.0).await;
    second.send(2, 2.0).await;
    until("both wait", || house.meters.ingest.waiting.get() >= 2.0).await;
    house.database.store.turn(Weather::Fine);
    second.hear_ack(1).await;
    second.hear_ack(2).await;
    assert_eq!(house.schemas().await, [schema("host", &["cpu"]).id]);
}

#[tokio::test]
async fn a_schema_that_is_stored_is_not_written_with_every_batch() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    house.forget_schemas().await;
    agent.send(2, 2.0).await;
    agent.hear_ack(2).await;
    assert_eq!(house.schemas().await, [], "the stream takes it for stored");
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_acked_and_then_each_batch_once() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Away);
    for seq in 1..=5 {
        agent.send(seq, seq as f64).await;
    }
    until("it was tried again", || house.database.store.attempts() >= 3).await;
    assert!(agent.heard_nothing());
    assert_eq!(house.meters.store_up.get(), 0.0);
    house.database.store.turn(Weather::Fine);
    for seq in 1..=5 {
        agent.hear_ack(seq).await;
    }
    assert!(house.meters.ingest.commit_failures.get() >= 2);
    assert_eq!(house.meters.store_up.get(), 1.0);
    assert_eq!(house.database.store.log().await.len(), 5);
    assert_eq!((house.batches("stored"), house.batches("replayed")), (5, 0));
    agent.goodbye().await;
    assert_eq!(agent.hear().await, None, "nothing was acked twice");
}

#[tokio::test]
async fn an_agent_that_waits_for_the_database_is_not_silent() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Away);
    agent.send(1, 1.0).await;
    until("the database was asked", || house.database.store.attempts() >= 1).await;
    house.clock.advance(Duration::from_secs(60));
    let seen_now = || house.live.agent(agent.id).is_some_and(|known| known.seen_at == Duration::from_secs(60));
    until("it is noted as present", seen_now).await;
    assert!(house.live.sweep().is_empty());
    house.database.store.turn(Weather::Fine);
    agent.hear_ack(1).await;
    assert_eq!(house.live.agent(agent.id).map(|known| known.state), Some(State::Up));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_acked_once_stored_once_and_shown() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Deaf);
    agent.send(1, 42.0).await;
    agent.hear_ack(1).await;
    assert_eq!(house.database.store.log().await, [(agent.id, 1)]);
    assert_eq!(house.latest(&agent), [("cpu".into(), 42.0)], "the log has it, so the head must have it");
}

#[tokio::test]
async fn what_is_committed_is_shown_although_its_stream_is_gone() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    for seq in 1..=3 {
        agent.send(seq, seq as f64).await;
    }
    until("the commit has begun", || house.database.store.attempts() == 1).await;
    let id = agent.id;
    drop(agent);
    house.database.store.turn(Weather::Fine);
    until("all three are shown", || house.samples() == 3).await;
    let mut back = house.agent(1).await;
    back.send(3, 3.0).await;
    back.hear_ack(3).await;
    assert_eq!(house.batches("replayed"), 1);
    assert_eq!(house.live.read(|head| head.latest(id).map(|(_, sample)| sample.value).collect::<Vec<_>>()), [3.0]);
}

#[tokio::test]
async fn batches_of_many_agents_share_a_commit() {
    let house = House::new().await;
    let (mut one, mut two, mut three) = (house.agent(1).await, house.agent(2).await, house.agent(3).await);
    house.database.store.turn(Weather::Held);
    one.send(1, 1.0).await;
    until("the first commit has begun", || house.database.store.attempts() == 1).await;
    for agent in [&mut two, &mut three] {
        agent.send(1, 1.0).await;
        agent.send(2, 2.0).await;
    }
    until("their batches wait", || house.waiting() == 4).await;
    house.database.store.turn(Weather::Fine);
    one.hear_ack(1).await;
    for agent in [&mut two, &mut three] {
        agent.hear_ack(1).await;
        agent.hear_ack(2).await;
    }
    assert_eq!(house.database.store.groups(), [1, 4], "five batches, two commits");
}

#[tokio::test]
async fn a_gap_record_is_acked_and_counted_by_its_reason() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    let gap = |first_seq, last_seq, reason: &str| {
        FromAgent::Batch(RawBatch::for_gap(&Gap { epoch: EPOCH, first_seq, last_seq, reason: reason.into() }))
    };
    agent.say(gap(2, 6, "spool_full")).await;
    agent.hear_ack(6).await;
    agent.say(gap(7, 7, "a word of its own")).await;
    agent.hear_ack(7).await;
    assert_eq!((house.missing("spool_full"), house.missing("other"), house.missing("unexplained")), (5, 1, 0));
}

#[tokio::test]
async fn gaps_that_overlap_count_each_record_once() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    // The agent's spool dropped more before the first of these was acked: the second reaches back over it.
    for last_seq in [4, 9] {
        let gap = Gap { epoch: EPOCH, first_seq: 2, last_seq, reason: "spool_full".into() };
        agent.say(FromAgent::Batch(RawBatch::for_gap(&gap))).await;
        agent.hear_ack(last_seq).await;
    }
    assert_eq!((house.missing("spool_full"), house.missing("unexplained")), (8, 0), "2 to 9");
}

#[tokio::test]
async fn a_gap_record_with_absurd_numbers_harms_nobody() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    for (seq, first_seq, last_seq) in [(1, 0, u64::MAX), (2, u64::MAX, 0)] {
        agent.say_bytes(wire::batch_with(seq, &wire::gap(first_seq, last_seq))).await;
        agent.hear_ack(seq).await;
    }
    assert_eq!(house.batches("stored"), 2);
}

#[tokio::test]
async fn records_that_never_came_are_counted_as_unexplained() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    agent.send(5, 5.0).await;
    agent.hear_ack(5).await;
    assert_eq!(house.missing("unexplained"), 3);
    assert!(house.live.agent(agent.id).is_some_and(|known| known.row.last_seen == NOW));
}
