-- Nobody but the owner can reach anything, whatever default privileges the installing role has set:
-- what PUBLIC or another role was given at creation is taken away. vpk_grant_admin and
-- vpk_grant_verifier give it out again.

DO $$
DECLARE
    statement text;
BEGIN
    -- While the extension is created, its schema is on the search path, and who may create in there
    -- could bring an operator that fits better than the server's own.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        WITH members AS (
            SELECT d.classid, d.objid
              FROM pg_catalog.pg_depend AS d
              JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
             WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
               AND d.deptype = 'e'
               AND e.extname = 'vibepeak_keys'
        ), objects AS (
            SELECT 'FUNCTION' AS kind, p.oid::pg_catalog.regprocedure::text AS object, p.proowner AS owner,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
              FROM members AS m JOIN pg_catalog.pg_proc AS p ON p.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
            UNION ALL
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                   c.oid::pg_catalog.regclass::text, c.relowner,
                   coalesce(c.relacl, pg_catalog.acldefault(
                       CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner))
              FROM members AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
               AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'TYPE', t.oid::pg_catalog.regtype::text, t.typowner,
                   coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
              FROM members AS m JOIN pg_catalog.pg_type AS t ON t.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid
               AND t.typtype = 'e'
            UNION ALL
            SELECT 'SCHEMA', pg_catalog.quote_ident(n.nspname), n.nspowner,
                   coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
              FROM members AS m JOIN pg_catalog.pg_namespace AS n ON n.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid
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
