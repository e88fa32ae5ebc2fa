//! The agent put together: every stage, every channel, and the order in which they end.
//!
//! Drain order: `collect` and `receive` (nothing new comes in, who waits is answered) → `uplink` (what is left is
//! delivered, then goodbye) → `keep` (the spool is closed) → `http` (the status stays readable until the last).

use crate::collect::own::Own;
use crate::collect::watch::{Runner, Watch};
use crate::collect::{self, Collector};
use crate::config::{Config, Schedule};
use crate::fail_disk::FailDisk;
use crate::keep::{Door, Keeper};
use crate::meters::Meters;
use crate::receive;
use crate::status::{self, Status};
use crate::uplink::{self, Patience, Standing, Uplink};
use proto::message::{Hello, Position};
use proto::report::Durability;
use proto::telemetry::Telemetry;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::drain::{Drain, Fault, Phase};
use spool::{Fs, OpenReport, RealDisk, Spool};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use crate::collect::own::NAME as OWN;

/// How long the running passes may take to end.
const COLLECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long services that wait may take to hear their answers.
const RECEIVE_DEADLINE: Duration = Duration::from_secs(2);
/// How long the uplink may take to deliver the rest and say goodbye.
const UPLINK_DEADLINE: Duration = Duration::from_secs(5);
const _: () = assert!(uplink::END_MAX.as_millis() < UPLINK_DEADLINE.as_millis(), "the uplink ends by itself");
/// How long the spool may take to close: two syncs on a slow disk.
const KEEP_DEADLINE: Duration = Duration::from_secs(5);
/// How long open requests may take.
const HTTP_DEADLINE: Duration = Duration::from_secs(1);

/// Why the agent could not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool did not open; its error names the file, and what to do.
    #[error("the agent does not run without its spool (--spool-dir)")]
    Spool(#[source] Box<spool::OpenError>),
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}; set --listen-http to a free address (port 0 takes any)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The same, of the services' door.
    #[error("cannot listen for services on {address}; set --listen-report to a free address of loopback, or to off")]
    ListenReport {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No more threads.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A running agent.
pub struct App {
    drain: Drain,
    http: SocketAddr,
    report: Option<SocketAddr>,
}

impl App {
    /// Starts every stage, to run until `asked`.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, asked: CancellationToken) -> Result<Self, StartError> {
        let telemetry = Telemetry::default();
        let meters = Meters::new(&telemetry);
        let listener = TcpListener::bind(config.listen_http)
            .await
            .map_err(|source| StartError::Listen { address: config.listen_http, source })?;
        let http = listener.local_addr().unwrap_or(config.listen_http);
        let services = listen_report(config).await?;
        let report_address = services.as_ref().and_then(|listener| listener.local_addr().ok());
        let boot_id = boot_id(&config.proc);
        let (spool, report) = open_spool(config, &boot_id)?;
        let (keeper, door) = Keeper::new(spool, config.spool.max_bytes, clock.clone(), meters.keep.clone());

        let mut drain = Drain::new(asked);
        let collect = drain.phase("collect", COLLECT_DEADLINE);
        let receive = drain.phase("receive", RECEIVE_DEADLINE);
        let uplink = drain.phase("uplink", UPLINK_DEADLINE);
        let keep = drain.phase("keep", KEEP_DEADLINE);
        let serve = drain.phase("http", HTTP_DEADLINE);

        keep.spawn_thread("keeper", move || keeper.run()).map_err(StartError::Thread)?;
        let stopping = (keep.token(), door.clone());
        keep.spawn("keeper-stop", async move {
            stopping.0.cancelled().await;
            stopping.1.stop();
        });
        let watches = start_collectors(config, &clock, &telemetry, &meters, &door, &collect)?;
        if let Some(listener) = services {
            let durability = durability(config.spool.mode);
            let meters = meters.receive.clone();
            receive.spawn("receive", receive::serve(listener, door.clone(), durability, meters, receive.token()));
        }
        let standing = Arc::<Standing>::default();
        let sender = Uplink {
            url: config.aggregator.clone(),
            hello: hello(config, &report, boot_id),
            backoff: Backoff::new(config.backoff.0, config.backoff.1),
            patience: Patience::default(),
            door: door.clone(),
            clock: clock.clone(),
            meters: meters.uplink.clone(),
            standing: standing.clone(),
        };
        uplink.spawn("uplink", sender.run(uplink.token()));
        let config = config.clone();
        let status = Status { config, report, telemetry, watches, door, clock, standing, report_address };
        serve.spawn("http", status::serve(listener, Arc::new(status), serve.token()));
        Ok(Self { drain, http, report: report_address })
    }

    /// Where the agent's own pages are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where services hand in what they report; `None` where that is switched off.
    pub fn report(&self) -> Option<SocketAddr> {
        self.report
    }

    /// Runs until it is asked to end, or a fault, then ends in order.
    pub async fn run(self) -> Result<(), Fault> {
        self.drain.serve().await
    }
}

