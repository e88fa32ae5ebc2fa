//! The life of a stream: newer and older, goodbye and silence, room and drain.

use super::fixture::{Weather, until};
use super::house::{EPOCH, House, NOW, Setting, hello};
use crate::ingest::arrivals::Arrivals;
use crate::live::State;
use crate::store::Store;
use proto::catalog::AGENT_UP;
use proto::limits::WINDOW_BATCHES;
use proto::message::{ClockReading, FromAgent, Position, RefusalReason, ToAgent, Welcome};
use std::time::Duration;
use uuid::Uuid;

/// What `monitoring_agent_up` says now, for all agents.
fn up(house: &House) -> Vec<f64> {
    house.live.sweep();
    house.live.read(|head| {
        let newest = head.select(Some(AGENT_UP.name)).filter_map(tsdb::Series::last);
        newest.map(|sample| sample.value).filter(|value| !value.is_nan()).collect()
    })
}

#[tokio::test]
async fn a_newer_stream_of_the_same_agent_ends_the_older() {
    let house = House::new().await;
    let mut older = house.agent(1).await;
    older.send(1, 1.0).await;
    older.hear_ack(1).await;
    let mut newer = house.agent(1).await;
    assert_eq!(older.hear_refusal().await.reason, RefusalReason::Unavailable);
    assert_eq!(older.hear().await, None);
    newer.send(2, 2.0).await;
    newer.hear_ack(2).await;
    until("one stream is left", || house.meters.ingest.streams.get() == 1.0).await;
    let mut other = house.agent(2).await;
    other.send(1, 1.0).await;
    other.hear_ack(1).await;
    assert!(newer.heard_nothing(), "another agent's stream ends nobody's");
}

#[tokio::test]
async fn the_times_of_an_agent_whose_clock_is_wrong_or_is_set_are_those_of_our_clock() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    let set_to = |seconds| FromAgent::Clock(ClockReading { wall: NOW - Duration::from_secs(seconds), was_set: true });
    // Each batch says that it is of one second later than the one before; only the clock that said so differs.
    let mut times = Vec::new();
    for (seq, behind) in [(1, 0), (2, 300), (3, 1)] {
        agent.say(set_to(behind)).await;
        agent.send(seq, 1.0).await;
        agent.hear_ack(seq).await;
        let newest = house.live.read(|head| head.latest(agent.id).map(|(_, sample)| sample.at).next());
        times.push(newest.expect("it is shown").as_millis() - NOW.as_millis());
    }
    assert_eq!(times, [1_000, 302_000, 3_000], "one second behind is within the tolerance");
}

#[tokio::test]
async fn an_agent_that_says_goodbye_is_stopped_and_nothing_is_wrong() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    assert_eq!(up(&house), [1.0]);
    agent.goodbye().await;
    agent.hear_ack(1).await;
    assert_eq!(agent.hear().await, None);
    until("it is stopped", || house.live.agent(agent.id).is_some_and(|known| known.state == State::Stopped)).await;
    house.clock.advance(Duration::from_secs(3600));
    assert!(house.live.sweep().is_empty(), "a stopped agent does not become silent");
    assert!(up(&house).is_empty(), "it is neither up nor down");
    assert_eq!(house.latest(&agent), []);
    until("the stream ended", || house.meters.ingest.streams.get() == 0.0).await;
    let stored = house.database.store.load_agents().await.expect("it is there");
    assert_eq!(stored[0].stopped_at, Some(NOW));
}

#[tokio::test]
async fn an_agent_that_breaks_off_becomes_silent_after_three_intervals_and_comes_back() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    agent.hang_up();
    assert_eq!(agent.hear().await, None);
    house.clock.advance(Duration::from_secs(3));
    assert_eq!(up(&house), [1.0]);
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(up(&house), [0.0]);
    assert_eq!(house.latest(&agent), []);
    let back = house.agent(1).await;
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(up(&house), [1.0]);
    assert_eq!(house.live.agent(back.id).map(|known| known.state), Some(State::Up));
}

