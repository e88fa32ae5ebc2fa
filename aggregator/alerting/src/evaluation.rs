//! What goes into an evaluation of a rule and what comes out of it.

use crate::Fingerprint;
use crate::instance::{Found, Instance, InstanceState};
use crate::rule::{ALERT_NAME, AlertRule};
use crate::template::Context;
use proto::name::{Label, Labels, MetricName, NameError};
use proto::sample::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The labels by which an agent's series name it.
const SERVICE: &str = "service";
/// See [`SERVICE`].
const INSTANCE: &str = "instance";

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
    /// The agents whose samples the rule may read and that are not heard of now: what is missing may be theirs. The
    /// caller says for how long that is believed.
    pub unheard: BTreeSet<Unheard>,
    /// The result of the expression, or why there is none.
    pub outcome: Result<Vec<Point>, String>,
}

/// An agent of which nothing of now is known: it went silent without a goodbye, was not heard of since a start, or
/// lost what came after the samples that the rule reads. Its samples are not in the result, and that they are missing means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unheard {
    /// The label `service` of all that it reports.
    pub service: String,
    /// The label `instance` of all that it reports.
    pub instance: String,
}

/// How the last evaluation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Never evaluated, or evaluated while an agent that it may read is not heard of.
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
    /// The rule has more active instances than its limit, and all are dropped, as in Prometheus. Nobody knows whether
    /// they are over; but nobody will tell of them again, so who was told that they fire is told that they are
    /// withdrawn, and why.
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

/// Whether an instance may be missing because one of `unheard` is not heard of: none of that agent's labels speaks
/// against it. A label that the rule itself sets says nothing, nor does one that the expression has dropped.
pub(crate) fn is_unheard(unheard: &BTreeSet<Unheard>, rule: &AlertRule, labels: &Labels) -> bool {
    let said = |name: &str| labels.get(name).filter(|_| rule.labels.iter().all(|(set, _)| set != name));
    match (said(SERVICE), said(INSTANCE)) {
        (Some(service), Some(instance)) => {
            unheard.contains(&Unheard { service: service.to_owned(), instance: instance.to_owned() })
        }
        (service, instance) => unheard.iter().any(|agent| {
            service.is_none_or(|said| said == agent.service) && instance.is_none_or(|said| said == agent.instance)
        }),
    }
}

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
