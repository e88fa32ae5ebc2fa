//! A bounded directory for bytes that a person may want to look at: `quarantine/` for damage, `dead/` for records that
//! the receiver refuses for good. What does not fit, or cannot be written, is not kept, and whoever asked is told.
//!
//! Damage is kept by the best effort: it may come in a thousand pieces, and a sync for each would stop the reader. A
//! refused record is whole, and its only other copy goes with its segment: it is kept durably.
//!
//! A symlink under the name of a shelf is never followed: then there is no shelf, and it takes nothing.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{Access, Fs, replace};

/// The most that a shelf holds. Two segments' worth: enough to study a fault, too little to hurt the service beside us.
pub const MAX_SHELF_BYTES: u64 = 16 << 20;

/// The most files on a shelf: damage in tiny pieces must not fill a directory.
pub const MAX_SHELF_FILES: usize = 1024;

/// A directory and what it holds.
pub(crate) struct Shelf {
    dir: PathBuf,
    pub bytes: u64,
    /// Damage that was brought and not kept, since opening.
    pub turned_away: u64,
    files: usize,
}

// === impl Shelf ===

impl Shelf {
    /// The shelf as it lies there; a missing one is empty, and so is what is no directory.
    pub fn open(fs: &dyn Fs, dir: PathBuf) -> Self {
        let is_dir = fs.is_dir(&dir).unwrap_or_default();
        let entries = if is_dir { fs.list(&dir).unwrap_or_default() } else { Vec::new() };
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        Self { dir, bytes, turned_away: 0, files: entries.len() }
    }

    /// One that takes nothing, for looking without touching.
    pub fn closed() -> Self {
        Self { dir: PathBuf::new(), bytes: 0, turned_away: 0, files: MAX_SHELF_FILES }
    }

    /// Puts a copy of the bytes there, unless it is full or a file of that name is there already.
    pub fn keep(&mut self, fs: &dyn Fs, name: &str, bytes: &[u8]) {
        let kept = self.has_room(1, bytes.len() as u64) && self.make(fs).is_ok() && {
            let path = self.dir.join(name);
            match fs.open(&path, Access::CreateNew) {
                Ok(file) if file.write_at(bytes, 0).is_ok() => {
                    self.count(bytes.len() as u64);
                    true
                }
                Ok(_) => {
                    drop(fs.remove(&path));
                    false
                }
                Err(_) => false,
            }
        };
        self.turned_away += u64::from(!kept && !self.has(fs, name));
    }

    /// Whether a file of that name lies there.
    fn has(&self, fs: &dyn Fs, name: &str) -> bool {
        fs.is_dir(&self.dir).unwrap_or_default() && fs.open(&self.dir.join(name), Access::Read).is_ok()
    }

    /// Puts a refused record there, and why, so that they outlast power loss when this returns `true`. (The name of a
    /// record says which it is: one that lies there already is the same.)
    pub fn keep_durably(&mut self, fs: &dyn Fs, name: &str, record: &[u8], why: &str) -> bool {
        let path = self.dir.join(name);
        if self.make_durably(fs).is_err() {
            return false;
        } else if fs.open(&path, Access::Read).is_ok() {
            return fs.sync_dir(&self.dir).is_ok(); // whole, because it got its name when it was synced
        }
        let bytes = (record.len() + why.len()) as u64;
        if !self.has_room(2, bytes) {
            return false;
        }
        let reason = format!("{name}.why");
        let kept =
            replace(fs, &self.dir, &reason, why.as_bytes()).is_ok() && replace(fs, &self.dir, name, record).is_ok();
        if kept {
            self.count(why.len() as u64);
            self.count(record.len() as u64);
        } else {
            drop(fs.remove(&path)); // a part of it would not be counted
            drop(fs.remove(&self.dir.join(reason)));
        }
        kept
    }

    /// The directory, which must be one itself. (The directory around it is ours alone, so that it stays one.)
    fn make(&self, fs: &dyn Fs) -> io::Result<()> {
        match fs.is_dir(&self.dir) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs.make_dir(&self.dir),
            Err(error) => Err(error),
        }
    }

    /// The directory, and its name in ours.
    fn make_durably(&self, fs: &dyn Fs) -> io::Result<()> {
        self.make(fs)?;
        self.dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))
    }

    /// Moves a whole file there. Whether it did; else the file is the caller's to remove.
    #[must_use]
    pub fn take(&mut self, fs: &dyn Fs, path: &Path, bytes: u64) -> bool {
        let moved = path.file_name().is_some_and(|name| {
            self.has_room(1, bytes) && self.make(fs).is_ok() && fs.rename(path, &self.dir.join(name)).is_ok()
        });
        if moved {
            self.count(bytes);
        } else {
            self.turned_away += 1;
        }
        moved
    }

    fn has_room(&self, files: usize, bytes: u64) -> bool {
        self.files + files <= MAX_SHELF_FILES && self.bytes.saturating_add(bytes) <= MAX_SHELF_BYTES
    }

    fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.files += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryDisk;

    #[test]
    fn a_shelf_takes_so_many_files_and_so_many_bytes_and_no_more() {
        let disk = MemoryDisk::default();
        let mut many = Shelf::open(&disk, "/many".into());
        for number in 0..MAX_SHELF_FILES + 5 {
            many.keep(&disk, &number.to_string(), b"x");
        }
        assert_eq!(disk.files(Path::new("/many")).len(), MAX_SHELF_FILES);
        let mut large = Shelf::open(&disk, "/large".into());
        for number in 0..20 {
            large.keep(&disk, &number.to_string(), &vec![0; 1 << 20]);
        }
        assert_eq!((disk.files(Path::new("/large")).len(), large.bytes), (16, MAX_SHELF_BYTES));
        assert_eq!(large.turned_away, 4);
        let again = Shelf::open(&disk, "/large".into());
        assert_eq!((again.bytes, again.files), (large.bytes, large.files), "it is counted again at opening");
        large.keep(&disk, "0", &vec![0; 1 << 20]); // the same damage, read again
        assert_eq!(large.turned_away, 4, "it lies there");
        large.keep(&disk, "20", b"x");
        assert_eq!(large.turned_away, 5);
        disk.write(Path::new("/file"), b"x");
        assert!(!large.take(&disk, Path::new("/file"), 1));
        assert_eq!(disk.read(Path::new("/file")).as_deref(), Some(&b"x"[..]), "what does not fit is the caller's");
    }
}
