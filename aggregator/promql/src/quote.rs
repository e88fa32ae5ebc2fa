//! Text as a string of PromQL, as Go quotes it (`%q`): what cannot be seen is escaped, what can be seen stays.

use std::fmt::Write as _;

/// `text` between double quotes.
pub(crate) fn go_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        push_escaped(&mut quoted, c);
    }
    quoted.push('"');
    quoted
}

/// Whether `name` may stand without quotes where a label is named.
pub(crate) fn is_bare_label(name: &str) -> bool {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

// === helpers ===

fn push_escaped(quoted: &mut String, c: char) {
    let code = u32::from(c);
    match c {
        '"' | '\\' => quoted.extend(['\\', c]),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        c if is_printable(c) => quoted.push(c),
        _ => {
            let written = match code {
                0..0x80 => write!(quoted, "\\x{code:02x}"),
                0x80..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                _ => write!(quoted, "\\U{code:08x}"),
            };
            debug_assert!(written.is_ok(), "a String takes all that is written");
        }
    }
}

/// Letters, marks, digits, punctuation, symbols, and no space but the plain one. The standard library shows this only by
/// what it escapes, and that behind another character: at the front it escapes marks too.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let shown: String = ['a', c].iter().collect::<String>().escape_debug().collect();
    shown.ends_with(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped_as_go_does() {
        for (text, quoted) in [
            ("", r#""""#),
            ("a\"\\b", r#""a\"\\b""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("é日\u{301}😀", "\"é日\u{301}😀\""),
            ("\u{a0}\u{ad}\u{200b}\u{2028}\u{feff}", r#""\u00a0\u00ad\u200b\u2028\ufeff""#),
            ("\u{85}\u{e0001}", r#""\u0085\U000e0001""#),
            ("'`", r#""'`""#),
        ] {
            assert_eq!(go_quoted(text), quoted);
        }
    }

    /// Printed by Go 1.26.
    #[test]
    fn texts_are_quoted_as_in_go() {
        assert_eq!(go_quoted("a\"b\\\n\t\x01\x7f\u{85}é\u{200b}'"), r#""a\"b\\\n\t\x01\x7f\u0085é\u200b'""#);
        assert_eq!(go_quoted("\u{ad}\u{e000}\u{feff}😀"), r#""\u00ad\ue000\ufeff😀""#);
        assert_eq!(go_quoted("\u{e0001}"), r#""\U000e0001""#);
    }

    #[test]
    fn a_bare_label_is_a_word() {
        assert!(["a", "_", "A_9"].into_iter().all(is_bare_label));
        assert!(!["", "9a", "a.b", "a:b", "é", "a b"].into_iter().any(is_bare_label));
    }
}
