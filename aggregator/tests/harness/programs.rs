//! The real programs for tests: started on free ports in a directory of the test's own, killed by their own id.

// Each test program uses its part of it.
#![allow(dead_code, reason = "shared by several test programs")]

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, kill_process, prlimit, waitpid};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

/// Longest that anything here may take; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a level is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running program; killed when it is dropped.
pub struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// How much of the log was there when it started.
    log_from: usize,
}

impl Program {
    /// `monitoring-aggregator serve` with `arguments`.
    pub fn aggregator(log: &Path, arguments: &[&str]) -> Self {
        Self::aggregator_in(log, arguments, &[])
    }

    /// The same with these variables in its environment.
    pub fn aggregator_in(log: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn("aggregator", Path::new(env!("CARGO_BIN_EXE_monitoring-aggregator")), "serve", log, arguments, env)
    }

    /// `monitoring-agent run` with `arguments`.
    pub fn agent(log: &Path, arguments: &[&str]) -> Self {
        Self::agent_in(log, arguments, &[])
    }

    /// The same with these variables in its environment.
    pub fn agent_in(log: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn("agent", &agent_binary(), "run", log, arguments, env)
    }

    fn spawn(
        name: &'static str,
        binary: &Path,
        command: &str,
        log: &Path,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("our directory");
        let log_from = usize::try_from(file.metadata().expect("open").len()).expect("small");
        let child = Command::new(binary)
            .arg(command)
            .args(arguments)
            .env_clear()
            .env("MONITORING_LOG_FORMAT", "json")
            .env("MONITORING_LISTEN_REPORT", "127.0.0.1:0") // tests run side by side
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", binary.display()));
        Self { name, child, log: log.into(), log_from }
    }

    /// Where its log is.
    pub fn path(&self) -> PathBuf {
        self.log.clone()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[self.log_from.min(text.len())..]).into_owned()
    }

    /// The value of `field` in the first log line with `message`; waits for it.
    pub fn logged(&mut self, message: &str, field: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found =
                lines.filter(|line| line["message"] == message).find_map(|line| line[field].as_str().map(String::from));
            if let Some(text) = found {
                return text;
            }
            let ended = self.child.try_wait().expect("our child");
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "{}: {message:?} not logged ({ended:?}):\n{log}",
                self.name
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// SIGSTOP, and waits until every thread stands still: what it had asked of the disk is answered by then.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).expect("our child");
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{} ended:\n{}", self.name, self.log());
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// SIGINT, as Ctrl-C sends it, and how it ended.
    pub fn interrupt(self) -> ExitStatus {
        self.signal(Signal::INT);
        self.ended()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// Limits the files that it may have open. Returns the limit that it had.
    pub fn limit_files(&self, files: u64) -> u64 {
        let pid = Some(Pid::from_child(&self.child));
        let maximum = getrlimit(Resource::Nofile).maximum;
        let had = prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum });
        had.expect("our child").current.unwrap_or(u64::MAX)
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{} does not end:\n{}", self.name, self.log());
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended or not: our own child, by its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `reached`; fails with `what` when it never is.
pub fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "not reached: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// An address that was free a moment ago, for a program that must come back to it after a restart.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

/// The body of a page, where it answers.
pub fn get(url: &str) -> Option<String> {
    get_with_status(url).map(|(_, body)| body)
}

/// Status and body of a page, where it answers.
pub fn get_with_status(url: &str) -> Option<(u16, String)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client");
        let response = client.get(url).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    })
}

/// The JSON of a page, where it answers.
pub fn get_json(url: &str) -> Option<Value> {
    serde_json::from_str(&get(url)?).ok()
}

/// The agent's program beside the aggregator's; built here where `make test` has not done it.
fn agent_binary() -> PathBuf {
    let aggregator = Path::new(env!("CARGO_BIN_EXE_monitoring-aggregator"));
    let agent = aggregator.with_file_name("monitoring-agent");
    if !agent.exists() {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "-p", "monitoring-agent", "--bins"]).status();
        assert!(built.is_ok_and(|status| status.success()), "monitoring-agent does not build");
    }
    agent
}
