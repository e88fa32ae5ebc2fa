-- What happened in the clinics' business, each event once however often it was handed in. Pruned with `retention.events`.
CREATE TABLE monitoring.business_events (
    clinic_id       uuid        NOT NULL,
    idempotency_key text        NOT NULL,  -- its service's; within the clinic
    type            text        NOT NULL,
    service         text        NOT NULL,
    agent_id        uuid        NOT NULL,  -- who delivered it, and in which batch
    epoch           uuid        NOT NULL,
    seq             bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, idempotency_key)
);

CREATE INDEX business_events_of_clinic ON monitoring.business_events (clinic_id, occurred_at DESC);
-- For pruning.
CREATE INDEX business_events_by_age ON monitoring.business_events (received_at);
