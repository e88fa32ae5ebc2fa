//! The functions of templates, as Prometheus has them (`template/template.go`), and Go's `printf` as far as rules use it.

use super::{Kind, Value};
use crate::number::{digits, four_digits, shortest};
use std::borrow::Cow;
use std::fmt::Write;

/// Every function, for people.
pub(super) const NAMES: [&str; 10] = [
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "printf",
    "stripPort",
    "title",
    "toLower",
    "toUpper",
];

/// Digits after the point at the most: what a number has, and no page of zeros.
const PRECISION_MAX: usize = 20;
/// Steps of 1000 upwards and downwards, and of 1024.
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Of a number, or of a text that is one.
    OfNumber(OfNumber),
    /// Of a text.
    OfText(OfText),
    /// Go's formats.
    Printf(Format),
}

/// See [`Function::OfNumber`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfNumber {
    Humanize,
    Humanize1024,
    Duration,
    Percentage,
    Timestamp,
}

/// See [`Function::OfText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfText {
    StripPort,
    Title,
    Lower,
    Upper,
}

/// A format of `printf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `%v`: anything.
    Any,
    /// `%s`: a text.
    String,
    /// `%f` with so many digits after the point.
    Fixed(usize),
    /// `%g`, with so many digits where it says how many.
    General(Option<usize>),
}

// === impl Function ===

impl Function {
    /// The function of this name, `printf` excepted: it has a format.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "humanize" => Self::OfNumber(OfNumber::Humanize),
            "humanize1024" => Self::OfNumber(OfNumber::Humanize1024),
            "humanizeDuration" => Self::OfNumber(OfNumber::Duration),
            "humanizePercentage" => Self::OfNumber(OfNumber::Percentage),
            "humanizeTimestamp" => Self::OfNumber(OfNumber::Timestamp),
            "stripPort" => Self::OfText(OfText::StripPort),
            "title" => Self::OfText(OfText::Title),
            "toLower" => Self::OfText(OfText::Lower),
            "toUpper" => Self::OfText(OfText::Upper),
            _ => return None,
        })
    }

    /// Whether it can be applied to arguments of these kinds; if not, why.
    pub(super) fn check(&self, kinds: &[Kind]) -> Result<(), String> {
        match (self, kinds) {
            (Self::Printf(format), kinds) => format.check(kinds),
            (Self::OfNumber(_), [_]) | (Self::OfText(_), [Kind::Text]) => Ok(()),
            (Self::OfText(_), [Kind::Number]) => Err("it wants a text, and this is a number".into()),
            (_, kinds) => Err(format!("it wants one argument, and has {}", kinds.len())),
        }
    }

    /// Its value. `arguments` are as [`Function::check`] wants them.
    pub(super) fn apply<'a>(&self, arguments: &[Value<'_>]) -> Result<Value<'a>, String> {
        let argument = arguments.first().cloned().unwrap_or(Value::Text(Cow::Borrowed("")));
        Ok(Value::Text(Cow::Owned(match self {
            Self::OfNumber(function) => function.apply(number(argument)?)?,
            Self::OfText(function) => function.apply(&argument.into_text()),
            Self::Printf(format) => format.print(arguments),
        })))
    }
}

fn number(value: Value<'_>) -> Result<f64, String> {
    match value {
        Value::Number(number) => Ok(number),
        Value::Text(text) => text.parse().map_err(|_| format!("the text {text:?} is not a number")),
    }
}

// === impl OfNumber ===

