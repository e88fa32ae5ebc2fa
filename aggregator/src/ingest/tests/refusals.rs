//! Bad input: each kind gets an error that names the thing and what to do, a counter by reason, and harms no other.

use super::fixture::until;
use super::house::{EPOCH, House, NOW, batch, hello, schema};
use super::wire;
use proto::limits::{BATCH_MAX_BYTES, LABELS_MAX, MESSAGE_MAX_BYTES};
use proto::message::{FromAgent, Position, RefusalReason, ToAgent};
use proto::sample::{Pass, SchemaId, Timestamp};
use std::time::Duration;

/// A batch that defines the series `cpu` and has two values for it.
fn of_two_values(seq: u64) -> Vec<u8> {
    wire::batch_with(seq, &wire::frames(seq, &schema("host", &["cpu"]), &[1.0, 2.0]))
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused_with_what_to_do() {
    let house = House::new().await;
    let mut agent = house.stranger(1).await;
    agent.say_bytes(wire::hello_of_version(1, 9)).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!((refusal.reason, refusal.position), (RefusalReason::UnacceptableAgent, None));
    assert!(refusal.message.contains('9') && refusal.message.contains("update"), "{}", refusal.message);
    assert_eq!(agent.hear().await, None);
    assert_eq!(house.refused("protocol_version"), 1);
    assert!(house.live.agents().is_empty());
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_hello_is_refused() {
    let house = House::new().await;
    let mut agent = house.stranger(1).await;
    agent.send(1, 1.0).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::UnacceptableAgent);
    assert!(refusal.message.contains("hello"));
    assert_eq!((agent.hear().await, house.refused("no_hello")), (None, 1));
    assert!(house.database.store.log().await.is_empty());
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_ended_after_a_while() {
    let house = House::new().await;
    let mut agent = house.stranger(1).await;
    let said = agent.outwait().await;
    assert!(matches!(&said, Some(ToAgent::Refusal(why)) if why.reason == RefusalReason::UnacceptableAgent), "{said:?}");
    assert_eq!((agent.hear().await, house.refused("no_hello")), (None, 1));
}

#[tokio::test]
async fn a_second_hello_ends_the_stream_and_what_came_before_it_is_acked() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.say(FromAgent::Hello(hello(1))).await;
    agent.hear_ack(1).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::UnacceptableAgent);
    assert_eq!((agent.hear().await, house.refused("second_hello")), (None, 1));
}

#[tokio::test]
async fn a_message_of_a_kind_from_the_future_is_ignored() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.say(FromAgent::Unknown).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
}

#[tokio::test]
async fn a_batch_with_too_many_labels_is_refused_in_its_place_and_its_neighbours_are_acked() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    let labelled = wire::schema("cpu", LABELS_MAX + 1);
    agent.send(1, 1.0).await;
    agent.say_bytes(wire::batch_with(2, &wire::frames(2, &labelled, &[1.0]))).await;
    agent.send(3, 3.0).await;
    agent.hear_ack(1).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::InvalidBatch);
    assert_eq!(refusal.position, Some(Position { epoch: EPOCH, seq: 2 }));
    assert!(refusal.message.contains("31") && refusal.message.contains("30"), "{}", refusal.message);
    agent.hear_ack(3).await;
    assert_eq!((house.refused("bad_name"), house.batches("refused")), (1, 1));
    assert_eq!((house.missing("refused"), house.missing("unexplained")), (1, 0), "a gap is stored in its place");
    assert_eq!(house.latest(&agent), [("cpu".into(), 3.0)]);
    assert_eq!(house.database.store.log().await, [(agent.id, 1), (agent.id, 2), (agent.id, 3)]);
}

#[tokio::test]
async fn a_refusal_is_durable_when_it_is_heard_and_one_that_was_not_heard_counts_once() {
    let house = House::new().await;
    let refused = || wire::batch_with(2, &wire::frames(2, &wire::schema("cpu", LABELS_MAX + 1), &[1.0]));
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.hear_ack(1).await;
    agent.say_bytes(refused()).await;
    agent.hear_refusal().await;
    assert_eq!(house.database.store.log().await, [(agent.id, 1), (agent.id, 2)]);
    // The stream broke before the agent heard it: it sends the same again.
    let mut again = house.agent(1).await;
    again.say_bytes(refused()).await;
    assert_eq!(again.hear_refusal().await.position, Some(Position { epoch: EPOCH, seq: 2 }));
    again.send(3, 3.0).await;
    again.hear_ack(3).await;
    assert_eq!((house.missing("refused"), house.missing("unexplained")), (1, 0));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_with_both_sizes() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.say_bytes(wire::batch_with(1, &wire::frame(SchemaId(7), BATCH_MAX_BYTES / 8))).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::InvalidBatch);
    assert!(refusal.message.contains(&BATCH_MAX_BYTES.to_string()), "{}", refusal.message);
    assert_eq!(house.refused("too_large"), 1);
    agent.send(2, 2.0).await;
    agent.hear_ack(2).await;
}

