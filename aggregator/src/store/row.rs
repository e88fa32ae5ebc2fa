//! Between Rust's types and SQL's: what both databases share.
//!
//! A row struct here decodes from either database; `TryFrom` then checks what the column types cannot say. Numbers that
//! SQL has no type for go through [`to_bigint`] and friends, which refuse rather than wrap. [`Moment`] is a
//! [`Timestamp`] as a column: `timestamptz` on PostgreSQL, `INTEGER` milliseconds on SQLite, exact on both.

use super::plan::{Held, OpenGap, Standing, Stream};
use super::{
    AgentRow, AlertRow, BatchRow, EpochRow, GapRow, InstanceRow, Ledger, Missing, OutboxRow, RuleRow, SchemaRow,
    StoreError,
};
use proto::message::Position;
use proto::sample::{SchemaId, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};
use std::time::Duration;
use uuid::Uuid;

/// A [`Timestamp`] as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts its microseconds.
const PG_EPOCH_MS: i64 = 946_684_800_000;

/// What a `timestamptz` holds, in milliseconds since 1970: from 4714 BC to the end of the year 294276. Source:
/// PostgreSQL `src/include/datatype/timestamp.h`, `MIN_TIMESTAMP` and `END_TIMESTAMP`.
const PG_FIRST_MS: i64 = -211_813_488_000_000 + PG_EPOCH_MS;
const PG_LAST_MS: i64 = 9_223_371_331_200_000 + PG_EPOCH_MS - 1;

/// Types of the catalogue, fixed for every PostgreSQL: `timestamptz` and its array.
const TIMESTAMPTZ: PgTypeInfo = PgTypeInfo::with_oid(Oid(1184));
const TIMESTAMPTZ_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(1185));

/// A row of `agents`, with its newest position.
#[derive(sqlx::FromRow)]
pub(super) struct RawAgent {
    agent_id: Uuid,
    service: String,
    instance: String,
    clinic_id: Option<Uuid>,
    interval_ms: i64,
    agent_version: String,
    first_seen: Moment,
    last_seen: Moment,
    last_batch: Option<Moment>,
    stopped_at: Option<Moment>,
    epoch: Option<Uuid>,
    last_seq: Option<i64>,
}

/// A row of `batches`.
#[derive(sqlx::FromRow)]
pub(super) struct RawBatch {
    pub(super) id: i64,
    agent_id: Uuid,
    epoch: Uuid,
    seq: i64,
    received_at: Moment,
    payload: Vec<u8>,
}

/// A row of `agent_epochs`, with what surrounds it; see [`Standing`].
#[derive(sqlx::FromRow)]
pub(super) struct RawStanding {
    agent_id: Uuid,
    epoch: Uuid,
    last_seq: i64,
    generation: i64,
    newest_at: Option<Moment>,
    before_at: Option<Moment>,
    is_past: bool,
    has_open_gaps: bool,
    open_first: Option<i64>,
    open_reason: Option<String>,
    open_from_at: Option<Moment>,
}

/// What is stored in a place.
#[derive(sqlx::FromRow)]
pub(super) struct RawHeld {
    agent_id: Uuid,
    epoch: Uuid,
    seq: i64,
    digest: Option<i64>,
    is_gap: bool,
}

/// A row of `agent_epochs`, for the ledger.
#[derive(sqlx::FromRow)]
pub(super) struct RawEpoch {
    epoch: Uuid,
    last_seq: i64,
    first_seen: Moment,
    last_received_at: Moment,
    oldest_at: Option<Moment>,
    newest_at: Option<Moment>,
}

/// A row of `gaps`.
#[derive(sqlx::FromRow)]
pub(super) struct RawGap {
    agent_id: Uuid,
    epoch: Uuid,
    first_seq: i64,
    last_seq: i64,
    reason: String,
    from_at: Option<Moment>,
    until_at: Option<Moment>,
    noted_at: Moment,
}

/// An agent's ledger; epochs and gaps are the newest, newest first.
pub(super) struct RawLedger {
    pub(super) agent: RawAgent,
    pub(super) epochs: Vec<RawEpoch>,
    pub(super) gaps: Vec<RawGap>,
    /// Reasons and records.
    pub(super) totals: Vec<(String, i64)>,
}

