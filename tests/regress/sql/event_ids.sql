-- A sequence that is behind the events, as after a copy by logical replication: every change
-- succeeds, and none is without its event.

CREATE FUNCTION put_behind() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    last bigint := (SELECT max(id) FROM vpk.events);
BEGIN
    INSERT INTO vpk.events (id, event, role, session_role) OVERRIDING SYSTEM VALUE
    SELECT last + i, 'copied', '', '' FROM generate_series(1, 200) AS i;
    PERFORM setval('vpk.events_id_seq', last);
END
$$;
-- What happened since the copied rows.
CREATE VIEW happened AS
SELECT e.event, e.account, count(*), count(DISTINCT e.key_id) AS keys, e.role = current_user AS by_role,
       e.details - 'successor' - 'rotated_from' - 'revoked_at' AS details
  FROM vpk.events AS e
 WHERE e.id > (SELECT max(id) FROM vpk.events WHERE event = 'copied')
 GROUP BY 1, 2, 5, 6;

SELECT put_behind(), vpk_set_plan('behind', 'Pro');
SELECT * FROM happened ORDER BY event;
-- It is moved once, and only as far as need be.
SELECT last_value > (SELECT max(id) FROM vpk.events WHERE event = 'copied') AS moved FROM vpk.events_id_seq;
SELECT last_value AS moved_to FROM vpk.events_id_seq \gset
SELECT vpk_set_plan('behind', 'Plus');
SELECT last_value - :moved_to AS further FROM vpk.events_id_seq;

SELECT put_behind();
SELECT ok, detail, advice FROM vpk_doctor() WHERE item = 'event_ids' AND detail !~ 'at \d+, the last event at \d+';
SELECT ok, regexp_replace(detail, '\d+', 'N', 'g') AS detail, advice FROM vpk_doctor() WHERE item = 'event_ids' \gx
SELECT id FROM vpk_create('one', 'behind') \gset
SELECT * FROM happened ORDER BY event;
SELECT ok FROM vpk_doctor() WHERE item = 'event_ids';

SELECT put_behind();
SELECT name FROM vpk_update(:'id', name => 'other');
SELECT * FROM happened ORDER BY event;
SELECT put_behind();
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
SELECT put_behind();
SELECT vpk_enable(:'id');
SELECT * FROM happened ORDER BY event;
SELECT put_behind();
SELECT id AS successor FROM vpk_rotate(:'id') \gset
SELECT * FROM happened ORDER BY event;
SELECT put_behind();
SELECT vpk_revoke(:'successor', 'a reason') IS NOT NULL AS revoked;
SELECT * FROM happened ORDER BY event;

-- Many at once, also where only the first ones find their ids taken.
SELECT put_behind();
SELECT count(*) FROM generate_series(1, 300) AS i, vpk_create('many ' || i, 'behind');
SELECT * FROM happened ORDER BY event;
SELECT put_behind();
SELECT vpk_revoke_account('behind', 'all');
SELECT * FROM happened ORDER BY event;
SELECT put_behind();
SELECT vpk_purge(clock_timestamp());
SELECT * FROM happened ORDER BY event;
SELECT count(*) FROM generate_series(1, 300) AS i, vpk_create('many ' || i, 'behind');
SELECT put_behind();
SELECT setval('vpk.events_id_seq', max(id) - 100) < max(id) AS behind FROM vpk.events;
SELECT max(id) AS last FROM vpk.events \gset
SELECT vpk_delete_account('behind');
SELECT event, account, count(*), count(DISTINCT key_id) AS keys FROM vpk.events WHERE id > :last GROUP BY 1, 2 ORDER BY 1;

-- What is undone has no event, and the sequence stays where it is.
SELECT put_behind();
BEGIN;
SELECT vpk_set_plan('behind', 'Pro');
ROLLBACK;
SELECT * FROM happened ORDER BY event;
SELECT ok FROM vpk_doctor() WHERE item = 'event_ids';
-- In every isolation level.
SELECT put_behind();
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM vpk.events WHERE id < 0;
SELECT vpk_set_plan('behind', 'Pro');
COMMIT;
SELECT put_behind();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM vpk.events WHERE id < 0;
SELECT count(*) FROM generate_series(1, 3) AS i, vpk_create('k' || i, 'behind');
COMMIT;
SELECT * FROM happened ORDER BY event;

-- An event that a trigger does not want is not written again.
CREATE FUNCTION unwanted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'not wanted: %', NEW.event;
    RETURN NULL;
END
$$;
CREATE TRIGGER unwanted BEFORE INSERT ON vpk.events FOR EACH ROW EXECUTE FUNCTION unwanted();
SELECT vpk_set_plan('behind', 'Plus');
SELECT vpk_revoke_account('behind');
SELECT id IS NOT NULL AS issued FROM vpk_create('unrecorded', 'behind');
DROP TRIGGER unwanted ON vpk.events;

DELETE FROM vpk.events WHERE event = 'copied';
SELECT vpk_delete_account('behind');
DROP VIEW happened;
DROP FUNCTION put_behind(), unwanted();
