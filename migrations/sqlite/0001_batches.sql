-- What agents sent. Times are milliseconds since 1970 in UTC, ids are 16 bytes; migrations/postgres says the same with
-- PostgreSQL's types.

-- One row per agent: what it said of itself in its last Hello.
CREATE TABLE agents (
    agent_id      BLOB    NOT NULL PRIMARY KEY,
    service       TEXT    NOT NULL,
    instance      TEXT    NOT NULL,
    clinic_id     BLOB,
    interval_ms   INTEGER NOT NULL,
    agent_version TEXT    NOT NULL,
    first_seen    INTEGER NOT NULL,
    last_seen     INTEGER NOT NULL,  -- last Hello; batches are noted in agent_epochs
    renamed_after INTEGER,           -- newest batch of the log when service, instance or clinic changed last; null: never
    stopped_at    INTEGER            -- goodbye; null while it is up or silent
) STRICT;

-- How far the stream of each (agent, epoch) is stored: what makes a replay known after its batch was pruned and after a
-- newer epoch began. Deleted when no batch came for `retention.agents`. last_seq = 0 is an epoch that was opened and holds
-- nothing yet.
CREATE TABLE agent_epochs (
    generation       INTEGER PRIMARY KEY,  -- orders epochs; clocks do not
    agent_id         BLOB    NOT NULL,
    epoch            BLOB    NOT NULL,
    last_seq         INTEGER NOT NULL CHECK (last_seq >= 0),
    first_seen       INTEGER NOT NULL,
    last_received_at INTEGER NOT NULL,
    oldest_at        INTEGER,              -- oldest sample of its first batch that has any
    newest_at        INTEGER,              -- newest sample of its last batch that has any
    UNIQUE (agent_id, epoch)
) STRICT;

-- The lists of series that batches refer to, as their agents encoded them.
CREATE TABLE schemas (
    agent_id     BLOB    NOT NULL,
    schema_id    INTEGER NOT NULL,  -- the bits of an unsigned xxh3-64
    definition   BLOB    NOT NULL,
    refreshed_at INTEGER NOT NULL,  -- newest batch that carried the definition
    PRIMARY KEY (agent_id, schema_id)
) STRICT;

-- The log: batches in the order in which they were stored.
CREATE TABLE batches (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- no number twice, also when all are pruned
    agent_id    BLOB    NOT NULL,
    epoch       BLOB    NOT NULL,
    seq         INTEGER NOT NULL CHECK (seq > 0),
    received_at INTEGER NOT NULL,
    digest      INTEGER,  -- of the content; null: it holds nothing but gaps. Tells a replay from another batch
    payload     BLOB    NOT NULL,
    UNIQUE (agent_id, epoch, seq)
) STRICT;

-- For pruning, and for finding the place where a replay begins without touching the table.
CREATE INDEX batches_received_at ON batches (received_at);

-- One row: when an aggregator was alive last, and how far its clock was believed then.
CREATE TABLE pulse (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    alive_at   INTEGER NOT NULL,
    trusted_at INTEGER NOT NULL  -- deletion by age goes by this, never by a clock that jumped
) STRICT;
