//! The boundary to the server: the only place with `unsafe`.
//!
//! What leaves this folder is safe to call from an SQL function's body, on the backend's only thread.

#![allow(unsafe_code)]

pub mod array;
pub mod bulk;
pub mod call;
pub mod catalog;
pub mod clock;
mod control;
pub mod database;
pub mod entropy;
pub mod isolation;
pub mod json;
pub mod labels;
pub mod lock;
pub mod majors;
pub mod memory;
pub mod one_row;
pub mod recent;
pub mod redaction;
pub mod report;
pub mod roles;
pub mod scan;
pub mod settings;
pub mod shmem;
pub mod snapshot;
pub mod spi;
pub mod synchronous;
pub mod text;
pub mod tuple;
pub mod types;
pub mod unguarded;
pub mod worker;

/// What the library does when a process loads it: the postmaster, or a backend at its first call.
pub fn load(programs: worker::Programs) {
    // SAFETY: reads a variable of src/backend/utils/init/miscinit.c.
    let preloading = unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress };
    settings::define(preloading);
    catalog::watch();
    labels::watch();
    if preloading {
        shmem::request();
        worker::register(programs);
    } else {
        redaction::install(false);
    }
}
