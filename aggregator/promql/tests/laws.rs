//! Laws that hold for all queries, held against queries and samples made at random.

mod store;

use promql::{Answer, EvalError, LabelSet, Limits, METRIC_NAME, Range, Value};
use proptest::prelude::*;
use proto::sample::{STALE, Timestamp};
use std::collections::BTreeMap;
use store::Store;

/// Series with their values; a map, so that the order does not count.
type Vector = BTreeMap<LabelSet, f64>;

/// Two series of the same labels at a step.
const SAME: &str = "vector cannot contain metrics with the same labelset";

fn at(query: &str, store: &Store, time: i64) -> Result<Answer, EvalError> {
    promql::parse(query).expect(query).instant(store, Timestamp::from_millis(time), &Limits::default())
}

/// The value at a time; a number is a vector without labels.
fn vector(query: &str, store: &Store, time: i64) -> Result<Vector, String> {
    match at(query, store, time).map_err(|error| error.to_string())?.value {
        Value::Scalar(_, value) => Ok(Vector::from([(LabelSet::empty(), value)])),
        Value::Vector(points) => Ok(points.into_iter().map(|point| (point.labels, point.value)).collect()),
        other => panic!("{query} gives {other:?}"),
    }
}

/// The values at times of a range, each as if it had been asked for alone.
fn over(query: &str, store: &Store, times: &[i64], step: i64) -> Result<Vec<Vector>, String> {
    let ends = (Timestamp::from_millis(times[0]), Timestamp::from_millis(times[times.len() - 1]));
    let range = Range::try_new(ends.0, ends.1, step).expect("a range");
    let answer = promql::parse(query).expect(query).range(store, range, &Limits::default());
    let Value::Matrix(lines) = answer.map_err(|error| error.to_string())?.value else {
        panic!("{query} gives no matrix")
    };
    let mut vectors = vec![Vector::new(); times.len()];
    for line in lines {
        assert!(!line.points.is_empty(), "{query}: a series without a point");
        for (time, value) in line.points {
            let index = times.iter().position(|own| *own == time.as_millis()).expect("a time of the range");
            assert!(vectors[index].insert(line.labels.clone(), value).is_none(), "{query}: a series twice");
        }
    }
    Ok(vectors)
}

fn is_same(a: &Vector, b: &Vector) -> bool {
    let pairs = a.iter().zip(b);
    a.len() == b.len()
        && pairs.into_iter().all(|((a, x), (b, y))| a == b && (x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan()))
}

// === what is made at random ===

/// A store of `a` and `b`, each with up to four series, samples at odd times, gaps, markers and values that are none.
fn stores() -> impl Strategy<Value = Store> {
    let value = prop_oneof![
        12 => (-4_i32..9).prop_map(f64::from),
        1 => Just(STALE),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        2 => -2.0_f64..2.0,
    ];
    let samples = prop::collection::btree_map((0_i64..60).prop_map(|time| time * 7_000), value, 0..25);
    let labels = (prop::sample::select(vec!["a", "b"]), 0..2_u8, 0..2_u8);
    prop::collection::btree_map(labels, samples, 1..7).prop_map(|series| {
        let series = series.into_iter().map(|((name, x, y), samples)| {
            let (x, y) = (x.to_string(), y.to_string());
            let labels = LabelSet::from_pairs([(METRIC_NAME, name), ("x", &x), ("y", &y)]);
            (labels, samples.keys().copied().collect(), samples.values().copied().collect())
        });
        Store(series.collect())
    })
}

fn selectors() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec!["a", "b", "a{x=\"1\"}", "b{y!=\"0\"}", "{__name__=~\"a|b\", x=\"0\"}"]);
    (base, shifts()).prop_map(|(base, shift)| format!("{base}{shift}"))
}

fn shifts() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(""),
        1 => Just(" offset 30s"),
        1 => Just(" offset -45s"),
        1 => Just(" @ 150"),
        1 => Just(" @ 200 offset 20s"),
    ]
}

