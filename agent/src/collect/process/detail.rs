//! What a process lets only its own user, or root, see: its I/O and its open files. Left out where it may not be read.
//!
//! Since Linux 6.2 the size of `/proc/PID/fd` is the number of open files; before, its entries have to be counted. Which
//! it is, is tried out when the process is found.

use crate::collect::file::{KeptFile, Probe};
use crate::collect::parse::{Flaw, fields, keyed_all, lines, whole};
use crate::collect::part::{Cell, Cells, Part};
use crate::collect::{CollectError, Note};
use proto::catalog::{
    SERVICE_PROCESS_MAX_FDS, SERVICE_PROCESS_OPEN_FDS, SERVICE_PROCESS_READ_BYTES_TOTAL,
    SERVICE_PROCESS_WRITTEN_BYTES_TOTAL,
};
use rustix::fs::Dir;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that a process had the block devices read and write.
#[derive(Debug)]
pub struct Io {
    file: KeptFile,
    read: Cell,
    written: Cell,
}

/// How many files a process may open.
#[derive(Debug)]
pub struct Limits {
    file: KeptFile,
    max_fds: Cell,
}

/// How many files a process has open.
#[derive(Debug)]
pub struct Descriptors {
    path: PathBuf,
    /// Kept open: it belongs to the process, and not to its number.
    dir: File,
    method: Method,
    cell: Cell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Size,
    Count,
}

// === impl Io ===

impl Io {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        let read = cells.push(&SERVICE_PROCESS_READ_BYTES_TOTAL, &[]);
        Self { file, read, written: cells.push(&SERVICE_PROCESS_WRITTEN_BYTES_TOTAL, &[]) }
    }
}

impl Part for Io {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let [read, written] = self.file.parse(|text| keyed_all(text, ["read_bytes:", "write_bytes:"]))?;
        cells.set(self.read, read as f64);
        cells.set(self.written, written as f64);
        Ok(())
    }
}

// === impl Limits ===

impl Limits {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        Self { file, max_fds: cells.push(&SERVICE_PROCESS_MAX_FDS, &[]) }
    }
}

impl Part for Limits {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let max_fds = self.file.parse(parse_limits)?;
        cells.set_some(self.max_fds, max_fds.map(|count| count as f64));
        Ok(())
    }
}

// === impl Descriptors ===

impl Descriptors {
    /// `None`, with a note, where the directory may not be listed.
    pub fn open(path: PathBuf, probe: &mut Probe) -> Option<Self> {
        let opened = File::open(&path).and_then(|dir| {
            let (size, entries) = (dir.metadata()?.len(), entries(&dir)?);
            // Listing opens one more where it is our own process; equal, or one apart, is no size of a real directory.
            let method = if size.abs_diff(entries) <= 1 && size > 0 { Method::Size } else { Method::Count };
            Ok(Self { path: path.clone(), dir, method, cell: Cell::NONE })
        });
        let problem = opened.as_ref().err().map(io::Error::to_string);
        probe.note(Note { path, problem });
        opened.ok()
    }

    /// Declares the series.
    #[must_use]
    pub fn declare(self, cells: &mut Cells) -> Self {
        Self { cell: cells.push(&SERVICE_PROCESS_OPEN_FDS, &[]), ..self }
    }

    fn count(&self) -> io::Result<u64> {
        match self.method {
            Method::Size => Ok(self.dir.metadata()?.len()),
            Method::Count => entries(&self.dir),
        }
    }
}

impl Part for Descriptors {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let count = self.count().map_err(|source| CollectError::Read { path: self.path.clone(), source })?;
        cells.set(self.cell, count as f64);
        Ok(())
    }
}

// === helpers ===

/// How many entries a directory has. It is read through its descriptor: its path may be another process's by now.
fn entries(dir: &File) -> io::Result<u64> {
    let mut count = 0;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        count += u64::from(name != b"." && name != b"..");
    }
    Ok(count)
}

/// `Max open files            32768                32768                files`: the soft limit; `None` where unlimited.
fn parse_limits(text: &[u8]) -> Result<Option<u64>, Flaw> {
    let limits = lines(text).find_map(|line| line.strip_prefix(b"Max open files"));
    let limits = limits.ok_or_else(|| Flaw::missing("a line Max open files"))?;
    match fields(limits).next().unwrap_or_default() {
        b"unlimited" => Ok(None),
        soft => whole(soft).map(Some).ok_or_else(|| Flaw::new("unlimited or a number of open files", soft)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max cpu time              unlimited            unlimited            seconds   \n\
        Max open files            1024                 524288               files     \n";

    #[test]
    fn the_soft_limit_of_open_files_is_taken() {
        assert_eq!(parse_limits(LIMITS.as_bytes()), Ok(Some(1024)));
        assert_eq!(parse_limits(LIMITS.replace("1024", "unlimited").as_bytes()), Ok(None));
        assert!(
            parse_limits(b"Max cpu time 1 1\n").expect_err("refused").to_string().contains("a line Max open files")
        );
        assert!(parse_limits(LIMITS.replace("1024", "many").as_bytes()).is_err());
    }

    #[test]
    fn our_own_open_files_are_counted_as_proc_counts_them() {
        let mut probe = Probe::default();
        let descriptors = Descriptors::open("/proc/self/fd".into(), &mut probe).expect("our own");
        let _more: Vec<File> = (0..1000).map(|_| File::open("/dev/null").expect("Linux")).collect();
        let count = descriptors.count().expect("our own");
        let counted = fs::read_dir("/proc/self/fd").expect("our own").count() as u64;
        assert!(count >= 1000 && count.abs_diff(counted) < 100, "{count} against {counted}"); // other tests open files too
        assert_eq!(probe.into_notes()[0].problem, None);
    }

    #[test]
    fn the_entries_of_a_real_directory_are_counted_whatever_its_size() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["0", "1", "2", "3", "4"] {
            fs::write(dir.path().join(name), "").expect("it is writable");
        }
        let descriptors = Descriptors::open(dir.path().into(), &mut Probe::default()).expect("it is there");
        assert_eq!(descriptors.method, Method::Count);
        assert_eq!(descriptors.count().expect("it is there"), 5);
        fs::rename(dir.path(), dir.path().with_extension("moved")).expect("it is ours");
        fs::create_dir(dir.path()).expect("it is writable");
        assert_eq!(descriptors.count().expect("it is kept open"), 5, "its path is another's now");
        fs::remove_dir_all(dir.path().with_extension("moved")).expect("it is ours");
        assert!(Descriptors::open(dir.path().join("none"), &mut Probe::default()).is_none());
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..LIMITS.len() {
            let _ = parse_limits(&LIMITS.as_bytes()[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_limits(&bytes);
            let _ = parse_limits(&[b"Max open files", bytes.as_slice()].concat());
        }
    }
}
