//! A bounded directory for bytes that a person may want to look at: `quarantine/` for damage, `dead/` for records that
//! the receiver refuses for good. Best effort: what does not fit, or cannot be written, is only counted elsewhere.

use std::path::{Path, PathBuf};

use crate::fs::{Access, Fs};

/// The most that a shelf holds. Two segments' worth: enough to study a fault, too little to hurt the service beside us.
pub const MAX_SHELF_BYTES: u64 = 16 << 20;

/// The most files on a shelf: damage in tiny pieces must not fill a directory.
pub const MAX_SHELF_FILES: usize = 1024;

/// A directory and what it holds.
pub(crate) struct Shelf {
    dir: PathBuf,
    pub bytes: u64,
    files: usize,
}

// === impl Shelf ===

impl Shelf {
    /// The shelf as it lies there; a missing one is empty.
    pub fn open(fs: &dyn Fs, dir: PathBuf) -> Self {
        let entries = fs.list(&dir).unwrap_or_default();
        Self { dir, bytes: entries.iter().map(|entry| entry.bytes).sum(), files: entries.len() }
    }

    /// One that takes nothing, for looking without touching.
    pub fn closed() -> Self {
        Self { dir: PathBuf::new(), bytes: 0, files: MAX_SHELF_FILES }
    }

    /// Puts a copy of the bytes there, unless it is full or a file of that name is there already.
    pub fn keep(&mut self, fs: &dyn Fs, name: &str, bytes: &[u8]) {
        if self.has_room(bytes.len() as u64) && fs.make_dir(&self.dir).is_ok() {
            let path = self.dir.join(name);
            let Ok(file) = fs.open(&path, Access::CreateNew) else { return };
            match file.write_at(bytes, 0) {
                Ok(()) => self.count(bytes.len() as u64),
                Err(_) => drop(fs.remove(&path)),
            }
        }
    }

    /// Moves a whole file there, or removes it if there is no room.
    pub fn take(&mut self, fs: &dyn Fs, path: &Path, bytes: u64) {
        let moved = path.file_name().is_some_and(|name| {
            self.has_room(bytes) && fs.make_dir(&self.dir).is_ok() && fs.rename(path, &self.dir.join(name)).is_ok()
        });
        if moved {
            self.count(bytes);
        } else {
            drop(fs.remove(path));
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.files < MAX_SHELF_FILES && self.bytes.saturating_add(bytes) <= MAX_SHELF_BYTES
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
        let again = Shelf::open(&disk, "/large".into());
        assert_eq!((again.bytes, again.files), (large.bytes, large.files), "it is counted again at opening");
        disk.write(Path::new("/file"), b"x");
        large.take(&disk, Path::new("/file"), 1);
        assert_eq!(disk.read(Path::new("/file")), None, "what does not fit is removed");
    }
}
