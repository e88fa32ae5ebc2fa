-- Rules between evaluations, the alerts they raised, and the notifications that follow.

-- One row per rule that has been evaluated.
CREATE TABLE rules (
    rule_key     TEXT    NOT NULL PRIMARY KEY,
    evaluated_at INTEGER NOT NULL
) STRICT;

-- The instances that a rule has now.
CREATE TABLE alert_instances (
    rule_key    TEXT NOT NULL REFERENCES rules (rule_key) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    state       TEXT NOT NULL,
    body        TEXT NOT NULL,  -- JSON
    PRIMARY KEY (rule_key, fingerprint)
) STRICT, WITHOUT ROWID;

-- One row per firing, from raise to resolution; people query it.
CREATE TABLE alerts (
    id          BLOB    NOT NULL PRIMARY KEY,
    clinic_id   BLOB,
    alert_name  TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    status      TEXT    NOT NULL DEFAULT 'active',
    message     TEXT,
    metadata    TEXT    NOT NULL DEFAULT '{}',  -- JSON
    created_at  INTEGER NOT NULL,
    resolved_at INTEGER
) STRICT;

CREATE INDEX alerts_by_age ON alerts (created_at DESC, id DESC);
CREATE INDEX alerts_of_clinic ON alerts (clinic_id, created_at DESC, id DESC);
CREATE INDEX alerts_by_status ON alerts (status, created_at DESC, id DESC);
-- For pruning.
CREATE INDEX alerts_by_end ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

-- Notifications that wait to be sent.
CREATE TABLE outbox (
    ordinal         INTEGER PRIMARY KEY,             -- order in which they were made, and are sent
    id              BLOB    NOT NULL UNIQUE,         -- the receiver's idempotency key
    channel         TEXT    NOT NULL,
    body            TEXT    NOT NULL,                -- JSON
    created_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_due ON outbox (next_attempt_at);

-- Notifications that were accepted, or refused for good: why was this sent twice, or never.
CREATE TABLE notifications (
    id          BLOB    NOT NULL PRIMARY KEY,
    channel     TEXT    NOT NULL,
    body        TEXT    NOT NULL,  -- JSON
    created_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    outcome     TEXT    NOT NULL,
    attempts    INTEGER NOT NULL   -- with the one that finished it
) STRICT;

CREATE INDEX notifications_by_age ON notifications (finished_at);
