//! A lane: the segments of one class, the one that is being written, and where the reader stands in them.
//!
//! ```text
//! segments   [ finished ][ resume ──► sent ──► index ──► ][ … ][ visible │ hidden ]◄ writer
//!              unlinked                        reader             reader's   appended, not synced:
//!              by ack                                             limit      a copy is in `hidden`
//! ```
//! A writer whose sync or truncation failed is never used again: the lane *abandons* it, cuts the segment back to what
//! was visible, and writes the hidden records into a new segment. What the bad segment may still show after a crash
//! does no harm, because within a lane a segment ends where the next one begins. (Of a group of records that failed, whole
//! ones may lie there, and their seqs are free for the other lane: then the next segment is begun at once, as a *fence*.)

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::Place;
use crate::fs::{Access, File, Fs, is_no_space, is_shortage};
use crate::leftovers::Leftovers;
use crate::record::{Class, FRAME_BYTES, Found, Kind, MAX_RECORD_BYTES, Step, Walker, encode};
use crate::reserve::Room;
use crate::segment::{HEADER_BYTES, Header, Key, Segment};
use crate::shelf::Shelf;
use crate::stats::Stats;

/// How often a failing read of the same place is tried before the rest of its segment is given up as damaged. The
/// caller's pauses lie between: with a second each, a disk that was away for a moment costs nothing, and one bad sector
/// stops what is behind it for ten seconds.
pub const READ_ATTEMPTS: u32 = 10;

/// After damage, a seq this far from the segment's first is not believed. Records of the other lane lie between, but
/// never four billion of them within one segment.
pub(crate) const PLAUSIBLE_SPAN: u64 = 1 << 32;

/// What a new segment is marked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub owner: Uuid,
    pub epoch: u128,
    pub era: u32,
}

/// What a crash may show behind the last record of the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing, or what was appended there.
    Sure,
    /// Also records of a group that failed, whose seqs are given to others.
    Doubtful,
    /// Nothing while the last segment stands, which was begun as a fence and shows no record.
    Fenced,
}

pub(crate) struct Lane {
    class: Class,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    pub segments: VecDeque<Segment>,
    /// The ordinal of the next record.
    pub next_ordinal: u64,
    /// Writes the last segment; `None` if the next record begins a new one.
    writer: Option<Box<dyn File>>,
    /// The records that are appended and not visible, as they stand on disk.
    hidden: Vec<u8>,
    pub hidden_records: u64,
    hidden_first_seq: u64,
    /// Whether the writer has bytes that no sync has covered.
    unsynced: bool,
    /// Whether a segment was abandoned with visible bytes that no sync has covered (mode `Fast` only).
    left_unsynced: bool,
    tail: Tail,
    /// The bytes that are set aside for the segment that is written, if it is in the reserve's file.
    set_aside: u64,
    /// What should be gone.
    pub leftovers: Leftovers,
    /// Whether a segment was made whose name no directory sync has covered.
    unsynced_name: bool,
    /// The segment that the reader stands in.
    index: usize,
    walker: Option<Walker>,
    /// The record that the reader looks at and has not taken.
    head: Option<(Place, Found)>,
    failed_reads: u32,
}

// === impl Lane: writing ===

impl Lane {
    pub fn new(class: Class, fs: Arc<dyn Fs>, dir: PathBuf, segments: VecDeque<Segment>, next_ordinal: u64) -> Self {
        Self {
            class,
            fs,
            dir,
            segments,
            next_ordinal,
            writer: None,
            hidden: Vec::new(),
            hidden_records: 0,
            hidden_first_seq: 0,
            unsynced: false,
            left_unsynced: false,
            tail: Tail::Sure,
            set_aside: 0,
            leftovers: Leftovers::default(),
            unsynced_name: false,
            index: 0,
            walker: None,
            head: None,
            failed_reads: 0,
        }
    }

    /// Goes on in the last segment, which was found at opening.
    pub fn resume_writing(&mut self, writer: Box<dyn File>) {
        self.writer = Some(writer);
    }

