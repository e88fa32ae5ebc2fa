//! A storage that is a list.

use promql::{LabelSet, Samples, Select, SelectError, Selection};
use std::ops::ControlFlow;

/// Series in the order in which they came, each with its times and values.
#[derive(Debug, Default)]
pub struct Store(pub Vec<(LabelSet, Vec<i64>, Vec<f64>)>);

impl Select for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        for (labels, times, values) in &self.0 {
            if selection.name.is_some_and(|name| name != labels.name())
                || !selection.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name())))
            {
                continue;
            }
            let start = times.partition_point(|time| *time <= selection.after.as_millis());
            let end = times.partition_point(|time| *time <= selection.until.as_millis());
            if start >= end {
                continue;
            }
            if each(labels, Samples { times: &times[start..end], values: &values[start..end] }).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
