//! What the index costs: memory per series, time to add and remove, time to select, at 100,000 and 1,000,000 series.
//!
//! ```sh
//! cargo run --release -p monitoring-tsdb --example index_cost            # all, each in a process of its own
//! cargo run --release -p monitoring-tsdb --example index_cost -- fleet 100000
//! ```
//! Memory is resident memory, before and after, under the aggregator's allocator. Series are made as they are added, so
//! that none of it is the generator's. Each agent of a fleet reports 200 series: a histogram of requests by route, method
//! and status code, counters of requests, and host metrics; 8 to 10 labels. Then a hostile lot: a label of which each
//! value is new.
#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::time::{Duration, Instant};
use tsdb::{Added, Caps, Index, IndexLimits, LabelsError, MatchOp, Matcher, SeriesLabels, SeriesLimits, SymbolLimits};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SERIES_PER_AGENT: usize = 200;
const AGENTS_PER_SERVICE: usize = 25;
const AGENTS_PER_CLINIC: usize = 50;
const ROUTES: [&str; 12] = [
    "/api/v1/appointments",
    "/api/v1/appointments/:id",
    "/api/v1/patients",
    "/api/v1/patients/:id",
    "/api/v1/professionals",
    "/api/v1/professionals/:id/agenda",
    "/api/v1/webhooks/whatsapp",
    "/api/v1/messages",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/reports/daily",
    "/health",
];
const BOUNDS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
const HOST: [&str; 20] = [
    "system_cpu_usage_percent",
    "system_cpu_seconds_total",
    "system_memory_used_bytes",
    "system_memory_free_bytes",
    "system_disk_used_bytes",
    "system_disk_free_bytes",
    "system_disk_read_bytes_total",
    "system_disk_written_bytes_total",
    "system_network_received_bytes_total",
    "system_network_sent_bytes_total",
    "system_load_1m",
    "system_load_5m",
    "system_load_15m",
    "system_processes",
    "system_open_files",
    "process_cpu_seconds_total",
    "process_resident_bytes",
    "process_open_fds",
    "nodejs_eventloop_lag_seconds",
    "nodejs_heap_used_bytes",
];

/// The texts of one series, in buffers that are used again.
#[derive(Default)]
struct Made {
    pairs: Vec<(&'static str, String)>,
}

// === impl Made ===

impl Made {
    /// Series `i` of the fleet.
    fn series(&mut self, i: usize) -> Uuid {
        let (agent, own) = (i / SERIES_PER_AGENT, i % SERIES_PER_AGENT);
        let (service, clinic) = (agent / AGENTS_PER_SERVICE, agent / AGENTS_PER_CLINIC);
        self.pairs.clear();
        let mut put = |name, value: String| self.pairs.push((name, value));
        put("service", format!("service-{service:03}"));
        put("instance", format!("service-{service:03}-7d9f8b6c5-{agent:05x}"));
        put("clinic_id", format!("7c9e6679-7425-40de-944b-e07fc1{clinic:06x}"));
        put("environment", "production".into());
        put("region", ["sa-east-1", "us-east-1"][service % 2].into());
        put("version", format!("2.{}.{}", service % 7, service % 11));
        match own {
            0..144 => {
                put("__name__", "http_request_duration_seconds_bucket".into());
                put("route", ROUTES[own / BOUNDS.len()].into());
                put("method", ["GET", "POST"][own / BOUNDS.len() % 2].into());
                put("le", BOUNDS[own % BOUNDS.len()].into());
            }
            144..180 => {
                put("__name__", "http_requests_total".into());
                put("route", ROUTES[(own - 144) / 3].into());
                put("method", ["GET", "POST"][(own - 144) / 3 % 2].into());
                put("status_code", ["200", "404", "500"][own % 3].into());
            }
            _ => {
                put("__name__", HOST[own - 180].into());
                put("device", ["sda1", "eth0"][own % 2].into());
            }
        }
        Uuid::from_u128(agent as u128 + 1)
    }

