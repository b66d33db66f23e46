-- From 0.4.0 to 0.5.0: vpk.stats picks each answer by the label beside it.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.5.0'" to load this file. \quit

-- Comments, which \df+ and \dt+ show, in plainer words.
COMMENT ON TABLE vpk.plans IS
    'Plans of accounts. Rows may be added, changed and removed; the next verification uses them';
COMMENT ON COLUMN vpk.plans.concurrent_tasks IS
    'How many tasks of an account may run at the same time; null means no limit';
COMMENT ON COLUMN vpk.plans.rank IS
    'Order of the plans in messages, lowest first; without a value, a new plan comes last';
COMMENT ON COLUMN vpk.plans.pristine IS
    'Whether the row is unchanged since CREATE EXTENSION; a trigger maintains it, for dumps';
COMMENT ON COLUMN vpk.accounts.account IS 'Name of the account in the application';
COMMENT ON COLUMN vpk.accounts.created_at IS 'When the account was created';
COMMENT ON COLUMN vpk.accounts.pristine IS
    'Whether the row is unchanged since CREATE EXTENSION; a trigger maintains it, for dumps';
COMMENT ON TABLE vpk.keys IS
    'Issued keys. Only the hash of a key is stored, never the key; read vpk.key_list instead';
COMMENT ON COLUMN vpk.keys.id IS 'Identifies the key everywhere except in a request; UUID version 7';
COMMENT ON COLUMN vpk.keys.name IS 'Name of the key; it need not be unique';
COMMENT ON COLUMN vpk.keys.expires_at IS 'The key is refused from this time on; null means never';
COMMENT ON COLUMN vpk.keys.disabled_at IS 'When the key was disabled; null means enabled';
COMMENT ON COLUMN vpk.keys.revoked_at IS 'When the key was permanently revoked; null means not revoked';
COMMENT ON COLUMN vpk.keys.revoke_reason IS 'Why the key was revoked';
COMMENT ON COLUMN vpk.keys.rotated_from IS 'The key that this key replaced';
COMMENT ON COLUMN vpk.keys.rotated_at IS 'When a successor of the key was issued';
COMMENT ON COLUMN vpk.keys.scopes IS 'Scopes that the key has';
COMMENT ON COLUMN vpk.keys.allowed_ips IS 'Networks that the key may be used from; null means no limit';
COMMENT ON COLUMN vpk.keys.metadata IS 'Data that the application stores with the key';
COMMENT ON TABLE vpk.key_usage IS 'When each key was last used, and how often it was used';
COMMENT ON COLUMN vpk.key_usage.last_used_at IS 'The last successful verification of the key';
COMMENT ON COLUMN vpk.key_usage.uses IS 'Number of successful verifications of the key';
COMMENT ON TABLE vpk.task_leases IS 'Running tasks; a lease counts until it expires or vpk_task_finish releases it';
COMMENT ON COLUMN vpk.task_leases.account IS 'The account whose plan limits the task';
COMMENT ON COLUMN vpk.task_leases.expires_at IS 'When the lease expires';
COMMENT ON TABLE vpk.events IS 'Every change to a key or to the plan of an account, in order';
COMMENT ON COLUMN vpk.events.id IS 'Increases with every event';
COMMENT ON COLUMN vpk.events.occurred_at IS 'Clock time of the event';
COMMENT ON COLUMN vpk.events.key_id IS 'The key, which may no longer exist';
COMMENT ON COLUMN vpk.events.account IS 'The account; null after its deletion';
COMMENT ON COLUMN vpk.events.role IS 'The role that called: that of SET ROLE, or else the role of the session';
COMMENT ON COLUMN vpk.events.details IS 'Further details, never a key or a hash';
COMMENT ON TABLE vpk.removed_defaults IS
    'Built-in rows that were removed, so that a restored database does not have them either';
COMMENT ON VIEW vpk.key_list IS 'Every key, with the columns that a dashboard shows; see vpk_list';
COMMENT ON VIEW vpk.stats IS
    'Counters of this database: answers by status, and uses of keys that are pending, flushed and dropped; null if the library is not preloaded';
COMMENT ON FUNCTION vpk_create(text, text, text, timestamptz, text[], cidr[], jsonb) IS
    'Issues a key. Its token is shown only in this result';
COMMENT ON FUNCTION vpk_verify(text) IS
    'Verifies a token. Never raises an error because of the token, and writes nothing';
COMMENT ON FUNCTION vpk_verify_hash(bytea, inet) IS
    'Verifies a key by its SHA-256, for callers that compute the hash';
COMMENT ON FUNCTION vpk_authenticate(text, text, inet, text, text) IS
    'Verifies the value of an Authorization header; returns the status, the key''s owner and the response to send';
COMMENT ON FUNCTION vpk_error(vpk_status, text, text) IS
    'Returns the JSON body for a status; null for VALID';
COMMENT ON FUNCTION vpk_revoke(uuid, text) IS
    'Revokes a key permanently; returns when it was first revoked';
COMMENT ON FUNCTION vpk_revoke_token(text, text) IS
    'Revokes the key in a text, such as a leaked token; returns its id, or null if there is no such key';
COMMENT ON FUNCTION vpk_revoke_account(text, text) IS
    'Revokes every key of an account; returns the number of keys that it revoked';
COMMENT ON FUNCTION vpk_rotate(uuid, interval, timestamptz) IS
    'Issues a successor of a key; the old key ends after the grace period, or immediately';
