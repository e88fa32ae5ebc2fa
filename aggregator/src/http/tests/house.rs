//! What the tests need: agents that report, a store, a server, a client.

use crate::http::{Front, Health, Pages, Service, serve};
use crate::live::Live;
use crate::rules::board::Board;
use crate::store::{self, Store};
use alerting::{Fingerprint, Instance, InstanceState};
use proto::convert::SchemaBytes;
use proto::message::{Hello, Position};
use proto::name::{Labels, SeriesKey};
use proto::sample::{Frame, Kind, Pass, Schema, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use reqwest::{Client, RequestBuilder};
use runtime::clock::{Clock, ManualClock};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tsdb::Limits;
use uuid::Uuid;

/// 2026-11-24T00:00:00Z.
pub(in crate::http) const START: Timestamp = Timestamp::from_millis(1_795_478_400_000);
/// How often agents report.
pub(in crate::http) const INTERVAL: Duration = Duration::from_secs(30);

/// A series and its value, as an agent reports it; its kind follows from its name.
pub(in crate::http) type Reported<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// A server and all that it shows.
pub(in crate::http) struct House {
    pub(in crate::http) pages: Arc<Pages>,
    pub(in crate::http) clock: ManualClock,
    pub(in crate::http) client: Client,
    pub(in crate::http) address: SocketAddr,
    server: JoinHandle<()>,
    stop: CancellationToken,
    _directory: TempDir,
}

/// What came back.
pub(in crate::http) struct Answer {
    pub(in crate::http) status: u16,
    pub(in crate::http) text: String,
    pub(in crate::http) bytes: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl House {
    /// A server that is ready, without agents.
    pub(in crate::http) async fn open() -> Self {
        // The second one finds the first one's there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (pages, clock, directory) = pages().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let front = Arc::new(Front::new(pages.telemetry.clone(), pages.clock.clone()));
        front.open(pages.clone());
        let server = tokio::spawn(serve(listener, front, stop.clone()));
        Self { pages, clock, client: Client::new(), address, server, stop, _directory: directory }
    }

    /// An agent that said hello.
    pub(in crate::http) fn agent(&self, service: &str, clinic_id: Option<Uuid>) -> Uuid {
        let known = self.pages.live.agents().len() as u128;
        self.agent_called(known + 1, service, &format!("{service}-1"), clinic_id)
    }

    /// An agent whose id is `number`.
    pub(in crate::http) fn agent_called(
        &self,
        number: u128,
        service: &str,
        instance: &str,
        clinic: Option<Uuid>,
    ) -> Uuid {
        self.pages.live.hello(&hello(number, service, instance, clinic, self.clock.wall())).agent_id
    }

    /// Notes the agent in the database, as ingest does with its hello.
    pub(in crate::http) async fn save(&self, agent_id: Uuid) {
        let agent = self.pages.live.agent(agent_id).expect("it said hello");
        self.pages.store.save_agent(&agent.row).await.expect("saved");
    }

    /// The agent's full set of series, now.
    pub(in crate::http) fn reports(&self, agent_id: Uuid, series: &[Reported]) {
        self.pages.live.append(agent_id, &[frame(self.clock.wall(), series)]);
    }

    pub(in crate::http) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(in crate::http) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    pub(in crate::http) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(self.client.get(self.url(path)).header("accept", accept)).await
    }

    pub(in crate::http) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the body comes whole").to_vec();
        Answer { status, text: String::from_utf8_lossy(&bytes).into_owned(), bytes, headers }
    }

    /// Tells the server to end and waits for it.
    pub(in crate::http) async fn close(self) {
        self.stop.cancel();
        self.server.await.expect("the server does not panic");
    }
}

impl Answer {
    pub(in crate::http) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(in crate::http) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Pages over an empty house.
pub(in crate::http) async fn pages() -> (Arc<Pages>, ManualClock, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let store: Arc<dyn Store> = store::open(&url).await.expect("a new database opens");
    let clock = ManualClock::at(START);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let pages = Pages {
        live: Arc::new(Live::new(Limits::default(), shared.clone(), Vec::new())),
        telemetry: Telemetry::default(),
        store,
        board: Arc::new(Board::default()),
        health: Arc::new(Health::new(shared.monotonic())),
        clock: shared,
        listen: SocketAddr::from(([127, 0, 0, 1], 7480)),
        listen_grpc: SocketAddr::from(([127, 0, 0, 1], 7400)),
        database: "sqlite 3".into(),
    };
    (Arc::new(pages), clock, directory)
}

/// What the handlers share, without a server.
pub(in crate::http) async fn service() -> (Arc<Service>, TempDir) {
    let (pages, _, directory) = pages().await;
    (Arc::new(Service::new(pages)), directory)
}

/// What an agent whose clock is right says first.
pub(in crate::http) fn hello(
    number: u128,
    service: &str,
    instance: &str,
    clinic_id: Option<Uuid>,
    wall: Timestamp,
) -> Hello {
    Hello {
        agent_id: Uuid::from_u128(number),
        service: service.into(),
        instance: instance.into(),
        clinic_id,
        interval: INTERVAL,
        wall,
        monotonic: Duration::ZERO,
        boot_id: "boot".into(),
        agent_version: "0.1.0".into(),
        run_id: Uuid::from_u128(1),
        last: Position { epoch: 1, seq: 0 },
    }
}

/// An instance of the alert `Late`.
pub(in crate::http) fn late(labels: &[(&str, &str)], state: InstanceState) -> Instance {
    let labels = Labels::try_new(labels.iter().copied().chain([("alertname", "Late")])).expect("legal");
    Instance {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: vec![("summary".into(), "late".into())],
        state,
        value: 95.5,
        active_at: START,
        fired_at: None,
        resolved_at: None,
        keep_firing_since: None,
        held: Duration::from_secs(30),
        absent: Duration::ZERO,
    }
}

/// A frame with one pass.
pub(in crate::http) fn frame(at: Timestamp, reported: &[Reported]) -> Frame {
    let def = |(name, labels, _): &Reported| SeriesDef {
        key: SeriesKey::try_new(name, labels.iter().copied()).expect("a legal series"),
        kind: kind_of(name),
    };
    let series: Vec<SeriesDef> = reported.iter().map(def).collect();
    let schema_id = SchemaBytes::encode("test", Duration::ZERO, &series).id;
    let values = reported.iter().map(|(.., value)| *value).collect();
    let schema = Arc::new(Schema { source: "test".into(), interval: Duration::ZERO, series });
    Frame::try_new(schema_id, schema, vec![Pass { at, values }]).expect("as many values as series")
}

fn kind_of(name: &str) -> Kind {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&["_bucket", "_sum", "_count"]) {
        Kind::Histogram
    } else if ends(&["_total"]) {
        Kind::Counter
    } else {
        Kind::Gauge
    }
}
