//! Errors that several functions for admins raise, with their hints: a key, an account or a plan
//! that does not exist, and an account that is in use.

use pure::error::{CallError, quoted};

use crate::pg::call::Call;
use crate::pg::types::Text;
use crate::store::accounts;

/// The error where a key does not exist.
pub(super) fn unknown_key() -> CallError {
    CallError::invalid("there is no API key with this id")
        .hint("vpk_list() shows the ids of all keys.")
}

/// The error where another transaction holds what a change to an account needs.
pub(super) fn busy_account(name: &[u8]) -> CallError {
    CallError::busy(format!("account {} is in use by another transaction", quoted(name)))
        .detail(
            "That transaction is still open. It has changed the account or its limits, charged it, \
             issued or changed a key of it, or started, extended or finished a task of it.",
        )
        .hint(
            "Call the function again after the transaction has ended. See in pg_stat_activity which \
             sessions are idle in transaction; pg_terminate_backend() ends one. Set lock_timeout to \
             wait longer.",
        )
}

/// The error where an account does not exist. [`super::create`] has another hint.
pub(super) fn unknown_account(name: &[u8]) -> CallError {
    CallError::invalid(format!("account {} does not exist", quoted(name)))
        .hint("Names are case-sensitive. vpk.accounts lists them.")
}

/// The error where a plan does not exist.
pub(super) fn unknown_plan(call: &Call, plan: Text) -> CallError {
    let plans: Vec<_> =
        accounts::plan_names(call).iter().map(|plan| quoted(plan.bytes(call))).collect();
    CallError::invalid(format!("plan {} does not exist", quoted(plan.bytes(call))))
        .detail(format!("The plans are: {}.", plans.join(", ")))
        .hint("Names are case-sensitive. Insert a row into vpk.plans to add a plan.")
}
