-- G6: default privileges of the installing role grant nothing on objects of the extension.

\set database :DBNAME
CREATE DATABASE regress_vpk_defaults TEMPLATE template0;
\c regress_vpk_defaults
CREATE ROLE regress_vpk_somebody;
CREATE ROLE regress_vpk_verifier;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_vpk_somebody, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_vpk_somebody WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_vpk_somebody, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO regress_vpk_somebody, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_vpk_somebody, PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO regress_vpk_verifier;
-- The defaults are in force.
CREATE TABLE public.witness ();
SELECT has_table_privilege('regress_vpk_somebody', 'public.witness', 'SELECT') AS witness;
CREATE EXTENSION vibepeak_keys;

CREATE TEMPORARY VIEW given AS
    SELECT p.oid::regprocedure::text AS object, a.grantee, a.privilege_type, p.proowner AS owner
      FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
     WHERE p.proname LIKE 'vpk\_%' OR p.pronamespace = 'vpk'::regnamespace
    UNION ALL
    SELECT c.oid::regclass::text, a.grantee, a.privilege_type, c.relowner
      FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner))) AS a
     WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind IN ('r', 'v', 'S')
    UNION ALL
    SELECT t.typname, a.grantee, a.privilege_type, t.typowner
      FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS a WHERE t.typname = 'vpk_status'
    UNION ALL
    SELECT n.nspname, a.grantee, a.privilege_type, n.nspowner
      FROM pg_namespace AS n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a WHERE n.nspname = 'vpk';
SELECT count(*) > 50 AS owner_has_rights FROM given WHERE grantee = owner;
SELECT object, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee, privilege_type FROM given WHERE grantee <> owner ORDER BY object COLLATE "C";

SET ROLE regress_vpk_somebody;
SELECT count(*) FROM vpk.keys;
\echo :SQLSTATE
SELECT vpk_verify('x');
\echo :SQLSTATE
SELECT vpk_create('Key');
\echo :SQLSTATE
RESET ROLE;

-- What is granted on purpose is in force.
SELECT vpk_grant_verifier('regress_vpk_verifier');
SELECT token FROM vpk_create('Key') \gset
SET ROLE regress_vpk_verifier;
SELECT vpk_verify(:'token');
SELECT vpk_create('Key');
\echo :SQLSTATE
RESET ROLE;

\c :database
DROP DATABASE regress_vpk_defaults;
DROP ROLE regress_vpk_somebody, regress_vpk_verifier;
