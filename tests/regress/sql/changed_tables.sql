-- G2: what is said where the owner of the tables has changed them: by a verification, by other
-- calls, and by the doctor, which fails at none of it.
CREATE FUNCTION pg_temp.findings(OUT item text, OUT detail text, OUT advice text) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT d.item, d.detail, d.advice FROM vpk_doctor() AS d
     WHERE d.item IN ('tables', 'key_table', 'expiring_keys', 'plan_access') AND d.ok IS NOT TRUE
       AND d.detail NOT LIKE 'not checked%'
$$;
SELECT vpk_set_plan('changed', 'Plus');
SELECT token, id FROM vpk_create('Key', 'changed') \gset
SELECT vpk_verify(:'token');
SELECT lease FROM vpk_task_start(:'token') \gset
SELECT * FROM vpk_doctor() WHERE item = 'tables';

-- A column.
BEGIN;
ALTER TABLE vpk.keys ADD COLUMN copy cidr[];
ALTER TABLE vpk.keys DROP COLUMN allowed_ips;
ALTER TABLE vpk.keys RENAME COLUMN copy TO allowed_ips;
SELECT * FROM pg_temp.findings() \gx
SELECT item, detail, advice FROM vpk_doctor() WHERE detail LIKE 'not checked%';
SELECT vpk_verify(:'token');
ROLLBACK;
BEGIN;
ALTER TABLE vpk.plans ALTER COLUMN api_access DROP DEFAULT, ALTER COLUMN api_access TYPE text;
SELECT * FROM pg_temp.findings() \gx
SELECT vpk_verify(:'token');
ROLLBACK;
-- The table.
BEGIN;
ALTER TABLE vpk.keys RENAME TO kept;
SELECT * FROM pg_temp.findings() \gx
SAVEPOINT missing;
SELECT vpk_verify(:'token');
ROLLBACK TO missing;
CREATE VIEW vpk.keys AS SELECT * FROM vpk.kept;
SELECT * FROM pg_temp.findings() \gx
SELECT vpk_verify(:'token');
ROLLBACK;
-- The index.
BEGIN;
ALTER TABLE vpk.accounts DROP CONSTRAINT accounts_pkey;
CREATE UNIQUE INDEX accounts_pkey ON vpk.accounts (account COLLATE "POSIX");
SELECT * FROM pg_temp.findings() \gx
SELECT vpk_verify(:'token');
ROLLBACK;
BEGIN;
ALTER INDEX vpk.keys_key_hash_excl RENAME TO other;
SELECT * FROM pg_temp.findings() \gx
SELECT vpk_verify(:'token');
ROLLBACK;
-- The leases of an account, which are counted for a body that tells of them.
BEGIN;
ALTER TABLE vpk.task_leases ALTER COLUMN expires_at TYPE timestamp;
SELECT vpk_verify(:'token');
SAVEPOINT changed;
SELECT vpk_error('CONCURRENCY_LIMIT_EXCEEDED', 'r', 'changed');
ROLLBACK TO changed;
SELECT vpk_task_extend(:'lease', '1 hour');
ROLLBACK;
-- Columns that no verification reads do not matter to it. Other calls fail where they use them.
BEGIN;
ALTER TABLE vpk.keys DROP COLUMN rotated_at;
ALTER TABLE vpk.events ALTER COLUMN details DROP DEFAULT, ALTER COLUMN details TYPE json;
ALTER TABLE vpk.key_usage RENAME TO used;
SELECT * FROM pg_temp.findings() \gx
SELECT vpk_verify(:'token');
\set VERBOSITY sqlstate
SELECT count(*) FROM vpk_rotate(:'id');
\set VERBOSITY default
ROLLBACK;
-- So do those that record an event by the sequence of the events.
BEGIN;
ALTER SEQUENCE vpk.events_id_seq RENAME TO numbers;
SELECT * FROM pg_temp.findings() \gx
SELECT item, detail FROM vpk_doctor() WHERE detail LIKE 'not checked%';
SELECT vpk_verify(:'token');
ROLLBACK;
-- The caller's settings do not matter.
SET quote_all_identifiers = on;
SET search_path = pg_temp, public;
SELECT * FROM pg_temp.findings();
RESET quote_all_identifiers;
RESET search_path;

-- Nothing is left of it.
SELECT vpk_verify(:'token');
SELECT * FROM pg_temp.findings();
-- A column at the end, and another index, are nothing to any call.
BEGIN;
ALTER TABLE vpk.keys ADD COLUMN team text;
CREATE INDEX keys_team_idx ON vpk.keys (team);
SELECT vpk_verify(:'token');
SELECT * FROM pg_temp.findings();
ROLLBACK;
SELECT vpk_delete_account('changed');
