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
        "<error expanding template: the label value \"agenda\" is not a number>"
    );
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    for (text, what, at) in [
        ("{{ $labels }}", "\"$labels\" in a template", 3),
        ("a {{ printf \"%.2f\" $value }}", "\"printf \\\"%.2f\\\" $value\" in a template", 5),
        ("{{ if $value }}", "\"if $value\" in a template", 3),
        ("{{- $value -}}", "\"- $value -\" in a template", 2),
        ("{{ humanize $value }}", "\"humanize $value\" in a template", 3),
        ("{{ $value | title }}", "\"title\" in a template", 12),
        ("{{ $value | humanize | humanize }}", "\"humanize | humanize\" in a template", 12),
        ("{{ $labels.a-b }}", "\"$labels.a-b\" in a template", 3),
        ("{{ $labels. }}", "\"$labels.\" in a template", 3),
        ("{{ $externalURL }}", "\"$externalURL\" in a template", 3),
        ("{{ $value }}{{ }}", "an empty action", 15),
        ("{{ $value", "this {{ is never closed by }}", 0),
        ("é {{ query \"up\" }}", "\"query \\\"up\\\"\" in a template", 6),
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

proptest! {
    #[test]
    fn a_text_without_actions_is_itself(text in "[^{]{0,40}", value: f64) {
        prop_assert_eq!(expand(&text, value), text);
    }

    #[test]
    fn no_text_panics_and_every_refusal_is_inside(text in "(\\{\\{|\\}\\}|[ |$.a-zé]|\\$value|\\$labels\\.a|humanize){0,12}") {
        match Template::parse(&text) {
            Ok(template) => prop_assert_eq!(template.as_str(), &text),
            Err(error) => prop_assert!(text.is_char_boundary(error.at) && error.at <= text.len()),
        }
    }

    #[test]
    fn every_number_has_a_text_in_every_form(value: f64) {
        for function in ["humanize", "humanize1024", "humanizeDuration", "humanizePercentage"] {
            let text = expand(&format!("{{{{ $value | {function} }}}}"), value);
            prop_assert!(!text.is_empty() && text.len() < 64, "{}: {}", function, text);
        }
    }
}
