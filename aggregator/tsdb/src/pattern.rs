//! What a matcher's pattern tells without being run: the texts and the beginnings that it could match.
//!
//! ```text
//!  a|b|c              texts a, b, c                look-ups
//!  foo.*              all that begin with foo      a stretch, of which none is asked
//!  (foo|bar)-\w+      beginnings foo-, bar-        stretches, of which each is asked
//!  a|b-.*             text a, beginning b-
//!  .*foo              nothing                      each value is asked
//! ```
//! What is told is never too little: a value outside of it does not match. It may be too much (`a\b`), so that values are
//! asked all the same, but for the one form in which nothing can be left out.
//!
//! Limits: a pattern that would come to more than [`TEXTS_MAX`] texts tells less: shorter beginnings, or nothing.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{Extractor, Literal};
use regex_syntax::hir::{Class, Hir, HirKind};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Whole texts that may match; sorted, each once.
    pub(crate) texts: Vec<String>,
    /// Beginnings of further texts that may match; sorted, none a beginning of another. Bytes, since a beginning may be
    /// cut inside a character.
    pub(crate) beginnings: Vec<Vec<u8>>,
    /// Where everything that begins with the one beginning matches: at least so many characters behind it.
    pub(crate) all: Option<AllFrom>,
}

/// How much must stand behind a beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AllFrom {
    /// `foo.*`
    Nothing,
    /// `foo.+`
    Something,
}

/// Texts of one pattern. A dashboard's list of instances may be thousands long; a query is at most 16 KiB of them.
const TEXTS_MAX: usize = 8_192;
/// Texts that `regex-syntax` may find in one part.
const FOUND_MAX: usize = 500;
/// Bytes of one text that it looks at; what is longer counts as a beginning.
const TEXT_MAX_BYTES: usize = 256;
/// Brackets inside brackets that are followed; deeper ones tell nothing.
const NEST_MAX: u32 = 100;

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern that is matched against whole texts. One that is no regex tells nothing.
    pub(crate) fn read(pattern: &str) -> Self {
        let parsed = ParserBuilder::new().dot_matches_new_line(true).nest_limit(NEST_MAX).build().parse(pattern);
        let Ok(hir) = parsed else { return Self::anything() };
        if let Some((beginning, all)) = all_from(&hir) {
            return Self { texts: Vec::new(), beginnings: vec![beginning], all: Some(all) };
        }
        let mut literals = Vec::new();
        if !gather(&hir, &mut literals) {
            return Self::anything();
        }
        let (mut texts, mut beginnings) = (Vec::new(), Vec::new());
        for literal in literals {
            if !literal.is_exact() {
                beginnings.push(literal.as_bytes().to_vec());
            } else if let Ok(text) = std::str::from_utf8(literal.as_bytes()) {
                // What is no text matches no value, all of which are.
                texts.push(text.to_owned());
            }
        }
        beginnings.sort_unstable();
        // Whatever begins with one stands right behind it.
        beginnings.dedup_by(|next, kept| next.starts_with(kept));
        texts.sort_unstable();
        texts.dedup();
        texts.retain(|text| !is_begun(&beginnings, text.as_bytes()));
        Self { texts, beginnings, all: None }
    }

    fn anything() -> Self {
        Self { beginnings: vec![Vec::new()], ..Self::default() }
    }
}

/// Adds what a part of a pattern could match; `false` where that is anything, or too much to list.
///
/// Alternatives, and a text before them, are followed here: a list of thousands takes as long as it is. What else there
/// is, is left to `regex-syntax`, whose time grows with the square of what it finds.
fn gather(hir: &Hir, found: &mut Vec<Literal>) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => return gather(&capture.sub, found),
        HirKind::Alternation(parts) => return parts.iter().all(|part| gather(part, found)),
        HirKind::Concat(parts) => {
            if let [first, rest] = parts.as_slice()
                && let HirKind::Literal(text) = first.kind()
            {
                let from = found.len();
                let is_listed = gather(rest, found);
                if !is_listed {
                    // Anything may follow.
                    found.truncate(from);
                    found.push(Literal::inexact(text.0.to_vec()));
                    return true;
                }
                for literal in &mut found[from..] {
                    let whole = [&text.0, literal.as_bytes()].concat();
                    *literal = if literal.is_exact() { Literal::exact(whole) } else { Literal::inexact(whole) };
                }
                return true;
            }
        }
        _ => {}
    }
    let mut extractor = Extractor::new();
    extractor.limit_total(FOUND_MAX).limit_literal_len(TEXT_MAX_BYTES);
    let seq = extractor.extract(hir);
    let Some(literals) = seq.literals() else { return false };
    found.extend_from_slice(literals);
    found.len() <= TEXTS_MAX
}

/// Whether a text begins with one of `beginnings`, which are sorted and none of which begins another: with the last one
/// that is not behind it, then.
fn is_begun(beginnings: &[Vec<u8>], text: &[u8]) -> bool {
    let after = beginnings.partition_point(|beginning| beginning.as_slice() <= text);
    after.checked_sub(1).is_some_and(|at| text.starts_with(&beginnings[at]))
}

