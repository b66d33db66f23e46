-- The last part of the install script, when all objects exist: comments, row estimates, privileges.

ALTER TABLE vpk.events ALTER COLUMN actor SET DEFAULT vpk.event_actor();

-- Comments, which \df+, \dt+ and \dv+ show.

COMMENT ON SCHEMA vpk IS 'API keys: tables and views of extension vibepeak_keys';

COMMENT ON TYPE vpk.vpk_status IS
    'The answer to a presented API key, in order of precedence after VALID; see vpk.status_codes';

COMMENT ON TABLE vpk.plans IS
    'Plans of accounts. Rows may be added, changed and removed; the next verification uses them';
COMMENT ON COLUMN vpk.plans.plan IS 'Name of the plan, as error messages show it';
COMMENT ON COLUMN vpk.plans.api_access IS 'Whether keys of accounts on this plan are accepted';
COMMENT ON COLUMN vpk.plans.concurrent_tasks IS
    'How many tasks of an account may run at the same time; null means no limit';
COMMENT ON COLUMN vpk.plans.rank IS
    'Order of the plans in messages, lowest first; without a value, a new plan comes last';
COMMENT ON COLUMN vpk.plans.pristine IS
    'Whether the row is unchanged since CREATE EXTENSION; a trigger maintains it, for dumps';
COMMENT ON COLUMN vpk.plans.rate_limits IS
    'Rate limits of accounts on the plan, such as minute=100/1min+150; see vpk_set_rate_limit';
COMMENT ON COLUMN vpk.plans.quotas IS
    'Quotas of accounts on the plan, such as calls=10000/month; see vpk_set_quota';

COMMENT ON TABLE vpk.accounts IS 'Accounts that own keys, and their plans; see vpk_set_plan';
COMMENT ON COLUMN vpk.accounts.account IS 'Name of the account in the application';
COMMENT ON COLUMN vpk.accounts.plan IS 'The plan that the account is on';
COMMENT ON COLUMN vpk.accounts.created_at IS 'When the account was created';
COMMENT ON COLUMN vpk.accounts.pristine IS
    'Whether the row is unchanged since CREATE EXTENSION; a trigger maintains it, for dumps';
COMMENT ON COLUMN vpk.accounts.rate_limits IS
    'Rate limits of the account; they replace those of the same name of its plan';
COMMENT ON COLUMN vpk.accounts.quotas IS
    'Quotas of the account; they replace those of the same meter and period of its plan';
COMMENT ON COLUMN vpk.accounts.quota_grants IS
    'What the account was granted beyond its quotas, with the periods that it is for';

COMMENT ON TABLE vpk.keys IS
    'Issued keys. Only the hash of a key is stored, never the key; read vpk.key_list instead';
COMMENT ON COLUMN vpk.keys.id IS 'Identifies the key everywhere except in a request; UUID version 7';
COMMENT ON COLUMN vpk.keys.key_hash IS 'SHA-256 of the whole key';
COMMENT ON COLUMN vpk.keys.account IS 'The account that owns the key';
COMMENT ON COLUMN vpk.keys.environment IS 'live or test';
COMMENT ON COLUMN vpk.keys.name IS 'Name of the key; it need not be unique';
COMMENT ON COLUMN vpk.keys.prefix IS 'First 8 characters of the key, the same for all of an environment';
COMMENT ON COLUMN vpk.keys.hint IS 'First 13 characters of the key, to tell keys apart';
COMMENT ON COLUMN vpk.keys.created_at IS 'When the key was issued';
COMMENT ON COLUMN vpk.keys.expires_at IS 'The key is refused from this time on; null means never';
COMMENT ON COLUMN vpk.keys.disabled_at IS 'When the key was disabled; null means enabled';
COMMENT ON COLUMN vpk.keys.revoked_at IS 'When the key was permanently revoked; null means not revoked';
COMMENT ON COLUMN vpk.keys.revoke_reason IS 'Why the key was revoked';
COMMENT ON COLUMN vpk.keys.rotated_from IS 'The key that this key replaced';
COMMENT ON COLUMN vpk.keys.rotated_at IS 'When a successor of the key was issued';
COMMENT ON COLUMN vpk.keys.scopes IS 'Scopes that the key has';
COMMENT ON COLUMN vpk.keys.allowed_ips IS 'Networks that the key may be used from; null means no limit';
COMMENT ON COLUMN vpk.keys.metadata IS 'Data that the application stores with the key';
COMMENT ON COLUMN vpk.keys.rate_limits IS
    'Rate limits of the key; they replace those of the same name of its plan';
