//! What services report of themselves, through the agent. Promised by name before the first of them does, so that
//! dashboards can be made for it; `v1/report.proto` is the form in which it will come.

use super::Metric;
use crate::sample::Kind::Histogram;

/// Every row of this file.
pub(super) const SERVICE_ROWS: &[&Metric] = &[&HTTP_REQUEST_DURATION_SECONDS];

/// Requests.
pub const HTTP_REQUEST_DURATION_SECONDS: Metric = Metric {
    name: "http_request_duration_seconds",
    kind: Histogram,
    unit: "seconds",
    labels: &["method", "route", "status_code"],
    help: "Time that the service took to answer an HTTP request, by method, route template and status.",
};
