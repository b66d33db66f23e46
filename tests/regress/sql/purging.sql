-- vpk_purge and vpk_purge_events in parts.

SELECT vpk_set_plan('purged', 'Pro');
SELECT vpk_purge(clock_timestamp()) IS NOT NULL AS nothing_else;
CREATE TEMPORARY TABLE made AS
SELECT i, k.id FROM generate_series(1, 20) AS i, vpk_create('k' || i, 'purged') AS k;
UPDATE vpk.keys AS k SET revoked_at = now() - interval '1 day' * m.i FROM made AS m WHERE m.id = k.id AND m.i % 2 = 0;
UPDATE vpk.keys AS k SET expires_at = now() - interval '1 day' * m.i FROM made AS m WHERE m.id = k.id AND m.i % 2 = 1;
-- Those first that ended first.
SELECT vpk_purge(now() - interval '5 days', 3);
SELECT array_agg(m.i ORDER BY m.i) AS left FROM made AS m JOIN vpk.keys AS k ON k.id = m.id;
SELECT vpk_purge(now() - interval '5 days', max_rows => 0), vpk_purge(now() - interval '5 days', 100);
SELECT array_agg(m.i ORDER BY m.i) AS left FROM made AS m JOIN vpk.keys AS k ON k.id = m.id;
SELECT vpk_purge(now(), -1);

-- A foreign key of an application's keeps the keys that its rows refer to, and no others; nor does
-- it keep a call in parts from going on.
CREATE TABLE refers (key_id uuid REFERENCES vpk.keys, "also" uuid REFERENCES vpk.keys ON DELETE CASCADE);
CREATE TABLE parts (n integer, "the key" uuid REFERENCES vpk.keys) PARTITION BY LIST (n);
CREATE TABLE part PARTITION OF parts FOR VALUES IN (1);
INSERT INTO refers SELECT m.id FROM made AS m WHERE m.i = 3;
INSERT INTO refers SELECT NULL, m.id FROM made AS m WHERE m.i = 2;
INSERT INTO parts SELECT 1, m.id FROM made AS m WHERE m.i = 4;
SELECT vpk_purge(now(), 1), vpk_purge(now(), 1), vpk_purge(now());
SELECT array_agg(m.i ORDER BY m.i) AS left FROM made AS m JOIN vpk.keys AS k ON k.id = m.id;
SELECT count(*) AS cascaded FROM refers WHERE "also" IS NOT NULL;
-- Its table is read as its owner, whatever the extension's may read.
CREATE ROLE regress_vpk_app;
ALTER TABLE refers OWNER TO regress_vpk_app;
ALTER TABLE refers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE FUNCTION planted() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
CREATE POLICY planted ON refers USING (planted());
SELECT vpk_purge(now());
DROP TABLE refers, parts;
DROP FUNCTION planted();
SELECT vpk_purge(now());
-- A trigger of that owner's changes no setting of the call's, and of the session's: the owner's
-- operators are not those that the extension finds.
CREATE SCHEMA regress_vpk_app AUTHORIZATION regress_vpk_app;
CREATE TABLE regress_vpk_app.refers (key_id uuid REFERENCES vpk.keys ON DELETE CASCADE);
ALTER TABLE regress_vpk_app.refers OWNER TO regress_vpk_app;
SET ROLE regress_vpk_app;
SET search_path = regress_vpk_app, pg_catalog;
CREATE TABLE seen (what text);
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_vpk_app.seen VALUES ('an operator as ' || current_user);
    RETURN $1 OPERATOR(pg_catalog.=) $2;
