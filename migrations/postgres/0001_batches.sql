-- What agents sent. Everything lives in the schema `monitoring`, which the program creates before it migrates; every
-- name is written with its schema, so that no search_path can lead a statement elsewhere.

-- One row per agent: what it said of itself in its last Hello.
CREATE TABLE monitoring.agents (
    agent_id      uuid        PRIMARY KEY,
    service       text        NOT NULL,
    instance      text        NOT NULL,
    clinic_id     uuid,
    interval_ms   bigint      NOT NULL,
    agent_version text        NOT NULL,
    first_seen    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,  -- last Hello; batches are noted in agent_epochs
    renamed_after bigint,                -- newest batch of the log when service, instance or clinic changed last; null: never
    stopped_at    timestamptz            -- goodbye; null while it is up or silent
);

-- How far the stream of each (agent, epoch) is stored: what makes a replay known after its batch was pruned and after a
-- newer epoch began. Deleted when no batch came for `retention.agents`. last_seq = 0 is an epoch that was opened and holds
-- nothing yet.
CREATE TABLE monitoring.agent_epochs (
    generation       bigint      GENERATED ALWAYS AS IDENTITY,  -- orders epochs; clocks do not
    agent_id         uuid        NOT NULL,
    epoch            uuid        NOT NULL,
    last_seq         bigint      NOT NULL CHECK (last_seq >= 0),
    first_seen       timestamptz NOT NULL,
    last_received_at timestamptz NOT NULL,
    oldest_at        timestamptz,           -- oldest sample of its first batch that has any
    newest_at        timestamptz,           -- newest sample of its last batch that has any
    PRIMARY KEY (agent_id, epoch)
) WITH (fillfactor = 50);  -- updated by every commit: room for updates that touch no index

-- The lists of series that batches refer to, as their agents encoded them.
CREATE TABLE monitoring.schemas (
    agent_id     uuid        NOT NULL,
    schema_id    bigint      NOT NULL,  -- the bits of an unsigned xxh3-64
    definition   bytea       NOT NULL,
    refreshed_at timestamptz NOT NULL,  -- newest batch that carried the definition
    PRIMARY KEY (agent_id, schema_id)
);

-- The log: batches in the order in which they were stored.
CREATE TABLE monitoring.batches (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id    uuid        NOT NULL,
    epoch       uuid        NOT NULL,
    seq         bigint      NOT NULL CHECK (seq > 0),
    received_at timestamptz NOT NULL,
    digest      bigint,                -- of the content; null: it holds nothing but gaps. Tells a replay from another batch
    payload     bytea       NOT NULL,
    UNIQUE (agent_id, epoch, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05);  -- pruning deletes steadily: give the space back early

-- The payload is compressed already.
ALTER TABLE monitoring.batches ALTER COLUMN payload SET STORAGE EXTERNAL;

-- For pruning, and for finding the place where a replay begins without touching the table.
CREATE INDEX batches_received_at ON monitoring.batches (received_at, id);

-- One row: when an aggregator was alive last, and how far its clock was believed then.
CREATE TABLE monitoring.pulse (
    only_row   boolean     PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    alive_at   timestamptz NOT NULL,
    trusted_at timestamptz NOT NULL  -- deletion by age goes by this, never by a clock that jumped
) WITH (fillfactor = 50);  -- updated every few seconds
