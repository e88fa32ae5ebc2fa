//! A file of `/proc` or `/sys` that stays open and is read again from its beginning in every pass.
//!
//! The kernel writes such a file anew for each read at offset 0, so a kept descriptor with `pread` saves the path walk
//! and the open, two thirds of a read's cost. The buffer is reused. After an error the file is closed, and the next
//! pass opens it again by its path; a descriptor below `/proc/PID` stays with its process and says `ESRCH` afterwards,
//! also when the number has gone to another process.

use super::parse::Flaw;
use super::{CollectError, Note};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longest file that is read. `/proc/stat` of a machine with 1,000 CPUs and `mountinfo` of a node with hundreds of pods
/// are a quarter of it.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;

/// Room that a read begins with: most files fit, and the kernel fills the rest at the next offset where not.
const BUFFER_START_BYTES: usize = 1024;

/// One file kept open.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

/// Opens files for the first time and takes note of which can be read; the `check` command prints the notes.
#[derive(Debug, Default)]
pub struct Probe {
    notes: Vec<Note>,
    /// Whether the files are another user's, who need not let us read them.
    is_of_another: bool,
}

// === impl KeptFile ===

impl KeptFile {
    /// The file at `path`, opened by the first read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, buffer: Vec::new() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's present content.
    pub fn read(&mut self) -> Result<&[u8], CollectError> {
        match self.fill() {
            Ok(length) if length <= FILE_MAX_BYTES => Ok(&self.buffer[..length]),
            Ok(_) => {
                self.file = None;
                self.buffer = Vec::new();
                Err(self.malformed(&Flaw::missing(format!("at most {FILE_MAX_BYTES} bytes"))))
            }
            Err(source) => {
                self.file = None;
                Err(CollectError::Read { path: self.path.clone(), source })
            }
        }
    }

    /// Reads the file and hands its content to `parser`, whose flaw becomes an error that names the file.
    pub fn parse<T>(&mut self, parser: impl FnOnce(&[u8]) -> Result<T, Flaw>) -> Result<T, CollectError> {
        let parsed = parser(self.read()?);
        parsed.map_err(|flaw| self.malformed(&flaw))
    }

    /// That the content has this flaw.
    pub fn malformed(&self, flaw: &Flaw) -> CollectError {
        CollectError::Malformed { path: self.path.clone(), problem: flaw.to_string() }
    }

    /// Reads to the end, or to just beyond the longest length allowed; returns how much was read.
    fn fill(&mut self) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(File::open(&self.path)?),
        };
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                self.buffer.resize((2 * length).max(BUFFER_START_BYTES), 0);
            }
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if length > FILE_MAX_BYTES {
                return Ok(length);
            }
        }
    }
}

// === impl Probe ===

impl Probe {
    /// For the files of a process that may be another user's: one that we may not read is then like one that is not
    /// there.
    pub fn of_another() -> Self {
        Self { notes: Vec::new(), is_of_another: true }
    }

    /// A file that the source cannot do without: it is tried again in every pass.
    pub fn required(&mut self, path: impl Into<PathBuf>) -> KeptFile {
        let mut file = KeptFile::new(path);
        // A file that cannot be read now is said by each pass.
        let _ = self.try_file(&mut file);
        file
    }

    /// A file that this kernel may not have: left out where it is not there. One that is there and cannot be read now
    /// is kept, so that it fails, is counted, and comes back.
    pub fn optional(&mut self, path: impl Into<PathBuf>) -> Option<KeptFile> {
        let mut file = KeptFile::new(path);
        match self.try_file(&mut file) {
            Err(CollectError::Read { source, .. }) if self.is_lacking(&source) => None,
            _ => Some(file),
        }
    }

