//! The boundary to the server: the only place with `unsafe`.
//!
//! What leaves this folder is safe to call from an SQL function's body, on the backend's only thread.

#![allow(unsafe_code)]

/// Work beside the sessions: shared memory, the workers, and what they need of files and tables.
pub mod background {
    mod control_file;
    pub mod own_table;
    pub mod shmem;
    pub mod usage_file;
    pub mod worker;
}

/// How server functions are called: with a guard or without, and what differs by major version.
pub mod ffi {
    pub mod allocator;
    pub mod compat;
    pub mod guard;
    pub mod unguarded;
}

/// Reading tables without a statement.
pub mod read {
    pub mod catalog;
    pub mod in_place;
    pub mod scan;
    pub mod snapshot;
    pub mod tuple;
}

/// What the server knows of itself and of the caller.
pub mod server {
    pub mod caller;
    pub mod clock;
    pub mod database;
    pub mod random;
    pub mod settings;
}

/// Statements, and what goes with them.
pub mod sql {
    pub mod bulk_insert;
    pub mod commit;
    pub mod isolation;
    pub mod lock;
    pub mod statement;
}

pub mod call;
pub mod error;
pub mod redaction;
pub mod types;

use background::{shmem, worker};
use read::catalog;
use server::settings;
use types::status;

/// What the library does when a process loads it: the postmaster, or a backend at its first call.
pub fn load(programs: worker::EntryPoints) {
    // SAFETY: reads a variable of src/backend/utils/init/miscinit.c.
    let preloading = unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress };
    settings::define(preloading);
    catalog::register_callbacks();
    status::register_callbacks();
    if preloading {
        shmem::request();
        worker::register(programs);
    } else {
        redaction::install(false);
    }
}
