//! Opening: from whatever lies in the directory to a spool, in one pass over the names and headers and one scan of the
//! last segment of each lane. It decides one thing that matters: whether the epoch may go on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::Place;
use crate::cursor::{self, Cursor, boot_id_field};
use crate::epoch::NewEpoch;
use crate::error::SyncError;
use crate::fs::{Access, Fs};
use crate::identity::{self, Identity};
use crate::lane::Lane;
use crate::leftovers::Leftovers;
use crate::options::{Mode, Options};
use crate::queue::{Ending, Spool};
use crate::record::Class;
use crate::reserve::Room;
use crate::sealed::is_other_version;
use crate::segment::Segment;
use crate::shelf::Shelf;
use crate::stats::Stats;
use crate::survey::{Scan, Survey};

/// Why a spool could not be opened. Damage is never a reason.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("spool {} is in use by another process: stop that agent, or give this one another directory", dir.display())]
    Locked {
        /// The spool.
        dir: PathBuf,
    },
    /// It is of another format version, and whole. It is left as it is: only that version can deliver what waits.
    #[error(
        "{} was written by another version of this program: run that version until all is delivered, or move the spool's \
        directory away (what waits in it is then not delivered)",
        path.display()
    )]
    OtherVersion {
        /// The file that tells.
        path: PathBuf,
    },
    /// The directory cannot be used at all.
    #[error(
        "cannot open the spool at {}: check that it is what it should be and can be written, and that its disk is not full",
        path.display()
    )]
    Disk {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Who owns this spool.
    pub owner: Uuid,
    /// The epoch that appends are in.
    pub epoch: u128,
    /// Whether it is new, and why.
    pub new_epoch: Option<NewEpoch>,
    /// Records waiting.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments.
    pub segments: u64,
    /// Bytes cut off the tails: records that were being written, or damage.
    pub torn_bytes: u64,
    /// Records that the cursor or the segments tell of and that are not there.
    pub lost_records: u64,
    /// Records dropped because the bound is smaller now.
    pub evicted_records: u64,
    /// Files that are not ours, segments of another owner among them; they are left alone.
    pub foreign: Vec<PathBuf>,
}

/// A lane that has been looked at, and how its tail is.
struct Settled {
    lane: Lane,
    /// After its last record, if it has a segment.
    next: Option<Place>,
    torn_bytes: u64,
    /// Whether it may have had more records than are found.
    is_torn: bool,
    missing: u64,
    /// The last segment may be written on.
    is_writable: bool,
}

// === impl Spool ===

impl Spool {
    /// Opens or makes the spool in `dir`. Terminates whatever lies there, and takes the directory for itself.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        fs.make_dir(dir).map_err(OpenError::at(dir))?;
        let path = dir.join("lock");
        let lock = fs.lock(&path).map_err(OpenError::at(&path))?;
        let lock = lock.ok_or_else(|| OpenError::Locked { dir: dir.to_path_buf() })?;
        if let Some(path) = other_version(&*fs, dir).map_err(OpenError::at(dir))? {
            return Err(OpenError::OtherVersion { path });
        }
        let mut quarantine = Shelf::open(&*fs, dir.join("quarantine"));
        let dead = Shelf::open(&*fs, dir.join("dead"));

        let entries = fs.list(dir).map_err(OpenError::at(dir))?;
        let cursor = Cursor::load(&*fs, dir).map_err(OpenError::at(dir))?;
        let (cursor, cursor_copy) = cursor.map_or((None, 0), |(cursor, other)| (Some(cursor), other));
        let Survey { stored, identity, lanes, foreign, highest_era } =
            Survey::new(&*fs, dir, &entries).map_err(OpenError::at(dir))?;
        let mut identity = identity.unwrap_or_else(|| {
            let owner = cursor.as_ref().map_or_else(Uuid::new_v4, |cursor| cursor.owner);
            Identity { owner, eras: Vec::new() }
        });
        if let Some(cursor) = &cursor {
            identity.reach(cursor.next);
        }
        let [ordinary, critical] = lanes;
        let mut settled = [(Class::Ordinary, ordinary), (Class::Critical, critical)]
            .map(|(class, found)| settle(&fs, dir, class, found, &identity, cursor.as_ref(), &mut quarantine));

