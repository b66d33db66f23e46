//! Inserting a new key and its event: by one statement, or in bulk where one statement calls for
//! keys again and again.

use pgrx::pg_sys::{
    BYTEAOID, CIDRARRAYOID, JSONBOID, Oid, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDOID,
};

use crate::pg::call::Call;
use crate::pg::sql::bulk_insert::{Bulk, Inserted};
use crate::pg::sql::bulk_table::Table;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{Bytes, CidrArray, Json, Parameter, SqlValue, Text};
use crate::pg::types::{TextArray, Timestamp, Uuid};
use crate::store::accounts;
use crate::store::events::{self, Caller, missed_events, record_events};

/// A key to insert, with the columns of vpk.keys.
pub struct NewRow {
    /// Identifies the key.
    pub id: Uuid,
    /// The SHA-256 of the token.
    pub key_hash: Bytes,
    /// The account that owns the key.
    pub account: Text,
    /// The name of its environment.
    pub environment: Text,
    /// What the key is called.
    pub name: Text,
    /// The first 8 characters of the token.
    pub prefix: Text,
    /// The first 13 characters of the token.
    pub hint: Text,
    /// When the key was issued.
    pub created_at: Timestamp,
    /// When the key expires; None is never.
    pub expires_at: Option<Timestamp>,
    /// What the key may be used for.
    pub scopes: TextArray,
    /// The networks that the key may be used from; None is no limit.
    pub allowed_ips: Option<CidrArray>,
    /// What the application keeps with the key.
    pub metadata: Json,
    /// The name of the request that it answers, for its event.
    pub idempotency_key: Option<Text>,
}

/// The tables that [`insert`] inserts into; the order of the columns of the first is that of
/// [`NewRow::parameters`] and of [`INSERT`].
const TABLES: [Table; 2] = [
    Table {
        name: c"keys",
        columns: &[
            (c"id", UUIDOID),
            (c"key_hash", BYTEAOID),
            (c"account", TEXTOID),
            (c"environment", TEXTOID),
            (c"name", TEXTOID),
            (c"prefix", TEXTOID),
            (c"hint", TEXTOID),
            (c"created_at", TIMESTAMPTZOID),
            (c"expires_at", TIMESTAMPTZOID),
            (c"scopes", TEXTARRAYOID),
            (c"allowed_ips", CIDRARRAYOID),
            (c"metadata", JSONBOID),
        ],
        skips_conflicts: false,
    },
    events::TABLE,
];

impl NewRow {
    fn parameters(&self) -> [Parameter; TABLES[0].columns.len()] {
        [
            Some(self.id.datum()),
            Some(self.key_hash.datum()),
            Some(self.account.datum()),
            Some(self.environment.datum()),
            Some(self.name.datum()),
            Some(self.prefix.datum()),
            Some(self.hint.datum()),
            Some(self.created_at.datum()),
            self.expires_at.map(Timestamp::datum),
            Some(self.scopes.datum()),
            self.allowed_ips.map(CidrArray::datum),
            Some(self.metadata.datum()),
        ]
    }
}

/// Inserts a key and the event that records it; false where there is no such account.
pub fn insert(call: &Call, row: &NewRow, caller: Caller) -> bool {
    let key = row.parameters();
    let roles = [Some(caller.role.datum()), Some(caller.session_role.datum())];
    if let Some(request) = row.idempotency_key {
        let parameters = [&key[..], &roles, &[Some(request.datum())]].concat();
        return !events::write(call, &INSERT_FOR_REQUEST, &parameters).is_empty();
    }
    let Some(bulk) = Bulk::of_statement(call, &TABLES) else {
        return !events::write(call, &INSERT, &[&key[..], &roles].concat()).is_empty();
    };
    call.prevent_if_read_only();
    let account = row.account.bytes(call);
    // The lock on an account lasts until the end of the transaction or of the savepoint.
    if !bulk.remembers(account) && !accounts::lock_against_deletion(call, row.account) {
        return false;
    }
    let event = events::of_new_key(call, row.id, row.account, caller);
    match bulk.insert(call, [&key, &event]) {
        Inserted::Alone => bulk.remember(account),
        Inserted::WithMore => {}
        Inserted::Partly => events::record_new_key(call, &event),
    }
    true
}

/// Inserts a key: a row when it is inserted, none where the account is unknown. `$events` is its
/// event, with `$columns`.
macro_rules! insert {
    ($columns:literal, $events:literal) => {
        sql!(
            "WITH owner AS (
                SELECT a.account FROM vpk.accounts AS a WHERE a.account = $3 FOR KEY SHARE
            ), created AS (
                INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint,
                                      created_at, expires_at, scopes, allowed_ips, metadata)
                SELECT $1, $2, o.account, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM owner AS o
                RETURNING id, account
            ), ",
            record_events!($columns, of: $events, by: "$13", "$14"),
            " SELECT ",
            missed_events!(),
            " FROM created AS c"
        )
    };
}

const TYPES: [Oid; 15] = [
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
    TEXTOID,
];

static INSERT: Statement = Statement::new(
    insert!(
        "event, key_id, account",
        "SELECT 'key_created'::text, c.id, c.account FROM created AS c"
    ),
    TYPES.split_at(14).0,
);

static INSERT_FOR_REQUEST: Statement = Statement::new(
    insert!(
        "event, key_id, account, details",
        "SELECT 'key_created'::text, c.id, c.account,
                pg_catalog.jsonb_build_object('idempotency_key', $15)
           FROM created AS c"
    ),
    &TYPES,
);
