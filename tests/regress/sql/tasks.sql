-- Concurrent tasks: leases with an end, counted per account against its plan.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('other', 'Plus');
SELECT id, token FROM vpk_create('Key', 'acme', scopes => '{run}') \gset
SELECT token AS second FROM vpk_create('Second', 'acme') \gset
SELECT token AS other FROM vpk_create('Other', 'other') \gset
CREATE FUNCTION pg_temp.running(account text) RETURNS bigint LANGUAGE sql AS
    $$ SELECT count(*) FROM vpk.task_leases AS l WHERE l.account = $1 AND l.expires_at > clock_timestamp() $$;

-- A lease, for 15 minutes unless another time is given; its id is random (version 4).
SELECT lease, status, http_status, running, allowed, expires_at, error IS NULL AS no_error, headers
  FROM vpk_task_start(:'token') \gset
SELECT :'status' AS status, :'headers' AS headers, :http_status AS http_status, :running AS running, :allowed AS allowed, :'no_error' AS no_error,
       :'expires_at'::timestamptz - clock_timestamp() BETWEEN interval '14 minutes 50 s' AND interval '15 minutes' AS ttl,
       substr(:'lease', 15, 1) AS version;
SELECT l.account, l.key_id = :'id' AS key, l.expires_at = :'expires_at' AS expires_at FROM vpk.task_leases AS l WHERE l.lease = :'lease';
SELECT expires_at - clock_timestamp() BETWEEN interval '59 minutes 50 s' AND interval '1 hour' AS ttl, running
  FROM vpk_task_start(:'token', ttl => '1 hour', scope => 'run', client_ip => '192.0.2.1');

-- The plan's limit is the account's, whichever key starts; others have their own.
SELECT status, running, allowed FROM vpk_task_start(:'second');
SELECT status, http_status, lease, running, allowed, expires_at, error #- '{error,request_id}' AS error
  FROM vpk_task_start(:'token') \gx
SELECT error #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS request_id FROM vpk_task_start(:'second');
SELECT error #>> '{error,request_id}' AS request_id FROM vpk_task_start(:'second', request_id => 'req_abc123xyz');
SELECT error #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS new_one
  FROM vpk_task_start(:'second', request_id => 'vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY');
SELECT status, running, allowed FROM vpk_task_start(:'other');
SELECT status, running, allowed FROM vpk_task_start(:'other');
SELECT pg_temp.running('acme') AS acme, pg_temp.running('other') AS other;

-- When to ask again: after the first end of a lease, from 1 to 60 seconds.
SELECT headers FROM vpk_task_start(:'token');
BEGIN;
UPDATE vpk.task_leases AS l SET expires_at = clock_timestamp() + interval '40 s' WHERE l.lease = :'lease';
SELECT s.headers - 'Retry-After' AS others, (s.headers ->> 'Retry-After')::integer BETWEEN 1 AND 40 AS retry_after
  FROM vpk_task_start(:'token') AS s;
ROLLBACK;

-- Given back: whether it was still running.
SELECT vpk_task_finish(:'lease') AS finished, vpk_task_finish(:'lease') AS again,
       vpk_task_finish('00000000-0000-4000-8000-000000000000') AS unknown, vpk_task_finish(NULL) AS "null";
SELECT lease, status, running FROM vpk_task_start(:'token') \gset
SELECT :'status' AS status, :running AS running;

-- Extended from the clock's now on; gone leases have no end.
SELECT vpk_task_extend(:'lease', '2 hours') - clock_timestamp() BETWEEN interval '119 minutes' AND interval '2 hours' AS extended;
SELECT expires_at - clock_timestamp() > interval '119 minutes' AS stored FROM vpk.task_leases WHERE lease = :'lease';
SELECT vpk_task_extend(:'lease', '1 minute') - clock_timestamp() < interval '1 minute' AS shortened;
SELECT vpk_task_extend('00000000-0000-4000-8000-000000000000', '1 hour') IS NULL AS unknown, vpk_task_extend(NULL, '1 hour') IS NULL AS "null";
SELECT vpk_task_finish(:'lease');
SELECT vpk_task_extend(:'lease', '1 hour') IS NULL AS finished;

-- A crashed client's slot comes back when its lease ends; what has ended cannot be extended or
-- finished.
SELECT lease, status FROM vpk_task_start(:'token', '1 hour') \gset
SELECT status FROM vpk_task_start(:'token');
UPDATE vpk.task_leases SET expires_at = clock_timestamp() WHERE lease = :'lease';
SELECT vpk_task_extend(:'lease', '1 hour') IS NULL AS ended;
SELECT status, running, allowed FROM vpk_task_start(:'token');
SELECT vpk_task_finish(:'lease') AS still_running;
SELECT status FROM vpk_task_start(:'token');
-- Its row goes with the next start, and so does that of any other lease that has ended.
UPDATE vpk.task_leases SET expires_at = clock_timestamp() WHERE account = 'acme';
SELECT status, running FROM vpk_task_start(:'token');
SELECT count(*) AS leases FROM vpk.task_leases WHERE account = 'acme';