#[tokio::test]
async fn an_agent_is_connected_while_its_newest_stream_stands() {
    let house = House::new().await;
    let is_connected = |id| house.live.agent(id).is_some_and(|known| known.is_connected);
    let mut older = house.agent(1).await;
    let mut newer = house.agent(1).await;
    while older.hear().await.is_some() {}
    until("the older has ended", || house.meters.ingest.streams.get() == 1.0).await;
    assert!(is_connected(newer.id), "the older's end is not its own");
    newer.hang_up();
    assert_eq!(newer.hear().await, None);
    until("it is noted", || !is_connected(newer.id)).await;
}

#[tokio::test]
async fn an_older_streams_goodbye_does_not_stop_an_agent_that_is_back() {
    let house = House::new().await;
    let mut older = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    older.send(1, 1.0).await;
    older.goodbye().await;
    until("its batch is being committed", || house.database.store.attempts() == 1).await;
    let mut newer = house.stranger(1).await;
    newer.say(FromAgent::Hello(hello(1))).await;
    house.clock.advance(Duration::from_millis(10));
    house.database.store.turn(Weather::Fine);
    assert_eq!(newer.hear().await, Some(ToAgent::Welcome(Welcome::default())));
    older.hear_ack(1).await;
    assert_eq!(older.hear().await, None);
    newer.send(2, 2.0).await;
    newer.hear_ack(2).await;
    until("the older has ended", || house.meters.ingest.streams.get() == 1.0).await;
    assert_eq!(house.live.agent(newer.id).map(|known| known.state), Some(State::Up));
    assert_eq!(house.database.store.load_agents().await.expect("it is there")[0].stopped_at, None);
}

#[tokio::test]
async fn an_agent_that_breaks_off_while_the_database_is_away_is_silent_like_any_other() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    agent.send(1, 1.0).await;
    until("the first commit has begun", || house.database.store.attempts() == 1).await;
    // More than a window: the aggregator does not read, and would not hear the end of the stream.
    for seq in 2..=WINDOW_BATCHES as u64 + 2 {
        agent.send(seq, 1.0).await;
    }
    until("the window is full", || house.waiting() == WINDOW_BATCHES - 1).await;
    assert_eq!(up(&house), [1.0]);
    house.clock.advance(Duration::from_secs(2));
    until("its presence is noted", || house.live.agent(agent.id).is_some_and(|known| known.seen_at.as_secs() == 2))
        .await;
    let id = agent.id;
    drop(agent);
    until("the stream's end is heard", || house.meters.ingest.streams.get() == 0.0).await;
    house.clock.advance(Duration::from_secs(4));
    assert_eq!(up(&house), [0.0]);
    house.database.store.turn(Weather::Fine);
    until("its batches are in the head", || house.samples() >= WINDOW_BATCHES).await;
    assert_eq!(house.live.agent(id).map(|known| known.state), Some(State::Silent), "they are no sign of life");
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(up(&house), [0.0]);
}

#[tokio::test]
async fn a_goodbye_is_noted_at_once_although_the_database_is_away() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Away);
    agent.send(1, 1.0).await;
    agent.goodbye().await;
    until("it is stopped", || house.live.agent(agent.id).is_some_and(|known| known.state == State::Stopped)).await;
    house.clock.advance(Duration::from_secs(3600));
    assert!(house.live.sweep().is_empty(), "it is not missed while its last batch waits");
    house.database.store.turn(Weather::Fine);
    agent.hear_ack(1).await;
    assert_eq!(house.latest(&agent), [], "its last batch does not revive its series");
}

#[tokio::test]
async fn a_goodbye_is_stored_once_the_database_is_back() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Away);
    agent.goodbye().await;
    until("the database did not take it", || house.database.store.stops() >= 1).await;
    house.clock.advance(Duration::from_secs(60));
    house.database.store.turn(Weather::Fine);
    assert_eq!(agent.hear().await, None, "the stream ends when it is stored");
    let stored = house.database.store.load_agents().await.expect("it is there");
    assert_eq!(stored[0].stopped_at, Some(NOW), "when it was said, not when it was stored");
}

