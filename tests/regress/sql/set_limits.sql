-- Rate limits and quotas: how they are set and shown, and what is refused.

SELECT vpk_set_plan('acme', 'Plus');
SELECT id, token FROM vpk_create('Key', 'acme') \gset

-- As a newcomer types it.
SELECT vpk_set_rate_limit('minute', 100, '1 minute', plan => 'Plus');
SELECT vpk_set_rate_limit('second', 20, '1 second', plan => 'Plus');
SELECT vpk_set_quota(10000, 'month', plan => 'Plus');
SELECT * FROM vpk.rate_limits ORDER BY name, policy;
SELECT * FROM vpk.quotas ORDER BY name, meter;
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Plus';

-- For an account and a key.
SELECT vpk_set_rate_limit('minute', 200, '60 s', burst => 5, account => 'acme');
SELECT vpk_set_rate_limit('day', 1000, '1 day', id => :'id');
SELECT vpk_set_quota(5000000, 'day', 'tokens', account => 'acme', time_zone => 'america/SAO_paulo', anchor => '2026-01-31', warn_at => 0.8);
SELECT vpk_set_quota(0, 'total', id => :'id', time_zone => 'utc');
SELECT subject, CASE subject WHEN 'key' THEN 'id' ELSE name END AS name, policy, amount, period, burst FROM vpk.rate_limits ORDER BY subject COLLATE "C", policy;
SELECT subject, CASE subject WHEN 'key' THEN 'id' ELSE name END AS name, meter, period, amount, time_zone, anchor, warn_at FROM vpk.quotas ORDER BY subject COLLATE "C", meter;
SELECT rate_limits, quotas, quota_grants FROM vpk.accounts WHERE account = 'acme';
SELECT rate_limits, quotas FROM vpk.keys WHERE id = :'id';

-- One in the place of another, removed, and what was not there.
SELECT vpk_set_rate_limit('minute', 50, '1 minute', plan => 'Plus');
SELECT vpk_set_quota(20000, plan => 'Plus');
SELECT vpk_set_rate_limit('second', NULL, NULL, plan => 'Plus');
SELECT vpk_set_rate_limit('second', NULL, '1 second', plan => 'Plus');
SELECT vpk_set_quota(NULL, 'total', id => :'id');
SELECT vpk_set_quota(NULL, 'total', id => :'id');
-- As it is already.
SELECT vpk_set_rate_limit('minute', 50, '60 seconds', 50, 'Plus');
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Plus';
SELECT rate_limits, quotas FROM vpk.keys WHERE id = :'id';

-- Each change is one event.
SELECT event, key_id = :'id' AS key, account, details FROM vpk.events WHERE event ~ '^(rate_limit|quota)_(set|removed)' AND details <> '{}' ORDER BY id;

-- Written to the table, in one spelling.
UPDATE vpk.plans SET rate_limits = ' second=020/1s ,minute=100/60s+100', quotas = 'calls=007/day  ' WHERE plan = 'Plus';
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Plus';
UPDATE vpk.plans SET rate_limits = '', quotas = ' ' WHERE plan = 'Plus';
SELECT rate_limits IS NULL AS no_rate_limits, quotas IS NULL AS no_quotas FROM vpk.plans WHERE plan = 'Plus';
INSERT INTO vpk.plans (plan, rate_limits, quotas) VALUES ('Limited', 'a=1/3600s', 'calls=1/year');
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Limited';
UPDATE vpk.accounts SET quotas = 'calls=1/day in UTC warn 50%' WHERE account = 'acme';
SELECT quotas FROM vpk.accounts WHERE account = 'acme';

