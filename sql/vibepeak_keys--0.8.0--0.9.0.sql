-- From 0.8.0 to 0.9.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.9.0'" to load this file. \quit

-- Lists show the uses that only the memory has.

CREATE FUNCTION vpk.current_uses(key_id uuid, uses bigint)
RETURNS bigint
STABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'current_uses_wrapper';
COMMENT ON FUNCTION vpk.current_uses(uuid, bigint) IS
    'Returns how often a key was used, for vpk.key_list: what its table shows, and what only the memory has';

CREATE FUNCTION vpk.current_last_use(key_id uuid, last_used_at timestamptz)
RETURNS timestamptz
STABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'current_last_use_wrapper';
COMMENT ON FUNCTION vpk.current_last_use(uuid, timestamptz) IS
    'Returns when a key was last used, for vpk.key_list: what its table shows, or what only the memory has';

-- A superuser who is not the owner of the extension's tables may run an update. What it made goes
-- to that owner, as in a fresh installation. Nobody else may call it, whatever default privileges
-- there are.
--
-- But a view calls its functions with the privileges of the role that reads it. So each role that
-- may read vpk.key_list, a column of it, or a view on it, gets the privilege to call them.
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
        SELECT p.oid, p.oid::pg_catalog.regprocedure AS function, k.relowner AS owner
          FROM pg_catalog.pg_class AS k, pg_catalog.pg_proc AS p
         WHERE k.oid = 'vpk.keys'::pg_catalog.regclass
           AND p.oid IN ('vpk.current_uses(uuid, bigint)'::pg_catalog.regprocedure,
                         'vpk.current_last_use(uuid, timestamptz)'::pg_catalog.regprocedure)
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
        LOOP
            EXECUTE statement;
        END LOOP;
        FOR statement IN
            WITH RECURSIVE lists AS (
                SELECT 'vpk.key_list'::pg_catalog.regclass::pg_catalog.oid AS oid
                UNION
                SELECT r.ev_class
                  FROM lists AS l
                  JOIN pg_catalog.pg_depend AS d
                    ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                       AND d.refobjid = l.oid
                       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                  JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
            ), readers AS (
                SELECT c.relowner AS oid FROM lists AS l JOIN pg_catalog.pg_class AS c ON c.oid = l.oid
                UNION
                SELECT a.grantee
                  FROM lists AS l
                  JOIN pg_catalog.pg_class AS c ON c.oid = l.oid,
                       LATERAL pg_catalog.aclexplode(c.relacl) AS a
                 WHERE a.privilege_type = 'SELECT'
                UNION
                SELECT a.grantee
                  FROM lists AS l
                  JOIN pg_catalog.pg_attribute AS c ON c.attrelid = l.oid,
                       LATERAL pg_catalog.aclexplode(c.attacl) AS a
                 WHERE a.privilege_type = 'SELECT'
            )
            SELECT pg_catalog.format(
                       'GRANT EXECUTE ON FUNCTION %s TO %s', added.function,
                       CASE r.oid WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.oid)) END)
              FROM readers AS r WHERE r.oid <> added.owner
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

-- At the end, since statements that read the view wait for the end of the update.
CREATE OR REPLACE VIEW vpk.key_list AS
    SELECT k.id,
           k.name,
           k.account,
           k.environment,
           k.prefix,
           k.hint,
           k.created_at,
           vpk.current_last_use(k.id, u.last_used_at) AS last_used_at,
           vpk.current_uses(k.id, u.uses) AS uses,
           -- Some drivers cannot read a year beyond 9999. Earlier releases accepted such an end.
           CASE
               WHEN k.expires_at OPERATOR(pg_catalog.>) pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               THEN pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               ELSE k.expires_at
           END AS expires_at,
           k.revoked_at,
           k.revoke_reason,
           k.rotated_from,
           CASE
               WHEN k.revoked_at IS NOT NULL THEN 'revoked'
               WHEN k.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() THEN 'expired'
               WHEN k.disabled_at IS NOT NULL THEN 'disabled'
               ELSE 'active'
           END AS state,
           k.scopes
      FROM vpk.keys AS k
      LEFT JOIN vpk.key_usage AS u ON u.key_id OPERATOR(pg_catalog.=) k.id;
