-- From 0.6.0 to 0.7.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.7.0'" to load this file. \quit

-- A column that somebody has added takes the number of the one that is added here, also after it
-- was dropped.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    added record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT t.name, a.attname INTO added
      FROM (VALUES ('events', 8)) AS t (name, columns)
      JOIN pg_catalog.pg_class AS c
        ON c.relname = t.name AND c.relnamespace = 'vpk'::pg_catalog.regnamespace
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > t.columns
     ORDER BY t.name, a.attnum LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.format('column "%s" was added to table "vpk.%s"',
                                        added.attname, added.name),
            DETAIL = 'The update adds a column of its own, which needs that number.',
            HINT = 'Move its contents to a table of your own, and restore the database from a '
                   'dump. Even a dropped column keeps its number.';
    END IF;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Gives a function the arguments, result columns and code of a new one, and drops that one. The
-- function keeps its OID, so everybody keeps the privilege to call it, and what depends on it
-- stays. Dropped at the end of this script.
CREATE FUNCTION vpk.grow(old pg_catalog.regprocedure, new pg_catalog.regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
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

-- The type of statuses moves to the schema of the tables. It keeps its OID, and so do its labels:
-- functions, views, tables and prepared statements go on.
ALTER TYPE vpk_status SET SCHEMA vpk;

-- The address of a client in the value of a header. It never raises.

CREATE FUNCTION vpk_client_ip(value text)
RETURNS inet
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_client_ip_wrapper';
COMMENT ON FUNCTION vpk_client_ip(text) IS
    'Returns the last address in the value of a header such as X-Forwarded-For, without port and zone; null if it is no address. Never raises an error because of the value';

-- vpk_doctor has two more items, alike_names and event_ids.
ALTER FUNCTION vpk_doctor() ROWS 15;

-- Each part of this update goes here.

-- Who acts through a role: the column actor of vpk.events. Events of before have none.

CREATE FUNCTION vpk.event_actor()
RETURNS text
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'event_actor_wrapper';
COMMENT ON FUNCTION vpk.event_actor() IS 'Returns who acts through the role that calls; the default of vpk.events.actor';

ALTER TABLE vpk.events ADD COLUMN actor text;
ALTER TABLE vpk.events ALTER COLUMN actor SET DEFAULT vpk.event_actor();
COMMENT ON COLUMN vpk.events.actor IS
    'Who acted through the role: the setting vibepeak_keys.actor at the time of the call';

-- Purging in parts, of keys and of events.

CREATE INDEX keys_end_idx ON vpk.keys (LEAST(revoked_at, expires_at), id)
    WHERE LEAST(revoked_at, expires_at) IS NOT NULL;

CREATE FUNCTION vpk_purge_grown(before timestamptz, max_rows integer DEFAULT NULL)
RETURNS bigint
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'purge_in_parts_wrapper';
SELECT vpk.grow('vpk_purge(timestamptz)', 'vpk_purge_grown(timestamptz, integer)');
COMMENT ON FUNCTION vpk_purge(timestamptz, integer) IS
    'Deletes keys that were revoked or expired before a time, at most so many; returns their number';

CREATE FUNCTION vpk_purge_events(before timestamptz, max_rows integer DEFAULT NULL)
RETURNS bigint
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_purge_events_wrapper';
COMMENT ON FUNCTION vpk_purge_events(timestamptz, integer) IS
    'Deletes events of before a time, at most so many; returns their number';

-- Asking again for a key.

CREATE INDEX events_idempotency_key_idx ON vpk.events ((details ->> 'idempotency_key'))
    WHERE (details ->> 'idempotency_key') IS NOT NULL;

CREATE FUNCTION vpk_create_grown(
    name text, account text DEFAULT 'default', environment text DEFAULT 'live',
    expires_at timestamptz DEFAULT NULL, scopes text[] DEFAULT '{}',
    allowed_ips cidr[] DEFAULT NULL, metadata jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL)
RETURNS TABLE (id uuid, token text, name text, account text, environment text, prefix text,
               hint text, created_at timestamptz, expires_at timestamptz)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'create_once_wrapper';
SELECT vpk.grow('vpk_create(text, text, text, timestamptz, text[], cidr[], jsonb)',
                'vpk_create_grown(text, text, text, timestamptz, text[], cidr[], jsonb, text)');
COMMENT ON FUNCTION vpk_create(text, text, text, timestamptz, text[], cidr[], jsonb, text) IS
    'Issues a key. Its token is shown only in this result';

CREATE FUNCTION vpk_rotate_grown(
    id uuid, grace interval DEFAULT '0', expires_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
RETURNS TABLE (id uuid, token text, name text, account text, environment text, prefix text,
               hint text, created_at timestamptz, expires_at timestamptz)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'rotate_once_wrapper';
SELECT vpk.grow('vpk_rotate(uuid, interval, timestamptz)',
                'vpk_rotate_grown(uuid, interval, timestamptz, text)');
COMMENT ON FUNCTION vpk_rotate(uuid, interval, timestamptz, text) IS
    'Issues a successor of a key; the old key ends after the grace period, or immediately';

-- Another name for an account.

CREATE FUNCTION vpk_rename_account(account text, new_account text)
RETURNS bigint
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_rename_account_wrapper';
COMMENT ON FUNCTION vpk_rename_account(text, text) IS
    'Gives an account with its keys, leases and events another name; returns the number of keys';
COMMENT ON COLUMN vpk.events.event IS
    'key_created, key_updated, key_rotated, key_revoked, key_disabled, key_enabled, key_purged, key_deleted, plan_set, account_renamed, account_deleted or events_purged';

CREATE OR REPLACE FUNCTION vpk.accounts_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.account IS DISTINCT FROM OLD.account THEN
            RAISE object_not_in_prerequisite_state USING
                MESSAGE = pg_catalog.format('account "%s" cannot be renamed by an UPDATE', OLD.account),
                DETAIL = 'Its keys would be refused, since they are keys of that account.',
                HINT = 'Use vpk_rename_account(account, new_account), which takes the keys along.';
        END IF;
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    IF NOT NEW.pristine THEN
        UPDATE vpk.accounts AS a
           SET plan = NEW.plan, created_at = NEW.created_at, pristine = false
         WHERE a.account = NEW.account AND a.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'accounts' AND r.name = NEW.account;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

-- Privileges for new functions: nobody but the owner, as in a fresh installation, whatever default
-- privileges there are; and then each role that may call the function beside it.
--
-- Grants that an update script makes count as the extension's own (pg_init_privs), and pg_dump
-- leaves those out. So the privileges that count as its own are set to those of a fresh
-- installation.
DO $$
DECLARE
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT p.oid, p.proowner, p.proacl, p.oid::pg_catalog.regprocedure AS function, f.sibling
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
          JOIN (VALUES
                   ('event_actor'::text, NULL::text),
                   ('vpk_rename_account', 'vpk_set_plan'),
                   ('vpk_purge_events', 'vpk_purge'),
                   ('vpk_client_ip', 'vpk_authenticate')
               ) AS f (name, sibling) ON f.name = p.proname::text
         WHERE e.extname = 'vibepeak_keys'
    LOOP
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON FUNCTION %s FROM %s', added.function,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.aclexplode(
                       coalesce(added.proacl,
                                pg_catalog.acldefault('f', added.proowner))) AS a
             WHERE a.grantee <> added.proowner
            UNION ALL
            SELECT DISTINCT pg_catalog.format(
                       'GRANT EXECUTE ON FUNCTION %s TO %s', added.function,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.pg_extension AS e
              JOIN pg_catalog.pg_depend AS d
                ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                   AND d.refobjid = e.oid AND d.deptype = 'e'
                   AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
              JOIN pg_catalog.pg_proc AS s
                ON s.oid = d.objid AND s.proname::text = added.sibling,
                   LATERAL pg_catalog.aclexplode(s.proacl) AS a
             WHERE e.extname = 'vibepeak_keys' AND a.grantee <> s.proowner
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i
           SET initprivs = ARRAY[pg_catalog.makeaclitem(
                   added.proowner, added.proowner, 'EXECUTE', false)]
         WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
    END LOOP;
END
$$;

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);
