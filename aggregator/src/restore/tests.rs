//! A restart: the head that is rebuilt from SQL answers like the one before.

use super::*;
use crate::ingest::admit::Admission;
use crate::ingest::tests::fixture::{Database, Weather};
use crate::store::Pulse;
use proto::convert::encode_record;
use proto::message::{Hello, Position};
use proto::name::{Labels, SeriesKey};
use proto::sample::{Gap, Kind, Pass, SeriesDef};
use runtime::clock::{Clock, ManualClock};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use tsdb::Limits;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An aggregator without a network: what it takes in goes into the database and into the head.
struct Aggregator {
    database: Database,
    clock: ManualClock,
    live: Live,
    admissions: HashMap<Uuid, (Admission, HashSet<SchemaId>, u64)>,
}

impl Aggregator {
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, ManualClock::at(START));
        let live = Live::new(Limits::default(), Arc::new(clock.clone()), Vec::new());
        Self { database, clock, live, admissions: HashMap::new() }
    }

    async fn hello(&mut self, number: u128) {
        let agent_id = Uuid::from_u128(number);
        let row = self.live.hello(&Hello {
            agent_id,
            service: "agenda".into(),
            instance: format!("agenda-{number}"),
            clinic_id: None,
            interval: Duration::from_secs(1),
            wall: self.clock.wall(),
            monotonic: Duration::ZERO,
            boot_id: "boot".into(),
            agent_version: "0.1.0".into(),
            run_id: Uuid::from_u128(1),
            last: Position { epoch: 1, seq: 0 },
        });
        self.database.store.save_agent(&row).await.expect("it is there");
        self.admissions.insert(agent_id, (Admission::new(agent_id, "agenda"), HashSet::new(), 0));
    }

    /// Agent `number` reports `values` of the series `names` as `source`.
    async fn send(&mut self, number: u128, source: &str, names: &[&str], values: &[f64]) {
        let agent_id = Uuid::from_u128(number);
        let (admission, known, seq) = self.admissions.get_mut(&agent_id).expect("it said hello");
        *seq += 1;
        let def = |name: &&str| SeriesDef { key: SeriesKey::try_new(name, []).expect("legal"), kind: Kind::Gauge };
        let schema = SchemaBytes::encode(source, Duration::ZERO, &names.iter().map(def).collect::<Vec<_>>());
        let pass = Pass { at: self.clock.wall(), values: values.to_vec() };
        let record = encode_record(&[(&schema, &[pass])]).expect("small");
        let mut raw = RawBatch::from_record(&record, Position { epoch: 1, seq: *seq }).expect("reads back");
        raw.strip(known);
        let admitted = admission.admit(raw, 0, self.clock.wall(), self.clock.monotonic()).expect("it is fine");
        self.database.store.commit(&[admitted.row]).await.expect("it is there");
        admission.stored(&admitted.carried);
        self.live.append(agent_id, &admitted.batch.frames);
    }

    async fn goodbye(&mut self, number: u128) {
        let agent_id = Uuid::from_u128(number);
        self.live.goodbye(agent_id);
        self.database.store.stop_agent(agent_id, self.clock.wall()).await.expect("it is there");
    }

    /// The program is killed and started again.
    async fn restart(&mut self) -> Restored {
        self.database.reopen().await;
        let known = self.database.store.load_agents().await.expect("it is there");
        self.live = Live::new(Limits::default(), Arc::new(self.clock.clone()), Vec::new());
        let ended_at = self.live.resume(known, self.database.store.load_pulse().await.expect("it is there"));
        head(&*self.database.store, &self.live, self.clock.wall(), ended_at).await.expect("it is there")
    }

    /// What every agent reports now.
    fn latest(&self) -> BTreeMap<String, f64> {
        self.live.read(|head| {
            let agents = self.live_agents();
            let all = agents.iter().flat_map(|id| head.latest(*id));
            all.map(|(series, sample)| (series.key().to_string(), sample.value)).collect()
        })
    }

    fn live_agents(&self) -> Vec<Uuid> {
        self.admissions.keys().copied().collect()
    }

    /// Every sample of every series that agents reported.
    fn samples(&self) -> usize {
        let of_agents = |series: &&tsdb::Series| series.owner() != crate::live::OURSELVES;
        self.live.read(|head| head.select(None).filter(of_agents).map(tsdb::Series::len).sum())
    }
}

