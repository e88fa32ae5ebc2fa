//! A batch between its arrival and its outcome: each that came has one outcome, or waits.
//!
//! Law: received = stored + replayed + unproven + refused + taken + abandoned + waiting, at every moment.

use crate::meters::IngestMeters;
use prometheus::{Gauge, IntCounterVec};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new, and durable.
    Stored,
    /// It was durable already.
    Replayed,
    /// It was durable already, or its place was: what stood there is pruned.
    Unproven,
    /// It will not be taken as it is.
    Refused,
    /// Another stands in its place.
    Taken,
}

/// A batch that waits for its outcome. Where it ends without one it is abandoned: its agent has it still.
pub(super) struct Underway(Option<(IntCounterVec, Gauge)>);

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replayed => "replayed",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
            Self::Taken => "taken",
        }
    }
}

impl Underway {
    /// One has come.
    pub(super) fn begin(meters: &IngestMeters) -> Self {
        meters.received.inc();
        meters.waiting.inc();
        Self(Some((meters.batches.clone(), meters.waiting.clone())))
    }

    /// It has its outcome.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.count(outcome.as_str());
    }

    fn count(&mut self, outcome: &str) {
        if let Some((outcomes, waiting)) = self.0.take() {
            waiting.dec();
            outcomes.with_label_values(&[outcome]).inc();
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.count("abandoned");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Meters;
    use proptest::prelude::*;
    use proto::telemetry::Telemetry;

    /// What may become of a batch; `None` is that nobody says.
    const FATES: [Option<Outcome>; 6] = [
        Some(Outcome::Stored),
        Some(Outcome::Replayed),
        Some(Outcome::Unproven),
        Some(Outcome::Refused),
        Some(Outcome::Taken),
        None,
    ];
    const WORDS: [&str; 6] = ["stored", "replayed", "unproven", "refused", "taken", "abandoned"];

    proptest! {
        #[test]
        fn at_every_moment_each_batch_that_came_has_one_outcome_or_waits(
            steps in prop::collection::vec((any::<bool>(), 0..10_usize, 0..FATES.len()), 0..100),
        ) {
            let meters = Meters::new(&Telemetry::default(), "sqlite").ingest;
            let (mut waiting, mut outcomes, mut came) = (Vec::new(), [0; 6], 0);
            for (comes, which, fate) in steps {
                if comes || waiting.is_empty() {
                    waiting.push(Underway::begin(&meters));
                    came += 1;
                } else {
                    let batch = waiting.swap_remove(which % waiting.len());
                    match FATES[fate] {
                        Some(outcome) => batch.end(outcome),
                        None => drop(batch),
                    }
                    outcomes[fate] += 1;
                }
                prop_assert_eq!(WORDS.map(|word| meters.batches.with_label_values(&[word]).get()), outcomes);
                prop_assert_eq!((meters.received.get(), meters.waiting.get()), (came, waiting.len() as f64));
            }
        }
    }
}