#[tokio::test]
async fn a_replay_does_not_move_a_position_back() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    for seq in [1, 2, 3, 1] {
        agent.send(seq, 1.0).await;
        agent.hear_ack(seq).await;
    }
    let position = house.live.agent(agent.id).and_then(|known| known.row.position);
    assert_eq!(position, Some(Position { epoch: EPOCH, seq: 3 }));
}

#[tokio::test]
async fn a_hello_that_the_database_does_not_take_is_to_come_again() {
    let house = House::new().await;
    house.database.store.turn(Weather::Away);
    let mut agent = house.stranger(1).await;
    agent.say(FromAgent::Hello(hello(1))).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::Unavailable);
    assert!(refusal.retry_after.is_some());
    assert_eq!(agent.hear().await, None);
    house.database.store.turn(Weather::Fine);
    let mut again = house.agent(1).await;
    again.send(1, 1.0).await;
    again.hear_ack(1).await;
}

#[tokio::test]
async fn one_stream_more_than_there_is_room_for_is_sent_away_until_another_ends() {
    let house = House::with_room(2).await;
    let (_one, mut two) = (house.agent(1).await, house.agent(2).await);
    let mut three = house.stranger(3).await;
    let refusal = three.hear_refusal().await;
    assert_eq!((refusal.reason, refusal.retry_after.is_some()), (RefusalReason::Unavailable, true));
    assert_eq!((three.hear().await, house.refused("too_many_streams")), (None, 1));
    two.hang_up();
    assert_eq!(two.hear().await, None);
    until("one stream is left", || house.meters.ingest.streams.get() == 1.0).await;
    house.agent(3).await;
}

#[tokio::test]
async fn a_stream_that_says_nothing_takes_room_too() {
    let house = House::with_room(1).await;
    let _silent = house.stranger(1).await;
    let mut next = house.stranger(2).await;
    assert_eq!(next.hear_refusal().await.reason, RefusalReason::Unavailable);
}

#[tokio::test]
async fn a_window_of_batches_is_read_ahead_of_their_acks_and_no_more() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    let window = WINDOW_BATCHES as u64;
    agent.send(1, 1.0).await;
    until("the first commit has begun", || house.database.store.attempts() == 1).await;
    for seq in 2..=window + 5 {
        agent.send(seq, 1.0).await;
    }
    until("the window is full", || house.waiting() == WINDOW_BATCHES - 1).await;
    house.database.store.turn(Weather::Fine);
    for seq in 1..=window + 5 {
        agent.hear_ack(seq).await;
    }
    assert!(house.database.store.groups().iter().all(|group| *group <= WINDOW_BATCHES));
}

#[tokio::test]
async fn a_drain_delivers_the_acks_under_way_and_says_when_to_come_back() {
    let house = House::new().await;
    let (mut busy, mut idle, mut unknown) = (house.agent(1).await, house.agent(2).await, house.stranger(3).await);
    house.database.store.turn(Weather::Held);
    busy.send(1, 1.0).await;
    until("its first batch is being committed", || house.database.store.attempts() == 1).await;
    busy.send(2, 1.0).await;
    busy.send(3, 1.0).await;
    until("the others wait", || house.waiting() == 2).await;
    let drain = tokio::spawn(house.drain.run());
    for agent in [&mut idle, &mut unknown] {
        let refusal = agent.hear_refusal().await;
        assert_eq!((refusal.reason, refusal.retry_after.is_some()), (RefusalReason::Unavailable, true));
    }
    assert!(busy.heard_nothing());
    house.database.store.turn(Weather::Fine);
    for seq in 1..=3 {
        assert_eq!(busy.hear().await, Some(ToAgent::Ack(Position { epoch: EPOCH, seq })));
    }
    assert_eq!(busy.hear_refusal().await.reason, RefusalReason::Unavailable);
    assert_eq!(busy.hear().await, None);
    drop((busy, idle, unknown));
    assert!(drain.await.expect("it ends").overdue.is_empty());
    assert_eq!(house.database.store.log().await.len(), 3);
}

