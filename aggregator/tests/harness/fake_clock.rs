//! Another time of day for a real program, by libfaketime: its wall clock is set while it runs, its monotonic clock is left
//! alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock that is set by hand.
pub struct FakeClock {
    library: PathBuf,
    /// What libfaketime reads each time that the program asks for the time.
    file: PathBuf,
}

impl FakeClock {
    /// One that is right, in a file of `dir`. `None`, said aloud, where libfaketime is not installed.
    pub fn new(dir: &Path, name: &str) -> Option<Self> {
        let Some(library) = library() else {
            eprintln!("SKIPPED: this test needs libfaketime; install faketime");
            return None;
        };
        let clock = Self { library, file: dir.join(format!("{name}.clock")) };
        clock.set(0);
        Some(clock)
    }

    /// Is so many seconds ahead from now on; behind where negative.
    pub fn set(&self, ahead_s: i64) {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{ahead_s:+}\n")).expect("our directory");
        fs::rename(&fresh, &self.file).expect("our directory");
    }

    /// The variables that show it to a program.
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        variables.map(|(name, value)| (name.into(), value)).into()
    }
}

/// How many seconds a clock that shows `unix_s` is ahead.
pub fn seconds_ahead(unix_s: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    unix_s - i64::try_from(now).expect("before the end of time")
}

/// The variant for programs with threads, where Debian and Fedora put it.
fn library() -> Option<PathBuf> {
    let below = ["/usr/lib", "/usr/lib64"].iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let dirs = below.filter_map(|entry| Some(entry.ok()?.path()));
    let dirs = dirs.chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}
