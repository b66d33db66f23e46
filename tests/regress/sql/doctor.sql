-- vpk_doctor: what is found, and found no more once it was put right. What depends on whether the
-- library is preloaded is left out here, or is held either way.

-- A finding, without what differs from run to run.
CREATE FUNCTION pg_temp.finding(wanted text, OUT ok boolean, OUT detail text, OUT advice text) LANGUAGE sql AS $$
    SELECT d.ok, regexp_replace(regexp_replace(d.detail, 'vpk_(live|test)_[0-9A-Za-z]{4}', '<hint>', 'g'), '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<id>', 'g'), d.advice
      FROM vpk_doctor() AS d WHERE d.item = wanted
$$;

-- What there is, and where all is well. There is advice for everything else.
SELECT item FROM vpk_doctor();
SELECT item, ok, detail, advice FROM vpk_doctor()
 WHERE item IN ('privileges', 'key_table', 'names', 'expiring_keys', 'plan_access', 'alike_names', 'publications');
SELECT item FROM vpk_doctor() WHERE (advice IS NULL) <> (ok IS TRUE) OR detail = '' OR advice = '';
-- What is not known without the library preloaded is known with it.
SELECT count(*) FILTER (WHERE d.ok IS NULL) = CASE WHEN p.ok THEN 0 ELSE 4 END AS as_preloaded
  FROM vpk_doctor() AS d, (SELECT ok FROM vpk_doctor() WHERE item = 'preloaded') AS p
 WHERE d.item IN ('usage_worker', 'usage_dropped', 'rate_limits', 'unused_keys') GROUP BY p.ok;

-- What a dump would leave out.
ALTER TABLE vpk.keys ADD COLUMN "team's" text;
ALTER TABLE vpk.accounts ADD CONSTRAINT short CHECK (length(account) < 64);
CREATE INDEX by_name ON vpk.keys (name);
CREATE FUNCTION pg_temp.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT ON vpk.events FOR EACH ROW EXECUTE FUNCTION pg_temp.noted();
CREATE RULE passed AS ON DELETE TO vpk.key_usage DO ALSO NOTHING;
CREATE POLICY everybody ON vpk.plans USING (true);
ALTER TABLE vpk.plans ENABLE ROW LEVEL SECURITY;
SELECT * FROM pg_temp.finding('additions') \gx
SELECT ok FROM pg_temp.finding('tables');
DROP TRIGGER noted ON vpk.events;
DROP RULE passed ON vpk.key_usage;
DROP POLICY everybody ON vpk.plans;
ALTER TABLE vpk.plans DISABLE ROW LEVEL SECURITY;
ALTER TABLE vpk.accounts DROP CONSTRAINT short;
DROP INDEX vpk.by_name;
SELECT detail FROM pg_temp.finding('additions');
ALTER TABLE vpk.keys DROP COLUMN "team's";
SELECT * FROM pg_temp.finding('additions') \gx

