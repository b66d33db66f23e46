//! Changing keys that exist. Each change and its events are one statement.

use pgrx::pg_sys::{
    BOOLOID, BYTEAOID, CIDRARRAYOID, INT8OID, JSONBOID, Oid, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID,
    UUIDARRAYOID, UUIDOID,
};

use crate::pg::call::Call;
use crate::pg::server::caller;
use crate::pg::sql::statement::{self, Row, Rows, Statement};
use crate::pg::types::{
    Bytes, CidrArray, Json, Parameter, SqlValue, Text, TextArray, Timestamp, TypedDatum, Uuid,
};
use crate::store::accounts;
use crate::store::events::{self, Caller, missed_events, record_events};

/// A key that a statement has just revoked.
#[derive(Clone, Copy)]
pub struct Revoked {
    /// Identifies the key.
    pub id: Uuid,
    /// When it was revoked.
    pub revoked_at: Timestamp,
}

impl Revoked {
    fn of(row: Row) -> Option<Revoked> {
        Some(Revoked { id: row.uuid(0)?, revoked_at: row.timestamp(1)? })
    }
}

/// The keys that a revocation reaches are those of the condition on `$1`. It returns `$columns` of
/// those that were not revoked before.
macro_rules! revoke {
    ($columns:literal, where: $condition:literal) => {
        sql!(
            "WITH revoked AS (
                UPDATE vpk.keys AS k
                   SET revoked_at = pg_catalog.clock_timestamp(), revoke_reason = $2
                 WHERE k.revoked_at IS NULL AND ",
            $condition,
            " RETURNING k.id, k.account, k.revoked_at
            ), ",
            record_events!(
                "event, key_id, account, details",
                of: "SELECT 'key_revoked'::text, r.id, r.account,
                            pg_catalog.jsonb_strip_nulls(
                                pg_catalog.jsonb_build_object('reason', $2))
                       FROM revoked AS r",
                by: "$3", "$4"
            ),
            " SELECT ",
            $columns,
            ", ",
            missed_events!(),
            " FROM revoked AS r"
        )
    };
}

/// Revokes a key; None where there is no such key or it was revoked before.
pub fn revoke(call: &Call, id: Uuid, reason: Option<Text>, caller: Caller) -> Option<Revoked> {
    run_revoke(call, &REVOKE, id, reason, caller).first().and_then(Revoked::of)
}

static REVOKE: Statement = Statement::new(
    revoke!("r.id, r.revoked_at", where: "k.id = $1"),
    &[UUIDOID, TEXTOID, TEXTOID, TEXTOID],
);

/// Revokes the key of a hash; None where there is no such key or it was revoked before.
pub fn revoke_hash(
    call: &Call,
    key_hash: Bytes,
    reason: Option<Text>,
    caller: Caller,
) -> Option<Revoked> {
    run_revoke(call, &REVOKE_HASH, key_hash, reason, caller).first().and_then(Revoked::of)
}

static REVOKE_HASH: Statement = Statement::new(
    revoke!("r.id, r.revoked_at", where: "k.key_hash = $1"),
    &[BYTEAOID, TEXTOID, TEXTOID, TEXTOID],
);

/// Revokes every key of an account. Returns how many were not revoked before.
pub fn revoke_account(call: &Call, account: Text, reason: Option<Text>, caller: Caller) -> i64 {
    let rows = run_revoke(call, &REVOKE_ACCOUNT, account, reason, caller);
    rows.first().and_then(|row| row.bigint(0)).unwrap_or(0)
}

static REVOKE_ACCOUNT: Statement = Statement::new(
    revoke!("pg_catalog.count(*)", where: "k.account = $1"),
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID],
);

fn run_revoke<'call>(
    call: &'call Call,
    statement: &Statement,
    keys: impl SqlValue,
    reason: Option<Text>,
    caller: Caller,
) -> Rows<'call> {
    let parameters = [
        Some(keys.datum()),
        reason.map(Text::datum),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, statement, &parameters)
}

/// The id of the key with a hash, where there is such a key.
pub fn id_of_hash(call: &Call, key_hash: Bytes) -> Option<Uuid> {
    ID_OF_HASH.write(call, &[Some(key_hash.datum())]).first().and_then(|row| row.uuid(0))
}

