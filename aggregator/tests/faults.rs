//! The oracle: the real programs under faults, and not one acked event lost, invented or stored twice.
//!
//! Producers hand events in at the agent's door while one thing after another goes wrong: kill −9 at any moment and at
//! named places, a loss of power, a database that crashes, a network that does what networks do. At the end the faults
//! stop, everything is delivered, and what is stored is held against what was promised. See `docs/faults.md`.

#![expect(clippy::print_stdout, reason = "says what a run saw, for whoever repeats it")]

#[path = "faults/addresses.rs"]
mod addresses;
#[path = "faults/books.rs"]
mod books;
#[path = "faults/boot.rs"]
mod boot;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/fault.rs"]
mod fault;
#[path = "faults/house.rs"]
mod house;
#[path = "faults/oracle.rs"]
mod oracle;
#[path = "faults/points.rs"]
mod points;
#[path = "harness/postgres.rs"]
mod postgres;
#[path = "faults/producers.rs"]
mod producers;
#[path = "harness/programs.rs"]
mod programs;
#[path = "faults/proxy.rs"]
mod proxy;
#[path = "faults/run.rs"]
mod run;
#[path = "faults/stored.rs"]
mod stored;
#[path = "faults/unsynced.rs"]
mod unsynced;

use disk::Disk;
use fault::{
    CrashServer, CutMidFrame, DieAtPoint, DieUnheard, EndConnections, Fault, ForgottenLine, HalfOpen, Kill, KillBoth,
    LockFile, LockTable, LosePower, LosePowerUnheard, LoseServerPower, Partition, SlowConsumer, SlowLine,
};
use house::{Database, House, Plan, Victim};
use postgres::Postgres;
use run::{OBSERVE_EVERY, Replays, Run};
use std::path::Path;

#[expect(clippy::unnecessary_wraps, reason = "beside the other, which may be missing")]
fn sqlite() -> Option<Database> {
    Some(Database::Sqlite)
}

fn postgresql() -> Option<Database> {
    Postgres::private().map(Database::Postgres)
}

/// With its cluster, which has 40 MiB and a log, on a disk whose power can fail.
fn postgresql_on_disk() -> Option<Database> {
    let data = |mount: &Path| mount.join("data");
    let disk = Disk::with_user(256 << 20, |mount| Postgres::stopper(&data(mount)))?;
    let server = Postgres::private_in(&data(&disk.path()))?;
    disk.sync();
    Some(Database::PostgresOnDisk(server, disk))
}

fn kills(test: &'static str, victim: Victim, short: u64, long: u64) -> Run {
    let title = match victim {
        Victim::Agent => "agent killed",
        Victim::Aggregator => "aggregator killed",
    };
    let faults: Vec<Box<dyn Fault>> = vec![
        Box::new(Kill(victim)),
        Box::new(DieUnheard(victim)),
        Box::new(Kill(victim)),
        Box::new(DieAtPoint(victim)),
    ];
    Run {
        test,
        title,
        short,
        long,
        plan: Plan::USUAL,
        faults,
        observe_every: OBSERVE_EVERY,
        replays: Replays::Required,
    }
}

fn power_losses(test: &'static str, victim: Victim, short: u64) -> Run {
    let title = match victim {
        Victim::Agent => "agent's power lost",
        Victim::Aggregator => "aggregator's power lost",
    };
    let mut faults: Vec<Box<dyn Fault>> = vec![Box::new(LosePower(victim))];
    if victim == Victim::Aggregator {
        faults.push(Box::new(LosePowerUnheard));
    }
    Run {
        test,
        title,
        short,
        long: 200,
        plan: Plan::on_disk(victim),
        faults,
        observe_every: OBSERVE_EVERY,
        replays: Replays::Required,
    }
}

fn bad_network(test: &'static str, short: u64) -> Run {
    let faults: Vec<Box<dyn Fault>> = vec![
        Box::new(Partition),
        Box::new(HalfOpen),
        Box::new(CutMidFrame),
        Box::new(SlowLine),
        Box::new(SlowConsumer),
    ];
    Run {
        test,
        title: "bad network",
        short,
        long: 200,
        plan: Plan::USUAL,
        faults,
        observe_every: OBSERVE_EVERY,
        replays: Replays::Possible,
    }
}

#[test]
fn a_killed_agent_loses_and_doubles_nothing_on_sqlite() {
    kills("a_killed_agent_loses_and_doubles_nothing_on_sqlite", Victim::Agent, 16, 500).go(sqlite);
}

#[test]
fn a_killed_agent_loses_and_doubles_nothing_on_postgresql() {
    kills("a_killed_agent_loses_and_doubles_nothing_on_postgresql", Victim::Agent, 12, 500).go(postgresql);
}

#[test]
fn a_killed_aggregator_loses_and_doubles_nothing_on_sqlite() {
    kills("a_killed_aggregator_loses_and_doubles_nothing_on_sqlite", Victim::Aggregator, 12, 200).go(sqlite);
}

#[test]
fn a_killed_aggregator_loses_and_doubles_nothing_on_postgresql() {
    kills("a_killed_aggregator_loses_and_doubles_nothing_on_postgresql", Victim::Aggregator, 12, 200).go(postgresql);
}

