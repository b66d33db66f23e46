-- The accounts and keys that requests.json names. Prints a line "name=token" for each key. Removes
-- those of an earlier run first. Run by psql as a role that vpk_grant_admin was granted.
\set ON_ERROR_STOP on
\set QUIET on
\encoding UTF8
\pset format unaligned
\pset tuples_only on
\pset fieldsep =
\o /dev/null
SELECT keys.vpk_delete_account(account) FROM vpk.accounts WHERE account LIKE 'conformance %';
SELECT keys.vpk_set_plan('conformance ' || plan, plan) FROM (VALUES ('Free'), ('Starter'), ('Plus'), ('Pro')) AS v (plan);
SELECT keys.vpk_set_plan('conformance busy', 'Plus');
SELECT keys.vpk_set_plan('conformance spent', 'Plus');
SELECT keys.vpk_set_plan('conformance ünïcödé', 'Plus');

\o
SELECT 'valid', token FROM keys.vpk_create('valid', account => 'conformance Plus', scopes => '{tasks:write}');
SELECT 'unscoped', token FROM keys.vpk_create('unscoped', account => 'conformance Plus');
SELECT 'free', token FROM keys.vpk_create('free', account => 'conformance Free', scopes => '{tasks:write}');
SELECT 'starter', token FROM keys.vpk_create('starter', account => 'conformance Starter');
SELECT 'unicode', token FROM keys.vpk_create('ünïcödé', account => 'conformance ünïcödé');
SELECT 'here', token
  FROM keys.vpk_create('here', account => 'conformance Plus', scopes => '{tasks:write}', allowed_ips => '{127.0.0.0/8}');
SELECT 'elsewhere', token
  FROM keys.vpk_create('elsewhere', account => 'conformance Plus', scopes => '{tasks:write}', allowed_ips => '{192.0.2.0/24}');

SELECT id, token FROM keys.vpk_create('revoked', account => 'conformance Plus', scopes => '{tasks:write}') \gset
SELECT 'revoked', :'token';
SELECT keys.vpk_revoke(:'id') AS revoked \gset
SELECT id, token FROM keys.vpk_create('disabled', account => 'conformance Plus') \gset
SELECT 'disabled', :'token';
SELECT keys.vpk_disable(:'id') AS disabled \gset
SELECT token FROM keys.vpk_create('expired', account => 'conformance Plus', expires_at => clock_timestamp() + '1 s') \gset
SELECT 'expired', :'token';
SELECT pg_sleep(1.1) AS it_has_expired \gset

-- What this key may ask for in an hour is used up. A restart of the server does not forget it.
SELECT id, token FROM keys.vpk_create('limited', account => 'conformance Plus', scopes => '{tasks:write}') \gset
SELECT 'limited', :'token';
SELECT keys.vpk_set_rate_limit('hour', 1, '1 hour', id => :'id') AS an_hour,
       keys.vpk_set_rate_limit('day', 100, '1 day', id => :'id') AS a_day \gset
SELECT keys.vpk_verify(:'token') AS used_up \gset

-- What this account may ever ask for is used up.
SELECT keys.vpk_set_quota(1, 'total', account => 'conformance spent') AS for_ever \gset
SELECT token FROM keys.vpk_create('spent', account => 'conformance spent', scopes => '{tasks:write}') \gset
SELECT 'spent', :'token';
SELECT keys.vpk_verify(:'token') AS used_up \gset

-- All of this account's tasks are running.
SELECT token FROM keys.vpk_create('busy', account => 'conformance busy', scopes => '{tasks:write}') \gset
SELECT 'busy', :'token';
SELECT lease FROM keys.vpk_task_start(:'token', ttl => '1 hour') \gset
-- Two of three.
SELECT token FROM keys.vpk_create('pro', account => 'conformance Pro', scopes => '{tasks:write}') \gset
SELECT 'pro', :'token';
SELECT lease FROM keys.vpk_task_start(:'token', ttl => '1 hour') \gset
SELECT lease FROM keys.vpk_task_start(:'token', ttl => '1 hour') \gset
