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
      FROM (VALUES ('plans', 5), ('accounts', 4), ('keys', 17), ('key_usage', 3))
           AS t (name, columns)
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

COMMENT ON TABLE vpk.events IS 'Every change to a key, to the plan of an account or to a limit, in order';
COMMENT ON COLUMN vpk.events.event IS
    'key_created, key_updated, key_rotated, key_revoked, key_disabled, key_enabled, key_purged, key_deleted, plan_set, rate_limit_set, rate_limit_removed, quota_set, quota_removed, account_renamed, account_deleted, quota_granted, quota_warning or events_purged';

-- Texts of rate limits and quotas: checked where they are written, and read by the views.

CREATE FUNCTION vpk.checked_rate_limits(rate_limits text)
RETURNS text
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'checked_rate_limits_wrapper';

CREATE FUNCTION vpk.checked_quotas(quotas text)
RETURNS text
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'checked_quotas_wrapper';

CREATE FUNCTION vpk.rate_limit_rows(rate_limits text)
RETURNS TABLE (policy text, amount integer, period interval, burst integer)
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'rate_limit_rows_wrapper';

CREATE FUNCTION vpk.quota_rows(quotas text)
RETURNS TABLE (meter text, period text, amount bigint, time_zone text, anchor date, warn_at real)
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'quota_rows_wrapper';

COMMENT ON FUNCTION vpk.checked_rate_limits(text) IS
    'Returns rate limits in the spelling in which they are stored; for the triggers on vpk.plans and vpk.accounts';
COMMENT ON FUNCTION vpk.checked_quotas(text) IS
    'Returns quotas in the spelling in which they are stored; for the triggers on vpk.plans and vpk.accounts';
COMMENT ON FUNCTION vpk.rate_limit_rows(text) IS 'The rows of vpk.rate_limits for one text';
COMMENT ON FUNCTION vpk.quota_rows(text) IS 'The rows of vpk.quotas for one text';
ALTER FUNCTION vpk.rate_limit_rows(text) ROWS 2;
ALTER FUNCTION vpk.quota_rows(text) ROWS 2;

CREATE FUNCTION vpk_set_rate_limit(
    policy text, amount integer, period interval, burst integer DEFAULT NULL,
    plan text DEFAULT NULL, account text DEFAULT NULL, id uuid DEFAULT NULL)
RETURNS void
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_set_rate_limit_wrapper';

CREATE FUNCTION vpk_set_quota(
    amount bigint, period text DEFAULT 'month', meter text DEFAULT 'calls', plan text DEFAULT NULL,
    account text DEFAULT NULL, id uuid DEFAULT NULL, time_zone text DEFAULT 'UTC',
    anchor date DEFAULT NULL, warn_at real DEFAULT NULL)
RETURNS void
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_set_quota_wrapper';

COMMENT ON FUNCTION vpk_set_rate_limit(text, integer, interval, integer, text, text, uuid) IS
    'Sets how many calls may pass in a period, for a plan, an account or a key; an amount of null removes the limit';
COMMENT ON FUNCTION vpk_set_quota(bigint, text, text, text, text, uuid, text, date, real) IS
    'Sets how much may be used in an hour, day, week, month, year or in total, for a plan, an account or a key; an amount of null removes the quota';

-- vpk_doctor has two more items: rate_limits and limits.
ALTER FUNCTION vpk_doctor() ROWS 20;

