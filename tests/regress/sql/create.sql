-- vpk_create: what a caller gets, what is stored, and that the token is in no table.

-- The first call on a fresh database: the account "default" exists, on plan Pro.
SELECT id, token, prefix, hint FROM vpk_create('Production') \gset
SELECT :'token' ~ '^vpk_live_[0-9A-Za-z]{32}$' AS form,
       :'prefix' = left(:'token', 8) AS prefix, :'hint' = left(:'token', 13) AS hint,
       length(:'token') AS length, :'prefix' AS prefix_is;
SELECT vpk_verify(:'token');

-- Every column, but those that differ each time.
SELECT name, account, environment, prefix, created_at <= clock_timestamp() AS created,
       created_at > clock_timestamp() - interval '1 minute' AS just_now, expires_at
  FROM vpk_create('Full', account => 'default', environment => 'test', expires_at => '2999-01-01 00:00+00',
                  scopes => '{tasks:read,tasks:write}', allowed_ips => '{192.0.2.0/24,2001:db8::/32}',
                  metadata => '{"team": "data"}') \gx
SELECT name, account, environment, prefix, hint LIKE 'vpk\_test\_____' AS hint, expires_at, disabled_at, revoked_at,
       revoke_reason, rotated_from, rotated_at, scopes, allowed_ips, metadata
  FROM vpk.keys WHERE name = 'Full' \gx

-- The id is a UUID of version 7 (RFC 9562), in the order of issue.
SELECT substr(:'id', 15, 1) AS version, substr(:'id', 20, 1) IN ('8', '9', 'a', 'b') AS variant;
SELECT abs(extract(epoch FROM clock_timestamp()) * 1000
           - ('x' || lpad(left(replace(:'id', '-', ''), 12), 16, '0'))::bit(64)::bigint) < 60000 AS carries_the_time;
CREATE TEMPORARY TABLE made AS
    SELECT n, k.id, k.token FROM generate_series(1, 500) AS n, LATERAL vpk_create('Series ' || n) AS k;
SELECT count(*) AS out_of_order FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM made) AS o WHERE before >= id;
SELECT count(DISTINCT token) AS tokens, count(*) FILTER (WHERE vpk_verify(token) = 'VALID') AS valid FROM made;

-- Stored is the SHA-256 of the whole key, and the key is in no column of any table.
SELECT k.key_hash = sha256(convert_to(:'token', 'UTF8')) AS hash FROM vpk.keys AS k WHERE k.id = :'id';
SELECT count(*) AS with_token
  FROM made AS m, (SELECT k::text AS row FROM vpk.keys AS k
                   UNION ALL SELECT e::text FROM vpk.events AS e
                   UNION ALL SELECT a::text FROM vpk.accounts AS a) AS t
 WHERE position(substr(m.token, 14) IN t.row) > 0;

-- "infinity" is no expiry.
SELECT expires_at IS NULL AS never FROM vpk_create('Forever', expires_at => 'infinity');

-- Names need not be unique.
SELECT count(DISTINCT k.id) AS ids FROM generate_series(1, 2) AS n, LATERAL vpk_create('Twin', expires_at => clock_timestamp() + n * interval '1 hour') AS k;

-- The other environment, and an account of one's own.
SELECT vpk_set_plan('acme', 'Plus');
SELECT token FROM vpk_create('Test key', 'acme', 'test') \gset
SELECT :'token' ~ '^vpk_test_[0-9A-Za-z]{32}$' AS form, vpk_verify(:'token');

-- A function in FROM is called once.
SELECT count(*) AS before FROM vpk.keys \gset
SELECT (k).name, (k).account FROM vpk_create('Once') AS k;
SELECT count(*) - :before AS made FROM vpk.keys;

-- An unknown account, by name and by what to do.
SELECT vpk_create('Key', account => 'nobody');
\echo :SQLSTATE
SELECT vpk_create('Key', environment => 'staging');
\echo :SQLSTATE
SELECT vpk_create('Key', expires_at => clock_timestamp() - interval '1 second');
\echo :SQLSTATE
SELECT vpk_create('Key', expires_at => '-infinity');
\echo :SQLSTATE

