//! A disk in memory that fails on demand and loses power. What was not synced is then kept or not, each change by itself:
//! each sector of 512 bytes of each write, each truncation, each growth of a file, each new, changed or removed name, each
//! directory made within another. A seed chooses, or all choices are gone through ([`MemoryDisk::crash_states`]). For tests
//! only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

mod loss;

use self::loss::{Content, ContentChange, Dice, NameChange};
use crate::fs::{Access, Entry, File, Fs, Lock};

/// Changes that may be unsynced at once where all crash states are gone through: 16,384 states.
const MAX_CHOICES: u32 = 14;

/// The disk does not answer.
pub const EIO: i32 = 5;
/// Not ours to touch.
pub const EACCES: i32 = 13;
/// No memory for it now.
pub const ENOMEM: i32 = 12;
/// The file is not what it was when it was opened (NFS).
pub const ESTALE: i32 = 116;
/// Too many files are open; nothing is wrong with the disk.
pub const EMFILE: i32 = 24;
/// This disk has no such verb.
pub const EOPNOTSUPP: i32 = 95;
/// No room.
pub const ENOSPC: i32 = 28;

/// The disk; clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when syncs return again.
    answers: Condvar,
}

/// What a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `File::read_at`.
    Read,
    /// `File::write_at`; the first half of the bytes is written.
    Write,
    /// `File::sync`; what was unsynced is then lost for good, as on Linux.
    Sync,
    /// `File::allocate`.
    Allocate,
    /// `File::truncate`.
    Truncate,
    /// `Fs::open`, when it makes a file.
    Create,
    /// `Fs::open` of a file that is there, `Fs::list`, `Fs::lock`.
    Open,
    /// `Fs::rename`.
    Rename,
    /// `Fs::remove`.
    Remove,
    /// `Fs::sync_dir`.
    SyncDir,
}

/// How much of what was not synced power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerLoss {
    /// Nothing.
    DropsAll,
    /// What the seed has.
    Tears(u64),
}

#[derive(Default, Clone)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    contents: Vec<Content>,
    dirs: BTreeSet<PathBuf>,
    /// Directories within others of ours, which were not synced since: power loss may take them with all that is in them.
    unsynced_dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: Option<u64>,
    faults: Vec<Fault>,
    /// Calls of any verb; those in this range fail, with this error.
    calls: u64,
    failing_calls: Option<(Range<u64>, i32)>,
    operations: u64,
    operations_left: Option<u64>,
    /// Syncs do not return.
    hangs: bool,
    /// Those that wait.
    waiting_syncs: usize,
    /// Whether an operation met the stop: it was cut in the middle, and those after it do nothing.
    has_stopped: bool,
}

#[derive(Clone)]
struct Fault {
    operation: Operation,
    skip: u32,
    times: u32,
    errno: i32,
}

struct OpenFile {
    disk: MemoryDisk,
    content: usize,
}

struct Locked(MemoryDisk, PathBuf);

// === impl MemoryDisk ===

impl MemoryDisk {
    /// After `skip` more, so many of these operations fail with this error of the system.
    pub fn fail(&self, operation: Operation, skip: u32, times: u32, errno: i32) {
        self.state().faults.push(Fault { operation, skip, times, errno });
    }

    /// What the files take, with what is set aside for them.
    pub fn used_bytes(&self) -> u64 {
        self.state().used() as u64
    }

    /// After `skip` more, so many calls fail with this error, whatever verb they are.
    pub fn fail_calls(&self, skip: u64, times: u64, errno: i32) {
        let mut state = self.state();
        let from = state.calls + skip;
        state.failing_calls = Some((from..from + times, errno));
    }

    /// Whether an operation met the stop.
    pub fn has_stopped(&self) -> bool {
        self.state().has_stopped
    }

    /// Calls of any verb so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// From now on syncs do not return, until the disk is healed.
    pub fn hang(&self) {
        self.state().hangs = true;
    }

    /// Syncs that wait for the disk.
    pub fn waiting_syncs(&self) -> usize {
        self.state().waiting_syncs
    }

