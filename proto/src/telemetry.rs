//! Our own metrics: a registry whose every name is a row of the catalog.
//!
//! Each program makes one [`Telemetry`] and hands parts of it to its stages. A metric is made from its row, so that a
//! name, help text or label can't be misspelled at the place where it is counted. A counter stands at zero from the start
//! for every label value that is known beforehand (`catalog::value`).

use crate::catalog::{self, Metric};
use crate::exposition::Encoder;
use crate::sample::Kind;
use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// The registry of one program.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    registry: Registry,
}

/// Upper bounds in seconds of the histograms of our own durations: 0.1 ms to 10 s, three to a decade.
const DURATION_BUCKETS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

// === impl Telemetry ===

impl Telemetry {
    /// A counter without labels.
    pub fn counter(&self, row: &'static Metric) -> IntCounter {
        debug_assert_eq!(row.kind, Kind::Counter);
        self.register(IntCounter::with_opts(opts(row)).expect(LEGAL))
    }

    /// A counter of something that is no whole number, without labels.
    pub fn float_counter(&self, row: &'static Metric) -> Counter {
        debug_assert_eq!(row.kind, Kind::Counter);
        self.register(Counter::with_opts(opts(row)).expect(LEGAL))
    }

    /// A counter with the row's labels.
    pub fn counters(&self, row: &'static Metric) -> IntCounterVec {
        debug_assert_eq!(row.kind, Kind::Counter);
        let counters = self.register(IntCounterVec::new(opts(row), row.labels).expect(LEGAL));
        for (_, values) in catalog::value::KNOWN.iter().filter(|(known, _)| *known == row) {
            values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
        }
        counters
    }

    /// A gauge without labels.
    pub fn gauge(&self, row: &'static Metric) -> Gauge {
        debug_assert_eq!(row.kind, Kind::Gauge);
        self.register(Gauge::with_opts(opts(row)).expect(LEGAL))
    }

    /// A gauge with the row's labels.
    pub fn gauges(&self, row: &'static Metric) -> GaugeVec {
        debug_assert_eq!(row.kind, Kind::Gauge);
        self.register(GaugeVec::new(opts(row), row.labels).expect(LEGAL))
    }

    /// A histogram of durations in seconds, without labels.
    pub fn histogram(&self, row: &'static Metric) -> Histogram {
        debug_assert_eq!(row.kind, Kind::Histogram);
        let opts = HistogramOpts::new(row.name, row.help).buckets(DURATION_BUCKETS.to_vec());
        self.register(Histogram::with_opts(opts).expect(LEGAL))
    }

    /// Calls `each` with every sample: its name (`_bucket`, `_sum` and `_count` for a histogram's parts), kind, labels
    /// and value, sorted by family.
    pub fn visit(&self, mut each: impl FnMut(&'static Metric, &str, &[(&str, &str)], f64)) {
        for family in self.registry.gather() {
            if let Some(row) = catalog::find(family.name()) {
                visit_family(row, &family, &mut each);
            }
        }
    }

    /// Writes every family to a page.
    pub fn encode(&self, encoder: &mut Encoder) {
        let mut begun = "";
        self.visit(|row, name, labels, value| {
            if begun != row.name {
                begun = row.name;
                encoder.family(row.name, row.kind, row.help);
            }
            encoder.sample(name, labels.iter().copied(), value);
        });
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.registry.register(Box::new(collector.clone())).expect("a program registers each row of the catalog once");
        collector
    }
}

/// What proves that a metric can be made of a row.
const LEGAL: &str = "a test holds that every row of the catalog is a legal metric";

fn opts(row: &'static Metric) -> Opts {
    Opts::new(row.name, row.help)
}

fn visit_family(
    row: &'static Metric,
    family: &MetricFamily,
    each: &mut impl FnMut(&'static Metric, &str, &[(&str, &str)], f64),
) {
    for metric in family.get_metric() {
        let labels: Vec<(&str, &str)> = metric.get_label().iter().map(|l| (l.name(), l.value())).collect();
        match family.get_field_type() {
            MetricType::COUNTER => each(row, row.name, &labels, metric.get_counter().get_value()),
            MetricType::HISTOGRAM => visit_histogram(row, metric.get_histogram(), &labels, each),
            _ => each(row, row.name, &labels, metric.get_gauge().get_value()),
        }
    }
}

fn visit_histogram(
    row: &'static Metric,
    histogram: &prometheus::proto::Histogram,
    labels: &[(&str, &str)],
    each: &mut impl FnMut(&'static Metric, &str, &[(&str, &str)], f64),
) {
    let name = format!("{}_bucket", row.name);
    let total = histogram.get_sample_count();
    let bounds = histogram.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count()));
    for (bound, count) in bounds.filter(|(bound, _)| bound.is_finite()).chain([(f64::INFINITY, total)]) {
        let le = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".into() };
        let mut with_le = labels.to_vec();
        with_le.push(("le", &le));
        each(row, &name, &with_le, count as f64);
    }
    each(row, &format!("{}_sum", row.name), labels, histogram.get_sample_sum());
    each(row, &format!("{}_count", row.name), labels, total as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Format;

    #[test]
    fn a_counter_stands_at_zero_for_every_reason_that_is_known() {
        let telemetry = Telemetry::default();
        let counters = telemetry.counters(&catalog::UPLINK_FAILURES_TOTAL);
        counters.with_label_values(&["silent"]).inc();
        let mut seen = Vec::new();
        telemetry.visit(|_, _, labels, value| seen.push((labels[0].1.to_owned(), value)));
        let expected = [("broken", 0.0), ("closed", 0.0), ("connect", 0.0), ("refused", 0.0), ("silent", 1.0)];
        assert_eq!(seen, expected.map(|(reason, value)| (reason.to_owned(), value)));
    }

    #[test]
    fn a_histogram_ends_with_the_infinite_bucket_that_equals_its_count() {
        let telemetry = Telemetry::default();
        let histogram = telemetry.histogram(&catalog::INGEST_COMMIT_DURATION_SECONDS);
        histogram.observe(0.003);
        histogram.observe(99.0);
        let mut encoder = Encoder::new(Format::Text);
        telemetry.encode(&mut encoder);
        let page = encoder.finish();
        assert!(page.contains("_bucket{le=\"0.0025\"} 0\n"), "{page}");
        assert!(page.contains("_bucket{le=\"0.005\"} 1\n"), "{page}");
        assert!(page.contains("_bucket{le=\"+Inf\"} 2\n"), "{page}");
        assert!(page.contains("_count 2\n"), "{page}");
        assert_eq!(page.matches("# TYPE").count(), 1, "{page}");
    }
}
