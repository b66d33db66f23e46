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
