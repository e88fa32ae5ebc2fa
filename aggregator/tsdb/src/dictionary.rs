//! Which labels there are: names, their values in order, and for each pair (name, value) the series that have it.
//!
//! ```text
//!  name ──► Name { its pairs in order of values, series that have it, bytes of its values }
//!  (name, value) ──hash──► PairId ──► Pair { name, value, postings }
//! ```
//! A pair lives exactly as long as a series has it: its postings are its count of references. A name lives as long as it
//! has a pair. So nothing here outlives the series, and no sweep is needed.
//!
//! Limits: [`IndexLimits`], asked with [`Dictionary::room_for`] before anything is changed.

use crate::labels::{METRIC_NAME, PairId, SeriesLabels};
use crate::postings::Postings;
use crate::symbols::{Symbol, SymbolLimits, Symbols, SymbolsFull};
use crate::table::IdTable;
use crate::values::Values;
use crate::{Refused, SeriesId};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::hash::BuildHasher;

/// Bounds of what series bring with them: together with the limit of series they bound the index.
#[derive(Clone, Copy, Debug)]
pub struct IndexLimits {
    /// Different label names. A few dozen are usual; each costs a bitmap of the series that have it.
    pub names: usize,
    /// Different pairs of name and value. Each costs some 60 bytes beside its texts and its series.
    pub pairs: usize,
    /// Their texts.
    pub symbols: SymbolLimits,
}

/// A label's name, by its place among the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameId(u32);

/// What is known of a label.
#[derive(Debug)]
pub(crate) struct Name {
    text: Symbol,
    /// Its pairs.
    pub(crate) values: Values,
    /// Series that have it, with whatever value.
    pub(crate) series: Postings,
    /// Bytes of its values, each as often as a series has it.
    pub(crate) value_bytes: u64,
}

