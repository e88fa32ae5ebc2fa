//! The writer alone: its law is that a lane's batches are stored in order and without a hole, whatever the database does.

use super::fixture::{Database, Weather, until};
use super::house::EPOCH;
use crate::ingest::writer::{Door, Lane, Writer};
use crate::meters::Meters;
use crate::store::{BatchRow, News, Stored};
use proptest::prelude::*;
use proto::event::Event;
use proto::message::Position;
use proto::sample::Timestamp;
use proto::telemetry::Telemetry;
use runtime::clock::SystemClock;
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

struct Office {
    database: Database,
    door: Door,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Office {
    async fn new() -> Self {
        let (database, stop) = (Database::new().await, CancellationToken::new());
        let meters = Meters::new(&Telemetry::default(), "sqlite");
        let (writer, door) =
            Writer::new(database.store(), Arc::new(SystemClock), meters.ingest.clone(), meters.store_up.clone());
        let ended = tokio::spawn(writer.run(stop.clone()));
        Self { database, door, stop, ended }
    }

    /// Makes the writer busy, so that what comes now gathers to one group.
    async fn hold(&self) {
        self.database.store.turn(Weather::Held);
        let lane = self.door.lane();
        drop(hand_in(&lane, 999, 1).await);
        until("the writer is busy", || self.database.store.attempts() == 1).await;
    }
}

fn row(agent: u128, seq: u64) -> BatchRow {
    BatchRow {
        agent_id: Uuid::from_u128(agent),
        position: Position { epoch: EPOCH, seq },
        received_at: Timestamp::from_millis(1_000),
        payload: vec![1, 2, 3],
        schemas: Vec::new(),
        digest: None,
        gaps: Vec::new(),
        sampled: None,
        events: Vec::new(),
        service: String::new(),
    }
}

async fn hand_in(lane: &Lane, agent: u128, seq: u64) -> Receiver<Stored> {
    lane.store(row(agent, seq)).await.expect("the writer runs")
}

/// It is new, and nothing is missing before it.
fn newly() -> Stored {
    Stored::New(News::default())
}

async fn answer(receiver: Receiver<Stored>) -> Result<Stored, ()> {
    receiver.await.map_err(drop)
}

#[tokio::test]
async fn a_row_that_is_refused_does_not_hold_up_the_others_of_its_group() {
    let office = Office::new().await;
    office.hold().await;
    let (bad, good) = (office.door.lane(), office.door.lane());
    office.database.store.poison(Uuid::from_u128(1), 2);
    let mut of_bad = Vec::new();
    let mut of_good = Vec::new();
    for seq in 1..=3 {
        of_bad.push(hand_in(&bad, 1, seq).await);
        of_good.push(hand_in(&good, 2, seq).await);
    }
    office.database.store.turn(Weather::Fine);
    for receiver in of_good {
        assert_eq!(answer(receiver).await, Ok(newly()));
    }
    let bad: Vec<_> = futures::future::join_all(of_bad.into_iter().map(answer)).await;
    assert_eq!(bad, [Ok(newly()), Err(()), Err(())], "what comes after the refused one is not stored before it");
}

#[tokio::test]
async fn a_lane_that_is_broken_stays_so_and_a_new_one_begins_with_the_batch_that_was_not_stored() {
    let office = Office::new().await;
    let (first, second) = (office.door.lane(), office.door.lane());
    office.database.store.turn(Weather::Broken);
    assert_eq!(answer(hand_in(&first, 1, 1).await).await, Err(()));
    office.database.store.turn(Weather::Fine);
    assert_eq!(answer(hand_in(&first, 1, 2).await).await, Err(()));
    assert_eq!(answer(hand_in(&second, 1, 1).await).await, Ok(newly()));
    assert_eq!(answer(hand_in(&second, 1, 2).await).await, Ok(newly()));
}

#[tokio::test]
async fn a_group_ends_before_a_batch_whose_lane_is_broken() {
    let office = Office::new().await;
    office.hold().await;
    let (bad, good) = (office.door.lane(), office.door.lane());
    office.database.store.poison(Uuid::from_u128(1), 1);
    // Larger than a group, so it goes alone and is refused alone; behind it wait another's, and the next of its lane.
    let large = BatchRow { payload: vec![7; 17 << 20], ..row(1, 1) };
    let first = bad.store(large).await.expect("the writer runs");
    let (other, next) = (hand_in(&good, 2, 1).await, hand_in(&bad, 1, 2).await);
    office.database.store.turn(Weather::Fine);
    assert_eq!((answer(first).await, answer(other).await, answer(next).await), (Err(()), Ok(newly()), Err(())));
}

#[tokio::test]
async fn at_the_end_what_was_handed_in_is_committed() {
    let office = Office::new().await;
    office.hold().await;
    let lane = office.door.lane();
    let waiting = hand_in(&lane, 1, 1).await;
    office.stop.cancel();
    office.database.store.turn(Weather::Fine);
    assert_eq!(answer(waiting).await, Ok(newly()));
    office.ended.await.expect("it ends");
    assert!(lane.store(row(1, 2)).await.is_none(), "the door is closed");
}

#[tokio::test]
async fn at_the_end_a_database_that_is_away_is_not_waited_for() {
    let office = Office::new().await;
    office.database.store.turn(Weather::Away);
    let lane = office.door.lane();
    let waiting = [hand_in(&lane, 1, 1).await, hand_in(&lane, 1, 2).await];
    until("it was tried", || office.database.store.attempts() >= 1).await;
    office.stop.cancel();
    for receiver in waiting {
        assert_eq!(answer(receiver).await, Err(()));
    }
    office.ended.await.expect("it ends");
}

#[tokio::test]
async fn a_full_queue_makes_those_who_hand_in_wait() {
    let office = Office::new().await;
    office.hold().await;
    let lane = office.door.lane();
    for seq in 1..=crate::ingest::writer::QUEUE_BATCHES as u64 {
        drop(hand_in(&lane, 1, seq).await);
    }
    let mut one_more = Box::pin(lane.store(row(1, 513)));
    assert!(futures::poll!(&mut one_more).is_pending());
    office.database.store.turn(Weather::Fine);
    assert_eq!(answer(one_more.await.expect("it runs")).await, Ok(newly()));
}

#[tokio::test]
async fn a_true_replay_is_one_although_the_database_was_away_meanwhile() {
    let office = Office::new().await;
    let lane = office.door.lane();
    assert_eq!(answer(hand_in(&lane, 1, 1).await).await, Ok(newly()));
    let tried = office.database.store.attempts();
    office.database.store.turn(Weather::Away);
    let again = hand_in(&lane, 1, 1).await;
    until("it was tried", || office.database.store.attempts() > tried).await;
    office.database.store.turn(Weather::Fine);
    assert_eq!(answer(again).await, Ok(Stored::Replay));
}

#[tokio::test]
async fn where_the_answer_to_a_commit_was_lost_ours_are_new_and_the_replays_beside_them_are_not() {
    let office = Office::new().await;
    let lane = office.door.lane();
    assert_eq!(answer(hand_in(&lane, 1, 1).await).await, Ok(newly()));
    office.database.store.turn(Weather::Held);
    let busy = hand_in(&lane, 999, 1).await;
    until("the writer is busy", || office.database.store.attempts() == 2).await;
    let waiting = [hand_in(&lane, 1, 1).await, hand_in(&lane, 1, 4).await, hand_in(&lane, 1, 4).await];
    office.database.store.lose_answer_to(3);
    office.database.store.turn(Weather::Fine);
    assert_eq!(answer(busy).await, Ok(newly()));
    let [replay, new, twice] = waiting.map(answer);
    assert_eq!(replay.await, Ok(Stored::Replay));
    let Ok(Stored::New(news)) = new.await else { panic!("it is ours, by a commit whose answer was lost") };
    assert_eq!(
        news.missing.iter().map(|m| (m.first_seq, m.last_seq)).collect::<Vec<_>>(),
        [(2, 3)],
        "as it was found then"
    );
    assert_eq!(twice.await, Ok(Stored::Replay));
    assert_eq!(office.database.store.groups()[..3], [1, 1, 3]);
}

#[tokio::test]
async fn where_two_answers_in_a_row_were_lost_ours_is_new() {
    let office = Office::new().await;
    office.database.store.lose_answer_to(1);
    office.database.store.turn(Weather::Deaf);
    assert_eq!(answer(hand_in(&office.door.lane(), 1, 1).await).await, Ok(newly()));
    assert_eq!(office.database.store.attempts(), 3);
}

/// Hands rows in while the writer is busy. Returns the sizes of the groups that they are stored in.
async fn groups_of(office: &Office, rows: Vec<BatchRow>) -> Vec<usize> {
    office.hold().await;
    let lane = office.door.lane();
    let mut answers = Vec::new();
    for row in rows {
        answers.push(lane.store(row).await.expect("the writer runs"));
    }
    office.database.store.turn(Weather::Fine);
    for receiver in answers {
        assert_eq!(answer(receiver).await, Ok(newly()));
    }
    office.database.store.groups()[1..].to_vec()
}

#[tokio::test]
async fn a_group_ends_at_so_many_bytes_and_a_batch_that_is_larger_goes_alone() {
    let sized = |(seq, mib): (u64, usize)| BatchRow { payload: vec![7; mib << 20], ..row(1, seq) };
    let rows = [(1, 8), (2, 8), (3, 1), (4, 17), (5, 1)].map(sized).to_vec();
    assert_eq!(groups_of(&Office::new().await, rows).await, [2, 1, 1, 1]);
}

#[tokio::test]
async fn a_group_ends_at_so_many_events() {
    let event = |seq: u64, n: u32| Event {
        kind: "appointment.created".into(),
        clinic_id: Uuid::from_u128(1),
        occurred_at: Timestamp::ZERO,
        idempotency_key: format!("{seq}-{n}"),
    };
    let full = |seq: u64| {
        let events: Vec<Event> = (0..1_000).map(|n| event(seq, n)).collect();
        BatchRow { events, ..row(1, seq) }
    };
    let office = Office::new().await;
    office.hold().await;
    let lane = office.door.lane();
    let mut answers = Vec::new();
    for seq in 1..=25 {
        answers.push(lane.store(full(seq)).await.expect("the writer runs"));
    }
    office.database.store.turn(Weather::Fine);
    for receiver in answers {
        let Ok(Stored::New(news)) = answer(receiver).await else { panic!("it is new") };
        assert_eq!(news.events, 1_000);
    }
    assert_eq!(office.database.store.groups(), [1, 10, 10, 5]);
}

#[tokio::test]
async fn what_takes_too_long_is_tried_in_smaller_groups_until_it_passes() {
    let office = Office::new().await;
    office.database.store.time_out_above(3);
    let groups = groups_of(&office, (1..=16).map(|seq| row(1, seq)).collect()).await;
    assert!(groups[0] == 2 && groups.iter().all(|group| *group <= 3), "16, 8, 4, 2, and from there on: {groups:?}");
    assert_eq!(groups.iter().sum::<usize>(), 16);
    assert_eq!(office.database.store.log().await.len(), 17);
}

/// What the database does between two batches.
fn weathers() -> impl Strategy<Value = Vec<Option<Weather>>> {
    let weather = prop_oneof![
        6 => Just(None),
        2 => Just(Some(Weather::Fine)),
        1 => Just(Some(Weather::Broken)),
        1 => Just(Some(Weather::Deaf)),
        1 => Just(Some(Weather::Held)),
    ];
    proptest::collection::vec(weather, 1..40)
}

/// Hands batches of two agents in while the weather changes. Returns which were acked.
async fn acked_in(office: &Office, weathers: Vec<Option<Weather>>) -> Vec<(Uuid, u64)> {
    let lanes = [office.door.lane(), office.door.lane()];
    let mut answers = Vec::new();
    for (index, weather) in weathers.into_iter().enumerate() {
        if let Some(weather) = weather {
            office.database.store.turn(weather);
        }
        let (agent, seq) = (index % 2, index as u64 / 2 + 1);
        let receiver = hand_in(&lanes[agent], agent as u128, seq).await;
        answers.push((Uuid::from_u128(agent as u128), seq, receiver));
        tokio::task::yield_now().await;
    }
    office.database.store.turn(Weather::Fine);
    let mut acked = Vec::new();
    for (agent, seq, receiver) in answers {
        if answer(receiver).await.is_ok() {
            acked.push((agent, seq));
        }
    }
    acked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_acked_is_in_the_log_and_the_log_of_each_agent_has_no_hole(weathers in weathers()) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let (acked, log) = runtime.block_on(async {
            let office = Office::new().await;
            let acked = acked_in(&office, weathers).await;
            (acked, office.database.store.log().await)
        });
        for position in &acked {
            prop_assert!(log.contains(position), "{position:?} was acked");
        }
        for agent in [0, 1].map(Uuid::from_u128) {
            let seqs: Vec<u64> = log.iter().filter(|(owner, _)| *owner == agent).map(|(_, seq)| *seq).collect();
            let whole: Vec<u64> = (1..=seqs.len() as u64).collect();
            prop_assert_eq!(seqs, whole);
        }
    }
}
