//! One evaluation, one transaction: rule, instances, alerts and notifications together.

use super::super::row::{Moment, clipped_name, clipped_severity};
use super::super::{AlertRow, EvaluationRow, InstanceRow, OutboxRow, StoreError};
use super::connect::Clinics;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgTransaction};
use std::collections::HashSet;
use uuid::Uuid;

// First, so that two evaluations of one rule wait for one another here.
const UPSERT_RULE: &str = "
    INSERT INTO monitoring.rules (rule_key, evaluated_at) VALUES ($1, $2)
    ON CONFLICT (rule_key) DO UPDATE SET evaluated_at = excluded.evaluated_at";

const DELETE_INSTANCES: &str = "
    DELETE FROM monitoring.alert_instances
    WHERE rule_key = $1 AND fingerprint NOT IN (SELECT UNNEST($2::text[]))";

// What did not change is not written again.
const UPSERT_INSTANCES: &str = "
    INSERT INTO monitoring.alert_instances AS known (rule_key, fingerprint, state, body)
    SELECT $1, fingerprint, state, body::json
    FROM UNNEST($2::text[], $3::text[], $4::text[]) AS now (fingerprint, state, body)
    ON CONFLICT (rule_key, fingerprint) DO UPDATE SET state = excluded.state, body = excluded.body
        WHERE known.state <> excluded.state OR known.body::text <> excluded.body::text";

const UPSERT_ALERTS: &str = "
    INSERT INTO monitoring.alerts
        (id, clinic_id, alert_name, severity, status, message, metadata, created_at, resolved_at)
    SELECT id, clinic_id, alert_name, severity, status, message, metadata::jsonb, created_at, resolved_at
    FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::timestamptz[], $9::timestamptz[])
        AS raised (id, clinic_id, alert_name, severity, status, message, metadata, created_at, resolved_at)
    ON CONFLICT (id) DO UPDATE SET
        clinic_id = excluded.clinic_id, alert_name = excluded.alert_name, severity = excluded.severity,
        status = excluded.status, message = excluded.message, metadata = excluded.metadata,
        created_at = excluded.created_at, resolved_at = excluded.resolved_at";

// An evaluation that is sent again must not revive what was sent to people meanwhile.
const INSERT_OUTBOX: &str = "
    INSERT INTO monitoring.outbox (id, channel, body, created_at, attempts, next_attempt_at)
    SELECT id, channel, body::json, created_at, attempts, next_attempt_at
    FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::timestamptz[])
        WITH ORDINALITY AS made (id, channel, body, created_at, attempts, next_attempt_at, place)
    WHERE NOT EXISTS (SELECT FROM monitoring.notifications finished WHERE finished.id = made.id)
    ORDER BY place
    ON CONFLICT (id) DO NOTHING";

/// Stores what one evaluation changed.
pub(super) async fn save(
    connection: &mut PgConnection,
    evaluation: &EvaluationRow,
    clinics: Clinics,
) -> Result<(), StoreError> {
    let mut tx = connection.begin().await?;
    sqlx::query(UPSERT_RULE).bind(&evaluation.rule_key).bind(Moment(evaluation.evaluated_at)).execute(&mut *tx).await?;
    save_instances(&mut tx, &evaluation.rule_key, &evaluation.instances).await?;
    save_alerts(&mut tx, &evaluation.alerts, clinics).await?;
    save_outbox(&mut tx, &evaluation.outbox).await?;
    Ok(tx.commit().await?)
}

async fn save_instances(
    tx: &mut PgTransaction<'_>,
    rule_key: &str,
    instances: &[InstanceRow],
) -> Result<(), StoreError> {
    let fingerprints: Vec<&str> = instances.iter().map(|instance| instance.fingerprint.as_str()).collect();
    sqlx::query(DELETE_INSTANCES).bind(rule_key).bind(&fingerprints).execute(&mut **tx).await?;
    if instances.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_INSTANCES)
        .bind(rule_key)
        .bind(fingerprints)
        .bind(instances.iter().map(|instance| instance.state.as_str()).collect::<Vec<_>>())
        .bind(instances.iter().map(|instance| instance.body.to_string()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn save_alerts(tx: &mut PgTransaction<'_>, alerts: &[AlertRow], clinics: Clinics) -> Result<(), StoreError> {
    if alerts.is_empty() {
        return Ok(());
    }
    let mut clinic_ids: Vec<Option<Uuid>> = alerts.iter().map(|alert| alert.clinic_id).collect();
    if clinics == Clinics::Referenced {
        drop_unknown_clinics(tx, &mut clinic_ids).await?;
    }
    sqlx::query(UPSERT_ALERTS)
        .bind(alerts.iter().map(|alert| alert.id).collect::<Vec<_>>())
        .bind(clinic_ids)
        .bind(alerts.iter().map(clipped_name).collect::<Vec<_>>())
        .bind(alerts.iter().map(clipped_severity).collect::<Vec<_>>())
        .bind(alerts.iter().map(|alert| alert.status.as_str()).collect::<Vec<_>>())
        .bind(alerts.iter().map(|alert| alert.message.as_str()).collect::<Vec<_>>())
        .bind(alerts.iter().map(|alert| alert.metadata.to_string()).collect::<Vec<_>>())
        .bind(alerts.iter().map(|alert| Moment(alert.created_at)).collect::<Vec<_>>())
        .bind(alerts.iter().map(|alert| alert.resolved_at.map(Moment)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A clinic that the product does not know (any more) would have the foreign key refuse the alert.
async fn drop_unknown_clinics(tx: &mut PgTransaction<'_>, clinic_ids: &mut [Option<Uuid>]) -> Result<(), StoreError> {
    let known: HashSet<Uuid> = sqlx::query_scalar("SELECT id FROM atendeai.clinics WHERE id = ANY($1)")
        .bind(clinic_ids.iter().flatten().copied().collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?
        .into_iter()
        .collect();
    for clinic_id in clinic_ids {
        *clinic_id = clinic_id.filter(|id| known.contains(id));
    }
    Ok(())
}

async fn save_outbox(tx: &mut PgTransaction<'_>, outbox: &[OutboxRow]) -> Result<(), StoreError> {
    if outbox.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_OUTBOX)
        .bind(outbox.iter().map(|made| made.id).collect::<Vec<_>>())
        .bind(outbox.iter().map(|made| made.channel.as_str()).collect::<Vec<_>>())
        .bind(outbox.iter().map(|made| made.body.to_string()).collect::<Vec<_>>())
        .bind(outbox.iter().map(|made| Moment(made.created_at)).collect::<Vec<_>>())
        .bind(outbox.iter().map(|made| i64::from(made.attempts)).collect::<Vec<_>>())
        .bind(outbox.iter().map(|made| Moment(made.next_attempt_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