        let (mut next, mut new_epoch) = judge(&identity, cursor.as_ref(), &settled, &options);
        let is_synced = settled.iter().filter(|lane| !lane.sync(&*fs, dir)).count() == 0;
        new_epoch = new_epoch.or((!is_synced).then_some(NewEpoch::SyncFailed));
        let acked = first_unread(cursor.as_ref(), &settled);
        if new_epoch.is_some() {
            let after = cursor.as_ref().map_or(0, |cursor| cursor.next.era).max(highest_era);
            identity.begin_epoch(Some(next.seq), after);
            let has_segment = |era| settled.iter().any(|settled| settled.lane.has_era(era));
            identity.forget(acked.map_or(0, |acked| acked.era), has_segment);
            next = Place { era: identity.current().map_or(1, |era| era.number), seq: 1 };
        } else {
            for lane in &mut settled {
                lane.resume(&*fs, next.era, options.segment_limit());
            }
        }
        let acked = acked.unwrap_or(Place { era: next.era, seq: 0 });
        let mut report = OpenReport { new_epoch, foreign, ..OpenReport::of(&settled, identity.owner) };
        let reserve = Room::new(dir, options.reserve_bytes());
        let mut spool = Self {
            fs,
            dir: dir.to_path_buf(),
            options,
            identity,
            lanes: settled.map(|settled| settled.lane),
            next,
            visible: next,
            acked,
            expected: Place { era: acked.era, seq: acked.seq + 1 },
            evicted: cursor.map_or(Place { era: 0, seq: 0 }, |cursor| cursor.evicted),
            in_flight: VecDeque::new(),
            copies: BTreeMap::new(),
            generation: cursor.map_or(0, |cursor| cursor.generation),
            cursor_copy,
            reserve,
            quarantine,
            dead,
            counts: Stats { new_epoch, ..Stats::default() },
            _lock: lock,
        };
        let is_known = stored.as_ref() == Some(&spool.identity);
        spool.begin(is_known, &mut report)?;
        Ok((spool, report))
    }

    /// Opens the books, writes down who we are, takes back the mark of a clean end, and lets go of what is finished or
    /// too much.
    fn begin(&mut self, is_identity_stored: bool, report: &mut OpenReport) -> Result<(), OpenError> {
        self.counts.recovered = self.stats().waiting + report.lost_records;
        self.counts.dropped.corrupt = report.lost_records;
        self.check_books();
        if !is_identity_stored {
            self.store_identity().map_err(OpenError::at(&self.dir.join(identity::NAME)))?;
        }
        let cursor = self.dir.join(cursor::COPIES[0]);
        self.store_cursor(Ending::Open).map_err(|SyncError { source, .. }| OpenError::at(&cursor)(source))?;
        drop(self.fs.sync_dir(&self.dir)); // the cursors' names; without them the next opening begins a new epoch
        if let Some(parent) = self.dir.parent() {
            drop(self.fs.sync_dir(parent)); // not ours, and perhaps unreadable
        }
        self.retire();
        self.shrink();
        self.reserve.hold(&*self.fs);
        let stats = self.stats();
        report.epoch = self.epoch();
        report.records = stats.waiting;
        report.bytes = stats.bytes;
        report.segments = stats.segments;
        report.evicted_records = stats.dropped.spool_full;
        Ok(())
    }
}

// === impl OpenError ===

impl OpenError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Disk { path: path.to_path_buf(), source }
    }
}

// === impl OpenReport ===

impl OpenReport {
    fn of(settled: &[Settled; 2], owner: Uuid) -> Self {
        let torn_bytes = settled.iter().map(|lane| lane.torn_bytes).sum();
        let lost_records = settled.iter().map(|lane| lane.missing).sum();
        Self { owner, torn_bytes, lost_records, ..Self::default() }
    }
}

