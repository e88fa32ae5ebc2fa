//! The engine against a real Prometheus: both get the same samples and the same queries, made by chance, and must answer
//! alike.
//!
//! ```text
//! World ──┬── remote write ──▶ Prometheus ──┐
//!         └── a list, as `Select` ─▶ engine ─┴── same type, labels, times, values to 1e-9, class of error
//! ```
//! The Prometheus is that of the distribution, 2.42, and the engine speaks the language of Prometheus 3: [`changes`] says
//! how each change between them is met. Where no Prometheus is installed, the test says so and passes.
//!
//! Each run of `make test` asks the same few hundred queries. `MONITORING_DIFFERENTIAL_QUERIES` asks so many, others each
//! time; `MONITORING_DIFFERENTIAL_SEED` repeats a run.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so, and what was compared is to be seen")]

mod changes;
mod grammar;
mod http;
mod outcome;
mod prometheus;
mod remote_write;
#[path = "../store/mod.rs"]
mod store;
mod tree;
mod world;

use changes::{Case, EXCUSES};
use fastrand::Rng;
use grammar::Grammar;
use outcome::{Outcome, When, first_difference};
use prometheus::Prometheus;
use std::collections::BTreeMap;
use tree::{Tree, Words};
use world::World;

/// Queries where nobody says how many; each is asked at a moment and over a range.
const QUERIES: usize = 400;

/// Differences after which a run ends: more are rarely more news.
const DIFFERENCES_MAX: usize = 8;

/// Smaller queries that are tried for one that differs.
const SHRINKS_MAX: usize = 400;

/// Why a difference over a range is none: it is between Prometheus and itself.
const STEP_BY_STEP: &str =
    "Prometheus 2.42 says over a range what it does not say at each of its times; the engine does";

/// Why a difference that rounding explains is none.
const ROUNDING: &str =
    "rounding decides: Prometheus answers otherwise too where rounded values move by some parts in 10^14";

/// The two who are asked.
struct Pair {
    world: World,
    prometheus: Prometheus,
}

/// How two answers compare.
#[derive(Debug)]
enum Verdict {
    Same,
    Excused(&'static str),
    Different,
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    refused: usize,
    empty: usize,
    excused: BTreeMap<&'static str, usize>,
    differences: Vec<String>,
}

// === impl Pair ===

impl Pair {
    fn ask(&mut self, tree: &Tree, when: When) -> (Outcome, Outcome, Verdict) {
        let ours = Outcome::of_engine(&tree.text(Words::New), &self.world.store, when);
        let theirs = self.prometheus.ask(&tree.text(Words::Old), when);
        let has_order = tree.is_call_of(&["sort", "sort_desc", "topk", "bottomk"]);
        let verdict = if ours.is_like(&theirs) && (!has_order || ours.is_in_order_of(&theirs)) {
            Verdict::Same
        } else if let Some(excuse) =
            EXCUSES.iter().find(|excuse| (excuse.applies)(&Case { tree, ours: &ours, theirs: &theirs }))
        {
            Verdict::Excused(excuse.name)
        } else if self.is_like_instants(tree, when, &ours) {
            Verdict::Excused(STEP_BY_STEP)
        } else {
            let moved = self.prometheus.ask(&tree.text(Words::Moved), when);
            // To move a value drops its name and may be refused. That says how it is written, not what rounding does.
            let is_askew = moved.is_refused() != theirs.is_refused() || ours.has_names() != theirs.has_names();
            let is_rounding = !is_askew && !moved.is_like(&theirs);
            if is_rounding { Verdict::Excused(ROUNDING) } else { Verdict::Different }
        };
        (ours, theirs, verdict)
    }

