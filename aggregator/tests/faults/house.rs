//! The house: both programs, what is between and below them, and how each is started, killed and asked.
//!
//! ```text
//! producers ─► agent ─► proxy ─► aggregator ─► SQLite or PostgreSQL
//!                │                   │
//!             its spool           its file      either may lie on a disk whose power can fail
//! ```
//! Every address is below the ephemeral ports: a program that comes back after a kill must find its own free.

use crate::addresses::{fetch, own_address};
use crate::books::{self, Sum, Trade};
use crate::boot;
use crate::disk::Disk;
use crate::oracle::{Oracle, Verdict};
use crate::postgres::Postgres;
use crate::producers::{self, Producers};
use crate::programs::Program;
use crate::proxy::Proxy;
use crate::stored::{Contents, Stored};
use serde_json::Value;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long nothing may get on before it counts as stuck: three times what the keepalive needs to see a dead line.
const STUCK: Duration = Duration::from_secs(150);
/// What becomes of a batch that the aggregator knew already.
pub const REPLAYED: &str = "replayed";
/// What becomes of one that it did not know.
pub const STORED: &str = "stored";
/// The agent's spool, in its home.
const SPOOL: &str = "spool";
/// A copy of it.
const SPOOL_COPY: &str = "spool-copy";
/// The agent's procfs, in the house's directory.
const PROC: &str = "proc";
/// Looks at books that do not agree: what moves is on one side of a sum only, but not at each look.
const LOOKS_MAX: u32 = 1000;
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where the aggregator stores.
pub enum Database {
    /// A file.
    Sqlite,
    /// A server of the test's own.
    Postgres(Postgres),
    /// The same with its cluster on a disk whose power can fail.
    PostgresOnDisk(Postgres, Disk),
}

/// Whose files lie on the disk whose power can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The agent, with its spool.
    Agent,
    /// The aggregator, with its SQLite file.
    Aggregator,
}

/// How the house is built.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whose power can fail, if anybody's.
    pub on_disk: Option<Victim>,
    /// The mode of the agent's spool.
    pub mode: &'static str,
    /// Whether some outages last for seconds.
    pub long_outages: bool,
}

/// See the module.
pub struct House {
    dir: TempDir,
    pub database: Database,
    pub url: String,
    grpc: SocketAddr,
    http: SocketAddr,
    agent_http: SocketAddr,
    door: SocketAddr,
    agent: Option<Program>,
    aggregator: Option<Program>,
    pub proxy: Proxy,
    disk: Option<Disk>,
    /// A library that the aggregator's next start loads before all others.
    preload: Option<String>,
    long_outages: bool,
    oracle: Arc<Oracle>,
    producers: Option<Producers>,
    /// Batches that earlier aggregators knew already.
    replays: u64,
    /// How often an event was handed in again.
    repeats: u64,
    /// For producers and proxy; last, so that they end after everything.
    runtime: Runtime,
}

/// What is left when everybody has gone home.
pub struct Estate {
    /// The batches.
    pub contents: Contents,
    /// Batches that came again.
    pub replays: u64,
    /// Requests that producers made again.
    pub repeats: u64,
}

// === impl Database ===

impl Database {
    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) | Self::PostgresOnDisk(..) => "PostgreSQL",
        }
    }

    /// The server, where it is one.
    pub fn server(&self) -> Option<&Postgres> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(server) | Self::PostgresOnDisk(server, _) => Some(server),
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Nobody's power fails.
    pub const USUAL: Self = Self { on_disk: None, mode: "durable", long_outages: false };

    /// `victim`'s power can.
    pub const fn on_disk(victim: Victim) -> Self {
        Self { on_disk: Some(victim), ..Self::USUAL }
    }
}

// === impl House ===

