//! PromQL over the head: what `promql` asks of a storage, answered from memory.

use promql::{Matcher, Point, Select, SelectError};
use proto::sample::Timestamp;
use std::time::Duration;
use tsdb::{Head, Series};

/// The head as a storage.
pub struct HeadSelect<'a> {
    /// The samples.
    pub head: &'a Head,
    /// Whether the newest sample of a series, which is of this time, tells nothing of when it is asked for: then the series
    /// has none. Asked of those series only that the query reads.
    pub hidden: &'a dyn Fn(&Series, Timestamp) -> bool,
}

impl Select for HeadSelect<'_> {
    fn select(
        &self,
        name: Option<&str>,
        matchers: &[Matcher],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<Point>, SelectError> {
        let mut points = Vec::new();
        for series in self.head.select(name) {
            let key = series.key();
            if !matchers.iter().all(|matcher| matcher.matches_series(&key.name, &key.labels)) {
                continue;
            }
            if let Some(sample) = series.value_at(at, lookback).filter(|sample| !(self.hidden)(series, sample.at)) {
                let (name, labels) = (Some(key.name.clone()), key.labels.clone());
                points.push(Point { name, labels, value: sample.value });
            }
        }
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::name::SeriesKey;
    use proto::sample::{Frame, Kind, Pass, STALE, Schema, SchemaId, SeriesDef};
    use std::sync::Arc;
    use tsdb::{Limits, Origin};
    use uuid::Uuid;

    fn head(passes: &[(i64, [f64; 2])]) -> Head {
        let series = ["agenda", "fila"].map(|service| SeriesDef {
            key: SeriesKey::try_new("cpu", [("service", service)]).expect("legal"),
            kind: Kind::Gauge,
        });
        let schema = Arc::new(Schema { source: "host".into(), interval: Duration::ZERO, series: series.to_vec() });
        let passes =
            passes.iter().map(|(at, values)| Pass { at: Timestamp::from_millis(*at), values: values.to_vec() });
        let frame = Frame::try_new(SchemaId(1), schema, passes.collect()).expect("fits");
        let mut head = Head::new(Limits::default());
        head.append(&Origin { agent_id: Uuid::nil(), labels: vec![] }, &frame);
        head
    }

    fn eval(head: &Head, query: &str, at: i64) -> Vec<(String, f64)> {
        let query = promql::parse(query).expect("parses");
        let points =
            query.eval(&HeadSelect { head, hidden: &|_, _| false }, Timestamp::from_millis(at)).expect("evaluates");
        let mut shown: Vec<_> =
            points.iter().map(|p| (p.labels.get("service").unwrap_or("").to_string(), p.value)).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown
    }

    #[test]
    fn a_selector_finds_by_name_and_labels_and_a_comparison_filters() {
        let head = head(&[(1_000, [10.0, 95.0])]);
        assert_eq!(eval(&head, "cpu", 1_000), [("agenda".into(), 10.0), ("fila".into(), 95.0)]);
        assert_eq!(eval(&head, "cpu > 90", 1_000), [("fila".into(), 95.0)]);
        assert_eq!(eval(&head, r#"cpu{service=~"ag.*"}"#, 1_000), [("agenda".into(), 10.0)]);
        assert_eq!(eval(&head, r#"{__name__=~"c.u", service!="fila"}"#, 1_000), [("agenda".into(), 10.0)]);
        assert_eq!(eval(&head, "memory", 1_000), []);
    }

    #[test]
    fn a_stale_series_has_no_value_however_young_its_last_sample() {
        let head = head(&[(1_000, [10.0, 95.0]), (2_000, [STALE, 96.0])]);
        assert_eq!(eval(&head, "cpu", 1_999), [("agenda".into(), 10.0), ("fila".into(), 95.0)]);
        assert_eq!(eval(&head, "cpu", 2_000), [("fila".into(), 96.0)]);
        assert_eq!(eval(&head, "cpu", 2_000 + 300_000), [], "the lookback is over");
    }
}
