//! Logs: one event per line on standard error, as JSON for machines or text for people.
//!
//! Messages are lowercase, facts are fields; secrets are kept out by their type ([`crate::secret::Secret`]), which
//! prints nothing. A text that an event carries cannot forge a line: JSON escapes it, and so does [`OneLine`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// One JSON object per line, control characters escaped.
    Json,
}

/// Which lines there are: a level for everything, other levels for some modules. `info`, `warn,sqlx=error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of every module that has no level of its own.
    level: LevelFilter,
    /// Beginnings of modules' paths, and their levels.
    modules: Vec<(String, LevelFilter)>,
}

/// Why the logs could not be set up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Neither `text` nor `json`.
    #[error("log format {0:?} is neither text nor json")]
    Format(String),
    /// Not a level. Taken for a module, as others do, it would silence everything.
    #[error("{0:?} is not a log level; use off, error, warn, info, debug, trace, or pairs like sqlx=warn")]
    Level(String),
    /// Not the path of a module.
    #[error("{0:?} is not a module; write pairs like sqlx=warn")]
    Module(String),
    /// The same said twice.
    #[error("{0} is given twice")]
    Repeated(String),
    /// Called twice.
    #[error("logging is set up already")]
    Twice,
}

/// Writes each event as one line, whatever was formatted into it.
struct OneLine<W>(W);

/// The words for a level.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

// === impl Format ===

impl FromStr for Format {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.into())),
        }
    }
}

// === impl Filter ===

impl Default for Filter {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, modules: Vec::new() }
    }
}

impl FromStr for Filter {
    type Err = LogError;

    /// A level, and `module=level` pairs, in any order, separated by commas; `info` where no level is given.
    fn from_str(text: &str) -> Result<Self, LogError> {
        let (mut level, mut modules) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            let Some((module, of_module)) = part.split_once('=') else {
                if level.replace(parse_level(part)?).is_some() {
                    return Err(LogError::Repeated("the level".into()));
                }
                continue;
            };
            let module = module.trim();
            if !is_module(module) {
                return Err(LogError::Module(module.into()));
            }
            if modules.iter().any(|(earlier, _)| earlier == module) {
                return Err(LogError::Repeated(module.into()));
            }
            modules.push((module.to_owned(), parse_level(of_module.trim())?));
        }
        Ok(Self { level: level.unwrap_or(Self::default().level), modules })
    }
}

impl Filter {
    fn targets(&self) -> Targets {
        Targets::new().with_targets(self.modules.iter().cloned()).with_default(self.level)
    }
}

fn parse_level(word: &str) -> Result<LevelFilter, LogError> {
    let found = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, level)| *level).ok_or_else(|| LogError::Level(word.into()))
}

/// `sqlx`, `tower_http::trace`.
fn is_module(text: &str) -> bool {
    let named = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text.split("::").all(named)
}

// === impl OneLine ===

impl<W: Write> Write for OneLine<W> {
    /// `event` is a whole event: the layer hands each over in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(event);
        self.0.write_all(one_line(&line).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `event` with its control characters escaped, its last line break and the escapes of its colours excepted: the layer
/// has escaped those of the event's own texts.
fn one_line(event: &str) -> Cow<'_, str> {
    let breaks = |c: char| c.is_control() && c != '\x1b';
    let text = event.strip_suffix('\n').unwrap_or(event);
    if !text.contains(breaks) {
        return Cow::Borrowed(event);
    }
    let mut line = String::with_capacity(event.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = if breaks(c) { write!(line, "{}", c.escape_default()) } else { line.write_char(c) };
    }
    line.push_str(&event[text.len()..]);
    Cow::Owned(line)
}

/// Sets up the process's logs.
pub fn init(format: Format, filter: &Filter) -> Result<(), LogError> {
    let done = match format {
        Format::Json => {
            let lines = fmt::layer().with_writer(io::stderr).json().flatten_event(true);
            tracing_subscriber::registry().with(lines.with_filter(filter.targets())).try_init()
        }
        Format::Text => {
            let lines = fmt::layer().with_writer(|| OneLine(io::stderr())).with_ansi(io::stderr().is_terminal());
            tracing_subscriber::registry().with(lines.with_filter(filter.targets())).try_init()
        }
    };
    done.map_err(|_| LogError::Twice)
}

/// An error and everything that caused it, on one line. For the one place where it is handled.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};
    use tracing::Level;

    fn filter(text: &str) -> Result<Filter, String> {
        text.parse().map_err(|error: LogError| error.to_string())
    }

    #[test]
    fn a_filter_is_a_level_and_levels_of_modules_in_any_order() {
        let enables = |text: &str, module, level| filter(text).expect(text).targets().would_enable(module, &level);
        for text in ["warn", " WARN ", "warn,sqlx=error", "sqlx=error , warn"] {
            assert!(enables(text, "monitoring_agent", Level::WARN), "{text}");
            assert!(!enables(text, "monitoring_agent", Level::INFO), "{text}");
        }
        assert!(!enables("debug,sqlx=error", "sqlx::query", Level::WARN));
        assert!(enables("tower_http::trace=trace", "tower_http::trace", Level::TRACE));
        assert!(enables("sqlx=off", "monitoring_agent", Level::INFO), "what is not named logs as without a filter");
        assert_eq!(filter("info"), Ok(Filter::default()));
    }

    #[test]
    fn what_would_silence_the_program_by_mistake_is_refused_by_name() {
        for (text, named) in [
            ("warning", "\"warning\" is not a log level"),
            ("inof", "\"inof\" is not a log level"),
            ("", "\"\" is not a log level"),
            ("info,", "\"\" is not a log level"),
            ("3", "\"3\" is not a log level"),
            ("sqlx=", "\"\" is not a log level"),
            ("a=b=c", "\"b=c\" is not a log level"),
            ("=warn", "\"\" is not a module"),
            ("a b=warn", "\"a b\" is not a module"),
            ("a::=warn", "\"a::\" is not a module"),
            ("info,warn", "the level is given twice"),
            ("sqlx=warn,sqlx=info", "sqlx is given twice"),
        ] {
            let refused = filter(text).expect_err(text);
            assert!(refused.contains(named), "{text:?}: {refused}");
        }
        assert_eq!("xml".parse::<Format>().unwrap_err().to_string(), r#"log format "xml" is neither text nor json"#);
    }

    /// A log that a test can read.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_text_with_line_breaks_cannot_forge_a_line() {
        let paper = Paper::default();
        let writer = paper.clone();
        let lines = fmt::layer().with_ansi(false).with_writer(move || OneLine(writer.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(status = %"gone\nERROR all is lost", "said\r\nWARN so");
        });
        let text = String::from_utf8(paper.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r"gone\nERROR all is lost") && text.contains(r"said\r\nWARN so"), "{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn the_chain_has_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(chain(&Outer(io::Error::other("inner"))), "outer: inner");
    }

    proptest! {
        #[test]
        fn no_filter_panics_and_every_refusal_is_said(text in "[a-z=,: ]{0,20}") {
            if let Err(refused) = filter(&text) {
                prop_assert!(!refused.is_empty());
            }
        }

        #[test]
        fn an_event_is_one_line(text in "\\PC*|[\n\r\t\x0ba-z]*") {
            let event = format!("{text}\n");
            let line = one_line(&event);
            prop_assert!(line.ends_with('\n'));
            prop_assert!(!line[..line.len() - 1].contains(['\n', '\r']));
        }
    }
}
