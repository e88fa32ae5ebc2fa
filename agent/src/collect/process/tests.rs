use super::*;
use crate::collect::tests::{Tree, by_key, pass};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The text of `/proc/PID/stat`: 1 s in the program and half a second in the kernel, at 100 ticks per second.
fn stat(comm: &str, state: char, ppid: u32, start_ticks: u64) -> String {
    format!(
        "7 ({comm}) {state} {ppid} 7 7 0 -1 4194304 0 0 0 0 100 50 0 0 20 0 11 0 {start_ticks} 8192 2 18446744073709551615 0 0\n"
    )
}

/// A pod with a shared PID namespace: `pause` (1), ourselves (10), the service (20), its child (21) and a shell that
/// somebody opened in it (30). `self` is what `/proc/self` is.
fn pod() -> Tree {
    let tree = Tree::new(&[
        ("stat", "cpu 1 2 3 4\nbtime 1000\n"),
        ("1/stat", &stat("pause", 'S', 0, 100)),
        ("1/cgroup", "0::/../pause\n"),
        ("10/stat", &stat("agent", 'S', 0, 200)),
        ("10/cgroup", "0::/\n"),
        ("10/mountinfo", ""),
        ("11/stat", &stat("agent-helper", 'S', 10, 150)),
        ("11/cgroup", "0::/\n"),
        ("20/stat", &stat("node", 'S', 0, 300)),
        ("20/cgroup", "0::/../service\n"),
        (
            "20/io",
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n",
        ),
        (
            "20/limits",
            "Limit Soft Hard Units\nMax open files            1024                 4096                 files\n",
        ),
        ("20/fd/0", ""),
        ("20/fd/1", ""),
        ("20/fd/2", ""),
        ("21/stat", &stat("node", 'S', 20, 301)),
        ("21/cgroup", "0::/../service\n"),
        ("30/stat", &stat("sh", 'S', 0, 900)),
        ("30/cgroup", "0::/../service\n"),
        ("not-a-process/stat", ""),
    ]);
    tree.link("self", "10");
    tree
}

/// The same, where we may look into the service's container.
fn pod_with_readable_group() -> Tree {
    let tree = pod();
    tree.write("20/mountinfo", "31 23 0:28 /../service /sys/fs/cgroup ro - cgroup2 cgroup ro\n");
    tree.write("20/root/sys/fs/cgroup/cpu.stat", "usage_usec 9000000\nuser_usec 5000000\nsystem_usec 4000000\n");
    tree.write("20/root/sys/fs/cgroup/cpu.max", "200000 100000\n");
    tree.write("20/root/sys/fs/cgroup/memory.current", "5000\n");
    tree.write("20/root/sys/fs/cgroup/memory.stat", "inactive_file 1000\n");
    tree
}

fn source(tree: &Tree, target: Target) -> Process {
    Process::new(tree.path(), target, Duration::ZERO)
}

fn found(tree: &Tree, target: Target) -> Option<u32> {
    source(tree, target).pid()
}

fn values_after(source: &mut Process, table: &mut Table, elapsed_ms: u64) -> BTreeMap<String, f64> {
    pass(source, table, elapsed_ms).expect("every file is well formed");
    by_key(table)
}

#[test]
fn the_neighbour_is_the_oldest_process_of_another_container_and_not_the_pause_process() {
    assert_eq!(found(&pod(), Target::Neighbour), Some(20));
}

#[test]
fn without_a_shared_pid_namespace_there_is_no_neighbour_and_the_error_says_why() {
    let tree = pod();
    for pid in ["1", "20", "21", "30"] {
        tree.remove(pid);
    }
    let error = pass(&mut source(&tree, Target::Neighbour), &mut Table::default(), 0).expect_err("refused");
    assert!(error.to_string().contains("shareProcessNamespace"), "{error}");
}

