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

-- Takes the locks of the columns that follow, late, since verifications wait from here on until the
-- update has committed.
--
-- Transactions lock these tables in any order, and whoever asks for one waits behind this update.
-- So the update waits for 100 ms at most. If a table is not free by then, it gives up all of them,
-- lets others go first, and starts again, for 10 seconds. After that it waits, as any statement.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    patience text := pg_catalog.current_setting('lock_timeout');
    trying_until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) interval '10 s';
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    LOOP
        BEGIN
            IF pg_catalog.clock_timestamp() < trying_until THEN
                PERFORM pg_catalog.set_config('lock_timeout', '100ms', true);
            END IF;
            LOCK TABLE vpk.keys, vpk.accounts, vpk.plans IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF pg_catalog.clock_timestamp() >= trying_until THEN
                RAISE;
            END IF;
        END;
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

-- vpk_doctor has one more item, rate_limits.
ALTER FUNCTION vpk_doctor() ROWS 19;

-- Usage over time. Uses that were counted before this update are in no hour.
--
-- Whoever has locked vpk.key_usage has locked vpk.keys before, and so has ended.

ALTER TABLE vpk.key_usage ADD COLUMN uses_in_hour bigint;

-- Rows of an hour are next to each other, in the table and in the index: a new one is written to a
-- page that is being written anyway.
CREATE TABLE vpk.usage_history (
    starts_at timestamptz NOT NULL,
    key_id    uuid NOT NULL,
    status    text COLLATE "C" NOT NULL,
    uses      bigint NOT NULL,
    PRIMARY KEY (starts_at, key_id, status)
) WITH (fillfactor = 90);
COMMENT ON COLUMN vpk.key_usage.uses_in_hour IS
    'Number of them in the hour (UTC) of the last one; null if that was counted by a release before 0.10.0';
COMMENT ON TABLE vpk.usage_history IS
    'How often keys were used and refused in each hour, and before the last 8 days in each day; see vpk_usage';
COMMENT ON COLUMN vpk.usage_history.starts_at IS 'When the hour or the day begins, in UTC';
COMMENT ON COLUMN vpk.usage_history.key_id IS 'The key';
COMMENT ON COLUMN vpk.usage_history.status IS 'VALID for uses, or the status with which the key was refused';
COMMENT ON COLUMN vpk.usage_history.uses IS
    'Number of answers of this status; the uses in the hour of a key''s last use are in vpk.key_usage';
SELECT pg_catalog.pg_extension_config_dump('vpk.usage_history', '');

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

-- The same for new tables: they go to that owner, nobody else has a privilege on them, and then
-- each role that has SELECT on vpk.keys gets it, so that its dumps go on.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT c.oid, c.oid::pg_catalog.regclass AS relation, k.relowner AS owner
          FROM pg_catalog.pg_class AS k, pg_catalog.pg_class AS c
         WHERE k.oid = 'vpk.keys'::pg_catalog.regclass
           AND c.oid IN ('vpk.usage_history'::pg_catalog.regclass)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %I', added.relation,
                                  pg_catalog.pg_get_userbyid(added.owner));
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON %s FROM %s', added.relation,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.pg_class AS c, LATERAL pg_catalog.aclexplode(c.relacl) AS a
             WHERE c.oid = added.oid AND a.grantee <> added.owner
            UNION ALL
            SELECT DISTINCT pg_catalog.format('GRANT SELECT ON %s TO %I', added.relation,
                                              pg_catalog.pg_get_userbyid(a.grantee))
              FROM pg_catalog.pg_class AS k, LATERAL pg_catalog.aclexplode(k.relacl) AS a
             WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND a.privilege_type = 'SELECT'
               AND a.grantee NOT IN (0::pg_catalog.oid, added.owner)
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = pg_catalog.acldefault('r', added.owner)
         WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.owner;
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
