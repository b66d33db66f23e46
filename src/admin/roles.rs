//! Giving roles what they need.

use pure::error::CallError;
use pure::privileges::{ADMIN_RELATIONS, NOT_FOR_ADMINS, VERIFIER_FUNCTIONS, VERIFIER_RELATIONS};

use super::arguments::required;
use crate::pg::call::Call;
use crate::pg::sql::statement;
use crate::pg::types::{Role, SqlValue, TextArray};
use crate::store::roles;

/// Lets a role verify keys, and no more.
pub fn grant_verifier(call: &Call, role: Option<Role>) -> Result<(), CallError> {
    let functions = Some(TextArray::new(VERIFIER_FUNCTIONS.into_iter()));
    grant(call, role, functions, TextArray::new([].into_iter()), &VERIFIER_RELATIONS)
}

/// Lets a role manage keys, accounts and plans.
pub fn grant_admin(call: &Call, role: Option<Role>) -> Result<(), CallError> {
    grant(call, role, None, TextArray::new(NOT_FOR_ADMINS.into_iter()), &ADMIN_RELATIONS)
}

fn grant(
    call: &Call,
    role: Option<Role>,
    functions: Option<TextArray>,
    all_but: TextArray,
    relations: &[&'static str],
) -> Result<(), CallError> {
    let role = Some(required("role", role)?.datum());
    let functions = functions.map(TextArray::datum);
    let of_functions = roles::OF_FUNCTIONS.read(call, &[role, functions, Some(all_but.datum())]);
    let relations = Some(TextArray::new(relations.iter().copied()).datum());
    let of_relations = roles::OF_RELATIONS.read(call, &[role, relations]);
    if of_relations.is_empty() {
        return Err(
            CallError::invalid("role does not exist").hint("Use CREATE ROLE to create it first.")
        );
    }
    let statements: Vec<_> = of_functions
        .iter()
        .chain(of_relations.iter())
        .filter_map(|row| row.text(0))
        .map(|statement| statement.bytes(call).to_vec())
        .collect();
    statement::execute_utility(call, &statements);
    Ok(())
}
