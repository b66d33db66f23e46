//! The SQL functions that grant privileges to roles.

use pgrx::prelude::*;

use crate::admin::roles;
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::Role;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_verifier(role: Option<Role>, call: Call) {
    passing_errors(|| {
        roles::grant_verifier(&call, role).or_raise();
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_admin(role: Option<Role>, call: Call) {
    passing_errors(|| {
        roles::grant_admin(&call, role).or_raise();
    })
}
