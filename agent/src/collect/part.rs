//! Parts: a source cut into pieces that fail apart from each other.
//!
//! A part reads one file or a few that belong together, and writes into its own [`Cells`]. The driver, [`Parts`], lets
//! every part read, declares all series anew when a part's cells have changed, and moves the values into the table:
//!
//! ```text
//!   part.read ─► cells of the part ─┐
//!   part.read ─► cells of the part ─┼─► (declare, if any changed) ─► table
//!   part.read ✗  stale              ┘
//! ```
//!
//! Invariants: a cell that its part has not set in this pass is stale; a part that fails leaves the others whole; the
//! series of a table change only in a pass in which a part's cells changed, or after somebody else emptied the table,
//! as happens when a pass panics.

use super::file::Probe;
use super::{CollectError, Note, Slot, Table};
use proto::catalog::Metric;
use proto::sample::STALE;
use std::time::Duration;

/// One piece of a source.
pub trait Part: Send {
    /// Reads its files once and sets the cells that it has values for. `elapsed` as in [`super::Collector::collect`].
    /// What was set before an error is kept.
    fn read(&mut self, elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError>;
}

/// The series of one part, each with its value of this pass.
#[derive(Debug, Default)]
pub struct Cells {
    list: Vec<Declared>,
    changed: bool,
}

/// One of a part's [`Cells`]; valid until they are cleared.
#[derive(Clone, Copy, Debug)]
pub struct Cell(usize);

/// All parts of a source, in the order in which they are read.
#[derive(Default)]
pub struct Parts {
    entries: Vec<Entry>,
    notes: Vec<Note>,
    /// The table's generation in which all series were declared.
    declared: Option<u64>,
}

#[derive(Debug)]
struct Declared {
    metric: &'static Metric,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

struct Entry {
    part: Box<dyn Part>,
    cells: Cells,
    /// Where the table keeps the cells, in their order; shorter than they where the table refused one.
    slots: Vec<Slot>,
}

// === impl Cell ===

impl Cell {
    /// Stands where a cell will be once it is declared; setting it does nothing.
    pub const NONE: Self = Self(usize::MAX);
}

// === impl Cells ===

impl Cells {
    /// Declares a series.
    pub fn push(&mut self, metric: &'static Metric, labels: &[(&'static str, &str)]) -> Cell {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.list.push(Declared { metric, labels, value: STALE });
        self.changed = true;
        Cell(self.list.len() - 1)
    }

    /// Sets the value of this pass. A cell from before a [`Cells::clear`] may set another series, but never panics.
    pub fn set(&mut self, cell: Cell, value: f64) {
        if let Some(declared) = self.list.get_mut(cell.0) {
            declared.value = value;
        }
    }

    /// Sets the value where there is one; the cell stays stale where not.
    pub fn set_some(&mut self, cell: Cell, value: Option<f64>) {
        if let Some(value) = value {
            self.set(cell, value);
        }
    }

    /// Forgets every series, so that the part can declare them anew.
    pub fn clear(&mut self) {
        self.list.clear();
        self.changed = true;
    }

    /// Whether series were declared or forgotten since the last question.
    #[cfg(test)]
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The cells as a table of their own, with their present values.
    #[cfg(test)]
    pub fn to_table(&self) -> Table {
        let mut table = Table::default();
        for declared in &self.list {
            let labels: Vec<_> = declared.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let slot = table.series(declared.metric, &labels).expect("few series, well-formed labels");
            table.set(slot, declared.value);
        }
        table
    }

    fn begin_pass(&mut self) {
        for declared in &mut self.list {
            declared.value = STALE;
        }
    }
}

// === impl Parts ===

impl Parts {
    /// Adds the part that `make` builds; it declares there the series that it always has.
    pub fn add<P: Part + 'static>(&mut self, make: impl FnOnce(&mut Cells) -> P) {
        let mut cells = Cells { list: Vec::new(), changed: true };
        let part = Box::new(make(&mut cells));
        self.entries.push(Entry { part, cells, slots: Vec::new() });
    }

    /// Adds the parts of another source behind these.
    pub fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.notes.extend(other.notes);
    }

    /// Keeps what `probe` found out.
    pub fn add_notes(&mut self, probe: Probe) {
        self.notes.extend(probe.into_notes());
    }

    /// Which files were found readable when the parts were made.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One pass over all parts. The first error is returned after the others have been read and set.
    pub fn collect(&mut self, elapsed: Duration, table: &mut Table) -> Result<(), CollectError> {
        let mut outcome = Ok(());
        for entry in &mut self.entries {
            entry.cells.begin_pass();
            outcome = outcome.and(entry.part.read(elapsed, &mut entry.cells));
        }
        let is_changed = self.entries.iter().any(|entry| entry.cells.changed);
        if is_changed || self.declared != Some(table.generation()) {
            table.redefine();
            for entry in &mut self.entries {
                outcome = outcome.and(entry.declare(table));
            }
            self.declared = Some(table.generation());
        }
        for entry in &self.entries {
            for (slot, declared) in entry.slots.iter().zip(&entry.cells.list) {
                table.set(*slot, declared.value);
            }
        }
        outcome
    }
}

// === impl Entry ===