    /// Writes frames of one kind, with one write and the seqs from this one on. All of them, or none.
    pub fn append<P: AsRef<[u8]>>(&mut self, stamp: Stamp, kind: Kind, seq: u64, payloads: &[P]) -> io::Result<()> {
        if self.writer.is_none() {
            self.begin_segment(stamp, seq)?;
        }
        let (Some(writer), Some(segment)) = (&self.writer, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into()); // a writer always writes the last segment
        };
        let start = self.hidden.len();
        for (seq, payload) in (seq..).zip(payloads) {
            encode(&mut self.hidden, kind, seq, payload.as_ref());
        }
        let frames = &self.hidden[start..];
        if let Err(error) = writer.write_at(frames, segment.bytes) {
            self.hidden.truncate(start);
            // Of a group, whole records may lie there. They must be gone for good before others get their seqs.
            let is_group = payloads.len() > 1;
            let set_aside = self.set_aside;
            let cut = |writer: &dyn File| {
                writer.truncate(segment.bytes)?;
                if set_aside > 0 {
                    drop(writer.allocate(set_aside)); // the room behind went with the cut: a smaller group may still fit
                }
                if is_group { writer.sync() } else { Ok(()) }
            };
            if !is_no_space(&error) || cut(&**writer).is_err() {
                self.abandon();
                if is_group {
                    self.tail = Tail::Doubtful;
                }
            }
            return Err(error);
        }
        segment.bytes += frames.len() as u64;
        if self.hidden_records == 0 {
            self.hidden_first_seq = seq;
        }
        self.hidden_records += payloads.len() as u64;
        self.next_ordinal += payloads.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// After a write of which nobody knows what it left: a new segment, durably begun at this seq, ends the one before it.
    pub fn fence(&mut self, stamp: Stamp, seq: u64) -> io::Result<()> {
        if self.tail == Tail::Doubtful {
            if self.writer.is_none() {
                self.begin_segment(stamp, seq)?;
            }
            self.sync(stamp)?;
            self.tail = Tail::Fenced;
        }
        Ok(())
    }

    /// Makes a segment whose first record is the first hidden one, or else `seq`, and writes the hidden ones into it.
    fn begin_segment(&mut self, stamp: Stamp, seq: u64) -> io::Result<()> {
        let header = self.next_header(stamp, if self.hidden_records > 0 { self.hidden_first_seq } else { seq });
        let path = self.dir.join(header.key.file_name());
        let mut bytes = header.encode();
        bytes.extend_from_slice(&self.hidden);
        let file = self.new_file(&path)?;
        if let Err(error) = file.write_at(&bytes, 0) {
            self.leftovers.remove(&*self.fs, path, bytes.len() as u64);
            return Err(error);
        }
        self.set_aside = 0;
        self.go_to(file, header.key, path, bytes.len() as u64);
        Ok(())
    }

    /// Leaves the segment for one in the reserve's file, which gets its name when it has its header. After an error the
    /// reserve is what it was: what it may hold of a header, the next one covers. Everything has been published.
    pub fn begin_in_reserve(&mut self, stamp: Stamp, seq: u64, reserve: &Room) -> io::Result<()> {
        debug_assert_eq!(self.hidden_records, 0);
        self.abandon(); // not only left: one without a record would have the name of the next
        let header = self.next_header(stamp, seq);
        let path = self.dir.join(header.key.file_name());
        let file = self.fs.open(&reserve.path, Access::Write)?;
        file.write_at(&header.encode(), 0)?;
        self.leftovers.free(&*self.fs, &path)?;
        drop(self.fs.rename(&path, &foreign(&path))); // there is none, but see below
        self.fs.rename(&reserve.path, &path)?;
        self.set_aside = reserve.bytes;
        self.go_to(file, header.key, path, HEADER_BYTES as u64);
        Ok(())
    }

    fn next_header(&self, stamp: Stamp, seq: u64) -> Header {
        let first = Place { era: stamp.era, seq };
        let key = Key { first, ordinal: self.next_ordinal - self.hidden_records, class: self.class };
        Header { owner: stamp.owner, epoch: stamp.epoch, key }
    }

