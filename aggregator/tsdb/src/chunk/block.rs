//! A block: the sealed values of the series of one metric in one period, as one row of SQL holds them.
//!
//! ```text
//!  version u8 │ checksum u32 │ start ±var │ times var │ series var │ directory of times │ directory of series │ values
//!   = 1         of all after   ms           how many    how many
//!
//!  times      id u64 │ samples var │ first − start ±var │ last − first var      each one once, as they came
//!  series     id − the one before var │ which times var │ bytes of values var   by ascending id
//!  values     those of the first series │ those of the second │ …               as `encode_values` gave them
//! ```
//! All integers are little-endian; var is seven bits a byte, ± is zigzag. The checksum is the low half of XXH3. Times
//! themselves are kept elsewhere, once for all blocks, under their id: the series of an agent's source share them.
//!
//! A directory entry takes about four bytes, and one of times about sixteen, which an agent's series of the metric share.

use super::bytes::{Reader, put_signed, put_varint};
use super::{Damage, SAMPLES_MAX, Scratch, decode_values};
use std::collections::HashMap;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
/// Version and checksum.
const HEAD_BYTES: usize = 5;
/// Series in one block at the most: at a kilobyte each, a row of 64 MiB. A metric with more is cut into several.
pub const BLOCK_SERIES_MAX: usize = 1 << 16;

/// Times that series share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Their name: see [`times_id`](super::times_id).
    pub id: u64,
    /// How many they are, and with them each series' values.
    pub count: usize,
    /// The first, in milliseconds.
    pub first_ms: i64,
    /// The last, in milliseconds; not before the first.
    pub last_ms: i64,
}

/// A series in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which series.
    pub series_id: u64,
    /// When its samples were taken.
    pub times: Times,
    /// Where its values lie in the block.
    place: Range<usize>,
}

/// What cannot be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Series come by ascending id, each once.
    #[error("series {series_id} comes after series {last}")]
    Order {
        /// The one that came.
        series_id: u64,
        /// The one before it.
        last: u64,
    },
    /// Without samples, with too many, or with a last one before the first.
    #[error("series {series_id} has {count} samples from {first_ms} to {last_ms} ms")]
    Times {
        /// The one that came.
        series_id: u64,
        /// How many samples it has.
        count: usize,
        /// When the first was taken.
        first_ms: i64,
        /// When the last was taken.
        last_ms: i64,
    },
    /// The same id with another count, first or last.
    #[error("times {times_id:#018x} of series {series_id} are not those of a series before")]
    OtherTimes {
        /// The one that came.
        series_id: u64,
        /// The id in question.
        times_id: u64,
    },
    /// [`BLOCK_SERIES_MAX`].
    #[error("a block of {BLOCK_SERIES_MAX} series is full")]
    Full,
}

/// Why a block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not even the head is there.
    #[error("a block of {0} bytes")]
    Short(usize),
    /// Of a version that is not known here.
    #[error("a block of version {0}")]
    Version(u8),
    /// Bytes changed.
    #[error("the block's checksum is {stored:#010x}, and that of its bytes {computed:#010x}")]
    Checksum {
        /// In the block.
        stored: u32,
        /// Of what is there.
        computed: u32,
    },
    /// The checksum is right and the directory is not: whoever wrote it was wrong.
    #[error("the block's directory of {part} is damaged at entry {at}")]
    Directory {
        /// Which one.
        part: Part,
        /// Which entry, from 0.
        at: usize,
        /// What is wrong with it.
        source: Damage,
    },
    /// The values of a series are damaged. Those of others can be read.
    #[error("the values of series {series_id} are damaged")]
    Values {
        /// Whose they are.
        series_id: u64,
        /// What is wrong with them.
        source: Damage,
    },
}

/// A part of a block before its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Start and counts.
    Counts,
    /// Times.
    Times,
    /// Series.
    Series,
}

/// Gathers a block.
#[derive(Debug)]
pub struct BlockWriter {
    start_ms: i64,
    times: Vec<Times>,
    places: HashMap<u64, usize>,
    /// Their directory, as it will stand.
    series: Vec<u8>,
    count: usize,
    last: Option<u64>,
    values: Vec<u8>,
}

/// A block whose checksum and directory are right.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    bytes: &'a [u8],
    start_ms: i64,
    entries: Vec<Entry>,
}

// === impl Part ===

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Counts => "counts",
            Self::Times => "times",
            Self::Series => "series",
        })
    }
}

// === impl BlockWriter ===

impl BlockWriter {
    /// A block of the period that begins at `start_ms`.
    pub fn new(start_ms: i64) -> Self {
        Self {
            start_ms,
            times: Vec::new(),
            places: HashMap::new(),
            series: Vec::new(),
            count: 0,
            last: None,
            values: Vec::new(),
        }
    }

