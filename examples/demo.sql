-- A key's life, from its issue to its refusal. Run by "make demo"; for psql
-- elsewhere:  psql -X -q -e -f examples/demo.sql  in an empty database.
--
-- The tokens appear as literals because psql shows what it sends. A service
-- passes them as bind parameters: SELECT … FROM vpk_authenticate($1).

\set ON_ERROR_STOP on
\pset pager off
\pset null '-'

\echo '--- Install ----------------------------------------------------------'
\echo
CREATE EXTENSION vibepeak_keys;

\echo
\echo '--- Issue a key: the only moment its token is visible ----------------'
\echo
SELECT id, token FROM vpk_create('Production') \gset
\echo 'token:' :token

\echo
\echo '--- Verify it --------------------------------------------------------'
\echo
SELECT vpk_verify(:'token');

\echo '--- Or hand over the Authorization header as it came -----------------'
\echo
SELECT status, http_status, key_name, account, plan, environment, error
  FROM vpk_authenticate('Bearer ' || :'token');

\echo '--- The five errors: HTTP status and body, ready to send -------------'
\pset format unaligned
\pset tuples_only on
\pset fieldsep '\n'

\echo
\echo '1. No key in the request'
SELECT 'HTTP ' || http_status, jsonb_pretty(error) FROM vpk_authenticate(NULL);

\echo
\echo '2. The sample of the API documentation: no real key, its checksum is wrong'
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM vpk_authenticate('Bearer vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456');

\echo
\echo '3. A revoked key'
SELECT id AS leaked_id, token AS leaked FROM vpk_create('Leaked') \gset
SELECT vpk_revoke(:'leaked_id', reason => 'found in a public repository') \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM vpk_authenticate('Bearer ' || :'leaked');

\echo
\echo '4. An expired key'
SELECT token AS brief FROM vpk_create('Short-lived', expires_at => clock_timestamp() + '1 second') \gset
SELECT pg_sleep(1.1) \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM vpk_authenticate('Bearer ' || :'brief');

\echo
\echo '5. An account whose plan has no API access'
SELECT vpk_set_plan('acme', 'Free') \gset
SELECT token AS free FROM vpk_create('Acme backend', account => 'acme') \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM vpk_authenticate('Bearer ' || :'free');

\pset tuples_only off
\pset format aligned

\echo
\echo 'With the plan changed, the same key is good for the next request:'
SELECT vpk_set_plan('acme', 'Plus') \gset
SELECT vpk_verify(:'free');

\echo '--- What a dashboard shows, a few seconds later: last use, too --------'
\echo
-- Uses get there within vibepeak_keys.usage_flush_interval, 5 seconds by
-- default, where the library is preloaded.
SELECT pg_sleep(6) \gset
SELECT name, account, hint, last_used_at::timestamptz(0), uses, revoke_reason, state FROM vpk_list();

\echo '--- Rotate: a new key, and the old one is refused --------------------'
\echo
SELECT id AS new_id, token AS new_token FROM vpk_rotate(:'id') \gset
SELECT vpk_verify(:'token') AS old_key,
       vpk_verify(:'new_token') AS new_key;

\echo '--- Revoke: refused from the next request on -------------------------'
\echo
SELECT vpk_revoke(:'new_id', reason => 'service shut down')::timestamptz(0) AS revoked_at;
SELECT status, http_status, error #>> '{error,message}' AS message
  FROM vpk_authenticate('Bearer ' || :'new_token');

\echo '--- Every change left an event ---------------------------------------'
\echo
SELECT event, account, role, details FROM vpk.events ORDER BY id;

\echo '--- What the server shows of a statement with a key in it ------------'
\echo
SELECT query FROM pg_stat_activity
 WHERE pid = pg_backend_pid() AND :'token' IS NOT NULL;

\echo '--- Is all well with this installation? ------------------------------'
\echo
SELECT item, ok FROM vpk_doctor();
