-- Ends of keys that every driver reads: the latest is 9999-12-31 00:00:00+00.

SET timezone = 'Pacific/Kiritimati';
SELECT expires_at FROM vpk_create('Latest', expires_at => '9999-12-31 00:00:00+00');
SELECT id FROM vpk_create('Key') \gset
SELECT expires_at FROM vpk_update(:'id', expires_at => '9999-12-31 00:00:00+00');
RESET timezone;
SELECT vpk_create('Later', expires_at => '9999-12-31 00:00:00.000001+00');
\echo :SQLSTATE
SELECT vpk_create('Later', expires_at => '294276-12-31 23:59:59+00');
\echo :SQLSTATE
SELECT vpk_update(:'id', expires_at => '10000-01-01 00:00:00+00');
\echo :SQLSTATE
SELECT vpk_rotate(:'id', expires_at => '10000-01-01 00:00:00+00');
\echo :SQLSTATE
SELECT expires_at AS never FROM vpk_create('Never', expires_at => 'infinity');

-- An earlier release accepted later ones. They are listed as the latest, and so does everything
-- else that returns one; the table is as it was.
CREATE TEMPORARY TABLE late AS
    SELECT n, k.id, k.token FROM generate_series(1, 3) AS n, LATERAL vpk_create('Late ' || n) AS k;
UPDATE vpk.keys AS k SET expires_at = CASE l.n WHEN 1 THEN 'infinity' ELSE '12345-06-07 08:09:10+00'::timestamptz END
  FROM late AS l WHERE l.id = k.id;
SELECT name, expires_at, state FROM vpk_list() WHERE name LIKE 'Late%' ORDER BY name;
SELECT name, expires_at FROM vpk.key_list WHERE name LIKE 'Late%' ORDER BY name;
SELECT a.status, a.expires_at FROM late AS l, LATERAL vpk_authenticate('Bearer ' || l.token) AS a ORDER BY l.n;
SELECT u.expires_at, u.name FROM late AS l, LATERAL vpk_update(l.id, name => 'Late, renamed ' || l.n) AS u ORDER BY l.n;
SELECT name, expires_at FROM vpk.keys WHERE name LIKE 'Late%' ORDER BY name;
-- A successor ends there.
SELECT r.expires_at FROM late AS l, LATERAL vpk_rotate(l.id, '1 hour') AS r ORDER BY l.n;
SELECT name, expires_at FROM vpk.keys WHERE name LIKE 'Late%' AND rotated_from IS NOT NULL ORDER BY name;