-- Gives a function the arguments, result columns and code of a new one, and drops that one. The
-- function keeps its OID, so everybody keeps the privilege to call it, and what depends on it
-- stays. Dropped at the end of this script.
CREATE FUNCTION vpk.grow(old pg_catalog.regprocedure, new pg_catalog.regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other pg_catalog.regprocedure;
BEGIN
    SELECT p.oid INTO other
      FROM pg_catalog.pg_proc AS o, pg_catalog.pg_proc AS n, pg_catalog.pg_proc AS p
     WHERE o.oid = old AND n.oid = new AND p.oid <> old
       AND p.pronamespace = o.pronamespace AND p.proname = o.proname
       AND p.proargtypes = n.proargtypes;
    IF FOUND THEN
        RAISE duplicate_function USING
            MESSAGE = pg_catalog.format('function %s already exists', other),
            DETAIL = pg_catalog.format('The update gives function %s these arguments.', old),
            HINT = 'Rename your function, or move it to a schema of your own.';
    END IF;
    UPDATE pg_catalog.pg_proc AS o
       SET pronargs = n.pronargs, pronargdefaults = n.pronargdefaults,
           proargtypes = n.proargtypes, proallargtypes = n.proallargtypes,
           proargmodes = n.proargmodes, proargnames = n.proargnames,
           proargdefaults = n.proargdefaults, prosrc = n.prosrc
      FROM pg_catalog.pg_proc AS n
     WHERE o.oid = old AND n.oid = new;
    EXECUTE pg_catalog.format('DROP FUNCTION %s', new);
    -- As CREATE FUNCTION does: the library that is loaded has to have that function.
    PERFORM pg_catalog.fmgr_c_validator(old);
END
$$;

-- The cost of a call, and what its limits have left.

CREATE FUNCTION vpk_authenticate_grown(
    "authorization" text, scope text DEFAULT NULL, client_ip inet DEFAULT NULL,
    request_id text DEFAULT NULL, environment text DEFAULT NULL, cost integer DEFAULT 1)
RETURNS TABLE (status vpk.vpk_status, http_status integer, key_id uuid, key_name text,
               account text, plan text, environment text, scopes text[], metadata jsonb,
               expires_at timestamptz, request_id text, headers jsonb, error jsonb, limits jsonb)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'authenticate_at_cost_wrapper';
SELECT vpk.grow('vpk_authenticate(text, text, inet, text, text)',
                'vpk_authenticate_grown(text, text, inet, text, text, integer)');

CREATE FUNCTION vpk_task_start_grown(
    token text, ttl interval DEFAULT '15 min', client_ip inet DEFAULT NULL,
    scope text DEFAULT NULL, request_id text DEFAULT NULL, environment text DEFAULT NULL,
    cost integer DEFAULT 1)
RETURNS TABLE (status vpk.vpk_status, http_status integer, lease uuid, running integer,
               allowed integer, expires_at timestamptz, error jsonb, headers jsonb)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'start_task_at_cost_wrapper';
SELECT vpk.grow('vpk_task_start(text, interval, inet, text, text, text)',
                'vpk_task_start_grown(text, interval, inet, text, text, text, integer)');

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);

-- What is left of rate limits.

CREATE FUNCTION vpk_rate_limit_state(account text DEFAULT NULL, id uuid DEFAULT NULL)
RETURNS TABLE (policy text, applies_to text, amount integer, period interval, burst integer,
               remaining integer, resets_in interval)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_rate_limit_state_wrapper';
COMMENT ON FUNCTION vpk_rate_limit_state(text, uuid) IS
    'Returns the rate limits of an account or of a key, and what is left of each on this server';
ALTER FUNCTION vpk_rate_limit_state(text, uuid) ROWS 4;

CREATE FUNCTION vpk_reset_rate_limit(
    account text DEFAULT NULL, id uuid DEFAULT NULL, policy text DEFAULT NULL)
RETURNS integer
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_reset_rate_limit_wrapper';
COMMENT ON FUNCTION vpk_reset_rate_limit(text, uuid, text) IS
    'Gives back what is used of the rate limits of an account or of a key, on this server; returns of how many';

-- A limit for anything.

CREATE FUNCTION vpk_rate_limit(
    identifier text, amount integer, period interval, burst integer DEFAULT NULL,
    cost integer DEFAULT 1)
RETURNS TABLE (allowed boolean, remaining integer, retry_after integer)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_rate_limit_wrapper';
COMMENT ON FUNCTION vpk_rate_limit(text, integer, interval, integer, integer) IS
    'Limits how often something happens, by an identifier of the application''s. Writes nothing';
