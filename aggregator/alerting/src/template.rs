//! Templates of labels and annotations: `{{ $labels.service }} has {{ $value | humanize }} errors/s`.
//!
//! What is understood of Go's text/template is an operand, alone or piped into one function:
//!
//! ```text
//! {{ $labels.NAME }}  {{ .Labels.NAME }}  {{ $value }}  {{ .Value }}        | humanize  | humanize1024
//!                                                                           | humanizeDuration  | humanizePercentage
//! ```
//!
//! Anything else is refused when the rule is loaded, with its place: a template is never guessed at, because its first
//! use is the night it is needed. Functions are those of Prometheus to the letter (prometheus `template/template.go`).
//!
//! Limit: [`EXPANDED_MAX_BYTES`].

use crate::number::{four_digits, shortest};
use proto::name::{Labels, MetricName};
use std::borrow::Cow;

/// Bytes of one expanded text. More than any channel shows; a label value of 1 KiB repeated must not become a megabyte.
pub const EXPANDED_MAX_BYTES: usize = 16 * 1024;

/// A template that parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// What a template is expanded with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The name of the sample's metric; `$labels.__name__`.
    pub name: Option<&'a MetricName>,
    /// The labels of the sample; `$labels`.
    pub labels: &'a Labels,
    /// Its value; `$value`.
    pub value: f64,
}

/// Why a text is no template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, for the person who wrote it.
    pub message: String,
    /// Byte of the text at which it begins.
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Action { operand: Operand, function: Option<Function> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Label(String),
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Humanize,
    Humanize1024,
    Duration,
    Percentage,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// The label under which Go's `$labels` holds the metric's name.
const NAME_LABEL: &str = "__name__";
/// Part of every refusal.
const SUPPORTED: &str = "supported now: $labels.NAME, .Labels.NAME, $value and .Value, each alone or piped into \
                         humanize, humanize1024, humanizeDuration or humanizePercentage";
/// How much of a refused action an error shows, in characters.
const SHOWN_CHARS: usize = 64;
/// Steps of 1000 upwards and downwards, and of 1024.
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

// === impl Template ===

impl Template {
    /// Checks `text`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(OPEN) {
            let open = at + found;
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let inside = open + OPEN.len();
            let Some(length) = text[inside..].find(CLOSE) else {
                let message = "this {{ is never closed by }}".to_owned();
                return Err(TemplateError { message, at: open });
            };
            parts.push(action(&text[inside..inside + length], inside)?);
            at = inside + length + CLOSE.len();
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text that it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text for one sample, cut to [`EXPANDED_MAX_BYTES`].
    ///
    /// A label that is missing is empty. Where a function cannot read its operand the whole text becomes
    /// `<error expanding template: …>`, as in Prometheus: an alert with a broken text is better than none.
    pub fn expand(&self, context: Context<'_>) -> String {
        let mut expanded = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => expanded.push_str(text),
                Part::Action { operand, function } => match act(operand, *function, context) {
                    Ok(text) => expanded.push_str(&text),
                    Err(message) => {
                        expanded = format!("<error expanding template: {message}>");
                        break;
                    }
                },
            }
            if expanded.len() > EXPANDED_MAX_BYTES {
                break;
            }
        }
        expanded.truncate(expanded.floor_char_boundary(EXPANDED_MAX_BYTES));
        expanded
    }
}

// === parse ===

/// One action: the text between its braces, which begins at `start`.
fn action(inside: &str, start: usize) -> Result<Part, TemplateError> {
    let (operand, function) = match inside.split_once('|') {
        Some((operand, function)) => (operand, Some((function, start + operand.len() + 1))),
        None => (inside, None),
    };
    let operand_name = operand.trim();
    let refused = |text: &str, at: usize| {
        let shown: String = text.trim().chars().take(SHOWN_CHARS).collect();
        let what = if shown.is_empty() { "an empty action".to_owned() } else { format!("{shown:?} in a template") };
        let at = at + (text.len() - text.trim_start().len());
        TemplateError { message: format!("{what} is not supported yet; {SUPPORTED}"), at }
    };
    let label = operand_name
        .strip_prefix("$labels.")
        .or_else(|| operand_name.strip_prefix(".Labels."))
        .filter(|name| is_name(name));
    let operand = match (operand_name, label) {
        (_, Some(name)) => Operand::Label(name.to_owned()),
        ("$value" | ".Value", None) => Operand::Value,
        _ => return Err(refused(operand, start)),
    };
    let function = match function {
        None => None,
        Some((text, at)) => Some(match text.trim() {
            "humanize" => Function::Humanize,
            "humanize1024" => Function::Humanize1024,
            "humanizeDuration" => Function::Duration,
            "humanizePercentage" => Function::Percentage,
            _ => return Err(refused(text, at)),
        }),
    };
    Ok(Part::Action { operand, function })
}

fn is_name(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(start) && name.bytes().all(|b| start(b) || b.is_ascii_digit())
}

// === expand ===

/// The text of one action, or why there is none.
fn act<'a>(operand: &Operand, function: Option<Function>, context: Context<'a>) -> Result<Cow<'a, str>, String> {
    let label = match operand {
        Operand::Value => None,
        Operand::Label(name) if name == NAME_LABEL => Some(context.name.map_or("", MetricName::as_str)),
        Operand::Label(name) => Some(context.labels.get(name).unwrap_or("")),
    };
    let Some(function) = function else {
        return Ok(label.map_or_else(|| Cow::Owned(shortest(context.value)), Cow::Borrowed));
    };
    let number = match label {
        None => context.value,
        Some(text) => text.parse::<f64>().map_err(|_| format!("the label value {text:?} is not a number"))?,
    };
    Ok(Cow::Owned(match function {
        Function::Humanize => humanize(number),
        Function::Humanize1024 => humanize1024(number),
        Function::Duration => humanize_duration(number),
        Function::Percentage => format!("{}%", four_digits(number * 100.0)),
    }))
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (scaled, prefix) = if value.abs() >= 1.0 {
        scaled(value, &LARGE, |v| v.abs() >= 1000.0, |v| v / 1000.0)
    } else {
        scaled(value, &SMALL, |v| v.abs() < 1.0, |v| v * 1000.0)
    };
    format!("{}{prefix}", four_digits(scaled))
}

fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (scaled, prefix) = scaled(value, &BINARY, |v| v.abs() >= 1024.0, |v| v / 1024.0);
    format!("{}{prefix}", four_digits(scaled))
}

fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return format!("{}s", four_digits(seconds));
    }
    if seconds.abs() < 1.0 {
        let (scaled, prefix) = scaled(seconds, &SMALL, |v| v.abs() < 1.0, |v| v * 1000.0);
        return format!("{}{prefix}s", four_digits(scaled));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let seconds = seconds.abs();
    // `as` saturates: 292 billion years are as long as anything above them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(seconds)),
        (0, 0, _) => format!("{sign}{minutes}m {}s", whole % 60),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {}s", whole % 60),
        _ => format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60),
    }
}

/// Steps through `prefixes` while `more` says so.
fn scaled(
    mut value: f64,
    prefixes: &[&'static str],
    more: impl Fn(f64) -> bool,
    step: impl Fn(f64) -> f64,
) -> (f64, &'static str) {
    let mut used = "";
    for prefix in prefixes {
        if !more(value) {
            break;
        }
        used = prefix;
        value = step(value);
    }
    (value, used)
}

#[cfg(test)]
mod tests;
