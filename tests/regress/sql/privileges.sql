-- G6, least privilege: PUBLIC reaches nothing; a verifier and an admin can do what is listed here,
-- and no more.

CREATE ROLE regress_vpk_nobody;
CREATE ROLE regress_vpk_verifier;
CREATE ROLE regress_vpk_admin;
CREATE ROLE "regress vpk; 'odd' ""role""";
SELECT vpk_grant_verifier('regress_vpk_verifier');
SELECT vpk_grant_admin('regress_vpk_admin');

-- Every member object with its access control list.
CREATE TEMPORARY VIEW objects AS
    WITH members AS (
        SELECT d.classid, d.objid
          FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'vibepeak_keys'
    )
    SELECT 'function' AS kind, p.oid, p.oid::regprocedure::text AS name, p.proowner AS owner,
           coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
      FROM members AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END, c.oid, c.oid::regclass::text, c.relowner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner))
      FROM members AS m JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
    UNION ALL
    SELECT 'type', t.oid, t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
      FROM members AS m JOIN pg_type AS t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
     WHERE t.typtype = 'e'
    UNION ALL
    SELECT 'schema', n.oid, n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
      FROM members AS m JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid;
SELECT kind, count(*) FROM objects GROUP BY kind ORDER BY kind;

-- PUBLIC.
SELECT o.kind, o.name, a.privilege_type FROM objects AS o, aclexplode(o.acl) AS a WHERE a.grantee = 0;
SELECT a.attrelid::regclass, a.attname FROM pg_attribute AS a, aclexplode(a.attacl) AS x
 WHERE a.attrelid IN (SELECT oid FROM objects) AND x.grantee = 0;
-- Nobody was given anything that can be given on.
SELECT o.kind, o.name, a.grantee::regrole FROM objects AS o, aclexplode(o.acl) AS a WHERE a.is_grantable AND a.grantee <> o.owner;

-- The privileges of each role, as a list.
CREATE TEMPORARY VIEW rights AS
    SELECT r.rolname AS role, o.kind, o.name, p.privilege
      FROM pg_roles AS r, objects AS o,
           LATERAL (SELECT p FROM unnest('{EXECUTE}'::text[]) AS p WHERE o.kind = 'function' AND has_function_privilege(r.oid, o.oid, p)
                    UNION ALL
                    SELECT p FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p
                     WHERE o.kind IN ('table', 'view') AND has_table_privilege(r.oid, o.oid, p)
                    UNION ALL
                    SELECT p FROM unnest('{SELECT,UPDATE,USAGE}'::text[]) AS p WHERE o.kind = 'sequence' AND has_sequence_privilege(r.oid, o.oid, p)
                    UNION ALL
                    SELECT p FROM unnest('{USAGE}'::text[]) AS p WHERE o.kind = 'type' AND has_type_privilege(r.oid, o.oid, p)
                    UNION ALL
                    SELECT p FROM unnest('{USAGE,CREATE}'::text[]) AS p WHERE o.kind = 'schema' AND has_schema_privilege(r.oid, o.oid, p)
                    UNION ALL
                    SELECT p || ' (' || string_agg(a.attname, ', ' ORDER BY a.attnum) || ')'
                      FROM unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS p, pg_attribute AS a
                     WHERE o.kind IN ('table', 'view') AND a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND has_column_privilege(r.oid, o.oid, a.attnum, p) AND NOT has_table_privilege(r.oid, o.oid, p)
                     GROUP BY p) AS p (privilege);
SELECT role, kind, name, privilege FROM rights WHERE role = 'regress_vpk_nobody';
SELECT kind, name, privilege FROM rights WHERE role = 'regress_vpk_verifier' ORDER BY kind, name COLLATE "C", privilege;
SELECT kind, name, privilege FROM rights WHERE role = 'regress_vpk_admin' ORDER BY kind, name COLLATE "C", privilege;

