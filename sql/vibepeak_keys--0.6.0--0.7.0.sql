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

-- The tables and sequences before this update, for its end. The extension's schema is on the search
-- path here, and somebody's operator in it may fit better than the server's own.
SELECT pg_catalog.set_config(
           'vibepeak_update.tables',
           (SELECT pg_catalog.string_agg(d.objid::pg_catalog.text, ',')
              FROM pg_catalog.pg_extension AS e
              JOIN pg_catalog.pg_depend AS d
                ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                   AND d.refobjid OPERATOR(pg_catalog.=) e.oid
                   AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                   AND d.deptype OPERATOR(pg_catalog.=) 'e'
             WHERE e.extname OPERATOR(pg_catalog.=) 'vibepeak_keys'),
           true);

-- Takes the locks of this update, and gives vpk.key_list ends of keys that every driver can read.
--
-- Transactions lock these in any order: they change and then list keys, or list and then change.
-- So the update waits for one of them only, and holds nothing meanwhile. If another is not free,
-- it gives up the first and starts again, for 10 seconds. After that it waits, as any statement.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    patience text := pg_catalog.current_setting('lock_timeout');
    waiting_until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) interval '10 s';
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    LOOP
        BEGIN
            LOCK TABLE vpk.keys IN SHARE MODE;
            IF pg_catalog.clock_timestamp() < waiting_until THEN
                PERFORM pg_catalog.set_config('lock_timeout', '100ms', true);
            END IF;
            LOCK TABLE vpk.events IN ACCESS EXCLUSIVE MODE;
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
                       -- Some drivers cannot read a year beyond 9999. Earlier releases accepted it.
                       CASE
                           WHEN k.expires_at > pg_catalog.timestamptz '9999-12-31 00:00:00+00'
                           THEN pg_catalog.timestamptz '9999-12-31 00:00:00+00'
                           ELSE k.expires_at
                       END AS expires_at,
                       k.revoked_at,
                       k.revoke_reason,
                       k.rotated_from,
                       CASE
                           WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                           WHEN k.expires_at <= pg_catalog.clock_timestamp() THEN 'expired'
                           WHEN k.disabled_at IS NOT NULL THEN 'disabled'
                           ELSE 'active'
                       END AS state
                  FROM vpk.keys AS k
                  LEFT JOIN vpk.key_usage AS u ON u.key_id = k.id;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF pg_catalog.clock_timestamp() >= waiting_until THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    PERFORM pg_catalog.set_config('lock_timeout', patience, true);
    PERFORM pg_catalog.set_config('search_path', path, true);
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

-- What the doctor finds can be accepted for a time.
CREATE TABLE vpk.accepted_findings (
    item         text COLLATE "C" NOT NULL,
    what         text COLLATE "C" NOT NULL,
    until        timestamptz NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    role         text NOT NULL,
    session_role text NOT NULL,
    PRIMARY KEY (item, what)
);
SELECT pg_catalog.pg_extension_config_dump('vpk.accepted_findings', '');
COMMENT ON TABLE vpk.accepted_findings IS
    'Findings of vpk_doctor that somebody has accepted for a time; see vpk_doctor_accept';
COMMENT ON COLUMN vpk.accepted_findings.item IS 'The item of vpk_doctor';
COMMENT ON COLUMN vpk.accepted_findings.what IS 'What was found: an entry that the detail lists, or all of a detail';
COMMENT ON COLUMN vpk.accepted_findings.until IS 'From this time on the finding is not accepted any more';
COMMENT ON COLUMN vpk.accepted_findings.accepted_at IS 'When it was accepted';
COMMENT ON COLUMN vpk.accepted_findings.role IS 'The role that called: that of SET ROLE, or else the role of the session';
COMMENT ON COLUMN vpk.accepted_findings.session_role IS 'The role that logged in';

CREATE FUNCTION vpk_doctor_accept(item text, what text, until timestamptz)
RETURNS void
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_doctor_accept_wrapper';
COMMENT ON FUNCTION vpk_doctor_accept(text, text, timestamptz) IS
    'Accepts what vpk_doctor finds of an item until a time; a time in the past takes that back';

-- Grants. They check who calls, so they are not SECURITY DEFINER any more. Further forms take the
-- name of a role. vpk_grant_backup is new.

ALTER FUNCTION vpk_grant_verifier(regrole) SECURITY INVOKER;
ALTER FUNCTION vpk_grant_admin(regrole) SECURITY INVOKER;

