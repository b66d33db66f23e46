-- From 0.3.0 to 0.4.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.4.0'" to load this file. \quit

-- Uses that a standby has noted are brought to the primary.
CREATE FUNCTION vpk_pending_uses(max_rows integer DEFAULT 10000)
RETURNS TABLE (
    key_id uuid,
    last_used_at timestamptz,
    uses bigint
)
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_pending_uses_wrapper';

CREATE FUNCTION vpk_settle_uses(key_id uuid, uses bigint)
RETURNS bigint
VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_settle_uses_wrapper';

CREATE FUNCTION vpk_add_uses(key_id uuid, last_used_at timestamptz, uses bigint)
RETURNS boolean
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_add_uses_wrapper';

COMMENT ON FUNCTION vpk_pending_uses(integer) IS
    'On a standby: uses of keys that its memory holds, to be added on the primary; until the end of the transaction nobody else is told';
COMMENT ON FUNCTION vpk_settle_uses(uuid, bigint) IS
    'On a standby: takes uses that were added on the primary from its memory; returns how many';
COMMENT ON FUNCTION vpk_add_uses(uuid, timestamptz, bigint) IS
    'On the primary: adds uses that a standby has noted; returns whether there is such a key';

-- As in a fresh installation: nobody but the owner, whatever default privileges there are.
DO $$
DECLARE
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        SELECT DISTINCT pg_catalog.format(
                   'REVOKE ALL ON FUNCTION %s FROM %s', p.oid::pg_catalog.regprocedure,
                   CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid,
               LATERAL pg_catalog.aclexplode(
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
         WHERE e.extname = 'vibepeak_keys'
           AND p.proname IN ('vpk_pending_uses', 'vpk_settle_uses', 'vpk_add_uses')
           AND a.grantee <> p.proowner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
