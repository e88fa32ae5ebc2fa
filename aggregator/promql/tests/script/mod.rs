//! The script language of Prometheus's `promqltest`, for series of floats.
//!
//! ```text
//! clear
//! load 5m
//!   requests{code="200"} 0+10x5 _ stale 7x2       0 10 … 50, a gap, a marker, 7 7 7
//! eval instant at 10m EXPR                         or: eval range from 0 to 1h step 5m EXPR
//!   expect fail | ordered | warn | info | no_warn | no_info | string "…" | range vector from … to … step …
//!   {code="200"} 20
//! ```
//! `expect fail`, `warn` and `info` may name the text: `msg:…` is a part of an error and all of a note, `regex:…` a part
//! of either. The older forms `eval_fail`, `eval_ordered`, `eval_warn`, `eval_info`, `expected_fail_message` and
//! `expected_fail_regexp` mean the same.

pub mod judge;
pub mod notation;

use crate::store::Store;
use notation::{Item, duration, number, series, string, values};
use promql::LabelSet;
use proto::sample::STALE;
use regex::Regex;

/// A paragraph of a script.
#[derive(Debug)]
pub enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// Series to be stored.
#[derive(Debug)]
pub struct Load {
    pub step_ms: i64,
    /// Labels and values, a value each step from time 0 on.
    pub series: Vec<(LabelSet, Vec<Item>)>,
    /// Names of series that have native histograms: what reads them is skipped.
    pub native: Vec<String>,
}

/// A query and what it gives.
#[derive(Debug)]
pub struct Eval {
    pub line: usize,
    pub expr: String,
    pub when: When,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// What is expected of a query.
#[derive(Debug, Default)]
pub struct Expected {
    pub fails: bool,
    pub is_ordered: bool,
    /// What the error says.
    pub failure: Option<Text>,
    pub notes: Vec<Note>,
    pub scalar: Option<f64>,
    pub string: Option<String>,
    /// Start and step of the samples of a bare window.
    pub window: Option<(i64, i64)>,
    pub series: Vec<(LabelSet, Vec<Item>)>,
    /// Native histograms are expected.
    pub is_native: bool,
}

#[derive(Debug)]
pub enum Text {
    Message(String),
    Regex(Regex),
}

/// `expect warn`, `expect no_info`, …
#[derive(Debug)]
pub struct Note {
    pub is_warning: bool,
    pub is_refused: bool,
    pub text: Option<Text>,
}

/// All paragraphs of a script.
pub fn commands(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_comment = |line: &str| line.starts_with('#');
    let mut commands = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        let (number, head) = (next + 1, lines[next]);
        next += 1;
        if head.is_empty() || is_comment(head) {
            continue;
        }
        if head.eq_ignore_ascii_case("clear") {
            commands.push(Command::Clear);
            continue;
        }
        // A comment ends a paragraph, as an empty line does.
        let body: Vec<&str> =
            lines[next..].iter().copied().take_while(|line| !line.is_empty() && !is_comment(line)).collect();
        if head.starts_with("load") {
            next += body.len();
            commands.push(Command::Load(load(head, &body)));
        } else {
            let (eval, used) = eval(number, head, &body);
            next += used;
            commands.push(Command::Eval(Box::new(eval)));
        }
    }
    commands
}

fn load(head: &str, body: &[&str]) -> Load {
    let (form, step) = head.split_once(char::is_whitespace).expect("load and a step");
    let mut load = Load { step_ms: duration(step), series: Vec::new(), native: Vec::new() };
    for line in body {
        let (labels, rest) = series(line);
        let name = labels.name().to_owned();
        match values(rest) {
            Some(items) => load.series.push((labels, items)),
            None => load.native.push(name.clone()),
        }
        if form == "load_with_nhcb" {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            load.native.extend(base.map(str::to_owned));
        }
    }
    load
}

fn eval(line: usize, head: &str, body: &[&str]) -> (Eval, usize) {
    let instant =
        Regex::new(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)$").expect("a regex");
    let range = Regex::new(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$")
        .expect("a regex");
    let (form, when, expr) = if let Some(found) = instant.captures(head) {
        (found.get(1), When::Instant(found.get(2).map_or(0, |at| duration(at.as_str()))), found[3].to_owned())
    } else {
        let found = range.captures(head).unwrap_or_else(|| panic!("line {line}: not understood: {head}"));
        let [start, end, step] = [2, 3, 4].map(|group| duration(&found[group]));
        (found.get(1), When::Range { start, end, step }, found[5].to_owned())
    };
    let mut expected = Expected::default();
    match form.map(|form| form.as_str()) {
        Some("fail") => expected.fails = true,
        Some("ordered") => expected.is_ordered = true,
        Some(note) => expected.notes.push(Note { is_warning: note == "warn", is_refused: false, text: None }),
        None => {}
    }
    let mut used = 0;
    for line in body {
        used += 1;
        if !expected.take(line) {
            break;
        }
    }
    (Eval { line, expr, when, expected }, used)
}

// === impl Load ===

impl Load {
    /// Adds the series to the store; one of the same labels goes.
    pub fn into_store(self, store: &mut Store) {
        for (labels, items) in self.series {
            let (times, values) = (0_i64..)
                .zip(items)
                .filter_map(|(index, item)| match item {
                    Item::Gap => None,
                    Item::Stale => Some((index * self.step_ms, STALE)),
                    Item::Value(value) => Some((index * self.step_ms, value)),
                })
                .unzip();
            store.0.retain(|(own, ..)| *own != labels);
            store.0.push((labels, times, values));
        }
    }
}

// === impl Expected ===

impl Expected {
    /// A line below an `eval`; whether more may follow.
    fn take(&mut self, line: &str) -> bool {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            self.failure = Some(Text::Message(text.trim().to_owned()));
            return false;
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            self.failure = Some(Text::Regex(Regex::new(text.trim()).expect("a regex")));
            return false;
        }
        if let Some(rest) = line.strip_prefix("expect range vector") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["from", start, "to", _, "step", step] = words[..] else { panic!("not understood: {line}") };
            self.window = Some((duration(start), duration(step)));
            return true;
        }
        if let Some(text) = line.strip_prefix("expect string") {
            self.string = Some(string(text.trim()).0);
            return true;
        }
        if let Some(rest) = line.strip_prefix("expect ") {
            self.take_expectation(rest.trim());
            return true;
        }
        if let Some(scalar) = number(line) {
            self.scalar = Some(scalar);
            return false;
        }
        let (labels, rest) = series(line);
        match values(rest) {
            Some(items) => self.series.push((labels, items)),
            None => self.is_native = true,
        }
        true
    }

    fn take_expectation(&mut self, rest: &str) {
        let (what, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let text = match text.trim().split_once(':') {
            Some(("msg", text)) => Some(Text::Message(text.trim().to_owned())),
            Some(("regex", text)) => Some(Text::Regex(Regex::new(text.trim()).expect("a regex"))),
            _ => None,
        };
        match what {
            "fail" => (self.fails, self.failure) = (true, text),
            "ordered" => self.is_ordered = true,
            "warn" | "no_warn" | "info" | "no_info" => {
                self.notes.push(Note { is_warning: what.ends_with("warn"), is_refused: what.starts_with("no_"), text });
            }
            _ => panic!("not understood: expect {rest}"),
        }
    }
}
