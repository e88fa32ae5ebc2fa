//! The series that have a pair of labels, or a label at all: ids in ascending order.
//!
//! Most pairs are an agent's own and have few series, a few pairs have nearly all. A sorted vector holds few at 4 bytes
//! each; a roaring bitmap holds many at 2 bytes each or less, but costs some 250 bytes before the first.

use crate::SeriesId;
use roaring::RoaringBitmap;

/// See the module.
#[derive(Debug)]
pub(crate) enum Postings {
    /// Sorted.
    Few(Vec<SeriesId>),
    /// Boxed, so that the many small ones are small.
    Many(Box<RoaringBitmap>),
}

/// Ids in a vector at the most: at 64 the vector is as large as the bitmap that follows it.
const FEW_MAX: usize = 64;
/// A bitmap that shrank to so many becomes a vector again; half, so that no series at the border changes it each time.
const FEW_AGAIN: u64 = 32;

// === impl Postings ===

impl Default for Postings {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Postings {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Few(ids) => ids.len() as u64,
            Self::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(ids) => ids.is_empty(),
            Self::Many(ids) => ids.is_empty(),
        }
    }

    pub(crate) fn insert(&mut self, id: SeriesId) {
        match self {
            Self::Many(ids) => {
                ids.insert(id);
            }
            Self::Few(ids) => {
                // Ids are given out in ascending order but for those that are used again.
                let at = if ids.last().is_none_or(|&last| last < id) { Err(ids.len()) } else { ids.binary_search(&id) };
                let Err(at) = at else { return };
                if ids.len() < FEW_MAX {
                    ids.insert(at, id);
                } else {
                    let mut many: RoaringBitmap = ids.iter().copied().collect();
                    many.insert(id);
                    *self = Self::Many(Box::new(many));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, id: SeriesId) {
        match self {
            Self::Few(ids) => {
                if let Ok(at) = ids.binary_search(&id) {
                    ids.remove(at);
                }
            }
            Self::Many(ids) => {
                ids.remove(id);
                if ids.len() <= FEW_AGAIN {
                    *self = Self::Few(ids.iter().collect());
                }
            }
        }
    }

    /// A set of its own.
    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few(ids) => ids.iter().copied().collect(),
            Self::Many(ids) => ids.as_ref().clone(),
        }
    }

    /// Keeps in `set` what is here too.
    pub(crate) fn intersect(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Few(ids) => *set = ids.iter().copied().filter(|&id| set.contains(id)).collect(),
            Self::Many(ids) => *set &= ids.as_ref(),
        }
    }

    /// Takes out of `set` what is here.
    pub(crate) fn subtract_from(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Few(ids) => ids.iter().for_each(|&id| {
                set.remove(id);
            }),
            Self::Many(ids) => *set -= ids.as_ref(),
        }
    }

    /// Whether some id is in both.
    pub(crate) fn meets(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::Few(ids) => ids.iter().any(|&id| set.contains(id)),
            Self::Many(ids) => !ids.is_disjoint(set),
        }
    }
}

/// The union of many.
pub(crate) fn union<'a>(all: impl Iterator<Item = &'a Postings>) -> RoaringBitmap {
    let (mut set, mut loose) = (RoaringBitmap::new(), Vec::new());
    for postings in all {
        match postings {
            Postings::Few(ids) => loose.extend_from_slice(ids),
            Postings::Many(ids) => set |= ids.as_ref(),
        }
    }
    // Sorted once: a bitmap takes ids in ascending order without searching.
    loose.sort_unstable();
    set | loose.into_iter().collect::<RoaringBitmap>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Over the border between the two forms and back, it is the set that a plain set is.
        #[test]
        fn postings_are_a_set(
            ops in proptest::collection::vec((0..10_u8, 0..300_u32), 1..800),
            other in proptest::collection::btree_set(0..300_u32, 0..200),
        ) {
            let (mut postings, mut model) = (Postings::default(), BTreeSet::new());
            // First mostly in, then mostly out.
            let half = ops.len() / 2;
            for (at, (kind, id)) in ops.into_iter().enumerate() {
                if (kind < 8) == (at < half) {
                    postings.insert(id);
                    model.insert(id);
                } else {
                    postings.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!((postings.len(), postings.is_empty()), (model.len() as u64, model.is_empty()));
            }
            prop_assert!(postings.to_bitmap().iter().eq(model.iter().copied()));
            let set: RoaringBitmap = other.iter().copied().collect();
            prop_assert_eq!(postings.meets(&set), !model.is_disjoint(&other));
            let (mut both, mut rest) = (set.clone(), set.clone());
            postings.intersect(&mut both);
            postings.subtract_from(&mut rest);
            prop_assert!(both.iter().eq(other.intersection(&model).copied()));
            prop_assert!(rest.iter().eq(other.difference(&model).copied()));
            let mut more = Postings::default();
            for &id in &other {
                more.insert(id);
            }
            prop_assert!(union([&postings, &more].into_iter()).iter().eq(other.union(&model).copied()));
        }
    }

    #[test]
    fn many_become_few_again_when_they_shrink() {
        let mut postings = Postings::default();
        (0..1_000).for_each(|id| postings.insert(id));
        assert!(matches!(postings, Postings::Many(_)));
        (10..1_000).for_each(|id| postings.remove(id));
        assert!(matches!(&postings, Postings::Few(ids) if ids.len() == 10));
    }
}
