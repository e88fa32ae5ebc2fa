//! The small notations of scripts: durations, numbers, strings, series, rows of values.

use promql::LabelSet;

/// A place in a row of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item {
    Gap,
    Stale,
    Value(f64),
}

/// `1h30m` or `0` in milliseconds.
pub fn duration(text: &str) -> i64 {
    let mut rest = text.trim();
    let mut total = 0;
    while rest != "0" && !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| panic!("{text:?} has no unit"));
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |next| digits + next);
        let size = match &rest[digits..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            other => panic!("{text:?}: no unit {other:?}"),
        };
        total += rest[..digits].parse::<i64>().expect("digits") * size;
        rest = &rest[unit..];
    }
    total
}

/// A number as Go reads it, or `None`.
pub fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|value| sign * value as f64);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !["inf", "nan"].contains(&digits.to_ascii_lowercase().as_str())
    {
        return None;
    }
    digits.parse::<f64>().ok().map(|value| sign * value)
}

/// A string in any of the three quotes at the start of `text`, and what follows it.
pub fn string(text: &str) -> (String, &str) {
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c)).unwrap_or_else(|| panic!("no string: {text}"));
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return (value, &text[at + 1..]);
        }
        if c != '\\' || quote == '`' {
            value.push(c);
            continue;
        }
        let (at, escaped) = chars.next().expect("a character after a backslash");
        let mut code = |digits: usize| {
            let code = u32::from_str_radix(&text[at + 1..=at + digits], 16).expect("hexadecimal digits");
            for _ in chars.by_ref().take(digits) {}
            char::from_u32(code).expect("a character's code")
        };
        value.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'x' => code(2),
            'u' => code(4),
            'U' => code(8),
            other => other,
        });
    }
    panic!("the string does not end: {text}")
}

/// `name{label="value"}`, and what follows it.
pub fn series(line: &str) -> (LabelSet, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let word = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let name = word(line);
    let mut pairs = vec![("__name__".to_owned(), line[..name].to_owned())];
    let mut rest = &line[name..];
    if rest.starts_with('{') && !rest.starts_with("{{") {
        rest = rest[1..].trim_start();
        while !rest.starts_with('}') {
            let label = if rest.starts_with(['"', '\'', '`']) {
                let (label, after) = string(rest);
                rest = after.trim_start();
                label
            } else {
                let end = word(rest);
                assert!(end > 0, "no label: {line}");
                let label = rest[..end].to_owned();
                rest = rest[end..].trim_start();
                label
            };
            if let Some(value) = rest.strip_prefix('=') {
                let (value, after) = string(value.trim_start());
                pairs.push((label, value));
                rest = after.trim_start();
            } else {
                pairs.push(("__name__".to_owned(), label));
            }
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    (LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))), rest)
}

/// `1 _ stale 0+10x2 3x1`; `None` where there are native histograms.
pub fn values(text: &str) -> Option<Vec<Item>> {
    if text.contains("{{") {
        return None;
    }
    let mut items = Vec::new();
    for word in text.split_whitespace() {
        // Hexadecimal is not known here: `0x10` is eleven zeros.
        let (what, times) = match word.rsplit_once('x') {
            Some((what, times)) => (what, times.parse::<usize>().unwrap_or_else(|_| panic!("not understood: {word}"))),
            None => (word, 0),
        };
        match what {
            "_" => items.extend(vec![Item::Gap; times.max(1)]),
            "stale" => items.extend(vec![Item::Stale; times + 1]),
            _ => expand(what, times, &mut items),
        }
    }
    Some(items)
}

/// `a`, `a+b` or `a-b`, and `times` more.
fn expand(text: &str, times: usize, items: &mut Vec<Item>) {
    // A sign after the first character begins the step, unless it is that of an exponent.
    let bytes = text.as_bytes();
    let step = (1..bytes.len()).find(|at| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E'));
    let (first, by) = step.map_or((text, None), |at| (&text[..at], Some(&text[at..])));
    let read = |text: &str| number(text).unwrap_or_else(|| panic!("{text:?} is not a number"));
    let mut value = read(first);
    for _ in 0..=times {
        items.push(Item::Value(value));
        value += by.map_or(0.0, read);
    }
}
