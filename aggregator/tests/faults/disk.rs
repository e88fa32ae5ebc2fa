//! A disk whose power can fail: an ext4 file system in a file, over a loop device.
//!
//! kill −9 does not test a sync, since the kernel keeps what it has. What a loss of power leaves is what had reached the
//! device. So: the program is frozen, the file is copied as it is, the program is killed, and it goes on on the copy.
//!
//! ```text
//! DIR/0 DIR/1  images: one is mounted, the other takes the copy
//! DIR/mount    where the program has its files
//! ```
//! Frozen by SIGSTOP, not by `fsfreeze`, which would first write what nobody asked to be durable. Afterwards nobody asks
//! anything of the disk, so that the copy is of one moment. The file system's own commits, which would make durable what
//! nobody synced, come every five minutes instead of every five seconds: what is there after the loss is what was asked for.
//!
//! Needs root and loop devices; says aloud that a test is skipped where they are not to be had. A long run fails there: it
//! would be green and have seen no loss of power.

use crate::postgres::janitor;
use crate::run::ROUNDS;
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

/// Size of an image, most of it a hole: what matters is what is written.
const IMAGE_BYTES: u64 = 64 << 20;

/// See the module.
pub struct Disk {
    dir: PathBuf,
    /// The image that is mounted.
    current: usize,
    janitor: Child,
}

// === impl Disk ===

impl Disk {
    /// A new, empty one; `None` where this machine does not let us.
    pub fn new() -> Option<Self> {
        Self::with_user(IMAGE_BYTES, |_| Command::new("true"))
    }

    /// One of so many bytes, with a program on it that outlives us and must be stopped by a command, which is made for the
    /// place of the files, before the disk goes.
    pub fn with_user(bytes: u64, stop: impl FnOnce(&Path) -> Command) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("monitoring-disk-").tempdir().expect("a directory").keep();
        // A program on it may run as another user.
        fs::set_permissions(&dir, Permissions::from_mode(0o711)).expect("our directory");
        let mount = dir.join("mount");
        let stop = stop(&mount);
        let mut release = Command::new("sh");
        release.args(["-c", r#"mount="$1"; shift; "$@"; umount --lazy "$mount""#, "release"]).arg(&mount);
        release.arg(stop.get_program()).args(stop.get_args());
        let janitor = janitor::hire(&dir, &release);
        let disk = Self { dir, current: 0, janitor };
        fs::create_dir(disk.path()).expect("our directory");
        let image = fs::File::create(disk.image(0)).and_then(|file| file.set_len(bytes));
        image.expect("our directory");
        let made = run("mkfs.ext4", |command| command.arg("-qF").arg(disk.image(0)));
        if let Err(why) = made.and_then(|()| disk.mount()) {
            skip(&why);
            return None;
        }
        Some(disk)
    }

    /// Makes everything durable: what a test has laid there before it begins.
    pub fn sync(&self) {
        run("sync", |command| command.arg("--file-system").arg(self.path())).expect("the disk works");
    }

    /// Where its files are.
    pub fn path(&self) -> PathBuf {
        self.dir.join("mount")
    }

    /// Keeps what has reached the device by now.
    pub fn copy(&self) {
        let other = self.image(1 - self.current);
        let copied = run("cp", |command| command.arg("--sparse=always").arg(self.image(self.current)).arg(other));
        copied.expect("there is room for a copy");
    }

    /// The power is back: the disk holds what was copied. Nobody may use it at this moment.
    pub fn fail_power(&mut self) {
        run("umount", |command| command.arg(self.path())).expect("nobody uses it");
        self.current = 1 - self.current;
        // Replays the journal; 1 says that it mended something, as it must after a loss of power.
        run("e2fsck", |command| command.arg("-p").arg(self.image(self.current)))
            .expect("a journal mends a file system");
        self.mount().expect("it was mounted before");
    }

    fn image(&self, number: usize) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn mount(&self) -> Result<(), String> {
        let options = "loop,noatime,commit=300";
        run("mount", |command| command.arg("-o").arg(options).arg(self.image(self.current)).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        drop(self.janitor.wait());
    }
}

/// Runs a program of the system's to its end.
fn run(program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), String> {
    let mut command = Command::new(program);
    arguments(&mut command).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) if program == "e2fsck" => Ok(()),
        _ => Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Says aloud that a test did not run; past the capture of the test runner.
fn skip(why: &str) {
    assert!(env::var_os(ROUNDS).is_none(), "{ROUNDS} is set, and no power can fail here: {why}");
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {name} needs root, loop devices and e2fsprogs ({why})\n");
    drop(io::stderr().write_all(line.as_bytes()));
}

#[test]
fn a_loss_of_power_takes_what_was_not_synced_and_nothing_else() {
    let Some(mut disk) = Disk::new() else { return };
    let write = |name: &str| {
        let path = disk.path().join(name);
        fs::write(&path, name).expect("there is room");
        path
    };
    let (synced, unsynced) = (write("synced"), write("unsynced"));
    let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all());
    sync(&synced).and_then(|()| sync(&disk.path())).expect("the disk works");
    disk.copy();
    disk.fail_power();
    assert_eq!(fs::read(synced).expect("it was synced"), b"synced");
    assert_eq!(fs::read(unsynced).unwrap_or_default(), b"", "its words were never synced");
    let dir = disk.dir.clone();
    drop(disk);
    assert!(!dir.exists(), "nothing is left of it");
}