impl Entry {
    /// Declares the cells; the rest of them is left out where the table refuses one, and tried again in the next pass.
    fn declare(&mut self, table: &mut Table) -> Result<(), CollectError> {
        self.slots.clear();
        let mut labels = Vec::new();
        for declared in &self.cells.list {
            labels.clear();
            labels.extend(declared.labels.iter().map(|(name, value)| (*name, value.as_str())));
            self.slots.push(table.series(declared.metric, &labels)?);
        }
        self.cells.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::catalog::{SYSTEM_CPU_SECONDS_TOTAL, SYSTEM_LOAD1, SYSTEM_UPTIME_SECONDS};
    use proto::limits::SERIES_PER_SCHEMA_MAX;
    use proto::sample::is_stale;
    use std::sync::{Arc, Mutex};

    /// Does what the test says: how many series, and whether it fails after setting them.
    struct Scripted {
        script: Arc<Mutex<(usize, bool)>>,
        cells: Vec<Cell>,
    }

    impl Part for Scripted {
        fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
            let (count, fails) = *self.script.lock().expect("no test panics with it");
            if count != self.cells.len() {
                cells.clear();
                let name = |index: usize| format!("m{index}");
                self.cells = (0..count).map(|i| cells.push(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", &name(i))])).collect();
            }
            for cell in &self.cells {
                cells.set(*cell, 1.0);
            }
            if fails { Err(CollectError::Absent("scripted".into())) } else { Ok(()) }
        }
    }

    /// Reads no file: always sets its one series.
    struct Steady(Cell);

    impl Part for Steady {
        fn read(&mut self, elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
            cells.set(self.0, elapsed.as_secs_f64());
            Ok(())
        }
    }

    fn scripted_and_steady() -> (Parts, Arc<Mutex<(usize, bool)>>) {
        let script = Arc::new(Mutex::new((0, false)));
        let mut parts = Parts::default();
        let its = Arc::clone(&script);
        parts.add(|_| Scripted { script: its, cells: Vec::new() });
        parts.add(|cells| Steady(cells.push(&SYSTEM_UPTIME_SECONDS, &[])));
        (parts, script)
    }

    fn pass(parts: &mut Parts, table: &mut Table) -> Result<(), CollectError> {
        table.begin_pass();
        parts.collect(Duration::from_secs(7), table)
    }

    #[test]
    fn series_are_declared_again_only_when_a_part_changed() {
        let (mut parts, script) = scripted_and_steady();
        let mut table = Table::default();
        let mut generations = Vec::new();
        for count in [1, 1, 2, 2, 0, 0] {
            script.lock().expect("no test panics with it").0 = count;
            pass(&mut parts, &mut table).expect("nothing fails");
            assert_eq!(table.definitions().len(), count + 1);
            assert_eq!(table.values().last(), Some(&7.0), "the other part keeps its value");
            generations.push(table.generation());
        }
        assert_eq!(generations, [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_part_that_fails_keeps_what_it_set_and_harms_no_other() {
        let (mut parts, script) = scripted_and_steady();
        let mut table = Table::default();
        *script.lock().expect("no test panics with it") = (1, true);
        assert!(pass(&mut parts, &mut table).is_err());
        assert_eq!(table.values(), [1.0, 7.0]);
    }

    #[test]
    fn a_cell_not_set_in_this_pass_is_stale() {
        let mut cells = Cells::default();
        let cell = cells.push(&SYSTEM_LOAD1, &[]);
        cells.set(cell, 1.0);
        cells.begin_pass();
        cells.set_some(cell, None);
        assert!(is_stale(cells.list[0].value));
    }

    #[test]
    fn more_series_than_a_schema_holds_are_refused_and_the_rest_stays_in_order() {
        let (mut parts, script) = scripted_and_steady();
        let mut table = Table::default();
        script.lock().expect("no test panics with it").0 = SERIES_PER_SCHEMA_MAX + 5;
        let error = pass(&mut parts, &mut table).expect_err("refused");
        assert!(matches!(error, CollectError::TooManySeries(_)), "{error}");
        assert_eq!(table.values().len(), SERIES_PER_SCHEMA_MAX);
        assert!(pass(&mut parts, &mut table).is_err(), "it is said in every pass");

        script.lock().expect("no test panics with it").0 = 1;
        pass(&mut parts, &mut table).expect("it fits again");
        assert_eq!(table.values(), [1.0, 7.0]);
    }

    proptest! {
        /// The table is always the parts' cells one after another, whatever they did before.
        #[test]
        fn the_table_is_the_cells_of_all_parts_in_order(script in prop::collection::vec((0_usize..5, any::<bool>()), 1..20)) {
            let (mut parts, its) = scripted_and_steady();
            let mut table = Table::default();
            let (mut before, mut generation) = (None, 0);
            for (count, fails) in script {
                *its.lock().expect("no test panics with it") = (count, fails);
                prop_assert_eq!(pass(&mut parts, &mut table).is_err(), fails);
                let mut expected = vec![1.0; count];
                expected.push(7.0);
                prop_assert_eq!(table.values(), expected);
                generation += u64::from(before != Some(count));
                prop_assert_eq!(table.generation(), generation);
                before = Some(count);
            }
        }
    }

    #[test]
    fn parts_of_two_sources_are_read_as_one() {
        let (mut first, script) = scripted_and_steady();
        let (second, _) = scripted_and_steady();
        script.lock().expect("no test panics with it").0 = 2;
        let mut probe = Probe::default();
        probe.note(Note { path: "/x".into(), problem: None });
        first.add_notes(probe);
        first.append(second);
        let mut table = Table::default();
        pass(&mut first, &mut table).expect("nothing fails");
        assert_eq!(table.values(), [1.0, 1.0, 7.0, 7.0]);
        assert_eq!(first.notes().len(), 1);
        assert!(Parts::default().is_empty() && !first.is_empty());
    }

    #[test]
    fn setting_a_cell_that_is_not_there_does_nothing() {
        let mut cells = Cells::default();
        cells.set(Cell::NONE, 1.0);
        assert!(!cells.take_changed() && cells.to_table().values().is_empty());
    }
}
