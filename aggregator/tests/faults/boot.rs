//! A machine that boots: the agent's procfs is the real one, but for the id of its boot, which is ours to change. With it a
//! loss of power looks to the agent like one.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use uuid::Uuid;

/// Where the kernel shows the id of its boot.
const BOOT_ID: &str = "sys/kernel/random/boot_id";

/// A procfs that is the machine's but for the id of its boot: with the power comes another boot.
pub fn make_proc(proc: &Path) -> io::Result<()> {
    fs::create_dir_all(proc.join(BOOT_ID).parent().expect("it lies deep"))?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if !is_process && name != "sys" {
            symlink(entry.path(), proc.join(name))?;
        }
    }
    boot(proc)
}

/// The machine has booted.
pub fn boot(proc: &Path) -> io::Result<()> {
    fs::write(proc.join(BOOT_ID), format!("{}\n", Uuid::new_v4()))
}
