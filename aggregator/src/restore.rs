//! The way back after a restart: the head is rebuilt from the log, and its holes from the ledger.
//!
//! What the log has from later than now was stored by a clock that was set back since: its times are not those of our
//! clock, and it stays out of the head, which would have no room for what comes now.
//!
//! Reads the batches of the head's window through the same conversion and the same `append` as when they came. A batch
//! that cannot be read costs itself: it is named and counted, and the rest goes on.

use crate::live::{HEAD_WINDOW, Live};
use crate::store::{BatchRow, Store, StoreError};
use proto::convert::{RawBatch, SchemaBytes};
use proto::limits::CLOCK_TOLERANCE;
use proto::refused::Refused;
use proto::sample::{Schema, SchemaId, Timestamp};
use runtime::log::chain;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// The schemas of each agent.
type Known = HashMap<Uuid, HashMap<SchemaId, Arc<Schema>>>;

/// Gaps that are read: two of each agent there may be. Beyond it the newest.
const GAPS_MAX: u32 = 40_000;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Batches that are in the head again.
    pub batches: u64,
    /// Their samples.
    pub samples: u64,
    /// Batches and schemas that could not be read.
    pub unreadable: u64,
    /// Batches that lie in the future.
    pub ahead: u64,
    /// Gaps that rules know of again.
    pub gaps: u64,
    /// Whether there were more, which are forgotten: a rule that reads over one of those takes what it finds for all.
    pub gaps_cut: bool,
}

/// Fills the head with what came in its window before `now`, where the log ends at `ended_at` by its own clock.
pub async fn head(store: &dyn Store, live: &Live, now: Timestamp, ended_at: Timestamp) -> Result<Restored, StoreError> {
    let mut restored = Restored::default();
    let mut known = Known::new();
    for row in store.load_schemas().await? {
        let schema = SchemaBytes { id: row.schema_id, bytes: row.definition };
        match schema.decode() {
            Ok(decoded) => drop(known.entry(row.agent_id).or_default().insert(row.schema_id, Arc::new(decoded))),
            Err(error) => {
                restored.unreadable += 1;
                tracing::error!(agent = %row.agent_id, error = chain(&error), "stored schema not readable");
            }
        }
    }
    let latest = now + CLOCK_TOLERANCE;
    let mut each = |row: BatchRow| match read(&row, &mut known) {
        _ if row.received_at > latest => restored.ahead += 1,
        Ok(batch) => {
            restored.batches += 1;
            restored.samples += live.restore(row.agent_id, &batch.frames).kept as u64;
        }
        Err(error) => {
            restored.unreadable += 1;
            tracing::error!(agent = %row.agent_id, position = %row.position, error = chain(&error), "stored batch not readable");
        }
    };
    if ended_at.since(now) > HEAD_WINDOW {
        tracing::warn!(ahead = ?ended_at.since(now), "the clock is behind the log; the head begins empty");
    } else {
        store.replay(now - HEAD_WINDOW, &mut each).await?;
        (restored.gaps, restored.gaps_cut) = gaps(store, live, now - HEAD_WINDOW, GAPS_MAX).await?;
    }
    live.restored();
    tracing::info!(
        batches = restored.batches,
        samples = restored.samples,
        unreadable = restored.unreadable,
        ahead = restored.ahead,
        gaps = restored.gaps,
        "head restored"
    );
    Ok(restored)
}

/// Gives the gaps since `since` to the rules, the newest `most`. Returns how many, and whether there were more.
async fn gaps(store: &dyn Store, live: &Live, since: Timestamp, most: u32) -> Result<(u64, bool), StoreError> {
    // One more tells whether there are more.
    let mut gaps = store.load_gaps(since, most.saturating_add(1)).await?;
    let is_cut = gaps.len() > most as usize;
    if is_cut {
        gaps.remove(0);
        tracing::warn!(most, "more gaps than are restored; rules do not know of the oldest");
    }
    let count = gaps.len() as u64;
    live.restore_gaps(gaps);
    Ok((count, is_cut))
}

fn read(row: &BatchRow, known: &mut Known) -> Result<proto::message::Batch, Refused> {
    let raw = RawBatch::from_record(&row.payload, row.position)?;
    raw.resolve(known.entry(row.agent_id).or_default())
}

#[cfg(test)]
mod tests;