ALTER FUNCTION vpk_rate_limit(text, integer, interval, integer, integer) ROWS 1;

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
    meter           text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    kept_until      timestamptz NOT NULL,
    PRIMARY KEY (account, kind, meter, idempotency_key)
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
COMMENT ON COLUMN vpk.charges.meter IS 'What is counted';
COMMENT ON COLUMN vpk.charges.idempotency_key IS 'The name of the request';
COMMENT ON COLUMN vpk.charges.kept_until IS 'From this time on the row may be removed';
SELECT pg_catalog.pg_extension_config_dump('vpk.quota_usage', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.charges', '');

CREATE FUNCTION vpk_quota(account text DEFAULT NULL, id uuid DEFAULT NULL)
RETURNS TABLE (meter text, period text, applies_to text, amount bigint, granted bigint,
               used bigint, remaining bigint, period_start timestamptz, resets_at timestamptz)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_quota_wrapper';
COMMENT ON FUNCTION vpk_quota(text, uuid) IS
    'Returns what an account or a key has used of each of its quotas, and when they are renewed';
ALTER FUNCTION vpk_quota(text, uuid) ROWS 4;

CREATE FUNCTION vpk_grant_quota(
    account text, amount bigint, meter text DEFAULT 'calls', reason text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, period text DEFAULT NULL)
RETURNS bigint
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_quota_wrapper';
COMMENT ON FUNCTION vpk_grant_quota(text, bigint, text, text, text, text) IS
    'Grants an account more than a quota for its current period; returns what remains';

CREATE FUNCTION vpk_charge(
    id uuid, cost bigint, meter text DEFAULT 'calls', idempotency_key text DEFAULT NULL)
RETURNS bigint
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_charge_wrapper';
COMMENT ON FUNCTION vpk_charge(uuid, bigint, text, text) IS
    'Charges the quotas of a key and its account for what a request took; returns what remains, or null without a quota';

CREATE FUNCTION vpk_pending_charges(max_rows integer DEFAULT 10000)
RETURNS TABLE (
    charge bigint, key_id uuid, applies_to text, meter text, period text, period_start timestamptz,
    amount bigint, charged bigint, warn_from bigint, charged_at timestamptz)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_pending_charges_wrapper';
COMMENT ON FUNCTION vpk_pending_charges(integer) IS
    'On a standby: returns pending charges of quotas, to be added on the primary; they do not count here until the transaction ends';

CREATE FUNCTION vpk_settle_charges(charge bigint)
RETURNS boolean
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_settle_charges_wrapper';
COMMENT ON FUNCTION vpk_settle_charges(bigint) IS
    'On a standby: removes a pending charge that was added on the primary; returns whether it was pending';

CREATE FUNCTION vpk_add_charges(
    key_id uuid, applies_to text, meter text, period text, period_start timestamptz,
    amount bigint, charged bigint, warn_from bigint, charged_at timestamptz)
RETURNS boolean
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_add_charges_wrapper';
COMMENT ON FUNCTION vpk_add_charges(uuid, text, text, text, timestamptz, bigint, bigint, bigint, timestamptz) IS
    'On the primary: adds a charge of a quota that a standby counted; returns whether the key exists';

-- Usage over time.

-- Rows of an hour are next to each other, in the table and in the index: a new one is written to a
-- page that is being written anyway.
CREATE TABLE vpk.usage_history (
    starts_at timestamptz NOT NULL,
    key_id    uuid NOT NULL,
    status    text COLLATE "C" NOT NULL,
    uses      bigint NOT NULL,
    PRIMARY KEY (starts_at, key_id, status)
) WITH (fillfactor = 90);
COMMENT ON TABLE vpk.usage_history IS
    'How often keys were used and refused in each hour, and before the last 8 days in each day; see vpk_usage';
COMMENT ON COLUMN vpk.usage_history.starts_at IS 'When the hour or the day begins, in UTC';
COMMENT ON COLUMN vpk.usage_history.key_id IS 'The key';
COMMENT ON COLUMN vpk.usage_history.status IS 'VALID for uses, or the status with which the key was refused';
COMMENT ON COLUMN vpk.usage_history.uses IS
    'Number of answers of this status; the uses in the hour of a key''s last use are in vpk.key_usage';
SELECT pg_catalog.pg_extension_config_dump('vpk.usage_history', '');

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
COMMENT ON TABLE vpk.charge_history IS
    'What was charged to quotas in each hour, and before the last 8 days in each day; see vpk_usage';
COMMENT ON COLUMN vpk.charge_history.starts_at IS 'When the hour or the day begins, in UTC';
COMMENT ON COLUMN vpk.charge_history.key_id IS
    'The last key that charged the quota before a flush; its account is the one that was charged';
COMMENT ON COLUMN vpk.charge_history.kind IS 'key if the quota is the key''s own, or account';
COMMENT ON COLUMN vpk.charge_history.meter IS 'What is counted';
COMMENT ON COLUMN vpk.charge_history.amount IS 'How much was charged; less than 0 where more was given back';
SELECT pg_catalog.pg_extension_config_dump('vpk.charge_history', '');

CREATE FUNCTION vpk_usage(
    account text DEFAULT NULL,
    id uuid DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    bucket interval DEFAULT '1 hour'
) RETURNS TABLE (
    starts_at timestamptz,
    uses bigint,
    denied jsonb,
    charged jsonb
)
VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_usage_wrapper';
COMMENT ON FUNCTION vpk_usage(text, uuid, timestamptz, timestamptz, interval) IS
    'Returns how often keys were used and refused over time: those of an account, one key, or all';
ALTER FUNCTION vpk_usage(text, uuid, timestamptz, timestamptz, interval) ROWS 200;

-- A superuser who is not the owner of the extension's tables may run an update. What it made goes
-- to that owner, as in a fresh installation. Nobody else may call it, whatever default privileges
-- there are; and then each role that may call the function beside it.
--
-- Grants that an update script makes count as the extension's own (pg_init_privs), and pg_dump
-- leaves those out. So the privileges that count as its own are set to those of a fresh
-- installation. From PostgreSQL 17 on, these have dependencies on roles (pg_shdepend), which would
-- keep a role from being dropped.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT p.oid, p.oid::pg_catalog.regprocedure AS function, k.relowner AS owner, f.sibling
          FROM pg_catalog.pg_class AS k, pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
          JOIN (VALUES ('vpk_rate_limit'::text, 'vpk_authenticate'::text),
                       ('vpk_rate_limit_state', NULL), ('vpk_reset_rate_limit', NULL),
                       ('vpk_usage', 'vpk_list')
               ) AS f (name, sibling) ON f.name = p.proname
         WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND e.extname = 'vibepeak_keys'
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', added.function,
                                  pg_catalog.pg_get_userbyid(added.owner));
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON FUNCTION %s FROM %s', added.function,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.pg_proc AS p,
                   LATERAL pg_catalog.aclexplode(
                       coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
             WHERE p.oid = added.oid AND a.grantee <> added.owner
            UNION ALL
            SELECT DISTINCT pg_catalog.format(
                       'GRANT EXECUTE ON FUNCTION %s TO %s', added.function,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.pg_extension AS e
              JOIN pg_catalog.pg_depend AS d
                ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                   AND d.refobjid = e.oid AND d.deptype = 'e'
                   AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
              JOIN pg_catalog.pg_proc AS s ON s.oid = d.objid AND s.proname = added.sibling,
                   LATERAL pg_catalog.aclexplode(s.proacl) AS a
             WHERE e.extname = 'vibepeak_keys' AND a.grantee NOT IN (s.proowner, added.owner)
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = ARRAY[pg_catalog.makeaclitem(
                   added.owner, added.owner, 'EXECUTE', false)]
         WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.owner;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Takes the locks of the columns that follow, late, since verifications wait from here on until the
-- update has committed.
--
-- Transactions lock these tables in any order, and whoever asks for one waits behind this update.
-- So the update waits for 100 ms at most. If a table is not free by then, it gives up all of them,
-- lets others go first, and starts again in the other order, for 10 seconds. After that it waits,
-- as any statement.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    patience text := pg_catalog.current_setting('lock_timeout');
    trying_until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) interval '10 s';
    keys_first boolean := true;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    LOOP
        BEGIN
            IF pg_catalog.clock_timestamp() < trying_until THEN
                PERFORM pg_catalog.set_config('lock_timeout', '100ms', true);
            END IF;
            IF keys_first THEN
                LOCK TABLE vpk.keys, vpk.accounts, vpk.plans, vpk.key_usage, vpk.stats
                    IN ACCESS EXCLUSIVE MODE;
            ELSE
                LOCK TABLE vpk.stats, vpk.key_usage, vpk.plans, vpk.accounts, vpk.keys
                    IN ACCESS EXCLUSIVE MODE;
            END IF;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF pg_catalog.clock_timestamp() >= trying_until THEN
                RAISE;
            END IF;
        END;
        keys_first := NOT keys_first;
        PERFORM pg_catalog.pg_sleep(0.1);
    END LOOP;
    PERFORM pg_catalog.set_config('lock_timeout', patience, true);
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
-- Uses that were counted before this update are in no hour.
ALTER TABLE vpk.key_usage ADD COLUMN uses_in_hour bigint;
COMMENT ON COLUMN vpk.key_usage.uses_in_hour IS
    'Number of them in the hour (UTC) of the last one; null if that was counted by a release before 0.10.0';
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

CREATE OR REPLACE FUNCTION vpk.plans_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not of a row that is restored: see below.
    IF NEW.plan IS DISTINCT FROM OLD.plan AND (TG_OP = 'UPDATE' OR NEW.pristine IS NULL) THEN
        PERFORM vpk.check_plan(NEW.plan);
    END IF;
    IF NEW.rank IS NULL THEN
        SELECT least(coalesce(max(p.rank), 0)::bigint + 1, 2147483647) INTO NEW.rank
          FROM vpk.plans AS p;
    END IF;
    -- In one spelling, but not where a row is restored: it may have a form of a later release.
    IF TG_OP = 'UPDATE' AND NEW.pristine = OLD.pristine
       OR TG_OP = 'INSERT' AND NEW.pristine IS NULL THEN
        IF NEW.rate_limits IS DISTINCT FROM OLD.rate_limits THEN
            NEW.rate_limits := vpk.checked_rate_limits(NEW.rate_limits);
        END IF;
        IF NEW.quotas IS DISTINCT FROM OLD.quotas THEN
            NEW.quotas := vpk.checked_quotas(NEW.quotas);
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    -- Only a restore, and the install script, name the column.
    IF NOT NEW.pristine THEN
        UPDATE vpk.plans AS p
           SET api_access = NEW.api_access, concurrent_tasks = NEW.concurrent_tasks,
               rank = NEW.rank, rate_limits = NEW.rate_limits, quotas = NEW.quotas,
               pristine = false
         WHERE p.plan = NEW.plan AND p.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'plans' AND r.name = NEW.plan;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION vpk.accounts_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In one spelling, but not where a row is restored: it may have a form of a later release.
    IF TG_OP = 'UPDATE' AND NEW.pristine = OLD.pristine
       OR TG_OP = 'INSERT' AND NEW.pristine IS NULL THEN
        IF NEW.rate_limits IS DISTINCT FROM OLD.rate_limits THEN
            NEW.rate_limits := vpk.checked_rate_limits(NEW.rate_limits);
        END IF;
        IF NEW.quotas IS DISTINCT FROM OLD.quotas THEN
            NEW.quotas := vpk.checked_quotas(NEW.quotas);
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.account IS DISTINCT FROM OLD.account THEN
            RAISE object_not_in_prerequisite_state USING
                MESSAGE = pg_catalog.format('account "%s" cannot be renamed by an UPDATE', OLD.account),
                DETAIL = 'Its keys would be refused, since they are keys of that account.',
                HINT = 'Use vpk_rename_account(account, new_account), which takes the keys along.';
        END IF;
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    IF NOT NEW.pristine THEN
        UPDATE vpk.accounts AS a
           SET plan = NEW.plan, created_at = NEW.created_at, rate_limits = NEW.rate_limits,
               quotas = NEW.quotas, quota_grants = NEW.quota_grants, pristine = false
         WHERE a.account = NEW.account AND a.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'accounts' AND r.name = NEW.account;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

-- Each of these names a plan, an account or a key. The names have one collation, so that they can
-- be sorted.
CREATE VIEW vpk.rate_limits AS
    SELECT 'plan'::pg_catalog.text AS subject, p.plan COLLATE pg_catalog."C" AS name,
           r.policy, r.amount, r.period, r.burst
      FROM vpk.plans AS p, vpk.rate_limit_rows(p.rate_limits) AS r
     WHERE p.rate_limits IS NOT NULL
    UNION ALL
    SELECT 'account', a.account COLLATE pg_catalog."C", r.policy, r.amount, r.period, r.burst
      FROM vpk.accounts AS a, vpk.rate_limit_rows(a.rate_limits) AS r
     WHERE a.rate_limits IS NOT NULL
    UNION ALL
    SELECT 'key', k.id::pg_catalog.text COLLATE pg_catalog."C", r.policy, r.amount, r.period, r.burst
      FROM vpk.keys AS k, vpk.rate_limit_rows(k.rate_limits) AS r
     WHERE k.rate_limits IS NOT NULL;

CREATE VIEW vpk.quotas AS
    SELECT 'plan'::pg_catalog.text AS subject, p.plan COLLATE pg_catalog."C" AS name,
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.plans AS p, vpk.quota_rows(p.quotas) AS q
     WHERE p.quotas IS NOT NULL
    UNION ALL
    SELECT 'account', a.account COLLATE pg_catalog."C",
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.accounts AS a, vpk.quota_rows(a.quotas) AS q
     WHERE a.quotas IS NOT NULL
    UNION ALL
    SELECT 'key', k.id::pg_catalog.text COLLATE pg_catalog."C",
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.keys AS k, vpk.quota_rows(k.quotas) AS q
     WHERE k.quotas IS NOT NULL;
COMMENT ON VIEW vpk.rate_limits IS
    'Every rate limit: the plan, account or key that it was set for, and what it allows; see vpk_set_rate_limit';
COMMENT ON VIEW vpk.quotas IS
    'Every quota: the plan, account or key that it was set for, and what it allows; see vpk_set_quota';

-- A superuser who is not the owner of the extension's tables may run an update. What it made goes
-- to that owner, as in a fresh installation. Nobody else may use it, whatever default privileges
-- there are; admin roles get it when vpk_grant_admin is called for them again.
--
-- Revocations and grants that an update script makes count as the extension's own (pg_init_privs),
-- and pg_dump leaves those out. So the privileges that count as its own are set to those of a fresh
-- installation. From PostgreSQL 17 on, these have dependencies on roles (pg_shdepend), which would
-- keep a role from being dropped.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class, p.oid, k.relowner AS owner,
               'FUNCTION' AS kind, p.oid::pg_catalog.regprocedure::text AS object,
               'f'::"char" AS rights
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
          JOIN pg_catalog.pg_class AS k ON k.oid = 'vpk.keys'::pg_catalog.regclass
         WHERE e.extname = 'vibepeak_keys'
           AND p.proname::text IN (
                   'checked_rate_limits',
                   'checked_quotas',
                   'rate_limit_rows',
                   'quota_rows',
                   'vpk_set_rate_limit',
                   'vpk_set_quota',
                   'vpk_quota',
                   'vpk_grant_quota',
                   'vpk_charge',
                   'vpk_pending_charges',
                   'vpk_settle_charges',
                   'vpk_add_charges'
               )
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, k.relowner,
               'TABLE', c.oid::pg_catalog.regclass::text, 'r'
          FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_class AS k ON k.oid = 'vpk.keys'::pg_catalog.regclass
         WHERE c.relnamespace = 'vpk'::pg_catalog.regnamespace
           AND c.relname::text IN (
                   'rate_limits',
                   'quotas',
                   'quota_usage',
                   'charges',
                   'usage_history',
                   'charge_history'
               )
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', added.kind, added.object,
                                  pg_catalog.pg_get_userbyid(added.owner));
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON %s %s FROM %s', added.kind, added.object,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM (SELECT p.oid, p.proacl FROM pg_catalog.pg_proc AS p
                    UNION ALL
                    SELECT c.oid, c.relacl FROM pg_catalog.pg_class AS c) AS o (oid, acl),
                   LATERAL pg_catalog.aclexplode(
                       coalesce(o.acl, pg_catalog.acldefault(added.rights, added.owner))) AS a
             WHERE o.oid = added.oid AND a.grantee <> added.owner
            UNION ALL
            -- Dumps by roles that may read vpk.keys go on.
            SELECT DISTINCT pg_catalog.format('GRANT SELECT ON %s TO %I', added.object,
                                              pg_catalog.pg_get_userbyid(a.grantee))
              FROM pg_catalog.pg_class AS k, LATERAL pg_catalog.aclexplode(k.relacl) AS a
             WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND a.privilege_type = 'SELECT'
               AND a.grantee NOT IN (0::pg_catalog.oid, k.relowner)
               AND added.oid IN ('vpk.quota_usage'::pg_catalog.regclass,
                                 'vpk.charges'::pg_catalog.regclass,
                                 'vpk.usage_history'::pg_catalog.regclass,
                                 'vpk.charge_history'::pg_catalog.regclass)
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = CASE added.kind
                   WHEN 'FUNCTION' THEN ARRAY[pg_catalog.makeaclitem(
                       added.owner, added.owner, 'EXECUTE', false)]
                   ELSE pg_catalog.acldefault(added.rights, added.owner) END
         WHERE i.classoid = added.class AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = added.class AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.owner;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- A view calls its functions with the privileges of the role that reads it. Members of
