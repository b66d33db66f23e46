//! Setting the plan of an account: the arguments, and the errors.

use pure::characters::other_spellings;
use pure::error::{CallError, quoted};
use pure::validate;

use super::arguments::{self, required};
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::Text;
use crate::pg::types::encoding::ServerEncoding;
use crate::store::accounts;
use crate::store::events::Caller;

/// Puts an account on a plan, and makes the account where it does not exist.
pub fn set_plan(call: &Call, account: Option<Text>, plan: Option<Text>) -> Result<(), CallError> {
    let account = required("account", account)?;
    let plan = arguments::checked_plan(call, required("plan", plan)?)?;
    let account = account_to_set(call, account)?;
    if accounts::set_plan(call, account, plan, Caller::of(call)) {
        commit::until_applied();
        return Ok(());
    }
    let plans: Vec<_> =
        accounts::plan_names(call).iter().map(|plan| quoted(plan.bytes(call))).collect();
    Err(CallError::invalid(format!("plan {} does not exist", quoted(plan.bytes(call))))
        .detail(format!("The plans are: {}.", plans.join(", ")))
        .hint("Names are case-sensitive. Insert a row into vpk.plans to add a plan."))
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
