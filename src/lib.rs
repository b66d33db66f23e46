//! API keys as a primitive of PostgreSQL.
//!
//! Imports point one way. `api` has the SQL functions, and calls `verify`, `admin`, `tasks` and
//! `doctor`. These call `limits`, `usage` and `store`, which call `pg`, the boundary to the server.
//! Each may use the folders below it, as `api` uses the types of `pg`, and the crate `pure`, which
//! uses none of them.

#![warn(clippy::missing_docs_in_private_items)]

pgrx::pg_module_magic!(name, version);

mod admin;
mod api;
mod doctor;
mod limits;
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
    requires = [
        "tables",
        vibepeak_keys::api::usage::current_last_use,
        vibepeak_keys::api::usage::current_uses,
        vibepeak_keys::api::usage::counters_row,
        vibepeak_keys::api::verify::status_rows
    ]
);
extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::load(usage::ENTRY_POINTS);
}
