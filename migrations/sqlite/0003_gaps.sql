-- The ledger: what agents' streams lack. Each sequence number stands here once, under the reason that was told first.
-- Pruned with `retention.agents`.
CREATE TABLE gaps (
    agent_id   BLOB    NOT NULL,
    epoch      BLOB    NOT NULL,
    generation INTEGER NOT NULL,  -- that of the epoch: orders gaps over epochs
    first_seq  INTEGER NOT NULL CHECK (first_seq > 0),
    last_seq   INTEGER NOT NULL CHECK (last_seq >= first_seq),
    records    INTEGER GENERATED ALWAYS AS (last_seq - first_seq + 1) VIRTUAL,
    reason     TEXT    NOT NULL,
    from_at    INTEGER,           -- newest sample before it, in the order of positions; null: none came before
    until_at   INTEGER,           -- oldest sample after it; null: none came yet
    noted_at   INTEGER NOT NULL,  -- the last part of it
    PRIMARY KEY (agent_id, epoch, first_seq)
) STRICT, WITHOUT ROWID;

-- Few: those after which nothing came yet. In the order in which they end.
CREATE INDEX gaps_open ON gaps (agent_id, generation, first_seq) WHERE until_at IS NULL;
-- For the way back after a restart.
CREATE INDEX gaps_lately ON gaps (ifnull(until_at, noted_at));
CREATE INDEX gaps_by_age ON gaps (noted_at);
