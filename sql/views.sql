-- Views on keys, statuses, counters and limits.

CREATE VIEW vpk.key_list AS
    SELECT k.id,
           k.name,
           k.account,
           k.environment,
           k.prefix,
           k.hint,
           k.created_at,
           vpk.current_last_use(k.id, u.last_used_at) AS last_used_at,
           vpk.current_uses(k.id, u.uses) AS uses,
           -- Some drivers cannot read a year beyond 9999. Earlier releases accepted such an end.
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
           END AS state,
           k.scopes
      FROM vpk.keys AS k
      LEFT JOIN vpk.key_usage AS u ON u.key_id = k.id;

CREATE VIEW vpk.status_codes AS
    SELECT r.status, r.http_status, r.message, r.description
      FROM vpk.status_rows() AS r;

-- One column for each label of vpk_status, in its order; null where the library has no such label.
CREATE VIEW vpk.stats AS
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
           s.last_error,
           s.limits_unenforced
      FROM vpk.stats_row() AS s;

-- Each of these names a plan, an account or a key. The names have one collation, so that they can
-- be sorted.
CREATE VIEW vpk.rate_limits AS
    SELECT 'plan'::pg_catalog.text AS subject, p.plan COLLATE pg_catalog."C" AS name,
           r.policy, r.amount, r.period, r.burst
      FROM vpk.plans AS p, vpk.rate_limit_rows(p.rate_limits) AS r
     WHERE p.rate_limits IS NOT NULL
    UNION ALL
    SELECT 'account', a.account COLLATE pg_catalog."C", r.policy, r.amount, r.period, r.burst
      FROM vpk.accounts AS a, vpk.rate_limit_rows(a.rate_limits) AS r
     WHERE a.rate_limits IS NOT NULL
    UNION ALL
    SELECT 'key', k.id::pg_catalog.text COLLATE pg_catalog."C", r.policy, r.amount, r.period, r.burst
      FROM vpk.keys AS k, vpk.rate_limit_rows(k.rate_limits) AS r
     WHERE k.rate_limits IS NOT NULL;

CREATE VIEW vpk.quotas AS
    SELECT 'plan'::pg_catalog.text AS subject, p.plan COLLATE pg_catalog."C" AS name,
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.plans AS p, vpk.quota_rows(p.quotas) AS q
     WHERE p.quotas IS NOT NULL
    UNION ALL
    SELECT 'account', a.account COLLATE pg_catalog."C",
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.accounts AS a, vpk.quota_rows(a.quotas) AS q
     WHERE a.quotas IS NOT NULL
    UNION ALL
    SELECT 'key', k.id::pg_catalog.text COLLATE pg_catalog."C",
           q.meter, q.period, q.amount, q.time_zone, q.anchor, q.warn_at
      FROM vpk.keys AS k, vpk.quota_rows(k.quotas) AS q
     WHERE k.quotas IS NOT NULL;
