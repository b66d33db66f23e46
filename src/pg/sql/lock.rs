//! Locks of the server: the queue of an account's task starters, and the one who brings a standby's uses
//! over.

use pgrx::pg_sys;

use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::read::catalog::{self, Table};
use crate::pg::types::Text;

/// Waits until no other open transaction has started, extended or ended a task of the account, and
/// keeps others waiting until this one ends.
///
/// It is a lock of the server on an object of class vpk.accounts, numbered by a checksum of the
/// name: two accounts of one number wait for each other, nothing worse. Raises 25006 in a read-only
/// transaction and on a standby. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn lock_account(call: &Call, account: Text) {
    call.prevent_if_read_only();
    let Some(accounts) = catalog::indexed(Table::Accounts) else { error::not_installed() };
    // SAFETY: LockDatabaseObject takes any numbers for an object and releases with the transaction
    // (src/backend/storage/lmgr/lmgr.c).
    unsafe {
        let name = account.bytes_unguarded(call);
        let number = crc32fast::hash(name);
        pg_sys::LockDatabaseObject(
            accounts.table,
            pg_sys::Oid::from(number),
            0,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// What became of the lock of who brings a standby's uses over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// The transaction has it now.
    Taken,
    /// It had it before.
    Held,
    /// Another transaction has it.
    Busy,
}

/// Takes the lock for this transaction, in this database. Works on a standby, where the locks of class
/// [`account`] do not.
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
    // SAFETY: the tag is copied; a lock of no session goes with the transaction
    // (src/backend/storage/lmgr/lock.c).
    let result = unsafe {
        pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, true)
    };
    match result {
        pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL => Handover::Busy,
        pg_sys::LockAcquireResult::LOCKACQUIRE_OK => Handover::Taken,
        _ => Handover::Held,
    }
}
