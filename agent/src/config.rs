//! Configuration: one YAML file, overridden by `MONITORING_*` and by flags; the only place that reads the environment.
//!
//! Reading is pure and complains about everything at once, with line and column. Defaults are named constants;
//! `agent/config.example.yaml` shows every field, and a test holds it to this file.

mod check;

use crate::collect::{NetworkMounts, PROC, Target};
use clap::Args;
use proto::document::{Document, Problem, Table};
use runtime::backoff::{BASE, CAP};
use runtime::fail_point::FailPoint;
use runtime::log;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// Where the aggregator listens by default.
pub const AGGREGATOR: &str = "http://127.0.0.1:7400";
/// Where the agent's own pages are by default. Loopback: they are for the pod's neighbours and probes.
pub const LISTEN_HTTP: &str = "127.0.0.1:7481";
/// Where services hand in what they report, by default.
pub const LISTEN_REPORT: &str = "127.0.0.1:7482";
/// How often the fast collectors read.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How often the slow ones (file systems, the agent itself) read: their values move in minutes.
pub const SLOW_INTERVAL: Duration = Duration::from_secs(10);
/// How long a pass may take. One takes about a millisecond; half a second is a machine in trouble.
pub const DEADLINE: Duration = Duration::from_millis(500);
/// Bounds of an interval: below 100 ms the agent would be the load that it measures.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Bounds of the wait between two attempts to reach the aggregator.
pub const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// What the spool may take on the disk: at one second and 1 to 3.6 KiB a record, some one to three days of a host.
pub const SPOOL_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Smallest spool: a segment is an eighth of it, here 4 MiB, which is four of the largest records.
pub const SPOOL_MIN_BYTES: u64 = 32 * 1024 * 1024;
/// Where the spool lies by default.
pub const SPOOL_DIR: &str = "/var/lib/monitoring-agent";

/// Everything that the agent needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// URL of the aggregator's gRPC port.
    pub aggregator: String,
    /// The watched service; identity on the dashboards.
    pub service: String,
    /// Which copy of the service: the pod's or host's name.
    pub instance: String,
    /// The clinic, where the service works for just one.
    pub clinic_id: Option<Uuid>,
    /// How often batches are made.
    pub interval: Duration,
    /// Where `/metrics`, `/healthz` and `/status` are served; port 0 takes a free one.
    pub listen_http: SocketAddr,
    /// Where services hand in what they report: on loopback; `None` switches it off. Port 0 takes a free one.
    pub listen_report: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: log::Format,
    /// Which log lines there are: a level, or `module=level` pairs.
    pub log_level: log::Filter,
    /// First and last bound of the wait between two attempts to reach the aggregator.
    pub backoff: (Duration, Duration),
    /// The spool.
    pub spool: Spool,
    /// The collectors.
    pub collectors: Collectors,
    /// Where procfs is mounted; elsewhere than `/proc` only where the host's is mounted into a container.
    pub proc: PathBuf,
    /// Where a test lets us die.
    pub fail_point: Option<FailPoint>,
}

/// The spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Its directory; one agent's own.
    pub dir: PathBuf,
    /// What it may take on the disk.
    pub max_bytes: u64,
    /// What "durable" means.
    pub mode: spool::Mode,
}

/// When a collector runs and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whether it runs at all.
    pub enabled: bool,
    /// How often.
    pub interval: Duration,
    /// How long a pass may take before it counts as overrun.
    pub deadline: Duration,
}

/// Schedules of all collectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collectors {
    /// CPU, memory, load, disks, network, pressure.
    pub host: Schedule,
    /// Space on mounted file systems.
    pub filesystem: Schedule,
    /// The agent's own cgroup, which in a pod is the pod's or container's.
    pub cgroup: Schedule,
    /// The watched process.
    pub process: Schedule,
    /// Which process is watched; `None` for none.
    pub process_target: Option<Target>,
    /// Whether network file systems are asked for their space; one that is dead hangs the collector.
    pub network_mounts: NetworkMounts,
    /// The agent itself.
    pub agent: Schedule,
}

