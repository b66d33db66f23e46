//! The boundary to the server: the only place with `unsafe`.
//!
//! Plain `pub` items are for the other folders; `pub(in crate::pg)` items are not. A `pub` function
//! is safe to call from an SQL function's body, in the backend's only thread. One condition is left
//! to the callers of an unguarded function, and checked by `make lint`: see [`ffi::unguarded`].

#![allow(unsafe_code, reason = "calls of the server")]

/// Work beside the sessions: shared memory, the workers, and the files and tables that they use.
pub mod background {
    mod control_file;
    pub mod databases;
    pub mod shmem;
    pub mod usage_file;
    pub mod worker;
}

/// Calls of server functions: with a guard or without, and the differences between major versions.
pub mod ffi {
    pub mod allocator;
    pub mod compat;
    pub mod guard;
    pub mod guarded;
    pub mod per_backend;
    pub mod unguarded;
}

/// Reading tables without a statement.
///
/// **Everything in this room is unguarded**: an error of the server passes over the Rust frames
/// that call these functions. So no caller holds a value with a destructor. See
/// [`super::ffi::unguarded`].
pub mod read {
    pub mod catalog;
    pub mod in_place;
    pub mod scan;
    pub mod shape;
    pub mod snapshot;
    pub mod tuple;
}

/// What the server knows about itself and the caller.
pub mod server {
    pub mod caller;
    pub mod clock;
    pub mod database;
    pub mod interrupts;
    pub mod kept;
    pub mod random;
    pub mod setting_level;
    pub mod setting_values;
    pub mod settings;
    pub mod time_zone;
}

/// SQL statements, and the locks, isolation and commits of their transactions.
pub mod sql {
    pub mod at_end;
    pub mod bulk_insert;
    pub mod bulk_table;
    pub mod commit;
    pub mod isolation;
    pub mod lock;
    pub mod own_table;
    pub mod statement;
    pub mod visibility;
}

pub mod call;
pub mod error;
pub mod list;
pub mod redaction;
pub mod types;

use background::{shmem, worker};
use ffi::guard;
use read::catalog;
use server::settings;
use types::status;

/// Sets the library up in the process that has loaded it: the postmaster, or a backend.
pub fn load(entry_points: worker::EntryPoints) {
    guard::keep_stacks_out();
    // SAFETY: reads a variable (src/backend/utils/init/miscinit.c).
    let preloading = unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress };
    settings::define(preloading);
    catalog::register_callbacks();
    status::register_callbacks();
    if preloading {
        shmem::request();
        redaction::install_at_startup();
        worker::register(entry_points);
    } else {
        redaction::install_for_session();
    }
}
