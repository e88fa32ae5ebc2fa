//! Queries by chance: each operator, matcher, function, aggregation, modifier, subquery and matching clause of the language.
//!
//! What is nested is well typed but for one hole in some hundreds: what is wrong is to be refused by both.

use crate::outcome::When;
use crate::tree::{Kind, Rule, Tree};
use crate::world::{SPAN_MS, START_MS};
use fastrand::Rng;

/// How deep a query nests.
const DEPTH: u32 = 4;

/// One hole in so many has what does not fit.
const WRONG: u32 = 400;

/// Of each value.
const OF_EACH: [(&str, Rule); 29] = [
    ("abs($)", Rule::Exact),
    ("ceil($)", Rule::Exact),
    ("floor($)", Rule::Exact),
    ("sgn($)", Rule::Exact),
    ("sqrt($)", Rule::Exact),
    ("round($)", Rule::Exact),
    ("sort($)", Rule::Exact),
    ("sort_desc($)", Rule::Exact),
    ("-$", Rule::Exact),
    ("+$", Rule::Exact),
    ("($)", Rule::Exact),
    ("absent($)", Rule::Exact),
    ("timestamp($)", Rule::Exact),
    ("exp($)", Rule::Rounded),
    ("ln($)", Rule::Rounded),
    ("log2($)", Rule::Rounded),
    ("log10($)", Rule::Rounded),
    ("deg($)", Rule::Rounded),
    ("rad($)", Rule::Rounded),
    ("sin($)", Rule::Rounded),
    ("cos($)", Rule::Rounded),
    ("tan($)", Rule::Rounded),
    ("asin($)", Rule::Rounded),
    ("acos($)", Rule::Rounded),
    ("atan($)", Rule::Rounded),
    ("sinh($)", Rule::Rounded),
    ("cosh($)", Rule::Rounded),
    ("tanh($)", Rule::Rounded),
    ("asinh($)", Rule::Rounded),
];

const WITH_NUMBER: [&str; 4] = ["round($, $)", "clamp_min($, $)", "clamp_max($, $)", "clamp($, $, $)"];

const OF_TIME: [&str; 8] =
    ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];

/// Over windows.
const OVER_TIME: [(&str, Rule); 21] = [
    ("rate($)", Rule::Rounded),
    ("increase($)", Rule::Rounded),
    ("delta($)", Rule::Rounded),
    ("irate($)", Rule::Rounded),
    ("idelta($)", Rule::Exact),
    ("deriv($)", Rule::Rounded),
    ("predict_linear($, $)", Rule::Rounded),
    ("changes($)", Rule::Exact),
    ("resets($)", Rule::Exact),
    ("sum_over_time($)", Rule::Rounded),
    ("avg_over_time($)", Rule::Rounded),
    ("min_over_time($)", Rule::Exact),
    ("max_over_time($)", Rule::Exact),
    ("count_over_time($)", Rule::Exact),
    ("last_over_time($)", Rule::Exact),
    ("present_over_time($)", Rule::Exact),
    ("absent_over_time($)", Rule::Exact),
    ("stddev_over_time($)", Rule::Rounded),
    ("stdvar_over_time($)", Rule::Rounded),
    ("quantile_over_time($, $)", Rule::Rounded),
    ("rate($)", Rule::Rounded),
];

const ARITHMETIC: [(&str, Rule); 7] = [
    ("+", Rule::Exact),
    ("-", Rule::Exact),
    ("*", Rule::Exact),
    ("/", Rule::Exact),
    ("%", Rule::Exact),
    ("^", Rule::Rounded),
    ("atan2", Rule::Rounded),
];

const COMPARISONS: [&str; 6] = ["==", "!=", ">", ">=", "<", "<="];

/// Groupings without the name: what is written for the older Prometheus must be able to add two of them.
const GROUPINGS: [&str; 9] = [
    "",
    " by (job)",
    " by (job, instance)",
    " by (instance, code)",
    " by (job, le)",
    " by ()",
    " without (instance)",
    " without (code, le)",
    " without (job, instance)",
];