#[test]
fn a_whole_host_has_no_neighbour_and_its_init_is_not_taken_for_one() {
    let host = pod();
    host.write("2/stat", stat("kthreadd", 'S', 0, 1).replace("4194304", "2129984"));
    let with_init = pod();
    with_init.write("1/stat", stat("systemd", 'S', 0, 1));
    for tree in [host, with_init] {
        let error = pass(&mut source(&tree, Target::Neighbour), &mut Table::default(), 0).expect_err("refused");
        assert!(error.to_string().contains("a whole host"), "{error}");
        assert_eq!(found(&tree, Target::Name("node".into())), Some(20), "by its name it is found");
    }
}

#[test]
fn what_has_not_become_the_containers_program_yet_is_not_taken_for_it() {
    let tree = pod();
    tree.remove("21");
    tree.remove("30");
    tree.write("20/stat", stat("runc:[2:INIT]", 'S', 0, 300));
    let mut source = source(&tree, Target::Neighbour);
    assert_eq!(source.pid(), None);
    tree.write("20/stat", stat("node", 'S', 0, 300));
    values_after(&mut source, &mut Table::default(), 1000);
    assert_eq!(source.pid(), Some(20));
}

#[test]
fn where_groups_look_alike_the_mount_namespace_tells_containers_apart() {
    let tree = pod();
    for pid in ["1", "20", "21", "30"] {
        tree.write(&format!("{pid}/cgroup"), "0::/\n");
    }
    assert_eq!(found(&tree, Target::Neighbour), None);
    for (pid, namespace) in [("10", 1), ("11", 1), ("20", 2), ("30", 2)] {
        tree.link(&format!("{pid}/ns/mnt"), &format!("mnt:[{namespace}]"));
    }
    assert_eq!(found(&tree, Target::Neighbour), Some(20));
}

#[test]
fn behind_a_bare_init_its_oldest_child_is_the_service() {
    let tree = pod();
    tree.write("20/stat", stat("tini", 'S', 0, 300));
    assert_eq!(found(&tree, Target::Neighbour), Some(21));
    tree.remove("21");
    assert_eq!(found(&tree, Target::Neighbour), Some(20), "an init without a child is all there is");
}

#[test]
fn a_name_finds_the_oldest_of_that_comm_or_program() {
    let tree = pod();
    assert_eq!(found(&tree, Target::Name("node".into())), Some(20));
    assert_eq!(found(&tree, Target::Name("deno".into())), None);
    tree.link("30/exe", "/usr/bin/a-name-longer-than-15-bytes (deleted)");
    assert_eq!(found(&tree, Target::Name("a-name-longer-than-15-bytes".into())), Some(30));
    tree.write("30/stat", stat("a-name-longer-t", 'S', 0, 900));
    tree.remove("30/exe");
    assert_eq!(found(&tree, Target::Name("a-name-longer-than-15-bytes".into())), Some(30));
}

#[test]
fn ourselves_ended_processes_and_kernel_threads_are_never_found() {
    let tree = pod();
    tree.write("2/stat", stat("kthreadd", 'S', 0, 1).replace("4194304", "2129984"));
    tree.write("2/cgroup", "0::/\n");
    assert_eq!(found(&tree, Target::Name("agent".into())), None);
    assert_eq!(found(&tree, Target::Name("kthreadd".into())), None);
    tree.write("20/stat", stat("node", 'Z', 0, 300));
    assert_eq!(found(&tree, Target::Name("node".into())), Some(21));
    assert_eq!(found(&tree, Target::Pid(20)), None);
    assert_eq!(found(&tree, Target::Pid(30)), Some(30));
}

