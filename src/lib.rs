//! API keys as a primitive of PostgreSQL.
//!
//! Imports point one way: `api` calls `verify`, `admin`, `tasks`, `usage` and `doctor`; these call
//! `store`, which calls `pg`. Each of them may use `pg` and the crate `pure`.

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

/// For pgrx, which asks for a declaration of every schema it is to place something in; the schema
/// itself is made by sql/tables.sql.
#[pg_schema]
mod vpk {}

extension_sql_file!("../sql/tables.sql", name = "tables", bootstrap);
extension_sql_file!("../sql/defaults.sql", name = "defaults", requires = ["tables"]);
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [
        "tables",
        vibepeak_keys::api::usage::labelled_stats_row,
        vibepeak_keys::api::verify::status_rows
    ]
);
extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::load(usage::ENTRY_POINTS);
}
