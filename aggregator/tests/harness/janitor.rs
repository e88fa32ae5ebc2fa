//! Sees to it that what a test has made outside of its process goes, however the process ends: a shell that waits until
//! its standard input ends, which the kernel sees to, then runs one command and removes one directory.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs when its standard input ends: the rest of the arguments lets the directory go, then it is removed. Again where a
/// program that we had just started was still writing there.
const JANITOR: &str = r#"
    dir="$1"; shift
    cat >/dev/null
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        "$@"
        rm -rf -- "$dir" && break
        sleep 0.2
    done"#;

/// Hires one for `dir`, who runs `stop` first. The end begins when the child's `stdin` is dropped.
pub fn hire(dir: &Path, stop: &Command) -> Child {
    let mut janitor = Command::new("sh");
    janitor.arg("-c").arg(JANITOR).arg("janitor").arg(dir);
    janitor.arg(stop.get_program()).args(stop.get_args());
    janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // What a terminal or a test runner sends to our group must not reach it.
    janitor.process_group(0).current_dir("/");
    janitor.spawn().expect("every system has sh")
}