#[test]
fn without_a_readable_group_the_service_is_its_main_process_and_says_so() {
    let tree = pod();
    let mut source = source(&tree, Target::Neighbour);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let values = values_after(&mut source, &mut Table::default(), 1000);
    let expected = [
        ("service_cpu_seconds_total{source=\"stat\"}", 150.0 / ticks),
        ("service_cpu_usage_ratio{source=\"stat\"}", 0.0),
        ("service_memory_usage_bytes{source=\"stat\"}", 2.0 * page),
        ("service_process_cpu_system_seconds_total{}", 50.0 / ticks),
        ("service_process_cpu_usage_ratio{}", 0.0),
        ("service_process_cpu_user_seconds_total{}", 100.0 / ticks),
        ("service_process_max_fds{}", 1024.0),
        ("service_process_open_fds{}", 3.0),
        ("service_process_read_bytes_total{}", 4096.0),
        ("service_process_resident_memory_bytes{}", 2.0 * page),
        ("service_process_start_time_seconds{}", 1000.0 + 300.0 / ticks),
        ("service_process_threads{}", 11.0),
        ("service_process_virtual_memory_bytes{}", 8192.0),
        ("service_process_written_bytes_total{}", 8192.0),
    ];
    let expected: BTreeMap<String, f64> = expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    assert_eq!(values, expected);
    assert!(source.notes().iter().any(|note| note.problem.is_some() && note.path.ends_with("sys/fs/cgroup")));
}

#[test]
fn a_readable_group_gives_the_services_cpu_and_memory_and_its_own_series() {
    let tree = pod_with_readable_group();
    let values = values_after(&mut source(&tree, Target::Neighbour), &mut Table::default(), 1000);
    assert_eq!(values["service_cpu_seconds_total{source=\"cgroup\"}"], 9.0);
    assert_eq!(values["service_cpu_usage_ratio{source=\"cgroup\"}"], 0.0);
    assert_eq!(values["service_memory_usage_bytes{source=\"cgroup\"}"], 4000.0, "the working set");
    assert_eq!(values["cgroup_cpu_limit_cores{owner=\"service\"}"], 2.0);
    assert_eq!(values["service_process_threads{}"], 11.0, "the process is reported beside it");
    assert!(!values.keys().any(|series| series.contains("source=\"stat\"")));
}

#[test]
fn a_group_without_memory_leaves_only_memory_to_stat() {
    let tree = pod_with_readable_group();
    tree.remove("20/root/sys/fs/cgroup/memory.current");
    let values = values_after(&mut source(&tree, Target::Neighbour), &mut Table::default(), 1000);
    assert!(values.contains_key("service_cpu_seconds_total{source=\"cgroup\"}"));
    assert!(values.contains_key("service_memory_usage_bytes{source=\"stat\"}"));
}

#[test]
fn a_group_shared_with_us_or_the_whole_host_is_not_the_services_own() {
    for group in ["0::/\n", "0::/../agent\n"] {
        let tree = pod_with_readable_group();
        tree.write("10/cgroup", "0::/../agent\n");
        tree.write("20/cgroup", group);
        tree.write("20/mountinfo", "31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n");
        let values = values_after(&mut source(&tree, Target::Pid(20)), &mut Table::default(), 1000);
        assert!(values.contains_key("service_cpu_seconds_total{source=\"stat\"}"), "{group}");
    }
}

#[test]
fn what_we_may_not_read_is_left_out_and_noted() {
    let tree = pod();
    tree.remove("20/io");
    tree.remove("20/fd");
    let mut source = source(&tree, Target::Neighbour);
    let values = values_after(&mut source, &mut Table::default(), 1000);
    assert!(values.contains_key("service_process_threads{}"));
    assert!(!values.contains_key("service_process_open_fds{}"));
    let missing: Vec<PathBuf> =
        source.notes().into_iter().filter(|note| note.problem.is_some()).map(|note| note.path).collect();
    assert!(missing.iter().any(|path| path.ends_with("20/io")) && missing.iter().any(|path| path.ends_with("20/fd")));
}

