//! Where the extension's relations are in this database.
//!
//! Names are looked up once per backend and again after the relation cache was told of a change to
//! one of them (or of a change that it cannot name). The schema `vpk` is the extension's own: nobody
//! else can create in it, so that its name is as good as membership.

use core::cell::UnsafeCell;
use core::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::unguarded;

/// A table with the index through which it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// The table.
    pub table: Oid,
    /// The index.
    pub index: Oid,
}

/// The relations that are read without SPI.
#[derive(Clone, Copy)]
pub struct Relations {
    /// Keys, by hash.
    pub keys: Indexed,
    /// Accounts, by name.
    pub accounts: Indexed,
    /// Plans, by name.
    pub plans: Indexed,
    /// Leases, by account.
    pub task_leases: Indexed,
}

impl Relations {
    fn contains(&self, relation: Oid) -> bool {
        [self.keys, self.accounts, self.plans, self.task_leases]
            .iter()
            .any(|indexed| indexed.table == relation || indexed.index == relation)
    }
}

struct Known(UnsafeCell<Option<Relations>>);

// SAFETY: a backend has one thread.
unsafe impl Sync for Known {}

static KNOWN: Known = Known(UnsafeCell::new(None));

/// The extension's relations, or None in a database without the extension. Unguarded: see
/// [`super::unguarded`].
pub fn relations() -> Option<Relations> {
    // SAFETY: the cell is read and written by this thread alone, never across a call that could run
    // the callback below while a reference is held.
    unsafe {
        if let Some(known) = *KNOWN.0.get() {
            return Some(known);
        }
        let schema = unguarded::get_namespace_oid(c"vpk".as_ptr(), true);
        let find = |name: &CStr| {
            let relation = unguarded::get_relname_relid(name.as_ptr(), schema);
            (relation != Oid::INVALID).then_some(relation)
        };
        let indexed = |table, index| Some(Indexed { table: find(table)?, index: find(index)? });
        let found = Relations {
            keys: indexed(c"keys", c"keys_key_hash_key")?,
            accounts: indexed(c"accounts", c"accounts_pkey")?,
            plans: indexed(c"plans", c"plans_pkey")?,
            task_leases: indexed(c"task_leases", c"task_leases_account_idx")?,
        };
        *KNOWN.0.get() = Some(found);
        Some(found)
    }
}

/// Looks the names up again at the next call of [`relations`].
pub(super) fn look_again() {
    // SAFETY: as in `relations`.
    unsafe { *KNOWN.0.get() = None }
}

/// Asks the relation cache to say when one of the relations changes. Called once, at load.
pub(super) fn watch() {
    // SAFETY: the callback has the signature of RelcacheCallbackFunction and cannot raise.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), Datum::null()) }
}

/// Runs wherever invalidation messages are processed (src/backend/utils/cache/inval.c): no server
/// function, no allocation. An invalid OID stands for every relation.
unsafe extern "C-unwind" fn forget(_: Datum, relation: Oid) {
    // SAFETY: as in `relations`.
    unsafe {
        let known = KNOWN.0.get();
        if relation == Oid::INVALID || (*known).is_some_and(|known| known.contains(relation)) {
            *known = None;
        }
    }
}
