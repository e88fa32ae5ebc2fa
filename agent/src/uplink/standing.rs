//! How the uplink stands, for the status page. Locked for moments only.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub struct Standing(Mutex<Stands>);

/// What is known of the stream. Times are monotonic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stands {
    /// Whether it stands.
    pub connected: bool,
    /// Since when it does not, or does.
    pub since: Option<Duration>,
    /// Why the last one ended or did not come about; kept while the next one stands.
    pub last_error: Option<String>,
    /// When that was.
    pub failed_at: Option<Duration>,
}

// === impl Standing ===

impl Standing {
    /// As of now.
    pub fn now(&self) -> Stands {
        self.lock().clone()
    }

    /// The stream stands, since the monotonic time `now`.
    pub fn connected(&self, now: Duration) {
        let mut stands = self.lock();
        (stands.connected, stands.since) = (true, Some(now));
    }

    /// It does not, and why.
    pub fn failed(&self, now: Duration, why: String) {
        let mut stands = self.lock();
        if stands.connected || stands.since.is_none() {
            (stands.connected, stands.since) = (false, Some(now));
        }
        (stands.last_error, stands.failed_at) = (Some(why), Some(now));
    }

    /// It was closed on purpose.
    pub fn closed(&self, now: Duration) {
        let mut stands = self.lock();
        (stands.connected, stands.since) = (false, Some(now));
    }

    fn lock(&self) -> MutexGuard<'_, Stands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_one_outage_and_the_last_reason_is_kept() {
        let (standing, at) = (Standing::default(), Duration::from_secs);
        standing.failed(at(5), "refused".into());
        standing.failed(at(9), "no route".into());
        let stands = Stands {
            connected: false,
            since: Some(at(5)),
            last_error: Some("no route".into()),
            failed_at: Some(at(9)),
        };
        assert_eq!(standing.now(), stands);
        standing.connected(at(10));
        assert_eq!(standing.now(), Stands { connected: true, since: Some(at(10)), ..stands });
        standing.failed(at(20), "broken".into());
        assert_eq!(standing.now().since, Some(at(20)));
    }
}
