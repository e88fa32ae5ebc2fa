//! A run: rounds of faults on a house under load, and the verdict.
//!
//! `MONITORING_FAULTS_ROUNDS=long` makes the runs of `make faults`, a number makes runs of so many rounds;
//! `MONITORING_FAULTS_SEED` repeats one. A long run is cut into [`CHAPTER`]s, each with a house of its own, so that what a
//! start must read stays small. `MONITORING_FAULTS_TABLE` names a file to which each run adds its line.

use crate::books::Trade;
use crate::fault::Fault;
use crate::house::{Database, Estate, House, Plan};
use crate::oracle::Verdict;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// The variable that asks for more rounds than those of `make test`.
pub const ROUNDS: &str = "MONITORING_FAULTS_ROUNDS";
/// Rounds of one house.
const CHAPTER: u64 = 50;
/// In every so many rounds the next fault comes right after an ack, and the time to that is measured.
pub const OBSERVE_EVERY: u64 = 4;
/// In the others it comes after so long at the most: during a start, or in a steady stream.
const MOMENT_MAX_MS: u64 = 400;

/// What a run does.
pub struct Run {
    /// The name of its test, to repeat it.
    pub test: &'static str,
    /// What is done, in the words of the table.
    pub title: &'static str,
    /// Rounds in `make test`.
    pub short: u64,
    /// Rounds in `make faults`.
    pub long: u64,
    /// How the house is built.
    pub plan: Plan,
    /// First each of them in this order, then one by chance in each round.
    pub faults: Vec<Box<dyn Fault>>,
    /// In every so many rounds the way back to an ack is waited for and measured.
    pub observe_every: u64,
    /// Whether batches must have come twice, or the run has proven nothing about that.
    pub replays: Replays,
}

/// What a run must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replays {
    /// At least one batch that came twice.
    Required,
    /// None, or some.
    Possible,
}

/// What a run was like, over all of its chapters.
#[derive(Debug, Default)]
struct Tally {
    faults: BTreeMap<&'static str, u64>,
    promised: u64,
    batches: usize,
    passes: usize,
    missing: usize,
    invented: usize,
    doubled: usize,
    replays: u64,
    repeats: u64,
    epochs: usize,
    lost: u64,
    worst: Duration,
}

/// Rounds of a run, and how the moments of its faults are chosen.
struct Order {
    seed: u64,
    rounds: u64,
    /// Whether somebody asked for this many, and has the time for long outages.
    is_long: bool,
}

// === impl Run ===

impl Run {
    /// Runs it on databases that `database` makes, one for each chapter.
    pub fn go(&self, database: impl Fn() -> Option<Database>) {
        let order = self.order();
        if order.rounds == 0 {
            println!("{}: in `make faults` only", self.test);
            return;
        }
        let plan = Plan { long_outages: order.is_long, ..self.plan };
        let mut tally = Tally::default();
        let mut name = "";
        let mut left = order.rounds;
        for seed in order.seed.. {
            let Some(database) = database() else { return };
            name = database.name();
            let Some(house) = House::build(database, plan, seed) else { return };
            let rounds = left.min(CHAPTER);
            if let Err(why) = self.chapter(house, seed, rounds, &mut tally) {
                panic!("{why}\nto see it again: {}", self.repeat(seed, rounds));
            }
            left -= rounds;
            if left == 0 {
                break;
            }
        }
        tally.report(name, self.title, order.seed);
        let enough = self.replays == Replays::Possible || tally.replays > 0;
        assert!(enough, "no batch came twice; to see it again: {}", self.repeat(order.seed, order.rounds));
    }