#[tokio::test]
async fn a_sequence_number_beyond_what_a_database_holds_is_refused_and_holds_nobody_up() {
    let house = House::new().await;
    let (mut bad, mut good) = (house.agent(1).await, house.agent(2).await);
    bad.send(i64::MAX.unsigned_abs() + 1, 1.0).await;
    good.send(1, 1.0).await;
    assert_eq!(bad.hear_refusal().await.reason, RefusalReason::InvalidBatch);
    good.hear_ack(1).await;
    assert_eq!((house.refused("sequence"), house.database.store.groups()), (1, vec![1]));
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_refused_in_its_place_and_its_neighbours_are_acked() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    let whole = proto::convert::encode_record(&[(&schema("host", &["cpu"]), &[])]).expect("small");
    let bad = [
        wire::packed(&wire::zipped(0, BATCH_MAX_BYTES + 1)),
        wire::packed(&whole[..whole.len() - 3]),
        wire::packed(b"what is this"),
        wire::packed(&wire::zipped(0xff, 40)),
        [0x1a, 0].repeat(1_000_000),
    ];
    agent.send(1, 1.0).await;
    for (seq, more) in (2..).zip(&bad) {
        agent.say_bytes(wire::batch_with(seq, more)).await;
    }
    agent.send(7, 7.0).await;
    agent.hear_ack(1).await;
    for seq in 2..=6 {
        let refusal = agent.hear_refusal().await;
        assert_eq!(refusal.reason, RefusalReason::InvalidBatch, "so that the agent does not send it again");
        assert_eq!(refusal.position, Some(Position { epoch: EPOCH, seq }));
    }
    agent.hear_ack(7).await;
    let counted = ["too_large", "damaged", "undecodable", "too_many_parts"].map(|reason| house.refused(reason));
    assert_eq!((counted, house.batches("refused")), ([1, 2, 1, 1], 5));
    assert_eq!((house.missing("refused"), house.missing("unexplained")), (5, 0), "a gap is stored in each place");
    assert_eq!(house.database.store.log().await, (1..=7).map(|seq| (agent.id, seq)).collect::<Vec<_>>());
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_stream_with_a_word_and_a_count_and_what_came_before_is_acked() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.say_bytes(vec![0xff; 40]).await;
    agent.hear_ack(1).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!((refusal.reason, refusal.position), (RefusalReason::UnacceptableAgent, None));
    assert!(refusal.message.contains("protobuf"), "{}", refusal.message);
    assert_eq!((agent.hear().await, house.refused("undecodable")), (None, 1));
    let mut first = house.stranger(2).await;
    first.say_bytes(vec![0xff; 40]).await;
    assert_eq!(first.hear_refusal().await.reason, RefusalReason::UnacceptableAgent);
    assert_eq!((first.hear().await, house.refused("undecodable")), (None, 2));
}

#[tokio::test]
async fn a_message_that_the_transport_does_not_carry_is_told_and_counted_also_as_the_first() {
    let house = House::new().await;
    let mut agents = [house.agent(1).await, house.stranger(2).await];
    for (told, agent) in (1..).zip(&mut agents) {
        agent.say_bytes(vec![0; MESSAGE_MAX_BYTES + 1]).await;
        let refusal = agent.hear_refusal().await;
        assert!(refusal.message.contains(&MESSAGE_MAX_BYTES.to_string()), "{}", refusal.message);
        assert_eq!((agent.hear().await, house.refused("too_large")), (None, told));
    }
}

#[tokio::test]
async fn sequence_number_zero_is_refused() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.say(FromAgent::Batch(batch(0, &[]))).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!((refusal.reason, refusal.position), (RefusalReason::InvalidBatch, None));
    assert!(refusal.message.contains("begin at 1"), "{}", refusal.message);
    assert_eq!(house.refused("sequence"), 1);
    agent.send(2, 2.0).await;
    agent.hear_ack(2).await;
    assert_eq!(house.missing("unexplained"), 1, "number 0 does not explain that 1 never came");
}

#[tokio::test]
async fn after_an_unknown_schema_nothing_is_stored_before_the_batch_comes_again() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send(1, 1.0).await;
    agent.say_bytes(wire::batch_with(2, &wire::frame(SchemaId(0xABC), 1))).await;
    agent.send(3, 3.0).await;
    agent.hear_ack(1).await;
    let refusal = agent.hear_refusal().await;
    assert_eq!(refusal.reason, RefusalReason::UnknownSchema);
    assert_eq!(refusal.position, Some(Position { epoch: EPOCH, seq: 2 }));
    assert!(refusal.message.contains("0000000000000abc") && refusal.message.contains("send it"), "{}", refusal.message);
    assert_eq!(agent.hear().await, None, "an ack of 3 would stand for 2 as well");
    assert_eq!(house.refused("unknown_schema"), 1);
    let mut again = house.agent(1).await;
    again.send(2, 2.0).await;
    again.hear_ack(2).await;
    again.send(3, 3.0).await;
    again.hear_ack(3).await;
    assert_eq!((house.batches("stored"), house.batches("replayed"), house.missing("unexplained")), (3, 0, 0));
}