-- The calls themselves: a function that a role may not execute fails with 42501 for any arguments.
-- Those that are executed meet their null arguments.
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
CREATE TEMPORARY TABLE calls AS
    SELECT p.oid::regprocedure::text AS function, '' AS nobody, '' AS verifier, '' AS admin,
           format('SELECT %s(%s)', p.oid::regproc,
                  (SELECT string_agg(format('NULL::%s', format_type(t, NULL)), ', ' ORDER BY n)
                     FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n))) AS statement
      FROM pg_proc AS p JOIN objects AS o ON o.kind = 'function' AND o.oid = p.oid;
GRANT ALL ON calls TO PUBLIC;
SET ROLE regress_vpk_nobody;
UPDATE calls SET nobody = pg_temp.outcome(statement);
SET ROLE regress_vpk_verifier;
UPDATE calls SET verifier = pg_temp.outcome(statement);
SET ROLE regress_vpk_admin;
UPDATE calls SET admin = pg_temp.outcome(statement);
RESET ROLE;
SELECT function, nobody, verifier, admin FROM calls ORDER BY function COLLATE "C";

-- A verifier at work: it verifies, starts tasks and composes errors; it reads no hash, lists no
-- key, creates none and cannot touch what it verifies.
SELECT vpk_set_plan('acme', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme') \gset
SET SESSION AUTHORIZATION regress_vpk_verifier;
SELECT vpk_verify(:'token');
SELECT status, account, plan FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_error('INVALID_API_KEY', 'r') IS NOT NULL AS body;
SELECT count(*) AS statuses FROM vpk.status_codes;
SELECT lease FROM vpk_task_start(:'token') \gset
SELECT vpk_task_extend(:'lease', '1 hour') IS NOT NULL AS extended, vpk_task_finish(:'lease') AS finished;
SELECT t.relation, pg_temp.outcome('SELECT FROM ' || t.relation) AS "select", pg_temp.outcome('INSERT INTO ' || t.relation || ' DEFAULT VALUES') AS "insert",
       pg_temp.outcome('DELETE FROM ' || t.relation) AS "delete", pg_temp.outcome('TRUNCATE ' || t.relation) AS "truncate",
       pg_temp.outcome('LOCK TABLE ' || t.relation) AS "lock"
  FROM unnest('{vpk.keys,vpk.accounts,vpk.plans,vpk.key_usage,vpk.task_leases,vpk.events,vpk.removed_defaults,vpk.key_list,vpk.status_codes}'::text[]) AS t (relation);
SELECT pg_temp.outcome($$CREATE TABLE vpk.mine ()$$) AS create_in_schema, pg_temp.outcome($$SELECT nextval('vpk.events_id_seq')$$) AS sequence,
       pg_temp.outcome($$CREATE TRIGGER t BEFORE INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()$$) AS trigger,
       pg_temp.outcome($$ALTER TABLE vpk.keys DISABLE TRIGGER ALL$$) AS alter_table, pg_temp.outcome('DROP EXTENSION vibepeak_keys') AS drop_extension;
\set VERBOSITY sqlstate
COPY vpk.keys TO STDOUT;
COPY vpk.key_list TO STDOUT;
TABLE vpk.keys;
\set VERBOSITY default
RESET SESSION AUTHORIZATION;

-- An admin at work, with no superuser in sight: through the functions everything, directly the
-- plans.
SET SESSION AUTHORIZATION regress_vpk_admin;
SELECT vpk_grant_verifier('"regress vpk; ''odd'' ""role"""');
SELECT vpk_grant_admin('regress_vpk_nobody');
\echo :SQLSTATE
INSERT INTO vpk.plans (plan, api_access, concurrent_tasks) VALUES ('Team', true, 5);
UPDATE vpk.plans SET concurrent_tasks = 10, rank = 35 WHERE plan = 'Team';
SELECT vpk_set_plan('beta', 'Team');
SELECT id AS beta_id, token AS beta_token FROM vpk_create('Key', 'beta') \gset
SELECT vpk_verify(:'beta_token'), vpk_verify_hash(sha256(:'beta_token'::bytea));
SELECT count(*) FROM vpk_update(:'beta_id', name => 'Renamed');
SELECT vpk_disable(:'beta_id') IS NOT NULL AS disabled, vpk_enable(:'beta_id');
SELECT count(*) FROM vpk_rotate(:'beta_id', '1 hour');
SELECT vpk_revoke(:'beta_id') IS NOT NULL AS revoked, vpk_revoke_token(:'beta_token') = :'beta_id' AS by_token, vpk_revoke_account('beta') AS rest;
SELECT name, state FROM vpk_list('beta');
SELECT name, state FROM vpk.key_list WHERE account = 'beta';
SELECT account, plan FROM vpk.accounts WHERE account = 'beta';
SELECT event, role, session_role FROM vpk.events WHERE account = 'beta' ORDER BY id;
SELECT vpk_purge('2001-01-01 00:00+00'), vpk_delete_account('beta');
UPDATE vpk.plans SET plan = 'Teams' WHERE plan = 'Team';
DELETE FROM vpk.plans WHERE plan = 'Teams';
SELECT t.relation, pg_temp.outcome('SELECT FROM ' || t.relation) AS "select", pg_temp.outcome('INSERT INTO ' || t.relation || ' DEFAULT VALUES') AS "insert",
       pg_temp.outcome('DELETE FROM ' || t.relation || ' WHERE false') AS "delete", pg_temp.outcome('TRUNCATE ' || t.relation) AS "truncate"
  FROM unnest('{vpk.keys,vpk.accounts,vpk.plans,vpk.key_usage,vpk.task_leases,vpk.events,vpk.removed_defaults,vpk.key_list,vpk.status_codes}'::text[]) AS t (relation);
SELECT pg_temp.outcome('SELECT key_hash FROM vpk.keys') AS hash, pg_temp.outcome('SELECT k FROM vpk.keys AS k') AS whole_row,
       pg_temp.outcome('UPDATE vpk.plans SET pristine = true') AS pristine, pg_temp.outcome($$UPDATE vpk.accounts SET plan = 'Pro'$$) AS account,
       pg_temp.outcome($$CREATE TABLE vpk.mine ()$$) AS create_in_schema, pg_temp.outcome('DROP EXTENSION vibepeak_keys') AS drop_extension;
RESET SESSION AUTHORIZATION;
SET ROLE "regress vpk; 'odd' ""role""";
SELECT vpk_verify(:'token');
RESET ROLE;

-- Granted again, nothing changes; revoked by hand, it is gone.
SELECT count(*) AS before FROM rights WHERE role LIKE 'regress_vpk_%' \gset
SELECT vpk_grant_verifier('regress_vpk_verifier'), vpk_grant_admin('regress_vpk_admin');
SELECT count(*) - :before AS more FROM rights WHERE role LIKE 'regress_vpk_%';
-- A verifier made admin has both.
SELECT vpk_grant_admin('regress_vpk_verifier');
SELECT count(*) AS differing
  FROM (SELECT kind, name, privilege FROM rights WHERE role = 'regress_vpk_verifier') AS v
  FULL JOIN (SELECT kind, name, privilege FROM rights WHERE role = 'regress_vpk_admin') AS a USING (kind, name, privilege)
 WHERE (v.kind IS NULL) <> (a.kind IS NULL);

-- Clean up.
SELECT vpk_delete_account('acme');
DROP OWNED BY regress_vpk_nobody, regress_vpk_verifier, regress_vpk_admin, "regress vpk; 'odd' ""role""";
SELECT count(*) AS left_over FROM rights WHERE role LIKE 'regress%';
DROP ROLE regress_vpk_nobody, regress_vpk_verifier, regress_vpk_admin, "regress vpk; 'odd' ""role""";
DELETE FROM vpk.removed_defaults;