COMMENT ON COLUMN vpk.keys.quotas IS
    'Quotas of the key; they replace those of the same meter and period of its plan';

COMMENT ON TABLE vpk.key_usage IS 'When each key was last used, and how often it was used';
COMMENT ON COLUMN vpk.key_usage.key_id IS 'The key';
COMMENT ON COLUMN vpk.key_usage.last_used_at IS 'The last successful verification of the key';
COMMENT ON COLUMN vpk.key_usage.uses IS 'Number of successful verifications of the key';
COMMENT ON COLUMN vpk.key_usage.uses_in_hour IS
    'Number of them in the hour (UTC) of the last one; null if that was counted by a release before 0.10.0';

COMMENT ON TABLE vpk.usage_history IS
    'How often keys were used and refused in each hour, and before the last 8 days in each day; see vpk_usage';
COMMENT ON COLUMN vpk.usage_history.starts_at IS 'When the hour or the day begins, in UTC';
COMMENT ON COLUMN vpk.usage_history.key_id IS 'The key';
COMMENT ON COLUMN vpk.usage_history.status IS 'VALID for uses, or the status with which the key was refused';
COMMENT ON COLUMN vpk.usage_history.uses IS
    'Number of answers of this status; the uses in the hour of a key''s last use are in vpk.key_usage';

COMMENT ON TABLE vpk.charge_history IS
    'What was charged to quotas in each hour, and before the last 8 days in each day; see vpk_usage';
COMMENT ON COLUMN vpk.charge_history.starts_at IS 'When the hour or the day begins, in UTC';
COMMENT ON COLUMN vpk.charge_history.key_id IS
    'The last key that charged the quota before a flush; its account is the one that was charged';
COMMENT ON COLUMN vpk.charge_history.kind IS 'key if the quota is the key''s own, or account';
COMMENT ON COLUMN vpk.charge_history.meter IS 'What is counted';
COMMENT ON COLUMN vpk.charge_history.amount IS 'How much was charged; less than 0 where more was given back';

COMMENT ON TABLE vpk.quota_usage IS
    'What is used of quotas in each period, without what only the memory has; see vpk_quota';
COMMENT ON COLUMN vpk.quota_usage.subject IS 'The account, or the id of the key';
COMMENT ON COLUMN vpk.quota_usage.kind IS 'account or key';
COMMENT ON COLUMN vpk.quota_usage.meter IS 'What is counted';
COMMENT ON COLUMN vpk.quota_usage.span IS 'The length of the period: hour, day, week, month, year or total';
COMMENT ON COLUMN vpk.quota_usage.period_start IS 'When the period began; -infinity for total';
COMMENT ON COLUMN vpk.quota_usage.used IS 'How much was used';
COMMENT ON COLUMN vpk.quota_usage.warned IS 'Whether the event quota_warning was recorded';
COMMENT ON COLUMN vpk.quota_usage.updated_at IS 'When the row was last written';

COMMENT ON TABLE vpk.charges IS
    'The idempotency keys of charges and grants, for as long as a repeated call changes nothing';
COMMENT ON COLUMN vpk.charges.account IS 'The account';
COMMENT ON COLUMN vpk.charges.kind IS 'charge or grant';
COMMENT ON COLUMN vpk.charges.meter IS 'What is counted';
COMMENT ON COLUMN vpk.charges.idempotency_key IS 'The name of the request';
COMMENT ON COLUMN vpk.charges.kept_until IS 'From this time on the row may be removed';

