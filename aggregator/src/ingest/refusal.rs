//! What an agent is told that is turned away: why, and when to come back.

use proto::message::{Position, Refusal, RefusalReason, ToAgent};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// What an agent is told to wait when we cannot serve it now; it adds its own jitter.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

pub(super) fn refusal(reason: RefusalReason, position: Option<Position>, message: &str) -> Refusal {
    Refusal { reason, position, message: message.into(), retry_after: None }
}

pub(super) fn unavailable(message: &str) -> Refusal {
    Refusal { retry_after: Some(RETRY_AFTER), ..refusal(RefusalReason::Unavailable, None, message) }
}

/// Says why, where there is room for it: who reads nothing is not waited for.
pub(super) fn send_away(out: &mpsc::Sender<Result<ToAgent, Status>>, refusal: Refusal) {
    let _ = out.try_send(Ok(ToAgent::Refusal(refusal)));
}
