//! Names that change while the spool is open. The receiver finds out what we cannot: that it knows records of our epoch
//! which we do not (a snapshot was restored, a volume cloned), or that a name which we gave is another record's there.
//! The first is cured by a new epoch, the second by a new name for that one record.
//!
//! A record that gets a new name is on disk twice for a moment: the copy is durable before the old place is settled. A
//! crash between leaves both, never none. Where the copy's sync fails it is remembered, so that a record which is to move
//! again and again over a failing disk is copied once. (In mode `Fast` nobody was promised a sync, and a failed one stops
//! nothing.)

use std::io;

use thiserror::Error;

use crate::Place;
use crate::error::{NotRead, ReadError, Refused, SyncError};
use crate::fs::is_no_space;
use crate::item::Position;
use crate::options::Mode;
use crate::queue::{Spool, frames_bytes};
use crate::read::Fate;

/// Why a new epoch began: each is a case in which going on could give a seq of the old one to another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewEpoch {
    /// There was no spool, or nothing of it could be read.
    Fresh,
    /// Both copies of the cursor are gone, and with them how far the seqs had come.
    CursorLost,
    /// The last segment does not end with a good record, or cannot be read to its end: it may have had more.
    TornTail,
    /// There are fewer records than the cursor knew.
    TailMissing,
    /// The last process wrote in mode `Fast` without a clean end, and power may have taken what it had sent.
    PowerLoss,
    /// What lies there could not be made durable.
    SyncFailed,
    /// The receiver has later records of the epoch than we gave out: the directory is an older copy of itself.
    Rewound,
    /// The receiver has another record at a position that we gave out.
    PositionTaken,
}

/// Why a record keeps its name and stays in flight. Rewind: it is read again, or a gap in its place.
#[derive(Debug, Error)]
pub enum NotMoved {
    /// It is not in flight, or no record.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// The disk does not give it, or it was dropped for space in the meantime.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk takes no copy.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The copy, or the new epoch, could not be made durable. The record may be delivered under both names.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// What `readmit_all` has moved.
#[derive(Debug)]
pub struct Readmitted {
    /// The new names of the first so many.
    pub moved: Vec<Position>,
    /// Why the one after those keeps its name.
    pub refused: Option<NotMoved>,
}

// === impl Spool ===

impl Spool {
    /// Ends the current epoch and begins another, durably; what was appended before is made durable first. Records
    /// that wait keep their names and are read before those of the new epoch. After an error the epoch goes on.
    pub fn begin_epoch(&mut self, why: NewEpoch) -> Result<(), SyncError> {
        self.sync()?;
        let before = self.identity.clone();
        self.identity.begin_epoch(Some(self.next.seq), self.next.era);
        self.identity.forget(self.acked.era, |era| self.lanes.iter().any(|lane| lane.has_era(era)));
        if let Err(source) = self.store_identity() {
            self.identity = before; // if the new one is on disk after all, its era has no record
            return Err(SyncError { dir: self.dir.clone(), source });
        }
        for lane in &mut self.lanes {
            lane.finish_segment();
        }
        self.next = Place { era: self.identity.current().map_or(self.next.era, |era| era.number), seq: 1 };
        self.visible = self.next;
        self.counts.new_epoch = Some(why);
        self.retire();
        self.check_books();
        Ok(())
    }

    /// The receiver has another record under this name: the record is appended again, in an epoch in which nothing has
    /// its name (a new one, if its own is the current one), made durable, and counts as moved. Like an ack, this says
    /// that everything before it has arrived. In a full spool it is let in beyond the bound: if it had to wait for
    /// room, nothing behind it could be acked, and there would be none. Returns the new name.
    pub fn readmit(&mut self, position: Position) -> Result<Position, NotMoved> {
        let Readmitted { moved, refused } = self.readmit_all(&[position]);
        match (moved.last(), refused) {
            (_, Some(why)) => Err(why),
            (Some(moved), None) => Ok(*moved),
            (None, None) => Err(NotRead { epoch: position.epoch, seq: position.seq }.into()),
        }
    }

    /// Gives new names to records in the order in which they were read, as `readmit` would one after the other, up to the
    /// first that cannot be moved. One sync serves as many copies as fill a segment, and one writing of the cursor their
    /// old places.
    pub fn readmit_all(&mut self, positions: &[Position]) -> Readmitted {
        let (mut moved, mut refused) = (Vec::new(), None);
        while moved.len() < positions.len() && refused.is_none() {
            let some = self.readmit_some(&positions[moved.len()..]);
            moved.extend(some.moved);
            refused = some.refused;
        }
        Readmitted { moved, refused }
    }

    /// Moves the first of these, as many as fill a segment.
    fn readmit_some(&mut self, positions: &[Position]) -> Readmitted {
        let (mut copied, mut moved, mut refused, mut bytes) = (Vec::new(), Vec::new(), None, 0);
        for &position in positions {
            match self.copy(position, copied.last().copied()) {
                Ok((index, copy)) => {
                    copied.push(index);
                    moved.push(copy);
                    bytes += self.in_flight[index].record.map_or(0, |found| found.end() - found.at);
                }
                Err(why) => refused = Some(why),
            }
            if refused.is_some() || bytes >= self.options.segment_limit() {
                break;
            }
        }
        if let Some(&last) = positions[..moved.len()].last()
            && let Err(why) = self.settle_copied(&copied, last)
        {
            return Readmitted { moved: Vec::new(), refused: Some(why) };
        }
        Readmitted { moved, refused }
    }

    /// Appends a record once more that is in flight behind the one at `after`, unless that was done before: where it is,
    /// and the name of the copy.
    fn copy(&mut self, position: Position, after: Option<usize>) -> Result<(usize, Position), NotMoved> {
        let (index, found, class) = self.record_in_flight(position)?;
        if after.is_some_and(|after| index <= after) {
            return Err(NotRead { epoch: position.epoch, seq: position.seq }.into());
        }
        let place = self.in_flight[index].place;
        if let Some(&copy) = self.copies.get(&place) {
            return Ok((index, copy));
        }
        let read = self.lanes[class.index()].read_again(place, &found);
        let payload = read.map_err(|source| ReadError { dir: self.dir.clone(), source })?;
        if place.era == self.next.era {
            self.begin_epoch(NewEpoch::PositionTaken)?;
        }
        drop(self.make_room(class, frames_bytes(&[&payload]))); // as far as it can
        let copy = self.position(self.next);
        self.write_records(class, &[payload])?;
        self.copies.insert(place, copy);
        Ok((index, copy))
    }

    /// Makes the copies of these durable; then their old places are done, and everything before the last of them.
    fn settle_copied(&mut self, copied: &[usize], last: Position) -> Result<(), NotMoved> {
        match self.sync() {
            Err(error) if self.options.mode == Mode::Durable => return Err(error.into()),
            _ => {}
        }
        for &index in copied {
            self.in_flight[index].fate = Fate::Moved;
        }
        self.ack(last)?;
        drop(self.checkpoint()); // so that a restart does not send the old names again; counted if it fails
        Ok(())
    }

    /// The highest seq given out in the current epoch; 0 if none was.
    pub fn last_seq(&self) -> u64 {
        self.next.seq - 1
    }

    /// Writes down the eras. On a full disk that needs room for a name: the oldest ordinary records give way for it, as
    /// they would for a record.
    pub(crate) fn store_identity(&mut self) -> io::Result<()> {
        while let Err(error) = self.identity.store(&*self.fs, &self.dir) {
            if !is_no_space(&error) || !self.drop_oldest() {
                return Err(error);
            }
        }
        Ok(())
    }
}
