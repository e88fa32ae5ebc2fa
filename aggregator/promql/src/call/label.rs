//! `label_replace` and `label_join`: they look at labels only, so once per series, whatever the number of steps.

use crate::answer::EvalError;
use crate::grid::Grid;
use crate::matcher;
use regex::{Captures, Regex};

/// Sets the label `to` to `template`, filled from the match of `pattern` on all of the label `from`; a series whose label
/// does not match stays as it is.
pub(super) fn replace(mut rows: Grid, to: &str, template: &str, from: &str, pattern: &str) -> Result<Grid, EvalError> {
    let regex = matcher::anchored(pattern)
        .map_err(|_| EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    check_name(to, "destination label name in label_replace()")?;
    for row in &mut rows {
        let Some(captures) = regex.captures(row.labels.get(from)) else { continue };
        let value = expand(template, &regex, &captures);
        row.labels = row.labels.with(to, &value);
    }
    Ok(rows)
}

/// Sets the label `to` to the values of `from`, with `between` between them.
pub(super) fn join(mut rows: Grid, to: &str, between: &str, from: &[String]) -> Result<Grid, EvalError> {
    for name in from {
        check_name(name, "source label name in label_join()")?;
    }
    check_name(to, "destination label name in label_join()")?;
    for row in &mut rows {
        let values: Vec<&str> = from.iter().map(|name| row.labels.get(name)).collect();
        let value = values.join(between);
        row.labels = row.labels.with(to, &value);
    }
    Ok(rows)
}

/// A label's name may be any text but the empty one.
fn check_name(name: &str, what: &str) -> Result<(), EvalError> {
    if name.is_empty() { Err(EvalError::Execution(format!("invalid {what}: {name}"))) } else { Ok(()) }
}

/// Fills `$1`, `$name` and `${name}` by the rules of Go's `Regexp.Expand`, which are not those of the `regex` crate: a
/// name reaches as far as letters, digits and `_` do, a number has no leading zero, `$$` is a `$`, a group that there is
/// not is empty, and what is no reference stays as it stands.
fn expand(template: &str, regex: &Regex, captures: &Captures<'_>) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            filled.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = reference(after) else {
            filled.push('$');
            rest = after;
            continue;
        };
        rest = after;
        let group = match group_number(name) {
            Some(number) => captures.get(number),
            // Not `Captures::name`, since Go asks for the first such group that takes part in the match.
            None => {
                regex.capture_names().zip(captures.iter()).find_map(|(own, group)| group.filter(|_| own == Some(name)))
            }
        };
        filled.push_str(group.map_or("", |group| group.as_str()));
    }
    filled.push_str(rest);
    filled
}

/// The name behind a `$`, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let text = inner.unwrap_or(text);
    let length = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let rest = if inner.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// The number that a name is. Go reads no more than nine digits; there are no such groups.
fn group_number(name: &str) -> Option<usize> {
    let is_number = name.len() <= 9 && name.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = name.len() > 1 && name.starts_with('0');
    if is_number && !has_leading_zero { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LabelSet;
    use crate::grid::Row;
    use proptest::prelude::*;

    fn filled(template: &str) -> String {
        let regex = matcher::anchored("(?P<a>x+)(y)?(?P<b>z*)").unwrap();
        expand(template, &regex, &regex.captures("xxzz").unwrap())
    }

    /// Filled by Go 1.26.
    #[test]
    fn templates_are_filled_as_in_go() {
        let cases = [
            ("$1", "xx"),
            ("${1}x", "xxx"),
            ("$1x", ""),
            ("$a", "xx"),
            ("${a}b", "xxb"),
            ("$ab", ""),
            ("$$1", "$1"),
            ("$", "$"),
            ("$ {a}", "$ {a}"),
            ("${a", "${a"),
            ("${}", "${}"),
            ("$0", "xxzz"),
            ("$01", ""),
            ("$9", ""),
            ("$2", ""),
            ("$é", ""),
            ("$3-$1", "zz-xx"),
            ("a$", "a$"),
            ("$-$a", "$-xx"),
            ("${a-b}", "${a-b}"),
            ("$1_", ""),
            ("$100000000000", ""),
        ];
        for (template, want) in cases {
            assert_eq!(filled(template), want, "{template}");
        }
    }

    fn row(pairs: &[(&str, &str)]) -> Row {
        Row { labels: LabelSet::from_pairs(pairs.iter().copied()), values: vec![1.0] }
    }

    fn labels(rows: Result<Grid, EvalError>) -> Vec<LabelSet> {
        rows.unwrap().into_iter().map(|row| row.labels).collect()
    }

    #[test]
    fn replacing_needs_a_match_of_the_whole_value() {
        let rows =
            vec![row(&[("__name__", "m"), ("src", "source-value-10")]), row(&[("__name__", "m"), ("src", "other")])];
        let replaced = labels(replace(rows.clone(), "dst", "got-$1", "src", "source-value-(.*)"));
        assert_eq!(replaced[0].get("dst"), "got-10");
        assert_eq!((replaced[0].name(), &replaced[1]), ("m", &rows[1].labels), "names stay, and what does not match");
        assert_eq!(labels(replace(rows.clone(), "dst", "x", "src", "value")), labels(Ok(rows.clone())));
        let emptied = labels(replace(rows.clone(), "src", "", "src", ".*"));
        assert!(emptied.iter().all(|labels| labels.get("src").is_empty()));
        let named = labels(replace(rows.clone(), "__name__", "n", "nothing", ""));
        assert_eq!((named[0].name(), named[0].get("src")), ("n", "source-value-10"), "an absent label is empty");
        assert_eq!(labels(replace(rows, "ä b", "$0", "src", "(?s:.)+"))[1].get("ä b"), "other");
    }

    #[test]
    fn joining_takes_absent_labels_as_empty() {
        let rows = vec![row(&[("__name__", "m"), ("a", "1"), ("c", "3")])];
        let from = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(labels(join(rows.clone(), "d", "-", &from))[0].get("d"), "1--3");
        assert_eq!(labels(join(rows.clone(), "a", ",", &[]))[0].get("a"), "");
        assert_eq!(labels(join(rows, "__name__", "", &from))[0].name(), "13");
    }

    #[test]
    fn names_that_are_none_and_regexes_that_are_none_are_refused() {
        let says = |result: Result<Grid, EvalError>| result.unwrap_err().to_string();
        assert_eq!(says(replace(vec![], "", "", "a", "")), "invalid destination label name in label_replace(): ");
        assert_eq!(says(replace(vec![], "a", "", "a", "(x")), "invalid regular expression in label_replace(): (x");
        assert_eq!(says(replace(vec![], "a", "", "a", ")(")), "invalid regular expression in label_replace(): )(");
        assert_eq!(says(join(vec![], "", "", &["a".into()])), "invalid destination label name in label_join(): ");
        assert_eq!(says(join(vec![], "", "", &[String::new()])), "invalid source label name in label_join(): ");
    }

    proptest! {
        #[test]
        fn a_template_without_dollars_stays_and_no_template_panics(plain in "[^$]{0,20}", any in "[${}a-c0-9 _é]{0,20}") {
            prop_assert_eq!(filled(&plain), plain);
            filled(&any);
        }
    }
}