-- What is refused there.
\set SHOW_CONTEXT never
UPDATE vpk.plans SET rate_limits = 'minute=100' WHERE plan = 'Plus';
\echo :SQLSTATE
UPDATE vpk.plans SET rate_limits = 'a=1/1s, a=2/1s' WHERE plan = 'Plus';
UPDATE vpk.plans SET rate_limits = 'a=1/1s, b=1/1s, c=1/1s, d=1/1s, e=1/1s' WHERE plan = 'Plus';
UPDATE vpk.plans SET rate_limits = 'a=1/32d' WHERE plan = 'Plus';
INSERT INTO vpk.plans (plan, quotas) VALUES ('Bad', 'calls=1/decade');
\echo :SQLSTATE
UPDATE vpk.plans SET quotas = 'calls=1/day, calls=2/day' WHERE plan = 'Plus';
UPDATE vpk.accounts SET rate_limits = 'vpk_live_12345678' WHERE account = 'acme';
\set SHOW_CONTEXT errors
-- Another column can be changed beside a text that cannot be read; a restored row keeps it.
BEGIN;
INSERT INTO vpk.plans (plan, rank, pristine, rate_limits, quotas) VALUES ('Later', 99, false, 'a=1/1fortnight', 'calls=1/aeon');
UPDATE vpk.plans SET api_access = true WHERE plan = 'Later';
SELECT vpk_set_plan('acme', 'Later');
SELECT vpk_verify(:'token');
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Later';
SELECT count(*) FROM vpk.rate_limits WHERE name = 'Later';
SELECT count(*) FROM vpk.quotas WHERE name = 'Later';
SELECT vpk_set_rate_limit('a', 1, '1 s', plan => 'Later');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
-- Over a row of a fresh database, and an account of that name.
INSERT INTO vpk.plans (plan, api_access, concurrent_tasks, rank, pristine, rate_limits, quotas) VALUES ('Free', false, 0, 10, false, 'a=1/1fortnight', 'calls=1/aeon');
INSERT INTO vpk.accounts (account, plan, pristine, rate_limits, quotas, quota_grants) VALUES ('default', 'Free', false, 'a=1/1fortnight', 'calls=1/aeon', 'anything');
SELECT rate_limits, quotas, pristine FROM vpk.plans WHERE plan = 'Free';
SELECT plan, rate_limits, quotas, quota_grants, pristine FROM vpk.accounts WHERE account = 'default';
SELECT vpk_rename_account('default', 'renamed') IS NULL AS unknown;
SELECT plan, rate_limits, quotas, quota_grants, pristine FROM vpk.accounts WHERE account = 'renamed';
ROLLBACK;

-- What is refused by the calls.
SELECT vpk_set_rate_limit('minute', 100, '1 minute');
\echo :SQLSTATE
SELECT vpk_set_rate_limit('minute', 100, '1 minute', plan => 'Plus', account => 'acme');
SELECT vpk_set_quota(1, id => :'id', plan => 'Plus');
\echo :SQLSTATE
SELECT vpk_set_rate_limit('minute', 100, '1 minute', plan => 'plus');
SELECT vpk_set_rate_limit('minute', NULL, NULL, account => 'nobody');
\echo :SQLSTATE
SELECT vpk_reset_rate_limit('acme', policy => 'minutes');
SELECT vpk_reset_rate_limit(id => :'id', policy => 'minute');
SELECT vpk_reset_rate_limit('acme', policy => 'a b');
\echo :SQLSTATE
SELECT vpk_set_quota(1, id => '00000000-0000-0000-0000-000000000000');
SELECT vpk_set_rate_limit('a b', 100, '1 minute', plan => 'Plus');
SELECT vpk_set_rate_limit('vpk_live_12345678901234567890123456789012345', 100, '1 minute', plan => 'Plus');
SELECT vpk_set_rate_limit(NULL, 100, '1 minute', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 100, NULL, plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 100, '1 month', plan => 'Plus');
\echo :SQLSTATE
SELECT vpk_set_rate_limit('minute', 100, '1 year', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 100, '1500 ms', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 100, '0', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 100, '32 days', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 0, '1 minute', plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 1, '1 minute', 0, plan => 'Plus');
SELECT vpk_set_rate_limit('minute', 1, '1 day', 367, plan => 'Plus');
SELECT vpk_set_rate_limit('b', 1, '1 s', plan => 'Limited'), vpk_set_rate_limit('c', 1, '1 s', plan => 'Limited'), vpk_set_rate_limit('d', 1, '1 s', plan => 'Limited');
SELECT vpk_set_rate_limit('e', 1, '1 s', plan => 'Limited');
\echo :SQLSTATE
SELECT vpk_set_quota(-1, plan => 'Plus');
SELECT vpk_set_quota(1, 'decade', plan => 'Plus');
SELECT vpk_set_quota(1, NULL, plan => 'Plus');
SELECT vpk_set_quota(1, meter => 'a,b', plan => 'Plus');
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => 'Europe/Atlantis');
\echo :SQLSTATE
-- The server takes it for three hours west of Greenwich.
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => 'UTC+3');
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => '');
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => 'A, B');
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => repeat('x', 1000));
SELECT vpk_set_quota(1, plan => 'Plus', time_zone => '../../../etc/passwd');
SELECT vpk_set_quota(1, plan => 'Plus', anchor => 'infinity');
SELECT vpk_set_quota(1, plan => 'Plus', anchor => '0001-01-01 BC');
SELECT vpk_set_quota(1, plan => 'Plus', warn_at => 0.805);
SELECT vpk_set_quota(1, plan => 'Plus', warn_at => 0);
SELECT vpk_set_quota(1, plan => 'Plus', warn_at => 'NaN');
SELECT vpk_set_quota(1, 'day', plan => 'Limited'), vpk_set_quota(1, 'hour', plan => 'Limited'), vpk_set_quota(9223372036854775807, 'total', plan => 'Limited', time_zone => 'Etc/GMT+3', warn_at => 0.01, anchor => '9999-12-31');
SELECT vpk_set_quota(1, 'week', plan => 'Limited');
\echo :SQLSTATE
SELECT quotas FROM vpk.plans WHERE plan = 'Limited';
-- Nothing of it was written.
SELECT rate_limits, quotas FROM vpk.plans WHERE plan = 'Plus';

