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
      FROM (VALUES ('plans', 5), ('accounts', 4), ('keys', 17), ('key_usage', 3)) AS t (name, columns)
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

-- Usage over time. Uses that were counted before this update are in no hour.

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
-- to that owner, as in a fresh installation. So does what earlier updates made.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        SELECT pg_catalog.format('ALTER %s OWNER TO %I', m.member,
                                 pg_catalog.pg_get_userbyid(k.relowner))
          FROM pg_catalog.pg_class AS k, pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.deptype = 'e',
               LATERAL (
                   SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure::text, p.proowner
                     FROM pg_catalog.pg_proc AS p
                    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
                   UNION ALL
                   SELECT 'TABLE ' || c.oid::pg_catalog.regclass::text, c.relowner
                     FROM pg_catalog.pg_class AS c
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
                      AND c.relkind IN ('r', 'v')
               ) AS m (member, owner)
         WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND e.extname = 'vibepeak_keys'
           AND m.owner <> k.relowner
    LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Privileges for new functions: nobody but the owner, as in a fresh installation, whatever default
-- privileges there are; and then each role that may call the function beside it. Of several
-- functions with one name, each is listed with the types of its arguments.
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
        SELECT p.oid, p.proowner, p.proacl, p.oid::pg_catalog.regprocedure AS function, f.sibling
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
          JOIN (VALUES
                   ('vpk_usage'::text, 'vpk_list'::text)
               ) AS f (name, sibling)
            ON f.name IN (p.proname::text, pg_catalog.format(
                   '%s(%s)', p.proname, pg_catalog.oidvectortypes(p.proargtypes)))
         WHERE e.extname = 'vibepeak_keys'
    LOOP
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON FUNCTION %s FROM %s', added.function,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.aclexplode(
                       coalesce(added.proacl,
                                pg_catalog.acldefault('f', added.proowner))) AS a
             WHERE a.grantee <> added.proowner
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
              JOIN pg_catalog.pg_proc AS s
                ON s.oid = d.objid
                   AND added.sibling IN (s.proname::text, pg_catalog.format(
                       '%s(%s)', s.proname, pg_catalog.oidvectortypes(s.proargtypes))),
                   LATERAL pg_catalog.aclexplode(s.proacl) AS a
             WHERE e.extname = 'vibepeak_keys' AND a.grantee <> s.proowner
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = ARRAY[pg_catalog.makeaclitem(
                   added.proowner, added.proowner, 'EXECUTE', false)]
         WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.proowner;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- The same for new tables: nobody but the owner; and then SELECT on them for each role that has it on vpk.keys, so that its dumps go on.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT c.oid, c.relkind, c.relowner, c.relacl,
               pg_catalog.concat(CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' END,
                                 c.oid::pg_catalog.regclass) AS relation,
               pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END,
                                     c.relowner) AS own
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
         WHERE e.extname = 'vibepeak_keys'
           AND c.oid IN ('vpk.usage_history'::pg_catalog.regclass)
    LOOP
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON %s FROM %s', added.relation,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.aclexplode(added.relacl) AS a
             WHERE a.grantee <> added.relowner
            UNION ALL
            SELECT DISTINCT pg_catalog.format('GRANT SELECT ON %s TO %I', added.relation,
                                              pg_catalog.pg_get_userbyid(a.grantee))
              FROM pg_catalog.pg_class AS k, LATERAL pg_catalog.aclexplode(k.relacl) AS a
             WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND a.privilege_type = 'SELECT'
               AND a.grantee NOT IN (0::pg_catalog.oid, k.relowner) AND added.relkind <> 'v'
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i SET initprivs = added.own
         WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.relowner;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;
