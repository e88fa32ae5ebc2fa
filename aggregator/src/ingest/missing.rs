//! What never came, and why: each sequence number is counted once, under the reason that is told first.
//!
//! An agent names its losses in gap records; a batch that we refuse gets one of ours in its place, committed before the
//! agent hears of the refusal. A number that is skipped and in no gap is `unexplained`.

use crate::meters::IngestMeters;
use proto::message::{Batch, Position};
use proto::sample::Gap;
use uuid::Uuid;

/// The reason of the gaps that stand for refused batches.
const REFUSED: &str = "refused";

/// What is stored in the place of a batch that will never be taken.
pub fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: REFUSED.into() }
}

/// How many records a gap says are lost: never more than there can be before its end.
pub fn lost_records(gap: &Gap) -> u64 {
    gap.last_seq.saturating_sub(gap.first_seq.max(1)).saturating_add(1)
}

/// Counts what a newly stored batch tells of. `skipped` numbers before it never came, if that is known, and `explained`
/// of them are told of. A gap counts for no more than the places that are new with its batch: where gaps overlap, or
/// reach back over what was stored, the rest was counted before.
pub fn count(meters: &IngestMeters, agent_id: Uuid, batch: &Batch, skipped: Option<u64>, explained: u64) {
    // Its own place is among the lost ones if it holds nothing but gaps.
    let own = u64::from(batch.is_gap());
    let mut places = skipped.map_or(u64::MAX, |skipped| skipped.saturating_add(own));
    for gap in &batch.gaps {
        let lost = lost_records(gap).min(places);
        places -= lost;
        meters.missing.with_label_values(&[reason_label(&gap.reason)]).inc_by(lost);
        tracing::warn!(agent = %agent_id, first = gap.first_seq, last = gap.last_seq, reason = gap.reason, "agent lost records");
    }
    let unexplained = skipped.unwrap_or(0).saturating_sub(explained);
    if unexplained > 0 {
        meters.missing.with_label_values(&["unexplained"]).inc_by(unexplained);
        tracing::warn!(agent = %agent_id, before = %batch.position, records = unexplained, "records never came");
    }
}

/// The reason as a label: one of those that our agents give, so that an agent cannot make up labels.
fn reason_label(reason: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["spool_full", "corrupt", REFUSED, "too_large", "queue_full", "disk_full", "disk_error"];
    KNOWN.into_iter().find(|known| *known == reason).unwrap_or("other")
}