    fn chapter(&self, mut house: House, seed: u64, rounds: u64, tally: &mut Tally) -> Result<(), String> {
        let mut random = Rng::with_seed(seed);
        house.open(seed);
        house.await_ack();
        house.settle();
        let (mut epochs_max, mut replays_min) = (1, 0);
        for round in 1..=rounds {
            let fault = self.fault(round, &mut random);
            epochs_max += usize::from(fault.may_begin_epoch());
            replays_min += u64::from(fault.makes_replay());
            *tally.faults.entry(fault.name()).or_default() += 1;
            fault.inject(&mut house, &mut random);
            if round % self.observe_every == 0 {
                tally.worst = tally.worst.max(house.await_ack());
                house.check_books(Trade::Any).map_err(|why| format!("after {}: {why}", fault.name()))?;
            } else {
                // The moment is the input of this test.
                thread::sleep(Duration::from_millis(random.u64(0..=MOMENT_MAX_MS)));
            }
        }
        let (estate, oracle) = house.close()?;
        let epochs = estate.contents.epochs;
        if epochs > epochs_max {
            return Err(format!("{epochs} epochs, and {epochs_max} have a reason"));
        }
        let lost = estate.contents.lost;
        if lost > 0 {
            return Err(format!("the agent says {lost} records are lost, and no fault here may cost it any"));
        }
        let verdict = oracle.judge(estate.contents.events.iter().cloned());
        tally.add(&estate, &verdict);
        if verdict.promised < rounds {
            return Err(format!("{} obligations in {rounds} rounds prove nothing", verdict.promised));
        }
        if !verdict.is_kept() {
            return Err(format!("{verdict:?}"));
        }
        if estate.replays < replays_min {
            return Err(format!("{} batches came twice, and {replays_min} had to", estate.replays));
        }
        Ok(())
    }

    fn fault(&self, round: u64, random: &mut Rng) -> &dyn Fault {
        let next = usize::try_from(round - 1).expect("small");
        &*self.faults[if next < self.faults.len() { next } else { random.usize(0..self.faults.len()) }]
    }

    fn order(&self) -> Order {
        let asked = env::var(ROUNDS);
        let rounds = match asked.as_deref() {
            Ok("long") => self.long,
            Ok(number) => number.parse().expect("a number, or \"long\""),
            Err(_) => self.short,
        };
        let seed = env::var("MONITORING_FAULTS_SEED").ok();
        let seed = seed.map_or_else(|| u64::from(fastrand::u32(..)), |seed| seed.parse().expect("a number"));
        Order { seed, rounds, is_long: asked.is_ok() }
    }

    /// The command that repeats a chapter.
    fn repeat(&self, seed: u64, rounds: u64) -> String {
        format!(
            "cargo build --workspace --bins && MONITORING_FAULTS_SEED={seed} MONITORING_FAULTS_ROUNDS={rounds} \
            cargo nextest run -p monitoring-aggregator --test faults {}",
            self.test
        )
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, estate: &Estate, verdict: &Verdict) {
        self.promised += verdict.promised;
        self.batches += estate.contents.batches;
        self.passes += estate.contents.passes;
        self.missing += verdict.missing.len();
        self.invented += verdict.invented.len();
        self.doubled += verdict.doubled.len();
        self.replays += estate.replays;
        self.repeats += estate.repeats;
        self.epochs += estate.contents.epochs;
        self.lost += estate.contents.lost;
    }

    /// Says it for a person, and adds a line to the table where there is one.
    fn report(&self, database: &str, title: &str, seed: u64) {
        println!("seed {seed}: {title} on {database}: {self:?}");
        let Some(path) = env::var_os("MONITORING_FAULTS_TABLE") else { return };
        let Self { faults, promised, missing, invented, doubled, lost, replays, worst, .. } = self;
        let kinds: Vec<String> = faults.iter().map(|(name, times)| format!("{times} × {name}")).collect();
        let (kinds, faults, worst) = (kinds.join(", "), faults.values().sum::<u64>(), worst.as_secs_f64());
        let line = format!(
            "| {database} | {title} | {kinds} | {faults} | {promised} | {missing} | {invented} | {doubled} | {lost} | {replays} | {worst:.2} s | {seed} |\n"
        );
        let table = File::options().create(true).append(true).open(path);
        table.and_then(|mut table| table.write_all(line.as_bytes())).expect("the table can be written");
    }
}