-- Names show what they are.
SELECT vpk_create(U&'Pro\200Bduction');
\echo :SQLSTATE
SELECT vpk_create(U&'\202EProduction');
SELECT vpk_set_plan(U&'acme\FEFF', 'Pro');
\echo :SQLSTATE
SELECT name = U&'\0645\06CC\200C\062E\0648\0627\0647\0645' AS persian FROM vpk_create(U&'\0645\06CC\200C\062E\0648\0627\0647\0645');
-- An account of an earlier release goes on.
INSERT INTO vpk.accounts (account, plan) VALUES (U&'acme\200B', 'Free');
SELECT vpk_set_plan(U&'acme\200B', 'Pro');
SELECT vpk_verify(token) FROM vpk_create('Key', U&'acme\200B');
SELECT vpk_delete_account(U&'acme\200B');
-- A character that Unicode does not have.
SELECT vpk_create(U&'Pro\0378duction');
SELECT vpk_set_plan(U&'acme\+10FFFF', 'Pro');

-- One text in two spellings is one account: it gets the composed name, and is found by both.
SELECT U&'caf\00E9' AS composed, U&'cafe\0301' AS decomposed \gset
SELECT vpk_set_plan(:'decomposed', 'Pro'), vpk_set_plan(:'composed', 'Plus');
SELECT account = :'composed' AS composed, plan FROM vpk.accounts WHERE account LIKE 'caf%';
SELECT account = :'composed' AS composed FROM vpk_create('By the composed', :'composed')
UNION ALL SELECT account = :'composed' FROM vpk_create('By the decomposed', :'decomposed');
-- Also by many calls in one statement.
SELECT count(*) FROM generate_series(1, 3) AS n, vpk_create('Many ' || n, :'decomposed') WHERE account = :'composed';
SELECT (SELECT count(*) FROM vpk_list(:'composed')) AS composed, (SELECT count(*) FROM vpk_list(:'decomposed')) AS decomposed;
SELECT vpk_error('PLAN_REQUIRED', 'r', :'decomposed') #>> '{error,details,current_plan}' AS plan;
SELECT vpk_revoke_account(:'decomposed');
SELECT vpk_delete_account(:'decomposed');
-- An account of an earlier release keeps its spelling, and is found by both.
INSERT INTO vpk.accounts (account, plan) VALUES (:'decomposed', 'Free');
SELECT vpk_set_plan(:'composed', 'Pro');
SELECT account = :'decomposed' AS decomposed, plan FROM vpk.accounts WHERE account LIKE 'caf%';
SELECT account = :'decomposed' AS decomposed FROM vpk_create('Key', :'composed');
SELECT vpk_revoke_account(:'composed');
-- Where both are there, each is found by its own name.
INSERT INTO vpk.accounts (account, plan) VALUES (:'composed', 'Starter');
SELECT vpk_set_plan(:'decomposed', 'Plus'), vpk_set_plan(:'composed', 'Free');
SELECT account = :'composed' AS composed, plan, vpk_error('PLAN_REQUIRED', 'r', account) #>> '{error,details,current_plan}' AS found
  FROM vpk.accounts WHERE account LIKE 'caf%' ORDER BY account;
SELECT vpk_delete_account(:'composed'), vpk_delete_account(:'decomposed');
SELECT vpk_delete_account(:'decomposed');
SELECT vpk_set_plan(repeat(U&'\0958', 128), 'Pro');
SELECT vpk_error('PLAN_REQUIRED', 'r', repeat(:'decomposed', 1000000)) #>> '{error,details,current_plan}' AS plan;

-- A broken key is one all the same.
SELECT vpk_create('for ' || left(:'token', 12) || ' ' || substr(:'token', 13));

-- The hash of a key is there once.
\set VERBOSITY sqlstate
INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
SELECT gen_random_uuid(), k.key_hash, k.account, k.environment, k.name, now() FROM vpk.keys AS k WHERE k.id = :'id';
\set VERBOSITY default

-- Clean up.
SELECT vpk_delete_account('acme');
DELETE FROM vpk.keys;
