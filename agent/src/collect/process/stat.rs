//! `/proc/PID/stat`: CPU time, memory and threads of a process, and who it is.
//!
//! ```text
//!   4711 (node) S 1 4711 4711 0 -1 4194304 102 0 0 0 251 43 0 0 20 0 11 0 111518 …
//!   pid  comm state ppid … flags … utime stime … threads … start …, counted from 1 in proc(5)
//! ```
//!
//! `comm` may hold spaces and parentheses, so the fields begin after the *last* closing one.

use crate::collect::CollectError;
use crate::collect::cgroup::Readable;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, whole};
use crate::collect::part::{Cell, Cells, Part};
use crate::collect::rate::CpuShare;
use proto::catalog::{
    SERVICE_CPU_SECONDS_TOTAL, SERVICE_CPU_USAGE_RATIO, SERVICE_MEMORY_USAGE_BYTES,
    SERVICE_PROCESS_CPU_SYSTEM_SECONDS_TOTAL, SERVICE_PROCESS_CPU_USAGE_RATIO, SERVICE_PROCESS_CPU_USER_SECONDS_TOTAL,
    SERVICE_PROCESS_RESIDENT_MEMORY_BYTES, SERVICE_PROCESS_START_TIME_SECONDS, SERVICE_PROCESS_THREADS,
    SERVICE_PROCESS_VIRTUAL_MEMORY_BYTES,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `ESRCH`: what a descriptor below `/proc/PID` says after the process has ended.
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// Of a kernel thread, in the field `flags`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `R`, `S`, `Z`, …
    pub state: u8,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// The parent's pid; 0 where it is outside of our PID namespace.
    pub ppid: u32,
    /// CPU time of the program.
    pub user_ticks: u64,
    /// CPU time of the kernel on its behalf.
    pub system_ticks: u64,
    /// How many threads it has.
    pub threads: u64,
    /// When it began, in ticks since boot.
    pub start_ticks: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Pages in memory.
    pub resident_pages: u64,
}

/// The kept file of a process that is known to run.
#[derive(Debug)]
pub struct Opened {
    file: KeptFile,
    pid: u32,
    boot_time_seconds: u64,
    name: Name,
    first: Reading,
}

/// A process's `comm`, which changes when it becomes another program.
#[derive(Debug, Default)]
struct Name {
    comm: Vec<u8>,
    /// Set by every change, for whoever opened the files.
    changed: Arc<AtomicBool>,
}

/// CPU, memory and threads of a process.
#[derive(Debug)]
pub struct Stat {
    file: KeptFile,
    pid: u32,
    boot_time_seconds: u64,
    start_ticks: u64,
    name: Name,
    ticks_per_second: f64,
    page_bytes: f64,
    share: CpuShare,
    cells: Declared,
}

#[derive(Debug)]
struct Declared {
    usage_ratio: Cell,
    user_seconds: Cell,
    system_seconds: Cell,
    resident: Cell,
    virtual_memory: Cell,
    threads: Cell,
    start_time: Cell,
    service_usage_ratio: Cell,
    service_seconds: Cell,
    service_memory: Cell,
}

// === impl Reading ===

impl Reading {
    /// Whether the process has ended, though its parent has not taken note yet.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

// === impl Opened ===

impl Opened {
    /// The process of that file, if it still runs.
    pub fn try_new(mut file: KeptFile, pid: u32, boot_time_seconds: u64) -> Result<Self, CollectError> {
        let mut name = Name::default();
        let first = read_running(&mut file, pid, &mut name)?;
        name.changed.store(false, Ordering::Relaxed);
        Ok(Self { file, pid, boot_time_seconds, name, first })
    }

    /// Set when a pass finds that the process goes by another name.
    pub fn renamed(&self) -> Arc<AtomicBool> {
        self.name.changed.clone()
    }