END $$;
CREATE FUNCTION same(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_vpk_app.seen VALUES ('an operator as ' || current_user);
    RETURN $1 OPERATOR(pg_catalog.=) $2;
END $$;
CREATE FUNCTION same(name, name) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_vpk_app.seen VALUES ('an operator as ' || current_user);
    RETURN $1 OPERATOR(pg_catalog.=) $2;
END $$;
CREATE OPERATOR = (FUNCTION = same, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR = (FUNCTION = same, LEFTARG = uuid, RIGHTARG = uuid);
CREATE OPERATOR = (FUNCTION = same, LEFTARG = name, RIGHTARG = name);
CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_vpk_app.seen VALUES ('a trigger as ' || current_user);
    PERFORM set_config('search_path', 'regress_vpk_app, pg_catalog', false);
    RETURN OLD;
END $$;
CREATE TRIGGER planted BEFORE DELETE ON refers FOR EACH ROW EXECUTE FUNCTION planted();
RESET search_path;
RESET ROLE;
SHOW search_path;
SELECT vpk_set_plan('referred to', 'Pro');
SELECT id FROM vpk_create('Referred to', 'referred to') \gset
INSERT INTO regress_vpk_app.refers VALUES (:'id');
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked, vpk_purge(clock_timestamp()) AS purged;
SELECT id FROM vpk_create('Referred to', 'referred to') \gset
INSERT INTO regress_vpk_app.refers VALUES (:'id');
SELECT vpk_delete_account('referred to') AS deleted;
SHOW search_path;
SELECT DISTINCT what FROM regress_vpk_app.seen;
SET client_min_messages = warning;
DROP SCHEMA regress_vpk_app CASCADE;
RESET client_min_messages;
DROP ROLE regress_vpk_app;

-- A purge of some keys reads no more than these, however many there are.
INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at, expires_at)
SELECT gen_random_uuid(), sha256(i::text::bytea), 'purged', 'live', 'many', now(),
       CASE WHEN i <= 3000 THEN now() - interval '1 second' * i END
  FROM generate_series(1, 30000) AS i;
ANALYZE vpk.keys;
-- What counts is its change within a transaction: it holds what the session has not reported yet.
CREATE FUNCTION scanned() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = 'vpk.keys'::regclass);
END
$$;
DO $$
DECLARE
    before CONSTANT bigint := scanned();
BEGIN
    FOR i IN 1..12 LOOP
        PERFORM vpk_purge(now(), 100);
        IF scanned() > before THEN
            RAISE 'call % has read the whole table', i;
        END IF;
    END LOOP;
END
$$;
SELECT count(*) FROM vpk.keys WHERE account = 'purged' AND expires_at IS NOT NULL;
BEGIN;
SELECT scanned() AS before \gset
DROP INDEX vpk.keys_end_idx;
SELECT vpk_purge(now(), 1), scanned() > :before AS without_the_index;
ROLLBACK;
-- In parts of its own.
SELECT vpk_purge(now());
SELECT vpk_delete_account('purged');

-- Events: an admin's call, which leaves the younger ones.
CREATE ROLE regress_vpk_admin;
SELECT vpk_grant_admin('regress_vpk_admin');
INSERT INTO vpk.events (id, occurred_at, event, role, session_role) OVERRIDING SYSTEM VALUE
SELECT -100000 + i, now() - interval '1 day' * (1000 - i), 'old', '', '' FROM generate_series(1, 500) AS i;
SET ROLE regress_vpk_admin;
SELECT vpk_purge_events(now() - interval '364 days');
\echo :SQLSTATE
SELECT vpk_purge_events(now() - interval '900 days', 10), vpk_purge_events(now() - interval '900 days');
SELECT event, details - 'before' AS details, role, (details ->> 'before')::timestamptz < now() AS before FROM vpk.events WHERE event = 'events_purged' ORDER BY id;
SELECT vpk_purge_events(now() - interval '900 days') AS again, vpk_purge_events(now() - interval '365 days', -1);
SET vibepeak_keys.events_kept = '2d';
RESET ROLE;
\set VERBOSITY sqlstate
SET vibepeak_keys.events_kept = '1d';
\set VERBOSITY default
SET vibepeak_keys.events_kept = '2d';
SELECT vpk_purge_events(now() - interval '47 hours');
SELECT vpk_purge_events(now() - interval '3 days');
SELECT count(*) FROM vpk.events WHERE event = 'old';
RESET vibepeak_keys.events_kept;
DROP FUNCTION scanned();
DROP OWNED BY regress_vpk_admin;
DROP ROLE regress_vpk_admin;
