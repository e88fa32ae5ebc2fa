use super::*;
use proptest::prelude::*;

fn labels() -> Labels {
    Labels::try_new([("service", "agenda"), ("p95", "0.25"), ("note", "ação {{ $value }}")]).expect("well formed")
}

fn expand(text: &str, value: f64) -> String {
    let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let name = MetricName::try_new("http_errors").expect("well formed");
    template.expand(Context { name: Some(&name), labels: &labels(), value })
}

fn refused(text: &str) -> (String, usize) {
    let TemplateError { message, at } = Template::parse(text).expect_err(text);
    (message.split(" is not supported yet").next().unwrap_or_default().to_owned(), at)
}

#[test]
fn labels_and_the_value_are_put_in_their_places() {
    assert_eq!(expand("{{ $labels.service }} com {{ $value }} erros/s", 95.5), "agenda com 95.5 erros/s");
    assert_eq!(expand("{{.Labels.service}}={{.Value}}", 1e6), "agenda=1e+06");
    assert_eq!(expand("{{\n$value\t|humanize\n}}", 1234.0), "1.234k");
    assert_eq!(expand("no action }} here {", 1.0), "no action }} here {");
    assert_eq!(expand("", 1.0), "");
    assert_eq!(expand("{{ $labels.__name__ }}", 1.0), "http_errors");
}

#[test]
fn a_missing_label_is_empty_and_a_label_is_never_expanded_again() {
    assert_eq!(expand("[{{ $labels.absent }}]", 1.0), "[]");
    assert_eq!(expand("{{ $labels.note }}", 1.0), "ação {{ $value }}");
}