    /// When the process began, in ticks since boot: with its number, this tells it from any other.
    pub fn start_ticks(&self) -> u64 {
        self.first.start_ticks
    }
}

// === impl Name ===

impl Name {
    fn update(&mut self, comm: &[u8]) {
        if comm != self.comm {
            self.comm.clear();
            self.comm.extend_from_slice(comm);
            self.changed.store(true, Ordering::Relaxed);
        }
    }
}

// === impl Stat ===

impl Stat {
    /// Declares the series; the service's own only as far as no `group` gives them.
    pub fn new(opened: Opened, group: Readable, elapsed: Duration, cells: &mut Cells) -> Self {
        let Opened { file, pid, boot_time_seconds, name, first } = opened;
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let mut share = CpuShare::default();
        share.update(elapsed, cpu_ticks(&first) / ticks_per_second);
        let mut push = |metric| cells.push(metric, &[]);
        let mut declared = Declared {
            usage_ratio: push(&SERVICE_PROCESS_CPU_USAGE_RATIO),
            user_seconds: push(&SERVICE_PROCESS_CPU_USER_SECONDS_TOTAL),
            system_seconds: push(&SERVICE_PROCESS_CPU_SYSTEM_SECONDS_TOTAL),
            resident: push(&SERVICE_PROCESS_RESIDENT_MEMORY_BYTES),
            virtual_memory: push(&SERVICE_PROCESS_VIRTUAL_MEMORY_BYTES),
            threads: push(&SERVICE_PROCESS_THREADS),
            start_time: push(&SERVICE_PROCESS_START_TIME_SECONDS),
            service_usage_ratio: Cell::NONE,
            service_seconds: Cell::NONE,
            service_memory: Cell::NONE,
        };
        let from_stat = [("source", "stat")];
        if !group.cpu {
            declared.service_usage_ratio = cells.push(&SERVICE_CPU_USAGE_RATIO, &from_stat);
            declared.service_seconds = cells.push(&SERVICE_CPU_SECONDS_TOTAL, &from_stat);
        }
        if !group.memory {
            declared.service_memory = cells.push(&SERVICE_MEMORY_USAGE_BYTES, &from_stat);
        }
        Self {
            file,
            pid,
            boot_time_seconds,
            start_ticks: first.start_ticks,
            name,
            ticks_per_second,
            page_bytes: rustix::param::page_size() as f64,
            share,
            cells: declared,
        }
    }
}

impl Part for Stat {
    fn read(&mut self, elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let reading = read_running(&mut self.file, self.pid, &mut self.name)?;
        if reading.start_ticks != self.start_ticks {
            return Err(ended(self.pid)); // the file was opened again and is another process's
        }
        let seconds = cpu_ticks(&reading) / self.ticks_per_second;
        let usage_ratio = self.share.update(elapsed, seconds);
        let resident = reading.resident_pages as f64 * self.page_bytes;
        let start_time = self.boot_time_seconds as f64 + self.start_ticks as f64 / self.ticks_per_second;
        let to = &self.cells;
        cells.set_some(to.usage_ratio, usage_ratio);
        cells.set(to.user_seconds, reading.user_ticks as f64 / self.ticks_per_second);
        cells.set(to.system_seconds, reading.system_ticks as f64 / self.ticks_per_second);
        cells.set(to.resident, resident);
        cells.set(to.virtual_memory, reading.virtual_bytes as f64);
        cells.set(to.threads, reading.threads as f64);
        cells.set(to.start_time, start_time);
        cells.set_some(to.service_usage_ratio, usage_ratio);
        cells.set(to.service_seconds, seconds);
        cells.set(to.service_memory, resident);
        Ok(())
    }
}

// === helpers ===

/// Reads the file of a process; that it has ended is an absence and no failure to read.
fn read_running(file: &mut KeptFile, pid: u32, name: &mut Name) -> Result<Reading, CollectError> {
    let parsed = file.parse(|text| {
        name.update(split(text)?.0);
        parse(text)
    });
    match parsed {
        Ok(reading) if reading.has_ended() => Err(ended(pid)),
        Err(CollectError::Read { source, .. }) if is_gone(&source) => Err(ended(pid)),
        other => other,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

fn ended(pid: u32) -> CollectError {
    CollectError::Absent(format!("process {pid} has ended; its successor is looked for"))
}

fn cpu_ticks(reading: &Reading) -> f64 {
    reading.user_ticks as f64 + reading.system_ticks as f64
}

/// The `comm` of any process, which is at most 15 bytes of its program's or main thread's name, and what follows it.
pub fn split(text: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    let open = text.iter().position(|byte| *byte == b'(');
    let close = text.iter().rposition(|byte| *byte == b')');
    match (open, close) {
        (Some(open), Some(close)) if open < close => Ok((&text[open + 1..close], &text[close + 1..])),
        _ => Err(Flaw::new("a name in parentheses", text)),
    }
}

/// Understands the file of any process.
pub fn parse(text: &[u8]) -> Result<Reading, Flaw> {
    let (_, after_comm) = split(text)?;
    let mut rest: [&[u8]; 22] = [b""; 22]; // `rest[0]` is field 3 of proc(5)
    for (place, field) in rest.iter_mut().zip(fields(after_comm)) {
        *place = field;
    }
    let number = |field: usize, expected: &'static str| {
        let bytes = rest[field - 3];
        whole(bytes).ok_or_else(|| Flaw::new(expected, bytes))
    };
    let state = *rest[0].first().ok_or_else(|| Flaw::missing("a state"))?;
    let ppid = number(4, "the parent's pid")?;
    Ok(Reading {
        state,
        ppid: u32::try_from(ppid).map_err(|_| Flaw::new("the parent's pid", rest[1]))?,
        is_kernel_thread: number(9, "the flags of a process")? & PF_KTHREAD != 0,
        user_ticks: number(14, "CPU time in whole ticks")?,
        system_ticks: number(15, "CPU time in whole ticks")?,
        threads: number(20, "a number of threads")?,
        start_ticks: number(22, "a start time in ticks")?,
        virtual_bytes: number(23, "a size in bytes")?,
        resident_pages: number(24, "a size in pages")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &str = "11654 (cat) R 11602 11602 10710 0 -1 4194304 102 0 0 0 251 43 0 0 20 0 11 0 111518 3133440 406 \
        18446744073709551615 94044973342720 94044973362301 140728712910304 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn the_file_of_a_real_kernel_is_understood() {
        let expected = Reading {
            state: b'R',
            is_kernel_thread: false,
            ppid: 11_602,
            user_ticks: 251,
            system_ticks: 43,
            threads: 11,
            start_ticks: 111_518,
            virtual_bytes: 3_133_440,
            resident_pages: 406,
        };
        assert_eq!(parse(STAT.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_name_may_hold_spaces_parentheses_and_newlines() {
        for name in ["a b", "(sd-pam)", "x) R 1 (y", "a\nb", ""] {
            let text = STAT.replacen("cat", name, 1);
            let reading = parse(text.as_bytes()).expect("well formed");
            assert_eq!(split(text.as_bytes()).expect("well formed").0, name.as_bytes());
            assert_eq!(reading.threads, 11);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let flaw =
            |from: &str, to: &str| parse(STAT.replacen(from, to, 1).as_bytes()).expect_err("refused").to_string();
        assert!(flaw("(cat)", "cat").contains("a name in parentheses"));
        assert!(flaw("(cat)", ")cat(").contains("a name in parentheses"));
        assert!(flaw(" 251 ", " -251 ").contains(r#"CPU time in whole ticks, found "-251""#));
        assert!(flaw(" 11602 ", " 99999999999 ").contains("the parent's pid"));
        assert!(flaw(" 406 ", " x ").contains("a size in pages"));
    }

    #[test]
    fn kernel_threads_and_ended_processes_are_told_apart() {
        let reading = |text: String| parse(text.as_bytes()).expect("well formed");
        assert!(reading(STAT.replacen("4194304", "2129984", 1)).is_kernel_thread);
        assert!(reading(STAT.replacen(" R ", " Z ", 1)).has_ended());
        assert!(!reading(STAT.into()).has_ended());
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..STAT.len() {
            let _ = parse(&STAT.as_bytes()[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[b"1 (x) S ", bytes.as_slice()].concat());
        }
    }
}
