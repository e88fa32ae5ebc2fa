//! Configuration: one YAML file, overridden by `MONITORING_*` and by flags; the only place that reads the environment.
//!
//! Reading is pure and complains about everything at once, with line and column. Defaults are named constants;
//! `aggregator/config.example.yaml` shows every field, and a test holds it to this file.

use crate::store::{StoreError, check_url};
use clap::Args;
use proto::document::{Document, Problem, Table, parse_duration};
use reqwest::Url;
use runtime::fail_point::FailPoint;
use runtime::log;
use runtime::secret::Secret;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tsdb::Limits;

/// The embedded default: nothing to install.
pub const DATABASE: &str = "sqlite:///var/lib/monitoring-aggregator/monitoring.db";
/// Where agents connect by default. Loopback: plain text goes no further unless said.
pub const LISTEN_GRPC: &str = "127.0.0.1:7400";
/// Where the pages are by default.
pub const LISTEN_HTTP: &str = "127.0.0.1:7480";
/// How often rules are evaluated at least, where their group does not say.
pub const EVALUATION_INTERVAL: Duration = Duration::from_secs(15);
/// How long things are kept.
pub const RETENTION: Retention = Retention {
    log: Duration::from_secs(24 * 3600),
    notifications: Duration::from_secs(30 * 24 * 3600),
    alerts: Duration::from_secs(400 * 24 * 3600),
    agents: Duration::from_secs(30 * 24 * 3600),
    events: Duration::from_secs(400 * 24 * 3600),
};
/// The shortest log: what a restart reads, and the hour in which long streams write their schemas again.
pub const LOG_RETENTION_MIN: Duration = Duration::from_secs(2 * 3600);
/// The shortest of the others: notifications are tried for a day, and agents that are lost are shown for one.
pub const HISTORY_RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);
/// Alerts of one message at the most.
pub const MAX_ALERTS: usize = 100;

/// How long each kind of thing stays in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Batches. A restart needs a quarter of an hour of them; a day is for looking back.
    pub log: Duration,
    /// Notifications that were accepted or refused, whole: who was told of what. A month, for the on-call's review.
    pub notifications: Duration,
    /// Alerts that are resolved. A year and a month: the same week of last year can be compared.
    pub alerts: Duration,
    /// Agents of which nothing comes, and how far their streams are stored. An agent that returns after longer with a
    /// batch that was stored, but whose ack it never got, has it stored again. What is missing of them goes with them.
    pub agents: Duration,
    /// Business events. A year and a month, as alerts. A key that comes again after longer is a new event.
    pub events: Duration,
}

/// Everything that the aggregator needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// URL of the database; may hold a password.
    pub database: Secret,
    /// Where agents connect; port 0 takes a free one.
    pub listen_grpc: SocketAddr,
    /// Where the pages are; port 0 takes a free one.
    pub listen_http: SocketAddr,
    /// Where people reach the pages, for links in notifications; without a slash at the end.
    pub external_url: Option<String>,
    /// The rule file.
    pub rules: Option<PathBuf>,
    /// How often rules are evaluated at least.
    pub evaluation_interval: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// The webhook that gets every notification.
    pub webhook: Option<Secret>,
    /// Alerts of one message at the most.
    pub max_alerts: usize,
    /// Bounds of the head.
    pub limits: Limits,
    /// How log lines look.
    pub log_format: log::Format,
    /// Which log lines there are.
    pub log_level: log::Filter,
    /// Where a test lets us die.
    pub fail_point: Option<FailPoint>,
}

/// What the command line and the environment can override.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Configuration file (YAML)
    #[arg(long, env = "MONITORING_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, env = "MONITORING_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// Address for agents; port 0 takes a free one
    #[arg(long, env = "MONITORING_LISTEN_GRPC", value_name = "ADDRESS")]
    pub listen_grpc: Option<String>,
    /// Address of the pages; port 0 takes a free one
    #[arg(long, env = "MONITORING_LISTEN_HTTP", value_name = "ADDRESS")]
    pub listen_http: Option<String>,
    /// Prometheus rule file
    #[arg(long, env = "MONITORING_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// How often rules are evaluated at least, e.g. 15s
    #[arg(long, env = "MONITORING_EVALUATION_INTERVAL", value_name = "DURATION")]
    pub evaluation_interval: Option<String>,
    /// URL that gets every notification by POST
    #[arg(long, env = "MONITORING_WEBHOOK_URL", value_name = "URL", hide_env_values = true)]
    pub webhook_url: Option<String>,
    /// Where people reach the pages, for links in notifications
    #[arg(long, env = "MONITORING_EXTERNAL_URL", value_name = "URL")]
    pub external_url: Option<String>,
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