/// A row of `schemas`.
#[derive(sqlx::FromRow)]
pub(super) struct RawSchema {
    agent_id: Uuid,
    schema_id: i64,
    definition: Vec<u8>,
}

/// A rule and one of its instances; the instance is null where the rule has none.
#[derive(sqlx::FromRow)]
pub(super) struct RawInstance {
    rule_key: String,
    evaluated_at: Moment,
    fingerprint: Option<String>,
    state: Option<String>,
    body: Option<serde_json::Value>,
}

/// A row of `alerts`.
#[derive(sqlx::FromRow)]
pub(super) struct RawAlert {
    id: Uuid,
    clinic_id: Option<Uuid>,
    alert_name: String,
    severity: String,
    status: String,
    message: Option<String>,
    metadata: serde_json::Value,
    created_at: Moment,
    resolved_at: Option<Moment>,
}

/// A row of `outbox`.
#[derive(sqlx::FromRow)]
pub(super) struct RawNotification {
    id: Uuid,
    channel: String,
    body: serde_json::Value,
    created_at: Moment,
    attempts: i64,
    next_attempt_at: Moment,
}

/// Longest `alert_name` and `severity` that their columns take, in characters.
const ALERT_NAME_CHARS: usize = 100;
const SEVERITY_CHARS: usize = 20;

/// As much of an alert's name as the column takes.
pub(super) fn clipped_name(alert: &AlertRow) -> &str {
    clip(&alert.alert_name, ALERT_NAME_CHARS)
}

/// As much of an alert's severity as the column takes.
pub(super) fn clipped_severity(alert: &AlertRow) -> &str {
    clip(&alert.severity, SEVERITY_CHARS)
}

/// A number as SQL's `bigint`, or why not.
pub(super) fn to_bigint(table: &'static str, column: &str, value: u128) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::BadRow { table, problem: format!("{column} {value} is beyond {}", i64::MAX) })
}

/// A sequence number as SQL's `bigint`; they begin at 1.
pub(super) fn seq_to_bigint(seq: u64) -> Result<i64, StoreError> {
    match seq {
        0 => Err(StoreError::BadRow { table: "batches", problem: "seq 0, but sequences begin at 1".to_owned() }),
        _ => to_bigint("batches", "seq", seq.into()),
    }
}

/// A sequence number out of its column.
pub(super) fn seq_from_bigint(table: &'static str, seq: i64) -> Result<u64, StoreError> {
    u64::try_from(seq).map_err(|_| StoreError::BadRow { table, problem: format!("seq {seq}") })
}

/// The bits of a schema's id as SQL's `bigint`.
pub(super) fn schema_id_to_bigint(id: SchemaId) -> i64 {
    id.0.cast_signed()
}

/// A bound of a query: clamped to what every database can compare with, so that "since ever" means that.
pub(super) fn bound(at: Timestamp) -> Moment {
    Moment(Timestamp::from_millis(at.as_millis().clamp(PG_FIRST_MS, PG_LAST_MS)))
}

/// [`bound`], where there is one: what agents say of times may lie outside of every calendar.
pub(super) fn bound_some(at: Option<Timestamp>) -> Option<Moment> {
    at.map(bound)
}

/// Rules from rows that are ordered by rule.
pub(super) fn group_rules(rows: Vec<RawInstance>) -> Result<Vec<RuleRow>, StoreError> {
    let mut rules: Vec<RuleRow> = Vec::new();
    for row in rows {
        if rules.last().is_none_or(|rule| rule.rule_key != row.rule_key) {
            let rule_key = row.rule_key.clone();
            rules.push(RuleRow { rule_key, evaluated_at: row.evaluated_at.0, instances: Vec::new() });
        }
        let rule = rules.last_mut().expect("one was pushed above where there was none");
        match (row.fingerprint, row.state, row.body) {
            (None, None, None) => {}
            (Some(fingerprint), Some(state), Some(body)) => {
                rule.instances.push(InstanceRow { rule_key: row.rule_key, fingerprint, state, body });
            }
            _ => return Err(StoreError::BadRow { table: "alert_instances", problem: "half an instance".to_owned() }),
        }
    }
    Ok(rules)
}

