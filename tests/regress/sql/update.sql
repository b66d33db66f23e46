-- vpk_update: null leaves a field as it is, "infinity" and the empty list take a limit away.

SELECT vpk_set_plan('acme', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme', expires_at => '2999-01-01 00:00+00', scopes => '{read}',
                                 allowed_ips => '{192.0.2.0/24}', metadata => '{"team": "data"}') \gset
CREATE TEMPORARY VIEW fields AS
    SELECT id, name, expires_at, scopes, allowed_ips, metadata FROM vpk.keys WHERE account = 'acme';

-- The row as in vpk_list.
CREATE TEMPORARY TABLE updated AS SELECT * FROM vpk_update(:'id', name => '  Renamed  ');
SELECT name, account, environment, prefix, last_used_at, uses, expires_at, revoked_at, revoke_reason, rotated_from, state
  FROM updated \gx
SELECT (u.*)::text = (l.*)::text AS as_listed FROM updated AS u, vpk_list(id => u.id) AS l;

-- One field at a time; the others stay.
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;
SELECT count(*) FROM vpk_update(:'id', expires_at => '2998-01-01 00:00+00');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;
SELECT count(*) FROM vpk_update(:'id', scopes => '{write,admin}');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;
SELECT count(*) FROM vpk_update(:'id', allowed_ips => '{2001:db8::/32,198.51.100.0/24}');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;
SELECT count(*) FROM vpk_update(:'id', metadata => '{"a": [1, null]}');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;

-- Everything in force for the next verification.
SELECT status, metadata, scopes FROM vpk_authenticate('Bearer ' || :'token', 'admin', '198.51.100.9');
SELECT status FROM vpk_authenticate('Bearer ' || :'token', 'read', '198.51.100.9');
SELECT status FROM vpk_authenticate('Bearer ' || :'token', 'admin', '192.0.2.1');

-- Limits taken away; an empty list of scopes is none, an empty list of addresses no limit.
SELECT expires_at FROM vpk_update(:'id', expires_at => 'infinity');
SELECT count(*) FROM vpk_update(:'id', scopes => '{}', allowed_ips => '{}', metadata => '{}');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;
SELECT vpk_verify(:'token');

-- All at once, by position.
SELECT name, expires_at FROM vpk_update(:'id', 'All', '2999-01-01 00:00+00', '{a,b}', '{::1/128}', '{"x": 1}');
SELECT name, expires_at, scopes, allowed_ips, metadata FROM fields;

-- Nothing: the row as it is.
SELECT count(*) AS before FROM vpk.events \gset
SELECT name FROM vpk_update(:'id');
SELECT count(*) - :before AS events FROM vpk.events;

-- An expired key lives again with another expiry.
SELECT count(*) FROM vpk_update(:'id', allowed_ips => '{}');
UPDATE vpk.keys SET expires_at = now() WHERE id = :'id';
SELECT vpk_verify(:'token');
SELECT state FROM vpk_update(:'id', expires_at => clock_timestamp() + interval '1 hour');
SELECT vpk_verify(:'token');

-- Refusals; the key stays as it is.
SELECT vpk_update('00000000-0000-7000-8000-000000000000', name => 'Nobody');
\echo :SQLSTATE
SELECT vpk_update('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
SELECT vpk_update(:'id', expires_at => now() - interval '1 second');
\echo :SQLSTATE
SELECT vpk_update(:'id', name => '', metadata => '{"y": 2}');
\echo :SQLSTATE
SELECT vpk_update(:'id', name => 'Other', metadata => '[]');
\echo :SQLSTATE
SELECT vpk_update(:'id', name => 'Other', scopes => '{a b}');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_update(NULL, name => 'Other');
\set VERBOSITY default
SELECT name, scopes, allowed_ips, metadata FROM fields;

-- Clean up.
SELECT vpk_delete_account('acme');