    fn labels(&self) -> Result<SeriesLabels<'_>, LabelsError> {
        SeriesLabels::try_new(self.pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }
}

fn open_limits(series: usize) -> (Index, Caps) {
    let limits = SeriesLimits { series, per_owner: usize::MAX, per_clinic: usize::MAX, per_metric: usize::MAX };
    let symbols = SymbolLimits { symbols: 8_000_000, ..SymbolLimits::default() };
    (Index::new(IndexLimits { pairs: 8_000_000, symbols, ..IndexLimits::default() }), Caps::new(limits))
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() * 1024
}

fn matcher<'a>(label: &'a str, op: MatchOp, value: &'a str) -> Matcher<'a> {
    let anchored = format!("^(?:{})$", if matches!(op, MatchOp::Regex | MatchOp::NotRegex) { value } else { "" });
    let regex = regex::RegexBuilder::new(&anchored).dot_matches_new_line(true).build();
    let regex = regex.expect("the selectors below are regexes");
    let passes = Box::new(move |text: &str| regex.is_match(text) != (op == MatchOp::NotRegex));
    Matcher { label, op, value, passes }
}

/// The time of one selection: the middle of many.
fn timed(index: &Index, what: &str, matchers: &[Matcher<'_>]) {
    let mut times = Vec::new();
    let (begun, mut found) = (Instant::now(), 0);
    while times.len() < 5 || (begun.elapsed() < Duration::from_millis(500) && times.len() < 1_000) {
        let at = Instant::now();
        found = index.select(matchers).len();
        times.push(at.elapsed());
    }
    times.sort_unstable();
    println!("  {what:<66} {found:>9} series {:>12.1?}", times[times.len() / 2]);
}

fn selections(index: &Index) {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let bucket = || matcher("__name__", Equal, "http_request_duration_seconds_bucket");
    let some = (0..40).map(|i| format!("service-000-7d9f8b6c5-{i:05x}")).collect::<Vec<_>>().join("|");
    let list = (0..400).map(|i| format!("service-{:03}-7d9f8b6c5-{i:05x}", i / AGENTS_PER_SERVICE)).collect::<Vec<_>>();
    let many = list.join("|");
    let short = (0..4_000).map(|i| format!("x{i:03x}")).collect::<Vec<_>>().join("|");
    timed(index, "everything: {}", &[]);
    timed(index, r#"everything as Grafana asks: {__name__!=""}"#, &[matcher("__name__", NotEqual, "")]);
    timed(index, "one metric: http_requests_total", &[matcher("__name__", Equal, "http_requests_total")]);
    timed(
        index,
        "one metric of one instance",
        &[matcher("__name__", Equal, "system_load_1m"), matcher("instance", Equal, "service-000-7d9f8b6c5-00007")],
    );
    timed(
        index,
        r#"bucket{route="/api/v1/messages",le="0.5"}"#,
        &[bucket(), matcher("route", Equal, "/api/v1/messages"), matcher("le", Equal, "0.5")],
    );
    timed(
        index,
        r#"total{status_code=~"404|500"}"#,
        &[matcher("__name__", Equal, "http_requests_total"), matcher("status_code", Regex, "404|500")],
    );
    timed(
        index,
        r#"total{status_code=~"5.."}"#,
        &[matcher("__name__", Equal, "http_requests_total"), matcher("status_code", Regex, "5..")],
    );
    timed(index, "bucket{instance=~ 40 alternatives}", &[bucket(), matcher("instance", Regex, &some)]);
    timed(index, "bucket{instance=~ 400 alternatives}", &[bucket(), matcher("instance", Regex, &many)]);
    timed(index, r#"bucket{instance=~"service-00.*"}"#, &[bucket(), matcher("instance", Regex, "service-00.*")]);
    timed(index, "bucket{instance=~ 4000 short alternatives}", &[bucket(), matcher("instance", Regex, &short)]);
    timed(index, r#"bucket{instance=~".*7"}"#, &[bucket(), matcher("instance", Regex, ".*7")]);
    timed(
        index,
        r#"bucket{instance=~".+",route!="/health"}"#,
        &[bucket(), matcher("instance", Regex, ".+"), matcher("route", NotEqual, "/health")],
    );
    timed(
        index,
        r#"bucket{route!~"/api/v1/auth/.*|/health"}"#,
        &[bucket(), matcher("route", NotRegex, "/api/v1/auth/.*|/health")],
    );
    timed(index, r#"{instance!~".*[13579]"}, every value asked"#, &[matcher("instance", NotRegex, ".*[13579]")]);
    timed(index, r#"{route=""}"#, &[matcher("route", Equal, "")]);
    let at = Instant::now();
    let stats = index.stats(10);
    println!("  stats, top 10 of {} pairs: {:.1?}", stats.label_pairs, at.elapsed());
    let one = index.select(&[matcher("service", Equal, "service-001")]);
    let at = Instant::now();
    let values = index.label_values("instance", Some(&one), 40_000).len();
    println!("  label values of one service: {values}, {:.1?}", at.elapsed());
    let at = Instant::now();
    let names = index.label_names(Some(&one)).len();
    println!("  label names of one service: {names}, {:.1?}", at.elapsed());
}

/// Adds series `0..series` as `make` makes them; prints what that took.
fn fill(index: &mut Index, caps: &mut Caps, series: usize, mut make: impl FnMut(&mut Made, usize) -> Uuid) {
    let mut made = Made::default();
    let (before, mut spent, mut slowest) = (resident_bytes(), Duration::ZERO, Duration::ZERO);
    for i in 0..series {
        let owner = make(&mut made, i);
        let labels = made.labels().expect("the generator makes labels within their limits");
        let at = Instant::now();
        let added = index.add(&labels, owner, caps);
        let took = at.elapsed();
        assert!(matches!(added, Ok(Added::New(_))), "{added:?}");
        spent += took;
        slowest = slowest.max(took);
    }
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "{series} series: {:.1} bytes each ({:.1} MiB); added at {:.0}/s, the slowest in {slowest:.1?}",
        bytes as f64 / series as f64,
        bytes as f64 / f64::from(1 << 20),
        series as f64 / spent.as_secs_f64(),
    );
}

fn fleet(series: usize) {
    let (mut index, mut caps) = open_limits(series);
    fill(&mut index, &mut caps, series, Made::series);
    let mut made = Made::default();
    let mut spent = Duration::ZERO;
    for i in (0..series).step_by(7) {
        made.series(i);
        let labels = made.labels().expect("the generator makes labels within their limits");
        let at = Instant::now();
        assert!(index.find(&labels).is_some());
        spent += at.elapsed();
    }
    println!("  found again by its labels: {:.1?} each", spent / u32::try_from(series / 7).unwrap_or(1));
    selections(&index);
    let at = Instant::now();
    let ids: Vec<u32> = index.all().iter().collect();
    for id in ids {
        assert!(index.remove(id, &mut caps));
    }
    println!("  removed at {:.0}/s", series as f64 / at.elapsed().as_secs_f64());
}

fn hostile(series: usize) {
    let (mut index, mut caps) = open_limits(series);
    println!("hostile: each value of one label is new");
    fill(&mut index, &mut caps, series, |made, i| {
        let owner = made.series(i);
        made.pairs.push(("request_id", format!("{:08x}-{i:08x}", i.wrapping_mul(0x9e37_79b9) & 0xffff_ffff)));
        owner
    });
    timed(&index, r#"{request_id=~".*[0-4]"}, every value asked"#, &[matcher("request_id", MatchOp::Regex, ".*[0-4]")]);
    timed(&index, r#"{request_id=~"00.*"}"#, &[matcher("request_id", MatchOp::Regex, "00.*")]);
    timed(
        &index,
        r#"{request_id!~"[0-7].*",__name__="system_load_1m"}"#,
        &[matcher("request_id", MatchOp::NotRegex, "[0-7].*"), matcher("__name__", MatchOp::Equal, "system_load_1m")],
    );
    let service = matcher("instance", MatchOp::Equal, "service-000-7d9f8b6c5-00007");
    timed(
        &index,
        r#"{instance="...",request_id=~"[^-]+-.*"}"#,
        &[service, matcher("request_id", MatchOp::Regex, "[^-]+-.*")],
    );
    let at = Instant::now();
    println!("  stats, top 10 of {} pairs: {:.1?}", index.stats(10).label_pairs, at.elapsed());
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let size = |text: Option<&String>| text.and_then(|text| text.parse().ok());
    match (asked.first().map(String::as_str), size(asked.get(1))) {
        (Some("fleet"), Some(series)) => fleet(series),
        (Some("hostile"), Some(series)) => hostile(series),
        // Each lot in a process of its own: what one gave back would hide what the next one takes.
        _ => {
            let program = std::env::current_exe().expect("a running program has a path");
            for (lot, series) in
                [("fleet", "100000"), ("hostile", "100000"), ("fleet", "1000000"), ("hostile", "1000000")]
            {
                let ended = std::process::Command::new(&program).args([lot, series]).status();
                assert!(ended.is_ok_and(|status| status.success()), "{lot} {series} failed");
            }
        }
    }
}
