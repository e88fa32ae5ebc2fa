//! What is done to the house. Each fault is a small type: its name, and one time of doing it, healing included.

use crate::house::{House, REPLAYED, STORED, Victim};
use crate::proxy::{Flow, Weather};
use fastrand::Rng;
use runtime::fail_point::{self, POINTS};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

/// How long a fault lasts that has an end, at the most.
const LASTS_MAX_MS: u64 = 400;
/// In a long run one in so many lasts longer: until deadlines pass, and there is a backlog when it ends.
const LONG_EVERY: u64 = 20;
/// How long such a one lasts.
const LONG_MS: std::ops::Range<u64> = 5_000..20_000;
/// How long a program may take to come to its fail point; where it does not, it is killed there.
const TO_POINT_MAX: Duration = Duration::from_millis(400);
/// A point is passed so often at the most before it kills.
const HITS_MAX: u64 = 20;
/// Longest wait for a program that comes to its fail point for certain; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection is cut after so many bytes at the most: within some frames of HTTP/2.
const CUT_MAX_BYTES: usize = 3000;

/// Where the aggregator has committed and told nobody.
const COMMITTED: &str = "aggregator.committed";

/// The signal by which a program dies at its fail point.
const SIGKILL: i32 = 9;

/// See the module.
pub trait Fault {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Does it once. When it returns, nothing is in the way any more.
    fn inject(&self, house: &mut House, random: &mut Rng);
    /// Whether the agent may begin a new epoch after it: where it cannot know what was seen of the old one.
    fn may_begin_epoch(&self) -> bool {
        false
    }
    /// Whether a batch must come twice because of it: something was durable, and whoever must know was not told.
    fn makes_replay(&self) -> bool {
        false
    }
}

/// kill −9 at any moment.
pub struct Kill(pub Victim);

/// kill −9 of both programs at once.
pub struct KillBoth;

/// Death at one of the program's fail points, whichever.
pub struct DieAtPoint(pub Victim);

/// Death between what is durable and what the other side knows of it, so that something must come twice.
pub struct DieUnheard(pub Victim);

/// The power of the program's disk fails at any moment.
pub struct LosePower(pub Victim);

/// PostgreSQL crashes and recovers.
pub struct CrashServer;

/// The power of PostgreSQL's disk fails at any moment.
pub struct LoseServerPower;

/// The power of the database's disk fails right after a commit of which nobody was told.
pub struct LosePowerUnheard;

/// PostgreSQL ends every connection.
pub struct EndConnections;

/// Somebody holds a lock on the table of batches.
pub struct LockTable;

/// Somebody writes in the SQLite file and takes his time: a person with the `sqlite3` tool.
pub struct LockFile;

/// A router forgets the connection and says nothing: it is dead, and neither side is told. New ones work.
pub struct ForgottenLine;

/// Nothing passes in either direction; later everything does.
pub struct Partition;

/// One direction is silent, the other works.
pub struct HalfOpen;

/// The connection is reset in the middle of a frame.
pub struct CutMidFrame;

/// One byte a second comes through.
pub struct SlowLine;

/// The aggregator's side does not read.
pub struct SlowConsumer;

// === the programs ===

impl Fault for Kill {
    fn name(&self) -> &'static str {
        match self.0 {
            Victim::Agent => "kill −9 of the agent",
            Victim::Aggregator => "kill −9 of the aggregator",
        }
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        house.restart(self.0);
    }
}

impl Fault for KillBoth {
    fn name(&self) -> &'static str {
        "kill −9 of both"
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        house.kill(Victim::Agent);
        house.kill(Victim::Aggregator);
        house.start(Victim::Aggregator, None);
        house.start(Victim::Agent, None);
    }
}

impl Fault for DieAtPoint {
    fn name(&self) -> &'static str {
        match self.0 {
            Victim::Agent => "the agent dies at a fail point",
            Victim::Aggregator => "the aggregator dies at a fail point",
        }
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let points: Vec<_> = POINTS.iter().filter(|point| point.program == program(self.0)).collect();
        let point = random.choice(points).expect("each program has some");
        house.kill(self.0);
        house.start(self.0, Some(&format!("{}:{}", point.name, random.u64(1..=HITS_MAX))));
        let began = Instant::now();
        while house.program(self.0).has_ended().is_none() && began.elapsed() < TO_POINT_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        house.restart(self.0);
    }

    fn may_begin_epoch(&self) -> bool {
        self.0 == Victim::Agent // a torn tail may have been sent
    }
}

impl Fault for DieUnheard {
    fn name(&self) -> &'static str {
        match self.0 {
            Victim::Agent => "the agent dies between an ack and its cursor",
            Victim::Aggregator => "the aggregator dies between a commit and its acks",
        }
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let point = match self.0 {
            Victim::Agent => "agent.acked",
            Victim::Aggregator => COMMITTED,
        };
        // The counts of an aggregator die with it.
        let before = if self.0 == Victim::Agent { house.batches(&[REPLAYED]) } else { 0 };
        house.kill(self.0);
        die_at(house, self.0, point, random.u64(1..4));
        house.start(self.0, None);
        house.await_batches(&[REPLAYED], before);
    }

    fn makes_replay(&self) -> bool {
        true
    }
}

