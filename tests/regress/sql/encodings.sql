-- G2: bytes of every kind, in databases of encodings that are not UTF-8. What is shown is ASCII.

\set database :DBNAME
CREATE DATABASE regress_vpk_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_vpk_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_vpk_utf8 TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_vpk_eucjp TEMPLATE template0 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C';

-- SQL_ASCII: any byte but zero, valid in no encoding.
\c regress_vpk_ascii
CREATE EXTENSION vibepeak_keys;
CREATE FUNCTION pg_temp.bytes(b bytea) RETURNS text LANGUAGE sql AS $$ SELECT convert_from(b, 'SQL_ASCII') $$;
SELECT token FROM vpk_create('Key') \gset
CREATE TABLE strings AS
    SELECT pg_temp.bytes(decode(lpad(to_hex(a), 2, '0') || lpad(to_hex(b), 2, '0'), 'hex')) AS string
      FROM generate_series(1, 255) AS a, generate_series(1, 255, 3) AS b;
INSERT INTO strings SELECT overlay(:'token' placing string from 10) FROM strings WHERE string <> substr(:'token', 10, 2) LIMIT 5000;
SELECT vpk_verify(:'token'), count(DISTINCT vpk_verify(string)) AS answers, count(*) AS strings FROM strings;
SELECT a.status, count(*) > 0 AS some
  FROM strings, LATERAL vpk_authenticate('Bearer ' || string, string, NULL, string, string) AS a GROUP BY a.status ORDER BY a.status;
SELECT a.status, count(*) FROM (SELECT string FROM strings LIMIT 5000) AS s, LATERAL vpk_authenticate('Bearer ' || :'token', string, NULL, string) AS a
 GROUP BY a.status ORDER BY a.status;
-- Names and bodies with such bytes come back as they are.
INSERT INTO vpk.plans (plan) VALUES (pg_temp.bytes('\x50ffe4'));
SELECT vpk_set_plan(pg_temp.bytes('\xe4f6'), pg_temp.bytes('\x50ffe4'));
SELECT vpk_error('PLAN_REQUIRED', 'r', pg_temp.bytes('\xe4f6')) #>> '{error,details,current_plan}' = pg_temp.bytes('\x50ffe4') AS plan;
SELECT token, account = pg_temp.bytes('\xe4f6') AS account, name = pg_temp.bytes('\x4bc3a4ff') AS name
  FROM vpk_create(pg_temp.bytes('\x204bc3a4ff20'), pg_temp.bytes('\xe4f6')) \gset
SELECT :'account' AS account, :'name' AS name;
SELECT status, account = pg_temp.bytes('\xe4f6') AS account,
       error #>> '{error,details,current_plan}' = pg_temp.bytes('\x50ffe4') AS plan
  FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_set_plan(pg_temp.bytes('\xe4f6'), 'Pro');
SELECT status, key_name = pg_temp.bytes('\x4bc3a4ff') AS name FROM vpk_authenticate('Bearer ' || :'token');
\set VERBOSITY sqlstate
SELECT vpk_create(pg_temp.bytes('\x0aff0a61'), pg_temp.bytes('\xff'));
SELECT vpk_create(pg_temp.bytes('\xff0aff'));
SELECT vpk_set_plan('a', pg_temp.bytes('\xff'));
SELECT vpk_create(pg_temp.bytes(decode(repeat('ff', 256), 'hex')));
\set VERBOSITY default
SELECT length(name) AS bytes FROM vpk_create(pg_temp.bytes(decode(repeat('ff', 255), 'hex')));
SELECT vpk_revoke(id, pg_temp.bytes('\xfffe')) IS NOT NULL AS revoked FROM vpk_list(pg_temp.bytes('\xe4f6'));
SELECT revoke_reason = pg_temp.bytes('\xfffe') AS reason FROM vpk.key_list WHERE revoked_at IS NOT NULL;
-- Bytes have one spelling: two names that UTF-8 would read as one text are two accounts.
SELECT vpk_set_plan(pg_temp.bytes('\x636166c3a9'), 'Pro'), vpk_set_plan(pg_temp.bytes('\x63616665cc81'), 'Free'), vpk_set_plan(pg_temp.bytes('\x61e2808b'), 'Pro');
SELECT count(*) FROM vpk.accounts WHERE account LIKE 'caf%';
SELECT vpk_client_ip(pg_temp.bytes('\xff2c203230332e302e3131332e39')) AS last, vpk_client_ip(pg_temp.bytes('\x3230332e302e3131332e39ff')) AS broken,
       count(vpk_client_ip(string)) AS addresses FROM strings;
SELECT ok, detail FROM vpk_doctor() WHERE item = 'alike_names';

-- LATIN1: one byte each.
\c regress_vpk_latin1
SET client_encoding = 'UTF8';
CREATE EXTENSION vibepeak_keys;
SELECT token FROM vpk_create('Key') \gset
CREATE TABLE strings AS SELECT chr(a) || chr(b) AS string FROM generate_series(1, 255) AS a, generate_series(1, 255, 3) AS b;
INSERT INTO strings SELECT overlay(:'token' placing string from 10) FROM strings WHERE string <> substr(:'token', 10, 2) LIMIT 5000;
SELECT vpk_verify(:'token'), count(DISTINCT vpk_verify(string)) AS answers, count(*) AS strings FROM strings;
SELECT a.status, count(*) > 0 AS some
  FROM strings, LATERAL vpk_authenticate('Bearer ' || string, string, NULL, string, string) AS a GROUP BY a.status ORDER BY a.status;
