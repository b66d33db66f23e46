-- G6: the grants. Who may call them, which names of roles they take, and that what they grant holds
-- by itself.
-- The context of an error is a statement of the extension, whose text may change.
\set SHOW_CONTEXT never

CREATE ROLE regress_vpk_owner;
CREATE ROLE regress_vpk_admin;
CREATE ROLE regress_vpk_blanket;
CREATE ROLE regress_vpk_service;
SELECT vpk_grant_admin('regress_vpk_admin');

CREATE FUNCTION pg_temp.finding(wanted text, OUT ok boolean, OUT detail text, OUT advice text) LANGUAGE sql AS $$
    SELECT d.ok, d.detail, d.advice FROM vpk_doctor() AS d WHERE d.item = wanted
$$;

-- EXECUTE on all functions of the schema makes no admin, and no verifier either.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO regress_vpk_blanket;
SET ROLE regress_vpk_blanket;
SELECT vpk_grant_admin('regress_vpk_blanket');
SELECT vpk_grant_admin('regress_vpk_blanket'::regrole);
SELECT vpk_grant_backup('regress_vpk_blanket');
SELECT vpk_grant_backup('regress_vpk_blanket'::regrole);
SELECT vpk_grant_verifier('regress_vpk_service');
SELECT vpk_grant_verifier('regress_vpk_service'::regrole);
RESET ROLE;
SELECT has_table_privilege('regress_vpk_blanket', 'vpk.plans', 'DELETE') AS admin,
       has_table_privilege('regress_vpk_blanket', 'vpk.keys', 'SELECT') AS backup,
       has_function_privilege('regress_vpk_service', 'vpk_verify(text)', 'EXECUTE') AS verifier;
-- The doctor says what the role can do, in one line.
SELECT * FROM pg_temp.finding('privileges') \gx
-- A verifier with as much is no less of a problem, nor is PUBLIC.
SELECT vpk_grant_verifier('regress_vpk_blanket');
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;
SELECT detail FROM pg_temp.finding('privileges') \gx
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
-- An admin does not need EXECUTE on the owner's grants, and gets nothing by it.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO regress_vpk_admin;
SET ROLE regress_vpk_admin;
SELECT vpk_grant_admin('regress_vpk_admin');
SELECT vpk_grant_backup('regress_vpk_admin');
SELECT vpk_grant_verifier('regress_vpk_service');
RESET ROLE;
SELECT detail FROM pg_temp.finding('privileges') \gx
DROP OWNED BY regress_vpk_blanket, regress_vpk_admin;
SELECT ok FROM pg_temp.finding('privileges');
SELECT vpk_grant_admin('regress_vpk_admin');

-- The role in force where the function is called counts: in a SECURITY DEFINER function of the
-- owner's it is the owner. One of somebody else's is of no use.
CREATE FUNCTION public.regress_onboard(who text) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT public.vpk_grant_admin(who); SELECT public.vpk_grant_verifier(who); SELECT public.vpk_grant_backup(who)
$$;
SET ROLE regress_vpk_service;
SELECT public.regress_onboard('regress_vpk_blanket');
RESET ROLE;
SELECT has_table_privilege('regress_vpk_blanket', 'vpk.plans', 'DELETE') AS admin,
       has_table_privilege('regress_vpk_blanket', 'vpk.keys', 'SELECT') AS backup;
DROP OWNED BY regress_vpk_blanket;
ALTER FUNCTION public.regress_onboard(text) OWNER TO regress_vpk_service;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO regress_vpk_service;
SELECT public.regress_onboard('regress_vpk_blanket');
DROP FUNCTION public.regress_onboard(text);
DROP OWNED BY regress_vpk_service;
-- The caller's role is in force again after each call, whatever came of it.
SET ROLE regress_vpk_admin;
SELECT vpk_grant_verifier('regress_vpk_service'), CURRENT_USER;
SELECT vpk_grant_verifier('regress_vpk_nowhere');
SELECT CURRENT_USER;
DO $$
BEGIN
    PERFORM public.vpk_grant_verifier('regress_vpk_nowhere');
EXCEPTION WHEN undefined_object THEN
    RAISE NOTICE 'still %', CURRENT_USER;
END
$$;
RESET ROLE;

-- Names of roles, as pg_roles has them: as text, as name, and as a literal.
CREATE ROLE "regress_vpk John.Doe";
CREATE ROLE "regress_vpk svc@corp";
CREATE ROLE "Regress_vpk_Mixed";
CREATE ROLE "regress_vpk ""quoted""";
CREATE TEMPORARY VIEW verifiers AS
    SELECT r.rolname FROM pg_roles AS r
     WHERE r.rolname ~* '^"?regress_vpk' AND has_function_privilege(r.oid, 'vpk_verify(text)', 'EXECUTE')
       AND r.rolname NOT IN ('regress_vpk_admin', 'regress_vpk_service');