    fn new_file(&mut self, path: &Path) -> io::Result<Box<dyn File>> {
        self.leftovers.free(&*self.fs, path)?;
        match self.fs.open(path, Access::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Somebody gave another file our name. It must not stop us, and is not ours to remove.
                self.fs.rename(path, &foreign(path))?;
                self.fs.open(path, Access::CreateNew)
            }
            file => file,
        }
    }

    /// Writes on in this file, which has so many bytes.
    fn go_to(&mut self, file: Box<dyn File>, key: Key, path: PathBuf, bytes: u64) {
        let mut segment = Segment::new(key, path, bytes);
        segment.visible = HEADER_BYTES as u64;
        self.segments.push_back(segment);
        self.writer = Some(file);
        self.unsynced = true;
        self.unsynced_name = true;
    }

    /// Makes what was appended durable. After an error the hidden records are in memory only; another call writes them
    /// into a new segment.
    pub fn sync(&mut self, stamp: Stamp) -> io::Result<()> {
        if std::mem::take(&mut self.left_unsynced) {
            return Err(io::Error::other("a segment was left unsynced when writing to it failed"));
        }
        if self.writer.is_none() && self.hidden_records > 0 {
            self.begin_segment(stamp, self.hidden_first_seq)?;
        }
        if self.unsynced
            && let Some(writer) = &self.writer
        {
            if let Err(error) = writer.sync() {
                self.unsynced = false;
                self.abandon();
                return Err(error);
            }
            self.unsynced = false;
        }
        if self.unsynced_name {
            self.fs.sync_dir(&self.dir)?;
            self.unsynced_name = false;
        }
        Ok(())
    }

    /// Shows the reader what was appended, and forgets the copy of it.
    pub fn publish(&mut self) {
        if let Some(segment) = self.segments.back_mut() {
            segment.visible = segment.bytes;
            segment.records += self.hidden_records;
            if self.tail == Tail::Fenced && segment.visible > HEADER_BYTES as u64 {
                self.tail = Tail::Sure;
            }
        }
        self.hidden_records = 0;
        self.hidden.clear();
    }

    /// Leaves the segment; the next record begins another. Everything in it has been published.
    pub fn finish_segment(&mut self) {
        debug_assert_eq!(self.hidden_records, 0);
        self.writer = None;
    }

    fn abandon(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let (Some(writer), Some(segment)) = (self.writer.take(), self.segments.back_mut()) else { return };
        self.left_unsynced |= unsynced && self.hidden_records == 0 && segment.visible > HEADER_BYTES as u64;
        drop(writer.truncate(segment.visible)); // may fail as the sync did: then the bytes are ignored where they lie
        segment.bytes = segment.visible;
        if segment.visible <= HEADER_BYTES as u64
            && let Some(Segment { path, bytes, .. }) = self.segments.pop_back()
        {
            self.leftovers.remove(&*self.fs, path, bytes);
            if self.tail == Tail::Fenced && self.hidden_records == 0 {
                self.tail = Tail::Doubtful; // where records are hidden, the segment that they go into is the fence
            }
            if self.index >= self.segments.len() {
                self.walker = None;
            }
        }
    }

    /// What fits into the segment that is being written, or the next if none is.
    pub fn room(&self, segment_bytes: u64) -> u64 {
        let written = self.segments.back().filter(|_| self.is_writing()).map_or(HEADER_BYTES as u64, |last| last.bytes);
        segment_bytes.saturating_sub(written)
    }

    /// Whether frames of so many bytes belong into another segment. One that has nothing takes whatever it is.
    pub fn is_full_for(&self, bytes: u64, segment_bytes: u64) -> bool {
        let has_frames = self.segments.back().is_some_and(|last| last.bytes > HEADER_BYTES as u64);
        self.is_writing() && has_frames && bytes > self.room(segment_bytes)
    }

    pub fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    pub fn hidden_bytes(&self) -> usize {
        self.hidden.len()
    }

    // === books ===

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.leftovers.bytes()
    }

    pub fn waiting(&self) -> u64 {
        self.segments.iter().map(Segment::waiting).sum::<u64>() + self.hidden_records
    }

    /// The ordinal of the first record that is not done, and the one after the last visible record.
    pub fn ordinals(&self) -> (u64, u64) {
        let visible = self.next_ordinal - self.hidden_records;
        let first = self.segments.iter().find(|segment| segment.waiting() > 0);
        (first.map_or(visible, |first| first.key.ordinal + first.settled()), visible)
    }

    /// Whether a segment of this era lies here.
    pub fn has_era(&self, era: u32) -> bool {
        let from = self.segments.partition_point(|segment| segment.key.first.era < era);
        self.segments.get(from).is_some_and(|segment| segment.key.first.era == era)
    }

    /// Whether nothing waits in the oldest segment and nothing will.
    fn is_front_finished(&self) -> bool {
        let being_written = self.segments.len() == 1 && self.writer.is_some();
        !being_written && self.segments.front().is_some_and(|front| front.waiting() == 0)
    }

    /// Whether the oldest segment is finished, and has a place among the leftovers should the disk not unlink it.
    pub fn can_retire(&mut self) -> bool {
        if self.is_front_finished() && self.leftovers.is_full() {
            self.leftovers.retry(&*self.fs);
        }
        self.is_front_finished() && !self.leftovers.is_full()
    }

    /// Forgets the oldest segment. Its file is the caller's to remove, when the cursor says so.
    pub fn pop_front(&mut self) -> Option<Segment> {
        if self.index == 0 {
            self.walker = None;
            self.head = None;
        }
        self.index = self.index.saturating_sub(1);
        self.segments.pop_front()
    }
}

// === impl Lane: reading ===