-- pg_read_all_data may read every view, without a grant on it. So that role gets the privilege to
-- call the functions of vpk.key_list, which 0.9.0 did not grant, and of the new views. What counts
-- as the extension's own is set to that of a fresh installation, as above.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    called record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR called IN
        SELECT p.oid, p.oid::pg_catalog.regprocedure AS function, p.proowner AS owner
          FROM pg_catalog.pg_proc AS p
         WHERE p.oid IN ('vpk.current_uses(uuid, bigint)'::pg_catalog.regprocedure,
                         'vpk.current_last_use(uuid, timestamptz)'::pg_catalog.regprocedure,
                         'vpk.rate_limit_rows(text)'::pg_catalog.regprocedure,
                         'vpk.quota_rows(text)'::pg_catalog.regprocedure)
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_read_all_data',
                                  called.function);
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = ARRAY[
                   pg_catalog.makeaclitem(called.owner, called.owner, 'EXECUTE', false),
                   pg_catalog.makeaclitem('pg_read_all_data'::pg_catalog.regrole, called.owner,
                                          'EXECUTE', false)]
         WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND i.objoid = called.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.objid = called.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> called.owner;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Last, since readers of vpk.stats wait from here on until the update has committed. The catalogue
-- row of its function is changed in place, so that everybody keeps the privilege to call it.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    UPDATE pg_catalog.pg_proc AS p
       SET prosrc = 'counters_row_wrapper',
           proallargtypes = pg_catalog.array_append(
               p.proallargtypes, 'pg_catalog.int8'::pg_catalog.regtype::pg_catalog.oid),
           proargmodes = pg_catalog.array_append(p.proargmodes, 't'),
           proargnames = pg_catalog.array_append(p.proargnames, 'limits_unenforced')
     WHERE p.oid = 'vpk.stats_row()'::pg_catalog.regprocedure;
    -- As CREATE FUNCTION does: the library that is loaded has to have that function.
    PERFORM pg_catalog.fmgr_c_validator('vpk.stats_row()'::pg_catalog.regprocedure);
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