COMMENT ON FUNCTION vpk_update(uuid, text, timestamptz, text[], cidr[], jsonb) IS
    'Changes a key. Null leaves a field unchanged, infinity removes the expiry, an empty list of networks removes their limit';
COMMENT ON FUNCTION vpk_disable(uuid) IS
    'Disables a key until vpk_enable is called; returns when it was disabled';
COMMENT ON FUNCTION vpk_enable(uuid) IS 'Enables a disabled key';
COMMENT ON FUNCTION vpk_purge(timestamptz) IS
    'Deletes keys that were revoked or expired before a time; returns their number';
COMMENT ON FUNCTION vpk_delete_account(text) IS
    'Deletes an account with its keys, leases and usage; returns the number of keys';
COMMENT ON FUNCTION vpk_list(text, uuid, uuid, integer) IS
    'Lists keys with the columns that a dashboard shows, newest first';
COMMENT ON FUNCTION vpk_set_plan(text, text) IS
    'Sets the plan of an account, and creates the account if it does not exist';
COMMENT ON FUNCTION vpk_task_start(text, interval, inet, text) IS
    'Verifies a key and starts one of the concurrent tasks that the account''s plan allows';
COMMENT ON FUNCTION vpk_task_extend(uuid, interval) IS
    'Extends the lease of a running task; returns its new expiry, or null if the lease no longer exists';
COMMENT ON FUNCTION vpk_task_finish(uuid) IS
    'Releases the lease of a task; returns whether it was still running';
COMMENT ON FUNCTION vpk_grant_verifier(regrole) IS 'Grants a role the privileges to verify keys, and no others';
COMMENT ON FUNCTION vpk_grant_admin(regrole) IS 'Grants a role the privileges to manage keys, accounts and plans';
COMMENT ON FUNCTION vpk_doctor() IS
    'Checks the installation; returns advice for each problem';
COMMENT ON FUNCTION vpk_pending_uses(integer) IS
    'On a standby: returns pending uses of keys, to be added on the primary; no other transaction gets them until this one ends';
COMMENT ON FUNCTION vpk_settle_uses(uuid, bigint) IS
    'On a standby: subtracts pending uses that were added on the primary; returns their number';
COMMENT ON FUNCTION vpk_add_uses(uuid, timestamptz, bigint) IS
    'On the primary: adds uses that a standby counted; returns whether the key exists';
COMMENT ON FUNCTION vpk.plan_in_use(text) IS 'Returns whether an account is on a plan; for the triggers on vpk.plans';

-- Last, since readers of vpk.stats wait from here on until the update has committed.
--
-- The function gets one more column and another name in the library; the library keeps the old name
-- for databases that were not updated. The catalogue row is changed in place, as update scripts of
-- the server's own extensions do, so that everybody keeps the privilege to call the function. A new
-- function would need new grants. Grants that an update script makes count as the extension's own
-- (pg_init_privs), and pg_dump leaves those out.
DO $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    UPDATE pg_catalog.pg_proc AS p
       SET prosrc = 'labelled_stats_row_wrapper',
           proallargtypes = pg_catalog.array_append(
               p.proallargtypes, 'pg_catalog.text[]'::pg_catalog.regtype::pg_catalog.oid),
           proargmodes = pg_catalog.array_append(p.proargmodes, 't'),
           proargnames = pg_catalog.array_append(p.proargnames, 'statuses')
     WHERE p.oid = 'vpk.stats_row()'::pg_catalog.regprocedure;
    -- As CREATE FUNCTION does: the library that is loaded has to have that function.
    PERFORM pg_catalog.fmgr_c_validator('vpk.stats_row()'::pg_catalog.regprocedure);
END
$$;

CREATE OR REPLACE VIEW vpk.stats AS
    SELECT s.since,
           s.answers[pg_catalog.array_position(s.statuses, 'VALID')] AS valid,
           s.answers[pg_catalog.array_position(s.statuses, 'MISSING_API_KEY')] AS missing_api_key,
           s.answers[pg_catalog.array_position(s.statuses, 'INVALID_API_KEY')] AS invalid_api_key,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_REVOKED')] AS api_key_revoked,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_EXPIRED')] AS api_key_expired,
           s.answers[pg_catalog.array_position(s.statuses, 'API_KEY_DISABLED')] AS api_key_disabled,
           s.answers[pg_catalog.array_position(s.statuses, 'IP_NOT_ALLOWED')] AS ip_not_allowed,
           s.answers[pg_catalog.array_position(s.statuses, 'PLAN_REQUIRED')] AS plan_required,
           s.answers[pg_catalog.array_position(s.statuses, 'INSUFFICIENT_SCOPE')]
               AS insufficient_scope,
           s.answers[pg_catalog.array_position(s.statuses, 'RATE_LIMITED')] AS rate_limited,
           s.answers[pg_catalog.array_position(s.statuses, 'QUOTA_EXCEEDED')] AS quota_exceeded,
           s.answers[pg_catalog.array_position(s.statuses, 'CONCURRENCY_LIMIT_EXCEEDED')]
               AS concurrency_limit_exceeded,
           s.uses_pending,
           s.uses_flushed,
           s.uses_dropped,
           s.last_flush_at,
           s.last_flush_seconds,
           s.last_error_at,
           s.last_error
      FROM vpk.stats_row() AS s;