impl House {
    /// Builds it; nothing runs yet but the proxy. `None` where this machine has no disk for it.
    pub fn build(database: Database, plan: Plan, seed: u64) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let disk = match plan.on_disk {
            Some(_) => Some(Disk::new()?),
            None => None,
        };
        let dir = TempDir::new().expect("a directory");
        let home = |of| match &disk {
            Some(disk) if plan.on_disk == Some(of) => disk.path(),
            _ => dir.path().to_path_buf(),
        };
        let url = match database.server() {
            None => format!("sqlite://{}", home(Victim::Aggregator).join("monitoring.db").display()),
            Some(server) => runtime.block_on(server.create_database()),
        };
        let [grpc, http, agent_http, door] = [(); 4].map(|()| own_address());
        let proxy = runtime.block_on(Proxy::start(grpc));
        let spool = home(Victim::Agent).join(SPOOL);
        boot::make_proc(&dir.path().join(PROC)).expect("our directory");
        let yaml = agent_yaml(&proxy, agent_http, dir.path(), &spool, plan.mode);
        fs::write(dir.path().join("agent.yaml"), yaml).expect("our directory");
        Some(Self {
            dir,
            database,
            url,
            grpc,
            http,
            agent_http,
            door,
            agent: None,
            aggregator: None,
            proxy,
            disk,
            preload: None,
            long_outages: plan.long_outages,
            oracle: Arc::new(Oracle::new(seed)),
            producers: None,
            replays: 0,
            repeats: 0,
            runtime,
        })
    }

    /// Starts both programs and lets the producers begin.
    pub fn open(&mut self, seed: u64) {
        self.start(Victim::Aggregator, None);
        self.start(Victim::Agent, None);
        self.begin_producing(seed);
    }

    /// Lets the producers begin.
    pub fn begin_producing(&mut self, seed: u64) {
        let _inside = self.runtime.enter();
        self.producers = Some(Producers::start(&self.oracle, self.door, seed));
    }

    /// Runs something among the producers.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Hands in a request of fresh events and waits for its answer.
    pub fn hand_in(&self, events: u64) {
        self.runtime.block_on(producers::hand_in(&self.oracle, self.door, events));
    }

    /// Lets the producers have their last answers.
    pub fn end_producing(&mut self) {
        if let Some(producers) = self.producers.take() {
            self.repeats += self.runtime.block_on(producers.finish());
        }
    }

    // --- the programs ---

    /// Starts a program, which dies by itself at `fail_point`.
    pub fn start(&mut self, who: Victim, fail_point: Option<&str>) {
        let mut arguments: Vec<String> = match who {
            Victim::Agent => {
                let config = self.dir.path().join("agent.yaml").display().to_string();
                vec!["--config".into(), config, "--listen-report".into(), self.door.to_string()]
            }
            Victim::Aggregator => {
                let (grpc, http) = (self.grpc.to_string(), self.http.to_string());
                ["--database", &self.url, "--listen-grpc", &grpc, "--listen-http", &http].map(String::from).into()
            }
        };
        arguments.extend(fail_point.into_iter().flat_map(|order| ["--fail-point".into(), order.into()]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match who {
            Victim::Agent => self.agent = Some(Program::agent(&self.log(who), &arguments)),
            Victim::Aggregator => {
                let env: Vec<_> = self.preload.iter().map(|library| ("LD_PRELOAD", &**library)).collect();
                self.aggregator = Some(Program::aggregator_in(&self.log(who), &arguments, &env));
            }
        }
    }

    /// kill −9.
    pub fn kill(&mut self, who: Victim) {
        self.count_replays(who);
        self.take(who).kill();
    }

    /// kill −9, and a start.
    pub fn restart(&mut self, who: Victim) {
        self.kill(who);
        self.start(who, None);
    }

    /// The program, which runs or has ended.
    pub fn program(&mut self, who: Victim) -> &mut Program {
        let program = match who {
            Victim::Agent => &mut self.agent,
            Victim::Aggregator => &mut self.aggregator,
        };
        program.as_mut().expect("it was started")
    }

    /// The power of a program's disk fails: what it had not made durable is gone. It starts again on what is left.
    pub fn fail_power(&mut self, who: Victim) {
        self.count_replays(who);
        let program = self.take(who);
        let disk = self.disk.as_mut().expect("the plan has one");
        program.freeze();
        disk.copy();
        program.kill();
        disk.fail_power();
        if who == Victim::Agent {
            boot::boot(&self.dir.path().join(PROC)).expect("our directory");
        }
        self.start(who, None);
    }

    /// The power of the database's disk fails, and that of a server with it, which starts again on what is left. An
    /// aggregator that has its database in a file must be dead already.
    pub fn fail_database_power(&mut self) {
        if let Database::PostgresOnDisk(server, disk) = &mut self.database {
            server.freeze();
            disk.copy();
            server.kill();
            disk.fail_power();
            server.start();
        } else {
            let disk = self.disk.as_mut().expect("the plan has one");
            disk.copy();
            disk.fail_power();
        }
    }

    /// Makes durable what a server on a disk has written by now. What a loss of power takes afterwards is missing then; that
    /// it took the whole database would only look like an outage that never ends.
    pub fn settle(&self) {
        let Database::PostgresOnDisk(server, disk) = &self.database else { return };
        server.freeze();
        disk.sync();
        server.thaw();
    }

    /// From its next start on, the aggregator runs with `library` loaded before all others.
    pub fn preload(&mut self, library: &Path) {
        self.preload = Some(library.display().to_string());
    }

    /// Copies the spool of an agent that does not run.
    pub fn copy_spool(&self) {
        copy_dir(&self.dir.path().join(SPOOL), &self.dir.path().join(SPOOL_COPY)).expect("our directory");
    }

    /// Puts the copy in its place.
    pub fn set_spool_back(&self) {
        let spool = self.dir.path().join(SPOOL);
        fs::remove_dir_all(&spool).and_then(|()| fs::rename(self.dir.path().join(SPOOL_COPY), &spool)).expect("copied");
    }

    fn take(&mut self, who: Victim) -> Program {
        let program = match who {
            Victim::Agent => self.agent.take(),
            Victim::Aggregator => self.aggregator.take(),
        };
        program.expect("it was started")
    }

    fn log(&self, who: Victim) -> PathBuf {
        self.dir.path().join(format!("{who:?}.log"))
    }

    /// Whether some outages last for seconds.
    pub fn has_long_outages(&self) -> bool {
        self.long_outages
    }

    // --- what can be seen ---

    /// Waits until the agent has one more batch confirmed; how long that took.
    pub fn await_ack(&mut self) -> Duration {
        let (began, mut before) = (Instant::now(), None);
        loop {
            let now = self.agent_status().and_then(|status| status["spool"]["oldest_seq"].as_u64());
            if before.is_some() && now > before {
                return began.elapsed();
            }
            before = before.or(now);
            assert!(began.elapsed() < STUCK, "no ack; the agent says:\n{}", self.program(Victim::Agent).log());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until more than `before` batches have come to one of these ends in this aggregator's life.
    pub fn await_batches(&self, outcomes: &[&str], before: u64) {
        let began = Instant::now();
        while self.batches(outcomes) <= before {
            let log = || self.aggregator.as_ref().map(Program::log).unwrap_or_default();
            assert!(began.elapsed() < STUCK, "no batch is {outcomes:?}: {}", log());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Batches that have come to one of these ends in this aggregator's life.
    pub fn batches(&self, outcomes: &[&str]) -> u64 {
        let series = |outcome| format!("monitoring_ingest_batches_total{{outcome=\"{outcome}\"}}");
        outcomes.iter().filter_map(|outcome| self.aggregator_counts(&series(outcome))).sum()
    }

    fn agent_status(&self) -> Option<Value> {
        serde_json::from_str(&fetch(self.agent_http, "/status")?).ok()
    }

    /// The value of a series on the aggregator's page.
    pub fn aggregator_counts(&self, series: &str) -> Option<u64> {
        let page = fetch(self.http, "/metrics")?;
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// A killed aggregator takes its counts with it.
    fn count_replays(&mut self, who: Victim) {
        if who == Victim::Aggregator {
            self.replays += self.batches(&[REPLAYED]);
        }
    }

    // --- the end ---

    /// Ends the faults, has everything delivered, and ends the programs. What is stored is the estate.
    pub fn close(mut self) -> Result<(Estate, Arc<Oracle>), String> {
        self.proxy.heal();
        self.end_producing();
        // The way is open: a fresh event passes. It is an obligation like the others.
        self.runtime.block_on(producers::hand_in_fresh(&self.oracle, self.door));
        self.await_delivery()?;
        self.count_replays(Victim::Aggregator);
        for who in [Victim::Agent, Victim::Aggregator] {
            let ended = self.take(who).interrupt();
            if !ended.success() {
                return Err(format!("{who:?} does not end cleanly: {ended}"));
            }
        }
        let stored = self.runtime.block_on(Stored::read(&self.url));
        let estate = Estate { contents: stored.check()?, replays: self.replays, repeats: self.repeats };
        Ok((estate, self.oracle.clone()))
    }

    /// What the oracle says of the table of events as it is now.
    pub fn judge(&self) -> Verdict {
        self.oracle.judge(self.runtime.block_on(Stored::read(&self.url)).into_events())
    }

    /// Waits until the agent has nothing left and the books of both agree, for as long as it gets on.
    pub fn await_delivery(&self) -> Result<(), String> {
        let (mut progress_at, mut furthest) = (Instant::now(), 0);
        loop {
            let spool = self.agent_status().map(|status| status["spool"].clone()).unwrap_or_default();
            if spool["waiting"] == 0 {
                return self.check_books(Trade::Some);
            }
            let now = spool["oldest_seq"].as_u64().unwrap_or(0);
            if now > furthest {
                (furthest, progress_at) = (now, Instant::now());
            }
            if progress_at.elapsed() > STUCK {
                return Err(format!("the agent delivers nothing any more: {spool}"));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Holds the books of both programs against each other's sums.
    pub fn check_books(&self, trade: Trade) -> Result<(), String> {
        for (who, address, sums) in
            [("agent", self.agent_http, books::AGENT), ("aggregator", self.http, books::AGGREGATOR)]
        {
            let mut looks = 0..LOOKS_MAX;
            while let Some(broken) = broken_books(address, sums, trade) {
                if looks.next().is_none() {
                    return Err(format!("the books of the {who} do not agree: {broken}"));
                }
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }
}

/// A sum that does not hold on a program's page. What moves just now may be on one side of it only.
fn broken_books(address: SocketAddr, sums: &[Sum], trade: Trade) -> Option<String> {
    let Some(page) = fetch(address, "/metrics") else { return Some("its page is not answered".into()) };
    books::broken(&page, sums, trade)
}

/// Ten times as fast as usual, so that much happens between two faults.
fn agent_yaml(proxy: &Proxy, http: SocketAddr, dir: &Path, spool: &Path, mode: &str) -> String {
    format!(
        "service: agenda\ninstance: one\naggregator: http://{}\ninterval: 100ms\nlisten_http: {http}\n\
         spool: {{dir: {}, mode: {mode}, max_bytes: 32MiB}}\nbackoff: {{base: 10ms, cap: 100ms}}\n\
         collectors: {{filesystem: {{interval: 1s}}}}\nproc: {}\n",
        proxy.address(),
        spool.display(),
        dir.join(PROC).display()
    )
}

/// Copies the files of a directory, which has no other directories that matter.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
