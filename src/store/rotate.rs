//! The statements that replace a key by a successor.

use pgrx::pg_sys::{BYTEAOID, INTERVALOID, Oid, TEXTOID, TIMESTAMPTZOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{Bytes, Interval, SqlValue, Text, Timestamp, Uuid};
use crate::store::events::{self, Caller, missed_events, record_events};
use crate::store::limits;

/// A key that is about to be rotated.
pub struct KeyToRotate {
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it has expired.
    pub expired: bool,
    /// Whether it was rotated before.
    pub rotated: bool,
    /// Whether the grace is negative, or its end lies too far ahead.
    pub grace_out_of_range: bool,
    /// The name of its environment, for its successor too.
    pub environment: Text,
    /// What it is called, and its successor too.
    pub name: Text,
    /// The account that owns it, and its successor too.
    pub account: Text,
    /// When it expires; None is never.
    pub expires_at: Option<Timestamp>,
}

/// Locks a key until the transaction ends, and reads what a rotation depends on. None where there
/// is no such key.
pub fn lock_for_rotation(call: &Call, id: Uuid, grace: Interval) -> Option<KeyToRotate> {
    let rows = LOCK_FOR_ROTATION.write(call, &[Some(id.datum()), Some(grace.datum())]);
    let row = rows.first()?;
    Some(KeyToRotate {
        revoked: row.is(0),
        expired: row.is(1),
        rotated: row.is(2),
        grace_out_of_range: row.is(3),
        environment: row.text(4)?,
        name: row.text(5)?,
        account: row.text(6)?,
        expires_at: row.timestamp(7),
    })
}

static LOCK_FOR_ROTATION: Statement = Statement::new(
    c"SELECT k.revoked_at IS NOT NULL,
             coalesce(k.expires_at <= pg_catalog.clock_timestamp(), false),
             k.rotated_at IS NOT NULL,
             $2 NOT BETWEEN interval '0' AND interval '100 years'
                 OR pg_catalog.now() + $2 < pg_catalog.now(),
             k.environment, k.name, k.account, k.expires_at
        FROM vpk.keys AS k WHERE k.id = $1 FOR NO KEY UPDATE",
    &[UUIDOID, INTERVALOID],
);

/// The successors of a key, their successors, and so on.
pub struct Successors {
    /// Whether one of them was not revoked.
    pub live: bool,
    /// When the newest one expires; None is never. A key in its grace has lost its own expiry, and
    /// they have taken it over. The outer None means that the key has no successor.
    pub expires_at: Option<Option<Timestamp>>,
}

/// The successors of a key that was rotated.
pub fn successors(call: &Call, id: Uuid) -> Successors {
    let rows = SUCCESSORS.write(call, &[Some(id.datum())]);
    let newest = rows.first();
    Successors {
        live: newest.is_some_and(|row| row.is(0)),
        expires_at: newest.map(|row| row.timestamp(1)),
    }
}

/// Successors are keys of the same account, with later ids.
static SUCCESSORS: Statement = Statement::new(
    c"WITH RECURSIVE successors AS (
          SELECT k.id, k.account, NULL::pg_catalog.timestamptz AS expires_at,
                 NULL::pg_catalog.timestamptz AS revoked_at
            FROM vpk.keys AS k WHERE k.id = $1
          UNION ALL
          SELECT k.id, k.account, k.expires_at, k.revoked_at
            FROM successors AS s JOIN vpk.keys AS k
              ON k.account = s.account AND k.id > s.id AND k.rotated_from = s.id
      )
      SELECT pg_catalog.bool_or(s.revoked_at IS NULL) OVER (), s.expires_at
        FROM successors AS s WHERE s.id <> $1 ORDER BY s.id DESC LIMIT 1",
    &[UUIDOID],
);

/// What a successor does not take over from the key that it replaces.
pub struct Successor {
    /// Identifies the successor.
    pub id: Uuid,
    /// The SHA-256 of its token.
    pub key_hash: Bytes,
    /// The first 8 characters of its token.
    pub prefix: Text,
    /// The first 13 characters of its token.
    pub hint: Text,
    /// When it was issued, and the old key rotated.
    pub created_at: Timestamp,
    /// When it expires; None is never.
    pub expires_at: Option<Timestamp>,
}

/// Inserts the successor of a key. The key itself expires when the grace ends, or is revoked at
/// once where there is none.
pub fn rotate(
    call: &Call,
    id: Uuid,
    grace: Interval,
    successor: &Successor,
    idempotency_key: Option<Text>,
    caller: Caller,
) {
    let parameters = [
        Some(id.datum()),
        Some(grace.datum()),
        Some(successor.id.datum()),
        Some(successor.key_hash.datum()),
        Some(successor.prefix.datum()),
        Some(successor.hint.datum()),
        Some(successor.created_at.datum()),
        successor.expires_at.map(Timestamp::datum),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
        idempotency_key.map(Text::datum),
    ];
    let statement = if limits::exist(call) { &ROTATE } else { &ROTATE_WITHOUT_LIMITS };
    events::write(call, statement, &parameters);
}

/// Inserts a successor that also takes over `$limits` from the old key `o`.
macro_rules! rotate {
    ($($limits:literal, $of_old:literal)?) => {
    sql!(
        "WITH old AS (
            SELECT k.* FROM vpk.keys AS k WHERE k.id = $1
        ), retired AS (
            UPDATE vpk.keys AS k
               SET rotated_at = $7,
                   expires_at = CASE WHEN $2 = interval '0' THEN k.expires_at
                                     ELSE least(k.expires_at,
                                                pg_catalog.clock_timestamp() + $2) END,
                   revoked_at = CASE WHEN $2 = interval '0'
                                     THEN pg_catalog.clock_timestamp() END,
                   revoke_reason = CASE WHEN $2 = interval '0' THEN 'rotated' END
             WHERE k.id = $1
            RETURNING k.id, k.account, k.expires_at, k.revoked_at
        ), successor AS (
            INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint,
                                  created_at, expires_at, disabled_at, rotated_from, scopes,
                                  allowed_ips, metadata", $($limits,)? ")
            SELECT $3, $4, o.account, o.environment, o.name, $5, $6, $7,
                   $8, o.disabled_at, o.id, o.scopes, o.allowed_ips, o.metadata", $($of_old,)? "
              FROM old AS o
            RETURNING id, account
        ), ",
        record_events!(
            "event, key_id, account, details",
            of: "SELECT 'key_rotated'::text, r.id, r.account,
                        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'successor', $3, 'expires_at', r.expires_at,
                            'revoked_at', r.revoked_at))
                   FROM retired AS r
                 UNION ALL
                 SELECT 'key_created', s.id, s.account,
                        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'rotated_from', $1, 'idempotency_key', $11))
                   FROM successor AS s",
            by: "$9", "$10"
        ),
        " SELECT ",
        missed_events!(),
        " FROM successor AS s"
    )
    };
}

static ROTATE: Statement =
    Statement::new(rotate!(", rate_limits, quotas", ", o.rate_limits, o.quotas"), &TYPES);

/// For a database that was not updated yet.
static ROTATE_WITHOUT_LIMITS: Statement = Statement::new(rotate!(), &TYPES);

const TYPES: [Oid; 11] = [
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
    TEXTOID,
];
