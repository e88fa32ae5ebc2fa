//! One alert instance and what an evaluation makes of it.
//!
//! ```text
//!                       in the result                        not in the result
//!  (none), Resolved     ► Pending, held = 0                  Resolved: forgotten after RESOLVED_RETENTION
//!  Pending              held >= for ► Firing                 ► (none), nothing is sent
//!  Firing               held <  for ► Pending (reload)       absent < keep_firing_for: stays, else ► Resolved
//! ```
//!
//! Durations do not come from the wall clock. `held` and `absent` are sums of monotonic time between evaluations, so a
//! clock set by an hour neither fires an alert nor delays one, and an instance that is written to a row and read back
//! after an outage continues where it stood. The timestamps beside them are for people.
//!
//! Source: prometheus `rules/alerting.go`, `Eval`.

use crate::Fingerprint;
use crate::evaluation::Reason;
use crate::rule::AlertRule;
use proto::name::Labels;
use proto::sample::Timestamp;
use std::fmt;
use std::time::Duration;

/// How long a resolved instance is kept, in time that we were running: whoever opens the page after the mail sees what
/// it was about. Prometheus's `resolvedRetention`.
pub const RESOLVED_RETENTION: Duration = Duration::from_mins(15);

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InstanceState {
    /// There is no such instance. Appears in transitions only, never in an [`Instance`].
    Inactive,
    /// True, but not for long enough.
    Pending,
    /// True for long enough; or kept firing, when `keep_firing_since` is set.
    Firing,
    /// Was firing, is over, and is remembered for [`RESOLVED_RETENTION`].
    Resolved,
}

/// The text is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an alert state: inactive, pending, firing or resolved")]
pub struct InstanceStateError(pub String);

/// One alert instance: plain data, a row of SQL.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Identity within its rule: the fingerprint of `labels`.
    pub fingerprint: Fingerprint,
    /// The sample's labels, the rule's labels over them, and `alertname`.
    pub labels: Labels,
    /// Expanded annotations in order of their names, as of the last evaluation that had the instance in its result.
    pub annotations: Vec<(String, String)>,
    /// Where it stands.
    pub state: InstanceState,
    /// Value of the sample at that evaluation, in the unit of the expression.
    pub value: f64,
    /// Since when the condition holds; on a restart moved by the time we were down. For display.
    pub active_at: Timestamp,
    /// When it began to fire; what notifications call `startsAt`.
    pub fired_at: Option<Timestamp>,
    /// When it resolved; never before `fired_at`.
    pub resolved_at: Option<Timestamp>,
    /// Set while it fires only because of `keep_firing_for`: since when. For display.
    pub keep_firing_since: Option<Timestamp>,
    /// How long it has been active (pending and firing together) while we were running.
    pub held: Duration,
    /// While kept firing: for how long already. Once resolved: how long ago. Otherwise zero. Running time only.
    pub absent: Duration,
}

/// What an evaluation found for one instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub labels: Labels,
    pub annotations: Vec<(String, String)>,
    pub value: f64,
}

/// The time of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Wall clock.
    pub at: Timestamp,
    /// Running time since the previous one.
    pub advance: Duration,
}

// === impl InstanceState ===

impl InstanceState {
    /// The word in rows, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Whether it is pending or firing.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Firing)
    }

    /// The state that [`InstanceState::as_str`] prints as `text`.
    pub fn parse(text: &str) -> Result<Self, InstanceStateError> {
        [Self::Inactive, Self::Pending, Self::Firing, Self::Resolved]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| InstanceStateError(text.to_owned()))
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Instance ===

impl Instance {
    /// Whether it is pending or firing.
    pub fn is_active(&self) -> bool {
        self.state.is_active()
    }

    /// A new instance that is in the result for the first time.
    pub(crate) fn appeared(fingerprint: Fingerprint, found: Found, rule: &AlertRule, at: Timestamp) -> Self {
        let mut instance = Self {
            fingerprint,
            labels: found.labels,
            annotations: found.annotations,
            state: InstanceState::Pending,
            value: found.value,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
            held: Duration::ZERO,
            absent: Duration::ZERO,
        };
        if rule.hold_for.is_zero() {
            instance.fire(at);
        }
        instance
    }

    /// An active instance that is in the result again. `None`: its state did not change.
    pub(crate) fn present(&mut self, found: Found, rule: &AlertRule, now: Moment) -> Option<Reason> {
        debug_assert!(self.is_active(), "a resolved instance appears anew");
        self.annotations = found.annotations;
        self.value = found.value;
        self.held = self.held.saturating_add(now.advance);
        self.keep_firing_since = None;
        self.absent = Duration::ZERO;
        // The clock was set back since: what begins in the future would be told as such.
        self.active_at = self.active_at.min(now.at);
        match (self.state, self.held >= rule.hold_for) {
            (InstanceState::Pending, true) => {
                self.fire(now.at);
                Some(Reason::HeldLongEnough)
            }
            (InstanceState::Firing, false) => {
                self.state = InstanceState::Pending;
                self.fired_at = None;
                Some(Reason::ForRaised)
            }
            _ => None,
        }
    }

    /// A firing instance that is not in the result. `None`: it goes on firing.
    pub(crate) fn missed(&mut self, rule: &AlertRule, now: Moment) -> Option<Reason> {
        debug_assert_eq!(self.state, InstanceState::Firing, "only what fires can go on firing");
        if rule.keep_firing_for.is_zero() {
            self.resolve(now.at);
            return Some(Reason::ConditionFalse);
        }
        self.absent = match self.keep_firing_since {
            None => Duration::ZERO,
            Some(_) => self.absent.saturating_add(now.advance),
        };
        self.keep_firing_since = self.keep_firing_since.or(Some(now.at));
        self.held = self.held.saturating_add(now.advance);
        if self.absent < rule.keep_firing_for {
            return None;
        }
        self.resolve(now.at);
        Some(Reason::KeptLongEnough)
    }

    pub(crate) fn resolve(&mut self, at: Timestamp) {
        self.state = InstanceState::Resolved;
        // A clock set back must not make an alert end before it began: Alertmanager refuses such a one.
        self.resolved_at = Some(self.fired_at.map_or(at, |fired| fired.max(at)));
        self.keep_firing_since = None;
        self.absent = Duration::ZERO;
    }

    fn fire(&mut self, at: Timestamp) {
        self.state = InstanceState::Firing;
        self.fired_at = Some(at.max(self.active_at));
    }
}

#[cfg(test)]
mod tests;
