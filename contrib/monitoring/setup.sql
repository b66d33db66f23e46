-- Sets up the monitoring of vibepeak_keys in this database: the role of the exporter, and the
-- functions that it calls. Run it with psql as a superuser:
--
--     psql -X -d app -v exporter=prometheus -f setup.sql
--
-- The exporter's role reads numbers: answers by status, uses, keys by state, and which items of
-- vpk_doctor are in order. It reads no name, no account and no hash, and it changes nothing.
--
-- The script can be run again. Its functions have their bodies as text, so that an update of the
-- extension finds no object that depends on its own.
\set ON_ERROR_STOP on
\if :{?exporter} \else \set exporter prometheus \endif
-- A superuser runs this: no object of another role may come in between.
SET search_path = pg_catalog, pg_temp;

-- The schema in which the extension was created.
SELECT extnamespace::regnamespace AS keys
  FROM pg_extension WHERE extname = 'vibepeak_keys' \gset

SELECT format('CREATE ROLE %I LOGIN', :'exporter')
 WHERE to_regrole(quote_ident(:'exporter')) IS NULL \gexec
-- Owns the functions, and reads what the exporter's role may not. Nobody logs in as this role.
SELECT 'CREATE ROLE vpk_monitoring NOLOGIN'
 WHERE to_regrole('vpk_monitoring') IS NULL \gexec
GRANT pg_read_all_stats TO vpk_monitoring;
SELECT :keys.vpk_grant_admin('vpk_monitoring') \gset
CREATE SCHEMA IF NOT EXISTS vpk_monitoring;
ALTER SCHEMA vpk_monitoring OWNER TO vpk_monitoring;

BEGIN;
SET LOCAL ROLE vpk_monitoring;

CREATE OR REPLACE FUNCTION vpk_monitoring.stored_keys()
RETURNS TABLE (environment text, state text, keys bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT environment, state, count(*) FROM vpk.key_list GROUP BY environment, state
$$;
COMMENT ON FUNCTION vpk_monitoring.stored_keys() IS 'Keys by environment and state';

CREATE OR REPLACE FUNCTION vpk_monitoring.expiring_keys()
RETURNS TABLE (environment text, days integer, keys bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT counted.environment, within.days, within.keys
      FROM (SELECT k.environment,
                   count(*) FILTER (WHERE k.expires_at <= now() + interval '1 day') AS day,
                   count(*) FILTER (WHERE k.expires_at <= now() + interval '7 days') AS week,
                   count(*) FILTER (WHERE k.expires_at <= now() + interval '30 days') AS month
              FROM vpk.key_list AS k
             WHERE k.state = 'active'
               AND NOT EXISTS (SELECT FROM vpk.key_list AS successor
                                WHERE successor.rotated_from = k.id)
             GROUP BY k.environment) AS counted,
           LATERAL (VALUES (1, counted.day), (7, counted.week), (30, counted.month))
               AS within (days, keys)
$$;
COMMENT ON FUNCTION vpk_monitoring.expiring_keys() IS
    'Active keys without a successor that expire within some days, by environment';

SELECT format(
$definition$
CREATE OR REPLACE FUNCTION vpk_monitoring.doctor()
RETURNS TABLE (item text, ok boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT item, ok IS TRUE FROM %s.vpk_doctor()
$$
$definition$, :'keys') \gexec
COMMENT ON FUNCTION vpk_monitoring.doctor() IS
    'The items of vpk_doctor, and whether each is in order';

CREATE OR REPLACE FUNCTION vpk_monitoring.shared_memory()
RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(allocated_size), 0)::bigint
      FROM pg_shmem_allocations WHERE name LIKE 'vibepeak_keys%'
$$;
COMMENT ON FUNCTION vpk_monitoring.shared_memory() IS
    'The bytes of shared memory that the extension takes';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vpk_monitoring FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vpk_monitoring TO :"exporter";
GRANT USAGE ON SCHEMA vpk_monitoring TO :"exporter";
COMMIT;

GRANT USAGE ON SCHEMA vpk TO :"exporter";
GRANT SELECT ON vpk.stats TO :"exporter";
GRANT EXECUTE ON FUNCTION vpk.stats_row() TO :"exporter";
