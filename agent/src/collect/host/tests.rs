use super::*;
use crate::collect::tests::{Tree, by_key, pass};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;

const STAT: &str = "cpu  1000 0 500 8000 500 0 0 0 0 0\ncpu0 1000 0 500 8000 500 0 0 0 0 0\n\
    intr 424557 0\nctxt 422519\nbtime 1795489555\nprocesses 11579\nprocs_running 2\nprocs_blocked 0\n";
const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:        100 kB\nMemAvailable:   400 kB\nBuffers:  10 kB\n\
    Cached:   200 kB\nSwapCached:  0 kB\nSwapTotal:   50 kB\nSwapFree:    20 kB\n";
const VDA: &str = " 254 0 vda 1 2 3 4 5 6 7 8 0 10 11 0 0 0 0 0 0\n";
const VDB: &str = " 254 16 vdb 10 20 30 40 50 60 70 80 0 100 110 0 0 0 0 0 0\n";
const VDB1: &str = " 254 17 vdb1 9 9 9 9 9 9 9 9 0 9 9 0 0 0 0 0 0\n";
const HEADINGS: &str = "Inter-| Receive | Transmit\n face |bytes packets | bytes packets\n";
const LO: &str = "    lo: 3245 30 0 0 0 0 0 0 3245 30 0 0 0 0 0 0\n";
const ETH0: &str = "  eth0: 2066 72 1 2 0 0 0 0 4994 40 3 4 0 0 0 0\n";
const PRESSURE: &str = "some avg10=0.00 avg60=0.07 avg300=0.89 total=2000000\n\
    full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";

/// Every file that the source reads, each with a series that it alone gives.
const FILES: [(&str, &str); 10] = [
    ("stat", "system_cpus{}"),
    ("meminfo", "system_memory_total_bytes{}"),
    ("loadavg", "system_load1{}"),
    ("uptime", "system_uptime_seconds{}"),
    ("vmstat", "system_oom_kills_total{}"),
    ("diskstats", "system_disk_reads_total{device=\"vda\"}"),
    ("net/dev", "system_network_receive_bytes_total{device=\"lo\"}"),
    ("pressure/cpu", "system_pressure_waiting_seconds_total{resource=\"cpu\"}"),
    ("pressure/memory", "system_pressure_waiting_seconds_total{resource=\"memory\"}"),
    ("pressure/io", "system_pressure_waiting_seconds_total{resource=\"io\"}"),
];

fn tree() -> Tree {
    Tree::new(&[
        ("stat", STAT),
        ("meminfo", MEMINFO),
        ("loadavg", "0.25 0.44 0.49 1/84 11583\n"),
        ("uptime", "1115.04 1442.33\n"),
        ("vmstat", "nr_free_pages 1\npswpin 1\npswpout 2\npgmajfault 3\noom_kill 4\n"),
        ("diskstats", &format!("{VDA}{VDB}{VDB1}")),
        ("net/dev", &format!("{HEADINGS}{LO}{ETH0}")),
        ("pressure/cpu", PRESSURE),
        ("pressure/memory", PRESSURE),
        ("pressure/io", PRESSURE),
    ])
}

fn values_after(host: &mut Host, table: &mut Table) -> BTreeMap<String, f64> {
    pass(host, table, 0).expect("every file is well formed");
    by_key(table)
}

#[test]
fn a_pass_reports_the_whole_host() {
    let tree = tree();
    let mut host = Host::new(tree.path(), Duration::ZERO);
    let values = values_after(&mut host, &mut Table::default());
    for (file, series) in FILES {
        assert!(values.contains_key(series), "{file} gave no {series}: {values:#?}");
    }
    assert_eq!(values["system_memory_usage_bytes{}"], 600.0 * 1024.0, "total minus available");
    assert_eq!(values["system_swap_usage_bytes{}"], 30.0 * 1024.0);
    assert_eq!(values["system_load5{}"], 0.44);
    assert_eq!(values["system_pressure_stalled_seconds_total{resource=\"io\"}"], 1.0);
    assert_eq!(values["system_disk_writes_total{device=\"vdb\"}"], 50.0);
    assert_eq!(values["system_network_transmit_dropped_total{device=\"eth0\"}"], 4.0);
    assert!(!values.contains_key("system_disk_reads_total{device=\"vdb1\"}"), "a partition");
    assert!(!values.contains_key("system_cpu_usage_percent{}"), "one point in time is no share");
}