#[tokio::test]
async fn a_schema_that_only_a_refused_batch_defined_is_stored_with_the_next_one() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    // Two values for one series: refused. The stream knows the schema from now on.
    agent.say_bytes(of_two_values(1)).await;
    assert!(agent.hear_refusal().await.message.contains("2 values for 1 series"));
    agent.say_bytes(wire::batch_with(2, &wire::frame(schema("host", &["cpu"]).id, 1))).await;
    agent.hear_ack(2).await;
    let schemas = house.schemas().await;
    assert_eq!(schemas.len(), 1, "else the batch that was acked could not be read after a restart");
    assert_eq!(house.refused("pass_width"), 1);
}

#[tokio::test]
async fn a_schema_that_only_a_refused_batch_defined_is_stored_with_the_next_one_although_its_place_was_taken() {
    let house = House::new().await;
    let mut before = house.agent(1).await;
    before.send_series(1, &["memory"], &[1.0]).await;
    before.hear_ack(1).await;
    let mut agent = house.agent(1).await;
    agent.say_bytes(of_two_values(1)).await;
    assert_eq!(agent.hear_refusal().await.reason, RefusalReason::PositionTaken);
    agent.say_bytes(wire::batch_with(2, &wire::frame(schema("host", &["cpu"]).id, 1))).await;
    agent.hear_ack(2).await;
    assert!(house.schemas().await.contains(&schema("host", &["cpu"]).id));
}

#[tokio::test]
async fn a_schema_that_only_a_batch_refused_again_defined_is_stored_with_the_next_one() {
    let house = House::new().await;
    let mut first = house.agent(1).await;
    first.say_bytes(of_two_values(1)).await;
    first.hear_refusal().await;
    // It did not hear that, and is away for longer than the log is kept.
    house.forget_schemas().await;
    let mut again = house.agent(1).await;
    again.say_bytes(of_two_values(1)).await;
    assert_eq!(again.hear_refusal().await.reason, RefusalReason::InvalidBatch);
    again.say_bytes(wire::batch_with(2, &wire::frame(schema("host", &["cpu"]).id, 1))).await;
    again.hear_ack(2).await;
    assert_eq!(house.schemas().await, [schema("host", &["cpu"]).id]);
}

#[tokio::test]
async fn a_value_that_is_no_number_is_dropped_and_counted_and_the_others_are_kept() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send_series(1, &["cpu", "memory"], &[f64::NAN, 5.0]).await;
    agent.hear_ack(1).await;
    assert_eq!(house.latest(&agent), [("memory".into(), 5.0)]);
    assert_eq!(house.meters.ingest.dropped.with_label_values(&["not_a_number"]).get(), 1);
    assert_eq!(house.meters.ingest.samples.get(), 1);
}

#[tokio::test]
async fn a_time_in_the_future_becomes_the_time_of_arrival_and_is_counted() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    let pass = |at: Timestamp| Pass { at, values: vec![1.0] };
    let hour = Duration::from_secs(3600);
    agent.say(FromAgent::Batch(batch(1, &[(schema("host", &["cpu"]), vec![pass(NOW + hour)])]))).await;
    agent.hear_ack(1).await;
    let newest = house.live.read(|head| head.latest(agent.id).map(|(_, sample)| sample.at).collect::<Vec<_>>());
    assert_eq!(newest, [NOW]);
    assert_eq!(house.meters.ingest.restamped.get(), 1);
}

#[tokio::test]
async fn a_sample_for_a_time_that_has_one_is_counted_as_a_duplicate() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    let pass = |value| Pass { at: NOW, values: vec![value] };
    for seq in 1..=2 {
        agent.say(FromAgent::Batch(batch(seq, &[(schema("host", &["cpu"]), vec![pass(seq as f64)])]))).await;
        agent.hear_ack(seq).await;
    }
    assert_eq!(house.latest(&agent), [("cpu".into(), 1.0)], "the first one stays");
    assert_eq!(house.meters.ingest.dropped.with_label_values(&["duplicate"]).get(), 1);
}

#[tokio::test]
async fn one_agents_bad_batches_do_not_hold_up_another() {
    let house = House::new().await;
    let (bad, mut good) = (house.agent(1).await, house.agent(2).await);
    for seq in 1..=50 {
        bad.say_bytes(wire::batch_with(seq, &wire::frames(seq, &wire::schema("9", 0), &[1.0]))).await;
        good.send(seq, 1.0).await;
        good.hear_ack(seq).await;
    }
    until("all are refused", || house.refused("bad_name") == 50).await;
    assert_eq!(house.batches("stored"), 50);
}