-- Privileges: those of a verifier and of an admin are no finding, nor are both together.
CREATE ROLE regress_vpk_verifier;
CREATE ROLE regress_vpk_admin;
CREATE ROLE regress_vpk_both;
CREATE ROLE "regress_vpk ""odd""";
SELECT vpk_grant_verifier('regress_vpk_verifier'), vpk_grant_admin('regress_vpk_admin');
SELECT vpk_grant_verifier('regress_vpk_both'), vpk_grant_admin('regress_vpk_both');
SELECT * FROM pg_temp.finding('privileges') \gx
SELECT * FROM pg_temp.finding('key_table') \gx
-- To PUBLIC.
GRANT EXECUTE ON FUNCTION vpk_doctor(), vpk_verify(text) TO PUBLIC;
GRANT USAGE ON TYPE vpk.vpk_status TO PUBLIC;
SELECT * FROM pg_temp.finding('privileges') \gx
REVOKE EXECUTE ON FUNCTION vpk_doctor(), vpk_verify(text) FROM PUBLIC;
REVOKE USAGE ON TYPE vpk.vpk_status FROM PUBLIC;
SELECT ok FROM pg_temp.finding('privileges');
-- To a verifier, or an admin, what is not theirs.
GRANT EXECUTE ON FUNCTION vpk_purge(timestamptz, integer) TO regress_vpk_verifier;
GRANT EXECUTE ON FUNCTION vpk_grant_admin(regrole), vpk.plan_in_use(text), vpk.plans_before_write() TO regress_vpk_admin;
GRANT SELECT ON vpk.key_list TO regress_vpk_verifier;
-- The functions of the view are no further finding.
GRANT EXECUTE ON FUNCTION vpk.current_uses, vpk.current_last_use TO regress_vpk_verifier;
GRANT INSERT ON vpk.accounts TO regress_vpk_admin;
GRANT USAGE ON SEQUENCE vpk.events_id_seq TO regress_vpk_admin;
GRANT CREATE ON SCHEMA vpk TO regress_vpk_both;
SELECT * FROM pg_temp.finding('privileges') \gx
REVOKE EXECUTE ON FUNCTION vpk_purge(timestamptz, integer) FROM regress_vpk_verifier;
REVOKE EXECUTE ON FUNCTION vpk_grant_admin(regrole), vpk.plan_in_use(text), vpk.plans_before_write() FROM regress_vpk_admin;
REVOKE SELECT ON vpk.key_list FROM regress_vpk_verifier;
REVOKE EXECUTE ON FUNCTION vpk.current_uses, vpk.current_last_use FROM regress_vpk_verifier;
REVOKE INSERT ON vpk.accounts FROM regress_vpk_admin;
REVOKE USAGE ON SEQUENCE vpk.events_id_seq FROM regress_vpk_admin;
REVOKE CREATE ON SCHEMA vpk FROM regress_vpk_both;
SELECT ok FROM pg_temp.finding('privileges');
-- pg_read_all_data has the functions of views from the installation, and nothing else.
GRANT EXECUTE ON FUNCTION vpk.plan_in_use(text), vpk_doctor() TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION vpk.quota_rows(text) TO pg_read_all_data WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION vpk.current_uses(uuid, bigint) TO pg_write_all_data;
SELECT * FROM pg_temp.finding('privileges') \gx
REVOKE EXECUTE ON FUNCTION vpk.plan_in_use(text), vpk_doctor() FROM pg_read_all_data;
REVOKE GRANT OPTION FOR EXECUTE ON FUNCTION vpk.quota_rows(text) FROM pg_read_all_data;
REVOKE EXECUTE ON FUNCTION vpk.current_uses(uuid, bigint) FROM pg_write_all_data;
SELECT ok FROM pg_temp.finding('privileges');
-- For a role that is neither an admin nor a verifier, even the least privilege is reported.
GRANT EXECUTE ON FUNCTION vpk_error(vpk.vpk_status, text, text) TO "regress_vpk ""odd""";
GRANT USAGE ON SCHEMA vpk TO "regress_vpk ""odd""";
GRANT SELECT (name) ON vpk.keys TO "regress_vpk ""odd""";
SELECT * FROM pg_temp.finding('privileges') \gx
SELECT * FROM pg_temp.finding('key_table') \gx
DROP OWNED BY "regress_vpk ""odd""";
SELECT p.ok AS privileges, k.ok AS key_table FROM pg_temp.finding('privileges') AS p, pg_temp.finding('key_table') AS k;
-- With grant option, what is theirs is not.
GRANT EXECUTE ON FUNCTION vpk_verify(text) TO regress_vpk_verifier WITH GRANT OPTION;
GRANT UPDATE (rank) ON vpk.plans TO regress_vpk_admin WITH GRANT OPTION;
SELECT * FROM pg_temp.finding('privileges') \gx
REVOKE GRANT OPTION FOR EXECUTE ON FUNCTION vpk_verify(text) FROM regress_vpk_verifier;
REVOKE GRANT OPTION FOR UPDATE (rank) ON vpk.plans FROM regress_vpk_admin;
SELECT ok FROM pg_temp.finding('privileges');

