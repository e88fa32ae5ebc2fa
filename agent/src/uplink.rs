//! The uplink: one stream to the aggregator, opened again and again, for as long as the agent lives.
//!
//! A session sends what the keeper hands it and tells the keeper what it heard. When it fails, the uplink waits with
//! full jitter, or as long as the aggregator asked for, and opens the next; the spool holds everything meanwhile.
//! Certificates and tokens come with the agents' identity.

mod clock_watch;
mod flight;
mod session;
mod standing;

pub use session::{END_MAX, Patience, Session, probe};
pub use standing::{Standing, Stands};

use crate::keep::Door;
use crate::meters::UplinkMeters;
use proto::message::Hello;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::log::chain;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error("cannot connect to the aggregator at {url}; is it running, and is the address right?")]
    Connect {
        /// Its address.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// The aggregator ended the stream.
    #[error("the aggregator closed the stream")]
    Closed,
    /// The aggregator did not answer in time.
    #[error("the aggregator did not answer {what} within {limit:?}")]
    Silent {
        /// What it should have answered.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The aggregator refuses this agent, for now or until somebody changes something.
    #[error("the aggregator refuses this agent: {message}")]
    Refused {
        /// Its words.
        message: String,
        /// When to come back.
        retry_after: Option<Duration>,
    },
}

impl SessionError {
    /// The word under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Broken(_) => "broken",
            Self::Closed => "closed",
            Self::Silent { .. } => "silent",
            Self::Refused { .. } => "refused",
        }
    }
}

/// The uplink's parts.
pub struct Uplink {
    /// URL of the aggregator.
    pub url: String,
    /// What the agent says of itself; the clocks and the last place are filled in for each session.
    pub hello: Hello,
    /// The wait between two sessions.
    pub backoff: Backoff,
    /// How long the aggregator may be silent.
    pub patience: Patience,
    /// The keeper's door.
    pub door: Door,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// What it counts.
    pub meters: UplinkMeters,
    /// How it stands, for the status page.
    pub standing: Arc<Standing>,
}

impl Uplink {
    /// Runs sessions until `stop`; then delivers what is left for as long as the drain allows, and says goodbye. Where no
    /// stream stands at that moment, one attempt is made to open one: the attempt that is under way, or another.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = self.backoff.clone();
        let mut last_reason = "";
        loop {
            let began = self.clock.monotonic();
            let ended = Session::new(&self).run(&stop).await;
            self.meters.connected.set(0.0);
            let now = self.clock.monotonic();
            let Err(error) = ended else { return self.standing.closed(now) };
            self.standing.failed(now, chain(&error));
            if stop.is_cancelled() {
                let waiting = self.door.waiting();
                tracing::info!(
                    waiting,
                    error = chain(&error),
                    "ending without the aggregator; the spool keeps the rest"
                );
                return;
            }
            backoff.stood_for(now.saturating_sub(began));
            let retry_after = match &error {
                SessionError::Refused { retry_after, .. } => *retry_after,
                _ => None,
            };
            let delay = backoff.next_delay(retry_after);
            self.meters.failures.with_label_values(&[error.reason()]).inc();
            // The first failure is news and so is another reason; the hundredth of the same is not.
            if backoff.failures() == 1 || error.reason() != last_reason {
                tracing::warn!(error = chain(&error), ?delay, "no stream to the aggregator");
            } else {
                tracing::debug!(error = chain(&error), ?delay, "no stream to the aggregator");
            }
            last_reason = error.reason();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => {} // the last attempt
            }
        }
    }

    fn note_connected(&self) {
        self.meters.connected.set(1.0);
        self.meters.connects.inc();
        self.standing.connected(self.clock.monotonic());
        tracing::info!(aggregator = self.url, "stream to the aggregator stands");
    }
}

#[cfg(test)]
mod tests;
