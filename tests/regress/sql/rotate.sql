-- Rotation: a successor like the key itself, and the key's end at once or after a grace.

SELECT vpk_set_plan('acme', 'Pro');
CREATE FUNCTION pg_temp.make(name text, OUT id uuid, OUT token text) LANGUAGE sql AS $$
    SELECT k.id, k.token
      FROM vpk_create(name, 'acme', 'test', '2999-01-01 00:00+00', '{tasks:read}', '{192.0.2.0/24}', '{"team": "data"}') AS k
$$;

-- Without grace: the old key is revoked at once.
SELECT id, token FROM pg_temp.make('Key') \gset
SELECT id AS new_id, token AS new_token, prefix, hint FROM vpk_rotate(:'id') \gset
SELECT :'new_id' <> :'id' AS other_id, :'new_token' <> :'token' AS other_token, :'new_token' ~ '^vpk_test_[0-9A-Za-z]{32}$' AS form,
       :'prefix' = left(:'new_token', 8) AS prefix, :'hint' = left(:'new_token', 13) AS hint;
SELECT status FROM vpk_authenticate('Bearer ' || :'token', client_ip => '192.0.2.1');
SELECT status FROM vpk_authenticate('Bearer ' || :'new_token', 'tasks:read', '192.0.2.1');
SELECT revoked_at IS NOT NULL AS revoked, rotated_at IS NOT NULL AS rotated, expires_at FROM vpk.keys WHERE id = :'id';

-- The successor keeps everything.
SELECT n.name, n.account, n.environment, n.expires_at, n.scopes, n.allowed_ips, n.metadata,
       n.rotated_from = o.id AS rotated_from, n.created_at > o.created_at AS newer, n.revoked_at, n.disabled_at, n.rotated_at,
       n.key_hash = sha256(:'new_token'::bytea) AS hash
  FROM vpk.keys AS n JOIN vpk.keys AS o ON o.id = n.rotated_from WHERE n.id = :'new_id' \gx

-- What is returned is what is stored.
SELECT id FROM pg_temp.make('Returned') \gset
CREATE TEMPORARY TABLE returned AS SELECT * FROM vpk_rotate(:'id');
SELECT r.name, r.account, r.environment, r.prefix, r.expires_at,
       (r.id, r.name, r.account, r.environment, r.prefix, r.hint, r.created_at, r.expires_at)
       = (k.id, k.name, k.account, k.environment, k.prefix, k.hint, k.created_at, k.expires_at) AS as_stored
  FROM returned AS r JOIN vpk.keys AS k ON k.id = r.id;

-- With grace: the old key works until then, and is not revoked.
SELECT id, token FROM pg_temp.make('Graceful') \gset
SELECT token AS new_token FROM vpk_rotate(:'id', '1 day') \gset
SELECT o.status AS old, n.status AS new
  FROM vpk_authenticate('Bearer ' || :'token', client_ip => '192.0.2.1') AS o,
       vpk_authenticate('Bearer ' || :'new_token', client_ip => '192.0.2.1') AS n;
SELECT revoked_at, expires_at - clock_timestamp() BETWEEN interval '23 hours 59 minutes' AND interval '24 hours' AS ends_after_grace
  FROM vpk.keys WHERE id = :'id';
-- The grace runs from the clock, not from the start of the transaction, and ends.
SELECT id, token FROM vpk_create('Brief', 'acme') \gset
BEGIN;
SELECT pg_sleep(0.1);
SELECT token AS new_token FROM vpk_rotate(:'id', '1 hour') \gset
SELECT expires_at >= now() + interval '1 hour 0.1 s' AS by_the_clock FROM vpk.keys WHERE id = :'id';
SELECT vpk_verify(:'token') AS old, vpk_verify(:'new_token') AS new;
UPDATE vpk.keys SET expires_at = clock_timestamp() WHERE id = :'id';
SELECT vpk_verify(:'token') AS old, vpk_verify(:'new_token') AS new;
COMMIT;