#[test]
fn the_first_pass_already_has_the_cpu_share_since_the_source_was_made() {
    let tree = tree();
    let mut host = Host::new(tree.path(), Duration::ZERO);
    tree.edit("stat", "cpu  1000 0 500 8000 500", "cpu  1020 0 505 8070 505");
    let mut table = Table::default();
    assert!(!values_after(&mut host, &mut table).contains_key("system_cpu_usage_percent{}"), "too early to tell");
    pass(&mut host, &mut table, 100).expect("every file is well formed");
    let values = by_key(&table);
    assert_eq!(values["system_cpu_usage_percent{}"], 25.0);
}

#[test]
fn devices_that_come_and_go_change_the_series_and_nothing_else_does() {
    let tree = tree();
    let mut host = Host::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    let before = values_after(&mut host, &mut table);
    values_after(&mut host, &mut table);
    assert_eq!(table.generation(), 1, "nothing changed");

    tree.write("diskstats", VDB);
    tree.write("net/dev", format!("{HEADINGS}{LO}{ETH0}{}", ETH0.replace("eth0", "eth1")));
    let after = values_after(&mut host, &mut table);
    assert_eq!(table.generation(), 2);
    assert!(!after.keys().any(|series| series.contains("\"vda\"")));
    assert_eq!(after["system_disk_reads_total{device=\"vdb\"}"], before["system_disk_reads_total{device=\"vdb\"}"]);
    assert_eq!(after["system_network_receive_bytes_total{device=\"eth1\"}"], 2066.0);

    tree.write("diskstats", "");
    let without = values_after(&mut host, &mut table);
    assert_eq!(without["system_disks_unreported{}"], 0.0);
    assert!(!without.keys().any(|series| series.starts_with("system_disk_")));
}

#[test]
fn a_malformed_file_is_named_and_costs_only_its_own_series() {
    for (broken, its_series) in FILES {
        let tree = tree();
        let mut host = Host::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        values_after(&mut host, &mut table);
        let good = std::fs::read(tree.path().join(broken)).expect("it is there");

        tree.write(broken, b"pgmajfault\nsome total=x\n\n-1 \xff\xfe 99999999999999999999999 eth0: -4");
        let error = pass(&mut host, &mut table, 0).expect_err("refused");
        assert!(matches!(error, CollectError::Malformed { .. }), "{broken}: {error}");
        assert!(error.to_string().contains(broken), "{broken}: {error}");
        let values = by_key(&table);
        for (file, series) in FILES {
            assert_eq!(values.contains_key(series), file != broken, "{series} of {file} with a broken {broken}");
        }

        tree.write(broken, good);
        assert!(values_after(&mut host, &mut table).contains_key(its_series), "{broken} is well again");
    }
}

#[test]
fn every_file_cut_at_any_byte_is_survived() {
    for (file, _) in FILES {
        let tree = tree();
        let good = std::fs::read(tree.path().join(file)).expect("it is there");
        let mut host = Host::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        for end in 0..good.len() {
            tree.write(file, &good[..end]);
            let _ = pass(&mut host, &mut table, 0);
            assert_eq!(table.values().len(), table.definitions().len());
        }
    }
}

#[test]
fn what_this_kernel_lacks_is_left_out_and_noted_and_the_rest_is_no_failure() {
    let tree = tree();
    for file in ["pressure/cpu", "pressure/memory", "pressure/io", "vmstat", "diskstats", "net/dev"] {
        tree.remove(file);
    }
    let mut host = Host::new(tree.path(), Duration::ZERO);
    let values = values_after(&mut host, &mut Table::default());
    assert!(values.contains_key("system_memory_usage_bytes{}"));
    let missing = host.notes().into_iter().filter(|note| note.problem.is_some()).count();
    assert_eq!((host.notes().len(), missing), (10, 6));
}

