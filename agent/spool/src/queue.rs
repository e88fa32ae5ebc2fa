//! The spool and its writing side: two lanes, one sequence. Every record takes the next place, in the lane of its class;
//! a sync makes both lanes durable and only then moves the limit of what the reader may see.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::Place;
use crate::cursor::{Cursor, boot_id_field};
use crate::error::{Refused, SyncError};
use crate::fs::{Fs, Lock, is_no_space};
use crate::identity::Identity;
use crate::item::{Gap, Position, Reason};
use crate::lane::{Lane, Stamp};
use crate::options::{MAX_HIDDEN_BYTES, Mode, Options, WhenFull};
use crate::read::Sent;
use crate::record::{Class, FRAME_BYTES, Kind, MAX_RECORD_BYTES, MAX_SKIP, Skip};
use crate::reserve::{Reserve, Room};
use crate::segment::HEADER_BYTES;
use crate::shelf::Shelf;
use crate::stats::Stats;

/// A durable queue of opaque bytes. One owner; every call blocks on the disk.
pub struct Spool {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) lanes: [Lane; 2],
    /// The place of the next record.
    pub(crate) next: Place,
    /// The first place that the reader may not see.
    pub(crate) visible: Place,
    /// The last place that is confirmed.
    pub(crate) acked: Place,
    /// The place that the reader comes to next.
    pub(crate) expected: Place,
    /// Places up to here are missing because there was no room.
    pub(crate) evicted: Place,
    pub(crate) in_flight: VecDeque<Sent>,
    /// Records that were copied under a new name and are not done, since the copy is not durable yet: their places, and the
    /// names of the copies. No more than may be in flight.
    pub(crate) copies: BTreeMap<Place, Position>,
    pub(crate) generation: u64,
    /// The copy of the cursor that is written first.
    pub(crate) cursor_copy: usize,
    pub(crate) reserve: Room,
    pub(crate) quarantine: Shelf,
    pub(crate) dead: Shelf,
    pub(crate) counts: Stats,
    /// Held until we are dropped.
    pub(crate) _lock: Lock,
}

/// What `append_all` has taken.
#[derive(Debug)]
pub struct Appended {
    /// The position of the first one; those after it have the seqs that follow.
    pub first: Position,
    /// How many, from the first on.
    pub count: usize,
    /// Why the one after those was not taken.
    pub refused: Option<Refused>,
}

/// What the cursor says of our end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// Not yet, or by a crash.
    Open,
    /// By `close`.
    Clean,
}

// === impl Spool: writing ===

impl Spool {
    /// Takes a record. In mode `Fast` it survives our death when this returns; in mode `Durable` it is promised only
    /// when a later `sync` returns.
    pub fn append(&mut self, class: Class, payload: &[u8]) -> Result<Position, Refused> {
        let Appended { first, refused, .. } = self.append_all(class, &[payload]);
        refused.map_or(Ok(first), Err)
    }

    /// Takes records of one class in their order, as `append` would one after the other, up to the first that it must
    /// refuse: those before it are taken, it and those behind it are not. One write serves as many as fit into a
    /// segment, which is what makes small records cheap.
    pub fn append_all<P: AsRef<[u8]>>(&mut self, class: Class, payloads: &[P]) -> Appended {
        let first = self.position(self.next);
        let (mut rest, mut refused) = (payloads, None);
        while !rest.is_empty() && refused.is_none() {
            match self.append_group(class, rest) {
                Ok(count) => rest = &rest[count..],
                Err(why) => refused = Some(why),
            }
        }
        let turned_away = &mut self.counts.turned_away;
        match refused {
            Some(Refused::TooLarge { .. }) => turned_away.too_large += rest.len() as u64,
            Some(Refused::Full { .. }) => turned_away.full += rest.len() as u64,
            Some(Refused::NoSpace { .. } | Refused::Disk { .. }) => turned_away.disk += rest.len() as u64,
            None => {}
        }
        self.check_books();
        Appended { first, count: payloads.len() - rest.len(), refused }
    }

    /// Takes the first of these, and with the same write as many more as fit. Where there is not room for all of them
    /// there may be for half.
    fn append_group<P: AsRef<[u8]>>(&mut self, class: Class, payloads: &[P]) -> Result<usize, Refused> {
        let mut count = self.group(class, payloads)?;
        loop {
            let group = &payloads[..count];
            let written = self.make_room(class, frames_bytes(group)).and_then(|()| self.write_records(class, group));
            match written {
                Ok(()) => return Ok(count),
                Err(Refused::Full { .. } | Refused::NoSpace { .. }) if count > 1 => count /= 2,
                Err(why) => return Err(why),
            }
        }
    }

