-- From 0.6.0 to 0.7.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.7.0'" to load this file. \quit

-- Gives a function the arguments, result columns and code of a new one, and drops that one. The
-- function keeps its OID, so everybody keeps the privilege to call it, and what depends on it
-- stays. Dropped at the end of this script.
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

-- The tables and sequences before this update, for its end. The extension's schema is on the search
-- path here, and somebody's operator in it may fit better than the server's own.
SELECT pg_catalog.set_config(
           'vibepeak_update.tables',
           (SELECT pg_catalog.string_agg(d.objid::text, ',')
              FROM pg_catalog.pg_extension AS e
              JOIN pg_catalog.pg_depend AS d
                ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                   AND d.refobjid OPERATOR(pg_catalog.=) e.oid
                   AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                   AND d.deptype OPERATOR(pg_catalog.=) 'e'
             WHERE e.extname OPERATOR(pg_catalog.=) 'vibepeak_keys'),
           true);

-- The type of statuses moves to the schema of the tables. It keeps its OID, and so do its labels:
-- functions, views, tables and prepared statements go on.
ALTER TYPE vpk_status SET SCHEMA vpk;

-- The address of a client in the value of a header. It never raises.

CREATE FUNCTION vpk_client_ip(value text)
RETURNS inet
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_client_ip_wrapper';
COMMENT ON FUNCTION vpk_client_ip(text) IS
    'Returns the last address in the value of a header such as X-Forwarded-For, without port and zone; null if it is no address. Never raises an error because of the value';

-- Ends of keys that every driver can read.
CREATE OR REPLACE VIEW vpk.key_list AS
    SELECT k.id,
           k.name,
           k.account,
           k.environment,
           k.prefix,
           k.hint,
           k.created_at,
           u.last_used_at,
           coalesce(u.uses, 0) AS uses,
           -- Some drivers cannot read a year beyond 9999. Earlier releases accepted such an end.
           CASE
               WHEN k.expires_at > pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               THEN pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               ELSE k.expires_at
           END AS expires_at,
           k.revoked_at,
           k.revoke_reason,
           k.rotated_from,
           CASE
               WHEN k.revoked_at IS NOT NULL THEN 'revoked'
               WHEN k.expires_at <= pg_catalog.clock_timestamp() THEN 'expired'
               WHEN k.disabled_at IS NOT NULL THEN 'disabled'
               ELSE 'active'
           END AS state
      FROM vpk.keys AS k
      LEFT JOIN vpk.key_usage AS u ON u.key_id = k.id;

-- What the doctor finds can be accepted for a time.
CREATE TABLE vpk.accepted_findings (
    item         text COLLATE "C" NOT NULL,
    what         text COLLATE "C" NOT NULL,
    until        timestamptz NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    role         text NOT NULL,
    session_role text NOT NULL,
    PRIMARY KEY (item, what)
);
SELECT pg_catalog.pg_extension_config_dump('vpk.accepted_findings', '');
COMMENT ON TABLE vpk.accepted_findings IS
    'Findings of vpk_doctor that somebody has accepted for a time; see vpk_doctor_accept';
COMMENT ON COLUMN vpk.accepted_findings.item IS 'The item of vpk_doctor';
COMMENT ON COLUMN vpk.accepted_findings.what IS 'What was found: an entry that the detail lists, or all of a detail';
COMMENT ON COLUMN vpk.accepted_findings.until IS 'From this time on the finding is not accepted any more';
COMMENT ON COLUMN vpk.accepted_findings.accepted_at IS 'When it was accepted';
COMMENT ON COLUMN vpk.accepted_findings.role IS 'The role that called: that of SET ROLE, or else the role of the session';
COMMENT ON COLUMN vpk.accepted_findings.session_role IS 'The role that logged in';

CREATE FUNCTION vpk_doctor_accept(item text, what text, until timestamptz)
RETURNS void
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_doctor_accept_wrapper';
COMMENT ON FUNCTION vpk_doctor_accept(text, text, timestamptz) IS
    'Accepts what vpk_doctor finds of an item until a time; a time in the past takes that back';

-- Grants. They check who calls, so they are not SECURITY DEFINER any more. Further forms take the
-- name of a role. vpk_grant_backup is new.

ALTER FUNCTION vpk_grant_verifier(regrole) SECURITY INVOKER;
ALTER FUNCTION vpk_grant_admin(regrole) SECURITY INVOKER;

CREATE FUNCTION vpk_grant_verifier(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_verifier_by_name_wrapper';

CREATE FUNCTION vpk_grant_admin(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_admin_by_name_wrapper';

CREATE FUNCTION vpk_grant_backup(role regrole)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_backup_wrapper';

CREATE FUNCTION vpk_grant_backup(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_backup_by_name_wrapper';

COMMENT ON FUNCTION vpk_grant_verifier(text) IS 'Grants a role, by its name, the privileges to verify keys, and no others';
COMMENT ON FUNCTION vpk_grant_admin(text) IS 'Grants a role, by its name, the privileges to manage keys, accounts and plans';
COMMENT ON FUNCTION vpk_grant_backup(regrole) IS
    'Grants a role the privileges to dump the extension''s tables, with the hashes of keys in them';
COMMENT ON FUNCTION vpk_grant_backup(text) IS
    'Grants a role, by its name, the privileges to dump the extension''s tables, with the hashes of keys in them';

-- vpk_doctor has three more items: alike_names, schema_usage and subscriptions.
ALTER FUNCTION vpk_doctor() ROWS 16;

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
                   ('vpk_client_ip'::text, 'vpk_authenticate'::text),
                   ('vpk_doctor_accept', 'vpk_purge'),
                   ('vpk_grant_verifier(text)', 'vpk_grant_verifier(regrole)'),
                   ('vpk_grant_admin(text)', 'vpk_grant_admin(regrole)'),
                   ('vpk_grant_backup', NULL)
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
END
$$;

-- The same for new tables, views and sequences: nobody but the owner; and then SELECT on tables and
-- sequences for each role that has it on vpk.keys, so that its dumps go on.
DO $$
DECLARE
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
           AND c.oid::text <> ALL (pg_catalog.string_to_array(
                   pg_catalog.current_setting('vibepeak_update.tables'), ','))
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
END
$$;

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);
