use super::*;
use crate::parse::parse_expr;

fn printed(text: &str) -> String {
    parse_expr(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

fn formatted(text: &str) -> String {
    pretty(&parse_expr(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

#[test]
fn an_expression_prints_as_prometheus_prints_it() {
    for (text, expected) in [
        ("1", "1"),
        ("-0", "-0"),
        ("1_000", "1000"),
        ("0x1F", "31"),
        ("1e3", "1000"),
        ("1e21", "1000000000000000000000"),
        ("1e-7", "0.0000001"),
        ("inf", "+Inf"),
        ("-INF", "-Inf"),
        ("nan", "NaN"),
        ("5m", "5m"),
        ("-90s", "-1m30s"),
        ("1500ms", "1s500ms"),
        ("'a\"b'", r#""a\"b""#),
        ("`\\d`", r#""\\d""#),
        ("SUM", "SUM"),
        ("up{}", "up"),
        (r#"up{b="2", a = '1',}"#, r#"up{a="1",b="2"}"#),
        (r#"{"up"}"#, r#"{__name__="up"}"#),
        (r#"{job="a", "up"}"#, r#"{__name__="up",job="a"}"#),
        (r#"{"my.metric", "label.x"!="y"}"#, r#"{"label.x"!="y",__name__="my.metric"}"#),
        (r#"{__name__=~"a.+"}"#, r#"{__name__=~"a.+"}"#),
        ("x offset 5m @ 10", "x @ 10.000 offset 5m"),
        ("x @ -1.5 offset -90s", "x @ -1.500 offset -1m30s"),
        ("x @ START()", "x @ start()"),
        ("x[300] @ end() offset 1h", "x[5m] @ end() offset 1h"),
        ("x[1.5]", "x[1s500ms]"),
        ("(x)[1h:]", "(x)[1h:]"),
        ("x[1h:5m] @ 1 offset 1d", "x[1h:5m] @ 1.000 offset 1d"),
        ("rate(x[5m])", "rate(x[5m])"),
        ("time()", "time()"),
        ("round(x,5)", "round(x, 5)"),
        ("sum(x) by (b, a)", "sum by (b, a) (x)"),
        ("sum by () (x)", "sum(x)"),
        ("SUM without () (x)", "sum without () (x)"),
        (r#"topk by ("a.b", c,) (5, x)"#, r#"topk by ("a.b", c) (5, x)"#),
        ("count_values('v', x)", r#"count_values("v", x)"#),
        ("a+b", "a + b"),
        ("a == BOOL b", "a == bool b"),
        ("a * on() b", "a * on () b"),
        ("a * ignoring() b", "a * b"),
        ("a * on(x, y) group_left b", "a * on (x, y) group_left () b"),
        ("a * ignoring(x) group_right(z) b", "a * ignoring (x) group_right (z) b"),
        ("a * ignoring() group_left(z) b", "a * ignoring () group_left (z) b"),
        ("a AND on (x) b", "a and on (x) b"),
        ("1 + on() 2", "1 + 2"),
        ("-x", "-x"),
        ("+x", "+x"),
        ("--x", "--x"),
        ("--1", "1"),
        ("-(1)", "-(1)"),
        ("-x^2", "-x ^ 2"),
        ("inf^2", "Inf ^ 2"),
        ("2^-inf", "2 ^ -Inf"),
        ("a - -1", "a - -1"),
        ("(a + b) * c", "(a + b) * c"),
        ("a # comment\n+ b", "a + b"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
        assert_eq!(printed(expected), expected, "what prints parses to the same");
    }
}

#[test]
fn what_fits_a_line_is_left_on_it() {
    assert_eq!(formatted("sum( rate(x[5m]) )by(a)"), "sum by (a) (rate(x[5m]))");
    let name = |length: usize| "x".repeat(length);
    assert_eq!(formatted(&format!("abs({})", name(95))), format!("abs({})", name(95)));
    assert_eq!(formatted(&format!("abs({})", name(96))), format!("abs(\n  {}\n)", name(96)));
}

#[test]
fn a_long_expression_is_broken_at_its_brackets_and_operators() {
    let a = "a".repeat(60);
    let b = "b".repeat(60);
    for (text, lines) in [
        (
            format!("{a}+on(c)group_left(d){b}"),
            vec![format!("  {a}"), "+ on (c) group_left (d)".into(), format!("  {b}")],
        ),
        (format!("{a}==bool {b}"), vec![format!("  {a}"), "== bool".into(), format!("  {b}")]),
        (
            format!("topk by (c) (5, {a} + {b})"),
            vec![
                "topk by (c) (".into(),
                "  5,".into(),
                format!("    {a}"),
                "  +".into(),
                format!("    {b}"),
                ")".into(),
            ],
        ),
        (
            format!("sum({a} + {b})"),
            vec!["sum(".into(), format!("    {a}"), "  +".into(), format!("    {b}"), ")".into()],
        ),
        (
            format!("clamp({a}{{c=\"{b}\"}}, 1, 2)"),
            vec!["clamp(".into(), format!("  {a}{{c=\"{b}\"}},"), "  1,".into(), "  2".into(), ")".into()],
        ),
        (format!("-({a} + {b})"), vec!["-(".into(), format!("    {a}"), "  +".into(), format!("    {b}"), ")".into()]),
        (
            format!("({a} + {b})[5m:1m]"),
            vec!["(".into(), format!("    {a}"), "  +".into(), format!("    {b}"), ")[5m:1m]".into()],
        ),
        (format!("{a}{{c=\"{b}\"}} offset 5m"), vec![format!("{a}{{c=\"{b}\"}} offset 5m")]),
        (
            format!("max_over_time({a}[5m:1m]) + {b}"),
            vec![format!("  max_over_time({a}[5m:1m])"), "+".into(), format!("  {b}")],
        ),
        // The formatter of Prometheus forgets to indent a short subquery.
        (
            format!("quantile_over_time(scalar({a}{a}), {b}[5m:1m])"),
            vec![
                "quantile_over_time(".into(),
                "  scalar(".into(),
                format!("    {a}{a}"),
                "  ),".into(),
                format!("{b}[5m:1m]"),
                ")".into(),
            ],
        ),
    ] {
        let expected = lines.join("\n");
        assert_eq!(formatted(&text), expected);
        assert_eq!(formatted(&expected), expected, "the format is stable");
        assert_eq!(printed(&expected), printed(&text));
    }
}