-- A role that may read the counters alone is a monitor; a role with more is reported.
CREATE ROLE regress_vpk_monitor;
GRANT USAGE ON SCHEMA vpk TO regress_vpk_monitor;
GRANT SELECT ON vpk.stats TO regress_vpk_monitor;
GRANT EXECUTE ON FUNCTION vpk.stats_row() TO regress_vpk_monitor;
SELECT ok FROM pg_temp.finding('privileges');
GRANT SELECT ON vpk.events TO regress_vpk_monitor;
SELECT detail FROM pg_temp.finding('privileges') \gx
DROP OWNED BY regress_vpk_monitor;
DROP ROLE regress_vpk_monitor;

-- A role for backups reads every table and sequence, and so do its members. A role that reads some
-- of them is reported, and so is one that can read more than that, or write.
CREATE ROLE regress_vpk_backup;
CREATE ROLE regress_vpk_nightly IN ROLE regress_vpk_backup;
SELECT vpk_grant_backup('regress_vpk_backup');
SELECT p.ok AS privileges, k.ok AS key_table FROM pg_temp.finding('privileges') AS p, pg_temp.finding('key_table') AS k;
GRANT SELECT ON vpk.key_list TO regress_vpk_backup;
GRANT INSERT ON vpk.keys TO regress_vpk_backup;
SELECT detail FROM pg_temp.finding('privileges') \gx
SELECT detail FROM pg_temp.finding('key_table') \gx
REVOKE SELECT ON vpk.key_list FROM regress_vpk_backup;
REVOKE INSERT ON vpk.keys FROM regress_vpk_backup;
REVOKE SELECT ON SEQUENCE vpk.events_id_seq FROM regress_vpk_backup;
SELECT p.ok AS privileges, k.detail AS key_table FROM pg_temp.finding('privileges') AS p, pg_temp.finding('key_table') AS k \gx
DROP OWNED BY regress_vpk_backup;
DROP ROLE regress_vpk_nightly, regress_vpk_backup;

-- The table of keys: who has rights on it, of their own or by a membership, also one that has to be
-- taken up by SET ROLE.
CREATE ROLE regress_vpk_reader NOINHERIT;
CREATE ROLE regress_vpk_group;
CREATE ROLE regress_vpk_superuser SUPERUSER;
GRANT pg_read_all_data TO regress_vpk_group;
GRANT regress_vpk_group TO regress_vpk_reader;
GRANT DELETE ON vpk.keys TO regress_vpk_verifier;
GRANT UPDATE (name), INSERT (name) ON vpk.keys TO regress_vpk_verifier;
SELECT * FROM pg_temp.finding('key_table') \gx
REVOKE pg_read_all_data FROM regress_vpk_group;
REVOKE ALL ON vpk.keys FROM regress_vpk_verifier;
SELECT * FROM pg_temp.finding('key_table') \gx
-- What PUBLIC has is said once.
GRANT SELECT ON vpk.keys TO PUBLIC;
GRANT UPDATE (name) ON vpk.keys TO PUBLIC;
GRANT DELETE ON vpk.keys TO regress_vpk_verifier;
SELECT * FROM pg_temp.finding('key_table') \gx
SELECT * FROM pg_temp.finding('privileges') \gx
REVOKE ALL ON vpk.keys FROM PUBLIC, regress_vpk_verifier;
SELECT p.ok AS privileges, k.ok AS key_table FROM pg_temp.finding('privileges') AS p, pg_temp.finding('key_table') AS k;

