//! The aggregator put together: every part, every channel, and the order in which they end.
//!
//! Drain order: `streams` (agents get the acks of what is under way) → `writer` (the last group is committed) → `rules`
//! → `notify` (what is being sent is sent; the rest waits in the outbox) → `upkeep` → `http` → the database is closed.

use crate::config::{Config, Retention};
use crate::http::{self, Health, Pages, Part};
use crate::ingest::writer::Writer;
use crate::ingest::{IngestService, Streams};
use crate::live::Live;
use crate::meters::Meters;
use crate::notify::{Notifier, Webhook};
use crate::restore;
use crate::rules::board::Board;
use crate::rules::{self, Engine, Receivers, RuleSet};
use crate::store::{self, Pulse, Store, StoreError};
use crate::upkeep::Upkeep;
use crate::upkeep::trust::Trust;
use proto::grpc::IngestServer;
use proto::limits::MESSAGE_MAX_BYTES;
use proto::telemetry::Telemetry;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::drain::{Drain, Fault, Phase};
use runtime::log::chain;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// How long streams may take to get their last acks: a commit on a slow disk.
const STREAMS_DEADLINE: Duration = Duration::from_secs(5);
/// How long the last commit may take.
const WRITER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a running evaluation may take.
const RULES_DEADLINE: Duration = Duration::from_secs(5);
/// How long a message that is being sent may take; beyond it, it is sent again after the start.
const NOTIFY_DEADLINE: Duration = Duration::from_secs(5);
/// How long the rest may take.
const REST_DEADLINE: Duration = Duration::from_secs(2);
/// A peer that is gone without a word is noticed after these two: a ping this often, an answer within that. Without
/// them file descriptors leak.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// TCP's own probe, for peers that never got to HTTP/2.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// gRPC streams of one connection; an agent opens one.
const STREAMS_PER_CONNECTION: u32 = 16;
/// HTTP/2 flow control: what one stream and one connection may send ahead.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// See [`STREAM_WINDOW_BYTES`].
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Headers of a request.
const HEADERS_MAX_BYTES: u32 = 16 * 1024;

/// Why the aggregator could not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, or not ours to take.
    #[error("cannot listen on {address}; set --{flag} to a free address (port 0 takes any)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The rule file is not there.
    #[error("cannot read the rule file {}", path.display())]
    RulesUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The rule file has mistakes; each on a line of its own.
    #[error("{0}")]
    Rules(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No HTTP client.
    #[error("cannot make an HTTP client for the webhook")]
    Client(#[from] reqwest::Error),
    /// A signal came before we had started.
    #[error("ended before the database answered")]
    Cancelled,
}

/// A running aggregator.
pub struct App {
    drain: Drain,
    store: Arc<dyn Store>,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What the parts share.
struct Shared {
    store: Arc<dyn Store>,
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
    meters: Meters,
    telemetry: Telemetry,
    health: Arc<Health>,
    board: Arc<Board>,
    bell: Arc<Notify>,
}

impl App {
    /// Starts every part, to run until `asked`. A database that is away is waited for.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, asked: CancellationToken) -> Result<Self, StartError> {
        let set = load_rules(config)?;
        let channels = match &config.webhook {
            Some(url) => vec![Webhook::new("webhook", url.clone())?],
            None => Vec::new(),
        };
        let agents = listen(config.listen_grpc, "listen-grpc").await?;
        let pages = listen(config.listen_http, "listen-http").await?;
        let (grpc, http) = (local(&agents, config.listen_grpc), local(&pages, config.listen_http));
        let store = open_store(config.database.expose(), &asked).await?;
        let database = store.ping().await?;

        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry, database.split_whitespace().next().unwrap_or("unknown"));
        meters.store_up.set(1.0);
        let pulse = store.load_pulse().await?;
        let live = Arc::new(Live::new(config.limits, clock.clone(), Vec::new()));
        live.resume(store.load_agents().await?, pulse.map(|pulse| pulse.alive_at));
        restore::head(&*store, &live, clock.wall()).await?;
        let health = Arc::new(Health::new(clock.monotonic()));
        let shared = Shared {
            store: store.clone(),
            live,
            clock,
            meters,
            telemetry,
            health: health.clone(),
            board: Arc::default(),
            bell: Arc::default(),
        };
        let mut drain = Drain::new(asked);
        shared.spawn_ingest(&mut drain, agents);
        shared.spawn_rules(&mut drain, config, set, &channels, http).await?;
        shared.spawn_notify(&mut drain, channels);
        shared.spawn_upkeep(&mut drain, config.retention, pulse);
        shared.spawn_pages(&mut drain, pages, http, grpc, database);
        health.set_ready();
        Ok(Self { drain, store, grpc, http })
    }

    /// Where agents connect.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where the pages are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Runs until it is asked to end, or a fault, then ends in order.
    pub async fn run(self) -> Result<(), Fault> {
        let ended = self.drain.serve().await;
        self.store.close().await;
        ended
    }
}

