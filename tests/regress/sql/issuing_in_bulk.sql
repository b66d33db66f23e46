-- Many keys from one statement. From its second call on, a statement inserts straight into the
-- tables, which stay open until it ends: nothing of what an INSERT does may be missing.
-- The context of an error is a statement of the extension, whose text may change.
\set SHOW_CONTEXT never

SELECT vpk_set_plan('bulk', 'Pro');
SELECT vpk_set_plan('other', 'Pro');
CREATE ROLE bulk_admin;
GRANT USAGE ON SCHEMA vpk TO bulk_admin;
SELECT vpk_grant_admin('bulk_admin');
CREATE FUNCTION state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE VIEW made AS
SELECT k.name, k.account, e.event, e.role, e.session_role, e.details
  FROM vpk.keys AS k LEFT JOIN vpk.events AS e ON e.key_id = k.id
 WHERE k.account IN ('bulk', 'other');

-- The first key of a statement is the executor's; after the second, the tables are open.
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH keys;
SELECT state_of('ALTER TABLE vpk.keys ALTER metadata SET STATISTICS 100');
FETCH keys;
SELECT state_of('ALTER TABLE vpk.keys ALTER metadata SET STATISTICS 100');
FETCH keys;
CLOSE keys;
SELECT state_of('ALTER TABLE vpk.keys ALTER metadata SET STATISTICS 100');
ROLLBACK;

-- Every key verifies at once, and is stored with its event as a single one is.
SET ROLE bulk_admin;
CREATE TEMPORARY TABLE tokens AS
SELECT i, c.*, vpk_verify(c.token) AS status
  FROM generate_series(1, 1000) AS i,
       vpk_create('key ' || i, 'bulk', 'test', now() + interval '1 day', '{a,b}', '{10.0.0.0/8}', '{"n": 1}') AS c;
RESET ROLE;
SELECT count(*), count(DISTINCT t.id), count(DISTINCT t.token), min(t.status::text), max(t.status::text)
  FROM tokens AS t;
SELECT count(*)
  FROM tokens AS t JOIN vpk.keys AS k
    ON k.id = t.id AND k.key_hash = sha256(t.token::bytea) AND k.name = 'key ' || t.i
   AND k.prefix = left(t.token, 8) AND k.hint = left(t.token, 13) AND k.created_at = t.created_at
   AND k.expires_at = t.expires_at;
SELECT account, environment, scopes, allowed_ips, metadata, disabled_at, revoked_at, revoke_reason,
       rotated_from, rotated_at, count(*)
  FROM vpk.keys WHERE account = 'bulk' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
SELECT e.event, e.account, e.role, e.session_role = session_user AS session_role, e.details, count(*)
  FROM tokens AS t JOIN vpk.events AS e ON e.key_id = t.id
   AND e.occurred_at BETWEEN t.created_at AND t.created_at + interval '1 minute'
 GROUP BY 1, 2, 3, 4, 5;
SELECT count(DISTINCT e.id) = 1000 AS different, max(e.id) - min(e.id) AS between
  FROM tokens AS t JOIN vpk.events AS e ON e.key_id = t.id;
-- Also in a list of columns, and where the rows are not asked for one after the other.
SELECT count((k.c).token) FROM (SELECT vpk_create('listed', 'bulk') AS c FROM generate_series(1, 5)) AS k;
SELECT count(DISTINCT a.token || b.token)
  FROM generate_series(1, 5) AS i, vpk_create('a' || i, 'bulk') AS a, vpk_create('b' || a.name, 'bulk') AS b;
SELECT vpk_delete_account('bulk'), vpk_set_plan('bulk', 'Pro');

-- Accounts are looked at each time they change, also within the statement.
SELECT a, count(c.id) FROM unnest('{bulk,bulk,other,bulk,other,other}'::text[]) AS a, vpk_create('k', a) AS c
 GROUP BY a ORDER BY a;
SELECT state_of($$SELECT c.id FROM unnest('{bulk,bulk,other,nobody}'::text[]) AS a, vpk_create('k', a) AS c$$);
SELECT state_of($$
SELECT c.id
  FROM generate_series(1, 5) AS i,
       LATERAL (SELECT CASE WHEN i = 4 THEN vpk_delete_account('bulk') END AS gone OFFSET 0) AS d,
       vpk_create('k' || coalesce(d.gone, 0), 'bulk') AS c$$);
SELECT account, count(*) FROM made GROUP BY account ORDER BY account;
-- Also those that the statement itself takes away.
BEGIN;
DELETE FROM vpk.accounts WHERE account IN ('bulk', 'other');
INSERT INTO vpk.accounts (account, plan, pristine)
SELECT a, 'Pro', false FROM unnest('{first,second,bulk,last}'::text[]) AS a;
WITH gone AS (
    DELETE FROM vpk.accounts WHERE account IN ('first', 'second', 'bulk', 'last')
    RETURNING account, (SELECT c.name FROM vpk_create('with ' || account, 'bulk') AS c))