-- A successor takes the limits of its key over, and an account keeps its own under another name.
SELECT vpk_set_quota(5, id => :'id');
SELECT name FROM vpk_rotate(:'id', '1 day');
SELECT k.rate_limits, k.quotas FROM vpk_list('acme') AS l JOIN vpk.keys AS k ON k.id = l.id;
UPDATE vpk.accounts SET quota_grants = 'anything' WHERE account = 'acme';
SELECT vpk_rename_account('acme', 'emca');
SELECT rate_limits, quotas, quota_grants, pristine FROM vpk.accounts WHERE account = 'emca';
SELECT vpk_rename_account('emca', 'acme');

-- An admin sets and reads them; a verifier does not.
CREATE ROLE regress_vpk_admin;
CREATE ROLE regress_vpk_verifier;
SELECT vpk_grant_admin('regress_vpk_admin'), vpk_grant_verifier('regress_vpk_verifier');
SET ROLE regress_vpk_admin;
SELECT vpk_set_rate_limit('minute', 7, '1 minute', account => 'acme');
UPDATE vpk.plans SET rate_limits = 'hour=1/1h', quotas = 'calls=9/week' WHERE plan = 'Plus';
INSERT INTO vpk.plans (plan, rate_limits, quotas) VALUES ('Admin''s', 'hour=1/1h', 'calls=9/week');
SELECT subject, policy, amount FROM vpk.rate_limits WHERE amount < 9 AND subject <> 'plan' ORDER BY 1, 2;
SELECT subject, name, amount FROM vpk.quotas WHERE amount = 9 ORDER BY name;
SELECT vpk.checked_quotas('calls=1/day');
SET ROLE regress_vpk_verifier;
SELECT vpk_set_rate_limit('minute', 7, '1 minute', account => 'acme');
SELECT vpk_set_quota(7, account => 'acme');
SELECT count(*) FROM vpk.rate_limits;
RESET ROLE;
SELECT item, ok, detail FROM vpk_doctor() WHERE item IN ('privileges', 'limits');
DROP OWNED BY regress_vpk_admin, regress_vpk_verifier;
DROP ROLE regress_vpk_admin, regress_vpk_verifier;

-- A limit that cannot be applied as it is written, since the owner of the tables wrote it.
UPDATE vpk.keys SET rate_limits = 'minute', quotas = 'calls=1/day in Europe/Atlantis' WHERE id = :'id';
ALTER TABLE vpk.accounts DISABLE TRIGGER accounts_before_write;
UPDATE vpk.accounts SET quotas = 'calls' WHERE account = 'acme';
SELECT item, ok, replace(detail, :'id', 'ID') AS detail, advice FROM vpk_doctor() WHERE item = 'limits' \gx
SELECT vpk_verify(:'token');
UPDATE vpk.accounts SET quotas = NULL WHERE account = 'acme';
ALTER TABLE vpk.accounts ENABLE TRIGGER accounts_before_write;
SELECT vpk_set_rate_limit('minute', 1, '1 s', id => :'id');
UPDATE vpk.keys SET rate_limits = '', quotas = NULL WHERE id = :'id';
SELECT vpk_set_rate_limit('minute', 1, '1 s', id => :'id');
SELECT item, ok, detail FROM vpk_doctor() WHERE item = 'limits';

-- Clean up.
SELECT vpk_delete_account('acme');
UPDATE vpk.plans SET rate_limits = NULL, quotas = NULL WHERE plan = 'Plus';
DELETE FROM vpk.plans WHERE plan IN ('Limited', 'Admin''s');
DELETE FROM vpk.removed_defaults;
SELECT count(*) FROM vpk.rate_limits;
SELECT count(*) FROM vpk.quotas;
