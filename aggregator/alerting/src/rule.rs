//! Rules as they are after every check: what the engine runs and what the pages show.

use crate::template::Template;
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
    pub rules: Vec<AlertRule>,
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
    pub fn rules(&self) -> impl Iterator<Item = (&Group, &AlertRule)> {
        self.groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
    }
}
