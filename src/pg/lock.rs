//! The queue of an account's task starters.

use core::ffi::CStr;

use pgrx::pg_sys;

use super::call::Call;
use super::catalog::Table;
use super::types::Text;
use super::{catalog, report};

/// Waits until no other open transaction has started, extended or ended a task of the account, and
/// keeps others waiting until this one ends.
///
/// It is a lock of the server on an object of class vpk.accounts, numbered by a checksum of the
/// name: two accounts of one number wait for each other, nothing worse. Raises 25006 in a read-only
/// transaction and on a standby, as `command`. Unguarded: see [`super::unguarded`].
pub fn account(call: &Call, command: &CStr, account: Text) {
    let Some(accounts) = catalog::indexed(Table::Accounts) else { report::not_installed() };
    // SAFETY: LockDatabaseObject takes any numbers for an object and releases with the transaction
    // (src/backend/storage/lmgr/lmgr.c); the command is a null-terminated string.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
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
