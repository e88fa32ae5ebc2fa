//! A disk in memory that fails on demand and loses power: what was not synced is then kept, dropped or torn at 512
//! bytes, file by file and block by block, as a seed has it. For tests only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::fs::{Access, Entry, File, Fs, Lock};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

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

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    contents: Vec<Content>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: Option<u64>,
    faults: Vec<Fault>,
    operations: u64,
    operations_left: Option<u64>,
    /// Syncs do not return.
    hangs: bool,
    /// Those that wait.
    waiting_syncs: usize,
    /// Whether an operation met the stop: it was cut in the middle, and those after it do nothing.
    has_stopped: bool,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes that room is set aside for.
    allocated: usize,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
}

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
        let mut state = self.state();
        let mut dice = Dice::new(loss);
        let changes = std::mem::take(&mut state.unsynced_names);
        let survive = dice.below(changes.len() as u64 + 1);
        for (change, _) in changes.into_iter().zip(0..survive) {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        for content in &mut state.contents {
            content.tear(&mut dice);
        }
        state.locks.clear();
        drop(state);
        self.heal();
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
        state.contents.push(Content { now: bytes.to_vec(), durable: bytes.to_vec(), allocated: 0 });
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
        self.state().dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
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
            (Some(content), _) => content,
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
        state.change(NameChange::Set(to.to_path_buf(), content));
        state.change(NameChange::Remove(from.to_path_buf()));
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

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::SyncDir)?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let taken = self.state().locks.insert(path.to_path_buf());
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
        let now = &mut state.contents[self.content].now;
        let fits = taken.saturating_add(room).saturating_sub(at(offset)).min(bytes.len());
        let written = if begun.is_err() { fits.min(bytes.len() / 2) } else { fits };
        let end = at(offset) + written;
        now.resize(now.len().max(end), 0);
        now[at(offset)..end].copy_from_slice(&bytes[..written]);
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
        let content = &mut state.contents[self.content];
        if begun.is_ok() {
            content.durable.clone_from(&content.now);
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
        content.now.resize(at(bytes), 0);
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

    fn used(&self) -> usize {
        self.names.values().map(|&content| self.contents[content].taken()).sum()
    }

    fn room(&self) -> usize {
        self.capacity_bytes.map_or(usize::MAX, |capacity| at(capacity).saturating_sub(self.used()))
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

// === impl NameChange ===

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, content) => names.insert(path, content),
            Self::Remove(path) => names.remove(&path),
        };
    }
}

// === impl Content ===

impl Content {
    fn taken(&self) -> usize {
        self.now.len().max(self.allocated)
    }

    fn tear(&mut self, dice: &mut Dice) {
        let (old, new) = (self.durable.len(), self.now.len());
        let len = match dice.below(4) {
            0 => old,
            1 | 2 => old.min(new) + at(dice.below(old.abs_diff(new) as u64 + 1)),
            _ => new,
        };
        let len = if dice.keeps_nothing() { old } else { len };
        let mut torn = self.durable.clone();
        torn.resize(len, 0);
        for (block, bytes) in torn.chunks_mut(SECTOR_BYTES).enumerate() {
            let from = block * SECTOR_BYTES;
            if dice.below(4) > 0 && from < new {
                let written = bytes.len().min(new - from);
                bytes[..written].copy_from_slice(&self.now[from..from + written]);
            }
        }
        self.now.clone_from(&torn);
        self.durable = torn;
    }
}

/// A small generator, so that a seed tells the whole story.
struct Dice(Option<u64>);

impl Dice {
    fn new(loss: PowerLoss) -> Self {
        Self(match loss {
            PowerLoss::DropsAll => None,
            PowerLoss::Tears(seed) => Some(seed),
        })
    }

    fn keeps_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// Evenly below `bound`; always 0 if nothing is kept. (SplitMix64.)
    fn below(&mut self, bound: u64) -> u64 {
        let Some(state) = &mut self.0 else { return 0 };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