#[test]
fn a_process_that_ended_is_stale_and_its_successor_is_found_with_new_series() {
    let tree = pod();
    let mut source = source(&tree, Target::Name("node".into()));
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);

    tree.write("20/stat", stat("node", 'Z', 0, 300));
    tree.remove("21");
    let error = pass(&mut source, &mut table, 2000).expect_err("refused");
    assert!(matches!(error, CollectError::Absent(_)), "{error}");
    assert!(!by_key(&table).contains_key("service_process_threads{}"));
    assert_eq!(source.pid(), None);

    tree.write("40/stat", stat("node", 'S', 0, 5000));
    tree.write("40/cgroup", "0::/../service\n");
    let values = values_after(&mut source, &mut table, 3000);
    assert_eq!((source.pid(), table.generation()), (Some(40), 2));
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    assert_eq!(values["service_process_start_time_seconds{}"], 1000.0 + 5000.0 / ticks);
}

#[test]
fn another_process_under_the_same_number_is_not_mistaken_for_the_one_that_ended() {
    let tree = pod();
    let mut source = source(&tree, Target::Pid(20));
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);
    tree.write("20/stat", stat("other", 'S', 0, 7777));
    let error = pass(&mut source, &mut table, 2000).expect_err("refused");
    assert!(error.to_string().starts_with("process 20 has ended;"), "{error}");
}

/// What could not be read when the process was found is read when it has become another program.
#[test]
fn files_are_opened_again_when_the_name_changes() {
    let tree = pod_with_readable_group();
    for path in ["20/io", "20/fd", "20/root"] {
        tree.remove(path);
    }
    let mut source = source(&tree, Target::Neighbour);
    let mut table = Table::default();
    let early = values_after(&mut source, &mut table, 1000);
    assert!(early.contains_key("service_cpu_seconds_total{source=\"stat\"}"));

    let whole = pod_with_readable_group();
    for path in ["io", "fd/0", "root/sys/fs/cgroup/cpu.stat", "root/sys/fs/cgroup/memory.current"] {
        tree.write(&format!("20/{path}"), std::fs::read(whole.path().join("20").join(path)).expect("it is there"));
    }
    assert!(!values_after(&mut source, &mut table, 11_000).contains_key("service_process_open_fds{}"), "the same name");
    tree.write("20/stat", stat("server", 'S', 0, 300));
    values_after(&mut source, &mut table, 12_000);
    let late = values_after(&mut source, &mut table, 13_000);
    assert_eq!(late["service_process_open_fds{}"], 1.0);
    assert_eq!(late["service_cpu_seconds_total{source=\"cgroup\"}"], 9.0);
    assert!(!late.contains_key("service_cpu_seconds_total{source=\"stat\"}"));
}

#[test]
fn files_that_were_missing_are_opened_after_a_minute_and_series_change_only_where_that_helped() {
    let tree = pod();
    tree.remove("20/io");
    let mut source = source(&tree, Target::Pid(20));
    let mut table = Table::default();
    for elapsed_ms in (0..=119_000).step_by(1000) {
        assert!(!values_after(&mut source, &mut table, elapsed_ms).contains_key("service_process_read_bytes_total{}"));
    }
    assert_eq!(table.generation(), 1);
    tree.write("20/io", "read_bytes: 1\nwrite_bytes: 2\n");
    let values = values_after(&mut source, &mut table, 120_000);
    assert_eq!(values["service_process_read_bytes_total{}"], 1.0);
}

/// A kept file of a group that was removed says ENODEV; a kept directory stands in, which says EISDIR.
#[test]
fn a_group_that_cannot_be_read_any_more_is_looked_for_again_and_left_to_stat_where_it_is_gone() {
    let tree = pod_with_readable_group();
    tree.remove("20/root/sys/fs/cgroup/memory.stat");
    tree.write("20/root/sys/fs/cgroup/memory.stat/in-its-place", "");
    let mut source = source(&tree, Target::Pid(20));
    let mut table = Table::default();
    assert_eq!(pass(&mut source, &mut table, 1000).expect_err("refused").reason(), "unreadable");
    tree.remove("20/root");
    assert!(pass(&mut source, &mut table, 9000).is_err(), "not again and again");
    let values = values_after(&mut source, &mut table, 10_000);
    assert!(values.contains_key("service_cpu_seconds_total{source=\"stat\"}"));
    assert!(values.contains_key("service_memory_usage_bytes{source=\"stat\"}"));
}

