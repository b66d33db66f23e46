//! Two locks of the server: one has the transactions that start tasks of an account wait for each
//! other, and one lets a single transaction hand over a standby's uses.

use pgrx::pg_sys;

use crate::pg::call::Call;
use crate::pg::read::catalog::{self, Table};
use crate::pg::types::Text;

/// Waits until no other open transaction has started, extended or ended a task of the account.
/// Other such transactions then wait until this one ends.
///
/// The lock is on an object of class vpk.accounts, whose number is a checksum of the account's
/// name. Two accounts with one checksum wait for each other; nothing else happens. Raises 25006 in
/// a read-only transaction and on a standby.
///
/// Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn lock_account_unguarded(call: &Call, account: Text) {
    call.prevent_if_read_only();
    let accounts = catalog::indexed(Table::Accounts).unwrap_or_else(|missing| missing.raise());
    let number = crc32fast::hash(account.bytes_unguarded(call));
    // SAFETY: LockDatabaseObject takes any numbers for an object, and the end of the transaction
    // releases the lock (src/backend/storage/lmgr/lmgr.c).
    unsafe {
        pg_sys::LockDatabaseObject(
            accounts.table,
            pg_sys::Oid::from(number),
            0,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// What became of the request for the lock that lets a transaction hand over uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// The transaction has it now.
    Taken,
    /// It had it before.
    Held,
    /// Another transaction has it.
    Busy,
}

/// Asks for the lock for this transaction, in this database, without waiting. It works on a
/// standby, where [`lock_account_unguarded`] does not.
pub fn handover() -> Handover {
    /// Users' own advisory locks have 1 or 2 here (src/backend/utils/adt/lockfuncs.c).
    const KIND: u16 = 3;
    let tag = pg_sys::LOCKTAG {
        locktag_field1: crate::pg::server::database::own(),
        locktag_field2: 0,
        locktag_field3: 0,
        locktag_field4: KIND,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    // SAFETY: the tag is copied. The end of the transaction releases a lock that is not held for
    // the session (src/backend/storage/lmgr/lock.c).
    let result = unsafe {
        pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, true)
    };
    match result {
        pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL => Handover::Busy,
        pg_sys::LockAcquireResult::LOCKACQUIRE_OK => Handover::Taken,
        _ => Handover::Held,
    }
}