/// Starts a program to die at a point that it comes to for certain, and waits until it is dead.
pub fn die_at(house: &mut House, who: Victim, point: &str, hits: u64) {
    house.start(who, Some(&format!("{point}:{hits}")));
    let began = Instant::now();
    let ended = loop {
        match house.program(who).has_ended() {
            Some(ended) => break ended,
            None => thread::sleep(Duration::from_millis(1)),
        }
        assert!(began.elapsed() < PATIENCE, "{who:?} does not come to {point}, {hits} times");
    };
    assert_eq!(ended.signal(), Some(SIGKILL), "{who:?} ends at {point}: {ended}\n{}", house.program(who).log());
}

impl Fault for LosePower {
    fn name(&self) -> &'static str {
        match self.0 {
            Victim::Agent => "loss of the agent's power",
            Victim::Aggregator => "loss of the aggregator's power",
        }
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        house.fail_power(self.0);
    }

    fn may_begin_epoch(&self) -> bool {
        self.0 == Victim::Agent
    }
}

/// The program in the list of fail points.
pub fn program(who: Victim) -> fail_point::Program {
    match who {
        Victim::Agent => fail_point::Program::Agent,
        Victim::Aggregator => fail_point::Program::Aggregator,
    }
}

// === the database ===

impl Fault for CrashServer {
    fn name(&self) -> &'static str {
        "PostgreSQL crashes"
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        if let Some(server) = house.database.server() {
            server.restart_immediate();
        }
    }
}

impl Fault for LoseServerPower {
    fn name(&self) -> &'static str {
        "loss of PostgreSQL's power"
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        house.fail_database_power();
    }
}

impl Fault for LosePowerUnheard {
    fn name(&self) -> &'static str {
        "loss of the database's power between a commit and its acks"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        house.kill(Victim::Aggregator);
        die_at(house, Victim::Aggregator, COMMITTED, random.u64(1..4));
        house.fail_database_power();
        house.start(Victim::Aggregator, None);
        // The agent sends it again. Had the commit not been durable, it would be new; that is for the run to judge.
        house.await_batches(&[REPLAYED, STORED], 0);
    }

    fn makes_replay(&self) -> bool {
        true
    }
}

impl Fault for EndConnections {
    fn name(&self) -> &'static str {
        "PostgreSQL's backends are ended"
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        house.block_on(async {
            let mut connection = PgConnection::connect(&house.url).await.expect("the server runs");
            connection.execute(END).await.expect("we are its superuser");
        });
    }
}

impl Fault for LockTable {
    fn name(&self) -> &'static str {
        "a table is locked"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let lasts = lasts(house, random);
        house.block_on(async {
            let mut connection = PgConnection::connect(&house.url).await.expect("the server runs");
            let mut tx = connection.begin().await.expect("the server runs");
            tx.execute("LOCK TABLE monitoring.batches IN ACCESS EXCLUSIVE MODE").await.expect("it is free in a moment");
            tokio::time::sleep(lasts).await;
            tx.rollback().await.expect("the server runs");
        });
    }
}

impl Fault for LockFile {
    fn name(&self) -> &'static str {
        "the file is locked"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let lasts = lasts(house, random);
        house.block_on(async {
            let mut connection = SqliteConnection::connect(&house.url).await.expect("the file is there");
            let tx = connection.begin_with("BEGIN IMMEDIATE").await.expect("it is free in a moment");
            tokio::time::sleep(lasts).await;
            tx.rollback().await.expect("nothing was written");
        });
    }
}

// === the network ===

impl Fault for ForgottenLine {
    fn name(&self) -> &'static str {
        "a line that died silently"
    }

    fn inject(&self, house: &mut House, _: &mut Rng) {
        house.proxy.forget();
    }
}

/// It is so for a while.
fn weather(house: &House, random: &mut Rng, weather: Weather) {
    house.proxy.set(weather);
    thread::sleep(lasts(house, random));
    house.proxy.heal();
}

/// How long a fault lasts: its input, as its moment is.
fn lasts(house: &House, random: &mut Rng) -> Duration {
    if house.has_long_outages() && random.u64(0..LONG_EVERY) == 0 {
        return Duration::from_millis(random.u64(LONG_MS));
    }
    Duration::from_millis(random.u64(1..=LASTS_MAX_MS))
}

impl Fault for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        weather(house, random, Weather { up: Flow::Held, down: Flow::Held });
    }
}

impl Fault for HalfOpen {
    fn name(&self) -> &'static str {
        "half-open"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let silent = if random.bool() {
            Weather { up: Flow::Lost, ..Weather::FAIR }
        } else {
            Weather { down: Flow::Lost, ..Weather::FAIR }
        };
        weather(house, random, silent);
    }
}

impl Fault for CutMidFrame {
    fn name(&self) -> &'static str {
        "reset in the middle of a frame"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        let cut = Flow::Cut(random.usize(1..=CUT_MAX_BYTES));
        let cut =
            if random.bool() { Weather { up: cut, ..Weather::FAIR } } else { Weather { down: cut, ..Weather::FAIR } };
        weather(house, random, cut);
    }
}

impl Fault for SlowLine {
    fn name(&self) -> &'static str {
        "one byte a second"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        weather(house, random, Weather { up: Flow::Trickle, down: Flow::Trickle });
    }
}

impl Fault for SlowConsumer {
    fn name(&self) -> &'static str {
        "slow consumer"
    }

    fn inject(&self, house: &mut House, random: &mut Rng) {
        weather(house, random, Weather { up: Flow::Held, ..Weather::FAIR });
    }
}