-- Keys that expire: the active ones without a successor, the first first.
SELECT vpk_set_plan('acme', 'Pro');
CREATE FUNCTION pg_temp.make(name text, expires_in interval DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
    SELECT k.id FROM vpk_create(name, 'acme', expires_at => clock_timestamp() + expires_in) AS k
$$;
SELECT pg_temp.make('In two weeks', '13 days 23 hours') AS two_weeks, pg_temp.make('Tomorrow', '1 day') AS tomorrow,
       pg_temp.make('Later', '14 days 1 hour') AS later, pg_temp.make('Revoked', '1 day') AS revoked,
       pg_temp.make('Disabled', '1 day') AS disabled, pg_temp.make('Rotated') AS rotated, pg_temp.make('Expired', '1 day') AS expired \gset
UPDATE vpk.keys SET expires_at = clock_timestamp() WHERE id = :'expired';
SELECT vpk_revoke(:'revoked') IS NOT NULL AS revoked, vpk_disable(:'disabled') IS NOT NULL AS disabled;
SELECT id AS successor, expires_at FROM vpk_rotate(:'rotated', '1 day') \gset
SELECT * FROM pg_temp.finding('expiring_keys') \gx
-- One; and one without a hint.
SELECT vpk_revoke(:'two_weeks') IS NOT NULL AS revoked;
UPDATE vpk.keys SET hint = NULL WHERE id = :'tomorrow';
SELECT * FROM pg_temp.finding('expiring_keys') \gx
-- A successor that expires too is reported; the key it replaces is not.
SELECT vpk_revoke(:'tomorrow') IS NOT NULL AS revoked;
SELECT ok FROM pg_temp.finding('expiring_keys');
SELECT expires_at IS NOT NULL AS expires FROM vpk_update(:'successor', expires_at => clock_timestamp() + interval '2 days');
SELECT * FROM pg_temp.finding('expiring_keys') \gx
SELECT expires_at FROM vpk_update(:'successor', expires_at => 'infinity');
SELECT ok FROM pg_temp.finding('expiring_keys');

-- Keys that are not used, where it is known; the item is not known where uses are not noted.
UPDATE vpk.keys SET created_at = created_at - interval '91 days' WHERE id = :'later';
SELECT CASE WHEN p.ok THEN u.ok IS FALSE AND u.detail = '1 active key was not used for 90 days: "Later" (<hint>)'
                      ELSE u.ok IS NULL AND u.detail = 'the use of keys is not noted, since the library is not preloaded' END AS unused
  FROM pg_temp.finding('preloaded') AS p, pg_temp.finding('unused_keys') AS u;
INSERT INTO vpk.key_usage AS u (key_id, last_used_at, uses) VALUES (:'later', clock_timestamp(), 1)
    ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at;
SELECT u.ok IS NOT FALSE AS used FROM pg_temp.finding('unused_keys') AS u;

-- Plans: accounts whose keys are all refused. Those without an active key are no finding.
SELECT vpk_set_plan('acme', 'Free'), vpk_set_plan('beta', 'Free');
SELECT id AS beta FROM vpk_create('Key', 'beta') \gset
SELECT vpk_disable(:'beta') IS NOT NULL AS disabled;
SELECT * FROM pg_temp.finding('plan_access') \gx
BEGIN;
SELECT vpk_enable(:'beta');
SELECT * FROM pg_temp.finding('plan_access') \gx
-- No such account, and no such plan.
SET LOCAL session_replication_role = replica;
DELETE FROM vpk.accounts WHERE account = 'acme';
DELETE FROM vpk.plans WHERE plan = 'Free';
SELECT * FROM pg_temp.finding('plan_access') \gx
ROLLBACK;
SELECT vpk_set_plan('acme', 'Pro');
SELECT ok FROM pg_temp.finding('plan_access');
-- Many of them: ten are named.
BEGIN;
SELECT count(vpk_set_plan('many' || n, 'Free')) FROM generate_series(10, 22) AS n;
SELECT count(k.id) FROM generate_series(10, 22) AS n, vpk_create('Key', 'many' || n) AS k;
SELECT * FROM pg_temp.finding('plan_access') \gx
SELECT vpk_revoke_account('many' || n) FROM generate_series(20, 22) AS n;
SELECT detail FROM pg_temp.finding('plan_access') \gx
ROLLBACK;

-- Names that look alike, of accounts and of plans, as SQL reads them.
BEGIN;
INSERT INTO vpk.accounts (account, plan) VALUES ('quote '' \ one', 'Pro'), ('cafe', 'Pro'), (U&'caf\00E9', 'Pro'), (U&'\+01F44D', 'Pro');
SELECT ok FROM pg_temp.finding('alike_names');
INSERT INTO vpk.accounts (account, plan) VALUES (U&'quote '' \\ one\200B', 'Pro'), (U&'cafe\0301', 'Pro'), (U&'\+01F44D\+0E0061', 'Pro'), (U&'\200B', 'Pro');
INSERT INTO vpk.plans (plan, pristine) VALUES (U&'\202EPro', false);
SELECT * FROM pg_temp.finding('alike_names') \gx
SELECT count(*) AS accounts FROM vpk.accounts WHERE account IN (U&'quote '' \\ one\200b', U&'\+01f44d\+0e0061');
ROLLBACK;
SELECT ok FROM pg_temp.finding('alike_names');

-- Publications, with no word on whether the server is set up to replicate.
SET client_min_messages = error;
CREATE TABLE regress_vpk_table ();
CREATE PUBLICATION regress_vpk_other FOR TABLE regress_vpk_table, vpk.events;
SELECT ok FROM pg_temp.finding('publications');
-- Without a table, as after a restore, and with some of those that a subscriber needs.
ALTER PUBLICATION regress_vpk_other DROP TABLE regress_vpk_table, vpk.events;
SELECT detail FROM pg_temp.finding('publications') \gx
ALTER PUBLICATION regress_vpk_other SET TABLE vpk.plans;
SELECT detail FROM pg_temp.finding('publications') \gx
ALTER PUBLICATION regress_vpk_other SET TABLE regress_vpk_table;
CREATE PUBLICATION "regress_vpk 1" FOR TABLE vpk.plans, vpk.accounts, vpk.keys;
CREATE PUBLICATION regress_vpk_2 FOR ALL TABLES;
CREATE PUBLICATION regress_vpk_3 FOR TABLES IN SCHEMA vpk;
SELECT * FROM pg_temp.finding('publications') \gx
DROP PUBLICATION regress_vpk_2, regress_vpk_3;
SELECT detail FROM pg_temp.finding('publications') \gx
ALTER PUBLICATION "regress_vpk 1" DROP TABLE vpk.keys;
SELECT detail FROM pg_temp.finding('publications') \gx
-- Some columns: with the hashes, and without them.
ALTER PUBLICATION "regress_vpk 1" SET TABLE vpk.keys (id, key_hash);
SELECT detail FROM pg_temp.finding('publications') \gx
ALTER PUBLICATION "regress_vpk 1" SET TABLE vpk.keys (id, name);
SELECT ok FROM pg_temp.finding('publications');
DROP PUBLICATION "regress_vpk 1", regress_vpk_other;
DROP TABLE regress_vpk_table;
RESET client_min_messages;

-- The version of the extension, and that of the library.
SELECT extversion AS version FROM pg_extension WHERE extname = 'vibepeak_keys' \gset
CREATE FUNCTION pg_temp.as_version(version text, OUT ok boolean, OUT detail text, OUT advice text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pg_extension SET extversion = version WHERE extname = 'vibepeak_keys';
    SELECT d.ok, d.detail, d.advice INTO ok, detail, advice FROM vpk_doctor() AS d WHERE d.item = 'version';
END
$$;
SELECT ok, detail = format('extension and library are both version %s', :'version') AS detail, advice FROM pg_temp.finding('version');
BEGIN;
SELECT ok, replace(detail, :'version', '<version>') AS detail, advice FROM pg_temp.as_version('0.0.9') \gx
SELECT ok, replace(detail, :'version', '<version>') AS detail, advice FROM pg_temp.as_version('999.0.0') \gx
ROLLBACK;
SELECT ok FROM pg_temp.finding('version');

-- It reads only.
BEGIN READ ONLY;
SELECT count(*) FROM vpk_doctor();
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT count(*) FROM vpk_doctor();
SELECT pg_current_xact_id_if_assigned();
COMMIT;

-- An admin sees all findings, whatever schemas come before the catalog in the search_path.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'something of the caller''s was run'; END $$;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.trap()::text::timestamptz';
CREATE FUNCTION hostile.aclexplode(aclitem[], OUT grantor oid, OUT grantee oid, OUT privilege_type text, OUT is_grantable boolean)
    RETURNS SETOF record LANGUAGE sql AS 'SELECT hostile.trap()::oid, 0::oid, '''', true';
CREATE FUNCTION hostile.has_table_privilege(oid, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap() = 1';
CREATE FUNCTION hostile.quote_ident(text) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()::text';
CREATE FUNCTION hostile.format(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()::text';
DO $do$
DECLARE
    type text;
    operator text;
BEGIN
    FOREACH type IN ARRAY '{text,name,oid,uuid,timestamptz,boolean}'::text[]
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.operate(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS ''SELECT hostile.trap() IS NULL''', type);
        FOREACH operator IN ARRAY '{=,<>,<,<=}'::text[]
        LOOP
            EXECUTE format('CREATE OPERATOR hostile.%1$s (LEFTARG = %2$s, RIGHTARG = %2$s, FUNCTION = hostile.operate)', operator, type);
        END LOOP;
    END LOOP;
END
$do$;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE TABLE hostile.keys AS SELECT 1 AS one;
CREATE TABLE hostile.pg_roles AS SELECT 1 AS one;
-- A session that has used nothing of the extension yet: statements are planned at their first use.
\c
CREATE TEMPORARY TABLE pg_extension AS SELECT 'none' AS extname;
CREATE TEMPORARY TABLE pg_class AS SELECT 1 AS one;
SELECT vpk_set_plan('acme', 'Free');
GRANT SELECT ON vpk.keys TO regress_vpk_verifier;
SET ROLE regress_vpk_admin;
SET search_path = pg_temp, hostile, pg_catalog, public;
SELECT item, ok, detail FROM public.vpk_doctor()
 WHERE item OPERATOR(pg_catalog.=) ANY ('{privileges,key_table,names,expiring_keys,plan_access,alike_names,publications}');
-- Settings of the caller's do not matter either.
SET quote_all_identifiers = on;
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET transform_null_equals = on;
SELECT item, ok, detail FROM public.vpk_doctor()
 WHERE item OPERATOR(pg_catalog.=) ANY ('{privileges,key_table,names,expiring_keys,plan_access,alike_names,publications}');
RESET ALL;
RESET ROLE;
DROP TABLE pg_temp.pg_extension, pg_temp.pg_class;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;
RESET client_min_messages;
\set VERBOSITY default
REVOKE SELECT ON vpk.keys FROM regress_vpk_verifier;

-- Verifiers and other roles see nothing.
\set VERBOSITY sqlstate
SET ROLE regress_vpk_verifier;
SELECT * FROM vpk_doctor();
SET ROLE "regress_vpk ""odd""";
SELECT * FROM vpk_doctor();
RESET ROLE;
\set VERBOSITY default

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('beta');
DROP OWNED BY regress_vpk_verifier, regress_vpk_admin, regress_vpk_both;
DROP ROLE regress_vpk_verifier, regress_vpk_admin, regress_vpk_both, "regress_vpk ""odd""", regress_vpk_reader, regress_vpk_group, regress_vpk_superuser;
SELECT item FROM vpk_doctor() WHERE item IN ('privileges', 'key_table', 'names', 'expiring_keys', 'plan_access', 'alike_names', 'publications') AND NOT ok;
