-- vpk_list and vpk.key_list: what a dashboard shows, newest first, page by page.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('other', 'Pro');
CREATE TEMPORARY TABLE made AS
    SELECT n, k.id, k.token FROM generate_series(1, 7) AS n, LATERAL vpk_create('Key ' || n, 'acme', scopes => CASE WHEN n % 2 = 0 THEN '{read,write}' ELSE '{}' END::text[]) AS k;
SELECT id AS elsewhere FROM vpk_create('Elsewhere', 'other', 'test') \gset
CREATE FUNCTION pg_temp.made(n integer) RETURNS uuid LANGUAGE sql AS 'SELECT m.id FROM made AS m WHERE m.n = made.n';

-- The states, where several apply the one that counts for verification.
UPDATE vpk.keys SET disabled_at = now() WHERE id IN (pg_temp.made(2), pg_temp.made(4), pg_temp.made(5), pg_temp.made(6));
UPDATE vpk.keys SET expires_at = now() WHERE id IN (pg_temp.made(3), pg_temp.made(4), pg_temp.made(6));
SELECT count(vpk_revoke(pg_temp.made(n), 'because')) AS revoked FROM generate_series(5, 7) AS n;
INSERT INTO vpk.key_usage VALUES (pg_temp.made(1), '2026-01-02 03:04:05+00', 6);
SELECT name, account, environment, prefix, last_used_at, uses, revoked_at IS NOT NULL AS revoked, revoke_reason, state, scopes FROM vpk_list('acme');

-- The view shows the same.
SELECT count(*) AS differing
  FROM vpk_list() AS f FULL JOIN vpk.key_list AS v ON v.id = f.id
 WHERE (f.*)::text IS DISTINCT FROM (v.*)::text;
-- Neither shows the hash.
SELECT count(*) AS with_hash FROM vpk.key_list AS v JOIN vpk.keys AS k ON k.id = v.id
 WHERE position(encode(k.key_hash, 'hex') IN v::text) > 0 OR position(encode(k.key_hash, 'base64') IN v::text) > 0;

-- One account, one key, both, none.
SELECT name, account FROM vpk_list() WHERE account IN ('acme', 'other');
SELECT name, account, environment, prefix FROM vpk_list('other');
SELECT name FROM vpk_list(id => :'elsewhere');
SELECT count(*) AS none FROM vpk_list('acme', :'elsewhere');
SELECT count(*) AS none FROM vpk_list('nobody');
SELECT count(*) AS none FROM vpk_list(id => '00000000-0000-7000-8000-000000000000');

-- Pages.
SELECT name FROM vpk_list('acme', max_rows => 3);
SELECT id AS last FROM vpk_list('acme', max_rows => 3) ORDER BY id LIMIT 1 \gset
SELECT name FROM vpk_list('acme', after => :'last', max_rows => 3);
SELECT id AS last FROM vpk_list('acme', after => :'last', max_rows => 3) ORDER BY id LIMIT 1 \gset
SELECT name FROM vpk_list('acme', after => :'last', max_rows => 3);
SELECT id AS last FROM vpk_list('acme', after => :'last', max_rows => 3) ORDER BY id LIMIT 1 \gset
SELECT count(*) AS no_more FROM vpk_list('acme', after => :'last', max_rows => 3);
SELECT count(*) AS none FROM vpk_list(max_rows => 0);
SELECT count(*) AS all_of_them FROM vpk_list('acme', max_rows => 2147483647);

-- By state, alone and with the other conditions; pages of it.
SELECT s.state, string_agg(l.name || ' ' || l.state, ', ' ORDER BY l.id) AS keys
  FROM unnest('{active,disabled,expired,revoked}'::text[]) AS s (state), LATERAL vpk_list('acme', state => s.state) AS l
 GROUP BY s.state ORDER BY s.state;
SELECT name FROM vpk_list(id => pg_temp.made(6), state => 'revoked');
SELECT count(*) AS none FROM vpk_list(id => pg_temp.made(6), state => 'active');
SELECT count(*) AS none FROM vpk_list('nobody', state => 'active');
SELECT name FROM vpk_list('acme', state => 'revoked', max_rows => 2);
SELECT id AS last FROM vpk_list('acme', state => 'revoked', max_rows => 2) ORDER BY id LIMIT 1 \gset
SELECT name FROM vpk_list('acme', state => 'revoked', after => :'last', max_rows => 2);
SELECT count(*) = (SELECT count(*) FROM vpk_list() AS l WHERE l.state = 'active') AS in_all_accounts FROM vpk_list(state => 'active');
-- There are no others.
SELECT vpk_list(state => 'Active');
\echo :SQLSTATE
SELECT vpk_list(state => '');
\echo :SQLSTATE
SELECT vpk_list(state => 'vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY');
\echo :SQLSTATE
-- A page goes on where the last key of the page before was, also when that is gone.
DELETE FROM vpk.keys WHERE id = pg_temp.made(4);
SELECT name FROM vpk_list('acme', after => pg_temp.made(4));
\set VERBOSITY sqlstate
SELECT vpk_list(max_rows => -1);
\set VERBOSITY default

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('other');
