use super::*;
use crate::config;
use crate::ingest::tests::fixture::{Database, Weather, until};
use crate::live::{HEAD_WINDOW, RECONNECT_MAX};
use crate::store::{AgentRow, BatchRow};
use futures::FutureExt;
use proto::message::Position;
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, Schema, SchemaId, SeriesDef};
use proto::telemetry::Telemetry;
use runtime::clock::ManualClock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tsdb::Limits;
use uuid::Uuid;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const RETENTION: Duration = Duration::from_secs(2 * 3600);

/// A second before the clock is believed.
const ALMOST: Duration = trust::CONFIRM.saturating_sub(Duration::from_secs(1));

struct Ground {
    database: Database,
    clock: ManualClock,
    live: Arc<Live>,
    meters: Meters,
    rounds: Arc<AtomicUsize>,
    /// How far the clock was believed when we ran last.
    kept: Option<Timestamp>,
}

impl Ground {
    /// With an agent that was up when we ended, and one that had stopped.
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, ManualClock::at(START));
        let known = vec![agent(1, None), agent(2, Some(START))];
        let live = Arc::new(Live::new(Limits::default(), Arc::new(clock.clone()), known));
        let meters = Meters::new(&Telemetry::default(), "sqlite");
        Self { database, clock, live, meters, rounds: Arc::default(), kept: None }
    }

    fn upkeep(&self) -> Upkeep {
        let rounds = self.rounds.clone();
        Upkeep {
            live: self.live.clone(),
            store: self.database.store(),
            clock: Arc::new(self.clock.clone()),
            meters: self.meters.clone(),
            retention: Retention { log: RETENTION, ..config::RETENTION },
            trust: Mutex::new(Trust::new(self.kept, self.clock.wall(), self.clock.monotonic())),
            silenced: Notify::new(),
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
            digest: None,
            gaps: Vec::new(),
            sampled: None,
            events: Vec::new(),
            service: String::new(),
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

#[tokio::test]
async fn a_clock_that_jumps_forward_deletes_nothing_until_it_has_run_evenly_for_an_hour() {
    let year = Duration::from_secs(365 * 24 * 3600);
    let mut ground = Ground::new().await;
    ground.kept = Some(START);
    ground.keep(1, RETENTION + Duration::from_secs(1)).await;
    ground.keep(2, Duration::ZERO).await;
    let log = async || ground.database.store.log().await.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>();
    let upkeep = ground.upkeep();
    ground.clock.jump_to(START + year);
    upkeep.prune().await;
    assert_eq!(log().await, [2], "what is old by the clock that was believed");
    assert_eq!(ground.meters.clock_jumps.with_label_values(&["forward"]).get(), 1);
    ground.clock.advance(ALMOST);
    upkeep.prune().await;
    assert_eq!(log().await, [2]);

    // A restart with the wrong clock, and the first hour of it.
    upkeep.pulse(true).await;
    let pulse = ground.database.store.load_pulse().await.expect("it is there").expect("it was noted");
    assert_eq!(pulse.trusted_at, START + ALMOST);
    ground.kept = Some(pulse.trusted_at);
    let upkeep = ground.upkeep();
    upkeep.prune().await;
    ground.clock.advance(ALMOST);
    upkeep.prune().await;
    let log = async || ground.database.store.log().await.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>();
    assert_eq!(log().await, [2], "acked, and not two hours old");
    ground.clock.advance(Duration::from_secs(1));
    upkeep.prune().await;
    assert!(log().await.is_empty(), "a machine that was off for a year prunes after an hour");
}

#[tokio::test]
async fn no_clock_that_is_wrong_for_a_while_deletes_what_is_not_old() {
    let (hour, minutes) = (3_600_000, Duration::from_secs(600));
    for by_ms in [1_000, -1_000, hour, -hour, 24 * hour, -24 * hour, -1_700_000_000_000, 2_402_444_800_000] {
        let mut ground = Ground::new().await;
        ground.kept = Some(START);
        ground.keep(1, Duration::ZERO).await;
        let set = |ground: &Ground, by_ms| ground.clock.jump_to(ground.clock.wall().moved_by(by_ms));
        // While we run, then from a start, then right again while we run, then from a start.
        let mut upkeep = ground.upkeep();
        for set_by_ms in [by_ms, -by_ms] {
            set(&ground, set_by_ms);
            for _ in 0..2 {
                upkeep.prune().await;
                ground.clock.advance(minutes);
                upkeep.prune().await;
                upkeep.pulse(true).await;
                let pulse = ground.database.store.load_pulse().await.expect("it is there").expect("it was noted");
                ground.kept = Some(pulse.trusted_at);
                upkeep = ground.upkeep();
            }
        }
        let log: Vec<_> = ground.database.store.log().await.into_iter().map(|(_, seq)| seq).collect();
        assert_eq!(log, [1], "{by_ms} ms");
    }
}

#[tokio::test]
async fn a_pulse_says_when_we_lived_and_whether_the_database_answers() {
    let ground = Ground::new().await;
    let upkeep = ground.upkeep();
    assert!(upkeep.pulse(true).await);
    assert_eq!(ground.meters.store_up.get(), 1.0);
    ground.clock.advance(Duration::from_secs(10));
    ground.database.store.turn(Weather::Away);
    assert!(!upkeep.pulse(true).await);
    assert_eq!(ground.meters.store_up.get(), 0.0, "also where no agent sends anything");
    ground.database.store.turn(Weather::Fine);
    let pulse = Pulse { alive_at: START, trusted_at: START };
    assert_eq!(ground.database.store.load_pulse().await.expect("it is there"), Some(pulse));
}

#[tokio::test]
async fn an_agent_that_goes_silent_is_followed_by_a_pulse_so_that_a_restart_knows() {
    let ground = Ground::new().await;
    let upkeep = ground.upkeep();
    upkeep.sweep();
    assert!(upkeep.silenced.notified().now_or_never().is_none(), "nobody is silent yet");
    ground.clock.advance(RECONNECT_MAX + Duration::from_secs(1));
    upkeep.sweep();
    assert!(upkeep.silenced.notified().now_or_never().is_some(), "the next pulse does not wait for its time");
}
