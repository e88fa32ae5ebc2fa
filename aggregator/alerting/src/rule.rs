//! Rules as they are after every check: what the engine runs and what the pages show.

use crate::evaluation::{Point, Unheard, is_unheard};
use crate::template::Template;
use proto::name::{Label, Labels, MetricName, SeriesKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The label that holds the alert's name.
pub const ALERT_NAME: &str = "alertname";

/// How many instances a rule may have active when its group sets no `limit`: the bound on alerts of one tenant. It is
/// a fuse, not a taste: beyond it the rule is written wrongly.
pub const INSTANCES_MAX: usize = 10_000;

/// The shortest interval of a group. Below it evaluation would be the aggregator's whole work, and agents sample once a
/// second; the same bound as that of the configuration.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The rules of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFile {
    /// The file's name, as given to the parser.
    pub file: String,
    /// Its groups, in the order of the file; names are unique.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Unique in its file, not empty.
    pub name: String,
    /// How often at least to evaluate; `None` is the configured default.
    pub interval: Option<Duration>,
    /// How far before now to evaluate, for data that arrives late; `None` is the configured default.
    pub query_offset: Option<Duration>,
    /// How many instances each rule may have active; `None` is [`INSTANCES_MAX`].
    pub limit: Option<usize>,
    /// The labels that every rule of the group has, for display; they are already among each rule's own.
    pub labels: Vec<(String, Template)>,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its result are alerts.
    Alert(AlertRule),
    /// Its result are series.
    Record(RecordingRule),
}

/// One recording rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingRule {
    /// The metric that it records.
    pub name: MetricName,
    /// The expression, as written.
    pub expr: String,
    /// Labels set on every series, those of the group included; they overwrite those of the result, and an empty one
    /// removes it.
    pub labels: Vec<Label>,
    /// How many series it may record.
    pub limit: usize,
    /// Where the rule begins in its file, from 1.
    pub line: usize,
}

/// One alerting rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// The alert's name, which becomes the label `alertname`.
    pub name: String,
    /// The expression, as written; each element of its result is an instance.
    pub expr: String,
    /// `for`: how long an instance is pending before it fires. Zero fires at once.
    pub hold_for: Duration,
    /// `keep_firing_for`: how long an instance keeps firing after it has left the result.
    pub keep_firing_for: Duration,
    /// Labels set on every instance, those of the group included, sorted by name; they overwrite those of the sample.
    pub labels: Vec<(String, Template)>,
    /// Annotations of every instance, sorted by name.
    pub annotations: Vec<(String, Template)>,
    /// How many instances may be active at once.
    pub limit: usize,
    /// Where the rule begins in its file, from 1.
    pub line: usize,
}

// === impl RuleFile ===

impl RuleFile {
    /// Every rule with its group, in the order of the file.
    pub fn rules(&self) -> impl Iterator<Item = (&Group, &Rule)> {
        self.groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
    }
}

// === impl Rule ===

impl Rule {
    /// The alert's name, or the metric's.
    pub fn name(&self) -> &str {
        match self {
            Self::Alert(rule) => &rule.name,
            Self::Record(rule) => rule.name.as_str(),
        }
    }

    /// The expression, as written.
    pub fn expr(&self) -> &str {
        match self {
            Self::Alert(rule) => &rule.expr,
            Self::Record(rule) => &rule.expr,
        }
    }

    /// Where it begins in its file, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Alert(rule) => rule.line,
            Self::Record(rule) => rule.line,
        }
    }

    /// It, if its result are alerts.
    pub fn as_alert(&self) -> Option<&AlertRule> {
        match self {
            Self::Alert(rule) => Some(rule),
            Self::Record(_) => None,
        }
    }
}

// === impl AlertRule ===

impl AlertRule {
    /// Whether what a result with these labels says may be wrong because one of `unheard` is not heard of: nothing in them
    /// speaks against that agent's having a part in it.
    pub fn may_lack(&self, unheard: &BTreeSet<Unheard>, labels: &Labels) -> bool {
        is_unheard(unheard, self, labels)
    }
}

// === impl RecordingRule ===

impl RecordingRule {
    /// The series that a result becomes, or why it becomes none: in words of Prometheus, for a person.
    pub fn series(&self, points: Vec<Point>) -> Result<BTreeMap<SeriesKey, f64>, String> {
        if points.len() > self.limit {
            return Err(format!("exceeded limit of {} with {} series", self.limit, points.len()));
        }
        let mut series = BTreeMap::new();
        for point in points {
            let own = |labels: Labels, label: &Label| labels.with(label.clone());
            let key = SeriesKey { name: self.name.clone(), labels: self.labels.iter().fold(point.labels, own) };
            if series.insert(key, point.value).is_some() {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
        }
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(limit: usize) -> RecordingRule {
        RecordingRule {
            name: MetricName::try_new("job:cpu:sum").expect("a name"),
            expr: "sum by (job) (cpu)".into(),
            labels: vec![Label::try_new("tier", "one").expect("a label"), Label::try_new("zone", "").expect("a label")],
            limit,
            line: 1,
        }
    }

    fn point(pairs: &[(&str, &str)], value: f64) -> Point {
        Point { name: None, labels: Labels::try_new(pairs.iter().copied()).expect("labels"), value }
    }

    #[test]
    fn a_result_is_recorded_under_the_rules_name_with_its_labels_over_those_it_has() {
        let series = recording(2).series(vec![
            point(&[("job", "a"), ("tier", "two"), ("zone", "x")], 1.0),
            point(&[("job", "b")], f64::NAN),
        ]);
        let series = series.expect("two series");
        let keys: Vec<String> = series.keys().map(ToString::to_string).collect();
        assert_eq!(keys, [r#"job:cpu:sum{job="a", tier="one"}"#, r#"job:cpu:sum{job="b", tier="one"}"#]);
    }

    #[test]
    fn two_series_that_become_one_and_too_many_are_refused() {
        let twice = vec![point(&[("zone", "x")], 1.0), point(&[("zone", "y")], 2.0)];
        assert!(recording(2).series(twice.clone()).expect_err("the same").contains("same labelset"));
        assert_eq!(recording(1).series(twice), Err("exceeded limit of 1 with 2 series".to_owned()));
    }
}