SELECT * FROM gone;
ROLLBACK;
-- So is whether the transaction may write.
BEGIN;
SELECT c.id
  FROM generate_series(1, 5) AS i,
       LATERAL (SELECT CASE WHEN i = 4 THEN set_config('transaction_read_only', 'on', true) END AS x OFFSET 0) AS d,
       vpk_create('k' || coalesce(d.x, ''), 'bulk') AS c;
ROLLBACK;

-- Bad arguments end the statement, whichever row they are in.
SELECT state_of($$SELECT c.id FROM unnest('{a,b,"",d}'::text[]) AS n, vpk_create(n, 'bulk') AS c$$);

-- Savepoints, with one statement that goes on.
SELECT vpk_delete_account('bulk'), vpk_set_plan('bulk', 'Pro');
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH 2 FROM keys;
SAVEPOINT s;
FETCH 2 FROM keys;
ROLLBACK TO s;
FETCH 2 FROM keys;
SAVEPOINT t;
FETCH 1 FROM keys;
RELEASE t;
FETCH 1 FROM keys;
COMMIT;
SELECT name, event FROM made WHERE account = 'bulk' ORDER BY name;
-- What a savepoint did to the tables is undone for the statement that goes on, too.
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('l' || i, 'bulk') AS c;
FETCH keys;
SAVEPOINT s;
ALTER TABLE vpk.keys ADD COLUMN team text DEFAULT 'undone';
ALTER TABLE vpk.keys DROP CONSTRAINT keys_environment_check;
DROP INDEX vpk.keys_account_idx;
CREATE INDEX undone ON vpk.keys (name);
FETCH 2 FROM keys;
ROLLBACK TO s;
FETCH 2 FROM keys;
CLOSE keys;
ALTER TABLE vpk.keys ADD COLUMN later text;
SET LOCAL enable_seqscan = off;
SELECT name, later FROM vpk.keys WHERE account = 'bulk' AND name LIKE 'l%' ORDER BY name;
ROLLBACK;
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('l' || i, 'bulk') AS c;
SAVEPOINT s;
DROP INDEX vpk.keys_account_idx;
FETCH 3 FROM keys;
ROLLBACK TO s;
FETCH 2 FROM keys;
CLOSE keys;
SET LOCAL enable_seqscan = off;
SELECT name FROM vpk.keys WHERE account = 'bulk' AND name LIKE 'l%' ORDER BY name;
ROLLBACK;
-- A block that catches the error of its statement goes on with the next.
DO $$
BEGIN
    FOR n IN 1 .. 3 LOOP
        BEGIN
            PERFORM c.id FROM generate_series(1, 4) AS i, vpk_create(CASE WHEN i < 4 THEN 'undone' ELSE '' END, 'bulk') AS c;
        EXCEPTION WHEN invalid_parameter_value THEN
            PERFORM c.id FROM generate_series(1, 4) AS i, vpk_create('caught', 'bulk') AS c;
        END;
    END LOOP;
END
$$;
SELECT name, count(*) FROM made WHERE name IN ('undone', 'caught') GROUP BY name;
SELECT vpk_delete_account('bulk'), vpk_set_plan('bulk', 'Pro');

-- An own constraint is checked for every row; key and event come and go together.
ALTER TABLE vpk.keys ADD CONSTRAINT no_third CHECK (name <> 'k3');
SELECT state_of($$SELECT c.id FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c$$);
ALTER TABLE vpk.keys DROP CONSTRAINT no_third;
ALTER TABLE vpk.events ADD CONSTRAINT no_account CHECK (account <> 'other') NOT VALID;
SELECT left(state_of($$SELECT c.id FROM unnest('{bulk,bulk,bulk,other}'::text[]) AS a, vpk_create('k', a) AS c$$), 5);
ALTER TABLE vpk.events DROP CONSTRAINT no_account;
CREATE UNIQUE INDEX one_name ON vpk.keys (account, name) WHERE name LIKE 'n_';
SELECT left(state_of($$SELECT c.id FROM unnest('{n1,n2,n3,n2}'::text[]) AS n, vpk_create(n, 'bulk') AS c$$), 5);
DROP INDEX vpk.one_name;
SELECT count(*) FROM made WHERE account = 'bulk';