-- Within one statement and one transaction the limit holds as well; a rollback gives back.
BEGIN;
SELECT t.status, count(*) FROM generate_series(1, 5) AS n, LATERAL vpk_task_start(:'token', n * interval '1 hour') AS t GROUP BY 1 ORDER BY 1;
SAVEPOINT s;
SELECT vpk_task_finish(lease) AS finished FROM vpk.task_leases WHERE account = 'acme' ORDER BY expires_at LIMIT 1;
SELECT status FROM vpk_task_start(:'token');
ROLLBACK TO s;
SELECT status FROM vpk_task_start(:'token');
ROLLBACK;
SELECT pg_temp.running('acme');

-- A plan without a limit.
INSERT INTO vpk.plans (plan, api_access, concurrent_tasks) VALUES ('Unlimited', true, NULL), ('None', true, 0);
SELECT vpk_set_plan('acme', 'Unlimited');
SELECT count(*) FILTER (WHERE t.status = 'VALID') AS started, max(t.running) AS running, max(t.allowed) AS allowed
  FROM generate_series(1, 50) AS n, LATERAL vpk_task_start(:'token', n * interval '1 hour') AS t;
-- Moved to a smaller plan, what runs goes on, and nothing starts until enough has ended.
SELECT vpk_set_plan('acme', 'Pro');
SELECT status, running, allowed, error #> '{error,details}' AS details FROM vpk_task_start(:'token');
SELECT vpk_task_extend(lease, '1 hour') IS NOT NULL AS goes_on FROM vpk.task_leases WHERE account = 'acme' ORDER BY expires_at LIMIT 1;
SELECT count(*) FILTER (WHERE vpk_task_finish(lease)) AS finished
  FROM (SELECT lease FROM vpk.task_leases WHERE account = 'acme' ORDER BY expires_at LIMIT 49) AS l;
SELECT status, running, allowed FROM vpk_task_start(:'token');
UPDATE vpk.plans SET concurrent_tasks = 4 WHERE plan = 'Pro';
SELECT status, running, allowed FROM vpk_task_start(:'token');
UPDATE vpk.plans SET concurrent_tasks = 3 WHERE plan = 'Pro';
-- A plan with access and no tasks.
SELECT vpk_set_plan('acme', 'None');
SELECT vpk_verify(:'token');
SELECT status, running, allowed, headers FROM vpk_task_start(:'token');
SELECT vpk_set_plan('acme', 'Pro');

-- The key is judged first, as everywhere.
SELECT c.what, t.status, t.http_status, t.lease, t.running, t.allowed, t.expires_at, t.error #>> '{error,code}' AS code, t.headers
  FROM (VALUES (1, 'null', NULL), (2, 'blank', ' '), (3, 'malformed', 'x'), (4, 'unknown', 'vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY'))
       AS c (n, what, token), LATERAL vpk_task_start(c.token) AS t
 ORDER BY c.n;
SELECT status, headers FROM vpk_task_start(:'token', scope => 'walk');
SELECT e.environment, t.status, t.error #>> '{error,request_id}' AS request_id
  FROM unnest('{live,test,other}'::text[]) AS e (environment), LATERAL vpk_task_start(:'token', request_id => 'r', environment => e.environment) AS t;
SELECT token AS limited FROM vpk_create('Limited', 'acme', allowed_ips => '{192.0.2.0/24}') \gset
SELECT w.status AS nowhere, i.status AS inside, o.status AS outside
  FROM vpk_task_start(:'limited') AS w, vpk_task_start(:'limited', client_ip => '192.0.2.9') AS i,
       vpk_task_start(:'limited', client_ip => '198.51.100.9') AS o;
SELECT vpk_set_plan('acme', 'Starter');
SELECT status, error #> '{error,details}' AS details FROM vpk_task_start(:'token');
SELECT vpk_set_plan('acme', 'Pro');
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT status FROM vpk_task_start(:'token');

-- Times to live that are none.
DELETE FROM vpk.task_leases;
SELECT vpk_task_start(:'second', '0');
\echo :SQLSTATE
SELECT vpk_task_start(:'second', '-1 s');
\echo :SQLSTATE
SELECT vpk_task_start(:'second', NULL);
\echo :SQLSTATE
SELECT vpk_task_start(:'second', '1 month -31 days');
\echo :SQLSTATE
-- Months and days have no fixed length: this is more than 0 and yet ends in the past.
SELECT vpk_task_start(:'second', '-1 year 361 days');
\echo :SQLSTATE
-- 100 years are 36,000 days where no month is named.
SELECT vpk_task_start(:'second', interval '864000 hours' + interval '1 microsecond');
\echo :SQLSTATE
SELECT vpk_task_finish(lease) AS longest FROM vpk_task_start(:'second', interval '864000 hours');
SELECT lease FROM vpk_task_start(:'second') \gset
SELECT vpk_task_extend(:'lease', '0');
\echo :SQLSTATE
SELECT vpk_task_extend(:'lease', NULL);
\echo :SQLSTATE
SELECT pg_temp.running('acme');

-- Taking a lease is a write, and says so; a refusal of the key is none.
BEGIN READ ONLY;
SELECT status FROM vpk_task_start('x');
SELECT vpk_task_start(:'second');
\echo :SQLSTATE
ROLLBACK;

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('other');
SELECT count(*) AS leases FROM vpk.task_leases;
DELETE FROM vpk.plans WHERE plan IN ('Unlimited', 'None');
DELETE FROM vpk.removed_defaults;
