//! A real PostgreSQL for tests: the distribution's packages, a directory of its own, a free port, stopped in every case.
//!
//! A test takes [`Postgres::shared`] and a database of its own in it, or, where it stops and starts the server,
//! [`Postgres::private`]. Where PostgreSQL is not installed they say so on stderr and return `None`; where `CI` or
//! `MONITORING_TEST_REQUIRE_POSTGRES` is set they fail instead.
//!
//! The end is the difficult part, since a static is never dropped and a test may be killed. So each server has a
//! *janitor*, who stops that one server (`pg_ctl -D`, by the pid in its own directory) and removes the directory.
//!
//! ```text
//! DIR/data      the cluster; synced at each commit like in production
//! DIR/log       what the server says
//! DIR/.s.PGSQL  its socket; local connections are trusted, TCP wants PASSWORD
//! ```

// Each test program uses its part of it.
#![allow(dead_code, reason = "shared by several test programs")]

pub mod janitor;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// Password of the user `postgres` over TCP.
pub const PASSWORD: &str = "open-sesame";

/// Longest that the server may take to start or to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often its state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Settings of a server on a small disk: its log takes some of it, not most.
const SMALL: &str = "max_wal_size = 64MB\nmin_wal_size = 32MB\n";

/// A server.
pub struct Postgres {
    programs: PathBuf,
    dir: PathBuf,
    data: PathBuf,
    port: u16,
    owner: Option<Owner>,
    server: Mutex<Option<Child>>,
    janitor: Child,
    databases: AtomicU32,
}

/// The unprivileged user that the server runs as where we are root: it refuses to run as root.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

// === impl Postgres ===

