-- The extension in a schema of its own, in a database of its own: created, used by its qualified
-- names and through search_path, dropped without a trace, and created anew in the same session.

\set database :DBNAME
CREATE DATABASE regress_vpk_schema TEMPLATE template0;
\c regress_vpk_schema
CREATE SCHEMA keys;
CREATE EXTENSION vibepeak_keys SCHEMA keys;

-- Nothing of it is in public.
SELECT count(*) AS in_public FROM pg_proc WHERE pronamespace = 'public'::regnamespace;
SELECT count(*) AS types_in_public FROM pg_type WHERE typnamespace = 'public'::regnamespace;

-- What a fresh database has: the four plans, and an account to begin with.
SELECT plan, api_access, concurrent_tasks FROM vpk.plans ORDER BY rank;
SELECT account, plan FROM vpk.accounts;
SELECT count(*) AS keys FROM vpk.keys;
SELECT count(*) AS events FROM vpk.events;

-- By qualified name, with a search_path that has nothing of it.
SELECT id, token FROM keys.vpk_create('Production') \gset
SELECT keys.vpk_verify(:'token');
SELECT status, http_status, key_name, account, plan FROM keys.vpk_authenticate('Bearer ' || :'token');
SELECT status, running, allowed FROM keys.vpk_task_start(:'token');
SELECT keys.vpk_error('PLAN_REQUIRED', 'req_abc123xyz', 'default') #>> '{error,details,current_plan}' AS plan;
SELECT c.status, c.http_status FROM vpk.status_codes AS c WHERE c.status = keys.vpk_verify(:'token');
SELECT name, state FROM keys.vpk_update(:'id', name => 'Renamed');
SELECT name, state FROM vpk.key_list;
CREATE ROLE regress_vpk_verifier;
CREATE ROLE regress_vpk_admin;
SELECT keys.vpk_grant_verifier('regress_vpk_verifier');
SELECT keys.vpk_grant_admin('regress_vpk_admin');
SET ROLE regress_vpk_verifier;
SELECT keys.vpk_verify(:'token');
SELECT status, running FROM keys.vpk_task_start(:'token');
SET ROLE regress_vpk_admin;
SELECT name, state FROM keys.vpk_list();
RESET ROLE;

-- Through search_path.
SET search_path = keys;
SELECT vpk_verify(:'token');
SELECT status FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT vpk_verify(:'token');
RESET search_path;

-- Dropped and created anew, elsewhere, in the session that has used it.
DROP EXTENSION vibepeak_keys;
SELECT count(*) AS left_over FROM pg_namespace WHERE nspname = 'vpk';
SELECT count(*) AS left_over FROM pg_proc WHERE proname LIKE 'vpk%';
CREATE EXTENSION vibepeak_keys;
SELECT vpk_verify(:'token');
SELECT id, token FROM vpk_create('Again') \gset
SELECT vpk_verify(:'token');
SELECT status, account, plan FROM vpk_authenticate('Bearer ' || :'token');
SELECT status FROM vpk_task_start(:'token');
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT vpk_verify(:'token');
SELECT name, state FROM vpk_list();

\c :database
DROP DATABASE regress_vpk_schema;
DROP ROLE regress_vpk_verifier, regress_vpk_admin;
