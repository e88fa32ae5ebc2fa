//! The values of one label, sorted by the bytes of their texts, so that a prefix is a stretch.
//!
//! ```text
//!  blocks:  [pair pair …]  [pair pair …]  [pair …]     each at most 512, sorted within and among each other
//! ```
//! One sorted vector would move half of itself for each new value, a million of them 2 MB; a tree of texts would keep each
//! text twice. Here a new value moves at most one block, and a block that is full is cut in two. Texts lie elsewhere: each
//! call brings the way from a pair to its value.

use crate::labels::PairId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// None is empty.
    blocks: Vec<Vec<PairId>>,
    len: usize,
}

/// A stretch of values; good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    from: Place,
    until: Place,
}

/// Block, and place inside it; in order.
type Place = (usize, usize);

/// A block of 2 KiB: moved within a fraction of a microsecond; a million values are some 3,000 blocks.
const BLOCK_MAX: usize = 512;

// === impl Values ===

impl Values {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a pair whose value is not here yet.
    pub(crate) fn insert<'a>(&mut self, pair: PairId, text: impl Fn(PairId) -> &'a str) {
        let value = text(pair);
        let (block, at) = self.first_not(|have| text(have) < value);
        self.len += 1;
        if self.blocks.is_empty() {
            self.blocks.push(vec![pair]);
            return;
        }
        // What stands between two blocks, or behind all, ends the one before, which then fills in order.
        let (block, at) = if at == 0 && block > 0 { (block - 1, self.blocks[block - 1].len()) } else { (block, at) };
        let into = &mut self.blocks[block];
        into.insert(at, pair);
        if into.len() > BLOCK_MAX {
            // Values that come in order leave full blocks behind them, others half full ones.
            let cut = if at >= BLOCK_MAX { BLOCK_MAX } else { BLOCK_MAX / 2 };
            let rest = into.split_off(cut);
            into.shrink_to_fit();
            self.blocks.insert(block + 1, rest);
        }
    }

    /// Removes a pair.
    pub(crate) fn remove<'a>(&mut self, pair: PairId, text: impl Fn(PairId) -> &'a str) {
        let value = text(pair);
        let (block, at) = self.first_not(|have| text(have) < value);
        if self.blocks.get(block).and_then(|block| block.get(at)) != Some(&pair) {
            debug_assert!(false, "a value is removed once, while its text lives");
            return;
        }
        self.len -= 1;
        self.blocks[block].remove(at);
        if self.blocks[block].is_empty() {
            self.blocks.remove(block);
        } else if block + 1 < self.blocks.len()
            && self.blocks[block].len() + self.blocks[block + 1].len() <= BLOCK_MAX / 2
        {
            let next = self.blocks.remove(block + 1);
            self.blocks[block].extend(next);
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Stretch {
        Stretch { from: (0, 0), until: (self.blocks.len(), 0) }
    }

    /// Those that begin with `prefix`, which need not be whole characters.
    pub(crate) fn with_prefix<'a>(&self, prefix: &[u8], text: impl Fn(PairId) -> &'a str) -> Stretch {
        let from = self.first_not(|have| text(have).as_bytes() < prefix);
        let until = self.first_not(|have| {
            let value = text(have).as_bytes();
            value < prefix || value.starts_with(prefix)
        });
        Stretch { from, until }
    }

    /// How many there are in a stretch.
    pub(crate) fn count(&self, stretch: Stretch) -> usize {
        let before = |(block, at): Place| self.blocks[..block].iter().map(Vec::len).sum::<usize>() + at;
        before(stretch.until) - before(stretch.from)
    }

    /// The pairs of a stretch, in order of their values.
    pub(crate) fn iter(&self, stretch: Stretch) -> impl Iterator<Item = PairId> {
        let Stretch { from, until } = stretch;
        let blocks = self.blocks.get(from.0..self.blocks.len().min(until.0 + 1)).unwrap_or_default();
        blocks.iter().enumerate().flat_map(move |(at, block)| {
            let start = if at == 0 { from.1 } else { 0 };
            let end = if from.0 + at == until.0 { until.1 } else { block.len() };
            block.get(start..end).unwrap_or_default().iter().copied()
        })
    }

    /// The first place of which `is_before` is not true; it is true up to there.
    fn first_not(&self, is_before: impl Fn(PairId) -> bool) -> Place {
        let block = self.blocks.partition_point(|block| block.last().is_some_and(|&last| is_before(last)));
        let at = self.blocks.get(block).map_or(0, |block| block.partition_point(|&pair| is_before(pair)));
        (block, at)
    }
}

#[cfg(test)]
mod tests;