/// What the command line and the environment can override.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Configuration file (YAML)
    #[arg(long, env = "MONITORING_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// URL of the aggregator, e.g. http://127.0.0.1:7400
    #[arg(long, env = "MONITORING_AGGREGATOR", value_name = "URL")]
    pub aggregator: Option<String>,
    /// Name of the watched service
    #[arg(long, env = "MONITORING_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// Which copy of the service this is [default: the host's name]
    #[arg(long, env = "MONITORING_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
    /// The clinic that the service works for, if there is just one
    #[arg(long, env = "MONITORING_CLINIC_ID", value_name = "UUID")]
    pub clinic_id: Option<String>,
    /// How often samples are taken, e.g. 1s
    #[arg(long, env = "MONITORING_INTERVAL", value_name = "DURATION")]
    pub interval: Option<String>,
    /// Directory of the spool
    #[arg(long, env = "MONITORING_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Size of the spool, e.g. 256MiB
    #[arg(long, env = "MONITORING_SPOOL_MAX_BYTES", value_name = "SIZE")]
    pub spool_max_bytes: Option<String>,
    /// Address of the agent's own pages; port 0 takes a free one
    #[arg(long, env = "MONITORING_LISTEN_HTTP", value_name = "ADDRESS")]
    pub listen_http: Option<String>,
    /// Address on loopback where services hand in events, or "off"; port 0 takes a free one
    #[arg(long, env = "MONITORING_LISTEN_REPORT", value_name = "ADDRESS")]
    pub listen_report: Option<String>,
    /// Process to watch: a pid, a name, or "neighbour"
    #[arg(long, env = "MONITORING_PROCESS", value_name = "TARGET")]
    pub process: Option<String>,
    /// Log lines as text or json
    #[arg(long, env = "MONITORING_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Log level, or module=level pairs
    #[arg(long, env = "MONITORING_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// For tests of crashes: where to die, and at which time of getting there
    #[arg(long, env = "MONITORING_FAIL_POINT", value_name = "NAME:N", hide = true)]
    pub fail_point: Option<String>,
}

impl Config {
    /// How often passes come from the busiest source. The aggregator counts the agent's silence in these.
    pub fn shortest_interval(&self) -> Duration {
        let Collectors { host, filesystem, cgroup, process, agent, .. } = &self.collectors;
        let process = self.collectors.process_target.as_ref().map(|_| process);
        let all = [host, filesystem, cgroup, agent].into_iter().chain(process);
        let enabled = all.filter(|schedule| schedule.enabled);
        enabled.map(|schedule| schedule.interval).min().unwrap_or(self.interval)
    }
}

// === reading ===

impl Config {
    /// The configuration of `text` (a YAML document, `""` for none) with `overrides`. `host_name` is the instance's
    /// default. All mistakes at once.
    pub fn read(text: &str, overrides: &Overrides, host_name: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(text).map_err(|problem| vec![problem])?;
        let config = read_root(&document, overrides, host_name);
        document.finish(config)
    }
}

