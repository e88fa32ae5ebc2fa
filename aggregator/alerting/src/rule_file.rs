//! Rule files: Prometheus's YAML to [`RuleFile`], with every mistake at once and each at its place.
//!
//! What Prometheus refuses is refused (`model/rulefmt/rulefmt.go`), and a little more, because it would fail later or
//! do nothing: a label `alertname`, a label that begins with two underscores, a label value longer than a label may be,
//! a NUL character (PostgreSQL stores none), an interval below [`INTERVAL_MIN`].
//!
//! Limits: [`PROBLEMS_MAX`], and those of `proto::yaml`.

use crate::rule::{ALERT_NAME, AlertRule, Group, INSTANCES_MAX, INTERVAL_MIN, RecordingRule, Rule, RuleFile};
use crate::template::Template;
use proto::duration;
use proto::limits::LABELS_MAX;
use proto::name::{Label, MetricName, NameError};
use proto::yaml::{self, Node, Place, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Problems that are listed; the last one then says how many there are.
pub const PROBLEMS_MAX: usize = 100;

/// One mistake in a rule file. Prints as `file:line:column: message`, which editors understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Problem {
    /// The file, as given to [`parse`].
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, for the person who wrote it.
    pub message: String,
}

/// A mistake in an expression, placed within the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprProblem {
    /// What is wrong.
    pub message: String,
    /// Line of the expression, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Says whether an expression can be evaluated.
pub type CheckExpr<'a> = &'a dyn Fn(&str) -> Result<(), ExprProblem>;

/// Reads the rule file `text`; `file` is its name in problems. An empty file has no groups.
pub fn parse(file: &str, text: &str, check_expr: CheckExpr<'_>) -> Result<RuleFile, Vec<Problem>> {
    let problem =
        |(line, column): (usize, usize), message: String| Problem { file: file.to_owned(), line, column, message };
    let document = yaml::parse(text).map_err(|error| vec![problem((error.line, error.column), error.message)])?;
    let mut reader = Reader { text, check_expr, mistakes: Vec::new() };
    let groups = document.map_or_else(Vec::new, |document| reader.file(&document));
    let mut mistakes = reader.mistakes;
    if mistakes.is_empty() {
        return Ok(RuleFile { file: file.to_owned(), groups });
    }
    mistakes.sort_by_key(|(place, _)| (place.line, place.column));
    let more = mistakes.len().saturating_sub(PROBLEMS_MAX);
    mistakes.truncate(PROBLEMS_MAX);
    let mut problems: Vec<Problem> =
        mistakes.into_iter().map(|(at, message)| problem((at.line, at.column), message)).collect();
    if let Some(last) = problems.last_mut().filter(|_| more > 0) {
        last.message = format!("{} (and {more} more problems)", last.message);
    }
    Err(problems)
}

// === reader ===

/// Walks the tree and notes mistakes. Each method returns what it could read; whether that is good is known at the end.
struct Reader<'a> {
    text: &'a str,
    check_expr: CheckExpr<'a>,
    mistakes: Vec<(Place, String)>,
}

/// What a rule is called, and so what it is.
enum RuleName {
    Alert(String),
    Record(MetricName),
}

/// The fields of a mapping by name, with the node of each.
type Fields<'a> = BTreeMap<&'a str, &'a Node>;

