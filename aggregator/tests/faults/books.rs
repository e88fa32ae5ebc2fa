//! The books of both programs, as `docs/conservation.md` has them: what went into a stage has come out of it, is dropped
//! for a reason, or waits in it. Read from their pages, after whatever was done to them.

use proto::catalog::{self, Metric};

/// One sum: what came in, and where it went.
pub type Sum = (&'static Metric, &'static [&'static Metric]);

/// The agent's.
pub const AGENT: &[Sum] = &[
    (
        &catalog::AGENT_PASSES_IN_TOTAL,
        &[&catalog::AGENT_PASSES_OUT_TOTAL, &catalog::AGENT_DROPPED_PASSES_TOTAL, &catalog::AGENT_PASSES_WAITING],
    ),
    (
        &catalog::RECEIVE_EVENTS_IN_TOTAL,
        &[&catalog::RECEIVE_EVENTS_OUT_TOTAL, &catalog::RECEIVE_EVENTS_REFUSED_TOTAL, &catalog::RECEIVE_EVENTS_WAITING],
    ),
    (
        &catalog::SPOOL_RECORDS_IN_TOTAL,
        &[
            &catalog::SPOOL_RECORDS_OUT_TOTAL,
            &catalog::SPOOL_RECORDS_MOVED_TOTAL,
            &catalog::SPOOL_RECORDS_DROPPED_TOTAL,
            &catalog::SPOOL_RECORDS_WAITING,
        ],
    ),
    (
        &catalog::UPLINK_BATCHES_SENT_TOTAL,
        &[
            &catalog::UPLINK_BATCHES_ACKED_TOTAL,
            &catalog::UPLINK_BATCHES_REFUSED_TOTAL,
            &catalog::UPLINK_BATCHES_MOVED_TOTAL,
            &catalog::UPLINK_BATCHES_UNANSWERED_TOTAL,
            &catalog::UPLINK_BATCHES_IN_FLIGHT,
        ],
    ),
];

/// The aggregator's.
pub const AGGREGATOR: &[Sum] = &[
    (&catalog::INGEST_RECEIVED_BATCHES_TOTAL, &[&catalog::INGEST_BATCHES_TOTAL, &catalog::INGEST_WAITING_BATCHES]),
    (
        &catalog::INGEST_RECEIVED_SAMPLES_TOTAL,
        &[&catalog::INGEST_SAMPLES_TOTAL, &catalog::INGEST_DROPPED_SAMPLES_TOTAL],
    ),
    (&catalog::INGEST_RECEIVED_EVENTS_TOTAL, &[&catalog::INGEST_EVENTS_TOTAL]),
];

/// What the aggregator drops of its own series; it was never received.
const OWN: &str = "=\"own_";

/// How much must have gone through a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trade {
    /// It may stand still: the program has just started.
    Any,
    /// Something, or its sum says nothing.
    Some,
}

/// The first sum that does not hold on a page, or of which a part is not there; `None` where all hold.
pub fn broken(page: &str, sums: &[Sum], trade: Trade) -> Option<String> {
    sums.iter().find_map(|(whole, parts)| check(page, whole, parts, trade).err())
}

fn check(page: &str, metric: &Metric, parts: &[&Metric], trade: Trade) -> Result<(), String> {
    let whole = total(page, metric)?;
    let parts = parts.iter().map(|part| total(page, part)).collect::<Result<Vec<_>, _>>()?;
    if whole != parts.iter().sum::<f64>() {
        return Err(format!("{} is {whole}, and its parts are {parts:?}", metric.name));
    }
    if whole == 0.0 && trade == Trade::Some {
        return Err(format!("{} is 0: its sum proves nothing", metric.name));
    }
    Ok(())
}

/// All series of a metric together. A page without any has another name for it, and its sum would hold for nothing.
fn total(page: &str, metric: &Metric) -> Result<f64, String> {
    let of_metric = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric.name));
    let values = of_metric.filter(|line| !line.contains(OWN)).map(|line| {
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        value.ok_or_else(|| format!("no number: {line}"))
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() { Err(format!("the page has no {}", metric.name)) } else { Ok(values.iter().sum()) }
}

// === tests ===

const SUM: &[Sum] = &[(
    &catalog::INGEST_RECEIVED_SAMPLES_TOTAL,
    &[&catalog::INGEST_SAMPLES_TOTAL, &catalog::INGEST_DROPPED_SAMPLES_TOTAL],
)];

/// A page of the metrics of [`SUM`], the last one with a reason.
fn page(received: u64, kept: u64, dropped: &[(&str, u64)]) -> String {
    let (whole, parts) = SUM[0];
    let dropped = dropped.iter().map(|(reason, count)| format!("{}{{reason=\"{reason}\"}} {count}", parts[1].name));
    let mut lines = vec![
        format!("# TYPE {} counter", whole.name),
        format!("{} {received}", whole.name),
        format!("{}_more 9", whole.name),
        format!("{} {kept}", parts[0].name),
    ];
    lines.extend(dropped);
    lines.join("\n")
}

#[test]
fn a_sum_that_does_not_hold_is_named_and_what_was_never_received_is_left_out() {
    let why = broken(&page(5, 3, &[("a", 1), ("own_limit", 7)]), SUM, Trade::Some).expect("one is missing");
    assert!(why.ends_with("is 5, and its parts are [3.0, 1.0]"), "{why}");
    assert_eq!(broken(&page(5, 3, &[("a", 1), ("b", 1), ("own_limit", 7)]), SUM, Trade::Some), None);
}

#[test]
fn a_metric_that_is_not_there_and_a_stage_that_nothing_went_through_are_no_proof() {
    let why = broken(&page(3, 3, &[]), SUM, Trade::Some).expect("a part is not there");
    assert!(why.starts_with("the page has no"), "{why}");
    assert!(broken("", SUM, Trade::Any).is_some(), "an empty page");
    let idle = page(0, 0, &[("a", 0)]);
    assert!(broken(&idle, SUM, Trade::Some).is_some_and(|why| why.ends_with("proves nothing")));
    assert_eq!(broken(&idle, SUM, Trade::Any), None);
}
