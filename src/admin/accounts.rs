//! Accounts: their plan, and their end.

use super::{caller, required};
use crate::pg::call::Call;
use crate::pg::types::{SqlValue, Text};
use crate::pg::{clock, lock, synchronous};
use crate::pure::misuse::{Misuse, quoted};
use crate::store::accounts;

/// Puts an account on a plan, and makes it where it does not exist.
pub fn set_plan(call: &Call, account: Option<Text>, plan: Option<Text>) -> Result<(), Misuse> {
    let account = required("account", account)?;
    let plan = required("plan", plan)?;
    super::checked_account(call, account)?;
    let [role, session_role] = caller(call);
    let parameters = [Some(account.datum()), Some(plan.datum()), role, session_role];
    if !accounts::SET_PLAN.write(call, &parameters).is_empty() {
        synchronous::until_applied();
        return Ok(());
    }
    let plans = accounts::PLANS.write(call, &[]);
    let plans: Vec<_> =
        plans.iter().filter_map(|row| row.text(0)).map(|plan| quoted(plan.bytes(call))).collect();
    Err(Misuse::invalid(format!("plan {} does not exist", quoted(plan.bytes(call))))
        .detail(format!("The plans are: {}.", plans.join(", ")))
        .hint("Names are case-sensitive. Insert a row into vpk.plans to add a plan."))
}

/// Removes an account with all its keys, leases and usage; the number of its keys. Events stay, with
/// ids only.
pub fn delete_account(call: &Call, account: Option<Text>) -> Result<i64, Misuse> {
    let account = required("account", account)?;
    // Nobody starts a task of an account that is about to go.
    lock::account(call, account);
    let name = Some(account.datum());
    if accounts::LOCK.write(call, &[name]).is_empty() {
        return Err(super::unknown_account(account.bytes(call)).hint(super::SEE_ACCOUNTS));
    }
    let [role, session_role] = caller(call);
    let now = Some(clock::now().datum());
    let deleted = accounts::EMPTY.write(call, &[name, role, session_role, now]);
    let deleted = super::forget_uses(call, &deleted);
    accounts::DELETE.write(call, &[name]);
    synchronous::until_applied();
    Ok(deleted)
}

/// Whether an account is on a plan, whatever the snapshot of the transaction.
pub fn plan_in_use(call: &Call, plan: Option<Text>) -> bool {
    accounts::ON_PLAN.read_latest(call, &[plan.map(Text::datum)]).processed() > 0
}
