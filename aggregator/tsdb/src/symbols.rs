//! The texts of labels, each kept once: text → [`Symbol`] and back.
//!
//! ```text
//!  text ──hash──► symbol ──► Record { block, start, length, references }
//!                                │
//!  blocks:  [text text ░░░░ text]  [text ░░░░░ text text]  [text text ──► open   ]
//! ```
//! References are counted, not swept: the index knows at every moment which pairs of labels exist, so a text gains and loses
//! a reference only when the first or last series of a pair comes or goes, while a sweep would visit every series under
//! the index's lock. A text without references leaves a hole. A closed block that is more than half holes is emptied into
//! the open one at once: what is copied is never more than what was given back, a pause is one block long, and churn leaves
//! the blocks at twice the living texts at the most.
//!
//! A symbol keeps its text for as long as it has references; then its number is given to another.
//!
//! Limits: [`SymbolLimits`], asked before memory is taken.

use crate::table::IdTable;
use foldhash::quality::RandomState;
use proto::limits::{LABEL_NAME_MAX_BYTES, LABEL_VALUE_MAX_BYTES};
use std::hash::BuildHasher;

/// A text that is kept. Good for as long as it has references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

/// Bounds of the memory of texts.
#[derive(Clone, Copy, Debug)]
pub struct SymbolLimits {
    /// Different texts. Each costs some 30 bytes beside its text.
    pub symbols: usize,
    /// Bytes of their texts; the blocks that hold them may take twice as much after churn.
    pub text_bytes: usize,
}

/// Why a text was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolsFull {
    /// As many different texts as are allowed.
    #[error("{limit} different texts of labels are known; no further ones are taken in")]
    Symbols {
        /// [`SymbolLimits::symbols`].
        limit: usize,
    },
    /// As many bytes as are allowed.
    #[error("the texts of labels take {limit} bytes; no further ones are taken in")]
    Text {
        /// [`SymbolLimits::text_bytes`].
        limit: usize,
    },
    /// A text that no label may have.
    #[error("a text of {bytes} bytes; the limit is {TEXT_MAX_BYTES}")]
    TooLong {
        /// Length found.
        bytes: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Symbols {
    limits: SymbolLimits,
    hasher: RandomState,
    by_text: IdTable,
    records: Vec<Record>,
    /// Numbers without a text.
    free: Vec<Symbol>,
    blocks: Vec<Block>,
    /// Places in `blocks` without a block.
    free_blocks: Vec<u32>,
    /// The block that takes new texts.
    open: Option<u32>,
    /// Bytes of the living texts.
    text_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    block: u32,
    start: u16,
    length: u16,
    /// 0: this number is free.
    references: u32,
}

#[derive(Debug, Default)]
struct Block {
    text: String,
    /// Whose texts were put here, in order; those that died since are among them.
    symbols: Vec<Symbol>,
    live_bytes: usize,
}

/// The longest text: a value.
const TEXT_MAX_BYTES: usize = LABEL_VALUE_MAX_BYTES;
/// Small enough to be emptied within microseconds, large enough that the unused end of one (below 1 KiB) does not count.
/// Starts and lengths inside it fit into 16 bits.
const BLOCK_BYTES: usize = 64 * 1024;
const _: () = assert!(LABEL_NAME_MAX_BYTES <= TEXT_MAX_BYTES && 2 * TEXT_MAX_BYTES < BLOCK_BYTES);

// === impl SymbolLimits ===

impl Default for SymbolLimits {
    /// For a million series of which each third one brings texts of its own (a pod's name, a request's route) of 60 bytes.
    fn default() -> Self {
        Self { symbols: 4_000_000, text_bytes: 256 * 1024 * 1024 }
    }
}

// === impl SymbolsFull ===

impl SymbolsFull {
    /// The word under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Symbols { .. } => "symbol_limit",
            Self::Text { .. } => "label_text_limit",
            Self::TooLong { .. } => "label_too_long",
        }
    }
}

// === impl Symbols ===

impl Symbols {
    /// None yet.
    pub fn new(limits: SymbolLimits) -> Self {
        Self {
            limits,
            hasher: RandomState::default(),
            by_text: IdTable::default(),
            records: Vec::new(),
            free: Vec::new(),
            blocks: Vec::new(),
            free_blocks: Vec::new(),
            open: None,
            text_bytes: 0,
        }
    }