impl Postgres {
    /// The server that this test program's tests share; each makes a database of its own in it.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::private).as_ref()
    }

    /// A server for one test, stopped when it is dropped.
    pub fn private() -> Option<Self> {
        let Some(programs) = find_programs() else {
            skip();
            return None;
        };
        let postgres = Self::create(programs, None);
        postgres.start();
        Some(postgres)
    }

    /// A server for one test whose cluster is `data`, which is not there yet: on a small disk of the test's.
    pub fn private_in(data: &Path) -> Option<Self> {
        let Some(programs) = find_programs() else {
            skip();
            return None;
        };
        let postgres = Self::create(programs, Some(data));
        let mut configuration = File::options().append(true).open(data.join("postgresql.conf")).expect("our cluster");
        configuration.write_all(SMALL.as_bytes()).expect("our cluster");
        postgres.start();
        Some(postgres)
    }

    /// What stops the server of the cluster `data`, whether it runs or not.
    pub fn stopper(data: &Path) -> Command {
        let programs = find_programs().unwrap_or_default();
        stop_command(Owner::ours(), &programs, data)
    }

    /// Makes an empty database; its URL, over the socket.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("the server is started");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("the name is new");
        self.url(&name)
    }

    /// The URL of a database over the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}&port={}", self.dir.display(), self.port)
    }

    /// The URL of a database over TCP, with the password.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts the server, and returns when it takes connections.
    pub fn start(&self) {
        let mut running = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(running.is_none(), "it is running");
        let log = File::options().create(true).append(true).open(self.dir.join("log")).expect("our directory");
        let mut command = command(self.owner, &self.programs.join("postgres"));
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.dir);
        command.arg("-p").arg(self.port.to_string());
        // What a terminal or a test runner sends to our group must not reach it before the janitor does.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut server = command.spawn().expect("the program was found");
        self.await_ready(&mut server);
        *running = Some(server);
    }

    /// Stops the server at once, as if it had crashed: nothing is written, every connection ends.
    pub fn stop(&self) {
        let mut running = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut server = running.take().expect("it is running");
        let stopped = self.stop_command().status().expect("pg_ctl runs");
        assert!(stopped.success(), "pg_ctl: {stopped}\n{}", self.log());
        server.wait().expect("it is our child");
    }

    /// Crashes the server and starts it again; it recovers from its log.
    pub fn restart_immediate(&self) {
        self.stop();
        self.start();
    }

    /// Stops every process of the server where it is, and waits until all stand still: connections stand, nothing is
    /// answered any more, and what was asked of the disk is done.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// kill −9 of every process at once, and waits until they are gone.
    pub fn kill(&self) {
        self.signal_all(Signal::KILL);
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        server.expect("it is running").wait().expect("it is our child");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let running = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = running.as_ref() else { return };
        // The one that makes the others first, so that none is made meanwhile. Killed, it no longer says who they are.
        let known = children(server.id());
        send(signal, &[server.id()]);
        let others = if signal == Signal::KILL { known } else { children(server.id()) };
        send(signal, &others);
    }

    /// What the server said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn create(programs: PathBuf, data: Option<&Path>) -> Self {
        let owner = Owner::ours();
        let dir = tempfile::Builder::new().prefix("monitoring-postgres-").tempdir().expect("a directory").keep();
        let password = dir.join("password");
        fs::write(&password, PASSWORD).expect("our directory");
        if let Some(owner) = owner {
            let home = data.and_then(Path::parent);
            for path in [&*dir, &*password].into_iter().chain(home) {
                chown(path, Some(owner.user), Some(owner.group)).expect("we are root");
            }
        }
        let data = data.map_or_else(|| dir.join("data"), Path::to_path_buf);
        let janitor = janitor::hire(&dir, &stop_command(owner, &programs, &data));
        make_cluster(owner, &programs, &password, &data);
        Self {
            programs,
            dir,
            data,
            port: free_port(),
            owner,
            server: Mutex::new(None),
            janitor,
            databases: AtomicU32::new(0),
        }
    }

    fn stop_command(&self) -> Command {
        stop_command(self.owner, &self.programs, &self.data)
    }

    /// Waits until `postmaster.pid` says `ready`, in its eighth line.
    fn await_ready(&self, server: &mut Child) {
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let own = said.lines().next() == Some(server.id().to_string().as_str());
            if own && said.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return;
            }
            let ended = server.try_wait().expect("it is our child");
            assert!(ended.is_none(), "PostgreSQL ended: {}", self.log());
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start: {}", self.log());
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Sends a signal to processes that may have ended by themselves; one that ends or stops them has done so on return.
fn send(signal: Signal, pids: &[u32]) {
    for pid in pids {
        let pid = Pid::from_raw(pid.cast_signed()).expect("not zero");
        // One that has just ended is none any more.
        let _ = kill_process(pid, signal);
    }
    let reached: &[char] = match signal {
        Signal::STOP => &['T', 'Z', 'X'],
        Signal::KILL => &['Z', 'X'],
        _ => return,
    };
    let began = Instant::now();
    while pids.iter().filter_map(|pid| state(*pid)).any(|state| !reached.contains(&state)) {
        assert!(began.elapsed() < PATIENCE, "{pids:?} do not take {signal:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The letter of a process's state; `None` when it is gone.
fn state(pid: u32) -> Option<char> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

/// The processes that `parent` has made.
fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        drop(self.janitor.stdin.take());
        // The janitor stops it, and it is ours to bury.
        if let Some(mut server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(server.wait());
        }
        drop(self.janitor.wait());
    }
}

/// Makes the cluster, or copies the one that an earlier test made: a tenth of the time. The copy is of a cluster that
/// never ran, and appears under its name only when it is whole.
fn make_cluster(owner: Option<Owner>, programs: &Path, password: &Path, data: &Path) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let version = programs.parent().and_then(Path::file_name).unwrap_or_default().display();
    // The number goes up with each change below.
    let kept_cluster =
        kept.join(format!("postgres-{version}-{}-cluster-1", owner.map_or(geteuid().as_raw(), |owner| owner.user)));
    if kept_cluster.is_dir() && copy(&kept_cluster, data) {
        return;
    }
    let made = command(owner, &programs.join("initdb"))
        .args(["--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
        .arg("--pwfile")
        .arg(password)
        .arg(data)
        .output()
        .expect("the program was found");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let settings = "listen_addresses = '127.0.0.1'\nmax_connections = 200\nshared_buffers = 32MB\n";
    let mut configuration = File::options().append(true).open(data.join("postgresql.conf")).expect("initdb");
    configuration.write_all(settings.as_bytes()).expect("our directory");

    // Kept for the next test where that is possible. Another test may have been faster; then the copy goes with `unique`.
    let unique = tempfile::Builder::new().prefix("postgres-").tempdir_in(kept);
    if let Ok(unique) = unique
        && copy(data, &unique.path().join("data"))
    {
        drop(fs::rename(unique.path().join("data"), &kept_cluster));
    }
}

/// Copies a directory with its owners and modes.
fn copy(from: &Path, to: &Path) -> bool {
    Command::new("cp").arg("-a").arg(from).arg(to).status().is_ok_and(|status| status.success())
}

/// The newest installed version's programs.
fn find_programs() -> Option<PathBuf> {
    let version = |programs: &PathBuf| {
        let name = programs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        name.and_then(|name| name.parse::<f64>().ok()).map_or(0, |version| (version * 100.0).to_bits())
    };
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    candidates.sort_by_key(version);
    candidates.reverse();
    candidates.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    candidates
        .into_iter()
        .find(|programs| ["initdb", "postgres", "pg_ctl"].iter().all(|name| programs.join(name).is_file()))
}

/// Says aloud that a test did not run; past the capture of the test runner.
fn skip() {
    for variable in ["CI", "MONITORING_TEST_REQUIRE_POSTGRES"] {
        assert!(env::var_os(variable).is_none(), "{variable} is set, and PostgreSQL is not installed");
    }
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {name} needs a database server; install postgresql\n");
    drop(io::stderr().write_all(line.as_bytes()));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A program of PostgreSQL's, as the user that may run it.
fn command(owner: Option<Owner>, program: &Path) -> Command {
    let Some(owner) = owner else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", owner.user)).arg(format!("--regid={}", owner.group)).arg("--clear-groups");
    command.arg(program);
    command.current_dir("/");
    command
}

fn stop_command(owner: Option<Owner>, programs: &Path, data: &Path) -> Command {
    let mut command = command(owner, &programs.join("pg_ctl"));
    command.args(["stop", "--silent", "--mode=immediate", "-D"]).arg(data);
    command.stdout(Stdio::null());
    command
}

// === impl Owner ===

impl Owner {
    /// Whom the server runs as; `None` where that is us.
    fn ours() -> Option<Self> {
        geteuid().is_root().then(Self::find)
    }

    /// The user `postgres`, which comes with the packages, or `nobody`.
    fn find() -> Self {
        let users = fs::read_to_string("/etc/passwd").expect("every system has users");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2).map(str::parse);
            Some(Self { user: ids.next()?.ok()?, group: ids.next()?.ok()? })
        };
        find("postgres").or_else(|| find("nobody")).expect("a user for the server")
    }
}
