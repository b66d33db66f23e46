-- vpk_disable and vpk_enable: off for now, and on again.

SELECT vpk_set_plan('acme', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme') \gset

SELECT clock_timestamp() AS before \gset
SELECT vpk_disable(:'id') AS disabled_at \gset
SELECT :'disabled_at'::timestamptz BETWEEN :'before' AND clock_timestamp() AS instant;
SELECT vpk_verify(:'token');
SELECT state FROM vpk_list(id => :'id');
-- Again: since when it has been.
SELECT vpk_disable(:'id') = :'disabled_at' AS same;

SELECT vpk_enable(:'id');
SELECT vpk_verify(:'token');
SELECT state FROM vpk_list(id => :'id');
SELECT vpk_enable(:'id');
SELECT vpk_disable(:'id') > :'disabled_at' AS later;
SELECT vpk_enable(:'id');

-- A trigger that keeps it from being disabled.
CREATE FUNCTION vetoed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER vetoed BEFORE UPDATE ON vpk.keys FOR EACH ROW EXECUTE FUNCTION vetoed();
SELECT vpk_disable(:'id');
\echo :SQLSTATE
DROP TRIGGER vetoed ON vpk.keys;
DROP FUNCTION vetoed();
SELECT vpk_verify(:'token');

-- What made a difference is an event, and nothing else.
SELECT event FROM vpk.events WHERE key_id = :'id' ORDER BY id;

-- A revoked or expired key stays so.
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
UPDATE vpk.keys SET expires_at = now() WHERE id = :'id';
SELECT vpk_enable(:'id');
SELECT vpk_verify(:'token');
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT vpk_enable(:'id');
SELECT vpk_verify(:'token');

-- Unknown ids and null.
SELECT vpk_disable('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
SELECT vpk_enable('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT vpk_disable(NULL);
SELECT vpk_enable(NULL);
\set VERBOSITY default

-- Clean up.
SELECT vpk_delete_account('acme');
