//! Statements that change and list keys. Each change and its events are one statement.

use pgrx::pg_sys::{
    BOOLOID, BYTEAOID, CIDRARRAYOID, INT4OID, INTERVALOID, JSONBOID, TEXTARRAYOID, TEXTOID,
    TIMESTAMPTZOID, UUIDOID,
};

use crate::pg::sql::statement::Statement;

/// Id, hash, account, environment, name, prefix, hint, created_at, expires_at, scopes, allowed_ips,
/// metadata, role, session role. A row when it is made, none where the account is unknown.
pub static CREATE: Statement = Statement::new(
    c"WITH owner AS (
        SELECT a.account FROM vpk.accounts AS a WHERE a.account = $3 FOR KEY SHARE
    ), created AS (
        INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint, created_at,
                              expires_at, scopes, allowed_ips, metadata)
        SELECT $1, $2, o.account, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM owner AS o
        RETURNING id, account
    )
    INSERT INTO vpk.events (event, key_id, account, role, session_role)
    SELECT 'key_created', c.id, c.account, $13, $14 FROM created AS c
    RETURNING key_id",
    &[
        UUIDOID,
        BYTEAOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTARRAYOID,
        CIDRARRAYOID,
        JSONBOID,
        TEXTOID,
        TEXTOID,
    ],
);

/// The keys that a revocation reaches are named by the condition; the rest is the same for all.
macro_rules! revoke {
    ($condition:literal, $types:expr) => {
        Statement::new(
            match core::ffi::CStr::from_bytes_with_nul(
                concat!(
                    "WITH revoked AS (
                        UPDATE vpk.keys AS k
                           SET revoked_at = pg_catalog.clock_timestamp(), revoke_reason = $2
                         WHERE k.revoked_at IS NULL AND ",
                    $condition,
                    " RETURNING k.id, k.account, k.revoked_at
                    ), recorded AS (
                        INSERT INTO vpk.events (event, key_id, account, role, session_role, details)
                        SELECT 'key_revoked', r.id, r.account, $3, $4,
                               pg_catalog.jsonb_strip_nulls(
                                   pg_catalog.jsonb_build_object('reason', $2))
                          FROM revoked AS r
                    )
                    SELECT r.id, r.revoked_at FROM revoked AS r\0"
                )
                .as_bytes(),
            ) {
                Ok(sql) => sql,
                Err(_) => panic!("the statement ends in its only NUL"),
            },
            $types,
        )
    };
}

/// Id, reason, role, session role. A row where it was not revoked before.
pub static REVOKE: Statement = revoke!("k.id = $1", &[UUIDOID, TEXTOID, TEXTOID, TEXTOID]);
/// Hash, reason, role, session role. A row where it was not revoked before.
pub static REVOKE_HASH: Statement =
    revoke!("k.key_hash = $1", &[BYTEAOID, TEXTOID, TEXTOID, TEXTOID]);
/// Account, reason, role, session role. A row for each that was not revoked before.
pub static REVOKE_ACCOUNT: Statement =
    revoke!("k.account = $1", &[TEXTOID, TEXTOID, TEXTOID, TEXTOID]);

/// Id. Its revoked_at, where there is such a key.
pub static REVOKED_AT: Statement =
    Statement::new(c"SELECT k.revoked_at FROM vpk.keys AS k WHERE k.id = $1", &[UUIDOID]);
/// Hash. Its id, where there is such a key.
pub static ID_OF_HASH: Statement =
    Statement::new(c"SELECT k.id FROM vpk.keys AS k WHERE k.key_hash = $1", &[BYTEAOID]);

/// Id. A row where there is such a key; nobody can delete its account until the transaction ends.
pub static LOCK_ACCOUNT: Statement = Statement::new(
    c"SELECT a.account FROM vpk.keys AS k JOIN vpk.accounts AS a ON a.account = k.account
       WHERE k.id = $1 FOR KEY SHARE OF a",
    &[UUIDOID],
);

/// Id, grace. What decides whether the key can be rotated, and what its successor has in common with
/// it: revoked, expired, rotated, whether the grace is out of range, environment, name, account,
/// expires_at.
pub static LOCK_FOR_ROTATION: Statement = Statement::new(
    c"SELECT k.revoked_at IS NOT NULL,
             coalesce(k.expires_at <= pg_catalog.clock_timestamp(), false),
             k.rotated_at IS NOT NULL,
             $2 NOT BETWEEN interval '0' AND interval '100 years'
                 OR pg_catalog.now() + $2 < pg_catalog.now(),
             k.environment, k.name, k.account, k.expires_at
        FROM vpk.keys AS k WHERE k.id = $1 FOR NO KEY UPDATE",
    &[UUIDOID, INTERVALOID],
);

