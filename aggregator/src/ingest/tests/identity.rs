//! Agents that are not who they seem: a spool that was set back, a volume that was copied, an epoch that goes on.

use super::fixture::{Weather, until};
use super::house::{Agent, EPOCH, House, NOW, hello_of, schema};
use super::wire;
use crate::store::Store;
use proto::convert::RawBatch;
use proto::message::{FromAgent, Position, RefusalReason, ToAgent, Welcome};
use proto::sample::Pass;
use std::time::Duration;
use uuid::Uuid;

/// A program of agent 1: which run, in which copy of the service, and how far its spool is in [`EPOCH`].
#[derive(Clone, Copy)]
struct Run(u128, &'static str, u64);

const A: Run = Run(0xa, "pod-a", 0);
const B: Run = Run(0xb, "pod-b", 0);

impl House {
    /// What a program says first, and is answered.
    async fn says_hello(&self, run: Run) -> (Agent, Option<ToAgent>) {
        let Run(run_id, instance, seq) = run;
        let mut agent = self.stranger(1).await;
        let hello = hello_of(1, Uuid::from_u128(run_id), instance, Position { epoch: EPOCH, seq });
        agent.say(FromAgent::Hello(hello)).await;
        let answer = agent.hear().await;
        (agent, answer)
    }

    /// A program that is let in.
    async fn run(&self, run: Run) -> Agent {
        let (agent, answer) = self.says_hello(run).await;
        assert!(matches!(answer, Some(ToAgent::Welcome(_))), "{answer:?}");
        agent
    }

    fn conflicts(&self) -> [u64; 4] {
        let kinds = ["rewound", "position_taken", "epoch_back", "cloned"];
        kinds.map(|kind| self.meters.ingest.conflicts.with_label_values(&[kind]).get())
    }
}

/// A batch in another epoch.
fn elsewhere(epoch: u128, seq: u64, value: f64) -> FromAgent {
    let schema = schema("host", &["cpu"]);
    let pass = Pass { at: NOW + Duration::from_secs(seq), values: vec![value] };
    let record = proto::convert::encode_record(&[(&schema, &[pass])]).expect("small");
    FromAgent::Batch(RawBatch::from_record(&record, Position { epoch, seq }).expect("reads back"))
}

#[tokio::test]
async fn a_welcome_tells_what_is_stored_and_a_spool_that_gave_out_less_was_set_back() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    for seq in 1..=3 {
        agent.send(seq, seq as f64).await;
        agent.hear_ack(seq).await;
    }
    for (seq, rewound) in [(3, 0), (9, 0), (2, 1)] {
        let (_, answer) = house.says_hello(Run(0xa, "pod-a", seq)).await;
        assert_eq!(answer, Some(ToAgent::Welcome(Welcome { stored_seq: 3 })));
        assert_eq!(house.conflicts(), [rewound, 0, 0, 0], "{seq} given out, 3 stored");
    }
}

#[tokio::test]
async fn a_batch_whose_place_another_has_is_refused_in_its_place_and_the_stream_goes_on() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    for seq in 1..=3 {
        agent.send(seq, seq as f64).await;
        agent.hear_ack(seq).await;
    }
    let mut restored = house.run(Run(0xc, "pod-a", 3)).await;
    restored.send(2, 2.0).await;
    restored.send_series(3, &["memory"], &[99.0]).await;
    restored.hear_ack(2).await;
    let refusal = restored.hear_refusal().await;
    assert_eq!(
        (refusal.reason, refusal.position),
        (RefusalReason::PositionTaken, Some(Position { epoch: EPOCH, seq: 3 }))
    );
    restored.send_series(4, &["memory"], &[4.0]).await;
    restored.hear_ack(4).await;
    assert_eq!((house.conflicts(), house.refused("position_taken")), ([0, 1, 0, 0], 1));
    assert_eq!((house.batches("taken"), house.batches("replayed"), house.batches("refused")), (1, 1, 0));
    assert_eq!(house.missing("refused"), 0, "nothing is lost by it");
    // The schema of the batch that was not stored is stored with the next: it is what 4 refers to.
    assert!(house.schemas().await.contains(&schema("host", &["memory"]).id));
}

#[tokio::test]
async fn a_gap_that_an_agent_tells_of_where_a_batch_is_stored_is_acked_and_no_conflict() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    // Its spool lost the batch after it was stored, and before it heard that.
    let gap = proto::sample::Gap { epoch: EPOCH, first_seq: 1, last_seq: 1, reason: "corrupt".into() };
    agent.say(FromAgent::Batch(RawBatch::for_gap(&gap))).await;
    agent.hear_ack(1).await;
    assert_eq!((house.conflicts(), house.missing("corrupt"), house.batches("replayed")), ([0; 4], 0, 1));
}

#[tokio::test]
async fn a_bad_batch_in_a_place_whose_content_was_pruned_gets_a_place_of_its_own() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    house.forget_schemas().await;
    let mut restored = house.run(Run(0xc, "pod-a", 1)).await;
    restored.say_bytes(wire::batch_with(1, &wire::frames(1, &wire::schema("9", 0), &[1.0]))).await;
    let refusal = restored.hear_refusal().await;
    let place = Some(Position { epoch: EPOCH, seq: 1 });
    assert_eq!((refusal.reason, refusal.position), (RefusalReason::PositionTaken, place));
    assert_eq!((house.batches("taken"), house.batches("refused")), (1, 0), "no gap of it is stored");
}