impl Reader<'_> {
    fn mistake(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.push((place, message.into()));
    }

    fn file(&mut self, document: &Node) -> Vec<Group> {
        if document.value == Value::Null {
            return Vec::new();
        }
        let fields = self.fields(document, "a rule file", &["groups"]);
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        for node in self.list(fields.get("groups").copied()) {
            let group = self.group(node);
            if !group.name.is_empty() && !names.insert(group.name.clone()) {
                let message = format!("the group name {:?} is repeated in this file", group.name);
                self.mistake(node.place, message);
            }
            groups.push(group);
        }
        groups
    }

    fn group(&mut self, node: &Node) -> Group {
        let known = ["name", "interval", "query_offset", "limit", "labels", "rules"];
        let fields = self.fields(node, "a group", &known);
        let name = fields.get("name").map(|node| self.text(node)).unwrap_or_default();
        if name.is_empty() {
            let place = fields.get("name").map_or(node.place, |name| name.place);
            self.mistake(place, "the group name must not be empty");
        }
        let interval = self.interval(fields.get("interval").copied());
        let query_offset = self.duration(fields.get("query_offset").copied());
        let limit = fields.get("limit").and_then(|node| self.limit(node));
        let labels = self.labels(fields.get("labels").copied());
        let limit_or_default = limit.unwrap_or(INSTANCES_MAX);
        let rules = self.list(fields.get("rules").copied()).iter();
        let rules = rules.filter_map(|node| self.rule(node, &labels, limit_or_default)).collect();
        Group { name, interval, query_offset, limit, labels: labels.into_iter().collect(), rules }
    }

    /// A rule; `None` where it is neither an alert nor a record, which is a mistake.
    fn rule(&mut self, node: &Node, of_group: &BTreeMap<String, Template>, limit: usize) -> Option<Rule> {
        let known = ["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"];
        let fields = self.fields(node, "a rule", &known);
        let name = self.rule_name(node, &fields);
        let expr = self.expr(node, fields.get("expr").copied());
        let hold_for = self.duration(fields.get("for").copied());
        let keep_firing_for = self.duration(fields.get("keep_firing_for").copied());
        let mut labels = of_group.clone();
        labels.append(&mut self.labels(fields.get("labels").copied()));
        if labels.len() > LABELS_MAX {
            let message = format!("{} labels on one rule; the limit is {LABELS_MAX}", labels.len());
            self.mistake(node.place, message);
        }
        let annotations = self.annotations(fields.get("annotations").copied());
        Some(match name? {
            RuleName::Alert(name) => Rule::Alert(AlertRule {
                name,
                expr,
                hold_for: hold_for.unwrap_or_default(),
                keep_firing_for: keep_firing_for.unwrap_or_default(),
                labels: labels.into_iter().collect(),
                annotations: annotations.into_iter().collect(),
                limit,
                line: node.place.line,
            }),
            RuleName::Record(name) => {
                // Not templates, as in Prometheus: what stands there is the value, and may be too long for one.
                let mut checked = Vec::with_capacity(labels.len());
                for (label, text) in &labels {
                    match Label::try_new(label, text.as_str()) {
                        Ok(label) => checked.push(label),
                        Err(error) if text.as_str().contains("{{") => self.mistake(node.place, error.to_string()),
                        Err(_) => {} // A mistake already.
                    }
                }
                Rule::Record(RecordingRule { name, expr, labels: checked, limit, line: node.place.line })
            }
        })
    }

    /// What `alert` or `record` say: exactly one of them must be set.
    fn rule_name(&mut self, node: &Node, fields: &Fields<'_>) -> Option<RuleName> {
        let alert = fields.get("alert").map(|node| (node.place, self.text(node)));
        let record = fields.get("record").map(|node| (node.place, self.text(node)));
        let set = |field: Option<(Place, String)>| field.filter(|(_, name)| !name.is_empty());
        match (set(alert), set(record)) {
            (Some((place, _)), Some(_)) => {
                self.mistake(place, "only one of 'alert' and 'record' may be set");
                None
            }
            (None, None) => {
                self.mistake(node.place, "one of 'alert' and 'record' must be set");
                None
            }
            (None, Some((place, name))) => self.recorded_name(place, &name, fields).map(RuleName::Record),
            (Some((place, name)), None) => {
                if let Err(error) = Label::try_new(ALERT_NAME, &name) {
                    self.mistake(place, error.to_string());
                }
                Some(RuleName::Alert(name))
            }
        }
    }

    /// The metric that a recording rule records, which has no fields of alerts.
    fn recorded_name(&mut self, place: Place, name: &str, fields: &Fields<'_>) -> Option<MetricName> {
        for field in ["for", "keep_firing_for", "annotations"] {
            if let Some(node) = fields.get(field) {
                let message = format!("invalid field {field:?} in a recording rule");
                self.mistake(node.place, message);
            }
        }
        let checked = MetricName::try_new(name);
        if let Err(error) = &checked {
            self.mistake(place, format!("invalid recording rule name: {error}"));
        }
        checked.ok()
    }

    fn expr(&mut self, rule: &Node, node: Option<&Node>) -> String {
        let expr = node.map(|node| self.text(node)).unwrap_or_default();
        let place = node.map_or(rule.place, |node| node.place);
        if expr.trim().is_empty() {
            self.mistake(place, "field 'expr' must be set in a rule");
            return expr;
        }
        if let (Some(node), Err(problem)) = (node, (self.check_expr)(&expr)) {
            let at = yaml::offset(&expr, problem.line, problem.column);
            let place = node.place_inside(self.text, at);
            self.mistake(place, format!("could not parse the expression: {}", problem.message));
        }
        expr
    }

    fn labels(&mut self, node: Option<&Node>) -> BTreeMap<String, Template> {
        let mut labels = BTreeMap::new();
        for (key, value) in self.entries(node, "labels") {
            let (name, text) = (self.text(key), self.text(value));
            if name == ALERT_NAME {
                self.mistake(key.place, "the label alertname is the name of the rule itself");
            }
            // A value with an action is known only when it is expanded; it is checked again then.
            let known = if text.contains("{{") { "" } else { text.as_str() };
            match Label::try_new(&name, known) {
                Err(error @ (NameError::ValueTooLong { .. } | NameError::Nul(_))) => {
                    self.mistake(value.place, error.to_string());
                }
                Err(error) => self.mistake(key.place, error.to_string()),
                Ok(_) => {}
            }
            if let Some(template) = self.template(value, &text) {
                labels.insert(name, template);
            }
        }
        labels
    }

    fn annotations(&mut self, node: Option<&Node>) -> BTreeMap<String, Template> {
        let mut annotations = BTreeMap::new();
        for (key, value) in self.entries(node, "annotations") {
            let (name, text) = (self.text(key), self.text(value));
            // Underscores in front are usual here: Grafana reads `__dashboardUid__`.
            match Label::try_new(&name, "") {
                Ok(_) | Err(NameError::Reserved(_)) => {}
                Err(_) => {
                    let message = format!("invalid annotation name {name:?}");
                    self.mistake(key.place, message);
                }
            }
            if let Some(template) = self.template(value, &text) {
                annotations.insert(name, template);
            }
        }
        annotations
    }

    fn template(&mut self, node: &Node, text: &str) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => Some(template),
            Err(error) => {
                let place = node.place_inside(self.text, error.at);
                self.mistake(place, error.message);
                None
            }
        }
    }

    fn limit(&mut self, node: &Node) -> Option<usize> {
        let text = self.text(node);
        match text.parse::<usize>() {
            Ok(0) => None,
            Ok(limit) => Some(limit),
            Err(_) => {
                self.mistake(node.place, format!("the limit {text:?} is not a whole number"));
                None
            }
        }
    }

    /// A group's interval; zero is Prometheus's way to say nothing.
    fn interval(&mut self, node: Option<&Node>) -> Option<Duration> {
        let interval = self.duration(node).filter(|interval| !interval.is_zero())?;
        if let Some(node) = node.filter(|_| interval < INTERVAL_MIN) {
            let (given, least) = (duration::print(interval), duration::print(INTERVAL_MIN));
            self.mistake(node.place, format!("the interval {given} is shorter than {least}"));
        }
        Some(interval)
    }

    fn duration(&mut self, node: Option<&Node>) -> Option<Duration> {
        let node = node.filter(|node| node.value != Value::Null)?;
        match duration::parse(&self.text(node)) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.mistake(node.place, error.to_string());
                None
            }
        }
    }

    // --- nodes ---

    /// The text of a scalar; nothing is the empty text, as in Prometheus.
    fn text(&mut self, node: &Node) -> String {
        match &node.value {
            Value::Null => String::new(),
            Value::Scalar(text) if text.contains('\0') => {
                self.mistake(node.place, "a NUL character cannot be stored; leave it out");
                text.replace('\0', "")
            }
            Value::Scalar(text) => text.clone(),
            Value::List(_) | Value::Map(_) => {
                self.mistake(node.place, "a single value is expected here");
                String::new()
            }
        }
    }

    fn list<'n>(&mut self, node: Option<&'n Node>) -> &'n [Node] {
        match node.map(|node| (&node.value, node.place)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::List(items), _)) => items,
            Some((_, place)) => {
                self.mistake(place, "a list is expected here");
                &[]
            }
        }
    }

    /// The entries of a mapping, each key once.
    fn entries<'n>(&mut self, node: Option<&'n Node>, what: &str) -> Vec<(&'n Node, &'n Node)> {
        let entries = match node.map(|node| (&node.value, node.place)) {
            None | Some((Value::Null, _)) => return Vec::new(),
            Some((Value::Map(entries), _)) => entries,
            Some((_, place)) => {
                self.mistake(place, format!("{what}: a mapping is expected here"));
                return Vec::new();
            }
        };
        let mut seen = BTreeSet::new();
        let mut unique = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = match &key.value {
                Value::Scalar(name) => name.as_str(),
                _ => "",
            };
            if seen.insert(name) {
                unique.push((key, value));
            } else {
                self.mistake(key.place, format!("the key {name:?} is repeated in {what}"));
            }
        }
        unique
    }

    /// The fields of a mapping that may have only the `known` ones.
    fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Fields<'n> {
        if node.value == Value::Null {
            self.mistake(node.place, format!("{what}: a mapping is expected here"));
        }
        let mut fields = Fields::new();
        for (key, value) in self.entries(Some(node), what) {
            match &key.value {
                Value::Scalar(name) if known.contains(&name.as_str()) => {
                    fields.insert(name, value);
                }
                Value::Scalar(name) => {
                    let shown: String = name.chars().take(SHOWN_CHARS).collect();
                    self.mistake(key.place, format!("the field {shown:?} is not known in {what}"));
                }
                _ => self.mistake(key.place, format!("{what} has names for its fields")),
            }
        }
        fields
    }
}

/// How much of an unknown field's name is shown, in characters.
const SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests;