SELECT vpk_grant_verifier('regress_vpk John.Doe');
SELECT vpk_grant_verifier('regress_vpk svc@corp'::text);
SELECT vpk_grant_verifier('Regress_vpk_Mixed'::varchar);
SELECT count(vpk_grant_verifier(r.rolname)) FROM pg_roles AS r WHERE r.rolname = 'regress_vpk "quoted"';
SELECT rolname FROM verifiers ORDER BY rolname COLLATE "C";
DROP OWNED BY "regress_vpk John.Doe", "regress_vpk svc@corp", "Regress_vpk_Mixed", "regress_vpk ""quoted""";
-- Where there is no role of that name, the text is read as before: quoted, case-folded, by OID.
SELECT vpk_grant_verifier('"regress_vpk John.Doe"');
SELECT vpk_grant_verifier('REGRESS_VPK_Blanket');
SELECT vpk_grant_verifier('"Regress_vpk_Mixed"'), vpk_grant_verifier('"regress_vpk ""quoted"""');
SELECT oid AS corp FROM pg_roles WHERE rolname = 'regress_vpk svc@corp' \gset
SELECT vpk_grant_verifier(:'corp');
SELECT vpk_grant_verifier(:corp), vpk_grant_verifier(:corp::oid), vpk_grant_verifier(:corp::oid::regrole);
SELECT rolname FROM verifiers ORDER BY rolname COLLATE "C";
DROP OWNED BY regress_vpk_blanket, "regress_vpk John.Doe", "regress_vpk svc@corp", "Regress_vpk_Mixed", "regress_vpk ""quoted""";
-- The name comes first: a role that is called as another one is read.
CREATE ROLE """Regress_vpk_Mixed""";
SELECT vpk_grant_verifier('"Regress_vpk_Mixed"');
SELECT rolname FROM verifiers ORDER BY rolname COLLATE "C";
DROP OWNED BY """Regress_vpk_Mixed""";
DROP ROLE """Regress_vpk_Mixed""";
-- What a statement with a parameter of no type is.
PREPARE of_no_type AS SELECT vpk_grant_verifier($1);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'of_no_type';
EXECUTE of_no_type('Regress_vpk_Mixed');
SELECT rolname FROM verifiers;
DROP OWNED BY "Regress_vpk_Mixed";
-- No such role, and no name.
SELECT vpk_grant_verifier('regress_vpk_nowhere');
\echo :SQLSTATE
SELECT vpk_grant_verifier('a.b.c');
\echo :SQLSTATE
SELECT vpk_grant_verifier('');
\echo :SQLSTATE
SELECT vpk_grant_verifier(NULL), vpk_grant_admin(NULL);
SELECT vpk_grant_backup(NULL);
SELECT vpk_grant_backup(4294967295::oid::regrole);
\echo :SQLSTATE

-- A grant holds by itself: what PUBLIC or another role may do is not relied on.
SELECT vpk_grant_verifier('regress_vpk_blanket');
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SET ROLE regress_vpk_blanket;
SELECT vpk_verify(NULL);
RESET ROLE;
-- The doctor names roles that cannot reach what they may call, and how to put it right.
REVOKE USAGE ON SCHEMA public, vpk FROM regress_vpk_blanket;
SELECT * FROM pg_temp.finding('schema_usage') \gx
SELECT vpk_grant_verifier('regress_vpk_blanket');
SELECT ok FROM pg_temp.finding('schema_usage');
-- Granted again, nothing is written.
SELECT xmin AS before FROM pg_namespace WHERE nspname = 'public' \gset
SELECT vpk_grant_verifier('regress_vpk_blanket');
SELECT xmin = :'before' AS same FROM pg_namespace WHERE nspname = 'public';
GRANT USAGE ON SCHEMA public TO PUBLIC;
DROP OWNED BY regress_vpk_blanket;

-- An owner who cannot grant USAGE on the schema. Nothing is missing as long as PUBLIC has it.
\set database :DBNAME
CREATE DATABASE regress_vpk_grants TEMPLATE template0;
\c regress_vpk_grants
CREATE SCHEMA keys;
CREATE EXTENSION vibepeak_keys SCHEMA keys;
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER FUNCTION %s OWNER TO regress_vpk_owner', p.oid::regprocedure) FROM pg_proc AS p WHERE p.pronamespace IN ('keys'::regnamespace, 'vpk'::regnamespace)
        UNION ALL
        SELECT format('ALTER TABLE %s OWNER TO regress_vpk_owner', c.oid::regclass) FROM pg_class AS c WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind IN ('r', 'v')
        UNION ALL
        SELECT format('ALTER TYPE %s OWNER TO regress_vpk_owner', t.oid::regtype) FROM pg_type AS t WHERE t.typname = 'vpk_status'
    LOOP
        EXECUTE statement;
    END LOOP;
    ALTER SCHEMA vpk OWNER TO regress_vpk_owner;
END
$$;
GRANT USAGE ON SCHEMA keys TO PUBLIC;
SET ROLE regress_vpk_owner;
SELECT keys.vpk_grant_verifier('regress_vpk_service');
SELECT keys.vpk_grant_admin('Regress_vpk_Mixed');
RESET ROLE;
SELECT nspacl::text LIKE '%regress_vpk_service%' AS own FROM pg_namespace WHERE nspname = 'keys';
REVOKE USAGE ON SCHEMA keys FROM PUBLIC;
GRANT USAGE ON SCHEMA keys TO regress_vpk_owner;
SET ROLE regress_vpk_owner;
SELECT keys.vpk_grant_verifier('Regress_vpk_Mixed');
\echo :SQLSTATE
RESET ROLE;
SELECT d.detail, d.advice FROM keys.vpk_doctor() AS d WHERE d.item = 'schema_usage' \gx
-- The line that the hint gives is all that is needed.
GRANT USAGE ON SCHEMA keys TO "Regress_vpk_Mixed";
SET ROLE regress_vpk_owner;
SELECT keys.vpk_grant_verifier('Regress_vpk_Mixed');
RESET ROLE;
SET ROLE "Regress_vpk_Mixed";
SELECT keys.vpk_verify(NULL);
RESET ROLE;
\c :database
DROP DATABASE regress_vpk_grants;

-- Clean up.
DROP OWNED BY regress_vpk_admin, regress_vpk_service;
DROP ROLE regress_vpk_owner, regress_vpk_admin, regress_vpk_blanket, regress_vpk_service,
    "regress_vpk John.Doe", "regress_vpk svc@corp", "Regress_vpk_Mixed", "regress_vpk ""quoted""";