impl Shared {
    fn spawn_ingest(&self, drain: &mut Drain, listener: TcpListener) {
        let streams = drain.phase("streams", STREAMS_DEADLINE);
        let commit = drain.phase("writer", WRITER_DEADLINE);
        let (ingest, store_up) = (self.meters.ingest.clone(), self.meters.store_up.clone());
        let (writer, door) = Writer::new(self.store.clone(), self.clock.clone(), ingest.clone(), store_up);
        commit.spawn("writer", writer.run(commit.token()));
        let service = IngestService {
            live: self.live.clone(),
            store: self.store.clone(),
            writer: door,
            clock: self.clock.clone(),
            meters: ingest,
            phase: streams.clone(),
            streams: Arc::new(Streams::default()),
        };
        spawn_grpc(&streams, listener, service);
    }

    async fn spawn_rules(
        &self,
        drain: &mut Drain,
        config: &Config,
        set: RuleSet,
        channels: &[Webhook],
        http: SocketAddr,
    ) -> Result<(), StartError> {
        let receivers = Receivers {
            channels: channels.iter().map(|channel| channel.name().to_string()).collect(),
            external_url: config.external_url.clone().unwrap_or_else(|| format!("http://{http}")),
            max_alerts: config.max_alerts,
        };
        let (engine, orphans) = Engine::new(rules::Parts {
            set,
            kept: self.store.load_rules().await?,
            live: self.live.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.rules.clone(),
            board: self.board.clone(),
            outbox: self.bell.clone(),
            receivers,
            progress: Box::new(self.progress(Part::Rules)),
        });
        let phase = drain.phase("rules", RULES_DEADLINE);
        phase.spawn("rules", engine.run(orphans, phase.token()));
        Ok(())
    }

    fn spawn_notify(&self, drain: &mut Drain, channels: Vec<Webhook>) {
        let notifier = Notifier {
            channels,
            store: self.store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.notify.clone(),
            bell: self.bell.clone(),
            progress: Box::new(self.progress(Part::Notify)),
        };
        let phase = drain.phase("notify", NOTIFY_DEADLINE);
        phase.spawn("notify", notifier.run(phase.token()));
    }

    fn spawn_upkeep(&self, drain: &mut Drain, retention: Retention, pulse: Option<Pulse>) {
        let kept = pulse.map(|pulse| pulse.trusted_at);
        let upkeep = Upkeep {
            live: self.live.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.clone(),
            retention,
            trust: Mutex::new(Trust::new(kept, self.clock.wall(), self.clock.monotonic())),
            silenced: Notify::new(),
            progress: Box::new(self.progress(Part::Upkeep)),
        };
        let phase = drain.phase("upkeep", REST_DEADLINE);
        phase.spawn("upkeep", upkeep.run(phase.token()));
    }

    fn spawn_pages(
        &self,
        drain: &mut Drain,
        listener: TcpListener,
        http: SocketAddr,
        grpc: SocketAddr,
        database: String,
    ) {
        let pages = Pages {
            live: self.live.clone(),
            telemetry: self.telemetry.clone(),
            store: self.store.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
            listen: http,
            listen_grpc: grpc,
            database,
        };
        let phase = drain.phase("http", REST_DEADLINE);
        phase.spawn("http", http::serve(listener, Arc::new(pages), phase.token()));
    }

    /// What a part calls after each round.
    fn progress(&self, part: Part) -> impl Fn() + Send + Sync + use<> {
        let (health, clock) = (self.health.clone(), self.clock.clone());
        move || health.progressed(part, clock.monotonic())
    }
}

fn spawn_grpc(phase: &Phase, listener: TcpListener, service: IngestService) {
    let ingest = IngestServer::new(service)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_MAX_BYTES)
        .add_service(ingest);
    let stop = phase.token();
    phase.spawn("grpc", async move {
        let served =
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(error = chain(&error), "gRPC server failed");
        }
    });
}

fn load_rules(config: &Config) -> Result<RuleSet, StartError> {
    let Some(path) = &config.rules else { return Ok(RuleSet::default()) };
    let text =
        std::fs::read_to_string(path).map_err(|source| StartError::RulesUnreadable { path: path.clone(), source })?;
    let name = path.display().to_string();
    rules::load(&name, &text, config.evaluation_interval).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        StartError::Rules(lines.join("\n"))
    })
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, flag, source })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// Opens the database; waits for one that is away.
async fn open_store(url: &str, asked: &CancellationToken) -> Result<Arc<dyn Store>, StartError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        match store::open(url).await {
            Ok(store) => return Ok(store),
            Err(error @ StoreError::Unavailable(_)) => {
                let delay = backoff.next_delay(None);
                tracing::error!(
                    error = chain(&error),
                    ?delay,
                    "database away; waiting for it. Is it running, and is --database right?"
                );
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = asked.cancelled() => return Err(StartError::Cancelled),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
