//! The SQL functions for accounts and their plans.

use pgrx::prelude::*;

use crate::admin::{accounts, delete};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::Text;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_set_plan(account: Option<Text>, plan: Option<Text>, call: Call) {
    passing_errors(|| {
        accounts::set_plan(&call, account, plan).or_raise();
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_rename_account(account: Option<Text>, new_account: Option<Text>, call: Call) -> i64 {
    passing_errors(|| accounts::rename(&call, account, new_account).or_raise())
}

/// Called by a trigger on `vpk.plans`.
#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "vpk")]
#[search_path(pg_catalog, pg_temp)]
fn check_plan(plan: Option<Text>, call: Call) {
    passing_errors(|| {
        accounts::check_plan(&call, plan).or_raise();
    })
}

/// Called by the triggers on `vpk.plans`.
#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "vpk")]
#[search_path(pg_catalog, pg_temp)]
fn plan_in_use(plan: Option<Text>, call: Call) -> bool {
    passing_errors(|| accounts::plan_in_use(&call, plan))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_delete_account(account: Option<Text>, call: Call) -> i64 {
    passing_errors(|| delete::delete_account(&call, account).or_raise())
}