COMMENT ON TABLE vpk.task_leases IS 'Running tasks; a lease counts until it expires or vpk_task_finish releases it';
COMMENT ON COLUMN vpk.task_leases.lease IS 'Identifies the lease; UUID version 4';
COMMENT ON COLUMN vpk.task_leases.account IS 'The account whose plan limits the task';
COMMENT ON COLUMN vpk.task_leases.key_id IS 'The key that started the task';
COMMENT ON COLUMN vpk.task_leases.started_at IS 'When the task started';
COMMENT ON COLUMN vpk.task_leases.expires_at IS 'When the lease expires';

COMMENT ON TABLE vpk.events IS 'Every change to a key, to the plan of an account or to a limit, in order';
COMMENT ON COLUMN vpk.events.id IS 'Increases with every event';
COMMENT ON COLUMN vpk.events.occurred_at IS 'Clock time of the event';
COMMENT ON COLUMN vpk.events.event IS
    'key_created, key_updated, key_rotated, key_revoked, key_disabled, key_enabled, key_purged, key_deleted, plan_set, rate_limit_set, rate_limit_removed, quota_set, quota_removed, account_renamed, account_deleted, quota_granted, quota_warning or events_purged';
COMMENT ON COLUMN vpk.events.key_id IS 'The key, which may no longer exist';
COMMENT ON COLUMN vpk.events.account IS 'The account; null after its deletion';
COMMENT ON COLUMN vpk.events.role IS 'The role that called: that of SET ROLE, or else the role of the session';
COMMENT ON COLUMN vpk.events.session_role IS 'The role that logged in';
COMMENT ON COLUMN vpk.events.details IS 'Further details, never a key or a hash';
COMMENT ON COLUMN vpk.events.actor IS
    'Who acted through the role: the setting vibepeak_keys.actor at the time of the call';

COMMENT ON TABLE vpk.accepted_findings IS
    'Findings of vpk_doctor that somebody has accepted for a time; see vpk_doctor_accept';
COMMENT ON COLUMN vpk.accepted_findings.item IS 'The item of vpk_doctor';
COMMENT ON COLUMN vpk.accepted_findings.what IS 'What was found: an entry that the detail lists, or all of a detail';
COMMENT ON COLUMN vpk.accepted_findings.until IS 'From this time on the finding is not accepted any more';
COMMENT ON COLUMN vpk.accepted_findings.accepted_at IS 'When it was accepted';
COMMENT ON COLUMN vpk.accepted_findings.role IS 'The role that called: that of SET ROLE, or else the role of the session';
COMMENT ON COLUMN vpk.accepted_findings.session_role IS 'The role that logged in';

COMMENT ON TABLE vpk.removed_defaults IS
    'Built-in rows that were removed, so that a restored database does not have them either';

COMMENT ON VIEW vpk.key_list IS 'Every key, with the columns that a dashboard shows; see vpk_list';
COMMENT ON VIEW vpk.stats IS
    'Counters of this database: answers by status, uses of keys that are pending, flushed and dropped, and limits that were not enforced; null if the library is not preloaded';
COMMENT ON VIEW vpk.status_codes IS 'The error table: every status with its HTTP status and message';
COMMENT ON VIEW vpk.rate_limits IS
    'Every rate limit: the plan, account or key that it was set for, and what it allows; see vpk_set_rate_limit';
COMMENT ON VIEW vpk.quotas IS
    'Every quota: the plan, account or key that it was set for, and what it allows; see vpk_set_quota';

COMMENT ON FUNCTION vpk_create(text, text, text, timestamptz, text[], cidr[], jsonb, text) IS
    'Issues a key. Its token is shown only in this result';
COMMENT ON FUNCTION vpk_verify(text) IS
    'Verifies a token. Never raises an error because of the token, and writes nothing';
COMMENT ON FUNCTION vpk_verify_hash(bytea, inet) IS
    'Verifies a key by its SHA-256, for callers that compute the hash';
COMMENT ON FUNCTION vpk_authenticate(text, text, inet, text, text, integer) IS
    'Verifies the value of an Authorization header; returns the status, the key''s owner and the response to send';
COMMENT ON FUNCTION vpk_client_ip(text) IS
    'Returns the last address in the value of a header such as X-Forwarded-For, without port and zone; null if it is no address. Never raises an error because of the value';