impl OfNumber {
    fn apply(self, value: f64) -> Result<String, String> {
        Ok(match self {
            Self::Humanize => humanize(value),
            Self::Humanize1024 => humanize1024(value),
            Self::Duration => humanize_duration(value),
            Self::Percentage => format!("{}%", four_digits(value * 100.0)),
            Self::Timestamp => return humanize_timestamp(value),
        })
    }
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

/// Seconds since 1970 as Go prints a time.
fn humanize_timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(four_digits(seconds));
    }
    let nanos = seconds * 1e9;
    // Go's int64, of which the bound itself is the first float beyond.
    if nanos.abs() >= 9_223_372_036_854_775_808.0 {
        let shown = shortest(seconds);
        return Err(format!("{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    #[allow(clippy::cast_possible_truncation)]
    let time = jiff::Timestamp::from_millisecond(nanos as i64 / 1_000_000);
    let time = time.map_err(|error| error.to_string())?;
    Ok(time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
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

// === impl OfText ===

impl OfText {
    fn apply(self, text: &str) -> String {
        match self {
            Self::StripPort => strip_port(text).to_owned(),
            Self::Title => title(text),
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
        }
    }
}

/// Go's `strings.Title`: each word begins with a capital.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        if begins {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        let within = c.is_alphanumeric() || c == '_';
        begins = !within && (c.is_ascii() || c.is_whitespace());
    }
    titled
}

/// Go's `net.SplitHostPort`: the host, or the text as it is where that is no host and port.
fn strip_port(text: &str) -> &str {
    let Some((host, port)) = text.rsplit_once(':') else { return text };
    let stripped = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']'),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    let clean = |host: &&str| !host.contains(['[', ']']) && !port.contains(['[', ']']);
    stripped.filter(clean).unwrap_or(text)
}

// === impl Format ===

impl Format {
    /// Reads a format, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, verb)) = rest.split_once('%') {
            push_text(&mut pieces, before);
            let length = verb.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(verb.len());
            let (precision, letter) = verb.split_at(length);
            let refused = || {
                let verb: String = verb.chars().take(length + 1).collect();
                format!("%{verb} is not supported yet; supported now: %v, %s, %f, %.2f, %g, %.3g and %%")
            };
            let precision = match precision.strip_prefix('.') {
                None if precision.is_empty() => None,
                None => return Err(refused()),
                Some(digits) => Some(digits.parse().ok().filter(|count| *count <= PRECISION_MAX).ok_or_else(refused)?),
            };
            let mut letters = letter.chars();
            match (letters.next(), precision) {
                (Some('%'), None) => push_text(&mut pieces, "%"),
                (Some('v'), None) => pieces.push(Piece::Any),
                (Some('s'), None) => pieces.push(Piece::String),
                (Some('f'), digits) => pieces.push(Piece::Fixed(digits.unwrap_or(6))),
                (Some('g'), digits) => pieces.push(Piece::General(digits)),
                _ => return Err(refused()),
            }
            rest = letters.as_str();
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    fn verbs(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter().filter(|piece| !matches!(piece, Piece::Text(_)))
    }

    fn check(&self, kinds: &[Kind]) -> Result<(), String> {
        let verbs = self.verbs().count();
        if verbs != kinds.len() {
            return Err(format!("the format wants {verbs} arguments, and has {}", kinds.len()));
        }
        for (verb, kind) in self.verbs().zip(kinds) {
            match (verb, kind) {
                (Piece::String, Kind::Number) => return Err("%s wants a text, and this is a number; use %v".into()),
                (Piece::Fixed(_) | Piece::General(_), Kind::Text) => {
                    return Err("%f and %g want a number, and this is a text; use %s".into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn print(&self, arguments: &[Value<'_>]) -> String {
        let mut printed = String::new();
        let mut arguments = arguments.iter();
        for piece in &self.0 {
            if let Piece::Text(text) = piece {
                printed.push_str(text);
                continue;
            }
            match (piece, arguments.next()) {
                (Piece::Fixed(digits), Some(Value::Number(number))) if number.is_finite() => {
                    // Writing to a String cannot fail.
                    let _ = write!(printed, "{number:.digits$}");
                }
                (Piece::General(Some(count)), Some(Value::Number(number))) => {
                    printed.push_str(&digits(*number, *count));
                }
                (_, Some(value)) => printed.push_str(&value.clone().into_text()),
                (_, None) => {}
            }
        }
        printed
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}
