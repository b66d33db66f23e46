-- From 0.9.0 to 0.10.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.10.0'" to load this file. \quit

-- A column that somebody has added takes the number of one that is added here, also after it was
-- dropped.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT t.name, a.attname INTO added
      FROM (VALUES ('plans', 5), ('accounts', 4), ('keys', 17)) AS t (name, columns)
      JOIN pg_catalog.pg_class AS c
        ON c.relname = t.name AND c.relnamespace = 'vpk'::pg_catalog.regnamespace
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > t.columns
     ORDER BY t.name, a.attnum LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.format('column "%s" was added to table "vpk.%s"',
                                        added.attname, added.name),
            DETAIL = 'The update adds a column of its own, which needs that number.',
            HINT = 'Move its contents to a table of your own, and restore the database from a '
                   'dump. Even a dropped column keeps its number.';
    END IF;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Rate limits and quotas. They stand in the rows that a verification reads anyway, and are null
-- where nothing is set. No row is written anew.

ALTER TABLE vpk.plans
    ADD COLUMN rate_limits text,
    ADD COLUMN quotas text;
ALTER TABLE vpk.accounts
    ADD COLUMN rate_limits text,
    ADD COLUMN quotas text,
    ADD COLUMN quota_grants text;
ALTER TABLE vpk.keys
    ADD COLUMN rate_limits text,
    ADD COLUMN quotas text;
COMMENT ON COLUMN vpk.plans.rate_limits IS
    'Rate limits of accounts on the plan, such as minute=100/1min+150; see vpk_set_rate_limit';
COMMENT ON COLUMN vpk.plans.quotas IS
    'Quotas of accounts on the plan, such as calls=10000/month; see vpk_set_quota';
COMMENT ON COLUMN vpk.accounts.rate_limits IS
    'Rate limits of the account; they replace those of the same name of its plan';
COMMENT ON COLUMN vpk.accounts.quotas IS
    'Quotas of the account; they replace those of the same meter and period of its plan';
COMMENT ON COLUMN vpk.accounts.quota_grants IS
    'What the account was granted beyond its quotas, with the periods that it is for';
COMMENT ON COLUMN vpk.keys.rate_limits IS
    'Rate limits of the key; they replace those of the same name of its plan';
COMMENT ON COLUMN vpk.keys.quotas IS
    'Quotas of the key; they replace those of the same meter and period of its plan';

-- What is used of quotas.

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
    CONSTRAINT quota_usage_used_check CHECK (used OPERATOR(pg_catalog.>=) 0)
) WITH (fillfactor = 70);

-- The requests that named an idempotency key. A row is removed when its time is over.
CREATE TABLE vpk.charges (
    account         text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    kept_until      timestamptz NOT NULL,
    PRIMARY KEY (account, kind, idempotency_key)
);
CREATE INDEX charges_kept_until_idx ON vpk.charges (kept_until);
COMMENT ON TABLE vpk.quota_usage IS
    'What is used of quotas in each period, without what only the memory has; see vpk_quota';
COMMENT ON COLUMN vpk.quota_usage.subject IS 'The account, or the id of the key';
COMMENT ON COLUMN vpk.quota_usage.kind IS 'account or key';
COMMENT ON COLUMN vpk.quota_usage.meter IS 'What is counted';
COMMENT ON COLUMN vpk.quota_usage.span IS 'The length of the period: hour, day, week, month, year or total';
COMMENT ON COLUMN vpk.quota_usage.period_start IS 'When the period began; -infinity for total';
COMMENT ON COLUMN vpk.quota_usage.used IS 'How much was used';
COMMENT ON COLUMN vpk.quota_usage.warned IS 'Whether the event quota_warning was recorded';
COMMENT ON COLUMN vpk.quota_usage.updated_at IS 'When the row was last written';
COMMENT ON TABLE vpk.charges IS
    'The idempotency keys of charges and grants, for as long as a repeated call changes nothing';
COMMENT ON COLUMN vpk.charges.account IS 'The account';
COMMENT ON COLUMN vpk.charges.kind IS 'charge or grant';
COMMENT ON COLUMN vpk.charges.idempotency_key IS 'The name of the request';
COMMENT ON COLUMN vpk.charges.kept_until IS 'From this time on the row may be removed';
COMMENT ON COLUMN vpk.events.event IS
    'key_created, key_updated, key_rotated, key_revoked, key_disabled, key_enabled, key_purged, key_deleted, plan_set, account_renamed, account_deleted, quota_granted, quota_warning or events_purged';
SELECT pg_catalog.pg_extension_config_dump('vpk.quota_usage', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.charges', '');
