//! What lies in the directory, before anybody decides what to make of it: the segments by lane and in order, and what a
//! scan of one tells. Opening and `verify` both begin here; nothing here changes a segment.

use std::io;
use std::path::{Path, PathBuf};

use crate::Place;
use crate::fs::{Entry, Fs};
use crate::identity::Identity;
use crate::lane::{PLAUSIBLE_SPAN, quarantine};
use crate::record::{Step, Walker};
use crate::reserve;
use crate::sealed::Unsealed;
use crate::segment::{HEADER_BYTES, Header, Key, Segment};
use crate::shelf::Shelf;

/// The files of a spool that are no segments.
const OURS: [&str; 8] =
    ["lock", "identity", "identity.tmp", "cursor.0", "cursor.0.tmp", "cursor.1", "cursor.1.tmp", reserve::NAME];

/// The segments of the directory and what they tell.
pub(crate) struct Survey {
    /// The identity as it is written.
    pub stored: Option<Identity>,
    /// The identity with what the segments add to it; `None` if nothing tells it.
    pub identity: Option<Identity>,
    /// By lane, in reading order; and whether the header is whole.
    pub lanes: [Vec<(Segment, bool)>; 2],
    /// Files that are not ours.
    pub foreign: Vec<PathBuf>,
    /// The highest era that any file claims.
    pub highest_era: u32,
}

/// What the scan of a segment tells.
pub(crate) struct Scan {
    /// Good records.
    pub records: u64,
    /// Damaged stretches between good records: each was a record at least.
    pub lost_between: u64,
    /// The place after the last good record.
    pub next: Place,
    /// The end of the last good record.
    pub good_end: u64,
    /// Whether the disk gave up before the end: then nobody knows how many records follow.
    pub is_cut_short: bool,
    /// Damaged stretches, the tail included.
    pub damaged: u64,
    pub damaged_bytes: u64,
}

// === impl Survey ===

impl Survey {
    pub fn new(fs: &dyn Fs, dir: &Path, entries: &[Entry]) -> io::Result<Self> {
        let is_foreign = |name: &str| Key::from_file_name(name).is_none() && !OURS.contains(&name);
        let foreign = entries.iter().filter(|entry| is_foreign(&entry.name)).map(|entry| dir.join(&entry.name));
        let named =
            |entry: &Entry| Key::from_file_name(&entry.name).map(|key| (key, dir.join(&entry.name), entry.bytes));
        let mut files: Vec<_> = entries.iter().filter_map(named).collect();
        files.sort();
        let headers: Vec<_> = files.iter().map(|(_, path, _)| Header::read(fs, path)).collect::<io::Result<_>>()?;
        let whole = || headers.iter().filter_map(|header| header.as_ref().ok());
        let stored = Identity::load(fs, dir)?;
        let newest = whole().max_by_key(|header| header.key.first);
        let mut identity =
            stored.clone().or_else(|| newest.map(|header| Identity { owner: header.owner, eras: Vec::new() }));
        let owner = identity.as_ref().map(|identity| identity.owner);
        let mut survey = Self {
            stored,
            identity: None,
            lanes: [Vec::new(), Vec::new()],
            foreign: foreign.collect(),
            highest_era: 0,
        };
        for ((key, path, bytes), header) in files.into_iter().zip(&headers) {
            // Also that of a file which is not ours: a segment of ours must never need its name.
            survey.highest_era = survey.highest_era.max(key.first.era);
            let key = match header {
                Ok(header) if Some(header.owner) == owner => {
                    if let Some(known) = identity.as_mut() {
                        known.learn(header.key.first.era, header.epoch);
                    }
                    header.key
                }
                Err(Unsealed::Damaged) => key,
                Ok(_) | Err(Unsealed::OtherVersion) => {
                    survey.foreign.push(path);
                    continue;
                }
            };
            survey.highest_era = survey.highest_era.max(key.first.era);
            survey.lanes[key.class.index()].push((Segment::new(key, path, bytes), header.is_ok()));
        }
        for lane in &mut survey.lanes {
            lane.sort_by_key(|(segment, _)| segment.key);
        }
        survey.identity = identity;
        Ok(survey)
    }
}

// === impl Scan ===

impl Scan {
    /// Reads a whole segment, and quarantines what is damaged at its end (the reader does so for the rest).
    pub fn new(fs: &dyn Fs, segment: &Segment, shelf: &mut Shelf) -> Self {
        let start = HEADER_BYTES as u64;
        let first = segment.key.first;
        let mut scan = Self {
            records: 0,
            lost_between: 0,
            next: first,
            good_end: start,
            is_cut_short: false,
            damaged: 0,
            damaged_bytes: 0,
        };
        let mut walker = Walker::new(segment.path.clone(), start);
        let mut pending = None;
        if segment.bytes < start {
            pending = Some((0, segment.bytes));
            scan.good_end = 0;
        }
        let plausible = first.seq..=first.seq.saturating_add(PLAUSIBLE_SPAN);
        loop {
            match walker.step(fs, segment.bytes, &plausible) {
                Ok(Step::Record(found)) => {
                    scan.records += 1;
                    scan.lost_between += u64::from(pending.take().is_some());
                    scan.next.seq = scan.next.seq.max(found.last_seq().saturating_add(1));
                    scan.good_end = found.end();
                }
                Ok(Step::Damaged { at, bytes }) => {
                    scan.damaged += 1;
                    scan.damaged_bytes += bytes;
                    pending = Some((at, bytes));
                }
                Ok(Step::End) => break,
                Err(_) => {
                    // What cannot be read today is neither cut nor given up: the reader tries again.
                    scan.is_cut_short = true;
                    scan.damaged += 1;
                    scan.damaged_bytes += segment.bytes - scan.good_end;
                    scan.good_end = segment.bytes;
                    return scan;
                }
            }
        }
        if let Some((at, bytes)) = pending {
            quarantine(fs, &mut walker, &segment.key, at, bytes, shelf);
        }
        scan
    }
}
