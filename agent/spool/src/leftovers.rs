//! Files of a lane that should be gone and are not, because the disk did not unlink them: finished segments, segments
//! dropped for space, segments that were begun and never held a record. Until they are gone they take room, and are
//! counted in what the spool takes.
//!
//! Their unlink is tried again with each checkpoint, and before more is dropped for space: as long as one stays, dropping
//! the next would most likely make no room either. What lies there at the end, opening removes, because its ordinals say
//! that it is finished. No new file gets a name that is in this list: a later unlink would take that file.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::Fs;

/// The most files kept in mind. Where so many stay, nothing more is finished: it waits in its lane, which has its bounds.
pub const MAX_LEFTOVERS: usize = 64;

/// The files, and the bytes of each.
#[derive(Default)]
pub(crate) struct Leftovers(Vec<(PathBuf, u64)>);

/// Removes a file; what is no file of ours any more counts as gone.
fn unlink(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(()),
        removed => removed,
    }
}

// === impl Leftovers ===

impl Leftovers {
    /// Removes a file, or keeps in mind that it stayed. (One too many is left to the next opening.)
    pub fn remove(&mut self, fs: &dyn Fs, path: PathBuf, bytes: u64) {
        if unlink(fs, &path).is_err() && !self.is_full() {
            self.0.push((path, bytes));
        }
    }

    /// Tries again to remove what stayed. Whether nothing stays now.
    pub fn retry(&mut self, fs: &dyn Fs) -> bool {
        self.0.retain(|(path, _)| unlink(fs, path).is_err());
        self.0.is_empty()
    }

    /// Before another file gets this name: if it is still that of one which should be gone, that one goes first.
    pub fn free(&mut self, fs: &dyn Fs, name: &Path) -> io::Result<()> {
        if let Some(index) = self.0.iter().position(|(path, _)| path == name) {
            unlink(fs, name)?;
            self.0.swap_remove(index);
        }
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_LEFTOVERS
    }

    pub fn files(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}
