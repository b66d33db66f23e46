//! The SQL functions that grant privileges to roles.
//!
//! They are not SECURITY DEFINER, so that they can check the calling role. They grant with the
//! privileges of their owner: see [`crate::admin::roles`]. Each has a form for a role and one for
//! its name.

use pgrx::prelude::*;

use crate::admin::roles::{self, Grantee};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::{Role, Text};

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_verifier(role: Option<Role>, call: Call) {
    passing_errors(|| roles::grant_verifier(&call, role.map(Grantee::Role)).or_raise());
}

#[pg_extern(name = "vpk_grant_verifier", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_verifier_by_name(role: Option<Text>, call: Call) {
    passing_errors(|| roles::grant_verifier(&call, role.map(Grantee::Named)).or_raise());
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_admin(role: Option<Role>, call: Call) {
    passing_errors(|| roles::grant_admin(&call, role.map(Grantee::Role)).or_raise());
}

#[pg_extern(name = "vpk_grant_admin", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_admin_by_name(role: Option<Text>, call: Call) {
    passing_errors(|| roles::grant_admin(&call, role.map(Grantee::Named)).or_raise());
}

#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_backup(role: Option<Role>, call: Call) {
    passing_errors(|| roles::grant_backup(&call, role.map(Grantee::Role)).or_raise());
}

#[pg_extern(name = "vpk_grant_backup", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_backup_by_name(role: Option<Text>, call: Call) {
    passing_errors(|| roles::grant_backup(&call, role.map(Grantee::Named)).or_raise());
}