#[tokio::test]
async fn a_batch_that_the_database_refuses_is_never_passed_by_a_later_one() {
    let house = House::new().await;
    let (mut bad, mut good) = (house.agent(1).await, house.agent(2).await);
    house.database.store.poison(bad.id, 2);
    for seq in 1..=4 {
        bad.send(seq, seq as f64).await;
        good.send(seq, seq as f64).await;
    }
    for seq in 1..=4 {
        good.hear_ack(seq).await;
    }
    bad.hear_ack(1).await;
    let refusal = bad.hear_refusal().await;
    assert_eq!((refusal.reason, refusal.position), (RefusalReason::Unavailable, None));
    assert_eq!(bad.hear().await, None);
    let of_bad: Vec<_> =
        house.database.store.log().await.into_iter().filter(|(agent, _)| *agent == Uuid::from_u128(1)).collect();
    assert_eq!(of_bad, [(bad.id, 1)], "3 and 4 wait for 2, else 2 would be taken for a replay");
}

#[tokio::test]
async fn an_agent_whose_whole_window_is_not_taken_takes_one_turn_and_one_that_is_gone_none() {
    let house = House::with(Setting { arrivals: Arrivals::new(10, 100), ..Setting::default() }).await;
    let (mut first, mut gone) = (house.agent(1).await, house.agent(2).await);
    let mut second = house.agent(3).await;
    house.database.store.turn(Weather::Held);
    for seq in 1..=WINDOW_BATCHES as u64 {
        first.send(seq, 1.0).await;
    }
    gone.send(1, 1.0).await;
    until("all wait", || house.meters.ingest.waiting.get() >= WINDOW_BATCHES as f64 + 1.0).await;
    drop(gone);
    until("one is gone", || house.meters.ingest.streams.get() == 2.0).await;
    house.database.store.turn(Weather::Broken);
    let told = first.hear_refusal().await.retry_after;
    assert_eq!((told, first.hear().await), (Some(Duration::from_millis(2_000)), None));
    second.send(1, 1.0).await;
    assert_eq!(second.hear_refusal().await.retry_after, Some(Duration::from_millis(2_100)));
    assert_eq!(house.refused("batch_not_taken"), 2);
}

#[tokio::test]
async fn agents_beyond_the_rate_are_told_one_after_the_other_when_to_come_and_are_let_in_then() {
    let house = House::with(Setting { arrivals: Arrivals::new(10, 2), ..Setting::default() }).await;
    let (_one, _two) = (house.agent(1).await, house.agent(2).await);
    let mut told = Vec::new();
    for number in 3..6 {
        let mut agent = house.stranger(number).await;
        agent.say(FromAgent::Hello(hello(number))).await;
        let refusal = agent.hear_refusal().await;
        assert_eq!((refusal.reason, agent.hear().await), (RefusalReason::Unavailable, None));
        told.push(refusal.retry_after.expect("it is told when").as_millis());
    }
    assert_eq!((told.as_slice(), house.refused("too_many_arrivals")), ([2_000, 2_100, 2_200].as_slice(), 3));
    assert_eq!(house.live.agents().len(), 2, "who was sent away cost nothing");
    house.clock.advance(Duration::from_secs(2));
    house.agent(3).await;
}

#[tokio::test]
async fn at_the_end_each_stream_is_told_another_time_to_come_back() {
    let mut house = House::with(Setting { arrivals: Arrivals::new(10, 100), ..Setting::default() }).await;
    let mut agents = Vec::new();
    for number in 1..6 {
        agents.push(house.agent(number).await);
    }
    let drain = tokio::spawn(std::mem::take(&mut house.drain).run());
    let mut told = Vec::new();
    for agent in &mut agents {
        let refusal = agent.hear_refusal().await;
        assert_eq!((refusal.reason, agent.hear().await), (RefusalReason::Unavailable, None));
        told.push(refusal.retry_after.expect("it is told when").as_millis());
    }
    told.sort_unstable();
    assert_eq!(told, [2_000, 2_100, 2_200, 2_300, 2_400]);
    assert_eq!(house.refused("stream_ends"), 5);
    drop(agents);
    assert_eq!(drain.await.expect("it ends").overdue, []);
}
