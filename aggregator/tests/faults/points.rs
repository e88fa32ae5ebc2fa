//! Every fail point kills: each program is started with each of its orders, comes to the place under load, and dies there;
//! at the end nothing is missing. A point that nothing comes to would be a promise without a test.

use crate::fault::{die_at, program};
use crate::house::{Database, House, Plan, Victim};
use crate::{postgresql, sqlite};
use runtime::fail_point::{POINTS, Point};
use std::fs;
use std::path::Path;

/// Seed of the events; what happens has no chance in it.
const SEED: u64 = 1;
/// Points that only an agent without a spool comes to: they are first.
const AT_THE_FIRST_START: &str = ".identity";
/// Tears the tail of a segment. The next start cuts it off and begins a new epoch, and with it another segment, so that
/// the torn one is removed once it is delivered.
const TEAR: &str = "spool.tear.segment";
/// At this write: the first ones are headers of segments, of which nothing need be cut off.
const TEAR_AT: u64 = 5;
/// Points that come up only after that.
const AFTER_A_TEAR: [&str; 2] = ["spool.truncate.segment", "spool.remove.segment"];
/// What only SQLite has.
const ON_SQLITE: &str = "sqlite.";

/// The points of a program, those of its first start first.
fn points(who: Victim) -> Vec<&'static Point> {
    let mut points: Vec<_> = POINTS.iter().filter(|point| point.program == program(who)).collect();
    points.sort_by_key(|point| !point.name.ends_with(AT_THE_FIRST_START));
    points
}

/// Lets a program die at each of its points.
fn die_everywhere(database: Option<Database>, who: Victim) {
    let Some(database) = database else { return };
    let is_sqlite = matches!(database, Database::Sqlite);
    let mut house = House::build(database, Plan::USUAL, SEED).expect("it needs no disk");
    let other = if who == Victim::Agent { Victim::Aggregator } else { Victim::Agent };
    house.start(other, None);
    house.begin_producing(SEED);
    for point in points(who).iter().filter(|point| is_sqlite || !point.name.starts_with(ON_SQLITE)) {
        if AFTER_A_TEAR.contains(&point.name) {
            die_at(&mut house, who, TEAR, TEAR_AT);
        }
        die_at(&mut house, who, point.name, 1);
    }
    house.start(who, None);
    let (estate, oracle) = house.close().unwrap_or_else(|why| panic!("{why}"));
    let verdict = oracle.judge(estate.contents.events);
    assert!(verdict.promised > 0 && verdict.is_kept(), "{verdict:?}");
}

#[test]
fn the_agent_dies_at_each_of_its_points_and_loses_nothing() {
    die_everywhere(sqlite(), Victim::Agent);
}

#[test]
fn the_aggregator_dies_at_each_of_its_points_and_loses_nothing_on_sqlite() {
    die_everywhere(sqlite(), Victim::Aggregator);
}

#[test]
fn the_aggregator_dies_at_each_of_its_points_and_loses_nothing_on_postgresql() {
    die_everywhere(postgresql(), Victim::Aggregator);
}

#[test]
fn the_page_lists_every_point() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = fs::read_to_string(page).expect("it is there");
    for Point { name, at, .. } in POINTS {
        let row = format!("| `{name}` | {at} |");
        assert!(page.contains(&row), "docs/faults.md has no row {row}");
    }
}
