-- From 0.6.0 to 0.7.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.7.0'" to load this file. \quit

-- Gives a function the arguments, result columns and code of a new one, and drops that one. The
-- function keeps its OID, so everybody keeps the privilege to call it, and what depends on it stays.
-- Dropped at the end of this script.
CREATE FUNCTION vpk.grow(old pg_catalog.regprocedure, new pg_catalog.regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
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

-- The type of statuses moves to the schema of the tables. It keeps its OID, and so do its labels:
-- functions, views, tables and prepared statements go on.
ALTER TYPE vpk_status SET SCHEMA vpk;

-- Items of the doctor.
ALTER FUNCTION vpk_doctor() ROWS 14;

-- Each part of this update goes here.

-- Privileges for new functions: nobody but the owner, as in a fresh installation, whatever default
-- privileges there are; and then each role that may call the function beside it.
--
-- Grants that an update script makes count as the extension's own (pg_init_privs), and pg_dump
-- leaves those out. So the privileges that count as its own are set to those of a fresh
-- installation.
DO $$
DECLARE
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
                   ('no_new_function'::text, NULL::text)
               ) AS f (name, sibling) ON f.name = p.proname::text
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
                ON s.oid = d.objid AND s.proname::text = added.sibling,
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
    END LOOP;
END
$$;

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);