    /// Adds a series; `values` are what `encode_values` gave for the values at these times.
    pub fn push(&mut self, series_id: u64, times: Times, values: &[u8]) -> Result<(), Unfit> {
        if let Some(last) = self.last.filter(|last| series_id <= *last) {
            return Err(Unfit::Order { series_id, last });
        }
        let Times { id: times_id, count, first_ms, last_ms } = times;
        if count == 0 || count > SAMPLES_MAX || last_ms < first_ms {
            return Err(Unfit::Times { series_id, count, first_ms, last_ms });
        }
        if self.count == BLOCK_SERIES_MAX {
            return Err(Unfit::Full);
        }
        let place = *self.places.entry(times_id).or_insert(self.times.len());
        match self.times.get(place) {
            None => self.times.push(times),
            Some(known) if *known != times => return Err(Unfit::OtherTimes { series_id, times_id }),
            Some(_) => {}
        }
        put_varint(&mut self.series, series_id - self.last.unwrap_or(0));
        put_varint(&mut self.series, place as u64);
        put_varint(&mut self.series, values.len() as u64);
        self.values.extend(values);
        self.last = Some(series_id);
        self.count += 1;
        Ok(())
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The block's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(HEAD_BYTES + 24 + self.times.len() * 20 + self.series.len() + self.values.len());
        out.extend([VERSION, 0, 0, 0, 0]);
        put_signed(&mut out, self.start_ms);
        put_varint(&mut out, self.times.len() as u64);
        put_varint(&mut out, self.count as u64);
        for times in &self.times {
            out.extend(times.id.to_le_bytes());
            put_varint(&mut out, times.count as u64);
            put_signed(&mut out, times.first_ms.wrapping_sub(self.start_ms));
            put_varint(&mut out, times.last_ms.wrapping_sub(times.first_ms).cast_unsigned());
        }
        out.extend(self.series);
        out.extend(self.values);
        let checksum = checksum(&out[HEAD_BYTES..]);
        out[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

// === impl Block ===

impl<'a> Block<'a> {
    /// Checks the whole block and reads its directory; no values are decoded.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let Some((&[version, c0, c1, c2, c3], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(BlockError::Short(bytes.len()));
        };
        if version != VERSION {
            return Err(BlockError::Version(version));
        }
        let (stored, computed) = (u32::from_le_bytes([c0, c1, c2, c3]), checksum(rest));
        if stored != computed {
            return Err(BlockError::Checksum { stored, computed });
        }
        let mut reader = Reader::new(rest);
        let (start_ms, times_count, series_count) =
            read_counts(&mut reader).map_err(|source| BlockError::Directory { part: Part::Counts, at: 0, source })?;
        let times = read_all(&mut reader, Part::Times, times_count, |reader, _| read_times(reader, start_ms))?;
        let mut entries =
            read_all(&mut reader, Part::Series, series_count, |reader, last| read_entry(reader, &times, last))?;
        // Only now it is known where the values begin: right after the directory.
        let damaged = |source| BlockError::Directory { part: Part::Series, at: series_count, source };
        let values_at = bytes.len() - reader.rest().len();
        let mut end = values_at;
        for entry in &mut entries {
            let length = entry.place.len();
            entry.place = end..end.checked_add(length).ok_or(damaged(Damage::Range("bytes of values")))?;
            end = entry.place.end;
        }
        match bytes.len().checked_sub(end) {
            Some(0) => Ok(Self { bytes, start_ms, entries }),
            Some(more) => Err(damaged(Damage::Trailing(more))),
            None => Err(damaged(Damage::Short)),
        }
    }

    /// When its period begins, in milliseconds.
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Its series, by ascending id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The series of this id.
    pub fn find(&self, series_id: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&series_id, |entry| entry.series_id).ok()?;
        self.entries.get(at)
    }

    /// Replaces `out` by the values of a series of this block.
    pub fn values(&self, entry: &Entry, scratch: &mut Scratch, out: &mut Vec<f64>) -> Result<(), BlockError> {
        let series_id = entry.series_id;
        let values =
            self.bytes.get(entry.place.clone()).ok_or(BlockError::Values { series_id, source: Damage::Short })?;
        decode_values(values, entry.times.count, scratch, out)
            .map_err(|source| BlockError::Values { series_id, source })
    }
}

// === helpers ===

fn checksum(bytes: &[u8]) -> u32 {
    (xxh3_64(bytes) & 0xffff_ffff) as u32
}

fn read_counts(reader: &mut Reader<'_>) -> Result<(i64, usize, usize), Damage> {
    let start_ms = reader.signed()?;
    Ok((start_ms, reader.count(BLOCK_SERIES_MAX)?, reader.count(BLOCK_SERIES_MAX)?))
}

/// Reads a directory; `one` is given the entry before. An entry takes three bytes at least, which bounds what is allocated.
fn read_all<T>(
    reader: &mut Reader<'_>,
    part: Part,
    count: usize,
    one: impl Fn(&mut Reader<'_>, Option<&T>) -> Result<T, Damage>,
) -> Result<Vec<T>, BlockError> {
    let mut all = Vec::with_capacity(count.min(reader.rest().len() / 3));
    for at in 0..count {
        let entry = one(reader, all.last()).map_err(|source| BlockError::Directory { part, at, source })?;
        all.push(entry);
    }
    Ok(all)
}

fn read_times(reader: &mut Reader<'_>, start_ms: i64) -> Result<Times, Damage> {
    let id = u64::from_le_bytes(reader.array()?);
    let count = reader.count(SAMPLES_MAX)?;
    if count == 0 {
        return Err(Damage::Count(0));
    }
    let first_ms = start_ms.wrapping_add(reader.signed()?);
    let last_ms = first_ms.checked_add_unsigned(reader.varint()?).ok_or(Damage::Range("last time"))?;
    Ok(Times { id, count, first_ms, last_ms })
}

/// The place is as long as the values; where they begin is not known yet.
fn read_entry(reader: &mut Reader<'_>, times: &[Times], last: Option<&Entry>) -> Result<Entry, Damage> {
    let more = reader.varint()?;
    let series_id = match last {
        None => more,
        Some(last) => {
            let id = last.series_id.checked_add(more).filter(|_| more > 0);
            id.ok_or(Damage::Range("series id"))?
        }
    };
    let place = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    let times = *times.get(place).ok_or(Damage::Range("number of times"))?;
    let length = usize::try_from(reader.varint()?).map_err(|_| Damage::Range("bytes of values"))?;
    Ok(Entry { series_id, times, place: 0..length })
}

#[cfg(test)]
mod tests;
