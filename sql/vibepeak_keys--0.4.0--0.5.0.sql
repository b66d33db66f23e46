-- From 0.4.0 to 0.5.0: vpk.stats picks each answer by the label beside it.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.5.0'" to load this file. \quit

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
