//! The books of both programs, as `docs/conservation.md` has them: what went into a stage has come out of it, is dropped
//! for a reason, or waits in it. Read from their pages, after whatever was done to them.

/// One sum: what came in, and where it went.
type Sum = (&'static str, &'static [&'static str]);

/// The agent's.
pub const AGENT: &[Sum] = &[
    (
        "monitoring_agent_passes_in_total",
        &[
            "monitoring_agent_passes_out_total",
            "monitoring_agent_passes_dropped_total",
            "monitoring_agent_passes_waiting",
        ],
    ),
    (
        "monitoring_receive_events_in_total",
        &[
            "monitoring_receive_events_out_total",
            "monitoring_receive_events_refused_total",
            "monitoring_receive_events_waiting",
        ],
    ),
    (
        "monitoring_spool_records_in_total",
        &[
            "monitoring_spool_records_out_total",
            "monitoring_spool_records_moved_total",
            "monitoring_spool_records_dropped_total",
            "monitoring_spool_records_waiting",
        ],
    ),
    (
        "monitoring_uplink_batches_sent_total",
        &[
            "monitoring_uplink_batches_acked_total",
            "monitoring_uplink_batches_refused_total",
            "monitoring_uplink_batches_moved_total",
            "monitoring_uplink_batches_unanswered_total",
            "monitoring_uplink_batches_in_flight",
        ],
    ),
];

/// The aggregator's.
pub const AGGREGATOR: &[Sum] = &[
    (
        "monitoring_ingest_received_batches_total",
        &["monitoring_ingest_batches_total", "monitoring_ingest_waiting_batches"],
    ),
    (
        "monitoring_ingest_received_samples_total",
        &["monitoring_ingest_samples_total", "monitoring_ingest_dropped_samples_total"],
    ),
    ("monitoring_ingest_received_events_total", &["monitoring_ingest_events_total"]),
];

/// What the aggregator drops of its own series; it was never received.
const OWN: &str = "=\"own_";

/// The first sum that does not hold on a page; `None` where all do.
pub fn broken(page: &str, sums: &[Sum]) -> Option<String> {
    sums.iter().find_map(|(name, parts)| {
        let whole = total(page, name);
        let parts: Vec<f64> = parts.iter().map(|part| total(page, part)).collect();
        (whole != parts.iter().sum::<f64>()).then(|| format!("{name} is {whole}, and its parts are {parts:?}"))
    })
}

/// All series of a metric together.
fn total(page: &str, name: &str) -> f64 {
    let is_of = |line: &&str| line.split(['{', ' ']).next() == Some(name) && !line.contains(OWN);
    page.lines().filter(is_of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_sum_that_does_not_hold_is_named_and_what_was_never_received_is_left_out() {
    const SUMS: &[Sum] = &[("in", &["out", "dropped"])];
    let page =
        "# TYPE in counter\nin 5\nin_flight 9\nout 3\ndropped{reason=\"a\"} 1\ndropped{reason=\"own_limit\"} 7\n";
    assert_eq!(broken(page, SUMS).as_deref(), Some("in is 5, and its parts are [3.0, 1.0]"));
    assert_eq!(broken(&format!("{page}dropped{{reason=\"b\"}} 1\n"), SUMS), None);
}
