-- From 0.5.0 to 0.6.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.6.0'" to load this file. \quit

-- vpk_doctor has two more items, tables and names.
ALTER FUNCTION vpk_doctor() ROWS 13;

-- The name of a new plan is checked as names of accounts are.

CREATE FUNCTION vpk.check_plan(plan text)
RETURNS void
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'check_plan_wrapper';
COMMENT ON FUNCTION vpk.check_plan(text) IS 'Checks the name of a new plan; for a trigger on vpk.plans';

CREATE OR REPLACE FUNCTION vpk.plans_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not of a row that is restored: see below.
    IF NEW.plan IS DISTINCT FROM OLD.plan AND (TG_OP = 'UPDATE' OR NEW.pristine IS NULL) THEN
        PERFORM vpk.check_plan(NEW.plan);
    END IF;
    IF NEW.rank IS NULL THEN
        SELECT least(coalesce(max(p.rank), 0)::bigint + 1, 2147483647) INTO NEW.rank
          FROM vpk.plans AS p;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    -- Only a restore, and the install script, name the column.
    IF NOT NEW.pristine THEN
        UPDATE vpk.plans AS p
           SET api_access = NEW.api_access, concurrent_tasks = NEW.concurrent_tasks,
               rank = NEW.rank, pristine = false
         WHERE p.plan = NEW.plan AND p.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'plans' AND r.name = NEW.plan;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

-- As in a fresh installation: nobody but the owner, whatever default privileges there are.
DO $$
DECLARE
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        SELECT DISTINCT pg_catalog.format(
                   'REVOKE ALL ON FUNCTION vpk.check_plan(text) FROM %s',
                   CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM pg_catalog.pg_proc AS p,
               LATERAL pg_catalog.aclexplode(
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
         WHERE p.oid = 'vpk.check_plan(text)'::pg_catalog.regprocedure::pg_catalog.oid
           AND a.grantee <> p.proowner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
