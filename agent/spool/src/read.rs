//! Reading: the two lanes are merged by place. Where the next place is in neither, it will never come: the reader yields
//! a gap instead, once, in order, and it is acked like a record. So the receiver hears of loss by the same
//! at-least-once path that delivers the records, and nothing about it needs to be stored.

use std::io;

use crate::Place;
use crate::error::{NotRead, ReadError};
use crate::item::{Gap, Next, Position, Reason, Record};
use crate::lane::Lane;
use crate::queue::Spool;
use crate::record::{Class, Found, Kind, Skip};
use crate::segment::Segment;

/// Records read and not acked. A receiver that confirms nothing must not make us remember more.
pub const MAX_IN_FLIGHT: usize = 16_384;

/// Read and not acked.
pub(crate) struct Sent {
    /// Of the record, or of the last one in a gap.
    pub place: Place,
    /// What to find it by; `None` for a gap that is not on disk.
    pub record: Option<Found>,
    pub fate: Fate,
}

/// What an ack makes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has arrived.
    Delivered,
    /// The receiver will never take it.
    Refused { shelved: bool },
    /// It has another name now.
    Moved,
}

/// What `seek` came to.
enum Seek {
    /// In this lane.
    Record(usize),
    Gap(Gap),
    Empty,
}

// === impl Spool ===