fn windows() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec!["a", "b", "a{x=\"1\"}", "b{y!=\"0\"}"]);
    let range = prop::sample::select(vec!["7s", "30s", "1m40s", "4m"]);
    (base, range, shifts()).prop_map(|(base, range, shift)| format!("{base}[{range}]{shift}"))
}

fn numbers() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["2", "0", "-1.5", "time()", "scalar(a{x=\"0\", y=\"0\"})", "NaN"]).prop_map(str::to_owned)
}

const OVER_TIME: [&str; 12] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "changes",
    "resets",
    "deriv",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "last_over_time",
    "stddev_over_time",
];

/// Expressions that give a vector.
fn vectors() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => selectors(),
        3 => (prop::sample::select(OVER_TIME.to_vec()), windows()).prop_map(|(function, window)| format!("{function}({window})")),
        1 => windows().prop_map(|window| format!("quantile_over_time(0.3, {window})")),
        1 => windows().prop_map(|window| format!("predict_linear({window}, 30)")),
        1 => windows().prop_map(|window| format!("absent_over_time({window})")),
        1 => selectors().prop_map(|selector| format!("timestamp({selector})")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let aggregation = prop::sample::select(vec!["sum", "avg", "min", "max", "count", "stddev", "group"]);
        let grouping = prop::sample::select(vec!["", " by (x)", " without (y)", " by (__name__, y)"]);
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<=", "> bool"]);
        let set = prop::sample::select(vec!["and", "or", "unless"]);
        let matching = prop::sample::select(vec![
            "",
            " on (x, y)",
            " ignoring (y)",
            " on (x) group_left ()",
            " on (x) group_right (y)",
        ]);
        let function = prop::sample::select(vec!["abs", "sort", "absent", "exp", "sgn", "minute"]);
        let subquery = prop::sample::select(vec!["[1m:10s]", "[40s:7s]", "[2m:] offset 10s", "[30s:5s] @ 180"]);
        prop_oneof![
            (aggregation, grouping, inner.clone()).prop_map(|(op, by, inner)| format!("{op}{by} ({inner})")),
            (prop::sample::select(vec!["topk", "bottomk", "quantile"]), numbers(), inner.clone())
                .prop_map(|(op, k, inner)| format!("{op} by (x) ({k}, {inner})")),
            inner.clone().prop_map(|inner| format!("count_values(\"v\", {inner})")),
            (operator.clone(), inner.clone(), numbers()).prop_map(|(op, left, right)| format!("({left}) {op} {right}")),
            (operator.clone(), numbers(), inner.clone()).prop_map(|(op, left, right)| format!("{left} {op} ({right})")),
            (operator, matching, inner.clone(), inner.clone())
                .prop_map(|(op, how, left, right)| format!("({left}) {op}{how} ({right})")),
            (set, prop::sample::select(vec!["", " on (x)", " ignoring (y)"]), inner.clone(), inner.clone())
                .prop_map(|(op, how, left, right)| format!("({left}) {op}{how} ({right})")),
            (function, inner.clone()).prop_map(|(function, inner)| format!("{function}({inner})")),
            (prop::sample::select(OVER_TIME.to_vec()), inner.clone(), subquery)
                .prop_map(|(function, inner, subquery)| format!("{function}(({inner}){subquery})")),
            inner.prop_map(|inner| format!("-({inner})")),
        ]
    })
}

