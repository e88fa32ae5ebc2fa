//! One evaluation, one transaction: rule, instances, alerts and notifications together.

use super::super::row::{Moment, clipped_name, clipped_severity};
use super::super::{AlertRow, EvaluationRow, InstanceRow, OutboxRow, StoreError};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteTransaction;

const UPSERT_RULE: &str = "
    INSERT INTO rules (rule_key, evaluated_at) VALUES ($1, $2)
    ON CONFLICT (rule_key) DO UPDATE SET evaluated_at = excluded.evaluated_at";

const DELETE_INSTANCES: &str = "
    DELETE FROM alert_instances
    WHERE rule_key = $1 AND fingerprint NOT IN (SELECT value FROM json_each($2))";

// All at once, as an array of [fingerprint, state, body as text]: a rule may have ten thousand instances, and each
// statement costs a hop to SQLite's thread. What did not change is not written again.
const UPSERT_INSTANCES: &str = "
    INSERT INTO alert_instances (rule_key, fingerprint, state, body)
    SELECT $1, value ->> 0, value ->> 1, value ->> 2 FROM json_each($2) WHERE TRUE
    ON CONFLICT (rule_key, fingerprint) DO UPDATE SET state = excluded.state, body = excluded.body
        WHERE state <> excluded.state OR body <> excluded.body";

const UPSERT_ALERT: &str = "
    INSERT INTO alerts (id, clinic_id, alert_name, severity, status, message, metadata, created_at, resolved_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (id) DO UPDATE SET
        clinic_id = excluded.clinic_id, alert_name = excluded.alert_name, severity = excluded.severity,
        status = excluded.status, message = excluded.message, metadata = excluded.metadata,
        created_at = excluded.created_at, resolved_at = excluded.resolved_at";

// An evaluation that is sent again must not revive what was sent to people meanwhile.
const INSERT_OUTBOX: &str = "
    INSERT INTO outbox (id, channel, body, created_at, attempts, next_attempt_at)
    SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM notifications WHERE id = $1)
    ON CONFLICT (id) DO NOTHING";

/// Stores what one evaluation changed; the caller commits.
pub(super) async fn save(tx: &mut SqliteTransaction<'_>, evaluation: &EvaluationRow) -> Result<(), StoreError> {
    sqlx::query(UPSERT_RULE)
        .bind(&evaluation.rule_key)
        .bind(Moment(evaluation.evaluated_at))
        .execute(&mut **tx)
        .await?;
    save_instances(tx, &evaluation.rule_key, &evaluation.instances).await?;
    for alert in &evaluation.alerts {
        save_alert(tx, alert).await?;
    }
    for made in &evaluation.outbox {
        save_notification(tx, made).await?;
    }
    Ok(())
}

async fn save_instances(
    tx: &mut SqliteTransaction<'_>,
    rule_key: &str,
    instances: &[InstanceRow],
) -> Result<(), StoreError> {
    let fingerprints: Value = instances.iter().map(|instance| instance.fingerprint.as_str()).collect();
    let rows: Value = instances
        .iter()
        .map(|instance| json!([instance.fingerprint, instance.state, instance.body.to_string()]))
        .collect();
    sqlx::query(DELETE_INSTANCES).bind(rule_key).bind(fingerprints).execute(&mut **tx).await?;
    sqlx::query(UPSERT_INSTANCES).bind(rule_key).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

async fn save_alert(tx: &mut SqliteTransaction<'_>, alert: &AlertRow) -> Result<(), StoreError> {
    sqlx::query(UPSERT_ALERT)
        .bind(alert.id)
        .bind(alert.clinic_id)
        .bind(clipped_name(alert))
        .bind(clipped_severity(alert))
        .bind(&alert.status)
        .bind(&alert.message)
        .bind(&alert.metadata)
        .bind(Moment(alert.created_at))
        .bind(alert.resolved_at.map(Moment))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn save_notification(tx: &mut SqliteTransaction<'_>, made: &OutboxRow) -> Result<(), StoreError> {
    sqlx::query(INSERT_OUTBOX)
        .bind(made.id)
        .bind(&made.channel)
        .bind(&made.body)
        .bind(Moment(made.created_at))
        .bind(i64::from(made.attempts))
        .bind(Moment(made.next_attempt_at))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