INSERT INTO vpk.plans (plan, api_access) VALUES (chr(196) || 'rzte', true);
SELECT vpk_set_plan(chr(252), 'Free');
SELECT vpk_error('PLAN_REQUIRED', 'r', chr(252)) #>> '{error,message}' = 'API access requires a Plus, Pro or ' || chr(196) || 'rzte plan. Please upgrade your subscription.' AS message,
       vpk_error('PLAN_REQUIRED', 'r', chr(252)) #> '{error,details,required_plans}' = jsonb_build_array('Plus', 'Pro', chr(196) || 'rzte') AS plans;
SELECT message LIKE '%' || chr(196) || 'rzte%' AS message FROM vpk.status_codes WHERE status = 'PLAN_REQUIRED';
SELECT token, length(name) AS length FROM vpk_create(repeat(chr(252), 255), chr(252)) \gset
SELECT :length AS length;
SELECT status, account = chr(252) AS account FROM vpk_authenticate('Bearer ' || :'token');
\set VERBOSITY sqlstate
SELECT vpk_create(repeat(chr(252), 256));
SELECT vpk_create('a' || chr(10) || chr(252));
SELECT vpk_set_plan(chr(252), chr(223));
SELECT vpk_create('Key', chr(223));
SELECT vpk_create('Key', environment => chr(228) || chr(246));
\set VERBOSITY default
SELECT vpk_set_plan('caf' || chr(233), 'Pro'), vpk_set_plan('caf' || chr(195) || chr(169), 'Free');
SELECT count(*) FROM vpk.accounts WHERE account LIKE 'caf%';
SELECT count(*) FROM vpk_list('caf' || chr(233));
SELECT vpk_error('PLAN_REQUIRED', 'r', 'caf' || chr(195) || chr(169)) #>> '{error,details,current_plan}' AS plan;
SELECT vpk_client_ip(chr(255) || ', 203.0.113.9') AS last, vpk_client_ip('203.0.113.9' || chr(160)) AS broken, count(vpk_client_ip(string)) AS addresses FROM strings;
SELECT ok, detail FROM vpk_doctor() WHERE item = 'alike_names';
-- A key that was broken by a no-break space or a soft hyphen.
SELECT vpk_revoke_token(left(k.token, at) || chr(break) || substr(k.token, at + 1)) = k.id AS revoked, vpk_verify(k.token)
  FROM (VALUES (7, 160), (15, 173)) AS broken (at, break), vpk_create('Broken') AS k;

-- EUC_JP: several bytes each.
\c regress_vpk_eucjp
SET client_encoding = 'UTF8';
CREATE EXTENSION vibepeak_keys;
SELECT vpk_set_plan('会社', 'Free');
SELECT token, name = '鍵' AS name FROM vpk_create(' 鍵 ', '会社') \gset
SELECT status, account = '会社' AS account FROM vpk_authenticate('Bearer ' || :'token', '鍵', NULL, '鍵', '鍵');
SELECT vpk_verify('鍵'), vpk_verify(overlay(:'token' placing '鍵' from 10));
SELECT length(name) AS characters FROM vpk_create(repeat('鍵', 255), '会社');
\set VERBOSITY sqlstate
SELECT vpk_create(repeat('鍵', 256), '会社');
SELECT vpk_create('Key', '鍵');
\set VERBOSITY default

-- A role and its settings, as a database of another encoding has written them. The doctor reads
-- them everywhere, and CREATE EXTENSION asks it. It shows question marks where bytes are invalid.
\c regress_vpk_latin1
DO $$
DECLARE
    role text := 'regress_vpk_' || chr(233);
    value text;
BEGIN
    EXECUTE format('CREATE ROLE %I', role);
    EXECUTE format('ALTER ROLE %I SET log_statement = ''all''', role);
    EXECUTE format('ALTER ROLE %I SET vibepeak_keys.redact_logs = off', role);
    EXECUTE format('ALTER ROLE %I SET auto_explain.log_min_duration = %L', role, chr(233));
    FOREACH value IN ARRAY ARRAY['"' || chr(233) || '", regress_vpk_later, public', 'public, ' || chr(233)] LOOP
        PERFORM set_config('search_path', value, true);
        EXECUTE format('ALTER ROLE %I %s SET search_path FROM CURRENT', role,
                       CASE WHEN value LIKE 'p%' THEN '' ELSE 'IN DATABASE regress_vpk_utf8' END);
    END LOOP;
END
$$;
\c regress_vpk_utf8
CREATE ROLE regress_vpk_mallory;
GRANT CREATE ON DATABASE regress_vpk_utf8 TO regress_vpk_mallory;
CREATE EXTENSION vibepeak_keys;
SELECT detail FROM vpk_doctor() WHERE item = 'names' \gx
SELECT detail LIKE '% (role "regress_vpk_?")%' AS shown FROM vpk_doctor() WHERE item = 'log_redaction';
-- Events name such a role in the same way: other bytes could not be restored from a dump.
BEGIN;
CREATE TEMPORARY VIEW other AS
    SELECT r.oid, r.rolname::text AS name FROM pg_roles AS r JOIN pg_db_role_setting AS s ON s.setrole = r.oid JOIN pg_database AS d ON d.oid = s.setdatabase
     WHERE d.datname = 'regress_vpk_utf8';
SELECT vpk_grant_admin(oid) FROM other;
SELECT set_config('role', name, true) IS NOT NULL AS set FROM other;
SELECT vpk_set_plan('acme', 'Pro');
RESET ROLE;
SELECT role FROM vpk.events;
ROLLBACK;

\c regress_vpk_latin1
DO $$ BEGIN EXECUTE format('DROP ROLE %I', 'regress_vpk_' || chr(233)); END $$;
\c :database
DROP DATABASE regress_vpk_utf8;
DROP ROLE regress_vpk_mallory;
DROP DATABASE regress_vpk_ascii;
DROP DATABASE regress_vpk_latin1;
DROP DATABASE regress_vpk_eucjp;