fn clip(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

// === impl Moment ===

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        TIMESTAMPTZ
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        TIMESTAMPTZ_ARRAY
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let millis = self.0.as_millis();
        if !(PG_FIRST_MS..=PG_LAST_MS).contains(&millis) {
            return Err(format!("{millis} ms is outside of what a timestamptz holds").into());
        }
        <i64 as Encode<Postgres>>::encode((millis - PG_EPOCH_MS) * 1000, buffer)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        // Only simple queries answer in text, and none of ours has a time in its answer.
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        match micros {
            i64::MIN | i64::MAX => Err("an infinite time".into()),
            _ => Ok(Self(Timestamp::from_millis(micros.div_euclid(1000) + PG_EPOCH_MS))),
        }
    }
}

impl Type<Sqlite> for Moment {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(kind: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(kind)
    }
}

impl Encode<'_, Sqlite> for Moment {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Sqlite>>::encode(self.0.as_millis(), buffer)
    }
}

impl Decode<'_, Sqlite> for Moment {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(Timestamp::from_millis(<i64 as Decode<Sqlite>>::decode(value)?)))
    }
}

// === impl TryFrom raw rows ===

impl TryFrom<RawAgent> for AgentRow {
    type Error = StoreError;

    fn try_from(raw: RawAgent) -> Result<Self, StoreError> {
        let interval_ms = u64::try_from(raw.interval_ms).map_err(|_| StoreError::BadRow {
            table: "agents",
            problem: format!("interval_ms {} of agent {}", raw.interval_ms, raw.agent_id),
        })?;
        let position = match (raw.epoch, raw.last_seq) {
            (Some(epoch), Some(seq)) => {
                Some(Position { epoch: epoch.as_u128(), seq: seq_from_bigint("agent_epochs", seq)? })
            }
            _ => None,
        };
        let last_hello = raw.last_seen.0;
        Ok(Self {
            agent_id: raw.agent_id,
            service: raw.service,
            instance: raw.instance,
            clinic_id: raw.clinic_id,
            interval: Duration::from_millis(interval_ms),
            agent_version: raw.agent_version,
            first_seen: raw.first_seen.0,
            last_seen: raw.last_batch.map_or(last_hello, |batch| last_hello.max(batch.0)),
            stopped_at: raw.stopped_at.map(|at| at.0),
            position,
        })
    }
}

impl TryFrom<RawBatch> for BatchRow {
    type Error = StoreError;

    fn try_from(raw: RawBatch) -> Result<Self, StoreError> {
        Ok(Self {
            agent_id: raw.agent_id,
            position: Position { epoch: raw.epoch.as_u128(), seq: seq_from_bigint("batches", raw.seq)? },
            received_at: raw.received_at.0,
            payload: raw.payload,
            schemas: Vec::new(),
            digest: None,
            gaps: Vec::new(),
            sampled: None,
            events: Vec::new(),
            service: String::new(),
        })
    }
}

impl From<RawStanding> for (Stream, Standing) {
    fn from(raw: RawStanding) -> Self {
        let open = raw.open_first.zip(raw.open_reason);
        let from_at = raw.open_from_at.map(|at| at.0);
        let standing = Standing {
            last_seq: raw.last_seq,
            generation: raw.generation,
            newest_at: raw.newest_at.map(|at| at.0),
            before_at: raw.before_at.map(|at| at.0),
            is_past: raw.is_past,
            has_open_gaps: raw.has_open_gaps,
            open: open.map(|(first_seq, reason)| OpenGap { first_seq: first_seq.unsigned_abs(), reason, from_at }),
        };
        ((raw.agent_id, raw.epoch), standing)
    }
}

impl RawHeld {
    /// The place and what is there; `None` where neither a batch nor a gap is.
    pub(super) fn into_held(self) -> Option<((Stream, i64), Held)> {
        let held = self.digest.map(|digest| Held::Content(digest.cast_unsigned()));
        let held = held.or(self.is_gap.then_some(Held::Gap))?;
        Some((((self.agent_id, self.epoch), self.seq), held))
    }
}

