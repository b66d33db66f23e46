-- What can be read of keys and codes.

CREATE VIEW vpk.key_list AS
    SELECT k.id,
           k.name,
           k.account,
           k.environment,
           k.prefix,
           k.hint,
           k.created_at,
           u.last_used_at,
           coalesce(u.uses, 0) AS uses,
           k.expires_at,
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

CREATE VIEW vpk.status_codes AS
    SELECT r.status, r.http_status, r.message, r.description
      FROM vpk.status_rows() AS r;

-- One column for each label of vpk_status, in its order.
CREATE VIEW vpk.stats AS
    SELECT s.since,
           s.answers[1]  AS valid,
           s.answers[2]  AS missing_api_key,
           s.answers[3]  AS invalid_api_key,
           s.answers[4]  AS api_key_revoked,
           s.answers[5]  AS api_key_expired,
           s.answers[6]  AS api_key_disabled,
           s.answers[7]  AS ip_not_allowed,
           s.answers[8]  AS plan_required,
           s.answers[9]  AS insufficient_scope,
           s.answers[10] AS rate_limited,
           s.answers[11] AS quota_exceeded,
           s.answers[12] AS concurrency_limit_exceeded,
           s.uses_pending,
           s.uses_flushed,
           s.uses_dropped,
           s.last_flush_at,
           s.last_flush_seconds,
           s.last_error_at,
           s.last_error
      FROM vpk.stats_row() AS s;