#[derive(Debug)]
struct Pair {
    name: NameId,
    value: Symbol,
    /// Empty: this number is free.
    postings: Postings,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dictionary {
    limits: IndexLimits,
    symbols: Symbols,
    names: Vec<Option<Name>>,
    free_names: Vec<NameId>,
    by_name: HashMap<Symbol, NameId, RandomState>,
    pairs: Vec<Pair>,
    free_pairs: Vec<PairId>,
    by_pair: IdTable,
    hasher: RandomState,
}

// === impl IndexLimits ===

impl Default for IndexLimits {
    /// Names: a hundred services with a hundred labels of their own. Pairs: for a million series of which each second one
    /// brings some of its own.
    fn default() -> Self {
        Self { names: 10_000, pairs: 4_000_000, symbols: SymbolLimits::default() }
    }
}

// === impl Dictionary ===

impl Dictionary {
    pub(crate) fn new(limits: IndexLimits) -> Self {
        Self {
            limits,
            symbols: Symbols::new(limits.symbols),
            names: Vec::new(),
            free_names: Vec::new(),
            by_name: HashMap::default(),
            pairs: Vec::new(),
            free_pairs: Vec::new(),
            by_pair: IdTable::default(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// How many names there are.
    pub(crate) fn name_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many pairs there are.
    pub(crate) fn pair_count(&self) -> usize {
        self.by_pair.len()
    }

    /// The names that there are, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().flatten()
    }

    /// The pairs that there are, in no order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = PairId> {
        (0u32..).zip(&self.pairs).filter(|(_, pair)| !pair.postings.is_empty()).map(|(id, _)| PairId(id))
    }

    pub(crate) fn find_name(&self, name: &str) -> Option<NameId> {
        self.by_name.get(&self.symbols.find(name)?).copied()
    }

    pub(crate) fn find_value(&self, name: NameId, value: &str) -> Option<PairId> {
        self.find_symbols(name, self.symbols.find(value)?)
    }

    pub(crate) fn find_pair(&self, name: &str, value: &str) -> Option<PairId> {
        self.find_value(self.find_name(name)?, value)
    }

    pub(crate) fn name(&self, id: NameId) -> &Name {
        self.names[id.0 as usize].as_ref().expect("a name's number is in use for as long as one of its pairs is")
    }

    pub(crate) fn name_text(&self, name: &Name) -> &str {
        self.symbols.text(name.text)
    }

    pub(crate) fn name_of(&self, pair: PairId) -> NameId {
        self.pairs[pair.0 as usize].name
    }

    pub(crate) fn value_of(&self, pair: PairId) -> &str {
        self.symbols.text(self.pairs[pair.0 as usize].value)
    }

    pub(crate) fn texts(&self, pair: PairId) -> (&str, &str) {
        (self.name_text(self.name(self.name_of(pair))), self.value_of(pair))
    }

    pub(crate) fn postings(&self, pair: PairId) -> &Postings {
        &self.pairs[pair.0 as usize].postings
    }

    /// Whether the labels of a new series find room. Counts a text twice where two of its labels bring the same new one: it
    /// may refuse a text too early, never too late.
    pub(crate) fn room_for(&self, labels: &SeriesLabels<'_>) -> Result<(), Refused> {
        let (mut names, mut pairs, mut symbols, mut bytes) = (0, 0, 0, 0);
        let mut count = |text: &str| {
            symbols += 1;
            bytes += text.len();
        };
        for (name, value) in labels.iter() {
            let name_symbol = self.symbols.find(name);
            let known = name_symbol.and_then(|symbol| self.by_name.get(&symbol)).copied();
            let value_symbol = self.symbols.find(value);
            names += usize::from(known.is_none());
            if name_symbol.is_none() {
                count(name);
            }
            if value_symbol.is_none() {
                count(value);
            }
            let pair = known.zip(value_symbol).and_then(|(name, value)| self.find_symbols(name, value));
            pairs += usize::from(pair.is_none());
        }
        if self.by_name.len() + names > self.limits.names {
            return Err(Refused::Names { limit: self.limits.names });
        }
        if self.by_pair.len() + pairs > self.limits.pairs {
            return Err(Refused::Pairs { limit: self.limits.pairs });
        }
        Ok(self.symbols.room_for(symbols, bytes)?)
    }

    /// The pair, made where it is new. To be followed by [`Self::attach`]: a pair without series is none.
    pub(crate) fn acquire(&mut self, name: &str, value: &str) -> Result<PairId, SymbolsFull> {
        let name = match self.find_name(name) {
            Some(known) => known,
            None => self.new_name(name)?,
        };
        match self.find_value(name, value) {
            Some(known) => Ok(known),
            None => self.new_pair(name, value),
        }
    }

    /// Notes that a series has a pair.
    pub(crate) fn attach(&mut self, pair: PairId, id: SeriesId) {
        let Self { pairs, names, symbols, .. } = self;
        let pair = &mut pairs[pair.0 as usize];
        pair.postings.insert(id);
        let name = names[pair.name.0 as usize].as_mut().expect("a pair's name lives as long as the pair");
        name.series.insert(id);
        name.value_bytes += symbols.text(pair.value).len() as u64;
    }

    /// Notes that a series has a pair no longer; the last one takes the pair with it, the last pair its name.
    pub(crate) fn detach(&mut self, pair: PairId, id: SeriesId) {
        let Self { pairs, names, symbols, .. } = self;
        let Pair { name, value, postings } = &mut pairs[pair.0 as usize];
        let (name_id, value) = (*name, *value);
        postings.remove(id);
        let is_last = postings.is_empty();
        let name = names[name_id.0 as usize].as_mut().expect("a pair's name lives as long as the pair");
        name.series.remove(id);
        name.value_bytes -= symbols.text(value).len() as u64;
        if is_last {
            self.remove_pair(pair, name_id, value);
        }
    }

    fn find_symbols(&self, name: NameId, value: Symbol) -> Option<PairId> {
        let is_it = |id: u32| {
            let pair = &self.pairs[id as usize];
            (pair.name, pair.value) == (name, value)
        };
        self.by_pair.find(self.hasher.hash_one((name, value)), is_it).map(PairId)
    }

    fn new_name(&mut self, text: &str) -> Result<NameId, SymbolsFull> {
        let text = self.symbols.acquire(text)?;
        let name = Name { text, values: Values::default(), series: Postings::default(), value_bytes: 0 };
        let id = if let Some(id) = self.free_names.pop() {
            self.names[id.0 as usize] = Some(name);
            id
        } else {
            self.names.push(Some(name));
            NameId(u32::try_from(self.names.len() - 1).expect("each name has a symbol, and those are numbered by u32"))
        };
        self.by_name.insert(text, id);
        Ok(id)
    }

    fn new_pair(&mut self, name: NameId, value: &str) -> Result<PairId, SymbolsFull> {
        let value = self.symbols.acquire(value)?;
        let pair = Pair { name, value, postings: Postings::default() };
        let id = if let Some(id) = self.free_pairs.pop() {
            self.pairs[id.0 as usize] = pair;
            id
        } else {
            let full = SymbolsFull::Symbols { limit: self.limits.pairs };
            let id = PairId(u32::try_from(self.pairs.len()).map_err(|_| full)?);
            self.pairs.push(pair);
            id
        };
        self.by_pair.insert(self.hasher.hash_one((name, value)), id.0);
        let Self { pairs, names, symbols, .. } = self;
        let name = names[name.0 as usize].as_mut().expect("the name was found or made just now");
        name.values.insert(id, |pair| symbols.text(pairs[pair.0 as usize].value));
        Ok(id)
    }

    fn remove_pair(&mut self, id: PairId, name_id: NameId, value: Symbol) {
        let hash = self.hasher.hash_one((name_id, value));
        self.by_pair.remove(hash, id.0);
        let Self { names, symbols, pairs, .. } = self;
        let name = names[name_id.0 as usize].as_mut().expect("a pair's name lives as long as the pair");
        name.values.remove(id, |pair| symbols.text(pairs[pair.0 as usize].value));
        let gone = name.values.is_empty().then_some(name.text);
        self.free_pairs.push(id);
        self.symbols.release(value);
        if let Some(text) = gone {
            self.names[name_id.0 as usize] = None;
            self.free_names.push(name_id);
            self.by_name.remove(&text);
            self.symbols.release(text);
        }
    }

    /// The label of the metric's name.
    pub(crate) fn metric_name(&self) -> Option<&Name> {
        self.find_name(METRIC_NAME).map(|id| self.name(id))
    }

    /// The books, in full; `series_of` tells which series have a pair. For tests.
    #[cfg(test)]
    pub(crate) fn check(&self, series_of: impl Fn(PairId) -> Vec<SeriesId>) {
        let mut references = 0;
        for name in self.names() {
            let pairs: Vec<PairId> = name.values.iter(name.values.all()).collect();
            assert_eq!(pairs.len(), name.values.len());
            assert!(pairs.is_sorted_by(|a, b| self.value_of(*a) < self.value_of(*b)));
            let (mut series, mut bytes) = (std::collections::BTreeSet::new(), 0);
            for &pair in &pairs {
                let ids = series_of(pair);
                assert!(!ids.is_empty() && self.postings(pair).to_bitmap().iter().eq(ids.iter().copied()));
                assert_eq!(self.find_pair(self.name_text(name), self.value_of(pair)), Some(pair));
                bytes += (ids.len() * self.value_of(pair).len()) as u64;
                series.extend(ids);
            }
            assert!(!pairs.is_empty() && name.series.to_bitmap().iter().eq(series.iter().copied()));
            assert_eq!(name.value_bytes, bytes);
            references += pairs.len();
        }
        assert_eq!((self.names().count(), references), (self.name_count(), self.pair_count()));
        let texts = self.pairs().flat_map(|pair| [self.texts(pair).0, self.texts(pair).1]);
        assert_eq!(texts.collect::<std::collections::HashSet<_>>().len(), self.symbols.len());
    }
}
