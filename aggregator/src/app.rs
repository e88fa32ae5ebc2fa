//! The aggregator put together: every part, every channel, and the order in which they begin and end.
//!
//! Begin: both ports are served at once, the pages with what there is to say, agents with "come back". Then the database
//! is opened, waited for where it is away, and the head is restored; then every other part begins.
//!
//! Drain order: `upkeep` (nobody is found silent because we sent it away, and we are alive no longer) → `rules` → `streams`
//! (agents get the acks of what is under way) → `writer` (the last group is committed) → `notify` (what is being sent is
//! sent; the rest waits in the outbox) → `http` → the database is closed.

use crate::config::{Config, Retention};
use crate::descriptors;
use crate::http::{self, Front, Health, Pages, Part};
use crate::ingest::accept::{CONNECTIONS_MAX, Terms};
use crate::ingest::arrivals::Arrivals;
use crate::ingest::lines::Lines;
use crate::ingest::missing::Services;
use crate::ingest::server::Keepalive;
use crate::ingest::watch::Patience;
use crate::ingest::writer::Writer;
use crate::ingest::{Gate, IngestService, Porter, Streams, server};
use crate::live::Live;
use crate::meters::Meters;
use crate::notify::{Notifier, Webhook};
use crate::restore;
use crate::rules::board::Board;
use crate::rules::{self, Engine, Receivers, RuleSet};
use crate::store::{self, Pulse, RuleRow, Store, StoreError};
use crate::upkeep::Upkeep;
use crate::upkeep::trust::Trust;
use proto::telemetry::Telemetry;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::drain::{Drain, Fault, Phase};
use runtime::fail_point;
use runtime::log::chain;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a running evaluation may take. All deadlines together are shorter than the 30 s that Kubernetes gives before
/// it kills, also where the database hangs and each is used up.
const RULES_DEADLINE: Duration = Duration::from_secs(3);
/// How long streams may take to get their last acks: a commit on a slow disk. A second longer than connections may stay
/// (`ingest::watch`), so that silent ones do not make the phase overdue.
const STREAMS_DEADLINE: Duration = Duration::from_secs(5);
/// How long the last commit may take.
const WRITER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a message that is being sent may take; beyond it, it is sent again after the start.
const NOTIFY_DEADLINE: Duration = Duration::from_secs(5);
/// How long the rest may take.
const REST_DEADLINE: Duration = Duration::from_secs(2);
/// How long the database may take to be closed: on SQLite the log is written back. Beyond it the next start does that.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// First and last wait for a database that is away at the start.
const AWAY_BASE: Duration = Duration::from_millis(500);
/// See [`AWAY_BASE`].
const AWAY_CAP: Duration = Duration::from_secs(10);

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
}

/// Why the aggregator ended although nobody asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database is not one that we can work with.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A part ended on its own.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An aggregator whose ports are served.
pub struct App {
    drain: Drain,
    phases: Phases,
    plan: Plan,
    shared: Shared,
    /// Set once it was opened, to be closed at the end however far we came.
    store: OnceLock<Arc<dyn Store>>,
}

/// What the configuration asks for, read and checked.
struct Plan {
    config: Config,
    rules: RuleSet,
    channels: Vec<Webhook>,
}

/// Where each part belongs, in the order in which they end.
struct Phases {
    upkeep: Phase,
    rules: Phase,
    streams: Phase,
    writer: Phase,
    notify: Phase,
    http: Phase,
}