    /// Whether Prometheus, asked at each time of a range alone, answers as the engine does over the range.
    fn is_like_instants(&mut self, tree: &Tree, when: When, ours: &Outcome) -> bool {
        let When::Range { start, end, step } = when else { return false };
        if ours.is_refused() {
            return false;
        }
        // At a single time both would mean that time.
        let text = tree.text(Words::Old);
        let text = text.replace("@ start()", &format!("@ {}", prometheus::seconds(start)));
        let text = text.replace("@ end()", &format!("@ {}", prometheus::seconds(end)));
        let times = (0..=(end - start) / step).map(|index| start + index * step);
        let instants: Vec<Outcome> = times.map(|at| self.prometheus.ask(&text, When::Instant(at))).collect();
        Outcome::range_of(instants).is_some_and(|theirs| ours.is_like(&theirs))
    }

    /// The smallest query found that differs too.
    fn shrunk(&mut self, mut tree: Tree, when: When) -> Tree {
        let mut tried = 0;
        'smaller: loop {
            for smaller in tree.smaller() {
                tried += 1;
                if tried > SHRINKS_MAX {
                    return tree;
                }
                if matches!(self.ask(&smaller, when).2, Verdict::Different) {
                    tree = smaller;
                    continue 'smaller;
                }
            }
            return tree;
        }
    }
}

// === impl Tally ===

impl Tally {
    fn judge(&mut self, pair: &mut Pair, tree: &Tree, when: When) {
        let (ours, _, verdict) = pair.ask(tree, when);
        self.compared += 1;
        match verdict {
            Verdict::Same => {
                self.refused += usize::from(ours.is_refused());
                self.empty += usize::from(ours.is_empty());
            }
            Verdict::Excused(reason) => *self.excused.entry(reason).or_default() += 1,
            Verdict::Different => {
                let small = pair.shrunk(tree.clone(), when);
                let (ours, theirs, _) = pair.ask(&small, when);
                let (text, whole) = (small.text(Words::New), tree.text(Words::New));
                let first = first_difference(&ours, &theirs);
                let said = format!(
                    "{text}\n  at {when:?}, from {whole}\n  first: {first}\n  engine: {ours}\n  Prometheus: {theirs}"
                );
                eprintln!("DIFFERENT {said}\n");
                self.differences.push(said);
            }
        }
    }
}

// === helpers ===

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn the_engine_answers_as_a_real_prometheus_does() {
    let Some(version) = Prometheus::version() else {
        eprintln!("SKIPPED: prometheus is not installed (Debian: apt-get install prometheus)");
        return;
    };
    let queries: Option<usize> = from_environment("MONITORING_DIFFERENTIAL_QUERIES");
    // What is found by chance is for who looks for it; a change is not to fail for what was there before.
    let by_chance = || if queries.is_some() { fastrand::u64(..1 << 32) } else { 1 };
    let seed: u64 = from_environment("MONITORING_DIFFERENTIAL_SEED").unwrap_or_else(by_chance);
    let queries = queries.unwrap_or(QUERIES);
    eprintln!("{version}; MONITORING_DIFFERENTIAL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let world = World::of(&mut rng);
    eprintln!("{} series, {} samples", world.store.0.len(), world.samples());
    let mut pair = Pair { prometheus: Prometheus::of(&world), world };
    let (mut grammar, mut tally) = (Grammar::new(rng), Tally::default());
    for _ in 0..queries {
        let (tree, instant, range) = (grammar.query(), grammar.instant(), grammar.range());
        tally.judge(&mut pair, &tree, instant);
        tally.judge(&mut pair, &tree, range);
        if tally.differences.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    let Tally { compared, refused, empty, excused, differences } = tally;
    let excuses: usize = excused.values().sum();
    eprintln!("{compared} answers compared: {refused} refused by both, {empty} empty, {excuses} excused");
    for (reason, count) in &excused {
        eprintln!("  {count} excused: {reason}");
    }
    assert!(differences.is_empty(), "seed {seed}: {} differences, the first: {}", differences.len(), differences[0]);
    assert!((refused + empty) * 2 < compared, "most queries have an answer to compare");
    assert!(excuses * 20 < compared, "few differences are excused, else nothing is proven");
}