fn both_killed(test: &'static str) -> Run {
    let faults: Vec<Box<dyn Fault>> = vec![Box::new(KillBoth)];
    let (plan, observe_every) = (Plan::USUAL, OBSERVE_EVERY);
    Run { test, title: "both killed", short: 4, long: 100, plan, faults, observe_every, replays: Replays::Required }
}

#[test]
fn both_killed_at_once_lose_and_double_nothing_on_sqlite() {
    both_killed("both_killed_at_once_lose_and_double_nothing_on_sqlite").go(sqlite);
}

#[test]
fn both_killed_at_once_lose_and_double_nothing_on_postgresql() {
    both_killed("both_killed_at_once_lose_and_double_nothing_on_postgresql").go(postgresql);
}

#[test]
fn an_agent_whose_power_fails_has_what_it_promised_on_sqlite() {
    power_losses("an_agent_whose_power_fails_has_what_it_promised_on_sqlite", Victim::Agent, 8).go(sqlite);
}

#[test]
fn an_agent_whose_power_fails_has_what_it_promised_on_postgresql() {
    power_losses("an_agent_whose_power_fails_has_what_it_promised_on_postgresql", Victim::Agent, 4).go(postgresql);
}

#[test]
fn an_aggregator_whose_power_fails_has_what_it_acked_on_sqlite() {
    power_losses("an_aggregator_whose_power_fails_has_what_it_acked_on_sqlite", Victim::Aggregator, 6).go(sqlite);
}

#[test]
fn a_postgresql_whose_power_fails_has_what_was_acked() {
    let run = Run {
        test: "a_postgresql_whose_power_fails_has_what_was_acked",
        title: "PostgreSQL's power lost",
        short: 6,
        long: 200,
        plan: Plan::USUAL,
        faults: vec![Box::new(LoseServerPower), Box::new(LosePowerUnheard)],
        observe_every: OBSERVE_EVERY,
        replays: Replays::Required,
    };
    run.go(postgresql_on_disk);
}

#[test]
fn a_postgresql_that_fails_under_load_loses_and_doubles_nothing() {
    let run = Run {
        test: "a_postgresql_that_fails_under_load_loses_and_doubles_nothing",
        title: "database fails",
        short: 6,
        long: 100,
        plan: Plan::USUAL,
        faults: vec![Box::new(CrashServer), Box::new(EndConnections), Box::new(LockTable)],
        observe_every: OBSERVE_EVERY,
        replays: Replays::Possible,
    };
    run.go(postgresql);
}

#[test]
fn an_sqlite_file_that_somebody_locks_loses_and_doubles_nothing() {
    let run = Run {
        test: "an_sqlite_file_that_somebody_locks_loses_and_doubles_nothing",
        title: "database fails",
        short: 4,
        long: 100,
        plan: Plan::USUAL,
        faults: vec![Box::new(LockFile)],
        observe_every: OBSERVE_EVERY,
        replays: Replays::Possible,
    };
    run.go(sqlite);
}

/// Fifty seconds a round, and nothing to do meanwhile: in `make faults` only.
#[test]
fn an_agent_whose_line_died_silently_finds_out_and_loses_nothing() {
    let run = Run {
        test: "an_agent_whose_line_died_silently_finds_out_and_loses_nothing",
        title: "line dies silently",
        short: 0,
        long: 3,
        plan: Plan::USUAL,
        faults: vec![Box::new(ForgottenLine)],
        observe_every: 1,
        replays: Replays::Required,
    };
    run.go(sqlite);
}

#[test]
fn a_bad_network_loses_and_doubles_nothing_on_sqlite() {
    bad_network("a_bad_network_loses_and_doubles_nothing_on_sqlite", 15).go(sqlite);
}

#[test]
fn a_bad_network_loses_and_doubles_nothing_on_postgresql() {
    bad_network("a_bad_network_loses_and_doubles_nothing_on_postgresql", 8).go(postgresql);
}

/// A volume that is set back to a copy of earlier, after everything was delivered: its agent would give out again what
/// is stored already, and what it takes in from then on would count as replays.
#[test]
fn a_spool_that_is_set_back_loses_nothing_of_what_comes_after() {
    let mut house = House::build(Database::Sqlite, Plan::USUAL, 1).expect("it needs no disk");
    house.open(1);
    house.await_ack();
    house.kill(Victim::Agent);
    house.copy_spool();
    house.start(Victim::Agent, None);
    house.hand_in(20);
    house.end_producing();
    house.await_delivery().expect("it delivers");
    house.kill(Victim::Agent);
    house.set_spool_back();
    house.start(Victim::Agent, None);
    house.begin_producing(2);
    house.hand_in(20);
    house.end_producing();
    house.await_delivery().expect("it delivers");
    // Rewound where the hello came first, a place that is taken where the services were faster.
    let conflicts = ["rewound", "position_taken"]
        .map(|kind| house.aggregator_counts(&format!("monitoring_ingest_identity_conflicts_total{{kind=\"{kind}\"}}")));
    assert!(conflicts.iter().flatten().sum::<u64>() > 0, "{conflicts:?}");
    let (estate, oracle) = house.close().expect("everything is delivered");
    let verdict = oracle.judge(estate.contents.events);
    assert!(verdict.is_kept() && estate.contents.epochs > 1, "{} epochs, {verdict:?}", estate.contents.epochs);
}
