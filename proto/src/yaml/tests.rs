use super::*;
use proptest::prelude::*;

/// Line and column of a byte, both from 1.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn document(text: &str) -> Node {
    parse(text).unwrap_or_else(|error| panic!("{error:?}")).expect("a document")
}

fn field(node: &Node, name: &str) -> Node {
    let Value::Map(entries) = &node.value else { panic!("no mapping: {node:?}") };
    let is_it = |key: &Node| key.value == Value::Scalar(name.to_owned());
    entries.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value.clone()).expect(name)
}

fn refused(text: &str) -> (String, usize, usize) {
    let YamlError { message, line, column } = parse(text).expect_err("not acceptable");
    (message, line, column)
}

#[test]
fn a_scalar_keeps_its_text_whatever_yaml_takes_it_for() {
    let node = document("a: 0x10\nb: 1e3\nc: yes\nd: .nan\ne: 5m\nf: '7'\ng: 1_000\nh: 007\n");
    for (name, text) in [
        ("a", "0x10"),
        ("b", "1e3"),
        ("c", "yes"),
        ("d", ".nan"),
        ("e", "5m"),
        ("f", "7"),
        ("g", "1_000"),
        ("h", "007"),
    ] {
        assert_eq!(field(&node, name).value, Value::Scalar(text.to_owned()), "{name}");
    }
}

#[test]
fn nothing_is_null_in_each_of_its_spellings() {
    let node = document("a:\nb: ~\nc: null\nd: ''\n");
    for name in ["a", "b", "c"] {
        assert_eq!(field(&node, name).value, Value::Null, "{name}");
    }
    assert_eq!(field(&node, "d").value, Value::Scalar(String::new()));
    assert_eq!(parse(""), Ok(None));
    assert_eq!(parse("# a comment\n"), Ok(None));
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let node = document("a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  l: 2\n");
    assert_eq!(field(&field(&node, "b"), "k").value, Value::Scalar("1".to_owned()));
    assert_eq!(field(&field(&node, "c"), "k").value, Value::Scalar("1".to_owned()));
    assert_eq!(field(&field(&node, "c"), "l").value, Value::Scalar("2".to_owned()));
}

#[test]
fn a_key_that_comes_twice_is_seen_twice() {
    let Value::Map(entries) = document("a: 1\na: 2\n").value else { panic!("a mapping") };
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[1].0.place.line, entries[1].0.place.column), (2, 1));
}

#[test]
fn what_is_not_yaml_is_refused_at_its_place() {
    assert_eq!(refused("a:\n\t- b\n"), ("tabs disallowed within this context (block indentation)".to_owned(), 2, 2));
    assert_eq!(refused("a: !foo 1\n"), ("unsupported tag `!foo`".to_owned(), 1, 9));
    let (message, line, column) = refused("a: 1\n---\nb: 2\n");
    assert!(message.contains("one YAML document"), "{message}");
    assert_eq!((line, column), (3, 1));
    assert_eq!(refused("a: [1\n").1, 1);
    assert_eq!(refused("a: *nowhere\n").1, 1);
}

#[test]
fn bombs_are_refused() {
    let mut laughs = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for i in 1..9 {
        let previous = format!("*a{}", i - 1);
        laughs.push(format!("a{i}: &a{i} [{}]", [previous.as_str(); 10].join(", ")));
    }
    let laughs = laughs.join("\n");
    assert!(parse(&laughs).is_err(), "a billion laughs");
    let aliases = format!("a: &x 1\nb: [{}]\n", ["*x"; ALIASES_MAX + 1].join(", "));
    assert!(parse(&aliases).is_err(), "too many aliases");
    let deep = format!("a: {}{}\n", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    assert!(parse(&deep).is_err(), "too deep");
    let block: Vec<String> = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(parse(&block.concat()).is_err(), "too deep in blocks");
    let large = "#".repeat(FILE_MAX_BYTES + 1);
    assert!(refused(&large).0.contains("the limit is 1048576"));
    assert_eq!(parse(&large[1..]), Ok(None));
}

/// The place of `needle`'s first character, by way of its place in the value.
fn place_of(text: &str, name: &str, needle: &str) -> (usize, usize) {
    let node = field(&document(text), name);
    let Value::Scalar(value) = &node.value else { panic!("a scalar") };
    let place = node.place_inside(text, value.find(needle).expect(needle));
    (place.line, place.column)
}

#[test]
fn a_byte_of_a_value_is_found_in_every_style_of_scalar() {
    assert_eq!(place_of("e: a + é > BAD\n", "e", "BAD"), (1, 12));
    assert_eq!(place_of("e: 'a + BAD'\n", "e", "BAD"), (1, 9));
    assert_eq!(place_of("e: \"a{b=\\\"1\\\"} BAD\"\n", "e", "BAD"), (1, 16));
    assert_eq!(place_of("e: \"\\\\d BAD\"\n", "e", "BAD"), (1, 9));
    assert_eq!(place_of("e: |\n  a\n\n    + BAD\n", "e", "BAD"), (4, 7));
    assert_eq!(place_of("e: >-\n  a +\n  b + BAD\n", "e", "BAD"), (3, 7));
    assert_eq!(place_of("e: a +\n   b + BAD\n", "e", "BAD"), (2, 8));
    assert_eq!(place_of("e: |\n  \"a\" BAD\n", "e", "BAD"), (2, 7));
    assert_eq!(place_of("x: &x a + BAD\ne: *x\n", "e", "BAD"), (1, 11));
}

#[test]
fn where_the_way_is_lost_the_place_is_that_of_the_scalar() {
    assert_eq!(place_of("e: \"\\u00e9 BAD\"\n", "e", "BAD"), (1, 4));
    assert_eq!(place_of("e: 'it''s BAD'\n", "e", "BAD"), (1, 4));
}

proptest! {
    #[test]
    fn offset_and_line_and_column_are_inverse(text in "[aé\n ]{0,30}", at in 0usize..60) {
        prop_assume!(text.is_char_boundary(at));
        let (line, column) = line_and_column(&text, at);
        prop_assert_eq!(offset(&text, line, column), at);
    }

    #[test]
    fn the_character_at_the_place_is_the_character_of_the_value(
        words in prop::collection::vec("[a-z{}=><+é]{1,5}", 1..6),
        style in prop::sample::select(vec!["|\n  ", ">\n  ", "", "'"]),
    ) {
        let gap = if style.ends_with("\n  ") { "\n  " } else { " " };
        let end = if style == "'" { "'" } else { "" };
        let text = format!("e: {style}{}{end}\n", words.join(gap));
        let Ok(Some(document)) = parse(&text) else { return Ok(()) };
        let node = field(&document, "e");
        let Value::Scalar(value) = &node.value else { return Ok(()) };
        for (at, c) in value.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let place = node.place_inside(&text, at);
            prop_assert_eq!(text[place.start..].chars().next(), Some(c));
            prop_assert_eq!((place.line, place.column), line_and_column(&text, place.start));
        }
    }

    #[test]
    fn no_text_panics(text in "[a-c:\\-?\\[\\]{}&*|> \n\"'!#,é]{0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
