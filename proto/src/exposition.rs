//! Prometheus's exposition formats: text 0.0.4 and OpenMetrics 1.0, written by one encoder.
//!
//! Without timestamps but for `/federate`: a scraper marks series stale by their absence, and an explicit time would take
//! that from it.
//! The caller gives families in any order, each whole; the encoder holds the formats' own rules (HELP and TYPE before
//! the samples, counters' family name without `_total` in OpenMetrics, `# EOF`, escapes, Go's words for infinity).

use crate::name::{Label, Quotes, escape};
use crate::sample::{Kind, Timestamp};
use std::fmt::Write;

/// A format that a scraper can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`, with the escaping scheme to echo.
    OpenMetrics {
        /// Whether the scraper offered `escaping=allow-utf-8`; our names need none either way.
        utf8: bool,
    },
}

/// Writes one page.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    page: String,
    /// The family being written, with its TYPE.
    kind: Kind,
}

// === impl Format ===

impl Format {
    /// The best format that an `Accept` header asks for; text 0.0.4 where it asks for nothing that we speak.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version, mut utf8) = (1.0_f64, None, false);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim()),
                    "escaping" => utf8 = value.trim() == "allow-utf-8",
                    _ => {}
                }
            }
            let offered = match (media, version) {
                ("application/openmetrics-text", Some("1.0.0") | None) => Self::OpenMetrics { utf8 },
                ("text/plain", Some("0.0.4") | None) | ("text/*" | "*/*", _) => Self::Text,
                _ => continue,
            };
            if quality > best.1 {
                best = (offered, quality);
            }
        }
        best.0
    }

    /// The exact `Content-Type`; since Prometheus 3 a scrape without one fails.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics { utf8: true } => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            Self::OpenMetrics { utf8: false } => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
        }
    }
}

// === impl Encoder ===

impl Encoder {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Self { format, page: String::with_capacity(64 * 1024), kind: Kind::Gauge }
    }

    /// Begins a family. `name` is the full metric name (`x_total` for a counter, `x` for a histogram).
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.kind = kind;
        let open = matches!(self.format, Format::OpenMetrics { .. });
        let (family, word) = match kind {
            // OpenMetrics demands the suffix: a counter without it can only be shown as of unknown type.
            Kind::Counter if open => match name.strip_suffix("_total") {
                Some(stem) => (stem, "counter"),
                None => (name, "unknown"),
            },
            _ => (name, kind.as_str()),
        };
        if !help.is_empty() {
            let _ = write!(self.page, "# HELP {family} ");
            let quotes = if open { Quotes::Escaped } else { Quotes::Bare };
            let _ = escape(&mut self.page, help, quotes);
            self.page.push('\n');
        }
        let _ = writeln!(self.page, "# TYPE {family} {word}");
    }

    /// Begins a family of which no kind is told. In text 0.0.4, where that is called untyped.
    pub fn untyped(&mut self, name: &str) {
        let _ = writeln!(self.page, "# TYPE {name} untyped");
    }

    /// One sample of the family begun last.
    pub fn sample<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) {
        self.begin(name, labels, value);
        self.page.push('\n');
    }

    /// One sample with its time, in the milliseconds of text 0.0.4.
    pub fn sample_at<'a>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: f64,
        at: Timestamp,
    ) {
        self.begin(name, labels, value);
        let _ = writeln!(self.page, " {}", at.as_millis());
    }

    fn begin<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) {
        self.page.push_str(name);
        let mut any = false;
        for (label, text) in labels {
            self.page.push(if any { ',' } else { '{' });
            any = true;
            self.page.push_str(label);
            self.page.push_str("=\"");
            let _ = escape(&mut self.page, text, Quotes::Escaped);
            self.page.push('"');
        }
        self.page.push_str(if any { "} " } else { " " });
        push_float(&mut self.page, value);
    }

    /// The finished page.
    pub fn finish(mut self) -> String {
        if matches!(self.format, Format::OpenMetrics { .. }) {
            self.page.push_str("# EOF\n");
        }
        self.page
    }
}

/// A label as the encoder takes it.
pub fn pair(label: &Label) -> (&str, &str) {
    (label.name(), label.value())
}

// === helpers ===

/// Writes a float as Go writes it where it may choose (`%g` with the exponent from 21 digits on): the shortest digits that
/// give the same bits back, an exponent with its sign.
pub fn push_float(page: &mut String, value: f64) {
    if value.is_nan() {
        page.push_str("NaN");
    } else if value.is_infinite() {
        page.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        let start = page.len();
        let _ = write!(page, "{value:e}");
        if let Some(at) = page[start..].find('e').filter(|at| !page[start + at..].starts_with("e-")) {
            page.insert(start + at + 1, '+');
        }
    } else {
        let _ = write!(page, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn the_best_offered_format_is_taken() {
        assert_eq!(Format::negotiate(Some(PROMETHEUS_3)), Format::OpenMetrics { utf8: true });
        assert_eq!(Format::negotiate(Some("text/plain;version=0.0.4;q=0.3,*/*;q=0.2")), Format::Text);
        assert_eq!(Format::negotiate(Some("application/json")), Format::Text);
        assert_eq!(Format::negotiate(None), Format::Text);
        let both = "application/openmetrics-text;version=1.0.0;q=0.1,text/plain;q=0.9";
        assert_eq!(Format::negotiate(Some(both)), Format::Text);
    }

    #[test]
    fn the_two_formats_of_one_counter() {
        let page = |format| {
            let mut encoder = Encoder::new(format);
            encoder.family("jobs_total", Kind::Counter, "Jobs \"done\".\nAll.");
            encoder.sample("jobs_total", [("path", "C:\\x\n\"")], f64::INFINITY);
            encoder.finish()
        };
        insta::assert_snapshot!(page(Format::Text), @r#"
        # HELP jobs_total Jobs "done".\nAll.
        # TYPE jobs_total counter
        jobs_total{path="C:\\x\n\""} +Inf
        "#);
        insta::assert_snapshot!(page(Format::OpenMetrics { utf8: false }), @r#"
        # HELP jobs Jobs \"done\".\nAll.
        # TYPE jobs counter
        jobs_total{path="C:\\x\n\""} +Inf
        # EOF
        "#);
    }

    /// Reads a label value back as Prometheus's parser does.
    fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, c == '\\') {
                (_, true) => match chars.next() {
                    Some('n') => out.push('\n'),
                    Some(other) => out.push(other),
                    None => panic!("a lone backslash"),
                },
                (c, _) => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_label_value_reads_back_as_it_was_and_stays_on_its_line(text in "\\PC*|[\\\\\n\"a]*") {
            let mut page = String::new();
            escape(&mut page, &text, Quotes::Escaped).expect("a String takes any text");
            prop_assert!(!page.contains('\n'));
            prop_assert_eq!(unescape(&page), text);
        }

        #[test]
        fn a_float_reads_back_bit_for_bit(value in any::<f64>().prop_filter("a number", |v| !v.is_nan())) {
            let mut page = String::new();
            push_float(&mut page, value);
            let read: f64 = page.parse().expect("a float");
            prop_assert_eq!(read.to_bits(), value.to_bits());
        }
    }
}
