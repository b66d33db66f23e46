-- Revocation: by id, by token, by account; for good, and idempotent.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('other', 'Pro');
SELECT id, token FROM vpk_create('Leaked', 'acme') \gset
SELECT id AS id2, token AS token2 FROM vpk_create('Second', 'acme') \gset
SELECT id AS id3, token AS token3 FROM vpk_create('Third', 'acme', 'test') \gset
SELECT id AS id4, token AS token4 FROM vpk_create('Elsewhere', 'other') \gset

-- By id: the instant, by the clock.
SELECT clock_timestamp() AS before \gset
SELECT vpk_revoke(:'id', 'found in a public repository') AS revoked_at \gset
SELECT :'revoked_at'::timestamptz BETWEEN :'before' AND clock_timestamp() AS instant;
SELECT vpk_verify(:'token'), vpk_verify(:'token2');
SELECT revoked_at = :'revoked_at' AS instant, revoke_reason FROM vpk.keys WHERE id = :'id';

-- Again: the instant of the first revocation, whose reason stays.
SELECT vpk_revoke(:'id') = :'revoked_at' AS same, vpk_revoke(:'id', 'once more') = :'revoked_at' AS same_again;
SELECT revoked_at = :'revoked_at' AS instant, revoke_reason FROM vpk.keys WHERE id = :'id';
SELECT count(*) AS events FROM vpk.events WHERE key_id = :'id' AND event = 'key_revoked';

-- Within a transaction, at its own instant, and gone with a rollback.
BEGIN;
SELECT pg_sleep(0.01);
SELECT vpk_revoke(:'id2') > now() AS after_start;
SELECT vpk_verify(:'token2');
ROLLBACK;
SELECT vpk_verify(:'token2');
BEGIN;
SAVEPOINT s;
SELECT vpk_revoke(:'id2') IS NOT NULL AS revoked;
SELECT vpk_verify(:'token2');
ROLLBACK TO s;
SELECT vpk_verify(:'token2');
COMMIT;

-- In one statement, before and after: each call is judged when it is made.
SELECT vpk_verify(:'token2') AS before, vpk_revoke(:'id2') IS NOT NULL AS revoked, vpk_verify(:'token2') AS after;

-- There is no way back.
SELECT vpk_enable(:'id2');
SELECT state FROM vpk_update(:'id2', expires_at => 'infinity');
SELECT vpk_verify(:'token2');

-- Unknown ids and null.
SELECT vpk_revoke('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_revoke(NULL);
\set VERBOSITY default

-- By token: the id of the key, also when it was revoked before; null where there is none.
SELECT vpk_revoke_token(:'token3', 'reported') = :'id3' AS id;
SELECT vpk_verify(:'token3'), vpk_revoke_token(:'token3') = :'id3' AS id_again;
SELECT revoke_reason FROM vpk.keys WHERE id = :'id3';
SELECT count(*) AS events FROM vpk.events WHERE key_id = :'id3' AND event = 'key_revoked';
SELECT vpk_revoke_token('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY') IS NULL AS unknown,
       vpk_revoke_token('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456') IS NULL AS malformed,
       vpk_revoke_token('') IS NULL AS empty, vpk_revoke_token(NULL) IS NULL AS "null",
       vpk_revoke_token(repeat('x', 1000000)) IS NULL AS long;
-- Disabled, expired, of an account without access: revoked all the same.
SELECT id AS id5, token AS token5 FROM vpk_create('Disabled', 'acme') \gset
SELECT vpk_disable(:'id5') IS NOT NULL AS disabled;
UPDATE vpk.keys SET expires_at = now() - interval '1 day' WHERE id = :'id5';
SELECT vpk_revoke_token(:'token5') = :'id5' AS id, vpk_verify(:'token5');

-- Whatever stands around it in a paste does not matter.
SELECT vpk_revoke_token(around.before || key.token || around.after) = key.id AS revoked, vpk_verify(key.token)
  FROM (VALUES (' ', E'\n'), ('Authorization: Bearer ', ''), ('"', '",'), ('https://api.example/?key=', '&page=1'), ('é', 'é'))
       AS around (before, after), vpk_create('Pasted ' || around.before, 'acme') AS key;
-- Nor does what broke it.
SELECT vpk_revoke_token('> ' || left(key.token, at) || break || substr(key.token, at + 1)) = key.id AS revoked, vpk_verify(key.token)
  FROM (VALUES (6, ' '), (12, E'\r\n\t'), (20, U&'\00AD'), (30, U&'\200B'), (40, U&'\00A0\2060\FEFF')) AS broken (at, break),
       vpk_create('Broken ' || at) AS key;
SELECT vpk_revoke_token(regexp_replace(key.token, '([0-9A-Za-z]{5})', E'\\1\n', 'g')) = key.id AS revoked
  FROM vpk_create('In many lines') AS key;
SELECT vpk_revoke_token(left(key.token, 20) || '    ' || substr(key.token, 21)) IS NULL AS too_far, vpk_verify(key.token)
  FROM vpk_create('In two columns') AS key;
-- Which of two is meant would be a guess.
SELECT a.token AS token_a, b.token AS token_b FROM vpk_create('A', 'acme') AS a, vpk_create('B', 'acme') AS b \gset
SELECT vpk_revoke_token(:'token_a' || ' ' || :'token_b');
\echo :SQLSTATE
SELECT vpk_verify(:'token_a'), vpk_verify(:'token_b'), vpk_revoke_token(:'token_a' || ' ' || :'token_a') IS NOT NULL AS twice;

-- A reason that quotes the key is kept without it.
SELECT id AS id6, token AS token6 FROM vpk_create('Quoted', 'acme') \gset
SELECT vpk_revoke(:'id6', 'found ' || :'token6' || ' in a log') IS NOT NULL AS revoked;
SELECT revoke_reason = 'found ' || left(:'token6', 13) || repeat('*', 28) || ' in a log' AS redacted FROM vpk.keys WHERE id = :'id6';
SELECT count(*) AS with_key FROM vpk.events WHERE position(substr(:'token6', 14) IN details::text) > 0;
SELECT id AS id7, token AS token7 FROM vpk_create('Quoted in two lines') \gset
SELECT vpk_revoke(:'id7', 'found ' || left(:'token7', 15) || E'\n' || substr(:'token7', 16) || ' beside vpk_live_aBcD') IS NOT NULL AS revoked;
SELECT revoke_reason = 'found ' || left(:'token7', 13) || E'**\n' || repeat('*', 26) || ' beside vpk_live_aBcD' AS redacted
  FROM vpk.keys WHERE id = :'id7';

-- By account: returns how many were not revoked before, and revokes no other account's keys.
SELECT count(*) AS made FROM generate_series(1, 3) AS n, LATERAL vpk_create('Key ' || n, 'acme') AS k;
SELECT vpk_revoke_account('acme', 'contract ended');
SELECT count(*) AS keys, count(revoked_at) AS revoked, count(*) FILTER (WHERE revoke_reason = 'contract ended') AS by_this
  FROM vpk.keys WHERE account = 'acme';
SELECT vpk_revoke_account('acme');
SELECT vpk_verify(:'token4');
SELECT vpk_revoke_account('nobody');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_revoke_account(NULL);
\set VERBOSITY default

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('other');