COMMENT ON FUNCTION vpk_error(vpk.vpk_status, text, text) IS
    'Returns the JSON body for a status; null for VALID';
COMMENT ON FUNCTION vpk_revoke(uuid, text) IS
    'Revokes a key permanently; returns when it was first revoked';
COMMENT ON FUNCTION vpk_revoke_token(text, text) IS
    'Revokes the key in a text, such as a leaked token; returns its id, or null if there is no such key';
COMMENT ON FUNCTION vpk_revoke_account(text, text) IS
    'Revokes every key of an account; returns the number of keys that it revoked';
COMMENT ON FUNCTION vpk_rotate(uuid, interval, timestamptz, text) IS
    'Issues a successor of a key; the old key ends after the grace period, or immediately';
COMMENT ON FUNCTION vpk_update(uuid, text, timestamptz, text[], cidr[], jsonb) IS
    'Changes a key. Null leaves a field unchanged, infinity removes the expiry, an empty list of networks removes their limit';
COMMENT ON FUNCTION vpk_disable(uuid) IS
    'Disables a key until vpk_enable is called; returns when it was disabled';
COMMENT ON FUNCTION vpk_enable(uuid) IS 'Enables a disabled key';
COMMENT ON FUNCTION vpk_purge(timestamptz, integer) IS
    'Deletes keys that were revoked or expired before a time, at most so many; returns their number';
COMMENT ON FUNCTION vpk_purge_events(timestamptz, integer) IS
    'Deletes events of before a time, at most so many; returns their number';
COMMENT ON FUNCTION vpk_delete_account(text) IS
    'Deletes an account with its keys, leases and usage; returns the number of keys';
COMMENT ON FUNCTION vpk_list(text, uuid, uuid, integer, text) IS
    'Lists keys with the columns that a dashboard shows, newest first';
COMMENT ON FUNCTION vpk_set_plan(text, text) IS
    'Sets the plan of an account, and creates the account if it does not exist';
COMMENT ON FUNCTION vpk_rename_account(text, text) IS
    'Gives an account with its keys, leases and events another name; returns the number of keys';
COMMENT ON FUNCTION vpk_set_rate_limit(text, integer, interval, integer, text, text, uuid) IS
    'Sets how many calls may pass in a period, for a plan, an account or a key; an amount of null removes the limit';
COMMENT ON FUNCTION vpk_set_quota(bigint, text, text, text, text, uuid, text, date, real) IS
    'Sets how much may be used in an hour, day, week, month, year or in total, for a plan, an account or a key; an amount of null removes the quota';
COMMENT ON FUNCTION vpk_task_start(text, interval, inet, text, text, text, integer) IS
    'Verifies a key and starts one of the concurrent tasks that the account''s plan allows';
COMMENT ON FUNCTION vpk_rate_limit(text, integer, interval, integer, integer) IS
    'Limits how often something happens, by an identifier of the application''s. Writes nothing';
COMMENT ON FUNCTION vpk_rate_limit_state(text, uuid) IS
    'Returns the rate limits of an account or of a key, and what is left of each on this server';
COMMENT ON FUNCTION vpk_reset_rate_limit(text, uuid, text) IS
    'Gives back what is used of the rate limits of an account or of a key, on this server; returns of how many';
COMMENT ON FUNCTION vpk_task_extend(uuid, interval) IS
    'Extends the lease of a running task; returns its new expiry, or null if the lease no longer exists';
COMMENT ON FUNCTION vpk_task_finish(uuid) IS
    'Releases the lease of a task; returns whether it was still running';
COMMENT ON FUNCTION vpk_quota(text, uuid) IS
    'Returns what an account or a key has used of each of its quotas, and when they are renewed';
COMMENT ON FUNCTION vpk_grant_quota(text, bigint, text, text, text, text) IS
    'Grants an account more than a quota for its current period; returns what remains';
COMMENT ON FUNCTION vpk_charge(uuid, bigint, text, text) IS
    'Charges the quotas of a key and its account for what a request took; returns what remains, or null without a quota';
COMMENT ON FUNCTION vpk_pending_charges(integer) IS
    'On a standby: returns pending charges of quotas, to be added on the primary; they do not count here until the transaction ends';