/// A literal, which may be empty, and after it anything.
fn all_from(hir: &Hir) -> Option<(Vec<u8>, AllFrom)> {
    match hir.kind() {
        HirKind::Capture(capture) => all_from(&capture.sub),
        HirKind::Repetition(repetition) if repetition.max.is_none() && is_any_char(&repetition.sub) => {
            let all = match repetition.min {
                0 => AllFrom::Nothing,
                1 => AllFrom::Something,
                _ => return None,
            };
            Some((Vec::new(), all))
        }
        HirKind::Concat(parts) => match parts.as_slice() {
            [first, rest] => {
                let HirKind::Literal(literal) = first.kind() else { return None };
                let (more, all) = all_from(rest)?;
                Some(([literal.0.as_ref(), &more].concat(), all))
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_any_char(hir: &Hir) -> bool {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { return false };
    let mut ranges = class.iter();
    let whole = ranges.next().is_some_and(|range| (range.start(), range.end()) == ('\0', char::MAX));
    whole && ranges.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(pattern: &str) -> (Vec<String>, Vec<String>) {
        let Pattern { texts, beginnings, .. } = Pattern::read(pattern);
        (texts, beginnings.into_iter().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect())
    }

    #[test]
    fn alternatives_and_beginnings_are_pulled_out() {
        for (pattern, texts, beginnings) in [
            ("a|b|c", &["a", "b", "c"][..], &[][..]),
            ("(?:5(?:00|03))|429", &["429", "500", "503"], &[]),
            ("[ab]x", &["ax", "bx"], &[]),
            ("a|b|", &["", "a", "b"], &[]),
            ("", &[""], &[]),
            ("^a$", &["a"], &[]),
            ("foo.*", &[], &["foo"]),
            ("(foo|bar)-\\w+", &[], &["bar-", "foo-"]),
            ("a|b-.*|b-c|b-cd.*", &["a"], &["b-"]),
            (".*foo", &[], &[""]),
            ("a)(b", &[], &[""]),
            ("5..", &[], &["5"]),
            ("x-(a|b(c|d.*)|)", &["x-", "x-a", "x-bc"], &["x-bd"]),
            ("x-(a|.*b)", &[], &["x-"]),
            ("(a|b):9100", &["a:9100", "b:9100"], &[]),
        ] {
            let expected = [texts, beginnings].map(|part| part.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(told(pattern), expected.into(), "{pattern}");
        }
    }

    #[test]
    fn all_behind_a_beginning_is_known_without_asking() {
        let all = |pattern| Pattern::read(pattern).all;
        assert_eq!(all("foo.*"), Some(AllFrom::Nothing));
        assert_eq!(all("(foo)(.*)"), None, "only the plain form");
        assert_eq!((all(".*"), all("(.+)")), (Some(AllFrom::Nothing), Some(AllFrom::Something)));
        for other in ["(?-s).*", "foo.{2,}", "foo.?", "foo.*a", "foo[^a]*", "(?-s:foo.*)"] {
            assert_eq!(all(other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_that_comes_to_too_many_texts_tells_less_and_takes_no_memory() {
        for pattern in ["[a-j]{9}", "([a-j][a-j]){1,100}", "(a|b|c|d|e|f|g|h){20}x", &"(".repeat(5_000)] {
            let Pattern { texts, beginnings, .. } = Pattern::read(pattern);
            let count = texts.len() + beginnings.len();
            assert!(count <= FOUND_MAX, "{pattern}: {count}");
            assert!(!beginnings.is_empty(), "{pattern}");
        }
        let many = |count: u32| (0..count).map(|i| format!("m-{i}")).collect::<Vec<_>>().join("|");
        assert_eq!(Pattern::read(&many(8_000)).texts.len(), 8_000);
        assert_eq!(Pattern::read(&many(9_000)), Pattern::anything());
    }

    proptest! {
        /// Never too little, and "all" is all.
        #[test]
        fn what_matches_is_told(pattern in "([abé.*+?|()\\[\\]^$-]|\\(\\?i\\)|\\\\b|b-|a\\{1,2\\}){0,9}", text in "[abAé\n-]{0,5}") {
            let regex = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).dot_matches_new_line(true).build();
            let alone = regex::Regex::new(&pattern);
            if let (Ok(regex), Ok(_)) = (regex, alone) {
                let told = Pattern::read(&pattern);
                let begins = told.beginnings.iter().find(|beginning| text.as_bytes().starts_with(beginning));
                let is_told = told.texts.contains(&text) || begins.is_some();
                prop_assert!(is_told || !regex.is_match(&text), "{:?}", told);
                if let (Some(all), Some(beginning)) = (told.all, begins) {
                    let is_match = all == AllFrom::Nothing || text.len() > beginning.len();
                    prop_assert_eq!(regex.is_match(&text), is_match);
                }
            }
        }
    }
}