    /// How many of these go into one write: those that the segment has room for, and at least one.
    fn group<P: AsRef<[u8]>>(&self, class: Class, payloads: &[P]) -> Result<usize, Refused> {
        let overhead = HEADER_BYTES + FRAME_BYTES;
        let most = usize::try_from(self.options.limit(class)).unwrap_or(usize::MAX).saturating_sub(overhead);
        let max_bytes = most.min(MAX_RECORD_BYTES);
        let segment_bytes = self.options.segment_limit();
        let mut room = self.lanes[class.index()].room(segment_bytes).min(MAX_HIDDEN_BYTES as u64);
        for (count, payload) in payloads.iter().enumerate() {
            let bytes = payload.as_ref().len();
            let frame = (FRAME_BYTES + bytes) as u64;
            if bytes > max_bytes && count == 0 {
                return Err(Refused::TooLarge { bytes, max_bytes });
            }
            if count == 0 && frame > room {
                let of_next = segment_bytes.saturating_sub(HEADER_BYTES as u64);
                room = of_next.min(MAX_HIDDEN_BYTES as u64);
            } else if count > 0 && (frame > room || bytes > max_bytes) {
                return Ok(count);
            }
            room = room.saturating_sub(frame);
        }
        Ok(payloads.len())
    }

    /// Writes records that there is room for, and counts them.
    pub(crate) fn write_records<P: AsRef<[u8]>>(&mut self, class: Class, payloads: &[P]) -> Result<(), Refused> {
        self.write(Kind::Record(class), payloads, payloads.len() as u64)?;
        self.counts.appended += payloads.len() as u64;
        self.counts.appended_bytes += payloads.iter().map(|payload| payload.as_ref().len() as u64).sum::<u64>();
        Ok(())
    }

    /// Spends seqs on so many records that never came to be (at most [`MAX_SKIP`]), so that the receiver hears of them
    /// where they would have been: they are read as a gap. Nothing is dropped for it. In the books it is one record; it
    /// is promised as one is.
    pub fn skip(&mut self, reason: Reason, count: u64) -> Result<Gap, Refused> {
        let skip = Skip { reason, count: count.clamp(1, MAX_SKIP) };
        let payload = skip.encode();
        let frame = (HEADER_BYTES + FRAME_BYTES + payload.len()) as u64;
        if self.bytes() + frame > self.options.limit(Class::Critical) {
            return Err(Refused::Full { dir: self.dir.clone(), max_bytes: self.options.max_bytes });
        }
        let Position { epoch, seq } = self.position(self.next);
        self.write(Kind::Skip(skip), &[payload], skip.count)?;
        self.counts.appended += 1;
        self.counts.skipped += skip.count;
        self.check_books();
        Ok(Gap { epoch, first_seq: seq, last_seq: seq + skip.count - 1, reason })
    }

    /// Writes frames of one kind from the next place on, which take so many seqs together.
    fn write<P: AsRef<[u8]>>(&mut self, kind: Kind, payloads: &[P], seqs: u64) -> Result<(), Refused> {
        let (lane, bytes) = (kind.class().index(), frames_bytes(payloads));
        if self.lanes[lane].is_full_for(bytes, self.options.segment_limit()) {
            self.sync_behind()?;
            self.lanes[lane].finish_segment();
        }
        if self.lanes.iter().map(Lane::hidden_bytes).sum::<usize>() as u64 + bytes > MAX_HIDDEN_BYTES as u64 {
            self.sync_behind()?;
        }
        let stamp = self.stamp();
        self.fence(stamp)?;
        while let Err(source) = self.lanes[lane].append(stamp, kind, self.next.seq, payloads) {
            let dir = self.dir.clone();
            if !is_no_space(&source) {
                self.reserve.hold(&*self.fs); // it may have been the file that was given up
                return Err(Refused::Disk { dir, source });
            } else if !self.find_space(stamp, kind)? {
                return Err(Refused::NoSpace { dir, source });
            }
        }
        self.next.seq += seqs;
        if self.options.mode == Mode::Fast {
            self.publish();
        }
        Ok(())
    }

