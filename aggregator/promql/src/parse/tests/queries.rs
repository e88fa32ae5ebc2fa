//! Queries of random shape, as text: mostly right ones, with now and then something of the wrong type in a place.
//!
//! The shape is read from a row of bytes, so that a query is small where the row is, and a smaller row is tried when a law
//! is broken. Where the row ends each choice is the first, which is the simplest.

use crate::expr::Kind;
use crate::function::FUNCTIONS;
use proptest::prelude::*;

/// Text of a query.
pub(super) fn query() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<u8>(), 0..150).prop_map(|bytes| Dice { bytes: bytes.into_iter() }.any(4))
}

struct Dice {
    bytes: std::vec::IntoIter<u8>,
}

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.bytes.next().unwrap_or(0)) % sides
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.roll(from.len())].to_owned()
    }

    fn any(&mut self, depth: u32) -> String {
        let kind = [Kind::Vector, Kind::Vector, Kind::Vector, Kind::Vector, Kind::Scalar, Kind::Matrix, Kind::Text]
            [self.roll(7)];
        self.of(kind, depth)
    }

    fn of(&mut self, kind: Kind, depth: u32) -> String {
        match kind {
            Kind::Scalar => self.scalar(depth),
            Kind::Text => self.pick(&[r#""a""#, "'b'", "`\\c`", r#""\n\"é""#]),
            Kind::Vector => self.vector(depth),
            Kind::Matrix => self.matrix(depth),
        }
    }

    /// What belongs in a place of this kind; once in a while something else.
    fn slot(&mut self, kind: Kind, depth: u32) -> String {
        if self.roll(30) == 29 { self.any(depth) } else { self.of(kind, depth) }
    }

    fn scalar(&mut self, depth: u32) -> String {
        let choice = if depth == 0 { 0 } else { self.roll(8) };
        let inner = depth.saturating_sub(1);
        match choice {
            0 | 1 => self.pick(&["1", "0", "2.5", "1e3", "0x1F", ".5", "Inf", "NaN", "5m", "1h30m"]),
            2 => self.pick(&["time()", "pi()"]),
            3 => format!("scalar({})", self.slot(Kind::Vector, inner)),
            4 => format!("({})", self.slot(Kind::Scalar, inner)),
            5 => self.pick(&["-", "+"]) + &self.slot(Kind::Scalar, inner),
            6 => self.joined(Kind::Scalar, ARITHMETIC, &[""], Kind::Scalar, inner),
            _ => self.joined(Kind::Scalar, COMPARISONS, &[" bool"], Kind::Scalar, inner),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        let choice = if depth == 0 { 0 } else { self.roll(11) };
        let inner = depth.saturating_sub(1);
        match choice {
            0 | 1 => self.selector() + &self.shift(),
            2 | 3 => self.call(inner),
            4 | 5 => self.aggregation(inner),
            6 => format!("({})", self.slot(Kind::Vector, inner)),
            7 => self.pick(&["-", "+"]) + &self.slot(Kind::Vector, inner),
            8 => self.joined(Kind::Vector, ARITHMETIC, &[""], Kind::Vector, inner),
            9 => self.joined(Kind::Vector, COMPARISONS, &["", " bool"], Kind::Scalar, inner),
            _ => self.joined(Kind::Vector, &["and", "or", "unless"], &[""], Kind::Vector, inner),
        }
    }

    fn joined(&mut self, left: Kind, ops: &[&str], bools: &[&str], right: Kind, depth: u32) -> String {
        let left_text = self.slot(left, depth);
        let (op, bool) = (self.pick(ops), self.pick(bools));
        let modifiers = if left == Kind::Vector { self.modifiers() } else { String::new() };
        format!("{left_text} {op}{bool}{modifiers} {}", self.slot(right, depth))
    }

    fn matrix(&mut self, depth: u32) -> String {
        if depth == 0 || self.roll(5) < 3 {
            return format!("{}[{}]{}", self.selector(), self.duration(), self.shift());
        }
        let inner = self.slot(Kind::Vector, depth - 1);
        let step = if self.roll(2) == 0 { String::new() } else { self.duration() };
        format!("{inner}[{}:{step}]{}", self.duration(), self.shift())
    }

    fn call(&mut self, depth: u32) -> String {
        let signature = &FUNCTIONS[self.roll(FUNCTIONS.len())];
        let args: Vec<_> = signature.args.iter().map(|kind| self.slot(*kind, depth)).collect();
        format!("{}({})", signature.name, args.join(", "))
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let (op, param) = match self.roll(5) {
            0..3 => (self.pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]), String::new()),
            3 => (self.pick(&["topk", "bottomk", "quantile"]), self.slot(Kind::Scalar, depth) + ", "),
            _ => ("count_values".to_owned(), self.slot(Kind::Text, depth) + ", "),
        };
        let inner = self.slot(Kind::Vector, depth);
        let grouping = format!("{} ({})", self.pick(&["by", "without"]), self.names());
        match self.roll(3) {
            0 => format!("{op}({param}{inner})"),
            1 => format!("{op} {grouping} ({param}{inner})"),
            _ => format!("{op}({param}{inner}) {grouping}"),
        }
    }

    fn selector(&mut self) -> String {
        let name = self.pick(&["x", "http_requests_total", "a:b", "sum", "offset", "start", "without"]);
        match self.roll(8) {
            0..3 => name,
            3..6 => format!("{name}{{{}}}", self.matchers()),
            6 => format!("{{{}}}", self.matchers()),
            _ => format!("{{__name__=\"m\", {}}}", self.matchers()),
        }
    }

    fn matchers(&mut self) -> String {
        let count = self.roll(4);
        let matchers: Vec<_> = (0..count)
            .map(|_| {
                self.pick(&["a", "job", "by", "instance", "\"a.b\""])
                    + &self.pick(&["=", "!=", "=~", "!~"])
                    + &self.pick(&["\"a\"", "\"\"", "'b.*'", "`c|d`", "\"é\\\"\""])
            })
            .collect();
        matchers.join(", ")
    }

    fn shift(&mut self) -> String {
        let offset = format!(" offset {}{}", self.pick(&["", "-"]), self.duration());
        let at = self.pick(&[" @ 10", " @ -1.5", " @ start()", " @ end()", " @ 1609746000.123"]);
        match self.roll(8) {
            0..4 => String::new(),
            4 => offset,
            5 => at,
            6 => offset + &at,
            _ => at + &offset,
        }
    }

    fn duration(&mut self) -> String {
        self.pick(&["5m", "1h30m", "90s", "500ms", "1d", "1w", "1y"])
    }

    fn names(&mut self) -> String {
        let count = self.roll(3);
        (0..count).map(|_| self.pick(&["a", "b", "job", "on", "sum"])).collect::<Vec<_>>().join(", ")
    }

    fn modifiers(&mut self) -> String {
        let matched = format!(" {} ({})", self.pick(&["on", "ignoring"]), self.names());
        let group = format!(" {} ({})", self.pick(&["group_left", "group_right"]), self.names());
        match self.roll(8) {
            0..5 => String::new(),
            5 | 6 => matched,
            _ => matched + &group,
        }
    }
}

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", ">", ">=", "<", "<="];