/// Plain HTTP leaves this machine only when somebody has said so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Insecure {
    Refused,
    Allowed,
}

// === reading ===

impl Config {
    /// The configuration of `text` (a YAML document, `""` for none) with `overrides`; all mistakes at once.
    pub fn read(text: &str, overrides: &Overrides) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(text).map_err(|problem| vec![problem])?;
        let config = read_root(&document, overrides);
        document.finish(config)
    }
}

fn read_root(document: &Document, over: &Overrides) -> Config {
    let root = document.root();
    let database = root.pick("database", "database", over.database.as_deref(), check_database);
    let listen_grpc = root.pick("listen_grpc", "listen-grpc", over.listen_grpc.as_deref(), check_address);
    let listen_http = root.pick("listen_http", "listen-http", over.listen_http.as_deref(), check_address);
    let external_url = root.pick("external_url", "external-url", over.external_url.as_deref(), check_external_url);
    let rules = root.pick("rules", "rules", None, |text| Ok(PathBuf::from(text)));
    let interval = over.evaluation_interval.as_deref();
    let interval = root.pick("evaluation_interval", "evaluation-interval", interval, check_interval);
    let retention = read_retention(&root);
    let (webhook, max_alerts) = read_webhook(&root, over);
    let limits = read_limits(&root);
    let (log_format, log_level) = read_log(&root, over);
    root.finish();
    let fail_point = read_fail_point(document, over);
    Config {
        database: database.unwrap_or_else(|| Secret::new(DATABASE.into())),
        listen_grpc: listen_grpc.unwrap_or_else(|| LISTEN_GRPC.parse().expect("a constant address")),
        listen_http: listen_http.unwrap_or_else(|| LISTEN_HTTP.parse().expect("a constant address")),
        external_url,
        rules: over.rules.clone().or(rules),
        evaluation_interval: interval.unwrap_or(EVALUATION_INTERVAL),
        retention,
        webhook,
        max_alerts,
        limits,
        log_format,
        log_level,
        fail_point,
    }
}

fn read_fail_point(document: &Document, over: &Overrides) -> Option<FailPoint> {
    let order = over.fail_point.as_deref()?.parse();
    order.inspect_err(|error| document.problem(format!("--fail-point: {error}"))).ok()
}

fn read_webhook(root: &Table<'_>, over: &Overrides) -> (Option<Secret>, usize) {
    let table = root.section("webhook");
    let insecure = match table.flag("allow_insecure") {
        Some(true) => Insecure::Allowed,
        Some(false) | None => Insecure::Refused,
    };
    let url = table.pick("url", "webhook-url", over.webhook_url.as_deref(), |text| check_webhook(text, insecure));
    let max_alerts = table.parsed("max_alerts", check_count).unwrap_or(MAX_ALERTS);
    table.finish();
    (url, max_alerts)
}

fn read_retention(root: &Table<'_>) -> Retention {
    let table = root.section("retention");
    let history = |key| table.parsed(key, |text| check_retention(text, HISTORY_RETENTION_MIN));
    let agents = history("agents").unwrap_or(RETENTION.agents);
    let log = table.parsed("log", |text| check_log_retention(text, agents));
    let retention = Retention {
        log: log.unwrap_or(RETENTION.log),
        notifications: history("notifications").unwrap_or(RETENTION.notifications),
        alerts: history("alerts").unwrap_or(RETENTION.alerts),
        agents,
        events: history("events").unwrap_or(RETENTION.events),
    };
    table.finish();
    retention
}

fn read_limits(root: &Table<'_>) -> Limits {
    let table = root.section("limits");
    let default = Limits::default();
    let series = table.parsed("series", check_count).unwrap_or(default.series);
    let series_per_agent = table.parsed("series_per_agent", check_count).unwrap_or(default.series_per_agent);
    table.finish();
    Limits { series, series_per_agent, ..default }
}

fn read_log(root: &Table<'_>, over: &Overrides) -> (log::Format, log::Filter) {
    let check = |text: &str| text.parse().map_err(|_| format!("{text:?} is neither text nor json"));
    let check_level = |text: &str| text.parse().map_err(|error: log::LogError| error.to_string());
    let table = root.section("log");
    let format = table.pick("format", "log-format", over.log_format.as_deref(), check);
    let level = table.pick("level", "log-level", over.log_level.as_deref(), check_level);
    table.finish();
    (format.unwrap_or_default(), level.unwrap_or_default())
}