fn read_root(document: &Document, overrides: &Overrides, host_name: &str) -> Config {
    let root = document.root();
    let aggregator = root.pick("aggregator", "aggregator", overrides.aggregator.as_deref(), check::url);
    let service = root.pick("service", "service", overrides.service.as_deref(), check::identity);
    if service.is_none() && overrides.service.is_none() && !root.has("service") {
        document.problem("service is not set; set it with --service, MONITORING_SERVICE or `service:`");
    }
    let instance = root.pick("instance", "instance", overrides.instance.as_deref(), check::identity);
    let clinic_id = root.pick("clinic_id", "clinic-id", overrides.clinic_id.as_deref(), check::uuid);
    let interval = root.pick("interval", "interval", overrides.interval.as_deref(), check::interval);
    let interval = interval.unwrap_or(INTERVAL);
    let listen_http = root.pick("listen_http", "listen-http", overrides.listen_http.as_deref(), check::address);
    let listen_report = root.pick("listen_report", "listen-report", overrides.listen_report.as_deref(), check::report);
    let (log_format, log_level) = read_log(&root, overrides);
    let backoff = read_backoff(&root);
    let spool = read_spool(&root, overrides);
    let collectors = read_collectors(&root, overrides, interval);
    let proc = root.text("proc").map_or_else(|| PROC.into(), PathBuf::from);
    root.finish();
    let fail_point = read_fail_point(document, overrides);
    Config {
        aggregator: aggregator.unwrap_or_else(|| AGGREGATOR.into()),
        service: service.unwrap_or_default(),
        instance: instance.unwrap_or_else(|| host_name.into()),
        clinic_id,
        interval,
        listen_http: listen_http.unwrap_or_else(|| LISTEN_HTTP.parse().expect("a constant address")),
        listen_report: listen_report.unwrap_or_else(|| Some(LISTEN_REPORT.parse().expect("a constant address"))),
        log_format,
        log_level,
        backoff,
        spool,
        collectors,
        proc,
        fail_point,
    }
}

fn read_fail_point(document: &Document, overrides: &Overrides) -> Option<FailPoint> {
    let order = overrides.fail_point.as_deref()?.parse();
    order.inspect_err(|error| document.problem(format!("--fail-point: {error}"))).ok()
}

fn read_log(root: &Table<'_>, overrides: &Overrides) -> (log::Format, log::Filter) {
    let check = |text: &str| text.parse().map_err(|_| format!("{text:?} is neither text nor json"));
    let check_level = |text: &str| text.parse().map_err(|error: log::LogError| error.to_string());
    let table = root.section("log");
    let format = table.pick("format", "log-format", overrides.log_format.as_deref(), check);
    let level = table.pick("level", "log-level", overrides.log_level.as_deref(), check_level);
    table.finish();
    (format.unwrap_or_default(), level.unwrap_or_default())
}

fn read_backoff(root: &Table<'_>) -> (Duration, Duration) {
    let table = root.section("backoff");
    let cap = table.parsed("cap", check::backoff).unwrap_or(CAP);
    let base = table.parsed("base", |text| {
        let base = check::backoff(text)?;
        if base <= cap { Ok(base) } else { Err(format!("{text:?} is longer than backoff.cap, which is {cap:?}")) }
    });
    table.finish();
    // Where only the cap is given, below the usual base, that is both.
    (base.unwrap_or(BASE.min(cap)), cap)
}

fn read_spool(root: &Table<'_>, overrides: &Overrides) -> Spool {
    let table = root.section("spool");
    let dir = table.text("dir").map(PathBuf::from);
    let max_bytes =
        table.pick("max_bytes", "spool-max-bytes", overrides.spool_max_bytes.as_deref(), check::spool_bytes);
    let mode = table.parsed("mode", check::mode);
    table.finish();
    Spool {
        dir: overrides.spool_dir.clone().or(dir).unwrap_or_else(|| SPOOL_DIR.into()),
        max_bytes: max_bytes.unwrap_or(SPOOL_MAX_BYTES),
        mode: mode.unwrap_or(spool::Mode::Durable),
    }
}

