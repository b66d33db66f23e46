-- vibepeak_keys.environments: which environments' keys this database accepts.

SELECT vpk_set_plan('acme', 'Pro');
SELECT token AS live, id AS live_id FROM vpk_create('Live', 'acme') \gset
SELECT token AS test, id AS test_id FROM vpk_create('Test', 'acme', 'test') \gset
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SHOW vibepeak_keys.environments;

-- What is not accepted is invalid, before anything else is said of it.
SELECT vpk_revoke(:'test_id') IS NOT NULL AS revoked;
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SET vibepeak_keys.environments = live;
SHOW vibepeak_keys.environments;
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SET vibepeak_keys.environments = test;
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SELECT status, error #>> '{error,message}' AS message FROM vpk_authenticate('Bearer ' || :'live');
-- Asking for an environment does not widen it.
SELECT status FROM vpk_authenticate('Bearer ' || :'live', environment => 'live');
SELECT status FROM vpk_task_start(:'live');
SELECT vpk_verify_hash(sha256(:'live'::bytea));

-- Spellings of the list.
SET vibepeak_keys.environments = live, test;
SHOW vibepeak_keys.environments;
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SET vibepeak_keys.environments = 'test,live';
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
SET vibepeak_keys.environments = ' test , test ';
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;

-- What is none is refused, and the old value stays in force.
SET vibepeak_keys.environments = live;
SET vibepeak_keys.environments = staging;
\echo :SQLSTATE
SET vibepeak_keys.environments = live, staging;
SET vibepeak_keys.environments = '';
SET vibepeak_keys.environments = 'live,';
SET vibepeak_keys.environments = 'LIVE';
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;
RESET vibepeak_keys.environments;
SELECT vpk_verify(:'live') AS live, vpk_verify(:'test') AS test;

-- A rollback undoes it, SET LOCAL ends with the transaction, a function's setting with the
-- function.
BEGIN;
SET vibepeak_keys.environments = test;
SELECT vpk_verify(:'live');
ROLLBACK;
SELECT vpk_verify(:'live');
BEGIN;
SET LOCAL vibepeak_keys.environments = test;
SELECT vpk_verify(:'live');
COMMIT;
SELECT vpk_verify(:'live');
CREATE FUNCTION pg_temp.verify_test(token text) RETURNS vpk.vpk_status LANGUAGE sql SET vibepeak_keys.environments = 'test' AS 'SELECT vpk_verify(token)';
SELECT pg_temp.verify_test(:'live') AS inside, vpk_verify(:'live') AS outside;

-- A database's and a role's own.
SELECT current_database() AS database \gset
ALTER DATABASE :"database" SET vibepeak_keys.environments = test;
\c
SELECT vpk_verify(:'live');
ALTER DATABASE :"database" RESET vibepeak_keys.environments;
\c
SELECT vpk_verify(:'live');

-- Only a superuser widens or narrows it.
CREATE ROLE regress_vpk_admin;
SELECT vpk_grant_admin('regress_vpk_admin');
SET ROLE regress_vpk_admin;
SHOW vibepeak_keys.environments;
SET vibepeak_keys.environments = live;
\echo :SQLSTATE
SELECT set_config('vibepeak_keys.environments', 'live', true);
\echo :SQLSTATE
RESET ROLE;

-- There is no other setting of this prefix to be mistyped.
SET vibepeak_keys.environment = live;
\echo :SQLSTATE

-- Keys can be issued for an environment that is not accepted here.
SET vibepeak_keys.environments = live;
SELECT token AS test FROM vpk_create('Test', 'acme', 'test') \gset
SELECT vpk_verify(:'test');
RESET vibepeak_keys.environments;
SELECT vpk_verify(:'test');

-- Clean up.
SELECT vpk_delete_account('acme');
DROP OWNED BY regress_vpk_admin;
DROP ROLE regress_vpk_admin;
