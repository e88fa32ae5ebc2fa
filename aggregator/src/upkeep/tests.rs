use super::*;
use crate::ingest::tests::fixture::{Database, Weather, until};
use crate::live::{HEAD_WINDOW, RECONNECT_MAX};
use crate::store::{AgentRow, BatchRow};
use proto::message::Position;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SchemaId, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::ManualClock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tsdb::Limits;
use uuid::Uuid;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const RETENTION: Duration = Duration::from_secs(2 * 3600);

struct Ground {
    database: Database,
    clock: ManualClock,
    live: Arc<Live>,
    meters: Meters,
    rounds: Arc<AtomicUsize>,
}

impl Ground {
    /// With an agent that was up when we ended, and one that had stopped.
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, ManualClock::at(START));
        let known = vec![agent(1, None), agent(2, Some(START))];
        let live = Arc::new(Live::new(Limits::default(), Arc::new(clock.clone()), known));
        let meters = Meters::new(&Telemetry::default(), "sqlite");
        Self { database, clock, live, meters, rounds: Arc::default() }
    }

    fn upkeep(&self) -> Upkeep {
        let rounds = self.rounds.clone();
        Upkeep {
            live: self.live.clone(),
            store: self.database.store(),
            clock: Arc::new(self.clock.clone()),
            meters: self.meters.clone(),
            log_retention: RETENTION,
            progress: Box::new(move || {
                rounds.fetch_add(1, Ordering::Relaxed);
            }),
        }
    }

    fn agents(&self) -> [f64; 3] {
        ["up", "silent", "stopped"].map(|state| self.meters.agents.with_label_values(&[state]).get())
    }

    /// A batch that came so long ago.
    async fn keep(&self, seq: u64, age: Duration) {
        let row = BatchRow {
            agent_id: Uuid::from_u128(1),
            position: Position { epoch: 1, seq },
            received_at: START - age,
            payload: vec![1],
            schemas: Vec::new(),
        };
        self.database.store.commit(&[row]).await.expect("it is there");
    }

    fn report(&self) {
        let key = SeriesKey::try_new("cpu", []).expect("legal");
        let series = vec![SeriesDef { key, kind: Kind::Gauge }];
        let schema = Arc::new(Schema { source: "host".into(), interval: Duration::ZERO, series });
        let pass = Pass { at: self.clock.wall(), values: vec![1.0] };
        let frame = Frame::try_new(SchemaId(1), schema, vec![pass]).expect("fits");
        self.live.append(Uuid::from_u128(1), &[frame]);
    }
}

fn agent(number: u128, stopped_at: Option<Timestamp>) -> AgentRow {
    AgentRow {
        agent_id: Uuid::from_u128(number),
        service: "agenda".into(),
        instance: format!("agenda-{number}"),
        clinic_id: None,
        interval: Duration::from_secs(1),
        agent_version: "0.1.0".into(),
        first_seen: START,
        last_seen: START,
        stopped_at,
        position: None,
    }
}

#[tokio::test]
async fn agents_are_shown_by_their_state_and_the_heads_size_with_them() {
    let ground = Ground::new().await;
    let upkeep = ground.upkeep();
    upkeep.sweep();
    assert_eq!(ground.agents(), [1.0, 0.0, 1.0]);
    ground.report();
    ground.clock.advance(RECONNECT_MAX + Duration::from_secs(1));
    upkeep.sweep();
    assert_eq!(ground.agents(), [0.0, 1.0, 1.0]);
    assert_eq!(ground.meters.head_series.get(), 2.0, "cpu and monitoring_agent_up");
    assert_eq!(ground.meters.head_samples.get(), 4.0, "a value, its end, up and not up");
}

#[tokio::test]
async fn the_log_is_kept_for_its_retention_and_no_longer() {
    let ground = Ground::new().await;
    ground.keep(1, RETENTION + Duration::from_millis(1)).await;
    ground.keep(2, RETENTION).await;
    ground.keep(3, Duration::ZERO).await;
    ground.upkeep().prune().await;
    let kept: Vec<_> = ground.database.store.log().await.into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(kept, [2, 3]);
    assert!(RETENTION > HEAD_WINDOW, "a restart finds its window");
}

#[tokio::test]
async fn a_database_that_is_away_or_hangs_does_not_keep_silent_agents_from_being_found() {
    for weather in [Weather::Away, Weather::Held] {
        let ground = Ground::new().await;
        ground.database.store.turn(weather);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(ground.upkeep().run(stop.clone()));
        until("it looked", || ground.rounds.load(Ordering::Relaxed) >= 1).await;
        assert_eq!(ground.agents(), [1.0, 0.0, 1.0]);
        ground.clock.advance(RECONNECT_MAX + Duration::from_secs(1));
        until("the silent agent is found", || ground.agents() == [0.0, 1.0, 1.0]).await;
        stop.cancel();
        ended.await.expect("it ends, also in the middle of a prune");
    }
}

#[tokio::test]
async fn at_the_start_the_log_is_pruned_and_after_a_minute_the_head_is_truncated() {
    let ground = Ground::new().await;
    ground.keep(1, RETENTION * 2).await;
    ground.report();
    let second = Duration::from_secs(1);
    let has_value = || ground.live.read(|head| head.select(Some("cpu")).any(|s| s.value_at(START, second).is_some()));
    assert!(has_value());
    let stop = CancellationToken::new();
    let ended = tokio::spawn(ground.upkeep().run(stop.clone()));
    until("it looked", || ground.rounds.load(Ordering::Relaxed) >= 1).await;
    ground.clock.advance(HEAD_WINDOW * 2);
    until("the window moved on", || !has_value()).await;
    stop.cancel();
    ended.await.expect("it ends");
    assert!(ground.database.store.log().await.is_empty());
}
