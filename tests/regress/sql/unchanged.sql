-- What changes nothing leaves nothing: no event, no new row, no dead one.

SELECT vpk_set_plan('still', 'Pro');
SELECT id FROM vpk_create('Key', 'still', scopes => '{a,b}', allowed_ips => '{192.0.2.0/24}', metadata => '{"n": 1.0}',
                          expires_at => '2999-01-01 00:00+00') \gset
SELECT id AS open_id FROM vpk_create('Open', 'still') \gset
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
SELECT vpk_revoke(:'open_id') IS NOT NULL AS revoked;
CREATE TEMPORARY TABLE before AS
SELECT (SELECT max(e.id) FROM vpk.events AS e) AS event, (SELECT s.last_value FROM vpk.events_id_seq AS s) AS sequence,
       (SELECT a.ctid || ' ' || a.xmin FROM vpk.accounts AS a WHERE a.account = 'still') AS account,
       (SELECT string_agg(k.ctid || ' ' || k.xmin, ', ' ORDER BY k.id) FROM vpk.keys AS k WHERE k.account = 'still') AS keys;
SELECT vpk_set_plan('still', 'Pro');
SELECT name FROM vpk_update(:'id', 'Key', '2999-01-01 00:00+00', '{a,b}', '{192.0.2.0/24}', '{"n": 1.0}');
SELECT name FROM vpk_update(:'id');
SELECT name FROM vpk_update(:'open_id', expires_at => 'infinity', allowed_ips => '{}');
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
SELECT vpk_enable(:'open_id');
SELECT vpk_revoke(:'open_id') IS NOT NULL AS revoked;
SELECT vpk_purge('2001-01-01 00:00+00'), vpk_purge(clock_timestamp(), 0), vpk_purge_events('2001-01-01 00:00+00');
SELECT vpk_rename_account('still', 'still');
SELECT b.event = (SELECT max(e.id) FROM vpk.events AS e) AS events, b.sequence = (SELECT s.last_value FROM vpk.events_id_seq AS s) AS sequence,
       b.account = (SELECT a.ctid || ' ' || a.xmin FROM vpk.accounts AS a WHERE a.account = 'still') AS account,
       b.keys = (SELECT string_agg(k.ctid || ' ' || k.xmin, ', ' ORDER BY k.id) FROM vpk.keys AS k WHERE k.account = 'still') AS keys
  FROM before AS b;
-- Nor does a transaction take an id for it.
BEGIN;
SELECT vpk_set_plan('still', 'Pro');
SELECT name FROM vpk_update(:'id', 'Key');
SELECT pg_current_xact_id_if_assigned() IS NULL AS without_id;
COMMIT;
-- An event names what changes, and nothing else.
SELECT name FROM vpk_update(:'id', 'Key', 'infinity', '{a,b}', '{192.0.2.0/24}', '{"n": 1.00}');
SELECT details FROM vpk.events WHERE key_id = :'id' AND event = 'key_updated';
-- A plan that is gone is an error, also where the account is on it.
BEGIN;
UPDATE vpk.accounts SET plan = 'Gone' WHERE account = 'still';
SELECT vpk_set_plan('still', 'Gone');
ROLLBACK;
SELECT vpk_delete_account('still');
