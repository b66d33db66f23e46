-- A key's life, from its creation to its refusal. "make demo" runs this. To run it yourself, in an
-- empty database:  psql -X -q -e -f examples/demo.sql
--
-- The tokens are literals here because psql puts its variables into the text. A service passes them
-- as bind parameters: SELECT status::text, … FROM keys.vpk_authenticate($1::text).

\set ON_ERROR_STOP on
\pset pager off
\pset null '-'

\echo '--- Install ----------------------------------------------------------'
\echo
CREATE SCHEMA keys;
CREATE EXTENSION vibepeak_keys SCHEMA keys;

\echo
\echo '--- Create a key: only now is its token visible ----------------------'
\echo
SELECT id, token FROM keys.vpk_create('Production') \gset
\echo 'token:' :token

\echo
\echo '--- Verify it --------------------------------------------------------'
\echo
SELECT keys.vpk_verify(:'token');

\echo '--- Or pass the Authorization header as it came ----------------------'
\echo
SELECT status, http_status, key_name, account, plan, environment, error
  FROM keys.vpk_authenticate('Bearer ' || :'token');

\echo '--- The five errors: HTTP status and body, ready to send -------------'
\pset format unaligned
\pset tuples_only on
\pset fieldsep '\n'

\echo
\echo '1. No key in the request'
SELECT 'HTTP ' || http_status, jsonb_pretty(error) FROM keys.vpk_authenticate(NULL);

\echo
\echo '2. The sample key of the API documentation: its checksum is wrong'
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM keys.vpk_authenticate('Bearer vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456');

\echo
\echo '3. A revoked key'
SELECT id AS leaked_id, token AS leaked FROM keys.vpk_create('Leaked') \gset
SELECT keys.vpk_revoke(:'leaked_id', reason => 'found in a public repository') \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM keys.vpk_authenticate('Bearer ' || :'leaked');

\echo
\echo '4. An expired key'
SELECT token AS brief FROM keys.vpk_create('Short-lived', expires_at => clock_timestamp() + '1 second') \gset
SELECT pg_sleep(1.1) \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM keys.vpk_authenticate('Bearer ' || :'brief');

\echo
\echo '5. An account whose plan has no API access'
SELECT keys.vpk_set_plan('acme', 'Free') \gset
SELECT token AS free FROM keys.vpk_create('Acme backend', account => 'acme') \gset
SELECT 'HTTP ' || http_status, jsonb_pretty(error)
  FROM keys.vpk_authenticate('Bearer ' || :'free');

\pset tuples_only off
\pset format aligned

\echo
\echo 'On another plan, the same key is valid for the next request:'
SELECT keys.vpk_set_plan('acme', 'Plus') \gset
SELECT keys.vpk_verify(:'free');

\echo '--- A dashboard, with the last use of each key -----------------------'
\echo
-- Uses are counted if the library is preloaded.
SELECT name, account, hint, last_used_at::timestamptz(0), uses, revoke_reason, state FROM keys.vpk_list();

\echo '--- Rotate: a new key, and the old one is refused --------------------'
\echo
SELECT id AS new_id, token AS new_token FROM keys.vpk_rotate(:'id') \gset
SELECT keys.vpk_verify(:'token') AS old_key,
       keys.vpk_verify(:'new_token') AS new_key;

\echo '--- Revoke: the next request is refused ------------------------------'
\echo
SELECT keys.vpk_revoke(:'new_id', reason => 'service shut down')::timestamptz(0) AS revoked_at;
SELECT status, http_status, error #>> '{error,message}' AS message
  FROM keys.vpk_authenticate('Bearer ' || :'new_token');

\echo '--- Every change left an event ---------------------------------------'
\echo
SELECT event, account, role, details FROM vpk.events ORDER BY id;

\echo '--- The server redacts a key in the text of a statement --------------'
\echo
SELECT query FROM pg_stat_activity
 WHERE pid = pg_backend_pid() AND :'token' IS NOT NULL;

\echo '--- Check this installation ------------------------------------------'
\echo
SELECT item, ok FROM keys.vpk_doctor();
