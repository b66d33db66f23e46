//! Removing keys that have ended, and accounts with all their rows.

use pure::error::CallError;

use super::arguments::{self, required};
use super::errors;
use crate::limits::changes;
use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::sql::{commit, lock};
use crate::pg::types::{Text, Timestamp};
use crate::store::events::Caller;
use crate::store::keys::RemovedKeys;
use crate::store::{accounts, events, keys, usage};

/// Removes keys that were revoked or expired before an instant, those first that ended first, and
/// at most so many; None is all. Keys to which a row of another table refers by a foreign key stay.
/// Returns how many were removed.
pub fn purge(
    call: &Call,
    before: Option<Timestamp>,
    max_rows: Option<i32>,
) -> Result<i64, CallError> {
    let before = required("before", before)?;
    if before.micros() > clock::now().micros() {
        return Err(CallError::invalid("before must not be in the future")
            .detail("Keys that are still active would be removed.")
            .hint("Name an instant in the past, for example now() - interval '90 days'."));
    }
    let most = checked_max_rows(max_rows)?;
    let (foreign_keys, caller) = (keys::foreign_keys(call), Caller::of(call));
    let (mut removed, mut last) = (0, None);
    while removed < most {
        let Some(ended) = keys::ended(call, before, last, most - removed) else { break };
        let purged = keys::purge(call, &ended, before, &foreign_keys, caller);
        removed += forget_uses(call, &purged);
        last = Some(ended.last);
    }
    Ok(removed)
}

/// Removes events of before an instant, the oldest first, and at most so many; None is all. Returns
/// how many were removed.
pub fn purge_events(
    call: &Call,
    before: Option<Timestamp>,
    max_rows: Option<i32>,
) -> Result<i64, CallError> {
    let before = required("before", before)?;
    let kept = settings::events_kept();
    let kept_micros = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
    if before.micros() > clock::now().micros().saturating_sub(kept_micros) {
        let days = kept.as_secs() / 86_400;
        return Err(CallError::invalid(format!("before must be at least {days} days ago"))
            .detail("Events are kept for as long as vibepeak_keys.events_kept says.")
            .hint("Name an earlier instant. A superuser can change the setting."));
    }
    let most = checked_max_rows(max_rows)?;
    let mut removed = 0;
    while removed < most {
        let part = events::purge(call, before, most - removed);
        removed += part.removed;
        if part.removed < part.oldest || part.oldest == 0 {
            break;
        }
    }
    if removed > 0 {
        events::record_purge(call, before, removed, Caller::of(call));
    }
    Ok(removed)
}

/// How many rows a call removes at most.
fn checked_max_rows(max_rows: Option<i32>) -> Result<i64, CallError> {
    match max_rows {
        Some(..=-1) => {
            Err(CallError::invalid("max_rows must not be negative")
                .hint("Leave it out to remove all."))
        }
        Some(rows) => Ok(rows.into()),
        None => Ok(i64::MAX),
    }
}

/// Removes an account with all its keys, leases and usage. Returns the number of its keys. Its
/// events stay, without the account's name. Raises 55P03 if another transaction holds what it needs
/// for too long.
pub fn delete_account(call: &Call, account: Option<Text>) -> Result<i64, CallError> {
    let account = required("account", account)?;
    let account = arguments::spelled_as_stored(call, account);
    let deleted = lock::with_patience(|| erase(call, account))
        .unwrap_or_else(|| Err(errors::busy_account(account.bytes(call))))?;
    commit::until_applied();
    Ok(deleted)
}

/// Deletes all rows of an account. Returns the number of its keys.
fn erase(call: &Call, account: Text) -> Result<i64, CallError> {
    // No task of the account may start while the account is deleted.
    lock::lock_tasks(call, account.bytes(call));
    if !accounts::lock(call, account) {
        commit::wait_until_applied();
        return Err(errors::unknown_account(account.bytes(call)));
    }
    let deleted = accounts::empty(call, account, clock::now(), Caller::of(call));
    let deleted = forget_uses(call, &deleted);
    accounts::delete(call, account);
    changes::delete(call, account);
    Ok(deleted)
}

/// Deletes the usage of removed keys. Returns the number of these keys.
fn forget_uses(call: &Call, removed: &RemovedKeys) -> i64 {
    usage::forget(call, removed);
    removed.number
}