-- It sees what was made before in the same statement.
CREATE FUNCTION keys_of(of_account text) RETURNS bigint STABLE LANGUAGE sql
AS 'SELECT count(*) FROM vpk.keys WHERE account = of_account';
SELECT vpk_set_plan('third', 'Pro');
BEGIN;
ALTER TABLE vpk.keys ADD CONSTRAINT few CHECK (keys_of(account) < 3) NOT VALID;
SELECT left(state_of($$SELECT c.id FROM generate_series(1, 4) AS i, vpk_create('k' || i, 'third') AS c$$), 5);
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'third') AS c;
ROLLBACK;
BEGIN;
ALTER TABLE vpk.events ADD COLUMN seen bigint;
ALTER TABLE vpk.events ALTER seen SET DEFAULT keys_of('third');
SELECT count(c.id) FROM generate_series(1, 4) AS i, vpk_create('k' || i, 'third') AS c;
SELECT seen FROM vpk.events WHERE account = 'third' AND event = 'key_created' ORDER BY id;
ROLLBACK;
SELECT vpk_delete_account('third');
DROP FUNCTION keys_of;

-- So are defaults, and columns that were added or dropped.
BEGIN;
ALTER TABLE vpk.keys ADD COLUMN gone text, ADD COLUMN team text NOT NULL DEFAULT 'a team';
ALTER TABLE vpk.keys DROP COLUMN gone;
ALTER TABLE vpk.events ADD COLUMN seen boolean, ALTER details SET DEFAULT '{"default": true}';
SELECT count(c.id) FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT k.team, e.seen, e.details, count(*)
  FROM vpk.keys AS k JOIN vpk.events AS e ON e.key_id = k.id WHERE k.account = 'bulk' GROUP BY 1, 2, 3;
ROLLBACK;
-- So are indexes that come while the statement goes on.
BEGIN;
CREATE TABLE whole (LIKE vpk.keys INCLUDING CONSTRAINTS) PARTITION BY LIST (name);
CREATE INDEX ON whole (hint);
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH 2 FROM keys;
SELECT state_of('CREATE INDEX ON vpk.keys (hint)');
ALTER TABLE whole ATTACH PARTITION vpk.keys DEFAULT;
FETCH 2 FROM keys;
CLOSE keys;
SET LOCAL enable_seqscan = off;
SELECT name FROM vpk.keys WHERE hint > '' AND name LIKE 'k_' ORDER BY name;
ROLLBACK;
-- What only the executor does, it does: generated columns, another type, rules, row security.
BEGIN;
ALTER TABLE vpk.keys ADD COLUMN shouted text GENERATED ALWAYS AS (upper(name)) STORED;
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT shouted FROM vpk.keys WHERE account = 'bulk' ORDER BY shouted;
ROLLBACK;
BEGIN;
TRUNCATE vpk.events;
ALTER TABLE vpk.events ALTER account TYPE varchar(4);
SELECT a FROM unnest('{bulk,bulk,bulk,other}'::text[]) AS a, vpk_create('k', a);
ROLLBACK;
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH 2 FROM keys;
CREATE RULE nothing AS ON INSERT TO vpk.keys DO INSTEAD NOTHING;
FETCH 2 FROM keys;
ROLLBACK;
BEGIN;
ALTER TABLE vpk.keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY short ON vpk.keys USING (true) WITH CHECK (name <> 'k3');
CREATE ROLE bulk_owner;
GRANT ALL ON SCHEMA vpk TO bulk_owner;
GRANT ALL ON ALL TABLES IN SCHEMA vpk TO bulk_owner;
GRANT EXECUTE ON FUNCTION vpk.event_actor() TO bulk_owner;
GRANT USAGE ON SEQUENCE vpk.events_id_seq TO bulk_owner;
ALTER FUNCTION vpk_create OWNER TO bulk_owner;
SELECT c.id FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c;
ROLLBACK;

-- An owner who may not insert is refused.
BEGIN;
CREATE ROLE bulk_owner;
GRANT ALL ON SCHEMA vpk TO bulk_owner;
GRANT ALL ON ALL TABLES IN SCHEMA vpk TO bulk_owner;
GRANT EXECUTE ON FUNCTION vpk.event_actor() TO bulk_owner;
GRANT USAGE ON SEQUENCE vpk.events_id_seq TO bulk_owner;
ALTER FUNCTION vpk_create OWNER TO bulk_owner;
SELECT count(c.id) FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c;
REVOKE INSERT ON vpk.events FROM bulk_owner;
SELECT c.id FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c;
ROLLBACK;

-- Triggers fire: before and after each row and each statement, on keys and on events.
CREATE TABLE fired (what text, name text, at bigint GENERATED ALWAYS AS IDENTITY);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        INSERT INTO public.fired VALUES (TG_WHEN || ' ' || TG_TABLE_NAME);
        RETURN NULL;
    END IF;
    INSERT INTO public.fired VALUES (TG_WHEN || ' row of ' || TG_TABLE_NAME, to_jsonb(NEW) ->> 'name');
    RETURN NEW;
