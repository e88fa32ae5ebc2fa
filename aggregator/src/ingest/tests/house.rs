//! An aggregator's ingest on a port of its own, and agents that talk to it.

use super::fixture::{Database, PATIENCE};
use super::wire::{self, AsItIs};
use crate::ingest::accept::Terms;
use crate::ingest::arrivals::Arrivals;
use crate::ingest::lines::Lines;
use crate::ingest::missing::Services;
use crate::ingest::server::{self, Keepalive};
use crate::ingest::watch::Patience;
use crate::ingest::writer::{Door, Writer};
use crate::ingest::{Gate, IngestService, Porter, Streams};
use crate::live::Live;
use crate::meters::Meters;
use crate::store::Store;
use futures::FutureExt;
use proto::convert::{RawBatch, RawHello, SchemaBytes, encode_record};
use proto::limits::MESSAGE_MAX_BYTES;
use proto::message::{FromAgent, Hello, Position, Refusal, ToAgent, Welcome};
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, SchemaId, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::{Clock, ManualClock};
use runtime::drain::Drain;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};
use tsdb::Limits;
use uuid::Uuid;

/// When a test begins.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The epoch of every agent here.
pub(super) const EPOCH: u128 = 0xE;

/// Ingest and what is behind it.
pub(super) struct House {
    pub(super) live: Arc<Live>,
    pub(super) database: Database,
    pub(super) clock: ManualClock,
    pub(super) meters: Meters,
    pub(super) telemetry: Telemetry,
    pub(super) drain: Drain,
    door: Door,
    pub(super) socket: SocketAddr,
}

/// The limits of a house.
pub(super) struct Setting {
    pub(super) streams: usize,
    pub(super) connections: usize,
    pub(super) arrivals: Arrivals,
    pub(super) patience: Patience,
    pub(super) keepalive: Keepalive,
}

/// An agent on the wire.
pub(super) struct Agent {
    pub(super) id: Uuid,
    out: Option<mpsc::Sender<Vec<u8>>>,
    inbound: Streaming<ToAgent>,
    known: HashSet<SchemaId>,
}

impl Default for Setting {
    fn default() -> Self {
        let (patience, keepalive) = (Patience::default(), Keepalive::default());
        Self { streams: 100, connections: 100, arrivals: Arrivals::default(), patience, keepalive }
    }
}

// === impl House ===

impl House {
    /// With an empty database.
    pub(super) async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    /// For so many streams.
    pub(super) async fn with_room(streams: usize) -> Self {
        Self::with(Setting { streams, ..Setting::default() }).await
    }

