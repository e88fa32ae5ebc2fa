//! What never came, and why: each sequence number is counted once, under the reason that is told first.
//!
//! An agent names its losses in gap records; a batch that we refuse gets one of ours in its place, committed before the
//! agent hears of the refusal. The store finds which numbers that leaves, in the transaction of the batch: one that is
//! skipped and in no gap is [`UNEXPLAINED`].

use crate::meters::IngestMeters;
use crate::store::{Missing, UNEXPLAINED};
use proto::message::{Batch, Position};
use proto::sample::Gap;
use uuid::Uuid;

/// The reason of the gaps that stand for refused batches.
const REFUSED: &str = "refused";
/// Every reason that is counted: those that our agents give, so that an agent cannot make up labels, and our own.
const REASONS: [&str; 9] =
    ["spool_full", "corrupt", REFUSED, "too_large", "queue_full", "disk_full", "disk_error", "other", UNEXPLAINED];

/// What is stored in the place of a batch that will never be taken.
pub fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: REFUSED.into() }
}

/// The gaps of a batch as the ledger has them: of its own epoch, under reasons that we know.
pub fn gaps_to_store(batch: &Batch) -> Vec<Gap> {
    let own = batch.gaps.iter().filter(|gap| gap.epoch == batch.position.epoch);
    own.map(|gap| Gap { reason: known(&gap.reason).into(), ..gap.clone() }).collect()
}

/// What a batch says is missing, taken at its word: it is stored, but by a commit whose answer was lost, so the ledger's
/// own finding is not known.
pub fn as_told(batch: &Batch) -> Vec<Missing> {
    let last = batch.position.seq;
    let whole = gaps_to_store(batch).into_iter().filter(|gap| gap.first_seq <= gap.last_seq.min(last));
    whole
        .map(|gap| Missing {
            first_seq: gap.first_seq.max(1),
            last_seq: gap.last_seq.min(last),
            reason: gap.reason,
            from_at: None,
            until_at: None,
        })
        .collect()
}

/// Shows a zero for each reason, so that the first loss of a service is a step.
pub fn begin(meters: &IngestMeters, service: &str) {
    for reason in REASONS {
        meters.missing.with_label_values(&[service, reason]);
    }
}

/// Counts and names what is missing with a newly stored batch.
pub fn count(meters: &IngestMeters, agent_id: Uuid, service: &str, missing: &[Missing]) {
    for part in missing {
        let Missing { first_seq, last_seq, reason, .. } = part;
        meters.missing.with_label_values(&[service, reason]).inc_by(part.records());
        tracing::warn!(agent = %agent_id, service, first_seq, last_seq, reason, "records are missing");
    }
}

fn known(reason: &str) -> &'static str {
    let told = REASONS.into_iter().filter(|known| *known != UNEXPLAINED);
    told.into_iter().find(|known| *known == reason).unwrap_or("other")
}