COMMENT ON VIEW vpk.stats IS
    'Counters of this database: answers by status, uses of keys that are pending, flushed and dropped, and limits that were not enforced; null if the library is not preloaded';
CREATE OR REPLACE VIEW vpk.stats AS
    SELECT s.since,
           s.answers[pg_catalog.array_position(s.statuses, 'VALID')] AS valid,
           s.answers[pg_catalog.array_position(s.statuses, 'MISSING_API_KEY')] AS missing_api_key,
           s.answers[pg_catalog.array_position(s.statuses, 'INVALID_API_KEY')] AS invalid_api_key,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_REVOKED')] AS api_key_revoked,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_EXPIRED')] AS api_key_expired,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_DISABLED')] AS api_key_disabled,
           s.answers[pg_catalog.array_position(s.statuses, 'IP_NOT_ALLOWED')] AS ip_not_allowed,
           s.answers[pg_catalog.array_position(s.statuses, 'PLAN_REQUIRED')] AS plan_required,
           s.answers[pg_catalog.array_position(s.statuses, 'INSUFFICIENT_SCOPE')]
               AS insufficient_scope,
           s.answers[pg_catalog.array_position(s.statuses, 'RATE_LIMITED')] AS rate_limited,
           s.answers[pg_catalog.array_position(s.statuses, 'QUOTA_EXCEEDED')] AS quota_exceeded,
           s.answers[pg_catalog.array_position(s.statuses, 'CONCURRENCY_LIMIT_EXCEEDED')]
               AS concurrency_limit_exceeded,
           s.uses_pending,
           s.uses_flushed,
           s.uses_dropped,
           s.last_flush_at,
           s.last_flush_seconds,
           s.last_error_at,
           s.last_error,
           s.limits_unenforced
      FROM vpk.stats_row() AS s;
