-- From 0.7.0 to 0.8.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.8.0'" to load this file. \quit

-- Gives a function the arguments, result columns and code of a new one, and drops that one. The
-- function keeps its OID, so everybody keeps the privilege to call it, and what depends on it
-- stays. Dropped at the end of this script.
CREATE FUNCTION vpk.grow(old pg_catalog.regprocedure, new pg_catalog.regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other pg_catalog.regprocedure;
BEGIN
    SELECT p.oid INTO other
      FROM pg_catalog.pg_proc AS o, pg_catalog.pg_proc AS n, pg_catalog.pg_proc AS p
     WHERE o.oid = old AND n.oid = new AND p.oid <> old
       AND p.pronamespace = o.pronamespace AND p.proname = o.proname
       AND p.proargtypes = n.proargtypes;
    IF FOUND THEN
        RAISE duplicate_function USING
            MESSAGE = pg_catalog.format('function %s already exists', other),
            DETAIL = pg_catalog.format('The update gives function %s these arguments.', old),
            HINT = 'Rename your function, or move it to a schema of your own.';
    END IF;
    UPDATE pg_catalog.pg_proc AS o
       SET pronargs = n.pronargs, pronargdefaults = n.pronargdefaults,
           proargtypes = n.proargtypes, proallargtypes = n.proallargtypes,
           proargmodes = n.proargmodes, proargnames = n.proargnames,
           proargdefaults = n.proargdefaults, prosrc = n.prosrc
      FROM pg_catalog.pg_proc AS n
     WHERE o.oid = old AND n.oid = new;
    EXECUTE pg_catalog.format('DROP FUNCTION %s', new);
    -- As CREATE FUNCTION does: the library that is loaded has to have that function.
    PERFORM pg_catalog.fmgr_c_validator(old);
END
$$;

-- Scopes of keys in lists.

CREATE FUNCTION vpk_list_grown(
    account text DEFAULT NULL, id uuid DEFAULT NULL, after uuid DEFAULT NULL,
    max_rows integer DEFAULT NULL, state text DEFAULT NULL)
RETURNS TABLE (id uuid, name text, account text, environment text, prefix text, hint text,
               created_at timestamptz, last_used_at timestamptz, uses bigint,
               expires_at timestamptz, revoked_at timestamptz, revoke_reason text,
               rotated_from uuid, state text, scopes text[])
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'list_keys_wrapper';
SELECT vpk.grow('vpk_list(text, uuid, uuid, integer)',
                'vpk_list_grown(text, uuid, uuid, integer, text)');

CREATE FUNCTION vpk_update_grown(
    id uuid, name text DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    scopes text[] DEFAULT NULL, allowed_ips cidr[] DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS TABLE (id uuid, name text, account text, environment text, prefix text, hint text,
               created_at timestamptz, last_used_at timestamptz, uses bigint,
               expires_at timestamptz, revoked_at timestamptz, revoke_reason text,
               rotated_from uuid, state text, scopes text[])
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'update_key_wrapper';
SELECT vpk.grow('vpk_update(uuid, text, timestamptz, text[], cidr[], jsonb)',
                'vpk_update_grown(uuid, text, timestamptz, text[], cidr[], jsonb)');

-- The response to the caller of a service, from the start of a task.

CREATE FUNCTION vpk_task_start_grown(
    token text, ttl interval DEFAULT '15 min', client_ip inet DEFAULT NULL,
    scope text DEFAULT NULL, request_id text DEFAULT NULL, environment text DEFAULT NULL)
RETURNS TABLE (status vpk.vpk_status, http_status integer, lease uuid, running integer,
               allowed integer, expires_at timestamptz, error jsonb, headers jsonb)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'start_task_wrapper';
SELECT vpk.grow('vpk_task_start(text, interval, inet, text)',
                'vpk_task_start_grown(text, interval, inet, text, text, text)');

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);

-- At the end, since statements that read the view wait for the end of the update.
CREATE OR REPLACE VIEW vpk.key_list AS
    SELECT k.id,
           k.name,
           k.account,
           k.environment,
           k.prefix,
           k.hint,
           k.created_at,
           u.last_used_at,
           coalesce(u.uses, 0) AS uses,
           -- Some drivers cannot read a year beyond 9999. Earlier releases accepted such an end.
           CASE
               WHEN k.expires_at OPERATOR(pg_catalog.>) pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               THEN pg_catalog.timestamptz '9999-12-31 00:00:00+00'
               ELSE k.expires_at
           END AS expires_at,
           k.revoked_at,
           k.revoke_reason,
           k.rotated_from,
           CASE
               WHEN k.revoked_at IS NOT NULL THEN 'revoked'
               WHEN k.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() THEN 'expired'
               WHEN k.disabled_at IS NOT NULL THEN 'disabled'
               ELSE 'active'
           END AS state,
           k.scopes
      FROM vpk.keys AS k
      LEFT JOIN vpk.key_usage AS u ON u.key_id OPERATOR(pg_catalog.=) k.id;
