-- vpk_verify and vpk_verify_hash: what is missing, what is invalid, what is valid.

SELECT id, token FROM vpk_create('Production') \gset

SELECT vpk_verify(:'token');
SELECT pg_typeof(vpk_verify(:'token')), vpk_verify(:'token') = 'VALID' AS comparable;

-- Null, empty and blank are missing.
SELECT vpk_verify(NULL) AS "null", vpk_verify('') AS empty, vpk_verify('   ') AS blank,
       vpk_verify(E' \t\r\n\x0B\f') AS white_space, vpk_verify(repeat(' ', 100000)) AS much;

-- The documentation's sample has a wrong checksum; the test vector is well-formed, but unknown
-- here.
SELECT vpk_verify('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456') AS sample,
       vpk_verify('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY') AS vector;

-- The test vector, made known by its hash, is a key like any other.
INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint, created_at)
VALUES (gen_random_uuid(), sha256('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY'), 'default', 'live', 'Vector',
        'vpk_live', 'vpk_live_aBcD', now());
SELECT vpk_verify('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY') AS vector,
       vpk_verify('vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456') AS sample;

-- A key has one spelling: nothing around it, nothing missing, no other case.
SELECT text, status
  FROM (VALUES (1, 'space before', ' ' || :'token'), (2, 'space after', :'token' || ' '),
               (3, 'line end', :'token' || E'\n'), (4, 'quotes', '"' || :'token' || '"'),
               (5, 'Bearer', 'Bearer ' || :'token'), (6, 'one more', :'token' || 'a'),
               (7, 'one less', left(:'token', 40)), (8, 'the first half', left(:'token', 20)),
               (9, 'upper case', upper(:'token')), (10, 'twice', :'token' || :'token'),
               (11, 'prefix alone', 'vpk_live_'), (12, 'other environment', overlay(:'token' placing 'test' from 5)),
               (13, 'unknown environment', overlay(:'token' placing 'prod' from 5)),
               (14, 'one letter', 'x'), (15, 'full width', replace(:'token', 'vpk', 'ｖｐｋ')))
       AS c (n, text, presented), LATERAL vpk_verify(presented) AS status
 ORDER BY n;

-- Every change of one character is refused.
SELECT count(*) AS changes, count(*) FILTER (WHERE vpk_verify(changed) = 'INVALID_API_KEY') AS invalid
  FROM generate_series(1, 41) AS at,
       LATERAL (SELECT overlay(:'token' placing c from at) AS changed
                  FROM regexp_split_to_table('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_- ', '') AS c
                 WHERE c <> substr(:'token', at, 1)) AS o;

-- By hash: the same answers for callers that hash the key themselves.
SELECT vpk_verify_hash(sha256(:'token'::bytea)) AS known, vpk_verify_hash(sha256('other')) AS unknown,
       vpk_verify_hash(NULL) AS "null", vpk_verify_hash('') AS empty, vpk_verify_hash('\x00') AS short,
       vpk_verify_hash(sha256(:'token'::bytea) || '\x00') AS long, vpk_verify_hash(:'token'::bytea) AS token;
SELECT token AS limited FROM vpk_create('Limited', allowed_ips => '{192.0.2.0/24}') \gset
SELECT vpk_verify(:'limited') AS no_address_is_known,
       vpk_verify_hash(sha256(:'limited'::bytea)) AS no_address,
       vpk_verify_hash(sha256(:'limited'::bytea), '192.0.2.7') AS inside,
       vpk_verify_hash(sha256(:'limited'::bytea), client_ip => '198.51.100.7') AS outside;

-- In a plan with many rows, each is judged on its own, null among them.
SELECT t.n, vpk_verify(t.token)
  FROM (VALUES (1, :'token'), (2, NULL), (3, 'x'), (4, :'token')) AS t (n, token)
 ORDER BY t.n;
SELECT c.http_status, c.message FROM vpk.status_codes AS c WHERE c.status = vpk_verify(:'token');

-- Verifying takes no transaction id.
BEGIN;
SELECT vpk_verify(:'token'), vpk_verify('x'), vpk_verify_hash(sha256(:'token'::bytea));
SELECT status FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_error('PLAN_REQUIRED', 'r', 'default') IS NOT NULL AS body;
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
COMMIT;
-- Nor a lock that outlasts it, but those of a read.
BEGIN;
SELECT vpk_verify(:'token');
SELECT DISTINCT l.mode FROM pg_locks AS l
 WHERE l.pid = pg_backend_pid() AND l.relation IN (SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'vpk'::regnamespace);
COMMIT;

-- Clean up.
DELETE FROM vpk.keys;