#[test]
fn humanize_is_that_of_prometheus() {
    for (value, text) in [
        (0.0, "0"),
        (1.0, "1"),
        (999.0, "999"),
        (1_234_567.0, "1.235M"),
        (-1_500.0, "-1.5k"),
        (0.12, "120m"),
        (0.000_012, "12u"),
        (1e30, "1e+06Y"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
    ] {
        assert_eq!(expand("{{ $value | humanize }}", value), text);
    }
}

#[test]
fn humanize1024_is_that_of_prometheus() {
    for (value, text) in
        [(0.0, "0"), (1.0, "1"), (0.12, "0.12"), (1_048_576.0, "1Mi"), (1_536.0, "1.5ki"), (1_000.0, "1000")]
    {
        assert_eq!(expand("{{ $value | humanize1024 }}", value), text);
    }
}

#[test]
fn humanize_duration_is_that_of_prometheus() {
    for (seconds, text) in [
        (0.0, "0s"),
        (1.0, "1s"),
        (1.2345, "1.234s"),
        (12.345, "12.35s"),
        (60.0, "1m 0s"),
        (60.5, "1m 0s"),
        (899.99, "14m 59s"),
        (3_600.0, "1h 0m 0s"),
        (86_400.0, "1d 0h 0m 0s"),
        (-183_845.0, "-2d 3h 4m 5s"),
        (0.1, "100ms"),
        (0.0001, "100us"),
        (0.12345, "123.5ms"),
        (-0.1, "-100ms"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(expand("{{ $value | humanizeDuration }}", seconds), text);
    }
}

#[test]
fn humanize_percentage_is_that_of_prometheus() {
    for (value, text) in [(-0.22222, "-22.22%"), (0.0, "0%"), (0.123_456_7, "12.35%"), (1.23456, "123.5%")] {
        assert_eq!(expand("{{ $value | humanizePercentage }}", value), text);
    }
}

#[test]
fn a_function_reads_a_label_that_is_a_number_and_says_so_where_it_is_none() {
    assert_eq!(expand("{{ $labels.p95 | humanizeDuration }}", 1.0), "250ms");
    assert_eq!(
        expand("before {{ $labels.service | humanize }} after", 1.0),
        "<error expanding template: the text \"agenda\" is not a number>"
    );
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    for (text, what, at) in [
        ("{{ $labels }}", "\"$labels\" in a template", 3),
        ("{{ if $value }}", "\"if\" in a template", 3),
        ("{{- $value -}}", "\"-\" in a template", 2),
        ("{{ $value | reReplaceAll }}", "the function \"reReplaceAll\" in a template", 12),
        ("{{ $value | }}", "an empty action", 11),
        ("{{ $value $value }}", "\"$value\" in a template", 10),
        ("{{ $value | $value }}", "\"$value\" in a template", 12),
        ("{{ humanize 5 }}", "\"5\" in a template", 12),
        ("{{ $labels.a-b }}", "\"$labels.a-b\" in a template", 3),
        ("{{ $labels. }}", "\"$labels.\" in a template", 3),
        ("{{ $externalURL }}", "\"$externalURL\" in a template", 3),
        ("{{ $value }}{{ }}", "an empty action", 15),
        ("{{ $value", "this {{ is never closed by }}", 0),
        ("é {{ query \"up\" }}", "the function \"query\" in a template", 6),
        ("{{ printf \"%.2f }}", "this quote is never closed", 10),
        ("{{ printf }}", "printf wants a format, as in printf \"%.2f\" $value", 3),
        ("{{ printf $value }}", "printf wants its format in quotes", 10),
        ("{{ printf \"\\x00\" }}", "printf wants its format in quotes", 10),
        ("{{ printf \"%d\" $value }}", "%d", 10),
        ("{{ printf \"%5.1f\" $value }}", "%5.1f", 10),
        ("{{ printf \"%.21f\" $value }}", "%.21f", 10),
        ("{{ printf \"100%\" }}", "%", 10),
    ] {
        assert_eq!(refused(text), (what.to_owned(), at), "{text}");
    }
}

#[test]
fn an_expanded_text_has_a_limit_and_is_cut_between_characters() {
    let long = "é".repeat(EXPANDED_MAX_BYTES);
    assert_eq!(expand(&long, 1.0).len(), EXPANDED_MAX_BYTES);
    let odd = format!("x{long}{{{{ $value }}}}");
    assert_eq!(expand(&odd, 1.0).len(), EXPANDED_MAX_BYTES - 1);
}

#[test]
fn an_argument_of_the_wrong_kind_or_one_too_many_is_refused() {
    for (text, what) in [
        ("{{ $value | title }}", "title: it wants a text, and this is a number"),
        ("{{ humanize }}", "humanize: it wants one argument, and has 0"),
        ("{{ $value | humanize $value }}", "humanize: it wants one argument, and has 2"),
        ("{{ printf \"%v\" }}", "printf: the format wants 1 arguments, and has 0"),
        ("{{ $value | printf \"up\" }}", "printf: the format wants 0 arguments, and has 1"),
        ("{{ printf \"%s\" $value }}", "printf: %s wants a text, and this is a number; use %v"),
        ("{{ printf \"%.2f\" $labels.p95 }}", "printf: %f and %g want a number, and this is a text; use %s"),
        ("{{ $value | humanize | printf \"%.2f\" }}", "printf: %f and %g want a number, and this is a text; use %s"),
    ] {
        assert_eq!(refused(text).0, what, "{text}");
    }
}

#[test]
fn a_refusal_names_every_function_there_is_and_each_of_them_is_understood() {
    let error = Template::parse("{{ query }}").expect_err("no such function");
    for name in function::NAMES {
        assert!(error.message.contains(name), "{}", error.message);
        let format = if name == "printf" { " \"%v\"" } else { "" };
        let text = format!("{{{{ $labels.p95 | {name}{format} }}}}");
        assert!(Template::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn printf_is_that_of_go() {
    for (format, value, text) in [
        ("%.2f", 1.005, "1.00"),
        ("%.0f", 2.5, "2"),
        ("%f", 0.1, "0.100000"),
        ("%.1f%%", 95.55, "95.5%"),
        ("%v", 1e6, "1e+06"),
        ("%g", 0.00001, "1e-05"),
        ("%.3g", 1234.5, "1.23e+03"),
        ("%.3g", 0.5, "0.5"),
        ("%.0g", 15.0, "2e+01"),
        ("%.2f", f64::INFINITY, "+Inf"),
        ("%.2f", f64::NAN, "NaN"),
        ("%.2f", -0.001, "-0.00"),
        ("[%v] 100%%", 5.0, "[5] 100%"),
    ] {
        assert_eq!(expand(&format!("{{{{ printf \"{format}\" $value }}}}"), value), text, "{format}");
        assert_eq!(expand(&format!("{{{{ $value | printf `{format}` }}}}"), value), text, "{format}");
    }
    let both = "{{ printf \"%s\\t%.1f \\\"%v\\\"\" $labels.service $value $labels.p95 }}";
    assert_eq!(expand(both, 7.0), "agenda\t7.0 \"0.25\"");
}

#[test]
fn humanize_timestamp_is_that_of_prometheus() {
    for (value, text) in [
        (1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        (0.0, "1970-01-01 00:00:00 +0000 UTC"),
        (-1.5, "1969-12-31 23:59:58.5 +0000 UTC"),
        (f64::INFINITY, "+Inf"),
        (
            1e10,
            "<error expanding template: 1e+10 cannot be represented as a nanoseconds timestamp since it overflows int64>",
        ),
    ] {
        assert_eq!(expand("{{ $value | humanizeTimestamp }}", value), text);
    }
}

#[test]
fn texts_are_written_as_go_writes_them() {
    let of = |function: &str, text: &str| {
        let template = Template::parse(&format!("{{{{ $labels.t | {function} }}}}")).expect("right");
        let labels = Labels::try_new([("t", text)]).expect("well formed");
        template.expand(Context { name: None, labels: &labels, value: 0.0 })
    };
    for (function, text, written) in [
        ("title", "aa bB_cc d-ação é", "Aa BB_cc D-Ação É"),
        ("toUpper", "ação", "AÇÃO"),
        ("toLower", "AÇÃO", "ação"),
        ("stripPort", "agenda:9100", "agenda"),
        ("stripPort", "[::1]:9100", "::1"),
        ("stripPort", "::1", "::1"),
        ("stripPort", "[::1]", "[::1]"),
        ("stripPort", "agenda", "agenda"),
        ("stripPort", "a:b:c", "a:b:c"),
        ("stripPort", ":9100", ""),
        ("stripPort | toUpper", "agenda:9100", "AGENDA"),
    ] {
        assert_eq!(of(function, text), written, "{function} {text}");
    }
}

proptest! {
    #[test]
    fn a_text_without_actions_is_itself(text in "[^{]{0,40}", value: f64) {
        prop_assert_eq!(expand(&text, value), text);
    }

    #[test]
    fn no_text_panics_and_every_refusal_is_inside(text in "(\\{\\{|\\}\\}|[ |$.a-zé]|\\$value|\\$labels\\.a|humanize|printf|\"|`|%[.0-9]{0,3}[vsfgd%]|title){0,12}") {
        match Template::parse(&text) {
            Ok(template) => prop_assert_eq!(template.as_str(), &text),
            Err(error) => prop_assert!(text.is_char_boundary(error.at) && error.at <= text.len()),
        }
    }

    #[test]
    fn every_number_has_a_text_in_every_form(value: f64) {
        for function in ["humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "printf \"%.4g\""] {
            let text = expand(&format!("{{{{ $value | {function} }}}}"), value);
            prop_assert!(!text.is_empty() && text.len() < 64, "{}: {}", function, text);
        }
    }
}