fn read_collectors(root: &Table<'_>, overrides: &Overrides, interval: Duration) -> Collectors {
    let slow = interval.max(SLOW_INTERVAL);
    let on = |interval| Schedule { enabled: true, interval, deadline: DEADLINE };
    let mut collectors = Collectors {
        host: on(interval),
        filesystem: on(slow),
        cgroup: on(interval),
        process: on(interval),
        process_target: None,
        network_mounts: NetworkMounts::Skip,
        agent: on(slow),
    };
    let table = root.section("collectors");
    read_schedule(&table, "host", &mut collectors.host);
    read_schedule(&table, "cgroup", &mut collectors.cgroup);
    read_schedule(&table, "agent", &mut collectors.agent);

    let filesystem = table.section("filesystem");
    if filesystem.flag("network_mounts") == Some(true) {
        collectors.network_mounts = NetworkMounts::Include;
    }
    fill_schedule(&filesystem, &mut collectors.filesystem);
    filesystem.finish();

    let process = table.section("process");
    collectors.process_target =
        process.pick("target", "process", overrides.process.as_deref(), check::target).flatten();
    fill_schedule(&process, &mut collectors.process);
    process.finish();
    table.finish();
    collectors
}

fn read_schedule(table: &Table<'_>, field: &'static str, schedule: &mut Schedule) {
    let own = table.section(field);
    fill_schedule(&own, schedule);
    own.finish();
}

