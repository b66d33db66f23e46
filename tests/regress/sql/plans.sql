-- Plans and accounts are live data: what vpk_set_plan or a direct change says counts for the next
-- verification.

SELECT vpk_set_plan('acme', 'Free');
SELECT token FROM vpk_create('Key', 'acme') \gset

-- Access by plan, as the API documentation promises: Free no, Starter no, Plus yes, Pro yes.
SELECT plan, api_access, concurrent_tasks FROM vpk.plans ORDER BY rank;
SELECT vpk_set_plan('acme', 'Free') AS "Free", vpk_verify(:'token');
SELECT vpk_set_plan('acme', 'Starter') AS "Starter", vpk_verify(:'token');
SELECT vpk_set_plan('acme', 'Plus') AS "Plus", vpk_verify(:'token');
SELECT vpk_set_plan('acme', 'Pro') AS "Pro", vpk_verify(:'token');

-- An account is made or moved.
SELECT vpk_set_plan('acme', 'Starter');
SELECT vpk_verify(:'token');
SELECT account, plan FROM vpk.accounts WHERE account = 'acme';

-- A direct change, of the account and of the plan.
UPDATE vpk.accounts SET plan = 'Plus' WHERE account = 'acme';
SELECT vpk_verify(:'token');
UPDATE vpk.plans SET api_access = false WHERE plan = 'Plus';
SELECT vpk_verify(:'token');
UPDATE vpk.plans SET api_access = true WHERE plan = 'Plus';
SELECT vpk_verify(:'token');
-- Within one transaction and one statement too.
BEGIN;
UPDATE vpk.plans SET api_access = false WHERE plan = 'Plus';
SELECT vpk_verify(:'token');
ROLLBACK;
SELECT vpk_verify(:'token');
SELECT vpk_verify(:'token') AS before, vpk_set_plan('acme', 'Free') AS moved, vpk_verify(:'token') AS after;

-- A plan of one's own: without access unless it says so, last in rank unless it says so.
INSERT INTO vpk.plans (plan) VALUES ('Trial');
SELECT plan, api_access, concurrent_tasks, rank > (SELECT max(rank) FROM vpk.plans AS o WHERE o.plan <> p.plan) AS last
  FROM vpk.plans AS p WHERE plan = 'Trial';
INSERT INTO vpk.plans (plan, api_access, concurrent_tasks, rank) VALUES ('Team', true, 10, 35);
SELECT plan FROM vpk.plans ORDER BY rank;
SELECT vpk_set_plan('acme', 'Trial');
SELECT vpk_verify(:'token');
SELECT error #>> '{error,message}' AS message, error #> '{error,details}' AS details FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_set_plan('acme', 'Team');
SELECT vpk_verify(:'token');

-- What cannot be a plan.
\set VERBOSITY sqlstate
INSERT INTO vpk.plans (plan) VALUES ('');
INSERT INTO vpk.plans (plan) VALUES (repeat('x', 256));
INSERT INTO vpk.plans (plan) VALUES (E'a\nb');
INSERT INTO vpk.plans (plan) VALUES (NULL);
INSERT INTO vpk.plans (plan) VALUES ('Pro');
INSERT INTO vpk.plans (plan, concurrent_tasks) VALUES ('Negative', -1);
INSERT INTO vpk.plans (plan, api_access) VALUES ('Unclear', NULL);
\set VERBOSITY default

-- What looks like a key is no name of a plan, and neither is what cannot be seen.
\set SHOW_CONTEXT never
INSERT INTO vpk.plans (plan) VALUES ('vpk_live_12345678');
\echo :SQLSTATE
INSERT INTO vpk.plans (plan) VALUES (E'vpk_live_aBcDeF gHiJkLmNoPqR\nsTuVwXyZ4Vi3OY');
UPDATE vpk.plans SET plan = 'vpk_live_12345678' WHERE plan = 'Trial';
SELECT vpk_set_plan('acme', 'vpk_live_12345678');
\echo :SQLSTATE
INSERT INTO vpk.plans (plan) VALUES (U&'Pro\200B');
\echo :SQLSTATE
UPDATE vpk.plans SET plan = U&'\202EPro' WHERE plan = 'Trial';
INSERT INTO vpk.plans (plan) VALUES (U&'Pro\0378');
INSERT INTO vpk.plans (plan) VALUES (U&'Cafe\0301');
\echo :SQLSTATE
-- A restored row, which names the last column, keeps its name.
BEGIN;
INSERT INTO vpk.plans (plan, rank, pristine) VALUES ('vpk_live_12345678', 99, false);
UPDATE vpk.plans SET api_access = true WHERE plan = 'vpk_live_12345678';
INSERT INTO vpk.plans (plan, rank, pristine) VALUES (U&'Cafe\0301', 99, false), (U&'Pro\0378', 99, false);
ROLLBACK;
\set SHOW_CONTEXT errors

-- A plan that is in use stays; renamed, it takes its accounts along.
\set SHOW_CONTEXT never
DELETE FROM vpk.plans WHERE plan = 'Team';
\echo :SQLSTATE
\set SHOW_CONTEXT errors
UPDATE vpk.plans SET plan = 'Enterprise' WHERE plan = 'Team';
SELECT account, plan FROM vpk.accounts WHERE account = 'acme';
SELECT status, plan FROM vpk_authenticate('Bearer ' || :'token');
-- Not in use, it goes.
SELECT vpk_set_plan('acme', 'Pro');
DELETE FROM vpk.plans WHERE plan IN ('Enterprise', 'Trial');
SELECT plan FROM vpk.plans ORDER BY rank;
SELECT vpk_set_plan('acme', 'Enterprise');
\echo :SQLSTATE

-- Should an account or plan be missing all the same, the key is refused.
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM vpk.plans WHERE plan = 'Pro';
SELECT vpk_verify(:'token');
SELECT status, account, error #> '{error,details}' AS details FROM vpk_authenticate('Bearer ' || :'token');
DELETE FROM vpk.accounts WHERE account = 'acme';
SELECT vpk_verify(:'token');
SELECT status, account, error #> '{error,details}' AS details FROM vpk_authenticate('Bearer ' || :'token');
SELECT status, lease, running FROM vpk_task_start(:'token');
ROLLBACK;
SELECT vpk_verify(:'token');

-- Renaming and removing a built-in plan.
BEGIN;
UPDATE vpk.plans SET plan = 'Professional' WHERE plan = 'Pro';
SELECT plan FROM vpk.accounts WHERE account = 'acme';
SELECT vpk_verify(:'token');
DELETE FROM vpk.plans WHERE plan IN ('Free', 'Starter');
SELECT plan FROM vpk.plans ORDER BY rank;
ROLLBACK;

-- Each call is one event.
SELECT event, account, details FROM vpk.events WHERE account = 'acme' AND event = 'plan_set' ORDER BY id DESC LIMIT 2;

-- Clean up.
SELECT vpk_delete_account('acme');
DELETE FROM vpk.removed_defaults;
SELECT plan, api_access, concurrent_tasks FROM vpk.plans ORDER BY rank;