impl Lane {
    /// The place of the next record from `expected` on. What is lost on the way is counted and quarantined.
    pub fn peek(&mut self, expected: Place, counts: &mut Stats, shelf: &mut Shelf) -> io::Result<Option<Place>> {
        loop {
            if let Some((place, _)) = self.head.filter(|(place, _)| *place >= expected) {
                return Ok(Some(place));
            }
            self.head = None;
            let ends = self.segments.get(self.index + 1).map(|next| next.key.first);
            let Some(segment) = self.segments.get_mut(self.index) else { return Ok(None) };
            let first = segment.key.first;
            let walker = self.walker.get_or_insert_with(|| Walker::new(segment.path.clone(), segment.resume));
            let plausible = first.seq..=first.seq.saturating_add(PLAUSIBLE_SPAN);
            match walker.step(&*self.fs, segment.visible, &plausible) {
                Ok(Step::Record(found)) => {
                    let place = Place { era: first.era, seq: found.seq };
                    if ends.is_some_and(|ends| place >= ends) {
                        walker.at = segment.visible;
                    } else {
                        self.head = Some((place, found));
                    }
                }
                Ok(Step::Damaged { at, bytes }) => quarantine(&*self.fs, walker, &segment.key, at, bytes, shelf),
                Ok(Step::End) => {
                    let missing = segment.records.saturating_sub(segment.settled() + segment.sent);
                    segment.lost += missing;
                    counts.dropped.corrupt += missing;
                    if ends.is_none() {
                        return Ok(None);
                    }
                    self.index += 1;
                    self.walker = None;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => walker.at = segment.visible,
                Err(error) if is_shortage(&error) => return Err(error), // nothing is wrong with the record
                Err(error) => {
                    self.failed_reads += 1;
                    if self.failed_reads < READ_ATTEMPTS {
                        return Err(error);
                    }
                    counts.given_up_segments += u64::from(!segment.given_up);
                    segment.given_up = true;
                    walker.at = segment.visible;
                }
            }
            self.failed_reads = 0;
        }
    }

    /// Takes the record that `peek` found. Also says whether the books did not know of it.
    pub fn take(&mut self) -> Option<(Place, Found, bool)> {
        let (place, found) = self.head.take()?;
        let segment = self.segments.get_mut(self.index)?;
        segment.sent += 1;
        let unknown = segment.settled() + segment.sent > segment.records;
        segment.records += u64::from(unknown);
        Some((place, found, unknown))
    }

    /// The payload of the record that was taken last.
    pub fn payload(&mut self, found: &Found) -> io::Result<&[u8]> {
        let walker = self.walker.as_mut().ok_or(io::ErrorKind::NotFound)?;
        walker.payload(&*self.fs, found)
    }

    /// A record that was taken is done. `false` if it was dropped for space in the meantime.
    pub fn confirm(&mut self, place: Place, end: u64) -> bool {
        let Some(segment) = self.segment_of(place).filter(|segment| segment.sent > 0) else { return false };
        segment.sent -= 1;
        segment.done += 1;
        segment.resume = end;
        true
    }

    /// The payload of a record that was taken earlier.
    pub fn read_again(&mut self, place: Place, found: &Found) -> io::Result<Vec<u8>> {
        let path = self.segment_of(place).map(|segment| segment.path.clone()).ok_or(io::ErrorKind::NotFound)?;
        let mut walker = Walker::new(path, found.at);
        match walker.step(&*self.fs, found.end(), &(found.seq..=found.seq))? {
            Step::Record(again) if again == *found => walker.payload(&*self.fs, found).map(<[u8]>::to_vec),
            _ => Err(io::ErrorKind::InvalidData.into()), // damaged since: it must not get a new checksum
        }
    }

    /// Sends the reader back to the first record that is not done.
    pub fn rewind(&mut self) {
        for segment in &mut self.segments {
            segment.sent = 0;
        }
        self.index = 0;
        self.walker = None;
        self.head = None;
        self.failed_reads = 0;
    }

    fn segment_of(&mut self, place: Place) -> Option<&mut Segment> {
        let after = self.segments.partition_point(|segment| segment.key.first <= place);
        self.segments.get_mut(after.checked_sub(1)?)
    }
}

/// Where another's file goes that has the name of a segment.
fn foreign(path: &Path) -> PathBuf {
    path.with_extension("seg.foreign")
}

/// Keeps damaged bytes, in pieces of at most a record.
pub(crate) fn quarantine(fs: &dyn Fs, walker: &mut Walker, key: &Key, at: u64, bytes: u64, shelf: &mut Shelf) {
    let (mut from, end) = (at, at + bytes);
    while from < end {
        let to = end.min(from + (FRAME_BYTES + MAX_RECORD_BYTES) as u64);
        if let Ok(piece) = walker.view(fs, from, to) {
            shelf.keep(fs, &format!("{}.at-{from}", key.file_name()), piece);
        }
        from = to;
    }
}