static ID_OF_HASH: Statement =
    Statement::new(c"SELECT k.id FROM vpk.keys AS k WHERE k.key_hash = $1", &[BYTEAOID]);

/// Locks the account of a key; false where there is no such key. Nobody can rename or delete the
/// account until the transaction ends.
pub fn lock_account(call: &Call, id: Uuid) -> bool {
    // What a lock waits for may rename the account, and leave it with another row.
    for _ in 0..accounts::LOOKS {
        let Some(account) = account_of(call, id) else { return false };
        if accounts::lock_against_deletion(call, account) {
            return true;
        }
    }
    false
}

fn account_of(call: &Call, id: Uuid) -> Option<Text> {
    ACCOUNT_OF.read_latest(call, &[Some(id.datum())]).first().and_then(|row| row.text(0))
}

static ACCOUNT_OF: Statement =
    Statement::new(c"SELECT k.account FROM vpk.keys AS k WHERE k.id = $1", &[UUIDOID]);

/// Since when a key is refused.
#[derive(Clone, Copy)]
pub struct KeyState {
    /// When it was revoked; None is not.
    pub revoked_at: Option<Timestamp>,
    /// Since when it is disabled; None is enabled.
    pub disabled_at: Option<Timestamp>,
}

impl KeyState {
    fn of(row: Row) -> KeyState {
        KeyState { revoked_at: row.timestamp(0), disabled_at: row.timestamp(1) }
    }
}

/// The state of a key, where there is such a key.
pub fn state(call: &Call, id: Uuid) -> Option<KeyState> {
    STATE.write(call, &[Some(id.datum())]).first().map(KeyState::of)
}

static STATE: Statement = Statement::new(
    c"SELECT k.revoked_at, k.disabled_at FROM vpk.keys AS k WHERE k.id = $1",
    &[UUIDOID],
);

/// Disables or enables a key. Returns its new state; None where there is no such key or nothing had
/// to change.
pub fn set_disabled(call: &Call, id: Uuid, disabled: bool, caller: Caller) -> Option<KeyState> {
    let parameters = [
        Some(id.datum()),
        Some(disabled.into()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, &SET_DISABLED, &parameters).first().map(KeyState::of)
}

static SET_DISABLED: Statement = Statement::new(
    sql!(
        "WITH changed AS (
            UPDATE vpk.keys AS k
               SET disabled_at = CASE WHEN $2 THEN pg_catalog.clock_timestamp() END
             WHERE k.id = $1 AND (k.disabled_at IS NULL) = $2
            RETURNING k.id, k.account, k.revoked_at, k.disabled_at
        ), ",
        record_events!(
            "event, key_id, account",
            of: "SELECT CASE WHEN $2 THEN 'key_disabled' ELSE 'key_enabled' END, c.id, c.account
                   FROM changed AS c",
            by: "$3", "$4"
        ),
        " SELECT c.revoked_at, c.disabled_at, ",
        missed_events!(),
        " FROM changed AS c"
    ),
    &[UUIDOID, BOOLOID, TEXTOID, TEXTOID],
);

/// New values for a key; None leaves a field as it is.
#[derive(Clone, Copy)]
pub struct KeyChange {
    /// What it is called.
    pub name: Option<Text>,
    /// When it expires; `infinity` removes the expiry.
    pub expires_at: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: Option<TextArray>,
    /// The networks that it may be used from; an empty list removes the limit.
    pub allowed_ips: Option<CidrArray>,
    /// What the application keeps with it.
    pub metadata: Option<Json>,
}

/// Changes a key, where there is such a key, with an event that names the fields whose values
/// change. Writes nothing where none does.
pub fn update(call: &Call, id: Uuid, change: &KeyChange, caller: Caller) {
    let parameters = [
        Some(id.datum()),
        change.name.map(Text::datum),
        change.expires_at.map(Timestamp::datum),
        change.scopes.map(TextArray::datum),
        change.allowed_ips.map(CidrArray::datum),
        change.metadata.map(Json::datum),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, &UPDATE, &parameters);
}

