use super::*;
use proptest::prelude::*;

const STAT: &str = "cpu  1669 65886 8612 144233 873 1 227 967 5 6\n\
    cpu0 444 32007 3801 74122 274 0 11 563 0 0\ncpu1 1224 33878 4810 70110 598 0 215 403 0 0\n\
    intr 424557 0 0 1\nctxt 422519\nbtime 1795489555\nprocesses 11579\nprocs_running 2\nprocs_blocked 3\n\
    softirq 252255 0 34458\n";

fn cpu() -> Cpu {
    Cpu::new(KeptFile::new("/nonexistent/stat"), Duration::ZERO, &mut Cells::default())
}

/// Ticks of user, idle and iowait; the other modes stand still.
fn modes(user: u64, idle: u64, iowait: u64) -> [u64; 8] {
    [user, 0, 0, idle, iowait, 0, 0, 0]
}

#[test]
fn the_file_of_a_real_kernel_is_understood() {
    let expected = Reading {
        modes: [1669, 65886, 8612, 144_233, 873, 1, 227, 967],
        cpus: 2,
        keyed: Ok([422_519, 1_795_489_555, 11_579, 2, 3].map(Some)),
    };
    assert_eq!(parse(STAT.as_bytes()), Ok(expected));
    assert_eq!(boot_time_seconds(STAT.as_bytes()), Ok(1_795_489_555));
}

#[test]
fn an_old_kernel_with_four_modes_is_understood() {
    assert_eq!(parse_modes(b"cpu 1 2 3 4"), Ok([1, 2, 3, 4, 0, 0, 0, 0]));
}