fn fill_schedule(table: &Table<'_>, schedule: &mut Schedule) {
    schedule.enabled = table.flag("enabled").unwrap_or(schedule.enabled);
    schedule.interval = table.parsed("interval", check::interval).unwrap_or(schedule.interval);
    schedule.deadline = table.parsed("deadline", check::deadline).unwrap_or(schedule.deadline);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &Overrides) -> Result<Config, String> {
        Config::read(text, overrides, "pod-1")
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_sample_file_shows_every_field_with_its_default() {
        let sample = include_str!("../config.example.yaml");
        let bare = read("service: agenda", &Overrides::default()).expect("valid");
        assert_eq!(read(sample, &Overrides::default()).expect("valid"), bare);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_their_places() {
        let text = "aggregator: ftp://x\nclinic_id: 42\ninterval: 1ms\nlisten_http: here\nlisten_report: 0.0.0.0:7482\nspool:\n  max_bytes: 1KiB\n  mode: lazy\n\
            collectors:\n  host: {interval: 2x}\n  process: {target: ''}\n  gpu: {}\nlog: {format: xml, level: inof}\nextra: 1\n";
        insta::assert_snapshot!(read(text, &Overrides::default()).unwrap_err(), @r#"
        service is not set; set it with --service, MONITORING_SERVICE or `service:`
        1:13: aggregator "ftp://x" must be a URL with http://, a host and a port, like http://127.0.0.1:7400
        2:12: clinic_id "42" is not a uuid
        3:11: interval "1ms" is not between 100ms and 120s
        4:14: listen_http "here" is not an address; write it like 127.0.0.1:7481
        5:16: listen_report "0.0.0.0:7482" is not on loopback, and whoever can connect is believed; use 127.0.0.1:7482
        7:14: spool.max_bytes must be at least 33554432 bytes (32MiB)
        8:9: spool.mode "lazy" is neither durable nor fast
        10:20: collectors.host.interval "2x" is not a duration such as 30s, 5m or 1h30m (units y w d h m s ms, in this order)
        11:21: collectors.process.target must be a pid, a name, "neighbour" or "none"
        12:3: collectors.gpu is not a field; known here: host, cgroup, agent, filesystem, process
        13:15: log.format "xml" is neither text nor json
        13:27: log.level "inof" is not a log level; use off, error, warn, info, debug, trace, or pairs like sqlx=warn
        14:1: extra is not a field; known here: aggregator, service, instance, clinic_id, interval, listen_http, listen_report, log, backoff, spool, collectors, proc
        "#);
    }

    #[test]
    fn a_fail_point_that_does_not_exist_is_a_mistake() {
        let at = |order: &str| {
            let overrides = Overrides { fail_point: Some(order.into()), ..Overrides::default() };
            read("service: agenda", &overrides)
        };
        assert!(at("agent.synced:2").is_ok_and(|config| config.fail_point.is_some()));
        assert!(at("agent.sunk:2").unwrap_err().contains("--fail-point: \"agent.sunk\" is not a fail point"));
    }

    #[test]
    fn flags_win_over_the_file_and_their_mistakes_name_the_flag() {
        let flags = Overrides {
            service: Some("fila".into()),
            interval: Some("250ms".into()),
            process: Some("4711".into()),
            ..Overrides::default()
        };
        let config = read("service: agenda\ninterval: 5s", &flags).expect("valid");
        assert_eq!((config.service.as_str(), config.interval), ("fila", Duration::from_millis(250)));
        assert_eq!(config.collectors.host.interval, Duration::from_millis(250));
        assert_eq!(config.collectors.process_target, Some(Target::Pid(4711)));
        assert_eq!(config.instance, "pod-1");

        let wrong = Overrides { aggregator: Some("nowhere".into()), clinic_id: Some("x".into()), ..flags };
        let mistakes = read("", &wrong).unwrap_err();
        assert!(mistakes.contains("--aggregator: \"nowhere\" must be a URL"), "{mistakes}");
        assert!(mistakes.contains("--clinic-id: \"x\" is not a uuid"), "{mistakes}");
    }

    #[test]
    fn a_url_needs_its_port_and_must_not_carry_a_password_which_is_never_repeated() {
        let url = |url: &str| {
            let flags = Overrides { aggregator: Some(url.into()), ..Overrides::default() };
            read("service: agenda", &flags).map(|config| config.aggregator)
        };
        assert_eq!(url("http://aggregator:7400/"), Ok("http://aggregator:7400".into()));
        assert!(url("http://aggregator").unwrap_err().contains("has no port"));
        let refused = url("http://user:hunter2@aggregator:7400").unwrap_err();
        assert!(refused.contains("a user or a password") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn the_services_door_is_on_loopback_or_off() {
        let door = |text: &str| {
            let flags = Overrides { listen_report: Some(text.into()), ..Overrides::default() };
            read("service: agenda", &flags).map(|config| config.listen_report)
        };
        assert_eq!(door("off"), Ok(None));
        assert_eq!(door("[::1]:0").map(|address| address.is_some()), Ok(true));
        assert!(door("10.0.0.1:7482").unwrap_err().contains("--listen-report: \"10.0.0.1:7482\" is not on loopback"));
        assert!(door("here").unwrap_err().contains("neither an address nor off"));
    }

    #[test]
    fn a_backoff_that_begins_beyond_its_end_is_refused() {
        let backoff = |yaml: &str| {
            read(&format!("service: agenda\nbackoff: {yaml}"), &Overrides::default()).map(|config| config.backoff)
        };
        assert!(backoff("{base: 10s, cap: 5s}").unwrap_err().contains("2:17: backoff.base \"10s\" is longer"));
        assert_eq!(backoff("{base: 5s, cap: 5s}"), Ok((Duration::from_secs(5), Duration::from_secs(5))));
        assert_eq!(backoff("{cap: 500ms}"), Ok((Duration::from_millis(500), Duration::from_millis(500))));
    }

    #[test]
    fn the_announced_interval_is_that_of_the_busiest_collector_that_runs() {
        let shortest = |yaml: &str| {
            let text = format!("service: agenda\ninterval: 5s\ncollectors: {yaml}");
            read(&text, &Overrides::default()).map(|config| config.shortest_interval().as_secs())
        };
        assert_eq!(shortest("{cgroup: {interval: 2s}}"), Ok(2));
        let off = "host: {enabled: false}, cgroup: {enabled: false}";
        assert_eq!(shortest(&format!("{{{off}, agent: {{interval: 20s}}}}")), Ok(10), "the file systems'");
        assert_eq!(shortest(&format!("{{{off}, process: {{target: node}}}}")), Ok(5));
    }

    #[test]
    fn a_service_is_the_one_thing_that_must_be_said() {
        assert!(read("", &Overrides::default()).unwrap_err().contains("service is not set"));
    }
}
