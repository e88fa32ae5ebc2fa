use super::*;
use crate::collect::tests::{Tree, by_key, pass};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\n\
    full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";

/// Every file of a version 2 group, and of the way to it.
const V2_FILES: [&str; 8] = [
    "group/cpu.stat",
    "group/cpu.max",
    "group/memory.current",
    "group/memory.max",
    "group/memory.stat",
    "group/memory.events",
    "group/cpu.pressure",
    "group/io.pressure",
];

/// A container with version 2: `group` is what it sees as `/sys/fs/cgroup`.
fn v2() -> Tree {
    let tree = Tree::new(&[
        ("self/cgroup", "0::/\n"),
        (
            "group/cpu.stat",
            "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\n\
            throttled_usec 500000\n",
        ),
        ("group/cpu.max", "150000 100000\n"),
        ("group/memory.current", "1000\n"),
        ("group/memory.max", "4096\n"),
        ("group/memory.stat", "anon 1\nfile 2\ninactive_anon 3\nactive_anon 4\ninactive_file 300\nactive_file 5\n"),
        ("group/memory.events", "low 0\nhigh 0\nmax 0\noom 7\noom_kill 2\noom_group_kill 0\n"),
        ("group/cpu.pressure", PRESSURE),
        ("group/io.pressure", PRESSURE),
    ]);
    let point = tree.path().join("group").display().to_string();
    tree.write("self/mountinfo", format!("31 23 0:28 / {point} ro - cgroup2 cgroup ro,nsdelegate\n"));
    tree
}