    /// The symbol of a text that is known.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.by_text.find(self.hasher.hash_one(text), |id| self.text(Symbol(id)) == text).map(Symbol)
    }

    /// The text of a symbol. Of one without references it is another's text, or empty.
    pub fn text(&self, symbol: Symbol) -> &str {
        let Some(record) = self.records.get(symbol.0 as usize) else { return "" };
        let Some(block) = self.blocks.get(record.block as usize) else { return "" };
        let start = usize::from(record.start);
        block.text.get(start..start + usize::from(record.length)).unwrap_or("")
    }

    /// Whether `count` new texts of `bytes` bytes in all would be taken in.
    pub fn room_for(&self, count: usize, bytes: usize) -> Result<(), SymbolsFull> {
        if self.by_text.len() + count > self.limits.symbols {
            return Err(SymbolsFull::Symbols { limit: self.limits.symbols });
        }
        if self.text_bytes + bytes > self.limits.text_bytes {
            return Err(SymbolsFull::Text { limit: self.limits.text_bytes });
        }
        Ok(())
    }

    /// The symbol of `text` with one reference more.
    pub fn acquire(&mut self, text: &str) -> Result<Symbol, SymbolsFull> {
        if let Some(symbol) = self.find(text) {
            self.records[symbol.0 as usize].references += 1;
            return Ok(symbol);
        }
        let length = u16::try_from(text.len()).ok().filter(|&length| usize::from(length) <= TEXT_MAX_BYTES);
        let Some(length) = length else { return Err(SymbolsFull::TooLong { bytes: text.len() }) };
        self.room_for(1, text.len())?;
        let symbol = self.free_number()?;
        let (block, start) = self.place(symbol, text);
        self.records[symbol.0 as usize] = Record { block, start, length, references: 1 };
        self.text_bytes += text.len();
        self.by_text.insert(self.hasher.hash_one(text), symbol.0);
        Ok(symbol)
    }

    /// Gives one reference back; with the last one the text goes. Returns whether it went.
    pub fn release(&mut self, symbol: Symbol) -> bool {
        let record = self.records.get_mut(symbol.0 as usize).filter(|record| record.references > 0);
        debug_assert!(record.is_some(), "a reference is given back once");
        let Some(record) = record else { return false };
        record.references -= 1;
        let record = *record;
        if record.references > 0 {
            return false;
        }
        let hash = self.hasher.hash_one(self.text(symbol));
        self.by_text.remove(hash, symbol.0);
        let length = usize::from(record.length);
        self.text_bytes -= length;
        self.blocks[record.block as usize].live_bytes -= length;
        self.records[symbol.0 as usize] = Record::default();
        self.free.push(symbol);
        if self.open != Some(record.block) && self.blocks[record.block as usize].is_sparse() {
            self.empty(record.block);
        }
        true
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Bytes of the texts.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes of the blocks that hold them.
    pub fn block_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.text.capacity()).sum()
    }

    fn free_number(&mut self) -> Result<Symbol, SymbolsFull> {
        if let Some(symbol) = self.free.pop() {
            return Ok(symbol);
        }
        let full = SymbolsFull::Symbols { limit: self.limits.symbols };
        let symbol = Symbol(u32::try_from(self.records.len()).map_err(|_| full)?);
        self.records.push(Record::default());
        Ok(symbol)
    }

    /// Puts a text into the open block, or into a new one where it does not fit.
    fn place(&mut self, symbol: Symbol, text: &str) -> (u32, u16) {
        let fits = |block: &Block| block.text.len() + text.len() <= BLOCK_BYTES;
        let at = match self.open.filter(|&open| fits(&self.blocks[open as usize])) {
            Some(open) => open,
            None => self.open_another(),
        };
        let block = &mut self.blocks[at as usize];
        // A text without bytes may lie at the very end of a block, whose place 16 bits do not hold; any place does.
        let start = u16::try_from(block.text.len()).unwrap_or(0);
        block.text.push_str(text);
        block.symbols.push(symbol);
        block.live_bytes += text.len();
        (at, start)
    }

    /// Closes the open block and opens an empty one.
    fn open_another(&mut self) -> u32 {
        let block = Block { text: String::with_capacity(BLOCK_BYTES), ..Block::default() };
        let at = if let Some(at) = self.free_blocks.pop() {
            self.blocks[at as usize] = block;
            at
        } else {
            self.blocks.push(block);
            u32::try_from(self.blocks.len() - 1)
                .expect("there are fewer blocks than texts, and those are numbered by u32")
        };
        let closed = self.open.replace(at);
        // Its texts fill less than half of the new one: this opens no other.
        if let Some(closed) = closed.filter(|&closed| self.blocks[closed as usize].is_sparse()) {
            self.empty(closed);
        }
        at
    }

    /// Moves what lives in a closed block to the open one and frees it.
    fn empty(&mut self, at: u32) {
        let block = std::mem::take(&mut self.blocks[at as usize]);
        for symbol in block.symbols {
            // A number that died here and lives again elsewhere is not this block's; one that lives here again is listed
            // twice, and is elsewhere by the second time.
            let record = self.records[symbol.0 as usize];
            if record.references == 0 || record.block != at {
                continue;
            }
            let start = usize::from(record.start);
            let text = &block.text[start..start + usize::from(record.length)];
            let (block, start) = self.place(symbol, text);
            self.records[symbol.0 as usize] = Record { block, start, ..record };
        }
        self.free_blocks.push(at);
    }
}

// === impl Block ===

impl Block {
    /// Whether more than half of it are holes.
    fn is_sparse(&self) -> bool {
        2 * self.live_bytes < self.text.len()
    }
}

#[cfg(test)]
mod tests;
