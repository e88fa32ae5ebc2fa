//! The disk as the spool sees it: thirteen verbs. [`RealDisk`](crate::RealDisk) is the one that ships; the one in memory
//! (`memory.rs`) forgets unsynced writes, tears sectors and fails on demand, and is what the tests crash.

use std::io;
use std::path::Path;

use crate::lane::READ_ATTEMPTS;

/// One regular file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the directory. Names that are not UTF-8 are never ours and are not listed.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only; it must exist.
    Read,
    /// Reading and writing; it is made if it is missing.
    Write,
    /// Reading and writing; it must not exist.
    CreateNew,
}

/// Held as long as the directory is ours; dropping it gives the directory back.
pub type Lock = Box<dyn Send + Sync>;

/// Directories and names. Everything is made readable by the owner only (directories 0700, files 0600).
pub trait Fs: Send + Sync {
    /// Makes the directory and its parents; an existing one is fine.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether the name is a directory itself, and not a link that leads to one. A missing one is `NotFound`.
    fn is_dir(&self, path: &Path) -> io::Result<bool>;
    /// The regular files of a directory, in any order; `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock file, or `None` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Reads until the buffer is full or the file ends; how many bytes.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes everything, or fails having written a part.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and size durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Sets room aside for the first so many bytes, which stays with the file under any name; its size stays as it is.
    /// `Unsupported` where a disk cannot do that.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Cuts the file, and gives back the room behind.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// Whether the error says that the disk (or our share of it) is full, which removing files can cure.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the error says that this machine is short of something, rather than that a place of the disk is bad: it
/// passes by itself, and says nothing of the record.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12; // these numbers are the same on every Linux
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE))
}

/// Makes a small file anew under the name, durably: beside it, then renamed into its place. What had the name stays
/// until then, and nothing is left beside it after an error.
pub(crate) fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = dir.join(format!("{name}.tmp"));
    let write = || {
        let file = fs.open(&beside, Access::Write)?;
        file.truncate(0)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        fs.rename(&beside, &dir.join(name))
    };
    if let Err(error) = write() {
        drop(fs.remove(&beside));
        return Err(error);
    }
    fs.sync_dir(dir)
}

/// A whole small file, or `None` if it is missing or cannot be had. Whoever asks takes that for damage and goes on without,
/// so a failing read is tried again before; and a shortage is an error: we must not forget who we are because too many
/// files were open for a moment.
pub(crate) fn read_small(fs: &dyn Fs, path: &Path, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; max_bytes];
    for _ in 0..READ_ATTEMPTS {
        match fs.open(path, Access::Read).and_then(|file| file.read_at(&mut bytes, 0)) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(Some(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_shortage(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}
