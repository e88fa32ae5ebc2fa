use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Three digits and a tail, so that there are prefixes of every length.
fn texts() -> Vec<String> {
    (0..3_000_u32)
        .map(|i| format!("{:03}{}", i.wrapping_mul(2_654_435_761) % 1_000, ["", "-é", "-ab"][i as usize % 3]))
        .collect()
}

fn pair(i: usize) -> PairId {
    PairId(u32::try_from(i).expect("small"))
}

#[test]
fn values_that_come_in_order_fill_their_blocks() {
    let texts: Vec<String> = (0..10_000).map(|i| format!("{i:05}")).collect();
    let mut values = Values::default();
    (0..texts.len()).for_each(|i| values.insert(pair(i), |pair| &texts[pair.0 as usize]));
    assert!(values.blocks.len() <= texts.len() / BLOCK_MAX + 2, "{}", values.blocks.len());
    (0..texts.len()).rev().for_each(|i| values.remove(pair(i), |pair| &texts[pair.0 as usize]));
    assert!(values.is_empty() && values.blocks.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn values_are_a_sorted_map_with_prefixes(
        inserts in proptest::collection::vec(0..3_000_usize, 0..2_500),
        removes in proptest::collection::vec(0..3_000_usize, 0..2_500),
        prefixes in proptest::collection::vec("[0-9]{0,3}|[0-9]{3}-[aé]?", 5),
    ) {
        let texts = texts();
        let text = |pair: PairId| texts[pair.0 as usize].as_str();
        let (mut values, mut model) = (Values::default(), BTreeMap::new());
        for i in inserts {
            if !model.contains_key(texts[i].as_str()) {
                values.insert(pair(i), text);
                model.insert(texts[i].as_str(), pair(i));
            }
        }
        for i in removes {
            if model.get(texts[i].as_str()) == Some(&pair(i)) {
                values.remove(pair(i), text);
                model.remove(texts[i].as_str());
            }
        }
        prop_assert_eq!((values.len(), values.is_empty()), (model.len(), model.is_empty()));
        prop_assert!(values.blocks.iter().all(|block| (1..=BLOCK_MAX).contains(&block.len())));
        prop_assert!(values.iter(values.all()).eq(model.values().copied()));
        prop_assert_eq!(values.count(values.all()), model.len());
        // Cut inside a character as well.
        let cut = [b"0-\xc3".to_vec(), b"001-\xc3".to_vec(), Vec::new(), vec![0xff]];
        for prefix in prefixes.into_iter().map(String::into_bytes).chain(cut) {
            let stretch = values.with_prefix(&prefix, text);
            let expected: Vec<PairId> =
                model.iter().filter(|(text, _)| text.as_bytes().starts_with(&prefix)).map(|(_, &pair)| pair).collect();
            prop_assert_eq!(values.count(stretch), expected.len());
            prop_assert!(values.iter(stretch).eq(expected));
        }
    }
}
