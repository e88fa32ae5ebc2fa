//! Templates of labels and annotations: `{{ $labels.service }} has {{ $value | humanize }} errors/s`.
//!
//! What is understood of Go's text/template is a pipeline of operands and functions:
//!
//! ```text
//! {{ $labels.NAME }}  {{ .Labels.NAME }}  {{ $value }}  {{ .Value }}
//! {{ $value | humanize }}  {{ humanize $value }}  {{ printf "%.1f%%" $value }}  {{ $labels.instance | stripPort | toUpper }}
//! ```
//!
//! Anything else is refused when the rule is loaded, with its place: a template is never guessed at, because its first
//! use is the night it is needed. For the same reason the types are checked then, where Go would write its complaint
//! into the message. Functions are those of Prometheus to the letter (prometheus `template/template.go`).
//!
//! `parse` reads the text, `function` holds the functions. Limit: [`EXPANDED_MAX_BYTES`].

mod function;
mod parse;

use crate::number::shortest;
use function::Function;
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
    /// A pipeline: each command has the value of the one before as its last argument.
    Action(Vec<Command>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    /// An operand alone; only the first of a pipeline.
    Operand(Operand),
    /// A function of these arguments, and of the value before it.
    Call(Function, Vec<Operand>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Label(String),
    Value,
}

/// What an operand or a function gives.
#[derive(Clone, Debug, PartialEq)]
enum Value<'a> {
    Number(f64),
    Text(Cow<'a, str>),
}

/// Which of the two, known before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// The label under which Go's `$labels` holds the metric's name.
const NAME_LABEL: &str = "__name__";

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
            parts.push(Part::Action(parse::action(&text[inside..inside + length], inside)?));
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
                Part::Action(commands) => match act(commands, context) {
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

// === expand ===

/// The text of one action, or why there is none.
fn act<'a>(commands: &[Command], context: Context<'a>) -> Result<Cow<'a, str>, String> {
    let mut piped: Option<Value<'a>> = None;
    for command in commands {
        piped = Some(match command {
            Command::Operand(operand) => operand.value(context),
            Command::Call(function, arguments) => {
                let given = arguments.iter().map(|operand| operand.value(context));
                function.apply(&given.chain(piped).collect::<Vec<_>>())?
            }
        });
    }
    Ok(piped.map_or(Cow::Borrowed(""), Value::into_text))
}

impl Operand {
    fn kind(&self) -> Kind {
        match self {
            Self::Label(_) => Kind::Text,
            Self::Value => Kind::Number,
        }
    }

    fn value<'a>(&self, context: Context<'a>) -> Value<'a> {
        match self {
            Self::Value => Value::Number(context.value),
            Self::Label(name) if name == NAME_LABEL => Value::Text(context.name.map_or("", MetricName::as_str).into()),
            Self::Label(name) => Value::Text(context.labels.get(name).unwrap_or("").into()),
        }
    }
}

impl<'a> Value<'a> {
    /// As Go's `%v` writes it.
    fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Number(number) => shortest(number).into(),
            Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests;