END
$$;
CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.name := upper(NEW.name);
    RETURN NEW;
END
$$;
CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM vpk.accounts WHERE account = NEW.account;
    RETURN NULL;
END
$$;
CREATE FUNCTION another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.vpk_create(n || ' of ' || NEW.name, NEW.account) FROM generate_series(1, 3) AS n;
    RETURN NULL;
END
$$;
BEGIN;
CREATE TRIGGER a BEFORE INSERT ON vpk.keys FOR EACH STATEMENT EXECUTE FUNCTION fire();
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
BEGIN;
CREATE TRIGGER a AFTER INSERT ON vpk.events FOR EACH ROW EXECUTE FUNCTION fire();
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
BEGIN;
CREATE TRIGGER a BEFORE INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION rename();
CREATE TRIGGER b AFTER INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION fire();
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
-- One that comes while the statement goes on fires from then on.
BEGIN;
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH 2 FROM keys;
CREATE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION fire();
FETCH 2 FROM keys;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
BEGIN;
CREATE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION fire('first');
DECLARE keys CURSOR FOR SELECT c.name FROM generate_series(1, 9) AS i, vpk_create('k' || i, 'bulk') AS c;
FETCH 3 FROM keys;
CREATE OR REPLACE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW WHEN (NEW.name <> 'k4') EXECUTE FUNCTION fire();
FETCH 2 FROM keys;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
-- One that fires later, or only where its condition holds, or never; one of another command.
BEGIN;
CREATE CONSTRAINT TRIGGER a AFTER INSERT ON vpk.keys DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.name <> 'k2') EXECUTE FUNCTION fire();
CREATE TRIGGER b AFTER INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE vpk.keys DISABLE TRIGGER b;
CREATE TRIGGER c BEFORE UPDATE ON vpk.events EXECUTE FUNCTION fire();
SELECT count(c.id), (SELECT count(*) FROM fired) FROM generate_series(1, 4) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
-- Those of both tables fire when both rows are in, row after row, and what they do is seen and
-- undone.
BEGIN;
CREATE FUNCTION complete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.fired
    SELECT TG_TABLE_NAME || ' ' || count(*), k.name
      FROM vpk.keys AS k JOIN vpk.events AS e ON e.key_id = k.id WHERE k.account = 'bulk' GROUP BY k.name;
    RETURN NULL;
END
$$;
CREATE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW EXECUTE FUNCTION complete();
CREATE TRIGGER a AFTER INSERT ON vpk.events FOR EACH ROW EXECUTE FUNCTION complete();
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT what, name, count(*) FROM fired GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;
-- One that takes the account away.
BEGIN;
CREATE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW WHEN (NEW.name = 'k3') EXECUTE FUNCTION take();
SELECT c.id FROM generate_series(1, 5) AS i, vpk_create('k' || i, 'bulk') AS c;
ROLLBACK;
-- One that calls for another key.
BEGIN;
CREATE TRIGGER a AFTER INSERT ON vpk.keys FOR EACH ROW WHEN (NEW.name LIKE 'k_') EXECUTE FUNCTION another();
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT name, event FROM made WHERE account = 'bulk' ORDER BY name;
ROLLBACK;
-- A foreign key, and a constraint that can be deferred, are triggers.
BEGIN;
CREATE TABLE names (name text PRIMARY KEY);
INSERT INTO names VALUES ('k1'), ('k2'), ('k3');
ALTER TABLE vpk.keys ADD FOREIGN KEY (name) REFERENCES names NOT VALID;
SELECT count(c.id) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c;
SELECT state_of($$SELECT c.id FROM generate_series(1, 4) AS i, vpk_create('k' || i, 'bulk') AS c$$);
ROLLBACK;
BEGIN;
DELETE FROM vpk.keys WHERE account = 'other';
ALTER TABLE vpk.keys ADD CONSTRAINT one_name UNIQUE (account, name) DEFERRABLE INITIALLY DEFERRED;
SELECT count(c.id) FROM unnest('{n1,n2,n3,n2}'::text[]) AS n, vpk_create(n, 'bulk') AS c;
SELECT left(state_of('SET CONSTRAINTS ALL IMMEDIATE'), 5);
ROLLBACK;

-- Successors are given out as rows of one, too.
SELECT count(r.token) FROM (SELECT c.id FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'bulk') AS c) AS k,
                           vpk_rotate(k.id) AS r;
SELECT name, event, count(*) FROM made WHERE account = 'bulk' GROUP BY 1, 2 ORDER BY 1, 2;

SELECT vpk_delete_account('bulk'), vpk_delete_account('other');
DROP VIEW made;
DROP TABLE fired, tokens;
DROP FUNCTION fire, rename, take, another, state_of;
DROP OWNED BY bulk_admin;
DROP ROLE bulk_admin;
