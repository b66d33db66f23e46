//! Granting roles the privileges that they need: those of [`pure::privileges`].

use pure::error::CallError;
use pure::privileges::{ADMIN_RELATIONS, NOT_FOR_ADMINS, VERIFIER_FUNCTIONS, VERIFIER_RELATIONS};

use super::arguments::required;
use crate::pg::call::Call;
use crate::pg::types::Role;
use crate::store::roles::{self, Functions};

/// Lets a role verify keys, and no more.
pub fn grant_verifier(call: &Call, role: Option<Role>) -> Result<(), CallError> {
    grant(call, role, Functions::Only(&VERIFIER_FUNCTIONS), &VERIFIER_RELATIONS)
}

/// Lets a role manage keys, accounts and plans.
pub fn grant_admin(call: &Call, role: Option<Role>) -> Result<(), CallError> {
    grant(call, role, Functions::Except(&NOT_FOR_ADMINS), &ADMIN_RELATIONS)
}

fn grant(
    call: &Call,
    role: Option<Role>,
    functions: Functions,
    relations: &[&'static str],
) -> Result<(), CallError> {
    let role = required("role", role)?;
    if roles::grant(call, role, functions, relations) {
        return Ok(());
    }
    Err(CallError::invalid("role does not exist").hint("Use CREATE ROLE to create it first."))
}