#[tokio::test]
async fn a_bad_batch_in_the_place_of_a_stored_one_and_a_good_one_in_that_of_a_gap_get_places_of_their_own() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    let bad = |seq| wire::batch_with(seq, &wire::frames(seq, &wire::schema("9", 0), &[1.0]));
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    agent.say_bytes(bad(2)).await;
    assert_eq!(agent.hear_refusal().await.reason, RefusalReason::InvalidBatch);
    let mut restored = house.run(Run(0xc, "pod-a", 2)).await;
    restored.say_bytes(bad(1)).await;
    restored.send(2, 2.0).await;
    for seq in 1..=2 {
        let refusal = restored.hear_refusal().await;
        let place = Some(Position { epoch: EPOCH, seq });
        assert_eq!((refusal.reason, refusal.position), (RefusalReason::PositionTaken, place));
    }
    restored.say_bytes(bad(2)).await;
    assert_eq!(
        restored.hear_refusal().await.reason,
        RefusalReason::InvalidBatch,
        "the same again, and its gap is there"
    );
    assert_eq!((house.batches("taken"), house.batches("refused"), house.missing("refused")), (2, 2, 1));
}

#[tokio::test]
async fn two_programs_that_take_turns_under_one_id_are_told_apart_and_the_one_that_came_back_is_sent_away() {
    let house = House::new().await;
    let mut first = house.run(A).await;
    let mut second = house.run(B).await;
    assert_eq!(first.hear_refusal().await.reason, RefusalReason::Unavailable);
    for told in 1..=2 {
        let (mut back, answer) = house.says_hello(A).await;
        let Some(ToAgent::Refusal(refusal)) = answer else { panic!("a refusal, not {answer:?}") };
        assert_eq!((refusal.reason, refusal.position), (RefusalReason::UnacceptableAgent, None));
        assert!(refusal.retry_after.is_some_and(|after| after >= Duration::from_secs(60)));
        assert!(
            refusal.message.contains("\"pod-b\"") && refusal.message.contains("spool directory"),
            "{}",
            refusal.message
        );
        assert_eq!((back.hear().await, house.conflicts()), (None, [0, 0, 0, told]));
    }
    second.send(1, 1.0).await;
    second.hear_ack(1).await;
    // A network that flaps brings the same program back, and it still has the first one's place.
    let mut second = house.run(B).await;
    assert!(matches!(house.says_hello(A).await.1, Some(ToAgent::Refusal(_))));
    second.hang_up();
    assert_eq!(second.hear().await, None);
    until("the second has left", || house.meters.ingest.streams.get() == 0.0).await;
    let mut first = house.run(A).await;
    first.send(2, 2.0).await;
    first.hear_ack(2).await;
}

#[tokio::test]
async fn who_said_goodbye_keeps_nobody_out_although_that_is_not_stored_yet() {
    let house = House::new().await;
    let _first = house.run(A).await;
    let second = house.run(B).await;
    house.database.store.turn(Weather::Away);
    second.goodbye().await;
    until("the goodbye waits for the database", || house.database.store.stops() >= 1).await;
    house.database.store.turn(Weather::Fine);
    house.run(A).await;
    assert_eq!(house.conflicts(), [0; 4]);
}

#[tokio::test]
async fn an_agent_whose_network_flaps_or_whose_program_is_started_anew_is_no_clone() {
    let house = House::new().await;
    let mut streams = Vec::new();
    for run in [0xa, 0xa, 0xb, 0xb, 0xc, 0xc, 0xc] {
        streams.push(house.run(Run(run, "pod-a", 0)).await);
    }
    assert_eq!(house.conflicts(), [0; 4]);
}

#[tokio::test]
async fn an_older_epoch_that_goes_on_is_stored_and_told_once_a_stream() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    for (told, (epoch, seq)) in [0, 0, 0, 1, 1, 1].into_iter().zip([(8, 1), (8, 2), (9, 1), (8, 3), (8, 4), (9, 2)]) {
        agent.say(elsewhere(epoch, seq, seq as f64)).await;
        assert_eq!(agent.hear().await, Some(ToAgent::Ack(Position { epoch, seq })));
        assert_eq!(house.conflicts(), [0, 0, told, 0]);
    }
    assert_eq!(house.batches("stored"), 6);
}

#[tokio::test]
async fn what_an_agent_lacks_is_in_the_ledger_between_its_samples() {
    let house = House::new().await;
    let mut agent = house.run(A).await;
    agent.send(1, 1.0).await;
    agent.send(5, 5.0).await;
    agent.hear_ack(1).await;
    agent.hear_ack(5).await;
    let gaps = house.database.store.load_gaps(NOW, 9).await.expect("it is there");
    let missing = &gaps[0].missing;
    assert_eq!((missing.first_seq, missing.last_seq, missing.reason.as_str()), (2, 4, "unexplained"));
    let at = |seconds| Some(NOW + Duration::from_secs(seconds));
    assert_eq!((missing.from_at, missing.until_at), (at(1), at(5)));
}
