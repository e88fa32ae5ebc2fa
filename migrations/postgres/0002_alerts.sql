-- Rules between evaluations, the alerts they raised, and the notifications that follow.

-- One row per rule that has been evaluated.
CREATE TABLE monitoring.rules (
    rule_key     text        PRIMARY KEY,
    evaluated_at timestamptz NOT NULL
);

-- The instances that a rule has now. `json`, not `jsonb`: the body comes back exactly as it was given.
CREATE TABLE monitoring.alert_instances (
    rule_key    text NOT NULL REFERENCES monitoring.rules (rule_key) ON DELETE CASCADE,
    fingerprint text NOT NULL,
    state       text NOT NULL,
    body        json NOT NULL,
    PRIMARY KEY (rule_key, fingerprint)
) WITH (fillfactor = 70);

-- One row per firing, from raise to resolution; people and other services query it. The foreign key from clinic_id to
-- atendeai.clinics (id) is added when the program opens the database and that table exists:
-- aggregator/src/store/postgres/clinic_key.sql.
CREATE TABLE monitoring.alerts (
    id          uuid         PRIMARY KEY,
    clinic_id   uuid,
    alert_name  varchar(100) NOT NULL,
    severity    varchar(20)  NOT NULL,
    status      varchar(20)  NOT NULL DEFAULT 'active',
    message     text,
    metadata    jsonb        NOT NULL DEFAULT '{}',
    created_at  timestamptz  NOT NULL DEFAULT now(),
    resolved_at timestamptz
);

CREATE INDEX alerts_by_age ON monitoring.alerts (created_at DESC, id DESC);
CREATE INDEX alerts_of_clinic ON monitoring.alerts (clinic_id, created_at DESC, id DESC);
CREATE INDEX alerts_by_status ON monitoring.alerts (status, created_at DESC, id DESC);
-- For pruning.
CREATE INDEX alerts_by_end ON monitoring.alerts (resolved_at) WHERE resolved_at IS NOT NULL;

-- Notifications that wait to be sent.
CREATE TABLE monitoring.outbox (
    ordinal         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- order in which they were made, and are sent
    id              uuid        NOT NULL UNIQUE,                           -- the receiver's idempotency key
    channel         text        NOT NULL,
    body            json        NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        bigint      NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL
);

CREATE INDEX outbox_due ON monitoring.outbox (next_attempt_at);

-- Notifications that were accepted, or refused for good: why was this sent twice, or never.
CREATE TABLE monitoring.notifications (
    id          uuid        PRIMARY KEY,
    channel     text        NOT NULL,
    body        json        NOT NULL,
    created_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    outcome     text        NOT NULL,
    attempts    bigint      NOT NULL  -- with the one that finished it
);

CREATE INDEX notifications_by_age ON monitoring.notifications (finished_at);
