//! Of the table and of all sources together.

use super::*;
use proto::catalog::{SYSTEM_CPU_SECONDS_TOTAL, SYSTEM_LOAD1};
use proto::sample::is_stale;
use std::collections::BTreeMap;

/// The series of a table as text, with their values; those without one are left out.
pub fn by_key(table: &Table) -> BTreeMap<String, f64> {
    let with_value = table.definitions().iter().zip(table.values()).filter(|(_, value)| !is_stale(**value));
    with_value.map(|(definition, value)| (definition.key.to_string(), *value)).collect()
}

/// One pass into `table`.
pub fn pass(source: &mut impl Collector, table: &mut Table, elapsed_ms: u64) -> Result<(), CollectError> {
    table.begin_pass();
    source.collect(Duration::from_millis(elapsed_ms), table)
}

#[test]
fn a_series_not_set_in_this_pass_is_stale() {
    let mut table = Table::default();
    let slot = table.series(&SYSTEM_LOAD1, &[]).expect("well formed");
    table.set(slot, 1.0);
    table.begin_pass();
    assert!(is_stale(table.values()[0]));
}

#[test]
fn redefining_forgets_series_and_values_and_counts_a_generation() {
    let mut table = Table::default();
    table.series(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", "user")]).expect("well formed");
    table.redefine();
    assert_eq!((table.definitions().len(), table.values().len(), table.generation()), (0, 0, 1));
}

#[test]
fn an_error_names_its_file_and_its_chain_says_what_the_kernel_said() {
    let source = io::Error::from_raw_os_error(13);
    let error = CollectError::Read { path: "/proc/1/io".into(), source };
    let text = "cannot read /proc/1/io; run the agent as the user who may, or as root";
    assert_eq!(error.to_string(), text);
    assert_eq!(runtime::log::chain(&error), format!("{text}: Permission denied (os error 13)"));
}

#[test]
fn all_sources_are_there_and_the_process_only_where_one_is_to_be_watched() {
    let names = |options: &Options| -> Vec<&'static str> {
        all(Path::new(PROC), options, Duration::ZERO).iter().map(|source| source.name()).collect()
    };
    assert_eq!(names(&Options::default()), ["host", "filesystem", "cgroup"]);
    let options = Options { target: Some(Target::Neighbour), ..Options::default() };
    assert_eq!(names(&options), ["host", "filesystem", "cgroup", "process"]);
}

#[test]
fn where_nothing_is_readable_every_source_is_made_and_says_what_is_missing() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    let options = Options { target: Some(Target::Name("x".into())), ..Options::default() };
    for mut source in all(empty.path(), &options, Duration::ZERO) {
        let mut table = Table::default();
        for _ in 0..3 {
            table.begin_pass();
            assert!(source.collect(Duration::ZERO, &mut table).is_err(), "{}", source.name());
        }
        assert!(table.values().iter().all(|value| is_stale(*value)), "{}", source.name());
    }
}

/// A copy of `/proc` with the files that a test wants.
pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        for (path, content) in files {
            tree.write(path, content);
        }
        tree
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in place, so that a descriptor kept open sees the new content.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("it is writable");
        std::fs::write(path, content).expect("it is writable");
    }

    /// Replaces `from`, which must be there, in a file.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let before = std::fs::read_to_string(self.path().join(path)).expect("a test wrote it");
        assert!(before.contains(from), "{path} holds no {from:?}");
        self.write(path, before.replacen(from, to, 1));
    }

    pub fn remove(&self, path: &str) {
        let path = self.path().join(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("it is there");
    }

    /// A symbolic link at `path`.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("it is writable");
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).expect("it is writable");
    }
}

#[test]
fn a_name_that_is_no_label_is_refused_and_leaves_the_table_as_it_was() {
    let mut table = Table::default();
    let refused = table.series(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", "a\0b")]).expect_err("a NUL");
    assert!(matches!(refused, CollectError::Name(_)), "{refused}");
    let long = "x".repeat(proto::limits::LABEL_VALUE_MAX_BYTES + 1);
    assert!(table.series(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", &long)]).is_err());
    assert!(table.definitions().is_empty() && table.values().is_empty());
}

#[test]
fn more_series_than_a_schema_holds_are_refused_by_number() {
    let mut table = Table::default();
    for index in 0..SERIES_PER_SCHEMA_MAX {
        table.series(&SYSTEM_CPU_SECONDS_TOTAL, &[("mode", &index.to_string())]).expect("within the limit");
    }
    let error = table.series(&SYSTEM_LOAD1, &[]).expect_err("one too many");
    assert!(error.to_string().starts_with("2001 series are more than the 2000 that one source may report;"), "{error}");
}

#[test]
fn each_target_is_named_in_what_is_said_of_it() {
    let said = |target: Target| target.to_string();
    assert_eq!(said(Target::Pid(7)), "process 7");
    assert_eq!(said(Target::Name("node".into())), "a process called \"node\"");
    assert!(said(Target::Neighbour).contains("another container"));
}

#[test]
fn every_error_has_its_reason_and_says_what_to_do() {
    let read = |errno: Errno| CollectError::Read { path: "/x".into(), source: errno.into() };
    let malformed = CollectError::Malformed { path: "/x".into(), problem: "a problem".into() };
    let name = SeriesKey::try_new("x", [("mode", "\0")]).expect_err("a NUL");
    let errors = [
        read(Errno::ACCESS),
        read(Errno::MFILE),
        read(Errno::NOENT),
        read(Errno::IO),
        malformed,
        process::not_found(&Target::Neighbour),
        CollectError::TooManySeries(2001),
        name.into(),
    ];
    let mut reasons: Vec<&str> = errors.iter().map(CollectError::reason).collect();
    assert!(errors.iter().all(|error| error.to_string().contains("; ")), "{errors:#?}");
    reasons.dedup();
    reasons.push(CollectError::PANIC);
    assert_eq!(reasons, CollectError::REASONS);
}

#[test]
fn one_source_that_fails_harms_no_other() {
    let tree = Tree::new(&[("stat", "garbage"), ("self/mountinfo", ""), ("self/cgroup", "0::/\n")]);
    let mut sources = all(tree.path(), &Options::default(), Duration::ZERO);
    let mut outcome = |name: &str| {
        let source = sources.iter_mut().find(|source| source.name() == name).expect("it is one of ours");
        source.collect(Duration::ZERO, &mut Table::default())
    };
    assert!(outcome("host").is_err());
    assert!(outcome("cgroup").is_err());
    assert!(outcome("filesystem").is_ok(), "no mounts are no failure");
}

#[test]
fn on_the_real_machine_every_source_reports_within_the_first_pass() {
    let options = Options { target: Some(Target::Pid(std::process::id())), ..Options::default() };
    for mut source in all(Path::new(PROC), &options, Duration::ZERO) {
        let mut table = Table::default();
        table.begin_pass();
        match source.collect(Duration::from_secs(1), &mut table) {
            Ok(()) => assert!(by_key(&table).values().all(|value| value.is_finite()), "{}", source.name()),
            Err(error) => assert_eq!(source.name(), "cgroup", "only cgroups may be missing here: {error}"),
        }
        assert!(!source.notes().is_empty(), "{} says which files it reads", source.name());
    }
}