/// As a directory stands in their places, the files are there and cannot be read, whoever asks.
#[test]
fn what_is_there_and_cannot_be_read_at_the_start_fails_and_comes_back() {
    for file in ["vmstat", "diskstats", "net/dev", "pressure/io"] {
        let tree = tree();
        let good = std::fs::read(tree.path().join(file)).expect("it is there");
        tree.remove(file);
        tree.write(&format!("{file}/in-its-place"), "");
        let mut host = Host::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        let error = pass(&mut host, &mut table, 0).expect_err("refused");
        assert_eq!(error.reason(), "unreadable", "{file}: {error}");
        assert!(by_key(&table).contains_key("system_load1{}"));

        tree.remove(file);
        tree.write(file, good);
        let its_series = FILES.iter().find(|(name, _)| *name == file).expect("one of them").1;
        assert!(values_after(&mut host, &mut table).contains_key(its_series), "{file} is read again");
    }
}

#[test]
fn a_required_file_that_is_missing_fails_each_pass_until_it_is_there() {
    let tree = tree();
    tree.remove("meminfo");
    let mut host = Host::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    for _ in 0..2 {
        let error = pass(&mut host, &mut table, 0).expect_err("refused");
        assert!(error.to_string().contains("/meminfo;"), "{error}");
        assert!(by_key(&table).contains_key("system_load1{}"));
    }
    tree.write("meminfo", MEMINFO);
    assert_eq!(values_after(&mut host, &mut table)["system_memory_total_bytes{}"], 1_024_000.0);
    assert_eq!(table.generation(), 1, "the series were declared from the beginning");
}

#[test]
fn the_real_host_agrees_with_proc_and_free() {
    let mut host = Host::new(Path::new("/proc"), Duration::ZERO);
    let mut table = Table::default();
    pass(&mut host, &mut table, 0).expect("this is Linux");
    let values = by_key(&table);

    let free = Command::new("free").arg("-b").env("LC_ALL", "C").output();
    if let Ok(output) = free {
        let text = String::from_utf8(output.stdout).expect("ASCII");
        let memory: Vec<f64> =
            text.lines().nth(1).expect("a line Mem").split_whitespace().flat_map(str::parse).collect();
        let (total, available) = (memory[0], memory[5]);
        assert_eq!(values["system_memory_total_bytes{}"], total);
        let apart = (values["system_memory_usage_bytes{}"] - (total - available)).abs();
        assert!(apart < total / 10.0, "{apart} bytes apart from {text}");
    }
    let stat = std::fs::read("/proc/stat").expect("this is Linux");
    assert_eq!(
        values["system_cpus{}"],
        stat.split(|b| *b == b'\n').filter(|l| l.starts_with(b"cpu")).count() as f64 - 1.0
    );
    let cpu_seconds: f64 =
        values.iter().filter(|(key, _)| key.starts_with("system_cpu_seconds_total")).map(|(_, value)| value).sum();
    let line = stat.split(|byte| *byte == b'\n').next().expect("a first line").to_vec();
    let line = String::from_utf8(line).expect("ASCII");
    let ticks: f64 = line.split_whitespace().skip(1).take(8).flat_map(str::parse::<f64>).sum();
    let told = ticks / rustix::param::clock_ticks_per_second() as f64;
    assert!((told - 60.0..=told + 1.0).contains(&cpu_seconds), "{cpu_seconds} s against {told} s read a moment later");
    assert!(values.contains_key("system_network_receive_bytes_total{device=\"lo\"}"));
}