    /// Before a seq is given out: no lane may show another record of it after a crash.
    fn fence(&mut self, stamp: Stamp) -> Result<(), Refused> {
        for lane in 0..self.lanes.len() {
            while let Err(source) = self.lanes[lane].fence(stamp, self.next.seq) {
                let dir = self.dir.clone();
                if !is_no_space(&source) {
                    return Err(Refused::Disk { dir, source });
                } else if !self.drop_oldest() {
                    return Err(Refused::NoSpace { dir, source });
                }
            }
        }
        Ok(())
    }

    /// The disk is full: critical records have what was set aside for them, and after that, as all records do, what the
    /// oldest ordinary ones give up. Skips get nothing.
    fn find_space(&mut self, stamp: Stamp, kind: Kind) -> Result<bool, Refused> {
        match kind {
            Kind::Skip(_) => Ok(false),
            Kind::Record(class @ Class::Critical) if self.reserve.state == Reserve::Held => {
                self.sync_behind()?;
                let begun = self.lanes[class.index()].begin_in_reserve(stamp, self.next.seq, &self.reserve);
                match begun {
                    Err(source) if !is_no_space(&source) => Err(Refused::Disk { dir: self.dir.clone(), source }),
                    begun => {
                        self.reserve.state = Reserve::Missing; // in use, or it does not hold what it should
                        Ok(begun.is_ok() || self.drop_oldest())
                    }
                }
            }
            Kind::Record(_) => Ok(self.drop_oldest()),
        }
    }

    /// Makes everything appended so far durable, with one sync per lane that has news, and says up to where. (After an
    /// error in mode `Fast`, what had been appended by then stays without a promise.)
    pub fn sync(&mut self) -> Result<Position, SyncError> {
        let stamp = self.stamp();
        let retry = self.options.mode == Mode::Durable;
        for lane in &mut self.lanes {
            let mut synced = lane.sync(stamp);
            if synced.is_err() {
                self.counts.sync_failures += 1;
                if retry {
                    synced = lane.sync(stamp); // into a new file, from memory
                }
            }
            synced.map_err(|source| SyncError { dir: self.dir.clone(), source })?;
        }
        self.counts.syncs += 1;
        self.publish();
        self.check_books();
        Ok(Position { epoch: stamp.epoch, seq: self.next.seq - 1 })
    }

    /// Before a segment is left or memory runs out: nothing may stay behind unsynced. In mode `Fast` nobody was
    /// promised a sync, so that a failed one is only counted.
    fn sync_behind(&mut self) -> Result<(), Refused> {
        match self.sync() {
            Err(SyncError { dir, source }) if self.options.mode == Mode::Durable => Err(Refused::Disk { dir, source }),
            _ => Ok(()),
        }
    }

    fn publish(&mut self) {
        self.lanes.iter_mut().for_each(Lane::publish);
        self.visible = self.next;
    }

    pub(crate) fn make_room(&mut self, class: Class, bytes: u64) -> Result<(), Refused> {
        while self.bytes() + bytes + HEADER_BYTES as u64 > self.options.limit(class) {
            if !self.drop_oldest() {
                return Err(Refused::Full { dir: self.dir.clone(), max_bytes: self.options.max_bytes });
            }
        }
        Ok(())
    }

    /// Drops what is too much for the bound, as far as the policy lets it.
    pub(crate) fn shrink(&mut self) {
        while self.bytes() > self.options.limit(Class::Ordinary) && self.drop_oldest() {}
    }

