//! One action, from its text to its commands, with every name, number of arguments and type checked.

use super::function::{Format, Function, NAMES};
use super::{Command, Kind, Operand, TemplateError};

/// How much of a refused action an error shows, in characters.
const SHOWN_CHARS: usize = 64;
/// Words that Go's templates have for themselves; everything else that looks like a name is a function.
const KEYWORDS: [&str; 10] = ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// A word of an action and where it begins.
struct Word<'t> {
    text: &'t str,
    at: usize,
}

/// The action whose text, between its braces, begins at `start`.
pub(super) fn action(inside: &str, start: usize) -> Result<Vec<Command>, TemplateError> {
    let mut commands = Vec::new();
    let mut piped = None;
    for (words, at) in pipeline(inside, start)? {
        let Some((first, arguments)) = words.split_first() else {
            return Err(refused("an empty action", at));
        };
        let (command, kind) = match operand(first.text) {
            Some(operand) => alone(operand, first, arguments, piped)?,
            None => call(first, arguments, piped)?,
        };
        piped = Some(kind);
        commands.push(command);
    }
    Ok(commands)
}

/// An operand that stands alone.
fn alone(
    operand: Operand,
    word: &Word<'_>,
    arguments: &[Word<'_>],
    piped: Option<Kind>,
) -> Result<(Command, Kind), TemplateError> {
    if let Some(argument) = arguments.first() {
        return Err(unknown(argument));
    }
    if piped.is_some() {
        return Err(unknown(word));
    }
    let kind = operand.kind();
    Ok((Command::Operand(operand), kind))
}

/// A function with its arguments; what is piped into it is the last of them.
fn call(word: &Word<'_>, arguments: &[Word<'_>], piped: Option<Kind>) -> Result<(Command, Kind), TemplateError> {
    let (function, arguments) = match (word.text, arguments.split_first()) {
        ("printf", Some((format, rest))) => {
            let text = unquoted(format.text).ok_or_else(|| mistake("printf wants its format in quotes", format.at))?;
            let format = Format::parse(&text).map_err(|message| mistake(&message, format.at))?;
            (Function::Printf(format), rest)
        }
        ("printf", None) => return Err(mistake("printf wants a format, as in printf \"%.2f\" $value", word.at)),
        (name, _) => (Function::named(name).ok_or_else(|| unknown(word))?, arguments),
    };
    let mut operands = Vec::new();
    for argument in arguments {
        operands.push(operand(argument.text).ok_or_else(|| unknown(argument))?);
    }
    let kinds: Vec<Kind> = operands.iter().map(Operand::kind).chain(piped).collect();
    function.check(&kinds).map_err(|message| mistake(&format!("{}: {message}", word.text), word.at))?;
    Ok((Command::Call(function, operands), Kind::Text))
}

fn operand(text: &str) -> Option<Operand> {
    if matches!(text, "$value" | ".Value") {
        return Some(Operand::Value);
    }
    let name = text.strip_prefix("$labels.").or_else(|| text.strip_prefix(".Labels."))?;
    is_name(name).then(|| Operand::Label(name.to_owned()))
}

fn is_name(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(start) && name.bytes().all(|b| start(b) || b.is_ascii_digit())
}

// === words ===

/// The words of each command, and where the command begins.
fn pipeline(inside: &str, start: usize) -> Result<Vec<(Vec<Word<'_>>, usize)>, TemplateError> {
    let first = inside.len() - inside.trim_start().len();
    let mut commands = vec![(Vec::new(), start + first)];
    let mut at = 0;
    while let Some(c) = inside[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if c == '|' {
            at += 1;
            commands.push((Vec::new(), start + at));
            continue;
        }
        let length = match c {
            '"' | '`' => {
                let length = quoted_length(&inside[at..], c);
                length.ok_or_else(|| mistake("this quote is never closed", start + at))?
            }
            _ => inside[at..]
                .find(|c: char| c.is_whitespace() || matches!(c, '|' | '"' | '`'))
                .unwrap_or(inside.len() - at),
        };
        if let Some((words, _)) = commands.last_mut() {
            words.push(Word { text: &inside[at..at + length], at: start + at });
        }
        at += length;
    }
    Ok(commands)
}

/// Bytes of the quoted text that `text` begins with, its quotes included.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a quoted word says; `None` where it is none, or has an escape other than those of a line.
fn unquoted(word: &str) -> Option<String> {
    if let Some(raw) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
        return Some(raw.to_owned());
    }
    let inside = word.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

// === refusals ===

/// A word that is neither an operand nor a function that we have.
fn unknown(word: &Word<'_>) -> TemplateError {
    let shown: String = word.text.chars().take(SHOWN_CHARS).collect();
    let function = is_name(word.text) && !KEYWORDS.contains(&word.text);
    let what = if function { "the function " } else { "" };
    refused(&format!("{what}{shown:?} in a template"), word.at)
}

fn refused(what: &str, at: usize) -> TemplateError {
    let message = format!(
        "{what} is not supported yet; supported now: $labels.NAME, .Labels.NAME, $value and .Value, and the functions {}, \
         as in {{{{ $value | humanize }}}} or {{{{ printf \"%.2f\" $value }}}}",
        NAMES.join(", ")
    );
    TemplateError { message, at }
}

fn mistake(message: &str, at: usize) -> TemplateError {
    TemplateError { message: message.to_owned(), at }
}
