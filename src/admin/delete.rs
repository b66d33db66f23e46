//! Removing keys that have ended, and accounts with all they have.

use pure::error::CallError;

use super::arguments::{self, caller, required};
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::statement::Rows;
use crate::pg::sql::{commit, lock};
use crate::pg::types::{SqlValue, Text, Timestamp};
use crate::store::{accounts, keys, usage};

/// Removes keys that were revoked or expired before an instant; how many.
pub fn purge(call: &Call, before: Option<Timestamp>) -> Result<i64, CallError> {
    let before = required("before", before)?;
    if before.micros() > clock::now().micros() {
        return Err(CallError::invalid("before must not be in the future")
            .detail("Keys that are still active would be removed.")
            .hint("Name an instant in the past, for example now() - interval '90 days'."));
    }
    let [role, session_role] = caller(call);
    let purged = keys::PURGE.write(call, &[Some(before.datum()), role, session_role]);
    Ok(forget_uses(call, &purged))
}

/// Removes an account with all its keys, leases and usage; the number of its keys. Events stay, with
/// ids only.
pub fn delete_account(call: &Call, account: Option<Text>) -> Result<i64, CallError> {
    let account = required("account", account)?;
    // Nobody starts a task of an account that is about to go.
    lock::lock_account_unguarded(call, account);
    let name = Some(account.datum());
    if accounts::LOCK.write(call, &[name]).is_empty() {
        return Err(arguments::unknown_account(account.bytes(call)).hint(arguments::SEE_ACCOUNTS));
    }
    let [role, session_role] = caller(call);
    let now = Some(clock::now().datum());
    let deleted = accounts::EMPTY.write(call, &[name, role, session_role, now]);
    let deleted = forget_uses(call, &deleted);
    accounts::DELETE.write(call, &[name]);
    commit::until_applied();
    Ok(deleted)
}

/// The number of keys that a statement has removed, the first column of its row; their ids are the
/// second. What is known of their uses goes too.
fn forget_uses(call: &Call, removed: &Rows) -> i64 {
    let Some(row) = removed.first() else { return 0 };
    if let Some(ids) = row.parameter(1) {
        usage::FORGET.write(call, &[Some(ids)]);
    }
    row.bigint(0).unwrap_or(0)
}
