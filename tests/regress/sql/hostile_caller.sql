-- G6: no caller's search_path, temporary table, function, operator, type or setting bends a
-- function of the extension. Whatever of the caller's is run here by mistake raises an error.

CREATE ROLE regress_vpk_hostile;
CREATE SCHEMA hostile AUTHORIZATION regress_vpk_hostile;
SELECT vpk_grant_admin('regress_vpk_hostile');
SELECT current_database() AS database \gset
GRANT TEMPORARY ON DATABASE :"database" TO regress_vpk_hostile;
SELECT vpk_set_plan('acme', 'Pro');
SELECT token AS victim FROM vpk_create('Victim', 'acme') \gset
SELECT token AS dead FROM vpk_create('Dead', 'acme') AS k, LATERAL vpk_revoke(k.id) \gset

-- A session that has used nothing of the extension yet: statements are planned at their first use.
\c
SET SESSION AUTHORIZATION regress_vpk_hostile;

-- Functions and operators of the caller's own, as good a match as those of pg_catalog.
DO $do$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY ARRAY[
        'clock_timestamp() RETURNS timestamptz', 'now() RETURNS timestamptz', 'sha256(bytea) RETURNS bytea',
        'jsonb_strip_nulls(jsonb) RETURNS jsonb', 'cardinality(anyarray) RETURNS integer',
        'quote_ident(text) RETURNS text', 'unnest(anyarray) RETURNS SETOF anyelement',
        'has_schema_privilege(oid, oid, text) RETURNS boolean', 'length(text) RETURNS integer', 'octet_length(bytea) RETURNS integer',
        'nextval(regclass) RETURNS bigint', 'count(bigint) RETURNS bigint', 'status_rows() RETURNS SETOF text']
    LOOP
        EXECUTE 'CREATE FUNCTION hostile.' || signature
            || ' LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''a function of the caller''''s was run''; END $$';
    END LOOP;
    FOREACH signature IN ARRAY ARRAY['text', 'uuid', 'bytea', 'timestamptz', 'interval', 'oid', '"char"', 'boolean', 'integer', 'bigint', 'name']
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.operate(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql AS '
                       '$$ BEGIN RAISE EXCEPTION ''an operator of the caller''''s was run''; END $$', signature);
        EXECUTE format('CREATE OPERATOR hostile.= (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.operate)', signature);
        EXECUTE format('CREATE OPERATOR hostile.<> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.operate)', signature);
        EXECUTE format('CREATE OPERATOR hostile.< (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.operate)', signature);
        EXECUTE format('CREATE OPERATOR hostile.<= (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.operate)', signature);
        EXECUTE format('CREATE OPERATOR hostile.> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.operate)', signature);
    END LOOP;
    FOREACH signature IN ARRAY ARRAY['timestamptz, interval', 'bigint, integer', 'integer, integer']
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.add(%s) RETURNS %s LANGUAGE plpgsql AS '
                       '$$ BEGIN RAISE EXCEPTION ''an operator of the caller''''s was run''; END $$', signature, split_part(signature, ',', 1));
        EXECUTE format('CREATE OPERATOR hostile.+ (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.add)',
                       split_part(signature, ', ', 1), split_part(signature, ', ', 2));
    END LOOP;
END
$do$;
-- Types and tables, of the extension's names and of the catalogue's.
CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN hostile.uuid AS pg_catalog.uuid CHECK (false);
CREATE DOMAIN hostile.timestamptz AS pg_catalog.timestamptz CHECK (false);
CREATE DOMAIN hostile.interval AS pg_catalog.interval CHECK (false);
CREATE TYPE hostile.vpk_status AS ENUM ('VALID');
CREATE FUNCTION hostile.vpk_verify(pg_catalog.text) RETURNS hostile.vpk_status LANGUAGE sql AS $$ SELECT 'VALID'::hostile.vpk_status $$;
CREATE TABLE hostile.keys AS SELECT 1 AS one;
DO $do$
DECLARE
    relation name;
BEGIN
    FOREACH relation IN ARRAY '{keys,accounts,plans,key_usage,task_leases,events,removed_defaults,key_list,status_codes}'::name[] LOOP
        EXECUTE format('CREATE TEMPORARY TABLE %I AS SELECT * FROM vpk.plans', relation);
    END LOOP;
    FOREACH relation IN ARRAY '{pg_class,pg_proc,pg_type,pg_extension,pg_depend,pg_namespace,pg_roles,pg_authid,pg_enum}'::name[] LOOP
        EXECUTE format('CREATE TEMPORARY TABLE %I (oid oid)', relation);
    END LOOP;
END
$do$;
SET search_path = pg_temp, hostile, public, pg_catalog;

-- The trap is set.
SELECT clock_timestamp();
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text;
SELECT pg_catalog.count(*) FROM keys;
SELECT vpk_verify('anything');

-- Every function, by its qualified name.
SELECT public.vpk_verify(:'victim') AS victim, public.vpk_verify(:'dead') AS dead, public.vpk_verify(NULL) AS missing;
SELECT status, http_status, account, plan FROM public.vpk_authenticate('Bearer ' OPERATOR(pg_catalog.||) :'dead', 'scope', '192.0.2.1', 'r', 'live');
SELECT status, account, plan FROM public.vpk_authenticate('Bearer ' OPERATOR(pg_catalog.||) :'victim');
SELECT public.vpk_verify_hash(pg_catalog.sha256(:'victim'::pg_catalog.bytea));
SELECT public.vpk_error('PLAN_REQUIRED', 'r', 'acme') OPERATOR(pg_catalog.#>>) '{error,message}' AS message;
SELECT pg_catalog.count(status) AS statuses FROM vpk.status_codes;
SELECT public.vpk_set_plan('mallory', 'Pro');
SELECT id, token, name, account FROM public.vpk_create('Mine', 'mallory', 'live', '2999-01-01 00:00+00', '{run}', '{192.0.2.0/24}', '{"a": 1}') \gset
SELECT name, account, state FROM public.vpk_update(:'id', 'Renamed', 'infinity', '{run}', '{}', '{}');
SELECT public.vpk_disable(:'id') IS NOT NULL AS disabled, public.vpk_verify(:'token');
SELECT public.vpk_enable(:'id'), public.vpk_verify(:'token');
SELECT status, lease, running, allowed FROM public.vpk_task_start(:'token', '1 min', '192.0.2.1', 'run') \gset
SELECT :'status' AS status, :running AS running, :allowed AS allowed;
SELECT public.vpk_task_extend(:'lease', '2 min') IS NOT NULL AS extended, public.vpk_task_finish(:'lease') AS finished;
SELECT id AS new_id, token AS new_token, expires_at IS NULL AS never FROM public.vpk_rotate(:'id', '1 hour') \gset
SELECT public.vpk_verify(:'token') AS old, public.vpk_verify(:'new_token') AS new;
SELECT public.vpk_revoke(:'id', 'reason') IS NOT NULL AS revoked, public.vpk_revoke(:'id') IS NOT NULL AS again;
SELECT public.vpk_revoke_token(:'new_token', 'reason') IS NOT NULL AS revoked, public.vpk_revoke_account('mallory') AS rest;
SELECT name, state FROM public.vpk_list('mallory', NULL, NULL, 10);
SELECT name, state FROM vpk.key_list WHERE account OPERATOR(pg_catalog.=) 'mallory';
INSERT INTO vpk.plans (plan, api_access) VALUES ('Mallory', false);
UPDATE vpk.plans SET plan = 'Malory', api_access = true WHERE plan OPERATOR(pg_catalog.=) 'Mallory';
SELECT public.vpk_set_plan('mallory', 'Malory');
SELECT public.vpk_purge('2001-01-01 00:00+00');
SELECT public.vpk_grant_verifier('regress_vpk_hostile');
SELECT public.vpk_delete_account('mallory');
DELETE FROM vpk.plans WHERE plan OPERATOR(pg_catalog.=) 'Malory';

-- The enum of the extension's own is returned, not the caller's.
SELECT pg_catalog.pg_typeof(public.vpk_verify(NULL)) AS type;

-- Settings that change how statements are read, planned and shown.
SET standard_conforming_strings = off;
SET transform_null_equals = on;
SET array_nulls = off;
SET bytea_output = escape;
SET datestyle = 'SQL, DMY';
SET intervalstyle = sql_standard;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;
SET row_security = off;
SET quote_all_identifiers = on;
SET client_min_messages = error;
SET check_function_bodies = off;
SET default_transaction_isolation = serializable;
SET jit_above_cost = 0;
SELECT public.vpk_verify(:'victim') AS victim, public.vpk_verify(:'dead') AS dead;
SELECT public.vpk_set_plan('mallory', 'Pro');
SELECT id, token FROM public.vpk_create('Mine', 'mallory', metadata => '{"a": "b\\\\c"}', scopes => '{run}') \gset
SELECT name FROM public.vpk_update(:'id', name => 'Renamed');
SELECT status FROM public.vpk_task_start(:'token');
SELECT id AS new_id, token AS new_token FROM public.vpk_rotate(:'id', '1 hour') \gset
SELECT status, scopes FROM public.vpk_authenticate('Bearer ' OPERATOR(pg_catalog.||) :'new_token');
SELECT public.vpk_revoke(:'id') IS NOT NULL AS revoked, public.vpk_verify(:'token') AS old, public.vpk_verify(:'new_token') AS new;
SELECT public.vpk_grant_verifier('regress_vpk_hostile');
SELECT public.vpk_delete_account('mallory');

-- Clean up.
\c
SELECT vpk_delete_account('acme');
DROP OWNED BY regress_vpk_hostile CASCADE;
DROP ROLE regress_vpk_hostile;
DELETE FROM vpk.removed_defaults;
SELECT plan, api_access, concurrent_tasks FROM vpk.plans ORDER BY rank;
