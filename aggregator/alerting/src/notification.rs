//! Notifications as Alertmanager sends them: webhook JSON, version 4.
//!
//! Pure: instances of one alert in, [`Webhook`]s out, which serde writes. Every receiver made for Alertmanager reads
//! them, and they carry nothing but labels, annotations and times.
//!
//! What changed stands first, and nothing that changed is left out: where there is more of it than one message may
//! have, there are several. What only fires on fills the room that is left.

use crate::instance::{Instance, InstanceState};
use crate::rule::ALERT_NAME;
use proto::sample::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The message. Source: alertmanager `notify/webhook/webhook.go`, `template/template.go`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Always `4`.
    pub version: &'static str,
    /// Identity of the group, `{}:{alertname="X"}`; with a fingerprint the key by which a receiver deduplicates.
    pub group_key: String,
    /// How many alerts of the group this message leaves out.
    pub truncated_alerts: usize,
    /// `firing` when any alert of the group fires, those left out included.
    pub status: Status,
    /// Name of the receiver.
    pub receiver: String,
    /// Why this was sent, in words.
    #[serde(rename = "notification_reason")]
    pub notification_reason: String,
    /// The labels by which the alerts are grouped.
    pub group_labels: BTreeMap<String, String>,
    /// Labels that all alerts of the group have alike.
    pub common_labels: BTreeMap<String, String>,
    /// Annotations that all alerts of the group have alike.
    pub common_annotations: BTreeMap<String, String>,
    /// Labels of the route; there is none, so it is empty.
    pub route_labels: BTreeMap<String, String>,
    /// Where our pages are.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// The alerts: those that began to fire, those that are over, those that fire on; each in order of fingerprints.
    pub alerts: Vec<Alert>,
}

/// One alert of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Whether it fires or is over.
    pub status: Status,
    /// All labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire, RFC 3339 in milliseconds, UTC.
    pub starts_at: String,
    /// When it was over; [`ZERO_TIME`] while it fires.
    pub ends_at: String,
    /// Where the expression can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Fingerprint of the labels.
    pub fingerprint: String,
}

/// Status of an alert and of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is true now.
    Firing,
    /// It is over.
    Resolved,
}

/// What a message says beside its alerts.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Name of the receiver.
    pub receiver: &'a str,
    /// Why it is sent, e.g. `first notification`.
    pub reason: &'a str,
    /// Where our pages are, without a slash at the end.
    pub external_url: &'a str,
    /// How many alerts one message has at most; `None` is all, and zero is one: else nobody would ever be told.
    pub max_alerts: Option<usize>,
}

/// An instance to tell of.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What is told.
    pub instance: &'a Instance,
    /// The expression of its rule, for the link to it.
    pub expr: &'a str,
}

/// Go's zero time: what Alertmanager's receivers see as the end of an alert that has none.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Version of the format.
const VERSION: &str = "4";

// === impl Webhook ===

impl Webhook {
    /// The messages about `news`, what began or ceased to fire, with what fires on beside it (`standing`): all are of the
    /// alert `alert_name`, of whatever rule. Without news there is nothing to tell. No instance may be in both.
    ///
    /// Status and common labels are those of the whole group, so no message makes a burning group look over.
    pub fn messages(alert_name: &str, news: &[Told], standing: &[Told], envelope: Envelope<'_>) -> Vec<Self> {
        let mut alerts = told(news, envelope.external_url);
        let changed = alerts.len();
        alerts.extend(told(standing, envelope.external_url));
        let cap = envelope.max_alerts.unwrap_or(alerts.len()).max(1);
        let fires = alerts.iter().any(|alert| alert.status == Status::Firing);
        let group = Self {
            version: VERSION,
            group_key: group_key(alert_name),
            truncated_alerts: 0,
            status: if fires { Status::Firing } else { Status::Resolved },
            receiver: envelope.receiver.to_owned(),
            notification_reason: envelope.reason.to_owned(),
            group_labels: BTreeMap::from([(ALERT_NAME.to_owned(), alert_name.to_owned())]),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            route_labels: BTreeMap::new(),
            external_url: envelope.external_url.to_owned(),
            alerts: Vec::new(),
        };
        let parts = alerts.chunks(cap).take(changed.div_ceil(cap));
        let message = |part: &[Alert]| Self {
            truncated_alerts: alerts.len() - part.len(),
            alerts: part.to_vec(),
            ..group.clone()
        };
        parts.map(message).collect()
    }
}

// === impl Alert ===

impl Alert {
    fn new(status: Status, instance: &Instance, generator_url: &str) -> Self {
        let ends_at = match (status, instance.resolved_at) {
            (Status::Resolved, Some(at)) => rfc3339(at),
            _ => ZERO_TIME.to_owned(),
        };
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            status,
            labels: instance.labels.iter().map(|l| owned(l.name(), l.value())).collect(),
            annotations: instance.annotations.iter().cloned().collect(),
            starts_at: rfc3339(instance.fired_at.unwrap_or(instance.active_at)),
            ends_at,
            generator_url: generator_url.to_owned(),
            fingerprint: instance.fingerprint.to_string(),
        }
    }
}

// === impl Status ===

impl Status {
    /// The status that receivers see; `None` for what they do not.
    pub fn of(state: InstanceState) -> Option<Self> {
        match state {
            InstanceState::Firing => Some(Self::Firing),
            InstanceState::Resolved => Some(Self::Resolved),
            InstanceState::Inactive | InstanceState::Pending => None,
        }
    }

    /// The word in the message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

// === alerts ===

/// Those that receivers see: what fires before what is over.
fn told(instances: &[Told], external_url: &str) -> Vec<Alert> {
    let seen = instances.iter().filter_map(|told| Some((Status::of(told.instance.state)?, told)));
    let mut seen: Vec<(Status, &Told)> = seen.collect();
    seen.sort_by_key(|(status, told)| (*status == Status::Resolved, told.instance.fingerprint));
    let alert =
        |(status, told): (Status, &Told)| Alert::new(status, told.instance, &generator_url(external_url, told.expr));
    seen.into_iter().map(alert).collect()
}

// === texts ===

/// Key of the group of all alerts named `alert_name`, as Alertmanager writes it for a route without matchers.
pub fn group_key(alert_name: &str) -> String {
    format!("{{}}:{{{ALERT_NAME}={}}}", quoted(alert_name))
}

/// The link to the expression that Prometheus would give.
pub fn generator_url(external_url: &str, expr: &str) -> String {
    format!("{external_url}/graph?g0.expr={}&g0.tab=1", query_escaped(expr))
}

/// RFC 3339 in milliseconds, UTC: `2026-11-23T14:03:10.000Z`. Times outside the years that it can write become the
/// nearest it can.
pub fn rfc3339(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.as_millis())
        .unwrap_or_else(|_| if at < Timestamp::ZERO { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
    format!("{time:.3}")
}

/// What all of `maps` have alike.
fn common<'m>(mut maps: impl Iterator<Item = &'m BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut common = maps.next().cloned().unwrap_or_default();
    for map in maps {
        common.retain(|name, value| map.get(name) == Some(value));
    }
    common
}

/// Go's `%q` for text without control characters other than the usual three.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Go's `url.QueryEscape`.
fn query_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