/// Numbers of JSON can be equal and look different: metadata is compared as text.
static UPDATE: Statement = Statement::new(
    sql!(
        "WITH new AS (
            SELECT k.id, n.*,
                   pg_catalog.array_remove(ARRAY[
                       CASE WHEN n.name IS DISTINCT FROM k.name THEN 'name' END,
                       CASE WHEN n.expires_at IS DISTINCT FROM k.expires_at THEN 'expires_at' END,
                       CASE WHEN n.scopes IS DISTINCT FROM k.scopes THEN 'scopes' END,
                       CASE WHEN n.allowed_ips IS DISTINCT FROM k.allowed_ips THEN 'allowed_ips' END,
                       CASE WHEN n.metadata::text IS DISTINCT FROM k.metadata::text THEN 'metadata' END
                   ], NULL) AS changed
              FROM vpk.keys AS k,
                   LATERAL (SELECT coalesce($2, k.name) AS name,
                                   CASE WHEN $3 = 'infinity' THEN NULL
                                        ELSE coalesce($3, k.expires_at) END AS expires_at,
                                   coalesce($4, k.scopes) AS scopes,
                                   CASE WHEN pg_catalog.cardinality($5) = 0 THEN NULL
                                        ELSE coalesce($5, k.allowed_ips) END AS allowed_ips,
                                   coalesce($6, k.metadata) AS metadata) AS n
             WHERE k.id = $1
               AND (n.name, n.expires_at, n.scopes, n.allowed_ips, n.metadata::text)
                   IS DISTINCT FROM (k.name, k.expires_at, k.scopes, k.allowed_ips, k.metadata::text)
               FOR NO KEY UPDATE OF k
        ), updated AS (
            UPDATE vpk.keys AS k
               SET name = n.name, expires_at = n.expires_at, scopes = n.scopes,
                   allowed_ips = n.allowed_ips, metadata = n.metadata
              FROM new AS n
             WHERE k.id = n.id
            RETURNING k.id, k.account, n.changed
        ), ",
        record_events!(
            "event, key_id, account, details",
            of: "SELECT 'key_updated'::text, u.id, u.account,
                        pg_catalog.jsonb_build_object('changed', u.changed)
                   FROM updated AS u",
            by: "$7", "$8"
        ),
        " SELECT ",
        missed_events!(),
        " FROM updated AS u"
    ),
    &[
        UUIDOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTARRAYOID,
        CIDRARRAYOID,
        JSONBOID,
        TEXTOID,
        TEXTOID,
    ],
);

/// Keys that a statement has just removed.
pub struct RemovedKeys {
    /// How many there were.
    pub number: i64,
    /// Their ids, a `uuid[]`, for [`super::usage::forget`]; None where there were none.
    pub(super) ids: Parameter,
}

impl RemovedKeys {
    /// Reads the only row of a statement that returns the number of keys and their ids.
    pub(super) fn of(rows: &Rows) -> RemovedKeys {
        rows.first().map_or(RemovedKeys { number: 0, ids: None }, |row| RemovedKeys {
            number: row.bigint(0).unwrap_or(0),
            ids: row.parameter(1),
        })
    }
}

/// Keys that ended before an instant, in the order of their ends.
pub struct EndedKeys {
    /// Their ids, a `uuid[]`.
    ids: TypedDatum,
    /// The end and the id of the last one.
    pub last: (Timestamp, Uuid),
}

/// Keys that were revoked or expired before an instant, after a given one: at most so many, and at
/// most 1,000. None where there is no more.
pub fn ended(
    call: &Call,
    before: Timestamp,
    after: Option<(Timestamp, Uuid)>,
    max_keys: i64,
) -> Option<EndedKeys> {
    let (after, after_id) =
        after.unwrap_or_else(|| (Timestamp::from_micros(i64::MIN), Uuid::new(call, [0; 16])));
    let parameters =
        [Some(before.datum()), Some(after.datum()), Some(after_id.datum()), Some(max_keys.into())];
    let rows = ENDED.write(call, &parameters);
    let row = rows.first()?;
    Some(EndedKeys { ids: row.parameter(0)?, last: (row.timestamp(1)?, row.uuid(2)?) })
}

/// The constant limit has the planner read the index, whose order is this, and not the whole table.
static ENDED: Statement = Statement::new(
    c"SELECT pg_catalog.array_agg(e.id), pg_catalog.max(e.ended_at),
             (pg_catalog.array_agg(e.id ORDER BY e.ended_at DESC, e.id DESC))[1]
        FROM (SELECT o.id, o.ended_at
                FROM (SELECT k.id, LEAST(k.revoked_at, k.expires_at) AS ended_at
                        FROM vpk.keys AS k
                       WHERE LEAST(k.revoked_at, k.expires_at) < $1
                         AND (LEAST(k.revoked_at, k.expires_at), k.id) > ($2, $3)
                       ORDER BY LEAST(k.revoked_at, k.expires_at), k.id LIMIT 1000) AS o
               LIMIT $4) AS e",
    &[TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, INT8OID],
);

