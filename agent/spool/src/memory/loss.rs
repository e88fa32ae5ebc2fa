//! What power loss leaves of a file and of the names: each change since the last sync is kept or not, by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::PowerLoss;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Default, Clone)]
pub(super) struct Content {
    pub now: Vec<u8>,
    pub durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pub unsynced: Vec<ContentChange>,
    /// Bytes that room is set aside for.
    pub allocated: usize,
}

#[derive(Clone)]
pub(super) enum ContentChange {
    /// At this offset; at most a sector.
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone)]
pub(super) enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
    Rename { from: PathBuf, to: PathBuf, content: usize },
}

// === impl NameChange ===

impl NameChange {
    pub fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, content) => drop(names.insert(path.clone(), *content)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename { from, to, content } => {
                names.remove(from);
                names.insert(to.clone(), *content);
            }
        }
    }

    pub fn content(&self) -> Option<usize> {
        match self {
            Self::Set(_, content) | Self::Rename { content, .. } => Some(*content),
            Self::Remove(_) => None,
        }
    }
}

// === impl Content ===

impl Content {
    pub fn taken(&self) -> usize {
        self.now.len().max(self.allocated)
    }

    pub fn write(&mut self, mut bytes: &[u8], offset: usize) {
        let mut from = offset;
        while !bytes.is_empty() {
            let (sector, rest) = bytes.split_at(bytes.len().min(SECTOR_BYTES - from % SECTOR_BYTES));
            self.change(ContentChange::Write(from, sector.to_vec()));
            (from, bytes) = (from + sector.len(), rest);
        }
    }

    pub fn change(&mut self, change: ContentChange) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub fn lose_power(&mut self, keeps: &mut dyn FnMut() -> bool) {
        let has_grown = self.now.len() > self.durable.len();
        for change in self.unsynced.drain(..) {
            if keeps() {
                change.apply(&mut self.durable);
            }
        }
        if has_grown && keeps() {
            self.durable.resize(self.durable.len().max(self.now.len()), 0);
        }
        self.now.clone_from(&self.durable);
    }
}

// === impl ContentChange ===

impl ContentChange {
    pub fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(from, bytes) => {
                to.resize(to.len().max(from + bytes.len()), 0);
                to[*from..from + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate(bytes) => to.resize(*bytes, 0),
        }
    }
}

/// A small generator, so that a seed tells the whole story.
pub(super) struct Dice(Option<u64>);

impl Dice {
    pub fn new(loss: PowerLoss) -> Self {
        Self(match loss {
            PowerLoss::DropsAll => None,
            PowerLoss::Tears(seed) => Some(seed),
        })
    }

    /// Evenly below `bound`; always 0 if nothing is kept. (SplitMix64.)
    pub fn below(&mut self, bound: u64) -> u64 {
        let Some(state) = &mut self.0 else { return 0 };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