-- An expiry that is earlier than the end of the grace stays.
SELECT id FROM vpk_create('Ends soon', 'acme', expires_at => clock_timestamp() + interval '1 hour') \gset
SELECT expires_at AS own FROM vpk.keys WHERE id = :'id' \gset
SELECT r.expires_at = :'own' AS successor_ends_as_the_old FROM vpk_rotate(:'id', '1 year') AS r;
SELECT expires_at = :'own' AS stays FROM vpk.keys WHERE id = :'id';

-- Another expiry for the successor; "infinity" is none.
SELECT id FROM pg_temp.make('Other end') \gset
SELECT expires_at FROM vpk_rotate(:'id', expires_at => '2998-01-01 00:00+00');
SELECT id FROM pg_temp.make('No end') \gset
SELECT expires_at FROM vpk_rotate(:'id', expires_at => 'infinity');
SELECT expires_at FROM vpk.keys WHERE rotated_from = :'id';
SELECT id FROM vpk_create('Never ends', 'acme') \gset
SELECT expires_at FROM vpk_rotate(:'id', '1 hour');

-- A disabled key's successor is disabled.
SELECT id FROM pg_temp.make('Disabled') \gset
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
SELECT token AS new_token FROM vpk_rotate(:'id', '1 hour') \gset
SELECT status FROM vpk_authenticate('Bearer ' || :'new_token', client_ip => '192.0.2.1');

-- A successor can be rotated in turn; the chain can be followed.
SELECT id AS first FROM pg_temp.make('Chain') \gset
SELECT id AS second FROM vpk_rotate(:'first') \gset
SELECT id AS third FROM vpk_rotate(:'second') \gset
SELECT name, rotated_from = :'first' AS from_first, rotated_from = :'second' AS from_second, state
  FROM vpk_list('acme') WHERE id IN (:'first', :'second', :'third');

-- Refusals; nothing is made.
SELECT id FROM pg_temp.make('Refused') \gset
SELECT count(*) AS keys, (SELECT count(*) FROM vpk.events) AS events FROM vpk.keys \gset before_
SELECT vpk_rotate(:'first');
\echo :SQLSTATE
SELECT id AS revoked FROM pg_temp.make('Revoked'), LATERAL vpk_revoke(id) \gset
SELECT vpk_rotate(:'revoked', '1 hour');
\echo :SQLSTATE
SELECT id AS expired FROM pg_temp.make('Expired') \gset
UPDATE vpk.keys SET expires_at = clock_timestamp() WHERE id = :'expired';
SELECT vpk_rotate(:'expired');
\echo :SQLSTATE
SELECT vpk_rotate('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
SELECT vpk_rotate(:'id', expires_at => clock_timestamp());
\echo :SQLSTATE
-- A key in its grace has a successor already.
SELECT id AS graceful FROM pg_temp.make('In grace'), LATERAL vpk_rotate(id, '1 hour') AS r (new_id) \gset
SELECT vpk_rotate(:'graceful', '2 hours');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_rotate(:'id', '-1 second');
SELECT vpk_rotate(:'id', '1 day -25 hours');
SELECT vpk_rotate(:'id', '-1 year 361 days');
SELECT vpk_rotate(NULL);
SELECT vpk_rotate(:'id', NULL);
\set VERBOSITY default
SELECT count(*) - :before_keys AS keys FROM vpk.keys;
SELECT count(*) - :before_events AS events FROM vpk.events;
SELECT state FROM vpk_list(id => :'id');

-- A rotation that is rolled back leaves the key as it was.
SELECT token FROM vpk_create('Rolled back', 'acme') AS k \gset
SELECT id FROM vpk.keys WHERE key_hash = sha256(:'token'::bytea) \gset
BEGIN;
SELECT token AS new_token FROM vpk_rotate(:'id') \gset
SELECT vpk_verify(:'token') AS old, vpk_verify(:'new_token') AS new;
ROLLBACK;
SELECT vpk_verify(:'token') AS old, vpk_verify(:'new_token') AS new;

-- Clean up.
SELECT vpk_delete_account('acme') > 0 AS deleted;