COMMENT ON FUNCTION vpk_settle_charges(bigint) IS
    'On a standby: removes a pending charge that was added on the primary; returns whether it was pending';
COMMENT ON FUNCTION vpk_add_charges(uuid, text, text, text, timestamptz, bigint, bigint, bigint, timestamptz) IS
    'On the primary: adds a charge of a quota that a standby counted; returns whether the key exists';
COMMENT ON FUNCTION vpk_grant_verifier(regrole) IS 'Grants a role the privileges to verify keys, and no others';
COMMENT ON FUNCTION vpk_grant_verifier(text) IS 'Grants a role, by its name, the privileges to verify keys, and no others';
COMMENT ON FUNCTION vpk_grant_admin(regrole) IS 'Grants a role the privileges to manage keys, accounts and plans';
COMMENT ON FUNCTION vpk_grant_admin(text) IS 'Grants a role, by its name, the privileges to manage keys, accounts and plans';
COMMENT ON FUNCTION vpk_grant_backup(regrole) IS
    'Grants a role the privileges to dump the extension''s tables, with the hashes of keys in them';
COMMENT ON FUNCTION vpk_grant_backup(text) IS
    'Grants a role, by its name, the privileges to dump the extension''s tables, with the hashes of keys in them';
COMMENT ON FUNCTION vpk_doctor() IS
    'Checks the installation; returns advice for each problem';
COMMENT ON FUNCTION vpk_doctor_accept(text, text, timestamptz) IS
    'Accepts what vpk_doctor finds of an item until a time; a time in the past takes that back';
COMMENT ON FUNCTION vpk_pending_uses(integer) IS
    'On a standby: returns pending uses of keys, to be added on the primary; no other transaction gets them until this one ends';
COMMENT ON FUNCTION vpk_settle_uses(uuid, bigint) IS
    'On a standby: subtracts pending uses that were added on the primary; returns their number';
COMMENT ON FUNCTION vpk_usage(text, uuid, timestamptz, timestamptz, interval) IS
    'Returns how often keys were used and refused over time: those of an account, one key, or all';
COMMENT ON FUNCTION vpk_add_uses(uuid, timestamptz, bigint) IS
    'On the primary: adds uses that a standby counted; returns whether the key exists';
COMMENT ON FUNCTION vpk.plan_in_use(text) IS 'Returns whether an account is on a plan; for the triggers on vpk.plans';
COMMENT ON FUNCTION vpk.event_actor() IS 'Returns who acts through the role that calls; the default of vpk.events.actor';
COMMENT ON FUNCTION vpk.check_plan(text) IS 'Checks the name of a new plan; for a trigger on vpk.plans';
COMMENT ON FUNCTION vpk.checked_rate_limits(text) IS
    'Returns rate limits in the spelling in which they are stored; for the triggers on vpk.plans and vpk.accounts';
COMMENT ON FUNCTION vpk.checked_quotas(text) IS
    'Returns quotas in the spelling in which they are stored; for the triggers on vpk.plans and vpk.accounts';
COMMENT ON FUNCTION vpk.rate_limit_rows(text) IS 'The rows of vpk.rate_limits for one text';
COMMENT ON FUNCTION vpk.quota_rows(text) IS 'The rows of vpk.quotas for one text';
COMMENT ON FUNCTION vpk.current_uses(uuid, bigint) IS
    'Returns how often a key was used, for vpk.key_list: what its table shows, and what only the memory has';
COMMENT ON FUNCTION vpk.current_last_use(uuid, timestamptz) IS
    'Returns when a key was last used, for vpk.key_list: what its table shows, or what only the memory has';
COMMENT ON FUNCTION vpk.stats_row() IS 'The row of vpk.stats';
COMMENT ON FUNCTION vpk.status_rows() IS 'The rows of vpk.status_codes';