    /// With other limits.
    pub(super) async fn with(setting: Setting) -> Self {
        let (database, clock) = (Database::new().await, ManualClock::at(NOW));
        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry, "sqlite");
        let live = Arc::new(Live::new(Limits::default(), Arc::new(clock.clone()), Vec::new()));
        let mut drain = Drain::default();
        let (phase, commit) = (drain.phase("streams", PATIENCE), drain.phase("writer", PATIENCE));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let (writer, door) =
            Writer::new(database.store(), shared.clone(), meters.ingest.clone(), meters.store_up.clone());
        commit.spawn("writer", writer.run(commit.token()));
        let porter = Porter::new(setting.arrivals, shared.clone(), meters.ingest.refused.clone());
        let gate = Gate::new(porter.clone());
        let lines = Lines::new(shared.clone(), meters.ingest.unsaid.clone());
        gate.open(IngestService {
            live: live.clone(),
            store: database.store(),
            writer: door.clone(),
            clock: shared,
            meters: meters.ingest.clone(),
            phase: phase.clone(),
            streams: Arc::new(Streams::with_room(setting.streams)),
            services: Services::default(),
            porter,
            lines: lines.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = listener.local_addr().expect("it is bound");
        let terms = Terms {
            most: setting.connections,
            patience: setting.patience,
            stop: phase.token(),
            pauses: meters.ingest.accept_pauses.clone(),
            closed: meters.ingest.closed.clone(),
            lines,
        };
        server::spawn(&phase, listener, terms, setting.keepalive, gate);
        Self { live, database, clock, meters, telemetry, drain, door, socket }
    }

    /// Agent number `number`, welcomed.
    pub(super) async fn agent(&self, number: u128) -> Agent {
        let mut agent = self.stranger(number).await;
        agent.say(FromAgent::Hello(hello(number))).await;
        assert_eq!(agent.hear().await, Some(ToAgent::Welcome(Welcome::default())));
        agent
    }

    /// A stream that has not said anything yet.
    pub(super) async fn stranger(&self, number: u128) -> Agent {
        self.stranger_at(self.socket, number).await
    }

    /// One that came another way.
    pub(super) async fn stranger_at(&self, socket: SocketAddr, number: u128) -> Agent {
        let channel = Endpoint::from_shared(format!("http://{socket}")).expect("an address").connect().await;
        let (out, outbound) = mpsc::channel(64);
        let mut client = Grpc::new(channel.expect("it listens")).max_encoding_message_size(2 * MESSAGE_MAX_BYTES);
        client.ready().await.expect("it stands");
        let (request, path) = (Request::new(ReceiverStream::new(outbound)), PathAndQuery::from_static(wire::STREAM));
        let response = client.streaming(request, path, AsItIs).await.expect("it answers");
        Agent { id: Uuid::from_u128(number), out: Some(out), inbound: response.into_inner(), known: HashSet::new() }
    }

    /// The agents are away for so long that no batch of theirs is left, and no schema.
    pub(super) async fn forget_schemas(&self) {
        let long_after = NOW + 2 * crate::store::SCHEMA_REFRESH;
        self.database.store.prune(long_after).await.expect("it is there");
        assert_eq!(self.schemas().await, []);
    }

    /// The schemas that are stored.
    pub(super) async fn schemas(&self) -> Vec<SchemaId> {
        let rows = self.database.store.load_schemas().await.expect("it is there");
        rows.into_iter().map(|row| row.schema_id).collect()
    }

    /// How many connections we closed, by reason.
    pub(super) fn closed(&self, reason: &str) -> u64 {
        self.meters.ingest.closed.with_label_values(&[reason]).get()
    }

    /// Newest value of each series that the agent reports now, sorted by name.
    pub(super) fn latest(&self, agent: &Agent) -> Vec<(String, f64)> {
        let mut latest: Vec<_> = self.live.read(|head| {
            head.latest(agent.id).map(|(series, sample)| (series.key().name.to_string(), sample.value)).collect()
        });
        latest.sort_by(|a, b| a.0.cmp(&b.0));
        latest
    }

    /// Samples in the head, our own excepted.
    pub(super) fn samples(&self) -> usize {
        self.live
            .read(|head| head.select(None).filter(|s| s.owner() != crate::live::OURSELVES).map(tsdb::Series::len).sum())
    }

    /// Batches that wait for the next commit.
    pub(super) fn waiting(&self) -> usize {
        self.door.waiting()
    }

    /// What a counter of batches stands at.
    pub(super) fn batches(&self, outcome: &str) -> u64 {
        self.meters.ingest.batches.with_label_values(&[outcome]).get()
    }

    /// What a counter of refusals stands at.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        self.meters.ingest.refused.with_label_values(&[reason]).get()
    }

    /// What a counter of missing records stands at.
    pub(super) fn missing(&self, reason: &str) -> u64 {
        self.meters.ingest.missing.with_label_values(&["agenda", reason]).get()
    }
}

// === impl Agent ===

impl Agent {
    pub(super) async fn say(&self, message: FromAgent) {
        self.say_bytes(wire::encoded(message)).await;
    }

    /// Sends a message as it is.
    pub(super) async fn say_bytes(&self, message: Vec<u8>) {
        self.out.as_ref().expect("it has not hung up").send(message).await.expect("the transport stands");
    }

