-- The ledger: what agents' streams lack. Each sequence number stands here once, under the reason that was told first.
-- Pruned with `retention.agents`.
CREATE TABLE monitoring.gaps (
    agent_id   uuid        NOT NULL,
    epoch      uuid        NOT NULL,
    generation bigint      NOT NULL,  -- that of the epoch: orders gaps over epochs
    first_seq  bigint      NOT NULL CHECK (first_seq > 0),
    last_seq   bigint      NOT NULL CHECK (last_seq >= first_seq),
    records    bigint      GENERATED ALWAYS AS (last_seq - first_seq + 1) STORED,
    reason     text        NOT NULL,
    from_at    timestamptz,           -- newest sample before it, in the order of positions; null: none came before
    until_at   timestamptz,           -- oldest sample after it; null: none came yet
    noted_at   timestamptz NOT NULL,  -- the last part of it
    PRIMARY KEY (agent_id, epoch, first_seq)
);

-- Few: those after which nothing came yet. In the order in which they end.
CREATE INDEX gaps_open ON monitoring.gaps (agent_id, generation, first_seq) WHERE until_at IS NULL;
-- For the way back after a restart.
CREATE INDEX gaps_lately ON monitoring.gaps (coalesce(until_at, noted_at));
CREATE INDEX gaps_by_age ON monitoring.gaps (noted_at);
