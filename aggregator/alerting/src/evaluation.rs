//! What goes into an evaluation of a rule and what comes out of it.

use crate::Fingerprint;
use crate::instance::{Found, Instance, InstanceState};
use crate::rule::{ALERT_NAME, AlertRule};
use crate::template::Context;
use proto::name::{Label, Labels, MetricName, NameError};
use proto::sample::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long after a restart absent instances are left alone while their data has not come back. Prometheus's
/// `for-outage-tolerance`.
pub const OUTAGE_TOLERANCE: Duration = Duration::from_hours(1);

/// One element of the result of a rule's expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric's name, if the expression kept it; for templates only.
    pub name: Option<MetricName>,
    /// The labels, without the name.
    pub labels: Labels,
    /// The value, in the unit of the expression.
    pub value: f64,
}

/// One evaluation of a rule.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Wall-clock time of the evaluation. The same time again is the same evaluation again and adds no time.
    pub at: Timestamp,
    /// Monotonic time since this rule's previous evaluation, failed ones included; since the restore for the first.
    pub elapsed: Duration,
    /// Whether the data can be believed to be complete.
    pub freshness: Freshness,
    /// The result of the expression, or why there is none.
    pub outcome: Result<Vec<Point>, String>,
}

/// Whether an instance that is missing from a result is known to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The data is there: missing is over.
    Fresh,
    /// After a start, before the agents that feed this rule have reconnected: missing means nothing yet. Believed for
    /// `tolerance` of running time in all (see [`OUTAGE_TOLERANCE`]), then missing is over.
    Waiting {
        /// For how long.
        tolerance: Duration,
    },
}

/// How the last evaluation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Never evaluated, or evaluated over data that is not complete yet.
    #[default]
    Unknown,
    /// It had a result.
    Ok,
    /// It failed; see [`crate::RuleState::last_error`].
    Err,
}

/// Why an instance changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is in the result and was not active.
    ConditionTrue,
    /// It was pending for `for`.
    HeldLongEnough,
    /// It left the result.
    ConditionFalse,
    /// It left the result `keep_firing_for` ago.
    KeptLongEnough,
    /// A reload raised `for` above the time it has held: firing becomes pending again. A receiver should be told that
    /// the alert is withdrawn.
    ForRaised,
    /// The rule is gone from its file.
    RuleDeleted,
    /// The rule has more active instances than its limit and all are dropped. Nobody knows whether they are over, so
    /// nobody should be told that they are; the failing rule is the news.
    LimitExceeded,
}

/// One instance changed its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Which.
    pub fingerprint: Fingerprint,
    /// State before.
    pub from: InstanceState,
    /// State after; [`InstanceState::Inactive`] where the instance is gone.
    pub to: InstanceState,
    /// Why.
    pub reason: Reason,
    /// The instance after the change; where it is gone, as it was last.
    pub instance: Instance,
}

/// What an evaluation changed. Every other active instance has a newer value, annotations and `held`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Changes of state, in order of fingerprints.
    pub transitions: Vec<Transition>,
    /// Instances that are no longer held: rows to delete.
    pub removed: Vec<Fingerprint>,
}

/// Why a result could not become instances.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvaluationError {
    #[error("vector contains metrics with the same labelset after applying alert labels: {0}")]
    Duplicate(Labels),
    #[error("the labels of an instance are not valid: {0}")]
    Label(NameError),
}

// === impl Health ===

impl Health {
    /// The word that Prometheus's API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

// === impl Reason ===

impl Reason {
    /// The word in rows, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConditionTrue => "condition_true",
            Self::HeldLongEnough => "held_long_enough",
            Self::ConditionFalse => "condition_false",
            Self::KeptLongEnough => "kept_long_enough",
            Self::ForRaised => "for_raised",
            Self::RuleDeleted => "rule_deleted",
            Self::LimitExceeded => "limit_exceeded",
        }
    }
}

// === helpers ===

/// The result as instances: rule labels over the sample's, `alertname` over all.
pub(crate) fn found(rule: &AlertRule, points: Vec<Point>) -> Result<BTreeMap<Fingerprint, Found>, EvaluationError> {
    let mut found = BTreeMap::new();
    for point in points {
        let context = Context { name: point.name.as_ref(), labels: &point.labels, value: point.value };
        let mut labels = point.labels.clone();
        for (name, template) in &rule.labels {
            labels = with(&labels, name, &template.expand(context))?;
        }
        labels = with(&labels, ALERT_NAME, &rule.name)?;
        let annotations =
            rule.annotations.iter().map(|(name, template)| (name.clone(), template.expand(context))).collect();
        let fingerprint = Fingerprint::of(&labels);
        let shown = labels.clone();
        let new = Found { labels, annotations, value: point.value };
        if found.insert(fingerprint, new).is_some() {
            return Err(EvaluationError::Duplicate(shown));
        }
    }
    Ok(found)
}

fn with(labels: &Labels, name: &str, value: &str) -> Result<Labels, EvaluationError> {
    Ok(labels.with(Label::try_new(name, value).map_err(EvaluationError::Label)?))
}