    /// What the aggregator answers next; `None` at the end of the stream.
    pub(super) async fn hear(&mut self) -> Option<ToAgent> {
        let next = tokio::time::timeout(PATIENCE, self.inbound.next()).await.expect("an answer, or the end");
        next.map(|message| message.expect("the stream does not break"))
    }

    /// The next answer, which is a refusal.
    pub(super) async fn hear_refusal(&mut self) -> Refusal {
        match self.hear().await {
            Some(ToAgent::Refusal(refusal)) => refusal,
            other => panic!("a refusal, not {other:?}"),
        }
    }

    /// Lets time pass until the aggregator says something.
    pub(super) async fn outwait(&mut self) -> Option<ToAgent> {
        tokio::time::pause();
        let next = loop {
            match self.inbound.next().now_or_never() {
                Some(next) => break next,
                None => tokio::time::advance(Duration::from_millis(100)).await,
            }
        };
        tokio::time::resume();
        next.map(|message| message.expect("the stream does not break"))
    }

    /// The next answer, which is the ack of `seq`.
    pub(super) async fn hear_ack(&mut self, seq: u64) {
        assert_eq!(self.hear().await, Some(ToAgent::Ack(Position { epoch: EPOCH, seq })));
    }

    /// Whether the aggregator has said nothing so far.
    pub(super) fn heard_nothing(&mut self) -> bool {
        self.inbound.next().now_or_never().is_none()
    }

    /// Sends `value` of the series `cpu`, at the time `NOW` plus `seq` seconds.
    pub(super) async fn send(&mut self, seq: u64, value: f64) {
        self.send_series(seq, &["cpu"], &[value]).await;
    }

    pub(super) async fn send_series(&mut self, seq: u64, names: &[&str], values: &[f64]) {
        let at = NOW + Duration::from_secs(seq);
        let mut batch = batch(seq, &[(schema("host", names), vec![Pass { at, values: values.to_vec() }])]);
        batch.strip(&mut self.known);
        self.say(FromAgent::Batch(batch)).await;
    }

    /// Ends its side of the stream without a word.
    pub(super) fn hang_up(&mut self) {
        self.out = None;
    }

    pub(super) async fn goodbye(&self) {
        self.say(FromAgent::Goodbye { reason: "shutdown".into() }).await;
    }
}

/// What agent `number` says first.
pub(super) fn hello(number: u128) -> RawHello {
    hello_of(number, Uuid::from_u128(1), &format!("agenda-{number}"), Position { epoch: 1, seq: 0 })
}

/// What a run of agent `number` says first whose spool has given out `last`.
pub(super) fn hello_of(number: u128, run_id: Uuid, instance: &str, last: Position) -> RawHello {
    RawHello::new(Hello {
        agent_id: Uuid::from_u128(number),
        service: "agenda".into(),
        instance: instance.into(),
        clinic_id: None,
        interval: Duration::from_secs(1),
        wall: NOW,
        monotonic: Duration::ZERO,
        boot_id: "boot".into(),
        agent_version: "0.1.0".into(),
        run_id,
        last,
    })
}

/// A schema of gauges.
pub(super) fn schema(source: &str, names: &[&str]) -> SchemaBytes {
    let def = |name: &&str| SeriesDef { key: SeriesKey::try_new(name, []).expect("legal"), kind: Kind::Gauge };
    SchemaBytes::encode(source, Duration::ZERO, &names.iter().map(def).collect::<Vec<_>>())
}

/// A batch whose frames carry their schemas.
pub(super) fn batch(seq: u64, frames: &[(SchemaBytes, Vec<Pass>)]) -> RawBatch {
    let frames: Vec<_> = frames.iter().map(|(schema, passes)| (schema, passes.as_slice())).collect();
    let record = encode_record(&frames).expect("within the limits");
    RawBatch::from_record(&record, Position { epoch: EPOCH, seq }).expect("reads back")
}