const RANGES: [&str; 7] = ["30s", "2m", "5m", "10m", "13m", "1h", "90s"];

const NUMBERS: [&str; 20] = [
    "0", "1", "2", "5", "10", "0.5", "0.9", "0.99", "-1", "1.5", "100", "NaN", "Inf", "-Inf", "0x1f", "1e3", "3600",
    "-0.5", "1e-3", ".25",
];

const MATCHERS: [&str; 20] = [
    r#"job="api""#,
    r#"job!="web""#,
    r#"job=~"a.*|web""#,
    r#"job!~"w.+""#,
    r#"job=~"db.x""#,
    r"job='db.x'",
    r#"instance="0""#,
    r#"instance=~"[01]""#,
    r#"instance!~"2|7""#,
    r#"instance!="""#,
    r#"code="""#,
    r#"code=~"5..""#,
    r#"code!~"4.*""#,
    r#"code=~".+""#,
    r#"code=~"(?i:200)|""#,
    r#"le="+Inf""#,
    r#"le=~"0\\..*""#,
    r#"owner=~".*""#,
    r#"owner!~".+""#,
    r"job=~`\w{3}`",
];

/// Queries of one run.
pub struct Grammar {
    rng: Rng,
}

// === impl Grammar ===

impl Grammar {
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }

    pub fn query(&mut self) -> Tree {
        match self.rng.u8(..40) {
            0..=2 => self.scalar(DEPTH),
            3..=4 => self.window(DEPTH),
            5 => Tree::leaf(Kind::Scalar, r#""a text""#),
            _ => self.vector(DEPTH),
        }
    }

    pub fn instant(&mut self) -> When {
        When::Instant(self.moment())
    }

    pub fn range(&mut self) -> When {
        let start = self.moment();
        let step = self.pick(&[15_000, 37_000, 60_000, 250_000, 300_000]);
        When::Range { start, end: start + step * self.rng.i64(0..25) + self.rng.i64(0..10) * 1_000, step }
    }

    /// At half a second, so that no step of a subquery lies at an end.
    fn moment(&mut self) -> i64 {
        START_MS + self.rng.i64(-120..SPAN_MS / 1000 + 600) * 1000 + 500
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())]
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(..count) == 0
    }
}

/// Vectors.
impl Grammar {
    fn vector(&mut self, depth: u32) -> Tree {
        if self.one_in(WRONG) {
            return if self.rng.bool() { self.scalar(1) } else { self.window(1) };
        }
        if depth == 0 {
            return self.selector();
        }
        match self.rng.u8(..34) {
            0..=2 => self.selector(),
            3..=9 => self.over_time(depth - 1),
            10..=15 => self.aggregation(depth - 1),
            16..=18 => {
                let (template, rule) = self.pick(&OF_EACH);
                let inner = self.operand(depth - 1, template);
                Tree::new(Kind::Vector, rule, template, vec![inner])
            }
            19 => self.with_number(depth - 1),
            20 => self.of_time(depth - 1),
            21..=22 => self.labelled(depth - 1),
            23..=24 => self.histogram(depth - 1),
            25 => {
                let number = self.scalar(depth - 1);
                Tree::new(Kind::Vector, Rule::Exact, "vector($)", vec![number])
            }
            26..=28 => self.with_scalar(depth - 1),
            _ => self.between_vectors(depth - 1),
        }
    }

    /// Behind a sign a bare operator would bind otherwise than the tree says.
    fn operand(&mut self, depth: u32, template: &str) -> Tree {
        let inner = self.vector(depth);
        if template.starts_with(['-', '+']) { Tree::new(inner.kind, Rule::Exact, "($)", vec![inner]) } else { inner }
    }

