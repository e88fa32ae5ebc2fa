//! A Rust file cut down to what runs in production: comments, the insides of texts, and test items become blanks, so
//! that lines keep their numbers.
//!
//! Not a parser: it knows comments, literals and brackets, which is enough for code that rustfmt has laid out.

/// A file and its production text.
#[derive(Debug)]
pub struct Source {
    /// From the top of the project, with `/`.
    pub path: String,
    /// The text as it stands in the file.
    pub text: String,
    /// The same with everything blank that does not run in production; quotes stay.
    pub production: String,
    /// Lines that belong to production, their comments included.
    pub production_lines: usize,
}

impl Source {
    /// Reads `text` as the file `path`.
    pub fn new(path: impl Into<String>, text: &str) -> Self {
        let plain = without_comments_and_texts(text);
        let (production, test_lines) = without_test_items(&plain);
        let production_lines = text.lines().count() - test_lines;
        Self { path: path.into(), text: text.into(), production, production_lines }
    }

    /// The line, from 1, on which byte `at` stands.
    pub fn line_of(&self, at: usize) -> usize {
        self.production[..at].bytes().filter(|b| *b == b'\n').count() + 1
    }

    /// Bytes at which `needle` stands in the production text and does not continue a longer name.
    pub fn find(&self, needle: &str) -> Vec<usize> {
        let bytes = self.production.as_bytes();
        let starts_name = |at: usize| at == 0 || !is_name(bytes[at - 1]) || !is_name(needle.as_bytes()[0]);
        self.production.match_indices(needle).map(|(at, _)| at).filter(|at| starts_name(*at)).collect()
    }
}

/// Whether the file itself holds tests only.
pub fn is_test_path(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Whether `byte` can be part of a name.
pub fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn without_comments_and_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, keep) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => (line_end(bytes, at), 0),
            b'/' if bytes[at..].starts_with(b"/*") => (comment_end(bytes, at), 0),
            b'"' => (text_end(bytes, at), 1),
            b'r' if is_raw(bytes, at) => (raw_end(bytes, at), 0),
            b'\'' => (char_end(text, at), 1),
            _ => {
                at += 1;
                continue;
            }
        };
        let inside = at + keep..end.saturating_sub(keep).max(at + keep);
        out[inside].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8(out).expect("whole characters became blanks")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn text_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, also after a `b` or `c`; but not the end of a name, nor the raw name `r#type`.
fn is_raw(bytes: &[u8], at: usize) -> bool {
    let follows_name = at > 0 && is_name(bytes[at - 1]) && !matches!(bytes[at - 1], b'b' | b'c');
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    !follows_name && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let close = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
    let body = at + 1 + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|window| window == close);
    found.map_or(bytes.len(), |length| body + length + close.len())
}

/// The end of a character, or the byte after the quote of a lifetime.
fn char_end(text: &str, at: usize) -> usize {
    let mut rest = text[at + 1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => text[at + 3..].find('\'').map_or(text.len(), |length| at + 3 + length + 1),
        Some(_) => match rest.next() {
            Some((length, '\'')) => at + 1 + length + 1,
            _ => at + 1,
        },
        None => text.len(),
    }
}

/// Blanks items marked `#[cfg(test)]`; also says how many lines they take.
fn without_test_items(plain: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = plain.as_bytes().to_vec();
    let (mut lines, mut from) = (0, 0);
    while let Some(start) = plain[from..].find(MARK).map(|at| from + at) {
        let end = item_end(plain.as_bytes(), start + MARK.len());
        lines += plain[start..end].lines().count();
        out[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        from = end;
    }
    (String::from_utf8(out).expect("whole characters became blanks"), lines)
}

/// The end of the item that begins at `at`: its `;`, or the brace that closes its body.
fn item_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_i32;
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[test]
fn comments_texts_and_test_items_are_blank_and_lines_keep_their_numbers() {
    let text = r##"//! SystemTime::now() in a door
fn a<'a>(x: &'a str) { /* Instant::now() /* nested */ */ call("env::var", 'x', '\'', b"y"); }
const RAW: &str = r#"process::exit " inside"#;
#[cfg(test)]
mod tests {
    fn t() { forbidden(); }
}
#[cfg(test)]
mod more;
fn last() {}
"##;
    let source = Source::new("agent/src/x.rs", text);
    for gone in ["SystemTime", "Instant", "nested", "env::var", "process::exit", "forbidden", "mod more"] {
        assert!(!source.production.contains(gone), "{gone} is left in {}", source.production);
    }
    assert_eq!(source.line_of(source.find("last")[0]), 10);
    assert_eq!(source.production_lines, 10 - 4 - 2);
    assert!(source.find("call").len() == 1 && source.find("all").is_empty(), "a name is found whole");
}