impl Spool {
    /// The next record or gap after the one read last, wherever the acks stand.
    pub fn read_next(&mut self) -> Result<Next<'_>, ReadError> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return Ok(Next::WindowFull);
        }
        let lane = match self.seek() {
            Ok(Seek::Record(lane)) => lane,
            Ok(Seek::Gap(gap)) => return Ok(Next::Gap(gap)),
            Ok(Seek::Empty) => return Ok(Next::Empty),
            Err(source) => return Err(ReadError { dir: self.dir.clone(), source }),
        };
        let Some((place, found, unknown)) = self.lanes[lane].take() else { return Ok(Next::Empty) };
        self.counts.recovered += u64::from(unknown);
        let last = Place { era: place.era, seq: found.last_seq() };
        self.expected = Place { era: last.era, seq: last.seq.saturating_add(1) };
        self.in_flight.push_back(Sent { place: last, record: Some(found), fate: Fate::Delivered });
        self.check_books();
        let position = self.position(place);
        match (found.kind, self.lanes[lane].payload(&found)) {
            (Kind::Skip(Skip { reason, .. }), _) => {
                Ok(Next::Gap(Gap { epoch: position.epoch, first_seq: place.seq, last_seq: last.seq, reason }))
            }
            (Kind::Record(class), Ok(payload)) => Ok(Next::Record(Record { position, class, payload })),
            (Kind::Record(_), Err(source)) => Err(ReadError { dir: self.dir.clone(), source }),
        }
    }

    /// Goes to the next record, or over the next hole.
    fn seek(&mut self) -> io::Result<Seek> {
        loop {
            let mut best: Option<(Place, usize)> = None;
            for (index, lane) in self.lanes.iter_mut().enumerate() {
                if let Some(place) = lane.peek(self.expected, &mut self.counts, &mut self.quarantine)? {
                    best = Some(best.map_or((place, index), |best| best.min((place, index))));
                }
            }
            let edge = best.map_or(self.visible, |(place, _)| place);
            if edge.era > self.expected.era {
                let era = self.identity.era(self.expected.era);
                if let Some(end) = era.and_then(|era| era.end).filter(|&end| self.expected.seq < end) {
                    return Ok(Seek::Gap(self.skip_to(end)));
                }
                let era = self.identity.after(self.expected.era).map_or(edge.era, |era| era.min(edge.era));
                self.expected = Place { era, seq: 1 };
            } else if edge.seq > self.expected.seq {
                return Ok(Seek::Gap(self.skip_to(edge.seq)));
            } else {
                return Ok(best.map_or(Seek::Empty, |(_, lane)| Seek::Record(lane)));
            }
        }
    }

    /// Everything from the expected seq up to `end` of the same era is missing; or as much of it as has one reason.
    fn skip_to(&mut self, end: u64) -> Gap {
        let Place { era, seq: first_seq } = self.expected;
        let full = self.expected <= self.evicted;
        let last_seq = if full && self.evicted.era == era { self.evicted.seq.min(end - 1) } else { end - 1 };
        let reason = if full { Reason::SpoolFull } else { Reason::Corrupt };
        let last = Place { era, seq: last_seq };
        self.expected = Place { era, seq: last_seq + 1 };
        self.in_flight.push_back(Sent { place: last, record: None, fate: Fate::Delivered });
        Gap { epoch: self.position(last).epoch, first_seq, last_seq, reason }
    }

    /// Everything read up to and including this position has arrived. Repeated and older acks change nothing.
    pub fn ack(&mut self, position: Position) -> Result<(), NotRead> {
        let place = self.place_read(position)?;
        while self.in_flight.front().is_some_and(|sent| sent.place <= place) {
            self.settle_front();
        }
        self.copies.retain(|place, _| *place > self.acked);
        self.retire();
        self.check_books();
        Ok(())
    }

    /// The receiver will never take this record: it goes to `dead/`, and counts as refused when it is acked. Ack it
    /// when the receiver knows that it will not come: until then it is read again after a rewind, as a gap is, so that
    /// nothing about the refusal needs to be stored.
    ///
    /// Whether a durable copy lies in `dead/` now. Where none does (it is full, or the disk fails) the ack takes the last
    /// one; that too is counted ([`Stats::not_shelved`](crate::Stats::not_shelved)).
    pub fn refuse(&mut self, position: Position, why: &str) -> Result<bool, NotRead> {
        let (index, found, class) = self.record_in_flight(position)?;
        let place = self.in_flight[index].place;
        let name = format!("{:032x}-{:020}.{}", position.epoch, position.seq, class.as_str());
        let payload = self.lanes[class.index()].read_again(place, &found);
        let shelved = payload.is_ok_and(|payload| self.dead.keep_durably(&*self.fs, &name, &payload, why));
        self.in_flight[index].fate = Fate::Refused { shelved };
        Ok(shelved)
    }

    /// Reading goes on after the last acked position, as on a new connection.
    pub fn rewind(&mut self) {
        self.lanes.iter_mut().for_each(Lane::rewind);
        self.in_flight.clear();
        self.expected = Place { era: self.acked.era, seq: self.acked.seq + 1 };
    }

    /// Where in flight this record is, and what to find it by; gaps are nobody's to refuse or to move.
    pub(crate) fn record_in_flight(&self, position: Position) -> Result<(usize, Found, Class), NotRead> {
        let place = self.place_read(position)?;
        let index = self.in_flight.binary_search_by_key(&place, |sent| sent.place).ok();
        let found = index.and_then(|index| Some((index, self.in_flight[index].record?)));
        match found {
            Some((index, found @ Found { kind: Kind::Record(class), .. })) => Ok((index, found, class)),
            _ => Err(NotRead { epoch: position.epoch, seq: position.seq }),
        }
    }

    fn place_read(&self, position: Position) -> Result<Place, NotRead> {
        let Position { epoch, seq } = position;
        let place = self.identity.era_of(epoch).map(|era| Place { era, seq });
        let read =
            |place: &Place| *place <= self.acked || self.in_flight.back().is_some_and(|last| *place <= last.place);
        place.filter(read).ok_or(NotRead { epoch, seq })
    }

    fn settle_front(&mut self) {
        let Some(Sent { place, record, fate }) = self.in_flight.pop_front() else { return };
        self.acked = place;
        if record.is_some_and(|found| self.lanes[found.kind.class().index()].confirm(place, found.end())) {
            *match fate {
                Fate::Delivered => &mut self.counts.delivered,
                Fate::Refused { .. } => &mut self.counts.dropped.refused,
                Fate::Moved => &mut self.counts.moved,
            } += 1;
            self.counts.not_shelved += u64::from(matches!(fate, Fate::Refused { shelved: false }));
        }
    }

    /// Removes finished segments: the cursor first, so that a crash finds them either still there or not missed.
    pub(crate) fn retire(&mut self) {
        if !self.lanes.iter_mut().any(Lane::can_retire) || self.checkpoint().is_err() {
            return;
        }
        for lane in &mut self.lanes {
            while lane.can_retire()
                && let Some(Segment { path, bytes, given_up, .. }) = lane.pop_front()
            {
                // What the disk did not give goes to quarantine: a person may still save what is in it.
                if !given_up || !self.quarantine.take(&*self.fs, &path, bytes) {
                    lane.leftovers.remove(&*self.fs, path, bytes);
                }
            }
        }
    }
}