#[test]
fn on_the_real_host_counters_do_not_fall_between_passes() {
    let mut host = Host::new(Path::new("/proc"), Duration::ZERO);
    let mut table = Table::default();
    pass(&mut host, &mut table, 0).expect("this is Linux");
    let before = by_key(&table);
    pass(&mut host, &mut table, 10).expect("this is Linux");
    for (series, value) in by_key(&table).iter().filter(|(series, _)| series.contains("_total{")) {
        assert!(before.get(series).is_none_or(|before| value >= before), "{series} fell to {value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_of_any_file_makes_a_pass_panic(index in 0..FILES.len(), contents in prop::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let tree = tree();
        let mut host = Host::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        for content in contents {
            tree.write(FILES[index].0, content);
            let _ = pass(&mut host, &mut table, 0);
            prop_assert_eq!(table.values().len(), table.definitions().len());
        }
    }
}

#[test]
fn a_pod_sees_its_interfaces_and_not_those_of_others() {
    let tree = tree();
    let others = ["veth12ab", "cali99", "lxc_health"].map(|name| ETH0.replace("eth0", name)).concat();
    tree.write("net/dev", format!("{HEADINGS}{LO}{others}{ETH0}"));
    let values = values_after(&mut Host::new(tree.path(), Duration::ZERO), &mut Table::default());
    let received = values.keys().filter(|key| key.starts_with("system_network_receive_bytes_total")).count();
    assert_eq!((received, values["system_network_interfaces_unreported{}"]), (2, 0.0));
}

#[test]
fn a_node_with_more_devices_than_are_reported_says_how_many() {
    let tree = tree();
    let disks: String = (0..70).map(|index| VDA.replace("vda", &format!("dm-{index}"))).collect();
    tree.write("diskstats", disks);
    let mut host = Host::new(tree.path(), Duration::ZERO);
    let mut table = Table::default();
    let values = values_after(&mut host, &mut table);
    assert_eq!(values["system_disks_unreported{}"], 6.0);
    assert!(values.contains_key("system_disk_reads_total{device=\"dm-63\"}"));
    assert!(!values.contains_key("system_disk_reads_total{device=\"dm-64\"}"));
    assert!(table.definitions().len() < proto::limits::SERIES_PER_SCHEMA_MAX);
}

#[test]
fn a_host_at_every_limit_fits_into_one_schema() {
    let tree = tree();
    tree.write("diskstats", (0..500).map(|index| VDA.replace("vda", &format!("dm-{index}"))).collect::<String>());
    let interfaces: String = (0..500).map(|index| ETH0.replace("eth0", &format!("eth{index}"))).collect();
    tree.write("net/dev", format!("{HEADINGS}{interfaces}"));
    let mut table = Table::default();
    pass(&mut Host::new(tree.path(), Duration::ZERO), &mut table, 0).expect("it fits");
    assert_eq!(by_key(&table)["system_network_interfaces_unreported{}"], 436.0);
}

#[test]
fn a_kernel_before_5_13_tells_no_stalls_of_the_cpu() {
    let tree = tree();
    tree.write("pressure/cpu", PRESSURE.lines().next().expect("two lines"));
    let values = values_after(&mut Host::new(tree.path(), Duration::ZERO), &mut Table::default());
    assert!(values.contains_key("system_pressure_waiting_seconds_total{resource=\"cpu\"}"));
    assert!(!values.contains_key("system_pressure_stalled_seconds_total{resource=\"cpu\"}"));
    assert!(values.contains_key("system_pressure_stalled_seconds_total{resource=\"io\"}"));
}

#[test]
fn memory_that_the_kernel_calls_more_available_than_there_is_is_no_negative_usage() {
    let tree = tree();
    tree.edit("meminfo", "MemAvailable:   400", "MemAvailable:   4000");
    tree.edit("meminfo", "SwapFree:    20", "SwapFree:    2000");
    let values = values_after(&mut Host::new(tree.path(), Duration::ZERO), &mut Table::default());
    assert_eq!((values["system_memory_usage_bytes{}"], values["system_swap_usage_bytes{}"]), (0.0, 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the devices do, a pass tells exactly those that are there now.
    #[test]
    fn a_pass_tells_the_disks_that_are_there_now(passes in prop::collection::vec(prop::collection::btree_set(0_u8..6, 0..6), 1..8)) {
        let tree = tree();
        let mut host = Host::new(tree.path(), Duration::ZERO);
        let mut table = Table::default();
        for disks in passes {
            tree.write("diskstats", disks.iter().map(|disk| VDA.replace("vda", &format!("dm-{disk}"))).collect::<String>());
            let values = values_after(&mut host, &mut table);
            let told: Vec<&String> = values.keys().filter(|key| key.starts_with("system_disk_reads_total")).collect();
            let expected: Vec<String> = disks.iter().map(|disk| format!("system_disk_reads_total{{device=\"dm-{disk}\"}}")).collect();
            prop_assert_eq!(told, expected.iter().collect::<Vec<_>>());
            prop_assert_eq!(values["system_load1{}"], 0.25);
        }
    }
}
