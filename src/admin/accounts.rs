//! Accounts: their plan, and their end.

use pure::error::{CallError, quoted};

use super::arguments::{self, caller, required};
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{SqlValue, Text};
use crate::store::accounts;

/// Puts an account on a plan, and makes it where it does not exist.
pub fn set_plan(call: &Call, account: Option<Text>, plan: Option<Text>) -> Result<(), CallError> {
    let account = required("account", account)?;
    let plan = required("plan", plan)?;
    arguments::checked_account(call, account)?;
    let [role, session_role] = caller(call);
    let parameters = [Some(account.datum()), Some(plan.datum()), role, session_role];
    if !accounts::SET_PLAN.write(call, &parameters).is_empty() {
        commit::until_applied();
        return Ok(());
    }
    let plans = accounts::PLANS.write(call, &[]);
    let plans: Vec<_> =
        plans.iter().filter_map(|row| row.text(0)).map(|plan| quoted(plan.bytes(call))).collect();
    Err(CallError::invalid(format!("plan {} does not exist", quoted(plan.bytes(call))))
        .detail(format!("The plans are: {}.", plans.join(", ")))
        .hint("Names are case-sensitive. Insert a row into vpk.plans to add a plan."))
}

/// Whether an account is on a plan, whatever the snapshot of the transaction.
pub fn plan_in_use(call: &Call, plan: Option<Text>) -> bool {
    accounts::ON_PLAN.read_latest(call, &[plan.map(Text::datum)]).processed() > 0
}