#[tokio::test]
async fn the_head_after_a_restart_equals_the_head_before_it() {
    let mut ours = Aggregator::new().await;
    for agent in 1..=3 {
        ours.hello(agent).await;
    }
    for second in 0..5_u32 {
        for agent in 1..=3 {
            let value = f64::from(second) + agent as f64 / 10.0;
            ours.send(agent, "host", &["cpu", "memory"], &[value, 2.0 * value]).await;
        }
        // A source whose schema changes, and another that keeps its own.
        let disks: &[&str] = if second < 3 { &["disk_a", "disk_b"] } else { &["disk_a"] };
        ours.send(1, "disk", disks, &vec![f64::from(second); disks.len()]).await;
        ours.clock.advance(Duration::from_secs(1));
    }
    let (latest, samples) = (ours.latest(), ours.samples());
    assert_eq!(latest.len(), 7, "disk_b has ended: {latest:?}");
    let restored = ours.restart().await;
    assert_eq!(restored, Restored { batches: 20, samples: 38, ..Restored::default() });
    assert_eq!(ours.latest(), latest);
    assert_eq!(ours.samples(), samples);
}

#[tokio::test]
async fn a_restart_reads_the_heads_window_and_not_the_whole_log() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["cpu"], &[1.0]).await;
    ours.clock.advance(HEAD_WINDOW + Duration::from_millis(1));
    ours.send(1, "host", &["cpu"], &[2.0]).await;
    assert_eq!(ours.restart().await, Restored { batches: 1, samples: 1, ..Restored::default() });
}

#[tokio::test]
async fn what_an_agent_reported_before_its_goodbye_has_ended_after_a_restart_too() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.hello(2).await;
    ours.send(1, "host", &["cpu"], &[99.0]).await;
    ours.send(2, "host", &["cpu"], &[1.0]).await;
    ours.clock.advance(Duration::from_secs(1));
    ours.goodbye(1).await;
    let latest = ours.latest();
    assert_eq!(latest.len(), 1);
    ours.restart().await;
    assert_eq!(ours.latest(), latest);
}

#[tokio::test]
async fn an_agent_that_was_silent_before_a_restart_reports_nothing_after_it() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.hello(2).await;
    ours.send(1, "host", &["cpu"], &[99.0]).await;
    ours.clock.advance(Duration::from_secs(10));
    ours.send(2, "host", &["cpu"], &[1.0]).await;
    assert_eq!(ours.live.sweep().len(), 1);
    let latest = ours.latest();
    assert_eq!(latest.len(), 1);
    ours.restart().await;
    assert_eq!(ours.latest(), latest);
}

#[tokio::test]
async fn a_batch_or_schema_that_cannot_be_read_costs_itself() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["cpu"], &[1.0]).await;
    let damaged = |seq, payload: &[u8]| BatchRow {
        agent_id: Uuid::from_u128(1),
        position: Position { epoch: 1, seq },
        received_at: ours.clock.wall(),
        payload: payload.to_vec(),
        schemas: vec![crate::store::SchemaRow {
            agent_id: Uuid::from_u128(1),
            schema_id: SchemaId(seq),
            definition: b"not what its id says".as_slice().into(),
        }],
        digest: Some(seq),
        gaps: Vec::new(),
        sampled: None,
        events: Vec::new(),
        service: String::new(),
    };
    let rows = [damaged(2, b"not compressed"), damaged(3, b"\x28\xb5\x2f\xfd")];
    ours.database.store.commit(&rows).await.expect("it is there");
    ours.admissions.get_mut(&Uuid::from_u128(1)).expect("it said hello").2 = 3;
    ours.clock.advance(Duration::from_secs(1));
    ours.send(1, "host", &["cpu"], &[4.0]).await;
    let latest = ours.latest();
    assert_eq!(ours.restart().await, Restored { batches: 2, samples: 2, unreadable: 4, ..Restored::default() });
    assert_eq!(ours.latest(), latest);
}

#[tokio::test]
async fn limits_hold_while_the_head_is_restored() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["a", "b", "c"], &[1.0, 2.0, 3.0]).await;
    let known = ours.database.store.load_agents().await.expect("it is there");
    let limits = Limits { series: 2, ..Limits::default() };
    let live = Live::new(limits, Arc::new(ours.clock.clone()), known);
    let restored = head(&*ours.database.store, &live, ours.clock.wall(), START).await.expect("it is there");
    assert_eq!(restored, Restored { batches: 1, samples: 2, ..Restored::default() });
}

#[tokio::test]
async fn a_restart_after_a_commit_whose_answer_was_lost_has_each_sample_once() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["cpu"], &[1.0]).await;
    let mut rows = Vec::new();
    ours.database.store.replay(START, &mut |row| rows.push(row)).await.expect("it is there");
    rows[0].position.seq = 2;
    ours.database.store.turn(Weather::Deaf);
    assert!(ours.database.store.commit(&rows).await.is_err());
    ours.database.store.commit(&rows).await.expect("it is there");
    assert_eq!(ours.restart().await.batches, 2);
    assert_eq!(ours.samples(), 1);
}