#[test]
fn each_mistake_is_named() {
    let flaw = |from: &str, to: &str| parse(STAT.replacen(from, to, 1).as_bytes()).expect_err("refused").to_string();
    assert!(flaw("cpu ", "gpu ").starts_with("expected a first line cpu"));
    assert!(flaw("65886", "-65886").contains(r#"CPU time in whole ticks, found "-65886""#));
    assert!(flaw("65886", "99999999999999999999").contains("CPU time in whole ticks"));
    assert!(flaw("967", "x").contains("CPU time in whole ticks"));
}

#[test]
fn a_minor_key_that_is_missing_or_malformed_costs_no_cpu_time() {
    let reading = |from: &str, to: &str| parse(STAT.replacen(from, to, 1).as_bytes()).expect("the CPU's line is whole");
    assert_eq!(reading("btime", "mtime").keyed, Ok([Some(422_519), None, Some(11_579), Some(2), Some(3)]));
    let flaw = reading("procs_running 2", "procs_running two").keyed.expect_err("refused").to_string();
    assert!(flaw.contains("a whole number after procs_running"), "{flaw}");
}

/// One pass of `cpu` in each second.
fn usage(cpu: &mut Cpu, second: u64, modes: [u64; 8]) -> Option<f64> {
    cpu.update_usage(Duration::from_secs(second), modes)
}

#[test]
fn a_window_of_a_tick_or_two_has_no_share() {
    let mut cpu = cpu();
    let at = Duration::from_millis;
    assert_eq!(cpu.update_usage(at(0), modes(100, 900, 50)), None);
    assert_eq!(cpu.update_usage(at(10), modes(101, 900, 50)), None, "one tick: 100 % or 0 %, and neither is true");
    assert_eq!(cpu.update_usage(at(99), modes(102, 907, 50)), None);
    assert_eq!(cpu.update_usage(at(100), modes(102, 908, 50)), Some(20.0));
    assert_eq!(cpu.update_usage(at(199), modes(112, 908, 50)), Some(20.0), "still the same window");
}

#[test]
fn usage_is_what_was_neither_idle_nor_waiting_for_io() {
    let mut cpu = cpu();
    assert_eq!(usage(&mut cpu, 1, modes(100, 900, 50)), None, "one point is no share");
    assert_eq!(usage(&mut cpu, 2, modes(125, 965, 60)), Some(25.0));
    assert_eq!(usage(&mut cpu, 3, modes(125, 965, 60)), Some(25.0), "no tick since: the same window");
    assert_eq!(usage(&mut cpu, 4, modes(225, 965, 60)), Some(100.0));
}

#[test]
fn iowait_that_steps_back_counts_as_no_time() {
    let mut cpu = cpu();
    usage(&mut cpu, 1, modes(0, 0, 1000));
    assert_eq!(usage(&mut cpu, 2, modes(30, 70, 900)), Some(30.0));
}

#[test]
fn after_all_counters_went_back_usage_starts_anew() {
    let mut cpu = cpu();
    usage(&mut cpu, 1, modes(1000, 1000, 0));
    usage(&mut cpu, 2, modes(1100, 1100, 0));
    assert_eq!(usage(&mut cpu, 3, modes(10, 10, 0)), None);
    assert_eq!(usage(&mut cpu, 4, modes(20, 20, 0)), Some(50.0));
}

#[test]
fn an_exported_counter_stands_still_over_a_small_step_back_and_follows_a_reset() {
    let mut cpu = cpu();
    let ticks = |seconds: u64| seconds * rustix::param::clock_ticks_per_second();
    assert_eq!(cpu.exported(IOWAIT, ticks(100)), 100.0);
    assert_eq!(cpu.exported(IOWAIT, ticks(95)), 100.0);
    assert_eq!(cpu.exported(IOWAIT, ticks(101)), 101.0);
    assert_eq!(cpu.exported(IOWAIT, ticks(2)), 2.0);
}

#[test]
fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
    for end in 0..STAT.len() {
        let _ = parse(&STAT.as_bytes()[..end]);
    }
}

/// A node with 256 CPUs, as it stands in front of thousands of interrupts.
#[test]
fn a_large_machine_is_understood() {
    let mut text = String::from("cpu  1 2 3 4 5 6 7 8 9 10\n");
    text.extend((0..256).map(|cpu| format!("cpu{cpu} 1 2 3 4 5 6 7 8 9 10\n")));
    text.extend(["intr 1", &" 0".repeat(10_000), "\n"]);
    text += "ctxt 1\nbtime 2\nprocesses 3\nprocs_running 4\nprocs_blocked 5\n";
    assert_eq!(
        parse(text.as_bytes()).map(|reading| (reading.cpus, reading.keyed)),
        Ok((256, Ok([1, 2, 3, 4, 5].map(Some))))
    );
}

/// gVisor imitates the file with the least that programs look for.
#[test]
fn a_sandbox_without_numbered_cpus_is_understood() {
    let text = b"cpu 1 2 3 4 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime 7\nprocesses 0\nprocs_running 0\nprocs_blocked 0\n";
    assert_eq!(parse(text).map(|reading| (reading.cpus, reading.keyed)), Ok((0, Ok([0, 7, 0, 0, 0].map(Some)))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        let _ = parse(&[b"cpu ", bytes.as_slice()].concat());
    }

    #[test]
    fn usage_is_always_within_0_and_100(points in prop::collection::vec(any::<[u32; 8]>(), 1..20)) {
        let mut cpu = cpu();
        for (second, point) in (1..).zip(points) {
            if let Some(percent) = usage(&mut cpu, second, point.map(u64::from)) {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
        }
    }

    #[test]
    fn an_exported_counter_falls_only_where_the_kernel_began_anew(points in prop::collection::vec(0_u64..100_000, 1..30)) {
        let mut cpu = cpu();
        let mut before = 0.0;
        for ticks in points {
            let told = ticks as f64 / cpu.ticks_per_second;
            let exported = cpu.exported(IDLE, ticks);
            prop_assert!(exported == told || (exported == before && before - told <= STEP_BACK_MAX_SECONDS));
            before = exported;
        }
    }

    #[test]
    fn usage_of_whole_windows_is_what_was_used_of_all(busy in 0_u64..10_000, idle in 0_u64..10_000) {
        prop_assume!(busy + idle > 0);
        let mut cpu = cpu();
        usage(&mut cpu, 1, modes(7, 8, 9));
        let percent = usage(&mut cpu, 2, modes(7 + busy, 8 + idle, 9)).expect("time went by");
        let expected = 100.0 * busy as f64 / (busy + idle) as f64;
        prop_assert!((percent - expected).abs() < 1e-9);
    }
}
