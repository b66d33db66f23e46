//! The uses of a key as of now: those in its table, and those that only this server's memory has.

use pure::usage::slots::Unseen;

use crate::pg::background::shmem;
use crate::pg::server::database;
use crate::pg::sql::visibility::Seen;
use crate::pg::types::{Timestamp, Uuid};

/// How often a key was used, and `in_table` is the number that a query has found there.
pub fn uses(key: Uuid, in_table: i64, seen: Seen) -> i64 {
    in_table.saturating_add(unseen(key, seen).uses.try_into().unwrap_or(i64::MAX))
}

/// When a key was last used, and `in_table` is the time that a query has found there.
pub fn last_use(key: Uuid, in_table: Option<Timestamp>, seen: Seen) -> Option<Timestamp> {
    later(in_table, unseen(key, seen).last_used_at)
}

/// Both, in place of what a query has found in the table.
pub fn complete(
    key: Uuid,
    uses: &mut Option<i64>,
    last_used_at: &mut Option<Timestamp>,
    seen: Seen,
) {
    let Unseen { uses: more, last_used_at: last } = unseen(key, seen);
    *uses = uses.map(|uses| uses.saturating_add(more.try_into().unwrap_or(i64::MAX)));
    *last_used_at = later(*last_used_at, last);
}

/// The uses that a query does not see in the table: none if the library was not preloaded.
fn unseen(key: Uuid, seen: Seen) -> Unseen {
    let Some(ledger) = shmem::ledger() else { return Unseen::default() };
    ledger.unseen(database::own(), &key.to_bytes(), |transaction| seen.shows(transaction))
}

fn later(in_table: Option<Timestamp>, in_memory: Option<i64>) -> Option<Timestamp> {
    in_table.map(Timestamp::micros).max(in_memory).map(Timestamp::from_micros)
}