// === checks: what a text must be ===

fn check_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address; write it like {LISTEN_HTTP}"))
}

fn check_external_url(text: &str) -> Result<String, String> {
    let mistake = || format!("{text:?} is not a URL; write it like https://monitoring.example");
    let url = Url::parse(text).map_err(|_| mistake())?;
    if matches!(url.scheme(), "http" | "https") { Ok(text.trim_end_matches('/').into()) } else { Err(mistake()) }
}

/// The message of a wrong one is without its password.
fn check_database(text: &str) -> Result<Secret, String> {
    match check_url(text) {
        Ok(()) => Ok(Secret::new(text.into())),
        Err(StoreError::Url { url, problem }) => Err(format!(
            "{url:?} is not understood: {problem}; write it like sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// A webhook's URL is a secret, so no message repeats it.
fn check_webhook(text: &str, insecure: Insecure) -> Result<Secret, String> {
    let url = Url::parse(text).map_err(|_| "is not a URL; write it like https://hooks.example/path".to_string())?;
    let loopback = match url.host() {
        Some(reqwest_host) => {
            let host = reqwest_host.to_string();
            host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => return Err("has no host".into()),
    };
    match url.scheme() {
        "https" => Ok(Secret::new(text.into())),
        "http" if loopback || insecure == Insecure::Allowed => Ok(Secret::new(text.into())),
        "http" => Err("is plain http; use https, or set webhook.allow_insecure: true".into()),
        _ => Err("must begin with https://".into()),
    }
}

fn check_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is not a whole number from 1"))
}

fn check_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval >= Duration::from_secs(1) { Ok(interval) } else { Err(format!("{text:?} is shorter than 1s")) }
}

fn check_retention(text: &str, shortest: Duration) -> Result<Duration, String> {
    let retention = parse_duration(text)?;
    let hours = shortest.as_secs() / 3600;
    if retention >= shortest { Ok(retention) } else { Err(format!("{text:?} is shorter than {hours}h")) }
}

/// Positions must outlive batches: else what is stored would be called missing when its agent goes on.
fn check_log_retention(text: &str, agents: Duration) -> Result<Duration, String> {
    let retention = check_retention(text, LOG_RETENTION_MIN)?;
    if retention > agents {
        return Err(format!(
            "{text:?} is longer than retention.agents, and an agent's position must outlive its batches; raise retention.agents to {text} at least"
        ));
    }
    Ok(retention)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &Overrides) -> Result<Config, String> {
        Config::read(text, overrides)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_sample_file_shows_every_field_with_its_default() {
        let sample = include_str!("../config.example.yaml");
        let (sample, bare) = (read(sample, &Overrides::default()), read("", &Overrides::default()));
        assert_eq!(format!("{:?}", sample.expect("valid")), format!("{:?}", bare.expect("valid")));
    }

    #[test]
    fn all_mistakes_are_reported_at_once_and_no_secret_with_them() {
        let text = "listen_grpc: here\nretention: {log: 5m, alerts: 2h}\nwebhook:\n  url: http://hooks.example/S3CR3T\n  max: 1\n  max_alerts: 0\nlimits: {series: many, series_per_agent: 0}\n";
        let flags = Overrides { webhook_url: Some("ftp://x/S3CR3T".into()), ..Overrides::default() };
        let mistakes = read(text, &flags).unwrap_err();
        assert!(!mistakes.contains("S3CR3T"), "{mistakes}");
        insta::assert_snapshot!(mistakes, @r#"
        --webhook-url: must begin with https://
        1:14: listen_grpc "here" is not an address; write it like 127.0.0.1:7480
        2:18: retention.log "5m" is shorter than 2h
        2:30: retention.alerts "2h" is shorter than 24h
        4:8: webhook.url is plain http; use https, or set webhook.allow_insecure: true
        5:3: webhook.max is not a field; known here: allow_insecure, url, max_alerts
        6:15: webhook.max_alerts "0" is not a whole number from 1
        7:18: limits.series "many" is not a whole number from 1
        7:42: limits.series_per_agent "0" is not a whole number from 1
        "#);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "listen_grpc: 127.0.0.1:1\nlisten_http: 127.0.0.1:2\nevaluation_interval: 1m\nlog: {format: json}\n";
        let flags = Overrides {
            listen_grpc: Some("0.0.0.0:0".into()),
            rules: Some("/etc/rules.yml".into()),
            log_level: Some("debug".into()),
            ..Overrides::default()
        };
        let config = read(file, &flags).expect("valid");
        assert_eq!((config.listen_grpc.port(), config.listen_http.port()), (0, 2));
        assert_eq!((config.evaluation_interval, config.retention), (Duration::from_secs(60), RETENTION));
        assert_eq!(config.rules, Some(PathBuf::from("/etc/rules.yml")));
        assert_eq!((config.log_format, Ok(config.log_level)), (log::Format::Json, "debug".parse()));
        assert_eq!(config.database.expose(), DATABASE);
    }

    #[test]
    fn a_wrong_database_or_log_level_is_named_with_its_place_before_anything_starts() {
        let text = "database: mysql://ana:S3CR3T@db/aten\nlog:\n  level: warning\n";
        let flags = Overrides {
            database: Some("postgres://:S3CR3T@db".into()),
            log_level: Some("a=b=c".into()),
            ..Overrides::default()
        };
        let mistakes = read(text, &flags).unwrap_err();
        assert!(!mistakes.contains("S3CR3T"), "{mistakes}");
        insta::assert_snapshot!(mistakes, @r#"
        --database: "postgres://:***@db" is not understood: it names no user; write it like sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
        --log-level: "b=c" is not a log level; use off, error, warn, info, debug, trace, or pairs like sqlx=warn
        1:11: database "mysql://ana:***@db/aten" is not understood: there is no database of kind "mysql" here; write it like sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
        3:10: log.level "warning" is not a log level; use off, error, warn, info, debug, trace, or pairs like sqlx=warn
        "#);
    }

    #[test]
    fn a_value_at_its_bound_is_taken_and_one_beyond_it_is_not() {
        assert!(read("evaluation_interval: 1s", &Overrides::default()).is_ok());
        assert!(read("evaluation_interval: 999ms", &Overrides::default()).is_err());
        assert!(
            read("retention: {log: 2h, notifications: 1d, alerts: 1d, agents: 1d, events: 1d}", &Overrides::default())
                .is_ok()
        );
        for short in ["log: 119m", "notifications: 23h", "alerts: 23h", "agents: 23h", "events: 23h"] {
            assert!(read(&format!("retention: {{{short}}}"), &Overrides::default()).is_err(), "{short}");
        }
        assert!(read("limits: {series: 1}\nwebhook: {max_alerts: 1}", &Overrides::default()).is_ok());
    }

    #[test]
    fn what_is_known_of_agents_outlives_their_batches() {
        for fine in ["log: 30d", "log: 40d, agents: 40d", "agents: 1d"] {
            let text = format!("retention: {{{fine}}}");
            assert!(read(&text, &Overrides::default()).is_ok(), "{text}");
        }
        for long in ["log: 31d", "log: 25h, agents: 1d"] {
            let mistakes = read(&format!("retention: {{{long}}}"), &Overrides::default()).unwrap_err();
            assert!(mistakes.contains("raise retention.agents to"), "{mistakes}");
        }
    }

    #[test]
    fn links_have_one_slash_between_our_address_and_the_path() {
        let config = read("external_url: https://monitoring.example/", &Overrides::default()).expect("valid");
        assert_eq!(config.external_url.as_deref(), Some("https://monitoring.example"));
        assert!(read("external_url: monitoring.example", &Overrides::default()).is_err());
        assert!(read("external_url: ftp://monitoring.example", &Overrides::default()).is_err());
    }

    #[test]
    fn plain_http_is_for_this_machine_or_said_aloud() {
        let with = |url: &str| Overrides { webhook_url: Some(url.into()), ..Overrides::default() };
        assert!(read("", &with("http://127.0.0.1:9/x")).is_ok());
        assert!(read("", &with("http://[::1]:9/x")).is_ok());
        assert!(read("", &with("http://hooks.example/x")).is_err());
        assert!(read("webhook: {allow_insecure: true}", &with("http://hooks.example/x")).is_ok());
    }

    #[test]
    fn a_configuration_prints_without_its_secrets() {
        let flags = Overrides {
            database: Some("postgres://u:S3CR3T@h/d".into()),
            webhook_url: Some("https://h/S3CR3T".into()),
            ..Overrides::default()
        };
        assert!(!format!("{:?}", read("", &flags).expect("valid")).contains("S3CR3T"));
    }
}
