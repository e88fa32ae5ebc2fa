//! `agent check`: reads a whole spool and changes nothing. It takes no lock: beside a running agent, the last segment
//! of a lane may be caught in the middle of a record, which is then told as damage.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::fs::Fs;
use crate::open::other_version;
use crate::shelf::Shelf;
use crate::survey::{Scan, Survey};

/// What lies in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Who owns it, if anything tells.
    pub owner: Option<Uuid>,
    /// Whether the identity file is there and whole; if not, opening makes it again.
    pub is_identity_whole: bool,
    /// Whether a copy of the cursor is there and whole; if not, opening replays what lies there.
    pub is_cursor_whole: bool,
    /// Good records, whether acked or not.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments.
    pub segments: u64,
    /// Whether it is of another format version, so that opening refuses it.
    pub is_other_version: bool,
    /// Files that are not ours, segments of another owner among them; they are left alone.
    pub foreign: Vec<PathBuf>,
    /// Segments with damage; opening and reading step over it.
    pub damaged: Vec<DamagedSegment>,
}

/// A segment with damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Its file.
    pub path: PathBuf,
    /// Whether its header is whole; if not, its name serves.
    pub is_header_whole: bool,
    /// Stretches in which no record is good.
    pub stretches: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// The directory cannot be read.
#[derive(Debug, Error)]
#[error("cannot look into spool {}: check that it exists and may be read", dir.display())]
pub struct VerifyError {
    /// The spool.
    pub dir: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

/// Reads every record of the spool in `dir`.
pub fn verify(fs: &dyn Fs, dir: &Path) -> Result<VerifyReport, VerifyError> {
    look(fs, dir).map_err(|source| VerifyError { dir: dir.to_path_buf(), source })
}

fn look(fs: &dyn Fs, dir: &Path) -> io::Result<VerifyReport> {
    let entries = fs.list(dir)?;
    let Survey { stored, identity, lanes, foreign, .. } = Survey::new(fs, dir, &entries)?;
    let mut report = VerifyReport {
        owner: identity.map(|identity| identity.owner),
        is_identity_whole: stored.is_some(),
        is_cursor_whole: Cursor::load(fs, dir)?.is_some(),
        records: 0,
        bytes: 0,
        segments: 0,
        is_other_version: other_version(fs, dir)?.is_some(),
        foreign,
        damaged: Vec::new(),
    };
    for (segment, is_header_whole) in lanes.into_iter().flatten() {
        let scan = Scan::new(fs, &segment, &mut Shelf::closed());
        report.records += scan.records;
        report.bytes += segment.bytes;
        report.segments += 1;
        if scan.damaged > 0 || !is_header_whole {
            let (path, stretches, bytes) = (segment.path, scan.damaged, scan.damaged_bytes);
            report.damaged.push(DamagedSegment { path, is_header_whole, stretches, bytes });
        }
    }
    Ok(report)
}
