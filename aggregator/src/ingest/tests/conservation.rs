//! Nothing comes that does not go somewhere: in = out + dropped + waiting, whatever the streams and the database do.
//! `docs/conservation.md` has the equations.

use super::fixture::{Weather, until};
use super::house::{EPOCH, House, NOW, batch, schema};
use super::wire;
use crate::store::Store as _;
use proto::catalog::{self, Metric};
use proto::convert::{RawBatch, encode_events};
use proto::event::Event;
use proto::limits::LABELS_MAX;
use proto::message::{FromAgent, Position};
use proto::sample::{Pass, STALE, SchemaId};
use std::collections::BTreeMap;
use uuid::Uuid;

impl House {
    /// Values of a metric by its one label; `""` where it has none.
    fn values(&self, row: &Metric) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        self.telemetry.visit(|found, _, labels, value| {
            if found.name == row.name {
                values.insert(labels.first().map_or("", |(_, value)| value).to_owned(), value);
            }
        });
        values
    }

    fn sum(&self, row: &Metric) -> f64 {
        self.values(row).into_iter().filter(|(label, _)| !label.starts_with("own_")).map(|(_, value)| value).sum()
    }

    /// The equations of ingest.
    fn check_books(&self) {
        let batches = self.sum(&catalog::INGEST_BATCHES_TOTAL) + self.sum(&catalog::INGEST_WAITING_BATCHES);
        assert_eq!(self.sum(&catalog::INGEST_RECEIVED_BATCHES_TOTAL), batches);
        let samples = self.sum(&catalog::INGEST_SAMPLES_TOTAL) + self.sum(&catalog::INGEST_DROPPED_SAMPLES_TOTAL);
        assert_eq!(self.sum(&catalog::INGEST_RECEIVED_SAMPLES_TOTAL), samples);
        assert_eq!(self.sum(&catalog::INGEST_RECEIVED_EVENTS_TOTAL), self.sum(&catalog::INGEST_EVENTS_TOTAL));
    }

    async fn quiet(&self) {
        until("no batch waits", || self.meters.ingest.waiting.get() == 0.0).await;
        self.check_books();
    }
}

/// A batch of events.
fn events(seq: u64, keys: &[&str]) -> FromAgent {
    let event = |key: &&str| Event {
        kind: "appointment.created".into(),
        clinic_id: Uuid::from_u128(1),
        occurred_at: NOW,
        idempotency_key: (*key).into(),
    };
    let record = encode_events(&keys.iter().map(event).collect::<Vec<_>>()).expect("small");
    FromAgent::Batch(RawBatch::from_record(&record, Position { epoch: EPOCH, seq }).expect("reads back"))
}

#[tokio::test]
async fn every_batch_sample_and_event_has_one_outcome_under_faults() {
    let house = House::new().await;
    let mut agent = house.agent(1).await;
    agent.send_series(1, &["cpu", "memory"], &[1.0, f64::NAN]).await;
    agent.send_series(2, &["cpu", "memory"], &[STALE, STALE]).await;
    let again = Pass { at: NOW + std::time::Duration::from_secs(1), values: vec![7.0, 7.0] };
    agent.say(FromAgent::Batch(batch(3, &[(schema("host", &["cpu", "memory"]), vec![again])]))).await;
    agent.say(events(4, &["a", "b", "a"])).await;
    for seq in 1..=4 {
        agent.hear_ack(seq).await;
    }
    house.quiet().await;
    // Refused, taken, replayed, and a schema that is unknown: the stream ends.
    agent.say_bytes(wire::batch_with(5, &wire::frames(5, &wire::schema("cpu", LABELS_MAX + 1), &[1.0]))).await;
    agent.send(2, 99.0).await;
    agent.say(events(4, &["a", "b", "a"])).await;
    agent.say_bytes(wire::batch_with(6, &wire::frame(SchemaId(0xABC), 1))).await;
    while agent.hear().await.is_some() {}
    house.quiet().await;
    // The database refuses: what is under way is abandoned, and comes again.
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Broken);
    for seq in 6..=9 {
        agent.send(seq, 1.0).await;
    }
    while agent.hear().await.is_some() {}
    house.database.store.turn(Weather::Fine);
    house.quiet().await;
    // The agent breaks off while the database takes its time; then the answer to a commit is lost.
    let mut agent = house.agent(1).await;
    house.database.store.turn(Weather::Held);
    for seq in 6..=9 {
        agent.send(seq, 1.0).await;
    }
    until("they wait", || house.meters.ingest.waiting.get() >= 4.0).await;
    house.check_books();
    drop(agent);
    house.database.store.turn(Weather::Deaf);
    house.quiet().await;
    let mut agent = house.agent(1).await;
    agent.say(events(10, &["b", "c"])).await;
    agent.hear_ack(10).await;
    house.quiet().await;
    // What comes again after the log was pruned.
    house.database.store.prune(NOW + std::time::Duration::from_secs(60)).await.expect("it is there");
    agent.say(events(10, &["b", "c"])).await;
    agent.hear_ack(10).await;
    house.quiet().await;

    let outcomes = house.values(&catalog::INGEST_BATCHES_TOTAL);
    assert!(outcomes.len() == 6 && outcomes.values().all(|count| *count >= 1.0), "each was seen: {outcomes:?}");
    let dropped = house.values(&catalog::INGEST_DROPPED_SAMPLES_TOTAL);
    for reason in ["duplicate", "not_a_number", "nothing_to_end"] {
        assert!(dropped[reason] >= 1.0, "{reason}: {dropped:?}");
    }
    let told = house.values(&catalog::INGEST_EVENTS_TOTAL);
    assert_eq!((told["stored"], told["duplicate"]), (3.0, 2.0));
}