#[tokio::test]
async fn a_restart_under_a_clock_that_is_behind_the_log_leaves_room_for_what_comes_now() {
    for behind in [600, 3600, 1_700_000_000 - 60] {
        let mut ours = Aggregator::new().await;
        ours.hello(1).await;
        for _ in 0..10 {
            ours.clock.advance(Duration::from_secs(1));
            ours.send(1, "host", &["cpu"], &[99.0]).await;
        }
        ours.clock.jump_to(ours.clock.wall() - Duration::from_secs(behind));
        let restored = ours.restart().await;
        // Beyond the window the log is not even read.
        let ahead = if behind < HEAD_WINDOW.as_secs() { 10 } else { 0 };
        assert_eq!(restored, Restored { ahead, ..Restored::default() }, "{behind} s");
        ours.hello(1).await;
        ours.clock.advance(Duration::from_secs(1));
        ours.send(1, "host", &["cpu"], &[1.0]).await;
        assert_eq!((ours.latest().into_values().collect::<Vec<_>>(), ours.samples()), (vec![1.0], 1), "{behind} s");
    }
}

#[tokio::test]
async fn a_restart_after_the_clock_was_set_back_reads_what_came_since_and_not_what_lies_ahead() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["cpu"], &[99.0]).await;
    ours.clock.jump_to(START - Duration::from_secs(3600));
    ours.live.sweep();
    ours.send(1, "host", &["cpu"], &[1.0]).await;
    ours.clock.advance(Duration::from_secs(1));
    let now = ours.clock.wall();
    ours.database.store.save_pulse(Pulse { alive_at: now, trusted_at: now }).await.expect("it is there");
    assert_eq!(ours.restart().await, Restored { batches: 1, samples: 1, ahead: 1, ..Restored::default() });
}

impl Aggregator {
    /// Agent `number` lost a batch.
    async fn lose(&mut self, number: u128) {
        let (admission, _, seq) = self.admissions.get_mut(&Uuid::from_u128(number)).expect("it said hello");
        *seq += 1;
        let gap = Gap { epoch: 1, first_seq: *seq, last_seq: *seq, reason: "corrupt".into() };
        let gap = RawBatch::for_gap(&gap);
        let row = admission.admit(gap, 0, self.clock.wall(), self.clock.monotonic()).expect("it is fine").row;
        self.database.store.commit(&[row]).await.expect("it is there");
    }

    /// Whether rules know of a gap of agent `number` in the second after `from`.
    fn knows_of_gap(&self, number: u128, from: Timestamp) -> bool {
        let instance = format!("agenda-{number}");
        let labels = Labels::try_new([("service", "agenda"), ("instance", instance.as_str())]).expect("legal");
        let until = from + Duration::from_secs(1);
        self.live.look(|glance| glance.gaps.overlaps(&labels, from, until).is_some())
    }
}

#[tokio::test]
async fn a_gap_after_the_newest_sample_is_open_after_a_restart() {
    let mut ours = Aggregator::new().await;
    ours.hello(1).await;
    ours.send(1, "host", &["cpu"], &[1.0]).await;
    let newest = ours.clock.wall();
    ours.lose(1).await;
    ours.clock.advance(Duration::from_secs(1));
    ours.restart().await;
    assert!(ours.knows_of_gap(1, newest), "no sample of before it has ended it");
}

#[tokio::test]
async fn of_more_gaps_than_are_restored_the_newest_are_and_it_is_told() {
    let mut ours = Aggregator::new().await;
    for number in 1..=3 {
        ours.hello(number).await;
        ours.send(number, "host", &["cpu"], &[1.0]).await;
        ours.clock.advance(Duration::from_secs(1));
        ours.lose(number).await;
    }
    assert_eq!(ours.restart().await, Restored { batches: 6, samples: 3, gaps: 3, ..Restored::default() });
    assert_eq!([1, 2, 3].map(|number| ours.knows_of_gap(number, ours.clock.wall())), [true; 3]);
    ours.live = Live::new(Limits::default(), Arc::new(ours.clock.clone()), Vec::new());
    ours.live.resume(ours.database.store.load_agents().await.expect("it is there"), None);
    let restored = gaps(&*ours.database.store, &ours.live, START, 2).await.expect("it is there");
    assert_eq!(restored, (2, true));
    assert_eq!([1, 2, 3].map(|number| ours.knows_of_gap(number, ours.clock.wall())), [false, true, true]);
}