/// What the parts share from the first moment on.
struct Shared {
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
    meters: Meters,
    telemetry: Telemetry,
    health: Arc<Health>,
    board: Arc<Board>,
    bell: Arc<Notify>,
    /// The pages' door and the agents', closed at first.
    front: Arc<Front>,
    gate: Gate,
    porter: Porter,
    lines: Lines,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What the database had for us.
struct Kept {
    store: Arc<dyn Store>,
    /// Its kind and version.
    database: String,
    pulse: Option<Pulse>,
    rules: Vec<RuleRow>,
    /// Notifications that wait.
    waiting: u64,
}

// === impl App ===

impl App {
    /// Serves both ports, to run until `asked`. Mistakes of the configuration end it here; the database is not asked yet.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, asked: CancellationToken) -> Result<Self, StartError> {
        let rules = load_rules(config)?;
        let channels = match &config.webhook {
            Some(url) => vec![Webhook::new("webhook", url.clone())?],
            None => Vec::new(),
        };
        let kind = store::kind(config.database.expose())?;
        let connections = descriptors::connections(descriptors::raise(), CONNECTIONS_MAX);
        let agents = listen(config.listen_grpc, "listen-grpc").await?;
        let pages = listen(config.listen_http, "listen-http").await?;
        let (grpc, http) = (local(&agents, config.listen_grpc), local(&pages, config.listen_http));

        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry, kind);
        let mut drain = Drain::new(asked);
        let phases = Phases::new(&mut drain);
        let front = Arc::new(Front::new(telemetry.clone(), clock.clone()));
        phases.http.spawn("http", http::serve(pages, front.clone(), phases.http.token()));
        let porter = Porter::new(Arrivals::default(), clock.clone(), meters.ingest.refused.clone());
        let gate = Gate::new(porter.clone());
        let lines = Lines::new(clock.clone(), meters.ingest.unsaid.clone());
        let terms = Terms {
            most: connections,
            patience: Patience::default(),
            stop: phases.streams.token(),
            pauses: meters.ingest.accept_pauses.clone(),
            closed: meters.ingest.closed.clone(),
            lines: lines.clone(),
        };
        server::spawn(&phases.streams, agents, terms, Keepalive::default(), gate.clone());
        let shared = Shared {
            live: Arc::new(Live::new(config.limits, clock.clone(), Vec::new())),
            health: Arc::new(Health::new(clock.monotonic())),
            clock,
            meters,
            telemetry,
            board: Arc::default(),
            bell: Arc::default(),
            front,
            gate,
            porter,
            lines,
            grpc,
            http,
        };
        let plan = Plan { config: config.clone(), rules, channels };
        Ok(Self { drain, phases, plan, shared, store: OnceLock::new() })
    }

    /// Where agents connect.
    pub fn grpc(&self) -> SocketAddr {
        self.shared.grpc
    }

    /// Where the pages are.
    pub fn http(&self) -> SocketAddr {
        self.shared.http
    }

    /// Waits for the database, runs until it is asked to end, or a fault, then ends in order.
    pub async fn run(self) -> Result<(), RunError> {
        let prepared = tokio::select! {
            prepared = self.prepare() => Some(prepared),
            _ = self.drain.until_asked() => None,
        };
        let ended = match prepared {
            Some(Ok(kept)) => {
                self.shared.begin(&self.phases, self.plan, kept);
                self.drain.serve().await.map_err(RunError::from)
            }
            Some(Err(error)) => {
                self.drain.run().await;
                Err(RunError::Start(error.into()))
            }
            // Asked, or a fault: there is nothing to begin any more.
            None => self.drain.serve().await.map_err(RunError::from),
        };
        close(self.store.get()).await;
        ended
    }

    /// Waits until the database is open and the head is restored. Fails where waiting does not help.
    async fn prepare(&self) -> Result<Kept, StoreError> {
        let mut backoff = Backoff::new(AWAY_BASE, AWAY_CAP);
        loop {
            match self.try_prepare().await {
                Ok(kept) => return Ok(kept),
                Err(error @ StoreError::Unavailable(_)) => {
                    let delay = backoff.next_delay(None);
                    tracing::error!(
                        error = chain(&error),
                        ?delay,
                        "database away; waiting for it. Is it running, and is --database right?"
                    );
                    self.shared.front.wait_for("the database does not answer");
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_prepare(&self) -> Result<Kept, StoreError> {
        // One that was opened by an earlier try is used again: SQLite's file is locked by it.
        let store = if let Some(store) = self.store.get() {
            store.clone()
        } else {
            let opened = store::open(self.plan.config.database.expose()).await?;
            self.store.get_or_init(|| opened).clone()
        };
        fail_point::hit("aggregator.opened");
        let database = store.ping().await?;
        let pulse = store.load_pulse().await?;
        let live = &self.shared.live;
        let ended_at = live.resume(store.load_agents().await?, pulse);
        self.shared.front.wait_for("the head is being restored");
        restore::head(&*store, live, self.shared.clock.wall(), ended_at).await?;
        fail_point::hit("aggregator.restored");
        let rules = store.load_rules().await?;
        let (waiting, _) = store.outbox_depth().await?;
        Ok(Kept { store, database, pulse, rules, waiting })
    }
}

// === impl Phases ===

impl Phases {
    fn new(drain: &mut Drain) -> Self {
        Self {
            upkeep: drain.phase("upkeep", REST_DEADLINE),
            rules: drain.phase("rules", RULES_DEADLINE),
            streams: drain.phase("streams", STREAMS_DEADLINE),
            writer: drain.phase("writer", WRITER_DEADLINE),
            notify: drain.phase("notify", NOTIFY_DEADLINE),
            http: drain.phase("http", REST_DEADLINE),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Begins every part that needs the database, then opens the doors.
    fn begin(&self, phases: &Phases, plan: Plan, kept: Kept) {
        let Plan { config, rules, channels } = plan;
        let Kept { store, database, pulse, rules: states, waiting } = kept;
        self.meters.store_up.set(1.0);
        self.meters.rules.made.inc_by(waiting);
        let receivers = Receivers {
            channels: channels.iter().map(|channel| channel.name().to_string()).collect(),
            external_url: config.external_url.clone().unwrap_or_else(|| format!("http://{}", self.http)),
            max_alerts: config.max_alerts,
        };
        let now = self.clock.monotonic();
        for part in Part::ALL {
            self.health.progressed(part, now);
        }
        self.spawn_upkeep(&phases.upkeep, &store, config.retention, pulse);
        self.spawn_rules(&phases.rules, &store, rules, states, receivers);
        self.spawn_notify(&phases.notify, &store, channels);
        self.open_gate(phases, &store);
        self.open_pages(store, database);
        let (grpc, http) = (self.grpc, self.http);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %grpc, %http, "aggregator serves");
    }

    fn open_gate(&self, phases: &Phases, store: &Arc<dyn Store>) {
        let (ingest, store_up) = (self.meters.ingest.clone(), self.meters.store_up.clone());
        let (writer, door) = Writer::new(store.clone(), self.clock.clone(), ingest.clone(), store_up);
        phases.writer.spawn("writer", writer.run(phases.writer.token()));
        self.gate.open(IngestService {
            live: self.live.clone(),
            store: store.clone(),
            writer: door,
            clock: self.clock.clone(),
            meters: ingest,
            phase: phases.streams.clone(),
            streams: Arc::new(Streams::default()),
            services: Services::default(),
            porter: self.porter.clone(),
            lines: self.lines.clone(),
        });
    }

    fn spawn_rules(
        &self,
        phase: &Phase,
        store: &Arc<dyn Store>,
        set: RuleSet,
        kept: Vec<RuleRow>,
        receivers: Receivers,
    ) {
        let (engine, orphans) = Engine::new(rules::Parts {
            set,
            kept,
            live: self.live.clone(),
            store: store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.rules.clone(),
            board: self.board.clone(),
            outbox: self.bell.clone(),
            receivers,
            progress: Box::new(self.progress(Part::Rules)),
        });
        phase.spawn("rules", engine.run(orphans, phase.token()));
    }

    fn spawn_notify(&self, phase: &Phase, store: &Arc<dyn Store>, channels: Vec<Webhook>) {
        let notifier = Notifier {
            channels,
            store: store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.notify.clone(),
            bell: self.bell.clone(),
            progress: Box::new(self.progress(Part::Notify)),
        };
        phase.spawn("notify", notifier.run(phase.token()));
    }

    fn spawn_upkeep(&self, phase: &Phase, store: &Arc<dyn Store>, retention: Retention, pulse: Option<Pulse>) {
        let kept = pulse.map(|pulse| pulse.trusted_at);
        let upkeep = Upkeep {
            live: self.live.clone(),
            store: store.clone(),
            clock: self.clock.clone(),
            meters: self.meters.clone(),
            retention,
            trust: Mutex::new(Trust::new(kept, self.clock.wall(), self.clock.monotonic())),
            silenced: Notify::new(),
            progress: Box::new(self.progress(Part::Upkeep)),
        };
        phase.spawn("upkeep", upkeep.run(phase.token()));
    }

    fn open_pages(&self, store: Arc<dyn Store>, database: String) {
        self.front.open(Arc::new(Pages {
            live: self.live.clone(),
            telemetry: self.telemetry.clone(),
            store,
            board: self.board.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
            listen: self.http,
            listen_grpc: self.grpc,
            database,
        }));
    }

    /// What a part calls after each round.
    fn progress(&self, part: Part) -> impl Fn() + Send + Sync + use<> {
        let (health, clock) = (self.health.clone(), self.clock.clone());
        move || health.progressed(part, clock.monotonic())
    }
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

async fn close(store: Option<&Arc<dyn Store>>) {
    let Some(store) = store else { return };
    if timeout(CLOSE_DEADLINE, store.close()).await.is_err() {
        tracing::warn!(deadline = ?CLOSE_DEADLINE, "database not closed in time; the next start sees to what is left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::PoisonError;

    #[test]
    fn a_drain_in_which_everything_hangs_ends_before_kubernetes_kills() {
        let phases = [REST_DEADLINE, RULES_DEADLINE, STREAMS_DEADLINE, WRITER_DEADLINE, NOTIFY_DEADLINE, REST_DEADLINE];
        let all: Duration = phases.iter().sum();
        assert!(all + CLOSE_DEADLINE + Duration::from_secs(2) < Duration::from_secs(30), "{all:?}, and the database");
        assert!(Patience::default().ending < STREAMS_DEADLINE, "silent connections do not make the phase overdue");
    }

    #[tokio::test]
    async fn nobody_looks_for_silent_agents_any_more_when_their_streams_are_ended() {
        let mut drain = Drain::default();
        let phases = Phases::new(&mut drain);
        let ended = Arc::new(Mutex::new(Vec::new()));
        let Phases { upkeep, rules, streams, writer, notify, http } = phases;
        let named = [("http", http), ("streams", streams), ("notify", notify), ("rules", rules), ("writer", writer)];
        for (name, phase) in named.into_iter().chain([("upkeep", upkeep)]) {
            let (token, ended) = (phase.token(), ended.clone());
            phase.spawn(name, async move {
                token.cancelled().await;
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            });
        }
        drain.run().await;
        let order = ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(order, ["upkeep", "rules", "streams", "writer", "notify", "http"]);
    }
}
