-- What happened in the clinics' business, each event once however often it was handed in. Pruned with `retention.events`.
CREATE TABLE business_events (
    clinic_id       BLOB    NOT NULL,
    idempotency_key TEXT    NOT NULL,  -- its service's; within the clinic
    type            TEXT    NOT NULL,
    service         TEXT    NOT NULL,
    agent_id        BLOB    NOT NULL,  -- who delivered it, and in which batch
    epoch           BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    occurred_at     INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    PRIMARY KEY (clinic_id, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX business_events_of_clinic ON business_events (clinic_id, occurred_at DESC);
-- For pruning.
CREATE INDEX business_events_by_age ON business_events (received_at);
