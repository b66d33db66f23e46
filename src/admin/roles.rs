//! Granting roles the privileges that they need: those of [`pure::privileges`].
//!
//! EXECUTE on all functions of a schema is granted easily, and by mistake. So the privilege to
//! execute is not enough here. The calling role has to be one of those named below.

use pure::error::CallError;
use pure::privileges::{ADMIN_RELATIONS, NOT_FOR_ADMINS, VERIFIER_FUNCTIONS, VERIFIER_RELATIONS};

use super::arguments::required;
use crate::pg::call::Call;
use crate::pg::server::caller;
use crate::pg::types::{Parameter, Role, SqlValue, Text};
use crate::store::roles::{self, Functions, Outcome};

/// The role that is granted privileges.
#[derive(Clone, Copy)]
pub enum Grantee {
    /// This role.
    Role(Role),
    /// The role with this name.
    Named(Text),
}

/// Who may call a function, beside the extension's owner and superusers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// Nobody.
    Owner,
    /// Admin roles.
    Admins,
}

/// Lets a role verify keys, and no more.
pub fn grant_verifier(call: &Call, role: Option<Grantee>) -> Result<(), CallError> {
    grant(call, "vpk_grant_verifier", Callers::Admins, role, |role| {
        roles::grant(call, role, Functions::Only(&VERIFIER_FUNCTIONS), &VERIFIER_RELATIONS)
    })
}

/// Lets a role manage keys, accounts and plans.
pub fn grant_admin(call: &Call, role: Option<Grantee>) -> Result<(), CallError> {
    grant(call, "vpk_grant_admin", Callers::Owner, role, |role| {
        roles::grant(call, role, Functions::Except(&NOT_FOR_ADMINS), &ADMIN_RELATIONS)
    })
}

/// Lets a role dump the database: it reads every table and sequence of the extension.
pub fn grant_backup(call: &Call, role: Option<Grantee>) -> Result<(), CallError> {
    grant(call, "vpk_grant_backup", Callers::Owner, role, |role| roles::grant_backup(call, role))
}

/// Runs `grant` with the privileges of the function's owner.
fn grant(
    call: &Call,
    function: &str,
    callers: Callers,
    role: Option<Grantee>,
    grant: impl FnOnce(Parameter) -> Outcome,
) -> Result<(), CallError> {
    caller::as_function_owner(call, |caller| {
        let caller = roles::standing(call, caller);
        if !(caller.is_owner || callers == Callers::Admins && caller.is_admin) {
            let who = match callers {
                Callers::Owner => "the extension's owner and superusers",
                Callers::Admins => "the extension's owner, superusers and admin roles",
            };
            return Err(CallError::denied(format!("permission denied for function {function}"))
                .detail(format!(
                    "Only {who} may call it. The privilege to execute it is not enough."
                ))
                .hint("Let one of them call it."));
        }
        let role = match required("role", role)? {
            Grantee::Role(role) => Some(role.datum()),
            Grantee::Named(name) => roles::named(call, name),
        };
        match grant(role) {
            Outcome::Granted => Ok(()),
            Outcome::NoSuchRole => Err(CallError::invalid("role does not exist")
                .hint("Use CREATE ROLE to create it first.")),
            Outcome::NotOwnSchema(statement) => Err(CallError::denied(
                "the extension's owner cannot grant USAGE on the schema of its functions",
            )
            .hint(format!("Run {statement} as the schema's owner, and call {function} again."))),
        }
    })
}
