//! API keys as a primitive of PostgreSQL.
//!
//! Imports point one way. `api` has the SQL functions, and calls `verify`, `admin`, `tasks` and
//! `doctor`. These call `usage` and `store`, which call `pg`, the boundary to the server. Each of
//! them may use the folders below it, as `api` uses the types of `pg`, and the crate `pure`, which
//! uses none of them.

#![warn(clippy::missing_docs_in_private_items)]

pgrx::pg_module_magic!(name, version);

mod admin;
mod api;
mod doctor;
mod pg;
mod store;
mod tasks;
mod usage;
mod verify;

use pgrx::prelude::*;

/// The schema of the tables. pgrx asks for a declaration of every schema in which it creates a
/// function; sql/tables.sql creates the schema itself.
#[pg_schema]
mod vpk {}

extension_sql_file!("../sql/tables.sql", name = "tables", bootstrap);
extension_sql_file!("../sql/defaults.sql", name = "defaults", requires = ["tables"]);
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires =
        ["tables", vibepeak_keys::api::usage::stats_row, vibepeak_keys::api::verify::status_rows]
);
extension_sql_file!(
    "../sql/comments.sql",
    name = "comments",
    requires = [
        "defaults",
        "views",
        vibepeak_keys::api::doctor::vpk_doctor,
        vibepeak_keys::api::roles::vpk_grant_admin,
        vibepeak_keys::api::roles::vpk_grant_verifier,
        vibepeak_keys::api::accounts::plan_in_use,
        vibepeak_keys::api::keys::vpk_create,
        vibepeak_keys::api::accounts::vpk_delete_account,
        vibepeak_keys::api::keys::vpk_disable,
        vibepeak_keys::api::keys::vpk_enable,
        vibepeak_keys::api::keys::vpk_list,
        vibepeak_keys::api::keys::vpk_purge,
        vibepeak_keys::api::keys::vpk_revoke,
        vibepeak_keys::api::keys::vpk_revoke_account,
        vibepeak_keys::api::keys::vpk_revoke_token,
        vibepeak_keys::api::keys::vpk_rotate,
        vibepeak_keys::api::accounts::vpk_set_plan,
        vibepeak_keys::api::keys::vpk_update,
        vibepeak_keys::api::tasks::vpk_task_extend,
        vibepeak_keys::api::tasks::vpk_task_finish,
        vibepeak_keys::api::tasks::vpk_task_start,
        vibepeak_keys::api::usage::vpk_add_uses,
        vibepeak_keys::api::usage::vpk_pending_uses,
        vibepeak_keys::api::usage::vpk_settle_uses,
        vibepeak_keys::api::verify::vpk_authenticate,
        vibepeak_keys::api::verify::vpk_error,
        vibepeak_keys::api::verify::vpk_verify,
        vibepeak_keys::api::verify::vpk_verify_hash,
    ]
);
extension_sql_file!("../sql/privileges.sql", name = "privileges", finalize);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::load(usage::ENTRY_POINTS);
}
