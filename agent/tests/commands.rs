//! `once`, `check` and what `run` shows of a collector that hangs: the real program, on a copied `/proc`.

mod fixture;

use fixture::Proc;
use rustix::fs::{CWD, FileType, mknodat};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A configuration for `proc`, with deadlines that no machine under load misses, except as `more` says.
fn configure(proc: &Proc, dir: &Path, more: &str) -> String {
    let text = format!(
        "service: agenda\nproc: {}\nspool: {{dir: {}}}\naggregator: http://127.0.0.1:1\ncollectors:\n{more}",
        proc.path().display(),
        dir.join("spool").display()
    );
    let path = dir.join("agent.yaml");
    std::fs::write(&path, text).expect("it is writable");
    path.display().to_string()
}

const PATIENT: &str = "  host: {deadline: 60s}\n  filesystem: {deadline: 60s}\n  cgroup: {deadline: 60s}\n  \
                       process: {deadline: 60s, target: 20}\n  agent: {deadline: 60s}\n";

fn agent(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    command.args(args).env_clear();
    command
}

fn run(args: &[&str]) -> (Output, String) {
    let output = agent(args).output().expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn once_prints_each_collector_with_its_duration_its_deadline_and_its_samples() {
    let (proc, dir) = (Proc::new(), dir());
    let (output, text) = run(&["once", "--config", &configure(&proc, dir.path(), PATIENT)]);
    assert!(output.status.success(), "{output:?}");
    for source in ["host", "filesystem", "cgroup", "process"] {
        let heading = text.lines().find(|line| line.starts_with(&format!("# {source}: "))).expect("each has one");
        assert!(heading.ends_with(" ms of 60s"), "{heading}");
    }
    let sample = |name: &str| text.lines().find(|line| line.starts_with(name)).expect("it is printed").to_owned();
    assert!(sample("system_memory_usage_bytes").ends_with(" 614400"));
    assert!(sample("service_cpu_seconds_total{source=\"cgroup\"}").ends_with(" 5"));
    assert!(!text.contains("# agent:"), "what the agent says of itself is not of this machine");
}

#[test]
fn once_as_json_is_one_document_with_every_collector() {
    let (proc, dir) = (Proc::new(), dir());
    let (output, text) = run(&["once", "--format", "json", "--config", &configure(&proc, dir.path(), PATIENT)]);
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_str(&text).expect("one document");
    let mut names: Vec<&str> =
        document.as_array().expect("a list").iter().filter_map(|pass| pass["collector"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cgroup", "filesystem", "host", "process"]);
    for pass in document.as_array().expect("a list") {
        assert!(pass["error"].is_null() && pass["duration_seconds"].is_f64(), "{pass}");
        assert_eq!(pass["deadline_seconds"], 60.0);
        assert!(pass["samples"].as_array().is_some_and(|samples| !samples.is_empty()), "{pass}");
    }
}

#[test]
fn once_names_a_malformed_file_and_prints_what_the_others_say() {
    let (proc, dir) = (Proc::new(), dir());
    proc.write("meminfo", "MemTotal: much\n");
    let (output, text) = run(&["once", "--config", &configure(&proc, dir.path(), PATIENT)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("meminfo is malformed: expected a whole number after MemTotal:, found \"much\""), "{text}");
    assert!(text.contains("system_load1 ") && text.contains("cgroup_memory_usage_bytes"), "{text}");
}

/// Whoever opens the FIFO waits for a writer that never comes, as a call to a dead file server waits.
#[test]
fn once_names_a_collector_that_hangs_after_its_deadline_and_prints_the_others() {
    for format in ["table", "json"] {
        let (proc, dir) = (Proc::new(), dir());
        let loadavg = proc.path().join("loadavg");
        std::fs::remove_file(&loadavg).expect("it is there");
        mknodat(CWD, &loadavg, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
        let config = configure(&proc, dir.path(), &PATIENT.replacen("60s", "100ms", 1));
        let (output, text) = run(&["once", "--format", format, "--config", &config]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text.contains("no result within its deadline of 100ms"), "{text}");
        assert!(text.contains("cgroup_memory_usage_bytes"), "{text}");
        let document = serde_json::from_str::<Value>(&text);
        assert_eq!(document.is_ok(), format == "json", "{text}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_both_quietly() {
    let (proc, dir) = (Proc::new(), dir());
    let config = configure(&proc, dir.path(), PATIENT);
    for args in [
        &["once", "--config", &config][..],
        &["once", "--format", "json", "--config", &config],
        &["check", "--config", &config],
    ] {
        let mut child = agent(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn check_says_what_can_be_read_and_what_not_and_why_there_is_no_cgroup() {
    let (proc, dir) = (Proc::new(), dir());
    std::fs::remove_file(proc.path().join("vmstat")).expect("it is there");
    proc.write("self/cgroup", "0::/elsewhere\n");
    let (output, text) = run(&["check", "--config", &configure(&proc, dir.path(), PATIENT)]);
    assert!(output.status.success(), "nothing would stop the agent or lose samples: {output:?}");
    let line = |end: &str| text.lines().find(|line| line.contains(end)).unwrap_or_else(|| panic!("no {end} in {text}"));
    assert!(line("/proc/stat").starts_with("ok    host: "));
    assert!(line("/vmstat").starts_with("no    host: ") && line("/vmstat").contains("No such file"));
    assert!(line("no cgroup found, because").starts_with("no    cgroup: "));
    assert!(line("20/root/sys/fs/cgroup/cpu.stat").starts_with("ok    process: "));
    assert!(line("ok    filesystem: ").contains(&proc.path().parent().expect("below it").display().to_string()));
}

#[test]
fn check_is_not_held_up_by_a_file_that_hangs() {
    let (proc, dir) = (Proc::new(), dir());
    let uptime = proc.path().join("uptime");
    std::fs::remove_file(&uptime).expect("it is there");
    mknodat(CWD, &uptime, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let config = configure(&proc, dir.path(), &PATIENT.replacen("60s", "100ms", 1));
    let (output, text) = run(&["check", "--config", &config]);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("no    host: its files do not answer within its deadline of 100ms"), "{text}");
    assert!(text.contains("ok    cgroup: "), "{text}");
}

#[test]
fn a_spool_that_cannot_be_opened_is_named_with_the_way_out_and_a_foreign_file_in_it_is_shown() {
    let (proc, dir) = (Proc::new(), dir());
    let config = configure(&proc, dir.path(), PATIENT);
    let spool = dir.path().join("spool");
    std::fs::write(&spool, "a file").expect("it is writable");
    let (output, _) = run(&["run", "--config", &config, "--listen-http", "127.0.0.1:0", "--listen-report", "off"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&spool.display().to_string()) && said.contains("--spool-dir"), "{said}");
    assert!(said.contains("check that it is what it should be"), "{said}");
    let (output, text) = run(&["check", "--config", &config]);
    assert!(!output.status.success() && text.contains(&format!("WRONG spool {}", spool.display())), "{text}");

    std::fs::remove_file(&spool).expect("ours");
    std::fs::create_dir(&spool).expect("ours");
    std::fs::write(spool.join("notes.txt"), "not a segment").expect("ours");
    let (output, text) = run(&["check", "--config", &config]);
    assert!(output.status.success(), "a foreign file stops nobody: {text}");
    assert!(text.contains("notes.txt"), "{text}");
}

/// A running agent that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[test]
fn a_collector_that_hangs_from_the_start_is_unhealthy_on_the_metrics_page_and_the_others_run() {
    let (proc, dir) = (Proc::new(), dir());
    let loadavg = proc.path().join("loadavg");
    std::fs::remove_file(&loadavg).expect("it is there");
    mknodat(CWD, &loadavg, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let config = configure(&proc, dir.path(), &PATIENT.replacen("60s", "100ms", 1));
    let mut command = agent(&["run", "--config", &config, "--listen-http", "127.0.0.1:0", "--listen-report", "off"]);
    let mut running = Running(command.stderr(Stdio::piped()).spawn().expect("it was built"));
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| {
            let (_, rest) = line.split_once("http=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .expect("it says where");
    // Nobody asks /healthz or /status: the page alone has to tell.
    let sought = [
        "monitoring_collector_healthy{collector=\"host\"} 0",
        "monitoring_collector_overruns_total{collector=\"host\"} 1",
        "monitoring_collector_healthy{collector=\"cgroup\"} 1",
        "monitoring_collector_failures_total{collector=\"host\",reason=\"panic\"} 0",
    ];
    while !sought.iter().all(|line| page(&address, "/metrics").contains(line)) {
        std::thread::yield_now();
    }
}