/// A file that a program of another format version wrote.
pub(crate) fn other_version(fs: &dyn Fs, dir: &Path) -> io::Result<Option<PathBuf>> {
    let [zero, one] = cursor::COPIES;
    for (name, magic) in [(identity::NAME, identity::MAGIC), (zero, cursor::MAGIC), (one, cursor::MAGIC)] {
        let path = dir.join(name);
        if is_other_version(fs, &path, magic)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The last place that is confirmed; without a cursor, the place before the first record that lies there.
fn first_unread(cursor: Option<&Cursor>, settled: &[Settled; 2]) -> Option<Place> {
    let firsts = settled.iter().filter_map(|settled| settled.lane.segments.front()).map(|front| front.key.first);
    cursor
        .map(|cursor| cursor.acked)
        .or_else(|| firsts.min().map(|first| Place { seq: first.seq.saturating_sub(1), ..first }))
}

/// The place of the next record if the epoch goes on, and why it must not.
fn judge(
    identity: &Identity,
    cursor: Option<&Cursor>,
    settled: &[Settled; 2],
    options: &Options,
) -> (Place, Option<NewEpoch>) {
    let Some(era) = identity.current().map(|era| era.number) else {
        return (Place { era: 0, seq: 1 }, Some(NewEpoch::Fresh));
    };
    let start = Place { era, seq: 1 };
    let tails = settled.iter().filter_map(|settled| settled.next).filter(|next| next.era == era);
    let scanned = tails.max().unwrap_or(start);
    let Some(cursor) = cursor else { return (scanned, Some(NewEpoch::CursorLost)) };
    let after = |place: Place| if place.era == era { Place { era, seq: place.seq + 1 } } else { start };
    let accounted = scanned.max(after(cursor.acked)).max(after(cursor.evicted));
    let known = if cursor.next.era == era { cursor.next } else { start };
    let next = accounted.max(known);

    let is_other_boot = cursor.boot_id != boot_id_field(&options.boot_id);
    let why = if known > accounted || cursor.next.era > era {
        Some(NewEpoch::TailMissing)
    } else if settled.iter().any(|settled| settled.is_torn) {
        Some(NewEpoch::TornTail)
    } else if cursor.mode == Mode::Fast && !cursor.clean && is_other_boot {
        Some(NewEpoch::PowerLoss)
    } else {
        None
    };
    (next, why)
}

/// Settles what each segment of a lane holds: by the neighbours' ordinals, and by a scan of the last.
fn settle(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    class: Class,
    found: Vec<(Segment, bool)>,
    identity: &Identity,
    cursor: Option<&Cursor>,
    shelf: &mut Shelf,
) -> Settled {
    let (done, appended) = cursor.map_or((0, 0), |at| (at.done[class.index()], at.appended[class.index()]));
    let mut segments = VecDeque::with_capacity(found.len());
    let mut leftovers = Leftovers::default();
    let mut is_writable = false;
    for (segment, is_whole) in found {
        let era = segment.key.first.era;
        if identity.era(era).is_some() {
            segments.push_back(segment);
            is_writable = is_whole;
        } else if cursor.is_some_and(|cursor| era < cursor.acked.era) {
            leftovers.remove(&**fs, segment.path, segment.bytes); // forgotten because all of it is acked
        } else if !shelf.take(&**fs, &segment.path, segment.bytes) {
            leftovers.remove(&**fs, segment.path, segment.bytes); // nobody knows whose epoch it is: no seq in it has a name
        }
    }
    for index in 1..segments.len() {
        segments[index - 1].records = segments[index].key.ordinal.saturating_sub(segments[index - 1].key.ordinal);
    }
    let (mut next, mut torn_bytes, mut is_torn) = (None, 0, false);
    if let Some(last) = segments.back_mut() {
        let scan = Scan::new(&**fs, last, shelf);
        torn_bytes = last.bytes.saturating_sub(scan.good_end);
        is_torn = torn_bytes > 0 || scan.is_cut_short;
        is_writable &= !scan.is_cut_short;
        cut(&**fs, last, scan.good_end);
        last.records = (scan.records + scan.lost_between).max(appended.saturating_sub(last.key.ordinal));
        last.records += u64::from(scan.is_cut_short); // at least one is not read, so that it is not taken for finished
        next = Some(scan.next);
        if last.records == 0
            && !is_writable
            && !scan.is_cut_short
            && let Some(Segment { path, bytes, .. }) = segments.pop_back()
        {
            leftovers.remove(&**fs, path, bytes); // its name is the one that the next segment will have
        }
    }
    for segment in &mut segments {
        segment.done = done.saturating_sub(segment.key.ordinal).min(segment.records);
    }
    let tail = segments.back().map_or(0, |last| last.key.ordinal + last.records).max(appended);
    let missing = segments.front().map_or(appended, |first| first.key.ordinal).saturating_sub(done);
    let missing = if cursor.is_some() { missing } else { 0 };
    let mut lane = Lane::new(class, Arc::clone(fs), dir.to_path_buf(), segments, tail);
    lane.leftovers = leftovers;
    Settled { lane, next, torn_bytes, is_torn, missing, is_writable }
}

/// Cuts what is not good off the end of a segment. If the disk refuses, it is only not looked at.
fn cut(fs: &dyn Fs, segment: &mut Segment, good_end: u64) {
    if good_end < segment.bytes {
        drop(fs.open(&segment.path, Access::Write).and_then(|file| file.truncate(good_end)));
        segment.bytes = good_end;
        segment.visible = good_end;
    }
}

// === impl Settled ===

impl Settled {
    /// What a killed process left in the page cache is made durable before anybody may read it. Of each lane that is
    /// the last segment only, because a segment is synced before it is left.
    fn sync(&self, fs: &dyn Fs, dir: &Path) -> bool {
        let Some(last) = self.lane.segments.back() else { return true };
        fs.open(&last.path, Access::Write).and_then(|file| file.sync()).and_then(|()| fs.sync_dir(dir)).is_ok()
    }

    /// Goes on in the last segment if it is of this era, whole, and has room.
    fn resume(&mut self, fs: &dyn Fs, era: u32, segment_bytes: u64) {
        let Some(last) = self.lane.segments.back().filter(|last| last.key.first.era == era) else { return };
        if self.is_writable
            && last.bytes < segment_bytes
            && let Ok(file) = fs.open(&last.path, Access::Write)
        {
            self.lane.resume_writing(file);
        }
    }
}