// === laws ===

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_range_query_is_the_instant_queries_at_its_steps(
        store in stores(), query in vectors(), start in 0_i64..200, step in 1_i64..50, count in 1_usize..9,
    ) {
        let times: Vec<i64> = (0_i64..).map(|index| (start + index * step) * 1_000).take(count).collect();
        let alone: Vec<_> = times.iter().map(|time| vector(&query, &store, *time)).collect();
        let failed = alone.iter().find_map(|vector| vector.as_ref().err());
        match (over(&query, &store, &times, step * 1_000), failed) {
            (Ok(together), None) => for (index, vector) in alone.iter().enumerate() {
                let vector = vector.as_ref().expect("none has failed");
                prop_assert!(is_same(vector, &together[index]), "{query} at {}:\n{vector:?}\n{:?}", times[index], together[index]);
            },
            // A function over windows refuses two series of the same labels even if they never meet.
            (Err(error), None) => prop_assert_eq!(error, SAME, "{}", query),
            (Ok(_), Some(error)) => prop_assert!(false, "{query} fails at a time with {error}, but not over the range"),
            (Err(_), Some(_)) => {}
        }
    }

    #[test]
    fn a_sum_is_the_sum_of_the_sums_of_its_parts(store in stores(), time in 0_i64..400) {
        // Whole numbers, so that the order of adding makes no difference.
        let parts = "(a > -100 < 100) - (a > -100 < 100) % 1";
        let whole = vector(&format!("sum({parts})"), &store, time * 1_000);
        for by in ["by (x)", "by (x, y)", "without (x)"] {
            prop_assert_eq!(&whole, &vector(&format!("sum(sum {by} ({parts}))"), &store, time * 1_000));
        }
    }

    #[test]
    fn a_count_is_the_sum_of_ones_and_the_size_of_the_vector(store in stores(), query in selectors(), time in 0_i64..400) {
        let time = time * 1_000;
        let size = vector(&query, &store, time).expect("a selector cannot fail").len();
        let counted = vector(&format!("count({query})"), &store, time).expect("a count cannot fail");
        let summed = vector(&format!("sum(group by (__name__, x, y) ({query}))"), &store, time).expect("a sum cannot fail");
        prop_assert_eq!(counted.values().next().copied().unwrap_or(0.0), size as f64);
        prop_assert_eq!(counted, summed);
    }

    #[test]
    fn a_subquery_has_the_values_of_its_expression_at_multiples_of_its_step(
        store in stores(), query in vectors(), time in 100_i64..400, range in 1_i64..90, step in 1_i64..40,
    ) {
        let multiples = (time - range + 1..=time).filter(|time| time % step == 0);
        let mut expected: BTreeMap<LabelSet, Vec<(i64, u64)>> = BTreeMap::new();
        let mut has_failed = false;
        let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        for multiple in multiples {
            match vector(&query, &store, multiple * 1_000) {
                Ok(vector) => for (labels, value) in vector {
                    expected.entry(labels).or_default().push((multiple * 1_000, bits(value)));
                },
                Err(_) => has_failed = true,
            }
        }
        match at(&format!("({query})[{range}s:{step}s]"), &store, time * 1_000) {
            Ok(Answer { value: Value::Matrix(lines), .. }) => {
                let points = |points: Vec<(Timestamp, f64)>| points.into_iter().map(|(time, value)| (time.as_millis(), bits(value))).collect();
                let found: BTreeMap<_, _> = lines.into_iter().map(|line| (line.labels, points(line.points))).collect();
                prop_assert!(!has_failed, "{query} fails at a time");
                prop_assert_eq!(found, expected, "{}", query);
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
            Err(error) => prop_assert!(has_failed || error.to_string() == SAME, "{query}: {error}"),
        }
    }

    #[test]
    fn the_greatest_and_the_rest_are_all(store in stores(), k in 0_usize..5, time in 0_i64..400) {
        let ask = |query: String| vector(&query, &store, time * 1_000).expect("nothing here fails");
        let (all, top) = (ask("a".to_owned()), ask(format!("topk({k}, a)")));
        prop_assert_eq!(top.len(), k.min(all.len()));
        prop_assert!(top.iter().all(|(labels, value)| all[labels].to_bits() == value.to_bits()));
        let rest = ask(format!("a unless topk({k}, a)"));
        prop_assert_eq!(rest.len() + top.len(), all.len());
        for (inside, outside) in top.values().flat_map(|inside| rest.values().map(move |outside| (inside, outside))) {
            prop_assert!(inside >= outside || outside.is_nan());
        }
    }
}

// === matching, and its naive twin ===

/// How two vectors are matched.
#[derive(Clone, Copy, Debug)]
struct Matching {
    is_on: bool,
    labels: &'static [&'static str],
    /// `group_left`: 1, `group_right`: 2.
    group: u8,
    include: &'static [&'static str],
}

