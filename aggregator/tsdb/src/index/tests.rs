use super::*;
use crate::caps::SeriesLimits;
use crate::matcher::{MatchOp, Matcher};
use crate::symbols::{SymbolLimits, SymbolsFull};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Pairs = BTreeMap<String, String>;

const OWNER: Uuid = Uuid::from_u128(7);
const WIDE: SeriesLimits =
    SeriesLimits { series: 1_000_000, per_owner: 1_000_000, per_clinic: 1_000_000, per_metric: 1_000_000 };

fn empty() -> (Index, Caps) {
    (Index::new(IndexLimits::default()), Caps::new(WIDE))
}

fn checked<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> SeriesLabels<'a> {
    SeriesLabels::try_new(pairs).expect("well formed")
}

fn of(pairs: &Pairs) -> SeriesLabels<'_> {
    checked(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn text<'a>(label: &'a str, op: MatchOp, value: &'a str) -> Matcher<'a> {
    Matcher { label, op, value, passes: Box::new(|_| panic!("a text is not asked")) }
}

/// As the language builds one: anchored, `.` matches a newline. `None` where the pattern is no regex.
fn pattern<'a>(label: &'a str, op: MatchOp, value: &'a str) -> Option<Matcher<'a>> {
    regex::Regex::new(value).ok()?;
    let regex = regex::RegexBuilder::new(&format!("^(?:{value})$")).dot_matches_new_line(true).build().ok()?;
    let passes = Box::new(move |text: &str| regex.is_match(text) != (op == MatchOp::NotRegex));
    Some(Matcher { label, op, value, passes })
}

fn matcher<'a>(label: &'a str, op: u8, value: &'a str) -> Option<Matcher<'a>> {
    match op {
        0 => Some(text(label, MatchOp::Equal, value)),
        1 => Some(text(label, MatchOp::NotEqual, value)),
        2 => pattern(label, MatchOp::Regex, value),
        _ => pattern(label, MatchOp::NotRegex, value),
    }
}

/// Adds series, and says under which id which labels are.
fn filled(all: &[Pairs]) -> (Index, Caps, BTreeMap<SeriesId, Pairs>) {
    let (mut index, mut caps) = empty();
    let mut model = BTreeMap::new();
    for pairs in all {
        let id = index.add(&of(pairs), OWNER, &mut caps).expect("room").id();
        model.insert(id, pairs.clone());
    }
    (index, caps, model)
}

fn passing(model: &BTreeMap<SeriesId, Pairs>, matchers: &[Matcher<'_>]) -> Vec<SeriesId> {
    let value = |pairs: &Pairs, label: &str| pairs.get(label).cloned().unwrap_or_default();
    let passes = |pairs: &Pairs| matchers.iter().all(|matcher| matcher.passes(&value(pairs, matcher.label)));
    model.iter().filter(|(_, pairs)| passes(pairs)).map(|(&id, _)| id).collect()
}

fn series() -> impl Strategy<Value = Pairs> {
    let name = prop_oneof![Just("a"), Just("b"), Just("clinic_id"), Just("naïve\n")].prop_map(str::to_owned);
    let values =
        ["1", "2", "foo", "foo-1", "foo-2", "foobar", "bar", "a\nb", "é", "éfoo", "A", "*", "foo.", "\0", "ab"];
    let value = prop_oneof![proptest::sample::select(values.to_vec()).prop_map(str::to_owned), "[a-c]{1,3}"];
    (btree_map(name, value, 0..4), "up|down|foo").prop_map(|(mut pairs, metric)| {
        pairs.insert(METRIC_NAME.to_owned(), metric);
        pairs
    })
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("clinic_id"), Just("naïve\n"), Just(METRIC_NAME), Just("absent")]
        .prop_map(str::to_owned)
}

/// Values, patterns of every usual shape, and mixtures of their pieces.
fn value() -> impl Strategy<Value = String> {
    let known = [
        "",
        "1",
        "foo",
        "up",
        "foo|bar|1",
        "foo.*",
        "foo.+",
        ".*",
        ".+",
        ".*foo.*",
        "foo-[0-9]",
        "(foo|é).*",
        "up|down",
        "a.b",
        "(?i)FOO",
        "foo|",
        "|",
        "a?",
        "[^f].*",
        "foo\\.",
        "\\*",
        "f(oo)+(-1)?",
        "()",
        "^foo$",
        "foo-1|foo.*",
        "é.*",
        "(?-s).*",
        "ab|a|abc|b.*",
        "[abc]{1,3}",
        "\\bfoo\\b.*",
        "(",
        "a)(b",
        "\\xC3.*",
        "foo-1$|^bar",
        "[\\s\\S]*x?",
    ];
    prop_oneof![
        3 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => "([abcfo1é.*+?|()-]|foo|\\.\\*){0,6}",
    ]
}

proptest! {
    /// The law of the index: it selects what a look at each series would.
    #[test]
    fn select_is_a_filter_over_all_series(
        all in vec(series(), 0..120), asked in vec((label(), 0..4_u8, value()), 0..4), removed in vec(any::<u16>(), 0..40),
    ) {
        let (mut index, mut caps, mut model) = filled(&all);
        for at in removed {
            let ids: Vec<SeriesId> = model.keys().copied().collect();
            if let Some(&id) = ids.get(at as usize % ids.len().max(1)) {
                prop_assert!(index.remove(id, &mut caps));
                model.remove(&id);
            }
        }
        let matchers: Vec<Matcher<'_>> = asked.iter().filter_map(|(l, op, v)| matcher(l, *op, v)).collect();
        let expected = passing(&model, &matchers);
        let selected = index.select(&matchers);
        prop_assert_eq!(selected.iter().collect::<Vec<_>>(), expected.clone(), "{:?}", matchers);

        let mut names = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (name, value) in expected.iter().flat_map(|id| &model[id]) {
            names.entry(name).or_default().insert(value);
        }
        prop_assert!(index.label_names(Some(&selected)).into_iter().eq(names.keys().copied()));
        for (name, values) in &names {
            let found = index.label_values(name, Some(&selected), usize::MAX);
            prop_assert!(found.iter().eq(values));
            let two = index.label_values(name, Some(&selected), 2);
            prop_assert!(two.iter().eq(values.iter().take(2)));
        }
    }

    /// Adding and removing in any order leaves exactly what is left, and nothing of what is gone.
    #[test]
    fn remove_undoes_add(ops in vec((any::<bool>(), series(), any::<u16>()), 0..150)) {
        let (mut index, mut caps) = empty();
        let mut model: BTreeMap<SeriesId, Pairs> = BTreeMap::new();
        for (is_add, pairs, at) in ops {
            if is_add {
                let added = index.add(&of(&pairs), OWNER, &mut caps).expect("room");
                let known = model.iter().find(|(_, have)| **have == pairs).map(|(&id, _)| id);
                // The smallest id that is free.
                let smallest = (0..=150).find(|id| !model.contains_key(id)).expect("there are fewer");
                prop_assert_eq!(added, known.map_or(Added::New(smallest), Added::Known));
                model.insert(added.id(), pairs);
            } else if let Some(&id) = model.keys().nth(at as usize % model.len().max(1)) {
                prop_assert!(index.remove(id, &mut caps));
                prop_assert!(!index.remove(id, &mut caps));
                let gone = model.remove(&id).expect("it was there");
                prop_assert_eq!(index.find(&of(&gone)), None);
            }
        }
        index.check();
        prop_assert_eq!((index.len(), caps.series()), (model.len(), model.len()));
        for (&id, pairs) in &model {
            prop_assert!(index.labels(id).eq(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
            prop_assert_eq!(index.find(&of(pairs)), Some(id));
            prop_assert_eq!(index.owner(id).map(|owner| caps.owner(owner)), Some(OWNER));
            let clinic = pairs.get(CLINIC_LABEL).map_or("", String::as_str);
            prop_assert_eq!(index.value(id, CLINIC_LABEL), clinic);
        }
        for id in model.into_keys() {
            index.remove(id, &mut caps);
        }
        index.check();
        prop_assert_eq!((index.dictionary.symbols().len(), index.records.len(), caps.series()), (0, 0, 0));
    }

    /// The figures are those of a count over all series.
    #[test]
    fn stats_count_what_is_there(all in vec(series(), 0..80), n in 0..6_usize) {
        let (index, _, model) = filled(&all);
        let (mut pairs, mut bytes) = (BTreeMap::<(&str, &str), u64>::new(), BTreeMap::<&str, u64>::new());
        for (name, value) in model.values().flatten() {
            *pairs.entry((name, value)).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64;
        }
        let mut values = BTreeMap::<&str, u64>::new();
        for (name, _) in pairs.keys() {
            *values.entry(name).or_default() += 1;
        }
        let metrics = pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME).map(|((_, value), &count)| (*value, count));
        let joined: Vec<(String, u64)> = pairs.iter().map(|((n, v), &count)| (format!("{n}={v}"), count)).collect();
        let top = |counts: Vec<(String, u64)>| {
            let mut counts: Vec<Counted> = counts.into_iter().map(|(name, count)| Counted { name, count }).collect();
            counts.sort_by_key(|counted| std::cmp::Reverse(counted.count));
            counts.truncate(n);
            counts
        };
        let owned = |counts: BTreeMap<&str, u64>| counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let stats = index.stats(n);
        prop_assert_eq!((stats.series, stats.label_pairs), (model.len() as u64, pairs.len() as u64));
        prop_assert_eq!(stats.label_names, bytes.len() as u64);
        prop_assert_eq!(stats.series_by_metric, top(owned(metrics.collect())));
        prop_assert_eq!(stats.series_by_pair, top(joined));
        prop_assert_eq!(stats.values_by_label, top(owned(values)));
        prop_assert_eq!(stats.bytes_by_label, top(owned(bytes)));
    }

    /// However small the limits: they are never exceeded, a refusal changes nothing, and what is known goes on.
    #[test]
    fn limits_are_never_exceeded(all in vec(series(), 1..60), series_max in 1..20_usize, small in 1..12_usize) {
        let symbols = SymbolLimits { symbols: 2 * small, text_bytes: 12 * small };
        let limits = IndexLimits { names: small.div_ceil(3), pairs: small, symbols };
        let caps_limits = SeriesLimits { series: series_max, per_owner: 15, per_clinic: 3, per_metric: 6 };
        let (mut index, mut caps) = (Index::new(limits), Caps::new(caps_limits));
        let mut refused = 0;
        for pairs in &all {
            let known = index.find(&of(pairs));
            let before = (index.len(), index.dictionary.symbols().len(), index.dictionary.pair_count(), caps.series());
            match index.add(&of(pairs), OWNER, &mut caps) {
                Ok(Added::Known(id)) => prop_assert_eq!(Some(id), known),
                Ok(Added::New(_)) => prop_assert_eq!(known, None),
                Err(_) => {
                    refused += 1;
                    let dictionary = &index.dictionary;
                    let after = (index.len(), dictionary.symbols().len(), dictionary.pair_count(), caps.series());
                    prop_assert_eq!((before, known), (after, None));
                }
            }
            let clinics = index.label_values(CLINIC_LABEL, None, usize::MAX);
            prop_assert!(clinics.into_iter().all(|clinic| caps.of_clinic(clinic) <= 3));
            prop_assert!(index.len() <= series_max.min(15) && index.dictionary.pair_count() <= small);
            prop_assert!(index.dictionary.name_count() <= limits.names);
            let texts = index.dictionary.symbols();
            prop_assert!(texts.len() <= symbols.symbols && texts.text_bytes() <= symbols.text_bytes);
        }
        prop_assert_eq!(caps.refusals().total(), refused);
        index.check();
    }
}

#[test]
fn each_limit_of_the_index_has_its_reason() {
    let wide = SymbolLimits::default();
    let refusal = |limits, pairs: &[(&str, &str)]| {
        let (mut index, mut caps) = (Index::new(limits), Caps::new(WIDE));
        index.add(&checked([(METRIC_NAME, "up")]), OWNER, &mut caps).expect("room for one");
        let labels = checked(pairs.iter().copied().chain([(METRIC_NAME, "up")]));
        index.add(&labels, OWNER, &mut caps).expect_err("no room")
    };
    let wide_but = |names, pairs, symbols| IndexLimits { names, pairs, symbols };
    assert_eq!(refusal(wide_but(1, 9, wide), &[("a", "1")]), Refused::Names { limit: 1 });
    assert_eq!(refusal(wide_but(9, 2, wide), &[("a", "1"), ("b", "1")]), Refused::Pairs { limit: 2 });
    let few = SymbolLimits { symbols: 3, ..wide };
    assert_eq!(refusal(wide_but(9, 9, few), &[("a", "1")]), SymbolsFull::Symbols { limit: 3 }.into());
    let short = SymbolLimits { text_bytes: 11, ..wide };
    assert_eq!(refusal(wide_but(9, 9, short), &[("a", "1")]), SymbolsFull::Text { limit: 11 }.into());
}

#[test]
fn an_absent_label_is_an_empty_one() {
    let (mut index, mut caps) = empty();
    let with = index.add(&checked([(METRIC_NAME, "up"), ("zone", "b")]), OWNER, &mut caps).expect("room").id();
    let without = index.add(&checked([(METRIC_NAME, "up")]), OWNER, &mut caps).expect("room").id();
    for (op, value, expected) in [
        (0, "", vec![without]),
        (1, "", vec![with]),
        (1, "b", vec![without]),
        (2, ".*", vec![with, without]),
        (2, ".+", vec![with]),
        (2, "|b", vec![with, without]),
        (2, "|c", vec![without]),
        (3, ".+", vec![without]),
        (3, "b|c", vec![without]),
        (3, "|c", vec![with]),
    ] {
        let found = index.select(&[matcher("zone", op, value).expect("a regex")]);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{op} {value:?}");
    }
    assert_eq!(index.select(&[]), *index.all());
    assert_eq!(index.select(&[text("nobody_has", MatchOp::NotEqual, "x")]), *index.all());
    assert!(index.select(&[text("nobody_has", MatchOp::Equal, "x")]).is_empty());
}

/// Series of many sizes of sets, so that bitmaps, look-ups and asking single series all take part.
fn large() -> (Index, BTreeMap<SeriesId, Pairs>) {
    let all: Vec<Pairs> = (0..20_000_u32)
        .map(|i| {
            let of = |name: &str, value: String| (name.to_owned(), value);
            let mut pairs = Pairs::from([
                of(METRIC_NAME, format!("metric_{}", i % 7)),
                of("instance", format!("node-{:04}", i / 10)),
                of("pod", format!("pod-{i:x}")),
            ]);
            if i % 3 == 0 {
                pairs.insert("le".to_owned(), format!("0.{}", i % 30));
            }
            pairs
        })
        .collect();
    let (index, _, model) = filled(&all);
    (index, model)
}

#[test]
fn selectors_over_many_series_are_filters_too() {
    let (index, model) = large();
    let selectors: [&[(&str, u8, &str)]; 18] = [
        &[],
        &[(METRIC_NAME, 1, "")],
        &[(METRIC_NAME, 2, ".+")],
        &[(METRIC_NAME, 0, "metric_3"), ("instance", 2, "node-00.*")],
        &[(METRIC_NAME, 0, "metric_3"), ("instance", 2, ".*7")],
        &[("instance", 0, "node-0007"), ("pod", 2, ".*[05]")],
        &[("instance", 0, "node-0007"), ("pod", 3, ".*[05]"), ("le", 2, "|0.[0-9]")],
        &[("le", 0, ""), ("instance", 3, "node-1.*")],
        &[("le", 3, "0.1.*|"), ("instance", 1, "node-0001")],
        &[("pod", 2, "pod-(a|b|c).*"), ("instance", 2, "node-00[0-4].|node-1.*")],
        &[("pod", 3, "pod-.*1.*")],
        &[("instance", 2, "node-000[1-3]|node-0500"), ("le", 1, "0.0")],
        &[("le", 2, "(0.1.?)?"), (METRIC_NAME, 3, "metric_[0-4]")],
        &[("pod", 2, "(?i)POD-F{2}")],
        &[("instance", 0, "node-0007"), ("pod", 2, "pod-4.*")],
        &[("instance", 2, "node-1.+"), ("le", 3, "0.1.+")],
        &[("le", 3, "0.1.+")],
        &[(METRIC_NAME, 0, "metric_3"), ("le", 2, "0.2.*")],
    ];
    for asked in selectors {
        let matchers: Vec<Matcher<'_>> = asked.iter().map(|(l, op, v)| matcher(l, *op, v).expect("a regex")).collect();
        let found: Vec<SeriesId> = index.select(&matchers).iter().collect();
        assert_eq!(found, passing(&model, &matchers), "{matchers:?}");
    }
    let one = index.select(&[text("instance", MatchOp::Equal, "node-0007")]);
    assert_eq!(index.label_values("pod", Some(&one), 3), ["pod-46", "pod-47", "pod-48"]);
    assert_eq!(index.label_values("instance", Some(&one), 3), ["node-0007"]);
    assert_eq!(index.label_names(Some(&one)), [METRIC_NAME, "instance", "le", "pod"]);
}

#[test]
fn churn_leaves_tables_as_large_as_what_lives() {
    let (mut index, mut caps) = empty();
    let mut alive = std::collections::VecDeque::new();
    for i in 0..30_000 {
        let pod = format!("pod-{i}");
        let labels = checked([(METRIC_NAME, "up"), ("pod", pod.as_str()), ("zone", ["a", "b"][i % 2])]);
        alive.push_back(index.add(&labels, OWNER, &mut caps).expect("room").id());
        if alive.len() > 500 {
            assert!(index.remove(alive.pop_front().expect("there are 500"), &mut caps));
        }
    }
    assert!(index.records.len() <= 501 && index.dictionary.pair_count() <= 500 + 3);
    assert!(index.dictionary.symbols().block_bytes() <= 4 * 64 * 1024);
    index.check();
}
