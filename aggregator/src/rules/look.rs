//! What a rule reads: the series in memory, without those of which nothing is known now.
//!
//! Each selector is read in one glance, since an agent's silence ends its series: what is hidden for its sake is hidden in
//! the same moment in which that is noted. Between two selectors an agent may go silent; then the second glance says so, and
//! the rule is unknown.

use super::doubt::Doubt;
use super::rule::Rule;
use crate::live::{Glance, Live, OURSELVES};
use crate::query::Copies;
use alerting::Instance;
use promql::{LabelSet, METRIC_NAME, Reads, Samples, Select, SelectError, Selection, Value};
use proto::name::{Label, Labels, MetricName, SeriesKey};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use tsdb::Series;

/// What a rule may see.
pub(super) struct RuleSelect<'a> {
    live: &'a Live,
    rule: &'a Rule,
    reads_agents: bool,
    doubt: RefCell<Doubt>,
}

// === impl RuleSelect ===

impl<'a> RuleSelect<'a> {
    /// For one evaluation.
    pub(super) fn new(live: &'a Live, rule: &'a Rule) -> Self {
        Self { live, rule, reads_agents: rule.reads_agents(), doubt: RefCell::default() }
    }

    /// What it found not to be known.
    pub(super) fn into_doubt(self) -> Doubt {
        self.doubt.into_inner()
    }

    /// Whether a series tells nothing of now: its agent is not heard of, or what is read of it has a hole, which for an
    /// instant selector begins at the newest sample.
    fn is_hidden(&self, glance: &Glance<'_>, series: &Series, selection: &Selection<'_>) -> bool {
        // Nearly always; asked for every series that a rule reads.
        if glance.gaps.is_empty() || series.owner() == OURSELVES {
            return glance.unheard.reported(series);
        }
        let labels = &series.key().labels;
        let newest = || series.samples(selection.after, selection.until).last().map(|sample| sample.at);
        let from = match selection.reads {
            Reads::Newest { .. } => newest().unwrap_or(selection.after),
            Reads::All => selection.after,
        };
        let gap = glance.gaps.overlaps(labels, from, selection.until);
        if let Some(gap) = gap {
            self.doubt.borrow_mut().over_gap(labels, &gap.reason);
        }
        gap.is_some() || glance.unheard.reported(series)
    }
}

impl Select for RuleSelect<'_> {
    fn select(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let mut copies = Copies::default();
        self.live.look(|glance| {
            let unread = glance
                .unheard
                .iter()
                .filter(|(service, instance)| self.reads_agents && self.rule.admits(service, instance));
            unread.for_each(|(service, instance)| self.doubt.borrow_mut().unheard(service, instance));
            for series in glance.head.select(selection.name) {
                copies.add_unless(series, selection, &|series| self.is_hidden(&glance, series, selection));
            }
        });
        let _ = copies.drain(each);
        Ok(())
    }
}

/// Of each rule, the recording rules that it reads, and those that these read, and so on.
pub(super) fn recordings_read(rules: &[Rule]) -> Vec<Vec<usize>> {
    let records = |rule: &Rule| rule.loaded.rule.as_alert().is_none();
    let directly = |reader: &Rule| -> BTreeSet<usize> {
        let read = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| records(rule) && reader.loaded.query.reads(rule.loaded.rule.name()));
        read.map(|(index, _)| index).collect()
    };
    let direct: Vec<BTreeSet<usize>> = rules.iter().map(directly).collect();
    let closure = |first: &BTreeSet<usize>| {
        let (mut found, mut next) = (BTreeSet::new(), first.iter().copied().collect::<Vec<_>>());
        while let Some(index) = next.pop() {
            if found.insert(index) {
                next.extend(&direct[index]);
            }
        }
        found.into_iter().collect()
    };
    direct.iter().map(closure).collect()
}

/// The two series of an alert that is pending or fires.
pub(super) fn alert_series(instance: &Instance) -> [(SeriesKey, f64); 2] {
    let name = |name| MetricName::try_new(name).expect("it is a metric's name");
    let state = Label::try_new("alertstate", instance.state.as_str()).expect("it is a label");
    let shown = SeriesKey { name: name("ALERTS"), labels: instance.labels.with(state) };
    let since = SeriesKey { name: name("ALERTS_FOR_STATE"), labels: instance.labels.clone() };
    [(shown, 1.0), (since, instance.active_at.as_seconds().floor())]
}

/// An expression's value as the alerts that it means: a number is one without labels, as in Prometheus.
pub(super) fn to_alerting(value: Value) -> Result<Vec<alerting::Point>, String> {
    let points = match value {
        Value::Vector(points) => points,
        Value::Scalar(_, value) => return Ok(vec![alerting::Point { name: None, labels: Labels::EMPTY, value }]),
        Value::Text(..) | Value::Matrix(_) => return Err("the expression gives neither a vector nor a number".into()),
    };
    let convert = |point: promql::Point| {
        let labels = Labels::try_new(point.labels.iter().filter(|(name, _)| *name != METRIC_NAME));
        let labels = labels.map_err(|error| format!("an alert cannot have these labels: {error}"))?;
        Ok(alerting::Point { name: MetricName::try_new(point.labels.name()).ok(), labels, value: point.value })
    };
    points.into_iter().map(convert).collect()
}