/// The sources that are switched on, with their schedules; [`collector`] makes them.
pub fn sources(config: &Config) -> Vec<(&'static str, Schedule)> {
    let on = &config.collectors;
    let schedules = [on.host, on.filesystem, on.cgroup, on.process, on.agent];
    let all = collect::NAMES.into_iter().chain([OWN]).zip(schedules);
    all.filter(|(name, schedule)| schedule.enabled && (*name != "process" || on.process_target.is_some())).collect()
}

/// The collector of a source that is switched on; making it reads its files once.
pub fn collector(
    name: &str,
    config: &Config,
    telemetry: &Telemetry,
    meters: &Meters,
    elapsed: Duration,
) -> Option<Box<dyn Collector>> {
    if name == OWN {
        return Some(Box::new(Own::new(&config.proc, telemetry.clone(), meters.clone())));
    }
    let options = collect::Options {
        target: config.collectors.process_target.clone(),
        network_mounts: config.collectors.network_mounts,
    };
    collect::make(name, &config.proc, &options, elapsed)
}

/// The kernel's id of this boot; monotonic times compare only within one. Where it cannot be read, one that was never
/// before: two boots that are taken for one may reuse a seq, one that is taken for two only begins a new epoch.
pub fn boot_id(proc: &Path) -> String {
    let text = std::fs::read_to_string(proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
    let id = text.trim();
    if id.is_empty() { Uuid::new_v4().to_string() } else { id.into() }
}

/// The disk; where there are fail points, it has some too.
fn disk() -> Arc<dyn Fs> {
    if cfg!(debug_assertions) { Arc::new(FailDisk) } else { Arc::new(RealDisk) }
}

async fn listen_report(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.listen_report else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|source| StartError::ListenReport { address, source })
}

/// What services are told of what they handed in.
fn durability(mode: spool::Mode) -> Durability {
    match mode {
        spool::Mode::Durable => Durability::Durable,
        spool::Mode::Fast => Durability::Fast,
    }
}

fn open_spool(config: &Config, boot_id: &str) -> Result<(Spool, OpenReport), StartError> {
    let options = spool::Options::new(config.spool.mode, config.spool.max_bytes, boot_id);
    let failed = |error| StartError::Spool(Box::new(error));
    let (spool, report) = Spool::open(disk(), &config.spool.dir, options).map_err(failed)?;
    tracing::info!(
        dir = %config.spool.dir.display(),
        records = report.records,
        lost = report.lost_records,
        torn_bytes = report.torn_bytes,
        new_epoch = ?report.new_epoch,
        "spool open"
    );
    if let Some(first) = report.foreign.first() {
        let (first, files) = (first.display(), report.foreign.len());
        tracing::warn!(%first, files, "not of this spool and left alone: move it out of the directory");
    }
    Ok((spool, report))
}

fn start_collectors(
    config: &Config,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
    meters: &Meters,
    door: &Door,
    phase: &Phase,
) -> Result<Vec<Arc<Watch>>, StartError> {
    let start = clock.monotonic();
    let sources = sources(config).into_iter();
    let all: Arc<[Arc<Watch>]> =
        sources.map(|(name, schedule)| Arc::new(Watch::new(name, schedule, meters.collect.clone()))).collect();
    let mut stops = Vec::new();
    for watch in all.iter() {
        let name = watch.name;
        let (config, telemetry, meters) = (config.clone(), telemetry.clone(), meters.clone());
        let make = move |now| collector(name, &config, &telemetry, &meters, now);
        let (keep, stop) = mpsc::sync_channel(0);
        let (door, watch, all, clock) = (door.clone(), watch.clone(), all.clone(), clock.clone());
        let deliver = move |folded| _ = door.deliver(folded);
        let runner = Runner { watch, all, clock, start, stop, deliver };
        phase.spawn_thread(name, move || runner.run(make)).map_err(StartError::Thread)?;
        stops.push(keep);
    }
    let token = phase.token();
    phase.spawn("collect-stop", async move {
        token.cancelled().await;
        drop(stops);
    });
    Ok(all.to_vec())
}

fn hello(config: &Config, report: &OpenReport, boot_id: String) -> Hello {
    Hello {
        agent_id: report.owner,
        service: config.service.clone(),
        instance: config.instance.clone(),
        clinic_id: config.clinic_id,
        interval: config.shortest_interval(),
        wall: proto::sample::Timestamp::ZERO,
        monotonic: Duration::ZERO,
        boot_id,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        run_id: Uuid::new_v4(),
        last: Position { epoch: report.epoch, seq: 0 },
    }
}
