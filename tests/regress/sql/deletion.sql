-- vpk_purge and vpk_delete_account: keys that are gone for good, and what stays of them.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('other', 'Pro');

-- Purged are keys that were revoked or expired before the instant, and no others.
CREATE TEMPORARY TABLE made AS
    SELECT c.*, k.id, k.token
      FROM (VALUES (1, 'revoked long ago', interval '10 days', NULL::interval),
                   (2, 'revoked lately', '1 hour', NULL),
                   (3, 'expired long ago', NULL, '10 days'),
                   (4, 'expired lately', NULL, '1 hour'),
                   (5, 'both, one of them long ago', '1 hour', '10 days'),
                   (6, 'active', NULL, NULL),
                   (7, 'will expire', NULL, '-10 days')) AS c (n, name, revoked, expired),
           LATERAL vpk_create(c.name, 'acme') AS k;
UPDATE vpk.keys AS k SET revoked_at = clock_timestamp() - m.revoked, expires_at = clock_timestamp() - m.expired
  FROM made AS m WHERE m.id = k.id;
INSERT INTO vpk.key_usage SELECT id, now(), 1 FROM made;
INSERT INTO vpk.task_leases SELECT gen_random_uuid(), 'acme', id, now(), now() + interval '1 hour' FROM made;
SELECT vpk_purge(clock_timestamp() - interval '1 day');
SELECT m.name, k.id IS NOT NULL AS key, u.key_id IS NOT NULL AS usage, l.key_id IS NOT NULL AS lease,
       (SELECT string_agg(e.event, ', ' ORDER BY e.id) FROM vpk.events AS e WHERE e.key_id = m.id) AS events, vpk_verify(m.token)
  FROM made AS m
  LEFT JOIN vpk.keys AS k ON k.id = m.id
  LEFT JOIN vpk.key_usage AS u ON u.key_id = m.id
  LEFT JOIN vpk.task_leases AS l ON l.key_id = m.id
 ORDER BY m.n;
SELECT vpk_purge(clock_timestamp() - interval '1 day') AS again, vpk_purge('-infinity') AS none;
SELECT vpk_purge(clock_timestamp()) AS the_rest;
SELECT name FROM vpk_list('acme') ORDER BY name;

-- An instant that is yet to come would take active keys.
SELECT vpk_purge(clock_timestamp() + interval '1 day');
\echo :SQLSTATE
SELECT vpk_purge('infinity');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_purge(NULL);
\set VERBOSITY default

-- Deleting an account deletes its keys, leases and usage, and those of no other account.
SELECT id AS id, token AS token FROM vpk_create('Elsewhere', 'other', metadata => '{"contact": "someone"}') \gset
SELECT vpk_revoke(id, 'asked for by someone') IS NOT NULL AS revoked FROM made WHERE n = 6;
SELECT status FROM vpk_task_start(:'token');
SELECT vpk_delete_account('acme');
SELECT vpk_verify(:'token'), vpk_verify((SELECT token FROM made WHERE n = 6)) AS deleted;
SELECT (SELECT count(*) FROM vpk.accounts AS a WHERE a.account = 'acme') AS accounts,
       (SELECT count(*) FROM vpk.keys AS k WHERE k.account = 'acme' OR k.id IN (SELECT id FROM made)) AS keys,
       (SELECT count(*) FROM vpk.key_usage AS u WHERE u.key_id IN (SELECT id FROM made)) AS usage,
       (SELECT count(*) FROM vpk.task_leases AS l WHERE l.account = 'acme') AS leases,
       (SELECT count(*) FROM vpk.task_leases AS l WHERE l.account = 'other') AS leases_elsewhere;

-- Events stay, with ids only: neither the account's name nor what was said of it.
SELECT e.event, count(*), count(e.account) AS with_account, count(*) FILTER (WHERE e.details <> '{}') AS with_details
  FROM vpk.events AS e WHERE e.key_id IN (SELECT id FROM made) GROUP BY e.event ORDER BY e.event;
SELECT count(*) AS naming_the_account FROM vpk.events AS e WHERE e.account = 'acme' OR e.details::text LIKE '%acme%';
SELECT event, key_id, account, details FROM vpk.events WHERE event = 'account_deleted' ORDER BY id DESC LIMIT 1;

-- The name is free again, without anything of before.
SELECT vpk_set_plan('acme', 'Free');
SELECT count(*) AS keys FROM vpk_list('acme');

-- An account without keys, one that is not there, and null.
SELECT vpk_delete_account('acme');
SELECT vpk_delete_account('acme');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_delete_account(NULL);
\set VERBOSITY default

-- A deletion that is rolled back leaves everything.
BEGIN;
SELECT vpk_delete_account('other');
SELECT vpk_verify(:'token');
ROLLBACK;
SELECT vpk_verify(:'token');

-- Clean up.
SELECT vpk_delete_account('other');
