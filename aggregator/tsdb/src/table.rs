//! A hash table of ids whose keys lie elsewhere.
//!
//! It keeps 32 bits of the hash beside each id, so that it grows without a look at the keys: those of a million ids lie all
//! over the memory, and the shard's lock is held for as long as that takes. It costs 4 bytes an id.

use hashbrown::HashTable;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct IdTable(HashTable<Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    id: u32,
}

// === impl IdTable ===

impl IdTable {
    /// The id with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = kept(hash);
        self.0.find(spread(hash), |entry| entry.hash == hash && is_it(entry.id)).map(|entry| entry.id)
    }

    /// Adds an id that is not here.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        let hash = kept(hash);
        self.0.insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
    }

    /// Removes an id.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        match self.0.find_entry(spread(kept(hash)), |entry| entry.id == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => debug_assert!(false, "an id is removed once, under the hash with which it came"),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The half that is kept.
fn kept(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("32 bits are left of 64")
}

/// The table looks at the lowest bits and at the highest seven: both are in both halves.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// With hashes that are the same for many, as well.
        #[test]
        fn ids_are_found_under_their_hashes(
            ops in proptest::collection::vec((any::<bool>(), 0..300_u32), 0..600), bits in 0..9_u32,
        ) {
            let hash = |id: u32| u64::from(id % (1 << bits)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (mut table, mut model) = (IdTable::default(), BTreeSet::new());
            for (is_insert, id) in ops {
                if is_insert && model.insert(id) {
                    table.insert(hash(id), id);
                } else if !is_insert && model.remove(&id) {
                    table.remove(hash(id), id);
                }
            }
            prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            for id in 0..300 {
                let found = table.find(hash(id), |have| have == id);
                prop_assert_eq!(found, model.contains(&id).then_some(id));
            }
        }
    }
}