    /// No more faults, no bound, power is back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.hangs = false;
        self.0.answers.notify_all();
        state.faults.clear();
        state.failing_calls = None;
        state.capacity_bytes = None;
        state.operations_left = None;
        state.has_stopped = false;
    }

    /// The disk is full at so many bytes of content.
    pub fn limit_bytes(&self, capacity: u64) {
        self.state().capacity_bytes = Some(capacity);
    }

    /// After so many more changes nothing works any more, as if the machine had stopped there.
    pub fn stop_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// Changes so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Power fails and comes back. Whoever has files open must be gone.
    pub fn lose_power(&self, loss: PowerLoss) {
        let mut dice = Dice::new(loss);
        self.state().lose_power(&mut || dice.below(4) > 0);
        self.heal();
    }

    /// A disk for each state in which power loss may leave this one: two for each change that was not synced, multiplied.
    pub fn crash_states(&self) -> impl Iterator<Item = Self> {
        let before = self.state().clone();
        let mut choices = 0;
        before.clone().lose_power(&mut || {
            choices += 1;
            false
        });
        assert!(
            choices <= MAX_CHOICES,
            "{choices} changes are unsynced at once: sync more often, or this takes for ever"
        );
        (0..1u32 << choices).map(move |kept| {
            let (mut state, mut kept) = (before.clone(), kept);
            state.lose_power(&mut || {
                let keeps = kept & 1 == 1;
                kept >>= 1;
                keeps
            });
            let disk = Self(Arc::new(Shared { state: Mutex::new(state), answers: Condvar::new() }));
            disk.heal();
            disk
        })
    }

    /// A file's bytes.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|&content| state.contents[content].now.clone())
    }

    /// Puts a file there, durably, behind everybody's back.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let content = state.contents.len();
        state.contents.push(Content { now: bytes.to_vec(), durable: bytes.to_vec(), ..Content::default() });
        state.names.insert(path.to_path_buf(), content);
        state.durable_names.insert(path.to_path_buf(), content);
    }

    /// All files below a directory.
    pub fn files(&self, dir: &Path) -> Vec<PathBuf> {
        self.state().names.keys().filter(|path| path.starts_with(dir)).cloned().collect()
    }

    /// A disk with the same files, durable, and nothing else in common.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.state().dirs.clone_from(&self.state().dirs);
        for path in self.files(Path::new("")) {
            copy.write(&path, &self.read(&path).unwrap_or_default());
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for MemoryDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let is_within = dir.parent().is_some_and(|parent| state.dirs.contains(parent));
        if state.dirs.insert(dir.to_path_buf()) && is_within {
            state.unsynced_dirs.insert(dir.to_path_buf());
        }
        Ok(())
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        if state.dirs.contains(path) {
            return Ok(true);
        }
        if state.names.contains_key(path) { Ok(false) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.fault(Operation::Open)?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, &content): (&PathBuf, &usize)| Entry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: state.contents[content].now.len() as u64,
        };
        Ok(here.map(entry).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        let known = state.names.get(path).copied();
        let content = match (known, access) {
            (Some(_), Access::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(content), _) => {
                state.fault(Operation::Open)?;
                content
            }
            (None, Access::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                state.begin(Operation::Create)?;
                state.contents.push(Content::default());
                let content = state.contents.len() - 1;
                state.change(NameChange::Set(path.to_path_buf(), content));
                content
            }
        };
        Ok(Box::new(OpenFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Rename)?;
        let content = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Rename { from: from.to_path_buf(), to: to.to_path_buf(), content });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Remove)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::SyncDir)?;
        state.unsynced_dirs.retain(|made| made.parent() != Some(dir));
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut state = self.state();
        state.fault(Operation::Open)?;
        let taken = state.locks.insert(path.to_path_buf());
        Ok(taken.then(|| Box::new(Locked(self.clone(), path.to_path_buf())) as Lock))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

// === impl OpenFile ===

impl File for OpenFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.fault(Operation::Read)?;
        let bytes = state.contents[self.content].now.get(at(offset)..).unwrap_or_default();
        let read = bytes.len().min(into.len());
        into[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let stopped_before = state.has_stopped;
        let begun = state.begin(Operation::Write);
        if stopped_before {
            return begun;
        }
        let room = state.room();
        let taken = state.contents[self.content].taken();
        let fits = taken.saturating_add(room).saturating_sub(at(offset)).min(bytes.len());
        let written = if begun.is_err() { fits.min(bytes.len() / 2) } else { fits };
        state.contents[self.content].write(&bytes[..written], at(offset));
        begun?;
        if written < bytes.len() { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.waiting_syncs += 1;
        let awake = self.disk.0.answers.wait_while(state, |state| state.hangs);
        let mut state = awake.unwrap_or_else(PoisonError::into_inner);
        state.waiting_syncs -= 1;
        let begun = state.begin(Operation::Sync);
        let has_stopped = state.has_stopped;
        let content = &mut state.contents[self.content];
        match begun {
            Ok(()) => content.sync(),
            Err(_) if has_stopped => {}
            Err(_) => content.unsynced.clear(), // the kernel takes them for clean now, and no sync writes them
        }
        begun
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Operation::Allocate)?;
        let most = state.contents[self.content].taken().saturating_add(state.room());
        let content = &mut state.contents[self.content];
        content.allocated = content.allocated.max(at(bytes).min(most));
        if at(bytes) > most { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Operation::Truncate)?;
        let content = &mut state.contents[self.content];
        content.change(ContentChange::Truncate(at(bytes)));
        content.allocated = 0;
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Counts a change, and fails it if it shall fail.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        self.operations += 1;
        match &mut self.operations_left {
            Some(0) => {
                self.has_stopped = true;
                return Err(io::Error::other("the machine has stopped"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.fault(operation)
    }

    fn fault(&mut self, operation: Operation) -> io::Result<()> {
        self.calls += 1;
        if let Some((failing, errno)) = &self.failing_calls
            && failing.contains(&(self.calls - 1))
        {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        for fault in self.faults.iter_mut().filter(|fault| fault.operation == operation && fault.times > 0) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times -= 1;
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
        }
        Ok(())
    }

    /// Power fails: what was not synced stays where `keeps` says so. Files without any name have no say.
    fn lose_power(&mut self, keeps: &mut dyn FnMut() -> bool) {
        let named = self.unsynced_names.iter().filter_map(NameChange::content);
        let named: BTreeSet<_> = named.chain(self.names.values().chain(self.durable_names.values()).copied()).collect();
        for change in self.unsynced_names.drain(..) {
            if keeps() {
                change.apply(&mut self.durable_names);
            }
        }
        for dir in std::mem::take(&mut self.unsynced_dirs) {
            if !keeps() {
                self.durable_names.retain(|path, _| !path.starts_with(&dir));
                self.dirs.remove(&dir);
            }
        }
        self.names.clone_from(&self.durable_names);
        for content in named {
            self.contents[content].lose_power(keeps);
        }
        self.locks.clear();
    }

    fn used(&self) -> usize {
        self.names.values().map(|&content| self.contents[content].taken()).sum()
    }

    fn room(&self) -> usize {
        self.capacity_bytes.map_or(usize::MAX, |capacity| at(capacity).saturating_sub(self.used()))
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
