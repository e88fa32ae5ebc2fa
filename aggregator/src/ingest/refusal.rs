//! What an agent is told that is turned away: why, and when to come back.

use super::arrivals::Arrivals;
use super::streams::Who;
use prometheus::IntCounterVec;
use proto::message::{Position, Refusal, RefusalReason, ToAgent};
use runtime::clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Why an agent is sent away for now; nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// The database is not open yet, or the head not restored.
    Starting,
    /// As many streams as there may be.
    TooManyStreams,
    /// As many agents as there may be.
    TooManyAgents,
    /// Too many say hello at once.
    TooManyArrivals,
    /// We end, or a newer stream of the same agent came.
    StreamEnds,
    /// The agent could not be noted.
    NoDatabase,
    /// A batch could not be stored, and shall come again.
    BatchNotTaken,
}

/// Admits arrivals at their rate, and sends agents away, each with a time of its own to come back. Clones share the rate.
#[derive(Clone)]
pub struct Porter {
    arrivals: Arc<Arrivals>,
    clock: Arc<dyn Clock>,
    refused: IntCounterVec,
}

// === impl Away ===

impl Away {
    /// The word under which it is counted.
    fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::TooManyStreams => "too_many_streams",
            Self::TooManyAgents => "too_many_agents",
            Self::TooManyArrivals => "too_many_arrivals",
            Self::StreamEnds => "stream_ends",
            Self::NoDatabase => "no_database",
            Self::BatchNotTaken => "batch_not_taken",
        }
    }

    /// What the agent is told.
    fn message(self) -> &'static str {
        match self {
            Self::Starting => "this aggregator is starting",
            Self::TooManyStreams => "this aggregator serves as many agents as it may",
            Self::TooManyAgents => "this aggregator knows as many agents as it may",
            Self::TooManyArrivals => {
                "more agents come at once than this aggregator admits; come back when it is your turn"
            }
            Self::StreamEnds => "this stream ends; come back",
            Self::NoDatabase => "the database does not answer",
            Self::BatchNotTaken => "the database did not take a batch; send it again",
        }
    }
}

// === impl Porter ===

impl Porter {
    /// Counts in `refused` those that it sends away.
    pub fn new(arrivals: Arrivals, clock: Arc<dyn Clock>, refused: IntCounterVec) -> Self {
        Self { arrivals: Arc::new(arrivals), clock, refused }
    }

    /// Admits an agent that said hello, where the rate allows it.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        if self.arrivals.admit(self.clock.monotonic()) { Ok(()) } else { Err(self.send_away(Away::TooManyArrivals)) }
    }

    /// What an agent is told that is sent away for now; counted.
    pub(super) fn send_away(&self, why: Away) -> Refusal {
        self.refused.with_label_values(&[why.reason()]).inc();
        let retry_after = Some(self.arrivals.come_back(self.clock.monotonic()));
        Refusal { retry_after, ..refusal(RefusalReason::Unavailable, None, why.message()) }
    }
}

/// What a program is told to wait whose agent's id another one speaks under just now: it cannot do more than look again.
const CLONED_RETRY_AFTER: Duration = Duration::from_mins(1);

pub(super) fn refusal(reason: RefusalReason, position: Option<Position>, message: &str) -> Refusal {
    Refusal { reason, position, message: message.into(), retry_after: None }
}

/// For a program that takes turns with `other` under one agent's id.
pub(super) fn cloned(other: &Who) -> Refusal {
    let Who { service, instance, .. } = other;
    let message = format!(
        "another agent speaks under this agent's id: service {service:?}, instance {instance:?}. Its spool directory is a copy of \
         this one's, or the same; give each agent a spool directory of its own, and empty one of the two"
    );
    Refusal { retry_after: Some(CLONED_RETRY_AFTER), ..refusal(RefusalReason::UnacceptableAgent, None, &message) }
}

/// Says why, where there is room for it: who reads nothing is not waited for.
pub(super) fn tell(out: &mpsc::Sender<Result<ToAgent, Status>>, refusal: Refusal) {
    let _ = out.try_send(Ok(ToAgent::Refusal(refusal)));
}
