-- The tables. In normal operation, users write only to vpk.plans. The background worker writes
-- vpk.key_usage, vpk.quota_usage and the histories; the functions write all other tables.
--
-- There are no foreign keys. The tables of an extension have their constraints before their rows
-- are restored, and a parallel pg_restore loads them in any order. The functions lock the row that
-- they refer to (FOR KEY SHARE), triggers on vpk.plans keep the plans that are in use, and a key
-- whose account or plan is missing all the same is refused.

CREATE SCHEMA vpk;

CREATE TABLE vpk.plans (
    plan             text COLLATE "C" PRIMARY KEY,
    api_access       boolean NOT NULL DEFAULT false,
    concurrent_tasks integer,
    rank             integer NOT NULL,
    pristine         boolean NOT NULL,
    rate_limits      text,
    quotas           text,
    CONSTRAINT plans_plan_check
        CHECK (pg_catalog.length(plan) BETWEEN 1 AND 255 AND plan !~ '[\u0001-\u001f\u007f]'),
    CONSTRAINT plans_concurrent_tasks_check CHECK (concurrent_tasks >= 0)
);

CREATE TABLE vpk.accounts (
    account      text COLLATE "C" PRIMARY KEY,
    plan         text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    pristine     boolean NOT NULL,
    rate_limits  text,
    quotas       text,
    quota_grants text
);
CREATE INDEX accounts_plan_idx ON vpk.accounts (plan);

-- Columns are only ever appended: the library reads rows of every released version.
CREATE TABLE vpk.keys (
    id            uuid PRIMARY KEY,
    key_hash      bytea NOT NULL,
    account       text COLLATE "C" NOT NULL,
    environment   text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    prefix        text COLLATE "C",
    hint          text COLLATE "C",
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz,
    disabled_at   timestamptz,
    revoked_at    timestamptz,
    revoke_reason text,
    rotated_from  uuid,
    rotated_at    timestamptz,
    scopes        text[] NOT NULL DEFAULT '{}',
    allowed_ips   cidr[],
    metadata      jsonb NOT NULL DEFAULT '{}',
    rate_limits   text,
    quotas        text,
    -- Unique, by an index that stores 4 bytes of each hash. It has half the size of a B-tree, and a
    -- lookup costs the same for a table of any size: at this fill factor it reads one page. The
    -- B-tree of releases before 0.3.0 had another name. Their library does not compare the hash
    -- itself, and would take the first row with the same 4 bytes if it found this index.
    CONSTRAINT keys_key_hash_excl EXCLUDE USING hash (key_hash WITH OPERATOR(pg_catalog.=))
        WITH (fillfactor = 50),
    CONSTRAINT keys_key_hash_check CHECK (pg_catalog.octet_length(key_hash) = 32),
    CONSTRAINT keys_environment_check CHECK (environment IN ('live', 'test'))
);
CREATE INDEX keys_account_idx ON vpk.keys (account, id);
-- For vpk_purge: keys in the order of their ends. A key that does not end is not in it.
CREATE INDEX keys_end_idx ON vpk.keys (LEAST(revoked_at, expires_at), id)
    WHERE LEAST(revoked_at, expires_at) IS NOT NULL;

-- Updated once a minute for a key in constant use. Free space on each page allows HOT updates,
-- which add no index entries.
CREATE TABLE vpk.key_usage (
    key_id       uuid PRIMARY KEY,
    last_used_at timestamptz NOT NULL,
    uses         bigint NOT NULL,
    -- Those in the hour of the last use, which get a row in vpk.usage_history when a later hour has
    -- one. So the history adds no write to each flush.
    uses_in_hour bigint
) WITH (fillfactor = 70);

-- What is used of quotas, by account or key. A slot in memory has what was used since the last
-- flush. Free space on each page allows HOT updates, as in vpk.key_usage.
CREATE TABLE vpk.quota_usage (
    subject      text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    meter        text COLLATE "C" NOT NULL,
    span         text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL,
    used         bigint NOT NULL,
    warned       boolean NOT NULL DEFAULT false,
    updated_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (subject, kind, meter, span, period_start),
    CONSTRAINT quota_usage_used_check CHECK (used >= 0)
) WITH (fillfactor = 70);

-- The requests that named an idempotency key. A row is removed when its time is over.
CREATE TABLE vpk.charges (
    account         text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    meter           text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    kept_until      timestamptz NOT NULL,
    PRIMARY KEY (account, kind, meter, idempotency_key)
);
CREATE INDEX charges_kept_until_idx ON vpk.charges (kept_until);

-- Rows of an hour are next to each other, in the table and in the index: a new one is written to a
-- page that is being written anyway.
CREATE TABLE vpk.usage_history (
    starts_at timestamptz NOT NULL,
    key_id    uuid NOT NULL,
    status    text COLLATE "C" NOT NULL,
    uses      bigint NOT NULL,
    PRIMARY KEY (starts_at, key_id, status)
) WITH (fillfactor = 90);

-- The key is the last one that charged a quota before a flush: it says whose the charge was. A
-- charge counts once, of kind key if the key had a quota of its own for it.
CREATE TABLE vpk.charge_history (
    starts_at timestamptz NOT NULL,
    key_id    uuid NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    meter     text COLLATE "C" NOT NULL,
    amount    bigint NOT NULL,
    PRIMARY KEY (starts_at, key_id, kind, meter)
) WITH (fillfactor = 90);

CREATE TABLE vpk.task_leases (
    lease      uuid PRIMARY KEY,
    account    text COLLATE "C" NOT NULL,
    key_id     uuid NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX task_leases_account_idx ON vpk.task_leases (account, expires_at);
CREATE INDEX task_leases_key_id_idx ON vpk.task_leases (key_id);

CREATE TABLE vpk.events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    event        text COLLATE "C" NOT NULL,
    key_id       uuid,
    account      text COLLATE "C",
    role         text NOT NULL,
    session_role text NOT NULL,
    details      jsonb NOT NULL DEFAULT '{}',
    -- Its default is set when the function exists: see finalize.sql. So every event has it, also
    -- those of statements that do not name the column.
    actor        text
);
CREATE INDEX events_key_id_idx ON vpk.events (key_id);
CREATE INDEX events_account_idx ON vpk.events (account);
-- For vpk_create and vpk_rotate, if they are asked again.
CREATE INDEX events_idempotency_key_idx
    ON vpk.events ((details OPERATOR(pg_catalog.->>) 'idempotency_key'))
    WHERE (details OPERATOR(pg_catalog.->>) 'idempotency_key') IS NOT NULL;

CREATE TABLE vpk.accepted_findings (
    item         text COLLATE "C" NOT NULL,
    what         text COLLATE "C" NOT NULL,
    until        timestamptz NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    role         text NOT NULL,
    session_role text NOT NULL,
    PRIMARY KEY (item, what)
);