    /// Drops the oldest ordinary segment, if the policy and the lane have one to drop, and if the disk unlinks what was
    /// dropped before: else it would go for nothing. The cursor is written first so that the reason of the gap is known
    /// after a crash; on a failing disk that may fail, and room matters more. But the last segment with a record that
    /// outlasts a crash may hold the highest seq: unless a cursor knows of that, it stays, or the seq would come again.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        const ORDINARY: usize = 0;
        if self.options.when_full == WhenFull::RefuseNew || !self.lanes[ORDINARY].leftovers.retry(&*self.fs) {
            return false;
        }
        let lane = &self.lanes[ORDINARY];
        if lane.segments.len() == 1 && lane.is_writing() {
            if lane.waiting() == 0 || self.sync_behind().is_err() {
                return false;
            }
            self.lanes[ORDINARY].finish_segment();
        }
        let mut behind = self.lanes[ORDINARY].segments.iter().skip(1);
        if behind.all(|segment| segment.visible <= HEADER_BYTES as u64) && self.checkpoint().is_err() {
            return false;
        }
        let Some(front) = self.lanes[ORDINARY].pop_front() else { return false };
        let era = front.key.first.era;
        let end = match self.lanes[ORDINARY].segments.front().map(|next| next.key.first) {
            Some(next) if next.era == era => next.seq,
            _ if era == self.visible.era => self.visible.seq,
            _ => self.identity.era(era).and_then(|era| era.end).unwrap_or(front.key.first.seq + front.records),
        };
        self.evicted = self.evicted.max(Place { era, seq: end.saturating_sub(1) });
        self.counts.dropped.spool_full += front.waiting();
        self.counts.evicted_bytes += front.bytes;
        self.counts.evicted_seq = self.evicted.seq;
        drop(self.checkpoint()); // counted
        self.lanes[ORDINARY].leftovers.remove(&*self.fs, front.path, front.bytes);
        self.check_books();
        true
    }
}

// === impl Spool: keeping ===

impl Spool {
    /// Writes down how far the acks are, so that a restart replays less, removes what could not be removed before, and
    /// takes the reserve back if there is room for it. Needed for speed and room only, never for safety.
    pub fn checkpoint(&mut self) -> Result<(), SyncError> {
        for lane in &mut self.lanes {
            lane.leftovers.retry(&*self.fs);
        }
        self.reserve.hold(&*self.fs);
        self.store_cursor(Ending::Open)
    }

    /// Makes everything durable and says that the end was clean.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.sync()?;
        self.store_cursor(Ending::Clean)
    }

    pub(crate) fn store_cursor(&mut self, ending: Ending) -> Result<(), SyncError> {
        self.generation += 1;
        let ordinals = [self.lanes[0].ordinals(), self.lanes[1].ordinals()];
        let cursor = Cursor {
            generation: self.generation,
            owner: self.identity.owner,
            acked: self.acked,
            next: self.visible,
            evicted: self.evicted,
            done: ordinals.map(|(done, _)| done),
            appended: ordinals.map(|(_, appended)| appended),
            clean: matches!(ending, Ending::Clean),
            mode: self.options.mode,
            boot_id: boot_id_field(&self.options.boot_id),
        };
        let stored = cursor.store(&*self.fs, &self.dir, &mut self.cursor_copy);
        self.counts.cursor_failures += stored.as_ref().copied().unwrap_or(2);
        stored.map(|_| ()).map_err(|source| SyncError { dir: self.dir.clone(), source })
    }

    /// Who owns this spool: made when the directory was, and kept in it.
    pub fn owner(&self) -> Uuid {
        self.identity.owner
    }

    /// The epoch that appends are in.
    pub fn epoch(&self) -> u128 {
        self.stamp().epoch
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Counts since opening, and sizes now.
    pub fn stats(&self) -> Stats {
        Stats {
            mode: self.options.mode,
            waiting: self.lanes.iter().map(Lane::waiting).sum(),
            oldest_seq: self.acked.seq + 1,
            bytes: self.bytes(),
            segments: self.lanes.iter().map(|lane| lane.segments.len() as u64).sum(),
            leftovers: self.lanes.iter().map(|lane| lane.leftovers.files()).sum(),
            reserve: self.reserve.state,
            not_quarantined: self.quarantine.turned_away,
            quarantine_bytes: self.quarantine.bytes,
            dead_bytes: self.dead.bytes,
            ..self.counts
        }
    }

    fn bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    fn stamp(&self) -> Stamp {
        Stamp { owner: self.identity.owner, epoch: self.position(self.next).epoch, era: self.next.era }
    }

    pub(crate) fn position(&self, place: Place) -> Position {
        Position { epoch: self.identity.era(place.era).map_or(0, |era| era.epoch), seq: place.seq }
    }

    pub(crate) fn check_books(&self) {
        debug_assert!(self.stats().is_conserved(), "{:?}", self.stats());
    }
}

/// What these take on disk.
pub(crate) fn frames_bytes<P: AsRef<[u8]>>(payloads: &[P]) -> u64 {
    payloads.iter().map(|payload| (FRAME_BYTES + payload.as_ref().len()) as u64).sum()
}