/// A container with version 1, each controller with a tree of its own, in which the group is seen as the root.
fn v1() -> Tree {
    let tree = Tree::new(&[
        ("self/cgroup", "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"),
        ("cpu/cpuacct.usage", "5000000000\n"),
        ("cpu/cpuacct.stat", "user 300\nsystem 200\n"),
        ("cpu/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n"),
        ("cpu/cpu.cfs_quota_us", "150000\n"),
        ("cpu/cpu.cfs_period_us", "100000\n"),
        ("memory/memory.usage_in_bytes", "1000\n"),
        ("memory/memory.limit_in_bytes", "4096\n"),
        ("memory/memory.stat", "cache 1\ninactive_file 9\nhierarchical_memory_limit 8192\ntotal_inactive_file 300\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ]);
    let point = tree.path().display().to_string();
    let mount = |controllers: &str, dir: &str| {
        format!("32 31 0:29 /docker/ab {point}/{dir} ro - cgroup cgroup rw,{controllers}\n")
    };
    tree.write("self/mountinfo", mount("cpu,cpuacct", "cpu") + &mount("memory", "memory"));
    tree
}

fn values_after(source: &mut Cgroup, table: &mut Table, elapsed_ms: u64) -> BTreeMap<String, f64> {
    pass(source, table, elapsed_ms).expect("every file is well formed");
    by_key(table)
}

fn values_of(tree: &Tree) -> BTreeMap<String, f64> {
    values_after(&mut Cgroup::new(tree.path(), Duration::ZERO), &mut Table::default(), 1000)
}

fn agents(metric: &str) -> String {
    format!("cgroup_{metric}{{owner=\"agent\"}}")
}

#[test]
fn both_versions_report_the_same_group_alike() {
    let expected = [
        ("cpu_usage_ratio", 0.0),
        ("cpu_seconds_total", 5.0),
        ("cpu_user_seconds_total", 3.0),
        ("cpu_system_seconds_total", 2.0),
        ("cpu_limit_cores", 1.5),
        ("cpu_periods_total", 10.0),
        ("cpu_throttled_periods_total", 4.0),
        ("cpu_throttled_seconds_total", 0.5),
        ("memory_usage_bytes", 1000.0),
        ("memory_limit_bytes", 4096.0),
        ("memory_working_set_bytes", 700.0),
        ("memory_oom_kills_total", 2.0),
    ];
    let mut from_v2 = values_of(&v2());
    from_v2.retain(|series, _| !series.contains("pressure"));
    for values in [from_v2, values_of(&v1())] {
        let expected: BTreeMap<String, f64> = expected.iter().map(|(name, value)| (agents(name), *value)).collect();
        assert_eq!(values, expected);
    }
}

#[test]
fn version_2_also_tells_pressure() {
    let values = values_of(&v2());
    assert_eq!(values["cgroup_pressure_waiting_seconds_total{owner=\"agent\", resource=\"cpu\"}"], 3.0);
    assert_eq!(values["cgroup_pressure_stalled_seconds_total{owner=\"agent\", resource=\"io\"}"], 1.0);
}

#[test]
fn usage_is_a_ratio_of_one_cpu_between_two_passes() {
    let tree = v2();
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    tree.edit("group/cpu.stat", "usage_usec 5000000", "usage_usec 7500000");
    assert_eq!(values_after(&mut source, &mut table, 1000)[&agents("cpu_usage_ratio")], 2.5);
    tree.edit("group/cpu.stat", "usage_usec 7500000", "usage_usec 100");
    let values = values_after(&mut source, &mut table, 2000);
    assert!(!values.contains_key(&agents("cpu_usage_ratio")), "a counter that went back has no share");
    assert_eq!(values[&agents("cpu_seconds_total")], 0.0001);
}

#[test]
fn no_limit_is_no_series_in_both_versions() {
    let tree = v2();
    tree.write("group/cpu.max", "max 100000\n");
    tree.write("group/memory.max", "max\n");
    let old = v1();
    old.write("cpu/cpu.cfs_quota_us", "-1\n");
    old.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
    old.edit("memory/memory.stat", "hierarchical_memory_limit 8192", "hierarchical_memory_limit 9223372036854771712");
    for values in [values_of(&tree), values_of(&old)] {
        assert!(!values.keys().any(|series| series.contains("_limit_")), "{values:?}");
        assert_eq!(values[&agents("memory_usage_bytes")], 1000.0);
    }
}

#[test]
fn a_limit_that_is_set_while_we_run_appears() {
    let tree = v2();
    tree.write("group/memory.max", "max\n");
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    assert!(!values_after(&mut source, &mut table, 0).contains_key(&agents("memory_limit_bytes")));
    tree.write("group/memory.max", "2048\n");
    assert_eq!(values_after(&mut source, &mut table, 1000)[&agents("memory_limit_bytes")], 2048.0);
    assert_eq!(table.generation(), 1);
}

#[test]
fn version_1_takes_the_smallest_limit_of_the_groups_above() {
    let tree = v1();
    tree.edit("memory/memory.stat", "hierarchical_memory_limit 8192", "hierarchical_memory_limit 1024");
    assert_eq!(values_of(&tree)[&agents("memory_limit_bytes")], 1024.0);
}

/// `group` is two levels below what is mounted; the pod above it has the smaller limits.
#[test]
fn a_limit_of_a_group_above_holds_for_the_group_below() {
    let tree = v2();
    tree.write("pod/cpu.max", "50000 100000\n");
    tree.write("pod/memory.max", "2048\n");
    tree.write("pod/container/cpu.stat", "usage_usec 5000000\n");
    tree.write("pod/container/cpu.max", "max 100000\n");
    tree.write("pod/container/memory.current", "1000\n");
    tree.write("pod/container/memory.max", "4096\n");
    tree.write("self/cgroup", "0::/pod/container\n");
    let point = tree.path().display().to_string();
    tree.write("self/mountinfo", format!("31 23 0:28 / {point} ro - cgroup2 cgroup ro\n"));
    let values = values_of(&tree);
    assert_eq!((values[&agents("cpu_limit_cores")], values[&agents("memory_limit_bytes")]), (0.5, 2048.0));

    let old = v1();
    old.write("cpu/inner/cpuacct.usage", "5000000000\n");
    old.write("cpu/inner/cpu.cfs_quota_us", "-1\n");
    old.write("cpu/inner/cpu.cfs_period_us", "100000\n");
    old.edit("self/cgroup", "3:cpu,cpuacct:/docker/ab", "3:cpu,cpuacct:/docker/ab/inner");
    assert_eq!(values_of(&old)[&agents("cpu_limit_cores")], 1.5, "that of the group above");
}

#[test]
fn that_no_group_is_found_is_noted_with_its_reason() {
    let tree = v2();
    tree.write("self/mountinfo", "");
    let noted = |tree: &Tree| {
        let notes = Cgroup::new(tree.path(), Duration::ZERO).notes();
        notes.last().and_then(|note| note.problem.clone()).expect("a problem")
    };
    assert!(noted(&tree).starts_with("no cgroup found, because no mount shows"), "{}", noted(&tree));
    tree.remove("self/mountinfo");
    assert!(noted(&tree).contains("mountinfo"), "{}", noted(&tree));
    let without_controllers = v2();
    for file in V2_FILES {
        without_controllers.remove(file);
    }
    assert!(noted(&without_controllers).contains("neither CPU time nor memory"), "{}", noted(&without_controllers));
}

/// As a directory stands in its place, the file is there and cannot be read, whoever asks.
#[test]
fn a_controllers_file_that_cannot_be_read_at_the_start_fails_and_comes_back() {
    let tree = v2();
    tree.remove("group/memory.current");
    tree.write("group/memory.current/in-its-place", "");
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    assert_eq!(pass(&mut source, &mut table, 1000).expect_err("refused").reason(), "unreadable");
    tree.remove("group/memory.current");
    tree.write("group/memory.current", "1000\n");
    assert_eq!(values_after(&mut source, &mut table, 2000)[&agents("memory_usage_bytes")], 1000.0);
}

#[test]
fn a_hybrid_host_counts_in_version_1_and_tells_pressure_from_version_2() {
    let tree = v1();
    tree.write("unified/cpu.stat", "usage_usec 1\n");
    tree.write("unified/memory.pressure", PRESSURE);
    let point = tree.path().join("unified").display().to_string();
    let old = std::fs::read_to_string(tree.path().join("self/mountinfo")).expect("it is there");
    tree.write("self/mountinfo", format!("{old}41 31 0:38 / {point} rw - cgroup2 cgroup2 rw\n"));
    tree.edit("self/cgroup", "1:name", "0::/\n1:name");
    let values = values_of(&tree);
    assert_eq!(values[&agents("cpu_seconds_total")], 5.0);
    assert_eq!(values["cgroup_pressure_waiting_seconds_total{owner=\"agent\", resource=\"memory\"}"], 3.0);
}

#[test]
fn the_root_group_of_a_host_tells_what_it_has() {
    let tree = v2();
    for file in &V2_FILES[1..] {
        tree.remove(file);
    }
    tree.write("group/cpu.stat", "usage_usec 1000000\nuser_usec 1\nsystem_usec 1\n");
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let values = values_after(&mut source, &mut Table::default(), 1000);
    assert_eq!(values[&agents("cpu_seconds_total")], 1.0);
    assert!(!values.keys().any(|series| series.contains("memory") || series.contains("throttled")));
    assert!(source.notes().iter().any(|note| note.problem.is_some() && note.path.ends_with("memory.current")));
}

#[test]
fn a_malformed_file_is_named_and_the_other_controller_is_kept() {
    for broken in V2_FILES {
        let tree = v2();
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        let complete = values_after(&mut source, &mut table, 1000);
        tree.write(broken, "usage_usec -1\ninactive_file x\noom_kill x\n");
        let error = pass(&mut source, &mut table, 2000).expect_err("refused");
        assert!(error.to_string().contains(broken) && matches!(error, CollectError::Malformed { .. }), "{error}");
        let values = by_key(&table);
        let other = if broken.contains("memory") { "cpu_seconds_total" } else { "memory_working_set_bytes" };
        assert!(values.contains_key(&agents(other)), "{other} with a broken {broken}");
        assert!(values.len() < complete.len());
    }
}

#[test]
fn what_was_read_before_a_malformed_file_of_the_same_controller_is_kept() {
    let tree = v2();
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    tree.write("group/cpu.max", "much\n");
    let mut table = Table::default();
    assert!(pass(&mut source, &mut table, 1000).is_err());
    assert_eq!(by_key(&table)[&agents("cpu_seconds_total")], 5.0);
}

#[test]
fn a_group_that_is_not_there_is_absent_and_found_when_it_appears() {
    let tree = v2();
    tree.write("self/cgroup", "0::/elsewhere\n");
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    for _ in 0..2 {
        let error = pass(&mut source, &mut table, 0).expect_err("refused");
        assert!(matches!(error, CollectError::Absent(_)), "{error}");
    }
    tree.write("self/cgroup", "0::/\n");
    assert_eq!(values_after(&mut source, &mut table, 0)[&agents("cpu_seconds_total")], 5.0);
}

#[test]
fn after_a_file_became_unreadable_the_group_is_looked_for_again() {
    let tree = v2();
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    values_after(&mut source, &mut table, 0);
    // A plain file stays readable when it is removed, where one of a removed group says ENODEV: a directory stands in.
    source.parts = Parts::default();
    let dir = tree.path().join("group");
    source.parts.add(|_| Pressure::new(super::super::file::KeptFile::new(dir), METRICS_OF_PRESSURE, vec![]));
    for elapsed_ms in [1000, 2000, 9999] {
        assert!(matches!(pass(&mut source, &mut table, elapsed_ms), Err(CollectError::Read { .. })));
    }
    assert_eq!(values_after(&mut source, &mut table, 10_000)[&agents("cpu_seconds_total")], 5.0);
}

#[test]
fn the_real_group_is_found_and_used_cpu() {
    let mut source = Cgroup::new(Path::new("/proc"), Duration::ZERO);
    let mut table = Table::default();
    match pass(&mut source, &mut table, 1000) {
        Ok(()) => assert!(by_key(&table)[&agents("cpu_seconds_total")] > 0.0),
        Err(error) => assert!(matches!(error, CollectError::Absent(_)), "no cgroups here, or a bug: {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_of_any_file_makes_a_pass_panic(index in 0..V2_FILES.len() + 2, content: Vec<u8>) {
        let tree = v2();
        let file = V2_FILES.iter().chain(&["self/cgroup", "self/mountinfo"]).nth(index).expect("within");
        tree.write(file, content);
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let _ = pass(&mut source, &mut Table::default(), 1000);
    }
}

/// Every file of version 1 groups.
const V1_FILES: [&str; 9] = [
    "cpu/cpuacct.usage",
    "cpu/cpuacct.stat",
    "cpu/cpu.stat",
    "cpu/cpu.cfs_quota_us",
    "cpu/cpu.cfs_period_us",
    "memory/memory.usage_in_bytes",
    "memory/memory.limit_in_bytes",
    "memory/memory.stat",
    "memory/memory.oom_control",
];

#[test]
fn a_malformed_file_of_version_1_is_named_and_the_other_controller_is_kept() {
    for broken in V1_FILES {
        let tree = v1();
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        values_after(&mut source, &mut table, 1000);
        tree.write(broken, "user x\nnr_periods x\ntotal_inactive_file x\noom_kill x\n");
        let error = pass(&mut source, &mut table, 2000).expect_err("refused");
        assert!(error.to_string().contains(broken) && matches!(error, CollectError::Malformed { .. }), "{error}");
        let other = if broken.contains("memory") { "cpu_seconds_total" } else { "memory_working_set_bytes" };
        assert!(by_key(&table).contains_key(&agents(other)), "{other} with a broken {broken}");
    }
}

#[test]
fn every_file_cut_at_any_byte_is_survived() {
    for (tree, files) in [(v2(), &V2_FILES[..]), (v1(), &V1_FILES[..])] {
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        for file in files {
            let good = std::fs::read(tree.path().join(file)).expect("it is there");
            for end in 0..good.len() {
                tree.write(file, &good[..end]);
                let _ = pass(&mut source, &mut table, end as u64 * 1000);
                assert_eq!(table.values().len(), table.definitions().len());
            }
            tree.write(file, &good);
        }
        values_after(&mut source, &mut table, 1_000_000);
    }
}

#[test]
fn version_1_without_optional_files_tells_the_rest() {
    for missing in V1_FILES.iter().filter(|file| !file.ends_with("cpuacct.usage") && !file.ends_with("usage_in_bytes"))
    {
        let tree = v1();
        tree.remove(missing);
        let values = values_of(&tree);
        assert_eq!(values[&agents("cpu_seconds_total")], 5.0, "without {missing}");
        assert_eq!(values[&agents("memory_usage_bytes")], 1000.0, "without {missing}");
    }
}

#[test]
fn a_kernel_before_4_13_tells_no_oom_kills_in_version_1() {
    let tree = v1();
    tree.write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
    let values = values_of(&tree);
    assert!(!values.contains_key(&agents("memory_oom_kills_total")));
    assert!(values.contains_key(&agents("memory_working_set_bytes")));
}

#[test]
fn page_cache_that_outgrew_usage_between_two_files_is_no_negative_working_set() {
    let tree = v2();
    tree.write("group/memory.stat", "inactive_file 999999\n");
    assert_eq!(values_of(&tree)[&agents("memory_working_set_bytes")], 0.0);
}

/// Two hierarchies of the machine that this was written on: the group differs from one controller to the next, and
/// `cpu` and `cpuacct` are mounted apart.
#[test]
fn controllers_mounted_apart_with_groups_of_their_own_are_found() {
    let tree = Tree::new(&[
        ("self/cgroup", "9:name=systemd:/\n4:memory:/api/20e3\n2:cpuacct:/\n1:cpu:/\n0::/\n"),
        ("cpu/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\nnr_bursts 0\nburst_time 0\n"),
        ("cpu/cpu.cfs_quota_us", "-1\n"),
        ("cpu/cpu.cfs_period_us", "100000\n"),
        ("cpuacct/cpuacct.usage", "770547939194\n"),
        ("cpuacct/cpuacct.stat", "user 68131\nsystem 8923\n"),
        ("memory/memory.usage_in_bytes", "1\n"),
        ("memory/api/20e3/memory.usage_in_bytes", "1090543616\n"),
        ("unified/cpu.pressure", PRESSURE),
    ]);
    let point = tree.path().display().to_string();
    let old =
        ["cpu", "cpuacct", "memory"].map(|name| format!("32 31 0:29 / {point}/{name} rw - cgroup cgroup rw,{name}\n"));
    tree.write("self/mountinfo", old.concat() + &format!("41 31 0:38 / {point}/unified rw - cgroup2 cgroup2 rw\n"));
    let values = values_of(&tree);
    assert_eq!(values[&agents("cpu_seconds_total")], 770.547_939_194);
    assert_eq!(values[&agents("memory_usage_bytes")], 1_090_543_616.0);
    assert_eq!(values[&agents("cpu_periods_total")], 0.0);
    assert!(!values.contains_key(&agents("cpu_limit_cores")));
    assert!(values.contains_key("cgroup_pressure_waiting_seconds_total{owner=\"agent\", resource=\"cpu\"}"));
}

#[test]
fn a_hierarchy_mounted_twice_is_read_where_the_group_is_seen() {
    let tree = v2();
    let point = tree.path().display().to_string();
    let good = std::fs::read_to_string(tree.path().join("self/mountinfo")).expect("it is there");
    let elsewhere = format!(
        "30 23 0:28 /other {point}/other ro - cgroup2 cgroup ro\n30 23 0:28 / {point}/gone ro - cgroup2 cgroup ro\n"
    );
    tree.write("self/mountinfo", elsewhere + &good);
    assert_eq!(values_of(&tree)[&agents("cpu_seconds_total")], 5.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_groups_share_is_what_it_used_of_the_time(used_ms in 0_u64..100_000, window_ms in 100_u64..100_000) {
        let tree = v2();
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let usage = 5_000_000 + used_ms * 1000;
        tree.edit("group/cpu.stat", "usage_usec 5000000", &format!("usage_usec {usage}"));
        let values = values_after(&mut source, &mut Table::default(), window_ms);
        let expected = used_ms as f64 / window_ms as f64;
        prop_assert!((values[&agents("cpu_usage_ratio")] - expected).abs() < 1e-6 * expected.max(1.0));
    }
}

#[test]
fn version_2_without_optional_files_tells_the_rest() {
    let required = ["group/cpu.stat", "group/memory.current"];
    for missing in V2_FILES.iter().filter(|file| !required.contains(file)) {
        let tree = v2();
        tree.remove(missing);
        let mut source = Cgroup::new(tree.path(), Duration::ZERO);
        let values = values_after(&mut source, &mut Table::default(), 1000);
        assert_eq!(values[&agents("cpu_seconds_total")], 5.0, "without {missing}");
        assert_eq!(values[&agents("memory_usage_bytes")], 1000.0, "without {missing}");
        let noted = source.notes().into_iter().find(|note| note.path == tree.path().join(missing));
        assert!(noted.is_some_and(|note| note.problem.is_some()), "{missing} is noted");
    }
}

#[test]
fn a_group_with_one_controller_tells_that_one() {
    for (missing, left) in [("group/cpu.stat", "memory_usage_bytes"), ("group/memory.current", "cpu_seconds_total")] {
        let tree = v2();
        tree.remove(missing);
        let values = values_of(&tree);
        assert!(values.contains_key(&agents(left)), "{left} without {missing}");
        let gone = if left.starts_with("cpu") { "cgroup_memory" } else { "cgroup_cpu" };
        assert!(!values.keys().any(|series| series.starts_with(gone)), "{gone} without {missing}");
    }
}

#[test]
fn throttling_is_seen_as_it_happens() {
    let tree = v2();
    let mut source = Cgroup::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);
    tree.edit("group/cpu.stat", "nr_throttled 4", "nr_throttled 9");
    tree.edit("group/cpu.stat", "throttled_usec 500000", "throttled_usec 2500000");
    tree.edit("group/memory.events", "oom_kill 2", "oom_kill 3");
    let values = values_after(&mut source, &mut table, 2000);
    assert_eq!(values[&agents("cpu_throttled_periods_total")], 9.0);
    assert_eq!(values[&agents("cpu_throttled_seconds_total")], 2.5);
    assert_eq!(values[&agents("memory_oom_kills_total")], 3.0);
    assert_eq!(table.generation(), 1);
}