#[test]
fn a_search_that_found_nothing_is_repeated_at_growing_intervals() {
    let tree = pod();
    let mut source = source(&tree, Target::Name("late".into()));
    let mut table = Table::default();
    assert!(pass(&mut source, &mut table, 0).is_err()); // a search; the next is due after 1 s, then after 2 s
    assert!(pass(&mut source, &mut table, 1000).is_err());
    tree.write("50/stat", stat("late", 'S', 0, 6000));
    tree.write("50/cgroup", "0::/../service\n");
    let error = pass(&mut source, &mut table, 2999).expect_err("refused");
    assert!(error.to_string().contains("\"late\" was not found"), "{error}");
    assert!(values_after(&mut source, &mut table, 3000).contains_key("service_process_threads{}"));
}

#[test]
fn between_two_searches_the_pass_says_what_the_last_one_found() {
    let tree = pod();
    tree.write("1/stat", stat("systemd", 'S', 0, 100));
    let mut source = source(&tree, Target::Neighbour);
    let mut table = Table::default();
    let searched = pass(&mut source, &mut table, 0).expect_err("a whole host").to_string();
    assert!(searched.contains("whole host"), "{searched}");
    assert_eq!(pass(&mut source, &mut table, 500).expect_err("no search yet").to_string(), searched);
}

#[test]
fn the_pause_between_two_searches_grows_up_to_a_bound() {
    let tree = pod();
    let mut source = source(&tree, Target::Name("late".into()));
    let mut table = Table::default();
    for elapsed_ms in [0, 1000, 3000, 7000, 15_000, 30_000, 45_000, 60_000] {
        assert!(pass(&mut source, &mut table, elapsed_ms).is_err());
    }
    let State::Lost { next_search, pause, .. } = source.state else { panic!("it was never there") };
    assert_eq!((next_search, pause), (Duration::from_secs(75), PAUSE_MAX));
}

#[test]
fn a_malformed_stat_fails_the_pass_and_keeps_the_process() {
    let tree = pod_with_readable_group();
    let mut source = source(&tree, Target::Neighbour);
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);
    tree.write("20/stat", "20 (node) S x");
    let error = pass(&mut source, &mut table, 2000).expect_err("refused");
    assert!(error.to_string().contains("20/stat is malformed"), "{error}");
    assert_eq!(by_key(&table)["service_cpu_seconds_total{source=\"cgroup\"}"], 9.0, "the group is kept");
    tree.write("20/stat", stat("node", 'S', 0, 300));
    assert!(values_after(&mut source, &mut table, 3000).contains_key("service_process_threads{}"));
    assert_eq!(table.generation(), 1);
}

/// A real process that ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("coreutils"))
    }

    fn stop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_process_is_reported_until_it_ends() {
    let mut sleeper = Sleeper::start();
    let target = Target::Pid(sleeper.0.id());
    let mut source = Process::new(Path::new("/proc"), target, Duration::ZERO);
    let mut table = Table::default();
    let values = values_after(&mut source, &mut table, 1000);
    assert_eq!(values["service_process_threads{}"], 1.0);
    assert!(values["service_process_virtual_memory_bytes{}"] > 0.0);
    assert!(values["service_process_open_fds{}"] >= 1.0);

    sleeper.stop();
    let error = pass(&mut source, &mut table, 2000).expect_err("refused");
    assert!(error.to_string().contains("has ended;"), "{error}");
    assert!(pass(&mut source, &mut table, 3000).is_err(), "and there is no other");
}