/// Id, grace, the successor's id, hash, prefix, hint, created_at and expires_at, role, session role.
/// One row.
pub static ROTATE: Statement = Statement::new(
    c"WITH old AS (
        SELECT k.* FROM vpk.keys AS k WHERE k.id = $1
    ), retired AS (
        UPDATE vpk.keys AS k
           SET rotated_at = $7,
               expires_at = CASE WHEN $2 = interval '0' THEN k.expires_at
                                 ELSE least(k.expires_at, pg_catalog.clock_timestamp() + $2) END,
               revoked_at = CASE WHEN $2 = interval '0' THEN pg_catalog.clock_timestamp() END,
               revoke_reason = CASE WHEN $2 = interval '0' THEN 'rotated' END
         WHERE k.id = $1
        RETURNING k.id, k.account, k.expires_at, k.revoked_at
    ), successor AS (
        INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint, created_at,
                              expires_at, disabled_at, rotated_from, scopes, allowed_ips, metadata)
        SELECT $3, $4, o.account, o.environment, o.name, $5, $6, $7,
               $8, o.disabled_at, o.id, o.scopes, o.allowed_ips, o.metadata
          FROM old AS o
        RETURNING id, account
    ), recorded AS (
        INSERT INTO vpk.events (event, key_id, account, role, session_role, details)
        SELECT 'key_rotated', r.id, r.account, $9, $10,
               pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                   'successor', $3, 'expires_at', r.expires_at, 'revoked_at', r.revoked_at))
          FROM retired AS r
        UNION ALL
        SELECT 'key_created', s.id, s.account, $9, $10,
               pg_catalog.jsonb_build_object('rotated_from', $1)
          FROM successor AS s
    )
    SELECT s.id FROM successor AS s",
    &[
        UUIDOID,
        INTERVALOID,
        UUIDOID,
        BYTEAOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
    ],
);

/// Id, name, expires_at (infinity: none), scopes, allowed_ips (empty: no limit), metadata, the names
/// of the changed fields, role, session role. A row where there is such a key.
pub static UPDATE: Statement = Statement::new(
    c"WITH updated AS (
        UPDATE vpk.keys AS k
           SET name = coalesce($2, k.name),
               expires_at = CASE WHEN $3 = 'infinity' THEN NULL
                                 ELSE coalesce($3, k.expires_at) END,
               scopes = coalesce($4, k.scopes),
               allowed_ips = CASE WHEN pg_catalog.cardinality($5) = 0 THEN NULL
                                  ELSE coalesce($5, k.allowed_ips) END,
               metadata = coalesce($6, k.metadata)
         WHERE k.id = $1
        RETURNING k.id, k.account
    ), recorded AS (
        INSERT INTO vpk.events (event, key_id, account, role, session_role, details)
        SELECT 'key_updated', u.id, u.account, $8, $9,
               pg_catalog.jsonb_build_object('changed', $7)
          FROM updated AS u
    )
    SELECT u.id FROM updated AS u",
    &[
        UUIDOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTARRAYOID,
        CIDRARRAYOID,
        JSONBOID,
        TEXTARRAYOID,
        TEXTOID,
        TEXTOID,
    ],
);

/// Id, whether to disable, role, session role. A row with disabled_at where that made a difference.
pub static SET_DISABLED: Statement = Statement::new(
    c"WITH changed AS (
        UPDATE vpk.keys AS k
           SET disabled_at = CASE WHEN $2 THEN pg_catalog.clock_timestamp() END
         WHERE k.id = $1 AND (k.disabled_at IS NULL) = $2
        RETURNING k.id, k.account, k.disabled_at
    ), recorded AS (
        INSERT INTO vpk.events (event, key_id, account, role, session_role)
        SELECT CASE WHEN $2 THEN 'key_disabled' ELSE 'key_enabled' END, c.id, c.account, $3, $4
          FROM changed AS c
    )
    SELECT c.disabled_at FROM changed AS c",
    &[UUIDOID, BOOLOID, TEXTOID, TEXTOID],
);
/// Id. Its disabled_at, where there is such a key.
pub static DISABLED_AT: Statement =
    Statement::new(c"SELECT k.disabled_at FROM vpk.keys AS k WHERE k.id = $1", &[UUIDOID]);

/// An instant, role, session role. The number of keys that were revoked or expired before it, and
/// are gone now, and their ids, for [`super::usage::FORGET`].
pub static PURGE: Statement = Statement::new(
    c"WITH purged AS (
        DELETE FROM vpk.keys AS k
         WHERE k.revoked_at < $1 OR k.expires_at < $1
        RETURNING k.id, k.account
    ), leases AS (
        DELETE FROM vpk.task_leases AS l USING purged AS p WHERE l.key_id = p.id
    ), recorded AS (
        INSERT INTO vpk.events (event, key_id, account, role, session_role)
        SELECT 'key_purged', p.id, p.account, $2, $3 FROM purged AS p
    )
    SELECT pg_catalog.count(*), pg_catalog.array_agg(p.id) FROM purged AS p",
    &[TIMESTAMPTZOID, TEXTOID, TEXTOID],
);

/// Account, id, after, max_rows; null is no condition. The columns of vpk.key_list.
pub static LIST: Statement = Statement::new(
    c"SELECT l.id, l.name, l.account, l.environment, l.prefix, l.hint, l.created_at,
             l.last_used_at, l.uses, l.expires_at, l.revoked_at, l.revoke_reason, l.rotated_from,
             l.state
        FROM vpk.key_list AS l
       WHERE ($1 IS NULL OR l.account = $1)
         AND ($2 IS NULL OR l.id = $2)
         AND ($3 IS NULL OR l.id < $3)
       ORDER BY l.id DESC
       LIMIT $4",
    &[TEXTOID, UUIDOID, UUIDOID, INT4OID],
);
