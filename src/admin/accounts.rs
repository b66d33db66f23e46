//! The plan and the name of an account: the arguments, and the errors.

use pure::characters::other_spellings;
use pure::error::{CallError, quoted};
use pure::validate;

use super::arguments::{self, required};
use super::errors;
use crate::limits::changes;
use crate::pg::call::Call;
use crate::pg::sql::{commit, lock};
use crate::pg::types::Text;
use crate::pg::types::encoding::ServerEncoding;
use crate::store::accounts;
use crate::store::events::Caller;

/// Puts an account on a plan, and makes the account where it does not exist. Writes nothing where
/// the account is on the plan already.
pub fn set_plan(call: &Call, account: Option<Text>, plan: Option<Text>) -> Result<(), CallError> {
    let account = required("account", account)?;
    let plan = arguments::checked_plan(call, required("plan", plan)?)?;
    let account = account_to_set(call, account)?;
    if accounts::is_on_plan(call, account, plan)
        || accounts::set_plan(call, account, plan, Caller::of(call))
    {
        commit::until_applied();
        return Ok(());
    }
    Err(errors::unknown_plan(call, plan))
}

/// Gives an account with all its rows another name. Returns the number of its keys. Raises 55P03 if
/// another transaction holds what it needs for too long.
pub fn rename(
    call: &Call,
    account: Option<Text>,
    new_account: Option<Text>,
) -> Result<i64, CallError> {
    let account = required("account", account)?;
    let new_account = required("new_account", new_account)?;
    let account = arguments::spelled_as_stored(call, account);
    let name = arguments::checked_account(call, new_account)?;
    let new_account = validate::new_account(name, &ServerEncoding)?
        .map_or(new_account, |name| Text::new(call, name.as_bytes()));
    if new_account.bytes(call) == account.bytes(call) && accounts::exists(call, account) {
        return Ok(0);
    }
    lock::with_patience(|| rename_locked(call, account, new_account))
        .unwrap_or_else(|| Err(errors::busy_account(account.bytes(call))))
}

/// Refuses a rename where a foreign key would delete or change rows of an application: the account
/// gets a new row, and the old one is deleted.
fn check_nothing_follows(call: &Call) -> Result<(), CallError> {
    let following = accounts::following(call);
    let Some((table, constraint)) = following.first() else { return Ok(()) };
    let constraint = quoted(constraint.bytes(call));
    Err(CallError::out_of_place(format!(
        "a foreign key of table {} on vpk.accounts changes its rows when an account is renamed",
        quoted(table.bytes(call))
    ))
    .detail(format!(
        "A rename replaces the row of the account. Constraint {constraint} acts as on its deletion."
    ))
    .hint(
        "Drop the constraint, rename the account, update the rows, and add the constraint again. \
         With ON DELETE NO ACTION DEFERRABLE, all of it can be one transaction without that.",
    ))
}

fn rename_locked(call: &Call, account: Text, new_account: Text) -> Result<i64, CallError> {
    let (old, new) = (account.bytes(call), new_account.bytes(call));
    // No task may start under either name. In one order, so that two calls do not wait for each
    // other.
    lock::lock_tasks(call, old.min(new));
    lock::lock_tasks(call, old.max(new));
    if !accounts::lock(call, account) {
        return Err(errors::unknown_account(old));
    }
    // The account itself may have another spelling of its new name.
    let taken = arguments::stored_account(call, new_account, accounts::lock_against_deletion);
    if let Some(taken) = taken.map(|taken| taken.bytes(call)).filter(|taken| *taken != old) {
        return Err(CallError::duplicate(format!("account {} exists already", quoted(taken)))
            .hint("Choose another name. Accounts cannot be merged."));
    }
    check_nothing_follows(call)?;
    let keys = accounts::rename(call, account, new_account, Caller::of(call));
    changes::rename(call, account, new_account);
    Ok(keys)
}

/// The name of an account that exists or will be created. A new one gets its composed spelling, so
/// that it cannot look like another.
fn account_to_set(call: &Call, account: Text) -> Result<Text, CallError> {
    let name = arguments::checked_account(call, account)?;
    let new = validate::new_account(name, &ServerEncoding);
    if new == Ok(None) && other_spellings(name, &ServerEncoding).is_empty() {
        return Ok(account);
    }
    if let Some(stored) = arguments::stored_account(call, account, accounts::lock_against_deletion)
    {
        return Ok(stored);
    }
    Ok(new?.map_or(account, |name| Text::new(call, name.as_bytes())))
}

/// Checks the name of a new plan.
pub fn check_plan(call: &Call, plan: Option<Text>) -> Result<(), CallError> {
    plan.map_or(Ok(()), |plan| validate::new_plan(plan.bytes(call), &ServerEncoding))
}

/// Whether an account is on a plan, on the latest snapshot.
pub fn plan_in_use(call: &Call, plan: Option<Text>) -> bool {
    accounts::is_plan_in_use(call, plan)
}