#[test]
fn our_own_cpu_time_and_memory_are_those_of_proc() {
    let mut source = Process::new(Path::new("/proc"), Target::Pid(std::process::id()), Duration::ZERO);
    let mut table = Table::default();
    let ballast = vec![1_u8; 64 * 1024 * 1024];
    let before = values_after(&mut source, &mut table, 1000)["service_process_cpu_user_seconds_total{}"];
    let mut rounds = 0_u64;
    let after = loop {
        rounds += ballast.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        let values = values_after(&mut source, &mut table, 2000);
        if values["service_process_cpu_user_seconds_total{}"] > before + 0.05 {
            break values;
        }
    };
    assert!(rounds > 0 && after["service_process_cpu_usage_ratio{}"] > 0.0);
    assert!(after["service_process_resident_memory_bytes{}"] > ballast.len() as f64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_of_any_file_makes_a_pass_panic(index in 0_usize..7, content: Vec<u8>) {
        let tree = pod_with_readable_group();
        let mut before = source(&tree, Target::Neighbour);
        let file = ["stat", "10/cgroup", "20/stat", "20/cgroup", "20/io", "20/limits", "20/mountinfo"][index];
        tree.write(file, content);
        let mut table = Table::default();
        let _ = pass(&mut before, &mut table, 1000);
        let _ = pass(&mut before, &mut table, 2000);
        let _ = pass(&mut source(&tree, Target::Neighbour), &mut Table::default(), 1000);
    }
}

#[test]
fn of_two_that_began_in_the_same_tick_the_lower_number_is_the_older() {
    let tree = pod();
    tree.write("9/stat", stat("node", 'S', 0, 300));
    assert_eq!(found(&tree, Target::Name("node".into())), Some(9));
}

#[test]
fn a_process_with_a_file_that_we_do_not_understand_is_passed_over() {
    let tree = pod();
    tree.write("20/stat", "garbage");
    assert_eq!(found(&tree, Target::Neighbour), Some(21));
    tree.remove("21");
    tree.write("30/cgroup", "garbage");
    assert_eq!(found(&tree, Target::Neighbour), None);
}

#[test]
fn a_number_that_went_to_another_process_is_not_followed_and_the_error_says_so() {
    let tree = pod();
    let mut source = source(&tree, Target::Pid(20));
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);
    tree.write("20/stat", stat("other", 'S', 0, 4000));
    assert!(pass(&mut source, &mut table, 2000).is_err(), "the old one has ended");
    let error = pass(&mut source, &mut table, 3000).expect_err("refused");
    assert!(error.to_string().contains("another has its number"), "{error}");
    assert_eq!((source.pid(), by_key(&table).len()), (None, 0));
}

#[test]
fn the_share_of_a_successor_is_not_reckoned_from_its_predecessor() {
    let tree = pod();
    tree.remove("21");
    let mut source = source(&tree, Target::Name("node".into()));
    let mut table = Table::default();
    values_after(&mut source, &mut table, 1000);
    let mut successor = stat("node", 'S', 0, 4000).replace(" 100 50 ", " 900000 50 ");
    tree.write("20/stat", &successor);
    assert!(pass(&mut source, &mut table, 2000).is_err());
    let values = values_after(&mut source, &mut table, 3000);
    assert!(!values.contains_key("service_process_cpu_usage_ratio{}"), "one point in time is no share");
    let ticks = rustix::param::clock_ticks_per_second();
    successor = successor.replace(" 900000 ", &format!(" {} ", 900_000 + ticks / 2));
    tree.write("20/stat", &successor);
    assert_eq!(values_after(&mut source, &mut table, 4000)["service_process_cpu_usage_ratio{}"], 0.5);
}

