//! Room on the disk that other programs cannot take: the file `reserve`, without content, for which the disk has set
//! blocks aside. When a critical record finds the disk full, the lane's next segment is begun in that file: the header is
//! written, and then the file is renamed into its place. A rename needs no room, and at no moment are the blocks free for
//! somebody else. The next checkpoint that finds room sets others aside.
//!
//! A begin that fails leaves the reserve as it was. A group that was too large for the room is cut off again, which frees
//! what lies behind for a moment, until it is set aside anew for a smaller group. Only a file in which the disk fails to
//! write *records* is given up, blocks and all, and others are set aside at once: what it holds must never stand behind
//! what is written later.
//!
//! It lies beside what `max_bytes` bounds. A disk that cannot set blocks aside (`fallocate` that keeps the size) is
//! worked on without, and that is told.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{Access, Fs};

/// Its name in the directory.
pub(crate) const NAME: &str = "reserve";

/// How the room for critical records stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reserve {
    /// Set aside.
    Held,
    /// In use, or there was no room for it: the next checkpoint tries again.
    #[default]
    Missing,
    /// The disk cannot set room aside.
    Unsupported,
}

/// The file.
pub(crate) struct Room {
    pub path: PathBuf,
    pub bytes: u64,
    pub state: Reserve,
}

// === impl Room ===

impl Room {
    pub fn new(dir: &Path, bytes: u64) -> Self {
        Self { path: dir.join(NAME), bytes, state: Reserve::Missing }
    }

    /// Sets the room aside if it is missing.
    pub fn hold(&mut self, fs: &dyn Fs) {
        if self.state != Reserve::Missing {
            return;
        }
        self.state = match self.set_aside(fs) {
            Ok(()) => Reserve::Held,
            Err(error) => {
                drop(fs.remove(&self.path)); // a part of it serves nobody
                if error.kind() == io::ErrorKind::Unsupported { Reserve::Unsupported } else { Reserve::Missing }
            }
        };
    }

    fn set_aside(&self, fs: &dyn Fs) -> io::Result<()> {
        let mut file = fs.open(&self.path, Access::Write)?;
        if file.read_at(&mut [0], 0)? > 0 {
            // A segment whose name power loss took back. A truncation could be taken back too, another file cannot.
            fs.remove(&self.path)?;
            file = fs.open(&self.path, Access::CreateNew)?;
        }
        file.allocate(self.bytes)
    }
}
