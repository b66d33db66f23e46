//! The events in vpk.events. No other file of the store names that table: each statement that
//! changes something records it by a part from here, and so does the insertion of many keys.

use pgrx::pg_sys::{TEXTOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::server::caller;
use crate::pg::sql::bulk_table::Table;
use crate::pg::types::{Parameter, SqlValue, Text, Uuid};

/// The roles that an event records.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The role that called: that of `SET ROLE`, or else the session's.
    pub role: Text,
    /// The role that logged in.
    pub session_role: Text,
}

impl Caller {
    /// The roles of this call.
    pub fn of(call: &Call) -> Caller {
        Caller { role: caller::outer_user(call), session_role: caller::session_user(call) }
    }
}

/// An `INSERT` of events, as a part of a statement. `$events` is a query with the columns
/// `$columns` of vpk.events, its constants typed; the columns that it leaves out take their
/// defaults. `$role` and `$session_role` stand for the fields of [`Caller`].
macro_rules! record_events {
    ($columns:literal, of: $events:literal, by: $role:literal, $session_role:literal) => {
        concat!(
            "INSERT INTO vpk.events (",
            $columns,
            ", role, session_role) SELECT e.*, ",
            $role,
            ", ",
            $session_role,
            " FROM (",
            $events,
            ") AS e"
        )
    };
}
pub(super) use record_events;

/// An `UPDATE` that removes from the events of an account all that names it, as a part of a
/// statement. They keep the ids of keys. `$account` stands for the account.
macro_rules! anonymize_events {
    ($account:literal) => {
        concat!(
            "UPDATE vpk.events AS e SET account = NULL, details = '{}' WHERE e.account = ",
            $account
        )
    };
}
pub(super) use anonymize_events;

/// What [`of_new_key`] gives values for; the other columns take their defaults.
pub(super) const TABLE: Table = Table {
    name: c"events",
    columns: &[
        (c"event", TEXTOID),
        (c"key_id", UUIDOID),
        (c"account", TEXTOID),
        (c"role", TEXTOID),
        (c"session_role", TEXTOID),
    ],
};

/// Values for the columns of [`TABLE`].
type EventRow = [Parameter; TABLE.columns.len()];

/// The event of a new key.
pub(super) fn of_new_key(call: &Call, key: Uuid, account: Text, caller: Caller) -> EventRow {
    [
        Some(Text::new(call, b"key_created").datum()),
        Some(key.datum()),
        Some(account.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ]
}