#[test]
fn a_limit_of_open_files_that_is_raised_is_seen() {
    let tree = pod();
    let mut source = source(&tree, Target::Neighbour);
    let mut table = Table::default();
    assert_eq!(values_after(&mut source, &mut table, 1000)["service_process_max_fds{}"], 1024.0);
    tree.edit("20/limits", "1024", "9999");
    assert_eq!(values_after(&mut source, &mut table, 2000)["service_process_max_fds{}"], 9999.0);
    tree.edit("20/limits", "9999", "unlimited");
    assert!(!values_after(&mut source, &mut table, 3000).contains_key("service_process_max_fds{}"));
}

#[test]
fn open_files_are_counted_anew_in_each_pass() {
    let tree = pod();
    let mut source = source(&tree, Target::Neighbour);
    let mut table = Table::default();
    assert_eq!(values_after(&mut source, &mut table, 1000)["service_process_open_fds{}"], 3.0);
    tree.write("20/fd/3", "");
    assert_eq!(values_after(&mut source, &mut table, 2000)["service_process_open_fds{}"], 4.0);
}

#[test]
fn a_version_1_group_of_the_service_is_read_through_its_root() {
    let tree = pod();
    tree.write("10/cgroup", "3:cpu,cpuacct:/kubepods/pod/agent\n4:memory:/kubepods/pod/agent\n");
    for pid in ["1", "20", "21", "30"] {
        tree.write(&format!("{pid}/cgroup"), "3:cpu,cpuacct:/kubepods/pod/service\n4:memory:/kubepods/pod/service\n");
    }
    tree.write("11/cgroup", "3:cpu,cpuacct:/kubepods/pod/agent\n4:memory:/kubepods/pod/agent\n");
    let mount =
        |name: &str| format!("9 8 0:7 /kubepods/pod/service /sys/fs/cgroup/{name} ro - cgroup cgroup rw,{name}\n");
    tree.write("20/mountinfo", mount("cpu,cpuacct") + &mount("memory"));
    tree.write("20/root/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "4000000000\n");
    tree.write("20/root/sys/fs/cgroup/memory/memory.usage_in_bytes", "700\n");
    let values = values_after(&mut source(&tree, Target::Neighbour), &mut Table::default(), 1000);
    assert_eq!(values["service_cpu_seconds_total{source=\"cgroup\"}"], 4.0);
    assert_eq!(values["service_memory_usage_bytes{source=\"cgroup\"}"], 700.0, "all of it where no cache is told");
}

#[test]
fn environment_and_command_line_are_never_opened() {
    let tree = pod_with_readable_group();
    for pid in ["1", "10", "11", "20", "21", "30"] {
        // Whoever opened one of these would wait for a writer, and the test would not end.
        for file in ["environ", "cmdline"] {
            let path = tree.path().join(pid).join(file);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
        }
    }
    for target in [Target::Neighbour, Target::Name("node".into()), Target::Pid(20)] {
        let mut source = source(&tree, target);
        let mut table = Table::default();
        for elapsed_ms in [1000, 2000] {
            values_after(&mut source, &mut table, elapsed_ms);
        }
    }
}

#[test]
fn every_file_of_the_process_cut_at_any_byte_is_survived() {
    for file in ["20/stat", "20/io", "20/limits", "20/cgroup", "20/mountinfo"] {
        let tree = pod_with_readable_group();
        let good = std::fs::read(tree.path().join(file)).expect("it is there");
        let mut kept = source(&tree, Target::Pid(20));
        let mut table = Table::default();
        for end in 0..good.len() {
            tree.write(file, &good[..end]);
            let _ = pass(&mut kept, &mut table, end as u64 * 1000);
            let _ = pass(&mut source(&tree, Target::Neighbour), &mut Table::default(), 0);
            assert_eq!(table.values().len(), table.definitions().len());
        }
    }
}

/// What may happen to the watched process between two passes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Ends,
    Restarts,
    Garbage,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, a pass tells either the process that runs now, whole, or nothing of any process.
    #[test]
    fn a_pass_tells_the_present_process_or_none(
        events in prop::collection::vec(
            prop_oneof![Just(Event::Nothing), Just(Event::Ends), Just(Event::Restarts), Just(Event::Garbage)],
            1..12,
        )
    ) {
        let tree = pod();
        tree.remove("21");
        let mut source = source(&tree, Target::Name("node".into()));
        let mut table = Table::default();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let mut start_ticks = 300;
        for (index, event) in events.into_iter().enumerate() {
            match event {
                Event::Nothing => {}
                Event::Ends => tree.write("20/stat", stat("node", 'Z', 0, start_ticks)),
                Event::Restarts => {
                    start_ticks += 1000;
                    tree.write("20/stat", stat("node", 'S', 0, start_ticks));
                }
                Event::Garbage => tree.write("20/stat", "garbage"),
            }
            let outcome = pass(&mut source, &mut table, index as u64 * 20_000);
            let told = by_key(&table).get("service_process_start_time_seconds{}").copied();
            prop_assert_eq!(told.is_some(), outcome.is_ok());
            prop_assert!(told.is_none_or(|told| told == 1000.0 + start_ticks as f64 / ticks));
        }
    }
}