    fn selector(&mut self) -> Tree {
        let (mut text, shift) = (self.series(), self.shift());
        text.push_str(&shift);
        Tree::leaf(Kind::Vector, text)
    }

    fn series(&mut self) -> String {
        let name = match self.rng.u8(..30) {
            0..=6 => "requests_total",
            7..=9 => "errors_total",
            10..=13 => "temperature",
            14..=18 => "level",
            19..=21 => "up",
            22..=23 => "limit",
            24..=25 => "latency_bucket",
            26 => "deployed_seconds",
            27 => "nothing",
            _ => return self.series_without_name(),
        };
        let count = self.pick(&[0, 0, 1, 1, 2]);
        if count == 0 {
            return name.to_owned();
        }
        let matchers: Vec<&str> = (0..count).map(|_| self.pick(&MATCHERS)).collect();
        format!("{name}{{{}}}", matchers.join(", "))
    }

    fn series_without_name(&mut self) -> String {
        let of_names = [
            r#"{__name__=~"requests_total|errors_total"}"#,
            r#"{__name__=~"(temp|lim).*", job="api"}"#,
            r#"{__name__="level", instance="1"}"#,
            r#"{job="web", __name__!~".*_(total|bucket)"}"#,
            r#"{instance="0"}"#,
        ];
        self.pick(&of_names).to_owned()
    }

    fn shift(&mut self) -> String {
        let offset = self.pick(&["1m", "7m", "-3m", "1h", "90s", "1h5m"]);
        let time = START_MS + self.rng.i64(0..SPAN_MS / 1000) * 1000 + 500;
        let at = format!("{}.{:03}", time / 1000, time % 1000);
        match self.rng.u8(..16) {
            0..=1 => format!(" offset {offset}"),
            2 => format!(" @ {at}"),
            3 => format!(" @ {at} offset {offset}"),
            4 => " @ start()".to_owned(),
            5 if self.rng.bool() => format!(" offset {offset} @ end()"),
            _ => String::new(),
        }
    }

    fn over_time(&mut self, depth: u32) -> Tree {
        let (template, rule) = self.pick(&OVER_TIME);
        let window = match template {
            // Mostly of real counters: `changes` says why.
            "rate($)" | "increase($)" if !self.one_in(4) => self.window_of_counter(),
            _ => self.window(depth),
        };
        let holes = match template {
            "predict_linear($, $)" => vec![window, self.scalar(depth.min(1))],
            "quantile_over_time($, $)" => vec![self.scalar(depth.min(1)), window],
            _ => vec![window],
        };
        Tree::new(Kind::Vector, rule, template, holes)
    }

