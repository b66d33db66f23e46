//! Storing a new key and its event: by one statement, or as one of the many of a statement that calls
//! for keys again and again.

use pgrx::pg_sys::{
    BYTEAOID, CIDRARRAYOID, JSONBOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDOID,
};

use crate::pg::call::Call;
use crate::pg::sql::bulk_insert::{Bulk, Table};
use crate::pg::types::Parameter;
use crate::pg::types::{SqlValue, Text};
use crate::store::{accounts, keys};

const KEY_COLUMNS: usize = TABLES[0].columns.len();

/// What [`keys::CREATE`] inserts.
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
    },
    Table {
        name: c"events",
        columns: &[
            (c"event", TEXTOID),
            (c"key_id", UUIDOID),
            (c"account", TEXTOID),
            (c"role", TEXTOID),
            (c"session_role", TEXTOID),
        ],
    },
];

/// Stores a key and the event that says so; false where there is no such account. The parameters are
/// those of [`keys::CREATE`], and the account's name is given as bytes too.
pub fn issue(call: &Call, parameters: &[Parameter; 14], account: &[u8]) -> bool {
    let Some(bulk) = Bulk::of_statement(call, &TABLES) else {
        return !keys::CREATE.write(call, parameters).is_empty();
    };
    call.prevent_if_read_only();
    let (key, caller) = parameters.split_at(KEY_COLUMNS);
    let (id, owner) = (key[0], key[2]);
    // The lock on an account lasts until the end of the transaction or of the savepoint.
    if !bulk.remembers(account) && accounts::KEEP.write(call, &[owner]).is_empty() {
        return false;
    }
    let event = Text::new(call, b"key_created").datum();
    let event = [Some(event), id, owner, caller[0], caller[1]];
    if bulk.insert([key, &event]) {
        bulk.remember(account);
    }
    true
}
