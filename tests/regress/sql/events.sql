-- vpk.events: every change is one event, in the same transaction, by the role that called, and
-- never with a key or a hash.

CREATE ROLE regress_vpk_admin;
CREATE ROLE regress_vpk_login;
CREATE ROLE regress_vpk_owner;
SELECT vpk_grant_admin('regress_vpk_admin'), vpk_grant_admin('regress_vpk_owner'), vpk_grant_admin('regress_vpk_login');
GRANT regress_vpk_admin TO regress_vpk_login;
SELECT coalesce(max(id), 0) AS start FROM vpk.events \gset
CREATE VIEW happened AS
    SELECT e.id, e.event, e.key_id, e.account, e.details, e.role, e.session_role FROM vpk.events AS e;
CREATE TEMPORARY TABLE tokens (token text, id uuid);

-- A key's life, one event for each change.
SELECT vpk_set_plan('acme', 'Pro');
INSERT INTO tokens SELECT token, id FROM vpk_create('Secret name', 'acme', metadata => '{"secret": 1}');
SELECT id FROM tokens \gset
SELECT count(*) FROM vpk_update(:'id', name => 'Other name', metadata => '{}');
SELECT count(*) FROM vpk_update(:'id', 'n', 'infinity', '{a}', '{}', '{"b": 1}');
SELECT vpk_disable(:'id') IS NOT NULL, vpk_disable(:'id') IS NOT NULL, vpk_enable(:'id'), vpk_enable(:'id');
INSERT INTO tokens SELECT token, id FROM vpk_rotate(:'id', '1 hour');
SELECT vpk_revoke(:'id', 'a reason') IS NOT NULL, vpk_revoke(:'id', 'another') IS NOT NULL;
SELECT id AS successor, token AS successor_token FROM tokens WHERE id <> :'id' \gset
INSERT INTO tokens SELECT token, id FROM vpk_rotate(:'successor');
SELECT id AS last, token AS last_token FROM tokens WHERE id NOT IN (:'id', :'successor') \gset
SELECT vpk_revoke_token(:'last_token', 'here it is: ' || :'last_token') = :'last' AS revoked;
SELECT vpk_revoke_token(:'last_token') = :'last' AS again;
SELECT vpk_purge(clock_timestamp());
SELECT event, CASE key_id WHEN :'id' THEN 'first' WHEN :'successor' THEN 'second' WHEN :'last' THEN 'third' END AS key, account,
       details - 'expires_at' - 'revoked_at' - 'successor' - 'rotated_from' - 'reason' AS details
  FROM happened WHERE id > :start ORDER BY CASE event WHEN 'key_purged' THEN event END NULLS FIRST, CASE event WHEN 'key_purged' THEN key_id END, id;
-- Ids, ends and reasons in the events are right.
SELECT event, details ->> 'successor' = :'successor' AS successor, details ->> 'rotated_from' = :'id' AS rotated_from,
       details ? 'expires_at' AS ends, details ? 'revoked_at' AS revoked,
       replace(details ->> 'reason', left(:'last_token', 13), '<hint>') AS reason
  FROM happened WHERE id > :start AND (details ?| '{successor,rotated_from,reason}') ORDER BY id;

-- Several keys at once: one event each.
SELECT count(*) AS made FROM generate_series(1, 3) AS n, LATERAL vpk_create('Key ' || n, 'acme') AS k;
SELECT max(id) AS start FROM vpk.events \gset
SELECT vpk_revoke_account('acme', 'all of them');
SELECT vpk_revoke_account('acme', 'once more');
SELECT event, account, details, count(*), count(DISTINCT key_id) AS keys FROM happened WHERE id > :start GROUP BY 1, 2, 3;

-- What is refused, or changes nothing, or only reads, is no event; what is rolled back neither.
SELECT max(id) AS start FROM vpk.events \gset
\set VERBOSITY sqlstate
SELECT vpk_create('', 'acme');
SELECT vpk_rotate(:'id');
SELECT vpk_revoke('00000000-0000-7000-8000-000000000000');
\set VERBOSITY default
SELECT vpk_verify(:'last_token');
SELECT count(*) FROM vpk_list('acme');
SELECT vpk_revoke_token('x') IS NULL AS unknown;
BEGIN;
SELECT count(*) FROM vpk_create('Rolled back', 'acme');
ROLLBACK;
SELECT count(*) AS events FROM happened WHERE id > :start;

-- By which role: the one that calls, and the one that logged in.
SELECT max(id) AS start FROM vpk.events \gset
SET SESSION AUTHORIZATION regress_vpk_login;
SELECT count(*) FROM vpk_create('As the session', 'acme');
SET ROLE regress_vpk_admin;
SELECT count(*) FROM vpk_create('Under SET ROLE', 'acme');
RESET ROLE;
-- An event records the caller of a definer function, not its owner.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION issue_for(name text) RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
    $$ SELECT k.id FROM vpk_create(name, 'acme') AS k $$;
ALTER FUNCTION issue_for(text) OWNER TO regress_vpk_owner;
SET SESSION AUTHORIZATION regress_vpk_login;
SELECT issue_for('In a definer function') IS NOT NULL AS issued;
SET ROLE regress_vpk_admin;
SELECT issue_for('In a definer function under SET ROLE') IS NOT NULL AS issued;
SELECT vpk_set_plan('acme', 'Plus');
RESET SESSION AUTHORIZATION;
SELECT k.name, h.event, h.role, h.session_role
  FROM happened AS h LEFT JOIN vpk.keys AS k ON k.id = h.key_id WHERE h.id > :start ORDER BY h.id;

-- Nobody that the extension serves can change what happened.
SET ROLE regress_vpk_admin;
SELECT count(*) > 0 AS readable FROM vpk.events;
\set VERBOSITY sqlstate
INSERT INTO vpk.events (event, role, session_role) VALUES ('key_created', 'x', 'x');
UPDATE vpk.events SET role = 'x';
DELETE FROM vpk.events;
TRUNCATE vpk.events;
SELECT setval('vpk.events_id_seq', 1);
\set VERBOSITY default
RESET ROLE;

-- In the order of their ids, by the clock.
SELECT count(*) AS out_of_order FROM (SELECT occurred_at, lag(occurred_at) OVER (ORDER BY id) AS before FROM vpk.events) AS e WHERE before > occurred_at;

-- Nowhere is a key, or a hash in any spelling.
SELECT count(*) AS with_key FROM vpk.events AS e WHERE e::text ~ 'vpk_(live|test)_[0-9A-Za-z]{5}';
SELECT count(*) AS with_64_hex_digits FROM vpk.events AS e WHERE e::text ~* '[0-9a-f]{64}';
SELECT count(*) AS with_base64 FROM vpk.events AS e WHERE e::text ~ '[0-9A-Za-z+/]{42}';
SELECT count(*) AS with_token FROM vpk.events AS e, tokens AS t WHERE position(substr(t.token, 14) IN e::text) > 0;
-- Nor what a caller may call private.
SELECT count(*) AS with_name_or_metadata FROM happened WHERE details::text ~ 'Secret name|Other name|secret';

-- Clean up.
SELECT vpk_delete_account('acme');
DROP VIEW happened;
DROP FUNCTION issue_for(text);
DROP OWNED BY regress_vpk_admin, regress_vpk_login, regress_vpk_owner;
DROP ROLE regress_vpk_admin, regress_vpk_login, regress_vpk_owner;
