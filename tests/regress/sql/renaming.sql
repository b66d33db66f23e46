-- vpk_rename_account: an account keeps its keys, their uses, leases and events.

SELECT vpk_set_plan('old name', 'Plus'), vpk_set_plan('taken', 'Pro');
SELECT id, token FROM vpk_create('Key', 'old name') \gset
SELECT id AS successor, token AS new_token FROM vpk_rotate(:'id', '1 day') \gset
SELECT status, running FROM vpk_task_start(:'token');
SELECT created_at AS created FROM vpk.accounts WHERE account = 'old name' \gset
INSERT INTO vpk.key_usage VALUES (:'id', now(), 7);
SELECT vpk_rename_account('old name', 'new name') AS keys;
SELECT a.account, a.plan, a.created_at = :'created' AS as_old, a.pristine FROM vpk.accounts AS a WHERE a.account IN ('old name', 'new name');
SELECT status, account, plan FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_verify(:'new_token'), (SELECT count(*) FROM vpk_list('new name')) AS listed, (SELECT count(*) FROM vpk_list('old name')) AS before;
SELECT status, running, allowed FROM vpk_task_start(:'token');
SELECT event, account, details - 'successor' - 'rotated_from' - 'expires_at' AS details FROM vpk.events
 WHERE account IN ('old name', 'new name') ORDER BY id;

-- What is refused.
SELECT vpk_rename_account('old name', 'other');
SELECT vpk_rename_account('new name', 'taken');
\echo :SQLSTATE
SELECT vpk_rename_account('new name', E'\u200B');
SELECT vpk_rename_account('new name', NULL);
SELECT vpk_rename_account('new name', 'new name');
-- An UPDATE would leave the keys behind.
UPDATE vpk.accounts SET account = 'by hand' WHERE account = 'new name';
\echo :SQLSTATE
UPDATE vpk.accounts SET plan = 'Pro' WHERE account = 'new name';
SELECT vpk_verify(:'token');

-- A foreign key that would take an application's rows along with the old row of the account.
CREATE TABLE orders (account text REFERENCES vpk.accounts ON DELETE NO ACTION DEFERRABLE);
INSERT INTO orders VALUES ('new name');
\set SHOW_CONTEXT never
SELECT vpk_rename_account('new name', 'other');
\echo :SQLSTATE
\set SHOW_CONTEXT errors
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT vpk_rename_account('new name', 'other');
UPDATE orders SET account = 'other';
SELECT vpk_rename_account('other', 'new name');
UPDATE orders SET account = 'new name';
COMMIT;
ALTER TABLE orders DROP CONSTRAINT orders_account_fkey;
ALTER TABLE orders ADD CONSTRAINT of_account FOREIGN KEY (account) REFERENCES vpk.accounts ON DELETE CASCADE ON UPDATE CASCADE;
SELECT vpk_rename_account('new name', 'other');
\echo :SQLSTATE
SELECT * FROM orders;
DROP TABLE orders;

-- The account that the extension makes: a dump says that it is gone.
BEGIN;
SELECT vpk_rename_account('default', 'first');
SELECT relation, name FROM vpk.removed_defaults;
SELECT account, plan, pristine FROM vpk.accounts WHERE account IN ('default', 'first');
SELECT vpk_rename_account('first', 'default');
SELECT relation, name FROM vpk.removed_defaults;
SELECT account, plan, pristine FROM vpk.accounts WHERE account IN ('default', 'first');
ROLLBACK;

-- A deletion leaves neither name.
SELECT vpk_delete_account('new name');
SELECT count(*) FROM vpk.events WHERE account IN ('old name', 'new name') OR details::text LIKE '%old name%';
SELECT vpk_delete_account('taken');

-- vibepeak_keys.actor: who acts through the role, kept with the event.
CREATE ROLE regress_vpk_admin;
SELECT vpk_grant_admin('regress_vpk_admin');
SET ROLE regress_vpk_admin;
SELECT max(id) AS start FROM vpk.events \gset
BEGIN;
SET LOCAL vibepeak_keys.actor = 'jane@example.com';
SELECT vpk_set_plan('acted', 'Pro');
SELECT count(*) FROM generate_series(1, 3) AS i, vpk_create('Key ' || i, 'acted');
COMMIT;
SELECT vpk_set_plan('acted', 'Plus');
SET vibepeak_keys.actor = '  a key vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY in it ';
SELECT vpk_set_plan('acted', 'Free');
SET vibepeak_keys.actor = ' ';
SELECT vpk_revoke_account('acted');
SELECT set_config('vibepeak_keys.actor', repeat('x.', 1000), false) IS NOT NULL AS set;
SELECT vpk_delete_account('acted');
RESET vibepeak_keys.actor;
SELECT event, left(actor, 40) AS actor, length(actor) AS length, role, count(*) FROM vpk.events WHERE id > :start GROUP BY event, actor, role ORDER BY min(id);
SELECT vpk.event_actor();
RESET ROLE;
DROP OWNED BY regress_vpk_admin;
DROP ROLE regress_vpk_admin;
