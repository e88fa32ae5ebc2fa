//! Logs: one event per line on standard error, as JSON for machines or text for people.
//!
//! Messages are lowercase, facts are fields; secrets are kept out by their type ([`crate::secret::Secret`]), which
//! prints nothing.

use std::io::IsTerminal;
use std::str::FromStr;
use tracing_subscriber::filter::{ParseError, Targets};
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

/// Why the logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Neither `text` nor `json`.
    #[error("log format {0:?} is neither text nor json")]
    Format(String),
    /// Not a filter like `info` or `info,sqlx=warn`.
    #[error("log level {filter:?} is not understood; use error, warn, info, debug, trace or module=level pairs")]
    Filter {
        /// The text.
        filter: String,
        /// Why.
        source: ParseError,
    },
    /// Called twice.
    #[error("logging is set up already")]
    Twice,
}

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

/// Sets up the process's logs. `filter` is a level, or `module=level` pairs separated by commas.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let targets: Targets = filter.parse().map_err(|source| LogError::Filter { filter: filter.into(), source })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let done = match format {
        Format::Json => {
            tracing_subscriber::registry().with(lines.json().flatten_event(true).with_filter(targets)).try_init()
        }
        Format::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            tracing_subscriber::registry().with(lines.with_filter(targets)).try_init()
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

    #[test]
    fn a_wrong_format_or_filter_is_named() {
        assert_eq!("xml".parse::<Format>().unwrap_err().to_string(), r#"log format "xml" is neither text nor json"#);
        assert!(init(Format::Text, "a=b=c").unwrap_err().to_string().contains("a=b=c"));
    }

    #[test]
    fn the_chain_has_every_cause_once() {
        let error = LogError::Filter { filter: "x".into(), source: "a=b=c".parse::<Targets>().expect_err("no filter") };
        assert!(chain(&error).starts_with("log level \"x\" is not understood"));
        assert!(chain(&error).contains(": "));
    }
}