#[test]
fn the_notes_say_which_files_are_read_or_that_there_is_no_process() {
    let tree = pod_with_readable_group();
    let notes = source(&tree, Target::Neighbour).notes();
    let readable = |file: &str| notes.iter().any(|note| note.path.ends_with(file) && note.problem.is_none());
    for file in ["20/stat", "20/io", "20/limits", "20/fd", "root/sys/fs/cgroup/cpu.stat"] {
        assert!(readable(file), "{file}: {notes:#?}");
    }
    let lost = source(&tree, Target::Name("nobody".into())).notes();
    assert_eq!(lost.len(), 1);
    let problem = lost[0].problem.as_deref().unwrap_or_default();
    assert!(problem.starts_with("a process called \"nobody\" was not found;"), "{problem}");
    tree.write("20/cgroup", "0::/\n");
    let notes = source(&tree, Target::Pid(20)).notes();
    let of_group = notes.iter().find(|note| note.path.ends_with("root/sys/fs/cgroup")).expect("it is noted");
    assert!(of_group.problem.as_deref().is_some_and(|text| text.starts_with("no cgroup found, because it is in")));
}

#[test]
fn the_groups_series_end_with_the_process() {
    let tree = pod_with_readable_group();
    let mut source = source(&tree, Target::Pid(20));
    let mut table = Table::default();
    assert!(values_after(&mut source, &mut table, 1000).contains_key("cgroup_cpu_seconds_total{owner=\"service\"}"));
    tree.write("20/stat", stat("node", 'Z', 0, 300));
    assert!(pass(&mut source, &mut table, 2000).is_err());
    for elapsed_ms in [3000, 30_000, 60_000] {
        assert!(pass(&mut source, &mut table, elapsed_ms).is_err());
        assert!(by_key(&table).is_empty(), "nothing is told of a process that has ended");
    }
}

#[test]
fn a_child_of_ours_is_found_by_its_name_on_the_real_machine() {
    // Beside our own program, where programs may run; a temporary directory may be mounted noexec.
    let ours = std::env::current_exe().expect("Linux");
    let dir = tempfile::tempdir_in(ours.parent().expect("a file")).expect("it was built there");
    // Longer than 15 bytes, so that comm is cut and exe is whole; and nobody else's.
    let name = format!("a-service-under-test-{}", std::process::id());
    std::fs::copy("/bin/sh", dir.path().join(&name)).expect("a shell");
    let mut command = Command::new(dir.path().join(&name));
    // As `sh` also where it is one of many in a binary; it waits for a line that never comes.
    command.arg0("sh").args(["-c", "read line"]).stdin(Stdio::piped());
    let child = Sleeper(command.spawn().expect("a shell"));
    let source = Process::new(Path::new("/proc"), Target::Name(name), Duration::ZERO);
    assert_eq!(source.pid(), Some(child.0.id()));
}
