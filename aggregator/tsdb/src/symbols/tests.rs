use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const WIDE: SymbolLimits = SymbolLimits { symbols: 100_000, text_bytes: 1 << 30 };

#[test]
fn a_text_has_one_symbol_until_its_last_reference_goes() {
    let mut symbols = Symbols::new(WIDE);
    let first = symbols.acquire("instance").expect("room");
    assert_eq!(symbols.acquire("instance"), Ok(first));
    let empty = symbols.acquire("").expect("room");
    assert_eq!((symbols.text(first), symbols.text(empty), symbols.len()), ("instance", "", 2));
    assert!(!symbols.release(first));
    assert_eq!(symbols.find("instance"), Some(first));
    assert!(symbols.release(first));
    assert_eq!((symbols.find("instance"), symbols.find(""), symbols.text_bytes()), (None, Some(empty), 0));
}

#[test]
fn what_is_too_much_is_refused_before_memory_is_taken() {
    let mut symbols = Symbols::new(SymbolLimits { symbols: 2, text_bytes: 10 });
    let long = "x".repeat(TEXT_MAX_BYTES + 1);
    assert_eq!(symbols.acquire(&long), Err(SymbolsFull::TooLong { bytes: long.len() }));
    assert_eq!(symbols.acquire("12345678901"), Err(SymbolsFull::Text { limit: 10 }));
    assert_eq!((symbols.block_bytes(), symbols.records.capacity()), (0, 0), "nothing was taken");
    let first = symbols.acquire("123456").expect("room");
    assert_eq!(symbols.acquire("12345"), Err(SymbolsFull::Text { limit: 10 }));
    symbols.acquire("1234").expect("room");
    assert_eq!(symbols.acquire(""), Err(SymbolsFull::Symbols { limit: 2 }));
    assert_eq!(symbols.acquire("123456"), Ok(first), "what is known goes on");
    assert!(!symbols.release(first) && symbols.release(first));
    assert!(symbols.acquire("new").is_ok());
}

#[test]
fn churn_does_not_grow_the_blocks() {
    let mut symbols = Symbols::new(WIDE);
    let mut alive = std::collections::VecDeque::new();
    let keep: Vec<Symbol> = (0..500).map(|i| symbols.acquire(&format!("kept-for-ever-{i}")).expect("room")).collect();
    for i in 0..200_000 {
        let text = format!("pod-{i:0width$}", width = 20 + i % 200);
        alive.push_back(symbols.acquire(&text).expect("room"));
        if alive.len() > 3_000 {
            symbols.release(alive.pop_front().expect("there are 3,000"));
        }
    }
    let bound = 2 * symbols.text_bytes() + 3 * BLOCK_BYTES;
    assert!(symbols.block_bytes() <= bound, "{} > {bound}", symbols.block_bytes());
    assert!(symbols.records.len() <= 3_501 + 1);
    assert!(keep.iter().enumerate().all(|(i, &symbol)| symbols.text(symbol) == format!("kept-for-ever-{i}")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Through every move of its text, a symbol means what it meant.
    #[test]
    fn a_symbol_never_changes_its_meaning(ops in proptest::collection::vec((0..3_u8, 0..400_u32), 1..3_000)) {
        let mut symbols = Symbols::new(WIDE);
        let mut model: HashMap<u32, (Symbol, u32)> = HashMap::new();
        // Long texts, so that a case goes through many blocks.
        let text = |key: u32| format!("é{key}").repeat(key as usize % 200);
        for (kind, key) in ops {
            match model.get_mut(&key) {
                Some((symbol, references)) if kind == 0 => {
                    let went = symbols.release(*symbol);
                    *references -= 1;
                    prop_assert_eq!(went, *references == 0);
                    if went {
                        model.remove(&key);
                    }
                }
                Some((symbol, references)) => {
                    prop_assert_eq!(symbols.acquire(&text(key)), Ok(*symbol));
                    *references += 1;
                }
                // All multiples of 200 have the empty text.
                None if key % 200 == 0 => {}
                None => {
                    let symbol = symbols.acquire(&text(key)).expect("room");
                    model.insert(key, (symbol, 1));
                }
            }
        }
        prop_assert_eq!(symbols.len(), model.len());
        prop_assert_eq!(symbols.text_bytes(), model.keys().map(|&key| text(key).len()).sum::<usize>());
        prop_assert!(symbols.block_bytes() <= 2 * symbols.text_bytes() + 3 * BLOCK_BYTES);
        for (key, (symbol, _)) in model {
            prop_assert_eq!(symbols.text(symbol), text(key));
            prop_assert_eq!(symbols.find(&text(key)), Some(symbol));
        }
    }
}
