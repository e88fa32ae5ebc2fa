use super::*;
use crate::{DEPTH_MAX, METRIC_NAME, OPERATORS_MAX};
use proptest::prelude::*;

fn good(text: &str) -> Query {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> (String, usize, usize) {
    let ParseError { message, line, column } = parse(text).expect_err(text);
    (message, line, column)
}

/// What is refused, up to the text that every refusal ends with, and where.
fn unsupported_at(text: &str) -> (String, usize, usize) {
    let (message, line, column) = refused(text);
    let what = message.strip_suffix(SUPPORTED).unwrap_or_else(|| panic!("{text}: {message}"));
    (what.trim_end_matches(" is not supported yet; ").to_owned(), line, column)
}

#[test]
fn a_selector_is_a_name_and_matchers() {
    let query = good(r#"http_requests_total{code=~"5..", method!="GET", tenant!~"test.*", job="api",}"#);
    assert_eq!(query.selector().name.as_deref(), Some("http_requests_total"));
    let parts: Vec<_> = query.selector().matchers.iter().map(|m| (m.name(), m.op(), m.value())).collect();
    assert_eq!(
        parts,
        [
            ("code", MatchOp::Regex, "5.."),
            ("method", MatchOp::NotEqual, "GET"),
            ("tenant", MatchOp::NotRegex, "test.*"),
            ("job", MatchOp::Equal, "api"),
        ]
    );
    assert_eq!(query.filter(), None);
}

#[test]
fn each_comparison_keeps_its_meaning_on_either_side() {
    let filter = |text: &str| good(text).filter().map(|f| (f.op.as_str(), f.number));
    for (text, op, number) in [
        ("up == 0", "==", 0.0),
        ("up != 1", "!=", 1.0),
        ("cpu > 95.5", ">", 95.5),
        ("cpu >= 1e3", ">=", 1000.0),
        ("cpu < -1", "<", -1.0),
        ("cpu <= +.5", "<=", 0.5),
        ("0 == up", "==", 0.0),
        ("95 < cpu", ">", 95.0),
        ("95 <= cpu", ">=", 95.0),
        ("95 > cpu", "<", 95.0),
        ("95 >= cpu", "<=", 95.0),
        ("((cpu)) > ((- (90)))", ">", -90.0),
        ("(cpu > 0x10)", ">", 16.0),
        ("+cpu > 1", ">", 1.0),
        ("+(cpu > 1)", ">", 1.0),
        ("cpu > --1", ">", 1.0),
        ("cpu > Inf", ">", f64::INFINITY),
        ("cpu > -inf", ">", f64::NEG_INFINITY),
        ("cpu > 5m", ">", 300.0),
        ("cpu # the load\n  >\n 1", ">", 1.0),
    ] {
        assert_eq!(filter(text), Some((op, number)), "{text}");
    }
    assert!(good("cpu > NaN").filter().is_some_and(|filter| filter.number.is_nan()));
}

#[test]
fn a_name_may_stand_inside_the_braces() {
    for text in [r#"{__name__="up", job="a"}"#, r#"{"up", job="a"}"#, r#"up{job="a"}"#] {
        assert_eq!(good(text), good(r#"up{job="a"}"#), "{text}");
    }
    let by_regex = good(r#"{__name__=~"up|down"}"#);
    assert_eq!(by_regex.selector().name, None);
    assert_eq!(by_regex.selector().matchers[0].name(), METRIC_NAME);
}

#[test]
fn words_of_the_language_may_be_names() {
    assert_eq!(good("sum > 1").selector().name.as_deref(), Some("sum"));
    assert_eq!(good(r#"offset{order="1", o="2", by="3"}"#).selector().matchers.len(), 3);
}

#[test]
fn promql_that_is_not_evaluated_yet_is_refused_where_it_begins() {
    for (text, what, line, column) in [
        ("rate(http_requests_total[5m]) > 1", "rate()", 1, 1),
        ("sum by (job) (up)", "sum by", 1, 1),
        ("sum(up)", "sum()", 1, 1),
        ("up[5m]", "a range selector", 1, 3),
        ("up offset 5m", "the modifier offset", 1, 4),
        ("up\n  @ 10", "the modifier @", 2, 3),
        ("up == bool 1", "the modifier bool", 1, 7),
        ("up + 1", "the operator +", 1, 4),
        ("up > 1 AND down > 1", "the operator and", 1, 8),
        ("up == 1 == 1", "a second comparison", 1, 9),
        ("(up == 1) == 1", "a comparison of a comparison", 1, 11),
        ("up == down", "a comparison of two selectors", 1, 4),
        ("up > 1 + 1", "the operator +", 1, 8),
        ("-up", "a minus before a selector", 1, 1),
        ("1", "a number alone", 1, 1),
        ("\"text\"", "a string", 1, 1),
        (r#"up{a="1" or b="2"}"#, "'or' between matchers", 1, 10),
        (r#"{a="1" or b="2"}"#, "'or' between matchers", 1, 8),
    ] {
        assert_eq!(unsupported_at(text), (what.to_owned(), line, column), "{text}");
    }
}

#[test]
fn what_is_not_promql_is_refused_near_the_mistake() {
    for (text, line, column) in [
        ("up{a=1}", 1, 6),
        ("up{a}", 1, 5),
        ("up{a==\"1\"}", 1, 5),
        ("up\n > ", 2, 2),
        ("up > 1_000", 1, 6),
        ("up{a=\"\\q\"} > 1", 1, 6),
        ("up{b=\"c\", a=~\"(\"}", 1, 14),
        ("up up", 1, 4),
        ("(up", 1, 1),
        ("up{", 1, 3),
        ("up > $1", 1, 6),
    ] {
        let (message, at_line, at_column) = refused(text);
        assert_eq!((at_line, at_column), (line, column), "{text}: {message}");
        assert!(!message.ends_with(SUPPORTED), "{text}: {message}");
    }
}

#[test]
fn a_query_that_would_read_everything_is_refused() {
    for text in ["{}", r#"{a=~".*"}"#, r#"{a=""}"#, r#"{a!~".+"}"#] {
        assert!(refused(text).0.contains("at least one non-empty matcher"), "{text}");
    }
    assert!(refused(r#"up{__name__="down"}"#).0.contains("must not be set twice"));
}

#[test]
fn a_regex_that_only_anchors_make_right_is_refused_at_its_string() {
    let (message, line, column) = refused(r#"up{a="1", b=~"a)(b"}"#);
    assert!(message.contains("not a usable regular expression"), "{message}");
    assert_eq!((line, column), (1, 14));
}

#[test]
fn empty_long_deep_and_wide_queries_are_refused_before_they_are_parsed() {
    for text in ["", " \n", "# nothing"] {
        assert_eq!(refused(text), ("the query is empty".to_owned(), 1, 1));
    }
    let long = format!("up{{a=\"{}\"}}", "x".repeat(QUERY_MAX_BYTES));
    assert!(refused(&long).0.contains("the limit is 16384"));
    let deep = format!("{}up{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
    assert!(refused(&deep).0.contains("deeper than 100"));
    let deep_enough = format!("{}up{}", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    assert_eq!(good(&deep_enough), good("up"));
    let chain = format!("up{}", " or up".repeat(OPERATORS_MAX));
    assert_eq!(unsupported_at(&chain), ("the operator or".to_owned(), 1, 4), "the deepest tree is walked and dropped");
    let wide = format!("up > {}1", "-".repeat(OPERATORS_MAX));
    assert!(refused(&wide).0.contains("more than 1000 operators"));
}

#[test]
fn many_and_large_regexes_are_refused_before_they_are_compiled() {
    let many = |count: usize| format!("up{{{}}}", "a=~\"x\",".repeat(count));
    assert_eq!(good(&many(REGEXES_MAX)).selector().matchers.len(), REGEXES_MAX);
    assert!(refused(&many(REGEXES_MAX + 1)).0.contains("more than 50"));
    let (message, line, column) = refused(r#"up{a=~"(x{1000}){1000}"}"#);
    assert_eq!((message.as_str(), line, column), ("this regular expression is too large when compiled", 1, 7));
}

/// Pieces that make right, unsupported and broken queries, in about equal parts.
fn queries() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "up",
        "up{a=\"1\"}",
        "{a=\"1\"}",
        "1",
        "-",
        "(",
        ")",
        ">",
        "==",
        "bool",
        "[5m]",
        "offset 5m",
        "and",
        "or",
        "+",
        "sum",
        "by",
        "{a=\"1\" or b=\"2\"}",
        "inf",
        "\"s\"",
        "@ 1",
        ",",
        "rate(",
    ]);
    prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_walk_leaves_the_grammar_exactly_where_the_tree_does(text in queries()) {
        if let (Ok(tokens), Ok(expr)) = (tokens(&text), promql_parser::parser::parse(&text)) {
            let accepted = query(&expr).is_ok();
            prop_assert_eq!(accepted, departure(&tokens).is_none(), "{}", text);
            prop_assert_eq!(accepted, parse(&text).is_ok());
        }
    }

    #[test]
    fn every_refusal_is_placed_inside_the_text(text in "[a-z(){}\\[\\]\"=~!<>0-9,# \n-]{0,30}") {
        if let Err(error) = parse(&text) {
            let line = text.split('\n').nth(error.line - 1).expect("a line of the text");
            prop_assert!(error.column <= line.chars().count() + 1);
        }
    }

    #[test]
    fn what_prints_parses_to_the_same(
        name in "[a-z_:][a-z0-9_:]{0,5}",
        value in "[ -~\n]{0,8}",
        number in -1e12..1e12f64,
        op in prop::sample::select(vec!["==", "!=", ">", ">=", "<", "<="]),
    ) {
        prop_assume!(!["inf", "nan", "bool", "on", "ignoring"].contains(&name.as_str()));
        let matcher = Matcher::try_new("label", MatchOp::Equal, &value).expect("usable");
        let query = good(&format!("{name}{{{matcher}}} {op} {number}"));
        prop_assert_eq!(query.selector().matchers[0].value(), value);
        prop_assert_eq!(good(&query.to_string()), query);
    }
}