impl TryFrom<RawEpoch> for EpochRow {
    type Error = StoreError;

    fn try_from(raw: RawEpoch) -> Result<Self, StoreError> {
        Ok(Self {
            epoch: raw.epoch.as_u128(),
            last_seq: seq_from_bigint("agent_epochs", raw.last_seq)?,
            first_seen: raw.first_seen.0,
            last_received_at: raw.last_received_at.0,
            oldest_at: raw.oldest_at.map(|at| at.0),
            newest_at: raw.newest_at.map(|at| at.0),
        })
    }
}

impl TryFrom<RawGap> for GapRow {
    type Error = StoreError;

    fn try_from(raw: RawGap) -> Result<Self, StoreError> {
        let missing = Missing {
            first_seq: seq_from_bigint("gaps", raw.first_seq)?,
            last_seq: seq_from_bigint("gaps", raw.last_seq)?,
            reason: raw.reason,
            from_at: raw.from_at.map(|at| at.0),
            until_at: raw.until_at.map(|at| at.0),
        };
        Ok(Self { agent_id: raw.agent_id, epoch: raw.epoch.as_u128(), missing, noted_at: raw.noted_at.0 })
    }
}

impl TryFrom<RawLedger> for Ledger {
    type Error = StoreError;

    fn try_from(raw: RawLedger) -> Result<Self, StoreError> {
        Ok(Self {
            agent: raw.agent.try_into()?,
            epochs: raw.epochs.into_iter().rev().map(EpochRow::try_from).collect::<Result<_, _>>()?,
            gaps: raw.gaps.into_iter().rev().map(GapRow::try_from).collect::<Result<_, _>>()?,
            totals: raw.totals.into_iter().map(|(reason, records)| (reason, records.unsigned_abs())).collect(),
        })
    }
}

impl From<RawSchema> for SchemaRow {
    fn from(raw: RawSchema) -> Self {
        let schema_id = SchemaId(raw.schema_id.cast_unsigned());
        Self { agent_id: raw.agent_id, schema_id, definition: raw.definition.into() }
    }
}

impl From<RawAlert> for AlertRow {
    fn from(raw: RawAlert) -> Self {
        Self {
            id: raw.id,
            clinic_id: raw.clinic_id,
            alert_name: raw.alert_name,
            severity: raw.severity,
            status: raw.status,
            message: raw.message.unwrap_or_default(),
            metadata: raw.metadata,
            created_at: raw.created_at.0,
            resolved_at: raw.resolved_at.map(|at| at.0),
        }
    }
}

impl TryFrom<RawNotification> for OutboxRow {
    type Error = StoreError;

    fn try_from(raw: RawNotification) -> Result<Self, StoreError> {
        let attempts = u32::try_from(raw.attempts).map_err(|_| StoreError::BadRow {
            table: "outbox",
            problem: format!("attempts {} of notification {}", raw.attempts, raw.id),
        })?;
        Ok(Self {
            id: raw.id,
            channel: raw.channel,
            body: raw.body,
            created_at: raw.created_at.0,
            attempts,
            next_attempt_at: raw.next_attempt_at.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_clipped_at_a_character_and_not_inside_one() {
        assert_eq!(clip("clínica", 3), "clí");
        assert_eq!(clip("clínica", 7), "clínica");
        assert_eq!(clip("", 7), "");
    }

    #[test]
    fn a_bound_beyond_every_calendar_is_brought_back_into_it() {
        assert_eq!(bound(Timestamp::from_millis(i64::MIN)).0.as_millis(), PG_FIRST_MS);
        assert_eq!(bound(Timestamp::from_millis(i64::MAX)).0.as_millis(), PG_LAST_MS);
        assert_eq!(bound(Timestamp::from_millis(7)).0.as_millis(), 7);
    }

    #[test]
    fn a_sequence_number_that_sql_cannot_hold_is_refused() {
        assert_eq!(seq_to_bigint(i64::MAX.unsigned_abs()).expect("it fits"), i64::MAX);
        assert!(seq_to_bigint(i64::MAX.unsigned_abs() + 1).is_err());
        assert!(seq_to_bigint(0).is_err());
    }
}
