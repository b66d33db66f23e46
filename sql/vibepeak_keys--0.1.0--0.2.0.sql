-- From 0.1.0 to 0.2.0: uses are noted and counted, and there is a health check.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.2.0'" to load this file. \quit

ALTER TABLE vpk.key_usage SET (fillfactor = 70);

CREATE FUNCTION vpk.stats_row()
RETURNS TABLE (
    since timestamptz,
    answers bigint[],
    uses_pending bigint,
    uses_flushed bigint,
    uses_dropped bigint,
    last_flush_at timestamptz,
    last_flush_seconds double precision,
    last_error_at timestamptz,
    last_error text
)
STRICT VOLATILE PARALLEL UNSAFE ROWS 1
LANGUAGE c
AS 'MODULE_PATHNAME', 'stats_row_wrapper';

CREATE VIEW vpk.stats AS
    SELECT s.since,
           s.answers[1]  AS valid,
           s.answers[2]  AS missing_api_key,
           s.answers[3]  AS invalid_api_key,
           s.answers[4]  AS api_key_revoked,
           s.answers[5]  AS api_key_expired,
           s.answers[6]  AS api_key_disabled,
           s.answers[7]  AS ip_not_allowed,
           s.answers[8]  AS plan_required,
           s.answers[9]  AS insufficient_scope,
           s.answers[10] AS rate_limited,
           s.answers[11] AS quota_exceeded,
           s.answers[12] AS concurrency_limit_exceeded,
           s.uses_pending,
           s.uses_flushed,
           s.uses_dropped,
           s.last_flush_at,
           s.last_flush_seconds,
           s.last_error_at,
           s.last_error
      FROM vpk.stats_row() AS s;

COMMENT ON VIEW vpk.stats IS
    'What was counted for this database since the server started to: answers by status, and uses of keys on their way to vpk.key_usage; null where the library is not preloaded';
COMMENT ON FUNCTION vpk.stats_row() IS 'The row of vpk.stats';

CREATE FUNCTION vpk_doctor()
RETURNS TABLE (
    item text,
    ok boolean,
    detail text,
    advice text
)
STRICT VOLATILE SECURITY DEFINER PARALLEL UNSAFE ROWS 11
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_doctor_wrapper';

COMMENT ON FUNCTION vpk_doctor() IS
    'Looks at the installation: what is well, what is not, and what to do about it';

-- As in a fresh installation: nobody but the owner, whatever default privileges there are.
DO $$
DECLARE
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        WITH members AS (
            SELECT d.objid
              FROM pg_catalog.pg_depend AS d
              JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
             WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
               AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND d.deptype = 'e' AND e.extname = 'vibepeak_keys'
        ), objects AS (
            SELECT 'FUNCTION' AS kind, p.oid::pg_catalog.regprocedure::text AS object, p.proowner AS owner,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
              FROM pg_catalog.pg_proc AS p
             WHERE p.proname IN ('stats_row', 'vpk_doctor') AND p.oid IN (SELECT m.objid FROM members AS m)
            UNION ALL
            SELECT 'TABLE', c.oid::pg_catalog.regclass::text, c.relowner,
                   coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
              FROM pg_catalog.pg_class AS c
             WHERE c.oid = 'vpk.stats'::pg_catalog.regclass
        )
        SELECT DISTINCT pg_catalog.format(
                   'REVOKE ALL ON %s %s FROM %s', o.kind, o.object,
                   CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM objects AS o, LATERAL pg_catalog.aclexplode(o.acl) AS a
         WHERE a.grantee <> o.owner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