    fn window_of_counter(&mut self) -> Tree {
        let range = self.pick(&RANGES);
        let (series, shift) =
            (self.pick(&["requests_total", "latency_bucket", r#"requests_total{code="200"}"#]), self.shift());
        Tree::leaf(Kind::Matrix, format!("{series}[{range}]{shift}"))
    }

    fn window(&mut self, depth: u32) -> Tree {
        let shift = self.shift();
        if depth == 0 || self.rng.u8(..4) > 0 {
            let (series, range) = (self.series(), self.pick(&RANGES));
            return Tree::leaf(Kind::Matrix, format!("{series}[{range}]{shift}"));
        }
        // Ranges end in a quarter of a second: no step lies at an end.
        let range = self.pick(&["2m250ms", "5m250ms", "10m250ms", "31m250ms", "45s250ms"]);
        let step = self.pick(&["", "15s", "30s", "1m", "2m", "7s"]);
        let inner = self.vector(depth - 1);
        let template = if inner.is_leaf() { "$" } else { "($)" };
        Tree::new(Kind::Matrix, Rule::Exact, &format!("{template}[{range}:{step}]{shift}"), vec![inner])
    }

    fn aggregation(&mut self, depth: u32) -> Tree {
        let grouping = self.pick(&GROUPINGS);
        let (op, rule) = match self.rng.u8(..14) {
            0..=2 => ("sum", Rule::Rounded),
            3..=4 => ("avg", Rule::Rounded),
            5 => ("stddev", Rule::Deviation),
            6 => ("stdvar", Rule::Deviation),
            7 => ("min", Rule::Exact),
            8 => ("max", Rule::Exact),
            9 => ("count", Rule::Exact),
            10 => ("group", Rule::Exact),
            11 => return self.quantile(grouping, depth),
            12 => return self.outermost(grouping, depth),
            _ => return self.count_values(grouping, depth),
        };
        let inner = self.vector(depth);
        if rule == Rule::Exact && self.one_in(3) {
            let grouping = self.pick(&[" by (__name__)", " by (__name__, job)", " without (code)"]);
            return Tree::new(Kind::Vector, rule, &format!("{op}($){grouping}"), vec![inner]);
        }
        Tree::new(Kind::Vector, rule, &format!("{op}{grouping}($)"), vec![inner])
    }

    fn quantile(&mut self, grouping: &str, depth: u32) -> Tree {
        let holes = vec![self.scalar(depth.min(1)), self.vector(depth)];
        Tree::new(Kind::Vector, Rule::Rounded, &format!("quantile{grouping}($, $)"), holes)
    }

    /// Either of numbers that differ, or all there are: which of equal ones remain is nobody's promise.
    fn outermost(&mut self, grouping: &str, depth: u32) -> Tree {
        let op = self.pick(&["topk", "bottomk"]);
        if self.one_in(3) {
            let inner = self.vector(depth);
            let k = self.pick(&["0", "1000", "-3"]);
            return Tree::new(Kind::Vector, Rule::Exact, &format!("{op}{grouping}({k}, $)"), vec![inner]);
        }
        let k =
            if self.one_in(4) { self.scalar(1) } else { Tree::leaf(Kind::Scalar, self.pick(&["1", "2", "3", "4.7"])) };
        let (inner, rule) = self.pick(&[
            ("temperature", Rule::Exact),
            ("temperature offset 7m", Rule::Exact),
            ("-temperature", Rule::Exact),
            ("limit", Rule::Exact),
            ("deriv(temperature[10m])", Rule::Rounded),
            ("avg_over_time(temperature[5m])", Rule::Rounded),
        ]);
        let inner = Tree { rule, ..Tree::leaf(Kind::Vector, inner) };
        Tree::new(Kind::Vector, Rule::Exact, &format!("{op}{grouping}($, $)"), vec![k, inner])
    }

    fn count_values(&mut self, grouping: &str, depth: u32) -> Tree {
        let label = self.pick(&["value", "job", "code"]);
        let inner = self.vector(depth);
        Tree::new(Kind::Vector, Rule::Exact, &format!("count_values{grouping}(\"{label}\", $)"), vec![inner])
    }

    fn with_number(&mut self, depth: u32) -> Tree {
        let template = self.pick(&WITH_NUMBER);
        let mut holes = vec![self.vector(depth)];
        for _ in 1..template.matches('$').count() {
            holes.push(self.scalar(depth.min(1)));
        }
        Tree::new(Kind::Vector, Rule::Exact, template, holes)
    }

    fn of_time(&mut self, depth: u32) -> Tree {
        let function = self.pick(&OF_TIME);
        match self.rng.u8(..4) {
            0 => Tree::leaf(Kind::Vector, format!("{function}()")),
            1 => {
                let inner = self.vector(depth);
                Tree::new(Kind::Vector, Rule::Exact, &format!("{function}($)"), vec![inner])
            }
            _ => Tree::leaf(Kind::Vector, format!("{function}(deployed_seconds)")),
        }
    }

    fn labelled(&mut self, depth: u32) -> Tree {
        let template = self.pick(&[
            r#"label_replace($, "to", "$1-$2", "instance", "(.)(.?)")"#,
            r#"label_replace($, "job", "x", "job", "a.*")"#,
            r#"label_replace($, "code", "", "code", "5..")"#,
            r#"label_replace($, "host", "${n}", "instance", "(?P<n>.*)")"#,
            r#"label_replace($, "instance", "$1", "job", "(.).*")"#,
            r#"label_replace($, "__name__", "made", "job", ".*")"#,
            r#"label_join($, "to", "-", "job", "instance")"#,
            r#"label_join($, "job", "", "code")"#,
            r#"label_join($, "all", ",", "__name__", "nothing", "instance")"#,
            r#"label_join($, "none", ",")"#,
        ]);
        let inner = self.vector(depth);
        let (before, after) = template.split_once('$').expect("each has its argument");
        let mut tree = Tree::new(Kind::Vector, Rule::Exact, "$", vec![inner]);
        tree.parts[0] = crate::tree::Part::Text(before.to_owned());
        tree.parts[2] = crate::tree::Part::Text(after.to_owned());
        tree
    }

    fn histogram(&mut self, depth: u32) -> Tree {
        let inner = match self.rng.u8(..8) {
            0..=1 => Tree::leaf(Kind::Vector, "latency_bucket"),
            2..=4 => {
                let range = self.pick(&["2m", "10m", "1h"]);
                let rate = self.pick(&["rate", "increase"]);
                let leaf = Tree::leaf(Kind::Matrix, format!("latency_bucket[{range}]"));
                let rate = Tree::new(Kind::Vector, Rule::Rounded, &format!("{rate}($)"), vec![leaf]);
                let by = self.pick(&["le", "le, job", "le, instance"]);
                Tree::new(Kind::Vector, Rule::Rounded, &format!("sum by ({by}) ($)"), vec![rate])
            }
            5..=6 => Tree::leaf(Kind::Vector, r#"latency_bucket{le!="0.5"} offset 7m"#),
            _ => self.vector(depth),
        };
        let phi = self.scalar(depth.min(1));
        Tree::new(Kind::Vector, Rule::Rounded, "histogram_quantile($, $)", vec![phi, inner])
    }

    fn with_scalar(&mut self, depth: u32) -> Tree {
        let (op, rule) = self.operator();
        let (vector, scalar) = (self.vector(depth), self.scalar(depth.min(2)));
        let holes = if self.rng.bool() { vec![vector, scalar] } else { vec![scalar, vector] };
        self.binary(Kind::Vector, rule, &op, holes)
    }

    fn operator(&mut self) -> (String, Rule) {
        if self.rng.bool() {
            let (op, rule) = self.pick(&ARITHMETIC);
            return (op.to_owned(), rule);
        }
        let op = self.pick(&COMPARISONS);
        (if self.rng.bool() { op.to_owned() } else { format!("{op} bool") }, Rule::Exact)
    }

    /// Mostly in brackets; without them what binds first is for both to say.
    fn binary(&mut self, kind: Kind, rule: Rule, op: &str, holes: Vec<Tree>) -> Tree {
        // What opens with a bracket would be taken for the labels of a bare `group_left`.
        let is_bare = op.ends_with("group_left") || op.ends_with("group_right");
        let labels = if is_bare && (rule != Rule::Exact || !holes[1].is_leaf()) { " ()" } else { "" };
        // What is rounded must be what the tree says: no operator without brackets may take one of its sides.
        let template = if rule == Rule::Exact { format!("$ {op}{labels} $") } else { format!("($) {op}{labels} ($)") };
        if rule == Rule::Exact && self.one_in(6) {
            return Tree::new(kind, rule, &template, holes);
        }
        Tree::new(kind, rule, &format!("({template})"), holes)
    }

    fn between_vectors(&mut self, depth: u32) -> Tree {
        if self.one_in(3) {
            return self.between_sets(depth);
        }
        let (op, rule) = self.operator();
        // Half of them are made so that each series finds one.
        let (matching, left, right) = match self.rng.u8(..8) {
            0 => (" on (job, instance)", "errors_total", "temperature"),
            1 => (" on (job) group_left", "level", "limit"),
            2 => (" on (job) group_left (owner)", "requests_total", "limit"),
            3 => (" ignoring (code) group_left ()", "requests_total", "errors_total"),
            4 => (" on (job, instance) group_right", "temperature", "latency_bucket"),
            5 => ("", "up", "errors_total"),
            _ => {
                let matching = self.pick(&[
                    "",
                    " on (job, instance)",
                    " on ()",
                    " ignoring (code)",
                    " on (job, instance) group_left (code)",
                    " ignoring (code, le) group_right",
                    " on (job) group_right (job)",
                    " ignoring (instance) group_left",
                ]);
                let holes = vec![self.vector(depth), self.vector(depth)];
                return self.binary(Kind::Vector, rule, &format!("{op}{matching}"), holes);
            }
        };
        let holes = vec![self.like(left, depth), self.like(right, depth)];
        self.binary(Kind::Vector, rule, &format!("{op}{matching}"), holes)
    }

    /// The series of `name`, or something of them with the same labels.
    fn like(&mut self, name: &str, depth: u32) -> Tree {
        let leaf = Tree::leaf(Kind::Vector, name);
        if depth == 0 {
            return leaf;
        }
        match self.rng.u8(..5) {
            0 => {
                let (template, rule) = self.pick(&OVER_TIME[..16]);
                let window = Tree::leaf(Kind::Matrix, format!("{name}[10m]"));
                let holes = if template.contains(',') { vec![window, self.scalar(0)] } else { vec![window] };
                Tree::new(Kind::Vector, rule, template, holes)
            }
            1 => {
                let number = self.scalar(depth.min(1));
                let op = self.pick(&COMPARISONS);
                Tree::new(Kind::Vector, Rule::Exact, &format!("($ {op} $)"), vec![leaf, number])
            }
            2 => Tree::new(Kind::Vector, Rule::Exact, "abs($)", vec![leaf]),
            _ => leaf,
        }
    }

    fn between_sets(&mut self, depth: u32) -> Tree {
        let op = self.pick(&["and", "or", "unless"]);
        let matching =
            self.pick(&["", "", " on (job)", " on (job, instance)", " ignoring (code)", " on ()", " ignoring ()"]);
        let holes = vec![self.vector(depth), self.vector(depth)];
        self.binary(Kind::Vector, Rule::Exact, &format!("{op}{matching}"), holes)
    }
}

/// Numbers.
impl Grammar {
    fn scalar(&mut self, depth: u32) -> Tree {
        if self.one_in(WRONG) {
            return self.selector();
        }
        if depth == 0 || self.rng.u8(..3) > 0 {
            let text = match self.rng.u8(..12) {
                0 => "time()",
                1 => "pi()",
                2 => "scalar(temperature{job=\"api\", instance=\"0\"})",
                _ => self.pick(&NUMBERS),
            };
            return Tree::leaf(Kind::Scalar, text);
        }
        match self.rng.u8(..6) {
            0..=1 => {
                let inner = self.vector(depth - 1);
                Tree::new(Kind::Scalar, Rule::Exact, "scalar($)", vec![inner])
            }
            2 => {
                let inner = self.scalar(depth - 1);
                Tree::new(Kind::Scalar, Rule::Exact, "-($)", vec![inner])
            }
            3 => {
                let op = self.pick(&COMPARISONS);
                let holes = vec![self.scalar(depth - 1), self.scalar(depth - 1)];
                self.binary(Kind::Scalar, Rule::Exact, &format!("{op} bool"), holes)
            }
            _ => {
                let (op, rule) = self.pick(&ARITHMETIC);
                let holes = vec![self.scalar(depth - 1), self.scalar(depth - 1)];
                self.binary(Kind::Scalar, rule, op, holes)
            }
        }
    }
}
