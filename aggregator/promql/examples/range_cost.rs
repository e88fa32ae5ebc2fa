//! What range queries cost: 1,000 series with a sample each 10 s for 23 hours, a step a minute (1,380 of them).
//!
//! `cargo run --release -p monitoring-promql --example range_cost`; seen in November 2026 on two shared cores, without
//! link-time optimization: the newest sample of each series 56 ms, `rate` over 5 minutes 173 ms, its average by zone 100 ms.

#![expect(clippy::print_stdout, reason = "figures are for people")]

use promql::{LabelSet, Limits, METRIC_NAME, Range, Samples, Select, SelectError, Selection, Value};
use proto::sample::Timestamp;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

const SERIES: usize = 1_000;
const SAMPLE_MS: i64 = 10_000;
const HOURS: i64 = 23;
const STEP_MS: i64 = 60_000;
const ROUNDS: usize = 3;

/// All series have the same times.
struct Store {
    times: Vec<i64>,
    series: Vec<(LabelSet, Vec<f64>)>,
}

impl Store {
    fn new() -> Self {
        // Before the first step there is as much as the longest window asks for.
        let times: Vec<i64> = (-360..HOURS * 3_600_000 / SAMPLE_MS).map(|index| index * SAMPLE_MS).collect();
        let series = |index: usize| {
            let (host, zone) = (format!("host-{index:04}"), format!("zone-{}", index % 5));
            let labels = LabelSet::from_pairs([(METRIC_NAME, "requests_total"), ("host", &host), ("zone", &zone)]);
            let mut total = 0.0;
            // Counters that grow unevenly, and start again once in a while.
            let values = (0..times.len()).map(|time| {
                total = if (time + index * 7).is_multiple_of(2_000) {
                    0.0
                } else {
                    total + ((time * 31 + index) % 17) as f64
                };
                total
            });
            (labels, values.collect())
        };
        Self { series: (0..SERIES).map(series).collect(), times }
    }
}

impl Select for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&LabelSet, Samples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let start = self.times.partition_point(|time| *time <= selection.after.as_millis());
        let end = self.times.partition_point(|time| *time <= selection.until.as_millis());
        for (labels, values) in &self.series {
            if each(labels, Samples { times: &self.times[start..end], values: &values[start..end] }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::new();
    let range = Range::try_new(Timestamp::ZERO, Timestamp::from_millis(HOURS * 3_600_000 - STEP_MS), STEP_MS)?;
    println!("{SERIES} series, {} samples each, {} steps; the best of {ROUNDS}", store.times.len(), range.count());
    let queries = [
        "requests_total",
        "sum(requests_total)",
        "rate(requests_total[5m])",
        "avg by (zone) (rate(requests_total[5m]))",
        "sum by (host) (rate(requests_total[5m]))",
        "avg_over_time(requests_total[5m])",
        "max_over_time(requests_total[1h])",
        "quantile_over_time(0.9, requests_total[5m])",
        "requests_total / on (host, zone) requests_total",
        "requests_total * 2 > 1000",
        "topk(5, rate(requests_total[5m]))",
        "quantile by (zone) (0.9, requests_total)",
        "count_values(\"v\", requests_total % 10)",
        "max_over_time(rate(requests_total[5m])[30m:1m])",
    ];
    for text in queries {
        let query = promql::parse(text)?;
        let (mut best, mut rows) = (f64::INFINITY, 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let answer = query.range(&store, range, &Limits::default())?;
            best = best.min(start.elapsed().as_secs_f64());
            rows = if let Value::Matrix(lines) = answer.value { lines.len() } else { 0 };
        }
        println!("{:8.1} ms {rows:5} rows  {text}", best * 1_000.0);
    }
    Ok(())
}