CREATE FUNCTION vpk_grant_verifier(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_verifier_by_name_wrapper';

CREATE FUNCTION vpk_grant_admin(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_admin_by_name_wrapper';

CREATE FUNCTION vpk_grant_backup(role regrole)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_backup_wrapper';

CREATE FUNCTION vpk_grant_backup(role text)
RETURNS void
VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vpk_grant_backup_by_name_wrapper';

COMMENT ON FUNCTION vpk_grant_verifier(text) IS 'Grants a role, by its name, the privileges to verify keys, and no others';
COMMENT ON FUNCTION vpk_grant_admin(text) IS 'Grants a role, by its name, the privileges to manage keys, accounts and plans';
COMMENT ON FUNCTION vpk_grant_backup(regrole) IS
    'Grants a role the privileges to dump the extension''s tables, with the hashes of keys in them';
COMMENT ON FUNCTION vpk_grant_backup(text) IS
    'Grants a role, by its name, the privileges to dump the extension''s tables, with the hashes of keys in them';

-- vpk_doctor has five more items: alike_names, schema_usage, additions, subscriptions, event_ids.
ALTER FUNCTION vpk_doctor() ROWS 18;

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

CREATE INDEX events_idempotency_key_idx
    ON vpk.events ((details OPERATOR(pg_catalog.->>) 'idempotency_key'))
    WHERE (details OPERATOR(pg_catalog.->>) 'idempotency_key') IS NOT NULL;

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

-- A superuser who is not the owner of the extension's tables may run an update. What it made goes
-- to that owner, as in a fresh installation. So does what earlier updates made.
DO $$
DECLARE
    path text := pg_catalog.current_setting('search_path');
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        SELECT pg_catalog.format('ALTER %s OWNER TO %I', m.member,
                                 pg_catalog.pg_get_userbyid(k.relowner))
          FROM pg_catalog.pg_class AS k, pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.deptype = 'e',
               LATERAL (
                   SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure::text, p.proowner
                     FROM pg_catalog.pg_proc AS p
                    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
                   UNION ALL
                   SELECT 'TABLE ' || c.oid::pg_catalog.regclass::text, c.relowner
                     FROM pg_catalog.pg_class AS c
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
                      AND c.relkind IN ('r', 'v')
               ) AS m (member, owner)
         WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND e.extname = 'vibepeak_keys'
           AND m.owner <> k.relowner
    LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- Privileges for new functions: nobody but the owner, as in a fresh installation, whatever default
-- privileges there are; and then each role that may call the function beside it. Of several
-- functions with one name, each is listed with the types of its arguments.
--
-- Grants that an update script makes count as the extension's own (pg_init_privs), and pg_dump
-- leaves those out. So the privileges that count as its own are set to those of a fresh
-- installation. From PostgreSQL 17 on, these have dependencies on roles (pg_shdepend), which would
-- keep a role from being dropped.
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
                   ('vpk_client_ip'::text, 'vpk_authenticate'::text),
                   ('vpk_doctor_accept', 'vpk_purge'),
                   ('vpk_rename_account', 'vpk_set_plan'),
                   ('vpk_purge_events', 'vpk_purge'),
                   ('event_actor', NULL),
                   ('vpk_grant_verifier(text)', 'vpk_grant_verifier(regrole)'),
                   ('vpk_grant_admin(text)', 'vpk_grant_admin(regrole)'),
                   ('vpk_grant_backup', NULL)
               ) AS f (name, sibling)
            ON f.name IN (p.proname::text, pg_catalog.format(
                   '%s(%s)', p.proname, pg_catalog.oidvectortypes(p.proargtypes)))
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
                ON s.oid = d.objid
                   AND added.sibling IN (s.proname::text, pg_catalog.format(
                       '%s(%s)', s.proname, pg_catalog.oidvectortypes(s.proargtypes))),
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
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.proowner;
    END LOOP;
END
$$;

-- The same for new tables, views and sequences: nobody but the owner; and then SELECT on tables and
-- sequences for each role that has it on vpk.keys, so that its dumps go on.
DO $$
DECLARE
    added record;
    statement text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR added IN
        SELECT c.oid, c.relkind, c.relowner, c.relacl,
               pg_catalog.concat(CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' END,
                                 c.oid::pg_catalog.regclass) AS relation,
               pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END,
                                     c.relowner) AS own
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'
          JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
         WHERE e.extname = 'vibepeak_keys'
           AND c.oid::text <> ALL (pg_catalog.string_to_array(
                   pg_catalog.current_setting('vibepeak_update.tables'), ','))
    LOOP
        FOR statement IN
            SELECT DISTINCT pg_catalog.format(
                       'REVOKE ALL ON %s FROM %s', added.relation,
                       CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
              FROM pg_catalog.aclexplode(added.relacl) AS a
             WHERE a.grantee <> added.relowner
            UNION ALL
            SELECT DISTINCT pg_catalog.format('GRANT SELECT ON %s TO %I', added.relation,
                                              pg_catalog.pg_get_userbyid(a.grantee))
              FROM pg_catalog.pg_class AS k, LATERAL pg_catalog.aclexplode(k.relacl) AS a
             WHERE k.oid = 'vpk.keys'::pg_catalog.regclass AND a.privilege_type = 'SELECT'
               AND a.grantee NOT IN (0::pg_catalog.oid, k.relowner) AND added.relkind <> 'v'
        LOOP
            EXECUTE statement;
        END LOOP;
        UPDATE pg_catalog.pg_init_privs AS i SET initprivs = added.own
         WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND i.objoid = added.oid AND i.objsubid = 0;
        DELETE FROM pg_catalog.pg_shdepend AS d USING pg_catalog.pg_database AS b
         WHERE b.datname = pg_catalog.current_database() AND d.dbid = b.oid
           AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND d.objid = added.oid AND d.objsubid = 0
           AND d.deptype = 'i' AND d.refobjid <> added.relowner;
    END LOOP;
END
$$;

DROP FUNCTION vpk.grow(pg_catalog.regprocedure, pg_catalog.regprocedure);
