//! Removing keys that have ended, and accounts with all their rows.

use pure::error::{CallError, quoted};

use super::arguments::{self, required};
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::{commit, lock};
use crate::pg::types::{Text, Timestamp};
use crate::store::events::Caller;
use crate::store::keys::RemovedKeys;
use crate::store::{accounts, keys, usage};

/// Removes the keys that were revoked or expired before an instant. Returns how many.
pub fn purge(call: &Call, before: Option<Timestamp>) -> Result<i64, CallError> {
    let before = required("before", before)?;
    if before.micros() > clock::now().micros() {
        return Err(CallError::invalid("before must not be in the future")
            .detail("Keys that are still active would be removed.")
            .hint("Name an instant in the past, for example now() - interval '90 days'."));
    }
    Ok(forget_uses(call, &keys::purge(call, before, Caller::of(call))))
}

/// Removes an account with all its keys, leases and usage. Returns the number of its keys. Its
/// events stay, without the account's name. Raises 55P03 if another transaction holds what it needs
/// for too long.
pub fn delete_account(call: &Call, account: Option<Text>) -> Result<i64, CallError> {
    let account = required("account", account)?;
    let account = arguments::spelled_as_stored(call, account);
    let deleted = lock::with_patience(|| erase(call, account)).unwrap_or_else(|| {
        let name = quoted(account.bytes(call));
        Err(CallError::busy(format!("account {name} is in use by another transaction"))
            .detail(
                "That transaction is still open. It has started, extended or finished a task of \
                 the account, or issued or changed a key of it.",
            )
            .hint(
                "Call the function again after the transaction has ended. See in pg_stat_activity \
                 which sessions are idle in transaction; pg_terminate_backend() ends one. Set \
                 lock_timeout to wait longer.",
            ))
    })?;
    commit::until_applied();
    Ok(deleted)
}

/// Deletes all rows of an account. Returns the number of its keys.
fn erase(call: &Call, account: Text) -> Result<i64, CallError> {
    // No task of the account may start while the account is deleted.
    lock::lock_tasks(call, account.bytes(call));
    if !accounts::lock(call, account) {
        return Err(arguments::unknown_account(account.bytes(call)).hint(arguments::SEE_ACCOUNTS));
    }
    let deleted = accounts::empty(call, account, clock::now(), Caller::of(call));
    let deleted = forget_uses(call, &deleted);
    accounts::delete(call, account);
    Ok(deleted)
}

/// Deletes the usage of removed keys. Returns the number of these keys.
fn forget_uses(call: &Call, removed: &RemovedKeys) -> i64 {
    usage::forget(call, removed);
    removed.number
}