-- Row estimates. The default is 1000.
ALTER FUNCTION vpk_create(text, text, text, timestamptz, text[], cidr[], jsonb, text) ROWS 1;
ALTER FUNCTION vpk_authenticate(text, text, inet, text, text, integer) ROWS 1;
ALTER FUNCTION vpk_rotate(uuid, interval, timestamptz, text) ROWS 1;
ALTER FUNCTION vpk_update(uuid, text, timestamptz, text[], cidr[], jsonb) ROWS 1;
ALTER FUNCTION vpk_quota(text, uuid) ROWS 4;
ALTER FUNCTION vpk_task_start(text, interval, inet, text, text, text, integer) ROWS 1;
ALTER FUNCTION vpk_usage(text, uuid, timestamptz, timestamptz, interval) ROWS 200;
ALTER FUNCTION vpk_rate_limit(text, integer, interval, integer, integer) ROWS 1;
ALTER FUNCTION vpk_rate_limit_state(text, uuid) ROWS 4;
ALTER FUNCTION vpk_doctor() ROWS 20;
ALTER FUNCTION vpk.rate_limit_rows(text) ROWS 2;
ALTER FUNCTION vpk.quota_rows(text) ROWS 2;
ALTER FUNCTION vpk.stats_row() ROWS 1;
ALTER FUNCTION vpk.status_rows() ROWS 12;

-- Privileges. Only the owner has any at first, and pg_read_all_data those below. Those that PUBLIC
-- or another role got at creation, by default privileges of the installing role, are revoked.
-- vpk_grant_admin and vpk_grant_verifier grant what a role needs.

DO $$
DECLARE
    statement text;
BEGIN
    -- While the extension is created, its schema is on the search path. Anyone who may create
    -- objects in that schema could add an operator that fits better than the server's own.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR statement IN
        WITH members AS (
            SELECT d.classid, d.objid
              FROM pg_catalog.pg_depend AS d
              JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
             WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
               AND d.deptype = 'e'
               AND e.extname = 'vibepeak_keys'
        ), objects AS (
            SELECT 'FUNCTION' AS kind, p.oid::pg_catalog.regprocedure::text AS object, p.proowner AS owner,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
              FROM members AS m JOIN pg_catalog.pg_proc AS p ON p.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
            UNION ALL
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                   c.oid::pg_catalog.regclass::text, c.relowner,
                   coalesce(c.relacl, pg_catalog.acldefault(
                       CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner))
              FROM members AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
               AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'TYPE', t.oid::pg_catalog.regtype::text, t.typowner,
                   coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
              FROM members AS m JOIN pg_catalog.pg_type AS t ON t.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid
               AND t.typtype = 'e'
            UNION ALL
            SELECT 'SCHEMA', pg_catalog.quote_ident(n.nspname), n.nspowner,
                   coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
              FROM members AS m JOIN pg_catalog.pg_namespace AS n ON n.oid = m.objid
             WHERE m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid
        )
        SELECT DISTINCT pg_catalog.format(
                   'REVOKE ALL ON %s %s FROM %s', o.kind, o.object,
                   CASE a.grantee WHEN 0::pg_catalog.oid THEN 'PUBLIC'
                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM objects AS o, LATERAL pg_catalog.aclexplode(o.acl) AS a
         WHERE a.grantee <> o.owner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- A view calls its functions with the privileges of the role that reads it. Members of this role
-- may read every view, and need these functions for vpk.key_list, vpk.rate_limits and vpk.quotas.
-- They tell nothing that is not in these views.

GRANT EXECUTE ON FUNCTION vpk.current_uses(uuid, bigint),
    vpk.current_last_use(uuid, timestamptz), vpk.rate_limit_rows(text), vpk.quota_rows(text)
    TO pg_read_all_data;

-- A warning if callers can find objects of others by the names of the extension.

DO $$
DECLARE
    doctor text;
    finding record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT p.oid::pg_catalog.regprocedure::text INTO STRICT doctor
      FROM pg_catalog.pg_depend AS d
      JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
      JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
     WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
       AND d.deptype = 'e'
       AND e.extname = 'vibepeak_keys'
       AND p.proname = 'vpk_doctor';
    FOR finding IN EXECUTE pg_catalog.format(
        'SELECT d.detail, d.advice FROM %s AS d WHERE d.item = ''names'' AND NOT d.ok', doctor)
    LOOP
        RAISE WARNING '%', finding.detail USING HINT = finding.advice;
    END LOOP;
END
$$;
