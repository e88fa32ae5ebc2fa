//! What never came, and why: each sequence number is counted once, under the reason that is told first.
//!
//! An agent names its losses in gap records; a batch that we refuse gets one of ours in its place, committed before the
//! agent hears of the refusal. The store finds which numbers that leaves, in the transaction of the batch: one that is
//! skipped and in no gap is [`UNEXPLAINED`].
//!
//! Limit: [`SERVICES_MAX`].

use crate::meters::IngestMeters;
use crate::store::{Missing, ToldGap, UNEXPLAINED};
use proto::message::{Batch, Position};
use proto::sample::Gap;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The reason of the gaps that stand for refused batches.
const REFUSED: &str = "refused";
/// Every reason that is counted: those that our agents give, so that an agent cannot make up labels, and our own.
const REASONS: [&str; 9] =
    ["spool_full", "corrupt", REFUSED, "too_large", "queue_full", "disk_full", "disk_error", "other", UNEXPLAINED];

/// Services that have a series of their own for each reason; what further ones lack is counted as one's. A cluster has tens.
pub const SERVICES_MAX: usize = 1_000;
/// The label of the further ones.
const FURTHER: &str = "_other";

/// The services that are counted by name. Clones share them. Locked: which, for a lookup.
#[derive(Clone, Debug, Default)]
pub struct Services(Arc<Mutex<HashSet<String>>>);

impl Services {
    /// The label for a service.
    fn label<'s>(&self, service: &'s str) -> &'s str {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(service) {
            return service;
        }
        if known.len() >= SERVICES_MAX {
            return FURTHER;
        }
        known.insert(service.into());
        service
    }
}

/// What is stored in the place of a batch that will never be taken.
pub fn gap_of_refused(Position { epoch, seq }: Position) -> Gap {
    Gap { epoch, first_seq: seq, last_seq: seq, reason: REFUSED.into() }
}

/// The gaps of a batch as the ledger has them: of its own epoch, under reasons that we know.
pub fn gaps_to_store(batch: &Batch) -> Vec<ToldGap> {
    let own = batch.gaps.iter().filter(|gap| gap.epoch == batch.position.epoch);
    own.map(|gap| ToldGap { first_seq: gap.first_seq, last_seq: gap.last_seq, reason: known(&gap.reason) }).collect()
}

/// Shows a zero for each reason, so that the first loss of a service is a step.
pub fn begin(meters: &IngestMeters, services: &Services, service: &str) {
    let label = services.label(service);
    for reason in REASONS {
        meters.missing.with_label_values(&[label, reason]);
    }
}

/// Counts what is missing with a newly stored batch.
pub fn count(meters: &IngestMeters, services: &Services, service: &str, missing: &[Missing]) {
    for part in missing {
        meters.missing.with_label_values(&[services.label(service), &part.reason]).inc_by(part.records());
    }
}

fn known(reason: &str) -> &'static str {
    let told = REASONS.into_iter().filter(|known| *known != UNEXPLAINED);
    told.into_iter().find(|known| *known == reason).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_another_epoch_is_not_stored_and_a_word_that_nobody_knows_is_another() {
        let gap = |epoch, first_seq, reason: &str| Gap { epoch, first_seq, last_seq: 9, reason: reason.into() };
        let gaps = vec![gap(9, 1, "spool_full"), gap(8, 2, "corrupt"), gap(9, 3, "made up"), gap(9, 4, UNEXPLAINED)];
        let batch = Batch { position: Position { epoch: 9, seq: 9 }, frames: Vec::new(), gaps, events: Vec::new() };
        let stored = gaps_to_store(&batch);
        let stored: Vec<_> = stored.iter().map(|gap| (gap.first_seq, gap.last_seq, gap.reason)).collect();
        assert_eq!(stored, [(1, 9, "spool_full"), (3, 9, "other"), (4, 9, "other")]);
    }

    #[test]
    fn beyond_the_limit_services_share_a_label_and_those_before_keep_theirs() {
        let services = Services::default();
        for n in 0..SERVICES_MAX {
            assert_eq!(services.label(&n.to_string()), n.to_string());
        }
        assert_eq!((services.label("agenda"), services.label("7")), (FURTHER, "7"));
    }
}
