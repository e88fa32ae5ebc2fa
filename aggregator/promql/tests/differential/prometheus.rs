//! A real Prometheus of the test's own: started in a temporary directory, fed by remote write, asked over HTTP.

use crate::http::{Http, Response};
use crate::outcome::{Class, Outcome, When};
use crate::remote_write;
use crate::world::{SLICE_MS, World};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// It is up in a second or two; on a machine that is very busy in ten.
const START_MAX: Duration = Duration::from_mins(2);

/// Between two looks at whether it is up.
const PAUSE: Duration = Duration::from_millis(50);

/// A port that was free can be taken a moment later.
const ATTEMPTS: usize = 5;

/// Killed when it is dropped.
pub struct Prometheus {
    child: Child,
    http: Http,
    _directory: TempDir,
}

impl Prometheus {
    /// What its program calls itself, where there is one on `PATH`.
    pub fn version() -> Option<String> {
        let output = Command::new("prometheus").arg("--version").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.to_owned())
    }

    /// One that holds what `world` holds.
    pub fn of(world: &World) -> Self {
        let mut prometheus = (0..ATTEMPTS).find_map(|_| Self::start()).expect("prometheus starts on a free port");
        prometheus.feed(world);
        prometheus
    }

    fn start() -> Option<Self> {
        let directory = TempDir::new().expect("a directory");
        let address = free_address();
        let child = spawned(directory.path(), address);
        let mut prometheus = Self { child, http: Http::new(address), _directory: directory };
        let since = Instant::now();
        while since.elapsed() < START_MAX {
            if prometheus.child.try_wait().expect("our child").is_some() {
                return None;
            }
            let is_up = TcpStream::connect(address).is_ok()
                && prometheus.http.form("/api/v1/query", &[("query", "1")]).is_ok_and(|answer| answer.status == 200);
            if is_up {
                return Some(prometheus);
            }
            std::thread::sleep(PAUSE);
        }
        None
    }

    /// Series appear in the order of `world`, slice after slice: its head takes nothing that is much older than the rest.
    fn feed(&mut self, world: &World) {
        let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
        let (mut from, end) = world.ends_ms();
        while from <= end {
            let mut request = Vec::new();
            for (labels, times, values) in &world.store.0 {
                let samples = times.iter().copied().zip(values.iter().copied());
                let samples: Vec<_> = samples.filter(|(time, _)| (from..from + SLICE_MS).contains(time)).collect();
                if !samples.is_empty() {
                    remote_write::add_series(&mut request, labels, samples.into_iter());
                }
            }
            let answer = self.http.post("/api/v1/write", headers, &remote_write::snappy(&request)).expect("it listens");
            assert_eq!(answer.status, 204, "remote write: {}", String::from_utf8_lossy(&answer.body));
            from += SLICE_MS;
        }
    }

    /// Its answer to `query`.
    pub fn ask(&mut self, query: &str, when: When) -> Outcome {
        let answer = match when {
            When::Instant(at) => self.http.form("/api/v1/query", &[("query", query), ("time", &seconds(at))]),
            When::Range { start, end, step } => {
                let (start, end, step) = (seconds(start), seconds(end), seconds(step));
                let fields = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
                self.http.form("/api/v1/query_range", &fields)
            }
        };
        read(query, &answer.expect("it listens"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Our own child, by its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === helpers ===

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn spawned(directory: &Path, address: SocketAddr) -> Child {
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, "global: {evaluation_interval: 1m}\n").expect("our directory");
    Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        // All stays in the head: nothing is compacted, and no sample is too old for it.
        .args(["--storage.tsdb.min-block-duration=1d", "--storage.tsdb.max-block-duration=1d"])
        .arg("--web.enable-remote-write-receiver")
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed")
}

/// A time as the API and the language write it.
pub fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn read(query: &str, answer: &Response) -> Outcome {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == 200 {
        return Outcome::from_json(&json["data"]).unwrap_or_else(|| panic!("{query} is answered {json}"));
    }
    let message = json["error"].as_str().unwrap_or_default().to_owned();
    match json["errorType"].as_str() {
        Some("bad_data") => Outcome::Refused(Class::Query, message),
        Some("execution") => Outcome::Refused(Class::Execution, message),
        other => panic!("{query} is answered {} {other:?} {message}", answer.status),
    }
}
