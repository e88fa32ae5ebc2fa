//! Tables: what is accepted and as which tree, what is refused and where. The laws and the twin have rooms of their own.

mod laws;
mod queries;
mod twin;

use super::*;
use crate::expr::{AggregateOp, At, BinaryOp, Card, Kind, Node, Notation, Selector, Span};
use crate::function::Function;
use crate::{DEPTH_MAX, METRIC_NAME, MatchOp, OPERATORS_MAX, REGEXES_MAX};
use proto::sample::Timestamp;

fn good(text: &str) -> Expr {
    parse_expr(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> (String, usize, usize) {
    let ParseError { message, line, column } = parse_expr(text).expect_err(text);
    (message, line, column)
}

fn selector(text: &str) -> Selector {
    match good(text).node {
        Node::Select(selector) | Node::Window { selector, .. } => selector,
        node => panic!("{text}: {node:?}"),
    }
}

/// With a bracket around every operator and what it joins.
fn bracketed(expr: &Expr) -> String {
    match &expr.node {
        Node::Binary { op, left, right, .. } => format!("({} {} {})", bracketed(left), op.as_str(), bracketed(right)),
        Node::Unary { negates, inner } => format!("({}{})", if *negates { "-" } else { "+" }, bracketed(inner)),
        _ => expr.to_string(),
    }
}

/// Without its places, matchers in one order: what a query means.
fn meaning(text: &str) -> String {
    let mut expr = good(text);
    strip(&mut expr);
    format!("{expr:?}")
}

fn strip(expr: &mut Expr) {
    expr.span = Span::default();
    match &mut expr.node {
        Node::Number(..) | Node::Text(_) => {}
        Node::Select(selector) | Node::Window { selector, .. } => {
            selector.matchers.sort_by_key(ToString::to_string);
        }
        Node::Subquery { inner, .. } | Node::Unary { inner, .. } | Node::Paren(inner) => strip(inner),
        Node::Call { args, .. } => args.iter_mut().for_each(strip),
        Node::Aggregate { param, inner, .. } => {
            if let Some(param) = param {
                strip(param);
            }
            strip(inner);
        }
        Node::Binary { left, right, .. } => {
            strip(left);
            strip(right);
        }
    }
}

#[test]
fn a_selector_is_a_name_and_matchers() {
    let selector = selector(r#"http_requests_total{code=~"5..", method!="GET", tenant!~"test.*", job="api",}"#);
    assert_eq!(selector.name.as_deref(), Some("http_requests_total"));
    let parts: Vec<_> = selector.matchers.iter().map(|m| (m.name(), m.op(), m.value())).collect();
    assert_eq!(
        parts,
        [
            ("code", MatchOp::Regex, "5.."),
            ("method", MatchOp::NotEqual, "GET"),
            ("tenant", MatchOp::NotRegex, "test.*"),
            ("job", MatchOp::Equal, "api"),
        ]
    );
}

#[test]
fn a_name_may_stand_inside_the_braces() {
    for text in
        [r#"{__name__="up", job="a"}"#, r#"{"up", job="a"}"#, r#"{job="a", 'up'}"#, r#"{"__name__"="up",job="a"}"#]
    {
        let selector = selector(text);
        assert_eq!((selector.name.as_deref(), selector.is_name_in_braces), (Some("up"), true), "{text}");
        assert_eq!(selector.matchers.len(), 1);
    }
    let by_regex = selector(r#"{__name__=~"up|down"}"#);
    assert_eq!((by_regex.name, by_regex.matchers[0].name()), (None, METRIC_NAME));
    let twice = selector(r#"{"a", "b"}"#);
    assert_eq!((twice.name.as_deref(), twice.matchers.len()), (Some("a"), 1));
    assert_eq!(selector(r#"{"my.metric", "label.x"="y"}"#).matchers[0].name(), "label.x");
}

#[test]
fn words_of_the_language_may_be_names() {
    for word in [
        "sum",
        "SUM",
        "topk",
        "limitk",
        "by",
        "without",
        "offset",
        "and",
        "or",
        "unless",
        "start",
        "end",
        "step",
        "range",
        "anchored",
        "smoothed",
        "fill",
        "fill_left",
        "infinity",
        "rate",
        "a:b",
        ":a",
        "bool_",
        "true",
    ] {
        for text in [
            word.to_owned(),
            format!("{word}{{}}"),
            format!("{word} + x"),
            format!("x + {word}"),
            format!("{word}[5m]"),
            format!("abs({word})"),
            format!("{word} offset 5m"),
            format!("{word} and {word}"),
        ] {
            let expr = good(&text);
            assert!(expr.selectors().iter().any(|selector| selector.name.as_deref() == Some(word)), "{text}");
        }
    }
    for word in ["bool", "on", "ignoring", "group_left", "group_right", "atan2"] {
        assert!(refused(word).0.starts_with("unexpected <"), "{word}");
    }
    let labels = ["sum", "by", "without", "on", "bool", "offset", "and", "atan2", "inf", "start", "group_left"];
    for label in labels {
        assert_eq!(selector(&format!("x{{{label}=\"1\"}}")).matchers[0].name(), label);
        let Node::Aggregate { grouping, .. } = good(&format!("sum by ({label}, x) (y)")).node else {
            panic!("{label}")
        };
        assert_eq!(grouping.labels, [label, "x"]);
    }
}

#[test]
fn keywords_have_no_case_and_functions_have_one() {
    for (text, same) in [
        ("SUM BY (a) (x)", "sum by (a) (x)"),
        ("Sum(x) Without (a)", "sum without (a) (x)"),
        ("a AND b OR c UNLESS d", "a and b or c unless d"),
        ("a ATAN2 b", "a atan2 b"),
        ("x OFFSET 5m @ START()", "x offset 5m @ start()"),
        ("a == BOOL b", "a == bool b"),
        ("a * ON (b) GROUP_LEFT (c) d", "a * on (b) group_left (c) d"),
        ("a * Ignoring (b) Group_Right d", "a * ignoring (b) group_right () d"),
        ("NAN + INF + nAn", "nan + inf + nan"),
    ] {
        assert_eq!(meaning(text), meaning(same), "{text}");
    }
    assert_eq!(refused("Rate(x[5m])"), ("unknown function with name \"Rate\"".to_owned(), 1, 1));
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, expected) in [
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a and b == c", "(a and (b == c))"),
        ("a == b + c", "(a == (b + c))"),
        ("a + b * c", "(a + (b * c))"),
        ("a * b ^ c", "(a * (b ^ c))"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b % c atan2 d", "(((a / b) % c) atan2 d)"),
        ("a > b > c", "((a > b) > c)"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("-a + b", "((-a) + b)"),
        ("a ^ -b * c", "((a ^ (-b)) * c)"),
        ("a ^ -b ^ c", "(a ^ (-(b ^ c)))"),
        ("a * -b", "(a * (-b))"),
        ("- + -a", "(-(+(-a)))"),
        ("-1 ^ 2", "(-(1 ^ 2))"),
        ("2 ^ -1", "(2 ^ -1)"),
        ("-a offset 5m + b", "((-a offset 5m) + b)"),
        ("-sum(a[5m:1m] @ 1) ^ 2", "(-(sum(a[5m:1m] @ 1.000) ^ 2))"),
        ("a offset -2 ^ 2", "(a offset -2s ^ 2)"),
        ("a offset 5m - 1", "(a offset 5m - 1)"),
    ] {
        let text = text.replace("sum(a[5m:1m] @ 1)", "sum(a @ 1)");
        let expected = expected.replace("sum(a[5m:1m] @ 1.000)", "sum(a @ 1.000)");
        assert_eq!(bracketed(&good(&text)), expected, "{text}");
    }
}

#[test]
fn a_number_is_one_node_with_its_sign() {
    for (text, value, notation) in [
        ("1_000", 1000.0, Notation::Plain),
        ("-0x10", -16.0, Notation::Plain),
        ("--010", 8.0, Notation::Plain),
        ("+ 1e3", 1000.0, Notation::Plain),
        ("-Inf", f64::NEG_INFINITY, Notation::Plain),
        ("1h30m", 5400.0, Notation::Duration),
        ("-1ms", -0.001, Notation::Duration),
    ] {
        let expr = good(text);
        assert_eq!(expr.node, Node::Number(value, notation), "{text}");
        assert_eq!((expr.span.start, expr.span.end), (0, text.len()));
    }
    assert!(matches!(good("-(1)").node, Node::Unary { negates: true, .. }));
}

#[test]
fn places_in_time_are_the_selectors() {
    let shift = |text: &str| match good(text).node {
        Node::Select(selector) | Node::Window { selector, .. } => (selector.shift.offset_ms, selector.shift.at),
        Node::Subquery { shift, .. } => (shift.offset_ms, shift.at),
        node => panic!("{text}: {node:?}"),
    };
    let at = |millis| Some(At::Time(Timestamp::from_millis(millis)));
    for (text, expected) in [
        ("x offset 5m", (300_000, None)),
        ("x offset -5m", (-300_000, None)),
        ("x offset +1.5", (1500, None)),
        ("x offset --1h30m", (5_400_000, None)),
        ("x offset 0 offset 5m", (300_000, None)),
        ("x @ 1.5", (0, at(1500))),
        ("x @ -1.5", (0, at(-1500))),
        ("x @ +0x10", (0, at(16_000))),
        ("x @ 5m", (0, at(300_000))),
        ("x @ 1.0005", (0, at(1001))),
        ("x @ start()", (0, Some(At::Start))),
        ("x[5m] @ end ( ) offset 1s", (1000, Some(At::End))),
        ("x[5m] offset 1s @ 0", (1000, at(0))),
        ("x @ start()[5m]", (0, Some(At::Start))),
        ("x[1h:5m] offset 1s @ 9", (1000, at(9000))),
        ("(x offset 5m)[1h:5m]", (0, None)),
        ("x offset 5m[1h:5m] offset 1s", (1000, None)),
    ] {
        assert_eq!(shift(text), expected, "{text}");
    }
}

#[test]
fn ranges_are_milliseconds() {
    for (text, expected) in [
        ("x[5m]", (300_000, None)),
        ("x[ 5m ]", (300_000, None)),
        ("x[1.5]", (1500, None)),
        ("x[0x10]", (16_000, None)),
        ("x[--5m]", (300_000, None)),
        ("x[+5m]", (300_000, None)),
        ("x[5m:]", (300_000, Some(None))),
        ("x[1h:1m30s]", (3_600_000, Some(Some(90_000)))),
        ("x[1h : 60]", (3_600_000, Some(Some(60_000)))),
        ("x[5m # five\n]", (300_000, None)),
    ] {
        let got = match good(text).node {
            Node::Window { range_ms, .. } => (range_ms, None),
            Node::Subquery { range_ms, step_ms, .. } => (range_ms, Some(step_ms)),
            node => panic!("{text}: {node:?}"),
        };
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn vectors_are_matched_as_written_and_scalars_are_not() {
    let matching = |text: &str| match good(text).node {
        Node::Binary { matching, .. } => matching.map(|m| (m.is_on, m.labels.join("+"), m.card, m.include.join("+"))),
        node => panic!("{text}: {node:?}"),
    };
    let some = |is_on, labels: &str, card, include: &str| Some((is_on, labels.to_owned(), card, include.to_owned()));
    for (text, expected) in [
        ("a + b", some(false, "", Card::OneToOne, "")),
        ("a + on (x, y) b", some(true, "x+y", Card::OneToOne, "")),
        ("a + ignoring () b", some(false, "", Card::OneToOne, "")),
        ("a + on (x) group_left b", some(true, "x", Card::ManyToOne, "")),
        ("a + on (x) group_left () b", some(true, "x", Card::ManyToOne, "")),
        ("a + ignoring (x) group_right (y, \"z.z\",) b", some(false, "x", Card::OneToMany, "y+z.z")),
        ("a + on (x) group_left (y) (b)", some(true, "x", Card::ManyToOne, "y")),
        ("a and b", some(false, "", Card::ManyToMany, "")),
        ("a unless on (x) b", some(true, "x", Card::ManyToMany, "")),
        ("a + 1", None),
        ("1 + on () group_left (x) a", None),
        ("1 + 2", None),
    ] {
        assert_eq!(matching(text), expected, "{text}");
    }
}

#[test]
fn an_aggregation_has_its_grouping_before_or_behind() {
    for (text, same) in [
        ("sum(x) by (a)", "sum by (a) (x)"),
        ("topk(5, x) without (a, b,)", "topk without (a, b) (5, x)"),
        ("sum by (\"a\") (x)", "sum by (a) (x)"),
        ("sum by(a:b)(x)", "sum by (\"a:b\") (x)"),
    ] {
        assert_eq!(meaning(text), meaning(same), "{text}");
    }
    let Node::Aggregate { op, param, .. } = good("count_values(\"v\", x)").node else { panic!("an aggregation") };
    assert_eq!((op, param.map(|param| param.node)), (AggregateOp::CountValues, Some(Node::Text("v".to_owned()))));
}

#[test]
fn every_function_takes_what_its_signature_says() {
    let arg = |kind: &Kind| match kind {
        Kind::Scalar => "1",
        Kind::Text => "'a'",
        Kind::Vector => "x",
        Kind::Matrix => "x[5m]",
    };
    for signature in crate::function::FUNCTIONS {
        let (name, all) = (signature.name, signature.args.len());
        let call = |count: usize| {
            let args: Vec<_> =
                signature.args.iter().chain(signature.args.last().into_iter().cycle()).take(count).map(arg).collect();
            format!("{name}({})", args.join(", "))
        };
        for count in 0..if all == 0 { 1 } else { all + 3 } {
            let fits = match signature.arity {
                crate::function::Arity::Exact => count == all,
                crate::function::Arity::OptionalLast => count == all || count + 1 == all,
                crate::function::Arity::Repeated => count + 1 >= all,
            };
            let text = call(count);
            assert_eq!(parse_expr(&text).is_ok(), fits, "{text}");
        }
        let expr = good(&call(all));
        assert_eq!(expr.kind(), signature.returns, "{name}");
        assert_eq!(expr.to_string(), call(all).replace('\'', "\""), "{name}");
    }
}

#[test]
fn a_query_knows_its_kind_and_what_it_reads() {
    for (text, kind) in [
        ("1 + 2", Kind::Scalar),
        ("-(time())", Kind::Scalar),
        ("1 + x", Kind::Vector),
        ("'a'", Kind::Text),
        ("(x[5m])", Kind::Matrix),
        ("x[5m:]", Kind::Matrix),
        ("rate(x[5m])", Kind::Vector),
        ("sum(x)", Kind::Vector),
        ("scalar(x) > bool 1", Kind::Scalar),
    ] {
        assert_eq!(good(text).kind(), kind, "{text}");
    }
    let expr = good("a / on (x) rate(b{y=\"1\"}[5m]) + topk(scalar(c), -(d)) > max_over_time({e=\"1\"}[1h:])");
    let names: Vec<_> = expr.selectors().iter().map(|selector| selector.name.as_deref().unwrap_or("")).collect();
    assert_eq!(names, ["a", "b", "c", "d", ""]);
    assert!(good("vector(1)").selectors().is_empty());
}

#[test]
fn every_node_knows_its_place() {
    let text = "sum by (a) ( rate(x{b='1'}[5m] offset 1m) ) # end\n > bool -(2) ";
    let Node::Binary { left, right, .. } = &good(text).node else { panic!("a comparison") };
    let part = |expr: &Expr| text[expr.span.start..expr.span.end].to_owned();
    assert_eq!(part(left), "sum by (a) ( rate(x{b='1'}[5m] offset 1m) )");
    assert_eq!(part(right), "-(2)");
    let Node::Aggregate { inner, .. } = &left.node else { panic!("an aggregation") };
    assert_eq!(part(inner), "rate(x{b='1'}[5m] offset 1m)");
    let Node::Call { function, args } = &inner.node else { panic!("a call") };
    assert_eq!((*function, part(&args[0]).as_str()), (Function::Rate, "x{b='1'}[5m] offset 1m"));
    assert!(matches!(good(text).node, Node::Binary { op: BinaryOp::Greater, returns_bool: true, .. }));
}

#[test]
fn what_is_not_promql_is_refused_at_the_mistake() {
    for (text, message, line, column) in [
        ("", "no expression found in input", 1, 1),
        (" \n", "no expression found in input", 1, 1),
        ("# nothing", "no expression found in input", 1, 1),
        ("x x", "unexpected identifier \"x\"", 1, 3),
        ("x\n > ", "unexpected end of input", 2, 4),
        ("x > $1", "unexpected character: '$'", 1, 5),
        ("(x", "unclosed left parenthesis", 1, 1),
        ("x{", "unexpected end of input inside braces", 1, 2),
        ("x)", "unexpected right parenthesis ')'", 1, 2),
        ("()", "unexpected \")\"", 1, 2),
        ("* 1", "unexpected <op:*>", 1, 1),
        ("1 + * 2", "unexpected <op:*>", 1, 5),
        ("x = 1", "unexpected \"=\"", 1, 3),
        ("x{a=1}", "unexpected character inside braces: '1'", 1, 5),
        ("x{a}", "unexpected \"}\" in label matching, expected label matching operator", 1, 4),
        ("x{a==\"1\"}", "unexpected \"=\" in label matching, expected string", 1, 5),
        ("x{a=b}", "unexpected identifier \"b\" in label matching, expected string", 1, 5),
        ("x{,}", "unexpected \",\" in label matching, expected identifier or \"}\"", 1, 3),
        ("x{a=\"1\",,}", "unexpected \",\" in label matching, expected identifier or \"}\"", 1, 9),
        ("x{a=\"1\" b=\"2\"}", "unexpected identifier \"b\" in label matching, expected \",\" or \"}\"", 1, 9),
        ("{a=\"1\" or b=\"2\"}", "unexpected identifier \"or\" in label matching, expected \",\" or \"}\"", 1, 8),
        ("x{a=\"\\q\"} > 1", "unknown escape sequence U+0071 'q'", 1, 6),
        ("x{a=\"\\xff\"}", "the string's escapes give no valid UTF-8", 1, 5),
        ("sum x", "unexpected identifier \"x\" in aggregation", 1, 5),
        ("sum by (a) x", "unexpected identifier \"x\" in aggregation", 1, 12),
        ("sum by a (x)", "unexpected identifier \"a\" in grouping opts, expected \"(\"", 1, 8),
        ("sum by (a b) (x)", "unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"", 1, 11),
        ("sum by (1) (x)", "unexpected number \"1\" in grouping opts, expected label", 1, 9),
        ("sum by (,) (x)", "unexpected \",\" in grouping opts, expected label", 1, 9),
        ("sum by (\"\") (x)", "invalid label name for grouping: \"\"", 1, 9),
        ("sum(x) by (a) by (b)", "unexpected <by>", 1, 15),
        ("sum by (a) (x) by (b)", "unexpected <by>", 1, 16),
        ("sum()", "no arguments for aggregate expression provided", 1, 1),
        ("1 + sum(x, y)", "wrong number of arguments for aggregate expression provided, expected 1, got 2", 1, 5),
        ("topk(x)", "wrong number of arguments for aggregate expression provided, expected 2, got 1", 1, 1),
        ("abs(x,)", "trailing commas not allowed in function call args", 1, 6),
        ("abs(,)", "unexpected \",\"", 1, 5),
        ("abs(x y)", "unexpected identifier \"y\"", 1, 7),
        ("foo(x)", "unknown function with name \"foo\"", 1, 1),
        ("a:b(x)", "unexpected \"(\"", 1, 4),
        ("offset(x)", "unexpected \"(\"", 1, 7),
        ("x offset", "unexpected end of input in offset, expected number or duration", 1, 9),
        ("x offset y", "unexpected identifier \"y\" in offset, expected number or duration", 1, 10),
        ("x @", "unexpected end of input in @, expected timestamp", 1, 4),
        ("x @ --1", "unexpected <op:-> in @, expected timestamp", 1, 6),
        ("x @ start", "unexpected end of input in @, expected \"(\"", 1, 10),
        ("x @ 'a'", "unexpected string \"'a'\" in @, expected timestamp", 1, 5),
        ("x[]", "unexpected \"]\" in subquery or range selector, expected number or duration", 1, 3),
        ("x[y]", "unexpected identifier \"y\" in subquery or range selector, expected number or duration", 1, 3),
        ("x[5m 1m]", "unexpected duration \"1m\" in subquery or range, expected \":\" or \"]\"", 1, 6),
        ("x[5m:1m:]", "unexpected \":\" in subquery selector, expected \"]\"", 1, 8),
        ("x[5m::1m]", "unexpected \":\" in subquery selector, expected number, duration or \"]\"", 1, 6),
        ("x[5mm]", "bad number or duration syntax: \"5mm\"", 1, 3),
        ("x[1m1h]", "not a valid duration string: \"1m1h\"", 1, 3),
        ("x offset 300y", "duration out of range", 1, 10),
        ("x offset Inf", "duration out of range", 1, 10),
        ("x[1e10]", "duration out of range", 1, 3),
        ("1e999", "error parsing number: \"1e999\" is out of range", 1, 1),
        ("a * group_left b", "unexpected <group_left>", 1, 5),
        ("a on (x) b", "unexpected <on>", 1, 3),
        ("a * on (x) group_left group_right b", "unexpected <group_right>", 1, 23),
        ("a == on (x) bool b", "unexpected <bool>", 1, 13),
        ("\"a long text that goes on\" x", "unexpected identifier \"x\"", 1, 28),
        ("x \"a long text that goes on\"", "unexpected string \"\\\"a long te\"...", 1, 3),
    ] {
        assert_eq!(refused(text), (message.to_owned(), line, column), "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_where_prometheus_says_so() {
    let set_twice = "may not be set multiple times";
    let behind = "modifier must be preceded by an instant vector selector or range vector selector or a subquery";
    let sides = "binary expression must contain only scalar and instant vector types";
    for (text, message, column) in [
        ("x offset 5m offset 1m", format!("offset {set_twice}"), 1),
        ("y + x @ 1 @ 2", format!("@ <timestamp> {set_twice}"), 5),
        ("x @ start() @ 2", format!("@ <timestamp> {set_twice}"), 1),
        ("sum(x) offset 5m", format!("offset {behind}"), 1),
        ("y + (x) @ 1", format!("@ {behind}"), 5),
        ("1 offset 5m", format!("offset {behind}"), 1),
        ("x @ Inf", "timestamp out of bounds for @ modifier: +Inf".to_owned(), 1),
        ("x @ -nan", "timestamp out of bounds for @ modifier: NaN".to_owned(), 1),
        ("x @ 1e20", "timestamp out of bounds for @ modifier: 100000000000000000000.000000".to_owned(), 1),
        ("(x)[5m]", "ranges only allowed for vector selectors".to_owned(), 4),
        ("x[5m][5m]", "ranges only allowed for vector selectors".to_owned(), 6),
        ("x offset 1m [5m]", "no offset modifiers allowed before range".to_owned(), 13),
        ("x @ 1[5m]", "no @ modifiers allowed before range".to_owned(), 6),
        ("x[0]", "duration must be greater than 0".to_owned(), 3),
        ("x[-5m]", "duration must be greater than 0".to_owned(), 3),
        ("x[0.0001]", "duration must be greater than 0".to_owned(), 3),
        ("x[5m:0s]", "duration must be greater than 0".to_owned(), 6),
        ("1[5m:]", "subquery is only allowed on instant vector, got scalar instead".to_owned(), 1),
        ("x[5m:][5m:]", "subquery is only allowed on instant vector, got matrix instead".to_owned(), 1),
        ("('a')[5m:]", "subquery is only allowed on instant vector, got string instead".to_owned(), 1),
        (
            "-x[5m]",
            "unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\""
                .to_owned(),
            1,
        ),
        (
            "+'a'",
            "unary expression only allowed on expressions of type scalar or instant vector, got \"string\"".to_owned(),
            1,
        ),
        ("x + y[5m]", sides.to_owned(), 5),
        ("'a' + x", sides.to_owned(), 1),
        ("x + bool y", "bool modifier can only be used on comparison operators".to_owned(), 3),
        ("(x) # c\n  ^ bool y", "bool modifier can only be used on comparison operators".to_owned(), 3),
        ("1 == 1", "comparisons between scalars must use BOOL modifier".to_owned(), 3),
        ("1 and 2", "set operator \"and\" not allowed in binary scalar expression".to_owned(), 1),
        ("x or 2", "set operator \"or\" not allowed in binary scalar expression".to_owned(), 1),
        ("x and on (a) group_left y", "no grouping allowed for \"and\" operation".to_owned(), 1),
        ("x + on (a) 1", "vector matching only allowed between instant vectors".to_owned(), 1),
        (
            "x + on (a, b) group_left (c, b) y",
            "label \"b\" must not occur in ON and GROUP clause at once".to_owned(),
            3,
        ),
        ("{}", "vector selector must contain at least one non-empty matcher".to_owned(), 1),
        ("1 + {a=~\".*\"}", "vector selector must contain at least one non-empty matcher".to_owned(), 5),
        ("{a=\"\"}", "vector selector must contain at least one non-empty matcher".to_owned(), 1),
        ("{a!~\".+\"}", "vector selector must contain at least one non-empty matcher".to_owned(), 1),
        ("{\"\"}[5m]", "vector selector must contain at least one non-empty matcher".to_owned(), 1),
        ("x{__name__=\"y\"}", "metric name must not be set twice: \"x\" or \"y\"".to_owned(), 1),
        ("x{\"y\"}", "metric name must not be set twice: \"x\" or \"y\"".to_owned(), 1),
        ("x{__name__!~\"y\"}", "metric name must not be set twice: \"x\" or \"y\"".to_owned(), 1),
        ("rate(x)", "expected type range vector in call to function \"rate\", got instant vector".to_owned(), 6),
        ("abs(1)", "expected type instant vector in call to function \"abs\", got scalar".to_owned(), 5),
        (
            "label_join(x, 'a', 'b', 'c', 1)",
            "expected type string in call to function \"label_join\", got scalar".to_owned(),
            30,
        ),
        ("abs()", "expected 1 argument(s) in call to \"abs\", got 0".to_owned(), 1),
        ("x + pi(1)", "expected 0 argument(s) in call to \"pi\", got 1".to_owned(), 5),
        ("round()", "expected at least 1 argument(s) in call to \"round\", got 0".to_owned(), 1),
        ("round(x, 1, 2)", "expected at most 2 argument(s) in call to \"round\", got 3".to_owned(), 1),
        ("label_join(x, 'a')", "expected at least 3 argument(s) in call to \"label_join\", got 2".to_owned(), 1),
        ("sum(1)", "expected type instant vector in aggregation expression, got scalar".to_owned(), 5),
        ("sum(x[5m])", "expected type instant vector in aggregation expression, got range vector".to_owned(), 5),
        ("topk(x, y)", "expected type scalar in aggregation parameter, got instant vector".to_owned(), 6),
        ("count_values(1, y)", "expected type string in aggregation parameter, got scalar".to_owned(), 14),
    ] {
        let (got, _, at) = refused(text);
        assert_eq!((got, at), (message, column), "{text}");
    }
}

#[test]
fn what_is_experimental_is_refused_as_such() {
    let duration = "experimental duration expression is not enabled";
    for (text, message, column) in [
        ("limitk(1, x)", "limitk() is experimental and not enabled", 1),
        ("LIMIT_RATIO by (a) (0.5, x)", "limit_ratio() is experimental and not enabled", 1),
        ("1 + mad_over_time(x[5m])", "function \"mad_over_time\" is not enabled, since it is experimental", 5),
        ("info(x)", "function \"info\" is not enabled, since it is experimental", 1),
        ("step()", "function \"step\" is not enabled, since it is experimental", 1),
        ("x anchored", "anchored modifier is experimental and not enabled", 3),
        ("rate(x[5m] SMOOTHED)", "smoothed modifier is experimental and not enabled", 12),
        ("a + fill (1) b", "binop fill modifiers are experimental and not enabled", 5),
        ("a + on (c) group_left fill_left(1) b", "binop fill modifiers are experimental and not enabled", 23),
        ("x[5m+1m]", duration, 3),
        ("x[(5m)]", duration, 3),
        ("x[step()]", duration, 3),
        ("x[5m:2*1m]", duration, 6),
        ("x offset (5m)", duration, 10),
        ("x offset -min(step(), 5m)", duration, 10),
    ] {
        assert_eq!(refused(text), (message.to_owned(), 1, column), "{text}");
    }
}

#[test]
fn a_regex_that_is_none_is_refused_at_its_string() {
    for pattern in ["(", "a)(b", "[z-a]", "*"] {
        let (message, line, column) = refused(&format!("x{{a=\"1\", b=~\"{pattern}\"}}"));
        assert!(message.contains("not a usable regular expression"), "{message}");
        assert_eq!((line, column), (1, 13));
    }
}

#[test]
fn long_deep_and_wide_queries_are_refused() {
    let long = format!("x{{a=\"{}\"}}", "x".repeat(QUERY_MAX_BYTES));
    assert!(refused(&long).0.contains("the limit is 16384"));
    let deep = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(refused(&deep(DEPTH_MAX + 1)), ("brackets nest deeper than 100".to_owned(), 1, 101));
    assert!(refused(&"(".repeat(10_000)).0.contains("deeper than 100"));
    assert_eq!(good(&deep(DEPTH_MAX)).kind(), Kind::Vector);
    let calls = format!("{}x{}", "abs(-".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    assert_eq!(good(&calls).to_string(), calls);
    assert_eq!(refused(&format!("{}1", "-".repeat(DEPTH_MAX + 1))).0, "operators nest deeper than 100");
    assert_eq!(good(&format!("{}x", "-".repeat(DEPTH_MAX))).kind(), Kind::Vector);
    assert_eq!(refused(&format!("1{}", "^1".repeat(DEPTH_MAX + 1))).0, "operators nest deeper than 100");
    let beside = "x + (".repeat(DEPTH_MAX) + "x" + &")".repeat(DEPTH_MAX);
    assert_eq!(good(&beside).to_string(), beside);
    assert!(refused(&format!("x{}", " + x".repeat(OPERATORS_MAX + 1))).0.contains("more than 1000 operators"));
    assert!(refused(&format!("x{}", "[5m:]".repeat(3000))).0.contains("got matrix instead"));
}

#[test]
fn the_longest_chain_is_parsed_printed_formatted_and_dropped() {
    for joint in [" or x", " + 1", " == x"] {
        let chain = format!("x{}", joint.repeat(OPERATORS_MAX));
        let expr = good(&chain);
        assert_eq!((expr.to_string(), expr.kind()), (chain.clone(), Kind::Vector));
        assert!(crate::print::pretty(&expr).lines().count() > OPERATORS_MAX);
        assert_eq!(expr.clone(), expr);
    }
    let powers = format!("{}x{}", "x^".repeat(DEPTH_MAX), " - -x".repeat(400));
    assert_eq!(meaning(&good(&powers).to_string()), meaning(&powers));
}

#[test]
fn many_and_large_regexes_are_refused() {
    let many = |count: usize| format!("x{{{}}}", "a=~\"x\",".repeat(count));
    assert_eq!(selector(&many(REGEXES_MAX)).matchers.len(), REGEXES_MAX);
    assert!(refused(&many(REGEXES_MAX + 1)).0.contains("more than 50"));
    assert!(refused(&format!("{} + {}", many(REGEXES_MAX), many(1))).0.contains("more than 50"));
    let large = "this regular expression is too large when compiled".to_owned();
    assert_eq!(refused(r#"x{a=~"(x{1000}){1000}"}"#), (large, 1, 6));
}
