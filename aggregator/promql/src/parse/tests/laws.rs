//! Laws of the parser: what it prints it reads, and no text makes it panic or point outside of itself.

use super::queries::query;
use super::*;
use crate::print::pretty;
use proptest::prelude::*;

/// Every way in which a query may be spoilt a little.
fn spoilt(text: &str, at: usize, piece: &str, takes: usize) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let start = at % (chars.len() + 1);
    let end = (start + takes).min(chars.len());
    chars.splice(start..end, piece.chars());
    chars.into_iter().collect()
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        " ",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "@",
        "=",
        "=~",
        "!",
        "-",
        "+",
        "^",
        "\"",
        "'",
        "`",
        "\\",
        "#",
        "\n",
        "1",
        "5m",
        "0x",
        "1e",
        "_",
        "é",
        "\u{0}",
        "by",
        "on",
        "bool",
        "offset",
        "group_left",
        "and",
        "start()",
        "x",
        "inf",
        "or",
    ])
}

/// A refusal points into the text or right behind it.
fn judged(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = parse_expr(text) {
        let line = text.split('\n').nth(error.line - 1);
        prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{text:?}: {error}");
        prop_assert!(!error.message.is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_prints_parses_to_an_equal_tree(text in query()) {
        if let Ok(expr) = parse_expr(&text) {
            let printed = expr.to_string();
            prop_assert_eq!(meaning(&printed), meaning(&text), "{} prints as {}", text, printed);
            prop_assert_eq!(good(&printed).to_string(), printed);
        }
    }

    #[test]
    fn what_is_formatted_parses_to_an_equal_tree(text in query()) {
        if let Ok(expr) = parse_expr(&text) {
            let formatted = pretty(&expr);
            prop_assert_eq!(meaning(&formatted), meaning(&text), "{} is formatted as {}", text, formatted);
            prop_assert_eq!(pretty(&good(&formatted)), formatted);
        }
    }

    #[test]
    fn spaces_and_comments_change_nothing(text in query()) {
        let spaced = text.replace(' ', " \t# a comment (\r\n");
        prop_assert_eq!(parse_expr(&text).is_ok(), parse_expr(&spaced).is_ok());
        if parse_expr(&text).is_ok() {
            prop_assert_eq!(meaning(&text), meaning(&spaced));
        }
    }

    #[test]
    fn places_nest_and_lie_in_the_text(text in query()) {
        let Ok(expr) = parse_expr(&text) else { return Ok(()) };
        prop_assert_eq!((expr.span.start, expr.span.end), (0, text.len()));
        let mut open = vec![&expr];
        while let Some(outer) = open.pop() {
            let mut end = outer.span.start;
            let mut inside = outer.children();
            inside.sort_by_key(|inner| inner.span.start);
            for inner in inside {
                prop_assert!(end <= inner.span.start && inner.span.start < inner.span.end && inner.span.end <= outer.span.end);
                end = inner.span.end;
                open.push(inner);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_spoilt_query_is_read_or_refused_at_a_place(
        text in query(), at in 0..200_usize, piece in piece(), takes in 0..3_usize, again in 0..200_usize,
    ) {
        let once = spoilt(&text, at, piece, takes);
        judged(&once)?;
        judged(&spoilt(&once, again, "", 1))?;
    }

    #[test]
    fn any_text_is_read_or_refused_at_a_place(text in "\\PC{0,40}|[ -~\n\t\r]{0,40}") {
        judged(&text)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused_at_a_place(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        judged(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_row_of_pieces_is_read_or_refused_at_a_place(pieces in prop::collection::vec(piece(), 0..30)) {
        judged(&pieces.concat())?;
        judged(&pieces.join(" "))?;
    }
}