impl Matching {
    fn text(self) -> String {
        let kind = if self.is_on { "on" } else { "ignoring" };
        let group = match self.group {
            0 => String::new(),
            1 => format!(" group_left ({})", self.include.join(", ")),
            _ => format!(" group_right ({})", self.include.join(", ")),
        };
        format!("{kind} ({}){group}", self.labels.join(", "))
    }

    fn signature(self, labels: &LabelSet) -> LabelSet {
        labels.retain(|name| self.labels.contains(&name) == self.is_on && (self.is_on || name != METRIC_NAME))
    }
}

/// The sum of two vectors straight from the rules; `None` where they are broken.
fn naive_sum(left: &Vector, right: &Vector, matching: Matching) -> Option<Vector> {
    if left.is_empty() || right.is_empty() {
        return Some(Vector::new());
    }
    let (many, one) = if matching.group == 2 { (right, left) } else { (left, right) };
    let mut ones: BTreeMap<LabelSet, (&LabelSet, f64)> = BTreeMap::new();
    for (labels, value) in one {
        if ones.insert(matching.signature(labels), (labels, *value)).is_some() {
            return None;
        }
    }
    let (mut sum, mut taken) = (Vector::new(), Vec::new());
    for (labels, value) in many {
        let signature = matching.signature(labels);
        let Some((one, other)) = ones.get(&signature) else { continue };
        let mut labels = labels.without_name();
        if matching.group == 0 {
            if taken.contains(&signature) {
                return None;
            }
            taken.push(signature);
            labels = labels.retain(|name| matching.labels.contains(&name) == matching.is_on);
        }
        for name in matching.include {
            labels = labels.with(name, one.get(name));
        }
        if sum.insert(labels, value + other).is_some() {
            return None;
        }
    }
    Some(sum)
}

fn matchings() -> impl Strategy<Value = Matching> {
    let labels = prop::sample::select(vec![&[][..], &["x"], &["y"], &["x", "y"], &["x", "z"]]);
    let include = prop::sample::select(vec![&[][..], &["y"], &["z"]]);
    (any::<bool>(), labels, 0..3_u8, include).prop_map(|(is_on, labels, group, include)| {
        // A label cannot be both matched and included, and none is where each side has one series.
        let is_matched = is_on && include.iter().any(|label| labels.contains(label));
        let include = if group == 0 || is_matched { &[][..] } else { include };
        Matching { is_on, labels, group, include }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn vectors_find_each_other_as_the_rules_say(store in stores(), matching in matchings(), time in 0_i64..400) {
        let (left, right) = ("a", "{__name__=\"b\"}");
        let ask = |query: &str| vector(query, &store, time * 1_000);
        let (a, b) = (ask(left).expect("a selector"), ask(right).expect("a selector"));
        let query = format!("{left} + {} {right}", matching.text());
        match (ask(&query), naive_sum(&a, &b, matching)) {
            (Ok(found), Some(expected)) => prop_assert!(is_same(&found, &expected), "{query}\n{found:?}\n{expected:?}"),
            (Err(_), None) => {}
            (found, expected) => prop_assert!(false, "{query}\n{a:?}\n{b:?}\n{found:?}\n{expected:?}"),
        }
    }

    #[test]
    fn sets_are_what_they_are_called(store in stores(), time in 0_i64..400) {
        let ask = |query: &str| vector(query, &store, time * 1_000).expect("sets of different labels");
        let (a, b) = (ask("a"), ask("b"));
        let is_in = |labels: &LabelSet, others: &Vector| others.keys().any(|other| other.get("x") == labels.get("x"));
        let only = |vector: &Vector, keep: &dyn Fn(&LabelSet) -> bool| -> Vector {
            vector.iter().filter(|(labels, _)| keep(labels)).map(|(labels, value)| (labels.clone(), *value)).collect()
        };
        let both = only(&a, &|labels| is_in(labels, &b));
        let neither = only(&a, &|labels| !is_in(labels, &b));
        let mut either = a.clone();
        either.extend(only(&b, &|labels| !is_in(labels, &a)));
        prop_assert!(is_same(&ask("a and on (x) b"), &both));
        prop_assert!(is_same(&ask("a unless on (x) b"), &neither));
        prop_assert!(is_same(&ask("a or on (x) b"), &either));
    }
}
