//! An engine, the data that it reads, and what it wrote.

use crate::ingest::tests::fixture::Database;
use crate::live::Live;
use crate::meters::Meters;
use crate::rules::board::Board;
use crate::rules::{Engine, Orphan, Parts, Receivers, load};
use crate::store::{AlertRow, OutboxRow, Scope, Store};
use proto::convert::SchemaBytes;
use proto::message::{ClockReading, Hello, Position};
use proto::name::SeriesKey;
use proto::sample::{Frame, Kind, Pass, STALE, Schema, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, ManualClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tsdb::Limits;
use uuid::Uuid;

/// When a test begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// How often rules are evaluated that say nothing of it.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);
/// No notification is due later.
const EVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// By how many milliseconds a clock may be set: an hour either way, a day, a second, to 1970 and to 2100.
pub(super) const JUMPS_MS: [i64; 8] =
    [3_600_000, -3_600_000, 86_400_000, -86_400_000, 1_500, -1_500, -1_700_000_000_000, 2_402_444_800_000];

/// See the module.
pub(super) struct Desk {
    pub(super) database: Database,
    pub(super) clock: ManualClock,
    pub(super) live: Arc<Live>,
    pub(super) engine: Engine,
    pub(super) orphans: Vec<Orphan>,
    channels: Vec<String>,
}

/// A rule file with one group `g` of these rules, each `name: expression` and further fields.
pub(super) fn rules(rules: &[(&str, &str, &str)]) -> String {
    let rule = |(name, expr, more): &(&str, &str, &str)| {
        let more: Vec<String> = more.lines().map(|line| format!("    {line}\n")).collect();
        format!("  - alert: {name}\n    expr: '{expr}'\n{}", more.concat())
    };
    format!("groups:\n- name: g\n  rules:\n{}", rules.iter().map(rule).collect::<Vec<_>>().concat())
}

/// The one rule of most tests.
pub(super) fn hot(more: &str) -> String {
    rules(&[("Hot", "cpu > 90", more)])
}

impl Desk {
    /// With an agent that has said hello.
    pub(super) async fn new(rules: &str) -> Self {
        Self::with_channels(rules, &["webhook"]).await
    }

    pub(super) async fn with_channels(rules: &str, channels: &[&str]) -> Self {
        let (database, clock) = (Database::new().await, ManualClock::at(START));
        let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let (engine, orphans) = engine(rules, &database, &clock, &channels).await;
        let desk = Self { live: engine.live.clone(), database, clock, engine, orphans, channels };
        desk.hello(1).await;
        desk
    }

    /// The program ends and starts again with this rule file, after some time. Its head is empty.
    pub(super) async fn restart(&mut self, rules: &str, downtime: Duration) {
        self.database.reopen().await;
        self.clock.advance(downtime);
        let (engine, orphans) = engine(rules, &self.database, &self.clock, &self.channels).await;
        self.live = engine.live.clone();
        (self.engine, self.orphans) = (engine, orphans);
    }

    /// The wall clock is set.
    pub(super) fn set_clock(&self, by_ms: i64) {
        self.clock.jump_to(self.clock.wall().moved_by(by_ms));
    }

    /// Agent `number` says hello.
    pub(super) async fn hello(&self, number: u128) {
        let row = self.live.hello(&Hello {
            agent_id: Uuid::from_u128(number),
            service: "agenda".into(),
            instance: format!("agenda-{number}"),
            clinic_id: None,
            interval: SECOND,
            wall: self.clock.wall(),
            monotonic: Duration::ZERO,
            boot_id: "boot".into(),
            agent_version: "0.1.0".into(),
            run_id: Uuid::from_u128(1),
            last: Position { epoch: 1, seq: 0 },
        });
        self.database.store.save_agent(&row).await.expect("it is there");
    }

    /// Agent `number` reports `value` of `cpu`, read now.
    pub(super) fn cpu(&self, number: u128, value: f64) {
        self.report(number, "cpu", &[value]);
    }

    /// Agent 1 reports `value` of `cpu`, read now by its own clock, which is so many milliseconds ahead of ours. As on its way
    /// in, its time is corrected by what the agent said of its clock.
    pub(super) fn cpu_by_own_clock(&self, value: f64, ahead_ms: i64) {
        let agent_id = Uuid::from_u128(1);
        let at = self.clock.wall().moved_by(ahead_ms).moved_by(-self.live.correction_ms(agent_id));
        self.live.append(agent_id, &[frame(at, "cpu", &[value])]);
    }

    /// Agent 1 says what its clock shows.
    pub(super) fn tell_clock(&self, ahead_ms: i64, was_set: bool) {
        let reading = ClockReading { wall: self.clock.wall().moved_by(ahead_ms), was_set };
        self.live.hear_clock(Uuid::from_u128(1), reading);
    }

    /// Agent 1's `cpu` is no longer reported.
    pub(super) fn no_cpu(&self) {
        self.cpu(1, STALE);
    }

    /// Agent `number` reports a metric, with a label `core` where there are several values.
    pub(super) fn report(&self, number: u128, name: &str, values: &[f64]) {
        self.live.append(Uuid::from_u128(number), &[frame(self.clock.wall(), name, values)]);
    }

    /// The log gives back what agent `number` said of its `cpu` at `at`.
    pub(super) fn remember(&self, number: u128, at: Timestamp, value: f64) {
        self.live.restore(Uuid::from_u128(number), &[frame(at, "cpu", &[value])]);
        self.live.restored();
    }
}

/// One pass of a metric, with a label `core` where there are several values.
fn frame(at: Timestamp, name: &str, values: &[f64]) -> Frame {
    let cores: Vec<String> = (0..values.len()).map(|core| core.to_string()).collect();
    let def = |core: &String| {
        let labels = [("core", core.as_str())];
        let labels = if values.len() > 1 { &labels[..] } else { &[] };
        SeriesDef { key: SeriesKey::try_new(name, labels.iter().copied()).expect("legal"), kind: Kind::Gauge }
    };
    let series: Vec<SeriesDef> = cores.iter().map(def).collect();
    let schema_id = SchemaBytes::encode(name, Duration::ZERO, &series).id;
    let schema = Arc::new(Schema { source: name.into(), interval: Duration::ZERO, series });
    let pass = Pass { at, values: values.to_vec() };
    Frame::try_new(schema_id, schema, vec![pass]).expect("fits")
}

impl Desk {
    /// Looks at once at what arrived.
    pub(super) async fn round(&mut self) {
        self.engine.round().await;
    }

    /// `value` of agent 1's `cpu` arrives after a second, and the rules look at it.
    pub(super) async fn see(&mut self, value: f64) {
        self.clock.advance(SECOND);
        self.cpu(1, value);
        self.round().await;
    }

    /// What the table of alerts has, newest first.
    pub(super) async fn alerts(&self) -> Vec<AlertRow> {
        self.database.store.load_alerts(Scope::AllClinics, None, 1_000).await.expect("it is there")
    }

    /// Status of each row of the table of alerts, oldest first.
    pub(super) async fn statuses(&self) -> Vec<String> {
        let mut statuses: Vec<_> = self.alerts().await.into_iter().map(|alert| alert.status).collect();
        statuses.reverse();
        statuses
    }

    /// Notifications that wait, oldest first.
    pub(super) async fn outbox(&self) -> Vec<OutboxRow> {
        self.database.store.due_notifications(EVER, 1_000).await.expect("it is there")
    }

    /// What people are told, oldest first: the status and the reason.
    pub(super) async fn told(&self) -> Vec<(String, String)> {
        let text = |row: &OutboxRow, field: &str| row.body[field].as_str().expect("a text").to_string();
        self.outbox().await.iter().map(|row| (text(row, "status"), text(row, "notification_reason"))).collect()
    }

    /// State of each stored instance, in order of rules.
    pub(super) async fn stored(&self) -> Vec<(String, String)> {
        let rules = self.database.store.load_rules().await.expect("it is there");
        let instances = rules.into_iter().flat_map(|rule| rule.instances);
        instances.map(|instance| (instance.rule_key, instance.state)).collect()
    }

    /// How the first rule's last evaluation went.
    pub(super) fn health(&self) -> &'static str {
        self.engine.board.get()[0].health
    }

    /// State of each instance as the pages show it.
    pub(super) fn shown(&self) -> Vec<&'static str> {
        let views = self.engine.board.get();
        views.iter().flat_map(|view| view.state.instances()).map(|instance| instance.state.as_str()).collect()
    }

    pub(super) fn evaluations(&self, group: &str) -> u64 {
        self.engine.meters.evaluations.with_label_values(&[group]).get()
    }

    pub(super) fn missed(&self) -> u64 {
        self.engine.meters.missed.with_label_values(&["g"]).get()
    }
}

/// What is told when an alert begins, and when it ends.
pub(super) fn began() -> (String, String) {
    ("firing".into(), "first notification".into())
}

/// See [`began`].
pub(super) fn ended() -> (String, String) {
    ("resolved".into(), "all alerts resolved".into())
}

async fn engine(rules: &str, database: &Database, clock: &ManualClock, channels: &[String]) -> (Engine, Vec<Orphan>) {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let known = database.store.load_agents().await.expect("it is there");
    Engine::new(Parts {
        set: load("rules.yml", rules, INTERVAL).expect("good rules"),
        kept: database.store.load_rules().await.expect("it is there"),
        live: Arc::new(Live::new(Limits::default(), clock.clone(), known)),
        store: database.store(),
        clock,
        meters: Meters::new(&Telemetry::default(), "sqlite").rules,
        board: Arc::<Board>::default(),
        outbox: Arc::<Notify>::default(),
        receivers: Receivers {
            channels: channels.to_vec(),
            external_url: "https://monitoring.example".into(),
            max_alerts: 100,
        },
        progress: Box::new(|| {}),
    })
}
