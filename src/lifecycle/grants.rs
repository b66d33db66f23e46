//! Giving roles what they need.

use super::required;
use crate::pg::call::Call;
use crate::pg::spi;
use crate::pg::types::{Role, SqlValue, TextArray};
use crate::pure::misuse::Misuse;
use crate::store::grants;

/// What a service that verifies keys calls.
const VERIFIER_FUNCTIONS: [&str; 7] = [
    "vpk_verify",
    "vpk_authenticate",
    "vpk_error",
    "vpk_task_start",
    "vpk_task_extend",
    "vpk_task_finish",
    "status_rows",
];
const VERIFIER_RELATIONS: [&str; 1] = ["SELECT ON vpk.status_codes"];
/// What an admin cannot call: making more admins is the owner's, and the triggers call for themselves.
const NOT_FOR_ADMINS: [&str; 2] = ["vpk_grant_admin", "plan_in_use"];
const ADMIN_RELATIONS: [&str; 9] = [
    "SELECT ON vpk.status_codes",
    "SELECT ON vpk.key_list",
    "SELECT ON vpk.stats",
    "SELECT ON vpk.accounts",
    "SELECT ON vpk.plans",
    "SELECT ON vpk.events",
    "INSERT (plan, api_access, concurrent_tasks, rank) ON vpk.plans",
    "UPDATE (plan, api_access, concurrent_tasks, rank) ON vpk.plans",
    "DELETE ON vpk.plans",
];

/// Lets a role verify keys, and no more.
pub fn grant_verifier(call: &Call, role: Option<Role>) -> Result<(), Misuse> {
    let functions = Some(TextArray::new(VERIFIER_FUNCTIONS.into_iter()));
    grant(call, role, functions, TextArray::new([].into_iter()), &VERIFIER_RELATIONS)
}

/// Lets a role manage keys, accounts and plans.
pub fn grant_admin(call: &Call, role: Option<Role>) -> Result<(), Misuse> {
    grant(call, role, None, TextArray::new(NOT_FOR_ADMINS.into_iter()), &ADMIN_RELATIONS)
}

fn grant(
    call: &Call,
    role: Option<Role>,
    functions: Option<TextArray>,
    all_but: TextArray,
    relations: &[&'static str],
) -> Result<(), Misuse> {
    let role = Some(required("role", role)?.datum());
    let functions = functions.map(TextArray::datum);
    let of_functions = grants::OF_FUNCTIONS.read(call, &[role, functions, Some(all_but.datum())]);
    let relations = Some(TextArray::new(relations.iter().copied()).datum());
    let of_relations = grants::OF_RELATIONS.read(call, &[role, relations]);
    if of_relations.is_empty() {
        return Err(
            Misuse::invalid("role does not exist").hint("Use CREATE ROLE to create it first.")
        );
    }
    let statements: Vec<_> = of_functions
        .iter()
        .chain(of_relations.iter())
        .filter_map(|row| row.text(0))
        .map(|statement| statement.bytes(call).to_vec())
        .collect();
    spi::execute_utility(&statements);
    Ok(())
}