/// A foreign key on vpk.keys that refuses to let a key go.
pub struct ForeignKey {
    /// The role that owns the table.
    owner: Oid,
    /// A query for the keys among the `uuid[]` `$1` that the table refers to.
    query: String,
}

/// All such foreign keys.
pub fn foreign_keys(call: &Call) -> Vec<ForeignKey> {
    let rows = FOREIGN_KEYS.write(call, &[]);
    let of = |row: Row| {
        let query = String::from_utf8(row.text(1)?.bytes(call).to_vec()).ok()?;
        Some(ForeignKey { owner: row.oid(0)?, query })
    };
    rows.iter().filter_map(of).collect()
}

/// A partitioned table's foreign key covers those of its partitions.
static FOREIGN_KEYS: Statement = Statement::new(
    c"SELECT c.relowner,
             pg_catalog.format(
                 'SELECT pg_catalog.array_agg(DISTINCT r.%1$I::pg_catalog.uuid) FROM %2$s %3$s AS r '
                 'WHERE r.%1$I::pg_catalog.uuid OPERATOR(pg_catalog.=) ANY ($1)',
                 a.attname, CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY' END,
                 pg_catalog.format('%I.%I', n.nspname, c.relname))
        FROM pg_catalog.pg_constraint AS f
        JOIN pg_catalog.pg_class AS c ON c.oid = f.conrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
       WHERE f.contype = 'f' AND f.confrelid = 'vpk.keys'::pg_catalog.regclass
         AND f.confdeltype IN ('a', 'r') AND f.conparentid = 0
         AND pg_catalog.cardinality(f.conkey) = 1",
    &[],
);

/// Which of these keys rows of another table refer to: a `uuid[]`, or null. Asks as the owner of
/// that table, as the server does where it checks a foreign key.
fn referred_to(call: &Call, keys: &EndedKeys, by: &ForeignKey) -> Parameter {
    caller::acting_as(by.owner, || {
        statement::query(call, &by.query, keys.ids).first().and_then(|row| row.parameter(0))
    })
}

/// Removes keys, and their leases, which have still ended before an instant, and to which no row of
/// another table refers.
pub fn purge(
    call: &Call,
    keys: &EndedKeys,
    before: Timestamp,
    foreign_keys: &[ForeignKey],
    caller: Caller,
) -> RemovedKeys {
    let mut ids = Some(keys.ids);
    for kept in foreign_keys.iter().filter_map(|by| referred_to(call, keys, by)) {
        let rows = WITHOUT.write(call, &[ids, Some(kept)]);
        ids = rows.first().and_then(|row| row.parameter(0));
    }
    let parameters =
        [ids, Some(before.datum()), Some(caller.role.datum()), Some(caller.session_role.datum())];
    RemovedKeys::of(&events::write(call, &PURGE, &parameters))
}

static WITHOUT: Statement = Statement::new(
    c"SELECT pg_catalog.array_agg(i.id) FROM pg_catalog.unnest($1) AS i (id)
       WHERE i.id <> ALL ($2)",
    &[UUIDARRAYOID, UUIDARRAYOID],
);

static PURGE: Statement = Statement::new(
    sql!(
        "WITH purged AS (
            DELETE FROM vpk.keys AS k
             WHERE k.id = ANY ($1) AND LEAST(k.revoked_at, k.expires_at) < $2
            RETURNING k.id, k.account
        ), leases AS (
            DELETE FROM vpk.task_leases AS l USING purged AS p WHERE l.key_id = p.id
        ), ",
        record_events!(
            "event, key_id, account",
            of: "SELECT 'key_purged'::text, p.id, p.account FROM purged AS p",
            by: "$3", "$4"
        ),
        " SELECT pg_catalog.count(*), pg_catalog.array_agg(p.id), ",
        missed_events!(),
        " FROM purged AS p"
    ),
    &[UUIDARRAYOID, TIMESTAMPTZOID, TEXTOID, TEXTOID],
);