    /// Whether an error says that there is no such thing for us, now and later.
    pub fn is_lacking(&self, error: &io::Error) -> bool {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => true,
            Some(Errno::ACCESS | Errno::PERM) => self.is_of_another,
            _ => false,
        }
    }

    /// Adds what was found out by other means than reading a file.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// What was noted so far.
    pub fn into_notes(self) -> Vec<Note> {
        self.notes
    }

    fn try_file(&mut self, file: &mut KeptFile) -> Result<(), CollectError> {
        let outcome = file.read().map(|_| ());
        let problem = match &outcome {
            Ok(()) => None,
            Err(CollectError::Read { source, .. }) => Some(source.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.notes.push(Note { path: file.path.clone(), problem });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn file_with(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        fs::write(&path, content).expect("it is writable");
        (dir, path)
    }

    #[test]
    fn each_read_sees_the_present_content_whatever_its_length() {
        let (_dir, path) = file_with(b"first");
        let mut file = KeptFile::new(&path);
        for length in [5, 0, 1, 1023, 1024, 1025, 4096, 100_000, 3] {
            let content = vec![b'x'; length];
            fs::write(&path, &content).expect("it is writable");
            assert_eq!(file.read().expect("it is readable"), content);
        }
    }

    #[test]
    fn a_file_of_the_real_proc_reads_as_opened_afresh() {
        let mut file = KeptFile::new("/proc/self/limits");
        for _ in 0..3 {
            let fresh = fs::read("/proc/self/limits").expect("Linux");
            assert_eq!(file.read().expect("it is readable"), fresh);
        }
    }

    #[test]
    fn after_an_error_the_file_is_opened_again_by_its_path() {
        let (dir, path) = file_with(b"old");
        let mut file = KeptFile::new(dir.path()); // a directory opens, but does not read
        assert!(matches!(file.read(), Err(CollectError::Read { .. })));
        file.path.clone_from(&path);
        assert_eq!(file.read().expect("it is readable"), b"old");

        let mut missing = KeptFile::new(dir.path().join("later"));
        let error = missing.read().expect_err("refused");
        assert!(error.to_string().contains("/later;"), "{error}");
        fs::write(dir.path().join("later"), b"here").expect("it is writable");
        assert_eq!(missing.read().expect("it is readable"), b"here");
    }

    #[test]
    fn a_file_beyond_the_limit_is_malformed_and_costs_no_memory_afterwards() {
        let (_dir, path) = file_with(&vec![0; FILE_MAX_BYTES + 1]);
        let mut file = KeptFile::new(&path);
        let error = file.read().expect_err("refused");
        assert!(matches!(error, CollectError::Malformed { .. }), "{error}");
        assert_eq!(file.buffer.capacity(), 0);
        fs::write(&path, vec![0; FILE_MAX_BYTES]).expect("it is writable");
        assert_eq!(file.read().expect("the limit itself is allowed").len(), FILE_MAX_BYTES);
    }

    #[test]
    fn a_flaw_names_its_file() {
        let (_dir, path) = file_with(b"nonsense");
        let error = KeptFile::new(&path).parse(super::super::parse::single).expect_err("refused");
        let expected = format!("{} is malformed: expected one whole number, found \"nonsense\";", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn a_kept_file_of_an_ended_process_says_so_and_gives_no_old_content() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("coreutils");
        let path = format!("/proc/{}/stat", child.id());
        let mut file = KeptFile::new(&path);
        assert!(file.read().expect("it runs").starts_with(child.id().to_string().as_bytes()));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let error = file.read().expect_err("it has ended");
        let CollectError::Read { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(Errno::SRCH.raw_os_error()));
    }

    #[test]
    fn a_file_longer_than_one_page_of_the_kernel_is_read_whole() {
        let mut file = KeptFile::new("/proc/self/smaps");
        let content = file.read().expect("our own");
        assert!(content.len() > 4096 && content.ends_with(b"\n"), "{} bytes", content.len());
    }

    proptest! {
        #[test]
        fn every_content_is_read_back_byte_for_byte(contents in prop::collection::vec(any::<Vec<u8>>(), 1..6)) {
            let (_dir, path) = file_with(b"");
            let mut file = KeptFile::new(&path);
            for content in contents {
                fs::write(&path, &content).expect("it is writable");
                prop_assert_eq!(file.read().expect("it is readable"), content);
            }
        }
    }

    #[test]
    fn only_what_this_kernel_lacks_or_another_user_forbids_is_left_out() {
        let lacking = |probe: &Probe, errno: Errno| probe.is_lacking(&errno.into());
        let (ours, anothers) = (Probe::default(), Probe::of_another());
        for errno in [Errno::NOENT, Errno::NODEV, Errno::OPNOTSUPP] {
            assert!(lacking(&ours, errno) && lacking(&anothers, errno), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM] {
            assert!(!lacking(&ours, errno) && lacking(&anothers, errno), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM, Errno::SRCH] {
            assert!(!lacking(&ours, errno) && !lacking(&anothers, errno), "{errno}");
        }
        let (dir, _) = file_with(b"");
        assert!(Probe::default().optional(dir.path()).is_some(), "a directory is there and cannot be read");
    }

    #[test]
    fn the_probe_notes_what_can_be_read_and_what_not() {
        let (dir, path) = file_with(b"1");
        let mut probe = Probe::default();
        assert!(probe.optional(&path).is_some());
        assert!(probe.optional(dir.path().join("none")).is_none());
        let _kept = probe.required(dir.path().join("needed"));
        let notes = probe.into_notes();
        let problems: Vec<bool> = notes.iter().map(|note| note.problem.is_some()).collect();
        assert_eq!(problems, [false, true, true]);
    }
}
